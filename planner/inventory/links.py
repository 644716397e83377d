"""Which resource one value means, also by DNS name or address: one item of a list at a time.

`Inventory.references` answers for a whole property; a record's addresses and an endpoint group's endpoints have to be
told apart.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from planner.inventory.objects import maps
from planner.plan import UNKNOWN, Plan, Resource


class Links:
    """Which resource a value means: by id, ARN, address, link or name; by what the property depends on if unknown."""

    KEYS = ("id", "arn", "selfLink", "dnsName", "dualStackDnsName", "address", "fqdn", "name")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @cached_property
    def _by_type(self) -> dict[str, list[Resource]]:
        found: dict[str, list[Resource]] = {}
        for resource in self.plan:
            found.setdefault(resource.type, []).append(resource)
        return found

    def of_type(self, *types: str) -> list[Resource]:
        """As `Plan.of_type`, without a walk over the plan each time."""
        return [resource for type in types for resource in self._by_type.get(type, ())]

    @cached_property
    def _named(self) -> dict[str, dict[str, Resource]]:
        """Type -> value -> resource."""
        found: dict[str, dict[str, Resource]] = {}
        for resource in self.plan:
            known = found.setdefault(resource.type, {})
            for value in (resource.id, *(resource.outputs.get(key) for key in self.KEYS)):
                if isinstance(value, str) and value not in ("", UNKNOWN):
                    known.setdefault(value, resource)
            for one in maps(resource.outputs.get("ipSets")):
                known.update({a: resource for a in one.get("ipAddresses") or () if a != UNKNOWN})
        return found

    def find(self, resource: Resource, property: str, value: Any, *types: str) -> list[Resource]:
        """The resources of these types that a value of a (top-level) property means."""
        if isinstance(value, str) and value not in ("", UNKNOWN):
            bare = value.rstrip(".")
            hits = [self._named.get(type, {}).get(bare) for type in types]
            if not any(hits) and "/" in bare:
                # Google takes a link, a partial link or an id for the same thing.
                hits = [
                    one for type in types for key, one in self._named.get(type, {}).items()
                    if "/" in key and (bare.endswith(f"/{key}") or key.endswith(f"/{bare}"))
                ]  # fmt: skip
            return list({hit.urn: hit for hit in hits if hit is not None}.values())
        if value in (None, ""):
            return []
        depends = resource.property_dependencies.get(property, ())
        return [
            self.plan.by_urn[urn] for urn in depends if urn in self.plan.by_urn and self.plan.by_urn[urn].type in types
        ]
