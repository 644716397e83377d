"""Distances between two samples, all columns at once: Kolmogorov-Smirnov, Wasserstein, PSI; and MMD by permutation.

Rows of an array are columns of the data: `(columns, rows)`, so that each is contiguous where it is sorted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

PSI_BINS = 10
MEDIAN_ROWS = 200


@dataclass(frozen=True)
class Columns:
    """Of every column: statistics and p-values, each of shape (columns,)."""

    ks: np.ndarray
    ks_p: np.ndarray
    wasserstein: np.ndarray
    """In units of the column."""
    psi: np.ndarray
    psi_p: np.ndarray


def compare(reference: np.ndarray, current: np.ndarray, bins: int = PSI_BINS) -> Columns:
    """Both (columns, rows), finite, at least two rows each. One sort of each sample gives all three distances.

    Column by column, so that one is in the processor's cache for all that is asked of it.
    """
    n, m = reference.shape[1], current.shape[1]
    positions = np.arange(m)
    steps = (positions + 1) / m
    shares, at_reference, at_current = _quantile_steps(n, m)
    ranks = np.arange(1, bins) * n // bins
    ks, wasserstein = np.empty(len(reference)), np.empty(len(reference))
    # Of every column how many values are less than each edge of its bins, of either sample; after the last edge all.
    less = np.empty((2, len(reference), 2 * bins))
    less[:, :, 0], less[0, :, 1:], less[1, :, 1:] = 0, n, m
    for column, (unsorted_reference, unsorted_current) in enumerate(zip(reference, current, strict=True)):
        ours, theirs = np.sort(unsorted_reference), np.sort(unsorted_current)
        # Distribution functions differ most at a value of `theirs`, or just before it.
        # How many of `ours` are up to each: a stable sort merges what is sorted, quicker than a search for each.
        merged = np.concatenate([ours, theirs]).argsort(kind="stable")
        above = np.flatnonzero(merged >= n) - positions
        higher = steps - above * (1 / n)
        lower = higher
        if np.any(ours[np.maximum(above - 1, 0)] == theirs):
            lower = steps - np.searchsorted(ours, theirs, "left") * (1 / n)
        ks[column] = max(np.max(higher), 1 / m - np.min(lower))
        apart = ours - theirs if n == m else ours[at_reference] - theirs[at_current]
        wasserstein[column] = np.abs(apart) @ shares
        edges = _edges(ours, ranks)
        for side, ascending in enumerate((ours, theirs)):
            less[side, column, 1 : len(edges) + 1] = np.searchsorted(ascending, edges)
    expected, found = np.diff(less, axis=2)
    # The limit is Kolmogorov's; the correction for few rows is Vrbik's (2018, "Small-sample corrections to
    # Kolmogorov-Smirnov test statistic"; remembered, the tests hold it to scipy.stats.ks_2samp).
    root = (n * m / (n + m)) ** 0.5
    scaled = ks * root
    ks_p = special.kolmogorov(np.maximum(scaled + 1 / (6 * root) + (scaled - 1) / (4 * root**2), 0))
    index = psi(expected, found)
    used = np.sum((expected > 0) | (found > 0), axis=1)
    psi_p = np.where(used > 1, special.chdtrc(np.maximum(used - 1, 1), index / (1 / n + 1 / m)), 1.0)
    return Columns(ks, ks_p, wasserstein, index, psi_p)


def _quantile_steps(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Between which shares both samples' quantile functions stay the same, and at which value of each.

    Wasserstein's distance is the area between the two; where they step depends on how many there are alone.
    """
    if n == m:
        return np.full(n, 1 / n), np.arange(n), np.arange(n)
    # In units of 1 / (n m): whole numbers, so that steps of both at once are seen to be.
    ends = np.union1d(np.arange(1, n + 1, dtype=np.int64) * m, np.arange(1, m + 1, dtype=np.int64) * n)
    starts = np.concatenate([[0], ends[:-1]])
    return (ends - starts) / (n * m), starts // m, starts // n


def _edges(ascending: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Where bins between quantiles of a sample end, for counting what is less.

    A quantile on which several values lie is a bin of its own, so that columns of few different values, or of only one,
    are compared too.
    """
    values = np.unique(ascending[ranks])
    piles = values[np.searchsorted(ascending, values, "right") - np.searchsorted(ascending, values) > 1]
    return np.union1d(values, np.nextafter(piles, np.inf)) if len(piles) else values


def psi(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Population stability index of counts in the same bins, the last axis.

    Symmetric, never negative, finite: half an observation is added to each bin that either has any in (Jeffreys). Where
    nothing has drifted, PSI / (1/n + 1/m) is distributed as chi-squared with one degree less than there are bins
    (Yurdakul, 2018, "Statistical properties of population stability index").
    """
    used = (expected > 0) | (found > 0)
    p, q = expected + 0.5 * used, found + 0.5 * used
    p = p / p.sum(axis=-1, keepdims=True)
    q = q / q.sum(axis=-1, keepdims=True)
    ratio = np.log(np.where(used, p, 1.0) / np.where(used, q, 1.0))
    return np.sum((p - q) * ratio, axis=-1)


@dataclass(frozen=True)
class Mmd:
    """`distance` is the root of the unbiased squared distance, 0 where that is negative; `p` is exact."""

    distance: float
    p: float
    permutations: int


def mmd(
    reference: np.ndarray,
    current: np.ndarray,
    random: np.random.Generator,
    *,
    permutations: int = 200,
    most_permutations: int = 200,
    rows: int = 400,
) -> Mmd:
    """Maximum mean discrepancy of two samples (rows, dimensions) with an RBF kernel as wide as the median distance.

    Of more than `rows` in a sample a random choice is taken: the kernel is a matrix of all pairs (Gretton et al., 2012,
    "A kernel two-sample test"). Each permutation is a column of weights, so all of them are one matrix product. If not
    one of them is as far apart as the data, the p-value would be their number's and not the data's: then permutations
    up to `most_permutations` are added. (Any p-value up to u still happens with probability at most u: adding needs
    a first stage without an exceedance, and then the whole count decides.)
    """
    x, y = (_chosen(sample, rows, random) for sample in (reference, current))
    n, m = len(x), len(y)
    pooled = np.concatenate([x, y]).astype(np.float32)
    pooled -= pooled.mean(axis=0)
    kernel = _kernel(pooled, random)
    # The kernel's diagonal adds the same to every arrangement; without it the squared distance is almost unbiased.
    np.fill_diagonal(kernel, 0)

    def squared(first: np.ndarray) -> np.ndarray:
        """Squared distances, less the diagonal's share, with these rows (arrangements, n) as the reference."""
        weights = np.full((len(first), n + m), -1 / m, np.float32)
        np.put_along_axis(weights, first, np.float32(1 / n), axis=1)
        return np.einsum("ij,ij->i", weights @ kernel, weights)

    observed = squared(np.arange(n)[None])[0]
    # What float32 cannot tell apart counts as equally far.
    tolerance = 1e-6 * abs(float(observed))
    done = exceeded = 0
    for wanted in (permutations, most_permutations):
        if wanted > done and not exceeded:
            shuffled = random.random((wanted - done, n + m), np.float32).argpartition(n - 1, axis=1)[:, :n]
            exceeded += int(np.sum(squared(shuffled) >= observed - tolerance))
            done = wanted
    within_x, within_y, across = kernel[:n, :n].sum(), kernel[n:, n:].sum(), kernel[:n, n:].sum()
    unbiased = float(within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * across / (n * m))
    return Mmd(max(unbiased, 0.0) ** 0.5, (1 + exceeded) / (1 + done), done)


def _chosen(sample: np.ndarray, rows: int, random: np.random.Generator) -> np.ndarray:
    return sample if len(sample) <= rows else sample[random.choice(len(sample), rows, replace=False)]


def _kernel(rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    few = rows[random.permutation(len(rows))[:MEDIAN_ROWS]]
    apart = _products(few, 1.0)[np.triu_indices(len(few), 1)]
    apart = apart[apart > 0]
    kernel = _products(rows, -1 / float(np.median(apart)) if len(apart) else -1.0)
    # What rounding has left of rows that are the same.
    np.minimum(kernel, 0, out=kernel)
    return np.exp(kernel, out=kernel)


def _products(rows: np.ndarray, scale: float) -> np.ndarray:
    """Squared distances of all pairs, times `scale`, as one matrix product: |x|^2 + |y|^2 - 2 x y."""
    squares, ones = np.einsum("ij,ij->i", rows, rows)[:, None], np.ones((len(rows), 1), rows.dtype)
    left = np.concatenate([-2 * rows, ones, squares], axis=1) * np.float32(scale)
    return left @ np.concatenate([rows, squares, ones], axis=1).T
