"""Small datasets whose tokens tell where they are from, and an S3 to read them from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workloads.data.manifest import NAME, Manifest, Shard, TokenizerFile

LENGTH = 4
"""Tokens of a sequence in most tests."""


def write(directory: Path, samples: Sequence[int], length: int = LENGTH, dtype: str = "uint32") -> Manifest:
    """A dataset with as many sequences in each shard as `samples` says; token n is the dataset's nth."""
    directory.mkdir(parents=True, exist_ok=True)
    shards, first = [], 0
    for index, count in enumerate(samples):
        # One more than the sequences need, and a rest that makes none.
        tokens = np.arange(first, first + count * length + 1 + index % length, dtype=dtype)
        first += len(tokens)
        data = tokens.tobytes()
        (directory / f"shard-{index}.bin").write_bytes(data)
        shards.append(Shard(f"shard-{index}.bin", len(tokens), hashlib.sha256(data).hexdigest()))
    manifest = Manifest(dtype, TokenizerFile("bytes", 257, 256), tuple(shards))
    (directory / NAME).write_text(manifest.to_json())
    return manifest


def sequences(manifest: Manifest, length: int = LENGTH, without: Sequence[int] = ()) -> set[int]:
    """The first token of every sequence, by which the tests know it; those of some shards left out."""
    found, first = set(), 0
    for index, shard in enumerate(manifest.shards):
        if index not in without:
            found |= set(range(first, first + (shard.tokens - 1) // length * length, length))
        first += shard.tokens
    return found


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif how == "truncate":
        path.write_bytes(data[:-1])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
