"""Contracts: whatever names something else finds it, on both sides the same, in the same cluster and namespace.

What charts and controllers make is in no plan. So nothing is said where one of them may have made it: each contract
says what it takes for that. What only the cloud knows is never a finding.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.checks.contracts import balancers, capacity, gateways, identity, passages, scalers, traffic, volumes
from planner.checks.view import view_of
from planner.finding import Finding, Rule
from planner.inventory import Inventory
from planner.rules import Rules

_PARTS = (traffic, balancers, gateways, passages, identity, scalers, capacity, volumes)

RULES: tuple[Rule, ...] = tuple(rule for part in _PARTS for rule in part.RULES)


def findings(inventory: Inventory, rules: Rules) -> Iterator[Finding]:
    """Every contract that one side breaks."""
    view = view_of(inventory)
    for part in _PARTS:
        yield from part.findings(view, rules)
