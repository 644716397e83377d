"""Copies of requests to an arm whose answers nobody sees, beside the answers that somebody does.

Copies wait in a queue that is bounded, and what does not fit is not copied: a slow or dead shadow costs the clients
nothing, and itself some copies. Where both answers have a score, the two are a pair.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from workloads.rollout import counts as counted
from workloads.rollout.routing import Arm
from workloads.rollout.scores import bits_per_byte, decoded

WAITING, AT_ONCE = 256, 8
"""Copies that wait, and that are under way."""
MOST = 2**24
"""Bytes of a copy's answer, unpacked."""
FULL = "full"


@dataclass(frozen=True)
class Copy:
    """A request that has been answered, and what it was answered with."""

    arm: str
    """That gets the copy."""
    to: Arm
    path: str
    """As the client sent it, query included."""
    model: str
    method: str
    headers: Mapping[str, str]
    body: bytes
    answer_headers: Mapping[str, str]
    answer: bytes | None
    """Without compression. None where it was too long to be kept, or not an answer of 200."""


class Mirroring:
    def __init__(
        self,
        session: aiohttp.ClientSession,
        paired: Callable[[float, float], None],
        ended: Callable[[str, str, float], None],
        clock: Callable[[], float],
    ) -> None:
        """`paired(baseline, candidate)`; `ended(arm, outcome, seconds)` of each copy."""
        self._session, self._paired, self._ended, self._clock = session, paired, ended, clock
        self._queue: asyncio.Queue[Copy] = asyncio.Queue(WAITING)
        self._workers = [asyncio.create_task(self._work()) for _ in range(AT_ONCE)]

    def offer(self, copy: Copy) -> None:
        try:
            self._queue.put_nowait(copy)
        except asyncio.QueueFull:
            self._ended(copy.arm, FULL, 0.0)

    async def drained(self) -> None:
        """Until all copies that wait now are answered."""
        await self._queue.join()

    async def close(self) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            copy = await self._queue.get()
            outcome, began = counted.CANCELLED, self._clock()
            try:
                outcome = await self._send(copy)
            finally:
                self._ended(copy.arm, outcome, self._clock() - began)
                self._queue.task_done()

    async def _send(self, copy: Copy) -> str:
        url = copy.to.url + copy.to.path(copy.path, copy.model)
        try:
            async with self._session.request(
                copy.method, URL(url, encoded=True), data=copy.body, headers=copy.headers, allow_redirects=False
            ) as response:
                body = decoded(response.headers, await response.read(), MOST)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return counted.UNREACHABLE
        except TimeoutError:
            return counted.TIMED_OUT
        except aiohttp.ClientError:
            return counted.BROKEN
        if response.status < 400 and copy.answer is not None and body is not None:
            with contextlib.suppress(RecursionError):
                baseline = bits_per_byte(copy.answer_headers, copy.answer)
                candidate = bits_per_byte(response.headers, body)
                if baseline is not None and candidate is not None:
                    self._paired(baseline, candidate)
        return outcome_of(response.status)


def outcome_of(status: int) -> str:
    return counted.OK if status < 400 else counted.CLIENT_ERROR if status < 500 else counted.SERVER_ERROR
