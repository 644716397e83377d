"""What was seen since the last look: plain counts of two arms, so that a look is a line of a log.

Latencies are counted in buckets that never change, so that counts of different looks and servers can be added: sixteen
an octave, each 4.4 % longer than the one before, from 0.1 ms to 28 minutes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from workloads.rollout.errors import StateError

SHORTEST_S = 1e-4
PER_OCTAVE = 16
BUCKETS = 24 * PER_OCTAVE
"""Bucket `i` is of SHORTEST_S * 2 ** (i / 16) up to the next; the first also of anything shorter, the last of
longer."""

Histogram = tuple[tuple[int, int], ...]
"""Bucket and count, ascending, without the empty ones."""
Request = Literal["", "rollback"]


def bucket_of(seconds: float) -> int:
    """The bucket of a latency. Raises ValueError for one that is no number."""
    return max(0, min(BUCKETS - 1, math.floor(PER_OCTAVE * math.log2(max(seconds, SHORTEST_S) / SHORTEST_S))))


def lower_bound_s(bucket: int) -> float:
    """Where a bucket begins, in seconds."""
    return SHORTEST_S * 2 ** (bucket / PER_OCTAVE)


def histogram(latencies_s: Iterable[float]) -> Histogram:
    """Counts of latencies by bucket."""
    return tuple(sorted(Counter(map(bucket_of, latencies_s)).items()))


@dataclass(frozen=True)
class Arm:
    """Requests that one version has answered, or failed, since the last look."""

    requests: int = 0
    errors: int = 0
    """Of the requests: failed, as the caller sees it."""
    latencies: Histogram = ()
    """Of the requests that were answered; never more of them than requests less errors."""

    def __post_init__(self) -> None:
        counts = [self.requests, self.errors, *(count for _, count in self.latencies)]
        if any(type(count) is not int or count < 0 for count in counts):
            raise StateError(f"arm: counts {counts!r:.80}: expected whole numbers from 0")
        answered = self.requests - self.errors
        if answered < 0 or sum(count for _, count in self.latencies) > answered:
            raise StateError(f"arm: {self.requests} requests, {self.errors} errors: fewer than errors and latencies")
        buckets = [bucket for bucket, _ in self.latencies]
        if buckets != sorted(set(buckets)) or any(
            type(bucket) is not int or not 0 <= bucket < BUCKETS for bucket in buckets
        ):
            raise StateError(f"arm: buckets {buckets!r:.80}: expected ascending ones from 0 to {BUCKETS - 1}")

    def __add__(self, other: Arm) -> Arm:
        total = Counter(dict(self.latencies))
        total.update(dict(other.latencies))
        return Arm(self.requests + other.requests, self.errors + other.errors, tuple(sorted(total.items())))

    def to_json(self) -> dict[str, Any]:
        latencies = [list(each) for each in self.latencies]
        return {"requests": self.requests, "errors": self.errors, "latencies": latencies}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Arm:
        latencies = tuple((bucket, count) for bucket, count in document.get("latencies", ()))
        return cls(document["requests"], document["errors"], latencies)


@dataclass(frozen=True)
class Observation:
    """One look: what happened since the last one, and how things stand. Counts belong to exactly one look."""

    at: float
    """Unix seconds."""
    baseline: Arm = Arm()
    """All requests that the old version answered, or a sample of them taken at random: see `baseline_weight`."""
    candidate: Arm = Arm()
    """Requests that callers got the answer of; without mirrored ones."""
    mirrored: Arm = Arm()
    """Copies of the baseline's requests that the candidate got and nobody heard of."""
    pairs: tuple[tuple[float, float], ...] = ()
    """Bits per byte of the same text, of baseline and candidate, in the order in which they were scored."""
    candidate_ready: bool = False
    """The candidate's replicas, as many as the state asks for, can take traffic now."""
    baseline_replicas: int = 0
    """Ready ones."""
    candidate_replicas: int = 0
    applied: bool = True
    """The weights and the mirror that the state asks for are in force."""
    request: Request = ""
    """What a person asks for."""
    baseline_weight: float | None = None
    """The share of all requests that `baseline` was meant to be, such as a control's of the candidate's size. None: all
    that the candidate does not get, which finds harm about twice as fast at a small weight."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.at):
            raise StateError(f"observation.at: {self.at!r}: expected Unix seconds")
        if self.request not in ("", "rollback"):
            raise StateError(f"observation.request: {self.request!r:.80}: expected 'rollback' or nothing")
        if self.baseline_weight is not None and not 0 < self.baseline_weight <= 1:
            raise StateError(f"observation.baseline_weight: {self.baseline_weight!r}: expected above 0 to 1, or none")
        if min(self.baseline_replicas, self.candidate_replicas) < 0:
            raise StateError("observation: replicas below 0")
        if not all(len(pair) == 2 and all(map(math.isfinite, pair)) for pair in self.pairs):
            raise StateError("observation.pairs: expected two finite numbers in each")

    def to_json(self) -> dict[str, Any]:
        return {
            "at": self.at,
            "baseline": self.baseline.to_json(),
            "candidate": self.candidate.to_json(),
            "mirrored": self.mirrored.to_json(),
            "pairs": [list(pair) for pair in self.pairs],
            "candidate_ready": self.candidate_ready,
            "baseline_replicas": self.baseline_replicas,
            "candidate_replicas": self.candidate_replicas,
            "applied": self.applied,
            "request": self.request,
            "baseline_weight": self.baseline_weight,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Observation:
        """Read what `to_json` wrote. StateError says what is wrong with it."""
        try:
            arms = {name: Arm.from_json(document[name]) for name in ("baseline", "candidate", "mirrored")}
            pairs = tuple((float(baseline), float(candidate)) for baseline, candidate in document["pairs"])
            return cls(**{**document, **arms, "pairs": pairs})
        except (KeyError, TypeError, AttributeError) as error:
            raise StateError(f"observation: not one: {error!r:.200}") from None
