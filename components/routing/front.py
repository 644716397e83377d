"""The front door's decisions, free of any cloud: which regions there are, and what share each may have."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

CLOUDS = ("aws", "gcp")

HEALTH_PATH = "/v2/health/ready"
"""The inference server itself says whether it can serve.
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md#health"""

RESPONSE_TIMEOUT = 300
"""Seconds that a server may stay silent within a response, on both clouds: long generations."""

CONNECTION_DRAINING = 60
"""Seconds that requests on their way get when a pod goes."""

RATE_WINDOW = 300
"""Seconds over which one client's requests are counted; both clouds' firewalls offer five minutes."""

REQUESTS_PER_CLIENT = 30_000
"""Default requests of one client address in RATE_WINDOW: 100 a second."""

LARGEST_WEIGHT = 255
"""Of a Route 53 record and of an accelerator's endpoint."""

SMALLEST_GCP_DIAL = 10.0
"""Percent: a backend's capacity scaler is 0 or from 0.1 to 1.
https://cloud.google.com/load-balancing/docs/backend-service#capacity_scaler"""


@dataclass(frozen=True)
class FrontDoorRegion:
    """One region behind the front door."""

    cloud: str
    region: str
    targets: pulumi.Input[Sequence[pulumi.Input[str]]]
    weight: int
    dial: float
    """Percent."""
    drained: bool

    @property
    def key(self) -> str:
        """As it is written in settings, `aws:us-east-1`."""
        return f"{self.cloud}:{self.region}"


def split(key: str, where: str) -> tuple[str, str]:
    """`aws:us-east-1` -> cloud and region. ValueError, naming `where`, for anything else."""
    cloud, _, region = key.partition(":")
    if cloud not in CLOUDS or not region:
        raise ValueError(f"{where}: expected a cloud and its region, such as 'aws:us-east-1', got {key!r}")
    return cloud, region


def check(regions: Sequence[FrontDoorRegion], where: str) -> None:
    """ValueError, naming `where`, for a set of regions that cannot serve, or whose numbers a cloud doesn't take."""
    if not regions:
        raise ValueError(f"{where}: regions: expected at least one")
    keys = [region.key for region in regions]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"{where}: regions: listed twice: {', '.join(twice)}")
    if all(region.drained for region in regions):
        raise ValueError(f"{where}: regions: all are drained ({', '.join(keys)}); at least one must serve")
    for region in regions:
        here = f"{where}: regions: {region.key}"
        if not 1 <= region.weight <= LARGEST_WEIGHT:
            raise ValueError(
                f"{here}: weight: expected 1 to {LARGEST_WEIGHT}, got {region.weight}; to take a region out, "
                "set drained"
            )
        smallest = SMALLEST_GCP_DIAL if region.cloud == "gcp" else 0.0
        if not smallest <= region.dial <= 100.0:
            raise ValueError(
                f"{here}: dial: expected {smallest:g} to 100 percent, got {region.dial:g}; to take a region out, "
                "set drained"
            )
