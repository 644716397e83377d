"""Who may talk to the pods of a namespace, and to whom they may talk: whatever no policy names is denied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DENY_ALL: dict[str, Any] = {"pod_selector": {}, "policy_types": ["Ingress", "Egress"]}
"""Spec of a NetworkPolicy that allows no pod of its namespace anything; others add to it."""

CREDENTIAL_ENDPOINTS = {
    # The Pod Identity agent on the node. https://docs.aws.amazon.com/eks/latest/userguide/pod-id-agent-setup.html
    "aws": (("169.254.170.23/32", 80),),
    # The GKE metadata server, with and without Dataplane V2.
    # https://cloud.google.com/kubernetes-engine/docs/how-to/network-policy#network-policy-and-workload-identity
    "gcp": (("169.254.169.254/32", 80), ("169.254.169.252/32", 988)),
}
"""Cloud -> (CIDR, TCP port) from which a pod gets its cloud credentials."""

COLLECTORS = {"app.kubernetes.io/name": "opentelemetry-collector", "app.kubernetes.io/instance": "otel-agent"}
"""Labels of the collectors that pods send spans to, in whichever namespace (Observability's)."""
OTLP_GRPC, OTLP_HTTP = 4317, 4318
"""Their ports."""

_PRIVATE = ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"]
# NodeLocal DNSCache, and Cloud DNS for GKE, answer on link-local addresses instead of from a pod.
_DNS_CIDRS = ["169.254.20.10/32", "169.254.169.254/32"]


def namespace(name: str) -> dict[str, Any]:
    """The peer that is every pod of a namespace."""
    return {"namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": name}}}


def block(cidr: str, *exceptions: str) -> dict[str, Any]:
    """The peer that is a network, but for some networks in it."""
    return {"ip_block": {"cidr": cidr, **({"except_": list(exceptions)} if exceptions else {})}}


def ports(*numbers: int, protocol: str = "TCP") -> list[dict[str, Any]]:
    """Ports of a rule."""
    return [{"port": number, "protocol": protocol} for number in numbers]


def names() -> dict[str, Any]:
    """Egress rule for DNS."""
    return {
        "to": [namespace("kube-system"), *map(block, _DNS_CIDRS)],
        "ports": [*ports(53, protocol="UDP"), *ports(53)],
    }


def api_server() -> dict[str, Any]:
    """Egress rule for the cluster's API: both clouds have it on private addresses, some of them outside the network."""
    return {"to": [block(cidr) for cidr in _PRIVATE], "ports": ports(443)}


def spans() -> dict[str, Any]:
    """Egress rule for what pods tell of themselves, to the collector on their machine."""
    peer = {"namespace_selector": {}, "pod_selector": {"match_labels": COLLECTORS}}
    return {"to": [peer], "ports": ports(OTLP_GRPC, OTLP_HTTP)}


def pods(of: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """The peer that is the pods of a namespace with these labels. What pods ask of each other is told by labels, never
    by addresses: on GKE an address block means no pod.
    https://cloud.google.com/kubernetes-engine/docs/how-to/network-policy#limitations, as remembered."""
    return {**namespace(of), "pod_selector": {"match_labels": dict(labels)}}


def outbound(cloud: str) -> list[dict[str, Any]]:
    """Egress rules for what every pod needs: names, credentials, and HTTPS to public addresses, which is where object
    stores answer (through a gateway endpoint or Private Google Access); nothing private, so no cluster service."""
    return [
        names(),
        *({"to": [block(cidr)], "ports": ports(port)} for cidr, port in CREDENTIAL_ENDPOINTS[cloud]),
        {"to": [block("0.0.0.0/0", *_PRIVATE)], "ports": ports(443)},
    ]


def among_themselves(cloud: str, monitoring_namespace: str, *, traced: bool = False) -> dict[str, Any]:
    """Spec of the NetworkPolicy of a namespace whose pods work together, such as the ranks of a training job.

    They reach each other on every port, are scraped from the monitoring namespace, and go out as any pod may, `traced`
    ones to the collectors as well. File
    systems need no rule: it is the node that mounts them. Nor does a fabric: its interfaces are no policy's subject.
    """
    themselves: dict[str, Any] = {"pod_selector": {}}
    return {
        **DENY_ALL,
        "ingress": [{"from_": [themselves, namespace(monitoring_namespace)]}],
        "egress": [{"to": [themselves]}, *outbound(cloud), *([spans()] if traced else [])],
    }
