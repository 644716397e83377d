"""Shows a run to people: a progress bar on a terminal, plain lines in a log, nothing from processes but the first."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Display:
    """`every`: steps between lines where there is no terminal. To be used as a context manager."""

    def __init__(self, steps: int, every: int, *, shown: bool = True, out: TextIO | None = None) -> None:
        self.steps, self.every, self.shown = steps, every, shown
        self.out = out or sys.stdout
        self._bits = float("nan")
        self._recent: deque[tuple[float, float, float]] = deque(maxlen=every)
        self._first = True
        self._bar: Progress | None = None
        if shown and self.out.isatty():
            columns = (
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
            )
            self._bar = Progress(*columns, console=Console(file=self.out))
            self._task = self._bar.add_task("", total=steps)

    def __enter__(self) -> Display:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, line: str) -> None:
        if self._bar:
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
        elif self.shown:
            print(line, file=self.out, flush=True)

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """`values`: metrics by their names in metrics.jsonl."""
        seconds = values["step_seconds"]
        self._recent.append(
            (seconds, values["tokens_per_second"] * seconds, values["model_flops_utilization"] * seconds)
        )
        # Over the last steps together: a single one may have waited for a checkpoint.
        seconds, tokens, utilization = (sum(column) for column in zip(*self._recent, strict=True))
        words = (
            f"loss {values['loss']:.4f}  {thousands(tokens / seconds)} tokens/s  "
            f"MFU {utilization / seconds:.1%}  goodput {values['goodput']:.1%}"
        )
        if self._bar:
            self._bar.update(self._task, completed=step, description=words)
        elif step % self.every == 0 or step == self.steps or self._first:
            self.say(f"step {step}/{self.steps}  {words}")
        self._first = False

    def evaluation(self, step: int, values: Mapping[str, float]) -> None:
        if "held_out_loss" not in values:  # a notice came in between
            return
        loss, bits_per_byte = values["held_out_loss"], values["held_out_bits_per_byte"]
        before = "" if self._bits != self._bits else f" (before: {self._bits:.4f})"
        self._bits = bits_per_byte
        self.say(f"step {step}/{self.steps}  held-out loss {loss:.4f}, {bits_per_byte:.4f} bits per byte{before}")


def thousands(count: float) -> str:
    """`950`, `12.3 k`, `4.56 M`: for people."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"
