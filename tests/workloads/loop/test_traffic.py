"""Requests are counted as they end: a failure is never sent again, and what a bad model answers is harm."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from workloads.loop import events
from workloads.loop.events import NAME, Log
from workloads.loop.services import Prometheus, until
from workloads.loop.texts import CODE, PROSE
from workloads.loop.traffic import CANDIDATE, CHAMPION, Traffic, quantile
from workloads.loop.world import World

MODEL = "language-scorer"


class Server:
    """Answers as a Triton does: every tenth request with an error, every fifth as version 2."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.loop = asyncio.new_event_loop()
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        await request.read()
        assert request.headers["Accept-Encoding"] == "identity"
        self.seen.append(request.headers["x-request-id"])
        number = len(self.seen)
        if number % 10 == 0:
            return web.json_response({"error": "no"}, status=500)
        version = "2" if number % 5 == 0 else "1"
        outputs = [{"name": "bits_per_byte", "datatype": "FP32", "shape": [1, 1], "data": [float(version)]}]
        return web.json_response({"model_name": MODEL, "model_version": version, "outputs": outputs})

    async def run(self) -> None:
        application = web.Application()
        application.add_routes([web.post(f"/v2/models/{MODEL}/infer", self.answer)])
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    made.loop.run_until_complete(made.run())
    thread = threading.Thread(target=made.loop.run_forever, daemon=True)
    thread.start()
    yield made
    made.loop.call_soon_threadsafe(made.loop.stop)
    thread.join(10)


def test_what_is_asked_is_counted_once_as_it_ends(server: Server, tmp_path: Path) -> None:
    log = Log(tmp_path / NAME)
    world = World({CODE: ["x = 1"], PROSE: ["A statement"]}, 1)
    traffic = Traffic(
        f"http://127.0.0.1:{server.port}", MODEL, world, log, rate=200.0, prose=0.0,
        arm=lambda version: CHAMPION if version == "1" else CANDIDATE,
    )  # fmt: skip
    traffic.bad = "2"
    with traffic:
        until(30.0, "answers", lambda: traffic.asked >= 200)
        traffic.shift(0.0, 1.0)
        until(30.0, "told", lambda: len(events.read(tmp_path)) >= 3)
    log.close()
    assert traffic.asked == len(server.seen) == len(set(server.seen))
    assert traffic.failed == len(server.seen) // 10
    assert traffic.harmed == len(server.seen) // 5 - traffic.failed
    assert traffic.answered == traffic.asked - traffic.failed
    assert all("500" in error or "no" in error for error in traffic.last_errors)
    told = events.read(tmp_path)
    assert {arm: round(each["bits"]) for e in told for arm, each in e["arms"].items()} == {CHAMPION: 1, CANDIDATE: 2}
    assert [event["prose"] for event in told][-1] == 1.0
    last = told[-1]
    assert (last["asked"], last["answered"], last["failed"], last["harmed"]) == (
        traffic.asked, traffic.answered, traffic.failed, traffic.harmed,
    )  # fmt: skip


def test_quantiles() -> None:
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]


def test_without_prometheus_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with Prometheus(tmp_path / "prometheus", {"router": "127.0.0.1:1"}) as prometheus:
        assert not prometheus.installed
        assert prometheus.program is None
    assert not (tmp_path / "prometheus").exists()
