"""What Karpenter's controller may do in AWS, and which events it is told of.

After Karpenter's own description of each permission (https://karpenter.sh/docs/reference/cloudformation/, v1.14): it
may read much, but start, tag and end only what carries this cluster's tags.
"""

from __future__ import annotations

from typing import Any

EVENTS: dict[str, dict[str, list[str]]] = {
    "spot-interruption": {"source": ["aws.ec2"], "detail-type": ["EC2 Spot Instance Interruption Warning"]},
    "rebalance": {"source": ["aws.ec2"], "detail-type": ["EC2 Instance Rebalance Recommendation"]},
    "state-change": {"source": ["aws.ec2"], "detail-type": ["EC2 Instance State-change Notification"]},
    "health": {"source": ["aws.health"], "detail-type": ["AWS Health Event"]},
}
"""EventBridge patterns, by the short name of their rule."""

_REGION = "topology.kubernetes.io/region"
_PLACES = ("security-group", "subnet", "capacity-reservation", "placement-group")


def queue_policy(queue_arn: str) -> dict[str, Any]:
    """EventBridge may send; nobody may speak to the queue without TLS."""
    return _document(
        {
            "Effect": "Allow",
            "Principal": {"Service": ["events.amazonaws.com"]},
            "Action": "sqs:SendMessage",
            "Resource": queue_arn,
        },
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sqs:*",
            "Resource": queue_arn,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    )


def controller_policy(
    partition: str, account: str, region: str, cluster: str, *, node_role_arn: str, queue_arn: str, key_arn: str
) -> dict[str, Any]:
    """The policy of the controller's role."""
    ec2 = f"arn:{partition}:ec2:{region}"
    profiles = f"arn:{partition}:iam::{account}:instance-profile/*"
    owner = f"kubernetes.io/cluster/{cluster}"
    started = [
        f"{ec2}:*:{kind}/*"
        for kind in ("fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request")
    ]
    requested = {f"aws:RequestTag/{owner}": "owned", "aws:RequestTag/eks:eks-cluster-name": cluster}
    owned = {f"aws:ResourceTag/{owner}": "owned"}
    of_pool = {"aws:RequestTag/karpenter.sh/nodepool": "*"}
    pool_owned = {"aws:ResourceTag/karpenter.sh/nodepool": "*"}
    start = ["ec2:RunInstances", "ec2:CreateFleet"]
    return _document(
        _allow(
            start,
            [
                f"{ec2}::image/*",
                f"{ec2}::snapshot/*",
                *(
                    f"{ec2}:*:{kind}/*"
                    for kind in ("security-group", "subnet", "capacity-reservation", "placement-group")
                ),
            ],
        ),
        _allow(start, f"{ec2}:*:launch-template/*", equals=owned, like=pool_owned),
        _allow([*start, "ec2:CreateLaunchTemplate"], started, equals=requested, like=of_pool),
        _allow(
            "ec2:CreateTags",
            started,
            equals={**requested, "ec2:CreateAction": ["RunInstances", "CreateFleet", "CreateLaunchTemplate"]},
            like=of_pool,
        ),
        {
            **_allow("ec2:CreateTags", f"{ec2}:*:instance/*"),
            "Condition": {
                "StringEquals": owned,
                "StringLike": pool_owned,
                "StringEqualsIfExists": {"aws:RequestTag/eks:eks-cluster-name": cluster},
                "ForAllValues:StringEquals": {
                    "aws:TagKeys": ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"]
                },
            },
        },
        _allow(
            ["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"],
            [f"{ec2}:*:instance/*", f"{ec2}:*:launch-template/*"],
            equals=owned,
            like=pool_owned,
        ),
        _allow(
            [
                "ec2:DescribeCapacityReservations",
                "ec2:DescribeImages",
                "ec2:DescribeInstances",
                "ec2:DescribeInstanceStatus",
                "ec2:DescribeInstanceTypeOfferings",
                "ec2:DescribeInstanceTypes",
                "ec2:DescribeLaunchTemplates",
                "ec2:DescribePlacementGroups",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSpotPriceHistory",
                "ec2:DescribeSubnets",
            ],
            "*",
            equals={"aws:RequestedRegion": region},
        ),
        _allow("ssm:GetParameter", f"arn:{partition}:ssm:{region}::parameter/aws/service/*"),
        _allow(["pricing:GetProducts", "iam:ListInstanceProfiles"], "*"),
        _allow(["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"], queue_arn),
        _allow("kms:Decrypt", key_arn, equals={"kms:ViaService": f"sqs.{region}.amazonaws.com"}),
        _allow("eks:DescribeCluster", f"arn:{partition}:eks:{region}:{account}:cluster/{cluster}"),
        _allow(
            "arc-zonal-shift:GetManagedResource",
            "*",
            equals={
                "arc-zonal-shift:ResourceIdentifier": f"arn:{partition}:eks:{region}:{account}:cluster/{cluster}",
            },
        ),
        _allow(
            "iam:PassRole",
            node_role_arn,
            equals={"iam:PassedToService": ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"]},
        ),
        _allow("iam:GetInstanceProfile", profiles),
        _allow(
            "iam:CreateInstanceProfile",
            profiles,
            equals={**requested, f"aws:RequestTag/{_REGION}": region},
            like={"aws:RequestTag/karpenter.k8s.aws/ec2nodeclass": "*"},
        ),
        _allow(
            "iam:TagInstanceProfile",
            profiles,
            equals={**requested, **owned, f"aws:RequestTag/{_REGION}": region, f"aws:ResourceTag/{_REGION}": region},
            like={
                "aws:RequestTag/karpenter.k8s.aws/ec2nodeclass": "*",
                "aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass": "*",
            },
        ),
        _allow(
            ["iam:AddRoleToInstanceProfile", "iam:RemoveRoleFromInstanceProfile", "iam:DeleteInstanceProfile"],
            profiles,
            equals={**owned, f"aws:ResourceTag/{_REGION}": region},
            like={"aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass": "*"},
        ),
    )


def _allow(
    action: str | list[str],
    resource: str | list[str],
    *,
    equals: dict[str, Any] | None = None,
    like: dict[str, Any] | None = None,
) -> dict[str, Any]:
    statement: dict[str, Any] = {"Effect": "Allow", "Action": action, "Resource": resource}
    condition = {operator: values for operator, values in (("StringEquals", equals), ("StringLike", like)) if values}
    return {**statement, "Condition": condition} if condition else statement


def _document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}
