"""The pack says the same in process and as a process of its own, under the same configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import cache

import pytest
from google.protobuf import empty_pb2

from planner import urn as urns
from planner.checks import policies as check
from planner.engine import preview
from planner.engine.project import load
from planner.inventory import Inventory
from planner.plan import Plan, Resource
from planner.rules import Rules
from policies import POLICIES
from tests.policies import analyzer, fixtures
from tests.policies.analyzer import Diagnostic, analyze
from tests.support import ROOT

LEVELS = {"error": "mandatory", "warning": "advisory", "info": "advisory"}


@pytest.fixture(scope="module")
def simulated() -> Callable[[str], Plan]:
    """An environment after a simulated `pulumi up`."""
    return cache(lambda name: preview(load(ROOT, name), simulate_up=True))


def in_process(plan: Plan) -> list[Diagnostic]:
    rules = Rules.of(plan.config, today=date.today())
    judged = rules.judge(check.findings(Inventory(plan), rules))
    names = {policy.name for policy in POLICIES}
    return [Diagnostic(f.rule, LEVELS[f.severity], f.urn, f.message) for f in judged.findings if f.rule in names]


def broken() -> Plan:
    """All failing fixtures as one stack, under the defaults."""
    resources: dict[str, Resource] = {}
    for policy in POLICIES:
        for index, entry in enumerate(fixtures.load(policy.name)["failing"]):
            for resource in fixtures.plan_of(entry):
                type = f"{urns.PROVIDER_PREFIX}{resource.package}"
                provider = urns.create(stack="test", project="fixtures", parent="", type=type, name="default")
                resources[provider] = Resource(provider, type)
                urn = f"{resource.urn}-{policy.name}-{index}"
                resources[urn] = replace(resource, urn=urn, provider=f"{provider}::id", dependencies=(), parent="")
    return Plan.of("fixtures", "test", resources.values())


@pytest.mark.parametrize("name", ["dev", pytest.param("prod", marks=pytest.mark.slow)])
def test_an_environment_is_judged_alike(name: str, environment_plan: Callable[[str], Plan]) -> None:
    plan = environment_plan(name)
    assert sorted(analyze(plan)) == sorted(in_process(plan))


@pytest.mark.slow
def test_an_environment_that_is_up_is_judged_alike(simulated: Callable[[str], Plan]) -> None:
    assert sorted(analyze(simulated("dev"))) == sorted(in_process(simulated("dev")))


def test_many_violations_are_the_same_ones() -> None:
    plan = broken()
    found = in_process(plan)
    assert len({one.policy for one in found}) > len(POLICIES) * 2 / 3
    assert sorted(analyze(plan)) == sorted(found)


def test_levels_parameters_and_exceptions_are_the_stacks() -> None:
    config = {
        "rules:levels": json.dumps({"keys-rotate": "warning", "queues-under-own-key": "off"}),
        "rules:parameters": json.dumps({"logs-end": {"at_least_days": 1, "at_most_days": 5000}}),
        "rules:exceptions": json.dumps(
            [
                {"rule": "tls-floor", "resource": "*-tls-floor-*", "reason": "to see that it is excused"},
                {"rule": "buckets-are-not-public", "resource": "*", "reason": "it is over", "until": "2020-01-01"},
            ]
        ),
    }
    plan = replace(broken(), config=config)
    found = in_process(plan)
    assert sorted(analyze(plan)) == sorted(found)
    by_policy = {one.policy: one.level for one in found}
    assert by_policy["keys-rotate"] == "advisory"
    assert by_policy["buckets-are-not-public"] == "mandatory"
    assert "queues-under-own-key" not in by_policy
    assert not any(one.policy == "tls-floor" and "-tls-floor-" in one.urn for one in found)
    assert not any(one.policy == "logs-end" and "1 days" in one.message for one in found)


def test_what_a_person_gives_the_pack_goes_over_the_stack() -> None:
    plan = fixtures.plan_of({"type": "aws:cloudwatch/logGroup:LogGroup", "inputs": {"retentionInDays": 7}})
    given = {"logs-end": {"at_least_days": 14, "enforcementLevel": "advisory"}}
    found = [one for one in analyze(plan, given) if one.policy == "logs-end"]
    assert [(one.level, one.message) for one in found] == [
        ("advisory", "keeps its logs for 7 days; expected 14 to 400")
    ]


def test_the_pack_describes_its_policies() -> None:
    with analyzer.booted(fixtures.plan_of([])) as stub:
        told = stub.GetAnalyzerInfo(empty_pb2.Empty())
    assert told.name == "ai-cloud"
    assert [policy.name for policy in told.policies] == [policy.name for policy in POLICIES]
    assert all(policy.url and policy.remediation_steps and policy.severity for policy in told.policies)


def test_the_pack_wants_what_the_project_pins() -> None:
    lines = (ROOT / "policies" / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if not line.startswith("#")]
    pinned = (ROOT / "pyproject.toml").read_text()
    assert wanted
    assert [line for line in wanted if f'"{line}"' not in pinned] == []
