"""Serving as an environment asks for it: the inference server, the models on it, and those that need no cluster."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from stacks import accepted
from stacks.fields import Count, Part, Place, Positive, Text


class Serving(Part):
    """The inference server."""

    image: Annotated[str, AfterValidator(accepted.image)]
    """container image with a tag or digest"""
    namespace: Annotated[str, AfterValidator(accepted.dns_label)]
    """Kubernetes namespace"""


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
    """accelerators for each replica"""
    min_replicas: Positive
    """fewest replicas in each region, from 1: without one there is no queue to scale up on"""
    max_replicas: Positive
    """most replicas in each region"""
    queue_objective_ms: Annotated[float, Field(gt=0)] = 50.0
    """milliseconds that a request may wait in the queue before replicas are added"""
    regions: Annotated[tuple[Place, ...], Field(min_length=1)] | None = None
    """regions that serve it; absent: all that serve"""


class Serverless(Part):
    """A model that is answered without a cluster, in one region."""

    name: Annotated[str, AfterValidator(accepted.job_name)]
    """name of the service or endpoint in its region, such as embeddings"""
    region: Place
    """the cloud and its region"""
    mode: Literal["synchronous", "asynchronous"] = "synchronous"
    """synchronous, or asynchronous (AWS; the only one there that has GPUs)"""
    image: Annotated[str, AfterValidator(accepted.image)]
    """the serving image in the cloud's own registry: ECR of the region, or Artifact Registry"""
    model: Annotated[str, AfterValidator(accepted.dns_label)]
    """name of the model"""
    version: Positive
    """version in the model repository"""
    size_gib: Annotated[float, Field(gt=0)]
    """size of the version's files in GiB"""
    accelerator: Text | None = None
    """key of the catalog, such as l4; absent: none"""
    gpus: Positive | None = None
    """GPUs of each instance (AWS); absent: one, where there is an accelerator"""
    memory_gib: Positive | None = None
    """memory of each instance, of synchronous ones; absent: what the model needs"""
    cpu: Positive | None = None
    """cores of each instance (GCP); absent: the fewest that go with its memory"""
    min_instances: Count = 0
    """instances that are always ready"""
    max_instances: Positive
    """most instances"""
    requests_per_instance: Positive | None = None
    """requests that an instance is given at once"""
    request_timeout_s: Annotated[int, Field(ge=1, le=3600)] | None = None
    """seconds that a request may take (GCP)"""
    ingress: Literal["internal", "internal-and-load-balancer", "all"] | None = None
    """from where requests are taken (GCP): internal, internal-and-load-balancer or all"""
    invokers: tuple[Annotated[str, AfterValidator(accepted.principal)], ...] = ()
    """who may send requests: ARNs of AWS roles; user:..., group:... and serviceAccount:... of Google"""

    @property
    def cloud(self) -> str:
        """`aws` or `gcp`."""
        return self.region.split(":", 1)[0]

    def component_args(self) -> dict[str, Any]:
        """As arguments of ServerlessInference, without what isn't given."""
        return self.model_dump(mode="json", exclude={"name", "region"}, exclude_none=True)
