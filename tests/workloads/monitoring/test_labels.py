"""Labels join in whatever order and number they come, and figures once told stay as they were."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.monitoring.traffic import MONDAY_S, request, rows
from workloads.monitoring.baseline import Window
from workloads.monitoring.labels import joined, losses
from workloads.monitoring.tables import Label, Rows, label_row

WAIT_S = 100.0
WINDOW = Window(MONDAY_S, MONDAY_S + 50)
REQUESTS = rows([request(i, MONDAY_S + i, version=1 + (i >= 30)) for i in range(60)])


def table(labels: list[Label]) -> Rows:
    found = [label_row(label) for label in labels]
    return Rows(
        {
            name: np.array(
                [row[name].timestamp() if name in ("time", "request_time") else row[name] for row in found], kind
            )
            for name, kind in (("request_id", object), ("time", float), ("kind", object), ("value", float))
        }
    )


def label(number: int, after_s: float, value: float = 1.0, kind: str = "bits_per_byte") -> Label:
    return Label(f"0-{number}", MONDAY_S + number, "lm", MONDAY_S + number + after_s, value, kind)


def test_each_version_has_its_loss_and_how_complete_it_is() -> None:
    labels = [label(i, 10, 2.0) for i in range(20)] + [label(i, 10, 3.0) for i in range(30, 60)]
    one, two = joined(REQUESTS, table(labels), WINDOW, wait_s=WAIT_S, now_s=MONDAY_S + 1000)
    assert (one.version, one.requests, one.in_time, one.late, one.loss.mean, one.closed) == (1, 30, 20, 0, 2.0, True)
    # Requests from 50 on are of the next window.
    assert (two.version, two.requests, two.in_time, two.loss.mean) == (2, 20, 20, 3.0)
    assert one.completeness == pytest.approx(2 / 3)


def test_late_labels_are_counted_and_change_nothing() -> None:
    in_time, late = [label(i, 10, 2.0) for i in range(10)], [label(i, WAIT_S + 1, 9.0) for i in range(20)]
    early = joined(REQUESTS, table(in_time), WINDOW, wait_s=WAIT_S, now_s=MONDAY_S + 160)
    found = joined(REQUESTS, table(in_time + late), WINDOW, wait_s=WAIT_S, now_s=MONDAY_S + 1000)
    assert found[0].loss == early[0].loss
    assert (found[0].in_time, found[0].late) == (10, 10)


def test_what_is_not_known_yet_is_left_alone() -> None:
    labels = table([label(i, 10 + i) for i in range(30)])
    seen = [joined(REQUESTS, labels, WINDOW, wait_s=WAIT_S, now_s=MONDAY_S + after)[0] for after in (0, 20, 40, 200)]
    assert [each.in_time for each in seen] == [0, 6, 16, 30]
    assert [each.closed for each in seen] == [False, False, False, True]


def test_other_requests_and_other_kinds_are_left_alone() -> None:
    labels = table([label(99, 10), label(1, 10, 5.0, "rating"), Label("other", MONDAY_S, "lm", MONDAY_S + 1, 3.0)])
    (one, _) = joined(REQUESTS, labels, WINDOW, wait_s=WAIT_S, now_s=MONDAY_S + 1000)
    assert (one.in_time, one.late) == (0, 0)
    assert math.isnan(one.loss.mean)


many = st.lists(
    st.builds(label, st.integers(0, 59), st.sampled_from([1.0, 50.0, 99.0, 101.0]), st.sampled_from([1.0, 2.0])),
    min_size=1,
    max_size=40,
)


@given(many, st.randoms())
def test_order_and_repetition_do_not_matter(labels: list[Label], random: object) -> None:
    again = labels + labels[: len(labels) // 2]
    random.shuffle(again)  # type: ignore[attr-defined]
    now = MONDAY_S + 1000
    first = losses(REQUESTS, table(labels), wait_s=WAIT_S, now_s=now)
    np.testing.assert_array_equal(first, losses(REQUESTS, table(again), wait_s=WAIT_S, now_s=now))
    for i in range(60):
        in_time = [each for each in labels if each.request_id == f"0-{i}" and each.time_s <= MONDAY_S + i + WAIT_S]
        latest = max(in_time, key=lambda each: (each.time_s, each.value), default=None)
        assert first[i] == latest.value if latest else math.isnan(first[i])


def test_labels_of_harder_requests_alone_are_warned_about() -> None:
    requests = rows([request(i, MONDAY_S + i / 100, shift="harder" if i % 4 == 0 else "") for i in range(400)])
    fair = [label(i, 50 - i) for i in range(0, 400, 3)]
    hard = [label(i, 50 - i) for i in range(0, 400, 4)]
    (found,) = joined(requests, table(fair), WINDOW, wait_s=WAIT_S, now_s=MONDAY_S + 1000)
    assert found.warning == ""
    (found,) = joined(requests, table(hard), WINDOW, wait_s=WAIT_S, now_s=MONDAY_S + 1000)
    assert "harder" in found.warning
