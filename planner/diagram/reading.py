"""From an inventory to what is drawn of it: `picture`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property

from components.machine_types import MachineType
from planner.diagram.clusters import Detail, cluster_boxes, machines
from planner.diagram.flows import CLIENTS, endpoint_id, flows, gateway_id, name_id
from planner.diagram.networks import views
from planner.diagram.picture import Box, Picture, Row
from planner.diagram.services import PARTS, service_boxes
from planner.diagram.tiers import Store, stores
from planner.diagram.words import kinds, plural, span
from planner.inventory.front_door import front_doors
from planner.inventory.front_door_model import Entry, Target
from planner.inventory.inventory import Inventory
from planner.inventory.model import Cluster
from planner.plan import Resource
from planner.regions import GLOBAL

MOST_BOXES = 320
"""What is left readable on one page; a plan that has more is shown in less detail."""
DETAILS = (
    Detail(regions=24, networks=4, clusters=4, pools=8, workloads=4, stores=3),
    Detail(regions=16, networks=2, clusters=2, pools=4, workloads=2, stores=2),
    Detail(regions=12, networks=1, clusters=1, pools=2, workloads=1, stores=1),
)
"""From the fullest to the coarsest."""
NAMES, KINDS = 6, 8
"""How many names of the front door, and kinds of other resources, are shown."""

COPY = "second copy of the cold tier"
CLOUDS = {"aws": "AWS", "gcp": "Google Cloud", "": "Elsewhere"}
_ENTRIES = {
    "accelerator": "Global Accelerator",
    "google": "Global external load balancer",
    "load-balancer": "Load balancer",
}


def picture(inventory: Inventory) -> Picture:
    """What a diagram of an environment shows, in as much detail as a page holds."""
    found = _Reading(inventory, DETAILS[0]).picture()
    for coarser in DETAILS[1:]:
        if len(found.boxes) > MOST_BOXES:
            found = _Reading(inventory, coarser).picture()
    return found


class _Reading:
    """The steps of `picture`."""

    def __init__(self, inventory: Inventory, detail: Detail) -> None:
        self.inventory, self.plan, self.detail = inventory, inventory.plan, detail
        self.stores = {store.urn: store for store in stores(inventory)}
        self.doors = front_doors(inventory)[:NAMES]
        self.networks = tuple(views(inventory))
        targets = [target for door in self.doors for target in door.targets]
        self.answering = {urn for target in targets for urn in target.workloads}
        self.between = {urn for target in targets for urn in target.proxies}

    def picture(self) -> Picture:
        names = tuple(self._names())
        clouds = tuple(self._clouds())
        there = {box.id for root in (*names, *clouds) for box in root}
        title = " · ".join(filter(None, (self.plan.stack, self.plan.project))) or "Plan"
        found = flows(self.inventory, self.doors, self.stores, there)
        return Picture(title, tuple(self._facts()), names, clouds, found)

    # ---- names and entries

    def _names(self) -> Iterator[Box]:
        if not self.doors:
            return
        yield Box(CLIENTS, "name", "Clients", look="client", about="Whoever sends requests")
        for index, door in enumerate(self.doors):
            policies = Counter(answer.policy for answer in door.answers)
            rows = [
                Row(f"{policy} routing, {plural(count, 'record')}") if policy != "simple" else Row("one record")
                for policy, count in policies.items()
            ]
            yield Box(
                name_id(index), "name", door.name or "without a name", rows=tuple(rows) if door.name else (),
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
        counted = Counter(self.inventory.regions[r.urn] for r in self.plan if r.is_managed)
        counted.pop(GLOBAL, None)
        busy = {cluster.region for cluster in self.inventory.clusters} | {n.region for n in self.networks}
        busy |= {store.region for store in self.stores.values() if not store.copy_of}
        busy |= {
            self.stores[urn].region for store in self.stores.values() for urn in store.copy_of if urn in self.stores
        }
        busy |= {target.region for door in self.doors for target in door.targets}
        busy |= {region for region in counted if kinds(self._resources(region), notable=True)}
        copies = {store.region for store in self.stores.values() if store.copy_of} - busy
        own = {region for region in counted if region not in copies} | busy
        own -= {GLOBAL, "", "aws:", "gcp:"}
        self.beyond = max(0, len(own) - self.detail.regions)
        # The busiest come first, for a plan of more regions than a page holds.
        first = sorted(own, key=lambda region: (region not in busy, -counted[region], region))[: self.detail.regions]
        return sorted(first, key=lambda region: (region.partition(":")[0], region not in self._training, region))

    @cached_property
    def _by_region(self) -> Mapping[str, list[Resource]]:
        found: dict[str, list[Resource]] = {}
        for resource in self.plan:
            found.setdefault(self.inventory.regions[resource.urn], []).append(resource)
        return found

    def _resources(self, region: str) -> list[Resource]:
        return [resource for resource in self._by_region.get(region, ()) if resource.is_managed]

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
        for entry in self.entries.values():
            by_cloud.setdefault(self._cloud_of(entry), [])
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
        count = len(self._resources(region))
        clusters = [c for c in self.inventory.clusters if c.region == region]
        inside = [*self._endpoints(region), *self._gateways(region), *self._region_networks(region, clusters)]
        netted = {urn for network in self.networks if network.region == region for urn in network.clusters}
        inside += self._clusters_in([cluster for cluster in clusters if cluster.urn not in netted])
        inside += self._tiers(region)
        also = self._also(region, bool(clusters))
        if also:
            inside.append(also)
        return Box(
            f"region:{region}", "region", region.partition(":")[2], rows=(Row(plural(count, "resource")),),
            children=tuple(inside), look=region.partition(":")[0], about=f"{region}: {plural(count, 'resource')}",
        )  # fmt: skip

    def _endpoints(self, region: str) -> Iterator[Box]:
        """What takes a region's requests: its load balancer, or its network endpoint groups, one a zone."""
        groups: dict[str, list[Target]] = {}
        for door in self.doors:
            for entry in door.entries:
                for target in entry.targets:
                    if target.region == region:
                        groups.setdefault(endpoint_id(target), []).append(target)
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

    def _gateways(self, region: str) -> Iterator[Box]:
        """What stands between a load balancer and the servers: the proxies of gateways."""
        for one in self.inventory.workloads:
            if one.urn in self.between and one.region == region:
                yield Box(
                    gateway_id(one.urn), "endpoint", "Gateway", f"{span(one.min_replicas, one.max_replicas)} pods",
                    look="serving", about=f"Proxies {one.namespace}/{one.name} in {region}",
                )  # fmt: skip

    def _region_networks(self, region: str, clusters: list[Cluster]) -> Iterator[Box]:
        here = [network for network in self.networks if network.region == region]
        # Networks that carry a cluster's fabric beside its own have little to say: counted.
        main = [n for n in here if any(cluster.urn in n.clusters for cluster in clusters)] or here[
            : self.detail.networks
        ]
        more = len(here) - len(main)
        for index, network in enumerate(main):
            rows = network.rows
            if more and index == 0:
                rows = (*rows, Row(plural(more, "more network")))
            inside = self._clusters_in([c for c in clusters if c.urn in network.clusters])
            yield Box(
                network.id, "network", f"VPC {network.cidr}".strip(), "", rows, tuple(inside), "network",
                about=f"Network {network.name} {network.cidr}".strip(),
            )  # fmt: skip

    def _clusters_in(self, clusters: list[Cluster]) -> Iterator[Box]:
        drawn = [one for one in self.inventory.workloads if one.urn not in self.between]
        return cluster_boxes(clusters, drawn, self.answering, self.detail)

    # ---- storage

    def _tiers(self, region: str) -> Iterator[Box]:
        here = [s for s in self.stores.values() if s.region == region and not self._is_replica_box(s)]
        for row, tiers in (("files", ("hot", "warm")), ("objects", ("cold",))):
            inside: list[Box] = []
            for tier in tiers:
                own = [store for store in here if store.tier == tier]
                inside += [self._store(store) for store in own[: self.detail.stores]]
                if more := own[self.detail.stores :]:
                    inside.append(Box(f"more:{tier}:{region}", "tier", f"{tier} · {len(more):,} more", look=tier))
            if row == "objects":
                # Beside the bucket that their models come from: below the cluster they would be in everybody's way.
                inside += service_boxes(self.inventory, region, self.detail.workloads)
            if inside:
                yield Box(f"tiers:{row}:{region}", "tiers", children=tuple(inside))

    def _store(self, store: Store) -> Box:
        rows = [Row(name, after) for name, after in store.ages]
        alike = [s for s in self.stores.values() if (s.region, s.tier) == (store.region, store.tier)]
        if len(alike) > 1 or store.tier not in store.name:
            rows.insert(0, Row(store.name.removeprefix(f"{store.region.partition(':')[2]}-")))
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
                    store.urn, "replica", store.region.partition(":")[2], f"{store.service}", (Row(COPY),),
                    look="replica", about=f"{store.service} {store.name} in {store.region}, a second copy",
                )  # fmt: skip

    # ---- what has no picture of its own

    def _also(self, region: str, has_cluster: bool) -> Box | None:
        counted = kinds(
            [r for r in self._resources(region) if r.urn not in self.stores and r.type not in PARTS],
            notable=has_cluster or any(n.region == region for n in self.networks),
        )
        if not counted:
            return None
        shown = counted.most_common(KINDS)
        rows = [Row(kind, f"{count:,}") for kind, count in shown]
        if more := sum(counted.values()) - sum(count for _, count in shown):
            rows.append(Row("others", f"{more:,}"))
        return Box(f"also:{region}", "rest", "Also here", rows=tuple(rows), look="rest")

    def _nowhere(self) -> Box | None:
        """Clusters whose region cannot be told, and a plan of nothing that has a region."""
        nowhere = [c for c in self.inventory.clusters if c.region not in self.region_names]
        inside = list(self._clusters_in(nowhere))
        if not self.region_names and not inside:
            counted = kinds([r for r in self.plan if r.is_managed], notable=False)
            rows = [Row(kind, f"{count:,}") for kind, count in counted.most_common(KINDS)]
            inside = [Box("also:", "rest", "Resources", rows=tuple(rows) or (Row("none"),), look="rest")]
        title = plural(self.beyond, "more region") if self.beyond else "region not known" if nowhere else "no region"
        return Box("region:", "region", title, children=tuple(inside), look="") if inside else None

    # ---- facts

    def _facts(self) -> Iterator[str]:
        clusters = self.inventory.clusters
        pools = [pool for cluster in clusters for pool in cluster.pools]
        copies = {store.region for store in self.stores.values() if self._is_replica_box(store)}
        names = self.region_names
        clouds = len({name.partition(":")[0] for name in names})
        where = f"{plural(len(names), 'region')} of {plural(clouds, 'cloud')}" if names else "no region"
        counts = [where, f"{plural(self.beyond, 'more region')} not drawn" if self.beyond else ""]
        counts.append(plural(len(copies), "replica region") if copies else "")
        counts += [
            plural(len(clusters), "cluster") if clusters else "",
            plural(len(pools), "node pool") if pools else "",
        ]
        counts.append(plural(sum(resource.is_managed for resource in self.plan), "resource"))
        yield " · ".join(filter(None, counts))
        low: Counter[str] = Counter()
        high: dict[str, int | None] = {}
        for rung in (rung for pool in pools for rung in pool.rungs):
            for machine in [m for m in rung.machines if isinstance(m, MachineType)][:1]:
                low[machine.accelerator] += machine.count * rung.min
                most = None if rung.max is None else machine.count * rung.max
                before = high.get(machine.accelerator, 0)
                high[machine.accelerator] = None if most is None or before is None else before + most
        totals = [f"{span(low[name], high[name])} {name}" for name in sorted(high)]
        if pools:
            yield "Machines, fewest to most: " + span(*machines(pools))
        if totals:
            yield "Accelerators, fewest to most: " + " · ".join(totals)


def _name(urn: str) -> str:
    return urn.split("::")[-1]
