"""Offers: whether a cloud has the machines that an environment asks for, where and how it asks for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from components.machine_types import MachineType
from components.regions import REGIONS
from planner.finding import Finding, Rule
from planner.inventory import Inventory
from planner.inventory.model import CATALOG, Rung
from planner.inventory.references import items, texts
from planner.plan import UNKNOWN, Resource
from planner.rules import Rules

OFFERED = Rule(
    "machine-is-offered",
    "Every machine type is offered in the region that asks for it",
    url="https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-regions.html",
    remediation="Choose another machine type or region; components/regions.py says what is offered where, and is the "
    "place to add what has become available since.",
)
POSSIBLE = Rule(
    "rung-is-possible",
    "Every machine type can be had in the way that its rung asks for it",
    url="https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-capacity-blocks.html",
    remediation="Take the rung out of the ladder, or choose a machine type that is sold this way.",
)
ZONE = Rule(
    "zone-is-in-region",
    "Every zone belongs to the region that names it",
    url="https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-availability-zones.html",
    remediation="Name a zone of that region.",
)
ONE_ZONE = Rule(
    "reservation-has-a-zone",
    "What lies in one zone is asked for in one zone",
    url="https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/capacity-reservation-overview.html",
    remediation="Give the node group the subnet of the reservation's zone alone.",
)

RULES = (OFFERED, POSSIBLE, ZONE, ONE_ZONE)

NODE_GROUP_SUBNETS = "subnetIds"
_SUBNET = "aws:ec2/subnet:Subnet"
_RESERVATION = "aws:ec2/capacityReservation:CapacityReservation"
_CPU_RUNGS = frozenset({"reservation", "spot", "on-demand"})


def findings(inventory: Inventory, rules: Rules) -> Iterator[Finding]:  # noqa: ARG001
    """What no cloud would give."""
    reserved = {
        one.id: zone
        for one in inventory.plan.of_type(_RESERVATION)
        if isinstance(zone := one.inputs.get("availabilityZone"), str) and zone != UNKNOWN
    }
    for cluster in inventory.clusters:
        for rung in cluster.rungs:
            resource = inventory.plan.by_urn[rung.urn]
            yield from _offered(rung, resource)
            yield from _possible(rung, resource)
            yield from _in_one_zone(rung, resource, reserved)
    for resource in inventory.plan:
        yield from _zones(resource, inventory.regions[resource.urn])


def _offered(rung: Rung, resource: Resource) -> Iterator[Finding]:
    cloud, _, region = rung.region.partition(":")
    if cloud not in REGIONS:
        return
    if region not in REGIONS[cloud]:
        yield OFFERED.finding(f"{cloud} has no region {region!r} that this knows of", resource, severity="warning")
        return
    known = [CATALOG.get((cloud, name)) for name in rung.machine_types]
    absent = [m for m in known if isinstance(m, MachineType) and region not in m.regions]
    for missing in absent:
        # Karpenter takes another type where it may choose; a group of one type never gets a machine.
        alone = len(absent) == len(rung.machine_types)
        yield OFFERED.finding(
            f"{missing.name} is not offered in {region}; it is in {', '.join(missing.regions)}",
            resource,
            subject=missing.name,
            severity="error" if alone else "warning",
        )
    for name, machine in zip(rung.machine_types, known, strict=True):
        if machine is None:
            yield OFFERED.finding(
                f"{name} is not in the catalog: its size, price, quota and regions are unknown to all checks",
                resource,
                subject=name,
                severity="warning",
                remediation="Add it to components/machine_types.py, or use one that is there.",
            )


def _possible(rung: Rung, resource: Resource) -> Iterator[Finding]:
    for machine in rung.machines:
        ways = machine.rungs if isinstance(machine, MachineType) else _CPU_RUNGS
        if rung.kind not in ways:
            yield POSSIBLE.finding(
                f"{machine.name} cannot be had as {rung.kind}; it can be as {', '.join(sorted(ways))}",
                resource,
                subject=machine.name,
            )


def _in_one_zone(rung: Rung, resource: Resource, reserved: Mapping[str, str]) -> Iterator[Finding]:
    if rung.manager != "eks" or UNKNOWN in texts(resource.inputs.get(NODE_GROUP_SUBNETS)):
        return
    if len(rung.zones) > 1:
        for what in (*rung.reservations, *filter(None, (rung.placement_group,))):
            yield ONE_ZONE.finding(
                f"{what} lies in one zone, and the node group asks for its machines in {', '.join(rung.zones)}",
                resource,
                subject=what,
            )
    for reservation in rung.reservations:
        zone = reserved.get(reservation)
        if zone and rung.zones and zone not in rung.zones:
            yield ONE_ZONE.finding(
                f"{reservation} lies in {zone}, and the node group's machines in {', '.join(rung.zones)}",
                resource,
                subject=reservation,
            )


def _zones(resource: Resource, region: str) -> Iterator[Finding]:
    cloud, _, name = region.partition(":")
    named = [value for key in ("availabilityZone", "zone") for value in texts(resource.inputs.get(key))]
    named += list(texts(items(resource.inputs, "nodeLocations")))
    if resource.type == "kubernetes:karpenter.sh/v1:NodePool":
        named += _required_zones(resource)
    if cloud not in REGIONS or resource.package not in (cloud, "kubernetes"):
        return
    for zone in dict.fromkeys(named):
        if UNKNOWN not in zone and _is_zone(zone, cloud) and not _within(zone, name, cloud):
            yield ZONE.finding(f"{zone} is not a zone of {name}", resource, subject=zone)


def _required_zones(pool: Resource) -> list[str]:
    requirements = items(pool.inputs, "spec.template.spec.requirements")
    return [
        zone
        for requirement in requirements
        if isinstance(requirement, dict) and requirement.get("key") == "topology.kubernetes.io/zone"
        and requirement.get("operator") == "In"
        for zone in texts(items(requirement, "values"))
    ]  # fmt: skip


def _is_zone(text: str, cloud: str) -> bool:
    """Whether it looks like a zone's name; ids such as use1-az1 and tiers such as Local Zones are left alone."""
    shape = r"[a-z]+-[a-z]+(-[a-z]+)?-\d[a-z]" if cloud == "aws" else r"[a-z]+-[a-z]+\d+-[a-z]"
    return re.fullmatch(shape, text) is not None


def _within(zone: str, region: str, cloud: str) -> bool:
    return zone[:-1] == region if cloud == "aws" else zone.rpartition("-")[0] == region
