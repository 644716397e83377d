"""Which resource a property names: by its value where the plan knows it, else by what the property depends on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from planner.plan import UNKNOWN, Plan, Resource

_IDENTIFIERS = ("arn", "id", "name", "selfLink", "email", "bucket", "url", "arnSuffix", "unique")
"""Outputs and inputs by which clouds let other resources name a resource."""


def at(value: Any, path: str) -> Any:
    """The value at a dotted path inside maps, `spec.template.metadata`; None where there is none."""
    for key in path.split(".") if path else ():
        if not isinstance(value, Mapping):
            return value if value == UNKNOWN else None
        value = value.get(key)
    return value


def mapping(value: Any, path: str = "") -> Mapping[str, Any]:
    """The map at a path; empty where there is none or it is unknown."""
    found = at(value, path)
    return found if isinstance(found, Mapping) else {}


def items(value: Any, path: str = "") -> list[Any]:
    """The list at a path; empty where there is none or it is unknown. A single map counts as a list of one."""
    found = at(value, path)
    if isinstance(found, Mapping):
        return [found]
    return list(found) if isinstance(found, list | tuple) else []


def texts(value: Any) -> Iterator[str]:
    """Every text inside a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)


class References:
    """Finds resources by what other resources call them."""

    def __init__(self, plan: Plan, regions: Mapping[str, str]) -> None:
        self._plan = plan
        self._regions = regions
        self._named: dict[str, dict[str, list[Resource]]] = {}

    def of(self, resource: Resource, path: str, *types: str) -> list[Resource]:
        """The resources of these types that the property at `path` names, in the property's order, each once.

        Where several have the same name, those of the resource's own provider and region are meant.
        """
        value = at(resource.inputs, path)
        found: dict[str, Resource] = {}
        unknown = False
        for text in texts(value):
            if UNKNOWN in text:
                unknown = True
                continue
            for named in self._nearest(resource, [one for type in types for one in self._by_name(type).get(text, ())]):
                found.setdefault(named.urn, named)
        if unknown:
            for urn in resource.property_dependencies.get(path.split(".")[0], ()):
                other = self._plan.by_urn.get(urn)
                if other is not None and other.type in types:
                    found.setdefault(urn, other)
        return list(found.values())

    def _nearest(self, resource: Resource, candidates: list[Resource]) -> list[Resource]:
        if len(candidates) < 2:
            return candidates
        if resource.package == "kubernetes":
            return [other for other in candidates if other.provider == resource.provider] or candidates
        here = self._regions.get(resource.urn)
        return [other for other in candidates if self._regions.get(other.urn) == here] or candidates

    def _by_name(self, type: str) -> Mapping[str, list[Resource]]:
        if type not in self._named:
            index = self._named[type] = {}
            for resource in self._plan.of_type(type):
                for name in _names(resource):
                    index.setdefault(name, []).append(resource)
        return self._named[type]


def _names(resource: Resource) -> set[str]:
    names = [resource.id, at(resource.inputs, "metadata.name")]
    for key in _IDENTIFIERS:
        names += [resource.outputs.get(key), resource.inputs.get(key)]
    found = {name for name in names if isinstance(name, str) and name and UNKNOWN not in name}
    # Google's self links are also accepted without their host, and by their last part.
    for name in list(found):
        if name.startswith("https://www.googleapis.com/compute/"):
            found.add(name.split("/", 5)[5])
    return found
