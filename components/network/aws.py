"""RegionalNetwork on AWS: a VPC whose machines have no public address and reach AWS without leaving it."""

import json
from collections.abc import Sequence
from ipaddress import IPv4Network
from itertools import cycle

import pulumi
import pulumi_aws as aws

from components.network.cidr import AWS_PODS, AwsAddresses, aws_addresses
from components.network.parts import NetworkParts, NetworkRequest
from components.ordering import after
from components.tags import aws_tags

INTERFACE_ENDPOINTS = {
    "ecr.api": "image pulls: tokens and manifests",
    "ecr.dkr": "image pulls: the registry itself; layers come from S3",
    "sts": "regional credentials of pods and nodes",
    "ec2": "VPC CNI (addresses), EBS CSI (volumes), Karpenter (machines)",
    "logs": "container and control plane logs",
    "eks": "nodes ask for the cluster's address and certificate when they join",
    "eks-auth": "Pod Identity agent: without it no pod gets credentials",
    "sqs": "Karpenter's interruption queue: a spot warning is worth two minutes",
    "ssm": "Karpenter finds machine images through public parameters",
    "elasticloadbalancing": "the load balancer controller registers pods in target groups",
}
"""Services that a private EKS cluster with Karpenter calls all the time, and what for. All of them would also work
through NAT, at its price per GiB (image pulls!) and only while it works. IAM and pricing have no endpoint in most
regions and do go through NAT. https://docs.aws.amazon.com/eks/latest/userguide/private-clusters.html"""

KEY_USES = ("kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*")
"""What CloudWatch Logs does with a key.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html"""

RETENTION_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)
"""https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html"""


def check_retention(days: int, where: str) -> None:
    """ValueError unless CloudWatch Logs offers that retention."""
    if days not in RETENTION_DAYS:
        raise ValueError(f"{where}: expected one of {', '.join(map(str, RETENTION_DAYS))} on AWS, got {days}")


def build(parent: pulumi.Resource, request: NetworkRequest) -> NetworkParts:
    """The VPC and everything in it, as children of `parent`."""
    return _Vpc(parent, request).parts


class _Vpc:
    """The steps of `build`, in the order in which the resources exist."""

    def __init__(self, parent: pulumi.Resource, request: NetworkRequest):
        self.request, self.region = request, request.region
        self.child = pulumi.ResourceOptions(parent=parent)
        self.ask = pulumi.InvokeOptions(parent=parent)
        addresses = aws_addresses(request.cidr)

        self.vpc = aws.ec2.Vpc(
            request.name,
            region=self.region,
            cidr_block=str(addresses.vpc),
            enable_dns_support=True,
            enable_dns_hostnames=True,  # interface endpoints answer to the services' own names
            tags=self.tags(request.name),
            opts=self.child,
        )
        self._lock_default_security_group()
        self._flow_logs()
        self._subnets(addresses)
        # A machine that starts before its routes and endpoints exist never joins the cluster.
        ready = [*self._routes(), *self._endpoints(addresses)]
        self.parts = NetworkParts(
            network_id=self.vpc.id,
            private_subnet_ids=after([subnet.id for subnet in self.private.values()], ready),
            public_subnet_ids=after([subnet.id for subnet in self.public.values()], []),
            pod_subnet_ids=after([subnet.id for subnet in self.pods.values()], ready),
            pod_range_name="",
            service_range_name="",
            fabric_security_group_id=self._fabric_security_group(),
            gpudirect_networks=pulumi.Output.from_input([]),
            gpudirect_subnetworks=pulumi.Output.from_input([]),
        )

    def after(self, *needs: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions.merge(self.child, pulumi.ResourceOptions(depends_on=list(needs)))

    def tags(self, name: str) -> dict[str, str]:
        return aws_tags(self.request.tags, name)

    def _lock_default_security_group(self) -> None:
        """Whatever forgets to name a security group gets this one: nothing in, nothing out."""
        name = f"{self.request.name}-default"
        aws.ec2.DefaultSecurityGroup(
            name, region=self.region, vpc_id=self.vpc.id, ingress=[], egress=[], tags=self.tags(name), opts=self.child
        )

    def _flow_logs(self) -> None:
        name = f"{self.request.name}-flow-logs"
        account = aws.get_caller_identity(opts=self.ask).account_id
        partition = aws.get_partition(opts=self.ask).partition
        log_groups = f"arn:{partition}:logs:{self.region}:{account}:log-group:{name}*"
        key = aws.kms.Key(
            name,
            region=self.region,
            description=f"Flow logs of {self.request.name}",
            enable_key_rotation=True,
            policy=_policy(
                {
                    "Sid": "AccountDecidesByIam",
                    "Effect": "Allow",
                    "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
                    "Action": "kms:*",
                    "Resource": "*",
                },
                {
                    "Sid": "CloudWatchLogsEncryptsTheseGroups",
                    "Effect": "Allow",
                    "Principal": {"Service": f"logs.{self.region}.amazonaws.com"},
                    "Action": [
                        "kms:Encrypt*",
                        "kms:Decrypt*",
                        "kms:ReEncrypt*",
                        "kms:GenerateDataKey*",
                        "kms:Describe*",
                    ],
                    "Resource": "*",
                    "Condition": {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": log_groups}},
                },
            ),
            tags=self.tags(name),
            opts=pulumi.ResourceOptions.merge(self.child, pulumi.ResourceOptions(protect=self.request.protect or None)),
        )
        group = aws.cloudwatch.LogGroup(
            name,
            region=self.region,
            retention_in_days=self.request.flow_log_retention_days,
            kms_key_id=key.arn,
            tags=self.tags(name),
            opts=self.child,
        )
        role = aws.iam.Role(
            name,
            assume_role_policy=_policy(
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "vpc-flow-logs.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                    "Condition": {"StringEquals": {"aws:SourceAccount": account}},  # not for another account's logs
                }
            ),
            tags=self.tags(name),
            opts=self.child,
        )
        write = aws.iam.RolePolicy(
            name,
            role=role.id,
            policy=_policy(
                {
                    "Effect": "Allow",
                    "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                    "Resource": log_groups,
                },
                # Listing is not granted by log group.
                {
                    "Effect": "Allow",
                    "Action": ["logs:DescribeLogGroups", "logs:DescribeLogStreams"],
                    "Resource": "*",
                },
            ),
            opts=self.child,
        )
        aws.ec2.FlowLog(
            name,
            region=self.region,
            vpc_id=self.vpc.id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            max_aggregation_interval=60,
            tags=self.tags(name),
            opts=self.after(write),
        )

    def _subnets(self, addresses: AwsAddresses) -> None:
        pod_block = aws.ec2.VpcIpv4CidrBlockAssociation(
            f"{self.request.name}-pods",
            region=self.region,
            vpc_id=self.vpc.id,
            cidr_block=str(AWS_PODS),
            opts=self.child,
        )
        discovery = {"karpenter.sh/discovery": self.request.cluster_name} if self.request.cluster_name else {}
        self.private = self._zonal_subnets(
            "private", addresses.private, {"kubernetes.io/role/internal-elb": "1", **discovery}
        )
        self.public = self._zonal_subnets("public", addresses.public, {"kubernetes.io/role/elb": "1"})
        # By this tag the VPC CNI finds where pods get their addresses.
        self.pods = self._zonal_subnets("pods", addresses.pods, {"kubernetes.io/role/cni": "1"}, pod_block)

    def _zonal_subnets(
        self, kind: str, blocks: tuple[IPv4Network, ...], roles: dict[str, str], *needs: pulumi.Resource
    ) -> dict[str, aws.ec2.Subnet]:
        return {
            zone: aws.ec2.Subnet(
                f"{self.request.name}-{kind}-{zone}",
                region=self.region,
                vpc_id=self.vpc.id,
                availability_zone=zone,
                cidr_block=str(block),
                map_public_ip_on_launch=False,
                tags={**self.tags(f"{self.request.name}-{kind}-{zone}"), **roles},
                opts=self.after(*needs),
            )
            for zone, block in zip(self.request.zones, blocks, strict=True)
        }

    def _routes(self) -> list[pulumi.Resource]:
        """Public subnets to the internet, private and pod subnets of a zone to its NAT gateway (or to the only one).

        Returns what must exist before a machine in a private subnet can reach anything.
        """
        name, zones = self.request.name, self.request.zones
        internet = aws.ec2.InternetGateway(
            name, region=self.region, vpc_id=self.vpc.id, tags=self.tags(name), opts=self.child
        )
        way_out = self._route_table("public", gateway_id=internet.id)
        out = [self._associate("public", zone, way_out, self.public[zone]) for zone in zones]

        gateways = [self._nat(zone, out) for zone in (zones if self.request.nat_per_zone else zones[:1])]
        self.private_tables = [
            self._route_table(f"private-{zone}", nat_gateway_id=gateway.id)
            for zone, gateway in zip(zones, cycle(gateways), strict=False)
        ]
        return [
            self._associate(kind, zone, table, subnets[zone])
            for zone, table in zip(zones, self.private_tables, strict=True)
            for kind, subnets in (("private", self.private), ("pods", self.pods))
        ]

    def _route_table(self, purpose: str, **target: pulumi.Output[str]) -> aws.ec2.RouteTable:
        name = f"{self.request.name}-{purpose}"
        return aws.ec2.RouteTable(
            name,
            region=self.region,
            vpc_id=self.vpc.id,
            routes=[{"cidr_block": "0.0.0.0/0", **target}],
            tags=self.tags(name),
            opts=self.child,
        )

    def _associate(
        self, kind: str, zone: str, table: aws.ec2.RouteTable, subnet: aws.ec2.Subnet
    ) -> aws.ec2.RouteTableAssociation:
        return aws.ec2.RouteTableAssociation(
            f"{self.request.name}-{kind}-{zone}",
            region=self.region,
            route_table_id=table.id,
            subnet_id=subnet.id,
            opts=self.child,
        )

    def _nat(self, zone: str, needs: Sequence[pulumi.Resource]) -> aws.ec2.NatGateway:
        name = f"{self.request.name}-nat-{zone}"
        address = aws.ec2.Eip(name, region=self.region, domain="vpc", tags=self.tags(name), opts=self.child)
        return aws.ec2.NatGateway(
            name,
            region=self.region,
            subnet_id=self.public[zone].id,
            allocation_id=address.id,
            tags=self.tags(name),
            opts=self.after(*needs),
        )

    def _endpoints(self, addresses: AwsAddresses) -> list[pulumi.Resource]:
        name = self.request.name
        s3 = aws.ec2.VpcEndpoint(
            f"{name}-s3",
            region=self.region,
            vpc_id=self.vpc.id,
            vpc_endpoint_type="Gateway",
            service_name=f"com.amazonaws.{self.region}.s3",
            route_table_ids=[table.id for table in self.private_tables],
            tags=self.tags(f"{name}-s3"),
            opts=self.child,
        )
        allowed = self._security_group("endpoints", "HTTPS from machines and pods to endpoints of AWS services")
        for origin, block in (("machines", addresses.vpc), ("pods", AWS_PODS)):
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-endpoints-{origin}",
                region=self.region,
                security_group_id=allowed.id,
                description=f"HTTPS from {origin}",
                cidr_ipv4=str(block),
                ip_protocol="tcp",
                from_port=443,
                to_port=443,
                tags=self.tags(f"{name}-endpoints-{origin}"),
                opts=self.child,
            )
        # Each zone is billed: where one NAT gateway is enough, so is one address for each endpoint.
        subnets = [subnet.id for subnet in self.private.values()]
        reached = subnets if self.request.nat_per_zone else subnets[:1]
        return [s3] + [
            aws.ec2.VpcEndpoint(
                f"{name}-{service.replace('.', '-')}",
                region=self.region,
                vpc_id=self.vpc.id,
                vpc_endpoint_type="Interface",
                service_name=f"com.amazonaws.{self.region}.{service}",
                subnet_ids=reached,
                security_group_ids=[allowed.id],
                private_dns_enabled=True,
                tags=self.tags(f"{name}-{service}"),
                opts=self.child,
            )
            for service in INTERFACE_ENDPOINTS
        ]

    def _fabric_security_group(self) -> pulumi.Output[str]:
        """EFA passes the kernel by, and works only in a security group that allows everything from and to itself.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-start.html#efa-start-security
        """
        name = f"{self.request.name}-fabric"
        group = self._security_group("fabric", "EFA: all traffic between members, in both directions")
        rules: list[pulumi.Resource] = [
            rule(
                f"{name}-{direction}",
                region=self.region,
                security_group_id=group.id,
                referenced_security_group_id=group.id,
                description=f"EFA {direction}",
                ip_protocol="-1",
                tags=self.tags(f"{name}-{direction}"),
                opts=self.child,
            )
            for direction, rule in (
                ("ingress", aws.vpc.SecurityGroupIngressRule),
                ("egress", aws.vpc.SecurityGroupEgressRule),
            )
        ]
        return after(group.id, rules)

    def _security_group(self, purpose: str, description: str) -> aws.ec2.SecurityGroup:
        name = f"{self.request.name}-{purpose}"
        return aws.ec2.SecurityGroup(
            name,
            region=self.region,
            vpc_id=self.vpc.id,
            description=description,
            revoke_rules_on_delete=True,  # groups that name each other could otherwise not be deleted
            tags=self.tags(name),
            opts=self.child,
        )


def _policy(*statements: dict[str, object]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
