"""What happened, a JSON object a line: all that stages tell, and all that the view and the page are drawn from.

Each event has `at` (Unix seconds), `kind` and what that kind tells:

    run         state (running, done, failed, stopped), and at the start settings, machine, stages
    stage       stage, state (running, done, failed), and at the end seconds, cpu_seconds, says, log
    say         stage, text
    traffic     asked, answered, failed, harmed, prose, arms: {arm: {answered, failed, bits, p50_s, p99_s}}
    weights     rollout, weights: {arm: share of the requests}, state
    version     version, role, origin, bits: {slice: bits per byte}: a model version that now exists
    drift       what monitoring found in a window
    trigger     fired, reason, says: whether a retraining begins
    evaluation  rows: one a slice; passed, says
    step        step, seconds, cost_usd, reused: a step of the pipeline
    decision    rollout, action, reason, says, evidence
    outcome     rollout, version, outcome, says, figures
    series      title, unit, query, points: what Prometheus answered
    file        title, path (relative to the run's directory)
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workloads.loop.errors import ArgumentError

NAME = "events.jsonl"
Event = dict[str, Any]


class Log:
    """Appends events. Safe to use from several threads; who listens is told each, in order."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._clock, self.began = path, clock, clock()
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self._listeners: list[Callable[[Event], None]] = []

    def listen(self, listener: Callable[[Event], None]) -> None:
        self._listeners.append(listener)

    def add(self, kind: str, **told: Any) -> Event:
        """`told` is JSON. Flushed before anybody is told: a kill loses no event that somebody saw."""
        with self._lock:
            event: Event = {"at": round(self._clock(), 3), "kind": kind, **told}
            self._file.write(json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n")
            self._file.flush()
            for listener in self._listeners:
                listener(event)
            return event

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[Event]:
    """All events of a run's directory or file; a last line that was cut short is left out. Raises ArgumentError."""
    place = path / NAME if path.is_dir() else path
    try:
        lines = place.read_bytes().split(b"\n")
    except OSError as error:
        raise ArgumentError(f"{place}: {error.strerror}; expected a directory that `make loop` has written") from None
    return list(_parsed(lines, place))


def _parsed(lines: list[bytes], place: Path) -> Iterator[Event]:
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            event = json.loads(line)
            if not isinstance(event["kind"], str) or not isinstance(event["at"], int | float):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            # What follows the last newline was being written when the run was killed.
            if number == len(lines):
                return
            shown = line[:80].decode(errors="replace")
            raise ArgumentError(f"{place}:{number}: {shown!r}; expected an object with `at` and `kind`") from None
        yield event
