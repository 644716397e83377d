"""Whenever a run is killed, what it had committed is there and whole, and what it leaves behind is nobody's trouble."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.workloads.training.checkpointing import blank, opened, same, saved, state
from workloads.training.checkpoints import layout


class Writer:
    """A process that saves one step after the other and says which are committed. Forked: torch is imported already."""

    def __init__(self, directory: Path, prepare: Callable[[], None] = lambda: None, steps: int = 10**6) -> None:
        said, saying = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(said)
                _write(directory, saying, prepare, steps)
            finally:
                os._exit(1)
        os.close(saying)
        self._said = os.fdopen(said)
        self.saver, self.first = map(int, self._said.readline().split())
        self.committed = -1

    def go_on(self) -> None:
        """Until one more save is committed, or the process has ended."""
        if line := self._said.readline():
            self.committed = int(line)

    def wait(self) -> tuple[int, int]:
        """How it ended, and the last step that it said was committed, -1 for none."""
        _, status = os.waitpid(self.pid, 0)
        with self._said:
            self.committed = max([self.committed, *map(int, self._said.read().split())])
        return os.waitstatus_to_exitcode(status), self.committed


def _write(directory: Path, saying: int, prepare: Callable[[], None], steps: int) -> None:
    checkpointer = opened(directory, keep=2)
    newest = checkpointer.newest()
    first = newest.step + 1 if newest else 0
    if newest:
        checkpointer.load(newest, blank())
    os.write(saying, f"{checkpointer.saver_pid} {first}\n".encode())
    prepare()
    for step in range(first, first + steps):
        # Each step twice, the second time as after a roll back: that is when a rename has something in its way.
        for _ in range(2):
            checkpointer.save(step, state(step), {"step": step})
            checkpointer.staged()
            checkpointer.wait()
            os.write(saying, f"{step}\n".encode())
    os._exit(0)


def check(directory: Path, committed: int) -> int:
    """What is there can be loaded, is what was saved to the bit, and is no older than what was said to be committed."""
    with opened(directory) as checkpointer:
        newest = checkpointer.newest()
        if newest is None:
            assert committed < 0
            return -1
        assert newest.step in (committed, committed + 1)
        found = blank()
        assert checkpointer.load(newest, found) == {"step": newest.step}
        assert same(found, state(newest.step))
        for path in layout.steps(directory):
            layout.verify(path)
        assert not [path for path in directory.iterdir() if path.name.endswith((".partial", ".deleted", ".replaced"))]
        return newest.step


def gone(pid: int, within_s: float = 10.0) -> bool:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
            # A child of init's, or of this process, that nobody has waited for.
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(autouse=True)
def _nothing_left_in_memory() -> Iterator[None]:
    before = set(os.listdir("/dev/shm"))
    yield
    ours = {name for name in set(os.listdir("/dev/shm")) - before if str(os.getpid()) in name or "checkpoint" in name}
    assert not ours


def kills(directory: Path, count: int, seed: int) -> None:
    chance = random.Random(seed)
    last = -1
    for number in range(count):
        writer = Writer(directory)
        assert writer.first == last + 1
        for _ in range(chance.randrange(4)):
            writer.go_on()
        time.sleep(chance.uniform(0, 0.06))  # what a save takes
        # The trainer, as a rule; else its saver at the same moment, as when a node goes.
        if number % 5 == 4:
            os.kill(writer.saver, signal.SIGKILL)
        os.kill(writer.pid, signal.SIGKILL)
        _, committed = writer.wait()
        assert gone(writer.saver)
        last = check(directory, max(committed, last))


def test_random_kills(tmp_path: Path) -> None:
    kills(tmp_path, 40, seed=1)


@pytest.mark.slow
def test_two_hundred_random_kills(tmp_path: Path) -> None:
    kills(tmp_path, 200, seed=2)


EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "os.truncate")


def _kill_at(number: int, directory: Path) -> Callable[[], None]:
    """Kills the process just before the file operation of that number within a directory."""

    def prepare() -> None:
        left = number

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in EVENTS and any(str(directory) in str(argument) for argument in arguments[:2]):
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1

        sys.addaudithook(hook)

    return prepare


def _at_every_operation(tmp_path: Path, stride: int) -> None:
    directory = tmp_path / "checkpoints"
    with opened(directory, keep=2) as checkpointer:
        saved(checkpointer, 0)
        saved(checkpointer, 1)
    last, number, code = 1, 0, -signal.SIGKILL
    while code:
        writer = Writer(directory, _kill_at(number, directory), steps=1)
        code, committed = writer.wait()
        assert code in (0, -signal.SIGKILL)
        last = check(directory, max(committed, last))
        number += stride
    assert number > 20  # the operations of a commit, of the second one over the first, and of the retention


def test_a_kill_before_file_operations_of_a_commit(tmp_path: Path) -> None:
    _at_every_operation(tmp_path, stride=3)


@pytest.mark.slow
def test_a_kill_before_every_file_operation_of_a_commit(tmp_path: Path) -> None:
    _at_every_operation(tmp_path, stride=1)
