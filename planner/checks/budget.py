"""Whether an environment stays within its budget, and whether everything in it has a price."""

from __future__ import annotations

from collections.abc import Iterator

from planner import urn as urns
from planner.cost import estimate
from planner.cost.budgets import CEILING, exceeded, limits
from planner.finding import Finding, Rule
from planner.inventory import Inventory
from planner.plan import Resource
from planner.rules import Rules

HOLDS = Rule(
    "budget-holds",
    "What the environment costs stays within its budget, also at the largest size that it may scale to",
    url="https://docs.aws.amazon.com/wellarchitected/latest/cost-optimization-pillar/cost_monitor_usage_report.html",
    remediation="Lower a pool's `max` or a rung's `ceiling`, take a cheaper machine, or raise `cost:budget`.",
)

PRICED = Rule(
    "price-is-known",
    "Everything that costs has a price, so that the budget covers it",
    "warning",
    remediation="Add the price, with its date and source, to planner/cost/prices.yaml or the catalog of machines.",
)

RULES = (HOLDS, PRICED)


def findings(inventory: Inventory, rules: Rules) -> Iterator[Finding]:  # noqa: ARG001
    """Limits that are exceeded, pools that nothing limits, and what has no price."""
    found = estimate(inventory)
    stack = next((resource for resource in inventory.plan if resource.type == urns.STACK_TYPE), None)
    stated = limits(found, inventory.plan.config)
    for limit in stated:
        # An hour at the largest is what a policy looks at, so that Pulumi stops it too.
        if limit.exceeded and limit.name != CEILING:
            yield HOLDS.finding(exceeded(found, limit), stack, subject=limit.name)
    if any(limit.level == "largest" for limit in stated):
        for line in found.unbounded:
            if line.kind == "compute":
                message = f"nothing limits how many machines ({line.what}) there may be, so no budget can hold"
                yield HOLDS.finding(message, inventory.plan.by_urn[line.urn], subject="unbounded")
    for gap in found.unpriced:
        resource: Resource | None = inventory.plan.by_urn.get(gap.urn)
        yield PRICED.finding(f"{gap.reason}: the estimate is too low by what it costs", resource, subject=gap.reason)
