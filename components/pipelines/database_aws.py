"""PostgreSQL on AWS: an RDS instance in private subnets, whose password Secrets Manager keeps and turns."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pulumi_aws as aws

from components.pipelines.database_parts import PORT, SIZES, VERSION, Parts, Request
from components.security import WorkloadIdentity
from components.tags import aws_tags


def build(parent: pulumi.Resource, name: str, request: Request) -> Parts:
    """Subnets, who may connect, and the instance."""
    child = pulumi.ResourceOptions(parent=parent)
    tags = aws_tags(request.tags, name)
    subnets = aws.rds.SubnetGroup(
        name,
        region=request.region,
        name=name,
        description=f"Private subnets of {name}",
        subnet_ids=request.private_subnet_ids,
        tags=tags,
        opts=child,
    )
    group = aws.ec2.SecurityGroup(
        name,
        region=request.region,
        vpc_id=request.network_id,
        description="PostgreSQL from nodes and pods of the cluster",
        tags=tags,
        opts=child,
    )
    ingress = aws.vpc.SecurityGroupIngressRule(
        name,
        region=request.region,
        security_group_id=group.id,
        referenced_security_group_id=request.client_security_group_id,
        description="PostgreSQL from nodes and pods of the cluster",
        ip_protocol="tcp",
        from_port=PORT,
        to_port=PORT,
        tags=tags,
        opts=child,
    )
    server = aws.rds.Instance(
        name,
        region=request.region,
        identifier=name,
        engine="postgres",
        # The minor version is RDS's to choose. From 15 on TLS is asked of every client (rds.force_ssl).
        engine_version=VERSION,
        auto_minor_version_upgrade=True,
        instance_class=SIZES["aws"][request.size],
        storage_type="gp3",
        allocated_storage=request.storage_gib,
        max_allocated_storage=10 * request.storage_gib,
        storage_encrypted=True,
        kms_key_id=request.encryption_key,
        db_name=request.database,
        username=request.database,
        port=PORT,
        manage_master_user_password=True,
        master_user_secret_kms_key_id=request.encryption_key,
        db_subnet_group_name=subnets.name,
        vpc_security_group_ids=[group.id],
        publicly_accessible=False,
        multi_az=request.zonal_redundancy,
        backup_retention_period=request.backup_days,
        backup_window="02:00-03:00",
        maintenance_window="sun:03:30-sun:04:30",
        copy_tags_to_snapshot=True,
        delete_automated_backups=not request.protect,
        deletion_protection=request.protect,
        skip_final_snapshot=not request.protect,
        final_snapshot_identifier=f"{name}-final" if request.protect else None,
        tags=tags,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[ingress], protect=True if request.protect else None),
    )
    secret = server.master_user_secrets.apply(lambda secrets: secrets[0].secret_arn)
    policy = pulumi.Output.all(secret, request.encryption_key).apply(lambda both: _reads(request.region, *both))
    return Parts(host=server.address, identity={"aws_policy_json": policy}, secret=secret, server=server)


def grant(
    parent: pulumi.Resource,  # noqa: ARG001
    name: str,  # noqa: ARG001
    request: Request,
    parts: Parts,
    identity: WorkloadIdentity,
) -> tuple[pulumi.Output[str], list[pulumi.Input[str]], list[pulumi.Resource]]:
    """User, where its password comes from, and what to wait for: the identity's policy has the secret in it."""
    assert parts.secret is not None
    source: list[pulumi.Input[str]] = ["--secret", parts.secret, "--region", request.region]
    return pulumi.Output.from_input(request.database), source, [identity, parts.server]


def _reads(region: str, secret: str, key: str) -> str:
    """A policy document: this secret, and its key for nothing else."""
    statements: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": secret},
        {
            "Effect": "Allow",
            "Action": "kms:Decrypt",
            "Resource": key,
            "Condition": {"StringEquals": {"kms:ViaService": f"secretsmanager.{region}.amazonaws.com"}},
        },
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
