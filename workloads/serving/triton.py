"""A Triton server as a process of ours: started, asked whether it is ready, given models, drained and ended.

    with Triton(repository, log=Path("triton.log")) as triton:
        triton.load("mlp")
        client = tritonclient.grpc.InferenceServerClient(triton.grpc)

Models are loaded by name and only when they are asked for (explicit control). The API that loads them runs code of the
repository, so it wants a header that only this process knows.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.serving import tracing
from workloads.serving.errors import ServingError, on_disk
from workloads.serving.triton_home import Home, find_or_fetch, python_environment

RESTRICTED = "model-repository,shared-memory,trace,logging"
"""APIs that no client needs; the same as a pod restricts."""
HEADER = "aicloud-admin"
_SHARED_MEMORY = Path("/dev/shm")
_TAIL = 4000
_STARVED, _STARVED_RETRIES = b"is not healthy", 2
"""What Triton says of a Python model whose process did not run for a second, as when it imports
torch on a busy machine. A process that crashed is told in the same words, hence not for ever."""

# The server dies with whoever started it, also when that one is killed. Linux delivers the signal when the thread that
# started the server ends: start it from one that lives as long as it is needed.
DIE_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class ServerFailed(ServingError):
    """The server ended, or does not answer; the message has the end of its log."""

    exit_code = 8


class ModelFailed(ServingError):
    """The server refuses to load a model; the message is its own."""

    exit_code = 9


@dataclass(frozen=True)
class Ports:
    """TCP ports of the three endpoints."""

    http: int
    grpc: int
    metrics: int

    @classmethod
    def free(cls) -> Ports:
        """Three that nobody has now. Somebody may take one before the server does: `Triton` then tries others."""
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            return cls(*(each.getsockname()[1] for each in sockets))


class Triton:
    """One server. Entering the context starts it and waits until it answers; leaving drains and ends it."""

    def __init__(
        self,
        repository: Path,
        *,
        log: Path,
        home: Home | None = None,
        ports: Ports | None = None,
        address: str = "127.0.0.1",
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        start_s: float = 60.0,
        exit_timeout_s: int = 30,
    ) -> None:
        """`home`: default the one that is found or fetched. `ports`: default free ones. `arguments`: more options of
        tritonserver's. `exit_timeout_s`: that requests under way have to end after a SIGTERM."""
        self.repository, self.log, self.home = repository.absolute(), log.absolute(), home
        self.ports, self.address = ports, address
        self.arguments = tuple(arguments)
        self.environment = os.environ if environment is None else environment
        self.start_s, self.exit_timeout_s = start_s, exit_timeout_s
        self.process: subprocess.Popen[bytes] | None = None
        self._secret = secrets.token_hex(16)
        self._log_begins = 0
        self._region = f"aicloud_{secrets.token_hex(6)}_"

    # ---- where it answers

    @property
    def http(self) -> str:
        return f"{self._host}:{self._ports.http}"

    @property
    def grpc(self) -> str:
        return f"{self._host}:{self._ports.grpc}"

    @property
    def metrics(self) -> str:
        return f"{self._host}:{self._ports.metrics}"

    @property
    def pid(self) -> int:
        assert self.process is not None, "it has not been started"
        return self.process.pid

    @property
    def admin(self) -> dict[str, str]:
        """Headers of a request to the restricted APIs."""
        return {HEADER: self._secret}

    @property
    def _ports(self) -> Ports:
        assert self.ports is not None, "it has not been started"
        return self.ports

    @property
    def _host(self) -> str:
        return "127.0.0.1" if self.address == "0.0.0.0" else self.address

    # ---- starting and ending

    def __enter__(self) -> Triton:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and return when it answers. Raises ServerFailed with the end of its log, NoTriton, DiskFailed."""
        self.home = self.home or find_or_fetch(self.environment)
        if self.process is not None:
            assert self.process.poll() is not None, "it is running"
            self._clean()
        chosen = self.ports is not None
        for attempt in range(3):
            if not chosen:
                self.ports = Ports.free()
            self._spawn()
            try:
                self._wait_live()
                return
            except ServerFailed as error:
                self.kill()
                if chosen or attempt == 2 or "already in use" not in str(error).lower():
                    raise

    def _spawn(self) -> None:
        assert self.home is not None
        command = [
            str(self.home.server),
            f"--model-repository={self.repository}",
            f"--backend-directory={self.home.backends}",
            "--model-control-mode=explicit",
            "--strict-readiness=true",
            # Configurations are typed and whole; completing them would start each Python model once more.
            "--disable-auto-complete-config",
            f"--exit-timeout-secs={self.exit_timeout_s}",
            f"--http-address={self.address}",
            f"--grpc-address={self.address}",
            f"--metrics-address={self.address}",
            f"--http-port={self._ports.http}",
            f"--grpc-port={self._ports.grpc}",
            f"--metrics-port={self._ports.metrics}",
            # Two servers on one port would share it silently.
            "--reuse-http-port=false",
            "--reuse-grpc-port=false",
            f"--http-restricted-api={RESTRICTED}:{HEADER}={self._secret}",
            f"--grpc-restricted-protocol={RESTRICTED}:{HEADER}={self._secret}",
            # A name of its own, so that what a killed server leaves in shared memory can be found and removed.
            f"--backend-config=python,shm-region-prefix-name={self._region}",
            "--log-format=ISO8601",
            *(["--allow-gpu-metrics=false"] if not Path("/dev/nvidiactl").exists() else []),
            *([f"--cache-directory={self.home.caches}"] if self.home.caches.exists() else []),
            *tracing.arguments(self.environment),
            *self.arguments,
        ]
        with on_disk(self.log):
            self.repository.mkdir(parents=True, exist_ok=True)
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                self._log_begins = log.tell()
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid()), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # One thread each: instances that share cores slow each other down many times over.
                    env={"OMP_NUM_THREADS": "1", **python_environment(self.home, self.environment)},
                    # A Ctrl-C is for whoever started the server, who then drains it.
                    start_new_session=True,
                )

    def _wait_live(self) -> None:
        deadline = time.monotonic() + self.start_s
        while not self._answers("/v2/health/live"):
            self.check_alive()
            if time.monotonic() > deadline:
                raise ServerFailed(f"Triton does not answer within {self.start_s:.0f} s; its log ends:\n{self.tail()}")
            time.sleep(0.05)

    def check_alive(self) -> None:
        """Raises ServerFailed, with the end of the log, if the process has ended."""
        assert self.process is not None, "it has not been started"
        if (code := self.process.poll()) is not None:
            raise ServerFailed(f"Triton ended with {code}; its log ends:\n{self.tail()}")

    def stop(self, timeout_s: float | None = None) -> int:
        """SIGTERM: it refuses what is new, finishes what is under way, and ends; its exit code.

        It is killed after `timeout_s`, default `exit_timeout_s` and ten seconds more.
        """
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(self.exit_timeout_s + 10.0 if timeout_s is None else timeout_s)
        except subprocess.TimeoutExpired:
            return self.kill()
        finally:
            self._clean()

    def kill(self) -> int:
        """SIGKILL; its exit code."""
        assert self.process is not None, "it has not been started"
        self.process.kill()
        code = self.process.wait()
        self._clean()
        return code

    def _clean(self) -> None:
        """End the models' processes and remove what they had in shared memory: a server that was killed leaves both."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            # Its own group, which it began as a session of its own.
            os.killpg(self.process.pid, signal.SIGKILL)
        for path in _SHARED_MEMORY.glob(f"{self._region}*"):
            path.unlink(missing_ok=True)

    def tail(self) -> str:
        """The end of its log, without the hundreds of lines that explain its options."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(self._log_begins)
            return log.read().decode(errors="replace").partition("\nUsage:")[0][-_TAIL:]
        return f"({self.log} cannot be read)"

    # ---- models

    def ready(self, name: str = "", version: int | None = None) -> bool:
        """Whether a model, or one version of it, takes requests; without a name, whether all that are loaded do."""
        if not name:
            return self._answers("/v2/health/ready")
        return self._answers(f"/v2/models/{name}" + (f"/versions/{version}" if version else "") + "/ready")

    def load(self, name: str, *, config: Mapping[str, Any] | None = None, timeout_s: float = 120.0) -> None:
        """Load a model of the repository as it is there now, or load it anew; returns when it is ready.

        What is new takes over when it is ready; what it replaces answers until then, and ends with its last request.
        `config`: instead of config.pbtxt. Raises ModelFailed with the server's reason, ServerFailed.
        """
        parameters = {"parameters": {"config": json.dumps(config)}} if config is not None else {}
        for _ in range(1 + _STARVED_RETRIES):
            status, body = self._ask("POST", f"/v2/repository/models/{name}/load", parameters, timeout_s)
            if status == 200 or _STARVED not in body:
                break
        if status != 200:
            raise ModelFailed(f"{name}: Triton does not load it: {_reason(body)}")

    def unload(self, name: str, *, dependents: bool = False, timeout_s: float = 60.0) -> None:
        """Stop taking requests for a model, and return when it is gone: its last request has been answered.

        `dependents`: what an ensemble consists of, too. Raises ModelFailed, ServerFailed.
        """
        parameters = {"parameters": {"unload_dependents": dependents}}
        deadline = time.monotonic() + timeout_s
        status, body = self._ask("POST", f"/v2/repository/models/{name}/unload", parameters, timeout_s)
        if status != 200:
            raise ModelFailed(f"{name}: Triton does not unload it: {_reason(body)}")
        while any(each.name == name and each.state != "UNAVAILABLE" for each in self.index()):
            if time.monotonic() > deadline:
                raise ModelFailed(f"{name}: requests of it are still under way after {timeout_s:.0f} s")
            time.sleep(0.02)

    def index(self) -> list[Loaded]:
        """What the server knows of, also what failed to load or is being unloaded."""
        status, body = self._ask("POST", "/v2/repository/index", {"ready": False}, 10.0)
        if status != 200:
            raise ServerFailed(f"Triton does not tell its models: {_reason(body)}")
        return [
            Loaded(entry["name"], int(entry["version"]), entry.get("state", ""), entry.get("reason", ""))
            for entry in json.loads(body)
            # What is in the repository and was never loaded has no version and no state.
            if entry.get("version") and entry.get("state")
        ]

    def scrape(self) -> str:
        """What /metrics says, in Prometheus' text format."""
        connection = http.client.HTTPConnection(self._host, self._ports.metrics, timeout=10.0)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise ServerFailed(f"{self.metrics}: {error or type(error).__name__}") from error
        finally:
            connection.close()

    # ---- HTTP

    def _answers(self, path: str) -> bool:
        try:
            return self._request("GET", path, None, 2.0)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> tuple[int, bytes]:
        try:
            return self._request(method, path, body, timeout_s)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, ConnectionError) and self.process is not None:
                # One that is killed closes its sockets a moment before it has ended.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(1.0)
            self.check_alive()
            raise ServerFailed(f"Triton at {self.http} {path}: {error or type(error).__name__}") from error

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._host, self._ports.http, timeout=timeout_s)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self.admin)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@dataclass(frozen=True)
class Loaded:
    """A version of a model as the server sees it."""

    name: str
    version: int
    state: str
    """LOADING, READY, UNLOADING or UNAVAILABLE."""
    reason: str


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:500]
