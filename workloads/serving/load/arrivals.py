"""When requests come: evenly, at random, or as they once did. None of it depends on how the server answers."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workloads.serving.errors import ArgumentError, on_disk


@dataclass(frozen=True)
class Arrival:
    """A request that is due `at_s` seconds after the start."""

    at_s: float
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Of this request alone, over those that all have."""
    parameters: Mapping[str, Any] = field(default_factory=dict)


def constant(rate: float, seconds: float) -> Iterator[Arrival]:
    """`rate` a second, evenly spaced."""
    _check(rate, seconds)
    for index in range(math.ceil(rate * seconds - 1e-9)):
        yield Arrival(index / rate)


def poisson(rate: float, seconds: float, seed: int = 0) -> Iterator[Arrival]:
    """`rate` a second on average, independent of each other, as those of many people are."""
    _check(rate, seconds)
    chance = random.Random(seed)
    at = chance.expovariate(rate)
    while at < seconds:
        yield Arrival(at)
        at += chance.expovariate(rate)


def trace(path: Path, speed: float = 1.0) -> Iterator[Arrival]:
    """From a file of JSON lines, `speed` times as fast:

        {"at_s": 0.25, "inputs": {"text": "Once"}, "parameters": {"max_tokens": 8}}

    Only `at_s` must be there, ascending. ArgumentError names the line that is none.
    """
    if not 0 < speed < math.inf:
        raise ArgumentError(f"speed {speed}: expected a number above 0")
    last = 0.0
    with on_disk(path), path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            arrival = _parse(line, f"{path}:{number}")
            if arrival.at_s < last:
                raise ArgumentError(f"{path}:{number}: at_s {arrival.at_s}; expected {last} or more, as before")
            last = arrival.at_s
            yield Arrival(arrival.at_s / speed, arrival.inputs, arrival.parameters)


def _parse(line: str, place: str) -> Arrival:
    try:
        said = json.loads(line)
    except ValueError as error:
        raise ArgumentError(f"{place}: {error}; expected a JSON object") from None
    if not isinstance(said, dict) or not set(said) <= {"at_s", "inputs", "parameters"}:
        raise ArgumentError(f"{place}: {line.strip()[:100]}; expected an object of at_s, inputs, parameters")
    at = said.get("at_s")
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at < math.inf:
        raise ArgumentError(f"{place}: at_s {at!r}; expected seconds from 0")
    for name in ("inputs", "parameters"):
        if not isinstance(said.get(name, {}), dict):
            raise ArgumentError(f"{place}: {name} {said[name]!r}; expected an object")
    return Arrival(float(at), said.get("inputs", {}), said.get("parameters", {}))


def _check(rate: float, seconds: float) -> None:
    if not 0 < rate < math.inf or not 0 < seconds < math.inf:
        raise ArgumentError(f"rate {rate}, seconds {seconds}: expected numbers above 0")
