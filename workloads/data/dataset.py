"""A dataset that is open: shards mapped into memory, each verified once, from a directory or from an object store."""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from concurrent.futures import CancelledError, Future, wait
from functools import cached_property
from pathlib import Path

import numpy as np

from workloads.data.cache import ShardCache
from workloads.data.errors import ArgumentError, BadShard, Closed
from workloads.data.manifest import NAME, Manifest, Shard
from workloads.data.sources import CHUNK, Bucket, Directory, source
from workloads.data.tokenizer import Tokenizer, load_tokenizer
from workloads.data.workers import Workers

CONNECTIONS = 8
"""Shards that are read at once. One connection to an object store gives about 100 MB/s; a node takes several."""


def open_dataset(
    url: str | Path, *, cache: Path | None = None, cache_limit_bytes: int | None = None, connections: int = CONNECTIONS
) -> TokenDataset:
    """A dataset at a path or `file://`, `s3://`, `gs://` or `az://` URL: the directory that holds manifest.json.

    With `cache`, shards are copied there, which all processes of a node may share, up to `cache_limit_bytes` (None: as
    much as the disk holds). Object stores need one; files are otherwise mapped where they are.
    Raises ArgumentError, NotADataset, DiskFailed or StoreFailed.
    """
    found = source(str(url))
    if cache is None and not isinstance(found, Directory):
        raise ArgumentError(f"{url}: a dataset in an object store needs cache=, a directory on a local disk")
    kept = None if cache is None else ShardCache(Path(cache), cache_limit_bytes)
    return TokenDataset(found, kept, connections)


class TokenDataset:
    """Shards of tokens. Safe to use from several threads.

    A shard is mapped while somebody has asked for it: each `start` or `acquire` goes with one `release`.
    """

    def __init__(self, source: Directory | Bucket, cache: ShardCache | None, connections: int) -> None:
        self.url = source.url
        self.cache = cache
        self.manifest = Manifest.from_json(source.read(NAME), source.place(NAME))
        self.fingerprint = self.manifest.fingerprint
        self.vocabulary = self.manifest.tokenizer.vocabulary
        self._source = source
        self._lock = threading.Lock()
        self._asked: dict[int, int] = {}
        self._opened: dict[int, Future[np.ndarray]] = {}
        self._verified: dict[int, tuple[int, ...]] = {}
        self._workers = Workers(connections)

    def __len__(self) -> int:
        return self.manifest.tokens

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return load_tokenizer(self.manifest.tokenizer, self._source.read)

    def start(self, index: int) -> None:
        """Begin to have a shard: fetched, verified and mapped by a thread. `tokens` waits for it."""
        with self._lock:
            self._asked[index] = self._asked.get(index, 0) + 1
            if index not in self._opened:
                self._opened[index] = self._workers.submit(lambda: self._open(index))

    def tokens(self, index: int, stop: threading.Event | None = None) -> np.ndarray:
        """A shard that was started: its tokens, read-only, uint16 or uint32 of shape (tokens,).

        Raises BadShard where it is missing, truncated or not what the manifest says; StoreFailed, DiskFailed; Closed
        when the dataset is closed or `stop` is set meanwhile.
        """
        with self._lock:
            future = self._opened[index]
            failed = future.exception() if future.done() and not future.cancelled() else None
            if failed is not None and not isinstance(failed, BadShard):
                # It failed while nobody needed it; what is needed now is tried again.
                future = self._opened[index] = self._workers.submit(lambda: self._open(index))
        while not wait([future], timeout=0.05).done:
            if stop is not None and stop.is_set():
                raise Closed(f"{self.url}: no longer wanted")
        try:
            return future.result()
        except CancelledError:
            raise Closed(f"{self.url}: closed") from None

    def acquire(self, index: int) -> np.ndarray:
        """`start` and `tokens`; released already if it raises."""
        self.start(index)
        try:
            return self.tokens(index)
        except BaseException:
            self.release(index)
            raise

    def release(self, index: int) -> None:
        """Give a shard back. Once all have, and no array of it is in use, it may be removed from the cache."""
        with self._lock:
            self._asked[index] -= 1
            if not self._asked[index]:
                del self._asked[index]
                self._opened.pop(index).cancel()

    def close(self) -> None:
        """Give up what is under way. Arrays that are still in use stay valid. Close loaders first."""
        self._workers.close()
        with self._lock:
            self._opened, self._asked = {}, {}

    def __enter__(self) -> TokenDataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, index: int) -> np.ndarray:
        shard = self.manifest.shards[index]
        size = self.manifest.size(shard)
        stop = self._workers.stop
        if self.cache is not None:
            descriptor = self.cache.open(shard.sha256, size, lambda out: self._copy(shard, size, out), stop)
        else:
            assert isinstance(self._source, Directory)
            descriptor = self._in_place(index, shard, size, self._source)
        try:
            return _mapped(descriptor, size, self.manifest.dtype)
        finally:
            os.close(descriptor)

    def _copy(self, shard: Shard, size: int, out: int) -> None:
        """Write a shard into a descriptor and verify it. One that arrives damaged is read once more: it may have been
        the way, and not the store."""
        place = self._source.place(shard.path)
        for attempt in (1, 2):
            digest, written = hashlib.sha256(), 0
            for chunk, found in self._source.stream(shard.path, size):
                if self._workers.stop.is_set():
                    raise Closed(f"{self.url}: closed")
                if found != size:
                    raise BadShard(place, f"{size:,} bytes", f"{found:,}")
                digest.update(chunk)
                os.pwrite(out, chunk, written)
                written += len(chunk)
            if written == size and digest.hexdigest() == shard.sha256:
                return
            if attempt == 2:
                _refuse(place, shard, size, written, digest.hexdigest())

    def _in_place(self, index: int, shard: Shard, size: int, source: Directory) -> int:
        """A descriptor of a file where it is. It is read whole once, and again only after it was changed."""
        descriptor = source.open(shard.path, size)
        try:
            status = os.fstat(descriptor)
            now = (status.st_ino, status.st_size, status.st_mtime_ns)
            if status.st_size != size:
                raise BadShard(source.place(shard.path), f"{size:,} bytes", f"{status.st_size:,}")
            if self._verified.get(index) != now:
                digest = hashlib.sha256()
                at = 0
                while chunk := os.pread(descriptor, CHUNK, at):
                    if self._workers.stop.is_set():
                        raise Closed(f"{self.url}: closed")
                    digest.update(chunk)
                    at += len(chunk)
                if digest.hexdigest() != shard.sha256:
                    _refuse(source.place(shard.path), shard, size, at, digest.hexdigest())
                self._verified[index] = now
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _refuse(place: str, shard: Shard, size: int, found: int, digest: str) -> None:
    if found != size:
        raise BadShard(place, f"{size:,} bytes", f"{found:,}")
    raise BadShard(place, f"sha256 {shard.sha256}", digest)


def _mapped(descriptor: int, size: int, dtype: str) -> np.ndarray:
    """The file's tokens. The mapping has a descriptor of its own, with the same lock: both go with the last array."""
    mapped = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
    # Rows are gathered from all over it: reading ahead would fetch what nobody asked for.
    mapped.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(mapped, np.dtype(dtype).newbyteorder("<"))
