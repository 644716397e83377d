"""A baseline is of the same part of the week, or says why it is not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.monitoring.traffic import MONDAY_S
from workloads.monitoring.baseline import DAY_S, HOUR_S, WEEK_S, BaselinePolicy, Window, baseline, same_part, windows
from workloads.monitoring.errors import ArgumentError
from workloads.monitoring.tables import Rows

NOON = Window(MONDAY_S + 4 * WEEK_S + 12 * HOUR_S, MONDAY_S + 4 * WEEK_S + 13 * HOUR_S)


def every(step_s: float, weeks: float) -> Rows:
    """Requests at equal intervals until the window."""
    return Rows({"time": np.arange(NOON.start_s - weeks * WEEK_S, NOON.start_s + DAY_S, step_s)})


def test_the_same_hour_of_the_week() -> None:
    found = baseline(BaselinePolicy(least_rows=100), every(60.0, 4), NOON)
    assert found.season_s == WEEK_S
    assert found.warnings == ()
    assert len(found.rows) == 4 * 60
    assert set(((found.rows["time"] - MONDAY_S) % WEEK_S // HOUR_S).tolist()) == {12}


def test_the_same_hour_of_the_day_where_weeks_are_too_few() -> None:
    found = baseline(BaselinePolicy(least_rows=100), every(60.0, 1.5), NOON)
    assert found.season_s == DAY_S
    assert "a week" in found.warnings[0]
    assert set(((found.rows["time"] - MONDAY_S) % DAY_S // HOUR_S).tolist()) == {12}


def test_all_of_it_where_even_days_are_too_few() -> None:
    found = baseline(BaselinePolicy(least_rows=100), every(3600.0, 2), NOON)
    assert found.season_s is None
    assert len(found.warnings) == 2
    assert len(found.rows) == 14 * 24


def test_too_little_is_told() -> None:
    found = baseline(BaselinePolicy(), every(3600.0, 0.5), NOON)
    assert "in the reference period" in found.warnings[-1]


def test_a_gap_and_the_window_itself_are_not_in_it() -> None:
    policy = BaselinePolicy(gap_s=DAY_S, seasons_s=(), reference_s=WEEK_S)
    found = baseline(policy, every(600.0, 4), NOON).rows["time"]
    assert found.max() < NOON.start_s - DAY_S
    assert found.min() >= NOON.start_s - DAY_S - WEEK_S


@given(
    start=st.integers(0, 10**9),
    length=st.integers(1, 3600),
    season=st.integers(3601, 10**6),
    time=st.integers(0, 10**9),
    periods=st.integers(-50, 50),
)
def test_a_part_repeats_each_season(start: int, length: int, season: int, time: int, periods: int) -> None:
    window = Window(float(start), float(start + length))
    times = np.array([time, time + periods * season, start, start + length], float)
    same = same_part(times, window, float(season))
    assert same[0] == same[1]
    assert same[2]
    assert not same[3]


@given(start=st.floats(0, 1e6), extent=st.floats(0, 1e5), length=st.floats(500, 1e4))
def test_windows_are_whole_aligned_and_without_gaps(start: float, extent: float, length: float) -> None:
    found = windows(start, start + extent, length)
    assert all(each.start_s >= start - 1e-6 and each.end_s <= start + extent + 1e-6 for each in found)
    assert all(a.end_s == b.start_s for a, b in pairwise(found))
    assert len(found) >= extent // length - 1


def test_wrong_arguments() -> None:
    with pytest.raises(ArgumentError, match="end after the start"):
        Window(2.0, 1.0)
    with pytest.raises(ArgumentError, match="reference_s"):
        BaselinePolicy(reference_s=0)
    with pytest.raises(ArgumentError, match="length_s"):
        windows(0, 1, 0)
