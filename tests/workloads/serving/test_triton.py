"""The server process: started, given models, drained, killed; with a real Triton."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from tests.support import ROOT
from tests.workloads.serving.conftest import DOUBLER, DOUBLER_CONFIG
from workloads.serving.triton import ModelFailed, Ports, ServerFailed, Triton

COUNTER_CONFIG = """
name: "counter"
backend: "python"
input [{ name: "count" data_type: TYPE_INT32 dims: [ 1 ] }]
output [{ name: "number" data_type: TYPE_INT32 dims: [ 1 ] }]
instance_group [{ kind: KIND_CPU count: 1 }]
model_transaction_policy { decoupled: true }
"""
COUNTER = """
import threading
import time

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    # Counts, twenty numbers a second.
    def execute(self, requests):
        for request in requests:
            count = int(pb.get_input_tensor_by_name(request, "count").as_numpy()[0])
            threading.Thread(target=self._count, args=(request.get_response_sender(), count)).start()

    def _count(self, sender, count):
        for number in range(count):
            sender.send(pb.InferenceResponse([pb.Tensor("number", np.array([number], np.int32))]))
            time.sleep(0.05)
        sender.send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


def double(triton: Triton, values: list[float]) -> list[float]:
    x = np.array([values], np.float32)
    tensor = grpcclient.InferInput("x", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    with grpcclient.InferenceServerClient(triton.grpc) as client:
        return client.infer("doubler", [tensor]).as_numpy("y")[0].tolist()


def own(directory: Path, **options: object) -> Triton:
    """A server of the test's own, with two models to load."""
    for name, config, code in (("doubler", DOUBLER_CONFIG, DOUBLER), ("counter", COUNTER_CONFIG, COUNTER)):
        (directory / "models" / name / "1").mkdir(parents=True, exist_ok=True)
        (directory / "models" / name / "config.pbtxt").write_text(config)
        (directory / "models" / name / "1" / "model.py").write_text(code)
    return Triton(directory / "models", log=directory / "triton.log", **options)


def children(pid: int) -> list[int]:
    """Processes of the group that a server began, without those that have ended and were not yet asked about."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except (OSError, ValueError):
                continue
            if int(group) == pid and state not in "ZX":
                found.append(int(entry.name))
    return found


def until_none(pid: int) -> None:
    deadline = time.monotonic() + 20
    while found := children(pid):
        assert time.monotonic() < deadline, f"{found} outlived their server"
        time.sleep(0.05)


def test_a_real_server_answers(triton: Triton, doubler: str) -> None:
    # Not of the whole server: models that other tests break count in it.
    assert triton.ready(doubler)
    assert triton.ready(doubler, 1)
    assert not triton.ready(doubler, 2)
    assert double(triton, [1.0, -2.5]) == [2.0, -5.0]


def test_an_unloaded_model_is_gone_and_can_come_back(
    triton: Triton, add_model: Callable[[str, str, str], None]
) -> None:
    add_model("comes", DOUBLER_CONFIG.replace("doubler", "comes"), DOUBLER)
    triton.unload("comes")
    assert not triton.ready("comes")
    assert ("comes", "UNAVAILABLE") in {(each.name, each.state) for each in triton.index()}
    triton.load("comes")
    assert triton.ready("comes")
    triton.unload("comes")


def test_a_model_that_does_not_load_says_why(triton: Triton, add_model: Callable[[str, str, str], None]) -> None:
    with pytest.raises(ModelFailed, match="no such weights"):
        add_model("bad", DOUBLER_CONFIG.replace("doubler", "bad"), "raise RuntimeError('no such weights')\n")
    with pytest.raises(ModelFailed, match="nobody"):
        triton.load("nobody")


def test_loading_models_is_for_whoever_started_the_server(triton: Triton, doubler: str) -> None:
    """A model is a program: who may load one runs what they like."""
    for path in ("repository/index", f"repository/models/{doubler}/unload", "systemsharedmemory/region/x/register"):
        request = urllib.request.Request(f"http://{triton.http}/v2/{path}", b"{}")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code == 403
    with (
        grpcclient.InferenceServerClient(triton.grpc) as client,
        pytest.raises(InferenceServerException, match="restricted"),
    ):
        client.unload_model(doubler)
    assert triton.ready(doubler)


def test_a_server_that_is_told_to_end_finishes_what_is_under_way(tmp_path: Path) -> None:
    numbers, ended = [], threading.Event()

    def got(result: grpcclient.InferResult | None, error: Exception | None) -> None:
        assert error is None, error
        assert result is not None
        if (number := result.as_numpy("number")) is not None:
            numbers.append(int(number[0]))
        if result.get_response().parameters["triton_final_response"].bool_param:
            ended.set()

    with own(tmp_path) as triton:
        triton.load("counter")
        client = grpcclient.InferenceServerClient(triton.grpc)
        client.start_stream(got)
        tensor = grpcclient.InferInput("count", [1], "INT32")
        tensor.set_data_from_numpy(np.array([30], np.int32))
        client.async_stream_infer("counter", [tensor], enable_empty_final_response=True)
        deadline = time.monotonic() + 20
        while not numbers:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(triton.pid, signal.SIGTERM)
        assert ended.wait(20)
        client.close()
        assert triton.stop() == 0
    assert numbers == list(range(30))


def test_a_server_that_is_killed_leaves_no_processes_and_no_memory(tmp_path: Path) -> None:
    with own(tmp_path) as triton:
        triton.load("doubler")
        region = triton._region
        assert double(triton, [1.0]) == [2.0]
        group = triton.pid
        assert len(children(group)) >= 2  # the server and a process for its model
        assert list(Path("/dev/shm").glob(f"{region}*"))
        os.kill(triton.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while triton.ready():
            assert time.monotonic() < deadline
        with pytest.raises(ServerFailed, match="ended with -9"):
            triton.load("doubler")
        # And again, in the same place.
        triton.start()
        triton.load("doubler")
        assert double(triton, [1.0]) == [2.0]
        until_none(group)
        triton.kill()
        until_none(triton.pid)
    assert not list(Path("/dev/shm").glob(f"{region}*"))


def test_a_server_ends_with_whoever_started_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from workloads.serving.triton import Triton\n"
        f"t = Triton(Path({str(tmp_path / 'models')!r}), log=Path({str(tmp_path / 'log')!r}), exit_timeout_s=1)\n"
        "t.start(); print(t.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    until_none(pid)


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free = Ports.free()
        ports = Ports(taken.getsockname()[1], free.grpc, free.metrics)
        triton = Triton(tmp_path / "models", log=tmp_path / "triton.log", ports=ports)
        with pytest.raises(ServerFailed, match=r"already in use|failed to start HTTP"), triton:
            pass


@pytest.mark.parametrize("options", [("--no-such-option",), ("--rate-limit=x",)])
def test_a_server_that_does_not_start_says_why(tmp_path: Path, options: tuple[str, ...]) -> None:
    triton = Triton(tmp_path / "models", log=tmp_path / "triton.log", arguments=options)
    with pytest.raises(ServerFailed, match=options[0].partition("=")[0].strip("-")), triton:
        pass
