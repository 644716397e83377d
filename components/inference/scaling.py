"""How a deployment of Triton scales: by what one request waits, by what waits for each replica, and by what is coming.

Pure functions from arguments to the spec of a KEDA ScaledObject. Fields: kedacore/keda v2.20, apis/keda/v1alpha1 and
pkg/scalers/prometheus_scaler.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.cluster.addon_values import PROMETHEUS_URL
from components.cluster.keda import ACTIVATOR_SCALER
from components.inference import forecast
from components.inference.forecast import Forecast

if TYPE_CHECKING:
    from components.inference.scaling_args import ScalingArgs, ScalingStepsArgs

API_VERSION = "keda.sh/v1alpha1"

DEFAULT_PENDING_REQUESTS = 16.0
"""Two batches of eight. Not measured: `tune` finds the batch size that a model is served with."""
LEAST_IDLE_S = 900
"""A server that went earlier would often be away for longer than it was idle."""
DEFAULT_ACTIVATOR_REQUESTS = 100
"""The HTTP add-on's own default."""
DEFAULT_POLLING_S = 15
"""As often as Triton is scraped."""
FAILURES = 3
"""Failed looks at a metric before the replicas that are there are held."""

_WINDOW = "1m"
"""Four scrapes: the shortest in which a rate survives a scrape that failed."""
LONGEST_NAME = 46
"""Characters of a Deployment's name: of a longer one, Kubernetes may cut the names of its pods, by which their metrics
are found (63, less a hash of ten, a suffix of five and two dashes)."""


@dataclass(frozen=True)
class Steps:
    """How fast replicas change in one direction."""

    percent: int
    pods: int
    period_s: int
    stabilization_s: int

    def spec(self) -> dict[str, Any]:
        """One direction of the behavior of an autoscaling/v2 HorizontalPodAutoscaler."""
        return {
            "stabilizationWindowSeconds": self.stabilization_s,
            "selectPolicy": "Max",
            "policies": [
                {"type": "Percent", "value": self.percent, "periodSeconds": self.period_s},
                {"type": "Pods", "value": self.pods, "periodSeconds": self.period_s},
            ],
        }


UP = Steps(percent=100, pods=2, period_s=60, stabilization_s=0)
DOWN = Steps(percent=10, pods=1, period_s=120, stabilization_s=600)


@dataclass(frozen=True)
class Scaling:
    """How one deployment scales, checked."""

    least: int
    most: int
    queue_objective_ms: float
    pending_requests: float = DEFAULT_PENDING_REQUESTS
    forecasts: tuple[Forecast, ...] = ()
    to_zero: bool = False
    idle_s: int | None = None
    """None: as long as a replica takes to start, and LEAST_IDLE_S at least."""
    activator_requests: int = DEFAULT_ACTIVATOR_REQUESTS
    hosts: tuple[str, ...] = ()
    polling_s: int = DEFAULT_POLLING_S
    up: Steps = UP
    down: Steps = DOWN


@dataclass(frozen=True)
class Target:
    """What is scaled."""

    deployment: str
    namespace: str
    models: tuple[str, ...]
    start_s: int
    """Seconds in which a new replica is ready, its machine included."""

    @property
    def pods(self) -> str:
        """PromQL matchers of the pods' series: the operator of Prometheus labels them with namespace and pod."""
        return f'namespace="{self.namespace}",pod=~"{self.deployment}-[a-z0-9]+-[a-z0-9]+"'


def scaling_of(args: ScalingArgs, *, least: int, most: int, queue_objective_ms: float) -> Scaling:
    """What the arguments mean, once they are checked (scaling_checks)."""
    return Scaling(
        least=least,
        most=most,
        queue_objective_ms=queue_objective_ms,
        pending_requests=args.get("pending_requests", DEFAULT_PENDING_REQUESTS),
        forecasts=tuple(map(forecast.forecast_of, args.get("forecasts", ()))),
        to_zero=args.get("scale_to_zero", False),
        idle_s=int(args["idle_s"]) if "idle_s" in args else None,
        activator_requests=int(args.get("activator_requests", DEFAULT_ACTIVATOR_REQUESTS)),
        hosts=tuple(args.get("hosts", ())),
        polling_s=int(args.get("polling_s", DEFAULT_POLLING_S)),
        up=_steps(args.get("up", {}), UP),
        down=_steps(args.get("down", {}), DOWN),
    )


def _steps(args: ScalingStepsArgs, default: Steps) -> Steps:
    given: Mapping[str, Any] = args
    return Steps(**{field: int(given.get(field, getattr(default, field))) for field in Steps.__dataclass_fields__})


# ---- queries


def queue_query(target: Target, *, to_zero: bool = False) -> str:
    """Milliseconds that a request waited in Triton's queue: time waited by all requests, divided by their number, so
    that it doesn't grow with traffic and each request weighs the same, on whichever replica it was.

    Where nothing was served the quotient is 0/0; nothing waited, so 0 stands in, or replicas would never go. Where no
    replica reports at all there is no result: that is a failure, and what runs is held. Only a server that may be at
    zero has 0 then as well. Milliseconds because KEDA counts in thousandths: of seconds, those were too coarse.
    """
    waited = f"sum(rate(nv_inference_queue_duration_us{{{target.pods}}}[{_WINDOW}]))"
    requests = f"sum(rate(nv_inference_request_success{{{target.pods}}}[{_WINDOW}]))"
    return f"({waited} / 1e3) / ({requests} > 0) or {requests} * 0{_or_zero(to_zero)}"


def pending_query(target: Target, *, to_zero: bool = False) -> str:
    """Requests that wait in the queues of all replicas, mean over a minute.

    Triton counts time in the queue when a request leaves it. Of a server that is stuck, or of requests that each take
    minutes, only this number tells.
    """
    return f"sum(avg_over_time(nv_inference_pending_request_count{{{target.pods}}}[{_WINDOW}])){_or_zero(to_zero)}"


def _or_zero(to_zero: bool) -> str:
    return " or vector(0)" if to_zero else ""


# ---- the ScaledObject


def triggers(target: Target, scaling: Scaling) -> list[dict[str, Any]]:
    """What the replicas go by; the trigger that wants the most has its way.

    How an autoscaler turns a number into replicas is the trigger's `metricType`:

    - `Value`: replicas that are ready, times number / threshold. So it is for the time that a request waits: that is
      the same number however many replicas it was measured on, and twice the objective asks for twice the replicas.
      As `AverageValue` it would ask for two, of however many there are.
    - `AverageValue`: number / threshold. So it is for what is counted over all replicas and shared among them, such as
      requests that wait or come each second: 80 waiting requests of which each replica may have 16 ask for five.
      As `Value` the answer would be multiplied with the replicas that are there already, and never settle.
    """
    found = [
        _prometheus("queue", queue_query(target, to_zero=scaling.to_zero), "Value", scaling.queue_objective_ms),
        _prometheus(
            "pending", pending_query(target, to_zero=scaling.to_zero), "AverageValue", scaling.pending_requests
        ),
    ]
    for one in scaling.forecasts:
        # A forecast that isn't there wants nothing. One that a part of a replica would serve keeps no server awake.
        planned = one.requests_per_replica_s * one.utilization
        trigger = _prometheus(one.name, one.query(target.namespace, target.deployment), "AverageValue", planned)
        trigger["metadata"] |= {"ignoreNullValues": "true", "activationThreshold": number(planned)}
        found.append(trigger)
    if scaling.to_zero:
        found.append(
            {
                "type": "external-push",
                "name": "activator",
                "metricType": "AverageValue",
                "metadata": {"scalerAddress": ACTIVATOR_SCALER, "interceptorRoute": target.deployment},
            }
        )
    return found


def _prometheus(name: str, query: str, metric_type: str, threshold: float) -> dict[str, Any]:
    return {
        "type": "prometheus",
        "name": name,
        "metricType": metric_type,
        "metadata": {
            "serverAddress": PROMETHEUS_URL,
            "query": query,
            "threshold": number(threshold),
            # Without a result there is no knowing, which is a failure like that of Prometheus itself.
            "ignoreNullValues": "false",
        },
    }


def number(value: float) -> str:
    """A number as KEDA reads it, to the thousandth that it keeps."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def scaled_object_spec(target: Target, scaling: Scaling) -> dict[str, Any]:
    """Spec of the ScaledObject.

    When Prometheus is away the replicas that are there are held, and no fewer than the fewest: KEDA then answers the
    autoscaler with the number of replicas that it finds. From zero the activator, which doesn't ask Prometheus, still
    starts one.
    """
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target.deployment},
        "minReplicaCount": scaling.least,
        "maxReplicaCount": scaling.most,
        "pollingInterval": scaling.polling_s,
        # From the last trigger that was active to zero; above zero it is `behavior` that counts. Who asked first may
        # have given up before the replica is there: it must not go before it came.
        "cooldownPeriod": max(LEAST_IDLE_S, target.start_s) if scaling.idle_s is None else scaling.idle_s,
        "fallback": {
            "failureThreshold": FAILURES,
            # Of 0, KEDA would take a server away while it doesn't know whether anything waits.
            "replicas": max(1, scaling.least),
            "behavior": "currentReplicasIfHigher",
        },
        "advanced": {
            # A server that is left without a scaler keeps its replicas. At zero it would keep none, and nobody else
            # would start one, so there it gets back what it had before it was scaled.
            "restoreToOriginalReplicaCount": scaling.to_zero,
            "horizontalPodAutoscalerConfig": {
                "behavior": {"scaleUp": scaling.up.spec(), "scaleDown": scaling.down.spec()}
            },
        },
        "triggers": triggers(target, scaling),
    }
