"""What an environment costs: lines, each with its price and where that comes from, and sums of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

HOURS_PER_MONTH = 730
"""As the clouds' own calculators have it: 365 days of 24 hours, in twelve parts."""

KEYS = ("region", "component", "pool", "rung", "team", "kind", "tier", "service")
"""What lines can be summed by."""


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount, in USD or in units, at three levels of use."""

    low: float = 0.0
    """With no traffic and no job: every rung at its fewest machines, and what is paid whether used or not."""
    expected: float = 0.0
    """At the stated assumptions."""
    largest: float = 0.0
    """With every rung at its most machines, spot machines at their on-demand price."""

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.low + other.low, self.expected + other.expected, self.largest + other.largest)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.low - other.low, self.expected - other.expected, self.largest - other.largest)

    def times(self, factor: float) -> Amount:
        """Each level times a factor."""
        return Amount(self.low * factor, self.expected * factor, self.largest * factor)

    @classmethod
    def of(cls, value: float | Amount) -> Amount:
        """An amount that is the same at every level, unless it is one already."""
        return value if isinstance(value, Amount) else cls(value, value, value)


def total(amounts: Iterable[Amount]) -> Amount:
    """The sum of amounts."""
    found = list(amounts)
    return Amount(sum(a.low for a in found), sum(a.expected for a in found), sum(a.largest for a in found))


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that is paid for."""

    urn: str
    """Resource that causes it."""
    name: str
    region: str
    """`aws:us-east-1`, `gcp:europe-west4` or `global`."""
    component: str
    """Name of the outermost component that it belongs to, or its service where there is none."""
    team: str
    """By its tags or labels, or those of its component; `untagged`."""
    kind: str
    """compute, storage, network, traffic or service."""
    service: str
    """What the price is for, such as `nat-gateway`: its name in the price book."""
    what: str
    """In a person's words."""
    unit: str
    quantity: Amount
    """Units a month."""
    price: float
    """USD a unit, at low and expected use."""
    largest_price: float
    """USD a unit at largest use: a spot machine that becomes an on-demand one costs more."""
    source: str
    as_of: date
    pool: str = ""
    rung: str = ""
    capacity: str = ""
    """Of a rung: reservation, capacity-block, flex-start, spot or on-demand."""
    tier: str = ""
    """Of storage: hot, warm, cold, database or disk."""
    machines: Amount | None = None
    """Of a rung: how many machines run."""
    assumption: str = ""
    """The assumption that the quantity rests on, as its configuration key; empty where the plan tells all."""
    unbounded: bool = False
    """Nothing limits it: the largest amount is only what is known, and the real one may be more."""

    @property
    def per_month(self) -> Amount:
        """USD a month."""
        q = self.quantity
        return Amount(q.low * self.price, q.expected * self.price, q.largest * self.largest_price)


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Something that costs money, and nobody knows here how much."""

    urn: str
    name: str
    region: str
    type: str
    reason: str


@dataclass(frozen=True)
class Estimate:
    """All that an environment costs."""

    stack: str
    lines: tuple[Line, ...]
    unpriced: tuple[Unpriced, ...]
    free: int
    """How many resources cost nothing."""
    assumptions: Mapping[str, Any]
    """Assumption -> what was assumed."""

    @property
    def per_month(self) -> Amount:
        """USD a month."""
        return total(line.per_month for line in self.lines)

    @property
    def per_hour(self) -> Amount:
        """USD an hour: a month's through 730."""
        return self.per_month.times(1 / HOURS_PER_MONTH)

    @property
    def unbounded(self) -> tuple[Line, ...]:
        """Lines that nothing limits."""
        return tuple(line for line in self.lines if line.unbounded)

    def by(self, key: str) -> dict[str, Amount]:
        """USD a month by one of `KEYS`, dearest first; what has no such value is under the empty string."""
        if key not in KEYS:
            raise ValueError(f"costs by {key!r}: expected one of {', '.join(KEYS)}")
        sums: dict[str, list[Amount]] = {}
        for line in self.lines:
            sums.setdefault(getattr(line, key), []).append(line.per_month)
        found = {value: total(amounts) for value, amounts in sums.items()}
        return dict(sorted(found.items(), key=lambda item: (-item[1].expected, -item[1].largest, item[0])))

    def of(self, **values: str) -> tuple[Line, ...]:
        """Lines with these values, such as `kind="storage"`."""
        return tuple(line for line in self.lines if all(getattr(line, k) == v for k, v in values.items()))
