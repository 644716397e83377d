"""Where components and workloads meet: what a plan puts into containers is what the workloads understand."""

from __future__ import annotations

import importlib
import importlib.util
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pytest

from components.cluster.addon_values import prometheus_adapter
from components.inference import TritonInference
from planner.plan import UNKNOWN, Plan, Resource
from tests.support import plan_of


@dataclass(frozen=True)
class Command:
    """One command line of a container or probe that starts a workload of this project."""

    resource: str
    place: str
    """Path inside the resource, such as `spec.template.spec.containers[0]`."""
    module: str
    arguments: tuple[str, ...]


def commands(plan: Plan) -> list[Command]:
    """Every `-m workloads.X` in a plan, whoever starts it (python, torchrun), in containers and in probes."""
    return [
        command
        for resource in plan
        if resource.package == "kubernetes"
        for command in _commands(resource, resource.inputs, "")
    ]


def _commands(resource: Resource, value: Any, place: str) -> Iterator[Command]:
    if isinstance(value, dict):
        words = [*(value.get("command") or ()), *(value.get("args") or ())] if "command" in value else []
        for index, (option, module) in enumerate(pairwise(words)):
            if option == "-m" and str(module).startswith("workloads."):
                arguments = words[index + 2 :]
                # What only the cloud can tell is some word.
                known = tuple(str(word).replace(UNKNOWN, "unknown") for word in arguments)
                yield Command(resource.name, place, module, known)
        for key, item in sorted(value.items()):
            yield from _commands(resource, item, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _commands(resource, item, f"{place}[{index}]")


def problems(plan: Plan, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Command lines that the workload's own parser refuses, each with its place and the parser's words."""
    found = []
    for command in commands(plan):
        try:
            parser_of(command.module).parse_args(list(command.arguments))
        except SystemExit:
            found.append(f"{command.resource}: {command.place}: {capsys.readouterr().err.strip().splitlines()[-1]}")
        except LookupError as error:
            found.append(f"{command.resource}: {command.place}: {error}")
    return found


def parser_of(module: str) -> ArgumentParser:
    """A workload's parser: `parser()` in its module `cli`, or in itself where it is a single file."""
    for name in (f"{module}.cli", module):
        try:
            known = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            known = None
        if known and hasattr(found := importlib.import_module(name), "parser"):
            return found.parser()
    raise LookupError(f"no parser() in {module} or {module}.cli")


@pytest.fixture(scope="module")
def inference() -> Plan:
    def program() -> None:
        TritonInference(
            "chat",
            {
                "cloud": "aws",
                "region": "us-east-1",
                "cluster_name": "ai",
                "workload_identity_pool": "",
                "namespace": "inference",
                "image": "registry.example/triton:26.09-1",
                "models": [
                    {"name": "resnet50", "version": 3, "size_gib": 2.0},
                    {"name": "bert", "version": 1, "size_gib": 1.0},
                ],
                # Known only to the cloud, as a bucket's is in an environment.
                "repository_url": pulumi.Output.concat("s3://", _bucket().bucket, "/models"),
                "bucket": "ai-models",
                "accelerator": "l4",
                "gpus": 1,
                "min_replicas": 1,
                "max_replicas": 2,
                "client_cidrs": ["10.1.0.0/16"],
            },
            opts=pulumi.ResourceOptions(providers=[k8s.Provider("cluster", kubeconfig="{}")]),
        )

    return plan_of(program)


def _bucket() -> Any:
    import pulumi_aws as aws

    return aws.s3.Bucket("models", region="us-east-1")


def test_containers_and_probes_start_workloads_in_words_that_they_understand(
    inference: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    found = commands(inference)
    assert [(command.place.rpartition("spec.")[2], command.arguments[0]) for command in found] == [
        ("containers[0].readinessProbe.exec", "ready"),
        ("containers[0].startupProbe.exec", "ready"),
        ("initContainers[0]", "fetch"),
    ]
    (fetch,) = (command for command in found if command.arguments[0] == "fetch")
    assert "unknown" in fetch.arguments  # a value that a preview cannot know is in the way of nothing
    assert problems(inference, capsys) == []


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_environments_start_workloads_in_words_that_they_understand(
    name: str, environment_plan: Callable[[str], Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = environment_plan(name)
    servers = {resource.name for resource in plan.of_type("kubernetes:apps/v1:Deployment")}
    assert {command.resource for command in commands(plan)} >= servers
    assert problems(plan, capsys) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("--source", "--from", "the following arguments are required: --source"),
        ("resnet50:3", "resnet50", "NAME:VERSION"),
        ("workloads.serving", "workloads.surfing", "no parser() in workloads.surfing"),
    ],
)
def test_a_word_that_a_workload_does_not_understand_is_found(
    inference: Plan, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    planted = Plan.of(
        inference.project, inference.stack, [replace(r, inputs=_planted(r.inputs, old, new)) for r in inference]
    )
    found = problems(planted, capsys)
    assert any(says in problem and "spec.template.spec.initContainers[0]" in problem for problem in found), found


def _planted(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: _planted(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_planted(item, old, new) for item in value]
    return new if value == old else value


def test_what_autoscalers_look_at_is_what_the_metrics_adapter_makes(inference: Plan) -> None:
    scalers = inference.of_type("kubernetes:autoscaling/v2:HorizontalPodAutoscaler")
    metrics = {metric["pods"]["metric"]["name"] for scaler in scalers for metric in scaler.inputs["spec"]["metrics"]}
    assert metrics == {rule["name"]["as"] for rule in prometheus_adapter()["rules"]["custom"]}
