"""Who may talk to the proxies of an inference route, to whom they may talk, and that their backends let them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.cluster import gateway
from components.inference.clouds import CLOUDS
from components.inference.route_proxies import METRICS
from components.inference.route_rules import Backend
from components.inference.traffic import HTTP
from components.security.traffic import block, names, namespace, pods, ports


def proxies_policy(
    labels: Mapping[str, str],
    cloud: str,
    client_cidrs: Sequence[str],
    monitoring_namespace: str,
    backends: Sequence[Backend],
) -> dict[str, Any]:
    """Spec of the NetworkPolicy of the proxies.

    In: requests from the clients and the cloud's load balancers, scrapes. Out: names, Envoy Gateway, the backends' pods
    and nothing else; credentials of the cloud least of all.
    """
    clients = [block(cidr) for cidr in (*client_cidrs, *CLOUDS[cloud].health_check_cidrs)]
    return {
        "pod_selector": {"match_labels": dict(labels)},
        "policy_types": ["Ingress", "Egress"],
        "ingress": [
            {"from_": clients, "ports": ports(HTTP)},
            {"from_": [namespace(monitoring_namespace)], "ports": ports(METRICS)},
        ],
        "egress": [
            names(),
            {"to": [pods(gateway.NAMESPACE, gateway.PODS)], "ports": ports(gateway.XDS_PORT)},
            *({"to": [pods(b.namespace, b.labels)], "ports": ports(b.port)} for b in backends),
        ],
    }


def backend_policy(backend: Backend, proxies_namespace: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Spec of a NetworkPolicy beside those that a backend's pods have already: the proxies may send them requests."""
    return {
        "pod_selector": {"match_labels": dict(backend.labels)},
        "policy_types": ["Ingress"],
        "ingress": [{"from_": [pods(proxies_namespace, labels)], "ports": ports(backend.port)}],
    }
