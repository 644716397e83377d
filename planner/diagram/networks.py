"""Networks as a diagram shows them: one box a network and region, with zones, ways out and endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from planner.diagram.picture import Row
from planner.diagram.words import plural
from planner.inventory import networks as read
from planner.inventory.inventory import Inventory
from planner.regions import GLOBAL

NAT_GATEWAY = "aws:ec2/natGateway:NatGateway"


@dataclass(frozen=True)
class View:
    """A network, as far as it is in one region."""

    id: str
    urn: str
    name: str
    region: str
    cidr: str
    """Its first block; empty where the plan doesn't tell."""
    rows: tuple[Row, ...]
    clusters: tuple[str, ...]
    """URNs of the clusters that are in it, wherever they are."""


def views(inventory: Inventory) -> Iterator[View]:
    """Every network, once in each region that it has subnets in."""
    zones_of_rungs: dict[str, set[str]] = {}
    for cluster in inventory.clusters:
        found = {zone for rung in cluster.rungs for zone in rung.zones}
        zones_of_rungs.setdefault(cluster.network, set()).update(found)
    gateways: dict[str, int] = {}
    for gateway in inventory.plan.of_type(NAT_GATEWAY):
        for subnet in inventory.references(gateway, "subnetId", read.SUBNET):
            gateways[subnet.urn] = gateways.get(subnet.urn, 0) + 1
    for network in read.networks(inventory):
        here = sorted({subnet.region for subnet in network.subnets} - {GLOBAL})
        for region in here or [network.region]:
            subnets = [subnet for subnet in network.subnets if subnet.region == region]
            zones = {subnet.zone for subnet in subnets if subnet.zone}
            # Google's subnets span the zones of their region: the machines say which are used.
            zones |= {z for z in zones_of_rungs.get(network.urn, ()) if z.startswith(region.partition(":")[2])}
            blocks = [block.cidr for block in network.blocks if block.purpose == "network"]
            blocks += [s.cidr for s in subnets if s.cidr is not None and s.purpose in ("machines", "public")]
            yield View(
                id=network.urn if len(here) < 2 else f"{network.urn}@{region}",
                urn=network.urn,
                name=network.name,
                region=region,
                cidr=str(blocks[0]) if blocks else "",
                rows=tuple(_rows(network, subnets, region, zones, sum(gateways.get(s.urn, 0) for s in subnets))),
                clusters=network.clusters,
            )


def _rows(
    network: read.Network, subnets: list[read.Subnet], region: str, zones: set[str], gateways: int
) -> Iterator[Row]:
    if zones:
        place = region.partition(":")[2]
        letters = sorted(zone.removeprefix(place).lstrip("-") or zone for zone in zones)
        yield Row(f"{'zones' if len(zones) > 1 else 'zone'} {', '.join(letters)}")
    if gateways:
        yield Row(plural(gateways, "NAT gateway"))
    elif any(subnet.way_out == read.NAT for subnet in subnets):
        yield Row("Cloud NAT" if network.cloud == "gcp" else "NAT")
    if network.endpoints:
        yield Row(plural(len(network.endpoints), "private endpoint"))
    if any(subnet.google_access for subnet in subnets):
        yield Row("Private Google Access")
    if network.peers:
        yield Row("peered with", plural(len(network.peers), "network"))
