"""Chaos: kills ranks of a real elastic run at random, and counts what that cost.

A run is the training command under torchrun's agent. What it did is read from what it leaves behind for people: the log
(`continues after step N`) and metrics.jsonl (every step once). `forked` runs the same agent, but forks its workers from
this process, which has torch imported: a restart then takes tenths of a second rather than many.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import ROOT
from tests.workloads.training.gang import FORK

RESTARTS = 10_000
BEGUN = re.compile(r"(?:begins|continues after step (?P<step>\d+));")
OPTIONS = ["--standalone", "--max-restarts", str(RESTARTS), "--monitor-interval", "0.2"]


GRACE_S = 120
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    # What SIGTERM leaves: much, since here many tests may share a processor.
    "TRAINING_GRACE_S": str(GRACE_S),
    "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(GRACE_S // 2),
}


@dataclass(frozen=True)
class Blow:
    """A signal, and what came of it."""

    what: str
    after_step: int
    """The last step that had been recorded."""
    resumed_after: int
    out_s: float
    """Until a step was recorded again."""

    @property
    def lost(self) -> int:
        """Steps that had to be done again."""
        return self.after_step - self.resumed_after


@dataclass(frozen=True)
class Outcome:
    exit_code: int
    seconds: float
    losses: dict[int, float]
    goodput: float
    """As the run itself reckons it: seconds of steps that count / all seconds since its first start."""
    blows: list[Blow] = field(default_factory=list)
    log: str = ""

    def lost(self, what: str) -> list[int]:
        return [blow.lost for blow in self.blows if blow.what.startswith(what)]


@dataclass
class Run:
    """A world of ranks under an agent, in `output`; started again by `start` once it has ended."""

    arguments: Sequence[str]
    output: Path
    world: int
    forked: bool

    def __post_init__(self) -> None:
        self.log = self.output.with_name(self.output.name + ".log")
        self._process: Any = None

    def start(self) -> None:
        if self.forked:
            self._process = FORK.Process(target=_agent, args=(self.arguments, self.world, self.log))
            self._process.start()
        else:
            module = ["-m", "workloads.training.launch", *OPTIONS, "--nproc-per-node", str(self.world)]
            with self.log.open("a") as log:
                self._process = subprocess.Popen(
                    [sys.executable, *module, "-m", "workloads.training", *self.arguments],
                    cwd=ROOT,
                    env={**os.environ, **ENVIRONMENT},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> int | None:
        """The exit code, once it has ended."""
        code: int | None = self._process.exitcode if self.forked else self._process.poll()
        return code

    def stop(self) -> None:
        for pid in [*self.ranks(), self.pid] if self.ended() is None else []:
            _kill(pid, signal.SIGKILL)
        while self.ended() is None:
            time.sleep(0.01)

    def ranks(self) -> list[int]:
        """Processes of the ranks: the agent's children."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.pid and b"resource_tracker" not in (path / "cmdline").read_bytes():
                    found.append(int(path.name))
            except (OSError, IndexError, ValueError):  # it has ended meanwhile
                continue
        return found

    def begun(self) -> list[int]:
        """After which step each world of ranks went on; 0 is from the start."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return [int(found["step"] or 0) for found in BEGUN.finditer(text)]

    def records(self) -> list[dict[str, Any]]:
        path = self.output / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def last_step(self) -> int:
        """The newest recorded step; cheap enough to be asked all the time."""
        try:
            with (self.output / "metrics.jsonl").open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - 4096))
                whole = file.read().rpartition(b"\n")[0].rpartition(b"\n")[2]
            return int(json.loads(whole)["step"])
        except (OSError, ValueError, KeyError):
            return 0

    def outcome(self, began: float, blows: list[Blow]) -> Outcome:
        records = self.records()
        code = self.ended()
        return Outcome(
            1 if code is None else code,
            time.monotonic() - began,
            {line["step"]: line["loss"] for line in records},
            records[-1]["goodput"] if records else 0.0,
            blows,
            self.log.read_text(errors="replace") if self.log.exists() else "",
        )


def undisturbed(run: Run, limit_s: float = 600.0) -> Outcome:
    return disturbed(run, random.Random(0), {}, limit_s=limit_s)


def disturbed(
    run: Run,
    chance: random.Random,
    kinds: dict[str, float],
    *,
    peace_s: tuple[float, float] = (0.2, 3.0),
    at_most: int = 10**9,
    limit_s: float = 600.0,
) -> Outcome:
    """Start a run, and strike again and again until it is through.

    kinds: `SIGKILL rank`, `SIGTERM rank`, `SIGTERM agent`, each with its weight. A run whose agent was told to stop is
    started again, as Kubernetes would. peace_s: how long a world of ranks is left alone once it has begun; what comes
    then hits before the first step, in the middle of a save, or wherever it hits.
    """
    began = time.monotonic()
    blows: list[Blow] = []
    struck: tuple[str, float] | None = None  # what, and when
    after_step = worlds = 0
    run.start()
    try:
        while time.monotonic() < began + limit_s:
            if run.ended() is not None:
                # It is through, or has failed by itself, unless it was told to stop.
                if run.ended() == 0 or not struck or struck[0] != "SIGTERM agent":
                    break
                run.start()
            resumed = run.begun()
            if len(resumed) == worlds:
                # Ranks go on to the end of a step after the blow, until they see it.
                after_step = max(after_step, run.last_step())
                time.sleep(0.01)
                continue
            worlds = len(resumed)
            if struck:
                blows.append(Blow(struck[0], after_step, resumed[-1], time.monotonic() - struck[1]))
            struck = None
            end = time.monotonic() + chance.uniform(*peace_s)
            while run.ended() is None and (time.monotonic() < end or not kinds or len(blows) >= at_most):
                time.sleep(0.01)
                if time.monotonic() > began + limit_s:
                    break
            if run.ended() is None:
                what = chance.choices(list(kinds), list(kinds.values()))[0] if kinds else "SIGKILL agent"
                struck = (what, time.monotonic())
                for pid in chance.sample([run.pid] if what.endswith("agent") else run.ranks() or [run.pid], 1):
                    _kill(pid, signal.Signals[what.split()[0]])
                after_step = run.last_step()
        return run.outcome(began, blows)
    finally:
        run.stop()


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _agent(arguments: Sequence[str], world: int, log: Path) -> None:
    """torchrun's agent in this process; its workers are forks."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from workloads.training.launch import code_of

    # A store for each world of ranks: see workloads/training/launch.py.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    os.environ.update(ENVIRONMENT)
    os.setsid()
    file = log.open("a", buffering=1)
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = file
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=world,
        run_id=str(os.getpid()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=RESTARTS,
        monitor_interval=0.2,
        start_method="fork",
        logs_specs=DefaultLogsSpecs(),
    )
    try:
        elastic_launch(config, _work)(list(arguments))
    except SignalException:
        sys.exit(75)
    except ChildFailedError as error:
        sys.exit(code_of({failure.exitcode for failure in error.failures.values()}))


def _work(arguments: list[str]) -> None:
    import torch

    from workloads.training.cli import main

    torch.set_num_threads(1)
    fork_saver()
    if code := main(arguments):
        sys.exit(code)


def fork_saver() -> None:
    """Have the process that writes checkpoints ready: started from nothing, it imports torch, at seconds a restart.

    Forked here, before this process has threads, it waits for the descriptor that it serves. A second one, should the
    first die, is started as always.
    """
    from workloads.training.checkpoints import planning, saver, staging  # noqa: F401

    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _, descriptors, _, _ = socket.recv_fds(theirs, 1, 1)
        if descriptors:
            saver.main(descriptors[0], parent)
        os._exit(0)
    theirs.close()
    ready = [pid]

    def start(descriptor: int) -> saver.Process:
        if not ready:
            return saver.start(descriptor)
        socket.send_fds(ours, [b"."], [descriptor])
        return Forked(ready.pop())

    saver.Saver.__init__.__defaults__ = (start,)


class Forked:
    """What `Saver` needs of a process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        end = time.monotonic() + (1e9 if timeout is None else timeout)
        while self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                raise subprocess.TimeoutExpired("saver", timeout or 0.0)
            else:
                time.sleep(0.005)
        return self.returncode

    def kill(self) -> None:
        _kill(self.pid, signal.SIGKILL)
