"""Finds a model's configuration, the fastest under a latency objective: instances, batch size, delay, preferred sizes.

Whoever calls it hands in how to measure one: a simulated queue, a Triton on this machine, or one with a GPU. Few are
measured, and most of those only briefly: a sample of the whole space, of which the better half is measured for twice as
long until few are left (successive halving: Jamieson and Talwalkar, 2016); then the neighbours of the best, one step in
one direction at a time, until none is better.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from workloads.serving.errors import ArgumentError


@dataclass(frozen=True, order=True)
class Configuration:
    """What Triton's `instance_group` and `dynamic_batching` are made from."""

    instances: int
    batch: int
    """max_batch_size; 1: no batching."""
    delay_us: int
    """max_queue_delay_microseconds."""
    preferred: tuple[int, ...] = ()
    """preferred_batch_size."""

    def __str__(self) -> str:
        preferred = f", preferred {'/'.join(map(str, self.preferred))}" if self.preferred else ""
        waiting = f", delay {self.delay_us} µs{preferred}" if self.batch > 1 else ""
        return f"{self.instances} instance{'s' * (self.instances > 1)}, batch {self.batch}{waiting}"

    def triton(self) -> dict[str, Any]:
        """The fields of the model's configuration, as Triton's JSON has them."""
        batching: dict[str, Any] = {"max_queue_delay_microseconds": self.delay_us}
        if self.preferred:
            batching["preferred_batch_size"] = list(self.preferred)
        return {"max_batch_size": self.batch, "dynamic_batching": batching if self.batch > 1 else None}


@dataclass(frozen=True)
class Space:
    """What is tried. `preferred`: as shares of the batch size, each entry a whole set of them; () is none."""

    instances: tuple[int, ...] = (1, 2, 3, 4)
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    delays_us: tuple[int, ...] = (0, 50, 100, 250, 500, 1000, 2000, 5000)
    preferred: tuple[tuple[float, ...], ...] = ((), (0.5,), (0.5, 1.0))

    def __post_init__(self) -> None:
        wanted = {
            "instances": lambda each: each >= 1,
            "batches": lambda each: each >= 1,
            "delays_us": lambda each: each >= 0,
            "preferred": lambda each: all(0 < share <= 1 for share in each) and list(each) == sorted(set(each)),
        }
        for field in fields(self):
            values = getattr(self, field.name)
            if not values or len(set(values)) < len(values) or not all(map(wanted[field.name], values)):
                raise ArgumentError(f"Space.{field.name}: {values}; expected some values, each once and possible")

    def at(self, place: Sequence[int]) -> Configuration:
        """The configuration at an index into each field. Those that would be the same are made the same."""
        instances, batch = self.instances[place[0]], self.batches[place[1]]
        if batch == 1:
            return Configuration(instances, 1, 0)
        delay = self.delays_us[place[2]]
        preferred = tuple(sorted({max(1, round(share * batch)) for share in self.preferred[place[3]]}))
        # Without a delay nothing is waited for; and to wait for a whole batch is what no preferred size means.
        return Configuration(instances, batch, delay, preferred if delay and preferred != (batch,) else ())

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        return len(self.instances), len(self.batches), len(self.delays_us), len(self.preferred)

    def configurations(self) -> list[Configuration]:
        """All that differ."""
        places: Iterable[tuple[int, ...]] = [()]
        for size in self.sizes:
            places = [(*place, index) for place in places for index in range(size)]
        return sorted({self.at(place) for place in places})

    def neighbours(self, configuration: Configuration) -> list[Configuration]:
        """One step away in one direction, and along the line on which instances times batch stays about the same."""
        steps = [(axis, step) for axis in range(4) for step in (-1, 1)]
        moves = [{axis: step} for axis, step in steps] + [{0: 1, 1: -1}, {0: -1, 1: 1}]
        found: list[Configuration] = []
        for place in self._places(configuration):
            for move in moves:
                moved = [index + move.get(axis, 0) for axis, index in enumerate(place)]
                if all(0 <= index < size for index, size in zip(moved, self.sizes, strict=True)):
                    found.append(self.at(moved))
        return [each for each in dict.fromkeys(found) if each != configuration]

    def _places(self, configuration: Configuration) -> list[tuple[int, int, int, int]]:
        """All places of a configuration: one without batching is the same at every delay."""
        instance, batch = self.instances.index(configuration.instances), self.batches.index(configuration.batch)
        return [
            (instance, batch, delay, preferred)
            for delay in range(len(self.delays_us))
            for preferred in range(len(self.preferred))
            if self.at((instance, batch, delay, preferred)) == configuration
        ]

    def sample(self, count: int, chance: random.Random) -> list[Configuration]:
        """So many different ones, each value of each field about as often as any other (a Latin hypercube)."""
        everything = self.configurations()
        if count >= len(everything):
            return chance.sample(everything, len(everything))
        found: dict[Configuration, None] = {}
        while len(found) < count:
            columns = []
            for size in self.sizes:
                column = [int((index + chance.random()) * size / count) for index in range(count)]
                chance.shuffle(column)
                columns.append(column)
            for place in zip(*columns, strict=True):
                if len(found) < count:
                    found[self.at(place)] = None
        return list(found)


@dataclass(frozen=True)
class Measured:
    """What a configuration did."""

    throughput: float
    """Answers a second."""
    latency_s: float
    """At the objective's quantile."""
    failed: float = 0.0
    """Share of the requests."""


@dataclass(frozen=True)
class Objective:
    """As many answers a second as can be, while `quantile` of all requests are answered within `latency_s`."""

    latency_s: float = math.inf
    quantile: float = 0.99

    def __post_init__(self) -> None:
        if not self.latency_s > 0 or not 0 < self.quantile < 1:
            found = f"objective of {self.latency_s} s at quantile {self.quantile}"
            raise ArgumentError(f"{found}: expected seconds above 0, a quantile between 0 and 1")

    def score(self, measured: Measured) -> float:
        """Higher is better: answers a second where the objective is met, less than nothing where it is not."""
        if measured.failed or not measured.throughput:
            return -math.inf
        return measured.throughput if measured.latency_s <= self.latency_s else -measured.latency_s / self.latency_s


LEADERS = 3
"""Of the best, whose neighbours are looked at."""

Measure = Callable[[Configuration, float], Measured]
"""Measures a configuration for so many seconds."""


@dataclass(frozen=True)
class Trial:
    """One measurement."""

    configuration: Configuration
    seconds: float
    measured: Measured


@dataclass(frozen=True)
class Plan:
    """How much may be measured."""

    configurations: int
    """Different ones."""
    seconds: float
    """Of a whole measurement. The first are an eighth as long, then a quarter, then a half."""
    explore: float = 0.6
    """Share of the configurations for the sample of the whole space; the others are for neighbours."""
    halvings: int = 3

    def __post_init__(self) -> None:
        good = self.configurations >= 1 and 0 < self.seconds < math.inf and 0 < self.explore <= 1 and self.halvings >= 0
        if not good:
            raise ArgumentError(f"{self}: expected at least 1 configuration, seconds above 0, explore above 0 up to 1")

    def length(self, rung: int) -> float:
        return self.seconds / 2 ** (self.halvings - rung)


@dataclass(frozen=True)
class State:
    """Where the search is. Each rung has what was measured for that long, in the order in which it was."""

    sampled: tuple[Configuration, ...]
    rungs: tuple[tuple[Trial, ...], ...]

    @property
    def measured(self) -> frozenset[Configuration]:
        return frozenset(trial.configuration for rung in self.rungs for trial in rung)

    def at(self, rung: int, configuration: Configuration) -> Trial | None:
        return next((trial for trial in self.rungs[rung] if trial.configuration == configuration), None)

    def with_trial(self, rung: int, trial: Trial) -> State:
        rungs = list(self.rungs)
        rungs[rung] = (*rungs[rung], trial)
        return replace(self, rungs=tuple(rungs))


@dataclass(frozen=True)
class Next:
    """Measure this for `seconds`, and count it to `rung`."""

    configuration: Configuration
    rung: int
    seconds: float


def begin(space: Space, plan: Plan, chance: random.Random) -> State:
    count = min(plan.configurations, max(1, round(plan.configurations * plan.explore)))
    return State(tuple(space.sample(count, chance)), ((),) * (plan.halvings + 1))


def decide(state: State, space: Space, plan: Plan, objective: Objective) -> Next | None:
    """What to measure next; None: the search is over."""
    for configuration in state.sampled:
        if not state.at(0, configuration):
            return Next(configuration, 0, plan.length(0))
    keep = len(state.sampled)
    for rung in range(1, plan.halvings + 1):
        keep = max(1, math.ceil(keep / 2))
        sampled = [trial for trial in state.rungs[rung - 1] if trial.configuration in state.sampled]
        for trial in _best_first(sampled, objective)[:keep]:
            if not state.at(rung, trial.configuration):
                return Next(trial.configuration, rung, plan.length(rung))
    return _climb(state, space, plan, objective)


def _climb(state: State, space: Space, plan: Plan, objective: Objective) -> Next | None:
    """A neighbour of the best, first briefly, then as long as the best was if it may well be better; when there is none
    left, one of the second best and the third, for what is not to be had by one step at a time."""
    whole = plan.halvings
    brief = min(1, whole)
    leaders = _best_first(state.rungs[whole], objective)[:LEADERS]
    best = leaders[0]
    for leader in leaders:
        for neighbour in space.neighbours(leader.configuration):
            known = state.at(brief, neighbour)
            if known is None:
                if neighbour in state.measured or len(state.measured) < plan.configurations:
                    return Next(neighbour, brief, plan.length(brief))
                continue
            reference = state.at(brief, best.configuration) or best
            if not state.at(whole, neighbour) and _promising(known, reference, objective):
                return Next(neighbour, whole, plan.length(whole))
    return None


def _promising(trial: Trial, best: Trial, objective: Objective) -> bool:
    """Whether a short measurement may be of something better: it is worse by no more than such a one errs."""
    mine, its = objective.score(trial.measured), objective.score(best.measured)
    return mine >= (its * 0.95 if its > 0 else its * 1.05)


def best_of(state: State, objective: Objective) -> Trial:
    """The best of what was measured the longest."""
    longest = next(rung for rung in reversed(state.rungs) if rung)
    return _best_first(longest, objective)[0]


def _best_first(trials: Iterable[Trial], objective: Objective) -> list[Trial]:
    """Of equals the smaller one, which is cheaper to run."""
    return sorted(trials, key=lambda trial: (-objective.score(trial.measured), trial.configuration))


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    best: Trial
    trials: tuple[Trial, ...]
    """All, in the order in which they were measured."""
    space: int
    """Configurations there are."""
    met: bool
    """Whether the best meets the objective."""

    @property
    def configurations(self) -> int:
        """Different ones that were measured."""
        return len({trial.configuration for trial in self.trials})

    @property
    def seconds(self) -> float:
        return sum(trial.seconds for trial in self.trials)


def tune(
    measure: Measure,
    space: Space,
    objective: Objective,
    *,
    seconds: float,
    share: float = 0.1,
    seed: int = 0,
    report: Callable[[Trial], None] = lambda _: None,
) -> Found:
    """The best configuration. At most `share` of all are measured, none of them for longer than `seconds` at a time."""
    if not 0 < share <= 1:
        raise ArgumentError(f"share {share}: expected more than 0, at most 1")
    total = len(space.configurations())
    plan = Plan(max(1, int(total * share)), seconds)
    state = begin(space, plan, random.Random(seed))
    trials = []
    while (step := decide(state, space, plan, objective)) is not None:
        trial = Trial(step.configuration, step.seconds, measure(step.configuration, step.seconds))
        trials.append(trial)
        report(trial)
        state = state.with_trial(step.rung, trial)
    best = best_of(state, objective)
    return Found(best, tuple(trials), total, objective.score(best.measured) > 0)


def exhaustive(measure: Measure, space: Space, objective: Objective, *, seconds: float) -> Trial:
    """The best of all, each measured in full: what `tune` is held to."""
    trials = [Trial(each, seconds, measure(each, seconds)) for each in space.configurations()]
    return _best_first(trials, objective)[0]


def config_with(config: Mapping[str, Any], configuration: Configuration) -> dict[str, Any]:
    """A model's configuration, as Triton's JSON has it, with this one in place of its own."""
    changed = {key: value for key, value in config.items() if key not in ("dynamic_batching", "max_batch_size")}
    groups = config.get("instance_group") or [{"kind": "KIND_CPU"}]
    changed["instance_group"] = [{**groups[0], "count": configuration.instances}]
    return changed | {key: value for key, value in configuration.triton().items() if value is not None}
