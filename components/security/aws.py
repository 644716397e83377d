"""The AWS side of WorkloadIdentity: an IAM role handed to pods by EKS Pod Identity."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

if TYPE_CHECKING:
    from components.security.workload_identity import WorkloadIdentityArgs

READ = ("s3:GetObject",)
WRITE = ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")


def bind(
    parent: pulumi.Resource, name: str, args: WorkloadIdentityArgs
) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
    """Create the role, its policies and the association under `parent`; the role's ARN, and no Google account."""
    invoke = pulumi.InvokeOptions(parent=parent)
    account = aws.get_caller_identity(opts=invoke).account_id
    partition = aws.get_partition(opts=invoke).partition
    region, tags = args["region"], args.get("tags") or {}
    child = pulumi.ResourceOptions(parent=parent)

    role = aws.iam.Role(
        f"{name}-role",
        description=f"Pods of {args['namespace']}/{args['service_account']}",
        assume_role_policy=pulumi.Output.from_input(args["cluster_name"]).apply(
            lambda cluster: json.dumps(
                trust_policy(
                    f"arn:{partition}:eks:{region}:{account}:cluster/{cluster}",
                    args["namespace"],
                    args["service_account"],
                )
            )
        ),
        tags=tags,
        opts=child,
    )
    policies: list[pulumi.Resource] = []
    accesses = args.get("buckets") or []
    if accesses:
        # Outputs in lists of TypedDicts resolve only when lifted explicitly.
        resolved = pulumi.Output.all(
            *[pulumi.Output.all(access["bucket"], access.get("key") or "") for access in accesses]
        )
        document = resolved.apply(
            lambda pairs: json.dumps(
                bucket_policy(
                    partition,
                    region,
                    [
                        (bucket, key, access.get("prefix") or "", bool(access.get("write")))
                        for (bucket, key), access in zip(pairs, accesses, strict=True)
                    ],
                )
            )
        )
        policies.append(aws.iam.RolePolicy(f"{name}-buckets", role=role.name, policy=document, opts=child))
    extra = args.get("aws_policy_json")
    if extra is not None:
        policies.append(aws.iam.RolePolicy(f"{name}-policy", role=role.name, policy=extra, opts=child))

    aws.eks.PodIdentityAssociation(
        f"{name}-association",
        cluster_name=args["cluster_name"],
        namespace=args["namespace"],
        service_account=args["service_account"],
        role_arn=role.arn,
        region=region,
        tags=tags,
        # Pods that start on a role without permissions fail in ways that look like something else.
        opts=pulumi.ResourceOptions(parent=parent, depends_on=policies),
    )
    return role.arn, pulumi.Output.from_input("")


def trust_policy(cluster_arn: str, namespace: str, service_account: str) -> dict[str, Any]:
    """Only Pod Identity, and only for this service account of this cluster, by the session tags that it sets
    (Amazon EKS user guide, "Grant Pods access to AWS resources based on tags")."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "pods.eks.amazonaws.com"},
                "Action": ["sts:AssumeRole", "sts:TagSession"],
                "Condition": {
                    "StringEquals": {
                        "aws:RequestTag/eks-cluster-arn": cluster_arn,
                        "aws:RequestTag/kubernetes-namespace": namespace,
                        "aws:RequestTag/kubernetes-service-account": service_account,
                    }
                },
            }
        ],
    }


def bucket_policy(partition: str, region: str, accesses: list[tuple[str, str, str, bool]]) -> dict[str, Any]:
    """A policy document for (bucket, key ARN or empty, prefix, write) each, and nothing beside them."""
    statements: list[dict[str, Any]] = []
    for bucket, key, prefix, write in accesses:
        arn = f"arn:{partition}:s3:::{bucket}"
        listing: dict[str, Any] = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": arn}
        if prefix:
            listing["Condition"] = {"StringLike": {"s3:prefix": f"{prefix}*"}}
        statements.append(listing)
        actions = [*READ, *(WRITE if write else ())]
        statements.append({"Effect": "Allow", "Action": actions, "Resource": f"{arn}/{prefix}*"})
        if key:
            statements.append(
                {
                    "Effect": "Allow",
                    "Action": ["kms:Decrypt", *(["kms:GenerateDataKey"] if write else [])],
                    "Resource": key,
                    "Condition": {"StringLike": {"kms:ViaService": f"s3.{region}.amazonaws.com*"}},
                }
            )
    return {"Version": "2012-10-17", "Statement": statements}
