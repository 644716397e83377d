"""The definition: steps find their inputs, tasks are commands that the workload understands, and it stands alone."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from tests.support import ROOT
from workloads.pipelines.cli import parser
from workloads.pipelines.definition import BEGIN, GATE, RETRAIN, Gate, Pipeline, Resources, Step
from workloads.pipelines.errors import ArgumentError
from workloads.pipelines.parameters import Parameters
from workloads.pipelines.run import WORKLOADS

SMALL = Resources(1, 1)


def step(name: str, inputs: tuple[str, ...], outputs: tuple[str, ...], **more: object) -> Step:
    return Step(name, inputs, outputs, (), (), SMALL, 60, **more)


def test_the_pipeline_has_the_steps_of_a_retraining_in_order():
    assert [one.name for one in RETRAIN.steps] == [
        "validate-data", "build-features", "train", "evaluate", "quantize", "export", "sign", "register",
    ]  # fmt: skip
    assert [one.name for one in RETRAIN.gated] == ["quantize", "export", "sign", "register"]


def test_every_task_is_a_command_that_the_workload_understands():
    words = Parameters(corpus="s3://bucket/text", prices={"cpu": 0.04}, training={"training.steps": "5"}).words()
    tasks = RETRAIN.tasks("s3://bucket/runs/1", words)
    assert [task.name for task in tasks][:1] == [BEGIN]
    for task in tasks:
        assert task.command[:3] == ("python", "-m", "workloads.pipelines")
        options = parser().parse_args(task.command[3:])
        assert options.run == "s3://bucket/runs/1"
        assert task.timeout_s > 0
    assert parser().parse_args(tasks[0].command[3:]).corpus == "s3://bucket/text"


def test_what_is_behind_the_gate_waits_for_it_and_nothing_runs_before_its_inputs_are_made():
    tasks = {task.name: task for task in RETRAIN.tasks("run")}
    seen: list[str] = []
    for name, task in tasks.items():
        assert set(task.after) <= set(seen)
        assert task.gated == (GATE in task.after)
        seen.append(name)
    for one in RETRAIN.steps:
        assert {RETRAIN.maker(artifact).name for artifact in one.inputs} <= set(tasks[one.name].after)


def test_steps_read_parameters_and_code_that_exist():
    known = {item.name for item in dataclasses.fields(Parameters)} | {"champion_digest", "corpus_fingerprint"}
    for one in RETRAIN.steps:
        assert set(one.parameters) <= known, one.name
        assert all((WORKLOADS / name).exists() for name in one.code), one.name
        assert (ROOT / one.module.replace(".", "/")).with_suffix(".py").is_file()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Pipeline("p", (step("a", ("x",), ("y",)),), Gate("a", "y")), "no step before it makes its input 'x'"),
        (
            lambda: Pipeline("p", (step("a", (), ("x",)), step("b", (), ("x",))), Gate("a", "x")),
            "a step before it makes 'x' too",
        ),
        (lambda: Pipeline("p", (step("a", (), ()),), Gate("a", "x")), "outputs"),
        (
            lambda: Pipeline("p", (step("a", (), ("x",), volatile=("x",)), step("b", ("x",), ("y",))), Gate("b", "y")),
            "its input 'x' differs from run to run",
        ),
        (lambda: Pipeline("p", (step("gate", (), ("x",)),), Gate("gate", "x")), "expected distinct names"),
        (lambda: Pipeline("p", (step("a", (), ("x",)),), Gate("a", "y")), "no step a with the output y"),
        (lambda: RETRAIN.step("trian"), "expected one of validate-data"),
        (lambda: Resources(0, 1), "expected cpu and memory above 0"),
        (lambda: Resources(1, 1, "l4"), "an accelerator's name and a count, or neither"),
    ],
)
def test_what_does_not_fit_together_is_refused(make, said):
    with pytest.raises(ArgumentError, match=said):
        make()


def test_the_definition_needs_python_alone():
    program = (
        "import sys\nbefore = set(sys.modules)\nimport workloads.pipelines.definition\n"
        "found = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(found - set(sys.stdlib_module_names) - {'workloads'}))"
    )
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
