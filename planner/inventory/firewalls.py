"""What security groups and firewall rules let through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from planner.inventory.networks import NETWORK, cidr
from planner.inventory.references import at, items, texts
from planner.plan import UNKNOWN, Resource

if TYPE_CHECKING:
    from planner.inventory.inventory import Inventory

GROUP = "aws:ec2/securityGroup:SecurityGroup"
EKS_CLUSTER = "aws:eks/cluster:Cluster"
FIREWALL = "gcp:compute/firewall:Firewall"

IN, OUT = "in", "out"

_RULES = {
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": IN,
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": OUT,
    "aws:ec2/securityGroupRule:SecurityGroupRule": "",
}
ANYWHERE = IPv4Network("0.0.0.0/0")


@dataclass(frozen=True)
class Opening:
    """Something that a security group lets in or out."""

    group: str
    """URN of the group; of the EKS cluster for the group that EKS makes with it."""
    direction: str
    protocol: str
    """tcp, udp, icmp, a number, or -1 for all."""
    ports: tuple[int, int] | None
    """From and to; None for all."""
    blocks: tuple[IPv4Network, ...] = ()
    peers: tuple[str, ...] = ()
    """URNs of groups, as in `group`."""
    elsewhere: bool = False
    """Whether it also names what the plan cannot tell: a prefix list, an unknown address or group."""

    @property
    def everything(self) -> bool:
        """Whether it holds for all protocols and ports."""
        return self.protocol in ("-1", "all")

    def passes(self, port: int) -> bool:
        """Whether it holds for a TCP port."""
        if self.everything:
            return True
        return self.protocol in ("tcp", "6") and (self.ports is None or self.ports[0] <= port <= self.ports[1])

    def covers(self, block: IPv4Network) -> bool:
        """Whether it holds for all of a block, as far as the plan can tell."""
        return self.elsewhere or any(block.subnet_of(own) for own in self.blocks)


class SecurityGroups:
    """All security groups of a plan, with their rules wherever these are written."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._clusters = {
            group: cluster.urn
            for cluster in inventory.plan.of_type(EKS_CLUSTER)
            if isinstance(group := at(cluster.outputs, "vpcConfig.clusterSecurityGroupId"), str) and group != UNKNOWN
        }

    @cached_property
    def _ids(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for group in self._inventory.plan.of_type(GROUP):
            found.setdefault(group.id, []).append(group.urn)
        return found

    @cached_property
    def openings(self) -> Mapping[str, tuple[Opening, ...]]:
        """URN of a group -> what it lets through."""
        found: dict[str, list[Opening]] = {group.urn: [] for group in self._inventory.plan.of_type(GROUP)}
        for opening in (*self._inline(), *self._separate()):
            found.setdefault(opening.group, []).append(opening)
        return {group: tuple(own) for group, own in found.items()}

    def of(self, resource: Resource, path: str) -> tuple[str, ...]:
        """URNs of the groups that a property names."""
        named = self._inventory.references(resource, path, GROUP, EKS_CLUSTER)
        known = [self._clusters[text] for text in texts(at(resource.inputs, path)) if text in self._clusters]
        return tuple(dict.fromkeys([*(one.urn for one in named), *known]))

    def _inline(self) -> Iterator[Opening]:
        for group in self._inventory.plan.of_type(GROUP):
            for key, direction in (("ingress", IN), ("egress", OUT)):
                if group.inputs.get(key) == UNKNOWN:
                    yield Opening(group.urn, direction, "-1", None, elsewhere=True)
                for rule in items(group.inputs, key):
                    if isinstance(rule, Mapping):
                        peers = [urn for text in texts(rule.get("securityGroups")) for urn in self._by_id(text)]
                        peers += [group.urn] if rule.get("self") is True else []
                        yield self._opening(group.urn, direction, rule, peers)

    def _separate(self) -> Iterator[Opening]:
        for type, direction in _RULES.items():
            for rule in self._inventory.plan.of_type(type):
                where = direction or (IN if rule.inputs.get("type") == "ingress" else OUT)
                peers = [
                    urn
                    for path in ("referencedSecurityGroupId", "sourceSecurityGroupId")
                    if rule.inputs.get(path)
                    for urn in self.of(rule, path)
                ]
                for group in self.of(rule, "securityGroupId"):
                    own = [*peers, group] if rule.inputs.get("self") is True else peers
                    yield self._opening(group, where, rule.inputs, own)

    def _by_id(self, text: str) -> Iterator[str]:
        if text in self._clusters:
            yield self._clusters[text]
        yield from self._ids.get(text, ())

    def _opening(self, group: str, direction: str, rule: Mapping[str, Any], peers: list[str]) -> Opening:
        addresses = [*texts(rule.get("cidrIpv4")), *texts(rule.get("cidrBlocks"))]
        named = [*texts(rule.get("referencedSecurityGroupId")), *texts(rule.get("sourceSecurityGroupId")),
                 *texts(rule.get("securityGroups"))]  # fmt: skip
        lists = [*texts(rule.get("prefixListId")), *texts(rule.get("prefixListIds"))]
        return Opening(
            group,
            direction,
            str(rule.get("ipProtocol", rule.get("protocol", "-1"))),
            _ports(rule.get("fromPort"), rule.get("toPort")),
            tuple(block for text in addresses if (block := cidr(text))),
            tuple(peers),
            UNKNOWN in addresses or bool(lists) or (bool(named) and not peers),
        )


def _ports(first: Any, last: Any) -> tuple[int, int] | None:
    if isinstance(first, int | float) and isinstance(last, int | float) and first >= 0:
        return int(first), int(last)
    return None


@dataclass(frozen=True)
class Firewall:
    """A firewall rule of a Google network for what comes in."""

    urn: str
    network: str
    """URN of the network."""
    allows: bool
    priority: int
    protocols: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]
    """Protocol and its ports; no ports are all ports."""
    sources: tuple[IPv4Network, ...]
    targeted: bool
    """Whether it holds only for machines with a tag or service account."""

    def passes(self, port: int) -> bool:
        """Whether it holds for a TCP port."""
        for protocol, ports in self.protocols:
            if protocol == "all" or (
                protocol in ("tcp", "6") and (not ports or any(first <= port <= last for first, last in ports))
            ):
                return True
        return False


def firewalls(inventory: Inventory) -> list[Firewall]:
    """The rules of all networks for incoming traffic that are in force, those that are asked first in front."""
    found = []
    for rule in inventory.plan.of_type(FIREWALL):
        if rule.inputs.get("direction", "INGRESS") != "INGRESS" or rule.inputs.get("disabled") is True:
            continue
        allowed, denied = items(rule.inputs, "allows"), items(rule.inputs, "denies")
        blocks = [block for text in texts(rule.inputs.get("sourceRanges")) if (block := cidr(text))]
        if UNKNOWN in texts(rule.inputs.get("sourceRanges")):
            continue
        for network in inventory.references(rule, "network", NETWORK):
            found.append(
                Firewall(
                    rule.urn,
                    network.urn,
                    bool(allowed),
                    int(p) if isinstance(p := rule.inputs.get("priority", 1000), int | float) else 1000,
                    tuple(
                        (str(at(one, "protocol")), tuple(_range(text) for text in texts(at(one, "ports"))))
                        for one in allowed or denied
                    ),
                    tuple(blocks) or (() if rule.inputs.get("sourceTags") else (ANYWHERE,)),
                    bool(rule.inputs.get("targetTags") or rule.inputs.get("targetServiceAccounts")),
                )
            )
    # At the same priority a denial wins.
    return sorted(found, key=lambda rule: (rule.priority, rule.allows))


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return (int(first), int(last or first)) if first.isdigit() and (last or first).isdigit() else (0, 65535)
