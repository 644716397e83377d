"""The client itself, for asyncio: carries out what the policy decides."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType

from workloads.serving.client import policy as policies
from workloads.serving.client.failures import (
    DeadlineExceeded,
    Failure,
    Kind,
    Refused,
    RequestFailed,
    StreamBroken,
    Unavailable,
)
from workloads.serving.client.messages import Answer, Endpoint, Parameter, Request, Transport
from workloads.serving.client.policy import Again, Allowance, Health, Policy, Progress
from workloads.serving.client.tracing import traced
from workloads.serving.errors import ArgumentError

RECENT = 256
"""Answers of a model by which the quantile of hedging is told."""
PROBE_S = 2.0
"""Until an endpoint that is asked whether it is ready counts as not."""


def transport(endpoint: Endpoint) -> Callable[[Endpoint, float], Transport]:
    """What speaks an endpoint's protocol. Each imports its own library, so that HTTP works beside `kserve`."""
    if endpoint.scheme.startswith("grpc"):
        from workloads.serving.client.over_grpc import GrpcTransport

        return GrpcTransport
    from workloads.serving.client.over_http import HttpTransport

    return HttpTransport


@dataclass
class Counts:
    """What the client did since it was made."""

    requests: int = 0
    attempts: int = 0
    repeated: int = 0
    hedged: int = 0
    failed: int = 0


class AsyncClient:
    """Asks Triton, or another server of the open inference protocol, at one of several endpoints, the nearest first.

    `idempotent` (the default) says that a request may be run twice: inference has no side effects unless the model has.
    What is not is repeated only where it surely never ran. To be used within one event loop, as a context manager.

        async with AsyncClient(["grpc://eu.example.com:8001", "grpc://us.example.com:8001"]) as client:
            answer = await client.infer("mlp", {"x": array}, deadline_s=0.5)
            async for part in client.stream("language_model", {"text": "Once"}):
                print(part.text("text"), end="")
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        policy: Policy = Policy(),  # noqa: B008 it is frozen
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if isinstance(endpoints, str):
            endpoints = [endpoints]
        self.endpoints = [Endpoint.parse(url) for url in endpoints]
        if not self.endpoints or len(set(self.endpoints)) < len(self.endpoints):
            raise ArgumentError(f"endpoints {list(endpoints)}: expected at least one, each once")
        self.policy, self.counts = policy, Counts()
        self._clock, self._chance = clock, chance
        # Now, since importing takes a second; connections come later, within the loop that they belong to.
        self._connect = [transport(endpoint) for endpoint in self.endpoints]
        self._transports: list[Transport] = []
        self._healths = [Health() for _ in self.endpoints]
        self._allowance = Allowance(policy.extra_reserve)
        self._taken: dict[str, deque[float]] = {}
        self._sorted: dict[str, list[float]] = {}
        self._probes: dict[int, asyncio.Task[None]] = {}

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        for probe in self._probes.values():
            probe.cancel()
        await asyncio.gather(*self._probes.values(), return_exceptions=True)
        await asyncio.gather(*(transport.close() for transport in self._transports))
        self._transports = []

    # ---- one answer

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, object],
        *,
        version: str | int = "",
        outputs: Sequence[str] = (),
        id: str = "",
        parameters: Mapping[str, Parameter] | None = None,
        headers: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
        idempotent: bool = True,
    ) -> Answer:
        """Ask once, whatever it takes within the deadline. RequestFailed otherwise, ArgumentError for wrong inputs."""
        request = Request.of(
            model, inputs, version, outputs=tuple(outputs), id=id, parameters=parameters or {}, headers=headers or {}
        )
        return await self.ask(request, deadline_s=deadline_s, idempotent=idempotent)

    async def ask(self, request: Request, *, deadline_s: float | None = None, idempotent: bool = True) -> Answer:
        """As `infer`, of a request that is made already."""
        with traced("infer", request) as (request, span):
            answer = await self._ask(request, deadline_s, idempotent)
            span.set(endpoint=answer.endpoint, model_version=answer.version, attempts=answer.attempts)
            return answer

    async def _ask(self, request: Request, deadline_s: float | None, idempotent: bool) -> Answer:
        started, end = self._begin(deadline_s)
        progress = Progress(idempotent)
        endpoint, attempts = self._first(), 0
        while True:
            # The counts are this request's alone.
            attempt = _Attempt()
            try:
                answer = await self._attempt(request, endpoint, end, idempotent, attempt)
            except Failure as failure:
                attempts += attempt.sent
                again = await self._again(failure, attempt.endpoint, progress, request, end, attempts)
                progress, endpoint = again.progress, again.endpoint
                continue
            self._remember(request.model, self._clock() - started)
            return replace(answer, attempts=attempts + attempt.sent)

    async def _attempt(
        self, request: Request, endpoint: int, end: float, idempotent: bool, attempt: _Attempt
    ) -> Answer:
        """One attempt, or two where the first takes long. The failure that is raised is of `attempt.endpoint`."""
        delay = policies.hedge_delay(self.policy, self._sorted, request.model) if idempotent else None
        if delay is None or self._clock() + delay >= end:
            return await self._send(request, endpoint, end, attempt)
        first = asyncio.ensure_future(self._send(request, endpoint, end, attempt))
        running = {first}
        try:
            done, _ = await asyncio.wait(running, timeout=delay)
            if not done and self._allowance.affordable:
                self._allowance = self._allowance.spent()
                self.counts.hedged += 1
                order = policies.order(self._healths)
                other = next((index for index in order if index != endpoint), endpoint)
                running.add(asyncio.ensure_future(self._send(request, other, end, attempt)))
            while running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                answered = [task for task in done if not task.exception()]
                if answered or not running:
                    return (answered or list(done))[0].result()
            raise AssertionError("nothing was running")
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)

    async def _send(self, request: Request, endpoint: int, end: float, attempt: _Attempt) -> Answer:
        attempt.sent += 1
        self.counts.attempts += 1
        try:
            answer = await self._transport(endpoint).infer(request, self._timeout(end))
        except Failure as failure:
            self._heard(endpoint, failure.kind)
            attempt.endpoint = endpoint
            raise
        self._heard(endpoint, None)
        return answer

    # ---- a stream

    async def stream(
        self,
        model: str,
        inputs: Mapping[str, object],
        *,
        version: str | int = "",
        outputs: Sequence[str] = (),
        id: str = "",
        parameters: Mapping[str, Parameter] | None = None,
        headers: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
        idempotent: bool = True,
    ) -> AsyncGenerator[Answer, None]:
        """Responses of a decoupled model as they come; leaving the loop and closing the generator cancels the rest.

        A stream that breaks is begun anew elsewhere if it is idempotent (of a language model: greedy, or with a seed),
        and what was handed out before is compared and left out. StreamBroken if it is not, or if it then differs.
        """
        request = Request.of(
            model, inputs, version, outputs=tuple(outputs), id=id, parameters=parameters or {}, headers=headers or {}
        )
        with traced("stream", request) as (request, span):
            async with contextlib.aclosing(self._stream(request, deadline_s, idempotent)) as responses:
                async for answer in responses:
                    span.event("response")
                    yield answer

    async def _stream(
        self, request: Request, deadline_s: float | None, idempotent: bool
    ) -> AsyncGenerator[Answer, None]:
        _, end = self._begin(deadline_s)
        progress = Progress(idempotent)
        endpoint, attempts = self._first(), 0
        handed: list[bytes] = []
        while True:
            attempts += 1
            self.counts.attempts += 1
            seen = 0
            responses = self._transport(endpoint).stream(request, max(end - self._clock(), 1e-3))
            try:
                async with contextlib.aclosing(responses):
                    while (answer := await self._next(responses)) is not None:
                        digest = answer.digest()
                        if seen < len(handed):
                            if digest != handed[seen]:
                                self._fail()
                                raise StreamBroken(
                                    f"{request.model} at {self.endpoints[endpoint]}: the stream that was begun anew "
                                    f"differs from response {seen + 1} of {len(handed)} on; expected an idempotent one",
                                    Kind.LOST,
                                    attempts,
                                    len(handed),
                                )
                        else:
                            handed.append(digest)
                            yield replace(answer, attempts=attempts)
                        seen += 1
                self._heard(endpoint, None)
                return
            except Failure as failure:
                self._heard(endpoint, failure.kind)
                # What has been handed out shows that the request ran: it is not as if the server had never begun.
                kind = Kind.LOST if seen and failure.kind is not Kind.WRONG else failure.kind
                again = await self._again(
                    Failure(kind, failure.message), endpoint, progress, request, end, attempts, len(handed)
                )
                progress, endpoint = again.progress, again.endpoint

    async def _next(self, responses: AsyncGenerator[Answer, None]) -> Answer | None:
        try:
            async with asyncio.timeout(self.policy.stall_s):
                return await anext(responses, None)
        except TimeoutError:
            raise Failure(Kind.TIMED_OUT, f"no response for {self.policy.stall_s} s") from None

    # ---- what both have in common

    async def ready(self, timeout_s: float = PROBE_S) -> dict[str, bool]:
        """Whether each endpoint's server says that it is ready."""
        found = await asyncio.gather(*(self._transport(index).ready(timeout_s) for index in range(len(self.endpoints))))
        return {str(endpoint): good for endpoint, good in zip(self.endpoints, found, strict=True)}

    def _begin(self, deadline_s: float | None) -> tuple[float, float]:
        span = self.policy.deadline_s if deadline_s is None else deadline_s
        if not 0 < span < float("inf"):
            raise ArgumentError(f"deadline_s {span!r}: expected seconds above 0")
        self.counts.requests += 1
        self._allowance = self._allowance.earned(self.policy)
        now = self._clock()
        return now, now + span

    def _first(self) -> int:
        for index in policies.due(self._healths, self._clock()):
            if index not in self._probes:
                self._probes[index] = asyncio.ensure_future(self._probe(index))
        return policies.order(self._healths)[0]

    async def _probe(self, index: int) -> None:
        """Ask an endpoint that was put aside, so that no request has to find out."""
        try:
            ready = await self._transport(index).ready(PROBE_S)
            if ready:
                self._healths[index] = Health()
            else:
                self._heard(index, Kind.UNSENT)
        finally:
            del self._probes[index]

    async def _again(
        self,
        failure: Failure,
        endpoint: int,
        progress: Progress,
        request: Request,
        end: float,
        attempts: int,
        received: int = 0,
    ) -> Again:
        """What to do next, once it is time to; RequestFailed if there is nothing."""
        step = policies.after(
            failure.kind,
            endpoint,
            progress,
            policies.order(self._healths),
            policy=self.policy,
            left_s=end - self._clock(),
            affordable=self._allowance.affordable,
            chance=self._chance(),
        )
        if isinstance(step, policies.GiveUp):
            self._fail()
            raise self._failed(failure, step, endpoint, request, attempts, received)
        if step.costs:
            self._allowance = self._allowance.spent()
        self.counts.repeated += 1
        if step.delay_s:
            await asyncio.sleep(step.delay_s)
        return step

    def _failed(
        self,
        failure: Failure,
        step: policies.GiveUp,
        endpoint: int,
        request: Request,
        attempts: int,
        received: int,
    ) -> RequestFailed:
        version = f" version {request.version}" if request.version else ""
        message = f"{request.model}{version} at {self.endpoints[endpoint]}: {failure.message}"
        if step.reason:
            message += f"; gave up: {step.reason}"
        kind: type[RequestFailed]
        if received:
            message += f"; {received} responses had come"
        if step.late:
            kind = DeadlineExceeded
        elif received:
            kind = StreamBroken
        else:
            kind = Refused if failure.kind in (Kind.WRONG, Kind.NOT_HERE, Kind.NOT_NOW) else Unavailable
        return kind(message, failure.kind, attempts, received)

    def _fail(self) -> None:
        self.counts.failed += 1

    def _timeout(self, end: float) -> float:
        left = max(end - self._clock(), 1e-3)
        return left if self.policy.attempt_s is None else min(left, self.policy.attempt_s)

    def _transport(self, index: int) -> Transport:
        if not self._transports:
            self._transports = [
                make(endpoint, self.policy.connect_s)
                for make, endpoint in zip(self._connect, self.endpoints, strict=True)
            ]
        return self._transports[index]

    def _heard(self, index: int, kind: Kind | None) -> None:
        self._healths[index] = policies.heard(self._healths[index], kind, self._clock(), self.policy, self._chance())

    def _remember(self, model: str, seconds: float) -> None:
        if self.policy.hedge_quantile is None:
            return
        taken = self._taken.setdefault(model, deque(maxlen=RECENT))
        taken.append(seconds)
        # Sorting at each answer would cost more than sending some of them.
        if len(taken) % 16 == 0 or len(taken) == RECENT:
            self._sorted[model] = sorted(taken)


@dataclass
class _Attempt:
    """What an attempt did, hedge included."""

    sent: int = 0
    endpoint: int = 0
    """Which failed last."""
