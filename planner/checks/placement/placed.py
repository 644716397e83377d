"""Placement, where: every pod template of a plan with the rungs that take it, tried once for all checks that ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from planner.checks.placement import volumes
from planner.checks.placement.objects import Attempt, Surroundings
from planner.checks.placement.queues import Kueue
from planner.inventory import Cluster, Inventory, Rung, Workload
from planner.inventory.objects import Object
from planner.inventory.once import once


@dataclass(frozen=True)
class Placed:
    """A workload, and where its pods may run."""

    workload: Workload
    near: Object
    cluster: Cluster
    attempts: tuple[Attempt, ...]
    """Every rung with what keeps the workload off it: the least, where a queue has several flavors to give it."""

    @cached_property
    def takers(self) -> list[Attempt]:
        """The rungs that take it."""
        return [attempt for attempt in self.attempts if not attempt.reasons]

    @property
    def rungs(self) -> list[Rung]:
        """All rungs that take it."""
        return [taker.rung for taker in self.takers]

    @property
    def pools(self) -> dict[str, list[Attempt]]:
        """Pool -> its rungs that take it."""
        found: dict[str, list[Attempt]] = {}
        for taker in self.takers:
            found.setdefault(taker.pool.name, []).append(taker)
        return found


@dataclass(frozen=True)
class Placement:
    """All pods of a plan whose cluster and machines it tells."""

    surroundings: Surroundings
    kueue: Kueue
    placed: tuple[Placed, ...]


@once
def placement_in(inventory: Inventory) -> Placement:
    """Where the pods of an inventory may run."""
    surroundings = Surroundings(inventory)
    kueue = Kueue(surroundings)
    return Placement(surroundings, kueue, tuple(_placed(surroundings, kueue)))


def _placed(surroundings: Surroundings, kueue: Kueue) -> Iterator[Placed]:
    for workload, cluster, near in surroundings.workloads():
        also = volumes.selectors(surroundings.objects, workload, near)
        tries = [surroundings.attempts(variant, cluster, also) for variant in kueue.variants(workload, near)]
        least = (min(same, key=lambda attempt: len(attempt.reasons)) for same in zip(*tries, strict=True))
        yield Placed(workload, near, cluster, tuple(least))
