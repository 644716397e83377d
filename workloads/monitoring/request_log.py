"""Logs requests without ever keeping one waiting: sampled and queued by who serves, written by a thread.

    with RequestLog(Lake(local(directory)), rate=0.1) as log:
        log.record(Request(id=..., time_s=..., model="chat", version=3, text=..., answer=..., bits_per_byte=...))

What does not fit the queue is dropped and counted. What is queued is written in batches, each once; it is lost if the
process is killed before that, at most `flush_s` of requests unless the lake is away.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from workloads.monitoring.errors import ArgumentError, LakeFailed
from workloads.monitoring.metrics import Metrics
from workloads.monitoring.redaction import redact
from workloads.monitoring.tables import Request, request_row

DROPPED = ("queue_full", "too_much_text", "invalid", "lake_failed", "closed")
"""Why a request that was sampled is not in the lake."""

_logger = logging.getLogger(__name__)


class Target(Protocol):
    def append(self, table: str, rows: Sequence[dict[str, Any]], batch: str) -> bool: ...


def draw(request_id: str) -> float:
    """A number in [0, 1) that depends on the id alone: a request is logged if it is less than the rate.

    So all who see a request agree, and what a lower rate logs is among what a higher one does.
    """
    digest = hashlib.blake2b(request_id.encode(errors="replace"), digest_size=8, person=b"sampling").digest()
    return (int.from_bytes(digest) >> 11) / 2**53


class RequestLog:
    """`record` may be called from any thread, and never blocks, raises or waits for the lake."""

    def __init__(
        self,
        lake: Target,
        *,
        rate: float = 1.0,
        keep_text: bool = False,
        queue: int = 10_000,
        queue_characters: int = 64 * 2**20,
        batch: int = 5_000,
        flush_s: float = 60.0,
        attempts: int = 8,
        metrics: Metrics | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`rate`: share of requests to log. `keep_text`: texts and answers too, redacted, and not only their features.

        At most `queue` requests of together `queue_characters` wait. A batch is written when `batch` are there, or the
        first has waited `flush_s`; `attempts` times, with pauses of up to half a minute between, then it is dropped.
        """
        if not 0 < rate <= 1:
            raise ArgumentError(f"rate {rate!r}: expected a number above 0 and at most 1")
        for name, value in (("queue", queue), ("batch", batch), ("attempts", attempts)):
            if value < 1:
                raise ArgumentError(f"{name} {value!r}: expected a whole number from 1")
        self.rate, self.keep_text = rate, keep_text
        self.dropped: Counter[str] = Counter()
        """By reason (DROPPED)."""
        self.redacted: Counter[str] = Counter()
        """What was taken out of texts, by kind."""
        self._lake, self._metrics, self._sleep = lake, metrics, sleep
        self._limits = (queue, queue_characters, batch, flush_s, attempts)
        self._waiting: deque[tuple[Request, float, float]] = deque()
        self._characters = 0
        self._changed = threading.Condition()
        self._flushing, self._closed, self._busy = 0, False, False
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def record(self, request: Request, rate: float | None = None) -> bool:
        """Whether the request was taken: sampled, and not dropped. `rate` overrides the log's."""
        rate = self.rate if rate is None else rate
        queue, most_characters, batch, _, _ = self._limits
        try:
            drawn = draw(request.id)
            characters = len(request.text) + len(request.answer)
        except (TypeError, AttributeError):
            self._drop("invalid", request.model)
            return False
        if drawn >= rate:
            return False
        with self._changed:
            if self._closed:
                reason = "closed"
            elif len(self._waiting) >= queue:
                reason = "queue_full"
            elif self._characters + characters > most_characters:
                reason = "too_much_text"
            else:
                self._waiting.append((request, rate, drawn))
                self._characters += characters
                if len(self._waiting) in (1, batch):
                    self._changed.notify_all()
                return True
        self._drop(reason, request.model)
        return False

    def flush(self, timeout_s: float | None = 60.0) -> bool:
        """Wait until all that was recorded before is written or dropped; False if that takes longer. None: for ever."""
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)
            finally:
                self._flushing -= 1

    def close(self, timeout_s: float | None = 60.0) -> bool:
        """Take no more, and flush."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        written = self.flush(timeout_s)
        self._thread.join(timeout_s if written else 0)
        return written

    def __enter__(self) -> RequestLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- the thread

    def _run(self) -> None:
        queue, _, batch, flush_s, _ = self._limits
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                self._changed.wait_for(
                    lambda: len(self._waiting) >= min(batch, queue) or self._closed or self._flushing, flush_s
                )
                taken = [self._waiting.popleft() for _ in range(min(batch, len(self._waiting)))]
                self._characters -= sum(len(request.text) + len(request.answer) for request, _, _ in taken)
                self._busy = bool(taken)
                if not taken and self._closed:
                    return
            try:
                self._write(taken)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _write(self, taken: list[tuple[Request, float, float]]) -> None:
        rows = [row for request, rate, drawn in taken if (row := self._row(request, rate, drawn)) is not None]
        name = uuid.uuid4().hex
        for attempt in range(self._limits[4]):
            try:
                self._lake.append("requests", rows, name)
            except LakeFailed as error:
                _logger.warning("%d requests not written yet: %s", len(rows), error)
                if attempt + 1 < self._limits[4]:
                    self._sleep(min(30.0, 0.5 * 2**attempt))
            except (ValueError, TypeError) as error:
                # Not the lake's fault, so trying again would not help; and the thread must go on.
                _logger.error("%d requests are not what the table takes: %s", len(rows), error)
                return self._drop_all(rows, "invalid")
            else:
                for (model, version), count in Counter((row["model"], row["version"]) for row in rows).items():
                    if self._metrics:
                        self._metrics.logged.labels(model, version).inc(count)
                return None
        return self._drop_all(rows, "lake_failed")

    def _drop_all(self, rows: list[dict[str, Any]], reason: str) -> None:
        for row in rows:
            self._drop(reason, row["model"])

    def _row(self, request: Request, rate: float, drawn: float) -> dict[str, Any] | None:
        def clean(text: str) -> str:
            return redact(text, self.redacted)

        try:
            return request_row(request, rate=rate, draw=drawn, redact=clean if self.keep_text else None)
        except (ValueError, TypeError, AttributeError) as error:
            # One that cannot be a row must not take its batch along.
            _logger.warning("a request is not logged: %s", error)
            self._drop("invalid", request.model)
            return None

    def _drop(self, reason: str, model: str) -> None:
        with self._changed:
            self.dropped[reason] += 1
        if self._metrics:
            self._metrics.dropped.labels(model, reason).inc()
