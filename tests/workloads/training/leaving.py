"""Measures how long the training command takes to leave after a notice that hits it at a random moment of any phase.

It is the command itself, `python -m workloads.training`, in a process that was forked after torch had been imported.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.workloads.training.chaos import fork_saver
from tests.workloads.training.gang import alone
from tests.workloads.training.small import command
from workloads.training.checkpoints import layout
from workloads.training.errors import STOPPED
from workloads.training.preemption import GRACE_VARIABLE, UNSAVED

NOTICE_S = 20.0
"""Shorter than any cloud's: GKE's spot machines give 105, or 15 before Kubernetes 1.35; EC2's 120."""
_LARGE = {"layers": 2, "width": 768, "heads": 12, "key_value_heads": 12, "feed_forward": 3072}
PHASES: dict[str, tuple[dict[str, dict[str, Any]], float]] = {
    "training": ({}, 1.0),
    "evaluation": (
        {"training": {"steps": 1000, "evaluate_every": 1, "evaluation_batches": 1000}, "checkpoint": {"every": 1}},
        3.0,
    ),
    "compilation": ({"parallel": {"compile": "true"}}, 15.0),
    # 17 M parameters: each save is 200 MB, longer than a step.
    "save": ({"model": _LARGE, "training": {"steps": 1000, "batch_size": 1}, "checkpoint": {"every": 1}}, 3.0),
}
"""Phase -> options of a run that is mostly in it, and in how many seconds after its beginning notices come."""

_BEGUN = re.compile(r"begins|continues after step")


@dataclass(frozen=True)
class Left:
    phase: str
    seconds: float
    exit_code: int | None
    steps: int
    """Steps that were recorded when it had left."""
    resumes: int
    """The step of the checkpoint that it left, 0 without one."""
    said: str

    @property
    def share(self) -> float:
        """Of the notice that had passed when the process was gone."""
        return self.seconds / NOTICE_S

    @property
    def in_time(self) -> bool:
        return self.share <= 0.5 and self.exit_code in (STOPPED, UNSAVED)

    @property
    def lost(self) -> int:
        """Steps that have to be done again."""
        return self.steps - self.resumes


def measure(times: int, chance: random.Random, tokens: Path, phases: tuple[str, ...] = tuple(PHASES)) -> list[Left]:
    """Each phase in turn."""
    found = []
    for number in range(times):
        with tempfile.TemporaryDirectory() as directory:
            found.append(_one(phases[number % len(phases)], chance, tokens, Path(directory) / "run"))
    return found


def by_phase(left: list[Left]) -> dict[str, list[Left]]:
    return {phase: [one for one in left if one.phase == phase] for phase in PHASES}


def _one(phase: str, chance: random.Random, tokens: Path, output: Path) -> Left:
    options, within_s = PHASES[phase]
    with alone(_run, command(tokens, output, **{"training": {"steps": 100_000}, **options})) as process:
        while not _under_way(phase, process.said, output):
            time.sleep(0.02)
            assert process.process.is_alive(), process.said
        time.sleep(chance.uniform(0, within_s))
        began = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)
        code = process.exit_code(60)
        seconds, said = time.monotonic() - began, process.said
    return Left(phase, seconds, code, _recorded(output), _committed(output), said)


def _under_way(phase: str, said: str, output: Path) -> bool:
    """Whether a run is where notices may come: before its first step in a compilation, else after its first save."""
    if phase == "compilation":
        return bool(_BEGUN.search(said))
    return any((output / "checkpoints").glob(f"*/{layout.MARKER}"))


def _run(tell: Callable[..., None], arguments: list[str]) -> None:
    from workloads.training.cli import main

    os.environ[GRACE_VARIABLE] = str(NOTICE_S)
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.__stdout__ = sys.stdout
    # Ready at once: what is measured is leaving, not the imports of the process that saves.
    fork_saver()
    tell("started")
    sys.exit(main(arguments))


def _recorded(output: Path) -> int:
    path = output / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def _committed(output: Path) -> int:
    from workloads.training.checkpoint import Checkpointer

    checkpointer = Checkpointer(output / "checkpoints")
    try:
        newest = checkpointer.newest()
        return newest.step if newest else 0
    finally:
        checkpointer.close()
