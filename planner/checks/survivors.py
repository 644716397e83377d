"""What is left of an environment when a region, a zone, all spot capacity, a node pool or one of its rungs goes away.

"Left" is what the autoscalers can reach with what remains: machines up to each rung's limit, and the serving replicas
that fit on these, up to each workload's largest count. A limit that counts for all zones together can still be reached
when one zone is gone; one that counts for each zone cannot.

How the clouds' front doors behave is written here once (all read in November 2026):

- Global Accelerator sends to the closest group with a healthy endpoint of a weight above 0, whatever its traffic dial;
  having found none in the three closest groups, it fails open, to a random endpoint of the closest one. Established
  connections stay where they are.
  https://docs.aws.amazon.com/global-accelerator/latest/dg/about-endpoints-endpoint-weights.unhealthy-endpoints.html
- Route 53 leaves out unhealthy records, takes those of weight 0 when all others are unhealthy, and takes all for
  healthy when none is. A record without a health check, or an alias that doesn't evaluate its target, always is.
  https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/health-checks-how-route-53-chooses-records.html
- A Google load balancer sends to the nearest region with healthy capacity and answers 502 or 503 when there is none.
  https://cloud.google.com/load-balancing/docs/https/troubleshooting-ext-https-lbs
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from planner.inventory.capacity import pods_per_machine
from planner.inventory.front_door import Answer, Entry, FrontDoor, Target, front_doors
from planner.inventory.inventory import Inventory
from planner.inventory.model import Cluster, Rung, Workload
from planner.inventory.references import at

UNLIMITED = 10**9
"""Machines of a rung that nothing limits."""


@dataclass(frozen=True)
class Loss:
    """What goes away."""

    kind: str
    """region, zone, spot, pool, rung, or nothing."""
    region: str = ""
    zone: str = ""
    cluster: str = ""
    pool: str = ""
    rung: str = ""
    """URN."""
    spot: bool = False
    """Whether only spot machines go."""
    name: str = ""
    """What a person calls it, such as `aws:us-east-1/serving-l4`."""

    def takes(self, rung: Rung) -> bool:
        """Whether it takes every machine of a rung."""
        match self.kind:
            case "region":
                return rung.region == self.region
            case "zone":
                return rung.region == self.region and rung.zones == (self.zone,)
            case "spot":
                return rung.spot
            case "pool":
                return (rung.cluster, rung.pool) == (self.cluster, self.pool)
            case "rung":
                return rung.urn == self.rung
        return False


NOTHING = Loss("nothing", name="nothing")


@dataclass(frozen=True)
class Serving:
    """A model server in one region, and how many of its replicas can run."""

    workload: Workload
    needed: int
    """Replicas that it runs at least."""
    before: int
    """At most, with everything there."""
    left: int
    """At most, after the loss."""


@dataclass(frozen=True)
class Resolution:
    """What becomes of a name's clients."""

    name: str
    dead: tuple[Answer, ...]
    """Records that clients are still told although nothing answers there."""
    alive: tuple[Answer, ...]
    """Records that clients are told and where something answers."""

    @property
    def outcome(self) -> str:
        """answers, answers some, or answers nobody."""
        return "answers" if not self.dead else "answers some" if self.alive else "answers nobody"


@dataclass(frozen=True)
class Scenario:
    """An environment after a loss, scaled up as far as it goes."""

    loss: Loss
    machines: int | None
    """None where one of the rungs that are left has no limit; so too `accelerators`."""
    accelerators: int | None
    serving: tuple[Serving, ...]
    names: tuple[Resolution, ...]
    proxies: tuple[Serving, ...] = ()
    """Gateways' proxies, without which no request reaches the servers behind them."""

    @property
    def replicas(self) -> int:
        """Serving replicas that can run."""
        return sum(one.left for one in self.serving)


def scenarios(inventory: Inventory) -> tuple[Scenario, ...]:
    """Every loss of one region, zone, pool or rung, and of all spot; the first is the loss of nothing."""
    survivors = Survivors(inventory)
    return tuple(survivors.scenario(loss) for loss in survivors.losses())


class Survivors:
    """The scenarios of one inventory. A loss costs only what it touches: clusters elsewhere are counted once."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.doors: tuple[FrontDoor, ...] = front_doors(inventory)
        self._per_zone = {
            rung.urn for rung in self._rungs if rung.manager == "gke" and _counts_each_zone(inventory, rung)
        }
        self._whole = {cluster.urn: self._fill(cluster, NOTHING) for cluster in inventory.clusters}
        self._found: dict[Loss, Scenario] = {}

    @cached_property
    def _rungs(self) -> list[Rung]:
        return [rung for cluster in self.inventory.clusters for rung in cluster.rungs]

    @cached_property
    def proxies(self) -> dict[str, Workload]:
        """URN -> gateways' proxies that are behind a front door."""
        between = {urn for door in self.doors for target in door.targets for urn in target.proxies}
        return {w.urn: w for w in self.inventory.workloads if w.urn in between}

    @cached_property
    def serving(self) -> dict[str, Workload]:
        """URN -> model servers: what is behind a front door; without one, whatever has accelerators and stays up."""
        behind = {urn for door in self.doors for target in door.targets for urn in target.workloads}
        return {
            workload.urn: workload
            for workload in self.inventory.workloads
            if workload.urn in behind or (not self.doors and _stays_up(workload))
        }

    def losses(self) -> Iterator[Loss]:
        """Everything that may go, one at a time; nothing first."""
        yield NOTHING
        clusters = self.inventory.clusters
        zones: dict[str, set[str]] = {}
        for rung in self._rungs:
            zones.setdefault(rung.region, set()).update(rung.zones)
        for region in dict.fromkeys(cluster.region for cluster in clusters):
            yield Loss("region", region=region, name=region)
        for region, names in zones.items():
            for zone in sorted(names):
                yield Loss("zone", region=region, zone=zone, name=f"{region.partition(':')[0]}:{zone}")
        if any(rung.spot for rung in self._rungs):
            yield Loss("spot", spot=True, name="all spot capacity")
        for cluster in clusters:
            for pool in cluster.pools:
                name = f"{cluster.region}/{pool.name}"
                yield Loss("pool", cluster.region, cluster=cluster.urn, pool=pool.name, name=name)
                for rung in pool.rungs if len(pool.rungs) > 1 else ():
                    which = f"{name}/{rung.kind}" + (" (standing)" if rung.min else "")
                    yield Loss("rung", cluster.region, "", cluster.urn, pool.name, rung.urn, rung.spot, which)

    def scenario(self, loss: Loss) -> Scenario:
        """What is left after a loss."""
        if loss not in self._found:
            left = {urn: count for counts in self._whole.values() for urn, count in counts.items()}
            before = dict(left)
            for cluster in self._touched(loss):
                left.update(self._fill(cluster, loss))
            serving = tuple(
                Serving(workload, workload.min_replicas, before.get(urn, 0), left.get(urn, 0))
                for urn, workload in self.serving.items()
            )
            proxies = tuple(
                Serving(workload, workload.min_replicas, before.get(urn, 0), left.get(urn, 0))
                for urn, workload in self.proxies.items()
            )
            names = self._resolve(loss, left)
            self._found[loss] = Scenario(loss, *self._totals(loss), serving, names, proxies)
        return self._found[loss]

    # ---- capacity

    def _touched(self, loss: Loss) -> Iterator[Cluster]:
        for cluster in self.inventory.clusters:
            if loss.kind == "spot" or loss.region == cluster.region:
                yield cluster

    def machines(self, rung: Rung, loss: Loss) -> int:
        """Most machines of a rung after a loss."""
        most = UNLIMITED if rung.max is None else rung.max
        if loss.takes(rung):
            return 0
        if loss.kind == "zone" and loss.zone in rung.zones and rung.urn in self._per_zone:
            return most * (len(rung.zones) - 1) // len(rung.zones)
        return most

    @cached_property
    def _places(self) -> dict[str, list[tuple[str, int]]]:
        """URN of a server or proxy -> the rungs where it fits, the first to try first, and how many to a machine."""
        found: dict[str, list[tuple[str, int]]] = {urn: [] for urn in self._placed}
        for cluster in self.inventory.clusters:
            for urn in self._served_by.get(cluster.urn, ()):
                for rung in cluster.rungs:
                    fit = pods_per_machine(self._placed[urn], rung)
                    # Where nothing is known of the machine, it is taken to hold one.
                    if fit != 0:
                        found[urn].append((rung.urn, 1 if fit is None else fit))
        return found

    @cached_property
    def _placed(self) -> dict[str, Workload]:
        return {**self.serving, **self.proxies}

    @cached_property
    def _served_by(self) -> dict[str, list[str]]:
        """URN of a cluster -> URNs of its model servers and proxies."""
        found: dict[str, list[str]] = {}
        for urn, workload in self._placed.items():
            found.setdefault(workload.cluster, []).append(urn)
        return found

    def _fill(self, cluster: Cluster, loss: Loss) -> dict[str, int]:
        """Replicas of each model server that fit: first what each needs, then as many as it may have."""
        own = self._served_by.get(cluster.urn, ())
        free = {rung.urn: self.machines(rung, loss) for rung in cluster.rungs} if own else {}
        running = dict.fromkeys(own, 0)
        spare: dict[tuple[str, str], int] = {}
        for wanted in ("min_replicas", "max_replicas"):
            for urn in own:
                for rung, fit in self._places[urn]:
                    missing = getattr(self._placed[urn], wanted) - running[urn]
                    here = spare.pop((urn, rung), 0)
                    started = min(free[rung], max(0, -(-(missing - here) // fit)))
                    placed = min(missing, here + started * fit)
                    spare[urn, rung] = here + started * fit - placed
                    free[rung] -= started
                    running[urn] += placed
        return running

    def _count(self, clusters: Iterable[Cluster], loss: Loss) -> tuple[int, int, int]:
        """Machines, accelerators and rungs without a limit."""
        machines = accelerators = unlimited = 0
        for rung in (rung for cluster in clusters for rung in cluster.rungs):
            count = self.machines(rung, loss)
            machines += count
            accelerators += count * rung.accelerators
            unlimited += rung.max is None and count > 0
        return machines, accelerators, unlimited

    def _totals(self, loss: Loss) -> tuple[int | None, int | None]:
        touched = list(self._touched(loss))
        before, after = self._count(touched, NOTHING), self._count(touched, loss)
        machines, accelerators, unlimited = (
            whole - had + has for whole, had, has in zip(self._all, before, after, strict=True)
        )
        return (None, None) if unlimited else (machines, accelerators)

    @cached_property
    def _all(self) -> tuple[int, int, int]:
        return self._count(self.inventory.clusters, NOTHING)

    # ---- names

    def alive(self, target: Target, loss: Loss, left: Mapping[str, int]) -> bool:
        """Whether something answers at a target, be it drained or not."""
        gone = (loss.kind == "region" and target.region == loss.region) or (
            loss.kind == "zone" and bool(target.zone) and target.zone == loss.zone
        )
        known, between = ([left[urn] for urn in urns if urn in left] for urns in (target.workloads, target.proxies))
        return not gone and (not known or any(known)) and (not between or any(between))

    def _resolve(self, loss: Loss, left: Mapping[str, int]) -> tuple[Resolution, ...]:
        serves = {
            entry.urn: any(not target.drained and self.alive(target, loss, left) for target in entry.targets)
            for door in self.doors
            for entry in door.entries
        }
        by_name = {door.name: door for door in self.doors}
        return tuple(resolution(door, serves, by_name) for door in self.doors)


def resolution(door: FrontDoor, serves: Mapping[str, bool], by_name: Mapping[str, FrontDoor]) -> Resolution:
    """What clients of a name are told. `serves`: URN of an entry -> whether anything answers behind it; `by_name`: the
    front doors that aliases may lead to."""
    told = list(_told(door, serves))
    works = [_works(answer, serves, by_name, frozenset({door.name})) for answer in told]
    return Resolution(
        door.name,
        tuple(answer for answer, work in zip(told, works, strict=True) if not work),
        tuple(answer for answer, work in zip(told, works, strict=True) if work),
    )


def _told(door: FrontDoor, serves: Mapping[str, bool]) -> Iterable[Answer]:
    """The records that some client is told, as Route 53 chooses."""
    healthy = [answer for answer in door.answers if _healthy(answer, serves)]
    first = [answer for answer in healthy if answer.weight != 0 and answer.key != "SECONDARY"]
    if first or healthy:
        return first or healthy
    return [answer for answer in door.answers if answer.weight != 0] or door.answers


def _healthy(answer: Answer, serves: Mapping[str, bool]) -> bool:
    """Whether Route 53 takes a record for healthy: by its health check, its target, or for want of both."""
    asked = answer.asks or (answer.entry.urn if answer.entry else "")
    if answer.health_check and not serves.get(asked, True):
        return False
    return not answer.evaluates_target or answer.entry is None or serves.get(answer.entry.urn, True)


def _works(answer: Answer, serves: Mapping[str, bool], by_name: Mapping[str, FrontDoor], seen: frozenset[str]) -> bool:
    """Whether a client that is told a record gets an answer. What the plan doesn't know is taken to work."""
    if answer.entry is not None:
        return serves.get(answer.entry.urn, True)
    other = by_name.get(answer.alias_of)
    if other is None or other.name in seen:
        return True
    return any(_works(one, serves, by_name, seen | {other.name}) for one in _told(other, serves))


def _counts_each_zone(inventory: Inventory, rung: Rung) -> bool:
    """Whether a GKE node pool's limit is one for each zone: any but `totalMaxNodeCount` is.

    https://cloud.google.com/kubernetes-engine/docs/concepts/cluster-autoscaler#minimum_and_maximum_node_pool_size
    """
    resource = inventory.plan.by_urn.get(rung.urn)
    return resource is not None and at(resource.inputs, "autoscaling.totalMaxNodeCount") is None


def _stays_up(workload: Workload) -> bool:
    containers = workload.spec.get("containers")
    return workload.kind in ("Deployment", "StatefulSet", "InferenceService") and any(
        "/" in str(name)
        for container in (containers if isinstance(containers, list) else ())
        for name in (at(container, "resources.limits") or ())
    )


def of_entry(entry: Entry, serving: Iterable[Serving]) -> list[Serving]:
    """The model servers behind an entry."""
    behind = {urn for target in entry.targets for urn in target.workloads}
    return [one for one in serving if one.workload.urn in behind]


def reaches(entry: Entry, serving: Iterable[Serving]) -> list[Serving]:
    """Those to which the entry may send: not where every target is drained."""
    behind = {urn for target in entry.targets if not target.drained for urn in target.workloads}
    return [one for one in serving if one.workload.urn in behind]
