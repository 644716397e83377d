"""A rollout and a rollback cost no request.

Claim: under load, with real Tritons, promoting a good version and rolling back a bad one fails no request.

Two servers, a model that scores texts in 2 ms, clients that ask without a pause through the local router, and the
controller as it runs everywhere. In turns: the next version is loaded into the server that nobody asks, and rolled out;
it is as good as the last one and promoted, or scores every text worse and is rolled back. Also printed: what the router
adds to an answer, asked by one client alone, with the requests of both in turns.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_rollout_load.py [ROLLOUTS CLIENTS]` (a minute).
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from measure import ROOT, table, verdict

sys.path.insert(0, str(ROOT))
from tests.workloads.rollout import tritons
from tests.workloads.rollout.tritons import NAME, World, spec, write_model
from workloads.rollout.journal import read, remember
from workloads.rollout.state import Phase

ALONE = 200
"""Requests each way, to see what the router adds."""


async def rolled(world: World, rollouts: int) -> list[tuple[str, ...]]:
    """A row of the table for each rollout; every other version is worse."""
    answering, idle = world.servers
    rows = []
    for number in range(2, 2 + rollouts):
        worse = 0.2 if number % 2 else 0.0
        # Of a version that nobody asks for any more.
        if idle.ready(NAME):
            await asyncio.to_thread(idle.unload, NAME)
        write_model(idle.repository, number, worse=worse)
        await asyncio.to_thread(idle.load, NAME)
        before, began = world.load.requests, time.monotonic()
        plan = spec(number, baseline=f"{NAME}:{world.serving}")
        state = await world.roll_out(plan, answering, idle)
        if state.phase is Phase.PROMOTED:
            answering, idle, world.serving = idle, answering, number
            while sum(world.router.counts.in_flight[arm] for arm in ("baseline", "control")):
                await asyncio.sleep(0.01)
        looks = remember(read(world.directory / f"{plan.name}.jsonl"), plan.name).decisions
        row = (f"{plan.baseline} -> {plan.candidate}", "worse" if worse else "as good", str(state.phase), state.reason)
        rows.append((*row, str(looks), f"{time.monotonic() - began:.1f}", str(world.load.requests - before)))
    return rows


async def added(world: World) -> tuple[float, float]:
    """Median milliseconds of an answer, asked of the server itself and through the router."""
    tensor = {"name": "text_input", "datatype": "BYTES", "shape": [1, 1], "data": ["x"]}
    seconds: dict[str, list[float]] = {f"http://{world.servers[0].http}": [], world.url: []}
    async with aiohttp.ClientSession() as session:
        for _ in range(ALONE):
            for url, found in seconds.items():
                began = time.perf_counter()
                async with session.post(f"{url}/v2/models/{NAME}/infer", json={"inputs": [tensor]}) as response:
                    await response.read()
                found.append(time.perf_counter() - began)
    direct, routed = (1e3 * statistics.median(found) for found in seconds.values())
    return direct, routed


async def measured(directory: Path, servers: list[tritons.Triton], rollouts: int, clients: int) -> World:
    async with World(directory, servers).running(clients=0) as world:
        direct, routed = await added(world)
        ratio = f"{routed / direct:.2f} times as long"
        print(f"an answer takes {direct:.2f} ms, through the router {routed:.2f} ms: {ratio}\n")
    async with World(directory, servers).running(clients=clients) as world:
        await asyncio.sleep(1.0)
        rows = await rolled(world, rollouts)
        await asyncio.sleep(1.0)
    table(["rollout", "candidate", "end", "reason", "looks", "seconds", "requests"], rows)
    wrong = [row for row in rows if (row[1] == "worse") != (row[2] == Phase.ROLLED_BACK)]
    verdict("rollouts that ended as they should not", len(wrong), 0)
    return world


def main(rollouts: int = 4, clients: int = 16) -> None:
    with tempfile.TemporaryDirectory() as work, tritons.servers(Path(work)) as servers:
        write_model(servers[0].repository, 1)
        servers[0].load(NAME)
        world = asyncio.run(measured(Path(work), servers, rollouts, clients))
    load = world.load
    for failure in load.failed[:5]:
        print(failure)
    print(f"{load.requests} requests of {clients} clients, by arm: {dict(load.answered)}\n")
    verdict("failed requests during rollouts and rollbacks", len(load.failed), 0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
