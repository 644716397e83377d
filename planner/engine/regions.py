"""Which region a resource is in, and the resources that ended up in one by accident."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from planner import urn as urns
from planner.engine import schema, values
from planner.engine.diagnostics import Diagnostics
from planner.engine.state import State
from planner.plan import UNKNOWN

_KEYS = ("region", "location", "zone")
_AWS_ENVIRONMENT = ("AWS_REGION", "AWS_DEFAULT_REGION")


def region_of(state: State, states: Mapping[str, State]) -> str | None:
    """A resource's own region, its provider's, or that of the cluster which its Kubernetes provider talks to."""
    for key in _KEYS:
        value = state.inputs.get(key)
        if isinstance(value, str) and value != UNKNOWN:
            return value
    if state.type.startswith(urns.PROVIDER_PREFIX):
        for dependencies in state.property_dependencies.values():
            for urn in dependencies:
                if urn in states and states[urn].region:
                    return states[urn].region
        if state.type.endswith(":aws"):
            return next((os.environ[name] for name in _AWS_ENVIRONMENT if os.environ.get(name)), None)
        return None
    provider = states.get(urns.provider_urn(state.provider)) if state.provider else None
    return provider.region if provider else None


def region_of_invoke(args: Mapping[str, Any], provider: State | None) -> str | None:
    """The region that an invoke asks about."""
    for key in _KEYS:
        if isinstance(args.get(key), str):
            return args[key]
    return provider.region if provider else None


def check(states: Mapping[str, State], diagnostics: Diagnostics) -> None:
    """Report AWS resources in no region, in one by omission, or in a zone of another.

    Every regional resource of pulumi-aws 7 takes a `region` of its own. A component that was told its region passes it
    to each child; a child without one would silently be made in the provider's region.
    """
    for state in states.values():
        if not state.custom or state.external or not state.type.startswith("aws:") or not _is_regional(state.type):
            continue
        message = _misplaced(state, states)
        if message:
            diagnostics.add(
                "error",
                f"{state.type} {state.name!r}{message}",
                urn=state.urn,
                place=state.place,
            )


def _misplaced(state: State, states: Mapping[str, State]) -> str:
    zone = state.inputs.get("availabilityZone")
    if state.region is None:
        return " has no region: give it `region`, or set `aws:region` in the stack's configuration"
    if isinstance(zone, str) and zone != UNKNOWN and not zone.startswith(state.region):
        return f": availabilityZone: {zone!r} is not in its region, {state.region}"
    told = _region_told(state, states)
    if told and "region" not in state.inputs and (told != state.region or "::default" in state.provider):
        return f" has no `region`, so it goes to the provider's ({state.region}); its component is for {told}"
    return ""


def _is_regional(type: str) -> bool:
    try:
        inputs = schema.resource_schema(type).inputs
    except schema.UnknownType:
        return False
    return inputs is not None and "region" in inputs


def _region_told(state: State, states: Mapping[str, State]) -> str | None:
    """The region input of the nearest component around it that has one."""
    parent = states.get(state.parent)
    while parent is not None:
        if not parent.custom and isinstance(told := values.plain(parent.inputs).get("region"), str):
            return told
        parent = states.get(parent.parent)
    return None
