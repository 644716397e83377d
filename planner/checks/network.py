"""Addresses: networks that overlap, subnets outside their network, whether every pod and machine gets an address."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import combinations
from typing import Any

from components.network.cidr import REGION_LOCAL
from planner.finding import Finding, Rule
from planner.inventory import Inventory
from planner.inventory.model import Cluster, Rung
from planner.inventory.networks import SUBNET, SUBNETWORK, Block, Network, Subnet, networks
from planner.inventory.references import at, items, mapping
from planner.plan import UNKNOWN, Resource
from planner.rules import Rules

APART = Rule(
    "networks-do-not-overlap",
    "No two networks have addresses in common",
    url="https://docs.aws.amazon.com/vpc/latest/peering/invalid-peering-configurations.html",
    remediation="Give each region a CIDR of its own. 100.64.0.0/10 may be the same everywhere, for it is never routed "
    "out of a region, as long as the networks are not peered.",
)
INSIDE = Rule(
    "subnet-inside-network",
    "Every subnet lies inside its network",
    url="https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html",
    remediation="Give the subnet a part of the network's blocks, or the network another block.",
)
DISJOINT = Rule(
    "subnets-do-not-overlap",
    "No two subnets or ranges of a network have addresses in common",
    url="https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html",
    remediation="Give each its own addresses; the cloud refuses the second one.",
)
SUFFICE = Rule(
    "pod-addresses-suffice",
    "Every pod and machine gets an address when all pools are at their maximum",
    url="https://docs.aws.amazon.com/eks/latest/best-practices/ip-opt.html",
    remediation="Give pods a larger range, allow fewer pods on a machine, or lower the maxima of the pools.",
)
EVERY_ZONE = Rule(
    "every-zone-has-pod-addresses",
    "Every zone that has machines has a subnet for their pods",
    url="https://docs.aws.amazon.com/eks/latest/userguide/cni-custom-network.html",
    remediation="Add the zone to `eniConfig` of the vpc-cni add-on, with a subnet of that zone; a node without it "
    "never becomes ready.",
)

RULES = (APART, INSIDE, DISJOINT, SUFFICE, EVERY_ZONE)

AWS_KEEPS = 5
"""Addresses of a subnet that AWS keeps. https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html"""
GCP_KEEPS = 4
"""https://cloud.google.com/vpc/docs/subnets#unusable-ip-addresses-in-every-subnet"""
BALANCERS = 8
"""Free addresses that a load balancer wants in each of its subnets.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#subnets-load-balancer"""
PREFIX = 16
"""Addresses of a prefix that the VPC CNI asks for. One prefix is kept warm."""
GKE_PODS = 110
"""Pods on a GKE machine where nothing is said; it then gets twice as many addresses, rounded up to a power of two.
https://cloud.google.com/kubernetes-engine/docs/concepts/alias-ips#cluster_sizing_secondary_range_pods"""


def findings(inventory: Inventory, rules: Rules) -> Iterator[Finding]:  # noqa: ARG001
    """What is wrong with addresses."""
    by_urn = {network.urn: network for network in networks(inventory)}
    for one, other in _touching(by_urn):
        yield from _apart(one, other, inventory)
    for network in by_urn.values():
        yield from _inside(network, inventory)
        yield from _disjoint(network, inventory)
    addons = _addons(inventory)
    for cluster in inventory.clusters:
        own = by_urn.get(cluster.network)
        if own and cluster.cloud == "aws":
            yield from _aws(cluster, own, addons.get(cluster.urn), inventory)
        elif own:
            yield from _gcp(cluster, own, inventory)
    yield from _nics(by_urn.values(), inventory)


def _touching(networks: Mapping[str, Network]) -> list[tuple[Network, Network]]:
    """Pairs of networks that may overlap: the peered ones, and those with routable blocks in common.

    Blocks are either inside each other or apart, so one pass over them in order finds the latter.
    """
    found = {
        (min(one.urn, peer), max(one.urn, peer)): None
        for one in networks.values()
        for peer in one.peers
        if peer in networks
    }
    blocks = [(block.cidr, network.urn) for network in networks.values() for block in network.blocks]
    open_blocks: list[tuple[IPv4Network, str]] = []
    for cidr, urn in sorted(blocks, key=lambda one: (one[0].network_address, one[0].prefixlen)):
        open_blocks = [other for other in open_blocks if other[0].broadcast_address >= cidr.network_address]
        for _, other in open_blocks:
            if other != urn:
                found.setdefault((min(urn, other), max(urn, other)))
        if not cidr.subnet_of(REGION_LOCAL):  # these meet each other everywhere, as they may
            open_blocks.append((cidr, urn))
    return [(networks[one], networks[other]) for one, other in sorted(found)]


def overlap(one: Network, other: Network) -> list[tuple[Block, Block]]:
    """Addresses that two networks have in common and may not: those of region-local blocks only where they are peered.

    The same pairs, turned around, for `overlap(other, one)`.
    """
    peered = other.urn in one.peers or one.urn in other.peers
    return [
        (own, foreign)
        for own in one.blocks
        for foreign in other.blocks
        if own.cidr.overlaps(foreign.cidr)
        and (peered or not (own.cidr.subnet_of(REGION_LOCAL) and foreign.cidr.subnet_of(REGION_LOCAL)))
    ]


def _apart(one: Network, other: Network, inventory: Inventory) -> Iterator[Finding]:
    pairs = overlap(one, other)
    if pairs:
        own, foreign = pairs[0]
        peered = " and they are peered" if other.urn in one.peers else ""
        more = f" (and {len(pairs) - 1} more)" if len(pairs) > 1 else ""
        yield APART.finding(
            f"{own.cidr} of {one.name} overlaps with {foreign.cidr} of {other.name}{more}{peered}",
            inventory.plan.by_urn[own.urn],
            subject=other.name,
        )


def _inside(network: Network, inventory: Inventory) -> Iterator[Finding]:
    if network.cloud != "aws" or not network.complete:
        return
    for subnet in network.subnets:
        if subnet.cidr and not any(subnet.cidr.subnet_of(block.cidr) for block in network.blocks):
            blocks = ", ".join(str(block.cidr) for block in network.blocks)
            yield INSIDE.finding(
                f"{subnet.cidr} is outside of {network.name}, which has {blocks}", inventory.plan.by_urn[subnet.urn]
            )


def _disjoint(network: Network, inventory: Inventory) -> Iterator[Finding]:
    for one, other in combinations(network.ranges, 2):
        if one.cidr.overlaps(other.cidr):
            name = inventory.plan.by_urn[other.urn].name
            yield DISJOINT.finding(
                f"{one.cidr}{_called(one)} overlaps with {other.cidr}{_called(other)} of {name}",
                inventory.plan.by_urn[one.urn],
                subject=f"{one.name or one.purpose} {other.name or other.purpose} {name}",
            )


def _called(block: Block) -> str:
    return f" ({block.name})" if block.name else ""


# ---- AWS


@dataclass(frozen=True)
class _Cni:
    """How the VPC CNI gets addresses for pods."""

    prefixes: bool
    subnets: Mapping[str, IPv4Network] | None
    """Zone -> subnet of the pods; None where pods live in the machines' own subnets."""
    addon: Resource | None


def _aws(cluster: Cluster, network: Network, addon: Resource | None, inventory: Inventory) -> Iterator[Finding]:
    cni = _cni(addon, network, inventory)
    resource = inventory.plan.by_urn[cluster.urn]
    zones = {zone for rung in cluster.rungs for zone in rung.zones}
    if cni.subnets is not None and cni.addon is not None:
        for zone in sorted(zones - cni.subnets.keys()):
            yield EVERY_ZONE.finding(
                f"{cluster.name} has machines in {zone}, and pods addresses only in {', '.join(sorted(cni.subnets))}",
                cni.addon,
                subject=zone,
            )
    limits = [rung.max for rung in cluster.rungs]
    own = _own_subnets(cluster, network, inventory)
    if None in limits or not own:
        return
    machines = {s.zone: s.cidr.num_addresses - AWS_KEEPS - BALANCERS for s in own if s.zone and s.cidr}
    pods = {zone: block.num_addresses - AWS_KEEPS for zone, block in (cni.subnets or {}).items()}
    if cni.subnets is not None:
        needs = [(rung, _pod_addresses(rung, cni.prefixes)) for rung in cluster.rungs]
        yield from _short("pods", needs, pods, resource)
        yield from _short("machines", [(rung, 1) for rung in cluster.rungs], machines, resource)
    else:
        needs = [(rung, 1 + _pod_addresses(rung, cni.prefixes)) for rung in cluster.rungs]
        yield from _short("machines and pods", needs, machines, resource)


def _short(what: str, needs: list[tuple[Rung, int]], room: Mapping[str, int], resource: Resource) -> Iterator[Finding]:
    """Where all machines need more addresses than there are: in all zones, or in the only one of a rung."""
    if not room:
        return
    total = sum((rung.max or 0) * each for rung, each in needs)
    if total > sum(room.values()):
        count = sum(rung.max or 0 for rung, _ in needs)
        yield SUFFICE.finding(
            f"{what} need {total} addresses at {count} machines, their subnets have {sum(room.values())}",
            resource,
            subject=what,
        )
        return
    for zone, there in room.items():
        total = sum((rung.max or 0) * each for rung, each in needs if rung.zones == (zone,))
        if total > there:
            yield SUFFICE.finding(
                f"{what} that can only be in {zone} need {total} addresses, its subnet has {there}",
                resource,
                subject=f"{what} {zone}",
            )


def _pod_addresses(rung: Rung, prefixes: bool) -> int:
    """Addresses that the pods of one machine take, at the limit of pods that the node image sets."""
    vcpus = max((machine.vcpus for machine in rung.machines), default=0)
    most = rung.max_pods or (110 if vcpus < 30 else 250)
    if prefixes:
        return (-(-most // PREFIX) + 1) * PREFIX
    # Without prefixes a machine's interfaces are the limit: 4 of 15 addresses up to 8 vCPUs, 8 of 30 and more above.
    return min(most, 58 if 0 < vcpus <= 8 else 234)


def _addons(inventory: Inventory) -> Mapping[str, Resource]:
    """Cluster -> its vpc-cni add-on."""
    return {
        cluster.urn: addon
        for addon in inventory.plan.of_type("aws:eks/addon:Addon")
        if addon.inputs.get("addonName") == "vpc-cni"
        for cluster in inventory.references(addon, "clusterName", "aws:eks/cluster:Cluster")
    }


def _cni(addon: Resource | None, network: Network, inventory: Inventory) -> _Cni:
    given = addon.inputs.get("configurationValues") if addon else None
    by_tag = {s.zone: s.cidr for s in network.subnets if s.purpose == "pods" and s.zone and s.cidr}
    if isinstance(given, str) and UNKNOWN in given:
        # Ids of subnets are not known yet; the tag tells which ones they will be.
        return _Cni(True, by_tag or None, None)
    settings = _json(given)
    env = mapping(settings, "env")
    prefixes = str(env.get("ENABLE_PREFIX_DELEGATION")).lower() == "true"
    if str(env.get("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG")).lower() != "true":
        return _Cni(prefixes, None, addon)
    by_id = {inventory.plan.by_urn[s.urn].id: s.cidr for s in network.subnets if s.cidr}
    configured = mapping(settings, "eniConfig.subnets")
    found = {zone: by_id.get(str(at(one, "id"))) for zone, one in configured.items()}
    if not configured or None in found.values():
        return _Cni(prefixes, by_tag or None, None)
    return _Cni(prefixes, {zone: block for zone, block in found.items() if block}, addon)


def _json(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else {}
    except json.JSONDecodeError:
        return {}


def _own_subnets(cluster: Cluster, network: Network, inventory: Inventory) -> list[Subnet]:
    """The subnets that a cluster's machines are in: those of its node groups and node classes."""
    named: set[str] = set()
    for rung in cluster.rungs:
        resource = inventory.plan.by_urn[rung.urn]
        if rung.manager == "eks":
            named.update(one.urn for one in inventory.references(resource, "subnetIds", SUBNET))
    return [subnet for subnet in network.subnets if subnet.urn in named]


# ---- GCP


def _gcp(cluster: Cluster, network: Network, inventory: Inventory) -> Iterator[Finding]:
    resource = inventory.plan.by_urn[cluster.urn]
    subnet = next(
        (
            one
            for named in inventory.references(resource, "subnetwork", SUBNETWORK)
            for one in network.subnets
            if one.urn == named.urn
        ),
        None,
    )
    limits = [rung.max for rung in cluster.rungs]
    if subnet is None or None in limits:
        return
    count = sum(limit for limit in limits if limit is not None)
    if subnet.cidr and count > subnet.cidr.num_addresses - GCP_KEEPS:
        room = subnet.cidr.num_addresses - GCP_KEEPS
        yield SUFFICE.finding(f"{count} machines, and {subnet.cidr} has {room} addresses", resource, subject="machines")
    name = at(resource.inputs, "ipAllocationPolicy.clusterSecondaryRangeName")
    pods = next((block for block in subnet.ranges if block.name == name), None)
    default = resource.inputs.get("defaultMaxPodsPerNode")
    default = int(default) if isinstance(default, int | float) else GKE_PODS
    total = sum((rung.max or 0) * _pod_range(rung.max_pods or default) for rung in cluster.rungs)
    if pods and total > pods.cidr.num_addresses:
        yield SUFFICE.finding(
            f"pods need {total} addresses at {count} machines, and {pods.cidr} ({pods.name}) has "
            f"{pods.cidr.num_addresses}",
            resource,
            subject="pods",
        )


def _pod_range(pods: int) -> int:
    return 1 << (2 * pods - 1).bit_length()


def _nics(networks: Iterable[Network], inventory: Inventory) -> Iterator[Finding]:
    """Each NIC for GPUs takes an address of its own subnet."""
    taken: Counter[str] = Counter()
    for rung in (rung for cluster in inventory.clusters for rung in cluster.rungs if rung.manager == "gke"):
        pool = inventory.plan.by_urn[rung.urn]
        if items(pool.inputs, "networkConfig.additionalNodeNetworkConfigs"):
            for named in inventory.references(pool, "networkConfig.additionalNodeNetworkConfigs", SUBNETWORK):
                taken[named.urn] += rung.max or 0
    for subnet in (subnet for network in networks for subnet in network.subnets):
        if subnet.cidr and taken[subnet.urn] > subnet.cidr.num_addresses - GCP_KEEPS:
            yield SUFFICE.finding(
                f"{taken[subnet.urn]} machines have a NIC here, and {subnet.cidr} has "
                f"{subnet.cidr.num_addresses - GCP_KEEPS} addresses",
                inventory.plan.by_urn[subnet.urn],
            )
