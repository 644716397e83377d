"""Networks that a pod on GKE is put into beside the cluster's own."""

from __future__ import annotations

import json
from collections.abc import Mapping

from planner.inventory.model import Workload
from planner.plan import UNKNOWN

INTERFACES = "networking.gke.io/interfaces"
"""Annotation: a list of interfaces, each with its Network, in JSON.
https://cloud.google.com/kubernetes-engine/docs/how-to/setup-multinetwork-support-for-pods"""
ORDINARY = "default"
"""The Network that every pod is in."""


def networks(workload: Workload) -> list[str] | None:
    """Names of the Networks beside the ordinary one; None where nobody can say."""
    raw = workload.annotations.get(INTERFACES, "[]")
    if UNKNOWN in raw:
        return None
    try:
        listed = json.loads(raw)
    except json.JSONDecodeError:
        return None
    if not isinstance(listed, list):
        return None
    names = [str(one.get("network")) for one in listed if isinstance(one, Mapping)]
    return [name for name in names if name != ORDINARY]
