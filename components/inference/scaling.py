"""How an inference deployment scales: on the time that one request waits, not on a counter that grows with traffic."""

from __future__ import annotations

from typing import Any

METRIC = "triton_queue_seconds_per_request"
"""Seconds that a request waits in Triton's queue, mean over its pod's models and the last two minutes."""


def adapter_rule() -> dict[str, Any]:
    """The prometheus-adapter rule that makes METRIC out of what Triton exports.

    Both series are counters (Triton, docs/user_guide/metrics.md), and their rates' quotient does not grow with traffic.
    A pod without requests has waited for nothing, hence 0 and not 0/0.
    """
    window, by = "[2m]", "by (<<.GroupBy>>)"
    waited = f"sum(rate(nv_inference_queue_duration_us{{<<.LabelMatchers>>}}{window})) {by}"
    requests = f"sum(rate(nv_inference_request_success{{<<.LabelMatchers>>}}{window})) {by}"
    return {
        "seriesQuery": 'nv_inference_queue_duration_us{namespace!="",pod!=""}',
        "resources": {"overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}},
        "name": {"as": METRIC},
        "metricsQuery": f"{waited} / 1e6 / clamp_min({requests}, 1e-9)",
    }


def quantity_of_seconds(milliseconds: float) -> str:
    """Milliseconds as a Kubernetes quantity of seconds, in the form that the API server itself writes: `50m`."""
    micro = round(milliseconds * 1000)
    if micro % 1_000_000 == 0:
        return str(micro // 1_000_000)
    return f"{micro // 1000}m" if micro % 1000 == 0 else f"{micro}u"


def autoscaler_spec(deployment: str, least: int, most: int, queue_objective_ms: float) -> dict[str, Any]:
    """An autoscaling/v2 spec: up at once, at most doubling a minute; down slowly, since a replica starts in minutes."""
    return {
        "scale_target_ref": {"api_version": "apps/v1", "kind": "Deployment", "name": deployment},
        "min_replicas": least,
        "max_replicas": most,
        "metrics": [
            {
                "type": "Pods",
                "pods": {
                    "metric": {"name": METRIC},
                    "target": {"type": "AverageValue", "average_value": quantity_of_seconds(queue_objective_ms)},
                },
            }
        ],
        "behavior": {
            "scale_up": {
                "stabilization_window_seconds": 0,
                "select_policy": "Max",
                "policies": [
                    {"type": "Percent", "value": 100, "period_seconds": 60},
                    {"type": "Pods", "value": 2, "period_seconds": 60},
                ],
            },
            "scale_down": {
                "stabilization_window_seconds": 600,
                "select_policy": "Max",
                "policies": [
                    {"type": "Percent", "value": 10, "period_seconds": 120},
                    {"type": "Pods", "value": 1, "period_seconds": 120},
                ],
            },
        },
    }
