"""The closed loop's servers as an environment asks for them: where runs and models are kept, what runs pipelines."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from stacks import accepted
from stacks.fields import Part, Place, Positive, Text
from stacks.jobs import Image, Prefix

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


class Airflow(Part):
    """Airflow, which runs pipelines as DAGs: in the cluster, or the cloud's own."""

    managed: bool = False
    """the cloud's own: MWAA, Cloud Composer"""
    image: Image | None = None
    """container image of workloads/database/airflow.Dockerfile; of the one in the cluster, which needs it"""
    namespace: Namespace = "airflow"
    """Kubernetes namespace; of the one in the cluster"""
    airflow_version: Text | None = None
    """version of Airflow: in the image, or of the managed one; absent: the newest that is known to work"""
    replicas: Positive = 1
    """schedulers, and API servers; of the one in the cluster"""
    database: Database = Database()
    """PostgreSQL; of the one in the cluster"""
    size: Literal["small", "medium", "large"] = "small"
    """small, medium or large; of the managed one"""
    max_workers: Annotated[int, Field(ge=1, le=25)] = 5
    """most workers; of the managed one"""
    read_prefixes: tuple[Prefix, ...] = ("datasets",)
    """what tasks may read of the region's bucket"""
    write_prefixes: tuple[Prefix, ...] = ("pipelines", "models")
    """what tasks may write of it"""


class SageMaker(Part):
    """The retraining pipeline as SageMaker runs it."""

    definition: Text
    """file with the definition, from the project's directory: `python -m workloads.pipelines compile` writes it"""
    schedule: Text | None = None
    """when it starts by itself, in UTC, such as cron(0 3 ? * SUN *); absent: when somebody starts it"""
    parameters: dict[str, str] = {}
    """the pipeline's parameters on that schedule"""
    read_prefixes: tuple[Prefix, ...] = ("datasets",)
    """what its jobs may read of the region's bucket"""
    write_prefixes: tuple[Prefix, ...] = ("pipelines", "models")
    """what they may write of it"""


class Pipelines(Part):
    """What a region has for the closed loop."""

    region: Place
    """the cloud and its region"""
    mlflow: Mlflow | None = None
    """tracking and model registry; absent: none"""
    airflow: Airflow | None = None
    """what runs pipelines as DAGs; absent: none"""
    sagemaker: SageMaker | None = None
    """the pipeline without a cluster, on AWS; absent: none"""
