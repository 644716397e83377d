"""Where scalers ask Prometheus, in whichever namespace it is."""

from __future__ import annotations

SERVICE = "prometheus-stack-prometheus"
"""As the chart calls it (components.cluster.addon_values.prometheus_stack); the namespace is an argument of servers."""
PORT = 9090


def address(namespace: str) -> str:
    """URL of Prometheus, inside the cluster."""
    return f"http://{SERVICE}.{namespace}.svc:{PORT}"
