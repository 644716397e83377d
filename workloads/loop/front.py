"""The program that users ask: the rollout's router, with the log of requests behind it. Ends with SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from workloads.rollout import admin
from workloads.rollout.router import Router, application, listening
from workloads.rollout.routing import Arm, Routing

BASELINE, CANDIDATE = "baseline", "candidate"


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("python -m workloads.loop.front", description=__doc__)
    root.add_argument("--model", required=True)
    root.add_argument("--baseline", required=True, metavar="URL")
    root.add_argument("--candidate", required=True, metavar="URL")
    root.add_argument("--port", required=True, type=int)
    root.add_argument("--admin-port", required=True, type=int)
    root.add_argument("--state", required=True, type=Path, metavar="FILE")
    return root


async def serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    arms = {CANDIDATE: Arm(options.candidate), BASELINE: Arm(options.baseline)}
    routing = Routing(arms, {BASELINE: 1.0})
    async with (
        Router(options.model, options.model, routing, state=options.state) as router,
        listening(application(router), port=options.port),
        listening(admin.application(router), port=options.admin_port),
    ):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(parser().parse_args()))
