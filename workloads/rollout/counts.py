"""What a router has counted: outcomes and latencies by arm, and pairs of scores; as numbers that only grow.

Whoever looks remembers what it has seen and takes the difference. Numbers are those of one run of the router, which
has a name, so that a restart is not taken for fewer requests.
"""

from __future__ import annotations

import bisect
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OK, CLIENT_ERROR, SERVER_ERROR = "ok", "client_error", "server_error"
"""By the answer's status: below 400, 4xx, 5xx."""
UNREACHABLE = "unreachable"
"""No connection: nothing was sent. Another arm may have answered."""
BROKEN = "broken"
"""The connection ended before the answer did."""
TIMED_OUT = "timed_out"
CANCELLED = "cancelled"
"""The client left first."""
RESCUED = "rescued"
"""Answered instead of an arm that could not be reached: no part of this arm's sample."""
OUTCOMES = (OK, CLIENT_ERROR, SERVER_ERROR, UNREACHABLE, BROKEN, TIMED_OUT, CANCELLED, RESCUED)
FAILURES = (SERVER_ERROR, UNREACHABLE, BROKEN, TIMED_OUT)
"""Which the arm is to blame for."""

GROWTH = 1.05
"""Of each latency bucket over the one before: fine enough to see a p99 that is 20 % worse."""
BOUNDS_S = tuple(round(1e-3 * GROWTH**step, 9) for step in range(240))
"""Upper bounds of the buckets, from 1 ms to two minutes; what is slower is in one bucket more."""
PAIRS = 100_000
"""That are kept for whoever has not read them yet."""


@dataclass
class ArmCounts:
    """Of requests that were assigned by weight; what a tester chose is counted elsewhere."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    latency: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    """Answers of `ok` by duration: how many were at most each of BOUNDS_S, and not at most the one before."""
    in_flight: int = 0
    """Requests of any kind that are under way."""


class Counts:
    def __init__(self) -> None:
        self.run = secrets.token_hex(8)
        self._arms: dict[str, ArmCounts] = {}
        self._pairs: deque[tuple[int, float, float]] = deque(maxlen=PAIRS)
        self._scored = 0

    def arm(self, name: str) -> ArmCounts:
        return self._arms.setdefault(name, ArmCounts())

    def ended(self, arm: str, outcome: str, duration_s: float) -> None:
        counts = self.arm(arm)
        counts.outcomes[outcome] += 1
        if outcome == OK:
            counts.latency[bisect.bisect_left(BOUNDS_S, duration_s)] += 1

    def paired(self, baseline: float, candidate: float) -> None:
        """Bits per byte that both have given the same request."""
        self._scored += 1
        self._pairs.append((self._scored, baseline, candidate))

    def to_json(self, after_pair: int = 0) -> dict[str, Any]:
        """`pairs`: [number, baseline, candidate] of those whose number is greater than `after_pair`."""
        return {
            "run": self.run,
            "arms": {
                name: {
                    "outcomes": dict(counts.outcomes),
                    # Most of the buckets are empty.
                    "latency": {str(index): count for index, count in enumerate(counts.latency) if count},
                    "in_flight": counts.in_flight,
                }
                for name, counts in self._arms.items()
            },
            "pairs": [pair for pair in self._pairs if pair[0] > after_pair],
            "scored": self._scored,
        }


def slower_than(latency: Mapping[str, int], bound_s: float) -> int:
    """How many of the counted answers took longer than a bound, taken as the next of BOUNDS_S that is not smaller."""
    first = bisect.bisect_left(BOUNDS_S, bound_s)
    return sum(count for index, count in latency.items() if int(index) > first)
