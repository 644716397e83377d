"""Holds the client to a real Triton: both protocols, streams, its words for each refusal, and its death."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from workloads.serving.client import AsyncClient, Client, DeadlineExceeded, Kind, Policy, Refused, Unavailable
from workloads.serving.triton import Triton

CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: 8
input [{{ name: "x" data_type: TYPE_FP32 dims: [ 1 ] }}, {{ name: "text" data_type: TYPE_STRING dims: [ 1 ] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [ 1 ] }}, {{ name: "said" data_type: TYPE_STRING dims: [ 1 ] }}]
instance_group [{{ kind: KIND_CPU count: 1 }}]
dynamic_batching {{ default_queue_policy {{ max_queue_size: {queue} }} }}
"""
# What to do is in the text; the answer is twice the number, and the text in capitals.
MODEL = """
import os
import time

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb.get_input_tensor_by_name(request, "x").as_numpy()
            text = pb.get_input_tensor_by_name(request, "text").as_numpy()
            asked = text.reshape(-1)[0].decode()
            if asked.startswith("sleep"):
                time.sleep(float(asked.split()[1]))
            if asked == "raise":
                raise RuntimeError("as it was asked to")
            if asked == "die":
                os._exit(3)
            said = np.array([asked.upper().encode()], dtype=object).reshape(1, 1)
            answers.append(pb.InferenceResponse([pb.Tensor("y", x * 2), pb.Tensor("said", said)]))
        return answers
"""
COUNTING_CONFIG = """
name: "counting"
backend: "python"
max_batch_size: 0
model_transaction_policy { decoupled: true }
input [{ name: "count" data_type: TYPE_INT32 dims: [ 1 ] }]
output [{ name: "text" data_type: TYPE_STRING dims: [ 1 ] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""
COUNTING = """
import threading
import time

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    sent = 0

    def execute(self, requests):
        for request in requests:
            count = int(pb.get_input_tensor_by_name(request, "count").as_numpy()[0])
            threading.Thread(target=self.answer, args=(request.get_response_sender(), count)).start()

    def answer(self, sender, count):
        if count == 0:  # how many were sent so far
            sender.send(pb.InferenceResponse([pb.Tensor("text", np.array([str(self.sent)], dtype=object))]))
        for number in range(count):
            if sender.is_cancelled():
                break
            if number == 5000:
                error = pb.InferenceResponse(error=pb.TritonError("that is enough"))
                sender.send(error)
                break
            text = np.array(["é%d" % number], dtype=object)
            sender.send(pb.InferenceResponse([pb.Tensor("text", text)]))
            self.sent += 1
            time.sleep(0.002)
        sender.send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


@pytest.fixture(scope="module")
def obedient(add_model: Callable[..., None]) -> str:
    add_model("obedient", CONFIG.format(name="obedient", queue=0), MODEL)
    return "obedient"


@pytest.fixture(scope="module")
def counting(add_model: Callable[..., None]) -> str:
    add_model("counting", COUNTING_CONFIG, COUNTING)
    return "counting"


@pytest.fixture(params=["grpc", "http"])
def url(request: pytest.FixtureRequest, triton: Triton) -> str:
    return f"{request.param}://{getattr(triton, request.param)}"


def inputs(number: float, text: str = "hello") -> dict[str, object]:
    return {"x": np.array([[number]], np.float32), "text": np.array([[text]], dtype=object)}


def test_numbers_and_strings_go_there_and_back(url: str, obedient: str) -> None:
    with Client([url]) as client:
        answer = client.infer(obedient, inputs(21, "grüezi"), id="one")
        np.testing.assert_array_equal(answer["y"], np.array([[42]], np.float32))
        assert (answer.text("said"), answer.model, answer.version) == ("GRÜEZI", obedient, "1")
        assert list(client.infer(obedient, inputs(1), outputs=["y"], version=1).outputs) == ["y"]
        assert client.ready() == {url: True}


@pytest.mark.parametrize(
    ("asked", "options", "kind", "words"),
    [
        ({"model": "nobody"}, {}, Kind.NOT_HERE, "unknown model: 'nobody'"),
        ({}, {"version": 7}, Kind.NOT_HERE, "version 7 is not found"),
        ({"inputs": inputs(1) | {"x": np.zeros((1, 2), np.float32)}}, {}, Kind.WRONG, "unexpected shape for input 'x'"),
        ({"inputs": inputs(1) | {"x": np.zeros((1, 1))}}, {}, Kind.WRONG, "'FP64'"),
        ({"inputs": {"x": np.zeros((1, 1), np.float32)}}, {}, Kind.WRONG, "expected 2 inputs but got 1"),
        ({"inputs": inputs(1, "raise")}, {}, Kind.WRONG, "as it was asked to"),
    ],
)
def test_the_servers_reason_reaches_whoever_asked(
    url: str, obedient: str, asked: dict[str, object], options: dict[str, object], kind: Kind, words: str
) -> None:
    what = {"model": obedient, "inputs": inputs(1)} | asked
    with Client([url]) as client, pytest.raises(Refused, match=words) as caught:
        client.infer(what["model"], what["inputs"], **options)  # type: ignore[arg-type]
    assert (caught.value.kind, caught.value.attempts) == (kind, 1)
    assert url in str(caught.value)


def test_a_deadline_holds(url: str, obedient: str) -> None:
    with Client([url]) as client:
        with pytest.raises(DeadlineExceeded):
            client.infer(obedient, inputs(1, "sleep 0.5"), deadline_s=0.1)
        assert client.infer(obedient, inputs(2))["y"][0, 0] == 4


def test_a_full_queue_and_an_unloaded_model_are_known_by_their_words(
    triton: Triton, url: str, add_model: Callable[..., None]
) -> None:
    add_model("narrow", CONFIG.format(name="narrow", queue=1), MODEL)
    with Client([url], Policy(attempts=1)) as client:
        asked = [client.submit("narrow", inputs(1, "sleep 0.3")) for _ in range(12)]
        failures = [error for future in asked if (error := future.exception(20))]
        assert 0 < len(failures) < len(asked)
        for error in failures:
            assert isinstance(error, Unavailable)
            assert (error.kind, "Exceeds maximum queue size" in str(error)) == (Kind.BUSY, True)
        triton.unload("narrow")
        with pytest.raises(Refused, match="has no available versions") as caught:
            client.infer("narrow", inputs(1))
        assert caught.value.kind is Kind.NOT_NOW


# ---- streams


def test_a_stream_comes_piece_by_piece(url: str, counting: str) -> None:
    with Client([url]) as client:
        started = time.monotonic()
        first = 0.0
        texts = []
        for part in client.stream(counting, {"count": np.array([200], np.int32)}):
            first = first or time.monotonic() - started
            texts.append(part.text("text"))
        whole = time.monotonic() - started
    assert texts == [f"é{number}" for number in range(200)]
    assert whole > 0.4
    assert first < whole / 2


def test_leaving_a_stream_ends_it_at_the_server(url: str, counting: str) -> None:
    def sent() -> int:
        answers = list(client.stream(counting, {"count": np.array([0], np.int32)}))
        return int(answers[0].text("text"))

    with Client([url]) as client:
        before = sent()
        for part in client.stream(counting, {"count": np.array([4000], np.int32)}):
            if part.text("text") == "é20":
                break
        now = sent()
        for _ in range(100):
            time.sleep(0.05)
            last, now = now, sent()
            if now == last:
                break
        assert now - before < 2000


def test_a_stream_of_an_unknown_model_and_a_deadline_within_one(url: str, counting: str) -> None:
    with Client([url]) as client:
        with pytest.raises(Refused, match="nobody"):
            list(client.stream("nobody", {"count": np.array([1], np.int32)}))
        with pytest.raises(DeadlineExceeded, match="responses had come"):
            list(client.stream(counting, {"count": np.array([4000], np.int32)}, deadline_s=0.3))


# ---- death


@asynccontextmanager
async def two_servers(directory: Path) -> AsyncIterator[tuple[Triton, Triton]]:
    servers = [Triton(directory / name, log=directory / f"{name}.log") for name in ("near", "far")]
    for server in servers:
        for name, config, code in (
            ("obedient", CONFIG.format(name="obedient", queue=0), MODEL),
            ("counting", COUNTING_CONFIG, COUNTING),
        ):
            model = server.repository / name
            (model / "1").mkdir(parents=True)
            (model / "config.pbtxt").write_text(config)
            (model / "1" / "model.py").write_text(code)
    with servers[0], servers[1]:
        for server in servers:
            server.load("obedient")
            server.load("counting")
        yield servers[0], servers[1]


@pytest.mark.slow
def test_a_model_whose_process_died_is_asked_elsewhere_but_not_for_ever(tmp_path: Path) -> None:
    async def work() -> None:
        async with two_servers(tmp_path) as servers:
            for scheme, mortal, other in (("grpc", *servers), ("http", *servers[::-1])):
                endpoints = [f"{scheme}://{getattr(server, scheme)}" for server in (mortal, other)]
                async with AsyncClient(endpoints[:1], Policy(backoff_s=0.01)) as client:
                    with pytest.raises(Unavailable, match=r"is not healthy.*after 4 attempts") as caught:
                        await client.infer("obedient", inputs(1, "die"))
                    assert caught.value.kind is Kind.LOST
                async with AsyncClient(endpoints) as client:
                    if scheme == "grpc":
                        assert (await client.infer("obedient", inputs(1))).endpoint == endpoints[1]
            for server in servers:
                server.kill()  # it would wait for its dead model

    asyncio.run(asyncio.wait_for(work(), 120))


@pytest.mark.parametrize("scheme", ["grpc", pytest.param("http", marks=pytest.mark.slow)])
def test_every_request_is_answered_though_the_server_is_killed_under_load(scheme: str, tmp_path: Path) -> None:
    streams = 16

    async def work() -> None:
        async with two_servers(tmp_path) as (near, far):
            endpoints = [f"{scheme}://{getattr(server, scheme)}" for server in (near, far)]
            async with AsyncClient(endpoints, Policy(deadline_s=20)) as client:
                answered: dict[str, int] = dict.fromkeys(endpoints, 0)
                killed = asyncio.Event()
                after_s = 1.0

                async def ask(first: int) -> None:
                    number, end = first, float("inf")
                    while time.monotonic() < end:
                        # Each takes a while, so that some are under way when the server dies.
                        answer = await client.infer("obedient", inputs(number, "sleep 0.01"))
                        assert answer["y"][0, 0] == 2 * number, "another request's answer"
                        answered[answer.endpoint] += 1
                        number += streams
                        if killed.is_set() and end == float("inf"):
                            end = time.monotonic() + after_s

                heard: list[str] = []

                async def listen() -> None:
                    count = {"count": np.array([1500], np.int32)}
                    heard.extend([part.text("text") async for part in client.stream("counting", count)])

                async def kill() -> None:
                    while answered[endpoints[0]] < 50:
                        await asyncio.sleep(0.01)
                    os.kill(near.pid, signal.SIGKILL)
                    killed.set()

                await asyncio.gather(listen(), kill(), *(ask(number) for number in range(streams)))
                assert client.counts.failed == 0
                assert client.counts.requests == sum(answered.values()) + 1
                # The stream was in the middle of it, and had every word once all the same.
                assert heard == [f"é{number}" for number in range(1500)]
                assert answered[endpoints[1]] > streams
                # Those that were under way were lost, and answered all the same.
                assert client.counts.repeated >= 1

    asyncio.run(asyncio.wait_for(work(), 120))
