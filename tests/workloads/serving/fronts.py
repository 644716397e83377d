"""Servers of other protocols in front of a Triton, as commands in processes of their own, and models for them."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import ROOT
from tests.workloads.serving.test_language_model import LONG, SLOTS, leaving_ends
from workloads.serving.triton import Triton

# Two inputs and an output of bytes; what to do is in the words.
PAIR_CONFIG = """
name: "pair"
backend: "python"
max_batch_size: 4
input [
  { name: "number" data_type: TYPE_INT32 dims: [ 2 ] },
  { name: "words" data_type: TYPE_STRING dims: [ 1 ] }
]
output [
  { name: "sum" data_type: TYPE_INT64 dims: [ 1 ] },
  { name: "words_bytes" data_type: TYPE_STRING dims: [ 1 ] }
]
instance_group [{ kind: KIND_CPU count: 1 }]
"""
PAIR = """
import os
import time

import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            number = pb.get_input_tensor_by_name(request, "number").as_numpy()
            words = pb.get_input_tensor_by_name(request, "words").as_numpy()
            asked = words.reshape(-1)[0].decode(errors="replace")
            if asked.startswith("sleep"):
                time.sleep(float(asked.split()[1]))
            if asked == "raise":
                raise RuntimeError("as it was asked to")
            total = number.sum(axis=1, keepdims=True).astype("int64")
            answers.append(pb.InferenceResponse([pb.Tensor("sum", total), pb.Tensor("words_bytes", words)]))
        return answers
"""


class Front:
    """`python -m workloads.serving kserve` or `tensorflow`; `http` and `grpc` are host:port."""

    def __init__(self, command: str, triton: str, *models: str, options: tuple[str, ...] = ()) -> None:
        words = [sys.executable, "-m", "workloads.serving", command, "--triton", f"http://{triton}", "--port", "0"]
        words += [word for model in models for word in ("--model", model)]
        self.process = subprocess.Popen(
            [*words, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def until(self, words: str, seconds: float = 60.0) -> str:
        """The line that has these words."""
        deadline = time.monotonic() + seconds
        while not (found := [line for line in self.lines if words in line]):
            assert time.monotonic() < deadline, self.lines
            assert self.process.poll() is None, (self.lines, self.process.communicate())
            time.sleep(0.02)
        return found[0]

    @property
    def http(self) -> str:
        return self.until(", Triton: ").partition(": ")[2].partition(" (HTTP)")[0].partition(",")[0]

    @property
    def grpc(self) -> str:
        return self.until(" (gRPC)").partition("(HTTP), ")[2].partition(" (gRPC)")[0]

    def end(self) -> tuple[int, str]:
        """SIGTERM; exit code, and what it said on stderr."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self._reader.join()
        assert self.process.stderr is not None
        return code, self.process.stderr.read()


@contextmanager
def front(command: str, triton: str, *models: str, options: tuple[str, ...] = ()) -> Iterator[Front]:
    made = Front(command, triton, *models, options=options)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


def leaving_ends_what_was_asked(front: Front, triton: Triton, model: str) -> None:
    """A client asks for twice as many answers as there are slots, and leaves: those under way end, no others begin."""
    body = json.dumps({"instances": ["x"] * 2 * SLOTS, "parameters": {"max_tokens": LONG, "temperature": 0}})
    head = f"POST /v1/models/{model}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    host, _, port = front.http.rpartition(":")

    def leave(patience_s: float) -> None:
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall((head + body).encode())
            time.sleep(patience_s)

    leaving_ends(triton, SLOTS, leave)


class Relay:
    """Hands bytes on to a server that tests share, so that it can seem to be gone."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """The server is gone, and so are its connections."""
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
