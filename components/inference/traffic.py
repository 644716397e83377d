"""Who may talk to an inference pod, and to whom it may talk: everything else is denied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.inference.clouds import Cloud

HTTP, GRPC, METRICS = 8000, 8001, 8002
"""Triton's ports."""

DENY_ALL: dict[str, Any] = {"pod_selector": {}, "policy_types": ["Ingress", "Egress"]}
"""Spec of a NetworkPolicy that allows no pod of its namespace anything; others add to it."""

_PRIVATE = ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"]
# NodeLocal DNSCache, and Cloud DNS for GKE, answer on link-local addresses instead of from a pod.
_DNS_CIDRS = ["169.254.20.10/32", "169.254.169.254/32"]


def _namespace(name: str) -> dict[str, Any]:
    return {"namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": name}}}


def _block(cidr: str, *exceptions: str) -> dict[str, Any]:
    return {"ip_block": {"cidr": cidr, **({"except_": list(exceptions)} if exceptions else {})}}


def _ports(*ports: int, protocol: str = "TCP") -> list[dict[str, Any]]:
    return [{"port": port, "protocol": protocol} for port in ports]


def server_policy(
    selector: Mapping[str, str], cloud: Cloud, client_cidrs: Sequence[str], monitoring_namespace: str
) -> dict[str, Any]:
    """Spec of the NetworkPolicy of the inference pods.

    In: requests from the clients and the cloud's load balancers, scrapes from the monitoring namespace. Kubelets and
    the pod itself are not subject to policies. Out: names, credentials, and HTTPS to public addresses, which is where
    object stores answer (through a gateway endpoint or Private Google Access); nothing private, so no cluster service.
    """
    clients = [_block(cidr) for cidr in (*client_cidrs, *cloud.health_check_cidrs)]
    return {
        "pod_selector": {"match_labels": dict(selector)},
        "policy_types": ["Ingress", "Egress"],
        "ingress": [
            {"from_": clients, "ports": _ports(HTTP, GRPC)},
            {"from_": [_namespace(monitoring_namespace)], "ports": _ports(METRICS)},
        ],
        "egress": [
            {
                "to": [_namespace("kube-system"), *map(_block, _DNS_CIDRS)],
                "ports": [*_ports(53, protocol="UDP"), *_ports(53)],
            },
            *({"to": [_block(cidr)], "ports": _ports(port)} for cidr, port in cloud.credential_endpoints),
            {"to": [_block("0.0.0.0/0", *_PRIVATE)], "ports": _ports(443)},
        ],
    }
