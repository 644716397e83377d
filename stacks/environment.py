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
    RegionalNetwork,
    TieredStorage,
)
from stacks import training
from stacks.inference import RegionalInference
from stacks.observability import observability, prometheus
from stacks.retraining import RegionalPipelines
from stacks.servers import kserve_mode
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
                        "targets": platform.inference.endpoint.targets,
                        "weight": door.weights.get(platform.region.region, 100),
                        "drained": platform.region.drained,
                    }
                    for platform in self.platforms
                    if platform.inference.endpoint is not None
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
            # Region -> model -> the Service that answers it; and region -> Service -> stage -> estimated seconds.
            "modelServices": {
                p.region.region: p.inference.triton.model_services for p in self.platforms if p.inference.triton
            },
            "coldStarts": {
                p.region.region: p.inference.triton.cold_start_s for p in self.platforms if p.inference.triton
            },
        }
        watched = {p.region.region: p.observability for p in self.platforms if p.observability}
        if watched:
            exports["grafana"] = {place: one.grafana_service for place, one in watched.items()}
            exports["otlpEndpoints"] = {place: one.otlp_endpoint for place, one in watched.items()}
            exports["longTermMetrics"] = {place: one.long_term_endpoint for place, one in watched.items()}
        serverless = {
            f"{p.region.region}/{name}": one for p in self.platforms for name, one in p.inference.serverless.items()
        }
        if serverless:
            exports["serverlessUrls"] = {name: one.url for name, one in serverless.items()}
            exports["serverlessGrants"] = {name: one.invoker_grant for name, one in serverless.items()}
        tracking = {p.region.region: p.pipelines.mlflow for p in self.platforms if p.pipelines.mlflow}
        if tracking:
            exports["trackingUris"] = {name: one.tracking_uri for name, one in tracking.items()}
        airflows = {p.region.region: p.pipelines.airflow for p in self.platforms if p.pipelines.airflow}
        triggers = {p.region.region: p.pipelines.trigger for p in self.platforms if p.pipelines.trigger}
        if triggers:
            exports["retrainingCronJobs"] = {name: one.cronjob for name, one in triggers.items()}
        if airflows:
            exports["airflowUrls"] = {name: one.url for name, one in airflows.items()}
        pipelines = {p.region.region: p.pipelines.sagemaker for p in self.platforms if p.pipelines.sagemaker}
        if pipelines:
            exports["sagemakerPipelines"] = {name: one.arn for name, one in pipelines.items()}
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
                **kserve_mode(settings, region),
                **prometheus(settings),
                "protect": settings.protect,
            },
        )
        self.observability = observability(settings, region, tags, self.cluster)
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
            RegionalTraining(settings, region, tags, self.cluster, self.storage, namespace, self.observability)
            if namespace
            else None
        )
        self.pipelines = RegionalPipelines(
            settings,
            region,
            tags,
            self.network,
            self.cluster,
            self.storage,
            self.training.queue if self.training else None,
        )
        self.inference = RegionalInference(
            settings,
            region,
            tags,
            self.network,
            self.cluster,
            self.storage,
            self.training.queue if self.training else None,
            self.observability,
        )

    def _in_cluster(self, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(providers=[self.cluster.kubernetes], depends_on=[*self.cluster.addons, *after])


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
