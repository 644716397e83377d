"""Servers behind KServe and of SavedModels, as an environment asks for them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stacks import accepted
from stacks.fields import Count, Part, Place, Positive, Text

Image = Annotated[str, AfterValidator(accepted.image)]


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
