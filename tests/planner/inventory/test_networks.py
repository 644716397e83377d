"""Networks as they are read: blocks, purposes, ways out, endpoints and peers."""

from __future__ import annotations

import pulumi_aws as aws
import pytest

from planner.inventory import Inventory
from planner.inventory.firewalls import IN, OUT, SecurityGroups, firewalls
from planner.inventory.networks import CLOSED, NAT, networks
from planner.plan import UNKNOWN, Plan, Resource
from tests.support import plan_of


def made(kind: str, name: str, id: str = "", /, **inputs: object) -> Resource:
    return Resource(f"urn:pulumi:s::p::{kind}::{name}", kind, id=id or name, inputs=inputs)


def read(*resources: Resource) -> Inventory:
    return Inventory(Plan.of("p", "s", resources))


@pytest.mark.parametrize("known", [True, False])
def test_the_networks_of_prod(known, environment_plan, simulated_plan):
    found = networks(Inventory((simulated_plan if known else environment_plan)("prod")))
    by_name = {network.name: network for network in found}
    home = by_name["us-east-1-network"]
    assert [str(block.cidr) for block in home.blocks] == ["10.64.0.0/16", "100.64.0.0/16"]
    assert home.complete
    assert {(s.purpose, s.way_out) for s in home.subnets} == {
        ("machines", "nat"),
        ("pods", "nat"),
        ("public", "internet"),
    }
    assert {"ecr.api", "ecr.dkr", "s3", "sts"} < {endpoint.service for endpoint in home.endpoints}
    assert [len(e.route_tables) for e in home.endpoints if e.gateway] == [3]
    assert home.clusters
    assert home.peers == ()
    google = by_name["europe-west4-network"]
    assert {block.purpose for block in google.blocks} == {"machines", "pods", "services", "peering"}
    (subnet,) = google.subnets
    assert (subnet.way_out, subnet.google_access) == (NAT, True)
    assert len([network for network in found if "gpu" in network.name]) == 8


def test_routes_of_their_own_and_of_the_table_lead_out():
    vpc = made("aws:ec2/vpc:Vpc", "vpc", "vpc-1", cidrBlock="10.0.0.0/16")
    subnets = [
        made("aws:ec2/subnet:Subnet", n, vpcId="vpc-1", cidrBlock=f"10.0.{i}.0/24") for i, n in enumerate("abcd")
    ]
    tables = [made("aws:ec2/routeTable:RouteTable", f"t{n}", vpcId="vpc-1") for n in "abc"]
    ties = [made("aws:ec2/routeTableAssociation:RouteTableAssociation", f"x{n}", subnetId=n, routeTableId=f"t{n}")
            for n in "abc"]  # fmt: skip
    routes = [
        made("aws:ec2/route:Route", "r1", routeTableId="ta", destinationCidrBlock="0.0.0.0/0", natGatewayId="nat-1"),
        made(
            "aws:ec2/route:Route", "r2", routeTableId="tb", destinationCidrBlock="0.0.0.0/0", transitGatewayId="tgw-1"
        ),
    ]
    (network,) = networks(read(vpc, *subnets, *tables, *ties, *routes))
    # through a transit gateway and through the main route table nobody can tell
    assert [subnet.way_out for subnet in network.subnets] == [NAT, "", CLOSED, ""]


def test_peers_are_those_peered_and_those_at_the_same_hub():
    vpcs = [made("aws:ec2/vpc:Vpc", f"v{i}", f"vpc-{i}", cidrBlock=f"10.{i}.0.0/16") for i in range(4)]
    peering = made("aws:ec2/vpcPeeringConnection:VpcPeeringConnection", "p", vpcId="vpc-0", peerVpcId="vpc-1")
    spokes = [made("aws:ec2transitgateway/vpcAttachment:VpcAttachment", f"a{i}", vpcId=f"vpc-{i}", transitGatewayId="t")
              for i in (1, 2)]  # fmt: skip
    peers = {network.name: {urn[-2:] for urn in network.peers} for network in networks(read(*vpcs, peering, *spokes))}
    assert peers == {"v0": {"v1"}, "v1": {"v0", "v2"}, "v2": {"v1"}, "v3": set()}


def test_the_block_of_a_network_that_is_only_read_is_not_made_up():
    def program():
        aws.ec2.Vpc.get("theirs", "vpc-1")

    (network,) = networks(Inventory(plan_of(program, simulate_up=True)))
    assert (network.blocks, network.complete) == ((), False)


def test_an_unknown_block_leaves_a_network_incomplete():
    vpc = made("aws:ec2/vpc:Vpc", "vpc", "vpc-1", ipv4IpamPoolId="pool", ipv4NetmaskLength=16)
    (network,) = networks(read(vpc, made("aws:ec2/subnet:Subnet", "a", vpcId="vpc-1", cidrBlock=UNKNOWN)))
    assert (network.blocks, network.complete, network.subnets[0].cidr) == ((), False, None)


def test_rules_of_security_groups_wherever_they_are_written():
    group = made(
        "aws:ec2/securityGroup:SecurityGroup", "g", "sg-1",
        ingress=[{"protocol": "-1", "fromPort": 0, "toPort": 0, "self": True}],
        egress=[{"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": ["10.0.0.0/8"]}],
    )  # fmt: skip
    classic = made("aws:ec2/securityGroupRule:SecurityGroupRule", "r", type="egress", protocol="tcp", fromPort=80,
                   toPort=90, securityGroupId="sg-1", sourceSecurityGroupId="sg-1")  # fmt: skip
    separate = made("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "s", ipProtocol="tcp", fromPort=22,
                    toPort=22, securityGroupId="sg-1", prefixListId="pl-1")  # fmt: skip
    inventory = read(group, classic, separate)
    own = SecurityGroups(inventory).openings[group.urn]
    assert [(o.direction, o.everything, o.passes(85), bool(o.peers), o.elsewhere) for o in own] == [
        (IN, True, True, True, False),
        (OUT, False, False, False, False),
        (IN, False, False, False, True),
        (OUT, False, True, True, False),
    ]


def test_a_denial_comes_before_what_allows_at_the_same_priority():
    network = made("gcp:compute/network:Network", "n", "projects/p/global/networks/n")
    rules = [
        made("gcp:compute/firewall:Firewall", name, network=network.id, priority=priority, sourceRanges=["0.0.0.0/0"],
             **{kind: [{"protocol": "tcp", "ports": ["80-90"]}]})
        for name, kind, priority in (("a", "allows", 1000), ("b", "denies", 1000), ("c", "allows", 10))
    ]  # fmt: skip
    off = made("gcp:compute/firewall:Firewall", "d", network=network.id, disabled=True, allows=[{"protocol": "all"}])
    found = firewalls(read(network, off, *rules))
    assert [(rule.priority, rule.allows) for rule in found] == [(10, True), (1000, False), (1000, True)]
    assert [found[0].passes(port) for port in (79, 80, 90, 91)] == [False, True, True, False]
