"""Failure: what is left, what clients are told, and the faults that make one loss take down more than itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from planner.checks.failure import RULES, findings, scenarios
from planner.checks.survivors import NOTHING, Loss, Survivors, resolution
from planner.inventory import Inventory
from planner.inventory.front_door import Answer, Entry, FrontDoor, Target
from planner.rules import Rules, RulesError
from tests.faults.failure import FAULTS

ONE, OTHER = Entry("one", "accelerator", (Target("", "aws:a"),)), Entry("other", "google", (Target("", "gcp:b"),))


def found(plan, **parameters):
    return list(findings(Inventory(plan), Rules(parameters=parameters)))


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_fault_is_found_and_not_there_without_it(fault, simulated_plan):
    plan = simulated_plan(fault.environment)
    before = {finding.identity for finding in found(plan)}
    new = [f for f in found(fault.plant(plan)) if f.identity not in before and f.rule == fault.rule]
    assert any(fault.at in f.urn or fault.at in f.subject for f in new)


def test_every_rule_has_a_fault():
    assert {rule.name for rule in RULES} == {fault.rule for fault in FAULTS}


@pytest.mark.parametrize("known", [True, False])
def test_nothing_is_wrong_with_prod(known, environment_plan, simulated_plan):
    assert found((simulated_plan if known else environment_plan)("prod")) == []


@pytest.mark.parametrize("known", [True, False])
def test_dev_and_staging_break_only_what_they_say(known, environment_plan, simulated_plan):
    plan = simulated_plan if known else environment_plan
    assert {f.rule for f in found(plan("dev"))} == {"egress-survives-a-zone"}  # its server may be at zero
    assert {f.rule for f in found(plan("staging"))} == {"egress-survives-a-zone"}


# ---- what is left


def test_scenarios_of_prod(simulated_plan):
    there = scenarios(Inventory(simulated_plan("prod")))
    whole = there[0]
    assert (whole.loss, whole.replicas) == (NOTHING, 60)
    kinds = Counter(scenario.loss.kind for scenario in there)
    assert (kinds["region"], kinds["zone"], kinds["spot"]) == (5, 15, 1)
    by_name = {scenario.loss.name: scenario for scenario in there}
    assert len(by_name) >= len(there) - 2, "names tell losses apart, but for two standing rungs of a pool"
    assert by_name["aws:us-east-1"].replicas == 48
    assert all(one.left == 0 for one in by_name["aws:us-east-1"].serving if one.workload.region == "aws:us-east-1")
    assert by_name["aws:us-east-1/training-h100-base"].accelerators == whole.accelerators - 16
    assert all(resolved.outcome == "answers" for scenario in there for resolved in scenario.names)


def test_a_single_region_loses_everything_and_no_rule_minds(simulated_plan):
    there = {scenario.loss.name: scenario for scenario in scenarios(Inventory(simulated_plan("dev")))}
    assert there["aws:us-east-1"].machines == 0
    assert there["aws:us-east-1"].names[0].outcome == "answers nobody"


def test_a_limit_for_each_zone_shrinks_with_its_zones(simulated_plan):
    survivors = Survivors(Inventory(simulated_plan("staging")))
    pool = next(r for r in survivors._rungs if r.name == "serving-l4-spot" and r.manager == "gke")
    gone = Loss("zone", pool.region, pool.zones[0])
    assert survivors.machines(pool, gone) == pool.max == 3, "totalMaxNodeCount counts all zones together"
    survivors._per_zone = {pool.urn}
    assert survivors.machines(pool, gone) == 2
    assert survivors.machines(replace(pool, zones=pool.zones[:1]), gone) == 0
    assert survivors.machines(replace(pool, zones=()), gone) == 3, "nobody knows where they are"


def test_without_a_limit_no_total_is_made_up(simulated_plan):
    inventory = Inventory(simulated_plan("dev"))
    cluster = inventory.clusters[0]
    pools = tuple(replace(p, rungs=tuple(replace(r, max=None) for r in p.rungs)) for p in cluster.pools)
    inventory.__dict__["clusters"] = (replace(cluster, pools=pools),)
    survivors = Survivors(inventory)
    assert survivors.scenario(NOTHING).machines is None
    assert survivors.scenario(Loss("region", "aws:us-east-1")).machines == 0


def test_the_fraction_is_the_environments(simulated_plan):
    plan = simulated_plan("prod")
    assert not [f for f in found(plan) if f.rule == "serving-survives-a-region"]
    strict = found(plan, **{"serving-survives-a-region": {"serving_fraction": 3}})
    assert {f.subject for f in strict if f.rule == "serving-survives-a-region"} >= {"aws:us-east-1"}
    with pytest.raises(RulesError, match=r"serving_fraction: got 'most'; expected a number"):
        found(plan, **{"serving-survives-a-region": {"serving_fraction": "most"}})


# ---- what clients are told


def told(answers: list[Answer], dead: str) -> tuple[list[str], list[str]]:
    """Identifiers of the records that are told, dead and alive, when nothing answers behind an entry."""
    door = FrontDoor("name", tuple(answers))
    now = resolution(door, {"one": dead != "one", "other": dead != "other"}, {"name": door})
    return [a.set_identifier for a in now.dead], [a.set_identifier for a in now.alive]


def record(name: str, entry: Entry, **more) -> Answer:
    return Answer(name, "latency", set_identifier=name, entry=entry, **more)


def test_an_unhealthy_record_is_left_out():
    answers = [record("a", ONE, health_check="h", asks="one"), record("b", OTHER, health_check="i", asks="other")]
    assert told(answers, "one") == ([], ["b"])
    assert told(answers, "") == ([], ["a", "b"])


def test_a_record_without_a_check_is_always_healthy():
    assert told([record("a", ONE), record("b", OTHER, health_check="i")], "one") == (["a"], ["b"])


def test_an_alias_is_as_healthy_as_its_target_if_it_asks():
    assert told([record("a", ONE, evaluates_target=True), record("b", OTHER)], "one") == ([], ["b"])


def test_when_none_is_healthy_all_are():
    both = [record("a", ONE, health_check="h"), record("b", ONE, health_check="h")]
    assert told(both, "one") == (["a", "b"], [])


def test_weight_0_is_told_when_all_others_are_unhealthy():
    heavy = replace(record("a", ONE, health_check="h"), policy="weighted", weight=10)
    light = replace(record("b", OTHER, health_check="i"), policy="weighted", weight=0)
    assert told([heavy, light], "") == ([], ["a"])
    assert told([heavy, light], "one") == ([], ["b"])


def test_the_second_of_a_failover_pair_waits_for_the_first():
    first, second = record("a", ONE, health_check="h", key="PRIMARY"), record("b", OTHER, key="SECONDARY")
    assert told([first, second], "") == ([], ["a"])
    assert told([first, second], "one") == ([], ["b"])
    assert told([replace(first, health_check=""), second], "one") == (["a"], [])


def test_a_check_of_something_else_does_not_help():
    assert told([record("a", ONE, health_check="h", asks="other"), record("b", OTHER)], "one") == (["a"], ["b"])


def test_names_that_are_aliases_of_each_other_end():
    a = FrontDoor("a", (Answer("1", "simple", alias_of="b"),))
    b = FrontDoor("b", (Answer("2", "simple", alias_of="a"),))
    assert resolution(a, {}, {"a": a, "b": b}).outcome == "answers"
