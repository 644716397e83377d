"""How TensorFlow Serving scales: on CPU by Kubernetes itself, or on its own count of requests by KEDA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.inference.kserve_pod import camel_case
from components.inference.prometheus import address

REQUESTS = ":tensorflow:serving:request_count"
"""Counter of the server's own: requests by model, API and outcome (servables/tensorflow/util.cc)."""


@dataclass(frozen=True)
class Metric:
    """What to scale on."""

    target: float
    most: float
    unit: str


METRICS = {
    "cpu": Metric(70, 100, "percent of the requested CPU"),
    "requests": Metric(50, 1_000_000, "requests per second in each pod"),
}
"""The first is the default."""

_UP = [{"type": "Percent", "value": 100, "period_seconds": 60}, {"type": "Pods", "value": 2, "period_seconds": 60}]
_DOWN = [{"type": "Percent", "value": 10, "period_seconds": 120}, {"type": "Pods", "value": 1, "period_seconds": 120}]
_BEHAVIOR: dict[str, Any] = {
    "scale_up": {"stabilization_window_seconds": 0, "select_policy": "Max", "policies": _UP},
    "scale_down": {"stabilization_window_seconds": 300, "select_policy": "Max", "policies": _DOWN},
}
"""Up at once, at most doubling a minute; down slowly, and only after five minutes with less to do."""


def on_cpu(deployment: str, least: int, most: int, percent: float) -> dict[str, Any]:
    """An autoscaling/v2 spec."""
    utilization = {"type": "Utilization", "average_utilization": round(percent)}
    return {
        "scale_target_ref": {"api_version": "apps/v1", "kind": "Deployment", "name": deployment},
        "min_replicas": least,
        "max_replicas": most,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": utilization}}],
        "behavior": _BEHAVIOR,
    }


def on_requests(
    deployment: str, least: int, most: int, per_second: float, namespace: str, monitoring: str
) -> dict[str, Any]:
    """Spec of a keda.sh/v1alpha1 ScaledObject. The rate of all pods together, which KEDA divides by the target."""
    trigger = {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": address(monitoring),
            "query": f'sum(rate({REQUESTS}{{namespace="{namespace}"}}[1m]))',
            "threshold": f"{per_second:g}",
        },
    }
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
        "minReplicaCount": least,
        "maxReplicaCount": most,
        "pollingInterval": 15,
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": camel_case(_BEHAVIOR)}},
        # Without Prometheus it keeps the pods that it has, rather than the fewest.
        "fallback": {"failureThreshold": 4, "replicas": least, "behavior": "currentReplicasIfHigher"},
        "triggers": [trigger],
    }
