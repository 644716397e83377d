"""Servers that stand for arms: they answer as Triton does, and misbehave when they are told to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from workloads.rollout import admin
from workloads.rollout.router import Router, application, listening
from workloads.rollout.routing import Arm, Fence, Mirror, Routing

INFER = "/v2/models/lm/infer"


class Server:
    """One version of a model. `calls`: the paths that it was asked for, with the bodies."""

    def __init__(self, name: str, score: float = 2.0) -> None:
        self.name, self.score = name, score
        self.calls: list[tuple[str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.binary = False
        self.compressed: web.ContentCoding | None = None
        self.gate: asyncio.Event | None = None
        """Answers wait for it."""
        self.cancelled = 0
        self.address = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.calls.append((request.raw_path, body))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if body == b"break":
            assert request.transport is not None
            request.transport.abort()
        if body == b"stream":
            answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await answer.prepare(request)
            for part in range(3):
                await answer.write(f"data: {part}\n\n".encode())
            if b"cut" in request.raw_path.encode():
                assert request.transport is not None
                request.transport.abort()
            await answer.write_eof()
            return answer
        if self.status != 200:
            return web.json_response({"error": "as told"}, status=self.status)
        answer = self.scored()
        if self.compressed:
            answer.enable_compression(self.compressed)
        return answer

    def scored(self) -> web.Response:
        outputs = [{"name": "num_tokens", "datatype": "UINT32", "shape": [1, 1], "data": [3]}]
        score = {"name": "bits_per_byte", "datatype": "FP32", "shape": [1, 1]}
        if not self.binary:
            return web.json_response({"model_name": self.name, "outputs": [*outputs, {**score, "data": [self.score]}]})
        first = {"name": "num_tokens", "datatype": "UINT32", "shape": [1, 1], "parameters": {"binary_data_size": 4}}
        head = json.dumps({"outputs": [first, {**score, "parameters": {"binary_data_size": 4}}]}).encode()
        body = head + struct.pack("<I", 3) + struct.pack("<f", self.score)
        return web.Response(
            body=body,
            headers={
                "Content-Type": "application/octet-stream",
                "Inference-Header-Content-Length": str(len(head)),
            },
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        served = web.Application()
        served.router.add_route("*", "/{path:.*}", self.handle)
        async with listening(served, drain_s=1.0) as self.address:
            yield self


def refusing() -> str:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


class Setup:
    """Three arms, of which stable and baseline are one server, behind a router with its two ports."""

    def __init__(self, **options: object) -> None:
        self.stable, self.candidate = Server("stable"), Server("candidate", 1.5)
        self.options = options
        self.weights: dict[str, float] = {"stable": 1.0}
        self.mirror: Mirror | None = None
        self.number = 0

    @contextlib.asynccontextmanager
    async def running(self, candidate: str = "") -> AsyncIterator[Setup]:
        async with self.stable.running(), self.candidate.running():
            arms = {
                "candidate": Arm(f"http://{candidate or self.candidate.address}"),
                "stable": Arm(f"http://{self.stable.address}"),
                "baseline": Arm(f"http://{self.stable.address}"),
            }
            routing = Routing(arms, self.weights, self.mirror)
            async with (
                Router("test", "lm", routing, **self.options) as self.router,  # type: ignore[arg-type]
                listening(application(self.router), drain_s=5.0) as data,
                listening(admin.application(self.router), drain_s=1.0) as control,
                aiohttp.ClientSession() as self.session,
            ):
                self.url, self.admin = f"http://{data}", f"http://{control}"
                yield self

    async def ask(self, body: bytes = b"{}", path: str = INFER, **headers: str) -> tuple[int, str, bytes]:
        """Status, who has answered, body."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(self.url + path, data=body, headers=named) as response:
            return response.status, response.headers.get("x-served-by", ""), await response.read()

    async def put(self, path: str, document: dict[str, object], fence: Fence | None = None) -> tuple[int, dict]:
        self.number += 1
        known = {"token": 1, "number": self.number} if fence is None else {"token": fence.token, "number": fence.number}
        async with self.session.put(self.admin + path, json={"fence": known, **document}) as response:
            return response.status, await response.json()

    async def counts(self, after_pair: int = 0) -> dict:
        async with self.session.get(f"{self.admin}/counts?after_pair={after_pair}") as response:
            return await response.json()
