"""Managed Airflow on GCP: a private environment of Cloud Composer 3, under its own account and the region's key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_gcp as gcp

from components.pipelines.airflow_parts import Managed
from components.security.gcp import account_id, prefix_condition
from components.tags import gcp_labels

SIZES = {size: f"ENVIRONMENT_SIZE_{size.upper()}" for size in ("small", "medium", "large")}
VERSION = "3.1.8"
"""Of Airflow; found in others' programs of 2026 (composer-3-airflow-3.1.8)."""
# https://cloud.google.com/composer/docs/composer-3/configure-cmek-encryption: who needs the key, as remembered
_AGENTS = ("composer.googleapis.com", "artifactregistry.googleapis.com", "pubsub.googleapis.com")


def build(
    parent: pulumi.Resource, name: str, args: Mapping[str, Any], _: str, child: pulumi.ResourceOptions
) -> Managed:
    """The account and its rights, the services' right to the key, and the environment.

    Composer makes a bucket of its own, under the same key, for DAGs and logs: it shares none.
    """
    project = gcp.organizations.get_project(opts=pulumi.InvokeOptions(parent=parent)).project_id
    account = gcp.serviceaccount.Account(
        name, account_id=account_id(name), description=f"Airflow {name} and its tasks", opts=child
    )
    grants: list[pulumi.Resource] = [
        gcp.projects.IAMMember(
            f"{name}-worker", project=project, role="roles/composer.worker", member=account.member, opts=child
        )
    ]
    for mode, prefixes in (("read", args.get("read_prefixes")), ("write", args.get("write_prefixes"))):
        for index, one in enumerate(prefixes or []):
            grants.append(
                gcp.storage.BucketIAMMember(
                    f"{name}-{mode}-{index}",
                    bucket=args["bucket"],
                    role="roles/storage.objectUser" if mode == "write" else "roles/storage.objectViewer",
                    member=account.member,
                    condition={
                        "title": "prefix",
                        "description": f"Only objects under {one}/",
                        "expression": _under(args["bucket"], f"{one}/"),
                    },
                    opts=child,
                )
            )
    for service in _AGENTS:
        short = service.split(".", 1)[0]
        agent = gcp.projects.ServiceIdentity(
            f"{name}-{short}",
            project=project,
            service=service,
            # It is the project's, and other services need it too.
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(retain_on_delete=True)),
        )
        grants.append(
            gcp.kms.CryptoKeyIAMMember(
                f"{name}-{short}-key",
                crypto_key_id=args["encryption_key"],
                role="roles/cloudkms.cryptoKeyEncrypterDecrypter",
                member=agent.member,
                opts=child,
            )
        )
    environment = gcp.composer.Environment(
        name,
        name=name,
        region=args["region"],
        labels=gcp_labels(args.get("tags") or {}),
        config={
            "environment_size": SIZES[args.get("size", "small")],
            "resilience_mode": "HIGH_RESILIENCE" if args.get("zonal_redundancy") else "STANDARD_RESILIENCE",
            # Its machines have no way from the internet, and go out by the network's own.
            "enable_private_environment": True,
            "enable_private_builds_only": True,
            "software_config": {"image_version": f"composer-3-airflow-{args.get('airflow_version', VERSION)}"},
            "node_config": {
                "network": args["network_id"],
                "subnetwork": pulumi.Output.from_input(args["private_subnet_ids"])[0],
                "service_account": account.email,
            },
            "encryption_config": {"kms_key_name": args["encryption_key"]},
            "workloads_config": {
                "worker": {
                    "cpu": 1,
                    "memory_gb": 4,
                    "storage_gb": 10,
                    "min_count": 1,
                    "max_count": int(args.get("max_workers", 5)),
                }
            },
            # Whoever comes to the page needs the network's addresses, besides an identity.
            "web_server_network_access_control": {
                "allowed_ip_ranges": [{"value": args["network_cidr"], "description": "the network"}]
            },
            "maintenance_window": {
                "start_time": "2026-01-04T03:00:00Z",
                "end_time": "2026-01-04T09:00:00Z",
                "recurrence": "FREQ=WEEKLY;BYDAY=SA,SU",
            },
        },
        opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=grants)),
    )
    return Managed(
        url=environment.config.apply(lambda config: str(config.airflow_uri)),
        principal=account.member,
        dags_url=environment.config.apply(lambda config: str(config.dag_gcs_prefix)),
    )


def _under(bucket: pulumi.Input[str], prefix: str) -> pulumi.Output[str]:
    return pulumi.Output.from_input(bucket).apply(lambda name: prefix_condition(name, prefix))
