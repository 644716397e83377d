"""What both protocols' servers have in common: limits on what is sent, clients that leave, signals and draining."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import uvicorn

from workloads.serving.errors import ArgumentError
from workloads.serving.protocols.refusal import Refusal
from workloads.serving.protocols.triton import Upstream

BODY_S = 30.0
"""How long a body may take to arrive: whoever sends slower keeps a connection for nothing."""
KEEP_ALIVE_S = 65
"""Longer than balancers keep an idle connection, which is 60 s by most defaults: they are to close first."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Listening:
    """Where a server listens, and how it ends."""

    address: str
    port: int
    """0: any that is free."""
    max_body: int
    """Bytes of a request."""
    drain_s: float
    """That it goes on serving after SIGTERM, saying that it is not ready."""
    exit_timeout_s: int
    """That requests under way have afterwards."""


class _Left(Exception):
    """The client is gone."""


class Guard:
    """An application that sees whole bodies of no more than a limit, and is cancelled when its client leaves."""

    def __init__(self, app: App, max_body: int, body_s: float = BODY_S) -> None:
        self._app, self._max_body, self._body_s = app, max_body, body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._body(scope, receive)
        except _Left:
            return
        except Refusal as refusal:
            await respond(send, refusal.status, {"error": refusal.message}, {"connection": "close"})
            return
        sent = asyncio.Event()
        given = False

        async def replay() -> MutableMapping[str, Any]:
            nonlocal given
            if given:
                # The work is cancelled when the client leaves: nobody needs to hear of it.
                await sent.wait()
                return {"type": "http.disconnect"}
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def watched(message: MutableMapping[str, Any]) -> None:
            await send(message)
            if message["type"] == "http.response.body":
                if message.get("more_body"):
                    # Parts that are there already would all be written before anybody hears that the client has left.
                    await asyncio.sleep(0)
                else:
                    sent.set()

        work = asyncio.ensure_future(self._app(scope, replay, watched))
        left = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and not sent.is_set():
                work.cancel()
            await asyncio.wait({work})
        finally:
            work.cancel()
            left.cancel()
        if not work.cancelled():
            work.result()

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and int(announced) > self._max_body:
            raise self._too_large()
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Left
                    part = message.get("body", b"")
                    size += len(part)
                    if size > self._max_body:
                        raise self._too_large()
                    parts.append(part)
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise Refusal(408, f"the body did not arrive within {self._body_s:g} s") from None

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the body is larger than {self._max_body} bytes")


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def respond(send: Send, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    """`body`: a JSON value, or JSON as a string."""
    text = body if isinstance(body, str) else json.dumps(body, indent=1, ensure_ascii=False)
    # Half a character that was sent is told as an escape, which is JSON's own for it.
    content = text.encode(errors="backslashreplace")
    known = {"content-type": "application/json", "content-length": str(len(content)), **(headers or {})}
    lines = [(name.lower().encode(), value.encode()) for name, value in known.items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": content})


def bound(address: str, port: int) -> socket.socket:
    """A socket that listens there. ArgumentError if none can."""
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, port), family=family, backlog=2048)
        # Taken over by its connections. asyncio sets it only for sockets that it has made itself, and without it an
        # answer's second packet waits 40 ms for the first to be confirmed.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (OSError, OverflowError) as error:
        raise ArgumentError(f"{address}:{port}: cannot listen there: {error}") from None


def name_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Server(uvicorn.Server):
    """Without its own handlers of signals, which would stop it before balancers have heard of it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def served(app: App, listener: socket.socket, exit_timeout_s: int) -> AsyncIterator[None]:
    """Serves within the block; at its end takes nothing new, and waits for what is under way."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=exit_timeout_s,
    )
    server = _Server(config)
    task = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await task


async def until_told(upstream: Upstream, drain_s: float) -> None:
    """Returns when it is time to end: `drain_s` after SIGTERM or Ctrl-C."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()
    upstream.draining = True
    print(f"told to end: serving for {drain_s:g} s more, then draining", flush=True)
    await asyncio.sleep(drain_s)
