"""What a router has counted since its shares last changed: outcomes and latencies by arm, and pairs of scores.

Numbers only grow, and whoever looks takes the difference to what it has seen. They begin anew with each change of the
shares, an era: a request counts for the era in which it was assigned, so no look mixes two. A run of the router has a
name, so that a restart is not taken for fewer requests.
"""

from __future__ import annotations

import secrets
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from workloads.rollout.observation import bucket_of

OK, CLIENT_ERROR, SERVER_ERROR = "ok", "client_error", "server_error"
"""By the answer's status: below 400, 4xx, 5xx."""
UNREACHABLE = "unreachable"
"""No connection: nothing was sent. Another arm may have answered."""
BROKEN = "broken"
"""The connection ended before the answer did."""
TIMED_OUT = "timed_out"
ABANDONED = "abandoned"
"""The client left before there was any answer: to it, that is one that did not come in time."""
CANCELLED = "cancelled"
"""The client left while it was answered: of streams, a reader's right, and nobody's failure."""
RESCUED = "rescued"
"""Answered instead of an arm that could not be reached: no part of this arm's sample."""
FAILURES = frozenset({CLIENT_ERROR, SERVER_ERROR, UNREACHABLE, BROKEN, TIMED_OUT, ABANDONED})
"""Which count against an arm. Clients' own mistakes are spread over the arms like everything else they send; a version
that refuses what the other one takes is worse."""
ENDED = FAILURES | {OK}
"""Of an arm's own sample, and told by how long they took."""
PAIRS = 100_000
"""That are kept for whoever has not read them yet."""


@dataclass
class ArmCounts:
    outcomes: Counter[str] = field(default_factory=Counter)
    latency: Counter[int] = field(default_factory=Counter)
    """Answers of `ok`, by `observation.bucket_of`."""

    def ended(self, outcome: str, duration_s: float) -> None:
        self.outcomes[outcome] += 1
        if outcome == OK:
            self.latency[bucket_of(duration_s)] += 1

    def to_json(self) -> dict[str, Any]:
        return {
            "outcomes": dict(self.outcomes),
            "latency": {str(bucket): count for bucket, count in sorted(self.latency.items())},
        }


class Counts:
    def __init__(self) -> None:
        self.run = secrets.token_hex(8)
        self.era = 0
        self.arms: dict[str, ArmCounts] = {}
        """Requests that were assigned by weight; what a tester chose is not among them."""
        self.copies: dict[str, ArmCounts] = {}
        """Copies that an arm has got, which nobody waits for. They have no eras."""
        self.in_flight: Counter[str] = Counter()
        """Requests of any kind that are under way."""
        self._pairs: deque[tuple[int, float, float]] = deque(maxlen=PAIRS)
        self._scored = 0

    def begin(self) -> None:
        """A new era."""
        self.era += 1
        self.arms = {}

    def paired(self, baseline: float, candidate: float) -> None:
        """Bits per byte that both have given the same request."""
        self._scored += 1
        self._pairs.append((self._scored, baseline, candidate))

    def to_json(self, after_pair: int = 0) -> dict[str, Any]:
        """`pairs`: [number, baseline, candidate] of those whose number is greater than `after_pair`."""
        return {
            "run": self.run,
            "era": self.era,
            "arms": {name: counts.to_json() for name, counts in self.arms.items()},
            "copies": {name: counts.to_json() for name, counts in self.copies.items()},
            "in_flight": dict(self.in_flight),
            "pairs": [pair for pair in self._pairs if pair[0] > after_pair],
        }
