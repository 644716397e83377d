"""Says how far a transfer is, as lines: a pod's log is no terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

FIRST_S, EVERY_S = 2.0, 5.0
"""Seconds until the first line and between lines: what is done within two seconds says nothing."""


class Progress:
    """Counts bytes towards a total and now and then writes a line. Safe to call from several threads."""

    def __init__(
        self, what: str, total: int, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.what, self.total, self.out, self.clock = what, total, out or sys.stderr, clock
        self.done = 0
        self.started = clock()
        self._next = self.started + FIRST_S
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.done += count
            now = self.clock()
            if now < self._next:
                return
            self._next = now + EVERY_S
            rate = self.done / max(now - self.started, 1e-9)
            left = f"{(self.total - self.done) / rate:.0f} s left" if rate else "no end in sight"
            print(
                f"{self.what}: {gib(self.done)} of {gib(self.total)}, {gib(rate)}/s, {left}", file=self.out, flush=True
            )


def gib(count: float) -> str:
    """Bytes for people: `1.50 GiB`, `12 MiB`, `3 KiB`."""
    if count >= 2**30:
        return f"{count / 2**30:.2f} GiB"
    return f"{count / 2**20:.0f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"
