"""Training, runtimes: a TrainJob names a runtime that is there, and changes only what that runtime has."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from planner.checks.view import View
from planner.finding import Finding, Rule
from planner.inventory.objects import Object, maps
from planner.inventory.references import at, mapping
from planner.inventory.training import ANCESTOR, NODE, RUNTIMES, runtime_reference
from planner.plan import UNKNOWN

RUNTIME = Rule(
    "training-runtime-exists",
    "Every TrainJob names a runtime that is there, and patches only what that runtime has",
    url="https://trainer.kubeflow.org/en/latest/operator-guides/runtime.html",
    remediation="Name a ClusterTrainingRuntime of the cluster, or a TrainingRuntime of the job's namespace, and its "
    "replicated jobs and containers as it names them: Trainer refuses everything else.",
)
RULES = (RUNTIME,)

CHART = "kubeflow-trainer"
_OWN_CONTAINERS = (NODE, "dataset-initializer", "model-initializer")
"""Their environment is the TrainJob's, and Trainer refuses patches of it (plugins/jobset/jobset.go, Validate)."""


def findings(view: View) -> Iterator[Finding]:
    """TrainJobs that Trainer refuses, or whose command it drops."""
    for job in view.objects.of_kind("TrainJob"):
        kind, name = runtime_reference(job.resource)
        if UNKNOWN in (kind, name) or (kind == RUNTIMES[1] and job.namespace == UNKNOWN):
            continue
        found = view.objects.find(job, kind, name)
        if found is not None:
            yield from _patches(job, found)
        elif not view.objects.in_doubt(job, kind) and not _elsewhere(view, job):
            there = sorted(one.name for one in view.objects.beside(job, kind))
            close = difflib.get_close_matches(name, there, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(there) or 'none'}"
            yield RUNTIME.finding(f"{job.place} names the {kind} {name!r}, which is not there; {hint}",
                                  job.resource, subject=name)  # fmt: skip


def _elsewhere(view: View, job: Object) -> bool:
    """Whether Trainer's chart, or somebody else, may bring the runtime."""
    charts = [r for r in view.releases_in(job.cluster) if str(r.inputs.get("chart", "")).rpartition("/")[2] == CHART]
    if not charts:
        return not any(True for _ in view.objects.in_cluster(job.cluster, *RUNTIMES))
    return any(_brings_runtimes(release.inputs.get("values")) for release in charts)


def _brings_runtimes(values: Any) -> bool:
    """Its chart brings none unless it is told to (charts/kubeflow-trainer/values.yaml, `runtimes`)."""
    runtimes = at(values, "runtimes")
    if UNKNOWN in (values, runtimes):
        return True
    own = mapping(runtimes)
    return own.get("defaultEnabled") is True or any(mapping(one).get("enabled") is True for one in own.values())


def _patches(job: Object, runtime: Object) -> Iterator[Finding]:
    jobs = {str(one.get("name")): one for one in maps(runtime.spec, "template.spec.replicatedJobs")}
    if not jobs or UNKNOWN in jobs:
        return
    for name, one in _replicated(job):
        if name not in jobs:
            yield RUNTIME.finding(
                f"{job.place} patches the replicated job {name!r}; {runtime.name} has {', '.join(jobs)}",
                job.resource, subject=name,
            )  # fmt: skip
            continue
        there = {str(c.get("name")) for c in _containers(jobs[name])}
        for container in _containers(one):
            called = str(container.get("name"))
            if called not in there and UNKNOWN not in (called, *there):
                yield RUNTIME.finding(
                    f"{job.place} patches the container {called!r} of {name}; {runtime.name} has"
                    f" {', '.join(sorted(there)) or 'none'} there",
                    job.resource,
                    subject=f"{name} {called}",
                )
            elif called in _OWN_CONTAINERS and container.get("env"):
                yield RUNTIME.finding(
                    f"{job.place} patches the environment of {called}, which belongs into spec.trainer.env",
                    job.resource, subject=f"{name} {called} env",
                )  # fmt: skip
    says = [key for key in ("image", "command", "args") if at(job.spec, f"trainer.{key}")]
    if says and not any(_trains(one) for one in jobs.values()):
        yield RUNTIME.finding(
            f"{job.place} gives {', '.join(says)} to its trainer, but no replicated job of {runtime.name} has the label"
            f" {ANCESTOR}=trainer and a container {NODE!r}: they are dropped",
            job.resource, subject="trainer",
        )  # fmt: skip


def _replicated(job: Object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for patch in maps(job.spec, "runtimePatches"):
        for one in maps(patch, "trainingRuntimeSpec.template.spec.replicatedJobs"):
            if isinstance(name := one.get("name"), str) and name != UNKNOWN:
                yield name, one


def _containers(job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    spec = mapping(job, "template.spec.template.spec")
    return [*maps(spec, "initContainers"), *maps(spec, "containers")]


def _trains(job: Mapping[str, Any]) -> bool:
    step = mapping(job, "template.metadata.labels").get(ANCESTOR)
    return step in ("trainer", UNKNOWN) and any(c.get("name") in (NODE, UNKNOWN) for c in _containers(job))
