"""What a configuration search measures on: a simulated queue, or a running Triton that is loaded anew for each."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import math
import shutil
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.serving.client import AsyncClient, Policy
from workloads.serving.errors import ArgumentError, ServingError, on_disk
from workloads.serving.load.command import asking, pairs, random_inputs
from workloads.serving.load.run import closed_loop
from workloads.serving.load.summary import duration, quantile
from workloads.serving.simulator import Batcher, Service
from workloads.serving.simulator import closed_loop as simulated_loop
from workloads.serving.tune import (
    Configuration,
    Found,
    Measure,
    Measured,
    Objective,
    Space,
    Trial,
    config_with,
    tune,
)

WARM_S = 0.3
"""Not counted, of each measurement: the first requests of a model that was just loaded pay for its caches."""


class NotLoaded(ServingError):
    """The server does not load a model, or does not say how it is configured; the message has its reason."""

    exit_code = 9


def on_queue(service: Service, concurrency: int, objective: Objective, client_s: float = 0.0) -> Measure:
    """Measures on a simulated queue; seconds are simulated ones."""

    def measure(configuration: Configuration, seconds: float) -> Measured:
        batcher = Batcher(
            configuration.instances, configuration.batch, configuration.delay_us / 1e6, configuration.preferred
        )
        found = simulated_loop(batcher, service, concurrency=concurrency, seconds=seconds, client_s=client_s)
        latency = quantile(sorted(found.latencies_s), _told(objective.quantile, len(found.latencies_s)))
        return Measured(found.throughput, latency)

    return measure


def on_triton(
    endpoint: str,
    model: str,
    inputs: Mapping[str, Any],
    load: Callable[[Mapping[str, Any]], None],
    config: Mapping[str, Any],
    concurrency: int,
    objective: Objective,
) -> Measure:
    """Measures on a server at `endpoint`, grpc:// or http://. `load` loads the model with a configuration, `config` is
    its own. A configuration that the server refuses counts as one that fails."""
    loaded: Configuration | None = None

    def measure(configuration: Configuration, seconds: float) -> Measured:
        nonlocal loaded
        if configuration != loaded:
            loaded = None
            try:
                load(config_with(config, configuration))
            except ServingError as error:
                print(f"tune: {configuration}: {error}", file=sys.stderr)
                return Measured(0.0, math.inf, 1.0)
            loaded = configuration
        return asyncio.run(_drive(endpoint, model, inputs, concurrency, objective, seconds))

    return measure


async def _drive(
    endpoint: str, model: str, inputs: Mapping[str, Any], concurrency: int, objective: Objective, seconds: float
) -> Measured:
    async with AsyncClient([endpoint], Policy(deadline_s=30.0, attempts=1)) as client:
        ask = asking(client, model, inputs=inputs)
        outcomes = await closed_loop(concurrency, WARM_S + seconds, ask)
    # Answers within the span, whenever they were asked for: a long batch that began before it counts as its end does.
    ended = [o for o in outcomes if WARM_S <= o.end_s < WARM_S + seconds]
    answered = sum(outcome.answered for outcome in ended)
    latency = quantile(sorted(o.latency_s for o in ended), _told(objective.quantile, len(ended)))
    failed = 1 - answered / len(ended) if ended else 1.0
    return Measured(answered / seconds, latency if ended else math.inf, failed)


def _told(wanted: float, count: int) -> float:
    """The quantile that is wanted, or the highest that so few can tell."""
    return min(wanted, 1 - 1 / max(count, 2))


# ---- a server that somebody else runs


class Admin:
    """The part of Triton's HTTP API that configures models."""

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        parts = urllib.parse.urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ArgumentError(f"--endpoint {endpoint!r}: expected http://HOST:PORT")
        self._parts, self._headers = parts, dict(headers)

    def config(self, model: str) -> dict[str, Any]:
        found = json.loads(self._ask("GET", f"/v2/models/{urllib.parse.quote(model, safe='')}/config", None))
        assert isinstance(found, dict)
        return found

    def load(self, model: str, config: Mapping[str, Any]) -> None:
        body = json.dumps({"parameters": {"config": json.dumps(config)}})
        self._ask("POST", f"/v2/repository/models/{urllib.parse.quote(model, safe='')}/load", body)

    def _ask(self, method: str, path: str, body: str | None) -> bytes:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port or 8000, timeout=300.0)
        try:
            connection.request(method, path, body, self._headers)
            response = connection.getresponse()
            said = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise NotLoaded(f"{self._parts.geturl()}{path}: {error or type(error).__name__}") from None
        finally:
            connection.close()
        if response.status != 200:
            raise NotLoaded(
                f"{self._parts.geturl()}{path}: HTTP {response.status}: {said.decode(errors='replace')[:500]}"
            )
        return said


# ---- the command


@dataclass(frozen=True)
class _Place:
    """What is measured on."""

    measure: Measure
    config: Mapping[str, Any]
    """The model's own; empty on a simulated queue."""
    load: Callable[[Mapping[str, Any]], None] | None = None
    """Loads the model with a configuration, on a server that others use."""
    write: Callable[[Mapping[str, Any], Found], str] | None = None
    """Writes what was found as the next version of the model, and says which that is."""


def command(options: argparse.Namespace) -> int:
    """0: found, 1: nothing meets the objective."""
    objective = Objective(options.latency_s, options.quantile)
    space = Space(options.instances, options.batch, options.delay_us)
    if not options.simulate and (not options.model or not (options.random_input or options.input)):
        raise ArgumentError("expected --model and at least one --input or --random-input, unless it is simulated")
    if options.write and not options.repository:
        raise ArgumentError("--write: expected --repository with it, which is where the version is written to")
    place = _on_queue if options.simulate else _in_repository if options.repository else _at_endpoint
    with place(options, objective) as where:
        started = time.monotonic()
        try:
            found = tune(
                where.measure,
                space,
                objective,
                seconds=options.seconds,
                share=options.share,
                seed=options.seed,
                report=lambda trial: print(_line(trial), file=sys.stderr, flush=True),
            )
        except BaseException:
            if where.load:  # whatever was being tried, a server that others use gets its own back
                where.load(where.config)
            raise
        best = config_with(where.config, found.best.configuration)
        if where.load:
            where.load(best)
        print(_said(found, objective, time.monotonic() - started))
        if options.json:
            with on_disk(options.json):
                options.json.write_text(json.dumps(best, indent=2) + "\n")
        if options.write and where.write:
            if not found.met:
                print("nothing is written", file=sys.stderr)
            else:
                print(where.write(best, found))
        return 0 if found.met else 1


@contextlib.contextmanager
def _on_queue(options: argparse.Namespace, objective: Objective) -> Iterator[_Place]:
    yield _Place(on_queue(_service(options.simulate, options.cores), options.concurrency, objective), {})


@contextlib.contextmanager
def _at_endpoint(options: argparse.Namespace, objective: Objective) -> Iterator[_Place]:
    """A server that somebody else runs."""
    admin = Admin(options.endpoint, {name: str(value) for name, value in pairs(options.header, plain=True).items()})
    config = admin.config(options.model)
    _check_batches(options.model, config)

    def load(changed: Mapping[str, Any]) -> None:
        admin.load(options.model, changed)

    yield _Place(_measure(options, options.endpoint, load, config, objective), config, load)


@contextlib.contextmanager
def _in_repository(options: argparse.Namespace, objective: Objective) -> Iterator[_Place]:
    """A server of this command's own, with a verified copy of the newest version."""
    from google.protobuf import json_format

    from workloads.serving import repository as repositories
    from workloads.serving.fetch import fetch
    from workloads.serving.serve import newest, url
    from workloads.serving.store import Repository
    from workloads.serving.triton import Triton

    model = newest(options.repository, options.model)
    with tempfile.TemporaryDirectory(prefix="tune-") as work:
        copy = Path(work) / "models"
        fetch(url(options.repository), copy, [model])
        repositories.check_version(copy / model.name, model)
        written = copy / model.name / repositories.CONFIG
        typed = repositories.read_config(written.read_text(encoding="utf-8"), str(written))
        config = json_format.MessageToDict(typed, preserving_proto_field_name=True)
        _check_batches(model.name, config)
        with Triton(copy, log=Path(work) / "triton.log") as triton:
            triton.load(model.name)

            def load(changed: Mapping[str, Any]) -> None:
                triton.load(model.name, config=changed)

            def write(best: Mapping[str, Any], found: Found) -> str:
                signed = Repository(url(options.repository)).manifest(model).provenance
                measured = {"of": str(model), "configuration": str(found.best.configuration)}
                made, _ = repositories.write_version(
                    options.repository,
                    model.name,
                    json_format.ParseDict(dict(best), type(typed)()),
                    lambda directory: _copy(copy / model.name / str(model.version), directory),
                    {**signed, "tuned": measured},
                )
                return f"{made} in {options.repository}: {model} with this configuration"

            measure = _measure(options, f"grpc://{triton.grpc}", load, config, objective)
            yield _Place(measure, config, write=write)


def _measure(
    options: argparse.Namespace,
    endpoint: str,
    load: Callable[[Mapping[str, Any]], None],
    config: Mapping[str, Any],
    objective: Objective,
) -> Measure:
    inputs = pairs(options.input) | random_inputs(options.random_input, options.seed)
    return on_triton(endpoint, options.model, inputs, load, config, options.concurrency, objective)


def _check_batches(model: str, config: Mapping[str, Any]) -> None:
    if config.get("model_transaction_policy", {}).get("decoupled"):
        raise ArgumentError(
            f"--model {model}: it answers in parts and batches by itself; expected a model that Triton batches"
        )


def _copy(source: Path, target: Path) -> None:
    with on_disk(target):
        shutil.copytree(source, target, dirs_exist_ok=True)


def _service(text: str, cores: float) -> Service:
    try:
        measured = [
            (int(size), float(seconds)) for size, _, seconds in (word.partition(":") for word in text.split(","))
        ]
    except ValueError:
        raise ArgumentError(f"--simulate {text!r}: expected SIZE:SECONDS,SIZE:SECONDS") from None
    return Service(tuple(measured), cores)


def _line(trial: Trial) -> str:
    measured = trial.measured
    failed = f", {measured.failed:.1%} failed" if measured.failed else ""
    rate = f"{measured.throughput:>9,.1f}/s  {duration(measured.latency_s):>8}"
    return f"tune: {rate}  {trial.seconds:g} s  {trial.configuration}{failed}"


def _said(found: Found, objective: Objective, wall_s: float) -> str:
    measured = found.best.measured
    share = found.configurations / found.space
    told = f"p{100 * objective.quantile:g} {duration(measured.latency_s)}"
    lines = [
        f"{found.best.configuration}",
        f"{measured.throughput:,.1f} answers a second, {told}",
        f"measured {found.configurations} of {found.space} configurations ({share:.0%}) for {found.seconds:.0f} s; "
        f"{wall_s:.0f} s in all",
    ]
    if not found.met:
        lines.append(f"none that was measured meets the objective of {duration(objective.latency_s)}")
    return "\n".join(lines)
