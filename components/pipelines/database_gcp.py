"""PostgreSQL on GCP: a Cloud SQL instance with a private address, whose user is a Google account without a password."""

from __future__ import annotations

import pulumi
import pulumi_gcp as gcp

from components.pipelines.database_parts import SIZES, VERSION, Parts, Request
from components.security import WorkloadIdentity
from components.tags import gcp_labels


def build(parent: pulumi.Resource, name: str, request: Request) -> Parts:
    """The service's right to the key, the instance, and the database in it."""
    child = pulumi.ResourceOptions(parent=parent)
    project = gcp.organizations.get_project(opts=pulumi.InvokeOptions(parent=parent)).project_id
    agent = gcp.projects.ServiceIdentity(
        name,
        project=project,
        service="sqladmin.googleapis.com",
        # It is the project's, and other databases need it too.
        opts=pulumi.ResourceOptions(parent=parent, retain_on_delete=True),
    )
    may_use = gcp.kms.CryptoKeyIAMMember(
        f"{name}-key",
        crypto_key_id=request.encryption_key,
        role="roles/cloudkms.cryptoKeyEncrypterDecrypter",
        member=agent.member,
        # Of all databases under this key, which fall silent without it: it goes with the key.
        opts=pulumi.ResourceOptions(parent=parent, retain_on_delete=True),
    )
    server = gcp.sql.DatabaseInstance(
        name,
        # Not a name of its own: one that was deleted stays taken for a week.
        region=request.region,
        database_version=f"POSTGRES_{VERSION}",
        encryption_key_name=request.encryption_key,
        deletion_protection=request.protect,
        settings={
            "edition": "ENTERPRISE",
            "tier": SIZES["gcp"][request.size],
            "disk_type": "PD_SSD",
            "disk_size": request.storage_gib,
            "disk_autoresize": True,
            "disk_autoresize_limit": 10 * request.storage_gib,
            "availability_type": "REGIONAL" if request.zonal_redundancy else "ZONAL",
            "ip_configuration": {
                "ipv4_enabled": False,
                "private_network": request.network_id,
                "ssl_mode": "ENCRYPTED_ONLY",
            },
            "database_flags": [{"name": "cloudsql.iam_authentication", "value": "on"}],
            "backup_configuration": {
                "enabled": True,
                "start_time": "02:00",
                "point_in_time_recovery_enabled": True,
                "transaction_log_retention_days": min(request.backup_days, 7),
                "backup_retention_settings": {"retained_backups": request.backup_days, "retention_unit": "COUNT"},
            },
            "maintenance_window": {"day": 7, "hour": 3},
            "deletion_protection_enabled": request.protect,
            "user_labels": gcp_labels(request.tags),
        },
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[may_use], protect=True if request.protect else None),
    )
    database = gcp.sql.Database(
        name,
        name=request.database,
        instance=server.name,
        # A database whose tables belong to a login that is gone is not dropped: it goes with its instance.
        deletion_policy="ABANDON",
        opts=child,
    )
    identity = {"google_account": True, "gcp_project_roles": ["roles/cloudsql.instanceUser"]}
    return Parts(host=server.private_ip_address, identity=identity, server=database)


def grant(
    parent: pulumi.Resource,
    name: str,
    request: Request,  # noqa: ARG001
    parts: Parts,
    identity: WorkloadIdentity,
) -> tuple[pulumi.Output[str], list[pulumi.Input[str]], list[pulumi.Resource]]:
    """User, where its password comes from, and what to wait for: the login of the identity's Google account."""
    # PostgreSQL's names are shorter than a service account's address, so Cloud SQL leaves the end off.
    # https://cloud.google.com/sql/docs/postgres/add-manage-iam-users
    user = identity.google_account.apply(lambda email: email.removesuffix(".gserviceaccount.com"))
    made = gcp.sql.User(
        name,
        instance=parts.server.instance,  # type: ignore[attr-defined]
        name=user,
        type="CLOUD_IAM_SERVICE_ACCOUNT",
        # The application makes its own tables; since version 15 not everybody may.
        database_roles=["cloudsqlsuperuser"],
        # One that owns tables cannot be dropped: it goes with its instance.
        deletion_policy="ABANDON",
        opts=pulumi.ResourceOptions(parent=parent),
    )
    return user, ["--google-token"], [identity, made, parts.server]
