"""What a region has for serving: its inference servers, and the endpoint that the front door sends requests to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from components import (
    GpuCluster,
    InferenceRoute,
    ModelRollout,
    Observability,
    RegionalEndpoint,
    RegionalNetwork,
    ServerlessInference,
    TieredStorage,
    TrainingQueue,
    TritonInference,
)
from components.accelerators import MachineType
from components.inference import RouteBackendArgs
from components.inference.activator import destination
from components.inference.groups import named_after
from components.inference.model_group import labels_of
from components.inference.route_rules import WEIGHTS_TOTAL
from components.inference.traffic import HTTP
from components.routing import neg_annotation, neg_name
from components.storage.volumes import claim_name
from stacks import rollouts, scaling
from stacks.devices import mig_profile, serving_pool, shared_by
from stacks.servers import kserve, tensorflow
from stacks.serving import Model, Serverless, Serving
from stacks.settings import Region, Settings
from stacks.validation_route import next_namespace


class RegionalInference:
    """The servers of a region and what is before them, and its models that are answered without a cluster; nothing at
    all where the region serves no model."""

    def __init__(
        self,
        settings: Settings,
        region: Region,
        tags: Mapping[str, str],
        network: RegionalNetwork,
        cluster: GpuCluster,
        storage: TieredStorage,
        queue: TrainingQueue | None,
        watched: Observability | None,
    ) -> None:
        """`queue` lends idle serving machines to training; None where nothing trains."""
        self._region, self._network, self._cluster, self._storage, self._queue = (
            region, network, cluster, storage, queue
        )  # fmt: skip
        self._settings, self._watched = settings, watched
        self._place: dict[str, Any] = {"cloud": region.cloud, "region": region.name, "tags": dict(tags)}
        self.triton = self._triton(settings)
        others = (settings, region, self._place, cluster, storage, queue)
        self.kserve = [kserve(service, *others) for service in settings.kserve_services_in(region)]
        self.tensorflow = [tensorflow(serving, *others) for serving in settings.tensorflow_servings_in(region)]
        self.next = self._next(settings)
        self.route = self._route(settings)
        self.rollout = self._rollout(settings)
        self.endpoint = self._endpoint(settings)
        self.serverless = self._serverless(settings)

    def _in_cluster(self, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(providers=[self._cluster.kubernetes], depends_on=[*self._cluster.addons, *after])

    def _triton(self, settings: Settings) -> TritonInference | None:
        """The servers of the region's models. They share an accelerator (stacks.validation sees to that), and those of
        a group share their replicas."""
        models, serving = settings.models_in(self._region), settings.serving
        if not models:
            return None
        groups = _groups(models)
        first, rest = groups[0], [group for group in groups if group[0].group]
        triton = TritonInference(
            self._name,
            {
                **self._servers(models, first),
                "namespace": serving.namespace,
                "groups": [
                    {
                        "name": group[0].group or "",
                        **_of_group(group),
                        **({"service_annotations": self._annotations(group)} if group is first else {}),
                    }
                    for group in rest
                ],
                "service_annotations": self._annotations(first),
                "warm_machines": serving.warm_machines.get(self._region.region, 0),
                **({"prepull_images": list(serving.prepull_images)} if serving.prepull_images is not None else {}),
                **({"weights_claim": claim_name("warm")} if serving.weights_from_warm_tier else {}),
                **({"cold_start_objective_s": objective} if (objective := serving.cold_start_objective_s) else {}),
            },
            self._in_cluster(*([self._queue] if self._queue else ())),
        )
        if serving.weights_from_warm_tier:
            # In the namespace that the server makes; its Job waits for it.
            self._storage.claim("warm", serving.namespace, [triton.namespace_made])
        return triton

    def _servers(self, models: Sequence[Model], first: Sequence[Model]) -> dict[str, Any]:
        """What the servers of versions have in common. `first`: the models of their first group."""
        accelerator = models[0].accelerator
        return {
            **self._place,
            "cluster_name": self._cluster.cluster_name,
            "workload_identity_pool": self._cluster.workload_identity_pool,
            "image": self._settings.serving.image,
            "models": [_model(model) for model in models],
            "repository_url": self._storage.bucket_url.apply(lambda url: f"{url}/models"),
            "bucket": self._storage.bucket,
            "encryption_key": self._storage.encryption_key,
            "accelerator": accelerator,
            **_pool_of(self._settings, self._region, accelerator),
            **({"cluster_queue": self._queue.serving_cluster_queue} if self._queue else {}),
            **_of_group(first),
            "client_cidrs": [self._region.cidr],
            **({"otlp_endpoint": self._watched.otlp_endpoint} if self._watched else {}),
            **_cold_start(self._settings.serving),
        }

    def _next(self, settings: Settings) -> TritonInference | None:
        """The servers of a model's next version, as many as it may have itself: it may get all requests."""
        models = [model.as_next() for model in self._rolled_out(settings)]
        if not models:
            return None
        return TritonInference(
            f"{self._name}-next",
            # Nobody waits for a version without requests: nothing stands by for it, and no cold start is too long.
            {**self._servers(models, models), "namespace": next_namespace(settings.serving)},
            self._in_cluster(*([self._queue] if self._queue else ())),
        )

    def _rolled_out(self, settings: Settings) -> list[Model]:
        """One, or none (stacks.validation_route)."""
        return [model for model in settings.models_in(self._region) if model.next]

    @property
    def _name(self) -> str:
        return f"{self._region.name}-triton"

    def _front(self, group: Sequence[Model]) -> tuple[str, str, int]:
        """Namespace, name and port of the Service before a group's server."""
        service = named_after(self._name, group[0].group or "")
        return destination(self._settings.serving.namespace, service, to_zero=scaling.to_zero(group))

    def _annotations(self, group: Sequence[Model]) -> dict[str, str]:
        """Of a group's Service: whoever answers the load balancer has its endpoint groups."""
        return {} if self._settings.serving.route else self._endpoint_groups(*self._front(group))

    @property
    def _route_name(self) -> str:
        return f"{self._region.name}-route"

    def _route(self, settings: Settings) -> InferenceRoute | None:
        """The gateway before the servers, where there is one. Each model is routed, and so rolled out, by itself."""
        route, door = settings.serving.route, settings.front_door
        if route is None or self.triton is None:
            return None
        groups = _groups(settings.models_in(self._region))
        return InferenceRoute(
            self._route_name,
            {
                "cloud": self._region.cloud,
                "namespace": route.namespace,
                "backends": [self._stable(groups[0])],
                "models": [
                    {
                        "name": model.name,
                        "backends": [self._stable(group), *([self._candidate(settings)] if model.next else [])],
                    }
                    for group in groups
                    for model in group
                ],
                **(
                    {
                        "rollout": {
                            "namespace": settings.serving.rollouts.namespace,
                            "service_account": rollouts.name_of(self._region),
                        }
                    }
                    if self.next and settings.serving.rollouts
                    else {}
                ),
                **({"health_check_path": door.health_check_path} if door else {}),
                "request_timeout_s": route.request_timeout_seconds,
                "retries": route.retries,
                "weights_by": route.weights_by,
                "min_replicas": route.min_proxies,
                "max_replicas": route.max_proxies,
                "client_cidrs": [self._region.cidr],
                "service_annotations": self._endpoint_groups(route.namespace, self._route_name, HTTP),
            },
            self._in_cluster(self.triton, *([self.next] if self.next else [])),
        )

    def _rollout(self, settings: Settings) -> ModelRollout | None:
        """What brings in a model's next version, or hands the requests back once the model's own is the same."""
        if self.triton is None or self.route is None or settings.serving.rollouts is None:
            return None
        made = rollouts.place(self._region, settings.serving.rollouts, self._in_cluster())
        if self.next is None:
            return None
        (model,) = self._rolled_out(settings)
        (group,) = [group for group in _groups(settings.models_in(self._region)) if model in group]
        arms = self._stable(group), self._candidate(settings)
        options = self._in_cluster(self.triton, self.next, self.route, *made)
        return rollouts.rollout(self._region, settings.serving, model, self.route, *arms, options)

    def _candidate(self, settings: Settings) -> RouteBackendArgs:
        """The servers of the next version, with no requests yet."""
        service = f"{self._name}-next"
        return {
            "name": "next",
            "namespace": next_namespace(settings.serving),
            "service": service,
            "port": HTTP,
            "weight": 0,
            "labels": labels_of(service),
        }

    def _stable(self, group: Sequence[Model]) -> RouteBackendArgs:
        """The server that all requests for a group's models go to, until a rollout has another beside it."""
        namespace, service, port = self._front(group)
        return {
            "name": "stable",
            "namespace": namespace,
            "service": service,
            "port": port,
            "weight": WEIGHTS_TOTAL,
            "labels": labels_of(service),
        }

    def _endpoint_groups(self, namespace: str, service: str, port: int) -> dict[str, str]:
        """What has Google's load balancer know the pods of the Service that it sends to; AWS's is told by a binding."""
        return neg_annotation(neg_name(namespace, service), port) if self._region.cloud == "gcp" else {}

    def _endpoint(self, settings: Settings) -> RegionalEndpoint | None:
        """Where the front door's requests arrive: at the route's gateway, which knows of each model who answers it;
        without one at the Service of the first group, since a cloud's load balancer knows one."""
        door, route = settings.front_door, settings.serving.route
        if door is None or self.triton is None:
            return None
        namespace, service, port = (
            (route.namespace, self._route_name, HTTP)
            if route
            else self._front(_groups(settings.models_in(self._region))[0])
        )
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
            self._in_cluster(self.triton, *([self.route] if self.route else [])),
        )

    def _serverless(self, settings: Settings) -> dict[str, ServerlessInference]:
        """Name -> the model's service or endpoint. It needs the region's storage, and its network, but no cluster."""
        return {
            one.name: ServerlessInference(
                f"{self._region.name}-{one.name}",
                {
                    **self._place,
                    **one.component_args(),
                    "repository_url": pulumi.Output.concat(self._storage.bucket_url, "/models"),
                    "bucket": self._storage.bucket,
                    "encryption_key": self._storage.encryption_key,
                    **self._reached(one),
                    "protect": settings.protect,
                },
            )
            for one in settings.serverless
            if one.region == self._region.region
        }

    def _reached(self, one: Serverless) -> dict[str, Any]:
        """The network: all but SageMaker's serverless endpoints are in it."""
        if one.cloud == "aws" and one.mode == "synchronous":
            return {}
        return {
            "network_id": self._network.network_id,
            "private_subnet_ids": self._network.private_subnet_ids,
        }


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


def _cold_start(serving: Serving) -> dict[str, Any]:
    """What was measured, without what isn't given."""
    measured = serving.cold_start
    given = {
        "load_bandwidth_gib_s": measured.load_gib_s,
        "claim_bandwidth_gib_s": measured.claim_gib_s,
        "device_bandwidth_gib_s": measured.device_gib_s,
        "cold_start": measured.model_dump(include={"node_s", "image_s", "server_s"}, exclude_none=True) or None,
    }
    return {key: value for key, value in given.items() if value is not None}


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
