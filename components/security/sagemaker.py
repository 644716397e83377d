"""What SageMaker's machines need in our account, whether they serve an endpoint or run a pipeline's jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_aws as aws

from components.security.statements import Statement, allow
from components.tags import aws_tags

IMAGE = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.[^/]+/([^:@]+)")
"""Account, region and repository of an image in ECR, the only registry that SageMaker pulls from here."""

_NETWORK = (
    # What machines in a VPC need; EC2 gives none of the descriptions for single resources.
    # https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html, "CreateModel API" and "CreateProcessingJob
    # API", as remembered
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
)


def in_network() -> Statement:
    """Of a role whose machines are in a VPC."""
    return allow(" ".join(_NETWORK), "*")


def measures() -> Statement:
    """Of a role that writes SageMaker's own metrics, and no others."""
    return {
        **allow("cloudwatch:PutMetricData", "*"),
        "Condition": {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}},
    }


def pulls(*repositories: str) -> list[Statement]:
    """Of a role that pulls images from these repositories, given as ARNs."""
    return [
        allow("ecr:BatchGetImage ecr:GetDownloadUrlForLayer ecr:BatchCheckLayerAvailability", *repositories),
        allow("ecr:GetAuthorizationToken", "*"),
    ]


def repository(partition: str, image: str) -> str:
    """ARN of the repository in ECR that an image comes from."""
    found = IMAGE.match(image)
    assert found is not None, "checked with the other arguments"
    return f"arn:{partition}:ecr:{found[2]}:{found[1]}:repository/{found[3]}"


def security_group(
    name: str,
    region: str,
    network_id: pulumi.Input[str],
    description: str,
    tags: Mapping[str, str],
    child: pulumi.ResourceOptions,
) -> tuple[aws.ec2.SecurityGroup, aws.vpc.SecurityGroupEgressRule]:
    """Of machines that nobody reaches, and its one rule: they reach services of AWS."""
    group = aws.ec2.SecurityGroup(
        name,
        region=region,
        vpc_id=network_id,
        description=description,
        revoke_rules_on_delete=True,
        tags=aws_tags(tags, name),
        opts=child,
    )
    rule: dict[str, Any] = {"cidr_ipv4": "0.0.0.0/0", "ip_protocol": "tcp", "from_port": 443, "to_port": 443}
    outside = aws.vpc.SecurityGroupEgressRule(
        f"{name}-https",
        region=region,
        security_group_id=group.id,
        description="HTTPS to S3 and other services of AWS",
        tags=aws_tags(tags, f"{name}-https"),
        opts=child,
        **rule,
    )
    return group, outside
