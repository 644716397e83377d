"""What differs between the clouds for an inference pod: who checks its health, and how it is told its region."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cloud:
    """Facts of one cloud that a pod's NetworkPolicy and environment need."""

    health_check_cidrs: tuple[str, ...]
    """Where the cloud's load balancers send health checks and requests from, beside the clients given."""
    region_variable: str
    """Environment variable that tells a client library the region; empty where it needs none."""


CLOUDS = {
    "aws": Cloud((), "AWS_REGION"),
    # The proxies of Google's load balancers. https://cloud.google.com/load-balancing/docs/firewall-rules
    "gcp": Cloud(("35.191.0.0/16", "130.211.0.0/22"), ""),
}
