"""Makes a dataset of a corpus: `train/` and `validation/`, each with shards, a tokenizer and a manifest.

The manifest is written last and renamed into place: a directory with one is whole.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from workloads.data.corpus import Corpus
from workloads.data.errors import ArgumentError, on_disk
from workloads.data.manifest import NAME, Manifest, Shard
from workloads.data.tokenizer import BytePairTokenizer, ByteTokenizer, Tokenizer, train_byte_pairs

SHARD_TOKENS = 2**23
"""16 MiB of uint16: small enough that a few make a window to shuffle in, large enough to be read at full speed."""
BPE_SAMPLE = 8 * 2**20
"""Bytes of the training text that merges are learnt from; more changes little and takes minutes."""

Show = Callable[[str, int], Callable[[int], None]]
"""Starts to show the progress of something with that total; gives what counts towards it."""


def prepare(
    corpus: Corpus,
    output: Path,
    *,
    vocabulary: int = 0,
    shard_tokens: int = SHARD_TOKENS,
    tokenizer: Tokenizer | None = None,
    show: Show = lambda what, total: lambda count: None,  # noqa: ARG005
) -> dict[str, Manifest]:
    """Write `output/train` and `output/validation`. `vocabulary`: 0 for bytes, or the size of a byte-pair encoding.

    `tokenizer`: one that is there already, such as that of a model which is to be trained on.
    Merges are learnt from the training files alone. The same corpus gives the same fingerprints.
    Raises ArgumentError where a dataset is there already (training may be reading it), DiskFailed.
    """
    if shard_tokens < 1:
        raise ArgumentError(f"shard of {shard_tokens} tokens: expected at least 1")
    for part in ("train", "validation"):
        if (output / part / NAME).exists():
            raise ArgumentError(f"{output / part} already holds a dataset: remove it, or choose another --output")
    if tokenizer is None:
        tokenizer = BytePairTokenizer(_learn(corpus, vocabulary, show)) if vocabulary else ByteTokenizer()
    made = {}
    for part, names in (("train", corpus.train), ("validation", corpus.validation)):
        target = output / part
        with on_disk(target):
            target.mkdir(parents=True, exist_ok=True)
            made[part] = _write(corpus, names, target, tokenizer, shard_tokens, show(f"tokenizing {part}", len(names)))
    return made


def _learn(corpus: Corpus, vocabulary: int, show: Show) -> list[bytes]:
    """Merges from a sample of the training files, spread evenly over them."""
    sizes = {name: (corpus.root / name).stat().st_size for name in corpus.train}
    step = max(1, -(-sum(sizes.values()) // BPE_SAMPLE))
    texts = (corpus.text(name) for name in corpus.train[::step])
    return train_byte_pairs(texts, vocabulary, show("learning merges", vocabulary - 257))


def _write(
    corpus: Corpus,
    names: Sequence[str],
    target: Path,
    tokenizer: Tokenizer,
    shard_tokens: int,
    progress: Callable[[int], None],
) -> Manifest:
    dtype = "uint16" if tokenizer.vocabulary <= 2**16 else "uint32"
    end = np.array([tokenizer.end_of_text], f"<{dtype[0]}{np.dtype(dtype).itemsize}")

    def documents() -> Iterable[np.ndarray]:
        for name in names:
            yield np.concatenate([tokenizer.encode(corpus.text(name)).astype(end.dtype), end])
            progress(1)

    shards = _shards(documents(), target, shard_tokens)
    described, text = tokenizer.file()
    if text:
        (target / described.path).write_bytes(text)
    source = {
        "corpus": corpus.name,
        "documents": len(names),
        "left_out_as_repeated": corpus.repeated,
        "left_out_as_not_text": corpus.not_text,
    }
    manifest = Manifest(dtype, described, tuple(shards), source)
    unfinished = target / f".{NAME}"
    with unfinished.open("w") as out:
        out.write(manifest.to_json())
        _flush(out)
    unfinished.rename(target / NAME)
    return manifest


def _shards(documents: Iterable[np.ndarray], target: Path, shard_tokens: int) -> list[Shard]:
    """Documents one after another, cut into shards of `shard_tokens`, wherever that is; the last one has the rest."""
    shards: list[Shard] = []
    buffer: list[np.ndarray] = []
    held = 0

    def finish() -> None:
        nonlocal buffer, held
        joined = np.concatenate(buffer)
        data, rest = joined[:shard_tokens], joined[shard_tokens:]
        name = f"shard-{len(shards):06d}.bin"
        with (target / name).open("wb") as out:
            out.write(data.tobytes())
            _flush(out)
        shards.append(Shard(name, len(data), hashlib.sha256(data.tobytes()).hexdigest()))
        buffer, held = ([rest] if len(rest) else []), len(rest)

    for document in documents:
        buffer.append(document)
        held += len(document)
        while held >= shard_tokens:
            finish()
    if held:
        finish()
    return shards


def _flush(out: IO[str] | IO[bytes]) -> None:
    out.flush()
    os.fsync(out.fileno())
