"""A loss is predicted where the reference has been, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from workloads.monitoring.prediction import density_ratio, predict


def world(random: np.random.Generator, rows: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Three features; the loss grows with the first."""
    features = random.normal(size=(rows, 3)) + np.array([shift, 0, 0])
    return features, 2 + 0.3 * features[:, 0] + random.normal(0, 0.3, rows)


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.7])
def test_the_change_is_predicted(shift: float) -> None:
    random = np.random.default_rng(1)
    reference, losses = world(random, 4000, 0.0)
    window, _ = world(random, 2000, shift)
    found = predict(reference, losses, window)
    assert found.usable
    low, high = found.change.interval(0.999)
    assert low - 0.03 < 0.3 * shift < high + 0.03


def test_an_irrelevant_shift_predicts_no_loss() -> None:
    random = np.random.default_rng(2)
    reference, losses = world(random, 4000, 0.0)
    window = world(random, 2000, 0.0)[0] + np.array([0, 0.7, 0])
    found = predict(reference, losses, window)
    assert found.usable
    assert abs(found.change.mean) < 0.05


def test_nothing_is_predicted_of_where_nobody_has_been() -> None:
    random = np.random.default_rng(3)
    reference, losses = world(random, 2000, 0.0)
    found = predict(reference, losses, world(random, 2000, 6.0)[0])
    assert not found.usable
    assert "unlike" in found.why


def test_too_few_labels() -> None:
    random = np.random.default_rng(4)
    reference, losses = world(random, 2000, 0.0)
    losses[40:] = np.nan
    assert "40 labelled" in predict(reference, losses, reference).why
    assert not predict(reference[:0], losses[:0], reference).usable


def test_bounds_hold_as_often_as_they_say() -> None:
    """Where nothing has changed, a predicted loss that is surely above none is rare."""
    random = np.random.default_rng(5)
    alarms = 0
    for _ in range(200):
        reference, losses = world(random, 500, 0.0)
        alarms += predict(reference, losses, world(random, 500, 0.0)[0]).change.interval(0.9)[0] > 0
    assert alarms <= 20


def test_weights_are_the_density_ratio() -> None:
    random = np.random.default_rng(6)
    reference, window = random.normal(size=(20_000, 1)), random.normal(size=(20_000, 1)) + 0.5
    weights = density_ratio(reference, window).weights
    expected = np.exp(0.5 * reference[:, 0] - 0.125)
    assert np.corrcoef(weights, expected)[0, 1] > 0.97
    # A constant feature and one that is only sometimes another are taken.
    assert np.isfinite(density_ratio(np.ones((100, 2)), np.ones((100, 2))).weights).all()
