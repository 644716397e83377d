"""KEDA, which scales what is served, and its HTTP add-on, which lets requests wait for a server at zero: Helm values,
and what inference must know of both."""

from __future__ import annotations

from typing import Any

NAMESPACE = "keda"
ACTIVATOR_NAMESPACE = "keda-http"

_CHART = "keda-add-ons-http"
ACTIVATOR_PODS = {"app.kubernetes.io/part-of": _CHART, "app.kubernetes.io/component": "interceptor"}
"""Labels of the pods that requests wait in (chart's `_helpers.tpl` and `interceptor/deployment.yaml`)."""
ACTIVATOR_PORT = 8080
"""Where those pods take requests; their container port is called `proxy`."""
ACTIVATOR_SCALER = f"{_CHART}-external-scaler.{ACTIVATOR_NAMESPACE}.svc:9090"
"""Where KEDA asks how many requests wait (chart's `scaler/service.yaml`)."""
UNBUDGETED = ("operator", "scaler")
"""Components of the HTTP add-on for whose pods its chart has no disruption budget."""

WAITING_REQUESTS = 5_000
"""Most requests to one server that one pod of the activator lets wait; it answers further ones at once."""
DRAIN_S = 1_800
"""Seconds that a pod of the activator stays for the requests that wait in it: longer than most servers take to start.
Without any it goes at once."""


def keda() -> dict[str, Any]:
    """KEDA: ScaledObjects, the autoscalers that it makes of them, and the external metrics API that those ask.

    One operator and one metrics server work, the others stand by. While all are away every server stays as it is:
    an autoscaler without metrics changes nothing.
    """
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    pods = {
        "operator": "keda-operator",
        "metricsServer": "keda-operator-metrics-apiserver",
        "webhooks": "keda-admission-webhooks",
    }
    resources = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    budget = {"maxUnavailable": 1}
    return {
        **{component: {"replicaCount": 2} for component in pods},
        # The chart calls the metrics server by one name or the other.
        "podDisruptionBudget": {"operator": budget, "metricServer": budget, "webhooks": budget},
        "resources": dict.fromkeys(("operator", "metricServer", "webhooks"), resources),
        "topologySpreadConstraints": {
            component: [{**spread, "labelSelector": {"matchLabels": {"app": app}}}] for component, app in pods.items()
        },
        # It scales Deployments and StatefulSets alone, and no trigger of ours needs a Secret. The chart's default, "any
        # kind", would let it read every object of the cluster.
        "rbac": {"enabledCustomScaledRefKinds": False},
        "permissions": {
            "operator": {"restrict": {"secret": True}},
            "metricServer": {"restrict": {"secret": True}},
        },
        "prometheus": {"operator": {"enabled": True, "serviceMonitor": {"enabled": True}}},
    }


def activator() -> dict[str, Any]:
    """KEDA's HTTP add-on. It is in the way of requests only to servers that may go to zero."""
    # The charts limit CPU, and what Helm merges cannot be taken away; the add-on's half a core would slow all requests.
    small = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}}
    secure = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "operator": {"replicas": 2, "resources": small},
        "scaler": {"replicas": 2, "resources": small},
        "interceptor": {
            "replicas": {"min": 2, "max": 8},
            "proxy": {"port": ACTIVATOR_PORT},
            # Requests that wait are kept here; what their bodies take beyond buffers stays with the clients.
            "resources": {
                "requests": {"cpu": "250m", "memory": "256Mi"},
                "limits": {"cpu": "4", "memory": "1Gi"},
            },
            "coldStart": {"maxPendingRequests": WAITING_REQUESTS},
            "drainTimeout": "0s",  # as long as the pod may stay
            "terminationGracePeriodSeconds": DRAIN_S,
            "pdb": {"enabled": True, "minAvailable": 0, "maxUnavailable": 1},
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": key,
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": ACTIVATOR_PODS},
                }
                for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
            ],
        },
        "podSecurityContext": {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
        "securityContext": secure,
    }


def unbudgeted_pods(component: str) -> dict[str, str]:
    """Labels of the pods of a component of the HTTP add-on."""
    return {**ACTIVATOR_PODS, "app.kubernetes.io/component": component}
