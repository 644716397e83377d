"""The add-ons that EKS manages: those that nodes need to join, and those that run on the first nodes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

from components.cluster.eks import EksControlPlane
from components.security.aws import trust_policy

# add-on -> service accounts that need a role, and the AWS managed policy of that role
_IDENTITIES = {
    "aws-ebs-csi-driver": (["ebs-csi-controller-sa"], "service-role/AmazonEBSCSIDriverPolicy"),
    "aws-efs-csi-driver": (["efs-csi-controller-sa"], "service-role/AmazonEFSCSIDriverPolicy"),
    # FSx file systems are made by TieredStorage and mounted statically, which takes no permission.
    "aws-fsx-csi-driver": ([], ""),
    # Mountpoint for S3: pods mount the buckets of TieredStorage as themselves, so the driver needs no permission.
    "aws-mountpoint-s3-csi-driver": ([], ""),
    "coredns": ([], ""),
    # What CPU-based autoscalers ask; GKE runs its own.
    # https://docs.aws.amazon.com/eks/latest/userguide/metrics-server.html
    "metrics-server": ([], ""),
}


def networking(
    parent: pulumi.Resource,
    name: str,
    control_plane: EksControlPlane,
    *,
    region: str,
    zones: pulumi.Input[Sequence[str]],
    pod_subnet_ids: pulumi.Input[Sequence[str]],
    tags: Mapping[str, str],
) -> list[pulumi.Resource]:
    """VPC CNI, kube-proxy and the Pod Identity agent: to be there before the first node joins."""
    settings = pulumi.Output.all(zones, pod_subnet_ids, control_plane.security_group_id).apply(
        lambda values: json.dumps(cni_settings(region, values[0], values[1], values[2]))
    )
    values: dict[str, pulumi.Input[str] | None] = {
        "vpc-cni": settings,
        "kube-proxy": None,
        "eks-pod-identity-agent": None,
    }
    return [
        _addon(parent, name, addon, control_plane, region, tags, configuration_values=configuration)
        for addon, configuration in values.items()
    ]


def workloads(
    parent: pulumi.Resource,
    name: str,
    control_plane: EksControlPlane,
    *,
    region: str,
    nodes: Sequence[pulumi.Resource],
    tags: Mapping[str, str],
) -> list[pulumi.Resource]:
    """CoreDNS, metrics server, storage drivers: degraded until `nodes` are there, for which the deployment waits."""
    invoke = pulumi.InvokeOptions(parent=parent)
    partition = aws.get_partition(opts=invoke).partition
    made: list[pulumi.Resource] = []
    for addon, (accounts, policy) in _IDENTITIES.items():
        associations: list[dict[str, Any]] = []
        ready: list[pulumi.Resource] = list(nodes)
        for account in accounts:
            role = aws.iam.Role(
                f"{name}-{addon}",
                assume_role_policy=control_plane.cluster.arn.apply(
                    lambda arn, account=account: json.dumps(trust_policy(arn, "kube-system", account))
                ),
                tags=dict(tags),
                opts=pulumi.ResourceOptions(parent=parent),
            )
            ready.append(
                aws.iam.RolePolicyAttachment(
                    f"{name}-{addon}",
                    role=role.name,
                    policy_arn=f"arn:{partition}:iam::aws:policy/{policy}",
                    opts=pulumi.ResourceOptions(parent=parent),
                )
            )
            associations.append({"role_arn": role.arn, "service_account": account})
        made.append(
            _addon(
                parent,
                name,
                addon,
                control_plane,
                region,
                tags,
                pod_identity_associations=associations or None,
                after=ready,
            )
        )
    return made


def cni_settings(region: str, zones: Sequence[str], pod_subnets: Sequence[str], security_group: str) -> dict[str, Any]:
    """Configuration of the vpc-cni add-on: pods get addresses of the pod subnet in their node's zone (one ENIConfig a
    zone), whole prefixes at a time, and network policies are enforced.

    https://docs.aws.amazon.com/eks/latest/userguide/cni-custom-network.html
    """
    settings: dict[str, Any] = {"enableNetworkPolicy": "true", "env": {"ENABLE_PREFIX_DELEGATION": "true"}}
    if pod_subnets:
        settings["env"] |= {
            "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG": "true",
            "ENI_CONFIG_LABEL_DEF": "topology.kubernetes.io/zone",
        }
        settings["eniConfig"] = {
            "create": True,
            "region": region,
            "subnets": {
                zone: {"id": subnet, "securityGroups": [security_group]}
                for zone, subnet in zip(zones, pod_subnets, strict=True)
            },
        }
    return settings


def _addon(
    parent: pulumi.Resource,
    name: str,
    addon: str,
    control_plane: EksControlPlane,
    region: str,
    tags: Mapping[str, str],
    *,
    after: Sequence[pulumi.Resource] = (),
    **more: Any,
) -> aws.eks.Addon:
    # Without a version EKS takes the default one of the cluster's Kubernetes version and keeps it until asked.
    return aws.eks.Addon(
        f"{name}-{addon}",
        addon_name=addon,
        cluster_name=control_plane.cluster.name,
        resolve_conflicts_on_create="OVERWRITE",
        resolve_conflicts_on_update="OVERWRITE",
        region=region,
        tags=dict(tags),
        **more,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=list(after)),
    )
