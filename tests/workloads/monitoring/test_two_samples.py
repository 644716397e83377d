"""The distances are scipy's, for any sample with any ties; their p-values are uniform where nothing has drifted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from workloads.monitoring.two_samples import compare, mmd, psi

values = st.one_of(st.floats(-1e6, 1e6, allow_nan=False, width=32), st.integers(-3, 3).map(float), st.just(0.0))
sample = st.integers(2, 40).flatmap(lambda n: arrays(float, n, elements=values))


@given(reference=sample, current=sample)
def test_kolmogorov_smirnov_and_wasserstein_are_scipy_s(reference: np.ndarray, current: np.ndarray) -> None:
    found = compare(reference[None], current[None])
    expected = stats.ks_2samp(reference, current, method="asymp").statistic
    assert found.ks[0] == pytest.approx(expected, abs=1e-12)
    scale = 1 + np.abs(reference).max() + np.abs(current).max()
    assert found.wasserstein[0] / scale == pytest.approx(
        stats.wasserstein_distance(reference, current) / scale, abs=1e-12
    )


@pytest.mark.parametrize(("n", "m"), [(100, 100), (1000, 400), (5000, 5000)])
def test_the_p_value_is_scipy_s(n: int, m: int) -> None:
    random = np.random.default_rng(1)
    for shift in (0.0, 0.05, 0.1, 0.2):
        sides = random.normal(size=n), random.normal(size=m) + shift
        expected = stats.ks_2samp(*sides, method="asymp").pvalue
        assert compare(sides[0][None], sides[1][None]).ks_p[0] == pytest.approx(expected, rel=0.01, abs=2e-4)


@given(reference=sample, current=sample, seed=st.integers(0, 9))
def test_columns_do_not_meet_and_order_does_not_matter(reference: np.ndarray, current: np.ndarray, seed: int) -> None:
    random = np.random.default_rng(seed)
    alone = compare(reference[None], current[None])
    both = compare(
        np.stack([random.permutation(reference), np.arange(len(reference), dtype=float)]),
        np.stack([random.permutation(current), np.arange(len(current), dtype=float)]),
    )
    for name in ("ks", "ks_p", "wasserstein", "psi", "psi_p"):
        assert getattr(alone, name)[0] == pytest.approx(getattr(both, name)[0], rel=1e-9, abs=1e-12)


counts = arrays(float, 12, elements=st.integers(0, 1000).map(float))


@given(expected=counts, found=counts)
def test_psi_is_symmetric_finite_and_never_negative(expected: np.ndarray, found: np.ndarray) -> None:
    if not (expected + found).sum():
        return
    there, back = float(psi(expected, found)), float(psi(found, expected))
    assert there == pytest.approx(back)
    assert 0 <= there < np.inf
    assert float(psi(expected, expected)) == 0


@given(reference=sample)
def test_a_sample_is_no_distance_from_itself(reference: np.ndarray) -> None:
    found = compare(reference[None], reference[None])
    assert (found.ks[0], found.wasserstein[0], found.psi[0]) == pytest.approx((0, 0, 0), abs=1e-12)
    assert found.ks_p[0] == pytest.approx(1)
    assert found.psi_p[0] == pytest.approx(1)


@pytest.mark.parametrize("moved", [-1.0, 1.0])
def test_a_constant_that_moves_is_seen_by_psi(moved: float) -> None:
    found = compare(np.zeros((1, 500)), np.full((1, 500), moved))
    assert found.ks[0] == 1
    assert found.psi[0] > 1
    assert found.psi_p[0] < 1e-6


def is_uniform(p: np.ndarray) -> bool:
    return stats.kstest(p, "uniform").pvalue > 0.001


def test_p_values_of_ks_and_psi_are_uniform_where_nothing_drifts() -> None:
    random = np.random.default_rng(2)
    found = compare(random.normal(size=(1000, 2000)), random.normal(size=(1000, 1500)))
    assert is_uniform(found.psi_p)
    # Kolmogorov's limit is a little too large for few rows.
    assert stats.kstest(found.ks_p, "uniform").statistic < 0.06
    assert np.mean(found.ks_p <= 0.05) <= 0.065


def test_p_values_of_mmd_are_uniform_where_nothing_drifts() -> None:
    random = np.random.default_rng(3)
    found = np.array(
        [mmd(random.normal(size=(60, 4)), random.normal(size=(40, 4)), random, permutations=99).p for _ in range(400)]
    )
    # They are k/100: spread within that step.
    assert is_uniform(found - random.random(len(found)) / 100)


def test_permutations_that_are_added_leave_the_p_value_honest() -> None:
    random = np.random.default_rng(4)
    found = [
        mmd(random.normal(size=(40, 2)), random.normal(size=(40, 2)), random, permutations=20, most_permutations=400)
        for _ in range(600)
    ]
    p = np.array([each.p for each in found])
    assert {each.permutations for each in found} == {20, 400}
    for level in (0.01, 0.05, 0.1, 0.3):
        assert np.mean(p <= level) <= level + 3 * np.sqrt(level * (1 - level) / len(p))


def test_mmd_finds_what_no_column_shows() -> None:
    """Both columns keep their distribution; that they go together is new."""
    random = np.random.default_rng(5)
    apart, together = random.normal(size=(2000, 2)), random.normal(size=(2000, 2))
    together[:, 1] = 0.9 * together[:, 0] + np.sqrt(1 - 0.81) * together[:, 1]
    columns = compare(apart.T, together.T)
    assert columns.ks_p.min() > 0.01
    found = mmd(apart, together, random, most_permutations=2000)
    assert found.p < 0.001
    assert found.distance > 0.1


def test_mmd_is_what_all_pairs_give() -> None:
    random = np.random.default_rng(6)
    x, y = random.normal(size=(30, 3)), random.normal(size=(50, 3)) + 0.5
    both = np.concatenate([x, y])
    squared = ((both[:, None] - both[None]) ** 2).sum(-1)
    kernel = np.exp(-squared / np.median(squared[np.triu_indices(80, 1)]))
    np.fill_diagonal(kernel, 0)
    expected = kernel[:30, :30].sum() / 870 + kernel[30:, 30:].sum() / 2450 - 2 * kernel[:30, 30:].mean()
    assert mmd(x, y, random).distance == pytest.approx(expected**0.5, rel=1e-3)


def test_rows_that_are_all_the_same_are_no_drift() -> None:
    same = np.ones((50, 3))
    assert mmd(same, same, np.random.default_rng(1)).p == 1
