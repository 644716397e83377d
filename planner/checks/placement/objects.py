"""What surrounds a pod in its cluster, so far as it bears on where the pod may be: classes, daemons, device plugins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from components.labels import COMPUTE_CLASS
from planner.inventory import Cluster, Inventory, Pool, Rung, Workload
from planner.inventory.capacity import Amounts, fits, requests
from planner.inventory.objects import Object, maps, objects_in
from planner.inventory.references import at, items, mapping
from planner.inventory.rungs import RELEASE
from planner.inventory.scheduling import Reason
from planner.plan import UNKNOWN

FARGATE = "aws:eks/fargateProfile:FargateProfile"

_LABELS = {"eks": ("labels",), "karpenter": ("spec.template.metadata.labels",), "gke": ("nodeConfig.labels",)}
_SIZES = {
    "eks": ("scalingConfig.maxSize",),
    "karpenter": ("spec.limits.nodes",),
    "gke": ("autoscaling.totalMaxNodeCount", "autoscaling.maxNodeCount", "nodeCount"),
}
"""Where a rung's own resource says these."""


@dataclass(frozen=True)
class Attempt:
    """To place a workload's pods on a rung of a pool."""

    pool: Pool
    rung: Rung
    workload: Workload
    """As its pods will be: Kueue changes them when it admits them."""
    reasons: tuple[Reason, ...]
    """What keeps them off; nothing where the rung takes them."""


class Surroundings:
    """The clusters of a plan with what decides, next to their pools, where pods run."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.objects = objects_in(inventory)
        self._taken: dict[str, Amounts] = {}

    def workloads(self) -> Iterator[tuple[Workload, Cluster, Object]]:
        """Workloads whose cluster and its machines the plan tells, but for those that need no pool of it."""
        clusters = {c.urn: c for c in self.inventory.clusters if c.pools and c.urn not in self._serverless}
        for workload in self.inventory.workloads:
            cluster, near = clusters.get(workload.cluster), self.objects.by_urn.get(workload.urn)
            if (
                cluster
                and near
                and (cluster.urn, near.namespace) not in self._fargate
                and not workload.spec.get("nodeName")
            ):
                yield workload, cluster, near

    def attempts(self, workload: Workload, cluster: Cluster, also: list[Mapping[str, Any]]) -> list[Attempt]:
        """Every rung of a cluster with what keeps a workload's pods off it. `also` as in `fits`."""
        found: list[Attempt] = []
        for pool in cluster.pools:
            for rung in map(self.as_known, pool.rungs):
                taken, strategy = self.taken(rung), self.mig_strategy(cluster.urn)
                reasons = [
                    *self._outside_class(workload, rung),
                    *fits(workload, rung, also=also, taken=taken, mig_strategy=strategy),
                ]
                if self.unlabelled(rung):
                    reasons = [reason for reason in reasons if reason.kind != "label"]
                found.append(Attempt(pool, rung, workload, tuple(reasons)))
        return found

    def unlabelled(self, rung: Rung) -> bool:
        """Whether only the cloud knows the labels of a rung's nodes."""
        return self._unknown(rung, _LABELS)

    def as_known(self, rung: Rung) -> Rung:
        """A rung whose largest size only the cloud knows has no limit."""
        return replace(rung, max=None) if self._unknown(rung, _SIZES) else rung

    def _unknown(self, rung: Rung, paths: Mapping[str, tuple[str, ...]]) -> bool:
        resource = self.inventory.plan.by_urn[rung.urn]
        return any(at(resource.inputs, path) == UNKNOWN for path in paths[rung.manager])

    def _outside_class(self, workload: Workload, rung: Rung) -> list[Reason]:
        """GKE brings machines to a pod that selects a ComputeClass from the node pools which the class names."""
        wanted = mapping(workload.spec.get("nodeSelector")).get(COMPUTE_CLASS)
        pools = self._classes.get((rung.cluster, wanted)) if rung.manager == "gke" else None
        if pools is None or rung.name in pools or UNKNOWN in pools:
            return []
        named = ", ".join(sorted(pools)) or "none"
        return [Reason("class", f"ComputeClass {wanted} does not name node pool {rung.name} (it names {named})")]

    @cached_property
    def _classes(self) -> Mapping[tuple[str, Any], frozenset[str]]:
        """(cluster, ComputeClass) -> node pools that it names, for classes that leave GKE no other choice."""
        found = {}
        for one in self.objects.of_kind("ComputeClass"):
            priorities = maps(one.spec, "priorities")
            if priorities and all("nodepools" in priority for priority in priorities):
                named = [str(name) for priority in priorities for name in items(priority, "nodepools")]
                found[(one.cluster, one.name)] = frozenset(named)
        return found

    def taken(self, rung: Rung) -> Amounts:
        """What the DaemonSets of the plan ask for on each machine of a rung."""
        if rung.urn not in self._taken:
            found = dict.fromkeys(("cpu", "memory", "ephemeral-storage", "pods"), Fraction(0))
            for daemon in self._daemons.get(rung.cluster, ()):
                if all(reason.kind == "resource" for reason in fits(daemon, replace(rung, max=None))):
                    asked = {**requests(daemon.spec), "pods": Fraction(1)}
                    found = {name: amount + asked.get(name, Fraction(0)) for name, amount in found.items()}
            self._taken[rung.urn] = found
        return self._taken[rung.urn]

    @cached_property
    def _daemons(self) -> Mapping[str, list[Workload]]:
        found: dict[str, list[Workload]] = {}
        for workload in self.inventory.workloads:
            if workload.kind == "DaemonSet":
                found.setdefault(workload.cluster, []).append(workload)
        return found

    def mig_strategy(self, cluster: str) -> str:
        """How NVIDIA's device plugin names MIG partitions in a cluster: by its chart's values, else `single`."""
        return self._mig_strategies.get(cluster, "single")

    @cached_property
    def _mig_strategies(self) -> Mapping[str, str]:
        found = {}
        for release in self.inventory.plan.of_type(RELEASE):
            values = mapping(release.inputs, "values")
            strategy = at(values, "mig.strategy") or values.get("migStrategy")
            if strategy in ("single", "mixed"):
                found[self.inventory.cluster_of(release)] = strategy
        return found

    @cached_property
    def _serverless(self) -> frozenset[str]:
        """Clusters that make machines for whatever waits: GKE Autopilot and EKS Auto Mode."""
        return frozenset(
            cluster.urn
            for cluster in self.inventory.clusters
            if at(resource := self.inventory.plan.by_urn[cluster.urn].inputs, "enableAutopilot")
            or at(resource, "computeConfig.enabled")
        )

    @cached_property
    def _fargate(self) -> frozenset[tuple[str, str]]:
        """(cluster, namespace) whose pods a Fargate profile may take."""
        return frozenset(
            (cluster.urn, str(selector.get("namespace")))
            for profile in self.inventory.plan.of_type(FARGATE)
            for cluster in self.inventory.references(profile, "clusterName", "aws:eks/cluster:Cluster")
            for selector in maps(profile.inputs, "selectors")
        )
