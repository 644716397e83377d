"""What Ray Train's workers know of each other beyond Ray: metrics, how runs ended, and which of them train."""

from __future__ import annotations

from typing import Any

from workloads.training.errors import STOPPED, CheckpointError, ConfigError, DataError, Diverged

UNSAVED = 76
"""As in preemption.py, which takes torch along."""

FINAL = {error.exit_code for error in (ConfigError, DataError, CheckpointError, Diverged)}
"""Exit codes that another try would not change."""


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

    def end(self, attempt: str, rank: int, code: int) -> bool:
        """How a run ended; whether it is the end of all. What others say after the first one is what came of its end,
        but for a code of its own."""
        if attempt != self.attempt:
            return bool(self.final)
        first = not self.ends
        self.ends[rank] = code
        if code in FINAL:
            self.final = code
        elif first and code not in (STOPPED, UNSAVED):
            self.failures += 1
            if self.failures > self.restarts:
                self.final = code if code > 0 else 1
        return bool(self.final)

    def code(self) -> int:
        return self.final


def processes(workers: int, batch_size: int, tensor: int) -> int:
    """How many of the workers train: as many as can share a batch evenly. The others wait for the next restart."""
    fit = [n for n in range(tensor, workers + 1, tensor) if batch_size % (n // tensor) == 0]
    # None: the run itself says what is wrong.
    return max(fit, default=workers)
