"""Where a dataset's files are: a directory, or a bucket. Both fail in the same words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from workloads.data.errors import ArgumentError, BadShard, DataError, NotADataset, StoreFailed, on_disk
from workloads.data.manifest import LARGEST, NAME
from workloads.object_store import Missing, ObjectStore, Unreachable

CHUNK = 2**22
"""Bytes of a file read at a time."""
PART = 2**24
"""Bytes asked for at a time of an object store: `CONNECTIONS` of them are in memory at once."""


def source(url: str) -> Directory | Bucket:
    """What a path or URL names. Raises ArgumentError."""
    if "://" not in url:
        return Directory(Path(url))
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc:
        return Directory(Path(unquote(parts.path)))
    try:
        return Bucket(ObjectStore(url))
    except ValueError as error:
        raise ArgumentError(f"dataset {url!r}: {error}, or a path") from None


@dataclass(frozen=True)
class Directory:
    path: Path

    @property
    def url(self) -> str:
        return str(self.path)

    def place(self, name: str) -> str:
        return str(self.path / name)

    def read(self, name: str) -> bytes:
        try:
            with on_disk(self.path):
                return (self.path / name).read_bytes()
        except DataError as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                raise _no_manifest(self.place(name), self._halves()) from None
            raise

    def _halves(self) -> str:
        parts = [part for part in ("train", "validation") if (self.path / part / NAME).is_file()]
        return f"; there is one in {' and in '.join(parts)}" if parts else ""

    def open(self, name: str, size: int) -> int:
        try:
            return os.open(self.path / name, os.O_RDONLY)
        except FileNotFoundError:
            raise BadShard(self.place(name), f"{size:,} bytes", "no such file") from None

    def stream(self, name: str, size: int) -> Iterator[tuple[Any, int]]:
        descriptor = self.open(name, size)
        try:
            at, total = 0, os.fstat(descriptor).st_size
            while chunk := os.pread(descriptor, CHUNK, at):
                yield chunk, total
                at += len(chunk)
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class Bucket:
    store: ObjectStore

    @property
    def url(self) -> str:
        return self.store.url

    def place(self, name: str) -> str:
        return self.store.place(name)

    def read(self, name: str) -> bytes:
        try:
            data, size = self.store.whole(name, LARGEST)
        except Missing:
            raise _no_manifest(self.place(name), "") from None
        except Unreachable as error:
            raise StoreFailed(str(error)) from None
        if size > LARGEST:
            raise NotADataset(f"{self.place(name)}: {size:,} bytes; at most {LARGEST:,} are accepted")
        return bytes(data)

    def stream(self, name: str, size: int) -> Iterator[tuple[Any, int]]:
        # In parts, each with the client's own retries: a long answer that breaks off would begin anew.
        for start in range(0, size, PART):
            try:
                yield self._part(name, start, min(start + PART, size), size)
            except Missing:
                raise BadShard(self.place(name), f"{size:,} bytes", "no such object") from None
            except Unreachable as error:
                raise StoreFailed(str(error)) from None

    def _part(self, name: str, start: int, end: int, size: int) -> tuple[Any, int]:
        if end - start == size:
            return self.store.whole(name, size)
        try:
            return self.store.part(name, start, end)
        except Unreachable:
            # Some stores refuse a range that an object has nothing of.
            _, found = self.store.part(name, 0, 0)
            if found == size:
                raise
            return b"", found


def _no_manifest(place: str, hint: str) -> NotADataset:
    return NotADataset(f"{place}: not there; a dataset is a directory with manifest.json in it{hint}")
