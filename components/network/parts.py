"""What both clouds' networks are asked for and must answer: the parity of RegionalNetwork, as types."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi


@dataclass(frozen=True)
class NetworkRequest:
    """RegionalNetwork's arguments after validation; units and meanings are documented there."""

    name: str
    region: str
    cidr: str
    zones: tuple[str, ...]
    nat_per_zone: bool
    gpudirect_networks: int
    gpudirect_fabric: str
    gpudirect_zone: str
    flow_log_retention_days: int
    cluster_name: str
    protect: bool
    tags: Mapping[str, str]


@dataclass(frozen=True)
class NetworkParts:
    """Every output of RegionalNetwork; what a cloud doesn't have is empty."""

    network_id: pulumi.Output[str]
    private_subnet_ids: pulumi.Output[list[str]]
    public_subnet_ids: pulumi.Output[list[str]]
    pod_subnet_ids: pulumi.Output[list[str]]
    pod_range_name: str
    service_range_name: str
    fabric_security_group_id: pulumi.Output[str]
    gpudirect_networks: pulumi.Output[list[str]]
    gpudirect_subnetworks: pulumi.Output[list[str]]
