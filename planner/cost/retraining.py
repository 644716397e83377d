"""What retraining without a cluster costs: instances of a SageMaker pipeline's jobs, and managed Airflow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from planner.cost.book import Price
from planner.cost.model import HOURS_PER_MONTH, Amount, Line, Unpriced
from planner.cost.reader import Reader, number, text
from planner.inventory.references import at
from planner.plan import UNKNOWN, Resource

Found = Iterator[Line | Unpriced]

HOURS = "retrainingHoursPerMonth"
_UNKNOWN = "which machines its steps have, the plan does not tell"


def pipeline(reader: Reader, resource: Resource) -> Found:
    """The dearest of its steps' machines for all the hours: steps follow each other, and the dearest runs longest."""
    parent = reader.plan.by_urn.get(resource.parent)
    known = (resource.inputs.get("pipelineDefinition"), parent.inputs.get("definition") if parent else None)
    machines = sorted({machine for one in known for machine in _machines(_definition(one))})
    if not machines:
        yield reader.unpriced(resource, _UNKNOWN)
        return
    place = reader.inventory.regions.get(resource.urn, "").partition(":")[2]
    prices = {machine: _price(reader, machine, place) for machine in machines}
    if missing := [machine for machine, price in prices.items() if price is None]:
        yield reader.unpriced(resource, f"no price for {missing[0]}")
        return
    machine, price = max(((name, one) for name, one in prices.items() if one), key=lambda pair: pair[1].usd)
    yield from reader.line(
        resource, f"sagemaker/{machine}", reader.assumptions.retrainingHoursPerMonth, machine,
        price=price, kind="compute", assumption=HOURS,
    )  # fmt: skip


def _definition(given: Any) -> Any:
    """None where only the cloud knows it: the name of a role, for one, makes all of it unknown in a preview. Then what
    its component was told is as good."""
    if not isinstance(given, str) or UNKNOWN in given:
        return None
    try:
        return json.loads(given)
    except json.JSONDecodeError:
        return None


def _machines(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(found := value.get("InstanceType"), str):
            yield found
        for item in value.values():
            yield from _machines(item)
    elif isinstance(value, list):
        for item in value:
            yield from _machines(item)


def _price(reader: Reader, machine: str, place: str) -> Price | None:
    """An instance's own price, else a part of EC2's for the machine."""
    own = reader.book.price("aws", f"sagemaker/{machine}", place)
    if own is not None:
        return own
    plain = reader.book.machine("aws", machine.removeprefix("ml."), place).on_demand
    ratio = reader.book.price("aws", "sagemaker-ratio", place)
    return plain.times(ratio.usd, f"times {ratio.usd:g} for SageMaker") if plain and ratio else None


def mwaa(reader: Reader, resource: Resource) -> Found:
    """An environment of MWAA, and its workers beyond the one that it has."""
    size = text(resource.inputs.get("environmentClass"), "mw1.small")
    workers = _workers(reader, resource.inputs.get("minWorkers"), resource.inputs.get("maxWorkers"), 10.0)
    more = workers and Amount(max(0.0, workers.low - 1), max(0.0, workers.expected - 1), max(0.0, workers.largest - 1))
    by: dict[str, Any] = {"kind": "service"}
    yield from reader.line(resource, f"mwaa/{size}", float(HOURS_PER_MONTH), "managed Airflow", **by)
    hours = more.times(HOURS_PER_MONTH) if more else None
    yield from reader.line(resource, f"mwaa-worker/{size}", hours, "its workers", assumption="airflowShare", **by)
    yield from reader.line(resource, "mwaa-storage", 10.0, "its database", **by)


def composer(reader: Reader, resource: Resource) -> Found:
    """An environment of Composer 3: its own parts, what runs all the time in units of compute, and the workers.

    A unit is a core, or four GiB (cloud.google.com/composer/pricing, as remembered); schedulers, DAG processor,
    triggerer and web server are four units together at the smallest size.
    """
    config = resource.inputs.get("config")
    size = text(at(config, "environmentSize"), "ENVIRONMENT_SIZE_SMALL").rsplit("_", 1)[-1].lower()
    worker = at(config, "workloadsConfig.worker")
    workers = _workers(reader, at(worker, "minCount"), at(worker, "maxCount"), 3.0)
    each = (number(at(worker, "cpu"), 0.5) or 0.5) + (number(at(worker, "memoryGb"), 2.0) or 2.0) / 4
    always = {"small": 4, "medium": 8, "large": 16}.get(size, 4)
    units = workers and Amount(*(always + each * one for one in (workers.low, workers.expected, workers.largest)))
    by: dict[str, Any] = {"kind": "service"}
    yield from reader.line(resource, f"composer/{size}", float(HOURS_PER_MONTH), "managed Airflow", **by)
    hours = units.times(HOURS_PER_MONTH) if units else None
    yield from reader.line(resource, "composer-unit", hours, "its compute", assumption="airflowShare", **by)


def _workers(reader: Reader, fewest: Any, most: Any, usual: float) -> Amount | None:
    low, high = number(fewest, 1.0), number(most, usual)
    if low is None or high is None:
        return None
    return Amount(low, low + reader.assumptions.airflowShare * max(0.0, high - low), max(low, high))


HANDLERS = {
    "aws:sagemaker/pipeline:Pipeline": pipeline,
    "aws:mwaa/environment:Environment": mwaa,
    "gcp:composer/environment:Environment": composer,
}
