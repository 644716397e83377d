"""Holds the simulated queue to queueing theory, to what a batcher promises, and to nothing being lost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.serving.errors import ArgumentError
from workloads.serving.simulator import Batcher, Service, closed_loop, open_loop

batchers = st.builds(
    lambda instances, batch, delay, preferred: Batcher(
        instances, batch, delay, tuple(p for p in preferred if p <= batch)
    ),
    st.integers(1, 4),
    st.integers(1, 16),
    st.sampled_from([0.0, 0.001, 0.01, 0.1]),
    st.sets(st.integers(1, 16), max_size=3).map(sorted),
)
services = st.builds(Service.linear, st.floats(0.0001, 0.02), st.floats(0.0, 0.002), st.sampled_from([1.0, 2.0, 8.0]))
arrivals = st.lists(st.floats(0, 0.05), max_size=80).map(lambda gaps: list(itertools.accumulate(gaps)))


def poisson(rate: float, count: int, seed: int = 0) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_instance_without_batching_waits_as_pollaczek_and_khinchine_say(load: float) -> None:
    """M/D/1: the mean wait is load / (2 (1 - load)) services."""
    found = open_loop(Batcher(), Service.linear(0.01, 0.0), poisson(load / 0.01, 40_000))
    assert found.latencies_s.mean() - 0.01 == pytest.approx(0.01 * load / (2 * (1 - load)), rel=0.06)
    assert found.busy_s / found.seconds == pytest.approx(load, rel=0.02)


def test_idle_instances_share_the_work_of_one_queue() -> None:
    """Ten instances at the load of one: hardly anybody waits."""
    found = open_loop(Batcher(instances=10), Service.linear(0.01, 0.0), poisson(100, 20_000))
    assert found.latencies_s.mean() == pytest.approx(0.01, rel=0.001)


def test_a_closed_loop_is_as_fast_as_its_batches() -> None:
    service = Service.linear(0.01, 0.001)
    found = closed_loop(Batcher(batch=32), service, concurrency=32, seconds=10)
    assert found.throughput == pytest.approx(32 / service.seconds(32), rel=0.01)
    assert set(found.batches) == {32}
    alone = closed_loop(Batcher(batch=1), service, concurrency=32, seconds=10)
    assert alone.throughput == pytest.approx(1 / service.seconds(1), rel=0.01)
    # Little's law: requests under way are throughput times latency.
    assert alone.throughput * alone.latencies_s[32:].mean() == pytest.approx(32, rel=0.01)


def test_instances_beyond_the_cores_bring_nothing() -> None:
    service = Service.linear(0.01, 0.0, cores=2)
    rates = [closed_loop(Batcher(n), service, concurrency=16, seconds=20).throughput for n in (1, 2, 4)]
    assert rates[1] == pytest.approx(2 * rates[0], rel=0.02)
    assert rates[2] == pytest.approx(rates[1], rel=0.1)


def test_a_lone_request_waits_for_company_as_long_as_the_delay() -> None:
    service = Service.linear(0.01, 0.0)
    assert open_loop(Batcher(batch=8, delay_s=0.005), service, [1.0]).latencies_s == pytest.approx([0.015])
    assert open_loop(Batcher(batch=8), service, [1.0]).latencies_s == pytest.approx([0.01])
    # It does not wait for more than a whole batch, or a preferred size of it.
    assert open_loop(Batcher(batch=2, delay_s=1.0), service, [1.0, 1.001]).latencies_s == pytest.approx([0.011, 0.01])
    assert open_loop(Batcher(batch=8, delay_s=1.0, preferred=(2,)), service, [1.0] * 3).batches == (2, 1)


@given(batchers, services, arrivals)
def test_every_request_is_answered_once_and_none_waits_longer_than_it_must(
    batcher: Batcher, service: Service, times: list[float]
) -> None:
    found = open_loop(batcher, service, times)
    assert len(found.latencies_s) == sum(found.batches) == len(times)
    assert all(size <= batcher.batch for size in found.batches)
    if times:
        assert found.latencies_s.min() >= service.seconds(1) - 1e-9
        # All that was before it, one at a time, and the delay.
        longest = sum(service.seconds(size, batcher.instances) + batcher.delay_s for size in found.batches)
        assert found.latencies_s.max() <= longest + 1e-6
    np.testing.assert_array_equal(found.latencies_s, open_loop(batcher, service, times).latencies_s)


@given(batchers, services, st.integers(1, 40))
def test_a_closed_loop_never_has_more_under_way_than_clients(batcher: Batcher, service: Service, clients: int) -> None:
    found = closed_loop(batcher, service, concurrency=clients, seconds=service.seconds(16, 4) * 20)
    assert max(found.batches) <= min(batcher.batch, clients)
    slowest = service.seconds(batcher.batch, batcher.instances) + batcher.delay_s
    assert found.latencies_s.max() <= slowest * (clients + 1)


def test_times_between_measured_sizes_are_interpolated_and_go_on_beyond() -> None:
    service = Service(((1, 0.01), (4, 0.016), (8, 0.018)))
    assert [service.seconds(n) for n in (1, 2, 4, 6, 8, 12)] == pytest.approx([0.01, 0.012, 0.016, 0.017, 0.018, 0.02])
    assert Service(((1, 0.01),)).seconds(9) == 0.01


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Service(()),
        lambda: Service(((2, 0.1), (1, 0.2))),
        lambda: Service(((1, 0.0),)),
        lambda: Service.linear(0.1, 0, cores=0),
        lambda: Batcher(instances=0),
        lambda: Batcher(batch=4, preferred=(8,)),
        lambda: Batcher(delay_s=float("nan")),
        lambda: open_loop(Batcher(), Service.linear(1, 0), [2.0, 1.0]),
        lambda: closed_loop(Batcher(), Service.linear(1, 0), concurrency=0, seconds=1),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: object) -> None:
    with pytest.raises(ArgumentError, match="expected"):
        wrong()  # type: ignore[operator]
