"""How long an inference pod may take to start: what its probe and its Deployment wait for, from the cold start's
stages (components.inference.cold_start)."""

from __future__ import annotations

import math
from dataclasses import dataclass

SAFETY = 2.0
"""Times the estimate. A probe that is too patient costs minutes once; one that is not kills a server that loads."""

SERVER_START_S = 60.0
"""Seconds of Triton itself: process, CUDA contexts, backends, warm-up. Two small models on a CPU were ready in 3 to 8 s
(Triton 2.51, November 2026); the rest is for GPUs and is not measured."""

PERIOD_S = 5


@dataclass(frozen=True)
class StartupProbe:
    """A Kubernetes startup probe: the server has `failure_threshold * period_seconds` seconds."""

    period_seconds: int
    failure_threshold: int

    @property
    def patience_s(self) -> int:
        return self.period_seconds * self.failure_threshold


def seconds_to_move(size_bytes: float, bytes_per_second: float) -> float:
    """Seconds for that many bytes. ValueError unless the size is 0 or more and the rate is above 0, both finite."""
    if not (0 <= size_bytes < math.inf and 0 < bytes_per_second < math.inf):
        raise ValueError(
            f"{size_bytes} bytes at {bytes_per_second} bytes/s; accepted are a size from 0 and a rate above 0"
        )
    return size_bytes / bytes_per_second


def startup_probe(
    model_bytes: float,
    bytes_per_second: float,
    *,
    safety: float = SAFETY,
    server_start_s: float = SERVER_START_S,
    period_s: int = PERIOD_S,
) -> StartupProbe:
    """The shortest probe with `failure_threshold * period >= model_bytes / bytes_per_second * safety + server_start`.

    `bytes_per_second` is from local disk to accelerator memory: the init container has fetched the models by then.
    ValueError for a size below 0 or a rate of 0.
    """
    needed = seconds_to_move(model_bytes, bytes_per_second) * safety + server_start_s
    return StartupProbe(period_s, max(1, -int(-needed // period_s)))


def progress_deadline_s(before_s: float, probe: StartupProbe, safety: float = SAFETY) -> int:
    """Seconds in which a new pod is ready: `before_s` of whatever comes before its server, and the server's start.

    Kubernetes calls a rollout failed after 600 s unless told otherwise, which a large model alone can take.
    """
    if not 0 <= before_s < math.inf:
        raise ValueError(f"{before_s} s before the server starts; accepted is a number from 0")
    return math.ceil(before_s * safety + probe.patience_s)
