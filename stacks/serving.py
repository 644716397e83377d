"""Serving as an environment asks for it: the inference server, what stands by for it, and the models on it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from stacks import accepted
from stacks.fields import Part, Place, Positive, Text


class ColdStart(Part):
    """What was measured of cold starts, the same in each region; what is absent stays an estimate."""

    node_s: Annotated[float, Field(ge=0)] | None = None
    """seconds until a machine is there, with driver and device plugin; absent: 300"""
    image_s: Annotated[float, Field(ge=0)] | None = None
    """seconds to pull and unpack the image; absent: 150"""
    server_s: Annotated[float, Field(ge=0)] | None = None
    """seconds of Triton itself, and of its models' warm-up; absent: 60"""
    load_gib_s: Annotated[float, Field(gt=0)] | None = None
    """GiB/s from the object store to local disk; absent: 0.25"""
    claim_gib_s: Annotated[float, Field(gt=0)] | None = None
    """GiB/s from the region's shared file system to local disk; absent: 0.25"""
    device_gib_s: Annotated[float, Field(gt=0)] | None = None
    """GiB/s from local disk to each accelerator; absent: 0.5"""


class Serving(Part):
    """The inference server."""

    image: Annotated[str, AfterValidator(accepted.image)]
    """container image with a tag or digest"""
    namespace: Annotated[str, AfterValidator(accepted.dns_label)]
    """Kubernetes namespace"""
    warm_machines: dict[Place, Positive] = {}
    """region -> machines that stand ready for a replica more, where none are lent to training; absent: none"""
    prepull_images: tuple[Annotated[str, AfterValidator(accepted.image)], ...] | None = None
    """images that machines pull ahead, such as the next one, besides the one that serves; absent: not even that"""
    weights_from_warm_tier: bool = False
    """copy models into the region's shared file system once, and start pods from there instead of the object store"""
    cold_start: ColdStart = ColdStart()
    """what was measured of cold starts"""
    cold_start_objective_s: Annotated[float, Field(gt=0)] | None = None
    """seconds that one more replica may take by the estimate, from wish to first answer; absent: any"""


class Model(Part):
    """A model to serve."""

    name: Annotated[str, AfterValidator(accepted.dns_label)]
    """name of the model, such as sentiment"""
    version: Positive
    """version in the model repository"""
    size_gib: Annotated[float, Field(gt=0)]
    """size of the version's files in GiB"""
    accelerator: Text
    """key of the catalog, such as l4"""
    gpus: Positive
    """accelerators that share the model, all in one machine (tensor parallel)"""
    over_pcie: bool = False
    """accept several accelerators without NVLink between them"""
    device_memory_gib: Annotated[float, Field(ge=0)] | None = None
    """memory that it takes on each accelerator in GiB; absent: 1.2 times its files, divided by gpus"""
    group: Annotated[str, AfterValidator(accepted.model_group)] | None = None
    """models of one group share their replicas, and scale by themselves; absent: the group of all that name none"""
    min_replicas: Positive
    """fewest replicas in each region, from 1: without one there is no queue to scale up on"""
    max_replicas: Positive
    """most replicas in each region"""
    queue_objective_ms: Annotated[float, Field(gt=0)] = 50.0
    """milliseconds that a request may wait in the queue before replicas are added"""
    regions: Annotated[tuple[Place, ...], Field(min_length=1)] | None = None
    """regions that serve it; absent: all that serve"""
