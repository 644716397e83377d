"""Services and endpoints without a cluster as boxes, and where their models come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from planner.diagram.picture import Box, Flow, Row
from planner.diagram.tiers import Store
from planner.diagram.words import TIMES, plural, span
from planner.inventory.inventory import Inventory
from planner.inventory.serverless import CONFIGURATION, ENDPOINT, MODEL, Serverless, serverless
from planner.plan import Resource

PARTS = frozenset({"gcp:cloudrunv2/service:Service", "gcp:cloudrunv2/serviceIamMember:ServiceIamMember", ENDPOINT,
                   CONFIGURATION, MODEL})  # fmt: skip
"""What a box stands for, so that it is not counted among what is also there."""

_KINDS = {"cloud-run": "Cloud Run", "asynchronous": "SageMaker, asynchronous", "real-time": "SageMaker",
          "serverless": "SageMaker, serverless"}  # fmt: skip


def service_boxes(inventory: Inventory, region: str, most: int) -> Iterator[Box]:
    """A box for each service of a region; those beyond `most` in one."""
    here = [one for one in serverless(inventory) if one.region == region]
    for one in here[:most]:
        name = one.name.removeprefix(f"{region.partition(':')[2]}-")
        rows = [Row(_KINDS[one.kind]), Row(_size(one))]
        yield Box(
            one.urn, "workload", name, rows=tuple(row for row in rows if row.text), look="serving",
            about=f"{_KINDS[one.kind]}: {one.name} in {one.region}",
        )  # fmt: skip
    if more := here[most:]:
        yield Box(f"more-services:{region}", "rest", plural(len(more), "more service"), look="rest")


def _size(one: Serverless) -> str:
    what = one.instance_type or one.accelerator or (f"{one.memory_gib:g} GiB" if one.memory_gib else "")
    if one.min is None or not what:
        return what
    return f"{span(one.min, one.max)} {TIMES} {what}"


def model_flows(inventory: Inventory, stores: Mapping[str, Store], there: Set[str]) -> Iterator[Flow]:
    """From the bucket that a service's model lies in."""
    for one in serverless(inventory):
        if one.urn in there:
            for urn in dict.fromkeys(_reads(inventory, inventory.plan.by_urn[one.urn])):
                if urn in stores:
                    yield Flow(urn, one.urn, "models")


def _reads(inventory: Inventory, service: Resource) -> Iterator[str]:
    """URNs of what a service's container is told of."""
    if service.type != ENDPOINT:
        yield from service.property_dependencies.get("template", ())
        return
    for configuration in inventory.references(service, "endpointConfigName", CONFIGURATION):
        for model in inventory.references(configuration, "productionVariants", MODEL):
            yield from model.property_dependencies.get("primaryContainer", ())
