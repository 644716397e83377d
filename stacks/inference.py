"""What a region has for serving: its inference servers, and the endpoint that the front door sends requests to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from components import (
    GpuCluster,
    KServeInference,
    RegionalEndpoint,
    RegionalNetwork,
    TensorFlowServing,
    TieredStorage,
    TrainingQueue,
    TritonInference,
)
from components.accelerators import CATALOG
from components.inference.traffic import HTTP
from components.routing import neg_annotation, neg_name
from stacks.serving import KserveService, TensorflowServing
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
        self.kserve = [self._kserve(settings, one) for one in settings.kserve_services_in(region)]
        self.tensorflow = [self._tensorflow(settings, one) for one in settings.tensorflow_servings_in(region)]
        self.endpoint = self._endpoint(settings)

    def _in_cluster(self, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(providers=[self._cluster.kubernetes], depends_on=[*self._cluster.addons, *after])

    def _triton(self, settings: Settings) -> TritonInference | None:
        """One server for all models of the region; they share an accelerator (stacks.validation sees to that)."""
        models = settings.models_in(self._region)
        if not models:
            return None
        name, namespace = f"{self._region.name}-triton", settings.serving.namespace
        annotations = neg_annotation(neg_name(namespace, name), HTTP) if self._region.cloud == "gcp" else {}
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
                "min_replicas": max(model.min_replicas for model in models),
                "max_replicas": max(model.max_replicas for model in models),
                "queue_objective_ms": min(model.queue_objective_ms for model in models),
                "client_cidrs": [self._region.cidr],
                "service_annotations": annotations,
            },
            self._in_cluster(*([self._queue] if self._queue else ())),
        )

    def _server(
        self, settings: Settings, namespace: str, accelerator: str | None, *, counted: bool = True
    ) -> dict[str, Any]:
        """Arguments that servers of any kind have in common. What is `counted` takes back machines that are lent."""
        counted = counted and accelerator is not None
        return {
            **self._place,
            "cluster_name": self._cluster.cluster_name,
            "workload_identity_pool": self._cluster.workload_identity_pool,
            "namespace": namespace,
            "repository_url": self._storage.bucket_url.apply(lambda url: f"{url}/models"),
            "bucket": self._storage.bucket,
            "encryption_key": self._storage.encryption_key,
            **_pool_of(settings, self._region, accelerator),
            **({"cluster_queue": self._queue.serving_cluster_queue} if self._queue and counted else {}),
            "client_cidrs": [self._region.cidr],
        }

    def _kserve(self, settings: Settings, service: KserveService) -> KServeInference:
        optional = {"scale_metric": service.scale_metric, "canary_traffic_percent": service.canary_traffic_percent}
        return KServeInference(
            f"{self._region.name}-kserve-{service.name}",
            {
                **self._server(settings, f"kserve-{service.name}", service.accelerator, counted=service.mode == "raw"),
                "mode": service.mode,
                "image": settings.serving.image,
                "models": [model.model_dump() for model in service.models],
                "accelerator": service.accelerator,
                "gpus": service.gpus,
                "min_replicas": service.min_replicas,
                **service.of_component(),
                **{name: value for name, value in optional.items() if value is not None},
            },
            self._in_cluster(*([self._queue] if self._queue else ())),
        )

    def _tensorflow(self, settings: Settings, serving: TensorflowServing) -> TensorFlowServing:
        return TensorFlowServing(
            f"{self._region.name}-tensorflow-{serving.name}",
            {
                **self._server(settings, f"tensorflow-{serving.name}", serving.accelerator),
                "image": serving.image,
                "fetch_image": settings.serving.image,
                "models": [{**model.model_dump(), "labels": list(model.labels)} for model in serving.models],
                **({"accelerator": serving.accelerator} if serving.accelerator else {}),
                "min_replicas": serving.min_replicas,
                **serving.of_component(),
                "scale_metric": serving.scale_metric,
                **({"batching": serving.batching.model_dump()} if serving.batching else {}),
            },
            self._in_cluster(*([self._queue] if self._queue else ())),
        )

    def _endpoint(self, settings: Settings) -> RegionalEndpoint | None:
        door = settings.front_door
        if door is None or self.triton is None:
            return None
        return RegionalEndpoint(
            f"{self._region.name}-endpoint",
            {
                **self._place,
                "network_id": self._network.network_id,
                "private_subnet_ids": self._network.private_subnet_ids,
                "node_security_group_id": self._cluster.node_security_group_id,
                "zones": self._network.zones,
                "namespace": settings.serving.namespace,
                "service": f"{self._region.name}-triton",
                "port": HTTP,
                "health_check_path": door.health_check_path,
                "certificate_domain": door.domain,
                "hosted_zone_id": door.hosted_zone_id,
                "protect": settings.protect,
            },
            self._in_cluster(self.triton),
        )


def kserve_mode(settings: Settings, region: Region) -> dict[str, str]:
    """KServe's operator as an argument of the region's GpuCluster: nothing where nothing is behind KServe."""
    modes = {service.mode for service in settings.kserve_services_in(region)}
    return {"kserve": "serverless" if "serverless" in modes else "raw"} if modes else {}


def _pool_of(settings: Settings, region: Region, accelerator: str | None) -> dict[str, Any]:
    """The pool to serve from, where there is just one: on GKE it is by its pool that a pod gets the ladder's order, and
    where pods share a GPU they share the machine's cores and memory as well."""
    pools = [p for p in settings.node_pools_in(region) if p.purpose == "serving" and p.accelerator == accelerator]
    if len(pools) != 1:
        return {}
    sharing = pools[0].gpu_sharing
    if accelerator is None:
        return {"node_pool": pools[0].name}
    if sharing is None:
        sharers = 1
    elif sharing.mode == "mig":
        sharers = CATALOG[accelerator].mig_partitions(sharing.profile or "")
    else:
        sharers = sharing.replicas or 1
    return {"node_pool": pools[0].name, "pods_per_gpu": sharers}
