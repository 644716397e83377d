"""The cluster's own Prometheus and Alertmanager: Helm values of kube-prometheus-stack, but for what add-ons have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.cluster.addon_values import PROMETHEUS, prometheus_spec
from components.labels import PURPOSE
from components.observability import alertmanager

RELEASE = "prometheus"
"""Of the same chart as the add-ons' operator, so both have their own names in the namespace."""
SERVICE = ACCOUNT = f"{PROMETHEUS}-prometheus"
PORT, ALERTMANAGER_PORT = 9090, 9093
PODS = {"app.kubernetes.io/name": "prometheus", "operator.prometheus.io/name": f"{PROMETHEUS}-prometheus"}
ALERTMANAGER_PODS = {"app.kubernetes.io/name": "alertmanager", "alertmanager": f"{PROMETHEUS}-alertmanager"}
"""Labels that the operator gives the pods (prometheus-operator, pkg/prometheus and pkg/alertmanager)."""
ALERTMANAGER = f"{PROMETHEUS}-alertmanager"

DEFAULT_DAYS = 35
"""Objectives look back 30 days."""
DEFAULT_GIB = 100

SERIES = (
    "aicloud:.+|ALERTS|(rollout|monitoring|pipeline|training)_.+|node_total_hourly_cost"
    "|DCGM_FI_(DEV_GPU_UTIL|DEV_POWER_USAGE|PROF_PIPE_TENSOR_ACTIVE)"
)
"""What is sent to the cloud's own Prometheus by default. The rest, a hundred times as much, is needed for days, and is
in the cluster."""


def values(
    labels: Mapping[str, Any],
    storage_class: str,
    *,
    retention_days: int,
    disk_gib: int,
    alerting: Mapping[str, Any],
    secret: bool,
    sends: Mapping[str, Any],
) -> dict[str, Any]:
    """`labels` are on each metric and alert that leaves the cluster; `secret` says whether there is one of receivers;
    `sends` is what the cloud's own Prometheus needs.

    One Prometheus: when its machine is lost it is back within minutes, with its disk. Meanwhile autoscalers change
    nothing, and the heartbeat stops, which is what tells. Two Alertmanagers, which agree on what was told already.
    """
    placed = {"nodeSelector": {PURPOSE: "system"}}
    return {
        "fullnameOverride": PROMETHEUS,
        # The add-ons have these.
        **{part: {"enabled": False} for part in ("crds", "prometheusOperator", "kubernetesServiceMonitors")},
        **{part: {"enabled": False} for part in ("kubeStateMetrics", "nodeExporter", "grafana")},
        # Managed control planes don't let these be scraped, so nothing can be said of them.
        **{part: {"enabled": False} for part in ("kubeEtcd", "kubeScheduler", "kubeControllerManager", "kubeProxy")},
        "defaultRules": {
            "create": True,
            "rules": dict.fromkeys(("etcd", "kubeSchedulerAlerting", "kubeSchedulerRecording", "kubeProxy",
                                    "kubeControllerManager"), False),
        },
        "alertmanager": {
            "config": alertmanager.config(alerting),
            "podDisruptionBudget": {"enabled": True, "minAvailable": 1},
            "alertmanagerSpec": {
                **placed,
                "replicas": 2,
                "retention": "120h",
                "secrets": [alertmanager.SECRET] if secret else [],
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
            },
        },
        "prometheus": {
            "prometheusSpec": {
                **prometheus_spec(storage_class, retention_days=retention_days, disk_gib=disk_gib),
                **placed,
                "externalLabels": dict(labels),
                # Which of several is no question: there is one.
                "replicaExternalLabelNameClear": True,
                "prometheusExternalLabelNameClear": True,
                **sends,
            }
        },
    }  # fmt: skip
