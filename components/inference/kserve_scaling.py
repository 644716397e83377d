"""How an InferenceService scales: by KServe's own autoscalers, of pods or of Knative's revisions.

What each mode takes: kserve/kserve v0.20.0, pkg/apis/serving/v1beta1/inference_service_validation.go and
pkg/controller/v1beta1/inferenceservice/reconcilers/{hpa,keda,knative}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.inference.prometheus import address


@dataclass(frozen=True)
class Metric:
    """What a mode may scale on."""

    autoscaler: str
    """KServe's class of autoscaler: `hpa`, `keda`, or empty for Knative's own."""
    target: float
    """Where nobody says."""
    most: float
    unit: str


METRICS: dict[str, dict[str, Metric]] = {
    "raw": {
        "cpu": Metric("hpa", 70, 100, "percent of the requested CPU"),
        "memory": Metric("hpa", 80, 100, "percent of the requested memory"),
        "queue": Metric("keda", 50, 600_000, "milliseconds that a request waits in Triton's queue"),
    },
    "serverless": {
        "concurrency": Metric("", 8, 1000, "requests at once in each pod"),
        "rps": Metric("", 50, 100_000, "requests per second in each pod"),
    },
}
"""Mode -> metric -> what is known of it; the first is the default."""


def scaling(
    mode: str, metric: str, target: float, least: int, most: int, namespace: str, monitoring: str
) -> tuple[str, dict[str, Any]]:
    """The class of autoscaler, and what the predictor says of its replicas."""
    limits: dict[str, Any] = {"minReplicas": least, "maxReplicas": most}
    kind = METRICS[mode][metric].autoscaler
    if kind == "keda":
        return kind, {**limits, "autoScaling": _by_queue(target / 1000, namespace, monitoring)}
    return kind, {**limits, "scaleMetric": metric, "scaleTarget": round(target)}


def _by_queue(seconds: float, namespace: str, monitoring: str) -> dict[str, Any]:
    """Queue time per request, once for each pod.

    KServe leaves KEDA to divide the value by the target and to take that for the number of pods. A time per request
    doesn't grow with the pods, so it is multiplied by them first: twice the time, twice the pods. Where nothing was
    asked in the window there is no value, which KEDA takes for 0.
    """
    pods = f'{{namespace="{namespace}"}}'
    waited = f"sum(rate(nv_inference_queue_duration_us{pods}[1m])) / 1e6"
    asked = f"(sum(rate(nv_inference_request_success{pods}[1m])) > 0)"
    count = f"count(count by (pod) (nv_inference_request_success{pods}))"
    metric = {
        "backend": "prometheus",
        "serverAddress": address(monitoring),
        "query": f"{waited} / {asked} * {count}",
    }
    return {
        "metrics": [
            {"type": "External", "external": {"metric": metric, "target": {"type": "Value", "value": f"{seconds:g}"}}}
        ],
        "behavior": {
            "scaleUp": {"stabilizationWindowSeconds": 0},
            # A replica starts in minutes, so it isn't ended in one.
            "scaleDown": {"stabilizationWindowSeconds": 600},
        },
    }
