"""Services and endpoints without a cluster: what an instance of each has, and how many there may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from planner.inventory.inventory import Inventory
from planner.inventory.quantity import GIB, known
from planner.inventory.references import at, items, mapping
from planner.plan import UNKNOWN, Resource

CLOUD_RUN = "gcp:cloudrunv2/service:Service"
ENDPOINT = "aws:sagemaker/endpoint:Endpoint"
CONFIGURATION = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
MODEL = "aws:sagemaker/model:Model"
SCALABLE = "aws:appautoscaling/target:Target"

CLOUD_RUN_MOST = 100
"""Instances of a service that says nothing of it. https://cloud.google.com/run/docs/configuring/max-instances"""


@dataclass(frozen=True)
class Serverless:
    """One service of Cloud Run, or one variant of a SageMaker endpoint."""

    urn: str
    name: str
    region: str
    kind: str
    """`cloud-run`, `asynchronous`, `real-time` or `serverless`."""
    accelerator: str
    """As Cloud Run names it, such as `nvidia-l4`; else empty."""
    accelerators: int
    """GPUs of an instance of Cloud Run."""
    instance_type: str
    """Of SageMaker's instances, such as `ml.g6.xlarge`; else empty."""
    image: str
    """Of the container with the model; empty where only the cloud knows it."""
    machine_image: str
    """Of SageMaker's instances, by which they have their driver; empty: the cloud's choice."""
    cpu: float
    memory_gib: float
    """Both 0 where an instance type brings them along."""
    min: int | None
    max: int | None
    """None where only the cloud knows it."""
    zonal: bool
    """Whether its GPUs are kept ready for the loss of a zone."""
    always_paid: bool
    """Whether an instance is paid from its start to its end; otherwise while it answers."""


def serverless(inventory: Inventory) -> Iterator[Serverless]:
    """All of a plan, in its order."""
    for resource in inventory.plan:
        if resource.external:
            continue
        if resource.type == CLOUD_RUN:
            yield _cloud_run(inventory, resource)
        elif resource.type == ENDPOINT:
            yield from _endpoint(inventory, resource)


def _cloud_run(inventory: Inventory, service: Resource) -> Serverless:
    template = mapping(service.inputs, "template")
    containers = [mapping(one, "resources") for one in items(template, "containers")]
    limits = [mapping(one, "limits") for one in containers]
    scaling = {**mapping(service.inputs, "scaling"), **mapping(template, "scaling")}
    gpus = sum(int(_number(one.get("nvidia.com/gpu")) or 0) for one in limits)
    accelerator = at(template, "nodeSelector.accelerator")
    return Serverless(
        urn=service.urn,
        name=service.name,
        region=inventory.regions[service.urn],
        kind="cloud-run",
        accelerator=accelerator if isinstance(accelerator, str) and gpus else "",
        accelerators=gpus,
        instance_type="",
        image=next((text for one in items(template, "containers") if (text := _text(at(one, "image")))), ""),
        machine_image="",
        cpu=float(sum(known(one.get("cpu", 1)) or 0 for one in limits)) or 1.0,
        memory_gib=float(sum(known(one.get("memory", "512Mi")) or 0 for one in limits)) / GIB or 0.5,
        min=_count(scaling.get("minInstanceCount"), 0),
        max=_count(scaling.get("maxInstanceCount"), CLOUD_RUN_MOST),
        zonal=at(template, "gpuZonalRedundancyDisabled") is not True,
        always_paid=bool(gpus) or any(one.get("cpuIdle") is False for one in containers),
    )


def _endpoint(inventory: Inventory, endpoint: Resource) -> Iterator[Serverless]:
    targets = [one for one in inventory.plan.of_type(SCALABLE) if _scales(inventory, one, endpoint)]
    for configuration in inventory.references(endpoint, "endpointConfigName", CONFIGURATION):
        waits = bool(at(configuration.inputs, "asyncInferenceConfig"))
        models = inventory.references(configuration, "productionVariants", MODEL)
        for variant in items(configuration.inputs, "productionVariants"):
            own, memory = mapping(variant), mapping(variant, "serverlessConfig")
            fewest = _count(memory.get("provisionedConcurrency") if memory else own.get("initialInstanceCount"), 0)
            most = _count(memory.get("maxConcurrency"), None) if memory else fewest
            for target in targets:
                fewest, most = _count(target.inputs.get("minCapacity"), None), _count(
                    target.inputs.get("maxCapacity"), None
                )  # fmt: skip
            kind = "serverless" if memory else "asynchronous" if waits else "real-time"
            yield Serverless(
                urn=endpoint.urn,
                name=endpoint.name,
                region=inventory.regions[endpoint.urn],
                kind=kind,
                accelerator="",
                accelerators=0,
                instance_type=_text(own.get("instanceType")),
                image=next((text for one in models if (text := _text(at(one.inputs, "primaryContainer.image")))), ""),
                machine_image=_text(own.get("inferenceAmiVersion")),
                cpu=0.0,
                memory_gib=(_number(memory.get("memorySizeInMb")) or 0.0) / 1024,
                min=fewest,
                max=most,
                zonal=False,
                always_paid=not memory,
            )


def _scales(inventory: Inventory, target: Resource, endpoint: Resource) -> bool:
    """Whether autoscaling is for an endpoint, which it calls `endpoint/<name>/variant/<variant>`."""
    named = target.inputs.get("resourceId")
    if isinstance(named, str) and UNKNOWN not in named:
        same = inventory.regions[target.urn] == inventory.regions[endpoint.urn]
        return same and named.split("/")[1:2] == [endpoint.inputs.get("name")]
    return endpoint.urn in target.property_dependencies.get("resourceId", ())


def _text(value: Any) -> str:
    return value if isinstance(value, str) and UNKNOWN not in value else ""


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _count(value: Any, default: int | None) -> int | None:
    if value is None:
        return default
    found = _number(value)
    return None if found is None else int(found)
