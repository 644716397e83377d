"""From an inventory to what is drawn of it: `picture`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from planner.diagram.networks import views
from planner.diagram.picture import Box, Flow, Picture, Row
from planner.diagram.tiers import Store, read_by, stores
from planner.diagram.words import MANAGED, kinds, plural, span
from planner.inventory.front_door import front_doors
from planner.inventory.front_door_model import Entry, Target
from planner.inventory.inventory import Inventory
from planner.inventory.model import Cluster, Pool, Rung, Workload
from planner.inventory.quantity import known
from planner.inventory.references import items, mapping
from planner.regions import GLOBAL

MOST = {"pools": 8, "workloads": 4, "clusters": 4, "buckets": 3, "names": 6, "kinds": 8, "regions": 24}
"""How many of a kind one box shows; what is beyond is counted."""

CLOUDS = {"aws": "AWS", "gcp": "Google Cloud", "": "No region"}
PURPOSES = ("training", "serving", "", "system")
_ENTRIES = {
    "accelerator": "Global Accelerator",
    "google": "Global external load balancer",
    "load-balancer": "Load balancer",
}
_CLAIM_TYPES = "kubernetes:core/v1:PersistentVolume"


def picture(inventory: Inventory) -> Picture:
    """What a diagram of an environment shows."""
    return _Reading(inventory).picture()


class _Reading:
    """The steps of `picture`."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory, self.plan = inventory, inventory.plan
        self.stores = {store.urn: store for store in stores(inventory)}
        self.doors = front_doors(inventory)[: MOST["names"]]
        self.networks = tuple(views(inventory))
        self.flows: dict[tuple[str, str, str], Flow] = {}

    def picture(self) -> Picture:
        names = tuple(self._names())
        clouds = tuple(self._clouds())
        there = {box.id for root in (*names, *clouds) for box in root}
        self._requests(there)
        self._storage_flows(there)
        flows = tuple(f for f in self.flows.values() if f.source in there and f.target in there)
        title = " · ".join(filter(None, (self.plan.stack, self.plan.project))) or "Plan"
        return Picture(title, tuple(self._facts()), names, clouds, flows)

    # ---- names and entries

    def _names(self) -> Iterator[Box]:
        if not self.doors:
            return
        yield Box("clients", "name", "Clients", look="client", about="Whoever sends requests")
        for index, door in enumerate(self.doors):
            policies = Counter(answer.policy for answer in door.answers)
            rows = [
                Row(f"{policy} routing, {plural(count, 'record')}") if policy != "simple" else Row("one record")
                for policy, count in policies.items()
            ]
            yield Box(
                f"name:{index}", "name", door.name or "without a name", rows=tuple(rows) if door.name else (),
                look="name", about=f"{door.name}: {', '.join(door.regions)}",
            )  # fmt: skip

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """Entries that are boxes of their own, by URN: all but load balancers, which stand in their regions."""
        found = {entry.urn: entry for door in self.doors for entry in door.entries if entry.kind != "load-balancer"}
        return dict(sorted(found.items()))

    def _entry(self, entry: Entry) -> Box:
        closed = sorted({target.region for target in entry.targets if target.drained})
        rows = [Row(f"to {plural(len(entry.regions), 'region')}")] + [Row(f"drained: {region}") for region in closed]
        return Box(
            entry.urn, "entry", _ENTRIES[entry.kind], rows=tuple(rows), look="entry",
            about=f"{_ENTRIES[entry.kind]} {_name(entry.urn)}: {', '.join(entry.regions)}",
        )  # fmt: skip

    # ---- clouds and regions

    @cached_property
    def region_names(self) -> list[str]:
        """Regions with a card of their own: all but those that only hold second copies, and those of nothing."""
        counted = Counter(self.inventory.regions[r.urn] for r in self.plan if r.custom and not r.is_provider)
        counted.pop(GLOBAL, None)
        busy = {cluster.region for cluster in self.inventory.clusters} | {n.region for n in self.networks}
        busy |= {store.region for store in self.stores.values() if not store.copy_of}
        busy |= {target.region for door in self.doors for target in door.targets}
        copies = {store.region for store in self.stores.values() if store.copy_of} - busy
        own = {region for region in counted if region not in copies} | busy
        own -= {GLOBAL, "", "aws:", "gcp:"}
        # The busiest come first, for a plan of more regions than a page holds.
        first = sorted(own, key=lambda region: (region not in busy, -counted[region], region))[: MOST["regions"]]
        return sorted(first, key=lambda region: (region.partition(":")[0], region not in self._training, region))

    @cached_property
    def _training(self) -> set[str]:
        return {c.region for c in self.inventory.clusters if any(pool.purpose == "training" for pool in c.pools)}

    def _clouds(self) -> Iterator[Box]:
        placed: set[str] = set()
        by_cloud: dict[str, list[Box]] = {}
        for region in self.region_names:
            cloud = region.partition(":")[0]
            replicas = tuple(self._replicas(region, placed))
            column = Box(f"column:{region}", "column", children=(self._region(region), *replicas))
            by_cloud.setdefault(cloud, []).append(column)
        rest = self._nowhere()
        if rest:
            by_cloud.setdefault("", []).append(Box("column:", "column", children=(rest,)))
        for cloud, columns in by_cloud.items():
            entries = tuple(self._entry(e) for e in self.entries.values() if self._cloud_of(e) == cloud)
            yield Box(
                f"cloud:{cloud}", "cloud", CLOUDS.get(cloud, cloud),
                children=(*entries, *columns), look=cloud, about=f"Everything in {CLOUDS.get(cloud, cloud)}",
            )  # fmt: skip

    def _cloud_of(self, entry: Entry) -> str:
        return "gcp" if entry.kind == "google" else "aws"

    def _region(self, region: str) -> Box:
        count = sum(1 for urn, where in self.inventory.regions.items() if where == region)
        clusters = [c for c in self.inventory.clusters if c.region == region]
        inside = [*self._endpoints(region), *self._region_networks(region, clusters)]
        netted = {urn for network in self.networks if network.region == region for urn in network.clusters}
        inside += self._cluster_boxes([cluster for cluster in clusters if cluster.urn not in netted])
        inside += self._tiers(region)
        also = self._also(region, bool(clusters))
        if also:
            inside.append(also)
        return Box(
            f"region:{region}", "region", region.partition(":")[2], rows=(Row(plural(count, "resource")),),
            children=tuple(inside), look=region.partition(":")[0], about=f"Region {region}, {plural(count, 'resource')}",
        )  # fmt: skip

    def _endpoints(self, region: str) -> Iterator[Box]:
        """What takes a region's requests: its load balancer, or its network endpoint groups, one a zone."""
        groups: dict[str, list[Target]] = {}
        for door in self.doors:
            for entry in door.entries:
                for target in entry.targets:
                    if target.region == region:
                        groups.setdefault(_endpoint_id(target), []).append(target)
        for id, targets in groups.items():
            zones = sorted({target.zone for target in targets if target.zone})
            kind = "Endpoint groups" if zones else "Load balancer"
            rows = [Row("drained: gets no requests")] if all(target.drained for target in targets) else []
            if dials := {target.dial for target in targets if target.dial not in (0, 100)}:
                rows.append(Row(f"dial {min(dials):g} %"))
            resource = self.plan.by_urn.get(targets[0].urn)
            internal = resource is not None and resource.inputs.get("internal") is True
            note = "internal" if internal else plural(len(zones), "zone") if zones else ""
            yield Box(
                id, "endpoint", kind, note, tuple(rows), look="serving",
                about=f"{_name(targets[0].urn)} in {region}: {', '.join(zones)}".removesuffix(": "),
            )  # fmt: skip

    def _region_networks(self, region: str, clusters: list[Cluster]) -> Iterator[Box]:
        here = [network for network in self.networks if network.region == region]
        # Networks that carry a cluster's fabric beside its own have little to say: counted.
        main = [n for n in here if any(cluster.urn in n.clusters for cluster in clusters)] or here[: MOST["clusters"]]
        more = len(here) - len(main)
        for index, network in enumerate(main):
            rows = network.rows
            if more and index == 0:
                rows = (*rows, Row(plural(more, "more network")))
            inside = self._cluster_boxes([c for c in clusters if c.urn in network.clusters])
            yield Box(
                network.id, "network", f"VPC {network.cidr}".strip(), "", rows, tuple(inside), "network",
                about=f"Network {network.name} {network.cidr}".strip(),
            )  # fmt: skip

    # ---- clusters

    def _cluster_boxes(self, clusters: list[Cluster]) -> Iterator[Box]:
        for cluster in clusters[: MOST["clusters"]]:
            yield self._cluster(cluster)
        if more := clusters[MOST["clusters"] :]:
            pools = [pool for cluster in more for pool in cluster.pools]
            yield Box(
                f"more:{more[0].urn}", "rest", plural(len(more), "more cluster"),
                rows=(Row(f"{plural(len(pools), 'pool')}", span(*_machines(pools))),), look="system",
            )  # fmt: skip

    def _cluster(self, cluster: Cluster) -> Box:
        own = [w for w in self.inventory.workloads if w.cluster == cluster.urn]
        answering = {urn for door in self.doors for target in door.targets for urn in target.workloads}
        own.sort(key=lambda w: (w.urn not in answering, -w.max_replicas, w.name))
        shown, more = own[: MOST["workloads"]], own[MOST["workloads"] :]
        groups = []
        pools = sorted(cluster.pools, key=lambda pool: (PURPOSES.index(_purpose(pool)), _order(pool)))
        kept, beyond = pools[: MOST["pools"]], pools[MOST["pools"] :]
        for purpose in PURPOSES:
            inside = [self._workload(w) for w in shown if _wants(w) == purpose]
            inside += [self._pool(pool, cluster) for pool in kept if _purpose(pool) == purpose]
            if purpose == "" and more:
                inside.append(Box(f"more-workloads:{cluster.urn}", "rest", plural(len(more), "more workload")))
            if purpose == "" and beyond:
                row = Row("machines", span(*_machines(beyond)))
                inside.append(Box(f"more-pools:{cluster.urn}", "rest", plural(len(beyond), "more pool"), rows=(row,)))
            if inside:
                title = purpose.capitalize() or "Other"
                groups.append(
                    Box(f"group:{purpose}:{cluster.urn}", "group", title, children=tuple(inside), look=purpose)
                )
        kind = MANAGED.get(cluster.cloud, "Kubernetes")
        return Box(
            cluster.urn, "cluster", f"{kind} {cluster.version}".strip(),
            rows=(Row(span(*_machines(cluster.pools), "machine")),), children=tuple(groups), look="cluster",
            about=f"Cluster {cluster.name} in {cluster.region}, {plural(len(cluster.pools), 'node pool')}",
        )  # fmt: skip

    def _workload(self, workload: Workload) -> Box:
        gpus = sum(_gpus(container) for container in items(workload.spec, "containers"))
        rows = [
            Row("pods" if not workload.gang else "pods at once", span(workload.min_replicas, workload.max_replicas))
        ]
        if gpus:
            rows.append(Row("GPUs a pod", f"{gpus:g}"))
        if workload.queue:
            rows.append(Row("queue", workload.queue))
        name = workload.name + (f" {workload.part}" if workload.part else "")
        shown = name.removeprefix(f"{workload.region.partition(':')[2]}-") or workload.kind
        return Box(
            _workload_id(workload), "workload", shown, workload.kind, tuple(rows), look=_wants(workload),
            about=f"{workload.kind} {workload.namespace}/{name}",
        )  # fmt: skip

    def _pool(self, pool: Pool, cluster: Cluster) -> Box:
        machine = Counter(text for rung in pool.rungs for text in rung.machine_types)
        known = {(m.count, m.accelerator) for rung in pool.rungs for m in rung.machines if hasattr(m, "accelerator")}
        rows = [Row(", ".join(sorted(machine)[:2]) + (" …" if len(machine) > 2 else ""))] if machine else []
        rows += [Row(f"{count} × {accelerator}" + _cut(pool.rungs)) for count, accelerator in sorted(known)[:2]]
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

    # ---- storage

    def _tiers(self, region: str) -> Iterator[Box]:
        here = [s for s in self.stores.values() if s.region == region and not self._is_replica_box(s)]
        for row, tiers in (("files", ("hot", "warm")), ("objects", ("cold",))):
            inside: list[Box] = []
            for tier in tiers:
                own = [store for store in here if store.tier == tier]
                inside += [self._store(store) for store in own[: MOST["buckets"]]]
                if more := own[MOST["buckets"] :]:
                    inside.append(Box(f"more:{tier}:{region}", "tier", f"{tier} · {len(more):,} more", look=tier))
            if inside:
                yield Box(f"tiers:{row}:{region}", "tiers", children=tuple(inside))

    def _store(self, store: Store) -> Box:
        rows = [Row(name, after) for name, after in store.ages]
        if store.copy_of:
            rows.insert(0, Row("copy of " + ", ".join(_name(urn) for urn in store.copy_of)))
        return Box(
            store.urn, "tier", f"{store.tier} · {store.service}", store.size, tuple(rows), look=store.tier,
            about=f"{store.service} {store.name} in {store.region}",
        )  # fmt: skip

    def _is_replica_box(self, store: Store) -> bool:
        return bool(store.copy_of) and store.region not in self.region_names

    def _replicas(self, region: str, placed: set[str]) -> Iterator[Box]:
        """Second copies, under the region of what they are copies of."""
        for store in self.stores.values():
            first = next((self.stores[urn].region for urn in store.copy_of if urn in self.stores), "")
            if self._is_replica_box(store) and first == region and store.urn not in placed:
                placed.add(store.urn)
                yield Box(
                    store.urn, "replica", store.region.partition(":")[2], f"{store.service}", (Row("second copy of the cold tier"),),
                    look="replica", about=f"{store.service} {store.name} in {store.region}, a second copy",
                )  # fmt: skip

    # ---- what has no picture of its own

    def _also(self, region: str, has_cluster: bool) -> Box | None:
        here = [r for r in self.plan if r.custom and self.inventory.regions[r.urn] == region]
        counted = kinds(here, notable=has_cluster or any(n.region == region for n in self.networks))
        if not counted:
            return None
        shown = counted.most_common(MOST["kinds"])
        rows = [Row(kind, f"{count:,}") for kind, count in shown]
        if more := sum(counted.values()) - sum(count for _, count in shown):
            rows.append(Row("others", f"{more:,}"))
        return Box(f"also:{region}", "rest", "Also here", rows=tuple(rows), look="rest")

    def _nowhere(self) -> Box | None:
        """Clusters whose region cannot be told, and a plan of nothing that has a region."""
        nowhere = [c for c in self.inventory.clusters if c.region not in self.region_names]
        inside = list(self._cluster_boxes(nowhere))
        if not self.region_names and not inside:
            counted = kinds([r for r in self.plan if r.custom], notable=False)
            rows = [Row(kind, f"{count:,}") for kind, count in counted.most_common(MOST["kinds"])]
            inside = [Box("also:", "rest", "Resources", rows=tuple(rows) or (Row("none"),), look="rest")]
        title = "more regions" if nowhere else "global"
        return Box("region:", "region", title, children=tuple(inside), look="") if inside else None

    # ---- flows

    def _flow(self, source: str, target: str, kind: str) -> None:
        self.flows.setdefault((source, target, kind), Flow(source, target, kind))

    def _requests(self, there: set[str]) -> None:
        by_urn: dict[str, list[Workload]] = {}
        for workload in self.inventory.workloads:
            by_urn.setdefault(workload.urn, []).append(workload)
        for index, door in enumerate(self.doors):
            self._flow("clients", f"name:{index}", "requests")
            for entry in door.entries:
                if entry.urn in there:
                    self._flow(f"name:{index}", entry.urn, "requests")
                for target in entry.targets:
                    source = entry.urn if entry.kind != "load-balancer" else f"name:{index}"
                    self._flow(source, _endpoint_id(target), "requests")
                    for urn in target.workloads:
                        for workload in by_urn.get(urn, ()):
                            self._flow(_endpoint_id(target), _workload_id(workload), "requests")

    def _storage_flows(self, there: set[str]) -> None:
        for store in self.stores.values():
            for source in store.copy_of:
                self._flow(source, store.urn, "replication")
            for source in store.fed_by:
                self._flow(source, store.urn, "data")
        for workload in self.inventory.workloads:
            for urn in read_by(self.inventory, self.plan.by_urn[workload.urn], self.stores):
                kind = "models" if self.stores[urn].tier == "cold" else "data"
                self._flow(urn, _workload_id(workload), kind)
        fed = {(flow.source, flow.target) for flow in self.flows.values()}
        for volume in self.plan.of_type(_CLAIM_TYPES):
            cluster = self.inventory.cluster_of(volume)
            claim = mapping(volume.inputs, "spec.claimRef").get("namespace")
            group = f"group:{claim if claim in PURPOSES else 'training'}:{cluster}"
            for urn in read_by(self.inventory, volume, self.stores):
                # A bucket that fills a file system reaches the pods through it; the mount beside it is not drawn.
                through = any(source == urn and self.stores[target].tier == "hot" for source, target in fed
                              if target in self.stores)  # fmt: skip
                if group in there and not through:
                    self._flow(urn, group, "data")

    # ---- facts

    def _facts(self) -> Iterator[str]:
        clusters = self.inventory.clusters
        pools = [pool for cluster in clusters for pool in cluster.pools]
        copies = {store.region for store in self.stores.values() if self._is_replica_box(store)}
        names = self.region_names
        clouds = len({name.partition(":")[0] for name in names})
        where = f"{plural(len(names), 'region')} of {plural(clouds, 'cloud')}" if names else "no region"
        counts = [where, f"{plural(len(copies), 'replica region')}" if copies else ""]
        counts += [plural(len(clusters), "cluster"), plural(len(pools), "node pool") if pools else ""]
        counts.append(plural(len(self.plan), "resource"))
        yield " · ".join(filter(None, counts))
        low: Counter[str] = Counter()
        high: dict[str, int | None] = {}
        for rung in (rung for pool in pools for rung in pool.rungs):
            for machine in [m for m in rung.machines if hasattr(m, "accelerator")][:1]:
                low[machine.accelerator] += machine.count * rung.min
                most = None if rung.max is None else machine.count * rung.max
                before = high.get(machine.accelerator, 0)
                high[machine.accelerator] = None if most is None or before is None else before + most
        totals = [f"{span(low[name], high[name])} {name}" for name in sorted(high)]
        if pools:
            yield "Machines, fewest to most: " + span(*_machines(pools))
        if totals:
            yield "Accelerators, fewest to most: " + " · ".join(totals)


def _name(urn: str) -> str:
    return urn.split("::")[-1]


def _endpoint_id(target: Target) -> str:
    return f"endpoint:{target.urn or target.group}:{target.region}"


def _workload_id(workload: Workload) -> str:
    return f"{workload.urn}#{workload.part}" if workload.part else workload.urn


def _purpose(pool: Pool) -> str:
    if pool.purpose in PURPOSES:
        return pool.purpose or ("system" if pool.name.endswith("system") else "")
    return ""


def _wants(workload: Workload) -> str:
    """The purpose of the nodes that a workload asks for."""
    selected = [value for key, value in mapping(workload.spec, "nodeSelector").items() if key.endswith("/purpose")]
    return next((value for value in selected if value in PURPOSES), "")


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


def _machines(pools: Iterable[Pool]) -> tuple[int, int | None]:
    pools = list(pools)
    most = [pool.max for pool in pools]
    return sum(pool.min for pool in pools), None if None in most else sum(m for m in most if m is not None)
