"""The order of samples is a permutation in each epoch, and a function of seed, epoch and position alone."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.order import ROUNDS, ROUNDS_FOR_SHARDS, Order, mix, permute

SAMPLES = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)
SEEDS = st.integers(-(2**63), 2**64)


def _order(order: Order, start: int, count: int) -> list[tuple[int, int]]:
    shard, sample, _ = order.at(start, count)
    return list(zip(shard.tolist(), sample.tolist(), strict=True))


@settings(deadline=None, max_examples=60)
@given(SAMPLES, SEEDS, st.integers(1, 14), st.integers(0, 10**12))
def test_every_epoch_has_every_sample_once(samples: list[int], seed: int, window: int, epoch: int) -> None:
    order = Order(samples, seed, window)
    found = _order(order, epoch * order.epoch_size, order.epoch_size)
    assert sorted(found) == [(shard, sample) for shard, count in enumerate(samples) for sample in range(count)]


@settings(deadline=None, max_examples=60)
@given(SAMPLES, SEEDS, st.integers(1, 14), st.integers(0, 10**15), st.lists(st.integers(1, 50), max_size=8))
def test_it_does_not_matter_how_many_are_asked_for(
    samples: list[int], seed: int, window: int, start: int, counts: list[int]
) -> None:
    whole = Order(samples, seed, window)
    found, at = [], start
    for count in counts:
        found += _order(Order(samples, seed, window), at, count)
        at += count
    assert found == _order(whole, start, sum(counts))


@settings(deadline=None, max_examples=60)
@given(SAMPLES, SEEDS, st.integers(1, 14), st.integers(0, 10**6))
def test_a_window_needs_its_own_shards_and_no_others(samples: list[int], seed: int, window: int, epoch: int) -> None:
    order = Order(samples, seed, window)
    shard, _, numbers = order.at(epoch * order.epoch_size, order.epoch_size)
    assert (np.diff(numbers) >= 0).all()
    for number in np.unique(numbers):
        assert set(shard[numbers == number]) == set(order.shards_of(int(number)))
        assert len(order.shards_of(int(number))) <= window
    assert set(numbers) <= set(range(epoch * order.windows_per_epoch, (epoch + 1) * order.windows_per_epoch))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 2**62), st.integers(0, 2**64 - 1), st.integers(0, 2**62 - 1))
def test_large_permutations_stay_inside_and_tell_their_inputs_apart(size: int, key: int, start: int) -> None:
    index = np.unique(np.minimum(np.arange(start % size, start % size + 50), size - 1))
    found = permute(index, np.array([size]), np.array([key], np.uint64))
    assert ((found >= 0) & (found < size)).all()
    assert len(np.unique(found)) == len(index)
    as_many = permute(index, np.full(len(index), size), np.full(len(index), key, np.uint64))
    assert (found == as_many).all()


@pytest.mark.parametrize(("size", "rounds"), [(n, ROUNDS_FOR_SHARDS) for n in (2, 3, 5, 7, 13)] + [(100, ROUNDS)])
def test_permutations_are_even(size: int, rounds: int) -> None:
    """Over many keys every element goes everywhere about as often: chi squared within four standard deviations."""
    keys = 10_000
    key = np.repeat(np.array([mix(9, i) for i in range(keys)], np.uint64), size)
    found = permute(np.tile(np.arange(size), keys), np.full(size * keys, size), key, rounds).reshape(keys, size)
    counts = np.array([np.bincount(found[:, i], minlength=size) for i in range(size)])
    chi_squared = ((counts - keys / size) ** 2 / (keys / size)).sum()
    freedom = (size - 1) ** 2
    assert chi_squared < freedom + 4 * (2 * freedom) ** 0.5


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    order = Order([50] * 6, 1, 3)
    epochs = [_order(order, epoch * 300, 300) for epoch in range(3)]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert _order(Order([50] * 6, 2, 3), 0, 300) != epochs[0]
    # Neighbours in a shard are rarely neighbours in the order.
    neighbours = sum(a[0] == b[0] and abs(a[1] - b[1]) == 1 for a, b in zip(epochs[0], epochs[0][1:], strict=False))
    assert neighbours < 15


def test_the_order_is_what_it_was() -> None:
    """A run that continues with a newer version must find the order in which it began."""
    assert _order(Order([3, 0, 5, 2], 7, 2), 10**9, 12) == GOLDEN


GOLDEN = [(3, 0), (3, 1), (2, 1), (0, 0), (0, 1), (2, 0), (2, 3), (0, 2), (2, 4), (2, 2), (2, 4), (2, 3)]


def test_a_far_position_costs_what_the_first_one_does() -> None:
    order = Order([10_000] * 1_000, 7, 16)
    order.at(0, 16)
    best = float("inf")
    for attempt in range(10):
        started = time.perf_counter()
        order.at(10**9 + attempt * order.epoch_size, 16)
        best = min(best, time.perf_counter() - started)
    assert best < 0.010


@pytest.mark.parametrize(("samples", "window", "says"), [([0, 0], 1, "no shard holds"), ([1], 0, "window of 0")])
def test_what_cannot_be_ordered_is_refused(samples: list[int], window: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Order(samples, 1, window)
