"""Whether a candidate may take a champion's place: a paired comparison over held-out documents, whole and by slices.

Both models score the same documents, so what a document is like drops out of the difference; what is left is judged by
a bootstrap over documents (Efron and Tibshirani 1993, chapter 16; Koehn 2004 for language). The candidate must be shown
to be no worse: that nothing was found against it is not enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

OVERALL = "overall"


@dataclass(frozen=True)
class Scores:
    """Bits that two models need for the same documents, and the documents' bytes; all of the same length."""

    candidate: np.ndarray
    champion: np.ndarray
    bytes: np.ndarray

    def of(self, chosen: Sequence[int] | np.ndarray) -> Scores:
        return Scores(self.candidate[chosen], self.champion[chosen], self.bytes[chosen])


@dataclass(frozen=True)
class Comparison:
    """Of one slice, in bits per byte; a difference above 0: the candidate is worse."""

    slice: str
    documents: int
    candidate: float
    champion: float
    difference: float
    upper: float
    """The true difference is below that, but for a chance of `alpha`."""
    limit: float
    """What `upper` may be."""
    judged: bool = True
    """False: too few documents to tell; then it does not count."""

    @property
    def passed(self) -> bool:
        # Not `upper > limit`, which lets through what is no number.
        return not self.judged or self.upper <= self.limit

    def __str__(self) -> str:
        verdict = "not judged" if not self.judged else "ok" if self.passed else "WORSE"
        return (
            f"{self.slice}: {self.candidate:.4f} against {self.champion:.4f} bits per byte on {self.documents:,} "
            f"documents, {self.difference:+.4f}, at most {self.upper:+.4f} (limit {self.limit:+.4f}): {verdict}"
        )


@dataclass(frozen=True)
class Verdict:
    accepted: bool
    reasons: tuple[str, ...]
    comparisons: tuple[Comparison, ...]


def difference(scores: Scores) -> float:
    """Bits per byte of all documents together: long ones count for more, as they do in a server's work."""
    return float((scores.candidate.sum() - scores.champion.sum()) / scores.bytes.sum())


def upper(scores: Scores, alpha: float, resamples: int, generator: np.random.Generator) -> float:
    """One-sided upper confidence bound of the difference, by resampling documents with replacement.

    The percentile bound of few documents is too narrow; it is taken further out by sqrt(n / (n - 1)) and by Student's
    quantile in place of the normal one (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", section 5.3).
    """
    from scipy import stats  # type: ignore[import-untyped]

    count = len(scores.bytes)
    apart = scores.candidate - scores.champion
    if count < 2:
        return math.inf
    if not np.any(apart):
        return 0.0
    # Counts rather than indices: two products instead of gathering.
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=resamples)
    means = (drawn @ apart) / (drawn @ scores.bytes)
    widened = float(stats.norm.cdf(stats.t.ppf(alpha, count - 1) * math.sqrt(count / (count - 1))))
    return float(np.quantile(means, 1 - max(widened, 1 / resamples)))


def judge(
    scores: Scores,
    slices: Mapping[str, Sequence[int]],
    *,
    margin: float,
    alpha: float,
    resamples: int,
    least: int,
    seed: int = 0,
) -> Verdict:
    """Better or equal on the whole, and on no slice worse by more than a share of `margin`.

    `slices`: name -> which documents; those with fewer than `least` are told of, and not judged. All bounds must hold
    at once for the candidate to pass, so none is stricter for there being many (intersection-union, Berger 1982).
    """
    generator = np.random.default_rng(seed)
    everything = np.arange(len(scores.bytes))
    found = []
    for name, chosen in {OVERALL: everything, **slices}.items():
        part = scores.of(np.asarray(chosen, dtype=int))
        total = part.bytes.sum()
        champion = float(part.champion.sum() / total)
        found.append(
            Comparison(
                name,
                len(part.bytes),
                float(part.candidate.sum() / total),
                champion,
                difference(part),
                upper(part, alpha, resamples, generator),
                0.0 if name == OVERALL else margin * champion,
                name == OVERALL or len(part.bytes) >= least,
            )
        )
    reasons = tuple(str(one) for one in found if not one.passed)
    return Verdict(not reasons, reasons, tuple(found))
