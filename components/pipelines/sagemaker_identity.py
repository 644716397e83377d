"""Who may do what around a SageMaker pipeline: its own role, which its jobs have too, and whoever starts it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

JOB_PREFIX = "pipelines-"
"""With which SageMaker names the jobs of every pipeline: pipelines-<execution>-<step>-<random>."""
IMAGE = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.[^/]+/([^:@]+)")

_NETWORK = (
    # What jobs in a VPC need; EC2 gives none of the descriptions for single resources.
    # https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html, "CreateProcessingJob API", as remembered
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
    """A pipeline, as policies name it."""

    partition: str
    region: str
    account: str
    name: str
    images: Sequence[str]
    reads: Sequence[str]
    writes: Sequence[str]

    def arn(self, service: str, resource: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    def through(self, service: str) -> dict[str, Any]:
        """The condition that a key is used on behalf of one service only."""
        return {"StringLike": {"kms:ViaService": f"{service}.{self.region}.amazonaws.com*"}}


def execution_role(
    place: Place,
    bucket: pulumi.Input[str],
    key: pulumi.Input[str],
    tags: Mapping[str, str],
    child: pulumi.ResourceOptions,
) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
    """The role, and its one policy, which everything that uses the role waits for."""
    role = aws.iam.Role(
        f"{place.name}-role",
        description=f"SageMaker pipeline {place.name} and its jobs",
        assume_role_policy=_trusts("sagemaker.amazonaws.com", place),
        tags=dict(tags),
        opts=child,
    )
    document = pulumi.Output.all(bucket, key, role.arn).apply(lambda known: _document(_needs(place, *known)))
    return role, aws.iam.RolePolicy(f"{place.name}-needs", role=role.name, policy=document, opts=child)


def starting_role(
    place: Place,
    pipeline: aws.sagemaker.Pipeline,
    key: pulumi.Input[str],
    tags: Mapping[str, str],
    child: pulumi.ResourceOptions,
) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
    """Of the schedule, which may start this pipeline, read its own settings, and nothing else."""
    role = aws.iam.Role(
        f"{place.name}-schedule-role",
        description=f"Starts the SageMaker pipeline {place.name}",
        assume_role_policy=_trusts("scheduler.amazonaws.com", place),
        tags=dict(tags),
        opts=child,
    )
    document = pulumi.Output.all(pipeline.arn, key).apply(
        lambda known: _document(
            [
                _allow("sagemaker:StartPipelineExecution", known[0]),
                {**_allow("kms:Decrypt", known[1]), "Condition": place.through("scheduler")},
            ]
        )
    )
    return role, aws.iam.RolePolicy(f"{place.name}-schedule", role=role.name, policy=document, opts=child)


def _trusts(service: str, place: Place) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": place.account}},  # not for another account's pipelines
    }
    return _document([statement])


def _needs(place: Place, bucket: str, key: str, role: str) -> list[dict[str, Any]]:
    """Jobs by the pipeline's names, its objects, images and logs; and to hand itself to its jobs."""
    objects = f"arn:{place.partition}:s3:::{bucket}"
    both = [*place.reads, *place.writes]
    jobs = [place.arn("sagemaker", f"{kind}/{JOB_PREFIX}*") for kind in ("processing-job", "training-job")]
    groups = [place.arn("logs", f"log-group:/aws/sagemaker/{kind}Jobs*") for kind in ("Processing", "Training")]
    return [
        _allow(
            "sagemaker:AddTags sagemaker:CreateProcessingJob sagemaker:CreateTrainingJob "
            "sagemaker:DescribeProcessingJob sagemaker:DescribeTrainingJob "
            "sagemaker:StopProcessingJob sagemaker:StopTrainingJob",
            *jobs,
        ),
        {
            **_allow("iam:PassRole", role),
            "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
        },
        {
            **_allow("s3:ListBucket", objects),
            "Condition": {"StringLike": {"s3:prefix": [f"{prefix}/*" for prefix in both]}},
        },
        _allow("s3:GetObject", *(f"{objects}/{prefix}/*" for prefix in both)),
        _allow(
            "s3:PutObject s3:DeleteObject s3:AbortMultipartUpload",
            *(f"{objects}/{prefix}/*" for prefix in place.writes),
        ),
        {**_allow("kms:Decrypt kms:GenerateDataKey", key), "Condition": place.through("s3")},
        # SageMaker grants the volumes of instances the key, by the role.
        {
            **_allow("kms:CreateGrant kms:DescribeKey", key),
            "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
        },
        _allow(
            "ecr:BatchGetImage ecr:GetDownloadUrlForLayer ecr:BatchCheckLayerAvailability",
            *_repositories(place.partition, place.images),
        ),
        _allow("ecr:GetAuthorizationToken", "*"),
        _allow("logs:CreateLogGroup logs:CreateLogStream logs:DescribeLogStreams logs:PutLogEvents", *groups),
        {
            **_allow("cloudwatch:PutMetricData", "*"),
            "Condition": {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}},
        },
        _allow(" ".join(_NETWORK), "*"),
    ]  # fmt: skip


def _repositories(partition: str, images: Iterable[str]) -> list[str]:
    found = []
    for image in images:
        match = IMAGE.match(image)
        assert match is not None, "checked with the other arguments"
        found.append(f"arn:{partition}:ecr:{match[2]}:{match[1]}:repository/{match[3]}")
    return sorted(set(found))


def _allow(actions: str, *resources: str) -> dict[str, Any]:
    named = actions.split()
    return {
        "Effect": "Allow",
        "Action": named if len(named) > 1 else named[0],
        "Resource": list(resources) if len(resources) > 1 else resources[0],
    }


def _document(statements: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
