"""A mean of unequal weights, and whether its interval keeps its promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from workloads.monitoring.quality import difference, estimate

numbers = st.lists(st.floats(-100, 100), min_size=2, max_size=50)


@given(numbers)
def test_equal_weights_are_the_plain_mean(values: list[float]) -> None:
    found = estimate(np.array(values), np.full(len(values), 7.0))
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.error == pytest.approx(stats.sem(values), abs=1e-9)
    assert found.count == pytest.approx(len(values))


@given(numbers, st.integers(1, 4))
def test_a_weight_is_so_many_of_the_same(values: list[float], times: int) -> None:
    weights = np.ones(len(values))
    weights[0] = times
    repeated = np.concatenate([np.full(times - 1, values[0]), values])
    assert estimate(np.array(values), weights).mean == pytest.approx(repeated.mean(), abs=1e-9)


def test_none_and_one_tell_nothing() -> None:
    for values in ([], [math.nan], [1.0]):
        assert estimate(np.array(values)).interval(0.9) == (-math.inf, math.inf)


def test_intervals_hold_as_often_as_they_say_under_unequal_rates() -> None:
    """Half of the requests are sampled at a tenth of the others' rate, and are worse; without weights that is lost."""
    random = np.random.default_rng(1)
    held = weightless = 0
    for _ in range(500):
        worse = random.random(2000) < 0.5
        losses = random.exponential(1.0, 2000) + worse
        rates = np.where(worse, 0.05, 0.5)
        kept = random.random(2000) < rates
        low, high = estimate(losses[kept], 1 / rates[kept]).interval(0.9)
        held += low <= 1.5 <= high
        low, high = estimate(losses[kept]).interval(0.9)
        weightless += low <= 1.5 <= high
    assert 0.85 < held / 500 < 0.95
    assert weightless == 0


def test_a_difference_is_welch_s() -> None:
    random = np.random.default_rng(2)
    a, b = random.normal(2, 1, 40), random.normal(1, 3, 25)
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.9)
    assert difference(estimate(a), estimate(b)).interval(0.9) == pytest.approx((expected.low, expected.high))
    assert difference(estimate(a), estimate(b[:1])).interval(0.9) == (-math.inf, math.inf)
