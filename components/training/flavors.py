"""Kueue's ResourceFlavors, as data: which machines of which pools quota is counted in.

Kueue counts quota and knows nothing of a cloud's stock: it admits a gang to the first flavor whose quota is free, pins
its pods to that flavor's nodes, and when they never come it tries the same flavor again (kueue v0.19.2,
pkg/scheduler/scheduler.go: `LastAssignment` is forgotten with every admission). So a flavor is no finer than what is
there for certain:

- A static pool's machines stand. Each of its rungs is a flavor: a gang lands on one rung, whole.
- Machines that come when pods wait may be sold out on any rung. The whole ladder is one flavor, whose quota is the
  pool's maximum, and Karpenter or the ComputeClass goes down the ladder as the stock demands. Split into rungs, a gang
  would wait for spot machines that nobody has while on-demand ones are to be had, and the rungs' limits would add up to
  more than the pool's maximum.

Who prefers a gang on one rung to a gang that runs names the pool (`TrainingQueue`, `whole_rungs`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from components import labels
from components.cluster.ladder import CAPACITY, Pool, capacities

MOST_TOLERATIONS = 8
"""Kueue API, ResourceFlavor: spec.tolerations."""
MOST_FLAVORS = 64
"""Kueue API, ClusterQueue: flavors of a resource group."""

TOPOLOGY = "fabric"
"""Name of the Topology."""

TOPOLOGY_LEVELS = {
    "aws": (
        "topology.kubernetes.io/zone",
        "topology.k8s.aws/network-node-layer-1",
        "topology.k8s.aws/network-node-layer-2",
        "topology.k8s.aws/network-node-layer-3",
        "kubernetes.io/hostname",
    ),
    "gcp": (
        "topology.kubernetes.io/zone",
        "cloud.google.com/gce-topology-block",
        "cloud.google.com/gce-topology-subblock",
        "cloud.google.com/gce-topology-host",
        "kubernetes.io/hostname",
    ),
}
"""Labels of nodes by which the clouds tell where machines are, the widest first."""

PLACED = {"aws": re.compile(r"(hpc|trn|p)[0-9]+[a-z]*(-[a-z0-9]+)?\.[0-9a-z]+"), "gcp": re.compile(r"a[34]-.+")}
"""Machine types whose nodes have all of these labels; Kueue admits nothing to nodes that lack one.

AWS: what its cloud controller labels (kubernetes/cloud-provider-aws, pkg/providers/v1/topology.go); G machines with EFA
are not among them. GCP: https://cloud.google.com/ai-hypercomputer/docs/workloads/schedule-gke-workloads-tas, and for A3
High and Mega https://cloud.google.com/ai-hypercomputer/docs/nccl/test-gke-custom-a3-mega-high.
"""


@dataclass(frozen=True, slots=True)
class Flavor:
    """One ResourceFlavor: so many machines of a pool."""

    name: str
    """`<pool>-<rung>`, as the node pools of a rung are named, or `<pool>-ladder` for all of its rungs."""
    pool: Pool
    machines: int
    lent: int
    """Of these, machines that others may borrow: those that come and go."""
    rung: str = ""
    """Its rung; empty for the whole ladder."""
    topology: bool = False
    """Whether Kueue chooses nodes by their place in the network. It admits only to nodes that are there, so only where
    machines always stand."""

    @property
    def quota(self) -> int:
        """Of the pool's resource: devices, as pods ask for them."""
        return self.machines * self.pool.devices

    @property
    def lending_limit(self) -> int:
        return self.lent * self.pool.devices

    @property
    def node_labels(self) -> dict[str, str]:
        """What nodes of the flavor have. Kueue compares a pod's node selector with these alone (flavorassigner.go,
        flavorSelector): without the accelerator a job for L4s would be admitted to H100s."""
        found = {labels.POOL: self.pool.name, labels.ACCELERATOR: self.pool.accelerator}
        if self.rung:
            found[CAPACITY] = self.rung
        if self.pool.cloud == "gcp":
            found[labels.COMPUTE_CLASS] = self.pool.name  # the ladder's order, for pods that select it
        return found

    def spec(self) -> dict[str, Any]:
        """Spec of the ResourceFlavor. Admitted pods get its node labels and tolerations, so a job names a queue and
        never a pool. It tolerates all that its nodes are tainted with, which makes `nodeTaints` idle."""
        tolerations = [
            {"key": t.key, "operator": "Equal", "value": t.value, "effect": t.effect} for t in self.pool.taints
        ]
        spec: dict[str, Any] = {"nodeLabels": self.node_labels, "tolerations": tolerations}
        return {**spec, "topologyName": TOPOLOGY} if self.topology else spec


def flavors(pools: Sequence[Pool], whole_rungs: Collection[str] = ()) -> list[Flavor]:
    """The flavors of all pools with accelerators, in the order of the pools and of their ladders.

    `whole_rungs` names elastic pools whose rungs are to be flavors of their own. Raises ValueError, naming the pool,
    for what Kueue would refuse.
    """
    found: list[Flavor] = []
    for pool in pools:
        if not pool.resource:
            continue
        if len(pool.taints) > MOST_TOLERATIONS:
            raise ValueError(
                f"node pool {pool.name!r} has {len(pool.taints)} taints; Kueue accepts {MOST_TOLERATIONS} tolerations"
            )
        found += _by_rung(pool) if pool.static or pool.name in whole_rungs else [_ladder(pool)]
    return found


def _ladder(pool: Pool) -> Flavor:
    standing = sum(capacity.standing for capacity in capacities(pool))
    return Flavor(f"{pool.name}-ladder", pool, pool.maximum, pool.maximum - standing)


def _by_rung(pool: Pool) -> list[Flavor]:
    """A flavor for each rung that has machines. Rungs don't see each other, so in their order each gets what the
    pool's maximum still leaves after those that always stand."""
    found = []
    rungs = capacities(pool)
    room = pool.maximum - sum(capacity.standing for capacity in rungs)
    for capacity in rungs:
        elastic = min(room, capacity.elastic)
        room -= elastic
        machines = capacity.standing + elastic
        if machines:
            kind = capacity.rung.kind
            topology = pool.static and pool.fabric and bool(PLACED[pool.cloud].fullmatch(pool.machine.name))
            found.append(Flavor(f"{pool.name}-{kind}", pool, machines, elastic, kind, topology))
    return found
