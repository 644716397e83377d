"""Everything important of a plan is in the picture, and nothing that is not there."""

from __future__ import annotations

from collections import Counter

import pytest

from planner.diagram import Box, Picture, picture
from planner.diagram.tiers import stores
from planner.inventory import Inventory
from planner.inventory.front_door import front_doors
from planner.inventory.networks import networks
from planner.inventory.serverless import serverless
from planner.plan import Plan
from tests.planner.diagram import strangers

ENVIRONMENTS = ("dev", "staging", "prod")


def of_kind(found: Picture, kind: str) -> list[Box]:
    return [box for box in found.boxes.values() if box.kind == kind]


def flows(found: Picture, kind: str) -> set[tuple[str, str]]:
    """(source, target) by the ends' kinds and titles' owners: names of resources, without types."""
    return {
        (flow.source.split("::")[-1], flow.target.split("::")[-1]) for flow in found.flows if flow.kind == kind
    }  # fmt: skip


def places(found: Picture, urn: str) -> set[str]:
    """Boxes at which a flow to a workload may end: its own, and the group's in which it stands with others."""
    return {urn} | {group.id for group in of_kind(found, "group") if any(box.id == urn for box in group.children)}


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def inventory(request, simulated_plan) -> Inventory:
    return Inventory(simulated_plan(request.param))


def test_every_region_cluster_and_pool_is_there_once(inventory):
    found = picture(inventory)
    regions = {cluster.region for cluster in inventory.clusters}
    assert {box.id for box in of_kind(found, "region")} == {f"region:{region}" for region in regions}
    assert [box.id for box in of_kind(found, "cluster")] == [
        cluster.urn for region in of_kind(found, "region") for cluster in inventory.clusters
        if cluster.region == region.id.removeprefix("region:")
    ]  # fmt: skip
    for cluster in inventory.clusters:
        box = found.boxes[cluster.urn]
        assert cluster.version in box.title
        pools = [inside for inside in box if inside.kind == "pool"]
        assert {inside.id.rsplit(":", 1)[-1] for inside in pools} == {pool.name for pool in cluster.pools}


def test_a_pool_says_its_machines_and_its_ladder_in_order(inventory):
    found = picture(inventory)
    for pool in (pool for cluster in inventory.clusters for pool in cluster.pools):
        box = found.boxes[f"pool:{pool.cluster}:{pool.name}"]
        assert [row.mark for row in box.rows if row.mark] == [rung.kind for rung in pool.rungs]
        said = " ".join(row.text for row in box.rows)
        assert all(name in said for rung in pool.rungs for name in rung.machine_types)
        ladder = [row for row in box.rows if row.mark]
        for rung, row in zip(pool.rungs, ladder, strict=True):
            assert row.note.split("\N{EN DASH}")[0] == str(rung.min)
            assert row.note.split("\N{EN DASH}")[-1] == str(rung.max)


def test_every_network_and_zone_is_there(inventory):
    found = picture(inventory)
    for network in networks(inventory):
        if not network.clusters:
            continue  # the fabric's networks are counted beside the cluster's
        box = found.boxes[network.urn]
        zones = {zone for cluster in inventory.clusters if cluster.urn in network.clusters
                 for rung in cluster.rungs for zone in rung.zones}  # fmt: skip
        letters = next(row.text for row in box.rows if row.text.startswith("zone"))
        assert len(zones) == letters.count(",") + 1


def test_every_store_is_there_and_the_second_copies_are_fed(inventory):
    found = picture(inventory)
    for store in stores(inventory):
        assert store.urn in found.boxes
        for source in store.copy_of:
            assert any((f.source, f.target, f.kind) == (source, store.urn, "replication") for f in found.flows)


def test_requests_lead_from_the_clients_to_every_server(inventory):
    found = picture(inventory)
    ahead: dict[str, set[str]] = {}
    for flow in found.flows:
        if flow.kind == "requests":
            ahead.setdefault(flow.source, set()).add(flow.target)
    reached, todo = set(), ["clients"]
    while todo:
        todo += [target for target in ahead.get(todo.pop(), ()) if target not in reached and not reached.add(target)]
    for door in front_doors(inventory):
        assert door.name in {box.title for box in of_kind(found, "name")}
        for target in door.targets:
            assert all(places(found, workload) & reached for workload in target.workloads)


def test_models_come_from_the_bucket_of_their_region(inventory):
    found = picture(inventory)
    models = [flow for flow in found.flows if flow.kind == "models"]
    servers = [
        one for one in inventory.workloads for first in one.spec.get("initContainers", ()) if first["name"] == "fetch"
    ]
    services = [one for one in serverless(inventory) if one.urn in found.boxes]
    assert {one.cluster for one in servers} == {one.urn for one in inventory.clusters}
    # Some read the region's own copy, which a Job makes.
    for one in servers:
        copied = any(str(word).startswith("file:") for first in one.spec["initContainers"] for word in first["args"])
        assert copied or len([flow for flow in models if flow.target in places(found, one.urn)]) == 1
    assert services
    assert {one.urn for one in services} <= {flow.target for flow in models}
    for flow in models:
        # A group's id ends in its cluster's.
        target = flow.target.split(":", 2)[2] if flow.target.startswith("group:") else flow.target
        assert inventory.regions[flow.source] == inventory.regions[target]


def test_jobs_stand_in_their_region_with_their_queue_and_their_data(simulated_plan):
    inventory = Inventory(simulated_plan("prod"))
    found = picture(inventory)
    jobs = [one for one in inventory.workloads if one.kind in ("TrainJob", "RayJob") or one.queue == "training"]
    assert {one.kind for one in jobs} >= {"TrainJob"}
    for one in jobs:
        box = found.boxes[one.urn]
        assert (box.look, "queue") == ("training", [row.text for row in box.rows][-1])
        region = next(root for root in found.boxes.values() if root.id == f"region:{one.region}")
        assert box in list(region)
        assert any(flow.target in places(found, one.urn) and flow.kind == "data" for flow in found.flows)
    # No part is a box of its own.
    assert len([box for box in of_kind(found, "workload") if box.look == "training"]) == len({one.urn for one in jobs})


def test_totals_are_those_of_the_rungs(inventory):
    low, high = Counter(), Counter()
    for rung in (rung for cluster in inventory.clusters for rung in cluster.rungs):
        for machine in rung.machines[:1]:
            if accelerator := getattr(machine, "accelerator", ""):
                low[accelerator] += machine.count * rung.min
                high[accelerator] += machine.count * rung.max
    fact = next(fact for fact in picture(inventory).facts if fact.startswith("Accelerators"))
    for accelerator, most in high.items():
        assert f"{low[accelerator]:,}\N{EN DASH}{most:,} {accelerator}" in fact


def test_what_prod_shows(simulated_plan):
    found = picture(Inventory(simulated_plan("prod")))
    assert found.facts[0].startswith("5 regions of 2 clouds · 5 replica regions · 5 clusters")
    assert [box.title for box in of_kind(found, "entry")] == ["Global Accelerator", "Global external load balancer"]
    assert ("us-east-1-storage-cold", "us-east-1-storage-hot") in flows(found, "data")
    assert len(flows(found, "replication")) == 5
    hot = {box.note for box in of_kind(found, "tier") if box.look == "hot"}
    assert hot == {"36,000 GiB"}


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_values_that_only_the_cloud_knows_change_no_box_and_no_flow(environment_plan, simulated_plan, name):
    unknown, known = (picture(Inventory(plan(name))) for plan in (environment_plan, simulated_plan))
    assert unknown.boxes.keys() == known.boxes.keys()
    assert unknown.flows == known.flows


def test_a_stack_export_gives_the_same_picture(simulated_plan):
    plan = simulated_plan("dev")
    assert picture(Inventory(Plan.from_json(plan.to_json()))) == picture(Inventory(plan))


@pytest.mark.parametrize("maker", strangers.PLANS.values(), ids=strangers.PLANS.keys())
def test_a_plan_of_other_people_is_a_picture(maker):
    found = picture(Inventory(maker()))
    assert found.title
    assert found.clouds
    assert all(flow.source in found.boxes and flow.target in found.boxes for flow in found.flows)


def test_a_plain_cluster_with_its_network_nodes_buckets_and_database():
    found = picture(Inventory(strangers.plain_eks()))
    assert [box.title for box in of_kind(found, "network")] == ["VPC 10.0.0.0/16"]
    assert [box.title for box in of_kind(found, "cluster")] == ["EKS 1.34 · shop"]
    assert [(box.title, box.note) for box in of_kind(found, "pool")] == [("workers", "2\N{EN DASH}6")]
    assert [box.title for box in of_kind(found, "tier")][-1] == "cold · 4 more"
    assert any(row.text == "RDS Instance" for box in of_kind(found, "rest") for row in box.rows)


def test_without_a_cluster_it_shows_what_there_is():
    found = picture(Inventory(strangers.no_cluster()))
    rows = {row.text: row.note for box in of_kind(found, "rest") for row in box.rows}
    assert rows == {"DynamoDB Table": "1", "Lambda Function": "3"}


def test_two_regions_can_be_each_others_second_copy():
    found = picture(Inventory(strangers.mutual_replication()))
    assert flows(found, "replication") == {
        ("data-us-east-1", "data-us-west-2"), ("data-us-west-2", "data-us-east-1"),
    }  # fmt: skip
    assert len(of_kind(found, "region")) == 2
