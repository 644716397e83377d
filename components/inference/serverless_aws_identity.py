"""Who may do what around a SageMaker endpoint: the role that it runs as, and the policy of those who call it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from components.security import sagemaker
from components.security.statements import Statement, allow, document, through

if TYPE_CHECKING:
    from components.inference.serverless import ServerlessInferenceArgs


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
        assume_role_policy=document(
            [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}]
        ),
        tags=tags,
        opts=child,
    )
    needs = pulumi.Output.all(
        bucket=args["bucket"],
        bucket_key=args.get("encryption_key") or "",
        log_group=logs.arn,
        topic=topic.arn if topic else "",
        own_key=key.arn,
    ).apply(lambda known: document(_needs(place, known)))
    policy = aws.iam.RolePolicy(f"{place.name}-needs", role=role.name, policy=needs, opts=child)
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
        allow("s3:GetObject", *(f"{bucket}/{prefix}*" for prefix in read)),
        *sagemaker.pulls(sagemaker.repository(place.partition, place.image)),
        allow("logs:CreateLogStream logs:DescribeLogStreams logs:PutLogEvents", f"{known['log_group']}:*"),
        sagemaker.measures(),
    ]
    if known["bucket_key"]:
        uses = "kms:Decrypt kms:GenerateDataKey" if place.waits else "kms:Decrypt"
        found.append(through("s3", place.region, allow(uses, known["bucket_key"])))
    if place.waits:
        found += [
            allow("s3:PutObject", f"{bucket}/{within.answers}*", f"{bucket}/{within.failures}*"),
            allow("sns:Publish", known["topic"]),
            through("sns", place.region, allow("kms:Decrypt kms:GenerateDataKey", known["own_key"])),
            # SageMaker grants the volumes of instances the key, by the role.
            {
                **allow("kms:CreateGrant", known["own_key"]),
                "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
            },
        ]
    if place.in_network:
        found.append(sagemaker.in_network())
    return found


def invokers(place: Place, args: ServerlessInferenceArgs, child: pulumi.ResourceOptions) -> pulumi.Output[str]:
    """The policy that lets a role call the endpoint, attached to the roles that are given; its ARN."""
    calls = pulumi.Output.all(bucket=args["bucket"], key=args.get("encryption_key") or "").apply(
        lambda known: document(_calls(place, known))
    )
    policy = aws.iam.Policy(
        f"{place.name}-invoke",
        description=f"Send requests to the SageMaker endpoint {place.name}",
        policy=calls,
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
        return [allow("sagemaker:InvokeEndpoint", place.endpoint)]
    within = prefixes(place.name)
    bucket = f"arn:{place.partition}:s3:::{known['bucket']}"
    found = [
        allow("sagemaker:InvokeEndpointAsync", place.endpoint),
        allow("s3:PutObject", f"{bucket}/{within.requests}*"),
        allow("s3:GetObject", f"{bucket}/{within.answers}*", f"{bucket}/{within.failures}*"),
    ]
    if known["key"]:
        found.append(through("s3", place.region, allow("kms:Decrypt kms:GenerateDataKey", known["key"])))
    return found
