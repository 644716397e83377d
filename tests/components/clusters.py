"""Small clusters of both clouds, previewed, for the tests of GpuCluster."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pulumi

from components.cluster import GpuCluster
from planner.plan import Plan, Resource
from tests.support import plan_of

SERVE: dict[str, Any] = {
    "name": "serve",
    "purpose": "serving",
    "accelerator": "l4",
    "min": 1,
    "max": 10,
    "ladder": [{"kind": "spot", "ceiling": 8}, {"kind": "on-demand", "floor": 2}],
    "gpu_sharing": {"mode": "time-slicing", "replicas": 4},
}
BATCH: dict[str, Any] = {
    "name": "batch",
    "purpose": "training",
    "accelerator": "h100-80gb",
    "min": 0,
    "max": 4,
    "fabric": True,
    "local_nvme_raid": True,
    "ladder": [{"kind": "reservation", "reservations": ["cr-0abd"]}, {"kind": "on-demand"}],
}
TRAIN: dict[str, Any] = {**BATCH, "name": "train", "min": 4, "static": True, "ladder": [{"kind": "on-demand"}]}
BLOCK: dict[str, Any] = {**TRAIN, "name": "block", "ladder": [{"kind": "capacity-block", "reservations": ["cr-0abc"]}]}
FLEX: dict[str, Any] = {
    **BATCH,
    "ladder": [{"kind": "reservation", "reservations": ["res"]}, {"kind": "flex-start"}, {"kind": "on-demand"}],
}
COMMON: dict[str, Any] = {"tags": {"owner": "ml"}, "protect": True, "log_retention_days": 30}
AWS: dict[str, Any] = {
    **COMMON,
    "cloud": "aws",
    "region": "us-west-2",
    "network_id": "vpc-1",
    "private_subnet_ids": ["subnet-a", "subnet-b", "subnet-c"],
    "pod_subnet_ids": ["subnet-d", "subnet-e", "subnet-f"],
    "pod_range_name": "",
    "service_range_name": "",
    "fabric_security_group_id": "sg-fabric",
    "gpudirect_networks": [],
    "gpudirect_subnetworks": [],
    "zones": ["us-west-2a", "us-west-2b", "us-west-2c"],
    "administrators": ["arn:aws:iam::123456789012:role/admin"],
    "node_pools": [SERVE, BATCH, TRAIN, BLOCK],
}
GCP: dict[str, Any] = {
    **COMMON,
    "cloud": "gcp",
    "region": "us-central1",
    "network_id": "projects/p/global/networks/n",
    "private_subnet_ids": ["projects/p/regions/us-central1/subnetworks/s"],
    "pod_subnet_ids": [],
    "pod_range_name": "pods",
    "service_range_name": "services",
    "fabric_security_group_id": "",
    "gpudirect_networks": [f"projects/p/global/networks/g{i}" for i in range(9)],
    "gpudirect_subnetworks": [f"projects/p/regions/us-central1/subnetworks/g{i}" for i in range(9)],
    "zones": ["us-central1-a", "us-central1-b", "us-central1-c"],
    "administrators": ["group:ml@example.com", "user:ann@example.com"],
    "node_pools": [SERVE, FLEX, TRAIN],
}
CLOUDS = {"aws": AWS, "gcp": GCP}
OUTPUTS = ("cluster_name", "endpoint", "kubeconfig", "workload_identity_pool", "node_security_group_id")


def plan_with(cloud: str, simulate_up: bool = False, **changes: Any) -> Plan:
    def program() -> None:
        arguments = {**copy.deepcopy(CLOUDS[cloud]), **changes}
        cluster = GpuCluster("main", arguments)  # type: ignore[arg-type]
        for output in OUTPUTS:
            pulumi.export(output, getattr(cluster, output))
        pulumi.export("addons", len(cluster.addons))

    return plan_of(program, simulate_up=simulate_up)


@cache
def default(cloud: str) -> Plan:
    return plan_with(cloud)


def objects(plan: Plan, kind: str) -> dict[str, Resource]:
    """Custom resources of a kind, by their name in the cluster."""
    return {r.inputs["metadata"]["name"]: r for r in plan if r.inputs.get("kind") == kind and r.package == "kubernetes"}


def releases(plan: Plan) -> dict[str, Resource]:
    return {r.inputs["name"]: r for r in plan.of_type("kubernetes:helm.sh/v3:Release")}


def depends(plan: Plan, later: Resource, earlier: Resource) -> bool:
    """Whether `later` is made after `earlier`, so removed before it."""
    seen, waiting = set(), [later]
    while waiting:
        for urn in waiting.pop().dependencies:
            if urn == earlier.urn:
                return True
            if urn not in seen and urn in plan.by_urn:
                seen.add(urn)
                waiting.append(plan.by_urn[urn])
    return False
