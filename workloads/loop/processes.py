"""Other programs that the loop runs: started with a log each, and ended with it whatever becomes of it."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from workloads.loop.errors import LoopError
from workloads.serving.triton import DIE_WITH_PARENT

START_S, LEAVE_S = 40.0, 10.0
_TAIL = 2000


def free_port() -> int:
    """A TCP port that nobody has now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Program:
    """A process with a process group of its own, so that a Ctrl-C is ours to pass on. A context manager.

    It dies with the thread that started it (Linux), hence with a loop that was killed.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> int:
        """SIGTERM, and SIGKILL for what is left; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(LEAVE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()

    def check(self) -> None:
        """Raises LoopError, with the end of its log, if it has ended."""
        if (code := self.process.poll()) is not None:
            raise LoopError(f"{self.name} ended with {code}; its log {self.log} ends:\n{self.tail()}")

    def wait_for(self, port: int, path: str, seconds: float = START_S) -> None:
        """Until it answers there with anything but a server's error. Raises LoopError."""
        deadline = time.monotonic() + seconds
        while not _answers(port, path):
            self.check()
            if time.monotonic() > deadline:
                raise LoopError(f"{self.name} does not answer within {seconds:.0f} s; see {self.log}")
            time.sleep(0.05)

    def finish(self, seconds: float) -> None:
        """Until it ends by itself. Raises LoopError if it fails, or takes longer."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            raise LoopError(f"{self.name} takes longer than {seconds:.0f} s; see {self.log}") from None
        if code:
            raise LoopError(f"{self.name} ended with {code}; its log {self.log} ends:\n{self.tail()}")

    def tail(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-_TAIL:]


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def cpu_seconds() -> float:
    """Of this process, of all that it has started, and of those that have ended and were waited for (Linux's /proc)."""
    ticks = os.sysconf("SC_CLK_TCK")
    parents: dict[int, tuple[int, float]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # The name in brackets may have spaces and brackets of its own.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            parents[int(entry.name)] = int(fields[1]), sum(map(int, fields[11:15])) / ticks
    total = 0.0
    for process in parents:
        above = process
        while above != os.getpid() and above in parents:
            above = parents[above][0]
        if above == os.getpid():
            total += parents[process][1]
    return total
