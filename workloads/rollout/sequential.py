"""Tests that may be looked at after every request: capital of a bettor against "the candidate is no worse".

Each test is a bettor who starts with 1 and can only lose, on average, while the hypothesis holds. So the chance that
the capital ever reaches 1/alpha is at most alpha, whenever and however often somebody looks (Ville 1939; Ramdas,
Gruenwald, Vovk & Shafer 2023, "Game-theoretic statistics and safe anytime-valid inference"). Such a capital is an
e-value, and that of a mixture of strategies is one too (method of mixtures: Robbins 1970; mSPRT: Johari et al. 2017).

Everything works on the last axis, strategies, with any number of axes before it, so a simulation of ten thousand
rollouts and a controller's single one run the same lines. Capital is kept as its logarithm.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln  # type: ignore[import-untyped, unused-ignore]

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

ODDS = np.array([1.0, 1.1, 1.3, 2.2, 4.0, 10.0])
"""Strategies of `conditional`: how many times the candidate's odds of failing are the baseline's. 1 bets nothing; and
less than a twentieth more, halfway to the second, is never an alarm, however many requests there are."""
ODDS_WEIGHTS = np.array([0.15, 0.02, 0.05, 0.55, 0.18, 0.05])
"""Capital that they start with. Most is on about twice the errors: less takes long anyway, and more is seen anyway."""

FRACTIONS = np.array([0.0, 0.25, 0.5, 0.75])
"""Strategies of `difference`: the candidate's rate above the baseline's, in margins."""
FRACTION_WEIGHTS = np.array([0.4, 0.3, 0.2, 0.1])

EFFECTS = np.array([0.0, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0])
"""Strategies of `symmetric`: the mean in root mean squares. 0 bets nothing."""
EFFECT_WEIGHTS = np.array([0.05, 0.1, 0.2, 0.25, 0.2, 0.1, 0.1])

MEMORY = 500.0
"""Information (see `rebalance`) after which a bettor has forgotten how the strategies once did."""


def start(weights: Floats, *shape: int) -> Floats:
    """Log capital before anything was seen: 1, over strategies by their weights."""
    return np.broadcast_to(np.log(weights), (*shape, len(weights))).copy()


def log_e_value(log_capital: Floats) -> Floats:
    """The whole capital, as a logarithm."""
    return _log_sum(log_capital, -1)


def rebalance(log_capital: Floats, weights: Floats, information: Any, memory: float = MEMORY) -> Floats:
    """Give each strategy its share of a little of the whole capital, so that harm which begins late is found too: by
    then the right strategy would have lost nearly everything (fixed share: Herbster & Warmuth 1998).

    `information` is what was just seen, in variances of one event; the little is information / (information + memory).
    Money only moves between bets to come, so an e-value stays one.
    """
    moved = np.asarray(information, float) / (np.asarray(information, float) + memory)
    whole = log_e_value(log_capital)
    with np.errstate(divide="ignore"):
        given = np.log(moved)[..., None] + np.log(weights) + whole[..., None]
    return np.logaddexp(log_capital + np.log1p(-moved)[..., None], given)


def _log_sum(logs: Floats, axis: int) -> Floats:
    """Logarithm of a sum of which at least one term is not 0. (scipy's takes several times as long.)"""
    most = logs.max(axis, keepdims=True)
    found: Floats = np.log(np.exp(logs - most).sum(axis)) + most.squeeze(axis)
    return found


# ---- two concurrent arms, no worse than each other


def conditional(
    log_capital: Floats, hits: Counts, requests: Counts, other_hits: Counts, other_requests: Counts, alpha: float
) -> Floats:
    """Bet that hits (errors, slow answers) are likelier in one arm than in the other, which ran at the same time.

    Given how many hits both had together, those of one arm are hypergeometric if both are alike, whatever the rate was
    and however it moves between looks: a nuisance parameter less (Fisher 1935; for counts that come in order: Lindon &
    Malek 2022, "Anytime-valid inference for multinomial count data"). With odds w it is Fisher's noncentral one, so
    w**hits / E[w**hits] is an e-value, also where the arm's true odds are below 1, for it rises with the hits.

    What the capital would exceed 1/alpha by is of no use to anybody, so it is never bet for, and what that saves makes
    the rest of the bet larger until it is fair again (Fischer & Ramdas 2024, "Improving the (approximate) sequential
    probability ratio test by avoiding overshoot"). The capital therefore stops at exactly 1/alpha.
    """
    hits, requests, other_hits, other_requests = map(np.asarray, (hits, requests, other_hits, other_requests))
    total = hits + other_hits
    possible = np.arange(int(np.minimum(total, requests).max(initial=0)) + 1)
    log_chance = (
        _log_choose(requests[..., None], possible)
        + _log_choose(other_requests[..., None], total[..., None] - possible)
        - _log_choose(requests + other_requests, total)[..., None]
    )
    tilt = possible[:, None] * np.log(ODDS)
    log_mean = _log_sum(log_chance[..., None] + tilt, -2)
    bet = log_capital + hits[..., None] * np.log(ODDS) - log_mean
    before, after = log_e_value(log_capital), log_e_value(bet)
    payoff = np.exp(np.minimum(_log_sum((log_capital - before[..., None] - log_mean)[..., None, :] + tilt, -1), 700.0))
    boosted = np.minimum(after + _log_boost(np.exp(log_chance), payoff, -math.log(alpha) - before), -math.log(alpha))
    bet += (boosted - after)[..., None]
    n = requests + other_requests
    share = requests / np.maximum(n, 1)
    return rebalance(bet, ODDS_WEIGHTS, share * (1 - share) * total * (n - total) / np.maximum(n - 1, 1))


def _log_boost(chance: Floats, payoff: Floats, log_cap: Floats) -> Floats:
    """By how much a bet may be raised that pays at most the cap: b with E[min(b * payoff, cap)] = 1, or no more than 1.

    The expectation is the least of the straight lines b * E[payoff; below j] + cap * P[j or more], as payoffs rise with
    j. So b is the largest of their solutions.
    """
    cap = np.exp(np.minimum(log_cap, 700.0))[..., None]
    none = np.zeros((*chance.shape[:-1], 1))
    above = np.concatenate([np.cumsum(chance[..., ::-1], -1)[..., ::-1], none], -1)
    below = np.concatenate([none, np.cumsum(chance * payoff, -1)], -1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        solutions = np.where(below > 0, (1 - cap * above) / below, -np.inf)
    return np.where(log_cap > 1e-12, np.log(np.maximum(solutions.max(-1), 1.0)), 0.0)


def _log_choose(n: Counts, k: Counts) -> Floats:
    """Logarithm of the ways to choose k of n; -inf where there is none."""
    possible = (k >= 0) & (k <= n)
    k = np.where(possible, k, 0)
    return np.where(possible, gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0), -np.inf)


# ---- not worse by a margin


def difference(
    log_capital: Floats,
    hits: Counts,
    requests: Counts,
    base_hits: Counts,
    base_requests: Counts,
    rate: Any,
    margin: Any,
) -> Floats:
    """Bet that the candidate's rate of hits is less than the baseline's plus `margin`, the hypothesis being that it is
    not. Both arms need requests.

    A bet of size l on each candidate request, l * n / m on each of the baseline's, both against the same centre c, has
    the mean (1 - l*d) ** n * (1 + l*n/m*d) ** m <= exp(-l*d*n + l*d*n) = 1 where the candidate's rate is the baseline's
    plus the margin, d away from the centre: for any rate, so the centre only has to be guessed well (betting: Waudby-
    Smith & Ramdas 2024; two samples: Turner, Ly & Gruenwald 2024, "Generic E-variables for exact sequential k-sample
    tests"). `rate` is the baseline's as known before.
    """
    hits, requests, base_hits, base_requests = map(np.asarray, (hits, requests, base_hits, base_requests))
    margin = np.asarray(margin, float)[..., None]
    rate = np.minimum(np.asarray(rate, float)[..., None], 0.999 - margin)
    share = (requests / (requests + base_requests))[..., None]
    believed = np.maximum(rate + margin * FRACTIONS, 1e-6)
    # Between what both arms say of the baseline's rate, if the margin were just reached.
    centre = np.clip(rate + share * (believed - rate - margin), 1e-9, 1 - margin - 1e-9)
    size = np.minimum((believed - centre - margin) / ((centre + margin) * (1 - centre - margin)), 0.0)
    other = -share / (1 - share) * size
    gained = _log_bets(hits, requests, size, centre + margin) + _log_bets(base_hits, base_requests, other, centre)
    return log_capital + gained


def _log_bets(hits: Counts, requests: Counts, size: Floats, centre: Floats) -> Floats:
    hits, requests = hits[..., None], requests[..., None]
    return hits * np.log1p(size * (1 - centre)) + (requests - hits) * np.log1p(-size * centre)


def against_rate(log_capital: Floats, hits: Counts, requests: Counts, rate: Any) -> Floats:
    """Bet that the rate of hits is more than `rate`: Wald's likelihood ratio, for an arm that has none beside it."""
    hits, requests = np.asarray(hits)[..., None], np.asarray(requests)[..., None]
    rate = np.clip(np.asarray(rate, float), 1e-6, 1 - 1e-6)[..., None]
    believed = ODDS * rate / (1 + (ODDS - 1) * rate)
    return log_capital + hits * np.log(believed / rate) + (requests - hits) * np.log((1 - believed) / (1 - rate))


# ---- paired differences


def symmetric(log_capital: Floats, value: Any, scale: Any) -> Floats:
    """Bet that values are above 0, the hypothesis being that they are symmetric around it, or around less.

    exp(l*x - l*l*x*x/2) has a mean of at most 1 for any symmetric x, as cosh(y) <= exp(y*y/2), heavy tails or none, and
    no variance has to be known (de la Pena 1999; Howard, Ramdas, McAuliffe & Sekhon 2021, table 3). `scale` is the root
    mean square of earlier values; where it is 0 nothing is bet.
    """
    value, scale = np.asarray(value, float), np.asarray(scale, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        units = np.where(scale > 0, value / scale, 0.0)[..., None]
    bet = log_capital + EFFECTS * units - (EFFECTS * units) ** 2 / 2
    # Small effects need as many values as the inverse of their square: a long memory.
    return rebalance(bet, EFFECT_WEIGHTS, np.ones(units.shape[:-1]), 20 * MEMORY)
