"""RegionalNetwork: what both clouds' networks have, and what they refuse."""

import json
from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from components.network import RegionalNetwork
from components.network.aws import INTERFACE_ENDPOINTS
from components.network.gcp import HEALTH_CHECKERS
from planner.plan import Plan, Resource
from tests.support import plan_of

AWS = {"cloud": "aws", "region": "eu-west-1", "cidr": "10.16.0.0/16", "tags": {"owner": "ml-platform"}}
GCP = {"cloud": "gcp", "region": "europe-west4", "cidr": "10.32.0.0/16", "tags": {"owner": "ml-platform"}}
OUTPUTS = [
    *("network_id", "network_cidr", "private_subnet_ids", "public_subnet_ids", "pod_subnet_ids", "pod_range_name"),
    *("service_range_name", "fabric_security_group_id", "gpudirect_networks", "gpudirect_subnetworks", "zones"),
]


def network(**args: Any) -> Callable[[], None]:
    def program() -> None:
        made = RegionalNetwork("net", args)  # type: ignore[arg-type]
        for output in OUTPUTS:
            pulumi.export(output, getattr(made, output))

    return program


@pytest.fixture(scope="module")
def aws_plan() -> Plan:
    return plan_of(network(**AWS, nat_per_zone=True, cluster_name="blue"))


@pytest.fixture(scope="module")
def gcp_plan() -> Plan:
    return plan_of(network(**GCP, gpudirect_networks=8))


def named(plan: Plan, type: str, part: str) -> list[Resource]:
    return [resource for resource in plan.of_type(type) if part in resource.name]


# ---- AWS


def test_aws_has_three_subnets_of_each_kind_and_none_gives_public_addresses(aws_plan: Plan) -> None:
    subnets = aws_plan.of_type("aws:ec2/subnet:Subnet")
    assert len(subnets) == 9
    assert not any(subnet.inputs["mapPublicIpOnLaunch"] for subnet in subnets)
    for kind in ("private", "public", "pods"):
        zones = {subnet.inputs["availabilityZone"] for subnet in subnets if f"-{kind}-" in subnet.name}
        assert zones == {"eu-west-1a", "eu-west-1b", "eu-west-1c"}


def test_aws_everything_regional_is_in_the_region_and_everything_taggable_is_tagged(aws_plan: Plan) -> None:
    ours = [resource for resource in aws_plan if resource.package == "aws" and not resource.is_provider]
    regional = [resource for resource in ours if not resource.type.startswith("aws:iam/")]
    assert {resource.inputs["region"] for resource in regional} == {"eu-west-1"}
    untagged = {resource.type for resource in ours if "owner" not in resource.inputs.get("tags", {})}
    assert untagged == {
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        "aws:ec2/vpcIpv4CidrBlockAssociation:VpcIpv4CidrBlockAssociation",
        "aws:iam/rolePolicy:RolePolicy",
    }


def test_aws_subnets_are_found_by_karpenter_load_balancers_and_the_cni(aws_plan: Plan) -> None:
    for subnet in aws_plan.of_type("aws:ec2/subnet:Subnet"):
        tags = subnet.inputs["tags"]
        private, public, pods = (f"-{kind}-" in subnet.name for kind in ("private", "public", "pods"))
        assert tags.get("karpenter.sh/discovery") == ("blue" if private else None)
        assert ("kubernetes.io/role/internal-elb" in tags) == private
        assert ("kubernetes.io/role/elb" in tags) == public
        assert ("kubernetes.io/role/cni" in tags) == pods


@pytest.mark.parametrize(("nat_per_zone", "expected"), [(True, 3), (False, 1)])
def test_aws_nat_and_endpoints_are_one_or_one_a_zone(nat_per_zone: bool, expected: int) -> None:
    plan = plan_of(network(**AWS, nat_per_zone=nat_per_zone), simulate_up=True)
    gateways = plan.of_type("aws:ec2/natGateway:NatGateway")
    assert len(gateways) == len(plan.of_type("aws:ec2/eip:Eip")) == expected
    tables = named(plan, "aws:ec2/routeTable:RouteTable", "private")
    assert len(tables) == 3
    used = {table.inputs["routes"][0]["natGatewayId"] for table in tables}
    assert used == {gateway.id for gateway in gateways}
    interfaces = [
        e for e in plan.of_type("aws:ec2/vpcEndpoint:VpcEndpoint") if e.inputs["vpcEndpointType"] == "Interface"
    ]
    assert {len(endpoint.inputs["subnetIds"]) for endpoint in interfaces} == {expected}


def test_aws_private_and_pod_subnets_of_a_zone_leave_by_its_own_table() -> None:
    plan = plan_of(network(**AWS, nat_per_zone=True), simulate_up=True)
    tables = {table.id: table.name for table in plan.of_type("aws:ec2/routeTable:RouteTable")}
    subnets = {subnet.id: subnet.name for subnet in plan.of_type("aws:ec2/subnet:Subnet")}
    routed = {
        subnets[a.inputs["subnetId"]]: tables[a.inputs["routeTableId"]]
        for a in plan.of_type("aws:ec2/routeTableAssociation:RouteTableAssociation")
    }
    assert len(routed) == 9
    for subnet, table in routed.items():
        zone = subnet.removeprefix("net-").split("-", 1)[1]
        assert table == ("net-public" if "-public-" in subnet else f"net-private-{zone}")


def test_aws_endpoints_cover_s3_and_what_a_private_cluster_calls(aws_plan: Plan) -> None:
    services = {e.inputs["serviceName"]: e.inputs for e in aws_plan.of_type("aws:ec2/vpcEndpoint:VpcEndpoint")}
    assert set(services) == {f"com.amazonaws.eu-west-1.{s}" for s in ("s3", *INTERFACE_ENDPOINTS)}
    assert {"ecr.api", "ecr.dkr", "sts", "ec2", "logs", "eks-auth", "sqs"} <= set(INTERFACE_ENDPOINTS)
    gateway = services.pop("com.amazonaws.eu-west-1.s3")
    assert gateway["vpcEndpointType"] == "Gateway"
    assert all(e["privateDnsEnabled"] for e in services.values())
    rules = named(aws_plan, "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "endpoints")
    assert {(rule.inputs["cidrIpv4"], rule.inputs["fromPort"]) for rule in rules} == {
        ("10.16.0.0/16", 443),
        ("100.64.0.0/16", 443),
    }


def test_aws_fabric_group_admits_itself_both_ways_and_nobody_else() -> None:
    plan = plan_of(network(**AWS), simulate_up=True)
    group = plan.one("aws:ec2/securityGroup:SecurityGroup", "net-fabric")
    assert "ingress" not in group.inputs
    assert "egress" not in group.inputs
    for direction in ("Ingress", "Egress"):
        kind = f"aws:vpc/securityGroup{direction}Rule:SecurityGroup{direction}Rule"
        (rule,) = [r for r in plan.of_type(kind) if r.inputs["securityGroupId"] == group.id]
        assert rule.inputs["referencedSecurityGroupId"] == group.id
        assert rule.inputs["ipProtocol"] == "-1"
    assert plan.outputs["fabric_security_group_id"] == group.id


def test_aws_default_group_lets_nothing_through(aws_plan: Plan) -> None:
    group = aws_plan.one("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup")
    assert not group.inputs.get("ingress")
    assert not group.inputs.get("egress")


def test_aws_flow_logs_are_encrypted_kept_and_written_by_a_role_for_them_alone() -> None:
    plan = plan_of(network(**AWS, flow_log_retention_days=90), simulate_up=True)
    log = plan.one("aws:ec2/flowLog:FlowLog")
    group = plan.one("aws:cloudwatch/logGroup:LogGroup")
    key = plan.one("aws:kms/key:Key")
    assert log.inputs["trafficType"] == "ALL"
    assert log.inputs["logDestination"] == group.outputs["arn"]
    assert group.inputs["kmsKeyId"] == key.outputs["arn"]
    assert group.inputs["retentionInDays"] == 90
    assert key.inputs["enableKeyRotation"]
    (_, by_logs) = json.loads(key.inputs["policy"])["Statement"]
    assert by_logs["Principal"] == {"Service": "logs.eu-west-1.amazonaws.com"}
    assert ":log-group:net-flow-logs*" in by_logs["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"]
    (trust,) = json.loads(plan.one("aws:iam/role:Role").inputs["assumeRolePolicy"])["Statement"]
    assert trust["Principal"] == {"Service": "vpc-flow-logs.amazonaws.com"}


def test_aws_subnet_ids_arrive_only_once_machines_could_reach_something() -> None:
    def program() -> None:
        made = RegionalNetwork("net", AWS)  # type: ignore[arg-type]
        import pulumi_aws as aws

        aws.ec2.NetworkInterface("machine", region="eu-west-1", subnet_id=made.private_subnet_ids[0])

    plan = plan_of(program)
    waits_for = {plan.by_urn[urn].type for urn in plan.one("aws:ec2/networkInterface:NetworkInterface").dependencies}
    assert "aws:ec2/routeTableAssociation:RouteTableAssociation" in waits_for
    assert "aws:ec2/vpcEndpoint:VpcEndpoint" in waits_for


# ---- GCP


def test_gcp_subnet_is_private_logged_and_has_its_ranges(gcp_plan: Plan) -> None:
    network_, subnet = (gcp_plan.one(f"gcp:compute/{kind}", "net") for kind in ("network:Network", SUBNET))
    assert network_.inputs["autoCreateSubnetworks"] is False
    assert subnet.inputs["privateIpGoogleAccess"] is True
    assert subnet.inputs["logConfig"]["aggregationInterval"] == "INTERVAL_1_MIN"
    ranges = {r["rangeName"]: r["ipCidrRange"] for r in subnet.inputs["secondaryIpRanges"]}
    assert ranges == {
        gcp_plan.outputs["pod_range_name"]: "100.64.0.0/14",
        gcp_plan.outputs["service_range_name"]: "100.68.0.0/20",
    }


SUBNET = "subnetwork:Subnetwork"


def test_gcp_firewall_denies_last_and_allows_inside_and_health_checks(gcp_plan: Plan) -> None:
    rules = {rule.name: rule.inputs for rule in gcp_plan.of_type("gcp:compute/firewall:Firewall")}
    deny = rules["net-deny"]
    assert deny["denies"] == [{"protocol": "all"}]
    assert deny["sourceRanges"] == ["0.0.0.0/0"]
    assert deny["priority"] > max(rule["priority"] for name, rule in rules.items() if name != "net-deny")
    assert rules["net-internal"]["sourceRanges"] == ["10.32.0.0/17", "100.64.0.0/14"]
    assert rules["net-health"]["sourceRanges"] == HEALTH_CHECKERS == ["35.191.0.0/16", "130.211.0.0/22"]
    open_to_all = [name for name, rule in rules.items() if "allows" in rule and "0.0.0.0/0" in rule["sourceRanges"]]
    assert open_to_all == []


def test_gcp_machines_leave_by_cloud_nat_and_file_systems_have_their_peering(gcp_plan: Plan) -> None:
    nat = gcp_plan.one("gcp:compute/routerNat:RouterNat")
    assert nat.inputs["natIpAllocateOption"] == "AUTO_ONLY"
    address = gcp_plan.one("gcp:compute/globalAddress:GlobalAddress")
    assert (address.inputs["purpose"], address.inputs["addressType"]) == ("VPC_PEERING", "INTERNAL")
    assert f"{address.inputs['address']}/{address.inputs['prefixLength']}" == "10.32.128.0/18"
    peering = gcp_plan.one("gcp:servicenetworking/connection:Connection")
    assert peering.inputs["service"] == "servicenetworking.googleapis.com"


def test_gcp_flow_logs_are_kept_as_long_as_asked() -> None:
    plan = plan_of(network(**GCP, flow_log_retention_days=90), simulate_up=True)
    bucket = plan.one("gcp:logging/projectBucketConfig:ProjectBucketConfig")
    assert bucket.inputs["retentionDays"] == 90
    sink = plan.one("gcp:logging/projectSink:ProjectSink")
    subnet = plan.one(f"gcp:compute/{SUBNET}")
    assert bucket.id in sink.inputs["destination"]
    assert f'"{subnet.outputs["name"]}"' in sink.inputs["filter"]


def test_gcp_tcpxo_gives_each_nic_a_network_with_the_documented_mtu_and_an_internal_firewall() -> None:
    plan = plan_of(network(**GCP, gpudirect_networks=8), simulate_up=True)
    networks = named(plan, "gcp:compute/network:Network", "net-gpu-")
    assert [n.inputs["mtu"] for n in networks] == [8244] * 8
    assert len(named(plan, "gcp:compute/firewall:Firewall", "net-gpu-")) == 8
    ranges = [s.inputs["ipCidrRange"] for s in named(plan, f"gcp:compute/{SUBNET}", "net-gpu-")]
    assert len(set(ranges)) == 8
    assert plan.outputs["gpudirect_networks"] == [n.outputs["name"] for n in networks]
    assert len(plan.outputs["gpudirect_subnetworks"]) == 8


def test_gcp_rdma_has_one_zonal_roce_network_and_one_for_the_second_gvnic() -> None:
    rdma = {"gpudirect_fabric": "rdma", "gpudirect_zone": "europe-west4-b", "gpudirect_networks": 8}
    plan = plan_of(network(**GCP, **rdma), simulate_up=True)
    roce = plan.one("gcp:compute/network:Network", "net-roce")
    assert roce.inputs["networkProfile"].endswith("/networkProfiles/europe-west4-b-vpc-roce")
    assert roce.inputs["mtu"] == 8896
    second_nic, *rails = plan.outputs["gpudirect_networks"]
    assert rails == [roce.outputs["name"]] * 8
    assert second_nic not in rails
    assert len(set(plan.outputs["gpudirect_subnetworks"])) == 9
    assert len(named(plan, "gcp:compute/firewall:Firewall", "net-gpu-")) == 1


# ---- both


def test_both_clouds_answer_every_output() -> None:
    aws, gcp = (plan_of(network(**args), simulate_up=True).outputs for args in (AWS, GCP))
    assert set(aws) == set(gcp) == set(OUTPUTS)
    for output in OUTPUTS:
        assert type(aws[output]) is type(gcp[output]), output
    assert aws["network_cidr"] == "10.16.0.0/16"
    assert len(aws["private_subnet_ids"]) == len(aws["pod_subnet_ids"]) == len(aws["zones"]) == len(gcp["zones"]) == 3
    assert (aws["pod_range_name"], aws["gpudirect_networks"]) == ("", [])
    assert (gcp["fabric_security_group_id"], gcp["pod_subnet_ids"], gcp["public_subnet_ids"]) == ("", [], [])


def test_zones_can_be_chosen() -> None:
    zones = ["eu-west-1c", "eu-west-1a", "eu-west-1b"]
    assert plan_of(network(**AWS, zones=zones)).outputs["zones"] == zones


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ({**AWS, "cloud": "azure"}, r"RegionalNetwork 'net': cloud: expected 'aws' or 'gcp', got 'azure'"),
        ({**AWS, "cidr": "10.0.0.0/24"}, r"RegionalNetwork 'net': cidr: '10.0.0.0/24' is too small"),
        ({**AWS, "gpudirect_networks": 8}, r"gpudirect_networks: expected 0 on AWS.*got 8"),
        ({**AWS, "flow_log_retention_days": 31}, r"flow_log_retention_days: expected one of 1, 3, 5.* got 31"),
        ({**AWS, "zones": ["eu-west-1a", "us-east-1a", "eu-west-1b"]}, r"zones: expected 3 different ones of \['eu-w"),
        ({**AWS, "zones": ["eu-west-1a", "eu-west-1a", "eu-west-1b"]}, r"zones: expected 3 different"),
        ({**GCP, "flow_log_retention_days": 0}, r"flow_log_retention_days: expected 1 to 3650 on GCP, got 0"),
        ({**GCP, "gpudirect_networks": 16}, r"gpudirect_networks: expected 0 to 15, got 16"),
        ({**GCP, "gpudirect_networks": 8, "gpudirect_fabric": "efa"}, r"gpudirect_fabric: expected one of tcpx, tcpxo"),
        ({**GCP, "gpudirect_networks": 8, "gpudirect_fabric": "rdma"}, r"gpudirect_zone: RoCE networks are zonal"),
    ],
)
def test_wrong_arguments_are_named(args: dict[str, Any], complaint: str) -> None:
    seen = []

    def program() -> None:
        with pytest.raises(ValueError, match=complaint) as raised:
            RegionalNetwork("net", args)  # type: ignore[arg-type]
        seen.append(str(raised.value))

    plan_of(program, check=False)
    assert seen, "the program did not run"
