"""Placement, how many: pods of a workload that the pools hold at their largest, and what bounds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from planner.checks.placement.objects import Attempt, Surroundings
from planner.checks.placement.volumes import exclusive
from planner.inventory import Rung, Workload
from planner.inventory.capacity import allocatable, apart, concerns, requests, room
from planner.inventory.objects import Object, maps
from planner.inventory.references import mapping
from planner.inventory.scheduling import HOSTNAME, ZONE, machines
from planner.plan import UNKNOWN

REQUIRED_TOPOLOGY = "kueue.x-k8s.io/podset-required-topology"
"""Annotation of a pod: all pods of its set belong into one domain of this label
(https://kueue.sigs.k8s.io/docs/concepts/topology_aware_scheduling/)."""


@dataclass(frozen=True)
class Limit:
    """No more than so many pods run at once, and why."""

    pods: int
    why: str


def limits(surroundings: Surroundings, workload: Workload, near: Object, takers: Sequence[Attempt]) -> Limit | None:
    """The tightest limit on the pods of a workload that these rungs, which take it, hold at once at their largest; None
    where nothing limits them or nobody knows."""
    rungs = [taker.rung for taker in takers]
    each = {taker.rung.urn: _each(surroundings, taker) for taker in takers}
    found = [_machines(rungs, each), *_domains(workload, rungs, each), *_spread(workload, rungs)]
    claim, mode = exclusive(surroundings.objects, workload, near)
    if mode == "ReadWriteOncePod":
        found.append(Limit(1, f"its claim {claim} is {mode}, for one pod at a time"))
    elif mode and None not in each.values():
        together = max((count or 0 for count in each.values()), default=0)
        found.append(Limit(together, f"its claim {claim} is {mode}, for one machine at a time"))
    return min((one for one in found if one is not None), key=lambda one: one.pods, default=None)


def _each(surroundings: Surroundings, taker: Attempt) -> int | None:
    rung, strategy = taker.rung, surroundings.mig_strategy(taker.rung.cluster)
    return room(taker.workload, rung, taken=surroundings.taken(rung), mig_strategy=strategy)


def _machines(rungs: list[Rung], each: Mapping[str, int | None]) -> Limit | None:
    total = most = 0
    for rung in rungs:
        count = each[rung.urn]
        if count is None or rung.max is None:
            return None
        total += rung.max * count
        most += rung.max
    return Limit(total, f"{most} machines at most in {_named(rungs)}")


def _named(rungs: list[Rung]) -> str:
    return " and ".join(dict.fromkeys(rung.pool for rung in rungs))


def _domains(workload: Workload, rungs: list[Rung], each: Mapping[str, int | None]) -> Iterable[Limit]:
    """Limits of pods that refuse to share a domain, or that have to be in one."""
    zones = {zone for rung in rungs for zone in rung.zones}
    zones_known = bool(zones) and all(rung.zones for rung in rungs)
    if ZONE in apart(workload) and zones_known:
        yield Limit(len(zones), f"no two of them may be in one zone, of {len(zones)} in {_named(rungs)}")
    for key in together(workload):
        if key == HOSTNAME:
            counts = list(each.values())
            if None not in counts:
                most = max((count or 0 for count in counts), default=0)
                yield Limit(most, "all of them have to be on one machine")
        elif zones_known:
            # A block or a rack is in a zone, so no domain is larger than that.
            held = [_machines([rung for rung in rungs if zone in rung.zones], each) for zone in sorted(zones)]
            counts_in = [limit.pods for limit in held if limit is not None]
            if len(counts_in) == len(held):
                most = max(counts_in, default=0)
                yield Limit(most, f"all of them have to be in one domain of {key}")


def together(workload: Workload) -> list[str]:
    """Topology keys of which one domain has to hold all pods of a workload."""
    required = mapping(workload.spec, "affinity.podAffinity").get("requiredDuringSchedulingIgnoredDuringExecution")
    found = [str(t.get("topologyKey")) for t in maps({"terms": required}, "terms") if concerns(t, workload)]
    if topology := workload.annotations.get(REQUIRED_TOPOLOGY):
        found.append(topology)
    return [key for key in found if UNKNOWN not in key]


def _spread(workload: Workload, rungs: list[Rung]) -> Iterable[Limit]:
    """With fewer domains than `minDomains` each holds `maxSkew` pods and no more.

    https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/#spread-constraint-definition
    """
    for constraint in maps(workload.spec, "topologySpreadConstraints"):
        key, skew, least = (constraint.get(name) for name in ("topologyKey", "maxSkew", "minDomains"))
        if constraint.get("whenUnsatisfiable", "DoNotSchedule") != "DoNotSchedule" or not concerns(
            constraint, workload
        ):
            continue
        domains = _count(str(key), rungs)
        if isinstance(skew, int | float) and isinstance(least, int | float) and domains and domains < least:
            held = int(skew) * domains
            yield Limit(held, f"it spreads over at least {least:g} of {key}, of {domains} in {_named(rungs)}")


def _count(key: str, rungs: list[Rung]) -> int | None:
    if key == ZONE:
        return len({zone for rung in rungs for zone in rung.zones}) if all(rung.zones for rung in rungs) else None
    if key == HOSTNAME:
        return None if any(rung.max is None for rung in rungs) else sum(rung.max or 0 for rung in rungs)
    return None


# ---- several workloads on the same machines


@dataclass(frozen=True)
class Shortage:
    """A resource of which several pod templates together ask for more than there is."""

    resource: str
    asked: Fraction
    there: Fraction


def shortage(surroundings: Surroundings, workloads: Iterable[Workload], rungs: Iterable[Rung]) -> Shortage | None:
    """What these workloads, at their largest, ask for beyond what the rungs have at theirs, pods split at will: so what
    is found here is certain. None where there is enough or nobody knows."""
    asked: dict[str, Fraction] = {}
    for workload in workloads:
        for resource, amount in {**requests(workload.spec), "pods": Fraction(1)}.items():
            asked[resource] = asked.get(resource, Fraction(0)) + amount * workload.max_replicas
    there: dict[str, Fraction | None] = dict.fromkeys(asked, Fraction(0))
    for rung in rungs:
        for resource in asked:
            has, most = _most(surroundings, rung, resource), there[resource]
            there[resource] = None if has is None or most is None or rung.max is None else most + rung.max * has
    for resource, amount in asked.items():
        most = there[resource]
        if most is not None and amount > most:
            return Shortage(resource, amount, most)
    return None


def _most(surroundings: Surroundings, rung: Rung, resource: str) -> Fraction | None:
    strategy, taken = surroundings.mig_strategy(rung.cluster), surroundings.taken(rung)
    found = [allocatable(rung, machine, strategy).get(resource) for machine in machines(rung)]
    known = [amount - taken.get(resource, 0) for amount in found if amount is not None]
    return max(known) if len(known) == len(found) else None
