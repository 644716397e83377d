"""Runs the pipeline on this machine: a task after another, tried again where that may help; what it took and cost."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workloads.pipelines.definition import BEGIN, GATE, RETRAIN, Pipeline, Task
from workloads.pipelines.errors import (
    REJECTED,
    ArgumentError,
    DataRefused,
    NotReady,
    PipelineError,
    QualityLost,
)
from workloads.pipelines.parameters import Parameters
from workloads.pipelines.run import Run
from workloads.pipelines.status import Status, status

FINAL = {error.exit_code for error in (ArgumentError, DataRefused, NotReady, QualityLost)}
"""Exit codes after which another try would end the same way."""


@dataclass(frozen=True)
class Event:
    """Something to show: a task was `started`, `done`, `failed`, `skipped` behind the gate; or the gate `rejected`."""

    task: str
    what: str
    at: float
    wall_s: float = 0.0
    cost_usd: float = 0.0
    attempt: int = 1


class StepFailed(PipelineError):
    """A task failed for good."""

    def __init__(self, task: str, code: int) -> None:
        super().__init__(
            f"{task} failed with exit code {code}; what it said is above; the same command goes on from here"
        )
        self.task, self.exit_code = task, code


def run(
    url: str,
    parameters: Parameters,
    *,
    on_event: Callable[[Event], None] = lambda _: None,
    execute: Callable[[Task], int] | None = None,
    pipeline: Pipeline = RETRAIN,
    now: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> Status:
    """Run the pipeline at `url`, or go on where it got to. Returns what it came to; raises StepFailed.

    `execute`: how a task is done, its exit code; by default as a process of its own. `in_process` needs no new one.
    """
    execute = execute or as_process
    rejected = False
    for task in pipeline.tasks(url, parameters.words(), (sys.executable, "-m", "workloads.pipelines")):
        if rejected and task.gated:
            on_event(Event(task.name, "skipped", now()))
            continue
        for attempt in range(1, task.retries + 2):
            on_event(Event(task.name, "started", now(), attempt=attempt))
            since = clock()
            code = execute(task)
            wall_s = clock() - since
            if code in (0, REJECTED):
                break
            on_event(Event(task.name, "failed", now(), wall_s, attempt=attempt))
            if code in FINAL or attempt > task.retries:
                raise StepFailed(task.name, code)
        rejected = rejected or (task.name == GATE and code == REJECTED)
        cost = _cost(url, pipeline, task)
        on_event(Event(task.name, "rejected" if code == REJECTED else "done", now(), wall_s, cost, attempt))
    return status(Run.open(url, pipeline))


def as_process(task: Task) -> int:
    """A task in a process of its own, which is ended when its time is over."""
    try:
        return subprocess.run(task.command, timeout=task.timeout_s, check=False).returncode
    except subprocess.TimeoutExpired:
        return 124


def in_process(task: Task) -> int:
    """The same command in this process: nothing has to be imported anew. A task that hangs is not ended."""
    from workloads.pipelines.cli import main

    words: Sequence[str] = task.command[task.command.index("workloads.pipelines") + 1 :]
    try:
        return main(words)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1


def _cost(url: str, pipeline: Pipeline, task: Task) -> float:
    if task.name in (BEGIN, GATE):
        return 0.0
    done = Run.open(url, pipeline).done(pipeline.step(task.name))
    return done.cost_usd if done else 0.0
