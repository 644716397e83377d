"""The process beside a training process that turns staged memory into files: it takes neither its GIL nor its cores.

The training process says what to do over a socket and gets one answer to each request (`Saver`). The saver knows of no
other rank: what ranks tell each other goes through the training processes, so one saver that dies, by the kernel's
out-of-memory killer for example, fails one save and is started anew for the next.
"""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from typing import Any, Protocol

from workloads.training.checkpoints import layout

ROOT = Path(__file__).parents[3]
NICE = 5
"""Added to the saver's niceness: where cores are short, training comes first."""
PARENT_EVERY_S = 0.2


class SaverFailed(Exception):
    """A request failed, or the saver is gone. `full`: for want of disk space. `died`: it has to be started again."""

    def __init__(self, message: str, *, full: bool = False, died: bool = False) -> None:
        super().__init__(message)
        self.full, self.died = full, died


class Process(Protocol):
    """What is needed of a `subprocess.Popen`."""

    pid: int
    returncode: int | None

    def wait(self, timeout: float | None = None) -> int: ...

    def kill(self) -> None: ...


def start(descriptor: int) -> Process:
    """A process that serves `main` on that end of a socket.

    Not by multiprocessing: it would import the training program once more, and its processes survive a SIGKILL of their
    parent. Without a GPU: this process has no use for one, and a context would take half a gigabyte of it.
    """
    path = os.pathsep.join(dict.fromkeys([str(ROOT), *filter(None, sys.path)]))
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", __name__, str(descriptor), str(os.getpid())]
    return subprocess.Popen(command, pass_fds=[descriptor], env=environment, stdin=subprocess.DEVNULL)


class Saver:
    """The training process's end. Not for two threads at once."""

    def __init__(self, start: Callable[[int], Process] = start) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = start(theirs.fileno())
        self._connection = Connection(ours.detach())

    @property
    def pid(self) -> int:
        return self._process.pid

    def attach(self, descriptor: int, size: int) -> None:
        """Share `size` bytes of staging memory."""
        self._send(("attach", {"size": size}))
        try:
            send_handle(self._connection, descriptor, self.pid)
        except OSError as error:
            raise self._died() from error
        self._receive()

    def call(self, request: str, **arguments: Any) -> Any:
        """Raises SaverFailed with what went wrong there."""
        self._send((request, arguments))
        return self._receive()

    def _send(self, request: tuple[str, dict[str, Any]]) -> None:
        try:
            self._connection.send(request)
        except OSError as error:
            raise self._died() from error

    def _receive(self) -> Any:
        try:
            good, answer, full = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error
        if not good:
            raise SaverFailed(answer, full=full)
        return answer

    def _died(self) -> SaverFailed:
        self.close()
        code = self._process.returncode
        how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
        hint = "; out of memory?" if code == -signal.SIGKILL else ""
        return SaverFailed(f"the process that writes checkpoints (pid {self.pid}) died of {how}{hint}", died=True)

    def close(self) -> None:
        """End the process: it leaves when nobody is at the other end."""
        self._connection.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


# ---- in the saver


class _Work:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._segment: Any = None
        self._plan: Any = None
        self._entries: dict[str, Any] = {}

    def attach(self, size: int) -> None:
        from workloads.training.checkpoints.staging import map_segment

        descriptor = recv_handle(self._connection)
        try:
            self._segment = map_segment(descriptor, size)
        finally:
            os.close(descriptor)

    def plan(self, plans: list[bytes]) -> tuple[list[bytes], bytes]:
        """Who writes what: every rank's plan in, the final plans and the checkpoint's metadata out."""
        from workloads.training.checkpoints import planning

        return planning.globally(plans)

    def lay_out(self, plan: bytes, entries: tuple[Any, ...]) -> None:
        """What to write from now on, and where in the segment it is."""
        self._plan = pickle.loads(plan)
        self._entries = {entry.name: entry for entry in entries}

    def write(
        self, directory: Path, rank: int, values: bytes, random_states: bytes
    ) -> tuple[bytes, dict[str, layout.File]]:
        """This rank's files, on the medium: torch's results of each, and size and checksum of each."""
        from workloads.training.checkpoints import planning

        directory.mkdir(exist_ok=True)
        needed, free = planning.bytes_of(self._plan), shutil.disk_usage(directory).free
        if needed > free:
            raise OSError(errno.ENOSPC, f"{needed} bytes are needed, {free} are free", str(directory))
        tensors = {name: entry.view(self._segment) for name, entry in self._entries.items()}
        results = planning.write(directory, self._plan, tensors, pickle.loads(values))
        layout.write(directory / f"rank_{rank}.json", random_states)
        mine = [path for path in directory.iterdir() if path.name.startswith((f"__{rank}_", f"rank_{rank}.json"))]
        return results, {path.name: layout.File.of(path) for path in mine}

    def finish(self, directory: Path, metadata: bytes, results: list[bytes]) -> layout.File:
        """The file that says where each tensor is."""
        from workloads.training.checkpoints import planning

        planning.finish(directory, metadata, results)
        return layout.File.of(directory / layout.METADATA)


def _describe(error: BaseException) -> tuple[str, bool]:
    """What to say of an error, and whether the disk is full: torch hides the system's error behind one of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            full = cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            place = f"{cause.filename}: " if cause.filename else ""
            return f"{place}{cause.strerror}", full
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {error}", False


def _leave_with(parent: int) -> None:
    """End when the parent has: an orphan would go on writing where the next run writes."""
    while os.getppid() == parent:
        time.sleep(PARENT_EVERY_S)
    os._exit(1)


def main(descriptor: int, parent: int) -> None:
    # Both come to the whole process group, at a Ctrl-C or when a node is taken away: the last checkpoint is written
    # after them. This process leaves when its parent does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # A file size limit is an error like a full disk, not the end.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    os.nice(NICE)
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    connection = Connection(descriptor)
    # Seconds of imports, before the first request needs them.
    from workloads.training.checkpoints import planning  # noqa: F401

    work = _Work(connection)
    while True:
        try:
            request, arguments = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = (True, getattr(work, request)(**arguments), False)
        except Exception as error:  # noqa: BLE001 whatever it is, it is told to whoever waits
            text, full = _describe(error)
            answer = (False, text, full)
        try:
            connection.send(answer)
        except OSError:
            return


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
