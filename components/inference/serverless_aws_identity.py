"""Who may do what around a SageMaker endpoint: the role that it runs as, and the policy of those who call it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

if TYPE_CHECKING:
    from components.inference.serverless import ServerlessInferenceArgs

Statement = dict[str, Any]

_NETWORK = (
    # What an endpoint in a VPC needs; EC2 gives none of the descriptions for single resources.
    # https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html, "CreateModel API", as remembered
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


@dataclass(frozen=True, kw_only=True)
class Place:
    """An endpoint, as policies name it."""

    partition: str
    region: str
    account: str
    endpoint: str
    """Its ARN."""
    name: str
    image: str
    version_prefix: str
    waits: bool
    """Whether requests and answers are objects."""
    in_network: bool


@dataclass(frozen=True)
class Prefixes:
    """Where an asynchronous endpoint's objects are in the bucket."""

    requests: str
    answers: str
    failures: str


def prefixes(name: str) -> Prefixes:
    """Of an endpoint: nobody else writes there."""
    return Prefixes(*(f"serverless/{name}/{part}/" for part in ("requests", "answers", "failures")))


def execution_role(
    place: Place,
    args: ServerlessInferenceArgs,
    logs: aws.cloudwatch.LogGroup,
    topic: aws.sns.Topic | None,
    key: aws.kms.Key,
    child: pulumi.ResourceOptions,
) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
    """The role, and its one policy, which everything that uses the role waits for."""
    tags = args.get("tags") or {}
    role = aws.iam.Role(
        f"{place.name}-role",
        description=f"SageMaker endpoint {place.name}",
        assume_role_policy=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "sagemaker.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                    }
                ],
            }
        ),
        tags=tags,
        opts=child,
    )
    document = pulumi.Output.all(
        bucket=args["bucket"],
        bucket_key=args.get("encryption_key") or "",
        log_group=logs.arn,
        topic=topic.arn if topic else "",
        own_key=key.arn,
    ).apply(lambda known: json.dumps({"Version": "2012-10-17", "Statement": _needs(place, known)}))
    policy = aws.iam.RolePolicy(f"{place.name}-needs", role=role.name, policy=document, opts=child)
    return role, policy


def _needs(place: Place, known: Mapping[str, str]) -> list[Statement]:
    """The version, the image and the log; of an asynchronous endpoint its requests, answers, topic and network too."""
    within = prefixes(place.name)
    bucket = f"arn:{place.partition}:s3:::{known['bucket']}"
    read = [place.version_prefix, *([within.requests] if place.waits else [])]
    found: list[Statement] = [
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": bucket,
            "Condition": {"StringLike": {"s3:prefix": f"{place.version_prefix}*"}},
        },
        _allow("s3:GetObject", *(f"{bucket}/{prefix}*" for prefix in read)),
        _allow("ecr:BatchGetImage ecr:GetDownloadUrlForLayer ecr:BatchCheckLayerAvailability", repository(place)),
        _allow("ecr:GetAuthorizationToken", "*"),
        _allow("logs:CreateLogStream logs:DescribeLogStreams logs:PutLogEvents", f"{known['log_group']}:*"),
        {
            **_allow("cloudwatch:PutMetricData", "*"),
            "Condition": {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}},
        },
    ]
    if known["bucket_key"]:
        uses = "kms:Decrypt kms:GenerateDataKey" if place.waits else "kms:Decrypt"
        found.append(_through(place, "s3", _allow(uses, known["bucket_key"])))
    if place.waits:
        found += [
            _allow("s3:PutObject", f"{bucket}/{within.answers}*", f"{bucket}/{within.failures}*"),
            _allow("sns:Publish", known["topic"]),
            _through(place, "sns", _allow("kms:Decrypt kms:GenerateDataKey", known["own_key"])),
            # SageMaker grants the volumes of instances the key, by the role.
            {
                **_allow("kms:CreateGrant", known["own_key"]),
                "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
            },
        ]
    if place.in_network:
        found.append(_allow(" ".join(_NETWORK), "*"))
    return found


def invokers(place: Place, args: ServerlessInferenceArgs, child: pulumi.ResourceOptions) -> pulumi.Output[str]:
    """The policy that lets a role call the endpoint, attached to the roles that are given; its ARN."""
    document = pulumi.Output.all(bucket=args["bucket"], key=args.get("encryption_key") or "").apply(
        lambda known: json.dumps({"Version": "2012-10-17", "Statement": _calls(place, known)})
    )
    policy = aws.iam.Policy(
        f"{place.name}-invoke",
        description=f"Send requests to the SageMaker endpoint {place.name}",
        policy=document,
        tags=args.get("tags") or {},
        opts=child,
    )
    for index, invoker in enumerate(args.get("invokers") or []):
        aws.iam.RolePolicyAttachment(
            f"{place.name}-invoker-{index}",
            role=pulumi.Output.from_input(invoker).apply(lambda role: role.rsplit("/", 1)[-1]),
            policy_arn=policy.arn,
            opts=child,
        )
    return policy.arn


def _calls(place: Place, known: Mapping[str, str]) -> list[Statement]:
    if not place.waits:
        return [_allow("sagemaker:InvokeEndpoint", place.endpoint)]
    within = prefixes(place.name)
    bucket = f"arn:{place.partition}:s3:::{known['bucket']}"
    found = [
        _allow("sagemaker:InvokeEndpointAsync", place.endpoint),
        _allow("s3:PutObject", f"{bucket}/{within.requests}*"),
        _allow("s3:GetObject", f"{bucket}/{within.answers}*", f"{bucket}/{within.failures}*"),
    ]
    if known["key"]:
        found.append(_through(place, "s3", _allow("kms:Decrypt kms:GenerateDataKey", known["key"])))
    return found


def repository(place: Place) -> str:
    """ARN of the repository in ECR that an image comes from."""
    found = re.match(r"(\d+)\.dkr\.ecr\.([a-z0-9-]+)\.[^/]+/([^:@]+)", place.image)
    assert found is not None, "checked with the other arguments"
    return f"arn:{place.partition}:ecr:{found[2]}:{found[1]}:repository/{found[3]}"


def _allow(actions: str, *resources: str) -> Statement:
    named = actions.split()
    return {
        "Effect": "Allow",
        "Action": named if len(named) > 1 else named[0],
        "Resource": list(resources) if len(resources) > 1 else resources[0],
    }


def _through(place: Place, service: str, statement: Statement) -> Statement:
    """Only on behalf of one service."""
    return {
        **statement,
        "Condition": {"StringLike": {"kms:ViaService": f"{service}.{place.region}.amazonaws.com*"}},
    }
