"""What environments cost: one total worked out by hand, and what must hold of every estimate."""

# ruff: noqa: ARG005 (pieces of plans have one signature)

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.cost import Amount, Assumptions, Book, estimate
from planner.cost.estimating import HANDLERS
from planner.cost.free import is_free
from planner.cost.pools import READERS, counts
from planner.inventory import Inventory, Pool, Rung
from planner.plan import UNKNOWN, Plan, Resource

BOOK = Book.load(refreshed=None)
ENVIRONMENTS = ("dev", "staging", "prod")
URN = "urn:pulumi:test::test::{}::{}"
AWS = {"region": "us-east-1"}


def one(token: str, name: str = "a", /, **inputs) -> Resource:
    return Resource(URN.format(token, name), token, inputs=inputs)


def cost(*resources: Resource, config: dict[str, str] | None = None, assumptions: Assumptions | None = None):
    return estimate(Plan.of("test", "test", resources, config=config or {}), BOOK, assumptions)


# ---- one environment by hand


def test_dev_costs_what_it_comes_to_by_hand(simulated_plan):
    """dev: us-east-1 (the book's own region, so no factors), assumptions as its stack file states them."""
    plan = simulated_plan("dev")
    assert json.loads(plan.config["cost:assumptions"]) == {"requestsPerSecond": [0, 2, 20], "coldGib": [100, 500, 2000]}
    found = estimate(plan, BOOK)
    by = found.by("kind")

    # Machines. Always: 3 m7i.xlarge and 2 m7i.2xlarge for the system. Expected: a quarter of the 2 more m7i.2xlarge
    # that Karpenter may add, and of the 2 g6.xlarge on spot (51 % of its price) that serve while somebody asks; another
    # for 160 hours of training. Largest: 2 more m7i.2xlarge, 3 g6.xlarge at the list price.
    training = 160 / 730
    always = 3 * 0.2016 + 2 * 0.4032
    assert by["compute"].low == pytest.approx(730 * always)
    # A twentieth of the time an instance answers what waits for it, in SageMaker.
    waits = 0.05 * 1.1267
    assert by["compute"].expected == pytest.approx(
        730 * (always + 0.5 * 0.4032 + (0.5 + training) * 0.8048 * 0.51 + waits)
    )
    assert by["compute"].largest == pytest.approx(730 * (always + 2 * 0.4032 + 3 * 0.8048 + 1.1267))

    # Storage, expected. Boot disks: 3 of 100 GiB, 2 + 0.5 + 0.5 + training of 200 GiB. The bucket: 500 GiB, aged 0 to
    # 730 days: 30 days standard, 60 infrequent access, 640 instant retrieval. 500 GiB are 8,000 objects of 64 MiB: 800
    # are written a month and moved twice, each is read twice. Its logs: 20 GiB, 320 objects. The tracking
    # server's database: 20 GiB. What the watcher of a model remembers: a disk of 1 GiB.
    disks = (3 * 100 + (3 + training) * 200) * 0.08
    bucket = 500 * (30 * 0.023 + 60 * 0.0125 + 640 * 0.004) / 730
    requests = 0.8 * (0.005 + 0.01 + 0.02) + 16 * 0.0004
    logs = 20 * 0.023 + 0.032 * 0.005 + 0.64 * 0.0004
    assert by["storage"].expected == pytest.approx(disks + bucket + requests + logs + 20 * 0.115 + 1 * 0.08)

    # Networks: accelerator, load balancer, WAF with 4 rules, NAT gateway and its address, 10 endpoints in one zone.
    assert by["network"] == Amount.of(pytest.approx(730 * (0.025 + 0.0225 + 0.045 + 0.005 + 10 * 0.01) + 5 + 4 * 1))

    # Traffic, expected: 2 requests a second are 5.256 million a month; 64 KiB each in, 4 KiB out.
    million = 2 * 3600 * 730 / 1e6
    kib = million * 1e6 / 2**20
    front = kib * 64 * 0.015 + kib * 4 * 0.09 + kib * 68 * 0.008 + million * 0.60 + 1 * 0.40
    # A million to the model in SageMaker, in and out alike.
    waiting = 1e6 * 68 / 2**20 * 0.016
    assert by["traffic"].expected == pytest.approx(front + 200 * 0.045 + 10 * 50 * 0.01 + 500 * 0.02 + waiting)

    # Services, expected: control plane; 4 keys with 100,000 uses each; 3 log groups that take in 20 GiB and keep 15 %
    # of that for 90, 30 and 30 days; half a million queue requests, as many notices; an alarm; 5 million spans of
    # 1.5 KiB; the machine of the tracking server's database, and the secret with its password.
    services = 73 + 4 * (1 + 10 * 0.03) + 3 * 20 * 0.50 + 20 * 0.15 * (3 + 1 + 1) * 0.03 + 0.5 * (0.40 + 0.50) + 0.10
    services += 5e6 * 1.5 / 2**20 * 0.35
    services += 730 * 0.0325 + 0.40
    assert by["service"].expected == pytest.approx(services)

    assert found.per_month.expected == pytest.approx(sum(amount.expected for amount in by.values()))
    assert found.per_hour.expected == pytest.approx(found.per_month.expected / 730)
    assert found.by("team").keys() == {"ml-platform"}


# ---- all environments


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_everything_in_the_environments_has_a_price_known_or_not(environment, environment_plan, simulated_plan):
    known, unknown = estimate(simulated_plan(environment), BOOK), estimate(environment_plan(environment), BOOK)
    for found in (known, unknown):
        assert found.unpriced == ()
        assert found.unbounded == ()
        assert found.lines
        for line in found.lines:
            amount = line.per_month
            assert 0 <= amount.low <= amount.expected <= amount.largest, line
            assert line.price > 0
            assert line.source
            assert line.as_of <= date.today()
    assert known.per_month.low == pytest.approx(unknown.per_month.low)
    assert known.per_month.expected == pytest.approx(unknown.per_month.expected)
    assert known.per_month.largest == pytest.approx(unknown.per_month.largest)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_sums_by_any_key_are_the_total(environment, simulated_plan):
    found = estimate(simulated_plan(environment), BOOK)
    for key in ("region", "component", "pool", "rung", "team", "kind", "tier", "service"):
        sums = found.by(key).values()
        assert sum(amount.largest for amount in sums) == pytest.approx(found.per_month.largest)
    with pytest.raises(ValueError, match="expected one of region"):
        found.by("colour")


def test_an_estimate_costs_next_to_nothing(simulated_plan):
    inventory = Inventory(simulated_plan("prod"))
    estimate(inventory, BOOK)
    started = time.process_time()
    estimate(inventory, BOOK)
    assert time.process_time() - started < 0.2  # 0.02 s where it was written


def test_types_are_priced_or_free_but_not_both():
    kubernetes = {type for type in HANDLERS if type.startswith("kubernetes:")} | READERS.keys()
    for type in HANDLERS.keys() - kubernetes:
        assert not is_free(one(type)), type


# ---- what must hold of any estimate

PIECES = st.sampled_from(
    [
        lambda name, n: one("aws:ec2/natGateway:NatGateway", name, **AWS),
        lambda name, n: one("aws:ebs/volume:Volume", name, type="gp3", size=n, **AWS),
        lambda name, n: one("aws:ec2/instance:Instance", name, instanceType="m7i.large", **AWS),
        lambda name, n: one("aws:kms/key:Key", name, **AWS),
        lambda name, n: one("aws:s3/bucket:Bucket", name, region="eu-central-1"),
        lambda name, n: one("aws:lb/loadBalancer:LoadBalancer", name, internal=n % 2 == 0, **AWS),
        lambda name, n: one("aws:iam/role:Role", name),
        lambda name, n: one("aws:rds/instance:Instance", name),
        lambda name, n: one("gcp:filestore/instance:Instance", name, tier="ZONAL", location="us-central1-a",
                            fileShares={"capacityGb": n}),
        lambda name, n: one("gcp:compute/securityPolicy:SecurityPolicy", name, rules=[{"priority": 1}] * (n % 7)),
        lambda name, n: one("aws:eks/nodeGroup:NodeGroup", name, instanceTypes=["g6.xlarge"],
                            scalingConfig={"minSize": n % 3, "maxSize": n % 3 + n % 5}, **AWS),
        lambda name, n: one("gcp:storage/bucket:Bucket", name, location="EU", lifecycleRules=[
            {"action": {"type": "SetStorageClass", "storageClass": "NEARLINE"}, "condition": {"age": n}}]),
    ]
)  # fmt: skip
PLANS = st.lists(st.tuples(PIECES, st.integers(1, 4000)), max_size=8).map(
    lambda pieces: [make(f"r{index}", n) for index, (make, n) in enumerate(pieces)]
)


@given(PLANS, st.data())
def test_an_estimate_is_the_sum_of_its_parts_and_grows_with_each(resources, data):
    whole = cost(*resources)
    inside = data.draw(st.lists(st.booleans(), min_size=len(resources), max_size=len(resources)))
    part = cost(*(r for r, chosen in zip(resources, inside, strict=True) if chosen))
    rest = cost(*(r for r, chosen in zip(resources, inside, strict=True) if not chosen))
    for level in ("low", "expected", "largest"):
        total = getattr(whole.per_month, level)
        assert total == pytest.approx(getattr(part.per_month, level) + getattr(rest.per_month, level))
        assert getattr(part.per_month, level) <= total + 1e-9
    assert len(whole.unpriced) == len(part.unpriced) + len(rest.unpriced)
    assert whole.free == part.free + rest.free
    for line in whole.lines:
        assert line.per_month.low <= line.per_month.expected + 1e-9
        assert line.per_month.expected <= line.per_month.largest + 1e-9


def rung(kind: str, fewest: int, most: int | None, **more) -> Rung:
    return Rung(f"urn:{kind}", kind, "eks", kind, "aws:us-east-1", "", "pool", ("g6.xlarge",), (), fewest, most, **more)


RUNGS = st.lists(
    st.builds(
        lambda kind, fewest, more: rung(kind, fewest, None if more is None else fewest + more),
        st.sampled_from(["reservation", "capacity-block", "flex-start", "spot", "on-demand"]),
        st.integers(0, 5),
        st.none() | st.integers(0, 9),
    ),
    min_size=1,
    max_size=5,
)


@given(RUNGS, st.floats(0, 1), st.integers(0, 30), st.data())
def test_raising_a_limit_never_lowers_the_largest_size(rungs, share, needed, data):
    pool = Pool("pool", "", "aws:us-east-1", "training", tuple(rungs))
    before = counts(pool, share, needed)
    for found, r in zip(before, rungs, strict=True):
        assert found.low <= found.expected <= found.largest
        assert found.low >= r.min
        assert found.largest == (r.min if r.max is None else r.max)
    which = data.draw(st.integers(0, len(rungs) - 1))
    raised = replace(rungs[which], max=(rungs[which].max or rungs[which].min) + 3)
    after = counts(replace(pool, rungs=(*rungs[:which], raised, *rungs[which + 1 :])), share, needed)
    assert sum(a.largest for a in after) >= sum(b.largest for b in before)
    assert all(a.largest >= b.largest for a, b in zip(after, before, strict=True))


# ---- pools


def test_the_ladder_fills_from_its_first_rung():
    pool = Pool("p", "", "", "training", (rung("capacity-block", 0, 8), rung("spot", 0, 4), rung("on-demand", 0, 8)))
    assert [found.expected for found in counts(pool, 0.5)] == [8, 2, 0]
    assert [found.largest for found in counts(pool, 0.5)] == [8, 4, 8]


def test_reserved_machines_are_paid_whether_they_run_or_not():
    pool = Pool("p", "", "", "training", (rung("reservation", 0, 4), rung("spot", 0, 4)))
    assert counts(pool, 0.25) == [Amount.of(4.0), Amount(0, 0, 4)]


def test_what_replicas_need_runs_though_the_pool_may_be_empty():
    pool = Pool("p", "", "", "serving", (rung("spot", 0, 2),))
    assert counts(pool, 0.0, needed=1) == [Amount(1, 1, 2)]  # a replica that is always there, or a placeholder
    assert counts(pool, 0.0, needed=9) == [Amount(2, 2, 2)]


def group(name: str = "g", labels: dict[str, str] | None = None, **inputs) -> Resource:
    given = {"scalingConfig": {"minSize": 1, "maxSize": 3}, "instanceTypes": ["g6.xlarge"], **AWS, **inputs}
    return one("aws:eks/nodeGroup:NodeGroup", name, labels=labels or {}, **given)


def machines(found):
    (line,) = found.of(kind="compute")
    return line


def test_spot_may_become_on_demand_at_worst():
    line = machines(cost(group(capacityType="SPOT")))
    assert line.price == pytest.approx(0.8048 * 0.51)
    assert line.largest_price == pytest.approx(0.8048)
    assert "0.51 for spot" in line.source


def test_a_contract_takes_its_discount_off_reserved_machines():
    reserved = group(labels={"aicloud.dev/capacity": "reservation"})
    full = machines(cost(reserved)).per_month
    less = machines(cost(reserved, assumptions=Assumptions(reservationDiscount=0.3))).per_month
    assert full == Amount.of(pytest.approx(3 * 0.8048 * 730))
    assert less.expected == pytest.approx(full.expected * 0.7)


def test_a_capacity_block_has_a_price_or_none():
    block = {"aicloud.dev/capacity": "capacity-block"}
    assert machines(cost(group(labels=block, instanceTypes=["p5e.48xlarge"]))).price == 39.80
    found = cost(group(labels=block, instanceTypes=["p4de.24xlarge"]))
    assert found.of(kind="compute") == ()
    assert "no capacity-block price for p4de.24xlarge" in found.unpriced[0].reason


def test_a_machine_without_a_list_price_is_unpriced_and_never_free():
    found = cost(group(instanceTypes=["p5e.48xlarge"]))
    assert found.of(kind="compute") == ()
    assert "no on-demand price for p5e.48xlarge" in found.unpriced[0].reason
    assert cost(group(instanceTypes=[UNKNOWN])).unpriced[0].reason.startswith("which machines it has")


def test_of_several_machines_the_cheapest_is_expected_and_the_dearest_the_worst():
    found = cost(group(instanceTypes=["g6.xlarge", "g6.12xlarge", "p5e.48xlarge"]))
    assert (machines(found).price, machines(found).largest_price) == (0.8048, 4.6016)
    assert "p5e.48xlarge" in found.unpriced[0].reason


def test_a_pool_without_a_limit_is_unbounded_not_ignored():
    type = "kubernetes:karpenter.sh/v1:NodePool"
    requirement = {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["g6.xlarge"]}
    spec = {"template": {"spec": {"requirements": [requirement]}}}
    provider = one("pulumi:providers:aws", "p", region="us-east-1")
    pool = replace(one(type, "k", metadata={"name": "k"}, spec=spec), provider=f"{provider.urn}::1")
    found = cost(provider, pool)
    assert {line.rung for line in found.unbounded} == {"k"}


def test_other_regions_cost_their_factor_and_say_so():
    here, there = machines(cost(group())), machines(cost(group(region="ap-northeast-1")))
    assert there.price == pytest.approx(here.price * 1.45)
    assert "for ap-northeast-1" in there.source
    nowhere = machines(cost(group(region="mx-central-1")))
    assert nowhere.price == here.price
    assert "no factor is known for mx-central-1" in nowhere.source


def test_boot_disks_are_paid_with_their_machines():
    (disk,) = cost(group(diskSize=100)).of(tier="disk")
    assert disk.quantity == Amount(100, 150, 300)


# ---- single resources, as they come from anywhere


def test_sizes_that_only_the_cloud_knows_are_unpriced():
    found = cost(
        one("aws:ebs/volume:Volume", type="gp3", size=UNKNOWN, **AWS),
        one("aws:fsx/lustreFileSystem:LustreFileSystem", storageCapacity=UNKNOWN, deploymentType="SCRATCH_2", **AWS),
        one("gcp:filestore/instance:Instance", tier="ZONAL", fileShares=UNKNOWN, location="us-central1"),
    )
    assert found.lines == ()
    assert len(found.unpriced) == 3
    assert all("the plan does not tell" in gap.reason for gap in found.unpriced)


def test_unknown_types_are_listed_and_free_ones_counted():
    found = cost(one("aws:rds/instance:Instance"), one("aws:iam/role:Role"), one("kubernetes:apps/v1:Deployment"))
    assert [gap.type for gap in found.unpriced] == ["aws:rds/instance:Instance"]
    assert (found.free, found.lines) == (2, ())
    assert found.per_month == Amount()


@pytest.mark.parametrize("value", [None, UNKNOWN, [], {}, "text", 7, [UNKNOWN], {"a": UNKNOWN}])
def test_odd_plans_never_crash_it(value):
    keys = ("tags", "spec", "rules", "size", "region", "subnetIds", "lifecycleRules", "scalingConfig", "instanceTypes",
            "fileShares", "nodeConfig", "autoscaling", "lifecyclePolicies", "rootBlockDevice", "backends", "metadata",
            "subnets", "bootDisk", "scheduling", "logConfig", "minSize", "maxSize", "deploymentType", "rotationPeriod",
            "storageCapacity", "type", "throughputMode", "transitions", "internal", "ebsBlockDevices")  # fmt: skip
    for token in sorted({*HANDLERS, *READERS}):
        found = cost(one(token, "x", **dict.fromkeys(keys, value)))
        assert found.per_month.low <= found.per_month.largest, token


def test_an_instance_with_its_disks():
    found = cost(
        one("aws:ec2/instance:Instance", instanceType="t3.large",
            rootBlockDevice={"volumeType": "gp3", "volumeSize": 50},
            ebsBlockDevices=[{"volumeType": "io2", "volumeSize": 10, "iops": 500}], **AWS)
    )  # fmt: skip
    assert found.per_month == Amount.of(pytest.approx(730 * 0.0832 + 50 * 0.08 + 10 * 0.125 + 500 * 0.065))


def test_an_autoscaling_group_between_its_sizes():
    found = cost(
        one("aws:autoscaling/group:Group", minSize=1, maxSize=5, launchTemplate={"id": "lt-1"}, **AWS),
        replace(one("aws:ec2/launchTemplate:LaunchTemplate", "t", instanceType="m6i.large", **AWS), id="lt-1"),
    )
    assert machines(found).machines == Amount(1, 2, 5)
    assert machines(found).per_month.largest == pytest.approx(5 * 730 * 0.096)


def test_volumes_that_a_cluster_makes():
    claim = {"spec": {"storageClassName": "gp3", "resources": {"requests": {"storage": "100Gi"}}}}
    bound = {"spec": {"storageClassName": "", "volumeName": "there", "resources": {"requests": {"storage": "9Ti"}}}}
    provider = one("pulumi:providers:aws", "p", region="us-east-1")
    made = [
        replace(one("kubernetes:core/v1:PersistentVolumeClaim", name, **inputs), provider=f"{provider.urn}::1")
        for name, inputs in (("claim", claim), ("bound", bound))
    ]
    sets = {"spec": {"replicas": 3, "volumeClaimTemplates": [claim]}}
    made.append(replace(one("kubernetes:apps/v1:StatefulSet", "set", **sets), provider=f"{provider.urn}::1"))
    assert cost(provider, *made).per_month == Amount.of(pytest.approx((100 + 300) * 0.08))


def test_gateway_endpoints_are_free_and_interfaces_are_paid_by_zone():
    found = cost(
        one("aws:ec2/vpcEndpoint:VpcEndpoint", "s3", vpcEndpointType="Gateway", **AWS),
        one("aws:ec2/vpcEndpoint:VpcEndpoint", "ecr", vpcEndpointType="Interface", subnetIds=["a", UNKNOWN], **AWS),
    )
    assert found.free == 1
    assert found.of(kind="network")[0].per_month.low == pytest.approx(2 * 730 * 0.01)


def test_a_cluster_that_may_outlive_its_version_costs_six_times_at_worst():
    standard = cost(one("aws:eks/cluster:Cluster", upgradePolicy={"supportType": "STANDARD"}, **AWS))
    extended = cost(one("aws:eks/cluster:Cluster", upgradePolicy={"supportType": "EXTENDED"}, **AWS))
    assert standard.of(service="eks-cluster")[0].per_month == Amount.of(pytest.approx(73))
    assert extended.of(service="eks-cluster")[0].per_month.largest == pytest.approx(438)


def test_reading_existing_resources_costs_nothing():
    assert cost(replace(one("aws:ec2/natGateway:NatGateway", **AWS), external=True)).lines == ()


def test_teams_come_from_tags_of_the_resource_its_component_or_its_provider():
    parent = Resource(URN.format("my:index:Thing", "thing"), "my:index:Thing", custom=False)
    tagged = replace(one("aws:kms/key:Key", "k", tags={"owner": "a"}, **AWS), parent=parent.urn)
    untagged = replace(one("aws:ec2/natGateway:NatGateway", "n", **AWS), parent=parent.urn)
    provider = one("pulumi:providers:aws", "p", defaultTags={"tags": {"cost-center": "b"}})
    by_provider = replace(one("aws:ec2/eip:Eip", "e", **AWS), provider=f"{provider.urn}::1")
    nobody = one("aws:ec2/eip:Eip", "f", **AWS)
    found = cost(parent, tagged, untagged, provider, by_provider, nobody)
    assert {line.name: line.team for line in found.lines} == {"k": "a", "n": "a", "e": "b", "f": "untagged"}
    assert {line.name: line.component for line in found.lines}["n"] == "thing"
    assert {line.name: line.component for line in found.lines}["f"] == "aws:ec2"
