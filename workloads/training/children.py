"""Other processes around a rank: children that must not die before it, and the torchrun above it."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path

STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def spared() -> Iterator[None]:
    """Processes started inside never die of SIGTERM or SIGINT: data workers, checkpoint writers.

    torchrun and terminals send these to the whole process group, and a worker that dies first takes the last checkpoint
    with it. A blocked signal stays blocked across fork and exec, so there is no moment in which a child is not spared.
    Such children end by themselves, or by kill(): `Process.terminate()` is one of the signals that they don't hear.
    """
    kill_left_over_at_exit()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kill_left_over_at_exit() -> None:
    """multiprocessing sends SIGTERM to daemonic children at exit and waits: for ever, if they don't hear it.

    A finalizer of its own runs just before that, also in a process that multiprocessing made.
    """
    multiprocessing.util.Finalize(None, kill_left_over, exitpriority=0)


def kill_left_over() -> None:
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def dismiss_agent() -> None:
    """Tell the torchrun that started this process to stop, if there is one."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    with contextlib.suppress(OSError):
        parent = os.getppid()
        command = Path(f"/proc/{parent}/cmdline").read_bytes()
        if any(name in command for name in (b"torchrun", b"torch.distributed.run", b"workloads.training.launch")):
            os.kill(parent, signal.SIGTERM)
