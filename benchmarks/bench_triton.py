"""Triton's batching brings one model near to what it can do at all, which is batches in a loop without any server.

The same 10.5 M-parameter MLP in three places: a loop of batches in this process on one thread (the limit), Triton with
the configuration that the search finds, and FastAPI without batching, on one thread. 32 clients. The search has one and
two instances, of one thread each: Triton may then compute on both cores of this machine, which it shares with the
clients. So one instance against the loop, and two against a loop on two threads, are shown beside it.

This machine is not ours alone, and what it can do changes from one second to the next: each measurement of Triton is
short, stands between two of what it is compared with, and the median of these ratios counts. Both servers are asked
over HTTP by the leanest client there can be, which sends the same bytes again: on two cores, a slow client would be
what is measured.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_triton.py [ROUNDS]` (five minutes).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from measure import table, verdict

from workloads.serving.triton import Triton
from workloads.serving.tune import Configuration, Measured, Objective, Space, Trial, config_with, tune
from workloads.serving.tuning import Admin

CONCURRENCY, SECONDS, SEARCH_S = 32, 1.5, 4.0
WIDTH, HIDDEN = 512, 2048
SPACE = Space((1, 2), (8, 16, 32), (0, 500, 3000, 10_000, 20_000), ((), (0.5,)))

# Also what the model's file and the other server's begin with, so that all three run the same.
NETWORK = f"""
import torch

torch.set_num_threads(1)


def network():
    torch.manual_seed(0)
    sizes = ({WIDTH}, {HIDDEN}, {HIDDEN}, {HIDDEN}, {WIDTH})
    layers = []
    for fan_in, fan_out in zip(sizes, sizes[1:]):
        layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.GELU()]
    return torch.nn.Sequential(*layers[:-1]).eval()
"""
MODEL = f"""{NETWORK}

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, args):
        self.network = network()

    @torch.inference_mode()
    def execute(self, requests):
        found = [pb.get_input_tensor_by_name(each, "x").as_numpy() for each in requests]
        answers = self.network(torch.from_numpy(np.concatenate(found))).numpy()
        ends = np.cumsum([len(each) for each in found])
        return [pb.InferenceResponse([pb.Tensor("y", each)]) for each in np.split(answers, ends[:-1])]
"""
CONFIG = f"""
name: "mlp"
backend: "python"
max_batch_size: 32
input [{{ name: "x" data_type: TYPE_FP32 dims: [ {WIDTH} ] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [ {WIDTH} ] }}]
instance_group [{{ kind: KIND_CPU count: 1 }}]
dynamic_batching {{ }}
"""
FASTAPI = f"""{NETWORK}

import numpy as np
from fastapi import FastAPI, Request, Response

app, model = FastAPI(), network()


@app.post("/infer")
async def infer(request: Request):
    x = torch.from_numpy(np.frombuffer(bytearray(await request.body()), dtype=np.float32).reshape(-1, {WIDTH}))
    with torch.inference_mode():
        return Response(model(x).numpy().tobytes(), media_type="application/octet-stream")
"""


def main(rounds: int = 10) -> None:
    global_names: dict[str, object] = {}
    exec(NETWORK, global_names)  # the text that the servers run
    model = global_names["network"]()  # type: ignore[operator]
    torch.set_num_threads(1)
    print(f"{sum(each.numel() for each in model.parameters()) / 1e6:.1f} M parameters, {CONCURRENCY} clients")
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as triton, fastapi(Path(name)) as other:
        check_same(model, triton.http, other)
        sample = np.random.default_rng(0).random((1, WIDTH), np.float32)
        config = Admin(f"http://{triton.http}", triton.admin).config("mlp")

        def measure(configuration: Configuration, seconds: float) -> Measured:
            if configuration != measure.loaded:  # type: ignore[attr-defined]
                triton.load("mlp", config=config_with(config, configuration))
                measure.loaded = configuration  # type: ignore[attr-defined]
            return Measured(asyncio.run(ask(triton.http, of_triton(sample), seconds)), 0.0)

        measure.loaded = None  # type: ignore[attr-defined]
        found = tune(measure, SPACE, Objective(), seconds=SEARCH_S, share=0.25, report=said)
        best = found.best.configuration
        print(f"found: {best}, by measuring {found.configurations} of {found.space} for {found.seconds:.0f} s\n")
        limit, limit_of_two = "a loop of batches", "a loop of batches, 2 threads"
        unbatched = "FastAPI, no batching"
        compared: dict[str, Callable[[], float]] = {
            limit: lambda: loop(model, 1, SECONDS),
            limit_of_two: lambda: loop(model, 2, SECONDS),
            unbatched: lambda: asyncio.run(ask(other, posted("/infer", sample.tobytes()), SECONDS)),
        }
        rates: dict[str, list[float]] = {}

        def against(name: str, configuration: Configuration) -> list[float]:
            """Ratios of Triton to what the name says, each time measured before and after."""
            measure(configuration, SECONDS)  # loads it
            ratios = []
            for _ in range(rounds):
                before, its = compared[name](), measure(configuration, SECONDS).throughput
                after = compared[name]()
                rates.setdefault(name, []).extend((before, after))
                rates.setdefault(f"Triton, {configuration}", []).append(its)
                ratios.append(2 * its / (before + after))
            return ratios

        ratios = {
            ("Triton tuned", limit, 0.6): against(limit, best),
            ("Triton tuned", unbatched, 5.0): against(unbatched, best),
            ("one instance", limit, None): against(limit, replace(best, instances=1)),
            ("two instances", limit_of_two, None): against(limit_of_two, replace(best, instances=2)),
            ("Triton without batching", unbatched, None): against(unbatched, Configuration(1, 1, 0)),
        }
    table(
        ("answers a second", "median", "least", "most"),
        [(name, float(np.median(each)), min(each), max(each)) for name, each in rates.items()],
    )
    for (what, name, target), each in ratios.items():
        said_of = f"{what} / {name}, median of {len(each)} ({min(each):.2f} to {max(each):.2f})"
        if target is None:
            print(f"       {said_of}: {np.median(each):.2f}")
        else:
            verdict(said_of, float(np.median(each)), target, at_least=True)


def said(trial: Trial) -> None:
    print(f"  {trial.measured.throughput:8.1f}/s  {trial.configuration}", file=sys.stderr, flush=True)


def loop(model: torch.nn.Module, threads: int, seconds: float) -> float:
    """Samples a second at the batch size that is fastest; what no server can exceed."""
    torch.set_num_threads(threads)
    best = 0.0
    with torch.inference_mode():
        for batch in (16, 32):
            x = torch.randn(batch, WIDTH)
            model(x)
            count, started = 0, time.perf_counter()
            while time.perf_counter() - started < seconds / 2:
                model(x)
                count += batch
            best = max(best, count / (time.perf_counter() - started))
    torch.set_num_threads(1)
    return best


class Connection(asyncio.Protocol):
    """One client: asks the same, over HTTP, again as soon as it is answered."""

    def __init__(self, request: bytes, answered: list[int]) -> None:
        self._request, self._answered = request, answered
        self._begun, self._size = b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        answer = self._begun + data
        if not self._size and (end := answer.find(b"\r\n\r\n")) >= 0:
            assert answer.startswith(b"HTTP/1.1 200"), answer[:300]
            (length,) = re.findall(rb"\ncontent-length: *(\d+)", answer[:end].lower())
            self._size = end + 4 + int(length)
        if not self._size or len(answer) < self._size:
            self._begun = answer
            return
        self._begun, self._size = b"", 0
        self._answered[0] += 1
        self.transport.write(self._request)


async def ask(address: str, request: bytes, seconds: float) -> float:
    """Answers a second to all clients, after a warm-up of a quarter as long."""
    host, _, port = address.partition(":")
    loop, answered = asyncio.get_running_loop(), [0]
    made = [
        await loop.create_connection(lambda: Connection(request, answered), host, int(port)) for _ in range(CONCURRENCY)
    ]
    await asyncio.sleep(seconds / 4)
    before, started = answered[0], time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (answered[0] - before) / (time.perf_counter() - started)
    for transport, _ in made:
        transport.abort()
    return rate


def of_triton(x: np.ndarray) -> bytes:
    """A request of Triton's binary tensor data extension, whole."""
    tensor = {"name": "x", "datatype": "FP32", "shape": x.shape, "parameters": {"binary_data_size": x.nbytes}}
    output = {"name": "y", "parameters": {"binary_data": True}}
    header = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
    return posted("/v2/models/mlp/infer", header + x.tobytes(), f"Inference-Header-Content-Length: {len(header)}\r\n")


def posted(path: str, body: bytes, headers: str = "") -> bytes:
    lines = f"POST {path} HTTP/1.1\r\nHost: here\r\n{headers}Content-Type: application/octet-stream\r\n"
    return f"{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def check_same(model: torch.nn.Module, triton: str, other: str) -> None:
    """All three give the same answer: otherwise their speeds are of different things."""
    x = np.random.default_rng(1).random((1, WIDTH), np.float32)
    with torch.inference_mode():
        expected = model(torch.from_numpy(x)).numpy()
    for address, request in ((triton, of_triton(x)), (other, posted("/infer", x.tobytes()))):
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port)), 30) as connection:
            connection.sendall(request.replace(b"Host: here", b"Host: here\r\nConnection: close"))
            said = b""
            while more := connection.recv(65_536):
                said += more
        # Triton's own header, which says what follows, comes before the numbers.
        found = np.frombuffer(said[-4 * WIDTH :], np.float32)
        np.testing.assert_allclose(found, expected[0], rtol=1e-3, atol=1e-5)


@contextlib.contextmanager
def served(directory: Path) -> Iterator[Triton]:
    model = directory / "models" / "mlp"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(CONFIG)
    (model / "1" / "model.py").write_text(MODEL)
    with Triton(directory / "models", log=directory / "triton.log") as triton:
        triton.load("mlp")
        yield triton


@contextlib.contextmanager
def fastapi(directory: Path) -> Iterator[str]:
    """The address of a server as one would write it first."""
    (directory / "unbatched.py").write_text(FASTAPI)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "unbatched:app", "--port", str(port), "--log-level", "warning"]
    server = subprocess.Popen(command, cwd=directory)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"uvicorn did not start: {server.poll()}")
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
