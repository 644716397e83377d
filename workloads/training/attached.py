"""Runs a command that ends when whoever started it does: `python -m workloads.training.attached PARENT LOCK COMMAND`.

When the process PARENT is gone, whatever ended it, the command gets SIGTERM, as from Kubernetes: a run saves and
leaves. It, and all that it starts, hold the file LOCK (`-`: none) meanwhile, so that others can wait for its end.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
"""prctl(2): kept across execve(2). It is the parent's thread that counts: it has to wait for the command."""


def attached(command: Sequence[str], lock: str = "-") -> list[str]:
    """The command line by which this process starts `command` as long as it lives itself."""
    return [sys.executable, "-m", "workloads.training.attached", str(os.getpid()), lock, *command]


def main(arguments: Sequence[str]) -> None:
    parent, lock, *command = arguments
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(f"attached: process {parent} is gone")
    if lock != "-":
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        os.set_inheritable(descriptor, True)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
