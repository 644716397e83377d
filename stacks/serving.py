"""Serving as an environment asks for it: inference servers, what stands by for them, and the models on them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stacks import accepted
from stacks.fields import Count, Part, Place, Positive, Text
from stacks.scaling import Scaling

Image = Annotated[str, AfterValidator(accepted.image)]


class Serving(Part):
    """The inference server."""

    image: Image
    """container image with a tag or digest"""
    namespace: Annotated[str, AfterValidator(accepted.dns_label)]
    """Kubernetes namespace"""
    warm_machines: dict[Place, Positive] = {}
    """region -> machines that stand ready for a replica more, where none are lent to training; absent: none"""
    prepull_images: tuple[Annotated[str, AfterValidator(accepted.image)], ...] | None = None
    """images that machines pull ahead, such as the next one, besides the one that serves; absent: not even that"""
    weights_from_warm_tier: bool = False
    """copy models into the region's shared file system once, and start pods from there instead of the object store"""
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
    min_replicas: Count
    """fewest replicas in each region, from 1: without one there is no queue to scale up on; 0 with scaling.toZero"""
    max_replicas: Positive
    """most replicas in each region"""
    queue_objective_ms: Annotated[float, Field(gt=0)] = 50.0
    """milliseconds that a request may wait in the queue before replicas are added"""
    scaling: Scaling | None = None
    """what else replicas go by, and how fast they change; absent: the defaults"""
    regions: Annotated[tuple[Place, ...], Field(min_length=1)] | None = None
    """regions that serve it; absent: all that serve"""


class ServedModel(Part):
    """A version of a model, in a server that an environment names."""

    name: Annotated[str, AfterValidator(accepted.dns_label)]
    """name of the model, such as sentiment"""
    version: Positive
    """version in the model repository"""
    size_gib: Annotated[float, Field(gt=0)]
    """size of the version's files in GiB"""


class Server(Part):
    """What servers of every kind have in common."""

    name: Annotated[str, AfterValidator(accepted.server_name)]
    """name of the server, such as reviews"""
    regions: Annotated[tuple[Place, ...], Field(min_length=1)] | None = None
    """regions that have it; absent: all that serve"""
    max_replicas: Positive
    """most replicas in each region"""
    scale_target: Annotated[float, Field(gt=0)] | None = None
    """how much of the metric each replica may have before there are more; absent: the component's own"""

    def of_component(self) -> dict[str, float]:
        """What is given of that, as the component's arguments."""
        given = {"max_replicas": self.max_replicas, "scale_target": self.scale_target}
        return {name: value for name, value in given.items() if value is not None}


class KserveService(Server):
    """Models behind KServe, with Triton as the runtime and the image of `serving`."""

    mode: Literal["raw", "serverless"] = "raw"
    """raw (Deployments) or serverless (Knative, down to no replica)"""
    models: Annotated[tuple[ServedModel, ...], Field(min_length=1)]
    """what each replica serves"""
    accelerator: Text
    """key of the catalog, such as l4"""
    gpus: Positive = 1
    """accelerators for each replica"""
    min_replicas: Count
    """fewest replicas in each region; raw from 1"""
    scale_metric: Literal["cpu", "memory", "queue", "concurrency", "rps"] | None = None
    """raw: cpu, memory or queue (by KEDA); serverless: concurrency or rps; absent: the first of them"""
    canary_traffic_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """serverless: percent of requests to the newest revision; absent: all"""


class SavedModel(ServedModel):
    """A version of a SavedModel."""

    labels: tuple[Text, ...] = ()
    """names that requests may use for the version, such as stable"""


class Batching(Part):
    """How TensorFlow Serving puts requests together."""

    max_batch_size: Positive
    """most requests in a batch"""
    batch_timeout_ms: Annotated[float, Field(ge=0)]
    """milliseconds that the first request of a batch waits for others"""


class TensorflowServing(Server):
    """SavedModels behind TensorFlow Serving; they are fetched by the image of `serving`."""

    image: Image
    """container image of TensorFlow Serving, with a tag or digest"""
    models: Annotated[tuple[SavedModel, ...], Field(min_length=1)]
    """what each replica serves"""
    accelerator: Text | None = None
    """key of the catalog, such as l4; absent: on CPUs"""
    min_replicas: Positive
    """fewest replicas in each region"""
    scale_metric: Literal["cpu", "requests"] = "cpu"
    """cpu, or requests (by KEDA)"""
    batching: Batching | None = None
    """how requests are put together; absent: not at all"""
