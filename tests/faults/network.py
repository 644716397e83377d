"""Slips in networks: addresses, endpoints, security groups and firewalls."""

from __future__ import annotations

import json
from typing import Any

from tests.faults.fault import Fault, State, all_of, remove, the

VPC = "aws:ec2/vpc:Vpc"
SUBNET = "aws:ec2/subnet:Subnet"
SUBNETWORK = "gcp:compute/subnetwork:Subnetwork"
ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
ROUTE_TABLE = "aws:ec2/routeTable:RouteTable"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
FIREWALL = "gcp:compute/firewall:Firewall"
ADDON = "aws:eks/addon:Addon"
PEERING = "aws:ec2/vpcPeeringConnection:VpcPeeringConnection"


def _replace(value: Any, old: str, new: str) -> Any:
    return json.loads(json.dumps(value).replace(old, new))


def same_cidr_in_two_regions(states: list[State]) -> None:
    for state in [*all_of(states, VPC, "eu-central-1"), *all_of(states, SUBNET, "eu-central-1")]:
        state["inputs"] = _replace(state["inputs"], '"10.65.', '"10.64.')


def gcp_region_on_the_addresses_of_an_aws_region(states: list[State]) -> None:
    subnet = the(states, SUBNETWORK, "asia-southeast1-network")
    subnet["inputs"]["ipCidrRange"] = "10.66.128.0/17"


def peered_with_the_same_pod_addresses(states: list[State]) -> None:
    one, other = the(states, VPC, "us-east-1"), the(states, VPC, "eu-central-1")
    states.append(
        {
            "urn": one["urn"].rsplit("$", 1)[0] + f"${PEERING}::us-east-1-to-eu-central-1",
            "type": PEERING,
            "custom": True,
            "id": "pcx-0123456789abcdef0",
            "inputs": {"vpcId": one["id"], "peerVpcId": other["id"], "peerRegion": "eu-central-1"},
            "propertyDependencies": {"vpcId": [one["urn"]], "peerVpcId": [other["urn"]]},
        }
    )  # fmt: skip


def subnet_of_another_region(states: list[State]) -> None:
    the(states, SUBNET, "us-east-1-network-public-us-east-1b")["inputs"]["cidrBlock"] = "10.65.208.0/20"


def two_zones_with_the_same_subnet(states: list[State]) -> None:
    first = the(states, SUBNET, "us-east-1-network-private-us-east-1a")["inputs"]["cidrBlock"]
    the(states, SUBNET, "us-east-1-network-private-us-east-1b")["inputs"]["cidrBlock"] = first


def services_inside_the_pods(states: list[State]) -> None:
    ranges = the(states, SUBNETWORK, "asia-southeast1-network")["inputs"]["secondaryIpRanges"]
    ranges[1]["ipCidrRange"] = "100.67.0.0/20"


def gke_pod_range_too_small(states: list[State]) -> None:
    subnet = next(s for s in all_of(states, SUBNETWORK, "europe-west4-network") if s["inputs"].get("secondaryIpRanges"))
    subnet["inputs"]["secondaryIpRanges"][0]["ipCidrRange"] = "100.64.0.0/19"


def eks_pod_subnets_too_small(states: list[State]) -> None:
    for index, state in enumerate(all_of(states, SUBNET, "eu-central-1-network-pods")):
        state["inputs"]["cidrBlock"] = f"100.64.{index * 4}.0/22"


def zone_without_pod_addresses(states: list[State]) -> None:
    inputs = the(states, ADDON, "us-east-1-cluster-vpc-cni")["inputs"]
    settings = json.loads(inputs["configurationValues"])
    del settings["eniConfig"]["subnets"]["us-east-1c"]
    inputs["configurationValues"] = json.dumps(settings)


def no_endpoint_for_images(states: list[State]) -> None:
    remove(states, ENDPOINT, "eu-central-1-network-ecr-dkr")


def no_way_out_and_no_endpoint(states: list[State]) -> None:
    remove(states, ENDPOINT, "us-east-1-network-sts")
    for table in all_of(states, ROUTE_TABLE, "us-east-1-network-private"):
        table["inputs"]["routes"] = []


def endpoint_without_private_dns(states: list[State]) -> None:
    the(states, ENDPOINT, "us-west-2-network-eks-auth")["inputs"]["privateDnsEnabled"] = False


def endpoints_closed_to_pods(states: list[State]) -> None:
    remove(states, INGRESS, "ap-northeast-1-network-endpoints-pods")


def bucket_endpoint_misses_a_route_table(states: list[State]) -> None:
    del the(states, ENDPOINT, "us-east-1-network-s3")["inputs"]["routeTableIds"][0]


def no_private_google_access(states: list[State]) -> None:
    the(states, SUBNETWORK, "us-central1-network")["inputs"]["privateIpGoogleAccess"] = False


def fabric_without_egress_to_itself(states: list[State]) -> None:
    rule = the(states, EGRESS, "us-east-1-network-fabric-egress")["inputs"]
    del rule["referencedSecurityGroupId"]
    rule["cidrIpv4"] = "0.0.0.0/0"


def fabric_lets_only_tcp_in(states: list[State]) -> None:
    the(states, INGRESS, "us-east-1-network-fabric-ingress")["inputs"] |= {
        "ipProtocol": "tcp", "fromPort": 0, "toPort": 65535,
    }  # fmt: skip


def machines_closed_to_the_load_balancer(states: list[State]) -> None:
    remove(states, INGRESS, "us-east-1-endpoint-from-load-balancer")


def load_balancer_may_not_send_to_the_port(states: list[State]) -> None:
    the(states, EGRESS, "eu-central-1-endpoint-pods")["inputs"] |= {"fromPort": 8080, "toPort": 8080}


def front_door_open_to_the_office_alone(states: list[State]) -> None:
    the(states, INGRESS, "us-west-2-endpoint-clients")["inputs"]["cidrIpv4"] = "203.0.113.0/24"


def firewall_lets_half_of_googles_checkers_in(states: list[State]) -> None:
    the(states, FIREWALL, "europe-west4-network-health")["inputs"]["sourceRanges"] = ["35.191.0.0/16"]


def firewall_for_another_port(states: list[State]) -> None:
    the(states, FIREWALL, "us-central1-network-health")["inputs"]["allows"] = [{"protocol": "tcp", "ports": ["8080"]}]


_APART, _INSIDE, _DISJOINT = "networks-do-not-overlap", "subnet-inside-network", "subnets-do-not-overlap"
_ADDRESSES, _ENDPOINTS = "pod-addresses-suffice", "private-cluster-has-endpoints"
_EFA, _HEALTH = "security-group-lets-efa", "security-group-lets-health-checks"

FAULTS: tuple[Fault, ...] = tuple(
    Fault(mutate.__name__.replace("_", " "), environment, rule, at, mutate)
    for mutate, environment, rule, at in (
        (same_cidr_in_two_regions, "prod", _APART, "-network"),
        (gcp_region_on_the_addresses_of_an_aws_region, "prod", _APART, "-network"),
        (peered_with_the_same_pod_addresses, "prod", _APART, "-network"),
        (subnet_of_another_region, "prod", _INSIDE, "us-east-1-network-public-us-east-1b"),
        (two_zones_with_the_same_subnet, "prod", _DISJOINT, "us-east-1-network-private"),
        (services_inside_the_pods, "prod", _DISJOINT, "asia-southeast1-network"),
        (gke_pod_range_too_small, "prod", _ADDRESSES, "europe-west4-cluster"),
        (eks_pod_subnets_too_small, "prod", _ADDRESSES, "eu-central-1-cluster"),
        (zone_without_pod_addresses, "prod", "every-zone-has-pod-addresses", "us-east-1c"),
        (no_endpoint_for_images, "prod", _ENDPOINTS, "ecr.dkr"),
        (no_way_out_and_no_endpoint, "prod", _ENDPOINTS, "sts"),
        (endpoint_without_private_dns, "staging", _ENDPOINTS, "us-west-2-network-eks-auth"),
        (endpoints_closed_to_pods, "prod", _ENDPOINTS, "pods"),
        (bucket_endpoint_misses_a_route_table, "prod", _ENDPOINTS, "us-east-1-network-s3"),
        (no_private_google_access, "staging", _ENDPOINTS, "us-central1-network"),
        (fabric_without_egress_to_itself, "prod", _EFA, "us-east-1-network-fabric"),
        (fabric_lets_only_tcp_in, "prod", _EFA, "us-east-1-network-fabric"),
        (machines_closed_to_the_load_balancer, "prod", _HEALTH, "us-east-1-endpoint"),
        (load_balancer_may_not_send_to_the_port, "prod", _HEALTH, "eu-central-1-endpoint"),
        (front_door_open_to_the_office_alone, "staging", _HEALTH, "us-west-2-endpoint"),
        (firewall_lets_half_of_googles_checkers_in, "prod", _HEALTH, "europe-west4-route"),
        (firewall_for_another_port, "staging", _HEALTH, "us-central1-route"),
    )
)
