"""The users' requests, sent to the router all through the loop, and what came of them second by second."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workloads.loop.events import Log
from workloads.loop.world import Question, Shift, World
from workloads.rollout.router import REQUEST_ID
from workloads.serving.client import AsyncClient, Policy, RequestFailed

CHAMPION, CANDIDATE = "champion", "candidate"
"""Arms, as people see them: who serves everybody, and who might."""
DEADLINE_S = 10.0
POLICY = Policy(deadline_s=DEADLINE_S, attempts=1, extra=0.0, extra_reserve=0.0)
"""Nothing is sent twice: a request that fails is to be seen."""


@dataclass(frozen=True)
class Answered:
    """What came of a question; `bits` per byte as the model that answered found them."""

    question: Question
    at: float
    seconds: float
    version: str
    bits: float
    error: str = ""


class Traffic:
    """Asks from a thread of its own until it is stopped. A context manager."""

    def __init__(
        self,
        url: str,
        model: str,
        world: World,
        log: Log,
        *,
        rate: float,
        prose: float,
        arm: Callable[[str], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`arm`: which arm a version is, for the figures of each second."""
        self.url, self.model, self.rate = url, model, rate
        self.asked = self.answered = self.failed = self.harmed = 0
        self.last_errors: list[str] = []
        self.bad = ""
        """The version whose answers do harm."""
        self._world, self._log, self._arm, self._clock = world, log, arm, clock
        self._shift = Shift(0.0, 0.0, prose, prose)
        self._second: list[Answered] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic", daemon=True)
        self.listeners: list[Callable[[Answered], None]] = []

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(DEADLINE_S + 5.0)

    @property
    def prose(self) -> float:
        """Share of English now."""
        return self._shift.share(self._clock())

    def shift(self, seconds: float, after: float) -> None:
        """From now on go over to another share of English."""
        self._shift = Shift(self._clock(), seconds, self.prose, after)

    async def _run(self) -> None:
        running: set[asyncio.Task[None]] = set()
        async with AsyncClient([self.url], POLICY) as client:
            tell_at = time.monotonic() + 1.0
            next_at = time.monotonic()
            while not self._stop.is_set():
                now = time.monotonic()
                if now >= tell_at:
                    self._tell()
                    tell_at += 1.0
                if now >= next_at:
                    next_at = max(now - 1.0, next_at + self._world.pause_s(self.rate))
                    task = asyncio.create_task(self._ask(client, self._world.question(self.prose)))
                    running.add(task)
                    task.add_done_callback(running.discard)
                await asyncio.sleep(min(max(0.0, next_at - time.monotonic()), 0.05))
            await asyncio.gather(*running)
            self._second = []
            self._tell()

    async def _ask(self, client: AsyncClient, question: Question) -> None:
        self.asked += 1
        begun = time.monotonic()
        bits, version, error = 0.0, "", ""
        try:
            # Users have no session here: a few of them ask most, and arms of a few users are of unequal size.
            answer = await client.infer(
                self.model,
                {"text_input": [[question.text]]},
                headers={
                    REQUEST_ID: f"{question.user}-{question.number}",
                    # To compress a hundred bytes costs more than it saves.
                    "Accept-Encoding": "identity",
                },
            )
            bits, version = float(answer.outputs["bits_per_byte"].reshape(-1)[0]), answer.version
        except RequestFailed as failure:
            error = str(failure)
        answered = Answered(question, self._clock(), time.monotonic() - begun, version, bits, error)
        self.answered += not error
        self.failed += bool(error)
        self.harmed += bool(version) and version == self.bad
        if error:
            self.last_errors = [*self.last_errors[-9:], error]
        self._second.append(answered)
        for listener in self.listeners:
            listener(answered)

    def _tell(self) -> None:
        answers, self._second = self._second, []
        arms: dict[str, Any] = {}
        for name in sorted({self._arm(each.version) for each in answers if not each.error}):
            mine = [each for each in answers if not each.error and self._arm(each.version) == name]
            arms[name] = {
                "answered": len(mine),
                "bits": round(sum(each.bits for each in mine) / len(mine), 4),
                **{
                    f"p{share}_s": round(quantile([each.seconds for each in mine], share / 100), 4)
                    for share in (50, 99)
                },
            }
        self._log.add(
            "traffic",
            prose=round(self.prose, 3),
            asked=self.asked,
            answered=self.answered,
            failed=self.failed,
            harmed=self.harmed,
            arms=arms,
        )


def quantile(values: list[float], share: float) -> float:
    """The smallest value that is at least as large as that share of all."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
