"""Shards on the local disk, shared by all processes of a node: whole and verified or not there, up to a size.

A shard is named by its sha256, so datasets that share one share the file. It is read into `<sha256>.part`, under a
lock that only one process of the node gets, and renamed to `<sha256>.shard` when its checksum is right. Whoever uses it
holds a shared lock on the file itself; what nobody uses goes when room is needed, the least recently opened first. All
locks are the kernel's: nothing of a killed process is left, but for a `.part`, which the next one removes.

Nothing waits for the disk: that took half of the time of a fetch. What a machine that went down had not written would
be there with the right name and size, so a cache that was filled before the last boot is emptied.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

from workloads.data.errors import ArgumentError, Closed, DiskFailed, on_disk

POLL_S = 0.02
"""Seconds between looks at a lock or at the room there is: a lock that one waits for cannot be given up."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Linux; elsewhere each shard is synced instead."""


class ShardCache:
    """A directory with at most `limit_bytes` of shards, None for as many as the disk holds.

    `patience_s`: how long to wait for room while other processes of the node still use what would have to go.
    """

    def __init__(self, directory: Path, limit_bytes: int | None = None, *, patience_s: float = 60.0) -> None:
        if limit_bytes is not None and limit_bytes < 1:
            raise ArgumentError(f"cache limit of {limit_bytes} bytes: expected at least 1, or None for no limit")
        self.directory, self.limit_bytes, self.patience_s = directory, limit_bytes, patience_s
        self._boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
        with on_disk(directory):
            (directory / "locks").mkdir(parents=True, exist_ok=True)
            with _held(directory / ".lock", Event()):
                self._empty_after_boot()

    def _empty_after_boot(self) -> None:
        known = self.directory / ".boot"
        if self._boot and not (known.exists() and known.read_text() == self._boot):
            for path in [*self.directory.glob("*.shard"), *self.directory.glob("*.part")]:
                path.unlink()
            known.write_text(self._boot)

    def open(self, sha256: str, size: int, download: Callable[[int], None], stop: Event) -> int:
        """A descriptor of a shard, which stays in the cache until the descriptor is closed.

        Where it is not there, `download` is to write it into a descriptor, and to raise if it is not what it should be.
        Raises what `download` raises, DiskFailed, and Closed once `stop` is set.
        """
        path = self.directory / f"{sha256}.shard"
        with on_disk(self.directory):
            found = _open(path, size)
            if found is not None:
                return found
            with _held(self.directory / "locks" / sha256, stop):
                # Another process may have fetched it while this one waited.
                found = _open(path, size)
                if found is not None:
                    return found
                # If there is one, somebody changed its size.
                path.unlink(missing_ok=True)
                return self._fetch(sha256, size, download, stop)

    def _fetch(self, sha256: str, size: int, download: Callable[[int], None], stop: Event) -> int:
        part = self.directory / f"{sha256}.part"
        descriptor = self._reserve(part, size, stop)
        try:
            # Held before anybody can see it, so it cannot be removed between the renaming and the first use.
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            download(descriptor)
            if not self._boot:
                os.fsync(descriptor)
            part.rename(self.directory / f"{sha256}.shard")
        except BaseException:
            os.close(descriptor)
            part.unlink(missing_ok=True)
            raise
        return descriptor

    def _reserve(self, part: Path, size: int, stop: Event) -> int:
        """Make the file with its blocks, once there is room: what is under way counts as what is there."""
        given_up = time.monotonic() + self.patience_s
        while True:
            with _held(self.directory / ".lock", stop):
                part.unlink(missing_ok=True)
                used = self._make_room(size)
                if self.limit_bytes is None or used + size <= self.limit_bytes:
                    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
                    try:
                        os.posix_fallocate(descriptor, 0, size)
                    except OSError:
                        os.close(descriptor)
                        part.unlink()
                        raise
                    return descriptor
            if size > self.limit_bytes or time.monotonic() > given_up:
                raise DiskFailed(
                    f"cache {self.directory}: a shard of {size:,} bytes does not fit, {used:,} of at most "
                    f"{self.limit_bytes:,} bytes are in use: raise cache_limit_bytes"
                )
            if stop.wait(POLL_S):
                raise Closed(f"cache {self.directory}: closed")

    def _make_room(self, size: int) -> int:
        """Remove what nobody uses, until `size` fits. Returns the bytes that are left. The caller has the lock."""
        found = []
        for path in [*self.directory.glob("*.shard"), *self.directory.glob("*.part")]:
            # A part that becomes a shard meanwhile may be missed, or seen twice: the limit is soft by that one shard.
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        used = sum(file_size for _, file_size, _ in found)
        for _, file_size, path in sorted(found):
            if path.suffix == ".part":
                gone = _remove_unless_locked(path, self.directory / "locks" / path.stem)
            else:
                full = self.limit_bytes is not None and used + size > self.limit_bytes
                gone = full and _remove_unless_locked(path, path)
            used -= file_size if gone else 0
        return used


def _open(path: Path, size: int) -> int | None:
    """A descriptor of a shard that is there with the right size, held against removal."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # whoever removes it has it for an instant
        status = os.fstat(descriptor)
        if status.st_nlink and status.st_size == size:
            os.utime(descriptor)
            return descriptor
        os.close(descriptor)
        if status.st_nlink:
            return None


def _remove_unless_locked(path: Path, lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR if lock == path else os.O_RDWR | os.O_CREAT, 0o644)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextlib.contextmanager
def _held(path: Path, stop: Event) -> Iterator[None]:
    """Hold the lock on a file, which stays there: removing it could leave two processes with a lock each."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stop.wait(POLL_S):
                    raise Closed(f"{path.parent}: closed") from None
        yield
    finally:
        os.close(descriptor)
