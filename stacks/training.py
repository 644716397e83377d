"""What a region has for training: a closed namespace, the queue, and each run that the environment asks for there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components import (
    GpuCluster,
    HyperparameterSweep,
    Observability,
    RayJob,
    TieredStorage,
    TrainingJob,
    TrainingQueue,
    TrainingRuntimes,
)
from components.accelerators import MachineType
from components.security.traffic import DENY_ALL, among_themselves
from components.storage.volumes import claim_name
from components.training import pod_security
from components.training.flavors import TOPOLOGY_LEVELS
from stacks.jobs import Run, Training
from stacks.retraining import tracking_traffic, tracking_uri
from stacks.settings import NodePool, Region, Settings

NAMESPACE = "training"
"""Where training jobs run, and where the storage tiers have their claims."""
MONITORING_NAMESPACE = "monitoring"
"""Where a cluster's Prometheus runs (components.cluster.addons)."""


class TrainingNamespace:
    """Where jobs will come, closed before the first one does; `made` is all of it."""

    def __init__(self, settings: Settings, region: Region, cluster: GpuCluster) -> None:
        name = f"{region.name}-training"
        options = pulumi.ResourceOptions(provider=cluster.kubernetes, parent=cluster)
        level = pod_security(region.cloud, _fabric(settings, region))
        namespace = k8s.core.v1.Namespace(
            name,
            metadata={"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": level}},
            opts=options,
        )
        policies = {"deny-all": DENY_ALL, "traffic": self._traffic(settings, region)}
        self.made: list[pulumi.Resource] = [
            namespace,
            *(
                k8s.networking.v1.NetworkPolicy(
                    f"{name}-{purpose}",
                    metadata={"namespace": namespace.metadata["name"], "name": f"training-{purpose}"},
                    spec=spec,
                    opts=options,
                )
                for purpose, spec in policies.items()
            ),
        ]

    def _traffic(self, settings: Settings, region: Region) -> dict[str, Any]:
        traced = settings.observability is not None
        within = among_themselves(region.cloud, MONITORING_NAMESPACE, traced=traced)
        return {**within, "egress": [*within["egress"], *tracking_traffic(settings, region)]}


class RegionalTraining:
    """The queue of a region, and the runs in it."""

    def __init__(
        self,
        settings: Settings,
        region: Region,
        tags: Mapping[str, str],
        cluster: GpuCluster,
        storage: TieredStorage,
        namespace: TrainingNamespace,
        watched: Observability | None,
    ) -> None:
        self._watched = watched
        self._settings, self._region, self._cluster, self._storage = settings, region, cluster, storage
        self._place: dict[str, Any] = {"cloud": region.cloud, "region": region.name}
        self._tags = dict(tags)
        self._after: list[pulumi.Resource] = [*cluster.addons, *namespace.made]
        self.queue = TrainingQueue(
            f"{region.name}-queue",
            {
                **self._place,
                "node_pools": [pool.component_args() for pool in settings.node_pools_in(region)],
                "namespaces": [NAMESPACE],
                "lend_serving": settings.lends(region),
            },
            self._in_cluster(),
        )
        self._after += [self.queue, storage]
        self._runtimes: dict[str, TrainingRuntimes] = {}
        if settings.training is not None:
            self._make(settings.training)

    def _make(self, training: Training) -> None:
        """Runtimes for whole machines of each training pool, for whoever submits jobs of their own; then the runs."""
        for pool in self._settings.node_pools_in(self._region):
            machine = pool.machine_in(self._region)
            if pool.purpose == "training" and isinstance(machine, MachineType):
                self._runtimes_for(training, _asked(machine, machine.count, pool.fabric))
        for job in (job for job in self._settings.training_jobs if job.region == self._region.region):
            asked = self._machine(job, fabric=job.fabric)
            runtimes = self._runtimes_for(training, asked)
            TrainingJob(
                f"{self._region.name}-{job.name}",
                {
                    **self._run(job),
                    "settings": self._tracked(job),
                    **self._checkpoints(job),
                    **asked,
                    "image": training.image,
                    "runtime": runtimes.torchrun if job.min_nodes == job.max_nodes else runtimes.elastic,
                    "min_nodes": job.min_nodes,
                    "max_nodes": job.max_nodes,
                    **({"otlp_endpoint": self._watched.otlp_endpoint} if self._watched else {}),
                    **({"topology": TOPOLOGY_LEVELS[self._region.cloud][-2]} if job.compact else {}),
                },
                self._in_cluster(runtimes),
            )
        for sweep in (sweep for sweep in self._settings.sweeps if sweep.region == self._region.region):
            HyperparameterSweep(
                f"{self._region.name}-{sweep.name}",
                {
                    **self._run(sweep),
                    **_without_fabric(self._machine(sweep)),
                    "image": training.image,
                    "search": sweep.search,
                    "trials": sweep.trials,
                    "workers": sweep.workers,
                    "min_workers": sweep.min_workers,
                },
                self._in_cluster(),
            )
        for ray in (ray for ray in self._settings.ray_jobs if ray.region == self._region.region):
            RayJob(
                f"{self._region.name}-{ray.name}",
                {
                    **self._run(ray),
                    **self._checkpoints(ray),
                    **_without_fabric(self._machine(ray)),
                    "image": training.ray_image,
                    "min_workers": ray.min_workers,
                    "max_workers": ray.max_workers,
                },
                self._in_cluster(),
            )

    def _tracked(self, run: Run) -> dict[str, str]:
        """The run's settings, and where it tells of itself, unless it says so."""
        uri = tracking_uri(self._settings, self._region)
        return {**({"tracking.mlflow": uri} if uri else {}), **run.shared_args()["settings"]}

    def _checkpoints(self, run: Run) -> dict[str, Any]:
        return {"checkpoint_prefix": f"checkpoints/{run.name}"}

    def _run(self, run: Run) -> dict[str, Any]:
        """What every run is told."""
        return {
            **self._place,
            **run.shared_args(),
            "cluster_name": self._cluster.cluster_name,
            "workload_identity_pool": self._cluster.workload_identity_pool,
            "namespace": NAMESPACE,
            "queue": self.queue.queue,
            "bucket": self._storage.bucket,
            "bucket_url": self._storage.bucket_url,
            "encryption_key": self._storage.encryption_key,
            "claims": {tier: claim_name(tier) for tier in self._tiers()},
            "tags": self._tags,
        }

    def _tiers(self) -> list[str]:
        """The file systems of the region, the fastest first."""
        storage = self._settings.storage
        return [tier for tier, there in (("hot", storage.hot), ("warm", storage.warm)) if there is not None]

    def _runtimes_for(self, training: Training, machine: Mapping[str, Any]) -> TrainingRuntimes:
        """The runtimes of one kind of machine, made when the first job asks for them."""
        name = f"{machine['accelerator']}-x{machine['accelerators_per_node']}" + (
            "-fabric" if machine["fabric"] else ""
        )
        if name not in self._runtimes:
            mpi = {"mpi_image": training.mpi_image} if training.mpi_image else {}
            self._runtimes[name] = TrainingRuntimes(
                f"{self._region.name}-{name}",
                {**self._place, **machine, **mpi, "image": training.image},
                self._in_cluster(),
            )
        return self._runtimes[name]

    def _machine(self, run: Run, *, fabric: bool = False) -> dict[str, Any]:
        """What a run takes of the machines of the first pool that has what it asks for; training's own pools first."""
        pools = sorted(self._settings.node_pools_in(self._region), key=lambda pool: pool.purpose != "training")
        machines = [machine for pool in pools if (machine := _machine_for(pool, self._region, run, fabric))]
        assert machines, "stacks.validation_training has looked"
        return _asked(machines[0], run.accelerators_per_node, fabric)

    def _in_cluster(self, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(providers=[self._cluster.kubernetes], depends_on=[*self._after, *after])


def _machine_for(pool: NodePool, region: Region, run: Run, fabric: bool) -> MachineType | None:
    """The machine of a pool, if it has what a run asks for."""
    machine = pool.machine_in(region)
    if not isinstance(machine, MachineType) or machine.accelerator != run.accelerator:
        return None
    return machine if machine.count >= run.accelerators_per_node and (pool.fabric or not fabric) else None


def _asked(machine: MachineType, accelerators: int, fabric: bool) -> dict[str, Any]:
    """What runtimes and jobs are told of a machine."""
    return {
        "accelerator": machine.accelerator,
        "accelerators_per_node": accelerators,
        "machine_type": machine.name,
        "fabric": fabric,
    }


def _without_fabric(asked: Mapping[str, Any]) -> dict[str, Any]:
    """For runs whose components know of none."""
    return {key: value for key, value in asked.items() if key != "fabric"}


def _fabric(settings: Settings, region: Region) -> str:
    """The fabric that jobs of a region use; empty where none does."""
    kinds = [
        machine.fabric.kind
        for pool in settings.node_pools_in(region)
        if pool.fabric and isinstance(machine := pool.machine_in(region), MachineType)
    ]
    return next(iter(sorted(kinds, reverse=True)), "")
