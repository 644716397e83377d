"""Whether requests are split as the weights say: if not, the arms got different ones, and no test means anything."""

from __future__ import annotations

from collections.abc import Mapping
from math import lgamma, log
from typing import Any

CONCENTRATION = 100.0
"""Of the prior around the intended shares: as if so many requests had been split as intended."""


def begin() -> dict[str, Any]:
    return {"share": 0.0, "baseline": 0, "candidate": 0, "log_e_before": 0.0}


def learn(split: Mapping[str, Any], share: float, baseline: int, candidate: int) -> dict[str, Any]:
    """One look, during which `share` of both arms' requests were to be the candidate's.

    The first look at a share does not count: routers take a moment, and requests that were on their way are answered.
    Evidence at other shares before is kept: a product of e-values, each of its own requests, is one.
    """
    if share != split["share"]:
        return {"share": share, "baseline": 0, "candidate": 0, "log_e_before": log_e_value(split)}
    return {**split, "baseline": split["baseline"] + baseline, "candidate": split["candidate"] + candidate}


def log_e_value(split: Mapping[str, Any]) -> float:
    """The Bayes factor of any shares against the intended ones, a Dirichlet prior around these: an e-value (Lindon &
    Malek 2022, "Anytime-valid inference for multinomial count data", section 3)."""
    share, before = split["share"], split["log_e_before"]
    if not 0 < share < 1:
        return float(before)
    total = split["baseline"] + split["candidate"]
    found = before + lgamma(CONCENTRATION) - lgamma(CONCENTRATION + total)
    for intended, count in ((1 - share, split["baseline"]), (share, split["candidate"])):
        prior = CONCENTRATION * intended
        found += lgamma(prior + count) - lgamma(prior) - count * log(intended)
    return float(found)
