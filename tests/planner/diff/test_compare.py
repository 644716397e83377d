"""Planted changes of real environments: each is one operation, with the right reason, blast radius and nothing else."""

import re

import pytest

from planner.diff import compare
from planner.diff.properties import KNOWN_AFTER_APPLY
from tests.faults.fault import all_of, remove, the

NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
SERVING = "us-east-1-cluster-nodes-serving-l4-on-demand"
BUCKET = "aws:s3/bucket:Bucket"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"


def one(comparison, op, kind):
    """The only change of an op and type that doesn't follow from another."""
    found = [c for c in comparison.of(op) if c.type == kind and not c.follows]
    assert len(found) == 1, [(c.op, c.type, c.name) for c in comparison.changes]
    return found[0]


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_an_environment_does_not_differ_from_itself_simulated_or_not(name, simulated, environment_plan):
    known, unknown = simulated(name), environment_plan(name)
    for old, new in ((known, known), (unknown, unknown), (known, unknown), (unknown, known)):
        comparison = compare(old, new)
        assert comparison.changes == ()
        assert comparison.capacity == ()


def test_everything_of_a_new_environment_is_created_and_of_an_old_one_deleted(simulated):
    dev = simulated("dev")
    empty = type(dev).of("", "dev", [])
    managed = sum(r.custom and not r.is_provider and not r.external for r in dev)
    assert compare(empty, dev).counts == {"create": managed}
    assert compare(dev, empty).counts == {"delete": managed}
    assert all(f.rule != "renames-have-aliases" for f in compare(dev, empty).blocking)


def test_a_subnet_that_a_node_group_loses_replaces_it_and_takes_its_machines_down(simulated, edit):
    def drop(states):
        the(states, NODE_GROUP, SERVING)["inputs"]["subnetIds"].pop()

    comparison = compare(simulated("prod"), edit(simulated("prod"), drop))
    change = one(comparison, "replace", NODE_GROUP)
    assert len(comparison.changes) == 1
    assert [(p.path, p.new, p.forces) for p in change.properties] == [("subnetIds[]", None, "replace")]
    assert "us-east-1-network-private" in change.properties[0].old  # by its name, not by a made-up id
    assert not change.deletes_first
    [loss] = change.impact.capacity
    assert (loss.region, loss.purpose, loss.accelerators) == ("aws:us-east-1", "serving", True)
    assert (loss.least, loss.largest) == (2, 2)
    assert loss.share_of_region == pytest.approx(2 / 20)
    assert loss.share_of_all == pytest.approx(2 / 100)


@pytest.mark.parametrize("known", [True, False])
def test_a_cluster_with_another_name_is_replaced_and_fails(simulated, environment_plan, edit, known):
    plan = simulated("prod") if known else environment_plan("prod")

    def rename(states):
        the(states, "aws:eks/cluster:Cluster", "us-east-1")["inputs"]["name"] = "another"

    comparison = compare(plan, edit(plan, rename))
    change = one(comparison, "replace", "aws:eks/cluster:Cluster")
    assert change.reasons == ("name: cannot be changed in place",)
    serving = next(loss for loss in change.impact.capacity if loss.purpose == "serving")
    assert (serving.share_of_region, serving.share_of_all) == (1, pytest.approx(0.2))
    # The Job that migrates the tracking server's tables is called after its version and its database.
    named = tuple(re.sub(r"upgrade-[0-9a-f]+", "upgrade-…", one) for one in change.impact.workloads)
    assert named == (
        "us-east-1-learning-rate in aws:us-east-1 (1 to 4 pods)",
        "us-east-1-mlflow in aws:us-east-1 (2 pods)",
        "us-east-1-mlflow-upgrade-… in aws:us-east-1 (1 pod)",
        "us-east-1-llama-8b in aws:us-east-1 (2 pods)",
        "us-east-1-triton-prepull in aws:us-east-1 (a pod on each machine)",
        "us-east-1-triton in aws:us-east-1 (2 to 8 pods)",
        "us-east-1-triton-embeddings in aws:us-east-1 (2 to 4 pods)",
        "us-east-1-route in aws:us-east-1 (2 to 6 pods)",
    )
    # What is in the cluster by its name goes too, and nothing of another region.
    followers = [c for c in comparison.of("replace") if c.follows]
    assert {c.type for c in followers} >= {NODE_GROUP, "aws:eks/addon:Addon", "aws:eks/accessEntry:AccessEntry"}
    assert {c.region for c in comparison.changes} == {"aws:us-east-1"}
    assert {f.rule for f in comparison.blocking if f.severity == "error"} == {
        "protected-stays",
        "deletion-protection-stays",
    }
    assert "serving-stays" in {f.rule for f in comparison.blocking}
    assert comparison.capacity == ()  # the pools stay as large as they are


def test_a_larger_disk_is_a_new_template_version_and_rolls_the_machines(simulated, environment_plan, edit):
    def grow(states):
        template = the(states, "aws:ec2/launchTemplate:LaunchTemplate", SERVING)
        template["inputs"]["blockDeviceMappings"][0]["ebs"]["volumeSize"] = 500

    for plan in (simulated("prod"), environment_plan("prod")):
        comparison = compare(plan, edit(plan, grow))
        assert comparison.counts == {"update": 2}
        template = one(comparison, "update", "aws:ec2/launchTemplate:LaunchTemplate")
        assert [(p.path, p.old, p.new, p.forces) for p in template.properties] == [
            ("blockDeviceMappings[0].ebs.volumeSize", 200, 500, "")
        ]
        group = next(c for c in comparison.changes if c.type == NODE_GROUP)
        assert group.follows
        assert group.causes == (template.urn,)
        assert [(p.path, p.new) for p in group.properties] == [("launchTemplate.version", KNOWN_AFTER_APPLY)]
        assert (group.impact.kind, group.impact.capacity[0].least) == ("rolled", 2)


def test_a_network_with_another_range_takes_its_region_along(simulated, edit):
    def move(states):
        the(states, "aws:ec2/vpc:Vpc", "eu-central-1")["inputs"]["cidrBlock"] = "10.99.0.0/16"

    comparison = compare(simulated("prod"), edit(simulated("prod"), move))
    change = one(comparison, "replace", "aws:ec2/vpc:Vpc")
    assert {loss.region for loss in change.impact.capacity} == {"aws:eu-central-1"}
    assert next(loss for loss in change.impact.capacity if loss.purpose == "serving").share_of_region == 1
    assert change.impact.resources > 30
    assert comparison.changes[0] == change  # worst first


def test_a_bucket_with_another_name_is_protected_and_would_lose_its_objects(simulated, edit):
    def rename(states):
        the(states, BUCKET, "us-east-1-storage-cold-logs")["inputs"]["bucket"] = "other"

    prod = compare(simulated("prod"), edit(simulated("prod"), rename))
    change = one(prod, "replace", BUCKET)
    assert "forceDestroy is off" in change.data or change.data == "its objects"
    assert ("protected-stays", "error") in {(f.rule, f.severity) for f in prod.blocking}
    assert all(f.place for f in prod.blocking)  # the line that made it
    # Unprotected, it is the data that is warned about.
    dev = compare(simulated("dev"), edit(simulated("dev"), rename))
    assert {(f.rule, f.severity) for f in dev.blocking} == {("stored-data-stays", "warning")}
    # Its policy, versioning and the like are made anew, for the new bucket.
    assert all(c.follows for c in dev.of("replace") if c.type != BUCKET)
    assert not any(c.deletes_first for c in dev.of("replace"))


def test_a_resource_that_is_kept_on_deletion_loses_nothing(simulated, edit):
    def retain(states):
        the(states, BUCKET, "us-east-1-storage-cold-logs")["retainOnDelete"] = True

    def drop(states):
        remove(states, BUCKET, "us-east-1-storage-cold-logs")

    kept = edit(simulated("dev"), retain)
    [change] = [c for c in compare(kept, edit(kept, drop)).of("delete") if c.type == BUCKET]
    assert (change.data, change.notes) == ("", ("stays in the cloud: retainOnDelete",))


def test_more_machines_are_a_pool_that_grows(simulated, edit):
    def grow(states):
        for pool in all_of(states, "kubernetes:karpenter.sh/v1:NodePool", "serving-l4-spot"):
            pool["inputs"]["spec"]["limits"] = {"nodes": "16"}

    comparison = compare(simulated("prod"), edit(simulated("prod"), grow))
    assert {(c.region, c.old, c.new) for c in comparison.capacity} == {
        (region, (2, 20), (2, 28)) for region in ("aws:us-east-1", "aws:eu-central-1", "aws:ap-northeast-1")
    }
    assert all(change.impact is None for change in comparison.changes)
    assert not comparison.may_replace  # objects of Kubernetes are changed in place


def test_a_new_image_rolls_the_pods_and_says_so_by_container(simulated, edit):
    def update(states):
        deployment = the(states, DEPLOYMENT, "us-east-1-triton")
        deployment["inputs"]["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example.com/other:2"

    [change] = compare(simulated("prod"), edit(simulated("prod"), update)).changes
    assert [p.path for p in change.properties] == ["spec.template.spec.containers[triton].image"]
    assert (change.impact.kind, change.impact.workloads) == (
        "rolled",
        ("us-east-1-triton in aws:us-east-1 (2 to 8 pods)",),
    )


def test_a_deleted_pool_takes_its_share(simulated, edit):
    def drop(states):
        remove(states, "gcp:container/nodePool:NodePool", "europe-west4-cluster-nodes-serving-l4-on-demand")

    comparison = compare(simulated("prod"), edit(simulated("prod"), drop))
    change = one(comparison, "delete", "gcp:container/nodePool:NodePool")
    [loss] = change.impact.capacity
    assert (loss.least, loss.largest, loss.share_of_region) == (2, 12, pytest.approx(12 / 20))
    assert change.impact.kind == "gone"
    [pool] = comparison.capacity
    assert (pool.old, pool.new) == ((2, 20), (0, 8))


def test_a_deployment_with_other_labels_is_replaced_old_one_first(simulated, edit):
    def relabel(states):
        deployment = the(states, DEPLOYMENT, "us-east-1-triton")
        deployment["inputs"]["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] = "other"

    [change] = compare(simulated("prod"), edit(simulated("prod"), relabel)).of("replace")
    assert change.deletes_first  # both would have the same name
    assert change.reasons[0].startswith("spec.selector")
    assert change.impact.kind == "replaced"


def test_a_drained_region_says_which_traffic_stops(simulated, edit):
    def drain(states):
        for backend in the(states, "gcp:compute/backendService:BackendService")["inputs"]["backends"][3:]:
            backend["capacityScaler"] = 0

    [change] = compare(simulated("prod"), edit(simulated("prod"), drain)).changes
    assert change.impact.kind == "drained"
    assert all("asia-southeast1" in phrase for phrase in change.impact.traffic)
