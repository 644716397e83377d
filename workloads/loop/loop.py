"""Runs the stages in order, whatever becomes of them: each is told as an event, and the page is written in any case."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workloads import disk
from workloads.loop import events, page, story
from workloads.loop.errors import ArgumentError, StageFailed
from workloads.loop.events import Log
from workloads.loop.processes import cpu_seconds
from workloads.loop.settings import Settings
from workloads.loop.view import View

INTERRUPTED = 130


class Interrupted(Exception):
    """Somebody wants the loop to end."""


def run(settings: Settings) -> int:
    """All stages; the exit code. Raises ArgumentError before anything has begun, StageFailed."""
    from workloads.loop.stages import STAGES, Loop

    begin(settings.output)
    log = Log(settings.output / events.NAME)
    stages = [(name, title) for name, title, _ in STAGES]
    failed: BaseException | None = None
    with View() as view:
        log.listen(view.take)
        log.add("run", state=story.RUNNING, settings=_plain(settings), machine=machine(), stages=stages)
        try:
            with interruptible(), Loop(settings, log) as loop:
                for name, title, stage in STAGES:
                    loop.stage = name
                    do(log, settings.output, name, title, lambda stage=stage: stage(loop))  # type: ignore[misc]
        except BaseException as error:  # noqa: BLE001 - whatever it was, the page tells of it; below it goes on
            failed = error
        state, says = _ended(failed)
        log.add("run", state=state, says=says)
        log.close()
        written = page.write(story.story(events.read(settings.output)), settings.output)
    print(f"page: {written}", flush=True)
    if isinstance(failed, Interrupted):
        print("loop: stopped; nothing of it runs any more", file=sys.stderr, flush=True)
        return INTERRUPTED
    if failed is not None:
        raise failed
    return 0


def do(log: Log, directory: Path, name: str, title: str, stage: Callable[[], str]) -> None:
    """One stage, which gives what it came to in a sentence. Raises StageFailed, or Interrupted as it is."""
    log.add("stage", stage=name, state=story.RUNNING)
    begun, used = time.monotonic(), cpu_seconds()

    def told(state: str, says: str, **more: Any) -> None:
        took, cpu = time.monotonic() - begun, cpu_seconds() - used
        log.add("stage", stage=name, state=state, seconds=round(took, 2), cpu_seconds=round(cpu, 2), says=says, **more)

    try:
        told(story.DONE, stage())
    except Interrupted:
        told(story.FAILED, "stopped")
        raise
    except Exception as error:
        where = Path("logs") / f"{name}.error"
        (directory / where).parent.mkdir(exist_ok=True)
        (directory / where).write_text(traceback.format_exc(), encoding="utf-8")
        told(story.FAILED, str(error) or type(error).__name__, log=str(where))
        raise StageFailed(f"{title}: {error or type(error).__name__}\nlog: {directory / where}") from error


def begin(output: Path) -> None:
    """An empty directory; what an earlier loop has left there goes. ArgumentError if it is somebody else's."""
    if output.exists() and (not output.is_dir() or (any(output.iterdir()) and not (output / events.NAME).exists())):
        raise ArgumentError(f"{output}: expected an empty directory, or one that `make loop` has written")
    shutil.rmtree(output, ignore_errors=True)
    with disk.failures(output, ArgumentError):
        output.mkdir(parents=True)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within it, Ctrl-C and SIGTERM raise Interrupted once; then they are passed over, so that cleaning up is done."""

    def told(number: int, _: object) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)

    signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(each, told) for each in signals]
    try:
        yield
    finally:
        for each, handler in zip(signals, before, strict=True):
            signal.signal(each, handler)


def machine() -> dict[str, Any]:
    """What the loop ran on."""
    return {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version(), "system": platform.system()}


def _plain(settings: Settings) -> dict[str, Any]:
    return {name: value for name, value in asdict(settings).items() if name != "output"}


def _ended(failed: BaseException | None) -> tuple[str, str]:
    if failed is None:
        return story.DONE, "all stages did what they are there for"
    return (story.STOPPED if isinstance(failed, Interrupted) else story.FAILED), str(failed).partition("\n")[0]
