"""Where each resource of a plan is, in the vocabulary's words: `aws:us-east-1`, `gcp:europe-west4` or `global`."""

from __future__ import annotations

from collections.abc import Mapping

from planner import urn as urns
from planner.plan import UNKNOWN, Plan, Resource

GLOBAL = "global"


def regions(plan: Plan) -> Mapping[str, str]:
    """URN -> region. A resource is where it says; else where its component is; else where its provider is."""
    found: dict[str, str] = {}
    for resource in plan:
        _region(resource, plan, found)
    return found


def _region(resource: Resource, plan: Plan, found: dict[str, str]) -> str:
    known = found.get(resource.urn)
    if known is None:
        # Set before the recursion: a plan file may hold a cycle of parents.
        found[resource.urn] = GLOBAL
        known = found[resource.urn] = _stated(resource) or _inherited(resource, plan, found)
    return known


def _inherited(resource: Resource, plan: Plan, found: dict[str, str]) -> str:
    parent = plan.by_urn.get(resource.parent)
    if parent is not None and parent.type != urns.STACK_TYPE:
        # A component's own region comes from its children, so only what it states may flow down to them.
        stated = _stated(parent) or (_region(parent, plan, found) if parent.custom else None)
        ancestor = plan.by_urn.get(parent.parent)
        while stated is None and ancestor is not None:
            stated, ancestor = _stated(ancestor), plan.by_urn.get(ancestor.parent)
        if stated:
            return stated
    provider = plan.by_urn.get(urns.provider_urn(resource.provider)) if resource.provider else None
    if provider is not None:
        return _stated(provider) or _of_dependencies(provider, plan, found)
    of_children = {_region(child, plan, found) for child in plan.children.get(resource.urn, ())} - {GLOBAL}
    return of_children.pop() if len(of_children) == 1 and resource.type != urns.STACK_TYPE else GLOBAL


def _of_dependencies(provider: Resource, plan: Plan, found: dict[str, str]) -> str:
    """A Kubernetes provider is where the cluster is that its configuration comes from."""
    for dependency in provider.dependencies:
        if dependency in plan.by_urn and (region := _region(plan.by_urn[dependency], plan, found)) != GLOBAL:
            return region
    return GLOBAL


def _stated(resource: Resource) -> str | None:
    cloud = resource.inputs.get("cloud") if not resource.custom else resource.package
    if cloud not in ("aws", "gcp"):
        return None
    for key in ("region", "location", "zone"):
        value = resource.inputs.get(key)
        if isinstance(value, str) and value not in ("", UNKNOWN, GLOBAL):
            value = value.lower()  # Google writes a bucket's location in capitals
            if key == "zone" or (cloud == "gcp" and value.count("-") == 2):
                value = value.rsplit("-", 1)[0]
            return f"{cloud}:{value}"
    return None
