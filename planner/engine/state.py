"""What the engine knows of one resource while a program runs, and how that becomes a resource of the Plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from pulumi.runtime.proto import resource_pb2, source_pb2

from planner import urn as urns
from planner.engine import provider as providers
from planner.engine import values
from planner.plan import SECRET, UNKNOWN, Resource, place_of


@dataclass(slots=True)
class State:
    """A registered or read resource, with wire values."""

    urn: str
    type: str
    name: str
    custom: bool
    parent: str = ""
    provider: str = ""
    id: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    region: str | None = None
    dependencies: Sequence[str] = ()
    property_dependencies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    protect: bool | None = None
    retain_on_delete: bool | None = None
    deleted_with: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options that the Plan records and nobody inherits, by the names of planner.plan.Resource."""
    external: bool = False
    child_providers: Mapping[str, str] = field(default_factory=dict)
    """Provider references that children inherit, by package."""
    source_position: str = ""

    @property
    def is_provider(self) -> bool:
        return self.type.startswith(urns.PROVIDER_PREFIX)

    @property
    def place(self) -> str:
        """Where the program made it, `stacks/environment.py:41`, or empty."""
        return place_of(self.source_position)

    def to_resource(self, *, preview: bool) -> Resource:
        """The resource as the Plan shows it: secrets redacted, unknown outputs of a preview marked."""
        inputs, outputs = values.redact(self.inputs), values.redact(self.outputs)
        if self.custom and preview and not self.type.startswith("pulumi:"):
            outputs = providers.with_unknown_outputs(self.type, outputs)
        for key in self.options.get("additional_secret_outputs", ()):
            # A provider marks these as secret in both (a Kubernetes Secret's stringData, for one).
            if key in inputs:
                inputs[key] = SECRET
            if outputs.get(key, UNKNOWN) != UNKNOWN:
                outputs[key] = SECRET
        return Resource(
            urn=self.urn,
            type=self.type,
            custom=self.custom,
            id="" if self.id == UNKNOWN else self.id,
            inputs=inputs,
            outputs=outputs,
            parent=self.parent,
            provider=self.provider,
            dependencies=tuple(sorted(self.dependencies)),
            property_dependencies={k: tuple(sorted(v)) for k, v in sorted(self.property_dependencies.items())},
            protect=bool(self.protect),
            external=self.external,
            retain_on_delete=bool(self.retain_on_delete),
            deleted_with=self.deleted_with,
            aliases=self.aliases,
            source_position=self.source_position,
            **self.options,
        )


def recorded_options(request: resource_pb2.RegisterResourceRequest) -> dict[str, Any]:
    """The options of a request that go into the Plan as they are."""
    options: dict[str, Any] = {}
    if request.ignoreChanges:
        options["ignore_changes"] = tuple(request.ignoreChanges)
    if request.replaceOnChanges:
        options["replace_on_changes"] = tuple(request.replaceOnChanges)
    if request.additionalSecretOutputs:
        options["additional_secret_outputs"] = tuple(request.additionalSecretOutputs)
    if request.importId:
        options["import_id"] = request.importId
    if request.deleteBeforeReplaceDefined and request.deleteBeforeReplace:
        options["delete_before_replace"] = True
    if request.HasField("customTimeouts"):
        timeouts = {
            name: _seconds(getattr(request.customTimeouts, name))
            for name in ("create", "read", "update", "delete")
            if getattr(request.customTimeouts, name)
        }
        if timeouts:
            options["custom_timeouts"] = timeouts
    return options


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(duration: str) -> float:
    """`1h30m` in seconds, as ResourceV3 stores timeouts (Go's time.ParseDuration; units below ms do not occur)."""
    total, number, unit = 0.0, "", ""
    for character in duration + "0":
        if unit and (character.isdigit() or character == "."):
            if unit not in _UNITS or not number:
                raise ValueError(f"custom timeout {duration!r}; expected a duration such as 30m or 1h30m")
            total, number, unit = total + float(number) * _UNITS[unit], "", ""
        if character.isdigit() or character == ".":
            number += character
        else:
            unit += character
    return total


def source_position(request: Any, root: Path | None) -> str:
    """Where the program made the resource, as `project:///<path from the root>#<line>`.

    The innermost frame inside the project counts: with a component from a library, that is the line that used it.
    Without any such frame, the innermost file's name alone is given, so that no path of this machine enters a plan.
    The stack itself is made by whatever runs the program, which differs from run to run: it has no such line.
    """
    if getattr(request, "type", "") == urns.STACK_TYPE:
        return ""
    frames: list[source_pb2.SourcePosition] = [frame.pc for frame in request.stackTrace.frames]
    if request.HasField("sourcePosition"):
        frames.insert(0, request.sourcePosition)
    for frame in frames:
        path = _path(frame.uri)
        if root is not None and path.startswith(f"{root}/") and "/site-packages/" not in path:
            return f"project:///{path[len(str(root)) + 1 :]}#{frame.line}"
    return f"project:///{_path(frames[0].uri).rsplit('/', 1)[-1]}#{frames[0].line}" if frames else ""


def _path(uri: str) -> str:
    return unquote(urlparse(uri).path) if "%" in uri else uri.removeprefix("file://")
