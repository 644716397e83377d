"""Holds the tests to their promise: a fair bet at most, whatever is counted; and what is worse is found soon."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from workloads.rollout import harm, sample_ratio, sequential

SMALL = st.integers(1, 8)
ALPHA = st.sampled_from([0.5, 0.05, 0.01])


def capital(weights: Any, spread: list[float]) -> Any:
    """Log capital of a bettor who has been at it for a while."""
    return np.log(weights) + np.array(spread[: len(weights)])


SPREAD = st.lists(st.floats(-6, 2), min_size=7, max_size=7)


# ---- fairness, by going through everything that can happen


@given(SMALL, SMALL, st.data(), SPREAD, ALPHA, st.sampled_from([0.0, 0.2, 1.0]))
def test_given_the_total_a_bet_on_one_arm_is_fair(
    requests: int, other: int, data: st.DataObject, spread: list[float], alpha: float, odds: float
) -> None:
    total = data.draw(st.integers(0, requests + other))
    before = capital(sequential.ODDS_WEIGHTS, spread)
    before -= max(0.0, sequential.log_e_value(before) + math.log(alpha))
    expected, chances = 0.0, 0.0
    for hits in range(max(0, total - other), min(total, requests) + 1):
        # Fisher's noncentral hypergeometric chances; odds below 1 are of a candidate that is better.
        chance = math.comb(requests, hits) * math.comb(other, total - hits) * odds**hits
        counts = map(np.array, (hits, requests, total - hits, other))
        after = sequential.log_e_value(sequential.conditional(before, *counts, alpha))
        assert after <= -math.log(alpha) + 1e-9
        expected, chances = expected + chance * math.exp(after), chances + chance
    whole = math.exp(sequential.log_e_value(before))
    if chances:
        assert expected / chances <= whole * (1 + 1e-9)
    if odds == 1 and whole * alpha < 0.999:
        # And nothing is given away before the end is reached.
        assert expected / chances >= whole * (1 - 1e-6)


def test_overshoot_is_bet_again() -> None:
    """One error of one, in one of two arms: with alpha 50 % it would pay 1.1 to 1.8 times; doubling is fair."""
    before = sequential.start(sequential.ODDS_WEIGHTS)
    one, none = np.array(1), np.array(0)
    after = sequential.log_e_value(sequential.conditional(before, one, one, none, one, 0.9))
    assert math.exp(after) == pytest.approx(1 / 0.9)
    lost = sequential.log_e_value(sequential.conditional(before, none, one, one, one, 0.9))
    assert math.exp(lost) == pytest.approx(2 - 1 / 0.9)


PERCENT = st.integers(0, 50).map(lambda percent: percent / 100)


@settings(max_examples=40)
@given(
    st.integers(1, 5), st.integers(1, 5), PERCENT, PERCENT, st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.4]), PERCENT, SPREAD
)
def test_nobody_wins_by_betting_on_less_than_the_margin_where_it_is_not(
    requests: int, others: int, base: float, margin: float, beyond: float, believed: float, spread: list[float]
) -> None:
    margin = (margin + 0.01) / 2
    ours = min(1.0, base + margin + beyond)
    before = capital(sequential.FRACTION_WEIGHTS, spread)
    expected = 0.0
    for hits, base_hits in product(range(requests + 1), range(others + 1)):
        chance = stats.binom.pmf(hits, requests, ours) * stats.binom.pmf(base_hits, others, base)
        counts = map(np.array, (hits, requests, base_hits, others))
        after = sequential.difference(before, *counts, believed, margin)
        expected += chance * math.exp(sequential.log_e_value(after))
    assert expected <= math.exp(sequential.log_e_value(before)) * (1 + 1e-6)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6), SPREAD)
def test_signs_alone_win_nothing(sizes: list[float], spread: list[float]) -> None:
    """All signs are equally likely under symmetry, whatever the sizes are."""
    before = capital(sequential.EFFECT_WEIGHTS, spread)
    ends = []
    for signs in product((-1, 1), repeat=len(sizes)):
        after, squares = before, 1.0
        for index, (sign, size) in enumerate(zip(signs, sizes, strict=True)):
            after = sequential.symmetric(after, sign * size, math.sqrt(squares / (index + 1)))
            squares += size**2
        ends.append(math.exp(sequential.log_e_value(after)))
    assert np.mean(ends) <= math.exp(sequential.log_e_value(before)) * (1 + 1e-9)


@given(SMALL, st.floats(0.01, 0.9), SPREAD)
def test_a_bet_against_a_rate_is_fair_at_that_rate(requests: int, rate: float, spread: list[float]) -> None:
    before = capital(sequential.ODDS_WEIGHTS, spread)
    expected = sum(
        stats.binom.pmf(hits, requests, rate)
        * math.exp(sequential.log_e_value(sequential.against_rate(before, np.array(hits), np.array(requests), rate)))
        for hits in range(requests + 1)
    )
    assert expected == pytest.approx(math.exp(sequential.log_e_value(before)))


@given(SPREAD, st.floats(0, 1e6))
def test_moving_money_between_bets_makes_none(spread: list[float], information: float) -> None:
    before = capital(sequential.ODDS_WEIGHTS, spread)
    after = sequential.rebalance(before, sequential.ODDS_WEIGHTS, np.array(information))
    assert sequential.log_e_value(after) == pytest.approx(sequential.log_e_value(before), abs=1e-9)


def test_an_arm_that_was_not_asked_tells_nothing() -> None:
    before = sequential.start(sequential.ODDS_WEIGHTS)
    for counts in ((0, 0, 3, 100), (3, 100, 0, 0), (0, 100, 0, 100)):
        after = sequential.conditional(before, *map(np.array, counts), 0.05)
        assert sequential.log_e_value(after) == pytest.approx(0.0, abs=1e-9)


def test_many_rollouts_at_once_are_as_each_alone() -> None:
    rng = np.random.default_rng(1)
    requests, others = rng.integers(1, 50, 20), rng.integers(1, 50, 20)
    hits, base_hits = rng.binomial(requests, 0.3), rng.binomial(others, 0.1)
    counts = (hits, requests, base_hits, others)
    together = sequential.conditional(sequential.start(sequential.ODDS_WEIGHTS, 20), *counts, 0.05)
    alone = sequential.start(sequential.ODDS_WEIGHTS)
    for index in range(20):
        each = sequential.conditional(alone, *(np.array(count[index]) for count in counts), 0.05)
        np.testing.assert_allclose(each, together[index], rtol=1e-9)
    proofs = sequential.difference(sequential.start(sequential.FRACTION_WEIGHTS, 20), *counts, 0.1, 0.2)
    one = sequential.difference(
        sequential.start(sequential.FRACTION_WEIGHTS), *(np.array(count[7]) for count in counts), 0.1, 0.2
    )
    np.testing.assert_allclose(one, proofs[7])


def test_a_look_at_a_great_many_requests_stays_finite() -> None:
    before = sequential.start(sequential.ODDS_WEIGHTS)
    for hits, enough in ((16_500, True), (15_000, False)):
        counts = map(np.array, (hits, 300_000, 300_000 - hits, 5_700_000))
        after = sequential.conditional(before, *counts, 0.01)
        assert np.isfinite(after).all()
        assert bool(sequential.log_e_value(after) >= math.log(100) - 1e-9) is enough


# ---- how often, and how soon


def looks(rollouts: int, rate: float, alpha: float, most: int, healthy: int = 0) -> Any:
    """At which look each rollout raises the alarm on errors: 60 requests to the candidate in each, 5 % of all, and 1 %
    of errors before the rate becomes what it is."""
    rng = np.random.default_rng(1)
    known, found = sequential.start(sequential.ODDS_WEIGHTS, rollouts), np.full(rollouts, np.inf)
    requests, others = np.full(rollouts, 60), np.full(rollouts, 1140)
    for look in range(1 - healthy, most + 1):
        now = rate if look > 0 else 0.01
        hits, base_hits = rng.binomial(requests, now), rng.binomial(others, 0.01)
        known = sequential.conditional(known, hits, requests, base_hits, others, alpha)
        found[np.isinf(found) & (sequential.log_e_value(known) >= -math.log(alpha) - 1e-9)] = look
    return found


def test_healthy_candidates_pass_though_every_request_is_looked_at() -> None:
    """Six hundred rollouts, 6,000 requests to either arm in any order. (The benchmark has ten thousand rollouts.)"""
    rng, rollouts, alphas = np.random.default_rng(3), 600, (0.05, 0.01)
    capitals = {alpha: sequential.start(sequential.ODDS_WEIGHTS, rollouts) for alpha in alphas}
    caught = {alpha: np.zeros(rollouts, bool) for alpha in alphas}
    waiting = np.zeros((4, rollouts), np.int64)
    for _ in range(6000):
        arm, error = rng.random(rollouts) < 0.5, rng.random(rollouts) < 0.01
        waiting += np.array([arm & error, arm, ~arm & error, ~arm])
        compared = (waiting[1] > 0) & (waiting[3] > 0)
        some = np.flatnonzero(compared & (waiting[0] + waiting[2] > 0))
        if len(some):
            for alpha, known in capitals.items():
                known[some] = sequential.conditional(known[some], *waiting[:, some], alpha)
                caught[alpha][some] |= sequential.log_e_value(known[some]) >= -math.log(alpha) - 1e-9
        waiting[:, compared] = 0
    for alpha in alphas:
        assert caught[alpha].mean() <= alpha
    assert caught[0.05].any()


def test_twice_the_errors_are_found_after_twelve_looks_and_five_times_after_two() -> None:
    assert np.median(looks(2000, 0.02, 0.05, 15)) <= 12
    assert np.median(looks(2000, 0.05, 0.05, 4)) <= 2


def test_harm_that_begins_late_is_found_too() -> None:
    """After 150 healthy looks, in which the bet on twice the errors alone would have lost 33 of its logarithm."""
    found = looks(200, 0.04, 0.05, 40, healthy=150)
    late = found[found > 0]
    assert np.median(late) <= 15


def test_heavy_tails_do_not_raise_the_quality_alarm() -> None:
    rng, rollouts = np.random.default_rng(4), 1000
    values = rng.standard_t(1.5, (rollouts, 400))
    known, squares = sequential.start(sequential.EFFECT_WEIGHTS, rollouts), np.zeros(rollouts)
    reached = np.zeros(rollouts, bool)
    for index in range(400):
        if index >= 10:
            known = sequential.symmetric(known, values[:, index], np.sqrt(squares / index))
            reached |= sequential.log_e_value(known) >= math.log(20)
        squares += values[:, index] ** 2
    assert reached.mean() <= 0.05


# ---- sample ratio


@given(st.floats(0.01, 0.99), st.integers(1, 12))
def test_the_split_bets_fairly(share: float, requests: int) -> None:
    begun = sample_ratio.learn(sample_ratio.begin(), share, 3, 4)
    expected = 0.0
    for candidate in range(requests + 1):
        split = sample_ratio.learn(begun, share, requests - candidate, candidate)
        expected += stats.binom.pmf(candidate, requests, share) * math.exp(sample_ratio.log_e_value(split))
    assert expected == pytest.approx(1.0)


def test_a_broken_split_is_found_and_another_share_begins_anew() -> None:
    split = sample_ratio.begin()
    for share in (0.05, 0.25):
        # Requests that were still on their way as the old weights had it.
        split = sample_ratio.learn(split, share, 1200, 0)
        for _ in range(20):
            split = sample_ratio.learn(split, share, round(1200 * (1 - share)), round(1200 * share))
    assert sample_ratio.log_e_value(split) < 0
    # A tenth more than intended.
    for _ in range(20):
        split = sample_ratio.learn(split, 0.25, 870, 330)
    assert sample_ratio.log_e_value(split) > math.log(1000)
    kept = sample_ratio.learn(split, 0.5, 0, 0)
    assert sample_ratio.log_e_value(kept) == pytest.approx(sample_ratio.log_e_value(split))


# ---- harm


def test_the_worst_rate_is_everything_at_first_and_narrows() -> None:
    assert harm.worst_rate(0, 0) == 1.0
    assert harm.worst_rate(5, 5) == 1.0
    rates = [harm.worst_rate(100 * times, times) for times in (1, 10, 100, 1000)]
    assert rates == sorted(rates, reverse=True)
    assert 0.01 < rates[-1] < 0.012


def test_the_true_rate_is_seldom_ever_above_the_worst() -> None:
    rng = np.random.default_rng(5)
    broken = 0
    for _ in range(200):
        errors = np.cumsum(rng.random(300) < 0.1)
        broken += any(harm.worst_rate(count + 1, int(errors[count])) < 0.1 for count in range(0, 300, 7))
    assert broken / 200 <= harm.ALPHA


@settings(max_examples=50)
@given(st.floats(0.01, 1), st.floats(0.01, 1000), st.floats(0, 1), st.integers(0, 100_000))
def test_a_bounded_weight_keeps_to_the_budget(weight: float, budget: float, excess: float, requests: int) -> None:
    found = harm.bounded(weight, budget, excess, requests, 1 / 1024)
    assert 0 <= found <= weight
    assert found * requests * excess <= budget
    if found < weight:
        assert 2 * max(found, weight / 2048) * requests * excess > budget
