"""A few threads that do what they are given, in its order."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from workloads.data.errors import ArgumentError, Closed


class Workers:
    """At most `most` daemon threads: unlike an executor's, they don't keep a failed run from ending until all is done.

    `close`, and the end of the interpreter, cancel what has not begun and wait a moment for what looks at `stop`.
    """

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
