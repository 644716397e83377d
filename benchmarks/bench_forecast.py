"""A forecast floor that says "as much as just came" keeps a server from overload, and no other does so for much less.

Claims: with the floor `level` a server is overloaded for at most half of the time that it is without a floor; and it
takes at most 1.05 times the machine hours of any other floor with which it is overloaded less. On production traces
there was no such floor at all. Hence `level` is the default.

A simple model of the autoscaler, in steps of 30 s: replicas go by what waits, as KEDA's triggers have it (at most
doubled a minute, a tenth less in two after ten quiet ones), and no lower than the floor says; a new one takes 15
minutes. Machine hours are counted against an oracle that has as many as needed at each moment, with no time to start.
Traffic is a seeded week of days, bursts and a gap, or what files say: CSV with a header, seconds and requests a
second.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_forecast.py [TRACE.csv ...]` (half a minute).
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from measure import table, verdict
from numpy.typing import NDArray

from components.inference.forecast import DEFAULT_GROWTH, DEFAULT_UTILIZATION, INTERVAL_S, SEASONS_S
from components.inference.scaling import DOWN, UP

START_S, REPLICAS = 900, 12
"""Seconds until a replica serves; replicas at the busiest moment."""
HISTORY, AROUND = 900 // INTERVAL_S, 600 // INTERVAL_S
LEAST = 2

Rates = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    hours: float
    """Against the oracle's."""
    overloaded: float
    """Part of the time."""


def main(*traces: str) -> None:
    given = {Path(name).stem: trace(Path(name)) for name in traces} or {"a seeded week": week(np.random.default_rng(0))}
    rows, worst, dearer = [], 0.0, 1.0
    for name, rates in given.items():
        found = {method: simulated(rates, floor(rates)) for method, floor in FLOORS.items()}
        rows += [(name, method, one.hours, f"{one.overloaded:.1%}") for method, one in found.items()]
        level = found["level"]
        worst = max(worst, level.overloaded / found["none"].overloaded)
        others = [found[method] for method in ("trend", "day")]
        dearer = max(dearer, *(level.hours / one.hours for one in others if one.overloaded < level.overloaded), 1.0)
    table(("traffic", "floor", "hours / oracle", "overloaded"), rows)
    verdict("overloaded with the floor `level` / without a floor, the worst", worst, 0.5)
    verdict("hours with `level` / with a floor that is overloaded less, the worst", dearer, 1.05)


# ---- traffic


def week(chance: np.random.Generator) -> Rates:
    """Requests a second: days of unequal height, bursts that come within minutes, and an hour without any."""
    steps = 7 * 86_400 // INTERVAL_S
    at = np.arange(steps) * INTERVAL_S
    height = np.repeat(chance.uniform(0.6, 1.0, 7), 86_400 // INTERVAL_S)
    rates = 100 * height * (0.35 + 0.65 * np.maximum(0, np.sin(2 * np.pi * (at / 86_400 - 0.3))))
    for begin in chance.integers(0, steps - 240, 20):
        rates[begin : begin + 120] *= np.linspace(1, chance.uniform(1.3, 2.2), 120)
    rates *= np.exp(chance.normal(0, 0.03, steps))
    gap = int(chance.integers(0, steps - 120))
    rates[gap : gap + 120] = 0
    return rates


def trace(path: Path) -> Rates:
    with path.open(newline="") as file:
        found = np.array([[float(value) for value in row] for row in list(csv.reader(file))[1:]])
    return np.interp(np.arange(found[0, 0], found[-1, 0], INTERVAL_S), found[:, 0], found[:, 1])


# ---- floors: requests a second that are expected when a replica started now serves; nan where nothing is said


def windows(rates: Rates, size: int) -> Rates:
    """The last `size` values up to each step; nan before there are so many."""
    padded = np.concatenate([np.full(size - 1, np.nan), rates])
    return np.lib.stride_tricks.sliding_window_view(padded, size)


def level(rates: Rates) -> Rates:
    return windows(rates, HISTORY).max(axis=1)


def trend(rates: Rates) -> Rates:
    recent = windows(rates, HISTORY)
    at = (np.arange(HISTORY) - HISTORY + 1.0) * INTERVAL_S
    slope = ((recent - recent.mean(axis=1, keepdims=True)) * (at - at.mean())).sum(axis=1) / (
        (at - at.mean()) ** 2
    ).sum()
    ahead = recent.mean(axis=1) + slope * (START_S - at.mean())
    return np.minimum(np.maximum(ahead, 0), DEFAULT_GROWTH * recent.max(axis=1))


def day(rates: Rates) -> Rates:
    then = np.full(len(rates), np.nan)
    # The busiest around the time, a day earlier, at which a replica started now would serve.
    shift = (SEASONS_S["day"] - START_S) // INTERVAL_S - AROUND // 2
    then[shift:] = windows(rates, AROUND).max(axis=1)[: len(rates) - shift]
    return np.minimum(then, DEFAULT_GROWTH * windows(rates, HISTORY).max(axis=1))


FLOORS: dict[str, Callable[[Rates], Rates]] = {
    "none": lambda rates: np.full(len(rates), np.nan),
    "level": level,
    "trend": trend,
    "day": day,
}


# ---- the autoscaler


def simulated(rates: Rates, floor: Rates) -> Outcome:
    each = rates.max() / REPLICAS
    lag, quiet = START_S // INTERVAL_S, DOWN.stabilization_s // INTERVAL_S
    up, down = UP.period_s // INTERVAL_S, DOWN.period_s // INTERVAL_S
    starting = np.zeros(len(rates) + lag + 1, int)
    running = max(LEAST, math.ceil(rates[0] / each))
    coming, hours, overloaded = 0, 0, 0
    wanted = np.zeros(len(rates), int)
    for step, rate in enumerate(rates):
        running, coming = running + starting[step], coming - starting[step]
        over = rate > running * each
        # What waits grows while there is too much, and soon asks for twice the replicas; else one has 95 % to do.
        asked = 2 * running if over else math.ceil(rate / (0.95 * each))
        expected = floor[step] / (DEFAULT_UTILIZATION * each)
        wanted[step] = max(LEAST, asked, 0 if np.isnan(expected) else math.ceil(expected))
        total = running + coming
        if wanted[step] > total and step % up == 0:
            more = min(wanted[step] - total, max(UP.pods, total * UP.percent // 100))
            starting[step + lag] += more
            coming += more
        elif wanted[max(0, step - quiet) : step + 1].max() < total and step % down == 0:
            fewer = max(DOWN.pods, running * DOWN.percent // 100)
            running = max(LEAST, running - fewer, int(wanted[max(0, step - quiet) : step + 1].max()) - coming)
        hours += running + coming
        overloaded += over
    oracle = np.maximum(LEAST, np.ceil(rates / each)).sum()
    return Outcome(hours / oracle, overloaded / len(rates))


if __name__ == "__main__":
    main(*sys.argv[1:])
