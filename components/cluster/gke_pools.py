"""Compiles a pool's ladder to GKE: one node pool for each rung, and a ComputeClass that tries them in order.

Every rung is a node pool of ours rather than one that GKE makes up, because only then can a ceiling, a disk key, the
extra networks of GPUDirect and a floor be enforced, seen in the preview and priced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from components.accelerators import CATALOG, MachineType
from components.cluster.ladder import CAPACITY, Capacity, Pool, capacities
from components.labels import COMPUTE_CLASS

LOCAL_SSD_GIB = 375
"""GiB of one local SSD, as GKE counts them. https://cloud.google.com/compute/docs/disks/local-ssd"""

FLEX_START_SECONDS = 7 * 24 * 3600
"""How long a flex-start machine may run at most. https://cloud.google.com/kubernetes-engine/docs/concepts/dws"""

SHUTDOWN_S, SHUTDOWN_CRITICAL_S = 120, 15
"""Seconds that all pods of a spot machine get when it is taken, and those that the system's pods have for themselves at
the end. https://cloud.google.com/kubernetes-engine/docs/concepts/spot-vms#termination-graceful-shutdown"""
LONG_SHUTDOWN_SINCE = "1.35"
"""Before this Kubernetes (1.35.0-gke.1171000, same page) it is 30 s, of which workloads have 15."""

_EFFECTS = {"NoSchedule": "NO_SCHEDULE", "PreferNoSchedule": "PREFER_NO_SCHEDULE", "NoExecute": "NO_EXECUTE"}
_CONSOLIDATION_MINUTES = {"training": 30, "serving": 10, "system": 10}


def rungs(pool: Pool) -> list[Capacity]:
    """The rungs that become node pools: all of them, unless a static pool leaves one without machines."""
    return [capacity for capacity in capacities(pool) if capacity.standing or capacity.elastic]


def name(pool: Pool, capacity: Capacity) -> str:
    """Name of a rung's node pool."""
    return f"{pool.name}-{capacity.rung.kind}"


def node_pool(
    pool: Pool,
    capacity: Capacity,
    *,
    kubernetes_version: str,
    service_account: pulumi.Input[str],
    key: pulumi.Input[str],
    zones: pulumi.Input[Sequence[str]],
    networks: pulumi.Input[Sequence[Mapping[str, str]]] | None = None,
    resource_labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Arguments of gcp.container.NodePool, without those that name the cluster.

    `zones` are where nodes may be; `networks` are the additional ones of GPUDirect; `key` encrypts the boot disk.
    `kubernetes_version` is the cluster's, such as `1.35`.
    """
    kind = capacity.rung.kind
    arguments: dict[str, Any] = {
        "node_locations": zones,
        "node_config": {
            **_node_config(pool, capacity, service_account, key, resource_labels or {}),
            **_shutdown(kind, kubernetes_version),
        },
        "network_config": {"enable_private_nodes": True, "additional_node_network_configs": networks},
        "management": {
            # A repair recreates the machine under the job; a broken machine shows in the alerts instead. Flex start
            # doesn't allow repairs at all.
            "auto_repair": pool.purpose != "training" and kind != "flex-start",
            "auto_upgrade": True,  # release channels demand it
        },
        # Training nodes keep their version for as long as it is supported at all.
        "maintenance_policies": [{"exclusion_until_end_of_supports": [{"enabled": True}]}]
        if pool.purpose == "training"
        else None,
        # One machine less at a time where there is no spare one to be had, one more where there is.
        "upgrade_settings": {"max_surge": 0, "max_unavailable": 1}
        if kind in ("reservation", "flex-start")
        else {"max_surge": 1, "max_unavailable": 0},
    }
    if pool.static:
        arguments["node_count"] = capacity.standing
        if pool.resource != "google.com/tpu":  # a slice is compact by nature
            arguments["placement_policy"] = {"type": "COMPACT"}
    else:
        # The autoscaler never goes below the total minimum: this is what enforces a floor.
        arguments["autoscaling"] = {
            "total_min_node_count": capacity.standing,
            "total_max_node_count": capacity.standing + capacity.elastic,
            "location_policy": "BALANCED" if kind == "on-demand" and pool.purpose != "training" else "ANY",
        }
        arguments["initial_node_count"] = 0
    return arguments


def compute_class(pool: Pool) -> dict[str, Any]:
    """Spec of cloud.google.com/v1 ComputeClass: the pool's rungs, first one first."""
    training = pool.purpose == "training"
    return {
        "priorities": [{"nodepools": [name(pool, capacity)]} for capacity in rungs(pool)],
        "nodePoolAutoCreation": {"enabled": False},
        "whenUnsatisfiable": "DoNotScaleUp",
        # Nobody moves pods off a node that works, not even to a better rung, when they train.
        "activeMigration": {"optimizeRulePriority": False},
        "autoscalingPolicy": {
            "consolidationDelayMinutes": _CONSOLIDATION_MINUTES[pool.purpose],
            # Percent of use below which a node may be emptied: at 0 only idle ones go.
            "consolidationThreshold": 0 if training else 50,
            "gpuConsolidationThreshold": 0,
        },
    }


def _node_config(
    pool: Pool,
    capacity: Capacity,
    service_account: pulumi.Input[str],
    key: pulumi.Input[str],
    resource_labels: Mapping[str, str],
) -> dict[str, Any]:
    kind = capacity.rung.kind
    config: dict[str, Any] = {
        "machine_type": pool.machine.name,
        "service_account": service_account,
        "oauth_scopes": ["https://www.googleapis.com/auth/cloud-platform"],
        "image_type": "COS_CONTAINERD",
        "disk_size_gb": pool.disk_gib,
        "disk_type": "hyperdisk-balanced" if pool.machine.name.startswith(("a3-", "a4-", "ct6e-")) else "pd-balanced",
        "boot_disk_kms_key": key,
        "gcfs_config": {"enabled": True},
        "gvnic": {"enabled": True},
        "shielded_instance_config": {"enable_secure_boot": True, "enable_integrity_monitoring": True},
        "workload_metadata_config": {"mode": "GKE_METADATA"},
        "labels": {**pool.labels, CAPACITY: kind, COMPUTE_CLASS: pool.name},
        "taints": [{"key": t.key, "value": t.value, "effect": _EFFECTS[t.effect]} for t in pool.taints],
        "resource_labels": dict(resource_labels),
        "reservation_affinity": _affinity(capacity),
        "metadata": {"disable-legacy-endpoints": "true"},
    }
    if kind == "spot":
        config["spot"] = True
    if kind == "flex-start":
        config["flex_start"] = True
        config["max_run_duration"] = f"{FLEX_START_SECONDS}s"
    if isinstance(pool.machine, MachineType) and pool.resource == "nvidia.com/gpu":
        config["guest_accelerators"] = [_gpu(pool, pool.machine)]
    if pool.local_nvme_raid and isinstance(pool.machine, MachineType):
        # GKE stripes these itself and puts emptyDir volumes, images and logs on them.
        config["ephemeral_storage_local_ssd_config"] = {"local_ssd_count": pool.machine.local_nvme_gib // LOCAL_SSD_GIB}
    return config


def _shutdown(kind: str, kubernetes_version: str) -> dict[str, Any]:
    """When its machine is taken, what trains saves its state, and what serves answers what is under way."""
    known, needed = (tuple(map(int, version.split("."))) for version in (kubernetes_version, LONG_SHUTDOWN_SINCE))
    if kind != "spot" or known < needed:
        return {}
    return {
        "kubelet_config": {
            "shutdown_grace_period_seconds": SHUTDOWN_S,
            "shutdown_grace_period_critical_pods_seconds": SHUTDOWN_CRITICAL_S,
        }
    }


def _gpu(pool: Pool, machine: MachineType) -> dict[str, Any]:
    gpu: dict[str, Any] = {
        "type": machine.gke_accelerator or CATALOG[machine.accelerator].gke_accelerator,
        "count": machine.count,
        # Google's managed driver; so GKE needs no GPU operator.
        "gpu_driver_installation_config": {"gpu_driver_version": "DEFAULT"},
    }
    if pool.sharing is not None and pool.sharing.mode == "mig":
        gpu["gpu_partition_size"] = pool.sharing.profile
    elif pool.sharing is not None:
        gpu["gpu_sharing_config"] = {
            "gpu_sharing_strategy": "TIME_SHARING",
            "max_shared_clients_per_gpu": pool.sharing.replicas,
        }
    return gpu


def _affinity(capacity: Capacity) -> dict[str, Any]:
    if capacity.rung.kind == "reservation":
        return {
            "consume_reservation_type": "SPECIFIC_RESERVATION",
            "key": "compute.googleapis.com/reservation-name",
            "values": list(capacity.rung.reservations),
        }
    # Otherwise an on-demand machine could slip into a reservation that another pool counts on.
    return {"consume_reservation_type": "NO_RESERVATION"}
