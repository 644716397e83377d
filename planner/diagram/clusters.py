"""Clusters as boxes: node pools by purpose with their ladders, beside the workloads that want to run there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass

from components.machine_types import MachineType
from planner.diagram.picture import Box, Row
from planner.diagram.words import MANAGED, TIMES, plural, span
from planner.inventory.model import Cluster, Pool, Rung, Workload
from planner.inventory.quantity import known
from planner.inventory.references import items, mapping


@dataclass(frozen=True)
class Detail:
    """How many of a kind one box shows, or the page; what is beyond is counted."""

    regions: int
    networks: int
    clusters: int
    pools: int
    workloads: int
    stores: int
    """In each tier of a region."""


PURPOSES = ("training", "serving", "", "system")
_JOBS = frozenset({"TrainJob", "JobSet", "RayJob", "RayCluster", "MPIJob", "PyTorchJob"})


def cluster_boxes(
    clusters: list[Cluster], workloads: Iterable[Workload], answering: Set[str], detail: Detail
) -> Iterator[Box]:
    """A box for each cluster, with what answers requests first; those beyond in one."""
    for cluster in clusters[: detail.clusters]:
        yield _cluster(cluster, [w for w in workloads if w.cluster == cluster.urn], answering, detail)
    if more := clusters[detail.clusters :]:
        pools = [pool for cluster in more for pool in cluster.pools]
        yield Box(
            f"more:{more[0].urn}", "rest", plural(len(more), "more cluster"),
            rows=(Row(f"{plural(len(pools), 'pool')}", span(*machines(pools))),), look="rest",
        )  # fmt: skip


def _cluster(cluster: Cluster, workloads: list[Workload], answering: Set[str], detail: Detail) -> Box:
    parts: dict[str, list[Workload]] = {}
    for one in (one for one in workloads if one.kind != "DaemonSet"):  # those belong to the nodes
        parts.setdefault(one.urn, []).append(one)
    own = sorted(parts.values(), key=lambda p: (p[0].urn not in answering, -_most(p), p[0].name))
    shown, more = own[: detail.workloads], own[detail.workloads :]
    groups: list[Box] = []
    pools = sorted(cluster.pools, key=lambda pool: (PURPOSES.index(_purpose(pool)), _order(pool)))
    kept, beyond = pools[: detail.pools], pools[detail.pools :]
    for purpose in PURPOSES:
        inside = [_workload(parts) for parts in shown if _wants(parts) == purpose]
        inside += [_pool(pool, cluster) for pool in kept if _purpose(pool) == purpose]
        if purpose == "" and more:
            inside.append(Box(f"more-workloads:{cluster.urn}", "rest", plural(len(more), "more workload")))
        if purpose == "" and beyond:
            row = Row("machines", span(*machines(beyond)))
            inside.append(Box(f"more-pools:{cluster.urn}", "rest", plural(len(beyond), "more pool"), rows=(row,)))
        if inside:
            title = purpose.capitalize() or ("Other" if groups else "Node pools")
            groups.append(Box(f"group:{purpose}:{cluster.urn}", "group", title, children=tuple(inside), look=purpose))
    kind = MANAGED.get(cluster.cloud, "Kubernetes")
    # A region's only cluster, named after it, needs no name.
    name = cluster.name.removeprefix(cluster.region.partition(":")[2]).strip("-")
    title = " ".join(filter(None, (kind, cluster.version, "" if name in ("", "cluster") else f"· {name}")))
    size = span(*machines(cluster.pools), "machine") if cluster.pools else "no node pool in the plan"
    return Box(
        cluster.urn, "cluster", title, rows=(Row(size),), children=tuple(groups), look="cluster",
        about=f"Cluster {cluster.name} in {cluster.region}, {plural(len(cluster.pools), 'node pool')}",
    )  # fmt: skip


def _workload(parts: list[Workload]) -> Box:
    """A box for a resource, with a row for the pods of each of its parts: a head, workers."""
    one = parts[0]
    rows = [_pods(part, named=len(parts) > 1) for part in parts]
    if gpus := max(sum(_gpus(container) for container in items(part.spec, "containers")) for part in parts):
        rows.append(Row("GPUs a pod", f"{gpus:g}"))
    if one.queue:
        rows.append(Row("queue", one.queue))
    shown = one.name.removeprefix(f"{one.region.partition(':')[2]}-") or one.kind
    return Box(
        # What is no Deployment says so: the name needs the room.
        workload_id(one), "workload", shown, "" if one.kind == "Deployment" else one.kind, tuple(rows),
        look=_wants(parts),
        about=f"{one.kind} {one.namespace}/{one.name}",
    )  # fmt: skip


def _pods(part: Workload, *, named: bool) -> Row:
    words = "pods at once" if part.gang else "pods"
    return Row(f"{part.part}, {words}" if named and part.part else words, span(part.min_replicas, part.max_replicas))


def _most(parts: list[Workload]) -> int:
    return sum(part.max_replicas for part in parts)


def _pool(pool: Pool, cluster: Cluster) -> Box:
    machine = Counter(text for rung in pool.rungs for text in rung.machine_types)
    known = {(m.count, m.accelerator) for rung in pool.rungs for m in rung.machines if isinstance(m, MachineType)}
    rows = [Row(", ".join(sorted(machine)[:2]) + (" …" if len(machine) > 2 else ""))] if machine else []
    rows += [Row(f"{count} {TIMES} {accelerator}" + _cut(pool.rungs)) for count, accelerator in sorted(known)[:2]]
    fabric = max((rung.fabric_interfaces for rung in pool.rungs), default=0)
    if fabric:
        rows.append(Row(f"{fabric} EFA interfaces" if cluster.cloud == "aws" else f"{fabric} fabric networks"))
    zones = sorted({zone for rung in pool.rungs for zone in rung.zones})
    if len(zones) == 1:
        rows.append(Row(f"only in {zones[0]}"))
    for index, rung in enumerate(pool.rungs, 1):
        rows.append(Row(f"{index}  {rung.kind}", span(rung.min, rung.max), rung.kind))
    name = pool.name.removeprefix(f"{cluster.name}-") or pool.name
    ladder = ", then ".join(f"{rung.kind} {span(rung.min, rung.max)}" for rung in pool.rungs)
    return Box(
        f"pool:{cluster.urn}:{pool.name}", "pool", name, span(pool.min, pool.max), tuple(rows), look=pool.purpose,
        about=f"Node pool {pool.name}: {ladder}" + (f"; {', '.join(zones)}" if zones else ""),
    )  # fmt: skip


def workload_id(workload: Workload) -> str:
    """Id of a workload's box: one for all parts of a resource."""
    return workload.urn


def group_id(workload: Workload) -> str:
    """Id of the box of its cluster that has a workload's box, with others of its purpose."""
    return f"group:{_wants([workload])}:{workload.cluster}"


def trains(workload: Workload) -> bool:
    """Whether it is a job, which takes what is learnt from and leaves what was."""
    return workload.kind in _JOBS or (workload.kind == "Job" and bool(workload.queue))


def _purpose(pool: Pool) -> str:
    if pool.purpose in PURPOSES:
        return pool.purpose or ("system" if pool.name.endswith("system") else "")
    return ""


def _wants(parts: list[Workload]) -> str:
    """The purpose of the nodes that a workload asks for; of a job it is training, wherever its queue sends it."""
    selected = [
        value for part in parts for key, value in mapping(part.spec, "nodeSelector").items() if key.endswith("/purpose")
    ]
    return next((value for value in selected if value in PURPOSES), "training" if trains(parts[0]) else "")


def _order(pool: Pool) -> tuple[int, str]:
    """Pools that are always there before those that come and go."""
    return (-pool.min, pool.name)


def _cut(rungs: Iterable[Rung]) -> str:
    """How accelerators are shared."""
    for rung in rungs:
        if rung.mig_profile:
            return f", MIG {rung.mig_profile}"
        if rung.gpu_replicas > 1:
            return f", {rung.gpu_replicas} pods each"
    return ""


def _gpus(container: object) -> float:
    limits = mapping(container, "resources.limits") or mapping(container, "resources.requests")
    return sum(float(known(value) or 0) for key, value in limits.items() if key in ("nvidia.com/gpu", "google.com/tpu"))


def machines(pools: Iterable[Pool]) -> tuple[int, int | None]:
    """Fewest and most machines of some pools; None where one has no limit."""
    pools = list(pools)
    most = [pool.max for pool in pools]
    return sum(pool.min for pool in pools), None if None in most else sum(m for m in most if m is not None)
