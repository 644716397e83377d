"""What an inference server may be told about how it scales."""

from typing import NotRequired, TypedDict


class ScalingStepsArgs(TypedDict):
    """How fast replicas change in one direction: in each period by the larger of the two steps."""

    percent: NotRequired[int]
    """Of the replicas that are there; default 100 up and 10 down."""
    pods: NotRequired[int]
    """Replicas; default 2 up and 1 down."""
    period_s: NotRequired[int]
    """Seconds of a period, up to 1800; default 60 up and 120 down."""
    stabilization_s: NotRequired[int]
    """Seconds for which a recommendation is held against lower ones (down) or higher ones (up), up to 3600; default 0
    up and 600 down."""


class ForecastArgs(TypedDict):
    """Replicas for the requests to a model that will come when a replica started now is ready. It adds replicas and
    takes none away, and where Prometheus has gaps it says nothing."""

    model: str
    """One of the server's models."""
    requests_per_replica_s: float
    """Requests a second that one replica serves within its objective, as `python -m workloads.serving tune` finds."""
    method: NotRequired[str]
    """`level`: as many as in the busiest of the last minutes. `trend`: the last minutes go on as they went. `day` or
    `week`: it is as it was then. Default `level`, which did best on traces (components.inference.forecast)."""
    growth: NotRequired[float]
    """But for `level`: the forecast is at most this many times the most that came in the last minutes, from 1; default
    2."""
    utilization: NotRequired[float]
    """Part of `requests_per_replica_s` that a replica is meant to get, up to 1; default 0.8."""


class ScalingArgs(TypedDict):
    """How an inference server scales, beside its fewest and most replicas and the time that a request may wait."""

    pending_requests: NotRequired[float]
    """Requests that may wait in the queue of each replica; default 16."""
    forecasts: NotRequired[list[ForecastArgs]]
    """Traffic to be ready for, by model; default none."""
    scale_to_zero: NotRequired[bool]
    """Whether the server may have no replica at all, so that `min_replicas` may be 0. Requests then go through an
    activator, where they wait while a replica starts. Default false."""
    idle_s: NotRequired[int]
    """With `scale_to_zero`: seconds without a request after which the last replica goes; at least what a replica may
    take to start. Default that, or 900."""
    activator_requests: NotRequired[int]
    """With `scale_to_zero`: requests under way, waiting or being answered, for each replica, as the activator counts
    them; default 100."""
    hosts: NotRequired[list[str]]
    """With `scale_to_zero`: host names by which requests are this server's, such as `chat.example.com` or
    `*.example.com`, where other servers of the cluster have models of the same names. Default any."""
    polling_s: NotRequired[int]
    """Seconds between looks at whether there is anything to do; default 15."""
    up: NotRequired[ScalingStepsArgs]
    """How fast replicas are added: by default at once, at most doubling a minute."""
    down: NotRequired[ScalingStepsArgs]
    """How fast replicas are taken away: by default slowly, since a replica starts in minutes."""
