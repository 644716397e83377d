"""How much traffic a step may get, so that the failures it may cost stay within its budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from workloads.rollout.observation import Arm

ALPHA = 0.05
"""Chance that the candidate's error rate is ever above what `worst_rate` says."""


def begin() -> dict[str, Any]:
    """A step's harm so far: none."""
    return {"requests": 0, "errors": 0}


def learn(harm: Mapping[str, Any], candidate: Arm) -> dict[str, Any]:
    """Add a look's requests that callers got the candidate's answer of."""
    return {"requests": harm["requests"] + candidate.requests, "errors": harm["errors"] + candidate.errors}


def spent(harm: Mapping[str, Any], base_rate: float) -> float:
    """Failed requests of a step, beyond those that the baseline would have failed."""
    return max(0.0, harm["errors"] - base_rate * harm["requests"])


def worst_rate(requests: int, errors: int, alpha: float = ALPHA) -> float:
    """The largest error rate that is not refuted: at any time at once, with a chance of `alpha` to be wrong.

    Where the likelihood under Jeffreys' prior is 1/alpha times that of the rate (a confidence sequence by the method of
    mixtures: Robbins 1970; Howard, Ramdas, McAuliffe & Sekhon 2021). 1 as long as nothing is known.
    """
    answered = requests - errors
    if not answered:
        return 1.0
    mixture = math.lgamma(errors + 0.5) + math.lgamma(answered + 0.5) - math.lgamma(requests + 1) - math.log(math.pi)
    low, high = errors / requests, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        likelihood = (errors * math.log(middle) if errors else 0.0) + answered * math.log1p(-middle)
        if middle < 1 and mixture - likelihood < -math.log(alpha):
            low = middle
        else:
            high = middle
    return high


def bounded(weight: float, budget: float, excess_rate: float, requests: int, narrowest: float) -> float:
    """The step's weight, or the largest half, quarter, ... of it under which one more look costs no more than `budget`.

    `excess_rate` is by how much the candidate may fail more, `requests` those of a look in both arms. 0 where even the
    narrowest would cost more. Halves, for every other weight starts the sample ratio's count anew.
    """
    for halvings in range(round(-math.log2(narrowest)) + 1):
        if weight * 0.5**halvings * requests * excess_rate <= budget:
            return weight * 0.5**halvings
    return 0.0
