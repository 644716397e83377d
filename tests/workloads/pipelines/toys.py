"""A pipeline of toys: steps that write a few bytes, to try what holds for any step."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest

from workloads.pipelines.definition import Gate, Pipeline, Resources, Step
from workloads.pipelines.run import FILE, Run
from workloads.pipelines.store import open_store

SOURCES = {
    "toy-one": """
def run(context):
    context.outputs["numbers"].mkdir()
    for number in range(3):
        (context.outputs["numbers"] / f"{number}.txt").write_text(str(number + context.parameters["version"]))
    context.outputs["clock"].write_text(str(__import__("time").time()))
    return {"count": 3}
""",
    "toy-two": """
import json
def run(context):
    total = sum(int(path.read_text()) for path in context.inputs["numbers"].iterdir())
    context.outputs["total"].write_text(json.dumps({"total": total, "accepted": total > 0}))
""",
    "toy-three": """
def run(context):
    if context.parameters["margin"] > 1:
        from workloads.pipelines.errors import DataRefused
        raise DataRefused("the margin is too large")
    context.outputs["word"].write_text(context.inputs["total"].read_text().upper())
""",
}
SMALL = Resources(1, 1)
TOYS = Pipeline(
    "toys",
    (
        Step("toy-one", (), ("numbers", "clock"), ("version",), (), SMALL, 60, volatile=("clock",)),
        Step("toy-two", ("numbers",), ("total",), (), (), SMALL, 60),
        Step("toy-three", ("total",), ("word",), ("margin",), (), SMALL, 60),
    ),
    Gate("toy-two", "total"),
)


def install(directory: Path, monkeypatch: pytest.MonkeyPatch, sources: dict[str, str] = SOURCES) -> None:
    """Their modules, as if they were among the real steps."""
    from workloads.pipelines import run

    directory.mkdir(exist_ok=True)
    for name, source in sources.items():
        step = TOYS.step(name)
        path = directory / f"{name}-{abs(hash(source))}.py"
        path.write_text(source, encoding="utf-8")
        module = types.ModuleType(step.module)
        module.__file__ = str(path)
        exec(compile(source, str(path), "exec"), module.__dict__)
        monkeypatch.setitem(sys.modules, step.module, module)
    run.code.cache_clear()


def begin(url: str, **parameters: object) -> Run:
    """A run of toys with those parameters."""
    document = {
        "id": "toys-1",
        "begun": 1.0,
        "parameters": {"prices": {"cpu": 3600.0}},
        "resolved": {"version": 1, "margin": 0.5, **parameters},
    }
    open_store(url).write(FILE, json.dumps(document).encode())
    return Run.open(url, TOYS)


def digests(run: Run) -> dict[str, str]:
    volatile = {name for step in TOYS.steps for name in step.volatile}
    made = [run.done(step) for step in TOYS.steps]
    return {name: sha for one in made if one for name, sha in one.digests().items() if name not in volatile}
