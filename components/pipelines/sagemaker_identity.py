"""Who may do what around a SageMaker pipeline: its own role, which its jobs have too, and whoever starts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.security import sagemaker
from components.security.statements import allow, document, through

JOB_PREFIX = "pipelines-"
"""With which SageMaker names the jobs of every pipeline: pipelines-<execution>-<step>-<random>."""


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
    policy = pulumi.Output.all(bucket, key, role.arn).apply(lambda known: document(_needs(place, *known)))
    return role, aws.iam.RolePolicy(f"{place.name}-needs", role=role.name, policy=policy, opts=child)


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
    policy = pulumi.Output.all(pipeline.arn, key).apply(
        lambda known: document(
            [
                allow("sagemaker:StartPipelineExecution", known[0]),
                through("scheduler", place.region, allow("kms:Decrypt", known[1])),
            ]
        )
    )
    return role, aws.iam.RolePolicy(f"{place.name}-schedule", role=role.name, policy=policy, opts=child)


def _trusts(service: str, place: Place) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": place.account}},  # not for another account's pipelines
    }
    return document([statement])


def _needs(place: Place, bucket: str, key: str, role: str) -> list[dict[str, Any]]:
    """Jobs by the pipeline's names, its objects, images and logs; and to hand itself to its jobs."""
    objects = f"arn:{place.partition}:s3:::{bucket}"
    both = [*place.reads, *place.writes]
    jobs = [place.arn("sagemaker", f"{kind}/{JOB_PREFIX}*") for kind in ("processing-job", "training-job")]
    groups = [place.arn("logs", f"log-group:/aws/sagemaker/{kind}Jobs*") for kind in ("Processing", "Training")]
    return [
        allow(
            "sagemaker:AddTags sagemaker:CreateProcessingJob sagemaker:CreateTrainingJob "
            "sagemaker:DescribeProcessingJob sagemaker:DescribeTrainingJob "
            "sagemaker:StopProcessingJob sagemaker:StopTrainingJob",
            *jobs,
        ),
        {
            **allow("iam:PassRole", role),
            "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
        },
        {
            **allow("s3:ListBucket", objects),
            "Condition": {"StringLike": {"s3:prefix": [f"{prefix}/*" for prefix in both]}},
        },
        allow("s3:GetObject", *(f"{objects}/{prefix}/*" for prefix in both)),
        allow(
            "s3:PutObject s3:DeleteObject s3:AbortMultipartUpload",
            *(f"{objects}/{prefix}/*" for prefix in place.writes),
        ),
        through("s3", place.region, allow("kms:Decrypt kms:GenerateDataKey", key)),
        # SageMaker grants the volumes of instances the key, by the role.
        {
            **allow("kms:CreateGrant kms:DescribeKey", key),
            "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
        },
        *sagemaker.pulls(*sorted({sagemaker.repository(place.partition, image) for image in place.images})),
        allow("logs:CreateLogGroup logs:CreateLogStream logs:DescribeLogStreams logs:PutLogEvents", *groups),
        sagemaker.measures(),
        sagemaker.in_network(),
    ]  # fmt: skip
