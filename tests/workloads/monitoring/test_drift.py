"""Each planted drift is found in its column and in no other; noise, and what is too small to matter, is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.monitoring.drift import EMBEDDING, DriftPolicy, drift
from workloads.monitoring.errors import ArgumentError

Sides = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
ONLY_P = DriftPolicy(ks=0, psi=0, wasserstein=0, mmd=0, missing=0)


def healthy(seed: int = 0, rows: int = 3000) -> Sides:
    """A column of each sort."""
    random = np.random.default_rng(seed)

    def side() -> dict[str, np.ndarray]:
        return {
            "normal": random.normal(size=rows),
            "skewed": random.lognormal(size=rows),
            "count": random.poisson(2.0, rows).astype(float),
            "flag": (random.random(rows) < 0.1).astype(float),
            "constant": np.zeros(rows),
            "sometimes": np.where(random.random(rows) < 0.3, np.nan, random.normal(size=rows)),
        }

    return side(), side()


def planted(column: str, change: Callable[[np.ndarray], np.ndarray]) -> Sides:
    baseline, window = healthy()
    window[column] = change(window[column])
    return baseline, window


PLANTED: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray], str]] = {
    "a shift": ("normal", lambda x: x + 0.4, "ks"),
    "a wider spread": ("normal", lambda x: 2 * x, "psi"),
    "two humps in place of one": ("normal", lambda x: 0.5 * x + np.where(np.arange(len(x)) % 2, 1.0, -1.0), "ks"),
    "a few that are far out": ("skewed", lambda x: np.where(np.arange(len(x)) % 8 == 0, x + 50, x), "wasserstein"),
    "larger counts": ("count", lambda x: x + (np.arange(len(x)) % 2), "psi"),
    "more flags": ("flag", lambda x: np.maximum(x, np.arange(len(x)) % 4 == 0), "psi"),
    "a constant that moves": ("constant", lambda x: x + 1, "ks"),
    "a constant that is one no more": ("constant", lambda x: np.where(np.arange(len(x)) % 5 == 0, 1.0, x), "psi"),
    "values that go missing": ("normal", lambda x: np.where(np.arange(len(x)) % 10 == 0, np.nan, x), "missing"),
    "values that go missing more often": (
        "sometimes",
        lambda x: np.where(np.arange(len(x)) % 3 == 0, np.nan, x),
        "missing",
    ),
    "infinite ones": ("normal", lambda x: np.where(np.arange(len(x)) % 10 == 0, np.inf, x), "missing"),
    "a column that is gone": ("normal", lambda x: np.full_like(x, np.nan), "missing"),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_drift_is_found_where_it_is(kind: str) -> None:
    column, change, test = PLANTED[kind]
    report = drift(*planted(column, change))
    assert report.drifted == (column,)
    (found,) = (each for each in report.columns if each.column == column)
    assert test in found.over


def test_a_healthy_window_has_none() -> None:
    for seed in range(20):
        assert drift(*healthy(seed)).drifted == ()


def test_what_is_sure_but_small_is_no_drift() -> None:
    """A tenth of a standard deviation in ten thousand rows: its p-value is tiny."""
    random = np.random.default_rng(1)
    sides = {"x": random.normal(size=10_000)}, {"x": random.normal(size=10_000) + 0.1}
    (found,) = drift(*sides).columns
    assert found.q < 1e-6
    assert not found.drifted
    assert drift(*sides, ONLY_P).drifted == ("x",)


def test_what_is_large_but_unsure_is_no_drift() -> None:
    random = np.random.default_rng(2)
    sides = [{f"c{i}": random.normal(size=100) for i in range(20)} for _ in range(2)]
    report = drift(*sides)
    assert any(each.over for each in report.columns)
    assert report.drifted == ()


def test_the_embedding_is_a_column_too() -> None:
    random = np.random.default_rng(3)
    baseline, window = healthy()
    embeddings = random.normal(size=(800, 16)), random.normal(size=(800, 16))
    assert drift(baseline, window, embeddings=embeddings).drifted == ()
    moved = embeddings[0], embeddings[1] + 0.3
    report = drift(baseline, window, embeddings=moved)
    assert report.drifted == (EMBEDDING,)


@pytest.mark.parametrize("correction", ["bh", "by"])
def test_an_embedding_alone_can_be_discovered_among_many(correction: str) -> None:
    """With 200 permutations its p-value is at least 1/201, too much for one in fifty."""
    random = np.random.default_rng(4)
    sides = [{f"c{i}": random.normal(size=500) for i in range(50)} for _ in range(2)]
    embeddings = random.normal(size=(500, 4)), random.normal(size=(500, 4)) + 0.5
    report = drift(*sides, DriftPolicy(correction=correction), embeddings=embeddings)
    assert EMBEDDING in report.drifted


@given(seed=st.integers(0, 10**6), shifted=st.integers(0, 5))
def test_yekutieli_s_discoveries_are_among_hochberg_s(seed: int, shifted: int) -> None:
    random = np.random.default_rng(seed)
    sides = [{f"c{i}": random.normal(size=200) for i in range(10)} for _ in range(2)]
    for i in range(shifted):
        sides[1][f"c{i}"] += 0.3
    strict = drift(*sides, DriftPolicy(correction="by"))
    loose = drift(*sides)
    assert set(strict.drifted) <= set(loose.drifted)
    for a, b in zip(strict.columns, loose.columns, strict=True):
        assert a.p == b.p <= b.q <= a.q <= 1


def test_false_discoveries_are_as_few_as_asked_for() -> None:
    """By p-values alone, and with columns that go together; benchmarks/bench_drift.py has more."""
    random = np.random.default_rng(5)
    shares = []
    for _ in range(300):
        sides = [random.normal(size=(10, 300)) for _ in range(2)]
        for side in sides:
            side[1::2] = 0.6 * side[::2] + 0.8 * side[1::2]
        sides[1][:3] += 0.5
        said = drift(*({f"c{i}": x for i, x in enumerate(side)} for side in sides), ONLY_P).drifted
        shares.append(sum(int(name[1:]) >= 3 for name in said) / max(1, len(said)))
    assert np.mean(shares) <= 0.05


def test_too_few_rows_are_skipped_and_said() -> None:
    baseline, window = healthy(rows=3000)
    window = {name: values[:50] for name, values in window.items()}
    report = drift(baseline, window, embeddings=(np.zeros((500, 2)), np.zeros((50, 2))))
    assert report.drifted == ()
    assert set(report.skipped) == {*baseline, EMBEDDING}
    assert "50 rows, at least 100" in report.skipped["normal"]
    assert drift({}, {}).columns == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [("correction", "bonferroni"), ("false_discovery_rate", 0), ("ks", -1), ("permutations", 5), ("least_rows", 1)],
)
def test_wrong_policies(name: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=name):
        DriftPolicy(**{name: value})  # type: ignore[arg-type]
