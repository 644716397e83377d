"""Scaling of models as an environment asks for it, and what the server of several models makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from stacks import accepted
from stacks.fields import Part, Positive

if TYPE_CHECKING:
    from stacks.serving import Model

Rate = Annotated[float, Field(ge=0.001)]


class Forecast(Part):
    """Replicas for the requests that will come when a replica started now is ready; adds replicas, takes none away."""

    requests_per_replica_s: Rate
    """requests a second that one replica serves within its objective, as `python -m workloads.serving tune` finds"""
    method: Literal["level", "trend", "day", "week"] = "level"
    """level: as many as in the busiest of the last minutes; trend: they go on; day, week: as it was then"""
    growth: Annotated[float, Field(ge=1)] | None = None
    """but for level: at most this many times the most that came in the last minutes; absent: 2"""
    utilization: Annotated[float, Field(ge=0.01, le=1)] = 0.8
    """part of requestsPerReplicaS that a replica is meant to get"""


class Steps(Part):
    """How fast replicas change in one direction; what is absent is the component's default."""

    percent: Positive | None = None
    """of the replicas that are there; absent: 100 up, 10 down"""
    pods: Positive | None = None
    """replicas, where those are more; absent: 2 up, 1 down"""
    period_s: Annotated[int, Field(ge=1, le=1800)] | None = None
    """seconds in which replicas change by as many; absent: 60 up, 120 down"""
    stabilization_s: Annotated[int, Field(ge=0, le=3600)] | None = None
    """seconds for which a recommendation is held; absent: 0 up, 600 down"""


class Scaling(Part):
    """What replicas go by, beside the time that a request waits, and how fast they change."""

    pending_requests: Rate | None = None
    """requests that may wait in the queue of each replica; absent: 16"""
    forecast: Forecast | None = None
    """traffic to be ready for; absent: replicas follow what came"""
    to_zero: bool = False
    """whether there may be no replica at all; requests then wait in an activator while one starts"""
    idle_s: Positive | None = None
    """with toZero: seconds without a request after which the last replica goes; absent: what one may take to start"""
    hosts: tuple[Annotated[str, AfterValidator(accepted.domain)], ...] = ()
    """with toZero: host names by which requests are this model's; absent: any"""
    polling_s: Positive | None = None
    """seconds between looks at whether there is anything to do; absent: 15"""
    up: Steps | None = None
    """how fast replicas are added"""
    down: Steps | None = None
    """how fast replicas are taken away"""


def to_zero(models: Sequence[Model]) -> bool:
    """Whether the server of these models may be at zero: if all of them may."""
    return all(model.scaling is not None and model.scaling.to_zero for model in models)


def shared(models: Sequence[Model]) -> dict[str, Any]:
    """The `scaling` of a server for all of these models, with its replicas and objective: as the strictest wants it.

    Each model has its own forecast. Whether the server may be at zero all say alike (stacks.validation_scaling); what
    two say differently beside that, the first one says.
    """
    every = [model.scaling or Scaling() for model in models]
    written = {
        "pending_requests": min((one.pending_requests for one in every if one.pending_requests), default=None),
        "forecasts": [
            {"model": model.name, **model.scaling.forecast.model_dump(exclude_none=True)}
            for model in models
            if model.scaling and model.scaling.forecast
        ],
        "scale_to_zero": to_zero(models),
        "idle_s": max((one.idle_s for one in every if one.idle_s), default=None),
        "hosts": list(dict.fromkeys(host for one in every for host in one.hosts)),
        "polling_s": min((one.polling_s for one in every if one.polling_s), default=None),
        "up": next((_given(one.up) for one in every if one.up), None),
        "down": next((_given(one.down) for one in every if one.down), None),
    }
    return {
        "min_replicas": max(model.min_replicas for model in models),
        "max_replicas": max(model.max_replicas for model in models),
        "queue_objective_ms": min(model.queue_objective_ms for model in models),
        "scaling": {key: value for key, value in written.items() if value},
    }


def _given(steps: Steps) -> dict[str, Any]:
    return steps.model_dump(exclude_none=True)
