"""The pod templates of a plan, and how many pods each becomes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from planner.inventory import kserve
from planner.inventory.model import Workload
from planner.inventory.ray import CLUSTERS, ray
from planner.inventory.references import at, items, mapping
from planner.inventory.training import RUNTIMES, Template, job_labels, job_set, number, runtime_of, train_job
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

_HELD = (*RUNTIMES, *kserve.RUNTIMES)
"""Kinds whose pods are others' to start."""

QUEUE = "kueue.x-k8s.io/queue-name"
"""Label: the LocalQueue that admits a job (https://kueue.sigs.k8s.io/docs/reference/labels-and-annotations/)."""
PRIORITY = "kueue.x-k8s.io/priority-class"
"""Label: the WorkloadPriorityClass of a job in a queue."""
LEAST_PARALLELISM = "kueue.x-k8s.io/job-min-parallelism"
"""Annotation of a Job: Kueue may start it with as few pods, each of which then is of use by itself
(https://kueue.sigs.k8s.io/docs/tasks/run/jobs/#partial-admission)."""


def workloads(
    resources: list[Resource], cluster_of: Mapping[str, str], region_of: Mapping[str, str], namespace_of: Any
) -> Iterator[Workload]:
    """Every pod template among Kubernetes resources.

    `cluster_of` and `region_of` tell by URN where a resource is; `namespace_of` tells the namespace of a resource.
    """
    scaled = _scaled(resources, namespace_of)
    runtimes: dict[str, list[tuple[Resource, str]]] = {}
    for resource in resources:
        if _kind(resource) in _HELD:
            runtimes.setdefault(_where(resource, cluster_of), []).append((resource, namespace_of(resource)))
    for resource in resources:
        kind, name = _kind(resource), _text(at(resource.inputs, "metadata.name")) or resource.name
        for one in _templates(resource, kind, name, runtimes.get(_where(resource, cluster_of), ()), namespace_of):
            spec = mapping(one.pod, "spec")
            if not items(spec, "containers"):
                continue
            namespace = namespace_of(resource)
            fewest, most = scaled.get((resource.provider, namespace, kind, name), (one.fewest, one.most))
            yield Workload(
                urn=resource.urn,
                kind=kind,
                name=name,
                namespace=namespace,
                cluster=cluster_of.get(resource.urn, ""),
                region=region_of.get(resource.urn, ""),
                labels=_labels(one.pod, "metadata.labels"),
                annotations=_labels(one.pod, "metadata.annotations"),
                spec=spec,
                min_replicas=fewest,
                max_replicas=most,
                gang=kind in _GANGS and most > 1 and one.together,
                queue=_labels(resource.inputs, "metadata.labels").get(QUEUE, ""),
                part=one.part,
                job=one.job,
            )


def _kind(resource: Resource) -> str:
    return resource.type.rsplit(":", 1)[-1].removesuffix("Patch")


def _where(resource: Resource, cluster_of: Mapping[str, str]) -> str:
    """Its cluster; its provider where the cluster cannot be told."""
    return cluster_of.get(resource.urn) or resource.provider


def _templates(
    resource: Resource, kind: str, name: str, runtimes: Iterable[tuple[Resource, str]], namespace_of: Any
) -> Iterator[Template]:
    """The pod templates of a resource."""
    path = _CONTROLLERS.get(resource.type)
    if path is not None:
        pod = mapping(resource.inputs, path)
        if kind in ("Job", "CronJob"):
            jobs = mapping(resource.inputs, "spec.jobTemplate") if kind == "CronJob" else resource.inputs
            least = mapping(jobs, "metadata.annotations").get(LEAST_PARALLELISM)
            yield _job(pod, mapping(jobs, "spec"), name, least)
        else:
            count = 0 if kind == "DaemonSet" else number(at(resource.inputs, "spec.replicas"), 1)
            yield Template("", pod, count, count)
    elif resource.type.split(":")[1].count(".") < 1 or resource.type.endswith(":Release") or kind in _HELD:
        return
    elif kind == kserve.KIND:
        runtime = kserve.runtime_of(resource, runtimes, namespace_of(resource))
        yield from kserve.inference_service(resource, name, runtime)
    elif kind == "TrainJob":
        # Pods of a runtime that somebody else installs are in no plan.
        if runtime := runtime_of(resource, runtimes, namespace_of(resource)):
            yield from train_job(resource, name, runtime)
    elif kind == "JobSet":
        yield from job_set(resource, name)
    elif kind in CLUSTERS:
        yield from ray(resource, kind, name)
    else:
        # Some other custom resource: wherever it has something with containers, and counts beside it.
        for part, pod, count in _nested(resource.inputs.get("spec"), "", 1):
            yield Template(part, pod, count, count)


def _job(pod: Mapping[str, Any], job: Mapping[str, Any], name: str, least: Any) -> Template:
    count = number(job.get("parallelism"), 1)
    fewest = int(least) if isinstance(least, str) and least.isdigit() else None
    labels = {**job_labels(name), **mapping(pod, "metadata.labels")}
    labelled = {**pod, "metadata": {**mapping(pod, "metadata"), "labels": labels}}
    return Template("", labelled, count if fewest is None else fewest, count, fewest is None, job)


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
            limits = number(spec.get("minReplicas"), 1), number(spec.get("maxReplicas"), 1)
        elif kind == "ScaledObject":
            # Without a trigger that is active there are as few as `idleReplicaCount`.
            fewest = number(spec.get("idleReplicaCount"), number(spec.get("minReplicaCount"), 0))
            limits = fewest, number(spec.get("maxReplicaCount"), 100)
        else:
            continue
        target = mapping(spec, "scaleTargetRef")
        scaled = _text(target.get("kind")) or "Deployment", _text(target.get("name"))
        found[(resource.provider, namespace_of(resource), *scaled)] = limits
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _labels(value: Any, path: str) -> dict[str, str]:
    return {key: item for key, item in mapping(value, path).items() if isinstance(item, str)}
