"""The client for programs without asyncio: the same, on an event loop in a thread that all such clients share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

from workloads.serving.client.asynchronous import PROBE_S, AsyncClient, Counts
from workloads.serving.client.messages import Answer
from workloads.serving.client.policy import Policy

T = TypeVar("T")


class _Loop:
    """One loop a process: grpc.aio polls for all loops from one place, and complains about more than one of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0

    def get(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            # A forked child has the object, but not the thread.
            if self._loop is None or self._process != os.getpid():
                self._loop, self._process = asyncio.new_event_loop(), os.getpid()
                threading.Thread(target=self._loop.run_forever, name="inference-client", daemon=True).start()
            return self._loop


_LOOP = _Loop()


class Client:
    """As AsyncClient, with methods that wait. Safe to use from several threads, which share its connections.

    with Client(["http://127.0.0.1:8000"]) as client:
        answer = client.infer("mlp", {"x": array})
    """

    def __init__(self, endpoints: Sequence[str], policy: Policy = Policy(), **options: Any) -> None:  # noqa: B008 frozen
        self._client = AsyncClient(endpoints, policy, **options)
        self._loop = _LOOP.get()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def counts(self) -> Counts:
        return self._client.counts

    def close(self) -> None:
        self._wait(self._client.close())

    def infer(self, model: str, inputs: Mapping[str, object], **options: Any) -> Answer:
        """As AsyncClient.infer, with its options."""
        return self._wait(self._client.infer(model, inputs, **options))

    def submit(self, model: str, inputs: Mapping[str, object], **options: Any) -> Future[Answer]:
        """As `infer`, without waiting; cancelling the future cancels the request."""
        return asyncio.run_coroutine_threadsafe(self._client.infer(model, inputs, **options), self._loop)

    def stream(self, model: str, inputs: Mapping[str, object], **options: Any) -> Iterator[Answer]:
        """As AsyncClient.stream, with its options. Leaving the loop cancels the rest."""
        responses = self._client.stream(model, inputs, **options)
        try:
            while (answer := self._wait(anext(responses, None))) is not None:
                yield answer
        finally:
            self._wait(responses.aclose())

    def ready(self, timeout_s: float = PROBE_S) -> dict[str, bool]:
        return self._wait(self._client.ready(timeout_s))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        async def run() -> T:
            return await work

        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C here must not leave the request under way there.
            future.cancel()
            with contextlib.suppress(BaseException):
                work.close()
            raise
