"""Writes a checkpoint's model as one plain safetensors file, and lists what checkpoints there are."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from workloads import disk
from workloads.training.checkpoints import layout, planning
from workloads.training.checkpoints.layout import Invalid, Marker
from workloads.training.errors import CheckpointError, DiskError, TrainingError, on_disk

MODEL = "model."


def checkpoints_of(directory: Path) -> Path:
    """Where the checkpoints of a run are, given its output, or them, or one of them. Raises CheckpointError."""
    if not directory.is_dir():
        raise CheckpointError(
            f"{directory}: no such directory; expected a run's output, its checkpoints, or one of them"
        )
    inside = directory / layout.CHECKPOINTS
    return inside if inside.is_dir() else directory


def newest_of(directory: Path) -> Path:
    """A run's newest valid checkpoint, or the directory itself if it is one. Raises CheckpointError."""
    with on_disk(directory):
        directory = checkpoints_of(directory)
        if (directory / layout.MARKER).exists():
            try:
                layout.verify(directory)
            except Invalid as error:
                raise CheckpointError(f"{directory}: {error}") from None
            return directory
        found: list[tuple[Marker, Path]] = []
        for path in layout.steps(directory):
            with contextlib.suppress(Invalid):
                found.append((layout.read_marker(path), path))
        for _, path in sorted(found, key=lambda pair: pair[0].order, reverse=True):
            try:
                layout.verify(path)
            except Invalid as error:
                print(f"{path} is skipped: {error}", file=sys.stderr)
            else:
                return path
    raise CheckpointError(f"{directory}: no valid checkpoint")


def export(directory: Path, path: Path, prefix: str, adapters: bool = False, base: str = "") -> int:
    """See `workloads.training.checkpoint.export`. The whole model is in memory meanwhile."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    chosen = newest_of(directory)
    with layout.in_use(chosen), on_disk(path):
        marker = layout.read_marker(chosen)
        tensors = planning.read_tensors(chosen, prefix)
        metadata = {"format": "pt", "step": str(marker.step)}
        if tokenizer := marker.extra.get("tokenizer"):
            metadata["tokenizer"] = str(tokenizer)
        if known := marker.extra.get("lora"):
            if adapters or prefix != MODEL:
                metadata |= {f"lora_{name}": str(value) for name, value in known.items()}
            else:
                tensors = _with_base(tensors, known, base, path)
        partial = path.with_name(path.name + layout.PARTIAL)
        partial.touch()
        try:
            save_file(tensors, partial, metadata=metadata)
            with partial.open("rb") as file:
                layout.sync_file(file)
            partial.rename(path)
            disk.sync(path.absolute().parent)
        except SafetensorError as error:
            raise DiskError(f"{path}: {error}") from error
        finally:
            partial.unlink(missing_ok=True)
    return len(tensors)


def _with_base(adapters: dict[str, Tensor], known: Mapping[str, Any], base: str, path: Path) -> dict[str, Tensor]:
    from workloads.training.base import merged

    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".base-") as place:
        return merged(adapters, known, base, Path(place))


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("python -m workloads.training.checkpoint", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("export", help="write a model as one safetensors file")
    writing.add_argument(
        "directory",
        type=Path,
        metavar="DIR",
        help="a run's output or its checkpoints: the newest valid; or one of them",
    )
    writing.add_argument("output", type=Path, metavar="OUT", help="the file to write")
    writing.add_argument("--prefix", default=MODEL, help="of the names that are written, without it (model.)")
    writing.add_argument("--adapters", action="store_true", help="of a run with lora.rank, adapters without their base")
    writing.add_argument("--base", default="", metavar="URL", help="where the base of adapters is by now")
    listing = commands.add_parser("list", help="verify all checkpoints of a run")
    listing.add_argument("directory", type=Path, metavar="DIR", help="a run's output, or its checkpoints")
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        if options.command == "export":
            count = export(options.directory, options.output, options.prefix, options.adapters, options.base)
            print(f"{options.output}: {count} tensors, {options.output.stat().st_size / 2**20:.1f} MiB")
            return 0
        with on_disk(options.directory):
            found = layout.steps(checkpoints_of(options.directory))
            if not found:
                raise CheckpointError(f"{options.directory}: no checkpoint")
            for path in reversed(found):
                try:
                    marker = layout.verify(path)
                    print(f"{path.name}  valid  {marker.total / 2**20:10.1f} MiB  {marker.world_size} ranks")
                except Invalid as error:
                    print(f"{path.name}  INVALID: {error}")
    except TrainingError as error:
        print(f"training: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0
