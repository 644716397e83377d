"""A rollout's memory: one file of JSON lines, to which every decision is added before it is carried out.

    {"kind": "begin", "number": 0, "at": …, "spec": {…}}
    {"kind": "controller", "number": 1, "at": …, "token": 4}
    {"kind": "decision", "number": 2, "at": …, "observation": {…}, "decision": {…}, "cursor": {…}}
    {"kind": "done", "number": 3, "at": …, "of": 2}

A decision has the state that it leads to, what was observed, and how far the observer has read: all or nothing of it is
there, so each count is part of exactly one decision. `done` says that its weights are in force. A line that was cut off
by a kill is removed when the file is opened; a broken one before it is an error. One controller at a time has it open.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workloads import disk
from workloads.rollout.decide import decide
from workloads.rollout.errors import JournalError, RolloutError, on_disk
from workloads.rollout.observation import Observation
from workloads.rollout.spec import Spec, parse
from workloads.rollout.state import Decision, State, check_next

BEGIN, CONTROLLER, DECISION, DONE = "begin", "controller", "decision", "done"


@dataclass
class Memory:
    """What a journal's entries add up to."""

    spec: Spec
    state: State = field(default_factory=State)
    token: int = 0
    """Of the newest controller."""
    number: int = -1
    """Of the newest entry."""
    decided: int = -1
    """Entry of the newest decision."""
    done: bool = True
    """Whether its weights have been set."""
    since: float = 0.0
    """When those that are in force were: Unix seconds."""
    cursor: Any = None
    """Of the observer."""
    decisions: int = 0

    def take(self, entry: Mapping[str, Any]) -> None:
        """The next entry. Raises RolloutError for one that cannot be."""
        if entry["number"] != self.number + 1:
            raise JournalError(f"entry {entry['number']} after {self.number}")
        self.number = entry["number"]
        if entry["kind"] == CONTROLLER:
            if entry["token"] <= self.token:
                raise JournalError(f"entry {self.number}: token {entry['token']} after {self.token}")
            self.token = entry["token"]
        elif entry["kind"] == DECISION:
            after = Decision.from_json(entry["decision"]).state
            check_next(self.spec, self.state, after)
            moved = (after.weight, after.mirror, after.replicas) != (
                self.state.weight,
                self.state.mirror,
                self.state.replicas,
            )
            self.state, self.cursor, self.decided = after, entry["cursor"], self.number
            self.done = self.done and not moved
            self.decisions += 1
        elif entry["kind"] == DONE:
            self.done, self.since = True, entry["at"]
        else:
            raise JournalError(f"entry {self.number}: kind {entry['kind']!r}")


class Journal:
    """Open for writing within `with`; then nobody else's."""

    def __init__(self, path: Path, spec: Spec, clock: Callable[[], float]) -> None:
        self.path, self._spec, self._clock = path, spec, clock
        self.memory = Memory(spec)

    def __enter__(self) -> Journal:
        """Raises JournalError where it is another's, of another rollout, or broken."""
        with contextlib.ExitStack() as stack:
            with on_disk(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = stack.enter_context(self.path.open("a+b"))
                try:
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise JournalError(f"{self.path}: another controller has it open") from None
                self._file.seek(0)
                text = self._file.read()
                whole = text[: text.rfind(b"\n") + 1]
                if len(whole) < len(text):
                    self._file.truncate(len(whole))
            if whole:
                self.memory = remember(whole.decode(errors="replace"), str(self.path))
                _same(self.path, self.memory.spec, self._spec)
            else:
                self.append(BEGIN, spec=self._spec.to_json())
                with on_disk(self.path.parent):
                    disk.sync(self.path.parent)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def append(self, kind: str, **fields: Any) -> int:
        """Add an entry; it is on disk when this returns. Its number. Raises JournalError."""
        entry = {"kind": kind, "number": self.memory.number + 1, "at": self._clock(), **fields}
        line = json.dumps(entry, allow_nan=False, separators=(",", ":"))
        if kind == BEGIN:
            self.memory.number = 0
        else:
            self.memory.take(json.loads(line))
        with on_disk(self.path):
            self._file.write(line.encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        return self.memory.number


def entries(text: str, place: str) -> list[dict[str, Any]]:
    """Whole lines of a journal. Raises JournalError."""
    found = []
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines()):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict) or not {"kind", "number", "at"} <= set(entry):
                raise ValueError("no entry")
        except ValueError as error:
            raise JournalError(f"{place}: line {number + 1}: {error}: {line[:80]!r}") from None
        found.append(entry)
    if not found or found[0]["kind"] != BEGIN or found[0]["number"] != 0:
        raise JournalError(f"{place}: expected a journal that begins with a rollout's specification")
    return found


def remember(text: str, place: str) -> Memory:
    """What a journal says. Raises RolloutError, naming `place` and the entry."""
    first, *others = entries(text, place)
    try:
        memory = Memory(parse(first["spec"]), number=0)
        for entry in others:
            memory.take(entry)
    except (KeyError, TypeError) as error:
        raise JournalError(f"{place}: {type(error).__name__}: {error}") from None
    except RolloutError as error:
        raise JournalError(f"{place}: {error}") from None
    return memory


@dataclass(frozen=True)
class Difference:
    """An entry whose decision is another one today."""

    number: int
    written: Mapping[str, Any]
    decided: Mapping[str, Any]


def replay(text: str, place: str) -> tuple[int, list[Difference]]:
    """Decide each entry of a journal again: how many there are, and which turn out differently. Raises RolloutError."""
    first, *others = entries(text, place)
    spec, state, count = parse(first["spec"]), State(), 0
    different = []
    for entry in others:
        if entry["kind"] != DECISION:
            continue
        count += 1
        made = decide(spec, state, Observation.from_json(entry["observation"]))
        decided = json.loads(json.dumps(made.to_json()))
        if decided != entry["decision"]:
            different.append(Difference(entry["number"], entry["decision"], decided))
        state = Decision.from_json(entry["decision"]).state
    return count, different


def read(path: Path) -> str:
    """A journal's text, whoever writes it meanwhile. Raises JournalError."""
    with on_disk(path):
        return path.read_bytes().decode(errors="replace")


def _same(path: Path, known: Spec, expected: Spec) -> None:
    if known != expected:
        one, other = known.to_json(), expected.to_json()
        names = ", ".join(sorted(name for name in {*one, *other} if one.get(name) != other.get(name)))
        raise JournalError(
            f"{path}: it is of a rollout with another {names}: expected the same specification, or a journal of its own"
        )
