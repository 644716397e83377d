"""The subcommand `mirror`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from workloads.serving.commands import model_version

HELP = "copy model versions to a directory that is a repository too, such as a region's shared file system"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", required=True, metavar="URL", help="the repository: file://, s3://, gs:// or az://")
    parser.add_argument("--destination", required=True, type=Path, metavar="DIR")
    parser.add_argument(
        "--model",
        required=True,
        action="append",
        type=model_version,
        metavar="NAME:VERSION",
        help="may be given several times",
    )
    parser.add_argument("--connections", type=int, default=16, help="parts read at once (default %(default)s)")
    parser.add_argument("--part-mib", type=int, default=16, help="size of a part in MiB (default %(default)s)")


def run(options: argparse.Namespace) -> int:
    from workloads.serving.mirror import mirror
    from workloads.serving.progress import gib

    started = time.monotonic()
    read = mirror(
        options.source,
        options.destination,
        options.model,
        connections=options.connections,
        part_bytes=options.part_mib * 2**20,
    )
    names = ", ".join(map(str, sorted(set(options.model))))
    print(f"{names}: verified in {options.destination}; read {gib(read)} in {time.monotonic() - started:.1f} s")
    return 0
