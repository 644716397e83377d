"""Pod templates of RayClusters and RayJobs, as KubeRay makes their pods: a head, and groups of workers.

Source: https://github.com/ray-project/kuberay, ray-operator/apis/ray/v1/{raycluster,rayjob,rayservice}_types.go and
controllers/ray/common/pod.go (labels), after v1.7.0, read on 2026-11-23.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from planner.inventory.references import at, items, mapping
from planner.inventory.training import Template, number
from planner.plan import UNKNOWN, Resource

CLUSTERS = {"RayCluster": "spec", "RayJob": "spec.rayClusterSpec", "RayService": "spec.rayClusterConfig"}
"""Kind -> where it has the cluster."""
HEAD, HEAD_GROUP, SUBMITTER = "head", "headgroup", "submitter"
_UNLIMITED = 2**31 - 1
"""KubeRay's default of `maxReplicas`."""


def ray(resource: Resource, kind: str, name: str) -> Iterator[Template]:
    """The pod templates of a Ray resource: its head, its groups of workers, and what submits its job, if it says so."""
    cluster = mapping(resource.inputs, CLUSTERS[kind])
    # The clusters of jobs and services get names that nobody knows before.
    called = name if kind == "RayCluster" else UNKNOWN
    grows = cluster.get("enableInTreeAutoscaling") is True
    if cluster:
        head = _labelled(mapping(cluster, "headGroupSpec"), called, HEAD, HEAD_GROUP)
        yield Template(HEAD, _autoscaled(head, cluster) if grows else head, 1, 1)
    for group in items(cluster, "workerGroupSpecs"):
        if isinstance(group, Mapping):
            part = str(group.get("groupName") or "worker")
            fewest, most = _size(group, grows)
            together = not grows or fewest == most
            yield Template(part, _labelled(group, called, "worker", part), fewest, most, together)
    if submitter := mapping(resource.inputs, "spec.submitterPodTemplate"):
        yield Template(SUBMITTER, submitter, 1, 1)


def _autoscaled(head: dict[str, Any], cluster: Mapping[str, Any]) -> dict[str, Any]:
    """The head with the container that KubeRay puts beside it (common/pod.go, BuildAutoscalerContainer)."""
    spec, options = mapping(head, "spec"), mapping(cluster, "autoscalerOptions")
    containers = items(spec, "containers")
    usual = {"cpu": "500m", "memory": "512Mi"}
    beside = {
        "name": "autoscaler",
        "image": options.get("image") or next((at(one, "image") for one in containers), None),
        "resources": options.get("resources") or {"requests": usual, "limits": usual},
    }
    return {**head, "spec": {**spec, "containers": [*containers, beside]}} if containers else head


def _size(group: Mapping[str, Any], grows: bool) -> tuple[int, int]:
    """Fewest and most pods of a group: without its autoscaler as many as `replicas`, within the two limits."""
    hosts = number(group.get("numOfHosts"), 1)
    fewest = number(group.get("minReplicas"), 0)
    wanted = number(group.get("replicas"), fewest)
    most = number(group.get("maxReplicas"), wanted if UNKNOWN in group.values() else _UNLIMITED)
    if not grows:
        fewest = most = max(fewest, min(wanted, most))
    elif most == _UNLIMITED:
        most = max(fewest, wanted)  # nothing to hold it to
    return fewest * hosts, most * hosts


def _labelled(group: Mapping[str, Any], cluster: str, kind: str, name: str) -> dict[str, Any]:
    template = mapping(group, "template")
    given = {
        "ray.io/is-ray-node": "yes",
        "ray.io/cluster": cluster,
        "ray.io/node-type": kind,
        "ray.io/group": name,
        "ray.io/identifier": UNKNOWN,
    }
    usual = {"app.kubernetes.io/name": "kuberay", "app.kubernetes.io/created-by": "kuberay-operator"}
    labels = {**usual, **mapping(template, "metadata.labels"), **mapping(group, "labels"), **given}
    return {**template, "metadata": {**mapping(template, "metadata"), "labels": labels}}
