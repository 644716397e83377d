"""What an environment has, on a page or two that a reviewer reads: the golden files of dev, staging and prod."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from planner import urn as urns
from planner.plan import Plan, Resource
from planner.regions import regions


def summary(plan: Plan) -> str:
    """Sorted text: components with how much each holds, kinds by region, what is protected, what is exported."""
    where = regions(plan)
    managed = [resource for resource in plan if is_managed(resource)]
    lines = [f"{plan.stack}: {len(managed)} resources", "", "components"]
    stack = next(resource.urn for resource in plan if resource.type == urns.STACK_TYPE)
    lines += _components(plan, plan.children[stack], 1)
    kinds = Counter((where[resource.urn], resource.type) for resource in managed)
    for place in sorted({place for place, _ in kinds}):
        lines += ["", f"kinds in {place}"]
        lines += [f"  {count:3} {kind}" for (at, kind), count in sorted(kinds.items()) if at == place]
    lines += ["", "protected"]
    lines += sorted(f"  {where[r.urn]} {r.type} {r.name}" for r in managed if r.protect) or ["  nothing"]
    lines += ["", "exports", *(f"  {key}" for key in sorted(plan.outputs))]
    return "\n".join(lines) + "\n"


def is_managed(resource: Resource) -> bool:
    return resource.custom and not resource.is_provider and not resource.external


def _components(plan: Plan, resources: Iterable[Resource], depth: int) -> Iterator[str]:
    for resource in sorted(resources, key=lambda resource: resource.name):
        if not resource.custom:
            count = sum(map(is_managed, plan.under(resource.urn)))
            yield f"{'  ' * depth}{resource.name} {resource.type.rsplit(':', 1)[1]} {count}"
            yield from _components(plan, plan.children.get(resource.urn, ()), depth + 1)
