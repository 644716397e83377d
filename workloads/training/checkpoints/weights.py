"""A model's weights wherever they are: in a safetensors file or a checkpoint, here or in an object store."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import torch
from torch import Tensor
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from workloads.object_store import Missing, Unreachable
from workloads.training.checkpoints import exporting, layout, planning
from workloads.training.checkpoints.layout import Marker
from workloads.training.checkpoints.remote import Bucket, Remote
from workloads.training.errors import CheckpointError, ConfigError, on_disk

SUFFIX = ".safetensors"


class Weights(Protocol):
    """Read one tensor at a time: a model need not fit into memory twice."""

    location: str
    """Where exactly: of a run, which of its checkpoints."""
    shapes: Mapping[str, tuple[int, ...]]
    tokenizer: str
    """What made the tokens that they know, as `identity` says it; empty: not known."""

    def read(self, name: str) -> Tensor:
        """A whole tensor on the CPU, of the type that it is kept in."""


class _File:
    def __init__(self, path: Path, location: str) -> None:
        from safetensors import SafetensorError, safe_open

        self.location = location
        try:
            with on_disk(path):
                self._open = safe_open(path, "pt")
        except SafetensorError as error:
            raise CheckpointError(f"{location}: not a safetensors file: {error}") from None
        self.shapes: Mapping[str, tuple[int, ...]] = {
            name: tuple(self._open.get_slice(name).get_shape())
            for name in self._open.keys()  # noqa: SIM118
        }
        self.tokenizer = (self._open.metadata() or {}).get("tokenizer", "")

    def read(self, name: str) -> Tensor:
        return self._open.get_tensor(name)


class _Checkpoint:
    def __init__(self, directory: Path, location: str) -> None:
        marker = layout.read_marker(directory)
        if marker.extra.get("lora"):
            raise CheckpointError(
                f"{location} holds adapters only: expected a whole model; `python -m workloads.training.checkpoint "
                "export` writes one of them and their base"
            )
        self.location, self._directory = location, directory
        self._metadata = {
            name.removeprefix("model."): value
            for name, value in planning.read_metadata(directory).state_dict_metadata.items()
            if name.startswith("model.") and isinstance(value, TensorStorageMetadata)
        }
        self.shapes: Mapping[str, tuple[int, ...]] = {name: tuple(value.size) for name, value in self._metadata.items()}
        self.tokenizer = str(marker.extra.get("tokenizer", ""))

    def read(self, name: str) -> Tensor:
        value = self._metadata[name]
        tensor = torch.empty(value.size, dtype=value.properties.dtype)
        planning.load(self._directory, {f"model.{name}": tensor}, None)
        return tensor


def open_weights(source: str, directory: Path) -> Weights:
    """`source`: a safetensors file, a checkpoint, a run's checkpoints or a run's output; a path, or a URL of one.

    What is in an object store is copied into `directory`, once for all processes that share it; of a run, the newest
    checkpoint is taken. Raises CheckpointError, ConfigError, DiskError.
    """
    parts = urlsplit(source)
    if "://" not in source or (parts.scheme == "file" and not parts.netloc):
        path = Path(unquote(parts.path)) if "://" in source else Path(source)
        if path.is_file():
            return _File(path, str(path.absolute()))
        if (path / "checkpoints").is_dir():
            path = path / "checkpoints"
        if not path.is_dir():
            raise CheckpointError(
                f"{path}: no such file or directory; expected a {SUFFIX} file, or a run's checkpoints"
            )
        chosen = exporting.newest_of(path)
        return _Checkpoint(chosen, str(chosen.absolute()))
    place = directory / hashlib.sha256(source.encode()).hexdigest()[:16]
    with on_disk(place):
        place.mkdir(parents=True, exist_ok=True)
        with (place / ".lock").open("a") as lock:
            # Freed by the kernel, however the process ends.
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                return _copied_file(source, place) if source.endswith(SUFFIX) else _copied_checkpoint(source, place)
            except (Missing, Unreachable) as error:
                raise CheckpointError(f"{source}: cannot be read: {error}") from None
            except ValueError as error:
                if isinstance(error, CheckpointError | ConfigError):
                    raise
                raise ConfigError(f"{source}: {error}") from None


def _copied_file(source: str, place: Path) -> Weights:
    here = place / "model.safetensors"
    if not here.exists():
        url, _, name = source.rpartition("/")
        partial = here.with_suffix(layout.PARTIAL)
        Bucket(url).download(name, partial)
        partial.rename(here)
    return _File(here, source)


def _copied_checkpoint(source: str, place: Path) -> Weights:
    """Of a run's URL the newest checkpoint that is whole; `URL/step-00001234` is that one."""
    url, _, last = source.rstrip("/").rpartition("/")
    step = layout.step_of(last)
    remote = Remote(url if step is not None else source)
    for marker in remote.markers():
        if step in (None, marker.step):
            here = place / layout.name(marker.step)
            if not (here / layout.MARKER).exists():
                _fetch(remote, marker, place)
            return _Checkpoint(here, f"{remote.url}/{here.name}")
    raise CheckpointError(f"{source}: there is no checkpoint")


def _fetch(remote: Remote, marker: Marker, place: Path) -> None:
    partial = place / f"{layout.name(marker.step)}.{marker.id}{layout.PARTIAL}"
    partial.mkdir(exist_ok=True)
    remote.download(marker, marker.files, partial)
    layout.commit(partial, marker)


def identity(tokenizer: Any) -> str:
    """Of a manifest's tokenizer: whether two data sets mean the same by a token."""
    return f"{tokenizer.kind} {tokenizer.vocabulary} {tokenizer.sha256}".strip()


class Digest:
    """sha256 of weights: of their names, types, shapes and bytes, in the order in which they are added.

    Of what they are, and not of the file that they are in: an export is the same base as the checkpoint it was made of.
    """

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, name: str, tensor: Tensor) -> None:
        self._sha256.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        self._sha256.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)

    def text(self) -> str:
        return self._sha256.hexdigest()


def in_order(weights: Weights) -> Iterator[tuple[str, Tensor]]:
    """As they are to be added to a Digest."""
    for name in sorted(weights.shapes):
        yield name, weights.read(name)
