"""The AWS load balancer controller, kept to one task: putting pods into target groups that Pulumi made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from components.cluster.charts import LOAD_BALANCER_CONTROLLER, release
from components.cluster.eks import EksControlPlane
from components.security import WorkloadIdentity

NAMESPACE = "kube-system"
SERVICE_ACCOUNT = "aws-load-balancer-controller"


def controller(
    parent: pulumi.Resource,
    name: str,
    control_plane: EksControlPlane,
    *,
    region: str,
    network_id: pulumi.Input[str],
    tags: Mapping[str, str],
    kubernetes: k8s.Provider,
    after: Sequence[pulumi.Resource],
) -> k8s.helm.v3.Release:
    """Its identity and its release.

    It makes no load balancer itself: those are Pulumi's, so each is in the preview, and none outlives the network
    that it stands in. TargetGroupBinding is all that it serves.
    """
    invoke = pulumi.InvokeOptions(parent=parent)
    partition = aws.get_partition(opts=invoke).partition
    account = aws.get_caller_identity(opts=invoke).account_id
    identity = WorkloadIdentity(
        name,
        {
            "cloud": "aws",
            "region": region,
            "cluster_name": control_plane.cluster.name,
            "workload_identity_pool": "",
            "namespace": NAMESPACE,
            "service_account": SERVICE_ACCOUNT,
            "aws_policy_json": control_plane.security_group_id.apply(
                lambda group: json.dumps(policy(partition, account, region, group))
            ),
            "tags": dict(tags),
        },
        pulumi.ResourceOptions(parent=parent),
    )
    return release(
        name,
        LOAD_BALANCER_CONTROLLER,
        {
            "clusterName": control_plane.cluster.name,
            # Both would come from the metadata service, which is one hop too far for a pod.
            "region": region,
            "vpcId": network_id,
            "serviceAccount": {"name": SERVICE_ACCOUNT},
            "enableServiceMutatorWebhook": False,
            "createIngressClassResource": False,
            "ingressClassParams": {"create": False},
            "enableShield": False,
            "enableWaf": False,
            "enableWafv2": False,
        },
        parent,
        namespace=NAMESPACE,
        after=[*after, identity],
        provider=kubernetes,
    )


def policy(partition: str, account: str, region: str, security_group: str) -> dict[str, Any]:
    """What TargetGroupBinding takes: look around, register targets, open the pods' security group to them."""
    targets = f"arn:{partition}:elasticloadbalancing:{region}:{account}:targetgroup/*"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": [
                    "ec2:DescribeAvailabilityZones",
                    "ec2:DescribeInstances",
                    "ec2:DescribeNetworkInterfaces",
                    "ec2:DescribeSecurityGroups",
                    "ec2:DescribeSubnets",
                    "ec2:DescribeVpcs",
                    "elasticloadbalancing:DescribeLoadBalancers",
                    "elasticloadbalancing:DescribeTags",
                    "elasticloadbalancing:DescribeTargetGroups",
                    "elasticloadbalancing:DescribeTargetGroupAttributes",
                    "elasticloadbalancing:DescribeTargetHealth",
                ],
                "Resource": "*",
                "Condition": {"StringEquals": {"aws:RequestedRegion": region}},
            },
            {
                "Effect": "Allow",
                "Action": ["elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"],
                "Resource": targets,
            },
            {
                "Effect": "Allow",
                "Action": ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"],
                "Resource": f"arn:{partition}:ec2:{region}:{account}:security-group/{security_group}",
            },
        ],
    }
