"""What `python -m workloads.serving load` does with its options."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from workloads.serving.client import AsyncClient, Policy, Request
from workloads.serving.errors import ArgumentError, on_disk
from workloads.serving.load import arrivals, plot
from workloads.serving.load.arrivals import Arrival
from workloads.serving.load.run import Ask, Outcome, open_loop
from workloads.serving.load.summary import Summary, duration, quantile, summarize, table

EVERY_S = 2.0
"""Between lines about how far it is."""


def run(options: argparse.Namespace) -> int:
    """0: done, and the objective was met if there was one. Prints the table."""
    if options.plot:
        plot.check(options.plot)
    if options.warmup_s < 0:
        raise ArgumentError(f"--warmup-s {options.warmup_s}: expected a number from 0")
    schedule: Iterable[Arrival]
    if options.trace:
        # Read whole first: a line that is wrong is said before anything is sent.
        schedule = list(arrivals.trace(options.trace, options.speed))
        ends = schedule[-1].at_s if schedule else 0.0
    else:
        kind = arrivals.constant if options.arrivals == "constant" else arrivals.poisson
        more = {} if options.arrivals == "constant" else {"seed": options.seed}
        schedule, ends = kind(options.rate, options.duration_s, **more), options.duration_s
    fixed = pairs(options.input) | random_inputs(options.random_input, options.seed)
    parameters = pairs(options.parameter)
    outcomes = asyncio.run(_ask_all(options, schedule, ends, fixed, parameters))
    summary = summarize(outcomes, options.warmup_s)
    print(table(summary))
    if options.json:
        with on_disk(options.json):
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(summary.as_json(), indent=2) + "\n")
    if options.plot:
        wanted = options.objective[1] if options.objective else None
        rate = f"{summary.asked_per_second:,.1f} requests a second"
        plot.plot(outcomes, options.plot, f"{options.model} at {', '.join(options.endpoint)}: {rate}", wanted)
        print(f"\n{options.plot}")
    return _judge(options, outcomes, summary)


async def _ask_all(
    options: argparse.Namespace,
    schedule: Iterable[Arrival],
    ends_s: float,
    fixed: Mapping[str, Any],
    parameters: Mapping[str, Any],
) -> list[Outcome]:
    policy = Policy(deadline_s=options.deadline_s, attempts=options.attempts)
    async with AsyncClient(options.endpoint, policy) as client:
        ask = asking(client, options.model, options.version, fixed, parameters, stream=options.stream)
        return await open_loop(schedule, ask, seen=_progress(ends_s))


def asking(
    client: AsyncClient,
    model: str,
    version: str = "",
    inputs: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    stream: bool = False,
) -> Ask:
    """What asks a model through a client; an arrival's own inputs and parameters go before these."""
    same = Request.of(model, inputs or {}, version, parameters=parameters or {})

    async def whole(arrival: Arrival, responded: Callable[[], None]) -> None:
        request = same
        if arrival.inputs or arrival.parameters:
            merged = {**same.inputs, **arrival.inputs}
            request = Request.of(model, merged, version, parameters={**same.parameters, **arrival.parameters})
        await client.ask(request)
        responded()

    async def streamed(arrival: Arrival, responded: Callable[[], None]) -> None:
        asked = {**same.inputs, **arrival.inputs}
        more = {**same.parameters, **arrival.parameters}
        async for _ in client.stream(model, asked, version=version, parameters=more):
            responded()

    return streamed if stream else whole


def _judge(options: argparse.Namespace, outcomes: Sequence[Outcome], summary: Summary) -> int:
    if not options.objective:
        return 0
    q, seconds = options.objective
    reached = quantile(sorted(o.latency_s for o in outcomes if o.due_s >= options.warmup_s), q)
    if math.isnan(reached):
        raise ArgumentError(f"--objective {q:g}:{seconds:g}: {summary.requests} requests are too few to tell")
    met = reached <= seconds
    print(f"\np{100 * q:g} {duration(reached)}: objective of {duration(seconds)} {'met' if met else 'missed'}")
    return 0 if met else 1


def _progress(ends_s: float) -> Callable[[Outcome], None]:
    """A line now and then on standard error."""
    started = shown = time.monotonic()
    answered = failed = 0

    def seen(outcome: Outcome) -> None:
        nonlocal shown, answered, failed
        answered += outcome.answered
        failed += not outcome.answered
        now = time.monotonic()
        if now - shown >= EVERY_S:
            shown = now
            done = f"{min(now - started, ends_s):.0f} of {ends_s:.0f} s"
            print(f"load: {done}, {answered:,} answered, {failed:,} failed", file=sys.stderr, flush=True)

    return seen


# ---- what is typed


def pairs(words: Sequence[str], *, plain: bool = False) -> dict[str, Any]:
    """`NAME=VALUE` with VALUE as JSON, or as the text it is; `plain`: always as the text."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not name or not equals:
            raise ArgumentError(f"{word!r}: expected NAME=VALUE")
        try:
            found[name] = text if plain else json.loads(text)
        except ValueError:
            found[name] = text
    return found


def random_inputs(words: Sequence[str], seed: int) -> dict[str, Any]:
    """`NAME=DTYPE:SHAPE`: numbers from 0 up to 1, or from 0 to 127 for whole ones."""
    chance = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    for word in words:
        name, _, rest = word.partition("=")
        dtype, _, shape = rest.partition(":")
        try:
            kind = np.dtype(dtype)
            sizes = [int(size) for size in shape.split(",")]
        except (TypeError, ValueError):
            kind, sizes = np.dtype("O"), []
        if not name or kind.kind not in "fiu" or not sizes or min(sizes) < 1:
            raise ArgumentError(f"{word!r}: expected NAME=DTYPE:SHAPE, such as x=float32:1,512")
        made = chance.random(sizes) if kind.kind == "f" else chance.integers(0, 128, sizes)
        found[name] = made.astype(kind)
    return found
