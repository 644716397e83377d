"""Sends requests when they are due and notes what came of each.

Latency counts from when a request was due, not from when it was sent: a generator or a server that falls behind cannot
hide it ("coordinated omission": Tene, How NOT to Measure Latency, 2013).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from workloads.serving.client import RequestFailed
from workloads.serving.errors import ArgumentError
from workloads.serving.load.arrivals import Arrival

Ask = Callable[[Arrival, Callable[[], None]], Awaitable[None]]
"""Asks once. Calls the second argument at each response of a stream, or once if there is none; raises RequestFailed."""


@dataclass(slots=True)
class Outcome:
    """What came of a request; seconds since the start, nan for what did not happen."""

    due_s: float
    sent_s: float = math.nan
    first_s: float = math.nan
    """The first response, which has the first token."""
    end_s: float = math.nan
    """The last."""
    responses: int = 0
    failure: str = ""
    """Why there is no answer, as a kind of failure."""
    words: str = ""
    """The failure's own."""

    @property
    def answered(self) -> bool:
        return not self.failure

    @property
    def latency_s(self) -> float:
        return self.end_s - self.due_s if self.answered else math.inf

    @property
    def first_token_s(self) -> float:
        """From when it was due."""
        return self.first_s - self.due_s if self.responses else math.inf


async def open_loop(
    arrivals: Iterable[Arrival],
    ask: Ask,
    *,
    most: int = 10_000,
    clock: Callable[[], float] = time.perf_counter,
    seen: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Send each request when it is due, whatever has become of those before it.

    At most `most` are under way, for the sake of memory: the next then waits to be sent, which counts as its latency.
    """
    if most < 1:
        raise ArgumentError(f"most {most}: expected at least 1 request under way")
    room = asyncio.Semaphore(most)
    outcomes: list[Outcome] = []
    start = clock()
    try:
        async with asyncio.TaskGroup() as group:
            for index, arrival in enumerate(arrivals):
                wait = arrival.at_s - (clock() - start)
                if wait > 0:
                    await asyncio.sleep(wait)
                elif index % 16 == 0:
                    await asyncio.sleep(0)  # who is behind must still let answers in
                await room.acquire()
                outcome = Outcome(arrival.at_s)
                outcomes.append(outcome)
                task = group.create_task(_one(arrival, outcome, ask, start, clock, seen))
                task.add_done_callback(lambda _: room.release())
    except BaseExceptionGroup as group_error:
        raise group_error.exceptions[0] from None
    return outcomes


async def closed_loop(
    concurrency: int,
    seconds: float,
    ask: Ask,
    *,
    clock: Callable[[], float] = time.perf_counter,
    seen: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """So many clients, each asking again as soon as it has its answer: how much a server can do, not how long people
    would wait. A slow server is asked less often, so its percentiles flatter it."""
    if concurrency < 1 or not 0 < seconds < math.inf:
        raise ArgumentError(f"concurrency {concurrency}, seconds {seconds}: expected at least 1, and above 0")
    outcomes: list[Outcome] = []
    start = clock()

    async def client() -> None:
        while (now := clock() - start) < seconds:
            outcome = Outcome(now)
            outcomes.append(outcome)
            await _one(Arrival(now), outcome, ask, start, clock, seen)

    await asyncio.gather(*(client() for _ in range(concurrency)))
    return outcomes


async def _one(
    arrival: Arrival,
    outcome: Outcome,
    ask: Ask,
    start: float,
    clock: Callable[[], float],
    seen: Callable[[Outcome], None],
) -> None:
    def responded() -> None:
        outcome.end_s = clock() - start
        if not outcome.responses:
            outcome.first_s = outcome.end_s
        outcome.responses += 1

    outcome.sent_s = clock() - start
    try:
        await ask(arrival, responded)
        outcome.end_s = clock() - start
    except RequestFailed as error:
        outcome.end_s = clock() - start
        outcome.failure, outcome.words = f"{type(error).__name__}: {error.kind.value}", str(error)
    seen(outcome)
