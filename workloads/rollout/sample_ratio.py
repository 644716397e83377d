"""Whether requests are split as the weights say: if not, the arms got different ones, and no test means anything."""

from __future__ import annotations

from collections.abc import Mapping
from math import lgamma, log
from typing import Any

CONCENTRATION = 100.0
"""Of the prior around the intended shares: as if so many requests had been split as intended."""


def begin() -> dict[str, Any]:
    return {"weight": 0.0, "baseline": 0, "candidate": 0, "log_e_before": 0.0}


def learn(split: Mapping[str, Any], weight: float, baseline: int, candidate: int) -> dict[str, Any]:
    """One look, during which `weight` of all requests were to go to the candidate.

    The first look at a weight does not count: routers take a moment, and requests that were on their way are answered.
    Evidence at other weights before is kept: a product of e-values, each of its own requests, is one.
    """
    if weight != split["weight"]:
        return {"weight": weight, "baseline": 0, "candidate": 0, "log_e_before": log_e_value(split)}
    return {**split, "baseline": split["baseline"] + baseline, "candidate": split["candidate"] + candidate}


def log_e_value(split: Mapping[str, Any]) -> float:
    """The Bayes factor of any shares against the intended ones, a Dirichlet prior around these: an e-value (Lindon &
    Malek 2022, "Anytime-valid inference for multinomial count data", section 3)."""
    weight, before = split["weight"], split["log_e_before"]
    if not 0 < weight < 1:
        return float(before)
    total = split["baseline"] + split["candidate"]
    found = before + lgamma(CONCENTRATION) - lgamma(CONCENTRATION + total)
    for share, count in ((1 - weight, split["baseline"]), (weight, split["candidate"])):
        prior = CONCENTRATION * share
        found += lgamma(prior + count) - lgamma(prior) - count * log(share)
    return float(found)
