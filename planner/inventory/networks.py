"""Networks of a plan: their address blocks, subnets and what these are for, ways out, endpoints, and what is peered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from planner.inventory.once import once
from planner.inventory.references import at, items, mapping
from planner.plan import UNKNOWN, Resource

if TYPE_CHECKING:
    from planner.inventory.inventory import Inventory

VPC = "aws:ec2/vpc:Vpc"
VPC_BLOCK = "aws:ec2/vpcIpv4CidrBlockAssociation:VpcIpv4CidrBlockAssociation"
SUBNET = "aws:ec2/subnet:Subnet"
ROUTE_TABLE = "aws:ec2/routeTable:RouteTable"
ROUTE = "aws:ec2/route:Route"
ASSOCIATION = "aws:ec2/routeTableAssociation:RouteTableAssociation"
VPC_ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
NETWORK = "gcp:compute/network:Network"
SUBNETWORK = "gcp:compute/subnetwork:Subnetwork"
GLOBAL_ADDRESS = "gcp:compute/globalAddress:GlobalAddress"
ROUTER = "gcp:compute/router:Router"
ROUTER_NAT = "gcp:compute/routerNat:RouterNat"
GKE_CLUSTER = "gcp:container/cluster:Cluster"

NAT, INTERNET, CLOSED = "nat", "internet", "closed"
"""Ways out of a subnet: through a NAT gateway, directly, or none."""


@dataclass(frozen=True)
class Block:
    """Addresses, and what they are for."""

    cidr: IPv4Network
    purpose: str
    """network, machines, pods, services, peering, control-plane, nat or public."""
    urn: str
    """The resource that takes them."""
    name: str = ""
    """Range of a subnetwork, where it has several."""


@dataclass(frozen=True)
class Subnet:
    """A subnet; on GCP with its secondary ranges."""

    urn: str
    region: str
    zone: str
    """Empty on GCP, and where the plan doesn't tell."""
    cidr: IPv4Network | None
    """None where only the cloud knows."""
    purpose: str
    """machines, pods or public."""
    ranges: tuple[Block, ...] = ()
    way_out: str = ""
    """nat, internet or closed; empty where the plan doesn't tell."""
    route_table: str = ""
    """URN of its route table on AWS, empty where it has none of its own."""
    google_access: bool = False
    """Private Google Access."""


@dataclass(frozen=True)
class Endpoint:
    """A way to a service of AWS inside a VPC."""

    urn: str
    service: str
    """Such as `ecr.api`, without region."""
    gateway: bool
    private_dns: bool | None
    """Whether the service's own name leads to it; None where the plan doesn't tell."""
    route_tables: tuple[str, ...] = ()
    """URNs, for gateway endpoints."""


@dataclass(frozen=True)
class Network:
    """A VPC, or a VPC network of Google."""

    urn: str
    name: str
    cloud: str
    region: str
    """`global` on GCP, where one network can span regions and says so by its subnets alone."""
    blocks: tuple[Block, ...]
    """All addresses that are taken here and that others reach: blocks of a VPC; ranges, peerings and control planes."""
    complete: bool
    """Whether all of `blocks` are known; if not, an address outside them is not yet wrong."""
    subnets: tuple[Subnet, ...]
    endpoints: tuple[Endpoint, ...] = ()
    peers: tuple[str, ...] = ()
    """URNs of networks that it exchanges routes with."""
    clusters: tuple[str, ...] = ()
    """URNs of clusters in it."""

    @property
    def ranges(self) -> tuple[Block, ...]:
        """What its subnets, and on GCP whatever else takes addresses, are made of."""
        if self.cloud == "gcp":
            return self.blocks
        return tuple(Block(s.cidr, s.purpose, s.urn) for s in self.subnets if s.cidr is not None)


@once
def networks(inventory: Inventory) -> tuple[Network, ...]:
    """Every network of a plan."""
    found = [*_vpcs(inventory), *_vpc_networks(inventory)]
    peers = _peers(inventory)
    clusters: dict[str, list[str]] = {}
    for cluster in inventory.clusters:
        clusters.setdefault(cluster.network, []).append(cluster.urn)
    return tuple(
        replace(one, peers=tuple(sorted(peers.get(one.urn, ()))), clusters=tuple(clusters.get(one.urn, ())))
        for one in found
    )


def cidr(value: Any) -> IPv4Network | None:
    """An address block, or None where it is unknown, IPv6 or nonsense: the cloud refuses that."""
    try:
        return IPv4Network(value, strict=False) if isinstance(value, str) else None
    except ValueError:
        return None


# ---- AWS


def _vpcs(inventory: Inventory) -> Iterator[Network]:
    by_vpc = {type: _grouped(inventory, type, "vpcId", VPC) for type in (VPC_BLOCK, SUBNET, VPC_ENDPOINT, ROUTE_TABLE)}
    ways = _Ways(inventory)
    for vpc in inventory.plan.of_type(VPC):
        primary = cidr(vpc.inputs.get("cidrBlock")) or cidr(vpc.outputs.get("cidrBlock"))
        if vpc.external and inventory.plan.simulated:
            primary = None  # made up
        blocks = [Block(primary, "network", vpc.urn)] if primary else []
        complete = primary is not None
        for extra in by_vpc[VPC_BLOCK].get(vpc.urn, ()):
            secondary = cidr(extra.inputs.get("cidrBlock"))
            complete &= secondary is not None
            if secondary:
                blocks.append(Block(secondary, "network", extra.urn))
        yield Network(
            vpc.urn,
            vpc.name,
            "aws",
            inventory.regions[vpc.urn],
            tuple(blocks),
            complete,
            tuple(_subnet(subnet, inventory, ways) for subnet in by_vpc[SUBNET].get(vpc.urn, ())),
            tuple(_endpoint(endpoint, inventory) for endpoint in by_vpc[VPC_ENDPOINT].get(vpc.urn, ())),
        )


def _grouped(inventory: Inventory, type: str, path: str, *owners: str) -> dict[str, list[Resource]]:
    found: dict[str, list[Resource]] = {}
    for resource in inventory.plan.of_type(type):
        for owner in inventory.references(resource, path, *owners)[:1]:
            found.setdefault(owner.urn, []).append(resource)
    return found


class _Ways:
    """Which route table a subnet has, and where its default route leads."""

    def __init__(self, inventory: Inventory) -> None:
        self._routes: dict[str, list[Mapping[str, Any]]] = {}
        for table in inventory.plan.of_type(ROUTE_TABLE):
            self._routes[table.urn] = [route for route in items(table.inputs, "routes") if isinstance(route, Mapping)]
        for route in inventory.plan.of_type(ROUTE):
            for table in inventory.references(route, "routeTableId", ROUTE_TABLE):
                self._routes[table.urn].append({**route.inputs, "cidrBlock": route.inputs.get("destinationCidrBlock")})
        self._table = {
            subnet.urn: table.urn
            for association in inventory.plan.of_type(ASSOCIATION)
            for subnet in inventory.references(association, "subnetId", SUBNET)
            for table in inventory.references(association, "routeTableId", ROUTE_TABLE)
        }

    def table(self, subnet: Resource) -> str:
        return self._table.get(subnet.urn, "")

    def out(self, subnet: Resource) -> str:
        """Empty where the subnet is left to the VPC's main route table, which the plan may not hold."""
        if subnet.urn not in self._table:
            return ""
        defaults = [route for route in self._routes[self._table[subnet.urn]] if route.get("cidrBlock") == "0.0.0.0/0"]
        if any(route.get("natGatewayId") for route in defaults):
            return NAT
        # Through a transit gateway, an appliance or a peering there may be a NAT that is not of this network.
        if any(route.get(key) for route in defaults for key in ("transitGatewayId", "networkInterfaceId",
                                                               "vpcPeeringConnectionId", "vpcEndpointId")):  # fmt: skip
            return ""
        return INTERNET if defaults else CLOSED


def _subnet(subnet: Resource, inventory: Inventory, ways: _Ways) -> Subnet:
    tags = mapping(subnet.inputs, "tags")
    way_out = ways.out(subnet)
    purpose = "pods" if "kubernetes.io/role/cni" in tags else "public" if way_out == INTERNET else "machines"
    zone = subnet.inputs.get("availabilityZone")
    return Subnet(
        subnet.urn,
        inventory.regions[subnet.urn],
        zone if isinstance(zone, str) and UNKNOWN not in zone else "",
        cidr(subnet.inputs.get("cidrBlock")),
        purpose,
        way_out=way_out,
        route_table=ways.table(subnet),
    )


def _endpoint(endpoint: Resource, inventory: Inventory) -> Endpoint:
    service = endpoint.inputs.get("serviceName")
    parts = service.split(".", 3) if isinstance(service, str) else []
    private_dns = endpoint.inputs.get("privateDnsEnabled", False)
    return Endpoint(
        endpoint.urn,
        # com.amazonaws.us-east-1.ecr.api
        parts[3] if len(parts) == 4 else "",
        # Gateway is what AWS makes where nothing is said.
        endpoint.inputs.get("vpcEndpointType", "Gateway") == "Gateway",
        private_dns if isinstance(private_dns, bool) else None,
        tuple(table.urn for table in inventory.references(endpoint, "routeTableIds", ROUTE_TABLE)),
    )


# ---- GCP


def _vpc_networks(inventory: Inventory) -> Iterator[Network]:
    subnets = _grouped(inventory, SUBNETWORK, "network", NETWORK)
    reserved = _grouped(inventory, GLOBAL_ADDRESS, "network", NETWORK)
    masters = _grouped(inventory, GKE_CLUSTER, "network", NETWORK)
    nats = _nats(inventory)
    for network in inventory.plan.of_type(NETWORK):
        own = [_subnetwork(one, inventory.regions[one.urn], nats) for one in subnets.get(network.urn, ())]
        blocks = [Block(one.cidr, one.purpose, one.urn) for one in own if one.cidr]
        blocks += [block for one in own for block in one.ranges]
        blocks += [block for address in reserved.get(network.urn, ()) for block in _peering(address)]
        for cluster in masters.get(network.urn, ()):
            if master := cidr(at(cluster.inputs, "privateClusterConfig.masterIpv4CidrBlock")):
                blocks.append(Block(master, "control-plane", cluster.urn))
        yield Network(network.urn, network.name, "gcp", "global", tuple(blocks), False, tuple(own))


def _subnetwork(subnet: Resource, region: str, nats: Mapping[str, set[str]]) -> Subnet:
    ranges = []
    for secondary in items(subnet.inputs, "secondaryIpRanges"):
        if block := cidr(at(secondary, "ipCidrRange")):
            name = str(at(secondary, "rangeName"))
            ranges.append(Block(block, "services" if "service" in name else "pods", subnet.urn, name))
    return Subnet(
        subnet.urn,
        region,
        "",
        cidr(subnet.inputs.get("ipCidrRange")),
        "machines",
        tuple(ranges),
        NAT if nats.get(subnet.urn, set()) or region in nats.get(str(_network_key(subnet)), set()) else CLOSED,
        google_access=subnet.inputs.get("privateIpGoogleAccess") is True,
    )


def _peering(address: Resource) -> Iterator[Block]:
    if address.inputs.get("purpose") == "VPC_PEERING":
        block = cidr(f"{address.inputs.get('address')}/{address.inputs.get('prefixLength')}")
        if block:
            yield Block(block, "peering", address.urn)


def _network_key(subnet: Resource) -> Any:
    """What a subnet calls its network; by dependency where only the cloud knows the name."""
    value = subnet.inputs.get("network")
    return value if value != UNKNOWN else tuple(subnet.property_dependencies.get("network", ()))


def _nats(inventory: Inventory) -> dict[str, set[str]]:
    """Subnet, or what a network is called, -> regions in which Cloud NAT serves it."""
    found: dict[str, set[str]] = {}
    for nat in inventory.plan.of_type(ROUTER_NAT):
        region = inventory.regions[nat.urn]
        if nat.inputs.get("sourceSubnetworkIpRangesToNat") == "LIST_OF_SUBNETWORKS":
            for subnet in inventory.references(nat, "subnetworks", SUBNETWORK):
                found.setdefault(subnet.urn, set()).add(region)
        else:
            for router in inventory.references(nat, "router", ROUTER):
                found.setdefault(str(_network_key(router)), set()).add(region)
    return found


# ---- both


_PEERINGS = {
    "aws:ec2/vpcPeeringConnection:VpcPeeringConnection": ("vpcId", "peerVpcId"),
    "gcp:compute/networkPeering:NetworkPeering": ("network", "peerNetwork"),
}
_HUBS = {
    "aws:ec2transitgateway/vpcAttachment:VpcAttachment": ("vpcId", "transitGatewayId"),
    "gcp:networkconnectivity/spoke:Spoke": ("linkedVpcNetwork", "hub"),
}


def _peers(inventory: Inventory) -> dict[str, set[str]]:
    """Network -> networks that it exchanges routes with: peered, or at the same hub."""
    found: dict[str, set[str]] = {}
    for type, paths in _PEERINGS.items():
        for peering in inventory.plan.of_type(type):
            ends = [one.urn for path in paths for one in inventory.references(peering, path, VPC, NETWORK)]
            _join(found, ends)
    for type, (path, hub) in _HUBS.items():
        spokes: dict[str, list[str]] = {}
        for spoke in inventory.plan.of_type(type):
            value = spoke.inputs.get(hub)
            key = value if isinstance(value, str) and value != UNKNOWN else str(spoke.property_dependencies.get(hub))
            spokes.setdefault(key, []).extend(one.urn for one in inventory.references(spoke, path, VPC, NETWORK))
        for ends in spokes.values():
            _join(found, ends)
    return found


def _join(found: dict[str, set[str]], ends: list[str]) -> None:
    for one in ends:
        found.setdefault(one, set()).update(other for other in ends if other != one)
