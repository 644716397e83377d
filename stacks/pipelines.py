"""The closed loop's servers as an environment asks for them: where runs and models are kept, what runs pipelines."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from stacks import accepted
from stacks.fields import Part, Place, Positive
from stacks.jobs import Image

Namespace = Annotated[str, AfterValidator(accepted.dns_label)]


class Database(Part):
    """A PostgreSQL: RDS or Cloud SQL."""

    size: Literal["small", "medium", "large"] = "small"
    """small, medium or large: 2, 2 or 8 cores"""
    storage_gib: Annotated[int, Field(ge=20, le=6000)] = 20
    """GiB at first; it grows up to ten times that"""
    zonal_redundancy: bool = False
    """a second one in another zone takes over when the first fails; twice the price"""
    backup_days: Annotated[int, Field(ge=1, le=35)] = 7
    """days that daily backups are kept"""

    def component_args(self) -> dict[str, Any]:
        """As `DatabaseArgs`."""
        return self.model_dump(mode="json")


class Mlflow(Part):
    """The tracking server and model registry of a region."""

    image: Image
    """container image of workloads/database/mlflow.Dockerfile"""
    namespace: Namespace = "mlflow"
    """Kubernetes namespace"""
    replicas: Positive = 1
    """servers; with two, one may be lost"""
    database: Database = Database()
    """its PostgreSQL"""
    track_training: bool = True
    """training jobs of the region tell it of their runs; their image then needs the extra `tracking`"""


class Pipelines(Part):
    """What a region has for the closed loop."""

    region: Place
    """the cloud and its region"""
    mlflow: Mlflow | None = None
    """tracking and model registry; absent: none"""
