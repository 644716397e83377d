"""Sees what a synchronous run cannot see from within: a rank that hangs, and one that is slower than the others.

Each rank says where it is on a board that all can read, in a thread, once a second. A rank that does not get on reads
the board and says which one is behind, in which phase of which step, since when, and with which stack:

    hang: no progress for 40 s in backward of step 812
    hang: rank 3 (node-b, pid 417) is behind all others: in data of step 812 since 41 s
    hang: stack of rank 3: ...
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

import torch.distributed as dist

HUNG = 77
"""Exit code of a rank that leaves because nothing moves any more; torchrun then starts the ranks anew."""

PERSISTS = 3
"""Looks in a row, ten beats apart, in which a rank must be slow before it is told: machines have neighbours."""

SLOW_Z = 3.5
"""Modified z-scores above this are outliers. Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993."""

NOTHING_S = 1e-9
"""A step takes longer; less is a clock that has not moved."""

STACK_BYTES = 16384


@dataclass(frozen=True)
class Beat:
    """What a rank says of itself."""

    rank: int
    host: str
    pid: int
    number: int
    """Counts up with every word on the board: one that stands still is of a process that is dead or stopped."""
    reached: int
    """Phases entered so far. All ranks go through the same ones, so the smallest is the one that is behind."""
    step: int
    phase: str
    seconds: float
    """In this phase, when this was said."""
    busy_s: float = 0.0
    """Of a usual step, without waiting for others; 0: unknown."""
    stack: str = ""


# ---- boards


class Board(Protocol):
    """Where each rank leaves one text for the others. Raises OSError or RuntimeError when it cannot be reached."""

    def post(self, rank: int, text: str) -> None: ...

    def read(self, rank: int) -> str | None: ...


class FileBoard:
    """A directory that all ranks see: one machine, or a shared file system."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def post(self, rank: int, text: str) -> None:
        part = self.directory / f"rank-{rank}.{os.getpid()}.part"
        part.write_text(text, encoding="utf-8")
        os.replace(part, self.directory / f"rank-{rank}.json")

    def read(self, rank: int) -> str | None:
        try:
            return (self.directory / f"rank-{rank}.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None


class StoreBoard:
    """The store through which the ranks found each other, over a connection of its own.

    Rank 0 keeps it, or torchrun's agent. Keys carry the restart's number: what ranks before this one said is of no
    interest. A store whose keeper is stopped never answers, which `Watch` reckons with.
    """

    def __init__(self, store: dist.Store | None = None) -> None:
        if store is None:
            store = dist.distributed_c10d._get_default_store()
        # A request that waits holds its connection, and the ranks need theirs.
        self._store: dist.Store = store.clone()  # type: ignore[attr-defined]
        self._prefix = f"watch/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"

    def post(self, rank: int, text: str) -> None:
        self._store.set(f"{self._prefix}/{rank}", text)

    def read(self, rank: int) -> str | None:
        key = f"{self._prefix}/{rank}"
        # get() would wait for a key that is not there.
        return self._store.get(key).decode() if self._store.check([key]) else None


# ---- what follows from it: pure functions


@dataclass(frozen=True)
class Suspect:
    rank: int
    reason: str


def blame(beats: Mapping[int, Beat | None], silent: Sequence[int] = ()) -> list[Suspect]:
    """Which ranks the others wait for. `silent`: those whose beats stand still. Empty: nothing tells them apart."""
    missing = [Suspect(rank, f"rank {rank} has never been heard of") for rank, beat in beats.items() if beat is None]
    known = [beat for beat in beats.values() if beat is not None]
    dead = [
        Suspect(
            beat.rank,
            f"{_named(beat)} is not heard of any more, dead, stopped or deep in C code; it was last {_place(beat)}",
        )
        for beat in known
        if beat.rank in silent
    ]
    if missing or dead:
        return missing + dead
    furthest = max(beat.reached for beat in known)
    behind = [beat for beat in known if beat.reached < furthest]
    least = min((beat.reached for beat in behind), default=0)
    others = "all others" if len(behind) == 1 else "the others"
    return [
        Suspect(beat.rank, f"{_named(beat)} is behind {others}: {_place(beat)}")
        for beat in behind
        if beat.reached == least
    ]


@dataclass(frozen=True)
class Straggler:
    rank: int
    seconds: float
    usual: float
    z: float

    def __str__(self) -> str:
        times = self.seconds / self.usual
        return f"rank {self.rank} takes {self.seconds:.3g} s a step, {times:.2f} times the others' {self.usual:.3g} s"


def stragglers(seconds: Mapping[int, float], *, z: float = SLOW_Z, share: float = 0.1) -> list[Straggler]:
    """Ranks that are slower than the others: by a robust z-score, and by at least `share` of what is usual.

    seconds: of each rank's usual step, its own work only. Each rank is held against the median of the others, so that
    one of two can be told too; spread is their median absolute deviation, scaled to a normal's sigma, but at least 2 %
    of the median: ranks that agree to the microsecond would make every hair a boulder.
    """
    found = []
    for rank, own in seconds.items():
        others = [value for other, value in seconds.items() if other != rank and value > NOTHING_S]
        if not others or own <= NOTHING_S:
            continue
        usual = statistics.median(others)
        spread = 1.4826 * statistics.median(abs(value - usual) for value in others)
        score = (own - usual) / max(spread, 0.02 * usual)
        if score > z and own > (1 + share) * usual:
            found.append(Straggler(rank, own, usual, score))
    return sorted(found, key=lambda one: -one.z)


def _named(beat: Beat) -> str:
    return f"rank {beat.rank} ({beat.host}, pid {beat.pid})"


def _place(beat: Beat) -> str:
    return f"in {beat.phase} of step {beat.step} since {beat.seconds:.0f} s"


# ---- the thread


class Watch:
    """Tells the board where this rank is, and people when it does not get on. A context manager.

    The loop calls `at` when a phase begins, and `busy` with the seconds of a step's own work (data and forward, where
    nobody is waited for). Both only note it down.

    hang_s: longest time in a phase; `at(..., allow_s=)` overrides it for the phase, for a first compilation.
    leave: end the process with HUNG once a hang has been told, so that torchrun starts the ranks anew.
    """

    def __init__(
        self,
        board: Board,
        *,
        rank: int = 0,
        world_size: int = 1,
        hang_s: float = 300.0,
        leave: bool = False,
        every_s: float = 1.0,
        window: int = 32,
        clock: Callable[[], float] = time.monotonic,
        end: Callable[[int], Any] = os._exit,
        out: TextIO | None = None,
    ) -> None:
        if not (0 < every_s < hang_s):
            raise ValueError(f"hang_s {hang_s}, every_s {every_s}: expected 0 < every_s < hang_s")
        self.board, self.rank, self.world_size = board, rank, world_size
        self.hang_s, self.leave, self.every_s = hang_s, leave, every_s
        self.slow: list[Straggler] = []  # as rank 0 sees them, once it lasts
        self._slow_for: dict[int, int] = {}
        self._clock, self._end, self._out = clock, end, out
        self._at = (0, 0, "start", clock(), hang_s)
        self._busy: deque[float] = deque(maxlen=window)
        self._beats = 0
        self._told_at = 0  # the phase whose hang has been told
        self._stop = threading.Event()
        self._host = socket.gethostname()

    def at(self, step: int, phase: str, *, allow_s: float | None = None) -> None:
        """A phase begins, such as `data`, `forward`, `backward`, `update`, `save`, `evaluation`."""
        # One assignment, so that the thread never sees half of it.
        self._at = (self._at[0] + 1, step, phase, self._clock(), self.hang_s if allow_s is None else allow_s)

    def busy(self, seconds: float) -> None:
        """What a step took of this rank's own, without waiting for others."""
        self._busy.append(seconds)

    def where(self) -> str:
        """For people: `backward of step 812`."""
        _, step, phase, _, _ = self._at
        return f"{phase} of step {step}"

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()
        # Reading the board may take for ever, where its keeper is what hangs.
        threading.Thread(target=self._guard, name="watch-alone", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        warned = False
        while not self._stop.is_set():
            try:
                self._post()
                self._look()
                warned = False
            except (OSError, RuntimeError, ValueError) as error:
                # The board is a help for people: a run does not end because it cannot be reached.
                if not warned:
                    self._say(f"watch: the other ranks cannot be seen for now: {error}")
                warned = True
            self._stop.wait(self.every_s)

    def _look(self) -> None:
        reached, _, _, since, allowed = self._at
        if self.rank == 0 and self._beats % 10 == 0:
            self._compare()
        if self._clock() - since > allowed and self._told_at != reached:
            self._tell_hang(reached)
            self._told_at = reached

    def _guard(self) -> None:
        patience = 8 * self.every_s + 2.0  # in which a board that answers has told what there is to tell
        while not self._stop.wait(self.every_s):
            reached, _, _, since, allowed = self._at
            if self._clock() - since <= allowed + patience or self._told_at == reached:
                continue
            self._told_at = reached
            self._say(
                f"hang: no progress for {self._clock() - since:.0f} s in {self.where()}, and the board does not "
                f"answer; its keeper, rank 0 or its node, is dead, stopped or out of reach\n"
                f"hang: own stack:\n{stack()}"
            )
            self._leave_if_asked()

    def _leave_if_asked(self) -> None:
        if self.leave:
            self._say("hang: leaving; the newest committed checkpoint counts")
            self._end(HUNG)

    def _compare(self) -> None:
        beats = [beat for beat in self._read().values() if beat is not None]
        seen = stragglers({beat.rank: beat.busy_s for beat in beats})
        self._slow_for = {one.rank: self._slow_for.get(one.rank, 0) + 1 for one in seen}
        slow = [one for one in seen if self._slow_for[one.rank] >= PERSISTS]
        names = {beat.rank: beat for beat in beats}
        for one in slow:
            if one.rank not in {other.rank for other in self.slow}:
                self._say(f"straggler: {one} ({names[one.rank].host}, pid {names[one.rank].pid})")
        self.slow = slow

    def _tell_hang(self, reached: int) -> None:
        first = self._read()
        self._say(f"hang: no progress for {self._clock() - self._at[3]:.0f} s in {self.where()}")
        # Others notice about now, and leave their stacks too; who says nothing meanwhile is silent.
        for _ in range(4):
            self._post(stack())
            if self._stop.wait(self.every_s):
                return
        second = self._read()
        if self._at[0] != reached:
            self._say(f"hang: it goes on, in {self.where()}")
            return
        silent = [r for r, beat in second.items() if beat and first[r] and beat.number == first[r].number]  # type: ignore[union-attr]
        suspects = blame(second, silent)
        if not suspects:
            self._say("hang: all ranks are in the same phase; their stacks:")
        for suspect in suspects:
            self._say(f"hang: {suspect.reason}")
        for rank in [suspect.rank for suspect in suspects] or list(second):
            beat = second[rank]
            if beat is not None and beat.stack:
                self._say(f"hang: stack of rank {rank}:\n{beat.stack}")
        # Whoever leaves ends the others' collectives, and with them what they have to tell.
        self._stop.wait(5 * self.every_s)
        self._leave_if_asked()

    def _post(self, of_stack: str = "") -> None:
        self._beats += 1
        reached, step, phase, since, _ = self._at
        busy = statistics.median(self._busy) if self._busy else 0.0
        beat = Beat(
            self.rank,
            self._host,
            os.getpid(),
            self._beats,
            reached,
            step,
            phase,
            self._clock() - since,
            busy,
            of_stack,
        )
        self.board.post(self.rank, json.dumps(asdict(beat)))

    def _read(self) -> dict[int, Beat | None]:
        found: dict[int, Beat | None] = {}
        for rank in range(self.world_size):
            text = self.board.read(rank)
            found[rank] = Beat(**json.loads(text)) if text else None
        return found

    def _say(self, text: str) -> None:
        # Each line says who speaks: the ranks of a node share a log.
        with contextlib.suppress(OSError, ValueError):
            lines = "".join(f"[rank {self.rank}] {line}\n" for line in text.splitlines())
            (self._out or sys.stderr).write(lines)
            (self._out or sys.stderr).flush()


def stack() -> str:
    """What all threads of this process are doing, the main thread last."""
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read()[-STACK_BYTES:].decode(errors="replace")
