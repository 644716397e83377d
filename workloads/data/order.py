"""In which order samples are seen: a closed form of (seed, epoch, position).

Nothing is stored and nothing is walked through: position 10^9 costs what position 0 costs, and no rank, world size or
earlier failure has a say in it.

A sample is one sequence of one shard. In each epoch the shards are permuted, `window` of them after another make a
window, and the samples of a window are permuted among themselves. So a node needs the shards of one window at a time,
and those of the next can be fetched meanwhile. A window of all shards is a shuffle of the whole epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

ROUNDS, ROUNDS_FOR_SHARDS = 8, 24
"""Of the Feistel network, even. Four make a pseudorandom permutation (Luby and Rackoff, 1988) where halves are large;
with halves of a few bits more are needed, until all permutations are about as frequent. Samples of a window are many.
"""
_MASK = 2**64 - 1


def mix(*values: int) -> int:
    """64 bits that depend on every bit of `values` (splitmix64's finaliser; Steele et al., 2014)."""
    state = 0
    for value in values:
        state = (state + 0x9E3779B97F4A7C15 + (value & _MASK)) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def permute(index: np.ndarray, size: np.ndarray, key: np.ndarray, rounds: int = ROUNDS) -> np.ndarray:
    """Where a keyed permutation of [0, size) takes `index`: int64 of its shape.

    `size` and `key` have the shape of `index`, or (1,), which is quicker.
    A Feistel network over the next power of two, walked until it comes back below `size` (Black and Rogaway, 2002,
    "Ciphers with Arbitrary Finite Domains"): fewer than two steps on average.
    """
    n, key = size.astype(np.uint64), key.astype(np.uint64)
    # Bits of n - 1, from its place among the powers of two: exact, which a logarithm is not.
    bits = np.maximum(np.searchsorted(_POWERS, n - np.uint64(1), side="right").astype(np.uint64), np.uint64(2))
    y = _feistel(index.astype(np.uint64), bits, key, rounds)
    outside = np.flatnonzero(y >= n)
    while len(outside):
        if len(n) == len(index):
            y[outside] = _feistel(y[outside], bits[outside], key[outside], rounds)
            outside = outside[y[outside] >= n[outside]]
        else:
            y[outside] = walked = _feistel(y[outside], bits, key, rounds)
            outside = outside[walked >= n]
    return y.astype(np.int64)


_POWERS = np.array([2**bit for bit in range(64)], np.uint64)


def _feistel(x: np.ndarray, bits: np.ndarray, key: np.ndarray, rounds: int) -> np.ndarray:
    """The left part has half of the bits, rounded down; the parts change places in each of an even number of rounds."""
    right_bits = (bits + np.uint64(1)) >> np.uint64(1)
    left_bits = bits - right_bits
    # The upper bits are the best mixed ones.
    keep, keep_next = np.uint64(64) - left_bits, np.uint64(64) - right_bits
    left, right = x >> right_bits, x & ((np.uint64(1) << right_bits) - np.uint64(1))
    for turn in range(rounds):
        mixed = (right + (key + _TURNS[turn])) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)
        left, right = right, left ^ (mixed >> keep)
        keep, keep_next = keep_next, keep
    return (left << right_bits) | right


_TURNS = np.array([mix(turn) for turn in range(ROUNDS_FOR_SHARDS)], np.uint64)


@dataclass(frozen=True)
class _Epoch:
    """One epoch's shards in their order: where each begins, and where each window does."""

    shards: np.ndarray  # (shards,) which shard comes when
    starts: np.ndarray  # (shards + 1,) samples before it
    windows: np.ndarray  # (windows + 1,) samples before each window
    keys: np.ndarray  # (windows,)


class Order:
    """The order of all samples of all epochs. `samples`: how many each shard has; `window`: shards in a window.

    Raises ValueError where there is no sample at all.
    """

    def __init__(self, samples: Sequence[int], seed: int, window: int) -> None:
        self.samples = np.asarray(samples, np.int64)
        self.epoch_size = int(self.samples.sum())
        if window < 1:
            raise ValueError(f"window of {window} shards: expected at least 1")
        if not self.epoch_size:
            raise ValueError("no shard holds a single sequence")
        self.seed, self.window = seed, window
        # Two epochs meet in a batch, and one more is looked at in advance.
        self._epoch = lru_cache(maxsize=4)(self._lay_out)

    def at(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions `start` up to `start + count`: shard, sample in that shard, and window; int64 of shape (count,).

        Windows are numbered through all epochs: epoch * windows_per_epoch + window.
        """
        shard, sample, window = (np.empty(count, np.int64) for _ in range(3))
        done = 0
        while done < count:
            epoch, first = divmod(start + done, self.epoch_size)
            some = min(count - done, self.epoch_size - first)
            part = slice(done, done + some)
            shard[part], sample[part], window[part] = self._within(epoch, np.arange(first, first + some))
            done += some
        return shard, sample, window

    def _within(self, epoch: int, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        laid = self._epoch(epoch)
        ends = np.searchsorted(laid.windows, index[[0, -1]], side="right") - 1
        # Nearly always all are in one window.
        window = ends[:1] if ends[0] == ends[1] else np.searchsorted(laid.windows, index, side="right") - 1
        start = laid.windows[window]
        place = start + permute(index - start, laid.windows[window + 1] - start, laid.keys[window])
        turn = np.searchsorted(laid.starts, place, side="right") - 1
        return laid.shards[turn], place - laid.starts[turn], epoch * self.windows_per_epoch + window

    @property
    def windows_per_epoch(self) -> int:
        return -(-len(self.samples) // self.window)

    def shards_of(self, window: int) -> np.ndarray:
        """The shards of a window that have samples, as `at` numbers windows."""
        epoch, within = divmod(window, self.windows_per_epoch)
        shards = self._epoch(epoch).shards[within * self.window : (within + 1) * self.window]
        return shards[self.samples[shards] > 0]

    def _lay_out(self, epoch: int) -> _Epoch:
        count = len(self.samples)
        key = np.array([mix(self.seed, epoch, 0)], np.uint64)
        shards = permute(np.arange(count), np.array([count]), key, ROUNDS_FOR_SHARDS)
        starts = np.concatenate([[0], np.cumsum(self.samples[shards])])
        windows = np.append(starts[: -1 : self.window], starts[-1])
        keys = np.array([mix(self.seed, epoch, 1, w) for w in range(len(windows) - 1)], np.uint64)
        return _Epoch(shards, starts, windows, keys)
