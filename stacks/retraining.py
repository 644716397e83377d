"""What a region has for the closed loop: where runs and models are kept, and what retrains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from components import GpuCluster, MlflowServer, RegionalNetwork, TieredStorage
from components.pipelines.mlflow_pod import PORT
from components.pipelines.mlflow_server import address
from components.security.traffic import namespace, ports
from stacks.pipelines import Mlflow
from stacks.settings import Region, Settings

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
    ) -> None:
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
        mlflow = _mlflow(settings, region)
        self.mlflow = self._server(mlflow) if mlflow else None

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

    def _clients(self) -> list[str]:
        """Namespaces whose pods may ask the tracking server."""
        return [TRAINING_NAMESPACE] if "training" in self._region.purposes else []

    def _in_cluster(self, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(
            providers=[self._cluster.kubernetes], depends_on=[*self._cluster.addons, self._storage, *after]
        )


def _name(region: Region) -> str:
    return f"{region.name}-mlflow"


def _mlflow(settings: Settings, region: Region) -> Mlflow | None:
    entry = settings.pipelines_in(region)
    return entry.mlflow if entry else None
