"""Servers that an environment names beside its own models: behind KServe, and of SavedModels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from components import GpuCluster, KServeInference, TensorFlowServing, TieredStorage, TrainingQueue
from stacks.devices import serving_pool, shared_by
from stacks.server_settings import KserveService, TensorflowServing
from stacks.settings import Region, Settings


def kserve_mode(settings: Settings, region: Region) -> dict[str, str]:
    """KServe's operator as an argument of the region's GpuCluster: nothing where nothing is behind KServe."""
    modes = {service.mode for service in settings.kserve_services_in(region)}
    return {"kserve": "serverless" if "serverless" in modes else "raw"} if modes else {}


def kserve(
    service: KserveService,
    settings: Settings,
    region: Region,
    place: Mapping[str, Any],
    cluster: GpuCluster,
    storage: TieredStorage,
    queue: TrainingQueue | None,
) -> KServeInference:
    """A server behind KServe, in a region."""
    optional = {"scale_metric": service.scale_metric, "canary_traffic_percent": service.canary_traffic_percent}
    counted = queue if service.mode == "raw" else None
    return KServeInference(
        f"{region.name}-kserve-{service.name}",
        {
            **_shared(settings, region, place, cluster, storage, service.accelerator, counted),  # type: ignore[typeddict-item]
            "namespace": f"kserve-{service.name}",
            "mode": service.mode,
            "image": settings.serving.image,
            "models": [model.model_dump() for model in service.models],
            "accelerator": service.accelerator,
            "gpus": service.gpus,
            "min_replicas": service.min_replicas,
            **service.of_component(),
            **{name: value for name, value in optional.items() if value is not None},
        },
        _in_cluster(cluster, queue),
    )


def tensorflow(
    serving: TensorflowServing,
    settings: Settings,
    region: Region,
    place: Mapping[str, Any],
    cluster: GpuCluster,
    storage: TieredStorage,
    queue: TrainingQueue | None,
) -> TensorFlowServing:
    """A server of SavedModels, in a region."""
    counted = queue if serving.accelerator else None
    return TensorFlowServing(
        f"{region.name}-tensorflow-{serving.name}",
        {
            **_shared(settings, region, place, cluster, storage, serving.accelerator, counted),  # type: ignore[typeddict-item]
            "namespace": f"tensorflow-{serving.name}",
            "image": serving.image,
            "fetch_image": settings.serving.image,
            "models": [{**model.model_dump(), "labels": list(model.labels)} for model in serving.models],
            **({"accelerator": serving.accelerator} if serving.accelerator else {}),
            "min_replicas": serving.min_replicas,
            **serving.of_component(),
            "scale_metric": serving.scale_metric,
            **({"batching": serving.batching.model_dump()} if serving.batching else {}),
        },
        _in_cluster(cluster, queue),
    )


def _in_cluster(cluster: GpuCluster, queue: TrainingQueue | None) -> pulumi.ResourceOptions:
    after = [*cluster.addons, *([queue] if queue else ())]
    return pulumi.ResourceOptions(providers=[cluster.kubernetes], depends_on=after)


def _shared(
    settings: Settings,
    region: Region,
    place: Mapping[str, Any],
    cluster: GpuCluster,
    storage: TieredStorage,
    accelerator: str | None,
    counted: TrainingQueue | None,
) -> dict[str, Any]:
    """Arguments that both have in common. What is `counted` takes back machines that are lent to training."""
    pool = serving_pool(settings.node_pools_in(region), accelerator)
    shared = {"pods_per_gpu": shared_by(pool)} if pool is not None and accelerator else {}
    return {
        **place,
        "cluster_name": cluster.cluster_name,
        "workload_identity_pool": cluster.workload_identity_pool,
        "repository_url": storage.bucket_url.apply(lambda url: f"{url}/models"),
        "bucket": storage.bucket,
        "encryption_key": storage.encryption_key,
        # On GKE it is by its pool that a pod gets the ladder's order.
        **({"node_pool": pool.name} if pool is not None else {}),
        **shared,
        **({"cluster_queue": counted.serving_cluster_queue} if counted else {}),
        "client_cidrs": [region.cidr],
    }
