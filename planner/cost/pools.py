"""What machines cost: every rung of every node pool, and machines that stand alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from components.labels import ACCELERATOR_TAINTS
from planner.cost.book import MachinePrice, Price
from planner.cost.model import HOURS_PER_MONTH, Amount, Line, Unpriced
from planner.cost.reader import Reader
from planner.inventory import rungs as reading
from planner.inventory.model import Pool, Rung
from planner.inventory.references import at, mapping
from planner.plan import Resource

READERS = {
    reading.EKS_NODE_GROUP: reading.eks_node_group,
    reading.KARPENTER_POOL: reading.karpenter_pool,
    reading.GKE_NODE_POOL: reading.gke_node_pool,
}
"""Resources that are rungs -> how one is read."""

_DEFAULT_DISKS = {"eks": (20, "gp3"), "karpenter": (20, "gp3"), "gke": (100, "pd-balanced")}
"""Boot disk where a plan says nothing: the managers' own defaults (documentation of each, as remembered)."""


def lines(reader: Reader) -> Iterator[Line | Unpriced]:
    """All rungs of all pools, machines and boot disks."""
    seen = set()
    for cluster in reader.inventory.clusters:
        for pool in cluster.pools:
            seen |= {rung.urn for rung in pool.rungs}
            yield from _pool(reader, pool)
    for resource in reader.plan.of_type(*READERS):
        if resource.urn not in seen and not resource.external:
            # A rung whose cluster is not in the plan: another stack's.
            region = reader.inventory.regions[resource.urn]
            rung = READERS[resource.type](resource, region, "", reader.inventory.references, {})
            yield from _pool(reader, Pool(rung.pool, "", region, "", (rung,)))


_JOBS = frozenset({"Job", "CronJob", "JobSet", "TrainJob", "RayJob", "RayCluster", "MPIJob", "PyTorchJob",
                   "LeaderWorkerSet"})  # fmt: skip


def _pool(reader: Reader, pool: Pool) -> Iterator[Line | Unpriced]:
    for rung, machines in zip(pool.rungs, counts(pool, _share(reader, pool), _needed(reader, pool)), strict=True):
        yield from _rung(reader, pool, rung, machines)


def counts(pool: Pool, share: float, needed: float = 0) -> list[Amount]:
    """Machines of each rung of a pool at low, expected and largest use.

    `share` of what is between the pool's fewest and most machines runs on average. `needed` machines run in any case:
    for the fewest replicas, and for placeholders. They fill the ladder from its first rung. What is reserved is paid
    whether it runs or not. A rung without a limit counts for its fewest machines: its line is marked as unbounded.
    """
    limits = [rung.max if rung.max is not None else rung.min for rung in pool.rungs]
    most, fewest = sum(limits), sum(rung.min for rung in pool.rungs)
    running = min(most, max(fewest + share * (most - fewest), needed))
    left = running - fewest
    anyway = min(most, max(fewest, needed)) - fewest
    found = []
    for rung, limit in zip(pool.rungs, limits, strict=True):
        more = min(left, max(0, limit - rung.min))
        left -= more
        least = min(anyway, max(0, limit - rung.min))
        anyway -= least
        most_here = max(limit, rung.min)
        if rung.kind == "reservation":
            found.append(Amount.of(float(most_here)))
        else:
            found.append(Amount(float(rung.min + least), rung.min + more, float(most_here)))
    return found


def _share(reader: Reader, pool: Pool) -> float:
    assumed = reader.assumptions
    if pool.purpose == "training":
        return assumed.trainingHoursPerMonth / HOURS_PER_MONTH
    return assumed.servingShare if pool.purpose == "serving" else assumed.otherShare


def _assumption(pool: Pool) -> str:
    return {"training": "trainingHoursPerMonth", "serving": "servingShare"}.get(pool.purpose, "otherShare")


def _needed(reader: Reader, pool: Pool) -> float:
    """Machines that the fewest replicas of the workloads need that select this pool, by their accelerators.

    Jobs end: how many hours a month they run, the assumptions say.
    """
    per_machine = min((r.accelerators * r.gpu_replicas for r in pool.rungs if r.accelerators), default=0)
    if not per_machine:
        return 0
    wanted = sum(
        workload.min_replicas * _accelerators(workload.spec)
        for workload in reader.inventory.workloads
        if workload.cluster == pool.cluster and workload.kind not in _JOBS and _selects(workload.spec, pool)
    )
    return -(-wanted // per_machine)


def _selects(spec: Mapping, pool: Pool) -> bool:
    """Whether a pod's node selector names this pool and no other."""
    selector = mapping(spec, "nodeSelector")
    return bool(selector) and any(all(rung.labels.get(k) == v for k, v in selector.items()) for rung in pool.rungs)


def _accelerators(spec: Mapping) -> int:
    found = 0
    containers = spec.get("containers")
    for container in containers if isinstance(containers, list) else []:
        limits = mapping(container, "resources.limits")
        for name in ACCELERATOR_TAINTS:
            asked = str(limits.get(name, 0))
            found += int(asked) if asked.isdigit() else 0
    return found


def _rung(reader: Reader, pool: Pool, rung: Rung, machines: Amount) -> Iterator[Line | Unpriced]:
    resource = reader.plan.by_urn[rung.urn]
    said: dict[str, Any] = {
        "pool": pool.name,
        "rung": rung.name,
        "capacity": rung.kind,
        "unbounded": rung.max is None and rung.kind != "reservation",
        "assumption": "" if rung.kind == "reservation" or machines.low == machines.largest else _assumption(pool),
    }
    if not rung.machine_types:
        yield reader.unpriced(resource, "which machines it has, the plan does not tell", rung.region)
        return
    rented = [_rented(reader, rung, name) for name in rung.machine_types]
    known = [(price, worst) for price, worst in rented if price is not None and worst is not None]
    without = [name for name, (price, _) in zip(rung.machine_types, rented, strict=True) if price is None]
    if without:
        reason = f"no {rung.kind} price for {', '.join(without[:3])}{' …' if len(without) > 3 else ''}"
        yield reader.unpriced(resource, reason, rung.region)
    if known:
        # Where the autoscaler may choose, it takes what is cheapest; the worst that may happen is the dearest.
        cheapest = min(known, key=lambda pair: pair[0].usd)[0]
        dearest = max(known, key=lambda pair: pair[1].usd)[1]
        what = " or ".join(rung.machine_types[:2]) + (" or others" if len(rung.machine_types) > 2 else "")
        yield from reader.line(
            resource,
            "machine",
            machines.times(HOURS_PER_MONTH),
            what,
            kind="compute",
            region=rung.region,
            price=cheapest,
            largest_price=dearest,
            machines=machines,
            **said,
        )
    size, disk = (rung.disk_gib, rung.disk_type) if rung.disk_gib else _DEFAULT_DISKS.get(rung.manager, (0, ""))
    disk = disk or _DEFAULT_DISKS.get(rung.manager, (0, ""))[1]
    if size:
        service = disk if rung.cloud == "gcp" else f"ebs-{disk}"
        yield from reader.line(
            resource,
            service,
            machines.times(size),
            f"boot disks of {size} GiB, {disk}",
            kind="storage",
            region=rung.region,
            tier="disk",
            **said,
        )


def _rented(reader: Reader, rung: Rung, machine: str) -> tuple[Price | None, Price | None]:
    """What an hour of a machine of this rung costs, and what at worst."""
    priced = reader.book.machine(rung.cloud, machine, rung.region.partition(":")[2])
    price = by_capacity(priced, rung.kind, reader.assumptions.reservationDiscount)
    worst = priced.on_demand if rung.kind in ("spot", "flex-start") and priced.on_demand else price
    return price, worst


def by_capacity(priced: MachinePrice, kind: str, discount: float) -> Price | None:
    """The price of an hour by how the machine is rented."""
    if kind == "reservation" and priced.on_demand and discount:
        return priced.on_demand.times(1 - discount, f"less {discount:.0%} by contract")
    return {
        "spot": priced.spot,
        "flex-start": priced.flex_start,
        "capacity-block": priced.capacity_block,
    }.get(kind, priced.on_demand)


def standing(
    reader: Reader, resource: Resource, machine_type: str, machines: Amount, *, spot: bool = False
) -> Iterator[Line | Unpriced]:
    """Machines outside any node pool: an instance, or an autoscaling group."""
    region = reader.inventory.regions.get(resource.urn, "global")
    cloud, _, place = region.partition(":")
    if not machine_type:
        yield reader.unpriced(resource, "which machine it is, the plan does not tell", region)
        return
    priced = reader.book.machine(cloud, machine_type, place)
    price = priced.spot if spot else priced.on_demand
    if price is None:
        yield reader.unpriced(resource, f"no price for {machine_type}", region)
        return
    yield from reader.line(
        resource,
        "machine",
        machines.times(HOURS_PER_MONTH),
        machine_type,
        kind="compute",
        region=region,
        price=price,
        largest_price=priced.on_demand,
        machines=machines,
        capacity="spot" if spot else "on-demand",
    )


def first(value: object, path: str) -> Mapping:
    """The map at a path, or the first of a list of maps: providers write one block either way."""
    found = at(value, path)
    if isinstance(found, Sequence) and not isinstance(found, str):
        found = found[0] if found else None
    return found if isinstance(found, Mapping) else {}
