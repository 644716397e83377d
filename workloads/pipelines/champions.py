"""The model that a candidate is held against and begins with: wherever it is, it is a directory of the same files.

That is the artifact `model` of a run, or a version of a scorer that torch runs operation by operation (`eager`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from workloads.data.tokenizer import BPE_FILE, Tokenizer
from workloads.object_store import Missing, Unreachable
from workloads.pipelines.errors import ArgumentError, StoreFailed, on_disk
from workloads.pipelines.store import PART, Bucket, File
from workloads.serving.engine.files import FILE
from workloads.serving.errors import ServingError
from workloads.serving.models import text
from workloads.serving.models.text import SETTINGS, Settings

_SMALL = (SETTINGS, BPE_FILE)


def digest(place: str) -> str:
    """sha256 of its weights, without their being kept. Raises ArgumentError where there are none."""
    if "://" not in place:
        path = Path(place) / FILE
        if not path.is_file():
            raise ArgumentError(f"champion {place!r}: {path} is not there; expected a model's directory with {FILE}")
        with on_disk(path), path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    bucket, hasher = Bucket(place), hashlib.sha256()
    size = _size(bucket, place)
    for start in range(0, size, PART):
        try:
            hasher.update(bucket.part(FILE, start, min(start + PART, size))[0])
        except (Missing, Unreachable) as error:
            raise StoreFailed(f"champion: {error}") from None
    return hasher.hexdigest()


def fetch(place: str, directory: Path, weights: bool = True) -> Path:
    """Its files, copied into `directory` from an object store. `weights`: also the large one."""
    if "://" not in place:
        return Path(place)
    bucket = Bucket(place)
    for name in _SMALL:
        if (found := bucket.read(name)) is not None:
            with on_disk(directory):
                (directory / name).write_bytes(found)
    if weights:
        bucket.copy(File(FILE, _size(bucket, place), ""), directory / FILE)
    return directory


def read(directory: Path) -> tuple[Settings, Tokenizer]:
    """What of it is not weights. Raises ArgumentError."""
    try:
        return text.read(directory)
    except ServingError as error:
        raise ArgumentError(f"champion: {error}") from None


def _size(bucket: Bucket, place: str) -> int:
    try:
        return bucket.part(FILE, 0, 0)[1]
    except Missing:
        raise ArgumentError(f"champion {place!r}: {FILE} is not there") from None
    except Unreachable as error:
        raise StoreFailed(f"champion: {error}") from None
