"""What a plan's resources amount to: clusters, their node pools rung by rung, and the pods that want to run there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from components.machine_types import CPU_MACHINES, MACHINES, CpuMachine, MachineType

CATALOG: Mapping[tuple[str, str], MachineType | CpuMachine] = {
    **{(machine.cloud, machine.name): machine for machine in MACHINES},
    **{(machine.cloud, machine.name): machine for machine in CPU_MACHINES},
}
"""(cloud, machine type) -> what is known of it."""


@dataclass(frozen=True)
class Taint:
    """A node's taint; `effect` is NoSchedule, PreferNoSchedule or NoExecute."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True)
class Rung:
    """Machines of one kind that come and go together: an EKS node group, a Karpenter NodePool or a GKE node pool."""

    urn: str
    name: str
    """Its name in the cloud or the cluster."""
    manager: str
    """`eks`, `karpenter` or `gke`: who makes and deletes the machines."""
    kind: str
    """Capacity: reservation, capacity-block, flex-start, spot or on-demand."""
    region: str
    """Such as `aws:us-east-1`."""
    cluster: str
    """URN of the cluster, empty where it cannot be told."""
    pool: str
    """Name of the pool that it is a rung of; its own name where nothing says."""
    machine_types: tuple[str, ...]
    """Names in the cloud; several where Karpenter may choose. Empty where the plan doesn't tell."""
    zones: tuple[str, ...]
    """Zones that its machines may be in; empty where the plan doesn't tell."""
    min: int
    """Fewest machines."""
    max: int | None
    """Most machines; None where nothing limits them."""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    reservations: tuple[str, ...] = ()
    disk_gib: int | None = None
    """Boot disk of each machine."""
    disk_type: str = ""
    """gp3, pd-balanced, hyperdisk-balanced, …"""
    image: str = ""
    """AMI type or alias, or GKE image type."""
    mig_profile: str = ""
    """MIG profile that its accelerators are cut into, or empty."""
    gpu_replicas: int = 1
    """Pods that share an accelerator by time-slicing."""
    local_nvme_raid: bool = False
    """Whether the machine's own disks are its ephemeral storage."""
    fabric_interfaces: int = 0
    """EFA interfaces or GPUDirect networks of each machine."""
    placement_group: str = ""
    max_pods: int | None = None
    """Pods on a machine, where the plan tells."""
    weight: int = 0
    """Higher is tried first, among the rungs of a pool."""

    @property
    def machines(self) -> tuple[MachineType | CpuMachine, ...]:
        """The machine types that the catalog knows."""
        return tuple(machine for name in self.machine_types if (machine := CATALOG.get((self.cloud, name))))

    @property
    def cloud(self) -> str:
        """`aws` or `gcp`."""
        return self.region.partition(":")[0]

    @property
    def spot(self) -> bool:
        """Whether the cloud may take its machines away."""
        return self.kind == "spot"

    @property
    def accelerators(self) -> int:
        """Accelerators in the largest machine that it may have."""
        return max((m.count for m in self.machines if isinstance(m, MachineType)), default=0)


@dataclass(frozen=True)
class Pool:
    """A node pool: rungs of one name in one cluster, the first to try first."""

    name: str
    cluster: str
    region: str
    purpose: str
    """system, serving or training, by its label; empty where it has none."""
    rungs: tuple[Rung, ...]

    @property
    def min(self) -> int:
        """Fewest machines."""
        return sum(rung.min for rung in self.rungs)

    @property
    def max(self) -> int | None:
        """Most machines if every rung fills up; None where one has no limit."""
        limits = [rung.max for rung in self.rungs]
        return None if None in limits else sum(limit for limit in limits if limit is not None)


@dataclass(frozen=True)
class Cluster:
    """A Kubernetes cluster."""

    urn: str
    name: str
    region: str
    version: str
    """Minor version such as `1.35`; empty where the plan doesn't tell."""
    providers: tuple[str, ...]
    """URNs of the Kubernetes providers that lead to it."""
    pools: tuple[Pool, ...] = ()
    network: str = ""
    """URN of its VPC or network, empty where it cannot be told."""

    @property
    def cloud(self) -> str:
        """`aws` or `gcp`."""
        return self.region.partition(":")[0]

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """All rungs of all pools."""
        return tuple(rung for pool in self.pools for rung in pool.rungs)


@dataclass(frozen=True)
class Workload:
    """A pod template in the plan, and how many pods it becomes."""

    urn: str
    kind: str
    """Deployment, StatefulSet, DaemonSet, Job, JobSet, TrainJob, RayCluster, InferenceService, …"""
    name: str
    namespace: str
    cluster: str
    """URN of the cluster, empty where it cannot be told."""
    region: str
    labels: Mapping[str, str]
    """Of the pods."""
    annotations: Mapping[str, str]
    spec: Mapping[str, Any]
    """The pod's spec, as Kubernetes writes it; what only the cloud knows is `planner.plan.UNKNOWN`."""
    min_replicas: int = 1
    max_replicas: int = 1
    """As its autoscaler allows; for a gang the pods that run at once."""
    gang: bool = False
    """Whether its pods are of use only all together: parallel jobs, training jobs."""
    queue: str = ""
    """Kueue LocalQueue that admits it, or empty."""
    part: str = ""
    """Which template of the resource, where it has several, such as `worker`."""
    job: Mapping[str, Any] = field(default_factory=dict)
    """Spec of the Job around its template, with its `podFailurePolicy` and the like; empty where there is no Job."""
