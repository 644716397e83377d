"""Where a run is kept: a directory, or a bucket. What is written appears whole or not at all, and says so last."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from workloads.disk import sync
from workloads.object_store import Missing, ObjectStore, Unreachable
from workloads.pipelines.errors import ArgumentError, StoreFailed, on_disk

PART = 2**24
LARGEST = 16 * 2**20
"""Bytes of the largest document, such as a marker, that is read."""


@dataclass(frozen=True)
class File:
    """A file of an artifact; `path` is relative, empty where the artifact is one file."""

    path: str
    bytes: int
    sha256: str


def tree(root: Path) -> tuple[File, ...]:
    """The files of an artifact, sorted by path. It is a file, or a directory with files in it."""
    with on_disk(root):
        if root.is_file():
            return (_file(root, ""),)
        return tuple(
            _file(path, path.relative_to(root).as_posix()) for path in sorted(root.rglob("*")) if path.is_file()
        )


def digest(files: tuple[File, ...]) -> str:
    """sha256 of names and contents: the same for the same content, wherever it is and whenever it was made."""
    lines = "".join(f"{file.sha256} {file.bytes} {file.path}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _file(path: Path, name: str) -> File:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return File(name, path.stat().st_size, found)


class Store(Protocol):
    """Names are relative, with forward slashes. All may raise DiskFailed or StoreFailed."""

    @property
    def url(self) -> str: ...

    def read(self, name: str) -> bytes | None:
        """A document, None if it is not there."""

    def write(self, name: str, data: bytes) -> None:
        """A document, in place of one that is there."""

    def create(self, key: str, data: bytes) -> bool:
        """A document that must not be there yet; False, and nothing is changed, if it is."""

    def keep(self, root: Path, name: str) -> None:
        """An artifact, from where a step has written it; it may be moved away from there."""

    def have(self, name: str, files: tuple[File, ...], directory: Path) -> Path:
        """An artifact as local files: in place, or copied into `directory`."""

    def children(self, name: str) -> list[str]:
        """What is directly below `name`, sorted."""


def open_store(url: str) -> Store:
    """A directory, or `file://`, `s3://`, `gs://`, `az://`. Raises ArgumentError."""
    if "://" not in url:
        return Directory(Path(url).absolute())
    if url.startswith("file:///"):
        return Directory(Path(url.removeprefix("file://")))
    return Bucket(url)


@dataclass(frozen=True)
class Directory:
    path: Path

    @property
    def url(self) -> str:
        return str(self.path)

    def read(self, name: str) -> bytes | None:
        with on_disk(self.path):
            try:
                return (self.path / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, name: str, data: bytes) -> None:
        with self._written(name, data) as (new, target):
            os.replace(new, target)

    def create(self, key: str, data: bytes) -> bool:
        with self._written(key, data) as (new, target):
            try:
                # Unlike a rename, it leaves what is there.
                os.link(new, target)
            except FileExistsError:
                return False
            finally:
                new.unlink()
        return True

    @contextlib.contextmanager
    def _written(self, name: str, data: bytes) -> Iterator[tuple[Path, Path]]:
        target = self.path / name
        with on_disk(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor, new = tempfile.mkstemp(dir=target.parent, prefix=".new-")
            with os.fdopen(descriptor, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            yield Path(new), target
            sync(target.parent)

    def keep(self, root: Path, name: str) -> None:
        target = self.path / name
        with on_disk(target):
            for path in [*root.rglob("*"), root]:
                sync(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(root, target)
            sync(target.parent)

    def have(self, name: str, files: tuple[File, ...], directory: Path) -> Path:  # noqa: ARG002
        return self.path / name

    def children(self, name: str) -> list[str]:
        with on_disk(self.path):
            directory = self.path / name
            if not directory.is_dir():
                return []
            return sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))


class Bucket(ObjectStore):
    """A run in an object store."""

    def __init__(self, url: str) -> None:
        try:
            super().__init__(url)
        except ValueError as error:
            raise ArgumentError(f"{url!r}: {error}, or a path") from None

    def read(self, name: str) -> bytes | None:
        try:
            data, size = self.whole(name, LARGEST)
        except Missing:
            return None
        except Unreachable as error:
            raise StoreFailed(str(error)) from None
        if size > LARGEST:
            raise StoreFailed(f"{self.place(name)}: {size:,} bytes; at most {LARGEST:,} are read")
        return bytes(data)

    def write(self, name: str, data: bytes) -> None:
        self.put(name, data)

    def put(self, key: str, data: bytes | Path) -> None:
        with _told():
            super().put(key, data)

    def create(self, key: str, data: bytes) -> bool:
        with _told():
            return super().create(key, data)

    def keep(self, root: Path, name: str) -> None:
        for file in tree(root):
            key = f"{name}/{file.path}".rstrip("/")
            self.put(key, root / file.path if file.path else root)

    def have(self, name: str, files: tuple[File, ...], directory: Path) -> Path:
        target = directory / name.rpartition("/")[2]
        for file in files:
            path = target / file.path if file.path else target
            self.copy(File(f"{name}/{file.path}".rstrip("/"), file.bytes, file.sha256), path)
        return target

    def children(self, name: str) -> list[str]:
        with _told():
            deeper, objects = self.below(name)
        return sorted([*deeper, *objects])

    def objects(self, prefix: str = "") -> list[dict[str, Any]]:
        with _told():
            return super().objects(prefix)

    def copy(self, file: File, path: Path) -> None:
        """Read an object into a local file. StoreFailed where it is not what `file` says, if that has a sha256."""
        hasher = hashlib.sha256()
        with on_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                for start in range(0, file.bytes, PART):
                    try:
                        data, _ = self.part(file.path, start, min(start + PART, file.bytes))
                    except (Missing, Unreachable) as error:
                        raise StoreFailed(f"{error}: it cannot be read") from None
                    hasher.update(data)
                    out.write(data)
        if file.sha256 and hasher.hexdigest() != file.sha256:
            raise StoreFailed(f"{self.place(file.path)}: its sha256 is {hasher.hexdigest()}, expected {file.sha256}")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (Missing, Unreachable) as error:
        raise StoreFailed(f"{error}: it cannot be written or listed") from None


def as_files(found: Mapping[str, Any]) -> tuple[File, ...]:
    """The files of a marker's artifact."""
    return tuple(File(**file) for file in found["files"])
