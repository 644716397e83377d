"""Serving as an environment asks for it: the inference server, and the models on it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from stacks import accepted
from stacks.fields import Count, Part, Place, Positive, Text
from stacks.scaling import Scaling


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
