"""Holds the configuration search to how little it measures, and to how near it comes to having measured everything."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.serving.errors import ArgumentError
from workloads.serving.simulator import Batcher, Service, closed_loop
from workloads.serving.tune import (
    Configuration,
    Found,
    Measure,
    Measured,
    Objective,
    Plan,
    Space,
    Trial,
    begin,
    config_with,
    decide,
    exhaustive,
    tune,
)

SMALL = Space((1, 2, 3), (1, 4, 8, 16, 32), (0, 100, 500, 2000, 10_000), ((), (0.5,)))
spaces = st.builds(
    Space,
    st.sets(st.integers(1, 8), min_size=1).map(lambda s: tuple(sorted(s))),
    st.sets(st.sampled_from([1, 2, 4, 8, 16, 32]), min_size=1).map(lambda s: tuple(sorted(s))),
    st.sets(st.sampled_from([0, 100, 1000, 5000]), min_size=1).map(lambda s: tuple(sorted(s))),
    st.sets(st.sampled_from([(), (0.5,), (0.25, 1.0)]), min_size=1).map(lambda s: tuple(sorted(s))),
)


def queue(service: Service, concurrency: int, objective: Objective, noise: float = 0.0, seed: int = 0) -> Measure:
    """Measures on a simulated queue; `noise`: the relative standard deviation of a measurement of one second."""
    chance = np.random.default_rng(seed)

    def measure(configuration: Configuration, seconds: float) -> Measured:
        c = configuration
        batcher = Batcher(c.instances, c.batch, c.delay_us / 1e6, c.preferred)
        found = closed_loop(batcher, service, concurrency=concurrency, seconds=0.5, client_s=0.0005)
        latency = float(np.quantile(found.latencies_s, objective.quantile, method="inverted_cdf"))
        error = float(np.exp(chance.normal(0.0, noise / np.sqrt(seconds)))) if noise else 1.0
        return Measured(found.throughput * error, latency / error)

    return measure


SERVICES = {
    "two cores": (Service(((1, 0.004), (8, 0.006), (32, 0.018)), cores=2), 32),
    "a GPU": (Service(((1, 0.005), (8, 0.0052), (16, 0.0055), (32, 0.007)), cores=1), 64),
    "nothing to batch": (Service.linear(0.0002, 0.002, cores=2), 16),
}


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("latency_s", [float("inf"), 0.03])
def test_what_is_found_is_nearly_the_best_there_is(name: str, latency_s: float) -> None:
    service, concurrency = SERVICES[name]
    objective = Objective(latency_s)
    true = queue(service, concurrency, objective)
    best = objective.score(exhaustive(true, SMALL, objective, seconds=1.0).measured)
    for seed in range(3):
        found = tune(queue(service, concurrency, objective, 0.02, seed), SMALL, objective, seconds=1.0, seed=seed)
        assert objective.score(true(found.best.configuration, 1.0)) >= 0.95 * best
        assert found.met


@given(spaces, st.floats(0.01, 1.0), st.integers(0, 1000), st.randoms(use_true_random=False))
def test_no_more_is_measured_than_was_allowed(space: Space, share: float, seed: int, chance: random.Random) -> None:
    """Whatever the measurements say, even that everything fails."""
    configurations = space.configurations()

    def measure(configuration: Configuration, seconds: float) -> Measured:
        assert configuration in configurations
        assert 0 < seconds <= 2.0
        return Measured(chance.random(), chance.random(), chance.choice([0.0, 0.0, 0.1]))

    found = tune(measure, space, Objective(0.5), seconds=2.0, share=share, seed=seed)
    allowed = max(1, int(len(configurations) * share))
    assert found.configurations <= allowed
    assert found.space == len(configurations)
    # A whole measurement each would be the most; each configuration is measured at most once at each length.
    assert found.seconds <= allowed * 2.0 * (1 + 1 / 2 + 1 / 4 + 1 / 8)
    assert max(Counter((t.configuration, t.seconds) for t in found.trials).values()) == 1
    assert found.best.seconds == 2.0


def test_the_better_half_is_measured_for_twice_as_long() -> None:
    space, plan, objective = SMALL, Plan(16, 8.0, explore=1.0), Objective()
    state = begin(space, plan, random.Random(0))
    lengths: list[float] = []
    rate = {configuration: float(index) for index, configuration in enumerate(state.sampled, 1)}
    while (step := decide(state, space, plan, objective)) is not None:
        assert step == decide(state, space, plan, objective), "the same state gives the same decision"
        lengths.append(step.seconds)
        measured = Measured(rate.get(step.configuration, 0.5), 0.1)
        state = state.with_trial(step.rung, Trial(step.configuration, step.seconds, measured))
    assert lengths[:30] == [1.0] * 16 + [2.0] * 8 + [4.0] * 4 + [8.0] * 2
    # The best two have come through, and only what is near them is looked at afterwards.
    assert {t.configuration for t in state.rungs[-1]} == set(state.sampled[-2:])
    assert len(state.measured) == 16


def test_an_objective_is_met_before_anything_is_fast() -> None:
    objective = Objective(0.1)
    slow, fast, failing = Measured(10, 0.05), Measured(1000, 0.2), Measured(1000, 0.05, failed=0.01)
    assert objective.score(slow) > objective.score(fast) > objective.score(failing)
    assert objective.score(Measured(1, 0.15)) > objective.score(fast), "nearer to it is better"
    found = tune(lambda *_: fast, SMALL, objective, seconds=1.0)
    assert not found.met


def test_configurations_that_are_the_same_are_one() -> None:
    space = Space((1,), (1, 8), (0, 100), ((), (0.5,), (1.0,)))
    assert space.configurations() == [
        Configuration(1, 1, 0),
        Configuration(1, 8, 0),
        Configuration(1, 8, 100),
        Configuration(1, 8, 100, (4,)),
    ]
    # From no batching, every delay is a step away.
    assert set(space.neighbours(Configuration(1, 1, 0))) == set(space.configurations()[1:])


@given(spaces, st.integers(1, 40), st.integers(0, 100))
def test_a_sample_differs_and_neighbours_are_of_the_space(space: Space, count: int, seed: int) -> None:
    configurations = set(space.configurations())
    sample = space.sample(count, random.Random(seed))
    assert len(sample) == len(set(sample)) == min(count, len(configurations))
    for configuration in sample:
        neighbours = space.neighbours(configuration)
        assert set(neighbours) <= configurations - {configuration}


def test_a_configuration_as_triton_has_it() -> None:
    config = {
        "name": "m",
        "max_batch_size": 4,
        "dynamic_batching": {"max_queue_delay_microseconds": 7},
        "instance_group": [{"kind": "KIND_GPU", "count": 1, "gpus": [0]}],
    }
    changed = config_with(config, Configuration(2, 8, 100, (4,)))
    assert changed == {
        "name": "m",
        "max_batch_size": 8,
        "dynamic_batching": {"max_queue_delay_microseconds": 100, "preferred_batch_size": [4]},
        "instance_group": [{"kind": "KIND_GPU", "count": 2, "gpus": [0]}],
    }
    assert "dynamic_batching" not in config_with(config, Configuration(1, 1, 0))
    assert config["max_batch_size"] == 4
    assert str(Configuration(2, 8, 100, (4, 8))) == "2 instances, batch 8, delay 100 µs, preferred 4/8"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Space(instances=()),
        lambda: Space(batches=(0, 1)),
        lambda: Space(delays_us=(1, 1)),
        lambda: Space(preferred=((2.0,),)),
        lambda: Objective(0),
        lambda: Objective(1, 1.0),
        lambda: Plan(0, 1.0),
        lambda: tune(lambda *_: Measured(1, 1), SMALL, Objective(), seconds=1.0, share=0.0),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: object) -> None:
    with pytest.raises(ArgumentError, match="expected"):
        wrong()  # type: ignore[operator]


def test_a_report_comes_of_every_trial() -> None:
    seen: list[object] = []
    found: Found = tune(lambda *_: Measured(1, 1), SMALL, Objective(), seconds=1.0, report=seen.append)
    assert seen == list(found.trials)
