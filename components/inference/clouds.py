"""What differs between the clouds for an inference pod: where it gets credentials, and who checks its health."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cloud:
    """Network facts of one cloud that a pod's NetworkPolicy and environment need."""

    credential_endpoints: tuple[tuple[str, int], ...]
    """(CIDR, TCP port) from which a pod gets its cloud credentials."""
    health_check_cidrs: tuple[str, ...]
    """Where the cloud's load balancers send health checks and requests from, beside the clients given."""
    region_variable: str
    """Environment variable that tells a client library the region; empty where it needs none."""


CLOUDS = {
    # The Pod Identity agent on the node. https://docs.aws.amazon.com/eks/latest/userguide/pod-id-agent-setup.html
    "aws": Cloud((("169.254.170.23/32", 80),), (), "AWS_REGION"),
    # The GKE metadata server, with and without Dataplane V2, and the proxies of Google's load balancers.
    # https://cloud.google.com/kubernetes-engine/docs/how-to/network-policy#network-policy-and-workload-identity
    # https://cloud.google.com/load-balancing/docs/firewall-rules
    "gcp": Cloud((("169.254.169.254/32", 80), ("169.254.169.252/32", 988)), ("35.191.0.0/16", "130.211.0.0/22"), ""),
}
