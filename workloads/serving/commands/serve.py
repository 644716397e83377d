"""The subcommand `serve`."""

from __future__ import annotations

import argparse
import signal
import threading
import time
from pathlib import Path
from typing import Any

from workloads.serving.errors import ArgumentError
from workloads.serving.manifest import ModelVersion

HELP = "verify models, start Triton on them, take newer versions, drain on SIGTERM"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repository", required=True, metavar="DIR|URL", help="where export has written to")
    parser.add_argument(
        "--model", required=True, action="append", type=_model, metavar="NAME[:VERSION]",
        help="may be given several times; without a version the newest",
    )  # fmt: skip
    parser.add_argument(
        "--follow-s", type=float, default=0.0, metavar="S",
        help="seconds between looks for newer versions of models without a version; 0: never (default)",
    )  # fmt: skip
    parser.add_argument(
        "--directory", type=Path, default=Path("out/serve"), metavar="DIR",
        help="for verified copies and the log (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--address", default="127.0.0.1", help="to listen on (default %(default)s)")
    for name, port in (("http", 8000), ("grpc", 8001), ("metrics", 8002)):
        parser.add_argument(f"--{name}-port", type=int, default=port, metavar="PORT", help="default %(default)s")
    parser.add_argument(
        "--drain-s", type=float, default=0.0, metavar="S",
        help="seconds to go on serving after SIGTERM, until balancers have heard of it (default 0)",
    )  # fmt: skip
    parser.add_argument(
        "--exit-timeout-s", type=int, default=60, metavar="S",
        help="seconds that requests under way then have (default %(default)s)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    from workloads.serving.serve import Server, newest
    from workloads.serving.triton import Ports, Triton

    if options.follow_s < 0 or options.drain_s < 0 or options.exit_timeout_s < 1:
        raise ArgumentError("--follow-s and --drain-s: expected 0 or more; --exit-timeout-s: 1 or more")
    stop = until_told()
    triton = Triton(
        options.directory / "models",
        log=options.directory / "triton.log",
        ports=Ports(options.http_port, options.grpc_port, options.metrics_port),
        address=options.address,
        exit_timeout_s=options.exit_timeout_s,
    )
    # Before the server starts: a model that is not there is told at once.
    models = [
        newest(options.repository, model) if isinstance(model, str) else model for model in dict.fromkeys(options.model)
    ]
    followed = [model for model in options.model if isinstance(model, str)]
    with triton:
        print(f"Triton: {triton.http} (HTTP), {triton.grpc} (gRPC), {triton.metrics} (metrics)", flush=True)
        server = Server(triton, options.repository)
        for model in models:
            server.take(model)
        server.run(followed, options.follow_s, stop)
        print(f"told to end: serving for {options.drain_s:g} s more, then draining", flush=True)
        time.sleep(options.drain_s)
    print("drained", flush=True)
    return 0


def until_told() -> threading.Event:
    """Set by SIGTERM and by Ctrl-C."""
    stop = threading.Event()

    def told(*_: Any) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    return stop


def _model(text: str) -> str | ModelVersion:
    try:
        return ModelVersion.parse(text) if ":" in text else ModelVersion.parse(f"{text}:1").name
    except ArgumentError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
