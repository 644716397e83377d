"""The closed loop's servers as an environment asks for them: where runs and models are kept, what runs pipelines."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from stacks import accepted
from stacks.fields import Part, Place, Positive, Text
from stacks.jobs import Image, Prefix, Priority

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


class Kubeflow(Part):
    """Kubeflow Pipelines, which runs pipelines as Argo workflows in the cluster."""

    namespace: Namespace = "kubeflow"
    """Kubernetes namespace, of its runs too"""
    images: dict[str, Image] = {}
    """part -> copy of its image, such as mysql or api-server; absent: the projects' own"""
    storage_gib: Annotated[int, Field(ge=5, le=1000)] = 20
    """GiB of its database's volume"""
    read_prefixes: tuple[Prefix, ...] = ("datasets",)
    """what runs may read of the region's bucket"""
    write_prefixes: tuple[Prefix, ...] = ("pipelines", "models")
    """what they may write of it, besides their own"""

    def component_args(self) -> dict[str, Any]:
        """As arguments of KubeflowPipelines."""
        return self.model_dump(mode="json")


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


class Retraining(Part):
    """Watches a model's traffic and, for a reason, runs the retraining pipeline in the cluster."""

    model: Annotated[str, AfterValidator(accepted.dns_label)]
    """name of the model"""
    image: Image
    """container image of workloads/launch/Dockerfile"""
    pipeline_image: Image
    """container image of workloads/pipelines/Dockerfile"""
    corpus: Prefix
    """prefix of the region's bucket with the texts to train on"""
    policy: dict[str, Any] = {}
    """what counts as drift and as a loss, cool-down and budget: fields of workloads.monitoring.policy"""
    catalog: dict[str, str] = {}
    """properties of pyiceberg's catalog; absent: Glue's, on AWS"""
    parameters: dict[str, str] = {}
    """more of `python -m workloads.pipelines run`, without dashes, such as champion: registry"""
    schedule: Text | None = None
    """cron in UTC on which the pipeline runs whatever the traffic says, such as 0 3 * * 0; absent: never"""
    priority: Priority | None = None
    """low, normal or high: who waits for whom; absent: normal"""
    accelerator: Text | None = None
    """key of the catalog, such as l4; absent: none"""
    accelerators_per_node: Positive | None = None
    """accelerators of a run; absent: one, where there is an accelerator"""

    def component_args(self) -> dict[str, Any]:
        """As arguments of RetrainingTrigger, without what isn't given."""
        given = self.model_dump(mode="json", exclude={"corpus", "policy", "catalog"}, exclude_none=True)
        return {
            **given,
            "corpus_prefix": self.corpus,
            "policy": json.dumps(self.policy, sort_keys=True),
            **({"catalog": self.catalog} if self.catalog else {}),
        }


class Pipelines(Part):
    """What a region has for the closed loop."""

    region: Place
    """the cloud and its region"""
    mlflow: Mlflow | None = None
    """tracking and model registry; absent: none"""
    airflow: Airflow | None = None
    """what runs pipelines as DAGs; absent: none"""
    kubeflow: Kubeflow | None = None
    """what runs pipelines that Kubeflow's SDK compiled; absent: none"""
    sagemaker: SageMaker | None = None
    """the pipeline without a cluster, on AWS; absent: none"""
    retraining: Retraining | None = None
    """what watches a model and runs the pipeline for a reason, in a region that trains; absent: none"""
