"""Servers with a planted fault, for what a real one cannot be made to do: hang, die at a byte, refuse twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

Handler = Callable[[web.Request, int], Awaitable[web.StreamResponse | None]]


class Planted:
    """Speaks enough of the inference protocol to echo `x` as `y`. `handler(request, number)` may answer instead.

    `number` counts inference requests from 1; returning None means the usual answer. `seen` counts them.
    """

    def __init__(self, handler: Handler | None = None, *, ready: bool = True) -> None:
        self.handler, self.is_ready, self.seen, self.probes, self.under_way = handler, ready, 0, 0, 0
        self.cancelled = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Planted:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; where it was before, if it has been stopped."""
        application = web.Application()
        application.router.add_get("/v2/health/ready", self._ready)
        application.router.add_post("/v2/models/{model}/infer", self._infer)
        application.router.add_post("/v2/models/{model}/generate_stream", self._infer)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _ready(self, _: web.Request) -> web.Response:
        self.probes += 1
        return web.Response(status=200 if self.is_ready else 503)

    async def _infer(self, request: web.Request) -> web.StreamResponse:
        self.seen += 1
        self.under_way += 1
        try:
            number = self.seen
            if self.handler and (answer := await self.handler(request, number)) is not None:
                return answer
            return await echo(request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1


async def echo(request: web.Request) -> web.Response:
    """The first input's data as `y`."""
    content = await request.read()
    length = int(request.headers["Inference-Header-Content-Length"])
    asked = json.loads(content[:length])["inputs"][0]
    data = content[length:]
    said = {"name": "y", "datatype": asked["datatype"], "shape": asked["shape"]}
    said["parameters"] = {"binary_data_size": len(data)}
    head = json.dumps({"model_name": request.match_info["model"], "model_version": "1", "outputs": [said]}).encode()
    return web.Response(body=head + data, headers={"Inference-Header-Content-Length": str(len(head))})


def hangs(_: web.Request, __: int) -> Awaitable[None]:
    return asyncio.sleep(3600)


def fails(status: int, words: str, *, times: int = 10**9) -> Handler:
    """Answers `status` so many times, then as usual."""

    async def handler(_: web.Request, number: int) -> web.Response | None:
        return web.json_response({"error": words}, status=status) if number <= times else None

    return handler


def breaks(times: int = 10**9) -> Handler:
    """Hangs up in the middle of an answer, so many times."""

    async def handler(request: web.Request, number: int) -> web.Response | None:
        if number <= times:
            await request.read()
            assert request.transport is not None
            request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf an ans")
            await asyncio.sleep(0.01)
            request.transport.abort()
        return None

    return handler


def streams(texts: list[str], *, break_after: int | None = None, pause_s: float = 0.0, end: str = "") -> Handler:
    """The events of a stream; hangs up after so many of them, or ends with `end` as an error."""

    async def handler(request: web.Request, _: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for index, text in enumerate(texts):
            if index == break_after:
                assert request.transport is not None
                await asyncio.sleep(0.02)
                request.transport.abort()
                return response
            await asyncio.sleep(pause_s)
            said = json.dumps({"model_name": "m", "model_version": "1", "text": text})
            # In two pieces: where a chunk ends says nothing about where an event does.
            await response.write(f"data: {said[:7]}".encode())
            await asyncio.sleep(0)
            await response.write(f"{said[7:]}\n\n".encode())
        if end:
            await response.write(f"data: {json.dumps({'error': end})}\n\n".encode())
        await response.write_eof()
        return response

    return handler
