"""The subcommand `scorer`."""

from __future__ import annotations

import argparse

from workloads.serving.commands.export import source_arguments

HELP = "write a checkpoint as a version of a model that scores texts, in bits per byte"
RUNTIMES = ("eager", "torch-export", "onnx")


def arguments(parser: argparse.ArgumentParser) -> None:
    source_arguments(parser)
    parser.add_argument(
        "--runtime", choices=RUNTIMES, default="torch-export",
        help="what runs it: torch operation by operation, or a graph (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--queue", type=int, default=256, help="requests that may wait (default %(default)s)")


def run(options: argparse.Namespace) -> int:
    from workloads.serving.progress import gib
    from workloads.serving.scorer import export

    model, manifest = export(
        options.checkpoint,
        options.repository,
        options.name,
        runtime=options.runtime,
        version=options.version,
        data=options.data,
        base=options.base,
        queue=options.queue,
    )
    print(f"{model} in {options.repository}: {len(manifest.files)} files, {gib(manifest.total_bytes)}")
    return 0
