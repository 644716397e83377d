"""Serving as an environment asks for it: the inference server, and the models on it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stacks import accepted
from stacks.fields import Part, Place, Positive, Text


class Route(Part):
    """The gateway between the load balancer and the servers: it shares requests among versions of a model."""

    namespace: Annotated[str, AfterValidator(accepted.dns_label)] = "gateway"
    """Kubernetes namespace of the proxies"""
    request_timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = 300
    """seconds from a request to the end of its answer"""
    retries: Annotated[int, Field(ge=0, le=5)] = 2
    """more tries of a request that no server can have worked on yet"""
    weights_by: Literal["program", "rollout"] = "rollout"
    """who sets the shares: program (each update says how they are) or rollout (a rollout, from the first ones on)"""
    min_proxies: Annotated[int, Field(ge=2, le=100)] = 2
    """fewest proxies in each region"""
    max_proxies: Annotated[int, Field(ge=2, le=100)] = 6
    """most proxies in each region"""


class Serving(Part):
    """The inference server."""

    image: Annotated[str, AfterValidator(accepted.image)]
    """container image with a tag or digest"""
    namespace: Annotated[str, AfterValidator(accepted.dns_label)]
    """Kubernetes namespace"""
    route: Route | None = None
    """the gateway before the servers; absent: the load balancer sends to them directly"""


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
