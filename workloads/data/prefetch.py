"""Runs an iterator in a thread, a few items ahead. A thread: no signal reaches it before the process, and nothing is
copied between processes."""

from __future__ import annotations

import contextlib
import queue
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_POLL_S = 0.1


class Prefetcher(Generic[T]):
    """Iterates over `source(stop)`, `depth` items ahead in a thread; what it raises is raised here, in its turn.

    Closed by `close`, when it is collected, or when the interpreter ends: `stop` is set, on which a source that waits
    for something is to give up, and the thread is waited for. The source may not refer to whoever owns this object: it
    could never be collected.
    """

    def __init__(self, source: Callable[[threading.Event], Iterator[T]], depth: int, name: str) -> None:
        self._items: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
        stop = threading.Event()
        self._thread = threading.Thread(target=_run, args=(source, self._items, stop), name=name, daemon=True)
        self._ended: BaseException | None = None
        self._close = weakref.finalize(self, _stop, self._thread, self._items, stop)
        self._thread.start()

    def __iter__(self) -> Prefetcher[T]:
        return self

    def __next__(self) -> T:
        if self._ended is not None:
            raise self._ended
        if not self._close.alive:
            raise ValueError("closed")
        item, error = self._items.get()
        if error is not None:
            self._ended = error
            self._close()
            raise error
        return item  # type: ignore[return-value]

    def close(self) -> None:
        """Stop and wait for the thread. May be called again."""
        self._close()


def _run(source: Callable[[threading.Event], Iterator[Any]], items: queue.Queue[Any], stop: threading.Event) -> None:
    try:
        with contextlib.closing(_generator(source, stop)) as made:
            for item in made:
                if not _put(items, (item, None), stop):
                    return
        _put(items, (None, StopIteration()), stop)
    except BaseException as error:  # noqa: BLE001
        # Whatever it is, the consumer is to have it.
        _put(items, (None, error), stop)


def _generator(source: Callable[[threading.Event], Iterator[T]], stop: threading.Event) -> Generator[T, None, None]:
    yield from source(stop)


def _put(items: queue.Queue[Any], item: Any, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            items.put(item, timeout=_POLL_S)
        except queue.Full:
            continue
        return True
    return False


def _stop(thread: threading.Thread, items: queue.Queue[Any], stop: threading.Event) -> None:
    stop.set()
    while thread.is_alive() and thread is not threading.current_thread():
        # Makes room for a put that waits, rather than to sit out its time.
        while not items.empty():
            items.get_nowait()
        thread.join(_POLL_S / 10)
