"""The subcommand `export`."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write a checkpoint as a version of a model that Triton serves"


def source_arguments(parser: argparse.ArgumentParser) -> None:
    """What is exported, and where to."""
    parser.add_argument(
        "--checkpoint", required=True, type=Path, metavar="DIR", help="a run, its checkpoints (the newest), or one"
    )
    parser.add_argument("--repository", required=True, metavar="DIR|URL", help="a directory, or s3://, gs:// or az://")
    parser.add_argument("--name", required=True, help="the model's name")
    parser.add_argument("--version", type=int, metavar="N", help="default: one more than the newest")
    parser.add_argument(
        "--data", default="", metavar="URL", help="the tokens of training, if they are elsewhere by now"
    )
    parser.add_argument("--base", default="", metavar="URL", help="of a run with adapters, where their base is by now")


def arguments(parser: argparse.ArgumentParser) -> None:
    source_arguments(parser)
    parser.add_argument("--slots", type=int, default=16, help="answers under way at once (default %(default)s)")
    parser.add_argument("--queue", type=int, default=256, help="requests that may wait for one (default %(default)s)")
    parser.add_argument(
        "--context", type=int, metavar="TOKENS", help="longest prompt and answer (default: what it was trained on)"
    )
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16", "int8", "int4"), default="float32", help="default %(default)s"
    )
    parser.add_argument(
        "--limit", type=float, default=0.01, metavar="SHARE",
        help="refuse a precision that makes bits per byte worse by more (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--max-tokens", type=int, default=128, help="of an answer, where a request says nothing (default %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    from workloads.serving.export import export
    from workloads.serving.progress import gib

    model, manifest = export(
        options.checkpoint,
        options.repository,
        options.name,
        version=options.version,
        data=options.data,
        base=options.base,
        slots=options.slots,
        context=options.context,
        max_tokens=options.max_tokens,
        queue=options.queue,
        precision=options.precision,
        limit=options.limit,
    )
    print(f"{model} in {options.repository}: {len(manifest.files)} files, {gib(manifest.total_bytes)}")
    return 0
