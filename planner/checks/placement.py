"""Placement: every pod template of a plan fits a node pool of its cluster, gangs fit as a whole, and there is room for
as many as an autoscaler may want.

Pods that exist only inside Helm charts are not in a plan, so nothing is said of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from planner.checks import placement_queues as queues
from planner.checks import placement_volumes as volumes
from planner.checks.placement_limits import Limit, limits, shortage
from planner.checks.placement_objects import Attempt, Surroundings
from planner.finding import Finding, Rule
from planner.inventory import Cluster, Inventory, Pool, Rung, Workload
from planner.inventory.objects import Object
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
    surroundings = Surroundings(inventory)
    kueue = queues.Kueue(surroundings)
    placed: list[Placed] = []
    for workload, cluster, near in surroundings.workloads():
        attempts = _attempts(surroundings, kueue, workload, cluster, near)
        takers = [(pool, rung) for pool, rung, reasons in attempts if not reasons]
        if takers:
            placed.append(Placed(workload, near, takers))
        else:
            yield POD_FITS.finding(
                f"{_named(workload)}: no pool in {cluster.region} takes it; nearest is {_nearest(attempts)}",
                near.resource,
                subject=workload.part,
            )
    for one in placed:
        yield from _gang(surroundings, one) if one.workload.gang else _replicas(surroundings, one)
    yield from _gangs_of_parts(surroundings, placed)
    yield from _shared(surroundings, placed)
    everything = [
        (workload, near)
        for workload in inventory.workloads
        if (near := surroundings.objects.by_urn.get(workload.urn)) is not None
    ]
    yield from volumes.findings(surroundings.objects, everything)
    yield from kueue.findings(everything)


class Placed:
    """A workload that fits some pool."""

    def __init__(self, workload: Workload, near: Object, takers: list[tuple[Pool, Rung]]) -> None:
        self.workload = workload
        self.near = near
        self.takers = takers

    @property
    def rungs(self) -> list[Rung]:
        """All rungs that take it."""
        return [rung for _, rung in self.takers]

    @property
    def pools(self) -> dict[str, list[Rung]]:
        """Pool -> its rungs that take it."""
        found: dict[str, list[Rung]] = {}
        for pool, rung in self.takers:
            found.setdefault(pool.name, []).append(rung)
        return found


def _attempts(
    surroundings: Surroundings, kueue: queues.Kueue, workload: Workload, cluster: Cluster, near: Object
) -> list[Attempt]:
    """Every rung with what keeps the workload off it: the least, where a queue has several flavors to give it."""
    also = volumes.selectors(surroundings.objects, workload, near)
    tries = [surroundings.attempts(variant, cluster, also) for variant in kueue.variants(workload, near)]
    return [min(same, key=lambda attempt: len(attempt[2])) for same in zip(*tries, strict=True)]


def _nearest(attempts: list[Attempt]) -> str:
    """The pool with the fewest things wrong, and the first of them."""
    pool, _, reasons = min(attempts, key=lambda attempt: len(attempt[2]))
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{pool.name}: {reasons[0].text}{more}"


def _gang(surroundings: Surroundings, one: Placed) -> Iterator[Finding]:
    most = one.workload.max_replicas
    bounds = [limits(surroundings, one.workload, one.near, rungs) for rungs in one.pools.values()]
    if all(bound is not None and bound.pods < most for bound in bounds):
        bound = max((b for b in bounds if b is not None), key=lambda b: b.pods)
        yield GANG_FITS.finding(
            f"{_named(one.workload)}: its {most} pods are of use only together, and {_room(bound)}",
            one.near.resource,
            subject=one.workload.part,
        )


def _gangs_of_parts(surroundings: Surroundings, placed: list[Placed]) -> Iterator[Finding]:
    """A job of several pod templates needs room for all of them."""
    by_urn: dict[str, list[Placed]] = {}
    for one in placed:
        if one.workload.kind not in _FINITE:
            by_urn.setdefault(one.workload.urn, []).append(one)
    for parts in by_urn.values():
        if len(parts) < 2 or not any(one.workload.gang for one in parts):
            continue
        rungs = {rung.urn: rung for one in parts for rung in one.rungs}
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
    bound = limits(surroundings, workload, one.near, one.rungs)
    if bound is None or bound.pods >= max(workload.max_replicas, workload.min_replicas):
        return
    never = bound.pods < workload.min_replicas
    count = f"at least {workload.min_replicas}" if never else f"up to {workload.max_replicas}"
    yield REPLICAS_FIT.finding(
        f"{_named(workload)}: {count} replicas are wanted, and {_room(bound)}",
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
