"""Values of Argo Workflows' chart, whose controller runs what Kubeflow Pipelines makes of a pipeline."""

from __future__ import annotations

from typing import Any

from components.labels import PURPOSE
from components.pipelines.kubeflow_pods import METRICS
from components.pipelines.kubeflow_rights import SCHEDULED_WORKFLOW

CONTROLLER = "workflow-controller"
"""Its name, and the chart's `app.kubernetes.io/component` of its pod."""


def values() -> dict[str, Any]:
    """Values of Argo Workflows' chart: the controller of one namespace, without Argo's own server and cluster roles."""
    bounded = {"memory": "512Mi", "ephemeral-storage": "512Mi"}
    hardened = {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "singleNamespace": True,
        "createAggregateRoles": False,
        # Runs are lost with their kind.
        "crds": {"install": True, "keep": True},
        "extraObjects": [SCHEDULED_WORKFLOW],
        "images": {"pullPolicy": "IfNotPresent"},
        "server": {"enabled": False},
        # Runs have an account of their own.
        "workflow": {"serviceAccount": {"create": False}, "rbac": {"create": False}},
        "controller": {
            "name": CONTROLLER,
            "clusterWorkflowTemplates": {"enabled": False},
            "metricsConfig": {"enabled": True, "port": METRICS, "portName": "metrics", "secure": False},
            "podSecurityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "nodeSelector": {"kubernetes.io/os": "linux", PURPOSE: "system"},
            "pdb": {"enabled": True, "maxUnavailable": 1},
            "resources": {"requests": {"cpu": "100m", **bounded}, "limits": bounded},
        },
        # Of the container that fetches and tells results beside every step.
        "executor": {
            "securityContext": {**hardened, "runAsUser": 65532},
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        },
    }
