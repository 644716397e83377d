"""What a standing EKS machine is launched with: market, reservation, interfaces, disk, image."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from components.accelerators import CATALOG
from components.cluster.karpenter_pools import interfaces
from components.cluster.ladder import Capacity, Pool

MARKETS = {
    "reservation": "ON_DEMAND",
    "on-demand": "ON_DEMAND",
    "spot": "SPOT",
    "capacity-block": "CAPACITY_BLOCK",
}
"""Capacity type of a managed node group, by rung."""

_RAID0 = """\
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="//"

--//
Content-Type: application/node.eks.aws

apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  instance:
    localStorage:
      strategy: RAID0
--//--
"""
"""User data for nodeadm, which AL2023 images start with: https://awslabs.github.io/amazon-eks-ami/nodeadm/"""


def machine(
    pool: Pool,
    capacity: Capacity,
    security_groups: Sequence[pulumi.Input[str]],
    placement_group: pulumi.Input[str] | None,
) -> dict[str, Any]:
    """Launch template arguments that depend on the pool and the rung."""
    rung = capacity.rung
    arguments: dict[str, Any] = {"instance_type": pool.machine.name}
    if pool.fabric_interfaces:
        arguments["network_interfaces"] = [
            {
                "network_card_index": card,
                "device_index": device,
                "interface_type": kind,
                "security_groups": list(security_groups),
                "delete_on_termination": "true",
            }
            for card, device, kind in interfaces(pool.fabric_interfaces)
        ]
    else:
        arguments["vpc_security_group_ids"] = list(security_groups)
    if rung.reservations:
        # One launch template fits one reservation; `check_standing` refuses more.
        arguments["capacity_reservation_specification"] = {
            "capacity_reservation_target": {"capacity_reservation_id": rung.reservations[0]}
        }
    if rung.kind == "capacity-block":
        arguments["instance_market_options"] = {"market_type": "capacity-block"}
    if placement_group is not None:
        arguments["placement"] = {"group_name": placement_group}
    if pool.local_nvme_raid:
        arguments["user_data"] = base64.b64encode(_RAID0.encode()).decode()
    return arguments


def disk_and_metadata(
    key: pulumi.Input[str], disk_gib: int, tags: Mapping[str, str], machine_name: str
) -> dict[str, Any]:
    """Launch template arguments that every machine has: encrypted gp3 root, IMDSv2 within one hop, tags."""
    return {
        "block_device_mappings": [
            {
                "device_name": "/dev/xvda",
                "ebs": {
                    "volume_size": disk_gib,
                    "volume_type": "gp3",
                    "encrypted": "true",
                    "kms_key_id": key,
                    "delete_on_termination": "true",
                },
            }
        ],
        # Within one hop no pod reaches the node's credentials; pods have their own by Pod Identity.
        "metadata_options": {"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1},
        "tag_specifications": [
            {"resource_type": kind, "tags": {"Name": machine_name, **tags}} for kind in ("instance", "volume")
        ],
    }


def image(pool: Pool) -> str:
    """AMI type of the pool's machines: EKS-optimized Amazon Linux 2023 with the accelerator's driver in it."""
    if pool.accelerator:
        return {"nvidia": "AL2023_x86_64_NVIDIA", "aws": "AL2023_x86_64_NEURON"}[CATALOG[pool.accelerator].vendor]
    graviton = pool.machine.name.split(".")[0].endswith(("g", "gd", "gn"))
    return "AL2023_ARM_64_STANDARD" if graviton else "AL2023_x86_64_STANDARD"


def check_standing(pool: Pool, capacity: Capacity) -> None:
    """ValueError where standing machines would be spread over several reservations."""
    if capacity.standing and len(capacity.rung.reservations) > 1:
        raise ValueError(
            f"node pool {pool.name!r}: {capacity.standing} machines stand on the {capacity.rung.kind} rung, which has"
            f" {len(capacity.rung.reservations)} reservations; standing machines are launched into exactly one:"
            " make a pool for each, or lower min and floor to 0"
        )
