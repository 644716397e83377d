"""Kubeflow Pipelines: the pipeline as IR, each task a container with the command that all runners start.

Its local runner starts no containers. There each task is a function that starts the very same command.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workloads.pipelines.definition import BEGIN, GATE, RETRAIN, Pipeline, Task
from workloads.pipelines.errors import ArgumentError, PipelineError, on_disk
from workloads.pipelines.runners.settings import FILE, MOUNT, RUN, SIGN, SIGNING_KEY, Settings

OUTPUT = "Output"
"""What KFP calls the one output of a function; containers call theirs the same."""
Make = Callable[[Task, Any], Any]
"""A task and the pipeline's `overrides` to a task of KFP, within a pipeline's function."""


def compile(output: Path, settings: Settings, pipeline: Pipeline = RETRAIN) -> list[Path]:
    """Write the pipeline for a cluster, as YAML. Its parameter `overrides` is JSON as `begin --overrides` takes it."""
    if not settings.image:
        raise ArgumentError("--image: Kubeflow Pipelines starts containers: expected the image of the workloads")
    from kfp import compiler

    with on_disk(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        compiler.Compiler().compile(_pipeline(settings, pipeline, _containers(settings)), str(output))
    return [output]


def run_locally(settings: Settings, name: str, root: Path, pipeline: Pipeline = RETRAIN) -> None:
    """Run it with KFP's local runner, in processes of this machine. `name`: of the run. Raises PipelineError."""
    from kfp import local

    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(root))
    made = _pipeline(settings, pipeline, _functions(settings, name))
    try:
        made(overrides="{}")
    except Exception as error:
        raise PipelineError(f"Kubeflow Pipelines: {error}") from error


def _pipeline(settings: Settings, pipeline: Pipeline, make: Make) -> Any:
    from kfp import dsl

    tasks = settings.tasks(pipeline)

    def body(overrides: str = "{}") -> None:
        made: dict[str, Any] = {}

        def add(task: Task, known: dict[str, Any]) -> None:
            one = make(task, overrides)
            one.set_display_name(task.name).set_caching_options(False).set_retry(task.retries, "30s")
            _with_resources(one, task, settings)
            for before in task.after:
                # Behind the gate nothing waits for what is before it: the gate has.
                if before in known:
                    one.after(known[before])
            made[task.name] = known[task.name] = one

        before: dict[str, Any] = {}
        for task in tasks:
            if not task.gated:
                add(task, before)
        with dsl.If(made[GATE].outputs[OUTPUT] == "true", name="accepted"):
            behind: dict[str, Any] = {}
            for task in tasks:
                if task.gated:
                    add(task, behind)

    return dsl.pipeline(body, name=pipeline.name, description=", ".join(step.name for step in pipeline.steps))


def _with_resources(one: Any, task: Task, settings: Settings) -> None:
    resources, memory = task.resources, f"{task.resources.memory_gib:g}Gi"
    one.set_cpu_request(f"{resources.cpu:g}").set_memory_request(memory).set_memory_limit(memory)
    # As kfp-kubernetes writes them, which is a package of its own.
    extra: dict[str, Any] = {}
    if resources.accelerators:
        one.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(resources.accelerators)
        extra["nodeSelector"] = {"labels": {settings.accelerator_label: resources.accelerator}}
        extra["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    if task.name == SIGN and settings.image and settings.signing_key:
        # The name twice: older backends read the one, newer ones the other.
        named = {"secretName": settings.signing_key}
        named_anew = {"secretNameParameter": {"runtimeValue": {"constant": settings.signing_key}}}
        extra["secretAsVolume"] = [{**named, **named_anew, "mountPath": MOUNT, "optional": False}]
    if extra:
        one.platform_config["kubernetes"] = extra
    for name, value in sorted(settings.environment.items()):
        one.set_env_variable(name, value)
    if task.name == SIGN and settings.image:
        one.set_env_variable(SIGNING_KEY, f"{MOUNT}/{FILE}")


def _containers(settings: Settings) -> Make:
    from kfp import dsl

    def make(task: Task, overrides: Any) -> Any:
        words = [word.replace(RUN, dsl.PIPELINE_JOB_ID_PLACEHOLDER) for word in task.command]

        def plain() -> Any:
            return dsl.ContainerSpec(settings.image, words[:1], words[1:])

        def begin(overrides: str) -> Any:
            return dsl.ContainerSpec(settings.image, words[:1], [*words[1:], "--overrides", overrides])

        def gate(Output: dsl.OutputPath(str)) -> Any:  # type: ignore[valid-type]
            return dsl.ContainerSpec(settings.image, words[:1], [*words[1:], "--answer", Output])

        function: Any = {BEGIN: begin, GATE: gate}.get(task.name, plain)
        function.__name__ = task.name
        # Their annotations are read as types, and their result must have none.
        function.__annotations__ = {
            name: {"str": str}.get(kind, dsl.OutputPath(str))
            for name, kind in function.__annotations__.items()
            if name != "return"
        }
        component = dsl.container_component(function)
        return component(overrides=overrides) if task.name == BEGIN else component()

    return make


def _functions(settings: Settings, name: str) -> Make:
    from kfp import dsl

    component = dsl.component(_start, base_image="python")
    environment = {**settings.environment, SIGNING_KEY: settings.signing_key}

    def make(task: Task, overrides: Any) -> Any:
        return component(
            command=json.dumps([word.replace(RUN, name) for word in task.command]),
            directory=settings.directory,
            environment=json.dumps(environment),
            overrides=overrides if task.name == BEGIN else "",
        )

    return make


def _start(command: str, directory: str, environment: str, overrides: str) -> str:
    """What KFP's local runner calls: only this text, in a process of its own. `true`, or `false` of the gate."""
    import json
    import os
    import subprocess

    words = json.loads(command) + (["--overrides", overrides] if overrides else [])
    code = subprocess.run(words, cwd=directory or None, env={**os.environ, **json.loads(environment)}).returncode
    if code not in (0, 99):
        raise SystemExit(f"{words}: exit code {code}")
    return "true" if code == 0 else "false"
