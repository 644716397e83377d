"""The subcommand `demo`, which is `make serve`."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "train if need be, export, serve, ask and measure, all on this machine"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, default=Path("out/train"), metavar="DIR", help="a run's output")
    parser.add_argument("--directory", type=Path, default=Path("out/serve"), metavar="DIR", help="for all else")
    parser.add_argument("--prompt", default="def read_file(path):\n", help="what it is asked")
    parser.add_argument("--train-s", type=float, default=60.0, metavar="S", help="where there is no checkpoint")
    parser.add_argument(
        "--measure-s", type=float, default=5.0, metavar="S", help="for each of two loads; 0: not at all"
    )
    parser.add_argument("--leave", action="store_true", help="end when all has been shown, also in a terminal")


def run(options: argparse.Namespace) -> int:
    from workloads.serving import demo
    from workloads.serving.commands.serve import until_told

    demo.run(
        options.checkpoint,
        options.directory,
        prompt=options.prompt,
        train_s=options.train_s,
        measure_s=options.measure_s,
        stop=until_told(),
        stay=demo.stays() and not options.leave,
    )
    return 0
