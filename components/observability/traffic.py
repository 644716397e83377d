"""Who talks to whom for observability: NetworkPolicies of its own namespace, and of Prometheus and Alertmanager."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.cluster.keda import NAMESPACE as KEDA
from components.observability import collectors, cost, grafana, prometheus
from components.security.traffic import DENY_ALL, api_server, block, names, namespace, outbound, pods, ports

_GOSSIP = 9094


def own(cloud: str, here: str, monitoring: str) -> dict[str, dict[str, Any]]:
    """Name -> spec, of the namespace of Grafana, the collectors and OpenCost: what none of these names is denied."""
    scraper = [pods(monitoring, prometheus.PODS)]
    asks = {"to": [pods(monitoring, prometheus.PODS)], "ports": ports(prometheus.PORT)}
    gateways = pods(here, collectors.GATEWAY_PODS)
    return {
        "deny-all": DENY_ALL,
        # A port-forward comes from the pod's own machine, which no policy concerns.
        "grafana": _policy(
            grafana.PODS,
            [{"from_": scraper, "ports": ports(grafana.CONTAINER_PORT)}],
            [
                *outbound(cloud),
                api_server(),
                asks,
                {"to": [pods(monitoring, prometheus.ALERTMANAGER_PODS)], "ports": ports(prometheus.ALERTMANAGER_PORT)},
            ],
        ),
        # Whoever may send it spans is said by the policies of their own namespaces.
        "otel-agent": _policy(
            collectors.AGENT_PODS,
            [
                {"from_": [{"namespace_selector": {}}], "ports": ports(collectors.GRPC, collectors.HTTP)},
                {"from_": scraper, "ports": ports(collectors.SELF, collectors.METRICS)},
            ],
            [names(), api_server(), {"to": [gateways], "ports": ports(collectors.GRPC)}],
        ),
        "otel-gateway": _policy(
            collectors.GATEWAY_PODS,
            [
                {"from_": [pods(here, collectors.AGENT_PODS)], "ports": ports(collectors.GRPC)},
                {"from_": scraper, "ports": ports(collectors.SELF)},
            ],
            outbound(cloud),
        ),
        "opencost": _policy(cost.PODS, [{"from_": scraper, "ports": ports(cost.PORT)}], [names(), api_server(), asks]),
    }


def servers(
    here: str, monitoring: str, query_namespaces: Sequence[str], relay: Mapping[str, Any] | None
) -> dict[str, dict[str, Any]]:
    """Name -> spec, of Prometheus and Alertmanager. The rest of their namespace is the add-ons'."""
    asking = sorted({KEDA, here, monitoring, *query_namespaces})
    themselves = [pods(monitoring, prometheus.ALERTMANAGER_PODS)]
    gossip = [*ports(_GOSSIP), *ports(_GOSSIP, protocol="UDP")]
    mail = int(relay["smarthost"].rpartition(":")[2]) if relay else None
    return {
        "prometheus": _policy(
            prometheus.PODS,
            [{"from_": [namespace(one) for one in asking], "ports": ports(prometheus.PORT)}],
            # It asks machines, and pods of any namespace, on whichever port their monitors name.
            [{}],
        ),
        "alertmanager": _policy(
            prometheus.ALERTMANAGER_PODS,
            [
                {
                    "from_": [pods(monitoring, prometheus.PODS), pods(here, grafana.PODS)],
                    "ports": ports(prometheus.ALERTMANAGER_PORT),
                },
                {"from_": themselves, "ports": gossip},
            ],
            [
                names(),
                {"to": themselves, "ports": gossip},
                # Chat, pagers and heartbeats; a mail relay may be private.
                {"to": [block("0.0.0.0/0")], "ports": ports(443, *([mail] if mail else []))},
            ],
        ),
    }


def _policy(selector: Mapping[str, str], ingress: list[dict[str, Any]], egress: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "pod_selector": {"match_labels": dict(selector)},
        "policy_types": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": egress,
    }
