"""The subcommand `vllm`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

HELP = "write a model in Hugging Face's layout as a version that Triton's vLLM backend serves"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", required=True, type=Path, metavar="DIR", help="with config.json and safetensors")
    parser.add_argument("--repository", required=True, metavar="DIR|URL", help="a directory, or s3://, gs:// or az://")
    parser.add_argument("--name", required=True, help="the model's name")
    parser.add_argument("--version", type=int, metavar="N", help="default: one more than the newest")
    parser.add_argument("--gpus", type=int, default=1, help="that share each matrix (default %(default)s)")
    parser.add_argument("--engine", type=_object, default={}, metavar="JSON", help="more arguments of vLLM's engine")
    parser.add_argument(
        "--mounted", default="/models", metavar="DIR", help="repository of the pod (default %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    from workloads.serving.progress import gib
    from workloads.serving.vllm import export

    model, manifest = export(
        options.weights,
        options.repository,
        options.name,
        gpus=options.gpus,
        engine=options.engine,
        mounted=options.mounted,
        version=options.version,
    )
    print(f"{model} in {options.repository}: {len(manifest.files)} files, {gib(manifest.total_bytes)}")
    return 0


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a JSON object")
    return found
