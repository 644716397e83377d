"""Programs that build a TieredStorage, for its tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.storage import TieredStorage
from planner.plan import Plan
from tests.support import plan_of

REGIONS = {"aws": ("us-east-1", "us-west-2"), "gcp": ("europe-west4", "europe-west1")}
NETWORKS = {"aws": "vpc-1", "gcp": "projects/sim-project/global/networks/main"}
NAMESPACES = ("training", "serving")


def arguments(cloud: str, /, **changes: Any) -> Any:
    region, other = REGIONS[cloud]
    return {
        "cloud": cloud,
        "region": region,
        "network_id": NETWORKS[cloud],
        "network_cidr": "10.20.0.0/16",
        "private_subnet_ids": ["subnet-a", "subnet-b", "subnet-c"],
        "zones": [f"{region}-a", f"{region}-b", f"{region}-c"],
        "namespaces": list(NAMESPACES),
        "hot": {"capacity_gib": {"aws": 2400, "gcp": 9000}[cloud]},
        "warm": {},
        "cold": {"deep_archive_after_days": 365, "noncurrent_days": 180, "replicate_to": other},
        "tags": {"owner": "research", "cost-center": "R&D"},
        **changes,
    }


def program(args: Any, name: str = "data", **options: Any) -> Callable[[], None]:
    def declare() -> None:
        cluster = kubernetes.Provider("cluster", kubeconfig="{}")
        storage = TieredStorage(name, args, pulumi.ResourceOptions(providers=[cluster], **options))
        for output in ("bucket", "bucket_url", "encryption_key", "replica_bucket", "claims"):
            pulumi.export(output, getattr(storage, output))

    return declare


@cache
def whole(cloud: str) -> Plan:
    """Everything that there is to build, as it would be once built."""
    return plan_of(program(arguments(cloud)), simulate_up=True)


@cache
def least(cloud: str) -> Plan:
    """Only a bucket, with no second copy."""
    args = arguments(cloud, cold={})
    del args["hot"], args["warm"]
    return plan_of(program(args), simulate_up=True)
