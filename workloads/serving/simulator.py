"""A batching queue in front of model instances, as Triton has it, simulated: what a configuration would do, in no time.

Event by event, so that what the dynamic batcher waits for is what its documentation says; checked against the formulas
of queueing theory where there are any (tests/workloads/serving/test_simulator.py).
"""

from __future__ import annotations

import heapq
import itertools
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.serving.errors import ArgumentError


@dataclass(frozen=True)
class Service:
    """How long a batch takes. `measured`: pairs of batch size and seconds, of one instance alone, in ascending order.

    Between two sizes it is interpolated; beyond the last, the last item's cost goes on. Instances that run at the same
    time share `cores`: more of them than cores slow each other down in proportion (taken when a batch begins).
    """

    measured: tuple[tuple[int, float], ...]
    cores: float = math.inf

    def __post_init__(self) -> None:
        sizes = [size for size, _ in self.measured]
        if not sizes or sizes[0] < 1 or sizes != sorted(set(sizes)) or any(not s > 0 for _, s in self.measured):
            raise ArgumentError(f"measured {self.measured}: expected (size from 1, seconds above 0), sizes ascending")
        if not self.cores > 0:
            raise ArgumentError(f"cores {self.cores}: expected a number above 0")

    @classmethod
    def linear(cls, fixed_s: float, item_s: float, cores: float = math.inf) -> Service:
        """`fixed_s` a batch and `item_s` an item of it."""
        return cls(((1, fixed_s + item_s), (2, fixed_s + 2 * item_s)), cores)

    def seconds(self, batch: int, busy: int = 1) -> float:
        """Of a batch, while `busy` instances run, itself included."""
        return self._alone(batch) * max(1.0, busy / self.cores)

    def _alone(self, batch: int) -> float:
        sizes = [size for size, _ in self.measured]
        if len(sizes) == 1 or batch <= sizes[0]:
            return self.measured[0][1]
        above = min(bisect_right(sizes, batch), len(sizes) - 1)
        (low, low_s), (high, high_s) = self.measured[above - 1], self.measured[above]
        return low_s + (high_s - low_s) * (batch - low) / (high - low)


@dataclass(frozen=True)
class Batcher:
    """Triton's `instance_group` and `dynamic_batching` of one model.

    An idle instance takes a batch as soon as a preferred size is there (without any: `batch`), or the oldest request
    has waited for `delay_s`; with a delay of 0, whatever is there.
    """

    instances: int = 1
    batch: int = 1
    delay_s: float = 0.0
    preferred: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.instances < 1 or self.batch < 1 or not 0 <= self.delay_s < math.inf:
            raise ArgumentError(f"{self}: expected at least 1 instance, a batch of at least 1, a delay from 0")
        if any(not 1 <= size <= self.batch for size in self.preferred):
            raise ArgumentError(f"preferred sizes {self.preferred}: expected sizes from 1 to {self.batch}")

    def take(self, queued: int, waited_s: float) -> int:
        """How many of `queued` requests an idle instance takes now; 0: it waits. `waited_s`: of the oldest."""
        if queued == 0:
            return 0
        # The nanosecond keeps the moment at which the delay ends from being missed by rounding.
        if waited_s + 1e-9 >= self.delay_s:
            return min(queued, self.batch)
        return max((size for size in self.preferred or (self.batch,) if size <= queued), default=0)


@dataclass(frozen=True)
class Simulated:
    """`latencies_s` of the requests that were answered, in the order of their answers; `batches` the sizes that ran."""

    latencies_s: NDArray[np.float64]
    batches: tuple[int, ...]
    seconds: float
    """From the first request to the last answer."""
    busy_s: float
    """Of all instances together."""

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return len(self.latencies_s) / self.seconds if self.seconds else 0.0


def open_loop(batcher: Batcher, service: Service, arrivals_s: Sequence[float] | NDArray[np.float64]) -> Simulated:
    """Requests that come when they come, whatever the queue: seconds, ascending. All of them are answered."""
    times = [float(at) for at in arrivals_s]
    if any(later < earlier for earlier, later in itertools.pairwise(times)):
        raise ArgumentError("arrivals: expected ascending times")
    return _run(batcher, service, times, math.inf, None)


def closed_loop(
    batcher: Batcher, service: Service, *, concurrency: int, seconds: float, client_s: float = 0.0
) -> Simulated:
    """So many clients, each with one request under way and `client_s` between an answer and its next, for `seconds`."""
    if concurrency < 1 or not 0 < seconds < math.inf or not 0 <= client_s < math.inf:
        raise ArgumentError(
            f"concurrency {concurrency}, seconds {seconds}, client_s {client_s}: expected at least 1, above 0, from 0"
        )
    return _run(batcher, service, [0.0] * concurrency, seconds, client_s)


def _run(
    batcher: Batcher, service: Service, arrivals: list[float], until_s: float, client_s: float | None
) -> Simulated:
    """`client_s` None: nobody asks again."""
    events: list[tuple[float, int, int, tuple[float, ...]]] = []
    order = 0  # of events at the same time, and so that no two of them are compared further

    def push(at: float, kind: int, payload: tuple[float, ...] = ()) -> None:
        nonlocal order
        order += 1
        heapq.heappush(events, (at, kind, order, payload))

    # At the same time: answers before arrivals, so that a freed instance sees them all; the batcher looks last.
    answered, arrived, look = 0, 1, 2
    queue: deque[float] = deque()
    idle = batcher.instances
    latencies: list[float] = []
    batches: list[int] = []
    busy_s = last = 0.0
    waking = math.inf
    coming = iter(arrivals)

    def next_arrival() -> None:
        if (at := next(coming, None)) is not None:
            push(at, arrived)

    next_arrival()
    while events:
        now, kind, _, payload = heapq.heappop(events)
        if kind == answered:
            idle += 1
            last = now
            latencies += [now - since for since in payload]
            if client_s is not None and now + client_s < until_s:
                for _each in payload:
                    push(now + client_s, arrived, (1.0,))
        elif kind == arrived:
            queue.append(now)
            if not payload:
                next_arrival()
        else:
            waking = math.inf
        if events and events[0][0] == now and events[0][1] < look:
            continue  # what else happens at this moment belongs into the same batch
        while idle and queue:
            size = batcher.take(len(queue), now - queue[0])
            if not size:
                if (at := queue[0] + batcher.delay_s) < waking:
                    waking = at
                    push(at, look)
                break
            idle -= 1
            spent = service.seconds(size, batcher.instances - idle)
            busy_s += spent
            batches.append(size)
            push(now + spent, answered, tuple(queue.popleft() for _ in range(size)))
    start = arrivals[0] if arrivals else 0.0
    return Simulated(np.array(latencies), tuple(batches), last - start, busy_s)
