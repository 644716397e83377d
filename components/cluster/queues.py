"""Kueue objects that match the pools: a flavor for each pool, a queue for each purpose, one cohort over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components import labels
from components.cluster.ladder import PURPOSES, Pool

API_VERSION = "kueue.x-k8s.io/v1beta2"
COHORT = "accelerators"


def flavors(pools: Sequence[Pool]) -> dict[str, dict[str, Any]]:
    """Spec of a ResourceFlavor for each pool with accelerators, by name. Kueue gives admitted pods its node labels and
    tolerations, so a job names a queue and never a pool."""
    return {
        pool.name: {
            "nodeLabels": {labels.POOL: pool.name},
            "nodeTaints": [{"key": t.key, "value": t.value, "effect": t.effect} for t in pool.taints],
            "tolerations": [
                {"key": t.key, "operator": "Equal", "value": t.value, "effect": t.effect} for t in pool.taints
            ],
        }
        for pool in pools
        if pool.resource
    }


def cluster_queues(pools: Sequence[Pool]) -> dict[str, dict[str, Any]]:
    """Spec of a ClusterQueue for each purpose that has accelerators, by name (the purpose).

    A queue has one resource group for each Kubernetes resource (`nvidia.com/gpu`, ...), with a flavor for each pool:
    quota is what the pool holds at its maximum, so Kueue admits no job that no machine could ever run. CPU and memory
    are not counted (see the release's configuration). A team's queue that joins the cohort and lists the same flavors
    borrows what is idle, and gives it back to jobs of higher priority.
    """
    queues = {}
    for purpose in PURPOSES:
        own = [pool for pool in pools if pool.purpose == purpose and pool.resource]
        if own:
            queues[purpose] = {
                "cohortName": COHORT,
                "namespaceSelector": {},
                "queueingStrategy": "BestEffortFIFO",
                "resourceGroups": [_group(resource, own) for resource in sorted({pool.resource for pool in own})],
                "preemption": {
                    "reclaimWithinCohort": "LowerPriority",
                    "withinClusterQueue": "LowerPriority",
                },
            }
    return queues


def _group(resource: str, pools: Sequence[Pool]) -> dict[str, Any]:
    return {
        "coveredResources": [resource],
        "flavors": [
            {"name": pool.name, "resources": [{"name": resource, "nominalQuota": pool.maximum * pool.devices}]}
            for pool in pools
            if pool.resource == resource
        ],
    }
