"""What a model's loss is likely to be on traffic that has no labels yet.

By importance weighting: a classifier that tells the window's requests from the reference's gives each labelled request
of the reference a weight, how much more usual its like has become; their weighted mean loss is what the window's would
be (Shimodaira, 2000, "Improving predictive inference under covariate shift"). That holds as long as the inputs have
changed and not what the right answer to them is, and only where the reference has been: so it says how many requests
the prediction rests on, and none is made if they are too few. The classifier is a simple one: of a change that it does
not see it predicts nothing, so what is predicted is rather too little than too much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from workloads.monitoring.quality import Estimate, estimate

MOST_OUTSIDE = 0.2
"""Share of the window that may look less like the reference than all but a two-hundredth of the reference does."""
LEAST_COUNT = 50.0
"""Labelled requests, and what is left of them in effect."""
RIDGE = 1e-3
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
    ratio = density_ratio(x, z)
    predicted = estimate(y, ratio.weights)
    outside = float(np.mean(ratio.of_window > np.quantile(ratio.weights, 0.995)))
    if outside > MOST_OUTSIDE or predicted.count < LEAST_COUNT:
        return _unusable(
            f"the window is too unlike the reference: {outside:.0%} of it is where the reference hardly has been, and "
            f"{predicted.count:.0f} of {len(x)} labelled requests are left in effect"
        )
    return Prediction(
        Estimate(predicted.mean - float(y.mean()), _error(ratio, y, predicted.mean), predicted.count),
        True,
        f"rests on {predicted.count:.0f} labelled requests in effect, of {len(x)}",
    )


@dataclass(frozen=True)
class DensityRatio:
    """How much more usual rows are in the window than in the reference."""

    weights: np.ndarray
    """Of the reference's rows."""
    of_window: np.ndarray
    """Of the window's."""
    design: np.ndarray
    """Of the reference's rows, (rows, coefficients)."""
    coefficients: tuple[np.ndarray, np.ndarray]
    """What each row of the reference, and of the window, adds to the coefficients' error: (rows, coefficients)."""


def density_ratio(reference: np.ndarray, window: np.ndarray) -> DensityRatio:
    """By logistic regression on features and their squares, so that a spread that changes is seen too."""
    n, both = len(reference), np.concatenate([reference, window])
    middle, spread = both.mean(axis=0), both.std(axis=0)
    # What lies far outside must not decide all.
    scaled = np.clip((both - middle) / np.where(spread > 0, spread, 1.0), -4, 4)
    design = np.concatenate([np.ones((len(both), 1)), scaled, scaled**2], axis=1)
    is_window = np.arange(len(both)) >= n
    # Both sides weigh the same, so that the odds are the ratio.
    share = np.where(is_window, 0.5 / len(window), 0.5 / n)
    penalty = np.diag([0.0, *(RIDGE for _ in range(design.shape[1] - 1))]) + 1e-9 * np.eye(design.shape[1])
    beta = np.zeros(design.shape[1])
    for _ in range(STEPS):
        p = special.expit(design @ beta)
        slope = design * (share * (is_window - p))[:, None]
        curvature = (design.T * (share * p * (1 - p))) @ design + penalty
        step = np.linalg.solve(curvature, slope.sum(axis=0) - penalty @ beta)
        beta += step
        if np.abs(step).max() < 1e-6:
            break
    odds = np.exp(np.clip(design @ beta, -20, 20))
    sides = [slope[~is_window], slope[is_window]]
    added = [np.linalg.solve(curvature, (side - side.mean(axis=0)).T).T for side in sides]
    return DensityRatio(odds[:n], odds[n:], design[:n], (added[0], added[1]))


def _error(ratio: DensityRatio, losses: np.ndarray, predicted: float) -> float:
    """Of the predicted change: from the losses, and from the coefficients, which both sides' rows have decided.

    To first order, as of any estimator that rests on another (Newey and McFadden, 1994, "Large sample estimation and
    hypothesis testing", section 6).
    """
    pull = ratio.weights / ratio.weights.sum() * (losses - predicted)
    by_coefficient = pull @ ratio.design
    of_reference = pull - (losses - losses.mean()) / len(losses) + ratio.coefficients[0] @ by_coefficient
    of_window = ratio.coefficients[1] @ by_coefficient
    return math.sqrt(float(of_reference @ of_reference + of_window @ of_window))


def _unusable(why: str) -> Prediction:
    return Prediction(Estimate(math.nan, math.inf, 0.0), False, why)
