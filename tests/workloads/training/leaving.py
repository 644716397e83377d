"""Measures how long processes take to leave after a notice that hits them at a random moment of any phase."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import torch

from tests.workloads.training.gang import alone
from workloads.training.preemption import PREEMPTED, UNSAVED, Agreement, Notices

NOTICE_S = 4.0
PHASES = ("training", "evaluation", "compilation", "save")


@dataclass(frozen=True)
class Left:
    phase: str
    seconds: float
    exit_code: int | None

    @property
    def share(self) -> float:
        """Of the notice that had passed when the process was gone."""
        return self.seconds / NOTICE_S

    @property
    def in_time(self) -> bool:
        return self.share <= 0.5 and self.exit_code in (PREEMPTED, UNSAVED)

    @property
    def saved(self) -> bool:
        return self.exit_code == PREEMPTED


def measure(times: int, chance: random.Random) -> list[Left]:
    """Each phase in turn; the notice comes up to half a second after it has begun."""
    found = []
    for number in range(times):
        phase = PHASES[number % len(PHASES)]
        with alone(_run, phase, chance.choice([0.5, 2.5, 30.0])) as process:
            time.sleep(chance.uniform(0, 0.5))
            began = time.monotonic()
            os.kill(process.pid, signal.SIGTERM)
            code = process.exit_code(60)
            found.append(Left(phase, time.monotonic() - began, code))
    return found


def by_phase(left: list[Left]) -> dict[str, list[Left]]:
    return {phase: [one for one in left if one.phase == phase] for phase in PHASES}


def _run(tell: Callable[..., None], phase: str, long_s: float) -> None:
    """A loop that leaves when told. `long_s`: of a compilation or save, which may outlast any notice."""
    torch.set_num_threads(1)
    weight = torch.randn(64, 64, requires_grad=True)
    with Notices(grace_s=NOTICE_S, watch="none", out=StringIO()) as notices:
        stopping, evaluating = Agreement(notices), Agreement(notices)

        def step() -> None:
            (weight @ weight).sum().backward()
            weight.grad = None

        tell("ready")
        while True:
            if phase == "compilation":
                _compile(long_s)
            if phase == "save":
                _save(long_s)
            if phase == "evaluation":
                for _ in range(10_000):
                    step()
                    if evaluating():
                        break
            step()
            if stopping():
                _save(0.01)
                notices.leave()


def _compile(seconds: float) -> None:
    """What torch.compile does to a process: long stretches in C++ and Python that nothing interrupts."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        compile("x = " + "+".join(map(str, range(2000))), "generated", "exec")
        time.sleep(0.001)


def _save(seconds: float) -> None:
    """Writes, and waits for a disk or an object store."""
    path = Path(f"/tmp/leaving-{os.getpid()}")
    path.write_bytes(b"x" * 1_000_000)
    time.sleep(seconds)
    path.unlink()
