"""The subcommand `tune`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HELP = "find a model's instances, batch size, delay and preferred sizes under a latency objective"


def arguments(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Measures a few configurations of a model, most of them briefly: on a Triton of its own, on one that runs, or "
        "on a simulated queue. Says which is the fastest that meets the objective. A server that runs is left with it."
    )
    where = command.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--repository", metavar="DIR|URL", help="starts a Triton on the newest version of the model there, and ends it"
    )
    where.add_argument("--endpoint", metavar="URL", help="http://HOST:PORT of a Triton with explicit model control")
    where.add_argument(
        "--simulate",
        metavar="SIZE:SECONDS,...",
        help="how long batches take on one instance, such as 1:0.004,8:0.006,32:0.018; nothing is run",
    )
    command.add_argument("--model", help="unless it is simulated")
    command.add_argument(
        "--write", action="store_true", help="with --repository: the next version of the model has what was found"
    )
    command.add_argument(
        "--header", action="append", default=[], metavar="NAME=VALUE", help="that the server asks for to load models"
    )
    command.add_argument(
        "--random-input",
        action="append",
        default=[],
        metavar="NAME=DTYPE:SHAPE",
        help="of every request, such as x=float32:1,512",
    )
    command.add_argument("--input", action="append", default=[], metavar="NAME=VALUE", help="the same, as given")
    command.add_argument("--cores", type=float, default=float("inf"), help="with --simulate: that instances share")
    command.add_argument("--concurrency", type=int, default=32, help="clients that ask (default %(default)s)")
    command.add_argument("--latency-s", type=float, default=float("inf"), help="objective (default: throughput alone)")
    command.add_argument("--quantile", type=float, default=0.99, help="of the requests within it (default %(default)s)")
    command.add_argument("--instances", type=_numbers(int), default=(1, 2, 3, 4), metavar="N,N", help="default 1,2,3,4")
    command.add_argument(
        "--batch", type=_numbers(int), default=(1, 2, 4, 8, 16, 32, 64), metavar="N,N", help="default 1,2,4,8,16,32,64"
    )
    command.add_argument(
        "--delay-us",
        type=_numbers(int),
        default=(0, 50, 100, 250, 500, 1000, 2000, 5000),
        metavar="N,N",
        help="default 0,50,100,250,500,1000,2000,5000",
    )
    command.add_argument("--seconds", type=float, default=4.0, help="of a whole measurement (default %(default)s)")
    command.add_argument("--share", type=float, default=0.1, help="of the space, at most (default %(default)s)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--json", type=Path, metavar="FILE", help="the configuration found, as Triton's JSON has it")


def run(options: argparse.Namespace) -> int:
    from workloads.serving.tuning import command

    return command(options)


def _numbers(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    def read(text: str) -> tuple[Any, ...]:
        try:
            found: Sequence[Any] = [kind(word) for word in text.split(",")]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}: expected numbers with commas between them") from None
        return tuple(found)

    return read
