"""Envoy Gateway in a cluster: what makes proxies out of Gateways, and the class by which Gateways ask for it.

Fields of the chart and of its configuration: envoyproxy/gateway v1.9.0 (charts/gateway-helm, api/v1alpha1).
"""

from __future__ import annotations

from typing import Any

NAMESPACE = "envoy-gateway-system"
"""Where the controller runs. The proxies are in the namespaces of their Gateways."""

CLASS = "envoy"
"""GatewayClass of the proxies."""

CONTROLLER = "gateway.envoyproxy.io/gatewayclass-controller"
"""By which the GatewayClass names Envoy Gateway, so that no other controller takes its Gateways."""

XDS_PORT = 18000
"""On which the controller tells proxies what to do."""

PODS = {"control-plane": "envoy-gateway"}
"""Labels of the controller's pods."""

_SPREAD = {"maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": PODS}}


def values() -> dict[str, Any]:
    """Helm values of Envoy Gateway, with the definitions that it comes with: its own and the Gateway API's. Helm never
    upgrades these (chart's `crds/`).

    Proxies run in the namespace of their Gateway, where network policies and pod security are those of what they serve.
    There they show the controller a token of their service account, and it a certificate, which the chart makes.

    While the controller is away the proxies go on with what they know, but hear of no new pod and no new weight. Hence
    two replicas, each of which answers proxies.
    """
    return {
        "config": {
            "envoyGateway": {
                "gateway": {"controllerName": CONTROLLER},
                "provider": {"type": "Kubernetes", "kubernetes": {"deploy": {"type": "GatewayNamespace"}}},
                "logging": {"level": {"default": "info"}},
            }
        },
        "deployment": {
            "replicas": 2,
            "envoyGateway": {
                "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}},
            },
            "pod": {
                "topologySpreadConstraints": [
                    {**_SPREAD, "topologyKey": key} for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
                ]
            },
        },
        "podDisruptionBudget": {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
        # Tells each proxy its zone, by a webhook on the scheduling of every pod in the cluster. Backends are few: it is
        # the least busy one that counts, in whichever zone.
        "topologyInjector": {"enabled": False},
    }
