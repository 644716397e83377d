"""What retraining without a cluster costs: the instances of a SageMaker pipeline's jobs, for as long as they run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from planner.cost.book import Price
from planner.cost.model import Line, Unpriced
from planner.cost.reader import Reader
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
        resource, f"sagemaker/{machine}", reader.assumptions.retrainingHoursPerMonth, f"{machine} of retraining",
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


HANDLERS = {"aws:sagemaker/pipeline:Pipeline": pipeline}
