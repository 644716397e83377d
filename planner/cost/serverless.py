"""What services and endpoints without a cluster cost: instances while they are there, or while they answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from planner.cost.book import Price
from planner.cost.model import HOURS_PER_MONTH, Amount, Line, Unpriced
from planner.cost.reader import Reader
from planner.inventory.serverless import CLOUD_RUN, ENDPOINT, Serverless, serverless
from planner.plan import Resource

Found = Iterator[Line | Unpriced]

SHARE = "serverlessShare"
REQUESTS = "serverlessRequestsMillions"


def service(reader: Reader, resource: Resource) -> Found:
    """All that one service or endpoint costs."""
    found = [one for one in serverless(reader.inventory) if one.urn == resource.urn]
    if not found:
        yield reader.unpriced(resource, "what is behind the endpoint, the plan does not tell")
    for one in found:
        if one.min is None or one.max is None:
            yield reader.unpriced(resource, "how many instances it has, the plan does not tell")
            continue
        instances = _instances(reader, one)
        by: dict[str, Any] = {"kind": "compute", "assumption": SHARE if one.min != one.max else ""}
        if one.kind == "cloud-run":
            yield from _cloud_run(reader, resource, one, instances, by)
        elif one.kind == "serverless":
            yield from _serverless(reader, resource, one, instances, by)
        else:
            yield from _hosted(reader, resource, one, instances, by)
        if one.kind != "cloud-run":
            assumed = reader.assumptions
            moved = assumed.serverlessRequestsMillions.times(1e6 * (assumed.requestKib + assumed.responseKib) / 2**20)
            yield from reader.line(
                resource, "sagemaker-data", moved, "requests and answers", kind="traffic", assumption=REQUESTS
            )


def _instances(reader: Reader, one: Serverless) -> Amount:
    """Instances at low, expected and largest use, on average over the month."""
    fewest, most = float(one.min or 0), float(max(one.min or 0, one.max or 0))
    return Amount(fewest, fewest + reader.assumptions.serverlessShare * (most - fewest), most)


def _cloud_run(reader: Reader, resource: Resource, one: Serverless, instances: Amount, by: dict[str, Any]) -> Found:
    hours = instances.times(HOURS_PER_MONTH)
    if one.accelerators:
        sort = "run-gpu-zonal" if one.zonal else "run-gpu"
        price = reader.book.price("gcp", f"{sort}/{one.accelerator}", one.region.partition(":")[2], "accelerated")
        yield from reader.line(
            resource, f"{sort}/{one.accelerator}", hours.times(one.accelerators), f"{one.accelerator} of instances",
            price=price, machines=instances, **by,
        )  # fmt: skip
    while_answering = "" if one.always_paid else "-while-answering"
    yield from reader.line(resource, f"run-cpu{while_answering}", hours.times(one.cpu), "cores of instances", **by)
    memory = hours.times(one.memory_gib)
    yield from reader.line(resource, f"run-memory{while_answering}", memory, "memory of instances", **by)
    if not one.always_paid:
        asked = reader.assumptions.serverlessRequestsMillions
        yield from reader.line(resource, "run-requests", asked, "requests", kind="traffic", assumption=REQUESTS)


def _serverless(reader: Reader, resource: Resource, one: Serverless, instances: Amount, by: dict[str, Any]) -> Found:
    """Time in which requests are answered; of what is kept ready, also the rest."""
    memory = one.memory_gib * HOURS_PER_MONTH
    yield from reader.line(resource, "sagemaker-serverless", instances.times(memory), "memory while it answers", **by)
    if one.min:
        ready = Amount.of(one.min * memory)
        yield from reader.line(resource, "sagemaker-serverless-ready", ready, "memory kept ready", kind="compute")


def _hosted(reader: Reader, resource: Resource, one: Serverless, instances: Amount, by: dict[str, Any]) -> Found:
    if not one.instance_type:
        yield reader.unpriced(resource, "which instances it has, the plan does not tell")
        return
    price = _instance(reader, one)
    if price is None:
        yield reader.unpriced(resource, f"no price for {one.instance_type}")
        return
    hours = instances.times(HOURS_PER_MONTH)
    yield from reader.line(
        resource, f"sagemaker/{one.instance_type}", hours, one.instance_type, price=price, machines=instances, **by
    )


def _instance(reader: Reader, one: Serverless) -> Price | None:
    """An instance's own price, else a part of EC2's for the machine."""
    place = one.region.partition(":")[2]
    own = reader.book.price("aws", f"sagemaker/{one.instance_type}", place, "accelerated")
    if own is not None:
        return own
    machine = reader.book.machine("aws", one.instance_type.removeprefix("ml."), place).on_demand
    ratio = reader.book.price("aws", "sagemaker-ratio", place)
    if machine is None or ratio is None:
        return None
    return machine.times(ratio.usd, f"times {ratio.usd:g} for SageMaker")


def topic(reader: Reader, resource: Resource) -> Found:
    """What a topic is told; who is told by it, and how, costs beside that."""
    yield from reader.line(
        resource, "sns-requests", reader.assumptions.queueRequestsMillions, "notices", kind="service",
        assumption="queueRequestsMillions",
    )  # fmt: skip


HANDLERS = {CLOUD_RUN: service, ENDPOINT: service, "aws:sns/topic:Topic": topic}
