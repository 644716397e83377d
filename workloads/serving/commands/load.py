"""The subcommand `load`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

HELP = "send requests to a server at their own times; say how long each would have waited"


def arguments(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Sends requests when they are due, whatever becomes of them, and says how long people would wait."
    )
    command.add_argument(
        "--endpoint",
        action="append",
        required=True,
        metavar="URL",
        help="grpc://HOST:PORT or http://HOST:PORT; given again for failover, the nearest first",
    )
    command.add_argument("--model", required=True)
    command.add_argument("--version", default="", help="default: the server's choice")
    when = command.add_mutually_exclusive_group(required=True)
    when.add_argument("--rate", type=float, metavar="N", help="requests a second")
    when.add_argument("--trace", type=Path, metavar="FILE", help='JSON lines: {"at_s": 0.5, "inputs": {...}}')
    command.add_argument(
        "--arrivals",
        choices=("poisson", "constant"),
        default="poisson",
        help="at --rate: at random, as of many people, or evenly (default %(default)s)",
    )
    command.add_argument("--duration-s", type=float, default=30.0, help="at --rate (default %(default)s)")
    command.add_argument(
        "--speed", type=float, default=1.0, help="of --trace: 2 is twice as fast (default %(default)s)"
    )
    command.add_argument("--warmup-s", type=float, default=0.0, help="not counted (default %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="of --arrivals poisson (default %(default)s)")
    command.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of every request; VALUE is JSON (a number, a string, lists of them), or text as it stands",
    )
    command.add_argument(
        "--random-input",
        action="append",
        default=[],
        metavar="NAME=DTYPE:SHAPE",
        help="random numbers for every request, such as x=float32:1,512",
    )
    command.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE", help="of every request")
    command.add_argument("--stream", action="store_true", help="the model is decoupled: every response is a token")
    command.add_argument("--deadline-s", type=float, default=30.0, help="of each request (default %(default)s)")
    command.add_argument("--attempts", type=int, default=1, help="of each request (default %(default)s: no repetition)")
    command.add_argument(
        "--objective",
        metavar="QUANTILE:SECONDS",
        type=objective,
        help="such as 0.99:0.2; exits with 1 if more requests take longer, or fail",
    )
    command.add_argument("--plot", type=Path, metavar="FILE", help="a picture: .png, .svg or .pdf")
    command.add_argument("--json", type=Path, metavar="FILE", help="the same figures for programs")


def run(options: argparse.Namespace) -> int:
    from workloads.serving.load import command

    return command.run(options)


def objective(text: str) -> tuple[float, float]:
    share, _, seconds = text.partition(":")
    try:
        found = float(share), float(seconds)
    except ValueError:
        found = math.nan, math.nan
    if not 0 < found[0] < 1 or not 0 < found[1] < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: expected QUANTILE:SECONDS, such as 0.99:0.2")
    return found
