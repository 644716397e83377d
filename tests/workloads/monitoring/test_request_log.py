"""Serving is never kept waiting; what is not logged is counted, with why; what is logged is there once."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.monitoring.traffic import MONDAY_S, request
from workloads.monitoring.errors import ArgumentError, LakeFailed
from workloads.monitoring.lakehouse import Lake
from workloads.monitoring.metrics import Metrics
from workloads.monitoring.request_log import RequestLog, draw
from workloads.monitoring.tables import Request


class Stub:
    """Takes batches; fails as often as it is told, before or after it has taken one; or waits."""

    def __init__(self, failures: int = 0, *, after: bool = False) -> None:
        self.failures, self.after = failures, after
        self.batches: dict[str, Sequence[dict[str, Any]]] = {}
        self.go = threading.Event()
        self.go.set()

    def append(self, table: str, rows: Sequence[dict[str, Any]], batch: str) -> bool:
        assert table == "requests"
        assert self.go.wait(30)
        failing = self.failures > 0
        self.failures -= failing
        if not failing or self.after:
            self.batches.setdefault(batch, rows)
        if failing:
            raise LakeFailed("planted")
        return True

    @property
    def ids(self) -> list[str]:
        return [row["request_id"] for rows in self.batches.values() for row in rows]


def no_sleep(_: float) -> None: ...


@given(st.text())
def test_a_draw_depends_on_the_id_alone(name: str) -> None:
    assert 0 <= draw(name) < 1
    assert draw(name) == draw(str(name))


def test_what_a_lower_rate_logs_is_among_what_a_higher_one_does() -> None:
    low, high = Stub(), Stub()
    for stub, rate in ((low, 0.1), (high, 0.5)):
        with RequestLog(stub, rate=rate) as log:
            for i in range(4000):
                log.record(request(i, MONDAY_S))
    assert set(low.ids) < set(high.ids)
    assert 0.08 < len(low.ids) / 4000 < 0.12
    assert 0.47 < len(high.ids) / 4000 < 0.53


def test_the_rate_is_written_beside_each() -> None:
    stub = Stub()
    with RequestLog(stub, rate=0.9) as log:
        for i in range(100):
            log.record(request(i, MONDAY_S))
            log.record(request(i, MONDAY_S, seed=1), rate=1.0)
    rates = {row["request_id"][0]: row["sampling_rate"] for rows in stub.batches.values() for row in rows}
    assert rates == {"0": 0.9, "1": 1.0}


def test_a_lake_that_hangs_keeps_nobody_waiting() -> None:
    stub, metrics = Stub(), Metrics()
    stub.go.clear()
    log = RequestLog(stub, queue=100, batch=10, metrics=metrics)
    started = time.monotonic()
    taken = sum(log.record(request(i, MONDAY_S)) for i in range(1000))
    # A thousand records against a lake that would take for ever.
    assert time.monotonic() - started < 5
    assert not log.flush(0.1)
    assert 100 <= taken <= 120
    assert log.dropped == {"queue_full": 1000 - taken}
    stub.go.set()
    assert log.close()
    assert len(stub.ids) == taken
    dropped = {"model": "lm", "reason": "queue_full"}
    assert metrics.registry.get_sample_value("monitoring_requests_dropped_total", dropped) == 1000 - taken
    logged = {"model": "lm", "version": "1"}
    assert metrics.registry.get_sample_value("monitoring_requests_logged_total", logged) == taken


def test_long_texts_are_bounded_together() -> None:
    stub = Stub()
    stub.go.clear()
    log = RequestLog(stub, queue_characters=1000, batch=1)
    taken = [log.record(Request(str(i), MONDAY_S, "lm", 1, "x" * 400)) for i in range(5)]
    stub.go.set()
    log.close()
    assert log.dropped["too_much_text"] == taken.count(False) >= 2


@pytest.mark.parametrize("after", [False, True])
def test_a_batch_that_failed_is_written_once(after: bool) -> None:
    """Also where it was there in spite of the failure."""
    stub = Stub(3, after=after)
    with RequestLog(stub, sleep=no_sleep) as log:
        for i in range(50):
            log.record(request(i, MONDAY_S))
    assert sorted(stub.ids) == sorted(f"0-{i}" for i in range(50))
    assert not log.dropped


def test_a_lake_that_stays_away_costs_the_batch_and_no_more() -> None:
    stub = Stub(4)
    with RequestLog(stub, attempts=4, sleep=no_sleep) as log:
        log.record(request(1, MONDAY_S))
        log.flush()
        log.record(request(2, MONDAY_S))
    assert log.dropped == {"lake_failed": 1}
    assert stub.ids == ["0-2"]


def test_one_that_cannot_be_a_row_does_not_take_its_batch_along() -> None:
    stub = Stub()
    with RequestLog(stub, flush_s=0.5) as log:
        log.record(request(1, MONDAY_S))
        log.record(Request("x", 1e300, "lm", 1, "text"))
        log.record(Request("y", MONDAY_S, "lm", 1, "text", embedding=["a"]))  # type: ignore[list-item]
        log.record(Request("z", MONDAY_S, "lm", 1, None))  # type: ignore[arg-type]
        log.record(Request(7, MONDAY_S, "lm", 1, "text"))  # type: ignore[arg-type]
        log.record(request(2, MONDAY_S))
    assert stub.ids == ["0-1", "0-2"]
    assert log.dropped == {"invalid": 4}


def test_texts_are_kept_only_if_allowed_and_then_redacted() -> None:
    for keep in (False, True):
        stub = Stub()
        with RequestLog(stub, keep_text=keep) as log:
            log.record(Request("a", MONDAY_S, "lm", 1, "I am ann@example.org", answer="call +49 30 1234567"))
        ((row,),) = stub.batches.values()
        assert (row["text"], row["answer"]) == (("I am [email]", "call [phone]") if keep else (None, None))
        assert log.redacted == ({"email": 1, "phone": 1} if keep else {})
        # The features are those of the text itself.
        assert row["text_bytes"] == pytest.approx(3.045, abs=0.001)


def test_after_closing_nothing_is_taken() -> None:
    stub = Stub()
    log = RequestLog(stub)
    assert log.record(request(1, MONDAY_S))
    assert log.close()
    assert not log.record(request(2, MONDAY_S))
    assert log.dropped == {"closed": 1}
    assert stub.ids == ["0-1"]


def test_many_threads_lose_nothing(lake: Lake) -> None:
    with RequestLog(lake, batch=200) as log:

        def serve(thread: int) -> None:
            for i in range(100):
                assert log.record(request(i, MONDAY_S + i, seed=thread))

        threads = [threading.Thread(target=serve, args=(t,)) for t in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(lake.read("requests", "lm", MONDAY_S, MONDAY_S + 100)) == 800


@pytest.mark.parametrize(("name", "value"), [("rate", 0), ("rate", 1.5), ("queue", 0), ("batch", 0), ("attempts", 0)])
def test_wrong_arguments(name: str, value: float) -> None:
    with pytest.raises(ArgumentError, match=name):
        RequestLog(Stub(), **{name: value})
