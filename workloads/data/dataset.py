"""A dataset that is open: shards mapped into memory, each verified once, from a directory or from an object store."""

from __future__ import annotations

import hashlib
import mmap
import os
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from workloads.data.cache import ShardCache
from workloads.data.errors import ArgumentError, BadShard, Closed, DataError, NotADataset, StoreFailed, on_disk
from workloads.data.manifest import LARGEST, NAME, Manifest, Shard
from workloads.data.tokenizer import Tokenizer, load_tokenizer
from workloads.object_store import Missing, ObjectStore, Unreachable

CHUNK = 2**22
"""Bytes hashed and written at a time."""
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
    text = str(url)
    local = _local(text)
    if local is None and cache is None:
        raise ArgumentError(f"{text}: a dataset in an object store needs cache=, a directory on a local disk")
    kept = None if cache is None else ShardCache(Path(cache), cache_limit_bytes)
    if local is not None:
        return TokenDataset(_Directory(local), kept, connections)
    try:
        store = ObjectStore(text)
    except ValueError as error:
        raise ArgumentError(f"dataset {text!r}: {error}") from None
    return TokenDataset(_Bucket(store), kept, connections)


def _local(url: str) -> Path | None:
    if "://" not in url:
        return Path(url)
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" and not parts.netloc else None


class TokenDataset:
    """Shards of tokens. Safe to use from several threads.

    A shard is mapped while somebody has asked for it: each `start` or `acquire` goes with one `release`.
    """

    def __init__(self, source: _Directory | _Bucket, cache: ShardCache | None, connections: int) -> None:
        self.url = source.url
        self.cache = cache
        self.manifest = Manifest.from_json(source.read(NAME), source.place(NAME))
        self.fingerprint = self.manifest.fingerprint
        self.vocabulary = self.manifest.tokenizer.vocabulary
        self._source = source
        self._lock = threading.Lock()
        self._asked: dict[int, int] = {}
        self._opened: dict[int, Future[_Mapped]] = {}
        self._verified: dict[int, tuple[int, ...]] = {}
        self._workers = _Workers(connections)

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
            return future.result().tokens
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
        """Give a shard back. The last one to do so lets it go: it may then be removed from the cache."""
        with self._lock:
            self._asked[index] -= 1
            if self._asked[index]:
                return
            del self._asked[index]
            future = self._opened.pop(index)
        if not future.cancel():
            future.add_done_callback(_let_go)

    def close(self) -> None:
        """Give up what is under way and let go of all shards. Arrays that are still in use stay valid."""
        self._workers.close()
        with self._lock:
            opened, self._opened, self._asked = list(self._opened.values()), {}, {}
        for future in opened:
            if not future.cancel():
                future.add_done_callback(_let_go)

    def __enter__(self) -> TokenDataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, index: int) -> _Mapped:
        shard = self.manifest.shards[index]
        size = self.manifest.size(shard)
        stop = self._workers.stop
        if self.cache is not None:
            descriptor = self.cache.open(shard.sha256, size, lambda out: self._copy(shard, size, out), stop)
        else:
            assert isinstance(self._source, _Directory)
            descriptor = self._in_place(index, shard, size, self._source)
        return _Mapped(descriptor, size, np.dtype(self.manifest.dtype).newbyteorder("<"))

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

    def _in_place(self, index: int, shard: Shard, size: int, source: _Directory) -> int:
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


class _Mapped:
    """A mapped file. Letting go closes the descriptor, and with it the lock; the memory goes with the last array."""

    def __init__(self, descriptor: int, size: int, dtype: np.dtype[Any]) -> None:
        self.descriptor = descriptor
        mapped = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
        # Rows are gathered from all over it: reading ahead would fetch what nobody asked for.
        mapped.madvise(mmap.MADV_RANDOM)
        self.tokens = np.frombuffer(mapped, dtype)


def _let_go(future: Future[_Mapped]) -> None:
    if not future.cancelled() and future.exception() is None:
        mapped = future.result()
        descriptor, mapped.descriptor = mapped.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


# ---- where shards are


@dataclass(frozen=True)
class _Directory:
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

    def stream(self, name: str, size: int):
        descriptor = self.open(name, size)
        try:
            at, total = 0, os.fstat(descriptor).st_size
            while chunk := os.pread(descriptor, CHUNK, at):
                yield chunk, total
                at += len(chunk)
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class _Bucket:
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
        return data

    def stream(self, name: str, size: int):
        try:
            yield from self.store.stream(name, CHUNK)
        except Missing:
            raise BadShard(self.place(name), f"{size:,} bytes", "no such object") from None
        except Unreachable as error:
            raise StoreFailed(str(error)) from None


def _no_manifest(place: str, hint: str) -> NotADataset:
    return NotADataset(f"{place}: not there; a dataset is a directory with manifest.json in it{hint}")


class _Workers:
    """A few threads that open shards. Daemons: a failing run does not wait for the downloads under way, but for the
    chunks that they are at."""

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ArgumentError(f"{most} connections: expected at least 1")
        self.stop = threading.Event()
        self._most = most
        self._todo: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.close = weakref.finalize(self, _end, self.stop, self._todo, self._threads)

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        if self.stop.is_set():
            future.set_exception(Closed("the dataset is closed"))
            return future
        if len(self._threads) < self._most:
            thread = threading.Thread(target=_work, args=(self._todo,), name="shards", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._todo.put((future, work))
        return future


def _work(todo: queue.SimpleQueue[Any]) -> None:
    while (item := todo.get()) is not None:
        future, work = item
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001
                # Whoever waits for it is to have it.
                future.set_exception(error)
        del item, future, work


def _end(stop: threading.Event, todo: queue.SimpleQueue[Any], threads: list[threading.Thread]) -> None:
    stop.set()
    while not todo.empty():
        item = todo.get()
        if item is not None:
            item[0].cancel()
    for _ in threads:
        todo.put(None)
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(timeout=5)
