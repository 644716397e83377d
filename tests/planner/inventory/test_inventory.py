"""What is read from plans: clusters, pools rung by rung, pods; with values known and unknown, and of other people."""

import base64
import json

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s
import pytest

from planner.inventory import Inventory, Taint
from planner.plan import Plan
from tests.support import plan_of


@pytest.fixture(scope="session", params=["as a preview knows it", "as if it were up"])
def prod(request, environment_plan, simulated_plan):
    return Inventory((environment_plan if "preview" in request.param else simulated_plan)("prod"))


def pools(inventory, region):
    (cluster,) = [cluster for cluster in inventory.clusters if cluster.region == region]
    return {pool.name: pool for pool in cluster.pools}


def test_every_cluster_has_its_region_version_network_and_provider(prod):
    assert {c.name: c.region for c in prod.clusters} == {
        "us-east-1-cluster": "aws:us-east-1",
        "eu-central-1-cluster": "aws:eu-central-1",
        "ap-northeast-1-cluster": "aws:ap-northeast-1",
        "europe-west4-cluster": "gcp:europe-west4",
        "asia-southeast1-cluster": "gcp:asia-southeast1",
    }
    for cluster in prod.clusters:
        assert cluster.version == "1.35"
        assert cluster.network.endswith(f"::{cluster.name.removesuffix('-cluster')}-network")
        assert len(cluster.providers) == 1


def test_a_pool_on_eks_has_standing_machines_and_then_its_ladder(prod):
    pool = pools(prod, "aws:us-east-1")["serving-l4"]
    assert pool.purpose == "serving"
    assert [(r.manager, r.kind, r.min, r.max) for r in pool.rungs] == [
        ("eks", "on-demand", 2, 2),
        ("karpenter", "spot", 0, 8),
        ("karpenter", "on-demand", 0, 10),
    ]
    for rung in pool.rungs:
        assert rung.machine_types == ("g6.xlarge",)
        assert rung.zones == ("us-east-1a", "us-east-1b", "us-east-1c")
        assert rung.taints == (Taint("nvidia.com/gpu", "present", "NoSchedule"),)
        assert rung.labels["aicloud.dev/accelerator"] == "l4"
        assert rung.accelerators == 1
        assert rung.local_nvme_raid
        assert (rung.disk_gib, rung.disk_type) == (200, "gp3")


def test_a_pool_with_fabric_on_eks(prod):
    (rung,) = pools(prod, "aws:us-east-1")["training-h100-base"].rungs
    assert (rung.kind, rung.reservations) == ("reservation", ("cr-0123456789abcdef0",))
    assert (rung.fabric_interfaces, rung.accelerators, rung.min) == (32, 8, 2)
    blocks, *_ = pools(prod, "aws:us-east-1")["training-h100"].rungs
    assert (blocks.kind, blocks.reservations, blocks.max) == ("capacity-block", ("cr-0123456789abcdef1",), 8)


def test_a_pool_on_gke_has_the_order_of_its_compute_class(prod):
    pool = pools(prod, "gcp:europe-west4")["training-h100"]
    assert [(r.name, r.kind, r.min, r.max) for r in pool.rungs] == [
        ("training-h100-reservation", "reservation", 0, 4),
        ("training-h100-flex-start", "flex-start", 0, 8),
        ("training-h100-spot", "spot", 0, 4),
    ]
    assert {r.fabric_interfaces for r in pool.rungs} == {8}
    assert pool.rungs[0].reservations == ("training-h100",)
    assert pool.rungs[2].spot
    assert (pool.min, pool.max) == (0, 16)


def test_every_rung_has_a_machine_that_the_catalog_knows(prod):
    for cluster in prod.clusters:
        assert cluster.rungs
        for rung in cluster.rungs:
            assert len(rung.machines) == len(rung.machine_types) == 1, rung.name
            assert len(rung.zones) == 3 or rung.pool == "training-h100-base"
            assert rung.cluster == cluster.urn


def test_pods_are_in_their_cluster_and_namespace_and_scale_as_their_autoscaler_says(prod):
    deployments = [workload for workload in prod.workloads if workload.kind == "Deployment"]
    servers = [workload for workload in deployments if workload.namespace == "serving"]
    proxies = [workload for workload in deployments if workload.namespace == "gateway"]
    placeholders = [workload for workload in servers if workload.name.endswith("-warm")]
    servers = [workload for workload in servers if workload not in placeholders]
    assert (len(servers), len(proxies), len(placeholders)) == (10, 5, 1)
    assert {(workload.min_replicas, workload.max_replicas) for workload in proxies} == {(2, 6)}
    for workload in servers:
        most = 4 if workload.name.endswith("-embeddings") else 8
        assert (workload.min_replicas, workload.max_replicas, workload.gang) == (2, most, False)
        assert prod.plan.by_urn[workload.cluster].type.endswith(":Cluster")
        assert prod.regions[workload.cluster] == workload.region
        assert workload.labels["app.kubernetes.io/name"] == "triton"
        assert workload.spec["nodeSelector"]["aicloud.dev/pool"] == "serving-l4"


def test_training_jobs_are_their_runtimes_pods(prod):
    jobs = {workload.name: workload for workload in prod.workloads if workload.kind == "TrainJob"}
    gang = jobs["us-east-1-llama-8b"]
    assert (gang.min_replicas, gang.max_replicas, gang.gang, gang.queue) == (2, 2, True, "training")
    assert prod.regions[gang.cluster] == gang.region == "aws:us-east-1"
    (node,) = gang.spec["containers"]
    assert node["args"][node["args"].index("-m") + 1] == "workloads.training"
    assert node["resources"]["limits"]["vpc.amazonaws.com/efa"] == "32"
    assert [one["name"] for one in gang.spec["initContainers"]] == ["health"]
    assert gang.job["podFailurePolicy"]["rules"]


def test_dev_shares_its_gpus_by_time_slicing(environment_plan):
    (rung,) = pools(Inventory(environment_plan("dev")), "aws:us-east-1")["serving-l4"].rungs
    assert rung.gpu_replicas == 2


def other_program():
    """Somebody's own cluster, without any of our labels."""
    role = "arn:aws:iam::123456789012:role/them"
    cluster = aws.eks.Cluster("them", role_arn=role, version="1.34", vpc_config={"subnet_ids": ["subnet-1"]})
    config = "apiVersion: node.eks.aws/v1alpha1\nspec: {instance: {localStorage: {strategy: RAID0}}}\n"
    template = aws.ec2.LaunchTemplate(
        "machines", instance_type="p5.48xlarge", user_data=base64.b64encode(config.encode()).decode()
    )
    aws.eks.NodeGroup(
        "gpu",
        cluster_name=cluster.name,
        node_role_arn=role,
        subnet_ids=["subnet-1"],
        scaling_config={"min_size": 1, "max_size": 4, "desired_size": 1},
        launch_template={"id": template.id, "version": "1"},
        capacity_type="SPOT",
    )
    kubeconfig = cluster.endpoint.apply(lambda endpoint: json.dumps({"server": endpoint}))
    provider = k8s.Provider("them", kubeconfig=kubeconfig)
    options = pulumi.ResourceOptions(provider=provider)
    container = {"name": "train", "image": "them/train:1"}
    pod = {"metadata": {"labels": {"app": "train"}}, "spec": {"containers": [container], "restartPolicy": "Never"}}
    k8s.batch.v1.Job("train", spec={"parallelism": 4, "completions": 4, "template": pod}, opts=options)
    k8s.batch.v1.CronJob(
        "nightly", spec={"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": pod}}}, opts=options
    )
    agent = {"selector": {"matchLabels": {"app": "train"}}, "template": pod | {"spec": {"containers": [container]}}}
    k8s.apps.v1.DaemonSet("agent", spec=agent, opts=options)
    k8s.apiextensions.CustomResource(
        "gang",
        api_version="jobset.x-k8s.io/v1alpha2",
        kind="JobSet",
        metadata={"name": "gang", "labels": {"kueue.x-k8s.io/queue-name": "research"}},
        spec={
            "replicatedJobs": [
                {"name": "leader", "replicas": 1, "template": {"spec": {"parallelism": 1, "template": pod}}},
                {"name": "worker", "replicas": 2, "template": {"spec": {"parallelism": 8, "template": pod}}},
            ]
        },
        opts=options,
    )


@pytest.mark.parametrize("simulate_up", [False, True])
def test_other_peoples_clusters_and_pods_are_read_as_well(simulate_up):
    inventory = Inventory(plan_of(other_program, simulate_up=simulate_up))
    (cluster,) = inventory.clusters
    assert (cluster.version, cluster.region, len(cluster.providers)) == ("1.34", "aws:us-east-1", 1)
    (pool,) = cluster.pools
    assert (pool.name, pool.purpose, pool.min, pool.max) == ("gpu", "", 1, 4)
    (rung,) = pool.rungs
    assert (rung.kind, rung.machine_types, rung.accelerators) == ("spot", ("p5.48xlarge",), 8)
    assert rung.local_nvme_raid
    found = {(w.kind, w.part): w for w in inventory.workloads}
    assert {key: (w.max_replicas, w.gang, w.cluster) for key, w in found.items()} == {
        ("Job", ""): (4, True, cluster.urn),
        ("CronJob", ""): (1, False, cluster.urn),
        ("DaemonSet", ""): (0, False, cluster.urn),
        ("JobSet", "leader"): (1, False, cluster.urn),
        ("JobSet", "worker"): (16, True, cluster.urn),
    }
    assert found["JobSet", "worker"].queue == "research"


def test_an_empty_plan_amounts_to_nothing():
    inventory = Inventory(Plan.of("p", "s", []))
    assert (inventory.clusters, inventory.workloads, inventory.regions) == ((), (), {})


def test_a_plan_of_odd_shapes_is_read_as_far_as_it_goes():
    odd = [None, 3, "x", [], {}, [3], {"spec": 3}]
    states = [
        {"urn": f"urn:pulumi:s::p::{type}::{index}", "type": type, "custom": True, "inputs": inputs}
        for type in (
            "aws:eks/cluster:Cluster", "aws:eks/nodeGroup:NodeGroup", "kubernetes:karpenter.sh/v1:NodePool",
            "gcp:container/nodePool:NodePool", "kubernetes:apps/v1:Deployment", "kubernetes:x.y/v1:Thing",
            "kubernetes:autoscaling/v2:HorizontalPodAutoscaler", "kubernetes:cloud.google.com/v1:ComputeClass",
            "kubernetes:helm.sh/v3:Release",
        )
        for index, inputs in enumerate(
            {"spec": o, "metadata": o, "scalingConfig": o, "nodeConfig": o, "launchTemplate": o, "autoscaling": o,
             "values": o, "labels": o, "taints": o, "nodeLocations": o, "subnetIds": o, "clusterName": o}
            for o in odd
        )
    ]  # fmt: skip
    inventory = Inventory(Plan.from_json(json.dumps({"version": 3, "deployment": {"resources": states}})))
    assert len(inventory.clusters) == len(odd)
    assert inventory.workloads == ()
