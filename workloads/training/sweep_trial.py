"""One trial of a sweep: a training run of its own process, whose evaluations are read as they come."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workloads.training.attached import attached
from workloads.training.errors import on_disk
from workloads.training.search import word


def settings(given: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Those of the sweep as they are for a trial: whatever a run keeps for itself is apart from other trials'."""
    apart = dict(given)
    if apart.get("checkpoint.remote"):
        apart["checkpoint.remote"] = f"{apart['checkpoint.remote'].rstrip('/')}/trial-{number:05}"
    return apart


def words(config: str, output: Path | str, values: Mapping[str, Any]) -> list[str]:
    """The arguments of a run of `workloads.training`."""
    named = [text for name, value in values.items() for text in (f"--{name}", word(value))]
    return ["--config", config, "--output", str(output), *named]


class Run:
    """A training run in `directory`, as a child of this process, that ends in order if this process is killed."""

    def __init__(self, directory: Path, arguments: Sequence[str], processes: int = 1) -> None:
        launcher = ["-m"]
        if processes > 1:
            launcher = ["-m", "workloads.training.launch", "--standalone", "--nproc-per-node", str(processes), "-m"]
        self.directory = directory
        self._metrics = Tail(directory / "metrics.jsonl")
        with on_disk(directory):
            directory.mkdir(parents=True, exist_ok=True)
            log = (directory / "log.txt").open("ab")
        with log:
            # A session of its own: a terminal's Ctrl-C is passed on by this process, once.
            self.process = subprocess.Popen(
                attached([sys.executable, *launcher, "workloads.training", *arguments]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def poll(self) -> int | None:
        """The exit code, once it has ended; negative for a signal."""
        return self.process.poll()

    def tell(self, number: int) -> None:
        """Pass a signal on: a run that gets SIGTERM or SIGINT saves and ends with 75."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def stop(self, grace_s: float) -> int:
        """End it, in order if it can; the exit code."""
        self.tell(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(grace_s)
        self.kill()
        return self.process.wait()

    def kill(self) -> None:
        """It, and all that it has started: torchrun's ranks have sessions of their own."""
        for pid in [*_descendants(self.process.pid), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def evaluations(self) -> list[tuple[int, float]]:
        """Steps and held-out losses that were recorded since the last call."""
        found = []
        for line in self._metrics.lines():
            values = json.loads(line)
            if "held_out_loss" in values:
                found.append((int(values["step"]), float(values["held_out_loss"])))
        return found

    def last_words(self) -> str:
        """The end of its log, for people: the last line that says something."""
        with contextlib.suppress(OSError):
            with (self.directory / "log.txt").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
                lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
            own = [line for line in lines if line.startswith("training: ")]
            return (own or lines or [""])[-1].removeprefix("training: ").strip()
        return ""


def _descendants(pid: int) -> list[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {pid})


class Tail:
    """The whole lines of a file that grows, and that is replaced when a run goes back."""

    def __init__(self, path: Path, *, from_now: bool = False) -> None:
        """`from_now`: without the lines that are there already."""
        self.path, self._inode, self._offset = path, 0, 0
        if from_now:
            self.lines()

    def lines(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            inode, size = os.fstat(file.fileno()).st_ino, os.fstat(file.fileno()).st_size
            if inode != self._inode or size < self._offset:
                self._inode, self._offset = inode, 0
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
            self._offset += len(whole) + len(newline)
            return whole.decode().splitlines()
        return []
