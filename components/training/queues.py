"""Kueue's ClusterQueues, as data: whose quota is whose, who borrows, and who gives back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.training.flavors import MOST_FLAVORS, Flavor

API_VERSION = "kueue.x-k8s.io/v1beta2"

COHORT = "accelerators"
TRAINING = "training"
"""The ClusterQueue of training, and the LocalQueue that leads to it in each namespace."""
SERVING = "serving"
"""The ClusterQueue of serving, and the priority of its pods."""

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
"""Labels of a workload: https://kueue.sigs.k8s.io/docs/reference/labels-and-annotations/"""

PRIORITIES = {
    "training-low": (1000, "Sweeps and whatever else may wait; the first to make room."),
    "training-normal": (2000, "The usual training job."),
    "training-high": (3000, "A job that a date hangs on; takes quota from other training."),
    SERVING: (10000, "Pods that answer requests."),
}
"""WorkloadPriorityClass -> (value, description). They order admission and preemption by Kueue, and nothing else."""


def training(own: Sequence[Flavor], borrowed: Sequence[Flavor], namespaces: Sequence[str]) -> dict[str, Any]:
    """Spec of the training queue: its own flavors, then those that serving lends, in which it owns nothing."""
    nothing = [(flavor, {"nominalQuota": 0}) for flavor in borrowed]
    return {
        "cohortName": COHORT,
        "namespaceSelector": {
            "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": sorted(namespaces)}]
        },
        # A gang of eight machines does not keep single ones idle while it waits; what must come first has a priority.
        "queueingStrategy": "BestEffortFIFO",
        **_groups([*((flavor, {"nominalQuota": flavor.quota}) for flavor in own), *nothing]),
        "flavorFungibility": {
            # Rather a machine of its own further down the list than a borrowed one, which is taken back any time.
            "whenCanBorrow": "TryNextFlavor",
            # Rather any free machine than the end of a job that runs.
            "whenCanPreempt": "TryNextFlavor",
            # Where all that is left is one or the other: nobody is evicted while serving's machines are idle.
            "preference": "BorrowingOverPreemption",
        },
        "preemption": {
            "withinClusterQueue": "LowerPriority",
            # Other queues of the cohort that borrowed from training. Serving never borrows, and has the highest
            # priority besides: training takes nothing from it.
            "reclaimWithinCohort": "LowerPriority",
            "borrowWithinCohort": {"policy": "Never"},
        },
    }


def serving(own: Sequence[Flavor]) -> dict[str, Any]:
    """Spec of the serving queue: lends what is idle of the machines that come and go, and takes it back from anyone.

    What always stands is not lent: a server that scales by a replica or two doesn't wait for a job to save."""
    quotas = [(flavor, {"nominalQuota": flavor.quota, "lendingLimit": flavor.lending_limit}) for flavor in own]
    return {
        "cohortName": COHORT,
        # Whoever may make a LocalQueue; pods are looked at only in namespaces that say so (labels.QUEUED).
        "namespaceSelector": {},
        "queueingStrategy": "BestEffortFIFO",
        **_groups(quotas),
        # Of several pools the first with idle quota, before a job is evicted from any.
        "flavorFungibility": {"whenCanBorrow": "MayStopSearch", "whenCanPreempt": "TryNextFlavor"},
        "preemption": {
            # Whatever its priority: lent quota is serving's own. The job has its grace period to save in.
            "reclaimWithinCohort": "Any",
            # One server never makes room for another; their replicas are bounded by their own maxima.
            "withinClusterQueue": "Never",
            "borrowWithinCohort": {"policy": "Never"},
        },
    }


def _groups(quotas: Sequence[tuple[Flavor, dict[str, int]]]) -> dict[str, Any]:
    """A resource group for each Kubernetes resource (`nvidia.com/gpu`, `google.com/tpu`, ...), its flavors in order.

    CPU and memory are not counted (components.cluster.addon_values.kueue). Without any accelerators there are no
    groups: jobs are admitted, and nothing is counted. Raises ValueError for more flavors than Kueue accepts.
    """
    groups: list[dict[str, Any]] = []
    for resource in sorted({flavor.pool.resource for flavor, _ in quotas}):
        entries = [
            {"name": flavor.name, "resources": [{"name": resource, **quota}]}
            for flavor, quota in quotas
            if flavor.pool.resource == resource
        ]
        if len(entries) > MOST_FLAVORS:
            raise ValueError(f"{len(entries)} flavors of {resource}; a ClusterQueue has at most {MOST_FLAVORS}")
        groups.append({"coveredResources": [resource], "flavors": entries})
    return {"resourceGroups": groups} if groups else {}
