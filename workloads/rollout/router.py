"""A reverse proxy for one model's requests (Open Inference Protocol over HTTP), which are shared by arms.

It is for a laptop, and for clusters without a gateway, what an HTTPRoute is elsewhere. Weights change at once and for
new requests only: what is under way ends where it began, so no change fails a request. An answer is handed on as it
comes. A request is sent to another arm only if there was no connection to the first one, so that nothing was sent yet:
what a model may have seen is not sent twice.

Changes come through a port of its own, with a fence (`routing.Fence`), and are on disk before they count.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from workloads import disk
from workloads.rollout import counts as counted
from workloads.rollout import metrics
from workloads.rollout.counts import ArmCounts, Counts
from workloads.rollout.errors import RoutingError, on_disk
from workloads.rollout.mirroring import Copy, Mirroring, outcome_of
from workloads.rollout.routing import Routing, is_open, model_of, place
from workloads.rollout.scores import decoded
from workloads.telemetry.metrics import Metrics

SESSION, ARM, SERVED_BY = "x-session-id", "x-rollout-arm", "x-served-by"
"""Headers: who asks, which keeps its arm; which arm a tester wants; which arm has answered."""
OVERRIDE = "override"
"""Arm that requests of testers are counted under: they are nobody's sample."""
REQUEST_ID = "x-request-id"

CONNECT_S, REQUEST_S = 1.0, 300.0
NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""There was no connection, refused or not answered within CONNECT_S."""
MAX_BODY = 64 * 2**20
KEPT = 2**20
"""Bytes of an answer that are kept for the log and for scores."""
LOG_WAITING = 1000
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te"}
_HOP_BY_HOP |= {"trailer", "transfer-encoding", "upgrade", "host", "expect", "content-length"}
"""Of one connection, RFC 9110 section 7.6.1; lengths are set anew."""


@dataclass(frozen=True)
class Exchange:
    """A request and its answer, for the log."""

    time_s: float
    """Unix time of the request's arrival."""
    duration_s: float
    request_id: str
    session: str
    arm: str
    url: str
    """Of the arm that has answered, path included."""
    model: str
    version: str
    """That the arm names; empty where the server chooses."""
    outcome: str
    status: int
    request: bytes
    answer: bytes | None
    """Without compression. None where it was longer than `KEPT`."""
    request_headers: CIMultiDictProxy[str]
    answer_headers: CIMultiDictProxy[str]


Log = Callable[[Exchange], Awaitable[None]]


class Router:
    """One rollout's router, to be used within one event loop: `async with Router(...) as router`."""

    def __init__(
        self,
        rollout: str,
        model: str,
        routing: Routing,
        *,
        state: Path | None = None,
        log: Log | None = None,
        request_s: float = REQUEST_S,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`state`: file that has the routing when the router is started again. `log` is told of each exchange, later,
        and never makes one wait: what its queue has no room for is counted and lost. `chance`: uniform in [0, 1)."""
        self.rollout, self.model, self.routing, self.state = rollout, model, routing, state
        self.counts = Counts()
        self.exported = Metrics(metrics.ROUTER)
        self._log, self._request_s, self._chance, self._clock = log, request_s, chance, clock
        self._exchanges: asyncio.Queue[Exchange] = asyncio.Queue(LOG_WAITING)
        if state is not None and state.exists():
            with on_disk(state):
                self.routing = Routing.from_json(json.loads(state.read_text(encoding="utf-8")))
        self._show()

    async def __aenter__(self) -> Router:
        # Connections are limited by the clients' own: a limit here would be a queue that nobody sees.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=self._request_s, sock_connect=CONNECT_S),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._mirroring = Mirroring(self._session, self.counts.paired, self._copied, self._clock)
        self._logging = asyncio.create_task(self._tell_log())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._logging.cancel()
        await asyncio.gather(self._logging, return_exceptions=True)
        await self._mirroring.close()
        await self._session.close()

    # ---- changing it

    def change(self, new: Routing) -> None:
        """Take a routing that `routing` was made into; it is on disk before it counts. Raises JournalError."""
        if new == self.routing:
            return
        if self.state is not None:
            with on_disk(self.state):
                disk.replace(self.state, json.dumps(new.to_json()))
        if new.weights != self.routing.weights:
            self.counts.begin()
        self.routing = new
        self._show()

    def _show(self) -> None:
        for arm in self.routing.arms:
            self.exported["rollout_weight_ratio"].labels(self.rollout, arm).set(self.routing.weight(arm))

    async def settled(self) -> None:
        """Until the copies and log entries that wait now are done."""
        await self._mirroring.drained()
        await self._exchanges.join()

    # ---- requests

    async def handle(self, request: web.Request) -> web.StreamResponse:
        arrived, path = self._clock(), request.rel_url.raw_path
        if not is_open(path):
            return _refusal(404, f"{path}: expected {', '.join(('/v2/models/…', '/v2/health/…'))} or /v2")
        routing = self.routing
        model, wanted = model_of(path), request.headers.get(ARM)
        session = request.headers.get(SESSION, "")
        measured = False
        if model != self.model:
            arm = routing.largest
        elif wanted is not None:
            if wanted not in routing.arms:
                return _refusal(400, f"{ARM}: {wanted!r}: expected one of {', '.join(routing.arms)}")
            arm = wanted
        else:
            measured = request.method == "POST"
            arm = routing.pick(place(self.rollout, session) if session else self._chance())
        # Of the era in which it is assigned, whenever it ends.
        sample = self.counts.arms if measured else None
        body = await request.read()
        return await _Exchanging(self, request, body, arrived, model or "", sample, routing).answer(arm)

    def ended(self, sample: dict[str, ArmCounts] | None, label: str, outcome: str, duration_s: float) -> None:
        """A request of this model is over. `sample`: that it is part of; None: of nobody's."""
        self.exported["rollout_requests_total"].labels(self.rollout, label, outcome).inc()
        if outcome == counted.OK:
            self.exported["rollout_request_duration_seconds"].labels(self.rollout, label).observe(duration_s)
        if sample is not None:
            sample.setdefault(label, ArmCounts()).ended(outcome, duration_s)

    def answered(self, exchange: Exchange, copy: Copy | None) -> None:
        """After the client has its answer."""
        if copy is not None:
            self._mirroring.offer(copy)
        if self._log is not None:
            try:
                self._exchanges.put_nowait(exchange)
            except asyncio.QueueFull:
                self.exported["rollout_requests_not_logged_total"].labels(self.rollout).inc()

    def mirrored(self) -> bool:
        mirror = self.routing.mirror
        return mirror is not None and self._chance() < mirror.ratio

    def _copied(self, arm: str, outcome: str, duration_s: float) -> None:
        self.exported["rollout_copies_total"].labels(self.rollout, arm, outcome).inc()
        self.counts.copies.setdefault(arm, ArmCounts()).ended(outcome, duration_s)

    async def _tell_log(self) -> None:
        while True:
            exchange = await self._exchanges.get()
            try:
                assert self._log is not None
                await self._log(exchange)
            except Exception as error:  # noqa: BLE001 - whatever the log does, requests go on
                self.exported["rollout_requests_not_logged_total"].labels(self.rollout).inc()
                print(f"the request log: {type(error).__name__}: {error}", flush=True)
            finally:
                self._exchanges.task_done()


class _Exchanging:
    """One request on its way."""

    def __init__(
        self,
        router: Router,
        request: web.Request,
        body: bytes,
        arrived: float,
        model: str,
        sample: dict[str, ArmCounts] | None,
        routing: Routing,
    ) -> None:
        self._router, self._request, self._body, self._arrived = router, request, body, arrived
        self._model, self._sample, self._routing = model, sample, routing
        self._tester = ARM in request.headers
        self._headers = _forwarded(request.headers)
        self._unix = time.time()

    async def answer(self, arm: str) -> web.StreamResponse:
        try:
            return await self._from(arm)
        except NOT_SENT as error:
            self._end(arm, counted.UNREACHABLE)
            other = self._routing.other(arm) if not self._tester else None
            if other is None:
                return _refusal(503, f"{arm} at {self._routing.arms[arm].url} cannot be reached: {error}")
        try:
            return await self._from(other, rescue=True)
        except NOT_SENT:
            return _refusal(503, f"neither {arm} nor {other} can be reached")

    async def _from(self, arm: str, *, rescue: bool = False) -> web.StreamResponse:
        """The arm's answer, handed on. Raises one of NOT_SENT if nothing was sent."""
        there = self._routing.arms[arm]
        path = self._request.rel_url.raw_path
        query = f"?{self._request.rel_url.raw_query_string}" if self._request.rel_url.raw_query_string else ""
        url = URL(there.url + there.path(path, self._model) + query, encoded=True)
        in_flight = self._router.counts.in_flight
        answer: web.StreamResponse | None = None
        in_flight[arm] += 1
        try:
            async with self._router._session.request(
                self._request.method, url, data=self._body or None, headers=self._headers, allow_redirects=False
            ) as response:
                answer = web.StreamResponse(status=response.status, reason=response.reason)
                answer.headers.extend(_forwarded(response.headers))
                if response.content_length is not None:
                    answer.content_length = response.content_length
                answer.headers[SERVED_BY] = arm
                await answer.prepare(self._request)
                kept = await self._hand_on(response, answer)
        except NOT_SENT:
            raise
        except TimeoutError:
            self._end(arm, counted.TIMED_OUT)
            return self._failed(answer, 504, f"{arm} has not answered within {self._router._request_s:g} s")
        except aiohttp.ClientError as error:
            self._end(arm, counted.BROKEN)
            return self._failed(answer, 502, f"{arm}: {error or type(error).__name__}")
        except (asyncio.CancelledError, ConnectionResetError):
            self._end(arm, counted.ABANDONED if answer is None else counted.CANCELLED)
            raise
        finally:
            in_flight[arm] -= 1
        outcome = outcome_of(response.status)
        self._end(arm, counted.RESCUED if rescue else outcome)
        self._answered(arm, outcome, response, kept, rescue)
        return answer

    async def _hand_on(self, response: aiohttp.ClientResponse, answer: web.StreamResponse) -> bytes | None:
        """The whole answer, but for one that is too long to be kept."""
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            await answer.write(part)
            size += len(part)
            if size <= KEPT:
                parts.append(part)
        await answer.write_eof()
        return decoded(response.headers, b"".join(parts), KEPT) if size <= KEPT else None

    def _failed(self, answer: web.StreamResponse | None, status: int, reason: str) -> web.StreamResponse:
        if answer is None or not answer.prepared:
            return _refusal(status, reason)
        # Half of it is out: the client must not take it for the whole.
        if self._request.transport is not None:
            self._request.transport.abort()
        return answer

    def _end(self, arm: str, outcome: str) -> None:
        if self._model == self._router.model and (self._tester or self._sample is not None):
            label = OVERRIDE if self._sample is None else arm
            self._router.ended(self._sample, label, outcome, self._router._clock() - self._arrived)

    def _answered(
        self, arm: str, outcome: str, response: aiohttp.ClientResponse, kept: bytes | None, rescue: bool
    ) -> None:
        routing, there = self._routing, self._routing.arms[arm]
        mirror, copy = self._router.routing.mirror, None
        measured = self._sample is not None and not rescue
        to = routing.arms.get(mirror.arm) if mirror else None
        if measured and mirror and to and to != there and self._router.mirrored():
            path = self._request.rel_url.raw_path
            copy = Copy(
                mirror.arm,
                to,
                path,
                self._model,
                self._request.method,
                self._headers,
                self._body,
                response.headers,
                kept if outcome == counted.OK else None,
            )
        exchange = Exchange(
            self._unix,
            self._router._clock() - self._arrived,
            self._request.headers.get(REQUEST_ID, ""),
            self._request.headers.get(SESSION, ""),
            arm,
            str(response.url),
            self._model,
            there.version,
            outcome,
            response.status,
            self._body,
            kept,
            CIMultiDictProxy(CIMultiDict(self._headers)),
            response.headers,
        )
        self._router.answered(exchange, copy)


def _forwarded(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    named = {each.strip().lower() for each in headers.get("connection", "").split(",")}
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in _HOP_BY_HOP and name.lower() not in named
    )


def _refusal(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)


def application(router: Router) -> web.Application:
    """The port that clients ask."""
    made = web.Application(client_max_size=MAX_BODY)
    made.router.add_route("*", "/{path:.*}", router.handle)
    return made


@contextlib.asynccontextmanager
async def listening(
    served: web.Application, address: str = "127.0.0.1", port: int = 0, *, drain_s: float = 60.0
) -> AsyncIterator[str]:
    """Serves within the block, at `host:port`; at its end takes nothing new and waits for what is under way."""
    # A client that leaves ends its request at the server behind, too.
    runner = web.AppRunner(served, access_log=None, handler_cancellation=True, shutdown_timeout=drain_s)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, address, port, backlog=2048).start()
        except OSError as error:
            raise RoutingError(f"{address}:{port}: cannot listen there: {error.strerror or error}") from None
        host, found = runner.addresses[0][:2]
        yield f"{host}:{found}"
    finally:
        await runner.cleanup()
