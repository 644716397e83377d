"""What a region has for serving: the inference servers, and the endpoint that the front door sends requests to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from components import GpuCluster, RegionalEndpoint, RegionalNetwork, TieredStorage, TrainingQueue, TritonInference
from components.accelerators import CATALOG
from components.inference.activator import destination
from components.routing import neg_annotation, neg_name
from stacks import scaling
from stacks.serving import Model
from stacks.settings import Region, Settings


class RegionalInference:
    """The servers of a region and what is before them; nothing at all where the region serves no model."""

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
        """`queue` lends idle serving machines to training; None where nothing trains."""
        self._region, self._network, self._cluster, self._storage, self._queue = (
            region, network, cluster, storage, queue
        )  # fmt: skip
        self._place: dict[str, Any] = {"cloud": region.cloud, "region": region.name, "tags": dict(tags)}
        self.triton = self._triton(settings)
        self.endpoint = self._endpoint(settings)

    def _in_cluster(self, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(providers=[self._cluster.kubernetes], depends_on=[*self._cluster.addons, *after])

    def _triton(self, settings: Settings) -> TritonInference | None:
        """One server for all models of the region; they share an accelerator (stacks.validation sees to that)."""
        models = settings.models_in(self._region)
        if not models:
            return None
        name, namespace = f"{self._region.name}-triton", settings.serving.namespace
        front = _front(name, namespace, models)
        annotations = neg_annotation(neg_name(*front[:2]), front[2]) if self._region.cloud == "gcp" else {}
        return TritonInference(
            name,
            {
                **self._place,
                "cluster_name": self._cluster.cluster_name,
                "workload_identity_pool": self._cluster.workload_identity_pool,
                "namespace": namespace,
                "image": settings.serving.image,
                "models": [
                    {"name": m.name, "version": m.version, "size_gib": m.size_gib, "gpus": m.gpus} for m in models
                ],
                "repository_url": self._storage.bucket_url.apply(lambda url: f"{url}/models"),
                "bucket": self._storage.bucket,
                "encryption_key": self._storage.encryption_key,
                "accelerator": models[0].accelerator,
                **_pool_of(settings, self._region, models[0].accelerator),
                **({"cluster_queue": self._queue.serving_cluster_queue} if self._queue else {}),
                "gpus": max(model.gpus for model in models),
                **scaling.shared(models),
                "client_cidrs": [self._region.cidr],
                "service_annotations": annotations,
            },
            self._in_cluster(*([self._queue] if self._queue else ())),
        )

    def _endpoint(self, settings: Settings) -> RegionalEndpoint | None:
        door = settings.front_door
        if door is None or self.triton is None:
            return None
        name, models = f"{self._region.name}-triton", settings.models_in(self._region)
        namespace, service, port = _front(name, settings.serving.namespace, models)
        return RegionalEndpoint(
            f"{self._region.name}-endpoint",
            {
                **self._place,
                "network_id": self._network.network_id,
                "private_subnet_ids": self._network.private_subnet_ids,
                "node_security_group_id": self._cluster.node_security_group_id,
                "zones": self._network.zones,
                "namespace": namespace,
                "service": service,
                "port": port,
                "health_check_path": door.health_check_path,
                "certificate_domain": door.domain,
                "hosted_zone_id": door.hosted_zone_id,
                "protect": settings.protect,
            },
            self._in_cluster(self.triton),
        )


def _front(name: str, namespace: str, models: Sequence[Model]) -> tuple[str, str, int]:
    """Namespace, name and port of the Service before a server of these models."""
    return destination(namespace, name, to_zero=scaling.to_zero(models))


def _pool_of(settings: Settings, region: Region, accelerator: str) -> dict[str, Any]:
    """The pool to serve from, where there is just one: on GKE it is by its pool that a pod gets the ladder's order, and
    where pods share a GPU they share the machine's cores and memory as well."""
    pools = [p for p in settings.node_pools_in(region) if p.purpose == "serving" and p.accelerator == accelerator]
    if len(pools) != 1:
        return {}
    sharing = pools[0].gpu_sharing
    if sharing is None:
        sharers = 1
    elif sharing.mode == "mig":
        sharers = CATALOG[accelerator].mig_partitions(sharing.profile or "")
    else:
        sharers = sharing.replicas or 1
    return {"node_pool": pools[0].name, "pods_per_gpu": sharers}
