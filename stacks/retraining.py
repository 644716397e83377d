"""What a region has for the closed loop: where runs and models are kept, and what retrains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from components import (
    AirflowDeployment,
    GpuCluster,
    KubeflowPipelines,
    MlflowServer,
    RegionalNetwork,
    RetrainingTrigger,
    SageMakerPipeline,
    TieredStorage,
    TrainingQueue,
)
from components.pipelines.mlflow_pod import PORT
from components.pipelines.mlflow_server import address
from components.security.traffic import namespace, ports
from stacks.pipelines import Airflow, Kubeflow, Mlflow, Pipelines, Retraining, SageMaker
from stacks.settings import Region, Settings
from stacks.validation_pipelines import DIRECTORY

TRAINING_NAMESPACE = "training"


def tracking_uri(settings: Settings, region: Region) -> str:
    """Where training jobs of a region tell of their runs; empty: nowhere."""
    mlflow = _mlflow(settings, region)
    return address(_name(region), mlflow.namespace) if mlflow and mlflow.track_training else ""


def tracking_traffic(settings: Settings, region: Region) -> list[dict[str, Any]]:
    """Egress rules of training's namespace, which is closed otherwise: to the tracking server of the region."""
    mlflow = _mlflow(settings, region)
    return [{"to": [namespace(mlflow.namespace)], "ports": ports(PORT)}] if mlflow else []


class RegionalPipelines:
    """The closed loop's servers in a region; nothing where the environment asks for none."""

    def __init__(
        self,
        settings: Settings,
        region: Region,
        tags: Mapping[str, str],
        network: RegionalNetwork,
        cluster: GpuCluster,
        storage: TieredStorage,
        queue: TrainingQueue | None,
    ) -> None:
        """`queue` admits what retrains in the cluster; None where nothing trains."""
        self._region, self._network, self._cluster, self._storage = region, network, cluster, storage
        self._settings = settings
        self._common: dict[str, Any] = {
            "cloud": region.cloud,
            "region": region.name,
            "cluster_name": cluster.cluster_name,
            "workload_identity_pool": cluster.workload_identity_pool,
            "network_id": network.network_id,
            "network_cidr": region.cidr,
            "private_subnet_ids": network.private_subnet_ids,
            "node_security_group_id": cluster.node_security_group_id,
            "bucket": storage.bucket,
            "bucket_url": storage.bucket_url,
            "encryption_key": storage.encryption_key,
            "protect": settings.protect,
            "tags": dict(tags),
        }
        entry = settings.pipelines_in(region) or Pipelines(region=region.region)
        self._entry = entry
        self.mlflow = self._server(entry.mlflow) if entry.mlflow else None
        self.airflow = self._airflow(entry.airflow) if entry.airflow else None
        self.kubeflow = self._kubeflow(entry.kubeflow) if entry.kubeflow else None
        self.sagemaker = self._sagemaker(entry.sagemaker) if entry.sagemaker else None
        self.trigger = self._trigger(entry.retraining, queue) if entry.retraining and queue else None

    def _server(self, mlflow: Mlflow) -> MlflowServer:
        return MlflowServer(
            _name(self._region),
            {
                **self._common,
                "namespace": mlflow.namespace,
                "image": mlflow.image,
                "replicas": mlflow.replicas,
                "database": mlflow.database.component_args(),
                "client_namespaces": self._clients(),
            },
            self._in_cluster(),
        )

    def _airflow(self, airflow: Airflow) -> AirflowDeployment:
        version = {"airflow_version": airflow.airflow_version} if airflow.airflow_version else {}
        own: dict[str, Any] = {"managed": True, "size": airflow.size, "max_workers": airflow.max_workers}
        if not airflow.managed:
            tracking = {"tracking_namespace": self._entry.mlflow.namespace} if self._entry.mlflow else {}
            own = {
                "namespace": airflow.namespace,
                "image": airflow.image,
                "replicas": airflow.replicas,
                "database": airflow.database.component_args(),
                **tracking,
            }
        return AirflowDeployment(
            f"{self._region.name}-airflow",
            {
                **self._common,
                **version,
                **own,
                "read_prefixes": list(airflow.read_prefixes),
                "write_prefixes": list(airflow.write_prefixes),
            },
            self._in_cluster(),
        )

    def _kubeflow(self, kubeflow: Kubeflow) -> KubeflowPipelines:
        wanted = (
            *("cloud", "region", "cluster_name", "workload_identity_pool", "bucket", "bucket_url", "encryption_key"),
            *("protect", "tags"),
        )
        tracking = {"tracking_namespace": self._entry.mlflow.namespace} if self._entry.mlflow else {}
        trains = "training" in self._region.purposes
        return KubeflowPipelines(
            f"{self._region.name}-kubeflow",
            {
                **{key: self._common[key] for key in wanted},
                **kubeflow.component_args(),
                **tracking,
                "client_namespaces": [TRAINING_NAMESPACE] if trains else [],
            },
            self._in_cluster(),
        )

    def _sagemaker(self, sagemaker: SageMaker) -> SageMakerPipeline:
        wanted = ("cloud", "region", "network_id", "private_subnet_ids", "bucket", "encryption_key", "tags")
        return SageMakerPipeline(
            f"{self._region.name}-retrain",
            {
                **{key: self._common[key] for key in wanted},
                "definition": (DIRECTORY / sagemaker.definition).read_text(encoding="utf-8"),
                "read_prefixes": list(sagemaker.read_prefixes),
                "write_prefixes": list(sagemaker.write_prefixes),
                **({"schedule": sagemaker.schedule} if sagemaker.schedule else {}),
                **({"parameters": sagemaker.parameters} if sagemaker.parameters else {}),
            },
        )

    def _trigger(self, retraining: Retraining, queue: TrainingQueue) -> RetrainingTrigger:
        wanted = (
            *("cloud", "region", "cluster_name", "workload_identity_pool", "network_cidr", "bucket", "bucket_url"),
            *("encryption_key", "tags"),
        )
        uri = {"tracking_uri": address(_name(self._region), self._entry.mlflow.namespace)} if self._entry.mlflow else {}
        return RetrainingTrigger(
            f"{self._region.name}-retrain-{retraining.model}",
            {
                **{key: self._common[key] for key in wanted},
                **retraining.component_args(),
                **uri,
                "namespace": TRAINING_NAMESPACE,
                "queue": queue.queue,
            },
            self._in_cluster(queue, *([self.mlflow] if self.mlflow else [])),
        )

    def _clients(self) -> list[str]:
        """Namespaces whose pods may ask the tracking server."""
        airflow, kubeflow = self._entry.airflow, self._entry.kubeflow
        return [
            *([TRAINING_NAMESPACE] if "training" in self._region.purposes else []),
            *([airflow.namespace] if airflow and not airflow.managed else []),
            *([kubeflow.namespace] if kubeflow else []),
        ]

    def _in_cluster(self, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        # Not the storage as a whole: it is given claims later on, and would be waited for with them or without.
        return pulumi.ResourceOptions(providers=[self._cluster.kubernetes], depends_on=[*self._cluster.addons, *after])


def _name(region: Region) -> str:
    return f"{region.name}-mlflow"


def _mlflow(settings: Settings, region: Region) -> Mlflow | None:
    entry = settings.pipelines_in(region)
    return entry.mlflow if entry else None
