"""Copies model versions from an object store to local disk: a server sees them whole and verified, or not at all.

Everything is assembled in `<destination>/.fetch/<model>/` and renamed into place once each file has the bytes and the
sha256 that its manifest says. A fetch that was killed is taken up by the next: what is whole is not read again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workloads.disk import sync
from workloads.serving.errors import ArgumentError, DiskFailed, VerificationFailed, on_disk
from workloads.serving.manifest import File, Manifest, ModelVersion, is_whole
from workloads.serving.progress import Progress, gib
from workloads.serving.store import Repository

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

STAGING = ".fetch"


def fetch(
    source: str,
    destination: Path,
    models: Sequence[ModelVersion],
    *,
    connections: int = 16,
    part_bytes: int = 2**24,
    trusted: Ed25519PublicKey | None = None,
) -> int:
    """Have `models` in `destination`, as Triton lays a repository out. Returns the bytes that had to be read.

    `trusted`: the key by which their manifests must have been signed. At most `connections` parts are under way, so
    memory stays near `connections * part_bytes`. A model that is there already is verified against its manifest, and
    read again only where it differs.
    Raises a ServingError that names the file and the reason; `destination` is then as it was, but for `.fetch`.
    """
    if connections < 1 or part_bytes < 1:
        raise ArgumentError(f"connections {connections}, part_bytes {part_bytes}: expected at least 1 of each")
    repository = Repository(source)
    wanted: dict[str, list[Manifest]] = {}
    for model in sorted(set(models)):
        wanted.setdefault(model.name, []).append(repository.manifest(model, trusted))
    for manifests in wanted.values():
        _check_shared(manifests)
    staging = destination / STAGING
    with _alone(destination), on_disk(destination), ThreadPoolExecutor(connections) as pool:
        missing = {name: m for name, m in wanted.items() if not _in_place(destination / name, m, pool)}
        todo = _lay_out(staging, missing, pool)
        needed = sum(file.bytes for _, file in todo.values())
        # What a killed fetch left of a file is overwritten, so its room counts as free.
        free = shutil.disk_usage(destination).free + sum(t.stat().st_blocks * 512 for t in todo if t.exists())
        if needed > free:
            raise DiskFailed(f"{destination}: {gib(needed)} are needed, {gib(free)} are free")
        _transfer(repository, _parts(todo, part_bytes), pool, connections, Progress(repository.url, needed))
        for directory in [path for path in staging.rglob("*") if path.is_dir()]:
            sync(directory)
        for name in missing:
            _put_in_place(destination, name)
        shutil.rmtree(staging, ignore_errors=True)
    return needed


def _check_shared(manifests: Sequence[Manifest]) -> None:
    """Versions of one model share its directory, so a file that two of them bring must be the same."""
    seen: dict[str, tuple[File, ModelVersion]] = {}
    for manifest in manifests:
        for file in manifest.files:
            other, owner = seen.setdefault(file.path, (file, manifest.model))
            if other != file:
                raise VerificationFailed(
                    f"{owner} and {manifest.model} bring different {file.path!r}, and Triton keeps one for all "
                    "versions of a model: export them with the same one, or serve them in two deployments"
                )


def _files(manifests: Iterable[Manifest]) -> dict[str, File]:
    return {file.path: file for manifest in manifests for file in manifest.files}


def _whole(found: Mapping[Path, File], pool: ThreadPoolExecutor) -> list[Path]:
    """Which of these local files are what their manifest says."""
    progress = Progress("verifying what is there", sum(file.bytes for path, file in found.items() if path.exists()))
    verdicts = pool.map(lambda path: is_whole(path, found[path], progress.add), found)
    return [path for path, whole in zip(found, verdicts, strict=True) if whole]


def _in_place(directory: Path, manifests: Sequence[Manifest], pool: ThreadPoolExecutor) -> bool:
    """Whether a model's directory holds exactly these versions, verified byte for byte."""
    files = {directory / path: file for path, file in _files(manifests).items()}
    if {path for path in directory.rglob("*") if not path.is_dir()} != set(files):
        return False
    return all((directory / str(m.model.version)).is_dir() for m in manifests) and len(_whole(files, pool)) == len(
        files
    )


def _lay_out(
    staging: Path, missing: Mapping[str, Sequence[Manifest]], pool: ThreadPoolExecutor
) -> dict[Path, tuple[str, File]]:
    """Make the directories of the missing models; returns what is left to read: target -> (key, file)."""
    todo = {
        staging / name / file.path: (f"{name}/{manifest.model.version}/{file.path}", file)
        for name, manifests in missing.items()
        for manifest in manifests
        for file in manifest.files
    }
    # Made even when no file is in it: an ensemble's version is an empty directory.
    versions = [staging / name / str(m.model.version) for name, manifests in missing.items() for m in manifests]
    wanted = {parent for path in (*todo, *(version / "any" for version in versions)) for parent in path.parents}
    # What a fetch of something else left when it was killed or failed: files, and directories that a server would take
    # for versions.
    for path in sorted(staging.rglob("*"), reverse=True):
        if path.is_symlink() or not path.is_dir():
            if path not in todo:
                path.unlink(missing_ok=True)
        elif path not in wanted:
            shutil.rmtree(path)
    for version in versions:
        version.mkdir(parents=True, exist_ok=True)
    for target in todo:
        target.parent.mkdir(parents=True, exist_ok=True)
    for target in _whole({target: file for target, (_, file) in todo.items()}, pool):
        sync(target)
        del todo[target]
    return todo


# ---- the transfer


@dataclass(frozen=True)
class Part:
    """A range of one file, the unit of reading."""

    key: str
    target: Path
    file: File
    start: int
    end: int


def _parts(todo: Mapping[Path, tuple[str, File]], part_bytes: int) -> Iterator[Part]:
    for target, (key, file) in todo.items():
        for start in range(0, max(file.bytes, 1), part_bytes):
            yield Part(key, target, file, start, min(start + part_bytes, file.bytes))


def copy_version(
    repository: Repository,
    manifest: Manifest,
    directory: Path,
    pool: ThreadPoolExecutor,
    connections: int,
    part_bytes: int,
    progress: Progress,
) -> None:
    """Write the files of one version into a directory that is not there yet, each verified."""
    key = f"{manifest.model.name}/{manifest.model.version}"
    todo = {directory / file.path: (f"{key}/{file.path}", file) for file in manifest.files}
    # Made even when no file is in it: an ensemble's version is an empty directory.
    for parent in {directory / str(manifest.model.version), *(target.parent for target in todo)}:
        parent.mkdir(parents=True, exist_ok=True)
    _transfer(repository, _parts(todo, part_bytes), pool, connections, progress)


def _transfer(
    repository: Repository, parts: Iterable[Part], pool: ThreadPoolExecutor, connections: int, progress: Progress
) -> None:
    """Read parts in parallel, each straight into its place; hash them here, in their order, and judge each file."""

    def read(part: Part) -> bytes:
        data = repository.read(part.key, part.start, part.end, part.file.bytes)
        with part.target.open("r+b") as out:
            out.seek(part.start)
            out.write(data)
        return data

    under_way: deque[tuple[Part, Future[bytes]]] = deque()
    digest = hashlib.sha256()

    def finish() -> None:
        nonlocal digest
        part, future = under_way.popleft()
        data = future.result()
        if part.start == 0:
            digest = hashlib.sha256()
        digest.update(data)
        progress.add(len(data))
        if part.end == part.file.bytes:
            if digest.hexdigest() != part.file.sha256:
                raise VerificationFailed(
                    f"{repository.url}/{part.key}: its sha256 is {digest.hexdigest()}, "
                    f"the manifest says {part.file.sha256}"
                )
            sync(part.target)

    try:
        for part in parts:
            if part.start == 0:
                # Emptied before any part of it is written: parts arrive in no order.
                part.target.write_bytes(b"")
            under_way.append((part, pool.submit(read, part)))
            if len(under_way) >= connections:
                finish()
        while under_way:
            finish()
    finally:
        for _, future in under_way:
            future.cancel()


# ---- the disk


def _put_in_place(destination: Path, name: str) -> None:
    """Rename a verified model to its place. One that was there, and differs, is set aside and goes with the staging."""
    target = destination / name
    if target.exists() or target.is_symlink():
        aside = destination / STAGING / f".{name}.old"
        shutil.rmtree(aside, ignore_errors=True)
        target.rename(aside)
    (destination / STAGING / name).rename(target)
    sync(destination)


@contextmanager
def _alone(destination: Path) -> Iterator[None]:
    """Make the destination and hold it: two fetches into one directory would take each other's files away.

    The lock is the kernel's, on the directory itself, so nothing of it is left when a fetch is killed.
    """
    with on_disk(destination):
        destination.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(destination, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DiskFailed(f"{destination}: another fetch is writing to it") from None
        yield
    finally:
        os.close(descriptor)
