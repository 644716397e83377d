"""The program that users ask: the rollout's router, and behind it the log of requests. Ends with SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import Mapping
from pathlib import Path

from workloads.monitoring.lakehouse import Lake
from workloads.monitoring.request_log import RequestLog
from workloads.monitoring.tables import ANSWERED, Request
from workloads.rollout import admin
from workloads.rollout.router import KEPT, Exchange, Router, application, listening
from workloads.rollout.routing import Arm, Routing
from workloads.rollout.scores import HEADER_LENGTH, bits_per_byte, decoded
from workloads.rollout.shells import BASELINE, CANDIDATE, CONTROL

INPUT = "text_input"


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("python -m workloads.loop.front", description=__doc__)
    root.add_argument("--model", required=True)
    root.add_argument("--baseline", required=True, metavar="URL", help="the champion's Triton")
    root.add_argument("--candidate", required=True, metavar="URL", help="the candidate's Triton")
    root.add_argument("--port", required=True, type=int)
    root.add_argument("--admin-port", required=True, type=int)
    root.add_argument("--state", required=True, type=Path, metavar="FILE", help="keeps the routing")
    root.add_argument("--lake", required=True, metavar="JSON", help="pyiceberg's properties of the lakehouse")
    root.add_argument(
        "--flush-s", type=float, required=True, metavar="S", help="how long a request waits to be written"
    )
    return root


async def serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # The candidate first and the control last: nobody is moved from one to the other while their shares grow.
    arms = {CANDIDATE: Arm(options.candidate), BASELINE: Arm(options.baseline), CONTROL: Arm(options.baseline)}
    with RequestLog(Lake(json.loads(options.lake)), flush_s=options.flush_s) as requests:

        async def log(exchange: Exchange) -> None:
            if (request := logged(exchange)) is not None:
                requests.record(request)

        async with (
            Router(
                options.model, options.model, Routing(arms, {BASELINE: 1.0}), state=options.state, log=log
            ) as router,
            listening(application(router), port=options.port),
            listening(admin.application(router), port=options.admin_port),
        ):
            await stop.wait()


def logged(exchange: Exchange) -> Request | None:
    """What the lake keeps of an exchange; None for what asked for no score."""
    text = text_of(exchange.request_headers, exchange.request)
    if text is None:
        return None
    answer = decoded(exchange.answer_headers, exchange.answer or b"", KEPT) or b""
    bits = bits_per_byte(exchange.answer_headers, answer)
    version = exchange.version or _version(exchange.answer_headers, answer)
    return Request(
        id=exchange.request_id,
        time_s=exchange.time_s,
        model=exchange.model,
        version=int(version or 0),
        text=text,
        outcome=ANSWERED if exchange.status == 200 else exchange.outcome,
        latency_s=exchange.duration_s,
        bits_per_byte=float("nan") if bits is None else bits,
        arm=exchange.arm,
    )


def text_of(headers: Mapping[str, str], body: bytes) -> str | None:
    """The text of a request of the Open Inference Protocol, JSON or binary; None where it has none."""
    try:
        length = int(headers.get(HEADER_LENGTH, len(body)))
        begin = length
        for each in json.loads(body[:length])["inputs"]:
            size = each.get("parameters", {}).get("binary_data_size")
            if each["name"] == INPUT:
                # Four bytes of length come before each text.
                found = body[begin + 4 : begin + size] if size is not None else _first(each["data"]).encode()
                return found.decode()
            begin += size or 0
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
    return None


def _first(data: object) -> str:
    while isinstance(data, list):
        data = data[0]
    return str(data)


def _version(headers: Mapping[str, str], body: bytes) -> str:
    try:
        return str(json.loads(body[: int(headers.get(HEADER_LENGTH, len(body)))])["model_version"])
    except (ValueError, KeyError, TypeError):
        return ""


if __name__ == "__main__":
    asyncio.run(serve(parser().parse_args()))
