"""Whether a candidate may take a champion's place: a paired comparison over held-out documents, whole and by slices.

Both models score the same documents, so what a document is like drops out of the difference. The candidate must be
shown to be no worse: that nothing was found against it is not enough.
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


def upper(scores: Scores, alpha: float) -> float:
    """One-sided upper confidence bound of the difference: that of the jackknife over documents, and Student's quantile.

    The difference is a ratio, so documents of more bytes weigh more; leaving each out in turn shows how much hangs on
    it (Efron and Tibshirani 1993, chapter 11). Degrees of freedom are those of the effective number of documents (Kish
    1965), which is smaller where a few of them have most of the bytes.
    """
    from scipy import stats  # type: ignore[import-untyped]

    apart, count = scores.candidate - scores.champion, len(scores.bytes)
    if count < 2:
        return math.inf
    without = (apart.sum() - apart) / (scores.bytes.sum() - scores.bytes)
    deviation = math.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum())
    effective = scores.bytes.sum() ** 2 / (scores.bytes**2).sum()
    return difference(scores) + float(stats.t.ppf(1 - alpha, max(effective - 1, 1.0))) * deviation


def judge(
    scores: Scores,
    slices: Mapping[str, Sequence[int]],
    *,
    margin: float,
    alpha: float,
    least: int,
) -> Verdict:
    """Better or equal on the whole, and on no slice worse by more than a share of `margin`.

    `slices`: name -> which documents; those with fewer than `least` are told of, and not judged. All bounds must hold
    at once for the candidate to pass, so none is stricter for there being many (intersection-union, Berger 1982).
    """
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
                upper(part, alpha),
                0.0 if name == OVERALL else margin * champion,
                name == OVERALL or len(part.bytes) >= least,
            )
        )
    reasons = tuple(str(one) for one in found if not one.passed)
    return Verdict(not reasons, reasons, tuple(found))
