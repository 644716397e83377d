"""GpuCluster's node pools, feature by feature and cloud by cloud."""

from __future__ import annotations

from typing import Any

from planner.plan import Plan
from tests.components.parity import RESERVED, NotOffered, Offered, values, with_pool
from tests.components.parity_cluster import GKE_NODES, NODE_CLASS, RELEASE, charts, feature
from tests.samples import serving_pool, training_pool

EKS_NODES, NODE_POOL = "aws:eks/nodeGroup:", "kubernetes:karpenter.sh/v1:NodePool"
COMPUTE_CLASS = "kubernetes:cloud.google.com/v1:ComputeClass"
POOLS = "node_pools"


def rung(plan: Plan, kind: str) -> list[Any]:
    """Karpenter's requirements of the NodePools of a rung."""
    return values(plan, NODE_POOL, "spec.template.spec.requirements.values", name=f"-{kind}")


def interfaces(plan: Plan, name: str) -> list[Any]:
    return values(plan, NODE_CLASS, "spec.networkInterfaces.interfaceType", name=f"{name}-class")


def gke(plan: Plan, path: str, name: str) -> list[Any]:
    return values(plan, GKE_NODES, path, name=name)


FEATURES = [
    feature(
        "Pools that grow with demand",
        f"{POOLS}.min {POOLS}.max",
        Offered("Karpenter", lambda p: values(p, NODE_POOL, "spec.limits.nodes", name="serving-spot") == ["3"]),
        Offered(
            "cluster autoscaler, in a ComputeClass's order",
            lambda p: (
                values(p, COMPUTE_CLASS, "spec.priorities.nodepools", name="-serving")
                == ["serving-spot", "serving-on-demand"]
            ),
        ),
    ),
    feature(
        "Rung: reservation",
        f"{POOLS}.ladder.kind {POOLS}.ladder.reservations",
        Offered(
            "capacity reservation",
            lambda p: (
                "reserved" in rung(p, "training-reservation")
                and "cr-0123456789abcdef0"
                in values(p, NODE_CLASS, "spec.capacityReservationSelectorTerms.id", name="training-reservation-class")
            ),
        ),
        Offered(
            "specific reservation",
            lambda p: (
                gke(p, "nodeConfig.reservationAffinity.consumeReservationType", "training-reservation")
                == ["SPECIFIC_RESERVATION"]
            ),
        ),
    ),
    feature(
        "Rung: capacity block",
        f"{POOLS}.ladder.kind",
        Offered("Capacity Blocks for ML", lambda p: "capacity-block" in rung(p, "waiting-capacity-block")),
        NotOffered(
            "Google's calendar reservations are reservations: use that rung",
            with_pool(**training_pool("gcp", ladder=[{"kind": "capacity-block", "reservations": ["block"]}])),
            "ladder[0] (capacity-block)",
        ),
    ),
    feature(
        "Rung: flex start",
        f"{POOLS}.ladder.kind",
        NotOffered(
            "AWS starts no machine later by itself: use a capacity block",
            with_pool(**training_pool("aws", ladder=[{"kind": "flex-start"}])),
            "ladder[0] (flex-start)",
        ),
        Offered("Dynamic Workload Scheduler", lambda p: gke(p, "nodeConfig.flexStart", "waiting-flex-start") == [True]),
    ),
    feature(
        "Rung: spot, up to a ceiling",
        f"{POOLS}.ladder.kind {POOLS}.ladder.ceiling",
        Offered(
            "NodePool limit",
            lambda p: (
                "spot" in rung(p, "serving-spot")
                and values(p, NODE_POOL, "spec.limits.nodes", name="serving-spot") == ["3"]
            ),
        ),
        Offered(
            "largest size of the node pool",
            lambda p: (
                gke(p, "nodeConfig.spot", "serving-spot") == [True]
                and gke(p, "autoscaling.totalMaxNodeCount", "serving-spot") == [3]
            ),
        ),
    ),
    feature(
        "Rung: on-demand, from a floor",
        f"{POOLS}.ladder.kind {POOLS}.ladder.floor",
        Offered(
            "managed node group of fixed size",
            lambda p: values(p, EKS_NODES, "scalingConfig.minSize", name="serving-on-demand") == [1],
        ),
        Offered(
            "smallest size of the node pool",
            lambda p: gke(p, "autoscaling.totalMinNodeCount", "serving-on-demand") == [1],
        ),
    ),
    feature(
        "Training nodes never leave while they are busy",
        f"{POOLS}.purpose",
        Offered(
            "disruption budget 0, no expiry",
            lambda p: (
                values(p, NODE_POOL, "spec.template.spec.expireAfter", name="training-spot") == ["Never"]
                and values(p, NODE_POOL, "spec.disruption.consolidationPolicy", name="training-spot") == ["WhenEmpty"]
            ),
        ),
        Offered(
            "consolidation when idle, no repair, no upgrade until end of support",
            lambda p: (
                values(p, COMPUTE_CLASS, "spec.autoscalingPolicy.consolidationThreshold", name="-training") == [0]
                and gke(p, "management.autoRepair", "training-spot") == [False]
                and gke(p, "maintenancePolicies.exclusionUntilEndOfSupports.enabled", "training-spot") == [True]
            ),
        ),
    ),
    feature(
        "Machines of a fixed number, placed close together",
        f"{POOLS}.static",
        Offered(
            "cluster placement group",
            lambda p: (
                values(p, "aws:ec2/placementGroup:", "strategy") == ["cluster"]
                and values(p, EKS_NODES, "scalingConfig.minSize", name="static-reservation") == [2]
            ),
        ),
        Offered(
            "compact placement",
            lambda p: (
                gke(p, "placementPolicy.type", "static-reservation") == ["COMPACT"]
                and gke(p, "nodeCount", "static-reservation") == [2]
            ),
        ),
    ),
    feature(
        "Machines with floor on several reservations",
        f"{POOLS}.ladder.reservations",
        NotOffered(
            "a launch template fits one reservation: make a pool for each",
            with_pool(
                **training_pool(
                    "aws",
                    static=True,
                    min=2,
                    max=2,
                    ladder=[{"kind": "reservation", "reservations": ["cr-1", "cr-2"]}],
                    zones=["us-east-1a"],
                )
            ),
            "2 reservations",
        ),
        Offered(
            "any of the named ones",
            lambda p: gke(p, "nodeConfig.reservationAffinity.values", "training-reservation") == ["one", "two"],
        ),
        change=with_pool(
            **training_pool(
                "gcp",
                static=True,
                min=2,
                max=2,
                ladder=[{"kind": "reservation", "reservations": ["one", "two"]}],
                zones=["europe-west4-a"],
            )
        ),
    ),
    feature(
        "Fabric between training machines",
        f"{POOLS}.fabric",
        Offered(
            "EFA",
            lambda p: (
                "efa-only" in values(p, NODE_CLASS, "spec.networkInterfaces.interfaceType", name="training-spot-class")
                and "aws-efa-k8s-device-plugin" in charts(p)
            ),
        ),
        Offered(
            "GPUDirect networks",
            lambda p: len(gke(p, "networkConfig.additionalNodeNetworkConfigs.network", "training-spot")) == 8,
        ),
    ),
    feature(
        "GPUs cut into partitions (MIG)",
        f"{POOLS}.gpu_sharing.mode {POOLS}.gpu_sharing.profile",
        Offered(
            "GPU operator's MIG manager",
            lambda p: (
                "all-1g.10gb"
                in values(p, NODE_POOL, "spec.template.metadata.labels", name="partitions-spot")[0].values()
            ),
        ),
        Offered(
            "partition size of the node pool",
            lambda p: gke(p, "nodeConfig.guestAccelerators.gpuPartitionSize", "partitions-spot") == ["1g.10gb"],
        ),
    ),
    feature(
        "GPUs shared by turns (time slicing)",
        f"{POOLS}.gpu_sharing.mode {POOLS}.gpu_sharing.replicas",
        Offered(
            "device plugin's configuration",
            lambda p: "replicas: 4" in str(values(p, RELEASE, "values.devicePlugin.config.data.serving")),
        ),
        Offered(
            "time sharing",
            lambda p: (
                gke(p, "nodeConfig.guestAccelerators.gpuSharingConfig.maxSharedClientsPerGpu", "serving-spot") == [4]
            ),
        ),
    ),
    feature(
        "Local NVMe as the pods' ephemeral storage",
        f"{POOLS}.local_nvme_raid",
        Offered(
            "instance store RAID 0",
            lambda p: values(p, NODE_CLASS, "spec.instanceStorePolicy", name="training-spot-class") == ["RAID0"],
        ),
        Offered(
            "ephemeral local SSD",
            lambda p: gke(p, "nodeConfig.ephemeralStorageLocalSsdConfig.localSsdCount", "training-spot") == [16],
        ),
    ),
    feature(
        "Local NVMe on machines with one L4",
        f"{POOLS}.local_nvme_raid",
        Offered(
            "g6 machines",
            lambda p: values(p, NODE_CLASS, "spec.instanceStorePolicy", name="serving-spot-class") == ["RAID0"],
        ),
        NotOffered(
            "a g2-standard-4 gets its local SSDs only on request, which the catalog doesn't make",
            with_pool(**serving_pool(local_nvme_raid=True)),
            "local_nvme_raid is on",
        ),
        change=with_pool(**serving_pool(local_nvme_raid=True)),
    ),
    feature(
        "Pools in chosen zones",
        f"{POOLS}.zones",
        Offered("zone requirement", lambda p: "us-east-1a" in rung(p, "system-on-demand")),
        Offered("node locations", lambda p: gke(p, "nodeLocations", "nodes-system-on-demand") == ["europe-west4-a"]),
    ),
    feature(
        "Labels and taints of a pool",
        f"{POOLS}.labels {POOLS}.taints.key {POOLS}.taints.value {POOLS}.taints.effect",
        Offered(
            "on NodePools and node groups",
            lambda p: (
                "example.com/team" in values(p, NODE_POOL, "spec.template.spec.taints.key")
                and "example.com/team" in values(p, EKS_NODES, "labels", name="system-on-demand")[0]
            ),
        ),
        Offered(
            "on node pools",
            lambda p: (
                "example.com/team" in gke(p, "nodeConfig.taints.key", "nodes-system-on-demand")
                and "example.com/team" in gke(p, "nodeConfig.labels", "nodes-system-on-demand")[0]
            ),
        ),
    ),
    feature(
        "A machine type of one's own choice",
        f"{POOLS}.machine_type {POOLS}.accelerator {POOLS}.accelerators_per_machine",
        Offered("instance type", lambda p: "p5.48xlarge" in rung(p, "training-spot")),
        Offered("machine type", lambda p: gke(p, "nodeConfig.machineType", "training-spot") == ["a3-megagpu-8g"]),
    ),
    feature(
        "Google TPUs",
        f"{POOLS}.accelerator",
        NotOffered(
            "Google's own",
            with_pool(**serving_pool(accelerator="tpu-v5e", ladder=[{"kind": "spot"}])),
            "tpu-v5e",
        ),
        Offered(
            "TPU slices",
            lambda p: gke(p, "nodeConfig.machineType", "serving-spot")[0].startswith("ct5"),
        ),
        change=with_pool(**serving_pool(accelerator="tpu-v5e", ladder=[{"kind": "spot"}])),
    ),
    feature(
        "AWS Trainium",
        f"{POOLS}.accelerator",
        Offered("trn2 machines and the Neuron plugin", lambda p: "neuron-helm-chart" in charts(p)),
        NotOffered(
            "Amazon's own",
            with_pool(**training_pool("gcp", accelerator="trainium2", machine_type="")),
            "trainium2",
        ),
        change=lambda args: {
            **args,
            "region": "us-east-2",
            "zones": ["us-east-2a", "us-east-2b", "us-east-2c"],
            "node_pools": [
                training_pool("aws", accelerator="trainium2", machine_type="trn2.48xlarge", ladder=[RESERVED])
            ],
        },
    ),
]
