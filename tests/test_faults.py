"""Planted faults: what somebody could do wrong in an environment, and whether `aicloud check` finds it."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from datetime import date

import pytest

from planner.checks import CHECKS, all_rules, check, findings_of
from planner.inventory import Inventory
from planner.rules import STALE, Rules
from tests import faults
from tests.faults.fault import Fault

TODAY = date(2026, 11, 22)
ENVIRONMENTS = ("dev", "staging", "prod")
PLANTED: tuple[Fault, ...] = tuple(
    fault
    for module in pkgutil.iter_modules(faults.__path__)
    if module.name != "fault"
    for fault in importlib.import_module(f"tests.faults.{module.name}").FAULTS
)
OWNER = {rule.name: name for name in CHECKS for rule in importlib.import_module(f"planner.checks.{name}").RULES}
FOUND_AT_LEAST = 0.95
"""Share of the planted faults; the issue asks for 57 of 60."""


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("known", ["as a preview knows it", "as if it were up"])
def test_nothing_is_wrong_where_nothing_is(environment, known, environment_plan, simulated_plan):
    plan = (environment_plan if "preview" in known else simulated_plan)(environment)
    judgement = check(plan, TODAY)
    assert [f"{f.rule} {f.name}: {f.message}" for f in judgement.findings if f.severity != "info"] == []


def judged(plan, rule):
    """What `check` finds by one rule: of its modules, the one that has the rule. All of them take ten times as long."""
    rules = Rules.of(plan.config, all_rules(), TODAY)
    modules = CHECKS if rule == STALE.name else [OWNER[rule]]
    inventory = Inventory(plan)
    findings = rules.judge(f for name in modules for f in findings_of(name, inventory, rules)).findings
    return [finding for finding in findings if finding.rule == rule]


def test_planted_faults_are_found(simulated_plan, record_property):
    before = {name: {f.identity for f in check(simulated_plan(name), TODAY).findings} for name in ENVIRONMENTS}
    missed = []
    for fault in PLANTED:
        plan = fault.plant(simulated_plan(fault.environment))
        new = [finding for finding in judged(plan, fault.rule) if finding.identity not in before[fault.environment]]
        if not any(fault.at in finding.urn or fault.at in finding.subject for finding in new):
            instead = [f.message for f in check(plan, TODAY).findings if f.identity not in before[fault.environment]]
            missed.append(f"{fault.name} ({fault.rule} at {fault.at}); found instead: {instead}")
    # tests/conftest.py prints it
    record_property("score", f"{len(PLANTED) - len(missed)} of {len(PLANTED)} planted faults found by aicloud check")
    assert len(PLANTED) >= 60
    assert len(missed) <= (1 - FOUND_AT_LEAST) * len(PLANTED), missed


def test_faults_have_names_of_their_own_and_rules_that_exist():
    assert [name for name, count in Counter(fault.name for fault in PLANTED).items() if count > 1] == []
    rules = {rule.name for rule in all_rules()}
    assert {fault.rule for fault in PLANTED} <= rules


def test_rules_have_names_of_their_own_and_say_what_to_do():
    assert [name for name, count in Counter(rule.name for rule in all_rules()).items() if count > 1] == []
    for rule in all_rules():
        assert rule.title, rule.name
        assert rule.remediation, rule.name
