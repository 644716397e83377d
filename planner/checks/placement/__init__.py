"""Placement: every pod template of a plan fits a node pool of its cluster, gangs fit as a whole, and there is room for
as many as an autoscaler may want.

Pods that exist only inside Helm charts are not in a plan, so nothing is said of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from planner.checks.placement import queues as queues
from planner.checks.placement import volumes as volumes
from planner.checks.placement.limits import Limit, limits, shortage
from planner.checks.placement.objects import Attempt, Surroundings
from planner.checks.placement.placed import Placed, placement_in
from planner.finding import Finding, Rule
from planner.inventory import Inventory, Workload
from planner.inventory.quantity import text
from planner.rules import Rules

POD_FITS = Rule(
    "pod-fits-a-pool",
    "Every pod template fits a node pool of its cluster",
    url="https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/",
    remediation="Make the pod's selectors, tolerations and requests, or the pool's labels, taints and machines, match.",
)
GANG_FITS = Rule(
    "gang-fits-a-pool",
    "The pods of a job that are of use only together fit one node pool at once",
    url="https://kueue.sigs.k8s.io/docs/concepts/topology_aware_scheduling/",
    remediation="Run it on fewer nodes, or raise the pool's maximum.",
)
REPLICAS_FIT = Rule(
    "replicas-fit-the-pool",
    "The most replicas that an autoscaler may want fit the pools at their largest",
    "warning",
    url="https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/",
    remediation="Lower the most replicas, or raise the pool's maximum. An error where not even the fewest fit.",
)

RULES: tuple[Rule, ...] = (
    POD_FITS,
    GANG_FITS,
    REPLICAS_FIT,
    volumes.VOLUME_CLAIM_EXISTS,
    queues.QUEUE_QUOTA_FITS,
    queues.QUEUE_EXISTS,
)

_FINITE = ("Job", "CronJob")


def findings(inventory: Inventory, rules: Rules) -> Iterator[Finding]:  # noqa: ARG001
    """What keeps pods of a plan from running."""
    placement = placement_in(inventory)
    surroundings = placement.surroundings
    placed: list[Placed] = []
    for one in placement.placed:
        if one.takers:
            placed.append(one)
        else:
            yield POD_FITS.finding(
                f"{_named(one.workload)}: no pool in {one.cluster.region} takes it; nearest is"
                f" {_nearest(one.attempts)}",
                one.near.resource,
                subject=one.workload.part,
            )
    by_resource: dict[str, list[Placed]] = {}
    for one in placed:
        by_resource.setdefault(one.workload.urn, []).append(one)
        if not one.workload.gang:
            yield from _replicas(surroundings, one)
    for parts in by_resource.values():
        yield from _gang(surroundings, parts)
    yield from _shared(surroundings, placed)
    everything = [
        (workload, surroundings.objects.by_urn[workload.urn])
        for workload in inventory.workloads
        if workload.urn in surroundings.objects.by_urn
    ]
    yield from volumes.findings(surroundings.objects, everything)
    yield from placement.kueue.findings(everything)


def _nearest(attempts: Sequence[Attempt]) -> str:
    """The pool with the fewest things wrong, and the first of them."""
    nearest = min(attempts, key=lambda attempt: len(attempt.reasons))
    first, *more = nearest.reasons
    return f"{nearest.pool.name}: {first.text}" + (f" (and {len(more)} more)" if more else "")


def _gang(surroundings: Surroundings, parts: list[Placed]) -> Iterator[Finding]:
    """A job, each of whose parts needs room in one pool for all of its pods, and all together in the pools they fit."""
    gangs = [one for one in parts if one.workload.gang]
    fits = True
    for one in gangs:
        most = one.workload.max_replicas
        bounds = [limits(surroundings, one.workload, one.near, takers) for takers in one.pools.values()]
        known = [bound for bound in bounds if bound is not None]
        if len(known) < len(bounds) or any(bound.pods >= most for bound in known):
            continue
        fits = False
        yield GANG_FITS.finding(
            f"{_named(one.workload)}: its {most} pods are of use only together, and"
            f" {_room(max(known, key=lambda bound: bound.pods))}",
            one.near.resource,
            subject=one.workload.part,
        )
    rungs = {rung.urn: rung for one in parts for rung in one.rungs}
    if gangs and fits and len(parts) > 1:
        short = shortage(surroundings, [one.workload for one in parts], rungs.values())
        if short is not None:
            yield GANG_FITS.finding(
                f"{parts[0].workload.kind} {parts[0].workload.name}: its {len(parts)} parts together need"
                f" {text(short.resource, short.asked)}, and the pools that take them have"
                f" {text(short.resource, short.there)} at most",
                parts[0].near.resource,
            )


def _replicas(surroundings: Surroundings, one: Placed) -> Iterator[Finding]:
    workload = one.workload
    # A finite job that may start with fewer pods than it wants starts with what there is.
    wanted = workload.min_replicas if workload.kind in _FINITE else workload.max_replicas
    bound = limits(surroundings, workload, one.near, one.takers)
    if bound is None or bound.pods >= max(wanted, workload.min_replicas):
        return
    never = bound.pods < workload.min_replicas
    count = f"never fewer than {workload.min_replicas}" if never else f"up to {workload.max_replicas}"
    yield REPLICAS_FIT.finding(
        f"{_named(workload)}: it wants {count} replicas, and {_room(bound)}",
        one.near.resource,
        subject=workload.part,
        severity="error" if never else "",
    )


def _shared(surroundings: Surroundings, placed: list[Placed]) -> Iterator[Finding]:
    """Workloads that have only one pool to go to need room there at the same time. Jobs wait for each other."""
    tenants: dict[tuple[str, str], list[Placed]] = {}
    for one in placed:
        waits = one.workload.gang or one.workload.queue or one.workload.kind in (*_FINITE, "DaemonSet")
        if len(one.pools) == 1 and not waits:
            tenants.setdefault((one.workload.cluster, next(iter(one.pools))), []).append(one)
    for (_, pool), same in tenants.items():
        rungs = {rung.urn: rung for one in same for rung in one.rungs}
        if len(same) < 2 or (short := shortage(surroundings, [one.workload for one in same], rungs.values())) is None:
            continue
        largest = max(same, key=lambda one: one.workload.max_replicas)
        fewest = [replace(one.workload, max_replicas=one.workload.min_replicas) for one in same]
        never = shortage(surroundings, fewest, rungs.values()) is not None
        yield REPLICAS_FIT.finding(
            f"pool {pool}: {', '.join(one.workload.name for one in same)} together want up to"
            f" {text(short.resource, short.asked)} of it, and it has {text(short.resource, short.there)} at most",
            largest.near.resource,
            subject=pool,
            severity="error" if never else "",
        )


def _room(bound: Limit) -> str:
    return f"no more than {bound.pods} can run: {bound.why}"


def _named(workload: Workload) -> str:
    return f"{workload.kind} {workload.name}" + (f" ({workload.part})" if workload.part else "")
