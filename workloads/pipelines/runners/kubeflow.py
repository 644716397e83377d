"""Kubeflow Pipelines: the pipeline as IR, each task a container with the command that all runners start.

Its local runner starts no containers, and finds none of its conditions true (2.16.1 puts the value into the reference,
`inputs.parameter_values['...']`, and evaluates that). There each task is a function that starts the very same command,
and those behind the gate are handed its answer.
"""

# Without postponed annotations: KFP reads those of components as types.
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workloads.pipelines.definition import BEGIN, GATE, RETRAIN, Pipeline, Task
from workloads.pipelines.errors import ArgumentError, PipelineError, on_disk
from workloads.pipelines.runners.settings import FILE, MOUNT, RUN, SIGN, SIGNING_KEY, Settings

Make = Callable[[Task, Any, Any], Any]
"""A task, the pipeline's `overrides` and the gate's answer, if it is known, to a task of KFP."""


def compile(output: Path, settings: Settings, pipeline: Pipeline = RETRAIN) -> list[Path]:
    """Write the pipeline for a cluster, as YAML. Its parameter `overrides` is JSON as `begin --overrides` takes it."""
    if not settings.image:
        raise ArgumentError("--image: Kubeflow Pipelines starts containers: expected the image of the workloads")
    from kfp import compiler

    with on_disk(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        compiler.Compiler().compile(_pipeline(settings, pipeline, _containers(settings), True), str(output))
    return [output]


def run_locally(settings: Settings, name: str, root: Path, pipeline: Pipeline = RETRAIN) -> None:
    """Run it with KFP's local runner, in processes of this machine. `name`: of the run. Raises PipelineError."""
    from kfp import local

    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(root))
    made = _pipeline(settings, pipeline, _functions(settings, name), False)
    try:
        made(overrides="{}")
    except Exception as error:
        raise PipelineError(f"Kubeflow Pipelines: {error}") from error


def _pipeline(settings: Settings, pipeline: Pipeline, make: Make, conditions: bool) -> Any:
    from kfp import dsl

    tasks = settings.tasks(pipeline)

    def body(overrides: str = "{}") -> None:
        made: dict[str, Any] = {}

        def add(task: Task, known: dict[str, Any], answer: Any = None) -> None:
            one = make(task, overrides, answer)
            one.set_display_name(task.name).set_caching_options(False).set_retry(task.retries, "30s")
            _with_resources(one, task, settings)
            for before in task.after:
                # Behind the gate nothing waits for what is before it: the gate has.
                if before in known:
                    one.after(known[before])
            known[task.name] = one

        free = [task for task in tasks if not task.gated]
        for task in free:
            add(task, made)
        gated: dict[str, Any] = {}
        if not conditions:
            for task in tasks[len(free) :]:
                add(task, made, made[GATE].output)
            return
        with dsl.If(made[GATE].outputs["answer"] == "true", name="accepted"):
            for task in tasks[len(free) :]:
                add(task, gated)

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

    def make(task: Task, overrides: Any, _: Any) -> Any:
        words = [word.replace(RUN, dsl.PIPELINE_JOB_ID_PLACEHOLDER) for word in task.command]

        def plain():
            return dsl.ContainerSpec(settings.image, words[:1], words[1:])

        def begin(overrides: str):
            return dsl.ContainerSpec(settings.image, words[:1], [*words[1:], "--overrides", overrides])

        def gate(answer: dsl.OutputPath(str)):  # type: ignore
            return dsl.ContainerSpec(settings.image, words[:1], [*words[1:], "--answer", answer])

        function: Any = {BEGIN: begin, GATE: gate}.get(task.name, plain)
        function.__name__ = task.name
        component = dsl.container_component(function)
        return component(overrides=overrides) if task.name == BEGIN else component()

    return make


def _functions(settings: Settings, name: str) -> Make:
    from kfp import dsl

    component = dsl.component(_start, base_image="python")
    environment = {**settings.environment, SIGNING_KEY: settings.signing_key}

    def make(task: Task, overrides: Any, answer: Any) -> Any:
        return component(
            command=json.dumps([word.replace(RUN, name) for word in task.command]),
            directory=settings.directory,
            environment=json.dumps(environment),
            overrides=overrides if task.name == BEGIN else "",
            answer="true" if answer is None else answer,
        )

    return make


def _start(command: str, directory: str, environment: str, overrides: str, answer: str) -> str:
    """What KFP's local runner calls: only this text, in a process of its own. `true`, or `false` of the gate."""
    import json
    import os
    import subprocess

    if answer == "false":
        return "false"
    words = json.loads(command) + (["--overrides", overrides] if overrides else [])
    code = subprocess.run(words, cwd=directory or None, env={**os.environ, **json.loads(environment)}).returncode
    if code not in (0, 99):
        raise SystemExit(f"{words}: exit code {code}")
    return "true" if code == 0 else "false"
