"""TrainingQueue: quotas are what the pools hold, flavors what the nodes are, and serving gets back what it lends."""

from __future__ import annotations

import copy
import re
from functools import cache
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pytest

from components import labels
from components.accelerators import MACHINES
from components.cluster import GpuCluster
from components.inference import TritonInference
from components.training import TrainingQueue
from components.training.flavors import PLACED, TOPOLOGY_LEVELS
from components.training.queues import PRIORITIES
from planner.engine import PreviewFailed
from planner.plan import Plan
from tests.components.clusters import CLOUDS, FLEX, SERVE, TRAIN, depends, objects, releases
from tests.components.test_inference import AWS as SERVER
from tests.support import plan_of

WHOLE: dict[str, Any] = {**SERVE, "name": "whole", "gpu_sharing": None}
"""Serving machines whose GPUs are not shared: what training may borrow."""
SLICED: dict[str, Any] = {
    **SERVE,
    "name": "sliced",
    "accelerator": "a100-80gb",
    "gpu_sharing": {"mode": "mig", "profile": "1g.10gb"},
}


def pools_of(cloud: str) -> list[dict[str, Any]]:
    return [*CLOUDS[cloud]["node_pools"], WHOLE]


def plan_with(
    cloud: str, pools: list[dict[str, Any]] | None = None, cluster: bool = False, more: Any = None, **changes: Any
) -> Plan:
    """A queue for these pools; with `cluster` in a cluster that has them."""
    more = {**(more or {}), **changes}

    def program() -> None:
        arguments = copy.deepcopy(CLOUDS[cloud])
        arguments["node_pools"] = copy.deepcopy(pools_of(cloud) if pools is None else pools)
        opts = pulumi.ResourceOptions(provider=k8s.Provider("other", kubeconfig="{}"))
        if cluster:
            made = GpuCluster("main", arguments)  # type: ignore[arg-type]
            opts = pulumi.ResourceOptions(providers=[made.kubernetes], depends_on=made.addons)
        queue = TrainingQueue(
            "queue",
            {
                "cloud": cloud,
                "region": arguments["region"],
                "node_pools": arguments["node_pools"],
                "namespaces": ["training", "research"],
                **more,
            },  # type: ignore[typeddict-item]
            opts,
        )
        for output in ("queue", "cluster_queue", "serving_cluster_queue"):
            pulumi.export(output, getattr(queue, output))

    return plan_of(program)


@cache
def default(cloud: str) -> Plan:
    return plan_with(cloud, cluster=True)


def spec(plan: Plan, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = objects(plan, kind)[name].inputs["spec"]
    return found


def quotas(plan: Plan, queue: str) -> dict[str, dict[str, Any]]:
    """Flavor -> its quota, in the queue's order."""
    found = {}
    for group in spec(plan, "ClusterQueue", queue).get("resourceGroups", []):
        for flavor in group["flavors"]:
            (quota,) = flavor["resources"]
            assert [quota["name"]] == group["coveredResources"]
            found[flavor["name"]] = {key: value for key, value in quota.items() if key != "name"}
    return found


# ---- quotas, and their order


def test_quotas_are_devices_of_the_pools_at_their_largest_in_the_order_of_the_pools() -> None:
    plan = default("aws")
    assert list(quotas(plan, "training").items()) == [
        ("batch-ladder", {"nominalQuota": 32}),  # 4 machines, 8 GPUs each, whichever rung they come from
        ("train-on-demand", {"nominalQuota": 32}),
        ("block-capacity-block", {"nominalQuota": 32}),
        ("whole-ladder", {"nominalQuota": 0}),  # borrowed
    ]
    assert quotas(plan, "serving") == {
        "serve-ladder": {"nominalQuota": 40, "lendingLimit": 32},  # 10 machines, 4 slices each
        "whole-ladder": {"nominalQuota": 10, "lendingLimit": 8},  # what always stands is not lent
    }
    assert (plan.outputs["queue"], plan.outputs["cluster_queue"]) == ("training", "training")
    assert plan.outputs["serving_cluster_queue"] == "serving"


def test_rungs_of_a_named_pool_share_its_maximum_in_the_ladders_order() -> None:
    ladder = [
        {"kind": "reservation", "reservations": ["res"], "ceiling": 3},
        {"kind": "flex-start"},
        {"kind": "on-demand", "floor": 1, "ceiling": 2},
    ]
    pool = {**FLEX, "max": 6, "ladder": ladder}
    assert list(quotas(plan_with("gcp", [pool]), "training").items()) == [("batch-ladder", {"nominalQuota": 48})]
    plan = plan_with("gcp", [pool], whole_rungs=["batch"])
    assert list(quotas(plan, "training").items()) == [
        ("batch-reservation", {"nominalQuota": 24}),
        ("batch-flex-start", {"nominalQuota": 16}),  # 6, less three above it and the one that stands below
        ("batch-on-demand", {"nominalQuota": 8}),
    ]
    assert spec(plan, "ResourceFlavor", "batch-flex-start")["nodeLabels"]["aicloud.dev/capacity"] == "flex-start"


def test_every_kind_of_accelerator_is_counted_by_its_own_resource() -> None:
    tpu = {**FLEX, "name": "tpu", "accelerator": "tpu-v5e", "accelerators_per_machine": 4, "fabric": False,
           "local_nvme_raid": False, "ladder": [{"kind": "spot"}]}  # fmt: skip
    plan = plan_with("gcp", [SLICED, tpu, {**tpu, "name": "cpu", "accelerator": None, "ladder": [{"kind": "spot"}]}])
    groups = spec(plan, "ClusterQueue", "training")["resourceGroups"]
    assert [group["coveredResources"] for group in groups] == [["google.com/tpu"]]
    assert quotas(plan, "training") == {"tpu-ladder": {"nominalQuota": 16}}
    # Seven 1g.10gb of each A100: counted as pods see them, and lent to nobody who asks for whole GPUs.
    assert quotas(plan, "serving") == {"sliced-ladder": {"nominalQuota": 70, "lendingLimit": 56}}
    assert [t["key"] for t in spec(plan, "ResourceFlavor", "tpu-ladder")["tolerations"]] == [
        "google.com/tpu",
        labels.PURPOSE,
    ]


def test_without_accelerators_jobs_are_admitted_and_nothing_is_counted() -> None:
    cpu = {"name": "cpu", "purpose": "training", "min": 0, "max": 3, "ladder": [{"kind": "spot"}]}
    plan = plan_with("aws", [cpu])
    assert not objects(plan, "ResourceFlavor")
    assert "resourceGroups" not in spec(plan, "ClusterQueue", "training")
    assert set(objects(plan, "ClusterQueue")) == {"training"}


# ---- lending


def test_idle_serving_quota_is_borrowed_last_and_taken_back_from_anyone() -> None:
    plan = default("gcp")
    training, serving = spec(plan, "ClusterQueue", "training"), spec(plan, "ClusterQueue", "serving")
    assert training["cohortName"] == serving["cohortName"] == "accelerators"
    assert "accelerators" in objects(plan, "Cohort")
    assert list(quotas(plan, "training"))[-1] == "whole-ladder"
    assert training["flavorFungibility"]["whenCanBorrow"] == "TryNextFlavor"
    assert serving["preemption"]["reclaimWithinCohort"] == "Any"
    # Training takes nothing from serving: it only takes back what others borrowed, from below its own priority, and
    # serving has nothing of training's to give back.
    assert training["preemption"]["borrowWithinCohort"] == {"policy": "Never"}
    assert training["preemption"]["reclaimWithinCohort"] == "LowerPriority"
    assert not {name for name, quota in quotas(plan, "training").items() if quota["nominalQuota"]} & set(
        quotas(plan, "serving")
    )
    assert max(PRIORITIES, key=lambda name: PRIORITIES[name][0]) == "serving"


def test_without_lending_serving_has_no_queue_and_training_only_its_own() -> None:
    plan = plan_with("aws", lend_serving=False)
    assert set(objects(plan, "ClusterQueue")) == {"training"}
    assert set(quotas(plan, "training")) == {"batch-ladder", "train-on-demand", "block-capacity-block"}
    assert set(objects(plan, "ResourceFlavor")) == set(quotas(plan, "training"))
    assert plan.outputs["serving_cluster_queue"] == ""


def test_priorities_are_in_order() -> None:
    found = objects(default("aws"), "WorkloadPriorityClass")
    values = {name: one.inputs["value"] for name, one in found.items()}
    assert sorted(values, key=values.__getitem__) == ["training-low", "training-normal", "training-high", "serving"]
    assert len(set(values.values())) == 4
    assert all(one.inputs["description"] for one in found.values())


# ---- queues


@pytest.mark.parametrize("cloud", CLOUDS)
def test_each_namespace_gets_a_queue_and_the_label_by_which_kueue_sees_it(cloud: str) -> None:
    plan = default(cloud)
    queues = [r for r in plan if r.inputs.get("kind") == "LocalQueue"]
    patched = {r.inputs["metadata"]["name"]: r for r in plan.of_type("kubernetes:core/v1:NamespacePatch")}
    assert {q.inputs["metadata"]["namespace"] for q in queues} == set(patched) == {"training", "research"}
    for queue in queues:
        assert queue.inputs["metadata"]["name"] == "training"
        assert queue.inputs["spec"] == {"clusterQueue": "training"}
        assert depends(plan, queue, objects(plan, "ClusterQueue")["training"])
        assert depends(plan, queue, patched[queue.inputs["metadata"]["namespace"]])
    assert all(one.inputs["metadata"]["labels"] == {labels.QUEUED: "true"} for one in patched.values())
    (who,) = spec(plan, "ClusterQueue", "training")["namespaceSelector"]["matchExpressions"]
    assert who == {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["research", "training"]}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_all_of_it_comes_after_kueue_and_goes_before_it(cloud: str) -> None:
    plan = default(cloud)
    kueue = releases(plan)["kueue"]
    made = [r for r in plan if str(r.inputs.get("apiVersion", "")).startswith("kueue.x-k8s.io/")]
    assert {r.inputs["apiVersion"] for r in made} == {"kueue.x-k8s.io/v1beta2"}
    assert len(made) == 1 + len(objects(plan, "ResourceFlavor")) + 1 + 2 + 4 + 2
    for one in made:
        assert depends(plan, one, kueue), one.name
    for queue in objects(plan, "ClusterQueue").values():
        for name in quotas(plan, queue.inputs["metadata"]["name"]):
            assert depends(plan, queue, objects(plan, "ResourceFlavor")[name])


# ---- flavors and the nodes that GpuCluster makes


def nodes_of(plan: Plan) -> list[dict[str, Any]]:
    """Labels, taints and number at most of every kind of node that a plan makes, with whatever manages them."""
    found = []
    for group in plan.of_type("aws:eks/nodeGroup:NodeGroup"):
        taints = {(t["key"], t["value"], t["effect"]) for t in group.inputs.get("taints", [])}
        size = group.inputs["scalingConfig"]["maxSize"]
        found.append({"labels": group.inputs.get("labels", {}), "taints": taints, "most": size})
    for pool in plan.of_type("kubernetes:karpenter.sh/v1:NodePool"):
        template = pool.inputs["spec"]["template"]
        taints = {(t["key"], t["value"], t["effect"]) for t in template["spec"]["taints"]}
        size = int(pool.inputs["spec"]["limits"]["nodes"])
        found.append({"labels": template["metadata"]["labels"], "taints": taints, "most": size})
    for pool in plan.of_type("gcp:container/nodePool:NodePool"):
        config = pool.inputs["nodeConfig"]
        taints = {(t["key"], t["value"], t["effect"]) for t in config.get("taints", [])}
        size = pool.inputs.get("nodeCount") or pool.inputs.get("autoscaling", {}).get("totalMaxNodeCount", 0)
        found.append({"labels": config.get("labels", {}), "taints": taints, "most": size})
    return found


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("cloud", CLOUDS)
def test_flavors_are_the_nodes_of_the_same_pools(cloud: str, whole: bool) -> None:
    extra = [{"key": "example.com/team", "value": "vision", "effect": "NoExecute"}]
    pools = [{**pool, "taints": extra} if pool["name"] == "batch" else pool for pool in pools_of(cloud)]
    (batch,) = [pool for pool in pools if pool["name"] == "batch"]
    # Of rungs without ceilings the first gets the whole quota.
    batch["ladder"] = [{**rung, "ceiling": 2} for rung in batch["ladder"]][: 3 if not whole else 2]
    plan = plan_with(cloud, pools, cluster=True, whole_rungs=["batch"] if whole else [])
    nodes, matched = nodes_of(plan), []
    for name, flavor in objects(plan, "ResourceFlavor").items():
        wanted = flavor.inputs["spec"]["nodeLabels"]
        mine = [node for node in nodes if wanted.items() <= node["labels"].items()]
        assert mine, f"no node has the labels of {name}"
        tolerated = {(t["key"], t["value"], t["effect"].upper().replace("NO", "NO_")) for t in
                     flavor.inputs["spec"]["tolerations"]}  # fmt: skip
        for node in mine:
            effects = {(key, value, effect.upper().replace("_", "").replace("NO", "NO_"))
                       for key, value, effect in node["taints"]}  # fmt: skip
            assert effects == tolerated, name
        (pool,) = [pool for pool in pools if pool["name"] == wanted[labels.POOL]]
        assert wanted[labels.ACCELERATOR] == pool["accelerator"]
        if cloud == "gcp":
            assert wanted[labels.COMPUTE_CLASS] in objects(plan, "ComputeClass")
        quota = next(
            q["nominalQuota"] for queue in ("training", "serving")
            for other, q in quotas(plan, queue).items() if other == name and q["nominalQuota"]
        )  # fmt: skip
        devices = {"batch": 8, "train": 8, "block": 8, "serve": 4, "whole": 1}[pool["name"]]
        assert quota <= sum(node["most"] for node in mine) * devices
        matched += [id(node) for node in mine]
    # No node is in two flavors, and none with accelerators in none.
    assert len(set(matched)) == len(matched)
    assert set(matched) == {id(node) for node in nodes if labels.ACCELERATOR in node["labels"]}


# ---- topology


@pytest.mark.parametrize("cloud", CLOUDS)
def test_only_machines_that_always_stand_are_chosen_by_their_place(cloud: str) -> None:
    plan = default(cloud)
    (topology,) = objects(plan, "Topology").values()
    levels = [level["nodeLabel"] for level in topology.inputs["spec"]["levels"]]
    assert tuple(levels) == TOPOLOGY_LEVELS[cloud]
    assert levels[-1] == "kubernetes.io/hostname"
    static = {pool["name"] for pool in pools_of(cloud) if pool.get("static")}
    with_topology = {
        flavor.inputs["spec"]["nodeLabels"][labels.POOL]
        for flavor in objects(plan, "ResourceFlavor").values()
        if flavor.inputs["spec"].get("topologyName") == topology.inputs["metadata"]["name"]
    }
    assert with_topology == static
    assert not objects(plan_with(cloud, [WHOLE, FLEX] if cloud == "gcp" else [WHOLE]), "Topology")


def test_machines_that_no_cloud_tells_the_place_of_are_not_asked_for_it() -> None:
    # kubernetes/cloud-provider-aws, pkg/providers/v1/topology.go, defaultSupportedTopologyInstanceTypePattern
    labelled = re.compile(r"^(hpc|trn|p)[0-9]+[a-z]*(-[a-z0-9]+)?(\.[0-9a-z]*)$")
    fabric = [machine for machine in MACHINES if machine.fabric]
    for machine in fabric:
        told = bool(PLACED[machine.cloud].fullmatch(machine.name))
        assert told is (machine.cloud == "gcp" or bool(labelled.match(machine.name))), machine.name
    assert {"p5.48xlarge", "g6.48xlarge", "a3-megagpu-8g"} <= {machine.name for machine in fabric}
    pool = {**TRAIN, "accelerator": "l4", "machine_type": "g6.48xlarge"}
    plan = plan_with("aws", [pool])
    assert not objects(plan, "Topology")
    assert "topologyName" not in spec(plan, "ResourceFlavor", "train-on-demand")


# ---- a server that is counted


def server(queue: Any, **changes: Any) -> Plan:
    def program() -> None:
        provider = k8s.Provider("cluster", kubeconfig="{}")
        opts = pulumi.ResourceOptions(providers=[provider])
        TritonInference("chat", {**SERVER, **({"cluster_queue": queue} if queue else {}), **changes}, opts)

    return plan_of(program)


def test_a_counted_server_waits_in_its_own_queue_with_the_highest_priority() -> None:
    plan = server("serving")
    (deployment,) = plan.of_type("kubernetes:apps/v1:Deployment")
    found = deployment.inputs["metadata"]["labels"]
    (queue,) = objects(plan, "LocalQueue").values()
    assert queue.inputs["spec"] == {"clusterQueue": "serving"}
    assert queue.inputs["metadata"]["namespace"] == deployment.inputs["metadata"]["namespace"]
    assert found["kueue.x-k8s.io/queue-name"] == queue.inputs["metadata"]["name"]
    assert found["kueue.x-k8s.io/priority-class"] == "serving"
    assert depends(plan, deployment, queue)
    # Kueue hands the labels on; given here, they would be in the Deployment's selector for good.
    assert not [key for key in deployment.inputs["spec"]["selector"]["matchLabels"] if "kueue" in key]
    assert objects(plan, "Namespace")["inference"].inputs["metadata"]["labels"][labels.QUEUED] == "true"


def test_a_server_without_a_queue_has_nothing_to_do_with_kueue() -> None:
    assert not [r for r in server(None) if "kueue" in r.type or "kueue" in str(r.inputs) or labels.QUEUED in
                str(r.inputs)]  # fmt: skip


@pytest.mark.parametrize(
    ("queue", "changes", "message"),
    [
        ("Serving", {}, "cluster_queue is 'Serving'; give the name of a ClusterQueue"),
        (pulumi.Output.from_input(""), {}, "cluster_queue is ''; give the name"),
        (
            "serving",
            {"models": [{"name": "llm", "version": 1, "size_gib": 400.0, "device_memory_gib": 9.0}]},
            "Kueue takes it away after 60",
        ),
    ],
)
def test_a_queue_that_a_server_would_never_leave_is_refused(queue: Any, changes: Any, message: str) -> None:
    with pytest.raises(PreviewFailed) as failed:
        server(queue, **changes)
    assert message in str(failed.value)


# ---- refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cloud": "azure"}, "TrainingQueue 'queue': cloud is 'azure'; accepted are 'aws' and 'gcp'"),
        ({"namespaces": []}, "namespaces is []; give at least one"),
        ({"namespaces": ["Training"]}, "namespaces[0] is 'Training'; a Kubernetes name"),
        ({"namespaces": ["a", "b", "a"]}, "namespaces[2] is 'a', which is there already"),
        ({"whole_rungs": ["serve"]}, "whole_rungs[0] is 'serve'; accepted are pools that train: 'batch'"),
        ({"whole_rungs": ["batsch"]}, "whole_rungs[0] is 'batsch'; accepted are"),
        ({"lend": True}, "lend: unknown argument; "),
        ({"node_pools": [{**TRAIN, "min": 1}]}, "node_pools[0]: node pool 'train': static, so min and max"),
        (
            {"node_pools": [{**FLEX, "taints": [{"key": f"t{i}", "effect": "NoSchedule"} for i in range(7)]}]},
            "node pool 'batch' has 9 taints; Kueue accepts 8 tolerations",
        ),
        (
            {"node_pools": [{**FLEX, "name": f"p{i}"} for i in range(65)]},
            "65 flavors of nvidia.com/gpu; a ClusterQueue has at most 64",
        ),
    ],
)
def test_what_kueue_would_refuse_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PreviewFailed) as failed:
        plan_with("gcp", [FLEX, SERVE], more=changes)
    assert message in str(failed.value)
