"""RegionalNetwork: the network of one region, on either cloud."""

from typing import NotRequired, Optional, TypedDict

import pulumi
import pulumi_aws as aws
import pulumi_gcp as gcp

from components import arguments
from components.network import aws as on_aws
from components.network import cidr
from components.network import gcp as on_gcp
from components.network.parts import NetworkRequest

DEFAULT_FLOW_LOG_RETENTION_DAYS = 30


class RegionalNetworkArgs(TypedDict):
    """The network of one region."""

    cloud: str
    """`aws` or `gcp`."""
    region: str
    """The cloud's own name of the region, such as `us-east-1`."""
    cidr: str
    """Addresses of machines and load balancers: RFC 1918, /16 to /20. Pods come out of 100.64.0.0/10 instead."""
    zones: NotRequired[list[str]]
    """Three zones, for instance those where capacity is reserved. Default: the region's first three by name."""
    nat_per_zone: NotRequired[bool]
    """AWS: a NAT gateway and interface endpoint address in each zone, so that a zone that fails takes down nothing
    else; otherwise one of each. Default false. Cloud NAT spans all zones anyway."""
    gpudirect_networks: NotRequired[int]
    """GCP: GPU NICs of a training machine that each need a network of their own (0 to 15). Default 0."""
    gpudirect_fabric: NotRequired[str]
    """GCP: `tcpx`, `tcpxo` (A3 High, A3 Mega: a network for each NIC) or `rdma` (A3 Ultra, A4: one RoCE network with a
    subnet for each NIC, plus one network for the second gVNIC). Default `tcpxo`."""
    gpudirect_zone: NotRequired[str]
    """GCP: the zone of the `rdma` machines, since RoCE networks are zonal. Required with `rdma`."""
    flow_log_retention_days: NotRequired[int]
    """Days that flow logs are kept; on AWS one of the periods that CloudWatch offers. Default 30."""
    cluster_name: NotRequired[str]
    """AWS: name of the cluster that discovers these subnets by tag. Default: no discovery tags."""
    protect: NotRequired[bool]
    """AWS: protect the key of the flow logs from deletion, without which nobody reads them any more. Default false."""
    tags: NotRequired[dict[str, str]]
    """Tags (labels on GCP, where the resource has any)."""


class RegionalNetwork(pulumi.ComponentResource):
    """Private addresses for one region's machines and pods, and the ways out of it.

    AWS: a VPC over three zones with private, public and pod subnets, NAT, endpoints of the AWS services that a private
    cluster talks to, flow logs, and a security group for EFA. GCP: a VPC network with one subnet and its pod and
    service ranges, Cloud NAT, a firewall that denies by default, private services access, and networks for GPU NICs.

    Raises ValueError for a cloud, CIDR, zone or fabric that does not exist, or fewer than three zones.
    """

    network_id: pulumi.Output[str]
    """VPC id, or `projects/<project>/global/networks/<name>`."""
    network_cidr: pulumi.Output[str]
    """Addresses of machines and load balancers: the argument `cidr`."""
    private_subnet_ids: pulumi.Output[list[str]]
    """Subnets of machines, in the order of `zones`; one on GCP."""
    public_subnet_ids: pulumi.Output[list[str]]
    """Subnets of NAT gateways, in the order of `zones`; none on GCP."""
    pod_subnet_ids: pulumi.Output[list[str]]
    """Subnets of pods, in the order of `zones`; none on GCP."""
    pod_range_name: pulumi.Output[str]
    """Secondary range of pods; empty on AWS."""
    service_range_name: pulumi.Output[str]
    """Secondary range of Services; empty on AWS."""
    fabric_security_group_id: pulumi.Output[str]
    """Security group of machines with EFA; empty on GCP."""
    gpudirect_networks: pulumi.Output[list[str]]
    """Networks of the GPU NICs, one for each; none on AWS."""
    gpudirect_subnetworks: pulumi.Output[list[str]]
    """Their subnetworks, in the same order."""
    zones: pulumi.Output[list[str]]
    """The three zones."""

    def __init__(self, name: str, args: RegionalNetworkArgs, opts: Optional[pulumi.ResourceOptions] = None):
        arguments.check(f"RegionalNetwork {name!r}", args, RegionalNetworkArgs)
        super().__init__("aicloud:index:RegionalNetwork", name, {**args}, opts)
        request = self._request(name, args)
        parts = (on_aws if args["cloud"] == "aws" else on_gcp).build(self, request)

        self.network_id = parts.network_id
        self.network_cidr = pulumi.Output.from_input(request.cidr)
        self.private_subnet_ids = parts.private_subnet_ids
        self.public_subnet_ids = parts.public_subnet_ids
        self.pod_subnet_ids = parts.pod_subnet_ids
        self.pod_range_name = pulumi.Output.from_input(parts.pod_range_name)
        self.service_range_name = pulumi.Output.from_input(parts.service_range_name)
        self.fabric_security_group_id = parts.fabric_security_group_id
        self.gpudirect_networks = parts.gpudirect_networks
        self.gpudirect_subnetworks = parts.gpudirect_subnetworks
        self.zones = pulumi.Output.from_input(list(request.zones))
        self.register_outputs(
            {
                "networkId": self.network_id,
                "networkCidr": self.network_cidr,
                "privateSubnetIds": self.private_subnet_ids,
                "publicSubnetIds": self.public_subnet_ids,
                "podSubnetIds": self.pod_subnet_ids,
                "podRangeName": self.pod_range_name,
                "serviceRangeName": self.service_range_name,
                "fabricSecurityGroupId": self.fabric_security_group_id,
                "gpudirectNetworks": self.gpudirect_networks,
                "gpudirectSubnetworks": self.gpudirect_subnetworks,
                "zones": self.zones,
            }
        )

    def _request(self, name: str, args: RegionalNetworkArgs) -> NetworkRequest:
        where = f"RegionalNetwork {name!r}"
        cloud, region = args["cloud"], args["region"]
        if cloud not in ("aws", "gcp"):
            raise ValueError(f"{where}: cloud: expected 'aws' or 'gcp', got {cloud!r}")
        cidr.parse(args["cidr"], f"{where}: cidr")

        zones = self._zones(where, cloud, region, args.get("zones"))
        networks = int(args.get("gpudirect_networks", 0))
        fabric = args.get("gpudirect_fabric", "tcpxo")
        gpudirect_zone = args.get("gpudirect_zone", "")
        retention = int(args.get("flow_log_retention_days", DEFAULT_FLOW_LOG_RETENTION_DAYS))
        if cloud == "aws":
            if networks:
                raise ValueError(
                    f"{where}: gpudirect_networks: expected 0 on AWS, where the GPU NICs (EFA) share the private "
                    f"subnets; got {networks}"
                )
            on_aws.check_retention(retention, f"{where}: flow_log_retention_days")
        else:
            on_gcp.check_retention(retention, f"{where}: flow_log_retention_days")
            on_gcp.check_fabric(networks, fabric, gpudirect_zone, zones, where)
        return NetworkRequest(
            name=name,
            region=region,
            cidr=args["cidr"],
            zones=zones,
            nat_per_zone=args.get("nat_per_zone", False),
            gpudirect_networks=networks,
            gpudirect_fabric=fabric,
            gpudirect_zone=gpudirect_zone,
            flow_log_retention_days=retention,
            cluster_name=args.get("cluster_name", ""),
            protect=args.get("protect", False),
            tags=args.get("tags", {}),
        )

    def _zones(self, where: str, cloud: str, region: str, wanted: Optional[list[str]]) -> tuple[str, ...]:
        ask = pulumi.InvokeOptions(parent=self)
        if cloud == "aws":
            # Without the filter the answer includes local zones, which have neither NAT gateways nor most machines.
            here = [{"name": "opt-in-status", "values": ["opt-in-not-required"]}]
            offered = aws.get_availability_zones(region=region, state="available", filters=here, opts=ask).names
        else:
            offered = gcp.compute.get_zones(region=region, status="UP", opts=ask).names
        if wanted is None:
            chosen = sorted(offered)[: cidr.ZONES]
            if len(chosen) < cidr.ZONES:
                raise ValueError(f"{where}: region: {region!r} offers only {offered}; {cidr.ZONES} zones are needed")
            return tuple(chosen)
        if len(wanted) != cidr.ZONES or len(set(wanted)) != len(wanted) or not set(wanted) <= set(offered):
            raise ValueError(f"{where}: zones: expected {cidr.ZONES} different ones of {sorted(offered)}, got {wanted}")
        return tuple(wanted)
