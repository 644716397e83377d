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
from workloads.training.ray_board import processes
from workloads.training.sweep_trial import Tail

POLL_S = 0.5
"""Seconds between looks at a run, and so between an evaluation and Ray's knowing of it."""


class Ended(RuntimeError):
    """A run ended before its last step; Ray starts the workers anew."""


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
            final = ray.get(board.end.remote(attempt, rank, code))
            print(f"training: rank {rank} ended with {code}: {'the end' if final else 'all start anew'}", flush=True)
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
