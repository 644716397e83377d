"""Which columns of a window have drifted from their baseline: by enough to matter, and not by chance.

With ten thousand rows a p-value alone calls a tenth of a standard deviation a drift; an effect size alone calls noise
one when rows are few. A column has drifted only if both say so: a test's effect is at least what the policy tolerates,
and the column's p-value passes the control of false discoveries over all columns of the report.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import special, stats

from workloads.monitoring import two_samples
from workloads.monitoring.errors import ArgumentError
from workloads.monitoring.tables import Rows

EMBEDDING = "embedding"
"""Name of the embedding among the columns of a report."""


@dataclass(frozen=True)
class DriftPolicy:
    """Effects from which on a drift matters, and how sure it must be."""

    ks: float = 0.1
    """Largest difference of the distribution functions, 0 to 1."""
    psi: float = 0.1
    """Population stability index: below 0.1 is usually called stable, above 0.25 a shift."""
    wasserstein: float = 0.25
    """In standard deviations of the baseline."""
    mmd: float = 0.1
    """Distance of the mean embeddings under the kernel, 0 to 1.4."""
    missing: float = 0.05
    """Difference of the shares of rows that have no value."""
    false_discovery_rate: float = 0.05
    correction: str = "bh"
    """bh (Benjamini-Hochberg: columns that are independent, or depend positively) or by (Benjamini-Yekutieli: any)."""
    permutations: int = 200
    kernel_rows: int = 400
    """Rows of each sample that MMD looks at."""
    least_rows: int = 100
    """A column with fewer values on either side is not judged."""

    def __post_init__(self) -> None:
        if self.correction not in ("bh", "by"):
            raise ArgumentError(f"correction {self.correction!r}: expected bh or by")
        if not 0 < self.false_discovery_rate < 1:
            raise ArgumentError(f"false_discovery_rate {self.false_discovery_rate!r}: expected between 0 and 1")
        for name in ("ks", "psi", "wasserstein", "mmd", "missing"):
            if not getattr(self, name) >= 0:
                raise ArgumentError(f"{name} {getattr(self, name)!r}: expected a number from 0")
        for name, least in (("permutations", 20), ("kernel_rows", 10), ("least_rows", 2)):
            if getattr(self, name) < least:
                raise ArgumentError(f"{name} {getattr(self, name)!r}: expected a whole number from {least}")


@dataclass(frozen=True)
class ColumnDrift:
    """What was found of a column."""

    column: str
    effects: Mapping[str, float]
    """By test."""
    p: float
    """Of the column: of its tests' p-values the smallest, times how many there are (Bonferroni)."""
    q: float
    """`p` corrected over all columns: the smallest false discovery rate at which this column is discovered."""
    drifted: bool
    over: tuple[str, ...] = ()
    """Tests whose effect is at least the policy's."""
    rows: tuple[int, int] = (0, 0)
    """With a value, of the baseline and of the window."""
    skipped: str = ""
    """Why it was not judged."""


@dataclass(frozen=True)
class DriftReport:
    columns: tuple[ColumnDrift, ...] = ()

    @property
    def drifted(self) -> tuple[str, ...]:
        """Worst first."""
        return tuple(c.column for c in sorted(self.columns, key=lambda c: c.q) if c.drifted)

    @property
    def skipped(self) -> Mapping[str, str]:
        return {c.column: c.skipped for c in self.columns if c.skipped}


@dataclass
class _Column:
    name: str
    rows: tuple[int, int]
    effects: dict[str, float] = field(default_factory=dict)
    p_values: list[float] = field(default_factory=list)


def drift(
    baseline: Mapping[str, np.ndarray],
    window: Mapping[str, np.ndarray],
    policy: DriftPolicy | None = None,
    *,
    embeddings: tuple[np.ndarray, np.ndarray] | None = None,
    random: np.random.Generator | None = None,
) -> DriftReport:
    """Compare columns by name, and embeddings (rows, dimensions) if there are any. What is not finite is missing.

    Rows are taken to be independent. Requests of one user or of one batch are not: then p-values are too small, and
    the effect size is what holds back.
    """
    policy = policy or DriftPolicy()
    judged: list[_Column] = []
    skipped: list[ColumnDrift] = []
    whole: list[str] = []
    for name in baseline:
        there = [np.isfinite(side[name]) for side in (baseline, window)]
        counts = (int(there[0].sum()), int(there[1].sum()))
        totals = (len(there[0]), len(there[1]))
        if min(totals) < policy.least_rows:
            skipped.append(_skipped(name, counts, f"{min(totals)} rows, at least {policy.least_rows} are needed"))
        elif counts == totals:
            whole.append(name)
        else:
            values = [side[name][kept] for side, kept in zip((baseline, window), there, strict=True)]
            judged.append(_with_missing(name, values, counts, totals, policy))
    if whole:
        # All at once: nearly every column of a log is complete.
        sides = [np.stack([side[name] for name in whole]) for side in (baseline, window)]
        rows = (sides[0].shape[1], sides[1].shape[1])
        made = [_Column(name, rows) for name in whole]
        _compare(made, *sides)
        judged += made
    if embeddings is not None:
        counts = (len(embeddings[0]), len(embeddings[1]))
        if min(counts) < policy.least_rows:
            skipped.append(_skipped(EMBEDDING, counts, f"{min(counts)} rows, at least {policy.least_rows} are needed"))
        else:
            judged.append(_embedding(embeddings, len(judged) + 1, policy, random or np.random.default_rng(0)))
    return DriftReport((*_discoveries(judged, policy), *skipped))


def columns_of(rows: Rows, names: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: rows[name] for name in names}


def _skipped(name: str, rows: tuple[int, int], why: str) -> ColumnDrift:
    return ColumnDrift(name, {}, 1.0, 1.0, False, rows=rows, skipped=why)


def _with_missing(
    name: str, values: Sequence[np.ndarray], counts: tuple[int, int], totals: tuple[int, int], policy: DriftPolicy
) -> _Column:
    """Of a column that is not always there: that a value goes missing is a drift too."""
    made = _Column(name, counts)
    shares = [1 - count / total for count, total in zip(counts, totals, strict=True)]
    pooled = 1 - sum(counts) / sum(totals)
    error = math.sqrt(pooled * (1 - pooled) * sum(1 / total for total in totals))
    made.effects["missing"] = abs(shares[1] - shares[0])
    made.p_values.append(math.erfc(made.effects["missing"] / error / math.sqrt(2)) if error else 1.0)
    if min(counts) >= policy.least_rows:
        _compare([made], values[0][None], values[1][None])
    return made


def _compare(made: Sequence[_Column], baseline: np.ndarray, window: np.ndarray) -> None:
    found = two_samples.compare(baseline, window)
    deviation = baseline.std(axis=1)
    for i, column in enumerate(made):
        # A constant of the baseline has no deviation to measure by; KS and PSI see that it moves.
        scaled = {"wasserstein": float(found.wasserstein[i] / deviation[i])} if deviation[i] > 0 else {}
        column.effects.update(ks=float(found.ks[i]), psi=float(found.psi[i]), **scaled)
        column.p_values += [float(found.ks_p[i]), float(found.psi_p[i])]


def _embedding(
    embeddings: tuple[np.ndarray, np.ndarray], hypotheses: int, policy: DriftPolicy, random: np.random.Generator
) -> _Column:
    # The least p-value of so many permutations must be small enough to be discovered alone among all columns.
    enough = math.ceil(2 * hypotheses * _harmonic(hypotheses, policy) / policy.false_discovery_rate)
    found = two_samples.mmd(
        *embeddings,
        random,
        permutations=policy.permutations,
        most_permutations=max(policy.permutations, enough),
        rows=policy.kernel_rows,
    )
    counts = (len(embeddings[0]), len(embeddings[1]))
    return _Column(EMBEDDING, counts, {"mmd": found.distance}, [found.p])


def _harmonic(count: int, policy: DriftPolicy) -> float:
    """By what Benjamini-Yekutieli divides more than Benjamini-Hochberg does."""
    return float(special.digamma(count + 1) + np.euler_gamma) if policy.correction == "by" else 1.0


def _discoveries(judged: Sequence[_Column], policy: DriftPolicy) -> list[ColumnDrift]:
    if not judged:
        return []
    p = np.array([min(1.0, len(c.p_values) * min(c.p_values)) for c in judged])
    q = stats.false_discovery_control(p, method=policy.correction)
    found = []
    for i, column in enumerate(judged):
        over = tuple(test for test, effect in column.effects.items() if effect >= getattr(policy, test))
        drifted = bool(over) and bool(q[i] <= policy.false_discovery_rate)
        found.append(ColumnDrift(column.name, column.effects, float(p[i]), float(q[i]), drifted, over, column.rows))
    return found


def as_json(report: DriftReport) -> list[dict[str, Any]]:
    return [
        {
            "column": c.column,
            "drifted": c.drifted,
            "effects": {test: round(effect, 6) for test, effect in c.effects.items()},
            "over": list(c.over),
            "p": c.p,
            "q": c.q,
            "rows": list(c.rows),
            **({"skipped": c.skipped} if c.skipped else {}),
        }
        for c in report.columns
    ]
