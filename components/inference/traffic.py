"""Who may talk to an inference pod: clients, load balancers and whoever scrapes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.cluster.keda import ACTIVATOR_NAMESPACE
from components.inference.clouds import CLOUDS
from components.security.traffic import block, namespace, outbound, ports, spans

HTTP, GRPC, METRICS = 8000, 8001, 8002
"""Triton's ports."""


def server_policy(
    selector: Mapping[str, str],
    cloud: str,
    client_cidrs: Sequence[str],
    monitoring_namespace: str,
    *,
    activated: bool = False,
    traced: bool = False,
) -> dict[str, Any]:
    """Spec of the NetworkPolicy of the inference pods.

    In: requests from the clients and the cloud's load balancers, scrapes from the monitoring namespace and, where the
    server is `activated` by requests, what the activator hands on. Kubelets and the pod itself are not subject to
    policies. Out: what every pod needs, and where the server is `traced` its spans.
    """
    clients = [block(cidr) for cidr in (*client_cidrs, *CLOUDS[cloud].health_check_cidrs)]
    return {
        "pod_selector": {"match_labels": dict(selector)},
        "policy_types": ["Ingress", "Egress"],
        "ingress": [
            {"from_": clients, "ports": ports(HTTP, GRPC)},
            {"from_": [namespace(monitoring_namespace)], "ports": ports(METRICS)},
            *([{"from_": [namespace(ACTIVATOR_NAMESPACE)], "ports": ports(HTTP)}] if activated else []),
        ],
        "egress": [*outbound(cloud), *([spans()] if traced else [])],
    }
