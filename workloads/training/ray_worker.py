"""What each of Ray Train's workers does: it runs training as a rank, and passes on how that goes."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.train import get_context, report
from ray.train.collective import broadcast_from_rank_zero

import workloads
from workloads.training.attached import attached
from workloads.training.errors import STOPPED, CheckpointError, ConfigError, DataError, Diverged
from workloads.training.preemption import UNSAVED
from workloads.training.sweep_trial import Tail

POLL_S = 0.5
"""Seconds between looks at a run, and so between an evaluation and Ray's knowing of it."""

FINAL = {error.exit_code for error in (ConfigError, DataError, CheckpointError, Diverged)}
"""Exit codes that another try would not change."""


class Ended(RuntimeError):
    """A run ended before its last step; Ray starts the workers anew."""


class Board:
    """An actor that outlives the workers: what rank 0 reports, for all of them, and how their runs ended."""

    def __init__(self, restarts: int) -> None:
        self.restarts, self.failures, self.final = restarts, 0, 0
        self.attempt, self.whole = "", False
        self.records: list[dict[str, Any]] = []
        self.ends: dict[int, int] = {}

    def begin(self, attempt: str) -> int:
        """Of new workers; the exit code with which they are to leave at once, 0: none."""
        self.attempt, self.records, self.whole, self.ends = attempt, [], False, {}
        return self.final

    def post(self, attempt: str, records: list[dict[str, Any]], whole: bool) -> None:
        """More metrics of rank 0; `whole`: these are the last ones."""
        if attempt == self.attempt:
            self.records += records
            self.whole |= whole

    def read(self, since: int) -> tuple[list[dict[str, Any]], bool]:
        return self.records[since:], self.whole

    def end(self, attempt: str, rank: int, code: int) -> None:
        """How a run ended. What others say after the first one is what came of its end, but for a code of its own."""
        if attempt != self.attempt:
            return
        first = not self.ends
        self.ends[rank] = code
        if code in FINAL:
            self.final = code
        elif first and code not in (STOPPED, UNSAVED):
            self.failures += 1
            if self.failures > self.restarts:
                self.final = code if code > 0 else 1

    def code(self) -> int:
        return self.final


def work(loop: Mapping[str, Any]) -> None:
    """Ray Train's `train_loop_per_worker`. Raises Ended, for Ray to begin anew."""
    context, board, output = get_context(), loop["board"], Path(loop["output"])
    rank = context.get_world_rank()
    given: dict[str, Any] = {}
    if rank == 0:
        attempt = uuid.uuid4().hex
        final = ray.get(board.begin.remote(attempt))
        given = {"attempt": attempt, "final": final, "address": ray.util.get_node_ip_address(), "port": free_port()}
    given = broadcast_from_rank_zero(given)
    if given["final"]:
        return
    size = processes(context.get_world_size(), loop["batch_size"], loop["tensor"])
    run = None
    if rank < size:
        output.mkdir(parents=True, exist_ok=True)
        own = output / f".attempt-{given['attempt']}.lock"
        wait_for_others(output, own, float(os.environ.get("TRAINING_GRACE_S", "30")))
        world = {
            "RANK": rank,
            "WORLD_SIZE": size,
            "LOCAL_RANK": context.get_local_rank(),
            "MASTER_ADDR": given["address"],
            "MASTER_PORT": given["port"],
        }
        # Ray's workers have the driver's path to modules, their children have it from here.
        path = os.pathsep.join([str(Path(workloads.__path__[0]).parent), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, **{name: str(value) for name, value in world.items()}}
        command = [sys.executable, "-m", "workloads.training", *loop["arguments"]]
        run = subprocess.Popen(attached(command, str(own)), env=environment, stdin=subprocess.DEVNULL)
    try:
        _follow(run, rank, given["attempt"], loop)
    finally:
        if run is not None and run.poll() is None:
            run.send_signal(signal.SIGTERM)


def _follow(run: subprocess.Popen[bytes] | None, rank: int, attempt: str, loop: Mapping[str, Any]) -> None:
    """Until the run ends. All workers report the same to Ray, as often: what rank 0's run has recorded."""
    board, told = loop["board"], 0
    metrics = Tail(Path(loop["output"]) / "metrics.jsonl", from_now=True)
    while True:
        code = None if run is None else run.poll()
        if code:
            ray.get(board.end.remote(attempt, rank, code))
            raise Ended(f"rank {rank} ended with {code}")
        if rank == 0:
            records = [json.loads(line) for line in metrics.lines()]
            chosen = [one for one in records if "held_out_loss" in one or one["step"] % loop["every"] == 0]
            ray.get(board.post.remote(attempt, chosen, code == 0))
        records, whole = ray.get(board.read.remote(told))
        for record in records:
            report(record)
        told += len(records)
        if whole and (run is None or code == 0):
            return
        time.sleep(POLL_S)


def processes(workers: int, batch_size: int, tensor: int) -> int:
    """How many of the workers train: as many as can share a batch evenly. The others wait for the next restart."""
    fit = [n for n in range(tensor, workers + 1, tensor) if batch_size % (n // tensor) == 0]
    # None: the run itself says what is wrong.
    return max(fit, default=workers)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return found.getsockname()[1]


def wait_for_others(output: Path, own: Path, seconds: float) -> None:
    """Until the runs of workers before are gone: they may still be saving. Raises Ended where they don't end."""
    deadline = time.monotonic() + seconds
    for path in sorted(output.glob(".attempt-*.lock")):
        if path == own:
            continue
        with path.open("rb") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise Ended(f"{path}: a run of workers before has not ended in {seconds:.0f} s") from None
                    time.sleep(0.1)
                except OSError as error:
                    # A file system without locks, such as Lustre where it is not mounted with them.
                    print(f"training: {path}: {error.strerror}: runs before are not waited for", file=sys.stderr)
                    break
            path.unlink(missing_ok=True)
