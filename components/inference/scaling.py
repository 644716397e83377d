"""How an inference deployment scales: on the time that one request waits, not on a counter that grows with traffic."""

from __future__ import annotations

from typing import Any

from components.cluster.addon_values import QUEUE_METRIC


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
                    "metric": {"name": QUEUE_METRIC},
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
