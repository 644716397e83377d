"""The pod templates of a plan, and how many pods each becomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from planner.inventory.model import Workload
from planner.inventory.references import at, items, mapping
from planner.plan import Resource

_CONTROLLERS = {
    "kubernetes:apps/v1:Deployment": "spec.template",
    "kubernetes:apps/v1:StatefulSet": "spec.template",
    "kubernetes:apps/v1:DaemonSet": "spec.template",
    "kubernetes:apps/v1:ReplicaSet": "spec.template",
    "kubernetes:core/v1:ReplicationController": "spec.template",
    "kubernetes:core/v1:Pod": "",
    "kubernetes:batch/v1:Job": "spec.template",
    "kubernetes:batch/v1:CronJob": "spec.jobTemplate.spec.template",
}
_GANGS = frozenset({"Job", "JobSet", "TrainJob", "RayJob", "RayCluster", "MPIJob", "PyTorchJob", "LeaderWorkerSet"})
"""Kinds whose pods are of use only together, if they are more than one."""

QUEUE = "kueue.x-k8s.io/queue-name"
"""Label: the LocalQueue that admits a job (https://kueue.sigs.k8s.io/docs/reference/labels-and-annotations/)."""


def workloads(
    resources: list[Resource], cluster_of: Mapping[str, str], region_of: Mapping[str, str], namespace_of: Any
) -> Iterator[Workload]:
    """Every pod template among Kubernetes resources.

    `cluster_of` and `region_of` tell by URN where a resource is; `namespace_of` tells the namespace of a resource.
    """
    scaled = _scaled(resources, namespace_of)
    for resource in resources:
        kind = resource.type.rsplit(":", 1)[-1].removesuffix("Patch")
        for part, template, count in _templates(resource, kind):
            spec = mapping(template, "spec")
            if not items(spec, "containers"):
                continue
            name, namespace = _text(at(resource.inputs, "metadata.name")) or resource.name, namespace_of(resource)
            fewest, most = scaled.get((resource.provider, namespace, kind, name), (count, count))
            yield Workload(
                urn=resource.urn,
                kind=kind,
                name=name,
                namespace=namespace,
                cluster=cluster_of.get(resource.urn, ""),
                region=region_of.get(resource.urn, ""),
                labels=_labels(template, "metadata.labels"),
                annotations=_labels(template, "metadata.annotations"),
                spec=spec,
                min_replicas=fewest,
                max_replicas=most,
                gang=kind in _GANGS and most > 1,
                queue=_labels(resource.inputs, "metadata.labels").get(QUEUE, ""),
                part=part,
            )


def _templates(resource: Resource, kind: str) -> Iterator[tuple[str, Mapping[str, Any], int]]:
    """The pod templates of a resource: which part of it each is, the template, and how many pods it becomes."""
    path = _CONTROLLERS.get(resource.type)
    if path is not None:
        jobs = mapping(resource.inputs, "spec.jobTemplate") if kind == "CronJob" else resource.inputs
        count = at(jobs, "spec.parallelism") if kind in ("Job", "CronJob") else at(resource.inputs, "spec.replicas")
        yield "", mapping(resource.inputs, path), 0 if kind == "DaemonSet" else _count(count)
    elif resource.type.split(":")[1].count(".") >= 1 and not resource.type.endswith(":Release"):
        # A custom resource: wherever it has something with containers, and counts beside it.
        yield from _nested(resource.inputs.get("spec"), "", 1)


_COUNTS = ("replicas", "parallelism", "numNodes", "size")


def _nested(value: Any, part: str, count: int) -> Iterator[tuple[str, Mapping[str, Any], int]]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _nested(item, part, count)
    elif isinstance(value, Mapping):
        name = value.get("name") or value.get("groupName")
        part = name if isinstance(name, str) and name else part
        for key in _COUNTS:
            if isinstance(value.get(key), int | float) and not isinstance(value.get(key), bool):
                count *= int(value[key])
        if items(value, "spec.containers"):
            yield part, value, count
            return
        if items(value, "containers") and isinstance(value["containers"][0], Mapping):
            yield part, {"spec": value}, count
            return
        for item in value.values():
            yield from _nested(item, part, count)


def _scaled(resources: list[Resource], namespace_of: Any) -> dict[tuple[str, str, str, str], tuple[int, int]]:
    """(provider, namespace, kind, name) of what an autoscaler scales -> fewest and most replicas."""
    found = {}
    for resource in resources:
        kind = resource.type.rsplit(":", 1)[-1]
        spec = mapping(resource.inputs, "spec")
        if kind == "HorizontalPodAutoscaler":
            limits = _count(spec.get("minReplicas")), _count(spec.get("maxReplicas"))
        elif kind == "ScaledObject":
            limits = _count(spec.get("minReplicaCount"), 0), _count(spec.get("maxReplicaCount"), 100)
        else:
            continue
        target = mapping(spec, "scaleTargetRef")
        scaled = _text(target.get("kind")) or "Deployment", _text(target.get("name"))
        found[(resource.provider, namespace_of(resource), *scaled)] = limits
    return found


def _count(value: Any, default: int = 1) -> int:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _labels(value: Any, path: str) -> dict[str, str]:
    return {key: item for key, item in mapping(value, path).items() if isinstance(item, str)}
