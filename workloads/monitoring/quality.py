"""A mean loss and how sure it is, from samples of unequal weight; and the difference of two."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import special


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error; `count` is how many samples of equal weight would tell as much."""

    mean: float
    error: float
    count: float

    def interval(self, confidence: float) -> tuple[float, float]:
        """Two-sided, by Student's t. Unbounded with fewer than two samples."""
        if not self.count > 1 or not math.isfinite(self.error):
            return -math.inf, math.inf
        reach = float(special.stdtrit(self.count - 1, 0.5 + confidence / 2)) * self.error
        return self.mean - reach, self.mean + reach

    def as_json(self) -> dict[str, Any]:
        return {k: round(v, 6) if math.isfinite(v) else None for k, v in asdict(self).items()}


def estimate(values: np.ndarray, weights: np.ndarray | None = None) -> Estimate:
    """The weighted mean of finite values (Hajek's estimator; its error by linearisation), NaN of none.

    `weights`: 1 / sampling rate, or how much more likely a value is elsewhere.
    """
    weights = np.ones(len(values)) if weights is None else weights
    kept = np.isfinite(values)
    values, weights = values[kept], weights[kept]
    total = float(weights.sum())
    if not total > 0:
        return Estimate(math.nan, math.inf, 0.0)
    mean = float(weights @ values / total)
    count = float(total**2 / (weights @ weights))
    variance = float((weights**2) @ (values - mean) ** 2) / total**2
    error = math.sqrt(variance * count / (count - 1)) if count > 1 else math.inf
    return Estimate(mean, error, count)


def difference(current: Estimate, baseline: Estimate) -> Estimate:
    """current - baseline, of independent samples; degrees of freedom as Welch and Satterthwaite have them."""
    if min(current.count, baseline.count) <= 1:
        return Estimate(current.mean - baseline.mean, math.inf, 0.0)
    squares = [side.error**2 for side in (current, baseline)]
    spread = sum(s**2 / (side.count - 1) for s, side in zip(squares, (current, baseline), strict=True))
    count = sum(squares) ** 2 / spread + 1 if spread else min(current.count, baseline.count)
    return Estimate(current.mean - baseline.mean, math.sqrt(sum(squares)), count)
