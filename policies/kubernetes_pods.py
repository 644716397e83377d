"""Pods as they stand in the resources of a plan: in Deployments, in Jobs, inside custom resources."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from planner.inventory import Inventory
from planner.plan import UNKNOWN, Resource
from policies.declare import Parameters, Policy, Violation, at, each, resource_policy

_KINDS = {
    "core/v1": ("Pod", "PodTemplate", "ReplicationController"),
    "apps/v1": ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"),
    "batch/v1": ("CronJob", "Job"),
    "argoproj.io/v1alpha1": ("Rollout",),
    "jobset.x-k8s.io/v1alpha2": ("JobSet",),
    "kubeflow.org/v1": ("JAXJob", "MPIJob", "PaddleJob", "PyTorchJob", "TFJob", "XGBoostJob"),
    "kubeflow.org/v2beta1": ("MPIJob",),
    "leaderworkerset.x-k8s.io/v1": ("LeaderWorkerSet",),
    "ray.io/v1": ("RayCluster", "RayJob", "RayService"),
    "serving.knative.dev/v1": ("Service",),
    "serving.kserve.io/v1alpha1": ("ClusterServingRuntime", "ServingRuntime"),
    "serving.kserve.io/v1beta1": ("InferenceService",),
    "trainer.kubeflow.org/v1alpha1": ("ClusterTrainingRuntime", "TrainJob", "TrainingRuntime"),
    "trainer.kubeflow.org/v2alpha1": ("ClusterTrainingRuntime", "TrainJob", "TrainingRuntime"),
}
POD_TYPES = tuple(f"kubernetes:{version}:{kind}" for version, kinds in _KINDS.items() for kind in kinds)
"""Every kind whose pods are looked at."""

_PATCHES = "runtimePatches"

QUEUE = "kueue.x-k8s.io/queue-name"
"""Label: the LocalQueue that admits it. https://kueue.sigs.k8s.io/docs/reference/labels-and-annotations/"""


@dataclass(frozen=True)
class Container:
    """A container of a pod, `spec` as Kubernetes writes it."""

    name: str
    spec: Mapping[str, Any]
    init: bool = False
    """Whether it runs, to its end, before the others."""


@dataclass(frozen=True)
class Pod:
    """A pod template."""

    spec: Mapping[str, Any]
    part: str = ""
    """Which template of its resource, such as `workerGroupSpecs.gpu`; empty where there is just one."""
    labels: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = False
    """Whether it states an image and resources only, and a runtime elsewhere states the rest."""
    fragment: bool = False
    """Whether the pod's own fields (its account, its time to end) are stated by who uses it: a ServingRuntime, which
    has no room for them."""
    queued: bool = False
    """Whether Kueue admits it, or may: then it adds the node labels and tolerations of a flavor."""

    @property
    def containers(self) -> list[Container]:
        """All of them, those that run first included."""
        return [
            Container(str(spec.get("name", index)), spec, path == "initContainers")
            for path in ("initContainers", "containers")
            for index, spec in enumerate(each(self.spec, path))
        ]


def pods(resource: Resource) -> list[Pod]:
    """The pod templates of a resource of POD_TYPES, those that are known."""
    labels = at(resource, "metadata.labels", {})
    queued = labels == UNKNOWN or (isinstance(labels, Mapping) and QUEUE in labels)
    fragment = resource.type.rpartition(":")[2] in ("ServingRuntime", "ClusterServingRuntime")
    found = [
        replace(pod, queued=queued, fragment=fragment)
        for pod in (*_pods(resource.inputs, {}, ""), *_stated_elsewhere(resource))
    ]
    return [replace(found[0], part="")] if len(found) == 1 else found


def _pods(value: Any, metadata: Any, part: str) -> Iterator[Pod]:
    """A pod's spec is whatever has containers, wherever it lies: so a new custom resource needs no table here."""
    if isinstance(value, Mapping):
        if isinstance(value.get("containers"), list):
            labels = at(metadata, "labels") if isinstance(metadata, Mapping) else None
            # What a TrainJob changes of its runtime's pods is no whole pod.
            partial = part.startswith(_PATCHES)
            yield Pod(value, part, labels if isinstance(labels, Mapping) else {}, partial=partial)
            return
        for key, item in value.items():
            name = part if key in ("spec", "template", "jobTemplate") else f"{part}.{key}".strip(".")
            # A template's labels lie beside its spec; KServe has them inside.
            yield from _pods(item, value.get("metadata", {}) if key == "spec" else item, name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            own = (item.get("name") or item.get("groupName")) if isinstance(item, Mapping) else None
            yield from _pods(item, {}, f"{part}.{own if isinstance(own, str) and own != UNKNOWN else index}")


def doubtful(value: Any) -> bool:
    """Whether something that matters may be in a value and isn't known: all of it, or an item of a list."""
    return value == UNKNOWN or (isinstance(value, list | tuple) and UNKNOWN in value)


def _stated_elsewhere(resource: Resource) -> Iterator[Pod]:
    kind = resource.type.rpartition(":")[2]
    if kind == "TrainJob" and isinstance(trainer := at(resource, "spec.trainer"), Mapping):
        container = {"name": "trainer", **_known(image=trainer.get("image"), resources=trainer.get("resourcesPerNode"))}
        yield Pod({"containers": [container]}, "trainer", partial=True)
    if kind == "InferenceService":
        for part in ("predictor", "transformer", "explainer"):
            server = at(resource, f"spec.{part}")
            model = at(server, "model") if isinstance(server, Mapping) else None
            if isinstance(model, Mapping) and not isinstance(at(server, "containers"), list):
                yield Pod({**server, "containers": [{"name": "model", **model}]}, part, partial=True)


def combined(inventory: Inventory) -> dict[str, list[Pod]]:
    """URN of an InferenceService -> its pods, with what its runtime says of them; those that the plan knows."""
    found: dict[str, list[Pod]] = {}
    for workload in inventory.workloads:
        if workload.kind == "InferenceService":
            pod = Pod(workload.spec, workload.part, workload.labels, queued=bool(workload.queue))
            found.setdefault(workload.urn, []).append(pod)
    return found


def _known(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def pod_policy(name: str, holds: str, **about: Any) -> Callable[[Callable[[Pod, Parameters], Iterator[str]]], Policy]:
    """Declare a rule that each pod keeps; the function yields what is wrong with one."""

    def declare(check: Callable[[Pod, Parameters], Iterator[str]]) -> Policy:
        def over(resource: Resource, parameters: Parameters) -> Iterator[Violation]:
            for pod in pods(resource):
                for problem in check(pod, parameters):
                    yield Violation(f"{pod.part}: {problem}" if pod.part else problem, resource, pod.part)

        return resource_policy(name, holds, types=POD_TYPES, **about)(over)

    return declare


def container_policy(
    name: str, holds: str, *, partial: bool = False, **about: Any
) -> Callable[[Callable[[Container, Pod, Parameters], Iterator[str]]], Policy]:
    """Declare a rule that each container keeps; the function yields what is wrong with one.

    `partial`: also where a runtime elsewhere states the rest of the pod.
    """

    def declare(check: Callable[[Container, Pod, Parameters], Iterator[str]]) -> Policy:
        def over(resource: Resource, parameters: Parameters) -> Iterator[Violation]:
            for pod in pods(resource):
                if pod.partial and not partial:
                    continue
                for container in pod.containers:
                    for problem in check(container, pod, parameters):
                        subject = f"{pod.part}/{container.name}" if pod.part else container.name
                        yield Violation(f"container {subject!r} {problem}", resource, subject)

        return resource_policy(name, holds, types=POD_TYPES, **about)(over)

    return declare
