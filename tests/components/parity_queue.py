"""TrainingQueue, and what counts in its quota, feature by feature and cloud by cloud."""

from __future__ import annotations

from typing import Any

from planner.plan import Plan
from tests.components.parity import Arguments, Feature, Offered, values
from tests.components.parity_cluster import CLUSTER_QUEUE
from tests.samples import serving_pool, training_pool

KUEUE = "kubernetes:kueue.x-k8s.io/v1beta2:"
FLAVOR, LOCAL_QUEUE, TOPOLOGY = f"{KUEUE}ResourceFlavor", f"{KUEUE}LocalQueue", f"{KUEUE}Topology"
GROUPS = "spec.resourceGroups.flavors"


def feature(
    title: str, arguments: str, how: str, proof: Any, change: Any = None, gcp: Offered | None = None
) -> Feature:
    """Kueue is the same on both clouds."""
    offered = Offered(how, proof)
    return Feature("TrainingQueue", title, tuple(arguments.split()), offered, gcp or offered, change=change)


def quotas(plan: Plan, queue: str) -> dict[str, Any]:
    """Flavor -> nominal quota in a ClusterQueue."""
    names = values(plan, CLUSTER_QUEUE, f"{GROUPS}.name", name=f"clusterqueue-{queue}")
    amounts = values(plan, CLUSTER_QUEUE, f"{GROUPS}.resources.nominalQuota", name=f"clusterqueue-{queue}")
    return dict(zip(names, amounts, strict=True))


def static(**more: Any) -> Any:
    """Asks for a static pool of training beside the others."""

    def change(args: Arguments) -> Arguments:
        ladder = [{"kind": "reservation", "reservations": ["cr-0123456789abcdef0"]}]
        pool = training_pool(args["cloud"], name="static", static=True, min=2, max=2, ladder=ladder, **more)
        return {**args, "node_pools": [*args["node_pools"], pool]}

    return change


def shared(args: Arguments) -> Arguments:
    pools = [training_pool(args["cloud"]), serving_pool(gpu_sharing={"mode": "time-slicing", "replicas": 4})]
    return {**args, "node_pools": pools}


def tolerant(args: Arguments) -> Arguments:
    taints = [{"key": "example.com/team", "value": "vision", "effect": "NoExecute"}]
    return {**args, "node_pools": [training_pool(args["cloud"], taints=taints)]}


def ladder(args: Arguments) -> Arguments:
    rungs = [
        {"kind": "reservation", "reservations": ["cr-0123456789abcdef0"], "ceiling": 1},
        {"kind": "spot", "floor": 1, "ceiling": 3},
    ]
    return {**args, "node_pools": [training_pool(args["cloud"], ladder=rungs)], "whole_rungs": ["training"]}


POOLS = "node_pools"
FEATURES = [
    feature(
        "Quota is what the pools hold at their largest",
        " ".join(
            f"{POOLS}.{one}"
            for one in ("purpose", "accelerator", "accelerators_per_machine", "machine_type", "min", "max")
        ),
        "a ResourceFlavor for each pool",
        lambda p: quotas(p, "training") == {"training-ladder": 32, "serving-ladder": 0},
    ),
    feature(
        "Slices of GPUs are counted as pods see them, and lent to nobody",
        f"{POOLS}.gpu_sharing.mode {POOLS}.gpu_sharing.profile {POOLS}.gpu_sharing.replicas",
        "quota in slices",
        lambda p: quotas(p, "serving") == {"serving-ladder": 16} and set(quotas(p, "training")) == {"training-ladder"},
        shared,
    ),
    feature(
        "A gang on one rung, whole",
        f"whole_rungs {POOLS}.ladder.kind {POOLS}.ladder.reservations {POOLS}.ladder.floor {POOLS}.ladder.ceiling",
        "a ResourceFlavor for each rung, within the pool's maximum",
        lambda p: quotas(p, "training") == {"training-reservation": 8, "training-spot": 24},
        ladder,
    ),
    feature(
        "A gang close together",
        f"{POOLS}.static {POOLS}.fabric",
        "a Topology from zone to network node to host",
        lambda p: (
            "topology.k8s.aws/network-node-layer-3" in values(p, TOPOLOGY, "spec.levels.nodeLabel")
            and values(p, FLAVOR, "spec.topologyName") == ["fabric"]
        ),
        static(),
        Offered(
            "a Topology from zone to block to host",
            lambda p: (
                "cloud.google.com/gce-topology-subblock" in values(p, TOPOLOGY, "spec.levels.nodeLabel")
                and values(p, FLAVOR, "spec.topologyName") == ["fabric"]
            ),
        ),
    ),
    feature(
        "Admitted pods tolerate the taints of their pool",
        f"{POOLS}.taints.key {POOLS}.taints.value {POOLS}.taints.effect",
        "tolerations of the ResourceFlavor",
        lambda p: "example.com/team" in values(p, FLAVOR, "spec.tolerations.key"),
        tolerant,
    ),
    feature(
        "Pools are given as the cluster has them; what quota doesn't depend on is ignored",
        f"{POOLS}.local_nvme_raid {POOLS}.zones {POOLS}.labels {POOLS}.disk_gib",
        "the same arguments",
        lambda p: set(quotas(p, "training")) == {"training-ladder", "serving-ladder"},
    ),
    feature(
        "A queue in each namespace",
        "namespaces",
        "LocalQueues, and the label by which Kueue looks at the namespace",
        lambda p: (
            values(p, LOCAL_QUEUE, "metadata.namespace") == ["training"]
            and values(p, "kubernetes:core/v1:NamespacePatch", "metadata.name") == ["training"]
        ),
    ),
    feature(
        "Idle serving machines are lent, and taken back",
        "lend_serving",
        "a cohort of ClusterQueues",
        lambda p: (
            quotas(p, "training").get("serving-ladder") == 0
            and values(p, CLUSTER_QUEUE, "spec.preemption.reclaimWithinCohort", name="serving") == ["Any"]
        ),
    ),
    Feature(
        "TritonInference",
        "Servers on machines that are lent: counted, and first in line",
        ("cluster_queue",),
        *[
            Offered(
                "Kueue, at the priority of serving",
                lambda p: (
                    values(p, LOCAL_QUEUE, "spec.clusterQueue") == ["serving"]
                    and "serving"
                    in [
                        labels["kueue.x-k8s.io/priority-class"]
                        for labels in values(p, "kubernetes:apps/v1:Deployment", "metadata.labels")
                    ]
                ),
            )
        ]
        * 2,
        change=lambda args: {**args, "cluster_queue": "serving"},
    ),
]
