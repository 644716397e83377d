"""The GCP side of WorkloadIdentity: the Kubernetes identity itself as a member of IAM policies."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pulumi
import pulumi_gcp as gcp

if TYPE_CHECKING:
    from components.security.workload_identity import WorkloadIdentityArgs


def bind(
    parent: pulumi.Resource, name: str, args: WorkloadIdentityArgs
) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
    """Grant the Kubernetes identity its roles under `parent`; the member, and the Google account that it acts as."""
    project = gcp.organizations.get_project(opts=pulumi.InvokeOptions(parent=parent))
    child = pulumi.ResourceOptions(parent=parent)
    pool = pulumi.Output.from_input(args["workload_identity_pool"])
    member = pool.apply(lambda pool: principal(str(project.number), pool, args["namespace"], args["service_account"]))
    email = pulumi.Output.from_input("")
    if args.get("google_account"):
        account = gcp.serviceaccount.Account(
            name,
            account_id=account_id(name),
            description=f"Pods of {args['namespace']}/{args['service_account']}",
            opts=child,
        )
        gcp.serviceaccount.IAMMember(
            f"{name}-pods",
            service_account_id=account.name,
            role="roles/iam.workloadIdentityUser",
            member=pulumi.Output.concat("serviceAccount:", pool, f"[{args['namespace']}/{args['service_account']}]"),
            opts=child,
        )
        member, email = account.member, account.email
    for index, access in enumerate(args.get("buckets") or []):
        prefix = access.get("prefix") or ""
        gcp.storage.BucketIAMMember(
            f"{name}-bucket-{index}",
            bucket=access["bucket"],
            role="roles/storage.objectUser" if access.get("write") else "roles/storage.objectViewer",
            member=member,
            condition=_only_under(access["bucket"], prefix) if prefix else None,
            opts=child,
        )
    for role in args.get("gcp_project_roles") or []:
        gcp.projects.IAMMember(
            f"{name}-{role.rsplit('/', 1)[-1]}", project=project.project_id, role=role, member=member, opts=child
        )
    return member, email


def _only_under(bucket: pulumi.Input[str], prefix: str) -> dict[str, pulumi.Input[str]]:
    return {
        "title": "prefix",
        "description": f"Only objects under {prefix}",
        "expression": pulumi.Output.from_input(bucket).apply(lambda name: prefix_condition(name, prefix)),
    }


def account_id(name: str) -> str:
    """Id of the service account: 6 to 30 characters. https://cloud.google.com/iam/docs/service-accounts-create"""
    if 6 <= len(name) <= 30:
        return name
    return f"{name[:23].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def principal(project_number: str, pool: str, namespace: str, service_account: str) -> str:
    """The IAM member of one Kubernetes service account (GKE docs, "Workload Identity Federation for GKE")."""
    return (
        f"principal://iam.googleapis.com/projects/{project_number}/locations/global/workloadIdentityPools/{pool}"
        f"/subject/ns/{namespace}/sa/{service_account}"
    )


def prefix_condition(bucket: str, prefix: str) -> str:
    """Objects under a prefix, and listings of it. A listing's resource is the bucket, so it needs its own clause."""
    return (
        f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/{prefix}") || '
        f'api.getAttribute("storage.googleapis.com/objectListPrefix", "").startsWith("{prefix}")'
    )
