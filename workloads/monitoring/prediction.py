"""What a model's loss is likely to be on traffic that has no labels yet.

By importance weighting: a classifier that tells the window's requests from the reference's gives each labelled request
of the reference a weight, how much more usual its like has become; their weighted mean loss is what the window's would
be (Shimodaira, 2000, "Improving predictive inference under covariate shift"). That holds as long as the inputs have
changed and not what the right answer to them is, and only where the reference has been: so it says how many requests
the prediction rests on, and none is made if they are too few.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from workloads.monitoring.quality import Estimate, estimate

LEAST_SHARE = 0.05
"""Of the labelled reference that must be left, in effective numbers: below it the window is somewhere else."""
LEAST_COUNT = 50.0
RIDGE = 1e-2
STEPS = 25


@dataclass(frozen=True)
class Prediction:
    change: Estimate
    """Of the mean loss, from the reference to the window."""
    usable: bool
    why: str
    """Why it is not usable, or what it rests on."""

    def as_json(self) -> dict[str, Any]:
        return {"change": self.change.as_json(), "usable": self.usable, "why": self.why}


def predict(reference: np.ndarray, losses: np.ndarray, window: np.ndarray) -> Prediction:
    """`reference` and `window`: (rows, features); `losses` of the reference's rows, NaN where there is no label."""
    labelled = np.isfinite(losses) & np.isfinite(reference).all(axis=1)
    x, y = reference[labelled], losses[labelled]
    z = window[np.isfinite(window).all(axis=1)]
    if min(len(x), len(z)) < LEAST_COUNT:
        return _unusable(f"{len(x)} labelled requests in the reference and {len(z)} in the window, fewer than 50")
    weights = importance(x, z)
    predicted = estimate(y, weights)
    share = predicted.count / len(x)
    if predicted.count < LEAST_COUNT or share < LEAST_SHARE:
        return _unusable(
            f"the window is too unlike the reference: {predicted.count:.0f} of its {len(x)} labelled requests are left "
            "in effect"
        )
    # Both means are of the same requests, so their difference is one weighted sum and not that of independent samples.
    excess = weights / weights.sum() - 1 / len(x)
    change = float(excess @ y)
    influence = weights / weights.sum() * (y - predicted.mean) - (y - y.mean()) / len(x)
    error = math.sqrt(float(influence @ influence))
    return Prediction(
        Estimate(change, error, predicted.count),
        True,
        f"rests on {predicted.count:.0f} labelled requests in effect, of {len(x)}",
    )


def importance(reference: np.ndarray, window: np.ndarray) -> np.ndarray:
    """How much more usual each row of the reference is in the window: a density ratio, (rows,), by logistic regression.

    On features and their squares in standard deviations of both together; so that a spread that changes is seen too.
    """
    both = np.concatenate([reference, window])
    middle, spread = both.mean(axis=0), both.std(axis=0)
    scaled = (both - middle) / np.where(spread > 0, spread, 1.0)
    # What lies far outside must not decide all.
    scaled = np.clip(scaled, -4, 4)
    design = np.concatenate([np.ones((len(both), 1)), scaled, scaled**2], axis=1)
    is_window = np.arange(len(both)) >= len(reference)
    # Both sides weigh the same, so that the odds are the ratio.
    share = np.where(is_window, 0.5 / len(window), 0.5 / len(reference))
    penalty = np.full(design.shape[1], RIDGE)
    penalty[0] = 0.0
    beta = np.zeros(design.shape[1])
    for _ in range(STEPS):
        odds = np.clip(design @ beta, -20, 20)
        p = 1 / (1 + np.exp(-odds))
        gradient = design.T @ (share * (p - is_window)) + penalty * beta
        curvature = (design.T * (share * p * (1 - p))) @ design + np.diag(penalty + 1e-9)
        step = np.linalg.solve(curvature, gradient)
        beta -= step
        if np.abs(step).max() < 1e-6:
            break
    return np.exp(np.clip(design[: len(reference)] @ beta, -20, 20))


def _unusable(why: str) -> Prediction:
    return Prediction(Estimate(math.nan, math.inf, 0.0), False, why)
