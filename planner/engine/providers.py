"""Which provider a resource belongs to: its own, its ancestors', or the package's default, made at its first use."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from planner import urn as urns
from planner.engine import regions, values
from planner.engine.state import State
from planner.engine.target import EngineError, Target
from planner.plan import UNKNOWN


class Providers:
    """The providers of one run. `add` registers a default provider among the engine's `states`."""

    def __init__(
        self, target: Target, states: Mapping[str, State], add: Callable[[State], None], *, preview: bool
    ) -> None:
        self._target = target
        self._states = states
        self._add = add
        self._preview = preview
        self._defaults: dict[str, str] = {}
        self._disabled = json.loads(target.config.get("pulumi:disable-default-providers") or "[]")

    def reference(self, request: Any) -> str:
        """The provider reference of a resource that is registered or read; empty for what has none.

        EngineError where the default provider is disabled, or a provider was never registered.
        """
        remote = getattr(request, "remote", False)
        if request.type.startswith(urns.PROVIDER_PREFIX) or not (getattr(request, "custom", True) or remote):
            return ""
        package, parent = request.type.split(":", 1)[0], request.parent
        if package == "pulumi":
            return ""
        reference = request.provider or (request.providers.get(package) if hasattr(request, "providers") else None)
        while not reference and parent:
            ancestor = self._states[parent]
            reference, parent = ancestor.child_providers.get(package), ancestor.parent
        if not reference:
            if package in self._disabled or "*" in self._disabled:
                raise EngineError(
                    f"{request.type} {request.name!r}: `pulumi:disable-default-providers` refuses the default provider "
                    f"of {package}; give it a provider of its own, or its component one among `providers`"
                )
            return self.default(package, request.version)
        if urns.provider_urn(reference) not in self._states:
            raise EngineError(f"{request.type} {request.name!r}: its provider {reference} was never registered")
        return reference

    def default(self, package: str, version: str) -> str:
        """The package's default provider, configured by the stack's `<package>:` keys."""
        key = f"{package}@{version}"
        reference = self._defaults.get(key)
        if reference is None:
            # The engine's rule: `default_<version>`, with what a name may not contain replaced.
            name = "default" + (f"_{version.replace('.', '_').replace('-', '_').replace('+', '_')}" if version else "")
            type = f"{urns.PROVIDER_PREFIX}{package}"
            inputs: dict[str, Any] = {
                key.split(":", 1)[1]: values.secret(value) if key in self._target.secret_keys else value
                for key, value in self._target.config.items()
                if key.startswith(f"{package}:")
            }
            if version:
                inputs["version"] = version
            urn = urns.create(stack=self._target.stack, project=self._target.project, parent="", type=type, name=name)
            state = State(urn=urn, type=type, name=name, custom=True, inputs=inputs, outputs=inputs)
            state.id = UNKNOWN if self._preview else provider_id(urn)
            state.region = regions.region_of(state, self._states)
            self._add(state)
            reference = self._defaults[key] = f"{urn}::{state.id}"
        return reference

    def is_configured(self, reference: str) -> bool:
        """Whether a provider knows all of its configuration; one that needs a cluster's address does not, at first."""
        provider = self._states.get(urns.provider_urn(reference))
        return provider is None or not values.has_unknown(provider.inputs)


def provider_id(urn: str) -> str:
    """The id of a provider in a simulated update: a UUID, as the engine gives it, but the same in each run."""
    return str(uuid.UUID(hashlib.sha256(urn.encode()).hexdigest()[:32]))
