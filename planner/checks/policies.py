"""The policy pack over a plan, in process: as Pulumi runs it, without Pulumi."""

from __future__ import annotations

from collections.abc import Iterator

from planner.finding import Finding, Rule
from planner.inventory import Inventory
from planner.plan import Resource
from planner.rules import Rules
from policies import POLICIES

RULES: tuple[Rule, ...] = tuple(policy.rule for policy in POLICIES)
"""The policies' rules."""


def findings(inventory: Inventory, rules: Rules) -> Iterator[Finding]:
    """What the policies find. Levels and exceptions are the caller's to apply (`Rules.judge`)."""
    by_type: dict[str, list[Resource]] = {}
    for resource in inventory.plan:
        # What is read, not managed, is somebody else's; Pulumi shows a pack no such resource either.
        if not resource.external:
            by_type.setdefault(resource.type, []).append(resource)
    for policy in POLICIES:
        if rules.levels.get(policy.name) == "off":
            continue
        parameters = policy.parameters(rules)
        if policy.whole:
            found = policy.of_stack(inventory, parameters)
        else:
            found = (
                violation
                for type in sorted(policy.types & by_type.keys())
                for resource in by_type[type]
                for violation in policy.of_resource(resource, parameters)
            )
        for violation in found:
            yield policy.rule.finding(violation.message, violation.resource, subject=violation.subject)
