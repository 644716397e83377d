"""In which order Pulumi deletes: nothing goes before what depends on it has gone."""

from __future__ import annotations

from collections.abc import Iterable

from planner import urn as urns
from planner.plan import Plan, Resource


class Order:
    """Which resources of a plan certainly outlive which.

    A resource is deleted before whatever it depends on: its dependencies, those of its properties, its parent, its
    provider and what it is deleted with (pulumi/pulumi, pkg/resource/graph/dependency_graph.go). Between others there
    is no order: Pulumi deletes them side by side.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._bit = {resource.urn: 1 << index for index, resource in enumerate(plan)}
        self._after: dict[str, int] = {}

    def outlives(self, one: Resource, other: Resource | str) -> bool:
        """Whether `one` is deleted only after `other` has gone."""
        return bool(self._later(other if isinstance(other, str) else other.urn) & self._bit.get(one.urn, 0))

    def any_outlives(self, some: Iterable[Resource], other: Resource | str) -> bool:
        """Whether one of some does."""
        return any(self.outlives(one, other) for one in some)

    def _later(self, urn: str) -> int:
        """All that is deleted after a resource, as bits. Without recursion: chains are hundreds deep."""
        stack = [urn]
        opened: set[str] = set()
        while stack:
            top = stack[-1]
            if top in self._after or top not in self._bit:
                stack.pop()
            elif top not in opened:
                opened.add(top)
                # What is open already closes a cycle, which only a broken plan has.
                stack += [e for e in self._edges(top) if e not in self._after and e not in opened]
            else:
                bits = 0
                for edge in self._edges(top):
                    bits |= self._bit.get(edge, 0) | self._after.get(edge, 0)
                self._after[top] = bits
                stack.pop()
        return self._after.get(urn, 0)

    def _edges(self, urn: str) -> set[str]:
        resource = self._plan.by_urn[urn]
        found = {*resource.dependencies, resource.parent, resource.deleted_with}
        for dependencies in resource.property_dependencies.values():
            found.update(dependencies)
        if resource.provider:
            found.add(urns.provider_urn(resource.provider))
        return found - {""}
