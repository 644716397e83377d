"""Runs of the pipeline: as a program of its own, followed by the markers that its steps leave."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workloads.loop.errors import LoopError
from workloads.loop.events import Log
from workloads.loop.processes import Program
from workloads.loop.settings import CORE_HOUR_USD, NAME, Settings
from workloads.pipelines.definition import RETRAIN
from workloads.pipelines.errors import NotReady
from workloads.pipelines.parameters import Parameters
from workloads.pipelines.run import Done, Run
from workloads.pipelines.status import status, verdict_of

STEP_S = 240.0
"""A step of so small a model that takes longer hangs."""


class Retraining:
    """One run. What it comes to is told as events of its steps and of its evaluation."""

    def __init__(
        self, log: Log, name: str, directory: Path, parameters: Parameters, environment: Mapping[str, str]
    ) -> None:
        """`directory`: of the loop; the run is kept in `directory/runs/name`."""
        self.name, self._log = name, log
        self._place = directory / "runs" / name
        self._where = directory / "logs" / f"pipeline-{name}.log"
        words = ["run", "--in-process", "--run", str(self._place), *parameters.words()]
        log.add("file", path=str(self._where.relative_to(directory)), title=f"pipeline {name}: what its steps said")
        self.program = Program(
            f"pipeline {name}", [sys.executable, "-m", "workloads.pipelines", *words], self._where, environment
        )
        self.cost_usd = 0.0
        """Of the steps that are done."""
        self._told: set[str] = set()

    def until(self, step: str) -> Done:
        """Wait for a step to be done. Raises LoopError if the pipeline ends without it, or takes too long."""
        deadline = time.monotonic() + STEP_S
        while True:
            over = self.program.process.poll() is not None
            found = self._look()
            if step in found:
                return found[step]
            if over or time.monotonic() > deadline:
                raise LoopError(self._why(step))
            time.sleep(0.3)

    def finish(self) -> dict[str, Any]:
        """Wait until it has ended; the registration that it came to. Raises LoopError if it was rejected or failed."""
        done = self.until("register")
        self.program.finish(STEP_S)
        found: dict[str, Any] = Run.open(str(self._place)).document(done, "registration")
        return found

    def _look(self) -> dict[str, Done]:
        try:
            run = Run.open(str(self._place))
        except NotReady:
            return {}
        found = {step.name: done for step in RETRAIN.steps if (done := run.done(step))}
        for name, done in found.items():
            if name in self._told:
                continue
            self._told.add(name)
            self.cost_usd += done.cost_usd
            self._log.add(
                "step", run=self.name, step=name, seconds=round(done.wall_s, 2), cost_usd=done.cost_usd,
                facts={key: value for key, value in done.facts.items() if isinstance(value, int | float | str)},
            )  # fmt: skip
            if name == "evaluate":
                self._evaluated(run)
        return found

    def _evaluated(self, run: Run) -> None:
        import json
        import tempfile

        with tempfile.TemporaryDirectory() as directory:
            report = json.loads((run.artifact("evaluation", Path(directory)) / "report.json").read_bytes())
        verdict = verdict_of(run)
        assert verdict is not None, "it is evaluated"
        against = report["champion_bits_per_byte"] is not None
        rows = [
            {
                "slice": one["slice"],
                "documents": one["documents"],
                "candidate": one["candidate"],
                "champion": one["champion"] if against else None,
                "says": ""
                if not against
                else "too few to judge"
                if not one["judged"]
                else "ok"
                if one["passed"]
                else "worse",
            }
            for one in report["comparisons"]
        ]
        says = "; ".join(verdict["reasons"]) or "no worse than allowed on any slice"
        self._log.add(
            "evaluation", version=f"{NAME}:{run.resolved['version']}", against="the champion" if against else "nobody",
            rows=rows, passed=verdict["accepted"], says=says if against else "the first of its kind",
        )  # fmt: skip

    def _why(self, step: str) -> str:
        try:
            found = status(Run.open(str(self._place)))
            reasons = "; ".join(found.reasons) or found.outcome
        except NotReady:
            reasons = "it did not begin"
        return f"pipeline {self.name}: step {step}: {reasons}; see {self._where}\n{self.program.tail()}"


def parameters(
    settings: Settings, corpus: Path, repository: str, mlflow: str, *, champion: str, steps: int
) -> Parameters:
    """What all runs of the loop have in common."""
    return Parameters(
        corpus=str(corpus),
        held_out=0.15,
        slices="source",
        minimum_documents=10,
        training={
            "model.layers": str(settings.layers),
            "model.width": str(settings.width),
            "data.sequence_length": str(settings.sequence_length),
            "training.steps": str(steps),
            "training.batch_size": str(settings.batch_size),
            "training.evaluate_every": str(steps),
            "checkpoint.every": str(steps),
            "optimizer.learning_rate": "0.003",
        },
        champion=champion,
        evaluation_tokens=512,
        margin=0.05,
        quantization_limit=0.05,
        model=NAME,
        repository=repository,
        mlflow=mlflow,
        prices={"cpu": CORE_HOUR_USD},
    )
