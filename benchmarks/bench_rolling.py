"""New versions, and the death of a server, cost no request.

Claims: under load, going from one version to the next fails no request, and no request that is sent after the switch is
answered by an older version; when a server is killed (SIGKILL) under load, the client with a second endpoint has every
idempotent request answered.

Real Tritons, a model that answers with its version after 10 ms, 16 clients that ask without a pause. Versions come as
they do in service: written to the repository, found there, verified, loaded beside the one that answers. Each of the
deaths takes a new server, which is killed at another moment.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_rolling.py [VERSIONS DEATHS]` (two minutes).
"""

from __future__ import annotations

import asyncio
import io
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from measure import ROOT, table, verdict

sys.path.insert(0, str(ROOT))
from workloads.serving.client import AsyncClient, Policy
from workloads.serving.errors import ServingError
from workloads.serving.repository import read_config, write_version
from workloads.serving.serve import Server, newest
from workloads.serving.triton import Triton

CLIENTS, NAME = 16, "teller"
CONFIG = f"""
name: "{NAME}"
backend: "python"
max_batch_size: 8
input [{{ name: "x" data_type: TYPE_FP32 dims: [ 1 ] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [ 1 ] }}, {{ name: "version" data_type: TYPE_FP32 dims: [ 1 ] }}]
instance_group [{{ kind: KIND_CPU count: 1 }}]
dynamic_batching {{ }}
"""
MODEL = """
import time

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, arguments):
        self.version = np.array([[float(arguments["model_version"])]], np.float32)

    def execute(self, requests):
        time.sleep(0.01)
        found = [pb.get_input_tensor_by_name(each, "x").as_numpy() for each in requests]
        version = pb.Tensor("version", self.version)
        return [pb.InferenceResponse([pb.Tensor("y", x * 2), version]) for x in found]
"""


class Load:
    """Clients without a pause, and what they were told."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self.failed, self.wrong = 0, 0
        self.told: list[tuple[float, int, str]] = []
        """When it was asked, the version that answered, where."""

    async def during(self, work: Callable[[], Awaitable[None]]) -> None:
        """Ask until `work` is done, and half a second longer."""
        stop = asyncio.Event()

        async def ask(number: float) -> None:
            while not stop.is_set():
                asked = time.monotonic()
                try:
                    answer = await self._client.infer(NAME, {"x": np.array([[number]], np.float32)})
                except ServingError:
                    self.failed += 1
                    continue
                self.wrong += float(answer["y"][0, 0]) != 2 * number
                self.told.append((asked, int(answer["version"].reshape(-1)[0]), answer.endpoint))

        asking = [asyncio.create_task(ask(float(number))) for number in range(CLIENTS)]
        await asyncio.sleep(0.5)
        await work()
        await asyncio.sleep(0.5)
        stop.set()
        await asyncio.gather(*asking)


def publish(repository: Path) -> None:
    """One more version."""

    def fill(directory: Path) -> None:
        (directory / "model.py").write_text(MODEL)

    write_version(str(repository), NAME, read_config(CONFIG, "the benchmark"), fill, {})


async def rolling(directory: Path, versions: int) -> tuple[Load, int]:
    """The load, and how many of its requests an older version answered after a switch."""
    repository = directory / "repository"
    publish(repository)
    switches: list[float] = []
    with Triton(directory / "models", log=directory / "log") as triton:
        server = Server(triton, str(repository), io.StringIO())
        server.take(newest(str(repository), NAME))

        async def roll() -> None:
            for _ in range(versions):
                await asyncio.to_thread(publish, repository)
                await asyncio.to_thread(server.follow, [NAME])
                switches.append(time.monotonic())
                await asyncio.sleep(0.3)

        # One attempt for each request: what is repeated would hide what fails.
        async with AsyncClient([f"grpc://{triton.grpc}"], Policy(attempts=1, deadline_s=20)) as client:
            load = Load(client)
            await load.during(roll)
    served = server.served[NAME].version
    assert served == versions + 1, f"{served} is served: a version did not load"
    late = sum(version < 1 + sum(switch < asked for switch in switches) for asked, version, _ in load.told)
    return load, late


async def death(directory: Path, chance: random.Random) -> tuple[Load, int, int]:
    """The load, how many of its requests were asked again, and how many the survivor answered."""
    repository = directory / "repository"
    publish(repository)
    servers = [Triton(directory / name, log=directory / f"{name}.log") for name in ("near", "far")]
    with servers[0] as near, servers[1] as far:
        for server in servers:
            Server(server, str(repository), io.StringIO()).take(newest(str(repository), NAME))

        async def kill() -> None:
            await asyncio.sleep(chance.uniform(0.2, 1.0))
            await asyncio.to_thread(near.kill)
            await asyncio.sleep(0.5)

        async with AsyncClient([f"grpc://{near.grpc}", f"grpc://{far.grpc}"], Policy(deadline_s=20)) as client:
            load = Load(client)
            await load.during(kill)
            survivor = sum(endpoint == f"grpc://{far.grpc}" for _, _, endpoint in load.told)
            return load, client.counts.repeated, survivor


def main(versions: int = 10, deaths: int = 5) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        rolled, late = asyncio.run(rolling(Path(name) / "rolling", versions))
    rows.append((f"{versions} versions", len(rolled.told), rolled.failed, rolled.wrong, late, "", ""))
    failed, repeated = 0, 0
    for seed in range(deaths):
        with tempfile.TemporaryDirectory() as name:
            killed, again, survivor = asyncio.run(death(Path(name), random.Random(seed)))
        rows.append((f"death {seed + 1}", len(killed.told), killed.failed, killed.wrong, "", again, survivor))
        failed, repeated = failed + killed.failed + killed.wrong, repeated + again
    table(("under load", "answered", "failed", "wrong", "old version", "asked again", "by the survivor"), rows)
    verdict("requests that failed while versions came", rolled.failed + rolled.wrong, 0)
    verdict("answers by an older version after a switch", late, 0)
    verdict("idempotent requests without their answer after a kill", failed, 0)
    verdict("requests that were under way when a server died, and asked again", repeated, 1, at_least=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
