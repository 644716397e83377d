"""Addresses, and ways through networks."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from datetime import date
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.checks import network, network_paths, offers, quota, versions
from planner.inventory import Inventory
from planner.inventory.networks import Block, Network
from planner.plan import UNKNOWN, Plan
from planner.rules import Rules
from tests.faults.network import FAULTS
from tests.faults.quota import FAULTS as QUOTA_FAULTS
from tests.faults.versions import FAULTS as VERSION_FAULTS

RULES = Rules(today=date(2026, 11, 22))
MODULES = (quota, offers, network, network_paths, versions)


def told(plan: Plan):
    inventory = Inventory(plan)
    rules = Rules.of(plan.config, (), RULES.today)
    return [finding for module in MODULES for finding in module.findings(inventory, rules)]


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_the_environments_are_clean_as_a_preview_knows_them_and_as_if_up(environment, environment_plan, simulated_plan):
    for plan in (environment_plan(environment), simulated_plan(environment)):
        assert [f"{f.rule} {f.name} {f.message}" for f in told(plan)] == []


RULED = {rule.name for module in MODULES for rule in module.RULES}


@pytest.mark.parametrize(
    "fault", [fault for fault in (*FAULTS, *QUOTA_FAULTS, *VERSION_FAULTS) if fault.rule in RULED], ids=str
)
def test_planted_faults_are_found(fault, simulated_plan):
    found = told(fault.plant(simulated_plan(fault.environment)))
    assert [f for f in found if f.rule == fault.rule and (fault.at in f.urn or fault.at in f.subject)], found


def _network(name: str, blocks: list[IPv4Network], peers: tuple[str, ...] = ()) -> Network:
    taken = tuple(Block(block, "network", name) for block in blocks)
    return Network(name, name, "aws", "aws:us-east-1", taken, True, (), peers=peers)


blocks = st.lists(
    st.builds(
        lambda start, prefix: IPv4Network((start, prefix), strict=False),
        st.sampled_from([0x0A000000, 0x64400000]).flatmap(lambda base: st.integers(base, base + 0x3FFFF)),
        st.integers(12, 26),
    ),
    max_size=4,
)


@given(blocks, blocks, st.booleans())
def test_overlap_is_symmetric(one, other, peered):
    first = _network("a", one, ("b",) if peered else ())
    second = _network("b", other, ("a",) if peered else ())
    there = network.overlap(first, second)
    assert {(a.cidr, b.cidr) for a, b in there} == {(b.cidr, a.cidr) for a, b in network.overlap(second, first)}


@given(st.lists(blocks, min_size=1, max_size=6), st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5))))
def test_one_pass_finds_every_pair_that_overlaps(all_blocks, peerings):
    found = {
        str(i): _network(str(i), own, tuple(str(b if a == i else a) for a, b in peerings if i in (a, b) and a != b))
        for i, own in enumerate(all_blocks)
    }
    touching = {(one.urn, other.urn) for one, other in network._touching(found)}
    for one in found.values():
        for other in found.values():
            if one.urn < other.urn and network.overlap(one, other):
                assert (one.urn, other.urn) in touching


def test_a_network_of_100_64_that_is_not_peered_may_be_the_same_everywhere():
    local = [IPv4Network("100.64.0.0/16")]
    assert network.overlap(_network("a", local), _network("b", local)) == []
    assert network.overlap(_network("a", local, ("b",)), _network("b", local)) != []
    # but a routable block around it may not
    assert network.overlap(_network("a", local), _network("b", [IPv4Network("100.0.0.0/8")])) != []


def _edited(plan: Plan, change: Any) -> Plan:
    document = json.loads(plan.to_json())
    change(document["deployment"]["resources"])
    return Plan.from_json(json.dumps(document))


def test_without_prefixes_or_pod_subnets_machines_and_pods_share_their_subnets(simulated_plan):
    def change(states):
        for state in states:
            if state["urn"].endswith("us-east-1-cluster-vpc-cni"):
                state["inputs"]["configurationValues"] = "{}"
            elif "us-east-1-network-private-us-east-1" in state["urn"] and state["type"].endswith(":Subnet"):
                zone = "abc".index(state["urn"][-1])
                state["inputs"]["cidrBlock"] = f"10.64.{zone * 2}.0/23"

    found = [f for f in told(_edited(simulated_plan("dev"), change)) if f.rule == "pod-addresses-suffice"]
    assert found == []  # 9 machines of 58 pods and three /23

    def smaller(states):
        change(states)
        for state in states:
            if "us-east-1-network-private-us-east-1" in state["urn"] and state["type"].endswith(":Subnet"):
                state["inputs"]["cidrBlock"] = state["inputs"]["cidrBlock"].replace("/23", "/25")

    found = [f for f in told(_edited(simulated_plan("dev"), smaller)) if f.rule == "pod-addresses-suffice"]
    assert [f.subject for f in found] == ["machines and pods"]


def test_a_cluster_without_any_endpoint_but_with_nat_is_somebodys_choice(simulated_plan):
    def change(states):
        states[:] = [s for s in states if not s["type"].endswith(":VpcEndpoint")]

    assert [f for f in told(_edited(simulated_plan("dev"), change)) if f.rule == "private-cluster-has-endpoints"] == []


ODD: tuple[Any, ...] = (
    UNKNOWN,
    None,
    [],
    {},
    "",
    "x",
    0,
    -1,
    2.5,
    True,
    [None],
    [{}],
    {"a": 1},
    "10.0.0.0/33",
    "1.2.3",
)


def _paths(value: Any, path: tuple = ()) -> list[tuple]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += _paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += _paths(item, (*path, index))
    return found


TYPES = (
    *("aws:ec2", "aws:vpc", "aws:lb", "aws:eks", "aws:globalaccelerator", "gcp:compute", "gcp:container"),
    *(f"kubernetes:{group}" for group in ("helm", "karpenter", "core", "apps", "elbv2")),
)


@pytest.mark.parametrize("seed", range(12))
def test_plans_of_odd_shapes_never_stop_a_check(seed, simulated_plan):
    chance = random.Random(seed)

    def change(states):
        for state in states:
            if state["type"].startswith(TYPES) and chance.random() < 0.5:
                for path in chance.sample(paths := _paths(state["inputs"]), min(3, len(paths))):
                    holder: Any = state["inputs"]
                    try:
                        for step in path[:-1]:
                            holder = holder[step]
                        holder[path[-1]] = deepcopy(chance.choice(ODD))
                    except (TypeError, KeyError, IndexError):
                        pass  # an earlier change has put something else there

    told(_edited(simulated_plan("staging"), change))


def test_a_plan_of_nothing_is_fine():
    assert told(Plan.of("p", "s", [])) == []
