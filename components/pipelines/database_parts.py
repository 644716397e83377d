"""What both clouds' databases are asked for, and what they hand back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

PORT = 5432
VERSION = "17"
"""Of PostgreSQL; both clouds have it, and MLflow's and Airflow's own tests know it (as remembered)."""

SIZES = {
    "aws": {"small": "db.t4g.small", "medium": "db.m7g.large", "large": "db.m7g.2xlarge"},
    "gcp": {"small": "db-custom-1-3840", "medium": "db-custom-2-8192", "large": "db-custom-8-32768"},
}
"""Cloud -> size -> machine: 2 (GCP 1) cores with 2 (GCP 3.75) GiB, 2 with 8, 8 with 32."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A database, as its owner wants it; units and meanings are documented at MlflowServerArgs."""

    cloud: str
    region: str
    database: str
    """Its name, and on AWS that of its user."""
    network_id: pulumi.Input[str]
    private_subnet_ids: pulumi.Input[list[str]]
    client_security_group_id: pulumi.Input[str]
    """AWS: whose members may connect."""
    encryption_key: pulumi.Input[str]
    size: str
    storage_gib: int
    zonal_redundancy: bool
    backup_days: int
    protect: bool
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a cloud has made."""

    host: pulumi.Output[str]
    identity: Mapping[str, object]
    secret: pulumi.Output[str] | None = None
    """AWS: ARN of the secret with the password."""
    server: pulumi.Resource
