"""Pod templates of TrainJobs and JobSets, as Kubeflow Trainer and JobSet make their pods.

A TrainJob holds no pods itself: its runtime does, as the template of a JobSet, which the TrainJob patches and whose
container `node` it gives an image, a command, an environment and resources.

Source: https://github.com/kubeflow/trainer, pkg/runtime/core/trainingruntime.go (patches, counts, resources) and
pkg/runtime/framework/plugins/{jobset,torch,mpi,plainml}, between v2.3.0 and v2.4.0, read on 2026-11-23; labels of pods:
https://github.com/kubernetes-sigs/jobset, pkg/controllers/jobset_controller.go, labelAndAnnotateObject.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from planner.inventory.references import at, items, mapping
from planner.plan import UNKNOWN, Resource

RUNTIMES = ("ClusterTrainingRuntime", "TrainingRuntime")
"""Kinds that hold pods which no one starts, until a TrainJob names them."""

ANCESTOR = "trainer.kubeflow.org/trainjob-ancestor-step"
"""Label of a replicated job: `trainer` is the one that a TrainJob's trainer is about."""
NODE = "node"
"""Name of the container, and with MPI of the replicated job, that a TrainJob's trainer is about."""
TORCH_PORT = 29500
"""Where torchrun's ranks meet: the port that Trainer declares for the trainer's container."""

JOB_SET = "jobset.sigs.k8s.io"

_MERGED_BY = {
    **dict.fromkeys(("replicatedJobs", "containers", "initContainers", "volumes", "env", "imagePullSecrets"), "name"),
    **dict.fromkeys(("schedulingGates", "resourceClaims", "claims", "dependsOn"), "name"),
    "volumeMounts": "mountPath", "ports": "containerPort", "topologySpreadConstraints": "topologyKey",
    "hostAliases": "ip",
}  # fmt: skip
"""List -> the key by which a strategic merge patch finds the items that it changes; other lists are replaced.
https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.35/ (patch merge key), and JobSet's own types."""


@dataclass(frozen=True)
class Template:
    """A pod template, and how many pods it becomes."""

    part: str
    """Which template of the resource, where it has several."""
    pod: Mapping[str, Any]
    """`metadata` and `spec`."""
    fewest: int
    most: int
    together: bool = True
    """Whether its pods, where they are of a job, are of use only all together."""
    job: Mapping[str, Any] = field(default_factory=dict)
    """Spec of the Job around the template."""


def runtime_of(train_job: Resource, runtimes: Iterable[tuple[Resource, str]], namespace: str) -> Resource | None:
    """The runtime that a TrainJob names, among those (and their namespaces) of its cluster."""
    kind, name = runtime_reference(train_job)
    of_kind = [(one, where) for one, where in runtimes if one.type.endswith(f":{kind}")]
    if name == UNKNOWN:
        # A name that is another resource's output: it depends on that resource, and usually on no other runtime.
        known = [one for one, _ in of_kind if one.urn in train_job.property_dependencies.get("spec", ())]
        return known[0] if len(known) == 1 else None
    for one, where in of_kind:
        if at(one.inputs, "metadata.name") == name and (kind == RUNTIMES[0] or where == namespace):
            return one
    return None


def runtime_reference(train_job: Resource) -> tuple[str, str]:
    """(kind, name) of the runtime that a TrainJob names; UNKNOWN where only the cloud knows the name."""
    reference = mapping(train_job.inputs, "spec.runtimeRef")
    name = reference.get("name")
    return str(reference.get("kind") or RUNTIMES[0]), name if isinstance(name, str) else UNKNOWN


def train_job(resource: Resource, name: str, runtime: Resource) -> Iterator[Template]:
    """The pod templates of the JobSet that Trainer makes for a TrainJob by its runtime."""
    spec, policy = mapping(resource.inputs, "spec"), mapping(runtime.inputs, "spec.mlPolicy")
    template: Any = mapping(runtime.inputs, "spec.template")
    for patch in _maps(spec, "runtimePatches"):
        template = merged(template, mapping(patch, "trainingRuntimeSpec.template"))
    jobs = [_trained(job, spec, policy) for job in _maps(template, "spec.replicatedJobs")]
    yield from _replicated(name, jobs)


def job_set(resource: Resource, name: str) -> Iterator[Template]:
    """The pod templates of a JobSet."""
    yield from _replicated(name, _maps(resource.inputs, "spec.replicatedJobs"))


def _replicated(name: str, jobs: Iterable[Mapping[str, Any]]) -> Iterator[Template]:
    for one in jobs:
        job, part = mapping(one, "template.spec"), str(one.get("name") or "")
        replicas = number(one.get("replicas"), 1)
        count = replicas * number(job.get("parallelism"), 1)
        own = mapping(job, "template.metadata.labels")
        given = {
            **{f"{JOB_SET}/{key}": UNKNOWN for key in ("jobset-uid", "restart-attempt", "job-key", "global-replicas")},
            **{f"{JOB_SET}/{key}": UNKNOWN for key in ("job-global-index", "group-name", "job-group-index")},
            f"{JOB_SET}/jobset-name": name,
            f"{JOB_SET}/replicatedjob-name": part,
            f"{JOB_SET}/replicatedjob-replicas": str(replicas),
            f"{JOB_SET}/job-index": "0" if replicas == 1 else UNKNOWN,
            **job_labels(f"{name}-{part}-0" if replicas == 1 and UNKNOWN not in (name, part) else UNKNOWN),
        }
        metadata = {**mapping(job, "template.metadata"), "labels": {**own, **given}}
        yield Template(part, {**mapping(job, "template"), "metadata": metadata}, count, count, job=job)


def job_labels(name: str) -> dict[str, str]:
    """Labels that Kubernetes gives to the pods of a Job of that name.

    https://kubernetes.io/docs/reference/labels-annotations-taints/#batchkubernetesio-job-name
    """
    unknown = ("batch.kubernetes.io/controller-uid", "controller-uid", "batch.kubernetes.io/job-completion-index")
    return {"batch.kubernetes.io/job-name": name, "job-name": name, **dict.fromkeys(unknown, UNKNOWN)}


# ---- what a TrainJob changes


def _trained(job: Mapping[str, Any], spec: Mapping[str, Any], policy: Mapping[str, Any]) -> Mapping[str, Any]:
    """A replicated job with what the TrainJob's trainer says about it."""
    trainer = mapping(spec, "trainer")
    step = mapping(job, "template.metadata.labels").get(ANCESTOR)
    launcher_is_node = at(policy, "mpi.runLauncherAsNode") is True
    of_trainer, beside = step == "trainer", launcher_is_node and job.get("name") == NODE
    parallelism = _count(job, trainer, policy, of_trainer=of_trainer, launcher_is_node=launcher_is_node)
    changes: dict[str, Any] = {"template": {"spec": {"parallelism": parallelism, "completions": parallelism}}}
    if of_trainer or step in ("dataset-initializer", "model-initializer"):
        changes["replicas"] = 1
    container: dict[str, Any] = {"name": NODE}
    if of_trainer:
        container |= {key: trainer[key] for key in ("image", "command", "args") if trainer.get(key) is not None}
        if "torch" in policy and trainer:
            container["ports"] = [{"containerPort": TORCH_PORT}]
    if of_trainer or beside:
        container["env"] = items(trainer, "env")
        if policy:
            container["resources"] = mapping(trainer, "resourcesPerNode")
    there = [one.get("name") for one in _maps(job, "template.spec.template.spec.containers")]
    if NODE in there:
        changes["template"]["spec"]["template"] = {"spec": {"containers": [container]}}
    return merged(job, changes)


def _count(
    job: Mapping[str, Any],
    trainer: Mapping[str, Any],
    policy: Mapping[str, Any],
    *,
    of_trainer: bool,
    launcher_is_node: bool,
) -> int:
    nodes = trainer.get("numNodes")
    count = number(mapping(job, "template.spec").get("parallelism"), 1)
    if of_trainer and policy:
        count = number(policy.get("numNodes"), 1)
    if nodes is None:
        return max(count, 1)
    if "mpi" in policy:
        if job.get("name") != NODE:
            return max(count, 1)
        return max(number(nodes, 1) - launcher_is_node, 1)
    return number(nodes, 1) if of_trainer else max(count, 1)


def merged(base: Any, patch: Any, key: str = "") -> Any:
    """A strategic merge patch of Kubernetes: maps by key, lists that have a merge key by that, the rest replaced.

    What is unknown on one side is unknown. `key` names what is merged, for lists.
    https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
    """
    if patch is None:
        return base
    if isinstance(base, Mapping) and isinstance(patch, Mapping):
        return {**base, **{name: merged(base.get(name), value, name) for name, value in patch.items()}}
    by = _MERGED_BY.get(key)
    if by is None or not isinstance(base, list | tuple) or not isinstance(patch, list | tuple):
        return UNKNOWN if base == UNKNOWN else patch
    found = list(base)
    places = {one.get(by): place for place, one in enumerate(found) if isinstance(one, Mapping)}
    for one in patch:
        place = places.get(one.get(by)) if isinstance(one, Mapping) else None
        if place is None:
            found.append(one)
        else:
            found[place] = merged(found[place], one)
    return found


def number(value: Any, default: int) -> int:
    """A whole number of a plan, which knows them as floats too; the default for what it doesn't know."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


def _maps(value: Any, path: str) -> list[Mapping[str, Any]]:
    return [one for one in items(value, path) if isinstance(one, Mapping)]
