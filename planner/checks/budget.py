"""Whether an environment stays within its budget, and whether everything in it has a price."""

from __future__ import annotations

from collections.abc import Iterator

from planner import urn as urns
from planner.cost import Estimate, estimate
from planner.cost.budgets import Limit, limits
from planner.cost.model import HOURS_PER_MONTH
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

_NAMED = 3
"""How many of the dearest parts a finding names."""


def findings(inventory: Inventory, rules: Rules) -> Iterator[Finding]:  # noqa: ARG001
    """Limits that are exceeded, pools that nothing limits, and what has no price."""
    found = estimate(inventory)
    stack = next((resource for resource in inventory.plan if resource.type == urns.STACK_TYPE), None)
    stated = limits(found, inventory.plan.config)
    for limit in stated:
        if limit.exceeded:
            yield HOLDS.finding(_exceeded(found, limit), stack, subject=limit.name)
    if any(limit.level == "largest" for limit in stated):
        for line in found.unbounded:
            if line.kind == "compute":
                message = f"nothing limits how many machines ({line.what}) there may be, so no budget can hold"
                yield HOLDS.finding(message, inventory.plan.by_urn[line.urn], subject="unbounded")
    for gap in found.unpriced:
        resource: Resource | None = inventory.plan.by_urn.get(gap.urn)
        yield PRICED.finding(f"{gap.reason}: the estimate is too low by what it costs", resource, subject=gap.reason)


def _exceeded(found: Estimate, limit: Limit) -> str:
    periods = 1 if limit.period == "month" else HOURS_PER_MONTH
    parts: dict[str, float] = {}
    for line in found.lines:
        name = f"{line.pool} in {line.region}" if line.pool else f"{line.component} in {line.region}"
        parts[name] = parts.get(name, 0.0) + getattr(line.per_month, limit.level) / periods
    dearest = sorted(parts.items(), key=lambda part: -part[1])[:_NAMED]
    named = ", ".join(f"{name} ${usd:,.2f}" for name, usd in dearest)
    per = f"{'an' if limit.period == 'hour' else 'a'} {limit.period}"
    return f"{limit.level}: ${limit.estimated:,.2f} {per}, in a budget of ${limit.usd:,.2f}; most of it: {named}"
