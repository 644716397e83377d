"""Before a pod of a Ray cluster ends: `python -m workloads.training.ray_stop`, as its preStop hook.

Tells the runs in this container to stop, so that they save, and waits for them. Without it the pod's SIGTERM would end
`ray start`, and with it everything that Ray has started.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("python -m workloads.training.ray_stop", description=__doc__)
    root.add_argument("--within", type=float, default=60.0, metavar="SECONDS", help="longest wait (default 60)")
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when no run is left, 1 when the time is up."""
    options = parser().parse_args(arguments)
    deadline, told = time.monotonic() + options.within, set[int]()
    while left := runs():
        for pid in left - told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        told |= left
        if time.monotonic() > deadline:
            print(f"ray_stop: {len(left)} processes are still there", file=sys.stderr)
            return 1
        time.sleep(0.1)
    return 0


def runs() -> set[int]:
    """Processes of `python -m workloads.training` that this process may see; children that they forked count too."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            if b"-m" in words and words[words.index(b"-m") + 1 :][:1] == [b"workloads.training"]:
                found.add(int(path.name))
    return found


if __name__ == "__main__":
    sys.exit(main())
