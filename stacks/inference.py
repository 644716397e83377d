"""What a region has for serving: its inference servers, and the endpoint that the front door sends requests to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from components import GpuCluster, RegionalEndpoint, RegionalNetwork, TieredStorage, TrainingQueue, TritonInference
from components.accelerators import MachineType
from components.inference.activator import destination
from components.inference.groups import named_after
from components.routing import neg_annotation, neg_name
from components.storage.volumes import claim_name
from stacks import scaling
from stacks.devices import mig_profile, serving_pool, shared_by
from stacks.servers import kserve, tensorflow
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
        self._settings = settings
        self._place: dict[str, Any] = {"cloud": region.cloud, "region": region.name, "tags": dict(tags)}
        self.triton = self._triton(settings)
        others = (settings, region, self._place, cluster, storage, queue)
        self.kserve = [kserve(service, *others) for service in settings.kserve_services_in(region)]
        self.tensorflow = [tensorflow(serving, *others) for serving in settings.tensorflow_servings_in(region)]
        self.endpoint = self._endpoint(settings)

    def _in_cluster(self, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(providers=[self._cluster.kubernetes], depends_on=[*self._cluster.addons, *after])

    def _triton(self, settings: Settings) -> TritonInference | None:
        """The servers of the region's models. They share an accelerator (stacks.validation sees to that), and those of
        a group share their replicas."""
        models, serving = settings.models_in(self._region), settings.serving
        if not models:
            return None
        accelerator = models[0].accelerator
        groups = _groups(models)
        first, rest = groups[0], [group for group in groups if group[0].group]
        triton = TritonInference(
            self._name,
            {
                **self._place,
                "cluster_name": self._cluster.cluster_name,
                "workload_identity_pool": self._cluster.workload_identity_pool,
                "namespace": serving.namespace,
                "image": serving.image,
                "models": [_model(model) for model in models],
                "groups": [
                    {
                        "name": group[0].group or "",
                        **_of_group(group),
                        **({"service_annotations": self._annotations(group)} if group is first else {}),
                    }
                    for group in rest
                ],
                "repository_url": self._storage.bucket_url.apply(lambda url: f"{url}/models"),
                "bucket": self._storage.bucket,
                "encryption_key": self._storage.encryption_key,
                "accelerator": accelerator,
                **_pool_of(settings, self._region, accelerator),
                **({"cluster_queue": self._queue.serving_cluster_queue} if self._queue else {}),
                **_of_group(first),
                "client_cidrs": [self._region.cidr],
                "service_annotations": self._annotations(first),
                "warm_machines": serving.warm_machines.get(self._region.region, 0),
                **({"prepull_images": list(serving.prepull_images)} if serving.prepull_images is not None else {}),
                **({"weights_claim": claim_name("warm")} if serving.weights_from_warm_tier else {}),
                **(
                    {"cold_start_objective_s": serving.cold_start_objective_s}
                    if serving.cold_start_objective_s is not None
                    else {}
                ),
            },
            self._in_cluster(*([self._queue] if self._queue else ())),
        )
        if serving.weights_from_warm_tier:
            # In the namespace that the server makes; its Job waits for it.
            self._storage.claim("warm", serving.namespace, [triton.namespace_made])
        return triton

    @property
    def _name(self) -> str:
        return f"{self._region.name}-triton"

    def _front(self, group: Sequence[Model]) -> tuple[str, str, int]:
        """Namespace, name and port of the Service before a group's server."""
        service = named_after(self._name, group[0].group or "")
        return destination(self._settings.serving.namespace, service, to_zero=scaling.to_zero(group))

    def _annotations(self, group: Sequence[Model]) -> dict[str, str]:
        """What has Google's load balancer know a group's pods; AWS's is told by a binding."""
        if self._region.cloud != "gcp":
            return {}
        namespace, service, port = self._front(group)
        return neg_annotation(neg_name(namespace, service), port)

    def _endpoint(self, settings: Settings) -> RegionalEndpoint | None:
        """Where the front door's requests arrive: at the first group's Service, that of models without a group.

        A load balancer of a cloud knows one Service, and models of other groups are answered by others. THE ROUTE COMES
        IN HERE: an InferenceRoute over `self.triton.model_services`, which sends `/v2/models/<model>` to its Service,
        takes the place of `service` below.
        """
        door = settings.front_door
        if door is None or self.triton is None:
            return None
        namespace, service, port = self._front(_groups(settings.models_in(self._region))[0])
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


def _groups(models: Sequence[Model]) -> list[list[Model]]:
    """Models by their group: those without one first, then in the order of the models (TritonInference's own)."""
    found: dict[str, list[Model]] = {}
    for model in sorted(models, key=lambda model: bool(model.group)):
        found.setdefault(model.group or "", []).append(model)
    return list(found.values())


def _model(model: Model) -> dict[str, Any]:
    return model.model_dump(
        include={"name", "version", "size_gib", "gpus", "over_pcie", "device_memory_gib", "group"}, exclude_none=True
    )


def _of_group(models: Sequence[Model]) -> dict[str, Any]:
    """What the replicas of a group need, all of whose models are in each of them."""
    return {
        "gpus": max(model.gpus for model in models),
        **scaling.shared(models),
    }


def _pool_of(settings: Settings, region: Region, accelerator: str) -> dict[str, Any]:
    """The pool to serve from, where there is just one: on GKE it is by its pool that a pod gets the ladder's order, and
    where pods share a GPU they share the machine's cores and memory as well."""
    pool = serving_pool(settings.node_pools_in(region), accelerator)
    if pool is None:
        return {}
    machine = pool.machine_in(region)
    profile = mig_profile(pool)
    return {
        "node_pool": pool.name,
        **({"machine_type": machine.name} if isinstance(machine, MachineType) else {}),
        **({"mig_profile": profile} if profile else {"pods_per_gpu": shared_by(pool)}),
    }
