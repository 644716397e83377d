"""Budgets: kept by the three environments, broken by each planted fault, and told so that a person knows what to do."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from planner.checks import policies
from planner.checks.budget import HOLDS, PRICED, RULES, findings
from planner.cost.budgets import BudgetError, budget
from planner.inventory import Inventory
from planner.plan import Plan, Resource
from planner.rules import Rules
from tests.faults.cost import FAULTS
from tests.faults.fault import Fault

URN = "urn:pulumi:test::test::{}::{}"


def of(plan: Plan):
    return list(findings(Inventory(plan), Rules()))


def one(token: str, name: str = "a", /, **inputs) -> Resource:
    return Resource(URN.format(token, name), token, inputs=inputs)


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_environments_are_within_their_budgets(environment, environment_plan, simulated_plan):
    for plan in (environment_plan(environment), simulated_plan(environment)):
        assert budget(plan.config), "no budget is stated, so none can be broken"
        assert of(plan) == []


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_planted_faults_are_found(fault: Fault, simulated_plan):
    inventory = Inventory(fault.plant(simulated_plan(fault.environment)))
    found = [*findings(inventory, Rules()), *policies.findings(inventory, Rules())]
    assert any(f.rule == fault.rule and fault.at in f.urn + f.subject for f in found), found


def test_a_finding_says_how_much_too_much_and_what_the_dearest_parts_are(simulated_plan):
    plan = simulated_plan("dev")
    config = {**plan.config, "cost:budget": json.dumps({"largestUsdPerMonth": 1, "lowUsdPerMonth": 1e6})}
    (finding,) = of(replace(plan, config=config))
    assert finding.rule == HOLDS.name
    assert finding.subject == "largestUsdPerMonth"
    assert "in a budget of $1.00; most of it: system in aws:us-east-1 $" in finding.message


def test_a_limit_is_kept_at_exactly_its_amount(simulated_plan):
    from planner.cost import estimate

    plan = simulated_plan("dev")
    exactly = estimate(plan).per_month.expected
    for usd, broken in ((exactly, 0), (exactly - 0.01, 1)):
        config = {**plan.config, "cost:budget": json.dumps({"expectedUsdPerMonth": usd})}
        assert len(of(replace(plan, config=config))) == broken


def test_without_a_budget_nothing_is_exceeded_but_what_has_no_price_is_still_told():
    plan = Plan.of("test", "test", [one("aws:neptune/cluster:Cluster", engine="neptune")])
    (finding,) = of(plan)
    assert finding.rule == PRICED.name
    assert finding.severity == "warning"
    assert "no price for this type of resource" in finding.message


def test_wrong_budgets_are_all_named():
    with pytest.raises(BudgetError) as error:
        budget({"cost:budget": json.dumps({"largestUsdPerHour": "ten", "monthly": 3, "lowUsdPerHour": -1})})
    for wrong in ("largestUsdPerHour: got 'ten'", "cost:budget.monthly: unknown", "lowUsdPerHour: got -1"):
        assert wrong in str(error.value)
    with pytest.raises(BudgetError, match="expected a map"):
        budget({"cost:budget": "100"})


def test_rules_say_what_to_do():
    assert all(rule.remediation and rule.title for rule in RULES)
