"""Quotas and offers: what is added up, and what a cloud would not give."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.machine_types import CPU_MACHINES, MACHINES
from planner.checks import offers, quota
from planner.checks.quota_table import EC2_GROUPS, GCP_CPUS, GCP_GPUS, OLDER_P_SPOT, QUOTAS
from planner.finding import Finding
from planner.inventory.model import CATALOG, Cluster, Pool, Rung
from planner.plan import Plan, Resource
from planner.rules import Rules

TODAY = date(2026, 11, 22)


class Hand:
    """An inventory made by hand: as much of one as these checks ask for."""

    def __init__(self, *rungs: Rung, resources: tuple[Resource, ...] = ()) -> None:
        of_rungs = [Resource(rung.urn, "aws:eks/nodeGroup:NodeGroup") for rung in rungs]
        cluster = Resource("urn:pulumi:s::p::aws:eks/cluster:Cluster::c", "aws:eks/cluster:Cluster")
        self.plan = Plan.of("p", "s", [cluster, *of_rungs, *resources])
        self.regions = {r.urn: rungs[0].region if rungs else "global" for r in self.plan}
        pools = (Pool("pool", cluster.urn, rungs[0].region, "", rungs),) if rungs else ()
        self.clusters = (Cluster(cluster.urn, "c", rungs[0].region if rungs else "", "1.35", (), pools),)

    def references(self, *_: object) -> list[Resource]:
        return []


def rung(machine: str, kind: str = "on-demand", region: str = "aws:us-east-1", name: str = "r", **more) -> Rung:
    given = {"min": 0, "max": 4, "zones": (), **more}
    urn = f"urn:pulumi:s::p::aws:eks/nodeGroup:NodeGroup::{name}"
    return Rung(urn, name, "eks", kind, region, "c", "pool", (machine,), **given)


def need(*rungs: Rung) -> dict[str, tuple[int, int | None]]:
    return {n.code: (n.min, n.max) for n in quota.needs(Hand(*rungs)) if n.code != "L-6D54EA21"}


def told(module, inventory, **parameters) -> list[Finding]:
    return list(module.findings(inventory, Rules(parameters=parameters, today=TODAY)))


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        ("on-demand", {"L-417A185B": (192, 384)}),
        # creating a reservation fails beyond the on-demand quota; a block counts against nothing
        ("reservation", {"L-417A185B": (192, 384)}),
        ("capacity-block", {}),
        ("spot", {"L-C4BD4855": (192, 384)}),
    ],
)
def test_how_machines_are_had_decides_which_quota_they_take(kind, codes):
    assert need(rung("p5.48xlarge", kind, min=1, max=2)) == codes


def test_older_p_machines_have_a_spot_quota_of_their_own():
    assert need(rung("p4d.24xlarge", "spot", max=1)) == {OLDER_P_SPOT: (0, 96)}


@pytest.mark.parametrize(
    ("kind", "market"), [("reservation", ""), ("flex-start", "PREEMPTIBLE_"), ("spot", "PREEMPTIBLE_")]
)
def test_google_counts_gpus_by_model_and_market(kind, market):
    found = need(rung("a3-megagpu-8g", kind, "gcp:europe-west4", max=3))
    assert found[f"{market}NVIDIA_H100_MEGA_GPUS"] == (0, 24)
    assert found["GPUS_ALL_REGIONS"] == (0, 24)
    assert "CPUS" not in found


def test_the_smallest_machine_counts_at_least_and_the_largest_at_most():
    either = replace(rung("g6.xlarge", min=2, max=5), machine_types=("g6.xlarge", "g6.12xlarge"))
    assert need(either) == {"L-DB2E81BA": (8, 240)}
    # a type that nobody knows could be smaller
    assert need(replace(either, machine_types=("g6.xlarge", "g9.huge"))) == {"L-DB2E81BA": (0, 20)}


def test_a_pool_without_limit_is_said_to_have_none():
    (finding,) = [f for f in told(quota, Hand(rung("g6.xlarge", max=None))) if f.rule == quota.MAXIMUM.name]
    assert "without limit" in finding.message
    assert finding.severity == "info"


@pytest.mark.parametrize(
    ("granted", "severities"),
    [
        # a default is a guess: told, but no error
        ({}, {"quota-holds-minimum": "warning"}),
        ({"aws:us-east-1": {"L-DB2E81BA": 4}}, {"quota-holds-minimum": "error"}),
        ({"aws:us-east-1": {"L-DB2E81BA": 8}}, {"quota-holds-maximum": "warning"}),
        ({"aws:us-east-1": {"L-DB2E81BA": 16}}, {}),
        ({"aws:us-west-2": {"L-DB2E81BA": 16}}, {"quota-holds-minimum": "warning"}),
    ],
)
def test_what_was_granted_decides_how_bad_it_is(granted, severities):
    found = told(quota, Hand(rung("g6.xlarge", min=2, max=4)), **{"quota-holds-minimum": {"granted": granted}})
    assert {f.rule: f.severity for f in found} == severities
    assert all("L-DB2E81BA" in f.message and f.subject == "aws:us-east-1" for f in found)


@pytest.mark.parametrize(
    "granted", [None, [], "768", {"aws:us-east-1": 768}, {"aws:us-east-1": {"L-DB2E81BA": "many"}}]
)
def test_nonsense_granted_counts_for_nothing(granted):
    found = told(quota, Hand(rung("g6.xlarge", min=2)), **{"quota-holds-minimum": {"granted": granted}})
    assert [f.severity for f in found] == ["warning"]


machines = st.builds(
    lambda machine, kind, low, more: rung(
        machine.name, kind, f"{machine.cloud}:{'us-east-1' if machine.cloud == 'aws' else 'us-central1'}",
        min=low, max=low + more,
    ),
    st.sampled_from([*MACHINES, *CPU_MACHINES]),
    st.sampled_from(["on-demand", "spot", "reservation", "capacity-block", "flex-start"]),
    st.integers(0, 20),
    st.integers(0, 20),
)  # fmt: skip


@given(st.lists(machines, min_size=1, max_size=5), st.integers(0, 4), st.integers(1, 50))
def test_totals_only_grow_with_a_maximum(rungs, which, more):
    rungs = [replace(one, urn=f"{one.urn}{i}", name=f"r{i}") for i, one in enumerate(rungs)]
    which %= len(rungs)
    larger = [*rungs]
    larger[which] = replace(rungs[which], max=rungs[which].max + more)
    before, after = ({(n.region, n.code): n for n in quota.needs(Hand(*r))} for r in (rungs, larger))
    assert before.keys() == after.keys()
    for key, one in before.items():
        assert one.min <= one.max <= after[key].max
        assert one.min == after[key].min


def test_every_machine_of_the_catalog_has_quotas():
    for machine in CATALOG.values():
        if machine.name.startswith("ct"):
            continue  # TPUs have quotas of their own, which the table leaves out
        assert need(rung(machine.name, "on-demand", f"{machine.cloud}:somewhere", max=1)), machine.name


def test_every_code_that_is_used_is_in_the_table():
    used = {code for pair in EC2_GROUPS.values() for code in pair} | set(GCP_CPUS.values()) | {OLDER_P_SPOT}
    used |= {f"{market}NVIDIA_{model}_GPUS" for model in GCP_GPUS.values() for market in ("", "PREEMPTIBLE_")}
    assert used <= QUOTAS.keys()


# ---- offers


def test_a_machine_that_is_not_offered_is_an_error_only_if_there_is_no_other():
    (alone,) = told(offers, Hand(rung("p5en.48xlarge", region="aws:eu-central-1")))
    assert (alone.rule, alone.severity) == ("machine-is-offered", "error")
    either = replace(rung("g6.xlarge", region="aws:eu-central-1"), machine_types=("g6.xlarge", "p5en.48xlarge"))
    (one,) = told(offers, Hand(either))
    assert one.severity == "warning"


def test_an_unknown_machine_or_region_is_a_warning():
    assert [f.severity for f in told(offers, Hand(rung("z99.metal")))] == ["warning"]
    assert [f.severity for f in told(offers, Hand(rung("g6.xlarge", region="aws:eu-atlantis-1")))] == ["warning"]


@pytest.mark.parametrize(
    ("machine", "kind", "wrong"),
    [
        ("p5.48xlarge", "capacity-block", False),
        ("p5e.48xlarge", "on-demand", True),
        ("g6.xlarge", "capacity-block", True),
        ("m7i.xlarge", "spot", False),
        ("m7i.xlarge", "flex-start", True),
    ],
)
def test_a_machine_must_be_sold_the_way_it_is_asked_for(machine, kind, wrong):
    found = [f for f in told(offers, Hand(rung(machine, kind, "aws:us-east-2"))) if f.rule == "rung-is-possible"]
    assert bool(found) is wrong


@pytest.mark.parametrize(
    ("zone", "wrong"),
    [("us-east-1a", False), ("us-west-2a", True), ("use1-az1", False), ("us-east-1-bos-1a", False)],
)
def test_a_zone_belongs_to_its_region(zone, wrong):
    subnet = Resource("urn:pulumi:s::p::aws:ec2/subnet:Subnet::s", "aws:ec2/subnet:Subnet",
                      inputs={"availabilityZone": zone})  # fmt: skip
    assert bool(told(offers, Hand(rung("g6.xlarge"), resources=(subnet,)))) is wrong


def test_what_lies_in_one_zone_is_asked_for_there():
    spread = rung("p5.48xlarge", "reservation", zones=("us-east-1a", "us-east-1b"), reservations=("cr-1",))
    assert [f.rule for f in told(offers, Hand(spread))] == ["reservation-has-a-zone"]
    assert told(offers, Hand(replace(spread, zones=("us-east-1a",)))) == []
    made = Resource("urn:pulumi:s::p::aws:ec2/capacityReservation:CapacityReservation::x",
                    "aws:ec2/capacityReservation:CapacityReservation", id="cr-1",
                    inputs={"availabilityZone": "us-east-1c"})  # fmt: skip
    found = told(offers, Hand(replace(spread, zones=("us-east-1a",)), resources=(made,)))
    assert ["us-east-1c" in f.message for f in found] == [True]
