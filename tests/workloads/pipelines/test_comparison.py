"""The comparison: who is the same passes, who is worse anywhere does not, and the bound keeps its promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.pipelines.comparison import OVERALL, Scores, difference, judge, upper

SETTINGS = {"margin": 0.01, "alpha": 0.05, "least": 5}


def scores(seed: int, count: int = 60, shift: float = 0.0, noise: float = 0.02) -> Scores:
    """`shift`: bits per byte by which the candidate is worse; `noise`: how much that differs between documents."""
    draw = np.random.default_rng(seed)
    sizes = np.ceil(draw.lognormal(6, 1, count))
    champion = sizes * draw.normal(2.0, 0.3, count)
    return Scores(champion + sizes * draw.normal(shift, noise, count), champion, sizes)


@given(st.integers(0, 10**6), st.integers(10, 80))
def test_a_model_is_no_worse_than_itself(seed, count):
    made = scores(seed, count, noise=0.0)
    verdict = judge(made, {"a": range(count // 2), "b": range(count // 2, count)}, **SETTINGS)
    assert verdict.accepted
    assert {one.upper for one in verdict.comparisons} == {0.0}


@given(st.integers(0, 10**6))
def test_better_passes_and_worse_does_not(seed):
    assert judge(scores(seed, shift=-0.05), {}, **SETTINGS).accepted
    verdict = judge(scores(seed, shift=0.05), {}, **SETTINGS)
    assert not verdict.accepted
    assert verdict.reasons[0].startswith("overall: ")


@given(st.integers(0, 10**6))
def test_the_order_of_documents_does_not_matter_and_worse_documents_never_help(seed):
    made = scores(seed)
    order = np.random.default_rng(seed + 1).permutation(len(made.bytes))
    assert difference(made.of(order)) == pytest.approx(difference(made))
    worse = Scores(made.candidate + made.bytes * 0.03, made.champion, made.bytes)
    bounds = [upper(one, 0.05) for one in (made, worse)]
    assert bounds[1] == pytest.approx(bounds[0] + 0.03)
    assert bounds[0] >= difference(made)


def test_a_slice_that_is_worse_stops_a_model_that_is_better_on_the_whole():
    better, worse = scores(1, 300, -0.1), scores(2, 20, 0.1)
    joined = Scores(
        *(np.concatenate([getattr(better, n), getattr(worse, n)]) for n in ("candidate", "champion", "bytes"))
    )
    verdict = judge(joined, {"many": range(300), "few": range(300, 320)}, **SETTINGS)
    assert {one.slice: one.passed for one in verdict.comparisons} == {OVERALL: True, "many": True, "few": False}
    assert not verdict.accepted
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith("few: ")


def test_a_little_worse_is_borne_on_a_slice_and_never_on_the_whole():
    made = scores(3, 400, 0.01, noise=0.005)
    verdict = judge(made, {"all": range(400)}, **SETTINGS)
    assert {one.slice: one.passed for one in verdict.comparisons} == {OVERALL: False, "all": True}


def test_a_slice_of_few_documents_is_told_of_and_not_judged():
    made = scores(4, 100, -0.1)
    small = np.argsort(made.bytes)[:3]
    made.candidate[small] += made.bytes[small]
    verdict = judge(made, {"three": small}, **SETTINGS)
    assert verdict.accepted
    assert [(one.judged, one.passed) for one in verdict.comparisons] == [(True, True), (False, True)]
    assert "not judged" in str(verdict.comparisons[1])


def test_what_is_no_number_does_not_pass():
    made = scores(5)
    made.candidate[7] = math.nan
    assert not judge(made, {}, **SETTINGS).accepted
    assert upper(made.of([1]), 0.05) == math.inf


@pytest.mark.parametrize("count", [8, 40])
def test_a_model_that_is_just_too_bad_passes_as_seldom_as_promised(count):
    """At a true difference of 0 the bound is below 0 in at most alpha of the cases; here 5 %, give or take chance."""
    alpha, trials = 0.05, 4000
    passed = sum(upper(scores(seed, count), alpha) < 0 for seed in range(trials))
    # Of the binomial: three deviations.
    assert passed <= trials * alpha + 3 * math.sqrt(trials * alpha * (1 - alpha))
    assert passed > 0
