"""Two real Tritons with a version of a model each, a router before them, and clients that never pause."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from workloads.rollout import admin
from workloads.rollout.controller import Controller
from workloads.rollout.journal import Journal
from workloads.rollout.observe import LocalObserver
from workloads.rollout.router import Router, application, listening
from workloads.rollout.routing import Arm, Routing
from workloads.rollout.shells import BASELINE, CANDIDATE, CONTROL, LocalRoute
from workloads.rollout.spec import Spec, parse
from workloads.rollout.state import State
from workloads.serving.manifest import ModelVersion
from workloads.serving.triton import Triton

NAME = "lm"
CONFIG = f"""
name: "{NAME}"
backend: "python"
max_batch_size: 8
input [{{ name: "text_input" data_type: TYPE_STRING dims: [ 1 ] }}]
output [{{ name: "bits_per_byte" data_type: TYPE_FP32 dims: [ 1 ] }}]
instance_group [{{ kind: KIND_CPU count: 1 }}]
dynamic_batching {{ }}
version_policy {{ latest {{ num_versions: 1 }} }}
"""
MODEL = """
import hashlib
import time

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    # A score by the text, {worse} more than what it is for everybody; every {failing}th request fails.
    count = 0

    def execute(self, requests):
        time.sleep({seconds})
        return [self.answer(pb.get_input_tensor_by_name(each, "text_input").as_numpy()) for each in requests]

    def answer(self, texts):
        self.count += 1
        if {failing} and self.count % {failing} == 0:
            return pb.InferenceResponse([], pb.TritonError("as it was asked to"))
        scores = [[2.0 + hashlib.md5(text).digest()[0] / 256 + {worse}] for text in texts.reshape(-1)]
        return pb.InferenceResponse([pb.Tensor("bits_per_byte", np.array(scores, np.float32))])
"""
SPEC = {
    "name": "lm-2",
    "baseline": f"{NAME}:1",
    "candidate": f"{NAME}:2",
    "strategy": "canary",
    "steps": [{"percent": 10, "looks": 2}, {"percent": 25, "looks": 2}, {"percent": 50, "looks": 2}],
    "mirror_percent": 20,
    # Two servers on a few cores slow each other down: latencies are compared elsewhere.
    "guardrails": {"errors": {"margin": 0.05, "alpha": 0.02}, "quality": {"margin": 0.02, "alpha": 0.02}},
    "harm_budget_requests": 1000,
    "look_interval_s": 0.5,
    "deadline_s": 240,
}


def write_model(
    repository: Path, version: int, *, worse: float = 0.0, failing: int = 0, seconds: float = 0.002
) -> None:
    directory = repository / NAME / str(version)
    directory.mkdir(parents=True)
    (repository / NAME / "config.pbtxt").write_text(CONFIG)
    (directory / "model.py").write_text(MODEL.format(worse=worse, failing=failing, seconds=seconds))


@dataclass
class Load:
    """What clients were told."""

    failed: list[str] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    """By arm."""
    seconds: list[float] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return len(self.failed) + sum(self.answered.values())

    @contextlib.asynccontextmanager
    async def during(self, url: str, clients: int) -> AsyncIterator[Load]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            stop = asyncio.Event()
            asking = [asyncio.create_task(self._ask(session, url, number, stop)) for number in range(clients)]
            try:
                yield self
            finally:
                stop.set()
                await asyncio.gather(*asking)

    async def _ask(self, session: aiohttp.ClientSession, url: str, number: int, stop: asyncio.Event) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            tensor = {"name": "text_input", "datatype": "BYTES", "shape": [1, 1], "data": [f"{number} {count}"]}
            began = time.monotonic()
            try:
                async with session.post(f"{url}/v2/models/{NAME}/infer", json={"inputs": [tensor]}) as response:
                    said = await response.read()
                    if response.status != 200:
                        self.failed.append(f"{response.status}: {said[:200]!r}")
                        continue
                    self.answered[response.headers["x-served-by"]] += 1
                    self.seconds.append(time.monotonic() - began)
            except aiohttp.ClientError as error:
                self.failed.append(repr(error))


class World:
    """Two servers: `servers[0]` has version 1, and `servers[1]` whatever is to come after it."""

    def __init__(self, directory: Path, servers: list[Triton]) -> None:
        self.directory, self.servers = directory, servers
        self.load = Load()
        self.serving = 1
        """The version that has all requests."""
        self.back = threading.Event()
        """A person's wish."""

    @contextlib.asynccontextmanager
    async def running(self, clients: int) -> AsyncIterator[World]:
        url = f"http://{self.servers[0].http}"
        routing = Routing({name: Arm(url) for name in (CANDIDATE, BASELINE, CONTROL)}, {BASELINE: 1.0})
        async with (
            Router("lm", NAME, routing, state=self.directory / "routing.json") as self.router,
            listening(admin.application(self.router)) as control,
            listening(application(self.router)) as data,
            self.load.during(f"http://{data}", clients),
        ):
            self.admin, self.url = f"http://{control}", f"http://{data}"
            yield self

    async def roll_out(self, spec: Spec, old: Triton, new: Triton) -> State:
        """In a thread of its own, as a controller is a process of its own elsewhere."""

        def work() -> State:
            route = LocalRoute(self.admin)
            arms = {
                name: {"url": f"http://{each.http}", "version": ""}
                for name, each in ((BASELINE, old), (CANDIDATE, new))
            }
            path = self.directory / f"{spec.name}.jsonl"
            with Journal(path, spec, time.time) as journal, (self.directory / "out").open("a") as out:
                route.begin(arms)
                return Controller(
                    journal,
                    route,
                    LocalObserver(self.admin),
                    requested=self.back.is_set,
                    fulfilled=self.back.clear,
                    out=out,
                ).run()

        return await asyncio.to_thread(work)


def spec(number: int, **changes: object) -> Spec:
    versions = {"baseline": str(ModelVersion(NAME, number - 1)), "candidate": str(ModelVersion(NAME, number))}
    return parse({**SPEC, **versions, "name": f"{NAME}-{number}", **changes})


@contextlib.contextmanager
def servers(directory: Path, count: int = 2) -> AsyncIterator[list[Triton]]:  # type: ignore[misc]
    with contextlib.ExitStack() as stack:
        yield [  # type: ignore[misc]
            stack.enter_context(
                Triton(directory / f"models-{number}", log=directory / f"triton-{number}.log", exit_timeout_s=5)
            )
            for number in range(count)
        ]
