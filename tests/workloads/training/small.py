"""Runs that are small enough for tests: a few files of the standard library as the corpus, and a narrow model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.support import ROOT
from workloads.data import corpus
from workloads.data.prepare import prepare
from workloads.training.checkpoint import Saved
from workloads.training.checkpoints.layout import Marker

OPTIONS = {
    "model.layers": 2,
    "model.width": 64,
    "model.feed_forward": 128,
    "data.sequence_length": 64,
    "training.batch_size": 8,
    "training.steps": 24,
    "training.evaluate_every": 12,
    "training.evaluation_batches": 2,
    "checkpoint.every": 8,
    "optimizer.warmup_steps": 4,
    "optimizer.learning_rate": 3e-3,
    "parallel.device": "cpu",
}


def make_data(directory: Path, packages: tuple[str, ...] = ("json", "email", "logging", "concurrent")) -> Path:
    """A prepared corpus of some packages of the standard library."""
    library = Path(sysconfig.get_path("stdlib"))
    for package in packages:
        shutil.copytree(library / package, directory / "text" / package, ignore=shutil.ignore_patterns("__pycache__"))
    prepare(corpus.directory(directory / "text", 0.2), directory / "tokens", shard_tokens=100_000)
    return directory / "tokens"


def command(tokens: Path, output: Path, **options: Any) -> list[str]:
    """The arguments of a small run; `options` by section, as in `training={"steps": 3}`."""
    more = {f"{section}.{name}": value for section, values in options.items() for name, value in values.items()}
    words = ["--config", "tiny", "--output", str(output), "--data", str(tokens)]
    for name, value in {**OPTIONS, **more}.items():
        words += [f"--{name}", str(value)]
    return words


def start(arguments: list[str], processes: int = 1) -> subprocess.Popen[str]:
    """A real run; under torchrun where it has several processes."""
    launcher = ["-m"]
    if processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    return subprocess.Popen(
        [sys.executable, *launcher, "workloads.training", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TRAINING_GRACE_S": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(arguments: list[str], processes: int = 1, timeout: float = 120.0) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a run."""
    process = start(arguments, processes)
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def interrupted(
    arguments: list[str], output: Path, step: int, number: signal.Signals = signal.SIGTERM, processes: int = 1
) -> tuple[int, str, str]:
    """As `finish`, of a run that gets a signal as soon as it has recorded that step."""
    process = start(arguments, processes)
    until(lambda: process.poll() is not None or any(line["step"] >= step for line in metrics(output)))
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def until(condition: Callable[[], bool], seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def metrics(output: Path) -> list[dict[str, Any]]:
    path = output / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def learnt(output: Path) -> list[tuple[Any, ...]]:
    """Of each step what must not depend on when the run was interrupted, to the bit."""
    names = ("step", "loss", "gradient_norm", "learning_rate", "tokens", "held_out_loss")
    return [tuple(line.get(name) for name in names) for line in metrics(output)]


class QuickCheckpointer:
    """As the real one, in a file and at once: that one starts a process, which takes longer than all of a small run."""

    age_s = 0.0

    def __init__(self, directory: Path, **_: Any) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def save(self, step: int, state: Any, extra: Any) -> None:
        torch.save({"state": state, "extra": json.dumps(extra)}, self.directory / f"step-{step:08}")

    def newest(self) -> Saved | None:
        path = max(self.directory.glob("step-*"), default=None)
        if path is None:
            return None
        extra = json.loads(torch.load(path)["extra"])
        return Saved(extra["progress"]["step"], path, extra, 1, Marker(0, 0, "", 1, {}, extra))

    def load(self, saved: Saved, state: dict[str, Any]) -> Any:
        found = torch.load(saved.path)
        for kind, tensors in state.items():
            for name, tensor in tensors.items():
                tensor.copy_(found["state"][kind][name])
        return json.loads(found["extra"])

    def staged(self) -> None: ...
    def wait(self) -> None: ...
    def close(self, seconds: float = 0.0) -> None: ...

    def uploaded(self, seconds: float = 0.0) -> bool:  # noqa: ARG002
        return True
