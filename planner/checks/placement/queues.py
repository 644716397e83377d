"""Placement, Kueue: queues, flavors and quota, by which jobs get their machines.

https://kueue.sigs.k8s.io/docs/concepts/cluster_queue/, .../resource_flavor/, .../cohort/
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from planner.checks.placement.objects import Surroundings
from planner.finding import Finding, Rule
from planner.inventory import Workload
from planner.inventory.capacity import MODELLED, allocatable, requests
from planner.inventory.documents import parsed
from planner.inventory.objects import Object, maps, selects
from planner.inventory.quantity import known, text
from planner.inventory.references import at, items, mapping
from planner.inventory.rungs import RELEASE
from planner.inventory.scheduling import machines, nodes
from planner.plan import UNKNOWN

QUEUE_EXISTS = Rule(
    "queue-exists",
    "Every queue that a job names is there, with the cluster queue and the flavors behind it",
    url="https://kueue.sigs.k8s.io/docs/concepts/local_queue/",
    remediation="Name a LocalQueue of the job's own namespace that leads to a ClusterQueue: until then the job waits.",
)
QUEUE_QUOTA_FITS = Rule(
    "queue-quota-fits",
    "What a queued job asks for fits the quota of its queue, and the quota fits the machines",
    url="https://kueue.sigs.k8s.io/docs/concepts/cluster_queue/#resource-groups",
    remediation="Ask for less, or raise the queue's quota along with the pool that its flavor stands for.",
)

_TOPOLOGY_REQUESTS = (
    "kueue.x-k8s.io/podset-required-topology",
    "kueue.x-k8s.io/podset-preferred-topology",
    "kueue.x-k8s.io/podset-unconstrained-topology",
)
"""Annotations of pods (https://kueue.sigs.k8s.io/docs/concepts/topology_aware_scheduling/); the last one is `true`."""

_UNCOUNTED = ("cpu", "memory", "ephemeral-storage", "hugepages-")
"""What many installations exclude from quota; taken to be so where the plan doesn't show Kueue's configuration."""


@dataclass(frozen=True)
class Quota:
    """What a queue has of a resource in one flavor."""

    flavor: str
    nominal: Fraction | None
    """None where the plan doesn't know it."""
    borrowing: Fraction | None
    lending: Fraction | None


class Kueue:
    """Kueue's objects in the clusters of a plan."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._objects = surroundings.objects

    def variants(self, workload: Workload, near: Object) -> list[Workload]:
        """A workload as its pods will be: with the labels and tolerations of each flavor that its queue may give it."""
        queue = self._queue(workload, near) if workload.queue else None
        flavors = [self._objects.find(near, "ResourceFlavor", name) for name in _flavors(queue)] if queue else []
        suited = [f for f in flavors if f is not None and self._suits(workload, queue, f)]
        found = [_with_flavor(workload, flavor.spec) for flavor in suited or flavors if flavor is not None]
        untold = at(near.resource.inputs, "metadata.labels") == UNKNOWN or None in flavors
        untold = untold or (queue is not None and not _told(queue.spec.get("resourceGroups")))
        if untold or (workload.queue and not found):
            # Which queue was meant is for `queue-exists` to say; any flavor may be what it gives.
            every = (one for one in self._objects.of_kind("ResourceFlavor") if one.cluster == near.cluster)
            found = [_with_flavor(workload, one.spec) for one in every]
        return [*found, workload] if untold or not found else found

    def _suits(self, workload: Workload, queue: Object | None, flavor: Object) -> bool:
        """Whether Kueue gives a flavor to pods by what they ask of their place in the network: those that ask get
        flavors with such a topology only, the others never, but where all flavors of a queue have one.

        pkg/scheduler/flavorassigner/tas_flavorassigner.go, checkPodSetAndFlavorMatchForTAS.
        """
        topology = flavor.spec.get("topologyName")
        others = [self._objects.find(flavor, "ResourceFlavor", name) for name in _flavors(queue)] if queue else []
        if topology == UNKNOWN or all(one is None or one.spec.get("topologyName") for one in others):
            return True
        asked = [workload.annotations[key] for key in _TOPOLOGY_REQUESTS if key in workload.annotations]
        if not asked or not topology:
            return bool(asked) is bool(topology)
        found = self._objects.find(flavor, "Topology", str(topology))
        levels = [level.get("nodeLabel") for level in maps(found.spec, "levels")] if found else []
        return not levels or asked[0] in (*levels, "true", UNKNOWN) or UNKNOWN in levels

    def _queue(self, workload: Workload, near: Object) -> Object | None:
        local = self._objects.find(near, "LocalQueue", workload.queue)
        return self._objects.find(near, "ClusterQueue", str(local.spec.get("clusterQueue"))) if local else None

    def findings(self, workloads: list[tuple[Workload, Object]]) -> Iterator[Finding]:
        """Queues that lead nowhere, jobs that no quota admits, and quota that no machine stands for."""
        for local in self._objects.of_kind("LocalQueue"):
            yield from self._leads(local, "ClusterQueue", local.spec.get("clusterQueue"))
        for queue in self._objects.of_kind("ClusterQueue"):
            for name in _flavors(queue):
                yield from self._leads(queue, "ResourceFlavor", name)
        for flavor in self._objects.of_kind("ResourceFlavor"):
            yield from self._leads(flavor, "Topology", flavor.spec.get("topologyName"))
        yield from self._flavors_without_machines()
        jobs: dict[str, list[tuple[Workload, Object]]] = {}
        for workload, near in workloads:
            if workload.queue and UNKNOWN not in workload.queue:
                jobs.setdefault(workload.urn, []).append((workload, near))
        for parts in jobs.values():
            yield from self._job([workload for workload, _ in parts], parts[0][1])

    def _leads(self, near: Object, kind: str, name: Any) -> Iterator[Finding]:
        """A finding where an object names another that isn't there."""
        if not isinstance(name, str) or UNKNOWN in name or self._objects.in_doubt(near, kind):
            return
        if self._objects.find(near, kind, name) is None:
            there = sorted({one.name for one in self._objects.of_kind(kind) if one.cluster == near.cluster})
            yield QUEUE_EXISTS.finding(
                f"{near.kind} {near.place} names the {kind} {name!r}, which is not in its cluster;"
                f" {_nearest(name, there)}",
                near.resource,
                subject=name,
            )

    # ---- jobs

    def _job(self, parts: list[Workload], near: Object) -> Iterator[Finding]:
        name, job = parts[0].queue, f"{parts[0].kind} {parts[0].name}"
        local = self._objects.find(near, "LocalQueue", name)
        if local is None:
            if near.namespace != UNKNOWN and not self._objects.in_doubt(near, "LocalQueue"):
                there = sorted({one.name for one in self._objects.beside(near, "LocalQueue")})
                yield QUEUE_EXISTS.finding(
                    f"{job} names the LocalQueue {name!r}, which is not in namespace {near.namespace};"
                    f" {_nearest(name, there)}",
                    near.resource,
                    subject=name,
                )
            return
        queue = self._objects.find(near, "ClusterQueue", str(local.spec.get("clusterQueue")))
        if queue is None:
            return
        if not self._admits(queue, near):
            yield QUEUE_EXISTS.finding(
                f"{job} waits in the ClusterQueue {queue.name}, whose namespaceSelector leaves out namespace"
                f" {near.namespace}",
                near.resource,
                subject=name,
            )
        if not _told(queue.spec.get("resourceGroups")):
            return
        for part in parts:
            yield from self._asks(part, queue, near)
        if len(parts) > 1:
            yield from self._together(parts, queue, near)

    def _admits(self, queue: Object, near: Object) -> bool:
        selector = queue.spec.get("namespaceSelector")
        if selector is None:  # selects nothing (Kueue API, ClusterQueueSpec)
            return not queue.spec
        namespace = self._objects.find(near, "Namespace", near.namespace, "")
        if namespace is None or near.namespace == UNKNOWN:
            return True
        return selects(selector, {"kubernetes.io/metadata.name": near.namespace, **namespace.labels})

    def _asks(self, part: Workload, queue: Object, near: Object) -> Iterator[Finding]:
        """One pod template of a job gets all that it asks for from one flavor of each resource group."""
        grows = not part.gang and part.min_replicas < part.max_replicas
        pods = max(1, part.min_replicas if grows else part.max_replicas)
        asked = {name: amount * pods for name, amount in requests(part.spec).items()}
        covered: set[str] = set()
        for group in maps(queue.spec, "resourceGroups"):
            names = set(items(group, "coveredResources"))
            covered |= names
            wanted = {name: asked[name] for name in asked if name in names}
            had = [self._available(queue, flavor, part, wanted) for flavor in maps(group, "flavors")]
            if not wanted or any(all(h is None or h >= wanted[n] for n, h in has.items()) for _, has in had if has):
                continue
            name, amount = next(iter(wanted.items()))
            most = [f"{text(name, most)} of {flavor}" for flavor, has in had if (most := has.get(name)) is not None]
            yield QUEUE_QUOTA_FITS.finding(
                f"{_named(part)} needs {text(name, amount)}{'' if grows else ' at once'}, and ClusterQueue {queue.name}"
                f" has {', '.join(most) or 'no flavor for such pods'}, borrowed quota included",
                near.resource,
                subject=part.part,
            )
        excluded = self._excluded(near.cluster)
        missing = [name for name in asked if name not in covered and not name.startswith(excluded)]
        if missing and queue.spec:
            yield QUEUE_QUOTA_FITS.finding(
                f"{_named(part)} asks for {', '.join(missing)}, of which ClusterQueue {queue.name} has no quota (it"
                f" covers {', '.join(sorted(covered)) or 'nothing'}): Kueue never admits it",
                near.resource,
                subject=f"{part.part} {missing[0]}".strip(),
            )

    def _together(self, parts: list[Workload], queue: Object, near: Object) -> Iterator[Finding]:
        total: dict[str, Fraction] = {}
        for part in parts:
            for name, amount in requests(part.spec).items():
                pods = part.max_replicas if part.gang else part.min_replicas
                total[name] = total.get(name, Fraction(0)) + amount * max(1, pods)
        for group in maps(queue.spec, "resourceGroups"):
            for name in (name for name in items(group, "coveredResources") if name in total):
                has = [self._quota(queue, str(flavor.get("name")), name) for flavor in maps(group, "flavors")]
                most = sum((amount for amount in has if amount is not None), Fraction(0))
                if None not in has and total[name] > most:
                    yield QUEUE_QUOTA_FITS.finding(
                        f"{parts[0].kind} {parts[0].name} needs {text(name, total[name])} at once for all of its parts,"
                        f" and ClusterQueue {queue.name} has {text(name, most)} in all flavors",
                        near.resource,
                        subject="all parts",
                    )

    def _available(
        self, queue: Object, flavor: Mapping[str, Any], part: Workload, wanted: Mapping[str, Fraction]
    ) -> tuple[str, dict[str, Fraction | None]]:
        """What a queue may give of a flavor; nothing where the pods ask for other nodes than the flavor's."""
        name = str(flavor.get("name"))
        found = self._objects.find(queue, "ResourceFlavor", name)
        selector = mapping(part.spec.get("nodeSelector"))
        if found is not None and not self._suits(part, queue, found):
            return name, {}
        for key, value in mapping(found.spec if found else {}, "nodeLabels").items():
            if key in selector and UNKNOWN not in (value, selector[key]) and selector[key] != value:
                return name, {}
        return name, {resource: self._quota(queue, name, resource) for resource in wanted}

    # ---- quota

    def _quota(self, queue: Object, flavor: str, resource: str) -> Fraction | None:
        """The most that a queue can have of a resource: its own, and what its cohort lends. None where nobody knows."""
        own = _quotas(queue.spec).get((flavor, resource))
        if own is None or own.nominal is None:
            return None if own else Fraction(0)
        root = self._root(queue)
        if not root:
            return own.nominal
        total = own.nominal
        for other in self._lenders.get(queue.cluster, ()):
            if other is queue or self._root(other) != root:
                continue
            if not _told(other.spec.get("resourceGroups")):
                return None
            lent = _quotas(other.spec).get((flavor, resource))
            if lent is not None:
                if lent.nominal is None:
                    return None
                total += lent.nominal if lent.lending is None else min(lent.nominal, lent.lending)
        return total if own.borrowing is None else min(total, own.nominal + own.borrowing)

    @cached_property
    def _lenders(self) -> Mapping[str, list[Object]]:
        """Cluster -> what has quota in it."""
        found: dict[str, list[Object]] = {}
        for one in self._objects.of_kind("ClusterQueue", "Cohort"):
            found.setdefault(one.cluster, []).append(one)
        return found

    def _root(self, one: Object) -> str:
        """The cohort at the top of the tree that a ClusterQueue, or a Cohort, belongs to; empty without one."""
        name = one.name if one.kind == "Cohort" else one.spec.get("cohortName") or one.spec.get("cohort")
        seen: set[str] = set()
        while isinstance(name, str) and name not in seen:
            seen.add(name)
            cohort = self._objects.find(one, "Cohort", name)
            parent = (cohort.spec.get("parentName") or cohort.spec.get("parent")) if cohort else None
            if not parent:
                return name
            name = parent
        return str(name or "")

    def _excluded(self, cluster: str) -> tuple[str, ...]:
        """Prefixes of resources that Kueue doesn't count in a cluster."""
        return self._exclusions.get(cluster, _UNCOUNTED)

    @cached_property
    def _exclusions(self) -> Mapping[str, tuple[str, ...]]:
        found = {}
        inventory = self._surroundings.inventory
        for release in inventory.plan.of_type(RELEASE):
            if not str(release.inputs.get("chart")).rpartition("/")[2].startswith("kueue"):
                continue
            raw = at(release.inputs, "values.managerConfig.controllerManagerConfigYaml")
            if isinstance(raw, str) and UNKNOWN not in raw and isinstance(parsed(raw), Mapping):
                prefixes = items(parsed(raw), "resources.excludeResourcePrefixes")
                found[inventory.cluster_of(release)] = tuple(str(prefix) for prefix in prefixes)
        return found

    # ---- flavors

    def _flavors_without_machines(self) -> Iterator[Finding]:
        """Flavors whose nodes no pool has, and quota beyond what all such machines hold."""
        clusters = {cluster.urn: cluster for cluster in self._surroundings.inventory.clusters if cluster.pools}
        for flavor in self._objects.of_kind("ResourceFlavor"):
            cluster, labels = clusters.get(flavor.cluster), mapping(flavor.spec, "nodeLabels")
            if cluster is None or not labels or any(map(self._surroundings.unlabelled, cluster.rungs)):
                continue
            rungs = [
                rung
                for rung in map(self._surroundings.as_known, cluster.rungs)
                if any(all(node.label(k) in (v, "") or v == UNKNOWN for k, v in labels.items()) for node in nodes(rung))
            ]
            if not rungs:
                # That no pool has the labels, the contracts say.
                continue
            strategy = self._surroundings.mig_strategy(cluster.urn)
            for resource, given in self._given(flavor).items():
                held = [
                    max(allocatable(r, m, strategy).get(resource, Fraction(-1)) for m in machines(r)) for r in rungs
                ]
                if resource not in MODELLED or min(held) < 0 or any(rung.max is None for rung in rungs):
                    continue
                most = sum((has * (rung.max or 0) for has, rung in zip(held, rungs, strict=True)), Fraction(0))
                if given > most:
                    yield QUEUE_QUOTA_FITS.finding(
                        f"queues have {text(resource, given)} of flavor {flavor.name}, whose machines hold"
                        f" {text(resource, most)} at most: jobs are admitted that never start",
                        flavor.resource,
                        subject=resource,
                        severity="warning",
                    )

    def _given(self, flavor: Object) -> dict[str, Fraction]:
        """Resource -> nominal quota of a flavor, over all queues and cohorts."""
        found: dict[str, Fraction] = {}
        for queue in self._lenders.get(flavor.cluster, ()):
            for (name, resource), quota in _quotas(queue.spec).items():
                if name == flavor.name and quota.nominal is not None:
                    found[resource] = found.get(resource, Fraction(0)) + quota.nominal
        return found


def _flavors(queue: Object) -> list[str]:
    """Names of a ClusterQueue's flavors, in its order."""
    groups = maps(queue.spec, "resourceGroups")
    names = [flavor.get("name") for group in groups for flavor in maps(group, "flavors")]
    return [name for name in names if isinstance(name, str) and UNKNOWN not in name]


def _quotas(spec: Mapping[str, Any]) -> dict[tuple[str, str], Quota]:
    """(flavor, resource) -> quota of a ClusterQueue or Cohort."""
    return {
        (str(flavor.get("name")), str(resource.get("name"))): Quota(
            str(flavor.get("name")),
            known(resource.get("nominalQuota")),
            known(resource.get("borrowingLimit")),
            known(resource.get("lendingLimit")),
        )
        for group in maps(spec, "resourceGroups")
        for flavor in maps(group, "flavors")
        for resource in maps(flavor, "resources")
    }


def _told(value: Any) -> bool:
    """Whether a plan tells all of a value but for quotas, each of which may be unknown on its own."""
    if isinstance(value, Mapping):
        return all(_told(item) for key, item in value.items() if not str(key).endswith(("Quota", "Limit")))
    return all(map(_told, value)) if isinstance(value, list | tuple) else value != UNKNOWN


def _with_flavor(workload: Workload, flavor: Mapping[str, Any]) -> Workload:
    """A workload with what Kueue gives to its pods on admission."""
    told = _told(flavor.get("tolerations"))
    given = maps(flavor, "tolerations") if told else [{"operator": "Exists"}]
    spec = {
        **workload.spec,
        "nodeSelector": {**mapping(flavor, "nodeLabels"), **mapping(workload.spec.get("nodeSelector"))},
        "tolerations": [*maps(workload.spec, "tolerations"), *given],
    }
    return replace(workload, spec=spec)


def _nearest(name: str, there: list[str]) -> str:
    close = difflib.get_close_matches(name, there, 1)
    return f"did you mean {close[0]!r}?" if close else f"there is {', '.join(there) or 'none'}"


def _named(part: Workload) -> str:
    return f"{part.kind} {part.name}" + (f" ({part.part})" if part.part else "")
