"""The text of a run: found, fingerprinted, and found to be the same by each step that reads it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from workloads.data import corpus as corpora
from workloads.data import errors as data_errors
from workloads.data.corpus import Corpus
from workloads.pipelines.errors import ArgumentError, DataRefused, StoreFailed
from workloads.pipelines.store import Bucket, File


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What workloads.data says, as an error of ours."""
    try:
        yield
    except data_errors.StoreFailed as error:
        raise StoreFailed(str(error)) from None
    except data_errors.DataError as error:
        raise DataRefused(str(error)) from None


def find(parameters: Mapping[str, Any], work: Path) -> Corpus:
    """The corpus, copied into `work` from an object store. Raises DataRefused, StoreFailed."""
    place, suffixes = str(parameters["corpus"]), _suffixes(parameters)
    with told():
        if place == "stdlib":
            return corpora.standard_library(parameters["held_out"])
        if "://" in place:
            place = str(_copied(place, suffixes, work / place.rstrip("/").rpartition("/")[2]))
        return corpora.directory(Path(place), parameters["held_out"], suffixes)


def fingerprint(parameters: Mapping[str, Any]) -> str:
    """Of a corpus as it is now: of contents, or of what an object store says of them without their being read."""
    place = str(parameters["corpus"])
    if "://" in place:
        listed = [
            f"{found['path']} {found['size']} {found['e_tag']}" for found in _listed(place, _suffixes(parameters))
        ]
        if not listed:
            raise ArgumentError(f"corpus {place!r}: nothing is there")
    else:
        found = find(parameters, Path())
        listed = [f"{name} {file_digest(found.root / name)}" for name in (*found.train, *found.validation)]
    return hashlib.sha256("\n".join(sorted(listed)).encode()).hexdigest()


def file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _suffixes(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(suffix for suffix in str(parameters["suffixes"]).split(",") if suffix)


def _listed(url: str, suffixes: tuple[str, ...]) -> list[dict[str, Any]]:
    found = Bucket(url).objects()
    return sorted((item for item in found if str(item["path"]).endswith(suffixes)), key=lambda item: str(item["path"]))


def _copied(url: str, suffixes: tuple[str, ...], target: Path) -> Path:
    bucket = Bucket(url)
    for item in _listed(url, suffixes):
        bucket.copy(File(str(item["path"]), int(item["size"]), ""), target / str(item["path"]))
    return target
