"""Which models share a pod: groups of models, each of which fits into the memory of its pod's GPUs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

RESERVED_SHARE = 0.1
"""Of a GPU's memory: what the driver keeps (an L4 of 24 GiB reports 22.5), and fragments. Not measured."""
RESERVED_GIB = 1.0
"""At least so much, for CUDA contexts, which a small slice of a GPU has as well. Not measured."""
DEVICE_SHARE = 1.2
"""Of a model's files: what it takes of GPU memory once it is loaded and works, where nobody says. Not measured."""

RESERVED_NAMES = ("warm", "prepull", "weights")
"""No group's: they are what stands by is called (components.inference.standby, weights)."""


@dataclass(frozen=True)
class Demand:
    """What one model, in all of its versions, takes of GPU memory."""

    model: str
    gib: float
    """On each of its GPUs."""
    gpus: int = 1
    """GPUs that share each of its matrices."""


@dataclass(frozen=True)
class Group:
    """Models that every pod of a Deployment has."""

    name: str
    demands: tuple[Demand, ...]

    @property
    def gib(self) -> float:
        """On the GPU that has most: Triton loads a model onto each GPU of its pod."""
        return sum(demand.gib for demand in self.demands)

    @property
    def gpus(self) -> int:
        return max((demand.gpus for demand in self.demands), default=1)


def usable_gib(memory_gib: float) -> float:
    """GiB of a GPU, or of a slice, that models may take."""
    return memory_gib - max(RESERVED_SHARE * memory_gib, RESERVED_GIB)


def fits(demands: Sequence[Demand], gib: float) -> bool:
    """Whether these models may share a pod whose GPUs have so much for models.

    One that goes over several GPUs is alone: its engine takes what is left of their memory for its cache.
    """
    return sum(demand.gib for demand in demands) <= gib and (
        len(demands) <= 1 or all(demand.gpus == 1 for demand in demands)
    )


def place(demands: Iterable[Demand], gib: float) -> tuple[Group, ...]:
    """Groups that fit, by first fit in the order of decreasing memory: at most 11/9 of the fewest possible, and one.

    Every model is in one group; the order in which they are given does not matter. A group is called after its largest
    model. ValueError for a model that fits no GPU, and for two of one name.
    """
    groups: list[list[Demand]] = []
    ordered = sorted(demands, key=lambda demand: (-demand.gib, demand.model))
    if len({demand.model for demand in ordered}) != len(ordered):
        raise ValueError("a model is there twice; expected each once, with all of its versions")
    for demand in ordered:
        if not fits([demand], gib):
            raise ValueError(too_large(demand, gib))
        home = next((group for group in groups if fits([*group, demand], gib)), None)
        if home is None:
            groups.append([demand])
        else:
            home.append(demand)
    names: list[str] = []
    for group in groups:
        names.append(_name(group[0].model, names))
    return tuple(Group(name, tuple(group)) for name, group in zip(names, groups, strict=True))


def too_large(demand: Demand, gib: float, several: bool = True) -> str:
    """What is to be said of a model that fits no GPU; `several`: whether it may go over more of them."""
    # Powers of two: what machines have, and what attention heads divide by.
    more = next((n for n in (2, 4, 8, 16) if several and n > demand.gpus and demand.gib * demand.gpus / n <= gib), None)
    instead = f"with gpus {more} it takes {demand.gib * demand.gpus / more:.1f}" if more else "take a larger one"
    return f"{demand.model} takes {demand.gib:.1f} GiB of a GPU that has {gib:.1f} for models; {instead}"


def _name(model: str, taken: Sequence[str]) -> str:
    """A group's name after a model's, which no other group has: up to 20 letters, digits and dashes."""
    base = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:20].strip("-") or "group"
    base = base if base[0].isalpha() else f"m{base}"[:20].strip("-")
    others = (f"{base[:15].strip('-')}-{number}" for number in range(2, len(taken) + len(RESERVED_NAMES) + 3))
    return next(name for name in (base, *others) if name not in (*taken, *RESERVED_NAMES))


def described(groups: Iterable[Group]) -> str:
    """`group 'chat': a, b (18.0 GiB); ...`."""
    return "; ".join(
        f"{named(group.name)}: {', '.join(demand.model for demand in group.demands)} ({group.gib:.1f} GiB)"
        for group in groups
    )


def named(group: str) -> str:
    """A group, as messages call it."""
    return f"group {group!r}" if group else "no group"
