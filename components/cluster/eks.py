"""The EKS control plane: its key, its logs, the cluster, who administers it, and how to reach it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.cluster import parts

CONTROL_PLANE_LOGS = ("api", "audit", "authenticator", "controllerManager", "scheduler")
KEY_DELETION_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class EksOptions:
    """What an EKS cluster is made of; ids are Pulumi inputs, everything else decides which resources exist."""

    region: str
    cluster_name: str
    kubernetes_version: str
    subnet_ids: pulumi.Input[Sequence[str]]
    administrators: Sequence[str]
    public_access_cidrs: Sequence[str]
    log_retention_days: int
    protect: bool
    tags: Mapping[str, str]


class EksControlPlane(pulumi.ComponentResource):
    """An EKS control plane that only the private network reaches.

    - a KMS key, rotated yearly, for the cluster's secrets, its logs, its nodes' disks and its events
    - a log group with retention and that key, made before EKS would make one without either
    - the cluster: API-mode access entries, all control-plane logs, envelope encryption, no public endpoint unless CIDRs
      are given
    - one access entry with cluster-admin rights for each administrator; whoever creates the cluster is one too, because
      the same `pulumi up` installs the add-ons
    """

    cluster: aws.eks.Cluster
    key: aws.kms.Key
    kubeconfig: pulumi.Output[str]
    security_group_id: pulumi.Output[str]
    """The cluster security group: control plane, nodes and pods talk freely within it."""

    def __init__(
        self,
        name: str,
        args: EksOptions,
        opts: pulumi.ResourceOptions | None = None,
        *,
        after: Sequence[pulumi.Resource] = (),
    ) -> None:
        super().__init__("aicloud:cluster:EksControlPlane", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        kept = pulumi.ResourceOptions(parent=self, protect=args.protect)
        invoke = pulumi.InvokeOptions(parent=self)
        account = aws.get_caller_identity(opts=invoke).account_id
        partition = aws.get_partition(opts=invoke).partition
        tags, region = dict(args.tags), args.region

        self.key = aws.kms.Key(
            f"{name}-key",
            description=f"Secrets, logs, node disks and events of the cluster {args.cluster_name}",
            enable_key_rotation=True,
            deletion_window_in_days=KEY_DELETION_DAYS,
            policy=json.dumps(key_policy(partition, account, region, args.cluster_name)),
            region=region,
            tags=tags,
            opts=kept,
        )
        aws.kms.Alias(
            f"{name}-key-alias",
            name=f"alias/eks/{args.cluster_name}",
            target_key_id=self.key.key_id,
            region=region,
            opts=child,
        )
        logs = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/aws/eks/{args.cluster_name}/cluster",
            retention_in_days=args.log_retention_days,
            kms_key_id=self.key.arn,
            region=region,
            tags=tags,
            opts=child,
        )
        role = aws.iam.Role(
            f"{name}-role", assume_role_policy=json.dumps(service_trust("eks.amazonaws.com")), tags=tags, opts=child
        )
        policy = aws.iam.RolePolicyAttachment(
            f"{name}-policy",
            role=role.name,
            policy_arn=f"arn:{partition}:iam::aws:policy/AmazonEKSClusterPolicy",
            opts=child,
        )
        self.cluster = aws.eks.Cluster(
            f"{name}-cluster",
            name=args.cluster_name,
            version=args.kubernetes_version,
            role_arn=role.arn,
            vpc_config={
                "subnet_ids": args.subnet_ids,
                "endpoint_private_access": True,
                "endpoint_public_access": bool(args.public_access_cidrs),
                "public_access_cidrs": list(args.public_access_cidrs) or None,
            },
            access_config={
                "authentication_mode": "API",
                "bootstrap_cluster_creator_admin_permissions": True,
            },
            encryption_config={"provider": {"key_arn": self.key.arn}, "resources": ["secrets"]},
            enabled_cluster_log_types=list(CONTROL_PLANE_LOGS),
            # EKS would install its own unmanaged CNI, CoreDNS and kube-proxy, which the managed add-ons then fight.
            bootstrap_self_managed_addons=False,
            upgrade_policy={"support_type": "STANDARD"},
            zonal_shift_config={"enabled": True},
            deletion_protection=args.protect,
            region=region,
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect, depends_on=[policy, logs, *after]),
        )
        self._administrators(name, args, partition)
        # EKS makes the group with the cluster: it is not known before the ARN is, although `vpc_config` is an argument.
        group = self.cluster.vpc_config.apply(lambda vpc: vpc.cluster_security_group_id)
        self.security_group_id = pulumi.Output.all(self.cluster.arn, group).apply(lambda values: values[1])
        self.kubeconfig = pulumi.Output.secret(
            pulumi.Output.json_dumps(
                kubeconfig(
                    self.cluster.name,
                    self.cluster.endpoint,
                    self.cluster.certificate_authority.apply(lambda authority: authority.data),
                    region,
                )
            )
        )
        self.register_outputs({})

    def _administrators(self, name: str, args: EksOptions, partition: str) -> None:
        for principal in args.administrators:
            short = principal.rsplit("/", 1)[-1].replace(":", "-")
            common: dict[str, Any] = {"cluster_name": self.cluster.name, "principal_arn": principal}
            entry = aws.eks.AccessEntry(
                f"{name}-admin-{short}",
                **common,
                region=args.region,
                tags=dict(args.tags),
                opts=pulumi.ResourceOptions(parent=self),
            )
            aws.eks.AccessPolicyAssociation(
                f"{name}-admin-{short}",
                **common,
                policy_arn=f"arn:{partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
                access_scope={"type": "cluster"},
                region=args.region,
                opts=pulumi.ResourceOptions(parent=self, depends_on=[entry]),
            )


def service_trust(service: str) -> dict[str, Any]:
    """Trust policy of a role that an AWS service takes."""
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": ["sts:AssumeRole", "sts:TagSession"]}
    return {"Version": "2012-10-17", "Statement": [statement]}


def key_policy(partition: str, account: str, region: str, cluster_name: str) -> dict[str, Any]:
    """The account's IAM decides; beside it CloudWatch may encrypt this cluster's logs, EventBridge what it puts into a
    queue (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-troubleshooting.html), and EC2 its volumes.

    The EC2 statement is the one of AWS's own `aws/ebs` key. It also covers Auto Scaling's service-linked role, which
    could not be named here: a key policy with a role that doesn't exist yet is refused.
    """
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "AccountDecides",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
                "Action": "kms:*",
                "Resource": "*",
            },
            {
                "Sid": "ControlPlaneLogs",
                "Effect": "Allow",
                "Principal": {"Service": f"logs.{region}.amazonaws.com"},
                "Action": ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"],
                "Resource": "*",
                "Condition": {
                    "ArnEquals": {
                        "kms:EncryptionContext:aws:logs:arn": (
                            f"arn:{partition}:logs:{region}:{account}:log-group:/aws/eks/{cluster_name}/cluster"
                        )
                    }
                },
            },
            {
                "Sid": "EventsIntoQueues",
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
                "Resource": "*",
            },
            {
                "Sid": "VolumesThroughEc2",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": [
                    "kms:Encrypt",
                    "kms:Decrypt",
                    "kms:ReEncrypt*",
                    "kms:GenerateDataKey*",
                    "kms:CreateGrant",
                    "kms:DescribeKey",
                ],
                "Resource": "*",
                "Condition": {
                    "StringEquals": {"kms:CallerAccount": account, "kms:ViaService": f"ec2.{region}.amazonaws.com"}
                },
            },
        ],
    }


def kubeconfig(
    name: pulumi.Input[str], endpoint: pulumi.Input[str], authority: pulumi.Input[str], region: str
) -> dict[str, Any]:
    """A kubeconfig that asks the AWS CLI for tokens."""
    arguments = ["--region", region, "eks", "get-token", "--cluster-name", name, "--output", "json"]
    return parts.kubeconfig(name, endpoint, authority, {"command": "aws", "args": arguments})
