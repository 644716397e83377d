"""Node pools with a capacity ladder, as data: what a pool wants, checked, and how many machines stand on each rung.

A ladder is an ordered list of ways to get a machine. Each rung has two kinds of machines:

- standing: always there. A rung's `floor` stands on it, and `min` machines of the pool stand somewhere.
- elastic: started when pods wait, from the first rung that has any, and removed when idle.

`capacities` decides both numbers. The compilers to Karpenter, to EKS node groups and to GKE only write them down.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from components import labels
from components.accelerators import CATALOG, RUNGS, CpuMachine, MachineType

PURPOSES = ("system", "serving", "training")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
SHARING = ("mig", "time-slicing")

CAPACITY = "aicloud.dev/capacity"
"""Label: the rung that a node came from, one of `RUNGS`; for people, cost reports and alerts, not for scheduling."""

CPU_RUNGS = {
    "aws": frozenset({"reservation", "spot", "on-demand"}),
    "gcp": frozenset({"reservation", "flex-start", "spot", "on-demand"}),
}
"""Ways to get a machine without accelerators; a machine with accelerators says so itself (`MachineType.rungs`)."""

RESERVED = ("reservation", "capacity-block")
NAME_LENGTH = 24
"""Characters in a pool's name: a GKE node pool `<pool>-<rung>` has 40 at most (GKE API, NodePool.name)."""

_NAME = re.compile(rf"[a-z]([-a-z0-9]{{0,{NAME_LENGTH - 2}}}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to get machines. `floor` machines always stand on it; never more than `ceiling` (None: no limit)."""

    kind: str
    reservations: tuple[str, ...] = ()
    floor: int = 0
    ceiling: int | None = None


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint of a pool's nodes; `effect` in Kubernetes' spelling."""

    key: str
    value: str
    effect: str = "NoSchedule"


@dataclass(frozen=True, slots=True)
class GpuSharing:
    """How pods share a GPU: `mig` cuts it into `profile`s, `time-slicing` shows it `replicas` times."""

    mode: str
    profile: str = ""
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class Pool:
    """A node pool that has been checked: all of its fields agree with each other and with the catalog.

    `minimum` and `maximum` count machines. Raises ValueError, naming the field, the value and what is accepted.
    """

    name: str
    purpose: str
    machine: MachineType | CpuMachine
    minimum: int
    maximum: int
    ladder: tuple[Rung, ...]
    static: bool = False
    fabric: bool = False
    sharing: GpuSharing | None = None
    local_nvme_raid: bool = False
    zones: tuple[str, ...] = ()
    extra_labels: Mapping[str, str] = field(default_factory=dict)
    extra_taints: tuple[Taint, ...] = ()
    disk_gib: int = 200

    def __post_init__(self) -> None:
        _check(self)

    @property
    def cloud(self) -> str:
        return self.machine.cloud

    @property
    def accelerator(self) -> str:
        """The catalog's key, or empty."""
        return self.machine.accelerator if isinstance(self.machine, MachineType) else ""

    @property
    def accelerators(self) -> int:
        """Physical accelerators in each machine."""
        return self.machine.count if isinstance(self.machine, MachineType) else 0

    @property
    def resource(self) -> str:
        """The Kubernetes resource that pods ask for, such as `nvidia.com/gpu`, or empty."""
        return CATALOG[self.accelerator].kubernetes_resource if self.accelerator else ""

    @property
    def devices(self) -> int:
        """How many of `resource` a machine offers to pods, sharing included."""
        if self.sharing is None:
            return self.accelerators
        if self.sharing.mode == "mig":
            return self.accelerators * CATALOG[self.accelerator].mig_partitions(self.sharing.profile)
        return self.accelerators * self.sharing.replicas

    @property
    def fabric_interfaces(self) -> int:
        """Interfaces to attach for the fabric; 0 where the pool doesn't ask for it."""
        return self.machine.fabric.interfaces if self.fabric and isinstance(self.machine, MachineType) else 0

    @property
    def labels(self) -> dict[str, str]:
        """Labels of every node of the pool."""
        own = {labels.POOL: self.name, labels.PURPOSE: self.purpose}
        if self.accelerator:
            own[labels.ACCELERATOR] = self.accelerator
        return {**self.extra_labels, **own}

    @property
    def taints(self) -> tuple[Taint, ...]:
        """Taints of every node of the pool: the accelerator's, the training one, and the pool's own."""
        own = []
        if self.resource:
            own.append(Taint(self.resource, labels.ACCELERATOR_TAINTS[self.resource]))
        if self.purpose == "training":
            own.append(Taint(labels.PURPOSE, "training"))
        return (*own, *self.extra_taints)


@dataclass(frozen=True, slots=True)
class Capacity:
    """One rung of a pool, decided: so many machines stand on it, and up to so many more come and go."""

    rung: Rung
    position: int
    """0 is the rung to try first."""
    standing: int
    elastic: int

    @property
    def weight(self) -> int:
        """Karpenter tries the NodePool with the higher weight first; it accepts 1 to 100."""
        return 100 - 10 * self.position


def capacities(pool: Pool) -> tuple[Capacity, ...]:
    """The ladder in order, with the machines that stand on each rung and those that may be added.

    Floors come first. What `min` asks beyond them stands on the on-demand rung where there is one (it is the one that
    stays), else on the first rung with room. A static pool has all its machines standing, filled in ladder order.
    Elastic machines of a rung are bounded by its ceiling and by what the pool may still grow, so every rung alone can
    stand in for those above it. Rungs don't see each other: when several grow at once a pool can pass its maximum, up
    to the sum of all; it is the queue's quota and the scaler's maximum that hold demand below it.
    """
    limits = [_limit(rung, pool.maximum) for rung in pool.ladder]
    standing = [rung.floor for rung in pool.ladder]
    order = list(range(len(pool.ladder)))
    if not pool.static:
        order.sort(key=lambda index: pool.ladder[index].kind != "on-demand")
    missing = max(0, pool.minimum - sum(standing))
    for index in order:
        if pool.ladder[index].kind == "flex-start":
            continue  # its machines end after a week at the latest
        added = min(missing, limits[index] - standing[index])
        standing[index] += added
        missing -= added
    room = pool.maximum - sum(standing)
    return tuple(
        Capacity(rung, position, standing[position], min(room, limits[position] - standing[position]))
        for position, rung in enumerate(pool.ladder)
    )


def _limit(rung: Rung, maximum: int) -> int:
    return maximum if rung.ceiling is None else min(rung.ceiling, maximum)


def _check(pool: Pool) -> None:
    where = f"node pool {pool.name!r}"
    if not _NAME.fullmatch(pool.name):
        raise ValueError(
            f"{where}: name must be lower-case letters, digits and dashes, at most {NAME_LENGTH} characters"
        )
    _one_of(where, "purpose", pool.purpose, PURPOSES)
    if not 0 <= pool.minimum <= pool.maximum or pool.maximum < 1:
        raise ValueError(
            f"{where}: min is {pool.minimum} and max is {pool.maximum}; accepted are 0 <= min <= max, max at least 1"
        )
    if pool.disk_gib < 20:
        raise ValueError(f"{where}: disk_gib is {pool.disk_gib}; accepted is 20 or more")
    for taint in pool.extra_taints:
        _one_of(where, f"taint {taint.key!r} effect", taint.effect, EFFECTS)
    _check_machine(where, pool)
    _check_ladder(where, pool)


def _check_machine(where: str, pool: Pool) -> None:
    machine = pool.machine
    if pool.fabric and not (isinstance(machine, MachineType) and machine.fabric):
        raise ValueError(f"{where}: fabric is on, but a {machine.name} has none")
    if pool.local_nvme_raid and not (isinstance(machine, MachineType) and machine.local_nvme_gib):
        raise ValueError(f"{where}: local_nvme_raid is on, but a {machine.name} has no local NVMe")
    sharing = pool.sharing
    if sharing is None:
        return
    _one_of(where, "gpu_sharing.mode", sharing.mode, SHARING)
    if pool.resource != "nvidia.com/gpu":
        raise ValueError(f"{where}: gpu_sharing is for NVIDIA GPUs; the pool has {pool.accelerator or 'none'}")
    if sharing.mode == "mig":
        profiles = CATALOG[pool.accelerator].mig_profiles
        _one_of(where, "gpu_sharing.profile", sharing.profile, profiles)
    elif sharing.replicas < 2:
        raise ValueError(f"{where}: gpu_sharing.replicas is {sharing.replicas}; time slicing needs 2 or more")


def _check_ladder(where: str, pool: Pool) -> None:
    machine = pool.machine
    offered = machine.rungs if isinstance(machine, MachineType) else CPU_RUNGS[machine.cloud]
    if not pool.ladder:
        raise ValueError(f"{where}: ladder is empty; name at least one rung out of {_listed(offered)}")
    kinds = [rung.kind for rung in pool.ladder]
    for index, rung in enumerate(pool.ladder):
        place = f"{where}: ladder[{index}] ({rung.kind})"
        _one_of(where, f"ladder[{index}].kind", rung.kind, RUNGS)
        if rung.kind not in offered:
            raise ValueError(f"{place}: a {machine.name} on {machine.cloud} is offered by {_listed(offered)} only")
        if kinds.count(rung.kind) > 1:
            raise ValueError(f"{place}: {rung.kind} is there {kinds.count(rung.kind)} times; each kind once")
        if (rung.kind in RESERVED) != bool(rung.reservations):
            need = "needs the reservations' ids" if rung.kind in RESERVED else "takes no reservations"
            raise ValueError(f"{place}: reservations is {list(rung.reservations)}; this rung {need}")
        ceiling = pool.maximum if rung.ceiling is None else rung.ceiling
        if not 0 <= rung.floor <= ceiling or ceiling < 1:
            raise ValueError(
                f"{place}: floor is {rung.floor}, ceiling is {rung.ceiling}; accepted are floor <= ceiling"
            )
        if rung.kind == "flex-start" and (rung.floor or pool.static):
            raise ValueError(f"{place}: flex-start machines end within a week: no floor and no static pool there")
    floors, reach = sum(r.floor for r in pool.ladder), sum(_limit(r, pool.maximum) for r in pool.ladder)
    if floors > pool.maximum:
        raise ValueError(f"{where}: the rungs' floors add up to {floors}, above max {pool.maximum}")
    if reach < pool.maximum:
        raise ValueError(f"{where}: the rungs' ceilings add up to {reach}, below max {pool.maximum}: raise a ceiling")
    if pool.static and pool.minimum != pool.maximum:
        raise ValueError(f"{where}: static, so min and max must be equal; they are {pool.minimum} and {pool.maximum}")
    short = pool.minimum - sum(c.standing for c in capacities(pool))
    if short > 0:
        raise ValueError(
            f"{where}: {short} of min {pool.minimum} machines fit no rung: flex-start cannot keep machines"
        )


def _one_of(where: str, name: str, value: str, accepted: Sequence[str]) -> None:
    if value not in accepted:
        raise ValueError(f"{where}: {name} is {value!r}; accepted are {_listed(accepted)}")


def _listed(values: Sequence[str] | frozenset[str]) -> str:
    ordered = [rung for rung in RUNGS if rung in values] if isinstance(values, frozenset) else list(values)
    return ", ".join(repr(value) for value in ordered) or "none"
