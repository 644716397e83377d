"""Everything that an environment is judged by: the policies, and what a whole plan must hold.

Each check is a module with its `RULES` and a pure function `findings(inventory, rules)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import cache
from importlib import import_module

from planner.finding import Finding, Rule
from planner.inventory import Inventory
from planner.plan import Plan
from planner.rules import STALE, Judgement, Rules

CHECKS = (
    "policies",
    "placement",
    "training",
    "kserve",
    "quota",
    "offers",
    "network",
    "network_paths",
    "failure",
    "destroy",
    "contracts",
    "versions",
    "budget",
)
"""Modules of planner.checks."""


@cache
def all_rules() -> tuple[Rule, ...]:
    """The rules of every check and policy, by name."""
    found = [rule for name in CHECKS for rule in _module(name).RULES]
    return tuple(sorted([*found, STALE], key=lambda rule: rule.name))


def check(plan: Plan, today: date) -> Judgement:
    """Judge an environment by all rules, as its configuration wants them. RulesError where that is wrong."""
    return check_inventory(Inventory(plan), today)


def check_inventory(inventory: Inventory, today: date) -> Judgement:
    """As `check`, of a plan that has been read already."""
    rules = Rules.of(inventory.plan.config, all_rules(), today)
    return rules.judge(finding for name in CHECKS for finding in findings_of(name, inventory, rules))


def findings_of(name: str, inventory: Inventory, rules: Rules) -> Iterator[Finding]:
    """What one of CHECKS finds, before levels and exceptions."""
    yield from _module(name).findings(inventory, rules)


def _module(name: str):
    return import_module(f"planner.checks.{name}")
