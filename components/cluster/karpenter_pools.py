"""Compiles a pool's ladder to Karpenter: one EC2NodeClass and one weighted NodePool for each rung that can grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from components.accelerators import MachineType
from components.cluster.ladder import CAPACITY, Capacity, Pool, capacities

CAPACITY_TYPES = {"reservation": "reserved", "capacity-block": "reserved", "spot": "spot", "on-demand": "on-demand"}
"""karpenter.sh/capacity-type of each rung."""

RESERVATION_TYPES = {"reservation": "default", "capacity-block": "capacity-block"}
"""karpenter.k8s.aws/capacity-reservation-type of the reserved rungs."""

TRAINING_DISRUPTION: Mapping[str, Any] = {
    # A node leaves when nothing runs on it, and for no other reason: drift (a new image, a changed pool) would end a
    # job as surely as consolidation, so its budget is nought too.
    "consolidationPolicy": "WhenEmpty",
    "consolidateAfter": "10m",
    "budgets": [{"nodes": "0", "reasons": ["Drifted", "Underutilized"]}, {"nodes": "100%", "reasons": ["Empty"]}],
}
SERVING_DISRUPTION: Mapping[str, Any] = {
    # One node at a time: a model takes minutes to load, and its PodDisruptionBudget has to keep up.
    "consolidationPolicy": "WhenEmptyOrUnderutilized",
    "consolidateAfter": "10m",
    "budgets": [{"nodes": "1", "reasons": ["Drifted", "Underutilized"]}, {"nodes": "100%", "reasons": ["Empty"]}],
}
EXPIRE_AFTER = {"training": "Never", "serving": "720h", "system": "720h"}
"""A month is Karpenter's own default: nodes are replaced so that they get the patched image."""


def rungs(pool: Pool) -> list[Capacity]:
    """The rungs that Karpenter looks after: those that can grow."""
    return [capacity for capacity in capacities(pool) if capacity.elastic]


def name(pool: Pool, capacity: Capacity) -> str:
    """Name of a rung's NodePool and EC2NodeClass."""
    return f"{pool.name}-{capacity.rung.kind}"


def node_labels(pool: Pool, capacity: Capacity) -> dict[str, str]:
    """Labels of a node on EKS: the pool's, its rung, and what tells the GPU operator how its GPUs are shared.

    https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/gpu-operator-mig.html and gpu-sharing.html
    """
    labels = {**pool.labels, CAPACITY: capacity.rung.kind}
    if pool.sharing is not None and pool.sharing.mode == "mig":
        labels["nvidia.com/mig.config"] = f"all-{pool.sharing.profile}"
    elif pool.sharing is not None:
        labels["nvidia.com/device-plugin.config"] = pool.name
    return labels


def node_class(
    pool: Pool,
    capacity: Capacity,
    *,
    role: pulumi.Input[str],
    subnets: pulumi.Input[Sequence[Any]],
    security_groups: pulumi.Input[Sequence[Any]],
    key: pulumi.Input[str],
    tags: Mapping[str, str],
) -> dict[str, Any]:
    """Spec of karpenter.k8s.aws/v1 EC2NodeClass.

    `subnets` and `security_groups` are selector terms; `key` is the ARN of the KMS key of the root volume.
    """
    spec: dict[str, Any] = {
        # The image that AWS patches. Training nodes keep theirs (see the budgets); others follow one at a time.
        "amiSelectorTerms": [{"alias": "al2023@latest"}],
        "role": role,
        "subnetSelectorTerms": subnets,
        "securityGroupSelectorTerms": security_groups,
        "associatePublicIPAddress": False,
        "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1},
        "blockDeviceMappings": [
            {
                "deviceName": "/dev/xvda",
                "rootVolume": True,
                "ebs": {
                    "volumeSize": f"{pool.disk_gib}Gi",
                    "volumeType": "gp3",
                    "encrypted": True,
                    "kmsKeyID": key,
                    "deleteOnTermination": True,
                },
            }
        ],
        "tags": {**tags, "Name": name(pool, capacity)},
    }
    if capacity.rung.reservations:
        spec["capacityReservationSelectorTerms"] = [{"id": reservation} for reservation in capacity.rung.reservations]
    if pool.local_nvme_raid:
        spec["instanceStorePolicy"] = "RAID0"
    if pool.fabric_interfaces:
        spec["networkInterfaces"] = [
            {"networkCardIndex": card, "deviceIndex": device, "interfaceType": kind}
            for card, device, kind in interfaces(pool.fabric_interfaces)
        ]
    return spec


def interfaces(efa: int) -> list[tuple[int, int, str]]:
    """(network card, device, type) of a machine with so many EFA interfaces: an ordinary one for IP, and one EFA device
    a card that takes no address away from pods.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-acc-inst-types.html
    """
    return [(0, 0, "interface"), *((card, 1, "efa-only") for card in range(efa))]


def node_pool(pool: Pool, capacity: Capacity) -> dict[str, Any]:
    """Spec of karpenter.sh/v1 NodePool."""
    kind = capacity.rung.kind
    requirements = [
        _in("karpenter.sh/capacity-type", [CAPACITY_TYPES[kind]]),
        _in("node.kubernetes.io/instance-type", [pool.machine.name]),
    ]
    if kind in RESERVATION_TYPES:
        requirements.append(_in("karpenter.k8s.aws/capacity-reservation-type", [RESERVATION_TYPES[kind]]))
    if pool.zones:
        requirements.append(_in("topology.kubernetes.io/zone", list(pool.zones)))
    limits = {"nodes": str(capacity.elastic), "cpu": str(capacity.elastic * pool.machine.vcpus)}
    if isinstance(pool.machine, MachineType):
        limits[pool.resource] = str(capacity.elastic * pool.devices)
    return {
        "weight": capacity.weight,
        "limits": limits,
        "disruption": dict(TRAINING_DISRUPTION if pool.purpose == "training" else SERVING_DISRUPTION),
        "template": {
            "metadata": {"labels": node_labels(pool, capacity)},
            "spec": {
                "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": name(pool, capacity)},
                "requirements": requirements,
                "taints": [{"key": t.key, "value": t.value, "effect": t.effect} for t in pool.taints],
                "expireAfter": EXPIRE_AFTER[pool.purpose],
            },
        },
    }


def _in(key: str, values: list[str]) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": values}
