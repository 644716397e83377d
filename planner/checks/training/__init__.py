"""Training: jobs start as they are meant, use the fabric that is paid for, and lose nothing when machines go.

Whether their pods fit, wait in a queue that is there and mount claims that are there, `planner.checks.placement` says
of them as of all pods; whether a monitor selects them, `planner.checks.contracts`.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.checks.placement.placed import placement_in
from planner.checks.training import checkpoints, endings, fabric, pods, runtimes
from planner.checks.view import view_of
from planner.finding import Finding, Rule
from planner.inventory import Inventory
from planner.rules import Rules

RULES: tuple[Rule, ...] = (
    *runtimes.RULES,
    *fabric.RULES,
    *endings.RULES,
    *checkpoints.RULES,
    *pods.RULES,
)

JOBS = frozenset(
    {"Job", "JobSet", "TrainJob", "RayJob", "RayCluster", "MPIJob", "PyTorchJob", "LeaderWorkerSet", "Pod"}
)
"""Kinds of what may train."""


def findings(inventory: Inventory, rules: Rules) -> Iterator[Finding]:  # noqa: ARG001
    """What would keep a job from training, slow it down, or lose what it has learnt."""
    view = view_of(inventory)
    yield from runtimes.findings(view)
    for workload in inventory.workloads:
        if (near := view.objects.by_urn.get(workload.urn)) is not None:
            yield from pods.findings(view, workload, near)
    for one in placement_in(inventory).placed:
        if one.workload.kind in JOBS:
            yield from fabric.findings(one)
            yield from endings.findings(inventory, one)
            yield from checkpoints.findings(view, one)
