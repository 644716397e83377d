"""How many requests will come when a replica that is started now is ready: recording rules for Prometheus.

Forecasts of traffic are poor (one-day autocorrelation of a production service: 0.08 to 0.53), and ones that multiply
explode after a gap. So each is held to a multiple of what just came, says nothing unless the history that it is made of
is whole, and is one trigger among others, of which the highest counts: it can only raise.

The best of them says that as much comes as just came, and is the default. `benchmarks/bench_forecast.py`, November
2026, on two traces of a production service (ServeGen, 14 days in 10-minute steps), a replica taking 15 minutes:
machine hours against an oracle that waits for none, and part of the time overloaded:

    only when requests wait   1.23 times, 8.7 %    1.17 times, 5.2 %
    level                     1.35 times, 1.4 %    1.32 times, 1.5 %
    trend                     1.40 times, 3.3 %    1.35 times, 2.2 %
    day                       1.47 times, 3.6 %    1.35 times, 2.6 %
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.inference.scaling_args import ForecastArgs

RATE = "aicloud:triton_requests:rate2m"
"""Recorded series: requests a second that were served, by namespace, deployment and model."""
FORECAST = "aicloud:triton_requests:forecast"
"""Recorded series: requests a second that are expected, by namespace, deployment, model and method."""

SEASONS_S = {"day": 86_400, "week": 604_800}
METHODS = ("level", "trend", *SEASONS_S)
DEFAULT_METHOD = "level"
DEFAULT_GROWTH = 2.0
DEFAULT_UTILIZATION = 0.8
"""At 80 % an autoscaler took 1.18 times the machine hours of an oracle, at 70 % 1.35 times (production traces)."""

INTERVAL_S = 30
"""Seconds between two evaluations of the rules."""
_WHOLE = 0.9
"""Part of the samples that must be there: rules miss an evaluation now and then, and a restart misses more."""
_HISTORY_S = 900
"""Least seconds that a level or a trend is taken from. A trend is never longer prolonged than it was."""
_AROUND_S = 600
"""Seconds around the same time of another day of which the busiest counts: people are not on time."""


@dataclass(frozen=True)
class Forecast:
    """A forecast of the requests to one model, and what they mean in replicas."""

    model: str
    requests_per_replica_s: float
    method: str = DEFAULT_METHOD
    growth: float = DEFAULT_GROWTH
    utilization: float = DEFAULT_UTILIZATION

    @property
    def name(self) -> str:
        """What its trigger is called."""
        return f"forecast-{self.model}-{self.method}"

    def query(self, namespace: str, deployment: str) -> str:
        """PromQL of the requests a second that are expected; empty where there is no knowing."""
        labels = f'namespace="{namespace}",deployment="{deployment}",model="{self.model}",method="{self.method}"'
        return f"max({FORECAST}{{{labels}}})"


def forecast_of(args: ForecastArgs) -> Forecast:
    """What the arguments mean."""
    return Forecast(
        args["model"],
        float(args["requests_per_replica_s"]),
        args.get("method", DEFAULT_METHOD),
        float(args.get("growth", DEFAULT_GROWTH)),
        float(args.get("utilization", DEFAULT_UTILIZATION)),
    )


def rule_groups(
    forecasts: Sequence[Forecast], pods: str, namespace: str, deployment: str, ahead_s: int
) -> list[dict[str, Any]]:
    """Groups of recording rules, one a model: what came, and from that what will come `ahead_s` seconds from now.

    `pods` are PromQL matchers of the pods' series.
    """
    groups = []
    for model in dict.fromkeys(one.model for one in forecasts):
        labels = {"namespace": namespace, "deployment": deployment, "model": model}
        matchers = ",".join(f'{key}="{value}"' for key, value in labels.items())
        series = f"{RATE}{{{matchers}}}"
        came = f'sum(rate(nv_inference_request_success{{{pods},model="{model}"}}[2m]))'
        rules = [{"record": RATE, "expr": came, "labels": labels}]
        for one in forecasts:
            if one.model == model:
                expr = expression(one, series, ahead_s)
                rules.append({"record": FORECAST, "expr": expr, "labels": {**labels, "method": one.method}})
        groups.append({"name": f"{deployment}-{model}", "interval": f"{INTERVAL_S}s", "rules": rules})
    return groups


def expression(one: Forecast, series: str, ahead_s: int) -> str:
    """PromQL of the forecast from the recorded `series`: the estimate, or the ceiling where it is above that, if all
    history is whole; at least 0. A level is what came, and needs no ceiling."""
    history = max(_HISTORY_S, math.ceil(ahead_s / 60) * 60)
    recent = f"{series}[{history}s]"
    ceiling = f"{one.growth:g} * max_over_time({recent})"
    whole = [f"count_over_time({recent}) >= {_samples(history)}"]
    if one.method == "level":
        return f"max_over_time({recent}) and ({whole[0]})"
    if one.method == "trend":
        estimate = f"clamp_min(predict_linear({recent}, {ahead_s}), 0)"
    else:
        then = f"{series}[{_AROUND_S}s] offset {SEASONS_S[one.method] - ahead_s - _AROUND_S // 2}s"
        estimate = f"max_over_time({then})"
        whole.append(f"count_over_time({then}) >= {_samples(_AROUND_S)}")
    return f"(({estimate} < {ceiling}) or {ceiling}) and {' and '.join(f'({one})' for one in whole)}"


def _samples(seconds: int) -> int:
    return math.floor(seconds / INTERVAL_S * _WHOLE)
