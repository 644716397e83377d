"""Processes forked from the test, alone or as ranks that talk gloo: an import of torch takes seconds, a fork none."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

FORK = multiprocessing.get_context("fork")


class Alone:
    """A process with a session of its own, as torchrun starts its workers; what it says goes to a file."""

    def __init__(self, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self.told = FORK.SimpleQueue()
        self.first: Any = None
        self._said = Path(tempfile.mktemp(suffix=".said"))
        self.process = FORK.Process(target=_alone, args=(function, arguments, self.told, self._said))
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def said(self) -> str:
        return self._said.read_text()

    def exit_code(self, within_s: float = 10.0) -> int | None:
        self.process.join(within_s)
        return self.process.exitcode


@contextmanager
def alone(function: Callable[..., None], *arguments: Any) -> Iterator[Alone]:
    """Runs function(told, *arguments) in a process of its own; returns once it has told something."""
    running = Alone(function, arguments)
    try:
        running.first = running.told.get()
        yield running
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.process.join()
        running._said.unlink(missing_ok=True)


def _alone(function: Callable[..., None], arguments: tuple[Any, ...], told: Any, said: Path) -> None:
    os.setsid()
    sys.stdout = sys.stderr = sys.__stderr__ = said.open("w", buffering=1)
    os.dup2(sys.stderr.fileno(), 2)
    # pytest's own, which also restores the descriptor that it kept
    faulthandler.disable()
    function(told.put, *arguments)


class Gang:
    """The running ranks: their processes, and what they put into `told` as (rank, anything)."""

    def __init__(self, world: int, function: Callable[..., None], arguments: tuple[Any, ...], timeout_s: float) -> None:
        self.told = FORK.SimpleQueue()
        self._store = tempfile.mktemp(prefix="gang") if timeout_s else ""
        self.processes = [
            FORK.Process(
                target=_rank, args=(rank, world, self._store, timeout_s, function, arguments, self.told), daemon=True
            )
            for rank in range(world)
        ]
        for process in self.processes:
            process.start()

    def signal(self, rank: int, number: signal.Signals) -> None:
        pid = self.processes[rank].pid
        assert pid is not None
        os.kill(pid, number)

    def exit_codes(self, within_s: float = 30.0) -> list[int | None]:
        """Waits for all; None is a rank that had not ended in time."""
        end = time.monotonic() + within_s
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
        return [process.exitcode for process in self.processes]

    def messages(self) -> list[Any]:
        found = []
        while not self.told.empty():
            found.append(self.told.get())
        return found


@contextmanager
def gang(world: int, function: Callable[..., None], *arguments: Any, timeout_s: float = 20.0) -> Iterator[Gang]:
    """Runs function(rank, told, *arguments) in `world` processes, each in an initialised process group.

    timeout_s: of its collectives; 0: no process group.
    """
    running = Gang(world, function, arguments, timeout_s)
    try:
        yield running
    finally:
        for process in running.processes:
            if process.is_alive():
                process.kill()
            process.join()
        Path(running._store or "/nonexistent").unlink(missing_ok=True)


def _rank(
    rank: int,
    world: int,
    store: str,
    timeout_s: float,
    function: Callable[..., None],
    arguments: tuple[Any, ...],
    told: Any,
) -> None:
    os.environ["RANK"] = str(rank)
    torch.set_num_threads(1)
    try:
        if store:
            timeout = timedelta(seconds=timeout_s)
            dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=timeout)
        function(rank, lambda *words: told.put((rank, *words)), *arguments)
    except Exception:
        traceback.print_exc()
        raise
