"""Composes the components of an environment: a platform for each region, and one front door before those that serve."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pulumi

from components import (
    BudgetAlarm,
    GlobalLoadBalancer,
    GpuCluster,
    RegionalEndpoint,
    RegionalNetwork,
    TieredStorage,
    TritonInference,
)
from components.accelerators import CATALOG
from components.inference.traffic import HTTP
from components.routing import neg_annotation, neg_name
from stacks import training
from stacks.settings import Region, Settings
from stacks.training import RegionalTraining, TrainingNamespace


class Environment:
    """One environment: its regional platforms and its front door."""

    def __init__(self, settings: Settings) -> None:
        tags = {**settings.tags, "environment": pulumi.get_stack(), "owner": settings.owner, "managed-by": "pulumi"}
        self.platforms = [RegionalPlatform(settings, region, tags) for region in settings.regions]
        self.front_door = self._front_door(settings, tags)
        self.budgets = [
            BudgetAlarm(
                f"budget-{cloud}",
                {"cloud": cloud, "usd_per_month": usd, "email": settings.owner, "tags": tags, **account},
            )
            for cloud, usd, account in settings.budget.of_clouds()
        ]

    def _front_door(self, settings: Settings, tags: dict[str, str]) -> GlobalLoadBalancer | None:
        door = settings.front_door
        if door is None:
            return None
        return GlobalLoadBalancer(
            "front-door",
            {
                "domain": door.domain,
                "hosted_zone_id": door.hosted_zone_id,
                "routing_policy": door.routing_policy,
                "health_check_path": door.health_check_path,
                "regions": [
                    {
                        "region": platform.region.region,
                        "targets": platform.endpoint.targets,
                        "weight": door.weights.get(platform.region.region, 100),
                        "drained": platform.region.drained,
                    }
                    for platform in self.platforms
                    if platform.endpoint is not None
                ],
                "protect": settings.protect,
                "tags": tags,
            },
        )

    def exports(self) -> Mapping[str, Any]:
        """What the stack exports: what a person, or a stack that refers to this one, needs to know."""
        exports: dict[str, Any] = {
            "clusters": {p.region.region: p.cluster.cluster_name for p in self.platforms},
            "clusterEndpoints": {p.region.region: p.cluster.endpoint for p in self.platforms},
            "kubeconfigs": pulumi.Output.secret({p.region.region: p.cluster.kubeconfig for p in self.platforms}),
            "buckets": {p.region.region: p.storage.bucket_url for p in self.platforms},
            "claims": {p.region.region: p.storage.claims for p in self.platforms},
        }
        if self.front_door is not None:
            exports["inferenceUrl"] = self.front_door.domain_name.apply(lambda name: f"https://{name}")
            exports["frontDoorAddresses"] = self.front_door.addresses
        return exports


class RegionalPlatform:
    """What one region has, from the network up to the models that it serves."""

    def __init__(self, settings: Settings, region: Region, tags: dict[str, str]) -> None:
        self.region = region
        self._place: dict[str, Any] = {"cloud": region.cloud, "region": region.name, "tags": tags}
        pools = settings.node_pools_in(region)
        name = partial("{}-{}".format, region.name)

        self.network = RegionalNetwork(
            name("network"),
            {
                **self._place,
                "cidr": region.cidr,
                "nat_per_zone": region.nat_per_zone,
                "cluster_name": name("cluster"),
                "protect": settings.protect,
                **_gpudirect(settings, region),
            },
        )
        self.cluster = GpuCluster(
            name("cluster"),
            {
                **self._place,
                "cluster_name": name("cluster"),
                "kubernetes_version": settings.kubernetes_version,
                "network_id": self.network.network_id,
                "private_subnet_ids": self.network.private_subnet_ids,
                "pod_subnet_ids": self.network.pod_subnet_ids,
                "pod_range_name": self.network.pod_range_name,
                "service_range_name": self.network.service_range_name,
                "fabric_security_group_id": self.network.fabric_security_group_id,
                "gpudirect_networks": self.network.gpudirect_networks,
                "gpudirect_subnetworks": self.network.gpudirect_subnetworks,
                "zones": self.network.zones,
                "node_pools": [pool.component_args() for pool in pools],
                "administrators": list(settings.administrators_of(region.cloud)),
                "public_access_cidrs": list(region.public_access_cidrs),
                "protect": settings.protect,
            },
        )
        trains = "training" in region.purposes
        namespace = TrainingNamespace(settings, region, self.cluster) if trains else None
        self.storage = TieredStorage(
            name("storage"),
            {
                **self._place,
                "network_id": self.network.network_id,
                "network_cidr": self.network.network_cidr,
                "private_subnet_ids": self.network.private_subnet_ids,
                "zones": self.network.zones,
                "namespaces": [training.NAMESPACE] if trains else [],
                **_tiers(settings, region),
                "protect": settings.protect,
            },
            self._in_cluster(*(namespace.made if namespace else ())),
        )
        self.training = (
            RegionalTraining(settings, region, tags, self.cluster, self.storage, namespace) if namespace else None
        )
        self.inference = self._inference(settings)
        self.endpoint = self._endpoint(settings)

    def _in_cluster(self, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(providers=[self.cluster.kubernetes], depends_on=[*self.cluster.addons, *after])

    def _inference(self, settings: Settings) -> TritonInference | None:
        """One server for all models of the region; they share an accelerator (stacks.validation sees to that)."""
        models = settings.models_in(self.region)
        if not models:
            return None
        name, namespace = f"{self.region.name}-triton", settings.serving.namespace
        annotations = neg_annotation(neg_name(namespace, name), HTTP) if self.region.cloud == "gcp" else {}
        return TritonInference(
            name,
            {
                **self._place,
                "cluster_name": self.cluster.cluster_name,
                "workload_identity_pool": self.cluster.workload_identity_pool,
                "namespace": namespace,
                "image": settings.serving.image,
                "models": [
                    {"name": m.name, "version": m.version, "size_gib": m.size_gib, "gpus": m.gpus} for m in models
                ],
                "repository_url": self.storage.bucket_url.apply(lambda url: f"{url}/models"),
                "bucket": self.storage.bucket,
                "encryption_key": self.storage.encryption_key,
                "accelerator": models[0].accelerator,
                **_pool_of(settings, self.region, models[0].accelerator),
                **({"cluster_queue": self.training.queue.serving_cluster_queue} if self.training else {}),
                "gpus": max(model.gpus for model in models),
                "min_replicas": max(model.min_replicas for model in models),
                "max_replicas": max(model.max_replicas for model in models),
                "queue_objective_ms": min(model.queue_objective_ms for model in models),
                "client_cidrs": [self.region.cidr],
                "service_annotations": annotations,
            },
            self._in_cluster(*([self.training.queue] if self.training else ())),
        )

    def _endpoint(self, settings: Settings) -> RegionalEndpoint | None:
        door = settings.front_door
        if door is None or self.inference is None:
            return None
        return RegionalEndpoint(
            f"{self.region.name}-endpoint",
            {
                **self._place,
                "network_id": self.network.network_id,
                "private_subnet_ids": self.network.private_subnet_ids,
                "node_security_group_id": self.cluster.node_security_group_id,
                "zones": self.network.zones,
                "namespace": settings.serving.namespace,
                "service": f"{self.region.name}-triton",
                "port": HTTP,
                "health_check_path": door.health_check_path,
                "certificate_domain": door.domain,
                "hosted_zone_id": door.hosted_zone_id,
                "protect": settings.protect,
            },
            self._in_cluster(self.inference),
        )


def _tiers(settings: Settings, region: Region) -> dict[str, Any]:
    """The storage tiers of a region: the hot one only where something trains."""
    storage = settings.storage
    cold = storage.cold.model_dump(exclude={"replicate_to"}, exclude_none=True)
    replica = storage.cold.replicate_to.get(region.region)
    tiers: dict[str, Any] = {"cold": {**cold, "replicate_to": replica.split(":", 1)[1]} if replica else cold}
    if storage.hot and "training" in region.purposes:
        tiers["hot"] = storage.hot.model_dump(exclude_none=True)
    if storage.warm:
        tiers["warm"] = storage.warm.model_dump(exclude_none=True)
    return tiers


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


def _gpudirect(settings: Settings, region: Region) -> dict[str, Any]:
    """The networks that the GPU NICs of a region's training machines need; none on AWS, where EFA shares the VPC's."""
    found = settings.gpudirect_in(region)
    if found is None:
        return {}
    fabric, zone = found
    place = {"gpudirect_zone": zone} if zone else {}
    return {
        "gpudirect_networks": fabric.interfaces,
        "gpudirect_fabric": fabric.kind.removeprefix("gpudirect-"),
        **place,
    }
