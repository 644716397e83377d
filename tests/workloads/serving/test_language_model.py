"""A checkpoint that was trained here, exported, in a real Triton: text in, text out while it is computed.

And whatever else clients do: each gets a clear error, and none harms the others.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from workloads.serving.triton import Triton

GREEDY = {"max_tokens": 12, "temperature": 0}
STREAMED = {**GREEDY, "max_tokens": 200}
"""Enough that parts come apart: what is computed while a client is slow, or the machine busy, comes as one."""
SLOTS, WAITING = 4, 8
"""Of the model that the fixture exports."""
LONG = 1000
"""Tokens of an answer that nobody waits for: its prompt and 1,023 more would fit."""


def post(triton: Triton, path: str, body: bytes) -> tuple[int, str]:
    """Status and body of a request over plain HTTP."""
    host, _, port = triton.http.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    try:
        connection.request("POST", f"/v2/models/{path}", body)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def ask(triton: Triton, model: str, text: str, path: str = "generate", **parameters: Any) -> tuple[int, list[Any]]:
    """Status and the parts of an answer."""
    body = json.dumps({"text_input": text, "parameters": parameters}).encode()
    status, said = post(triton, f"{model}/{path}", body)
    return status, [json.loads(line.removeprefix("data: ")) for line in said.splitlines() if line.strip()]


def text_of(parts: list[Any]) -> str:
    return "".join(part["text_output"] for part in parts)


def bytes_input(name: str, value: bytes, shape: tuple[int, ...] = (1, 1)) -> grpcclient.InferInput:
    tensor = grpcclient.InferInput(name, list(shape), "BYTES")
    tensor.set_data_from_numpy(np.full(shape, value, np.object_))
    return tensor


def true(name: str) -> grpcclient.InferInput:
    tensor = grpcclient.InferInput(name, [1, 1], "BOOL")
    tensor.set_data_from_numpy(np.array([[True]]))
    return tensor


class Stream:
    """One gRPC stream to the model."""

    def __init__(self, triton: Triton, model: str, inputs: list[Any], **options: Any) -> None:
        self._news: queue.Queue[Any] = queue.Queue()
        self._client = grpcclient.InferenceServerClient(triton.grpc)
        self._client.start_stream(lambda result, error: self._news.put(error or result))
        self._client.async_stream_infer(model, inputs, enable_empty_final_response=True, **options)

    def next(self) -> Any:
        """The next response. Raises what the server answers instead, queue.Empty if nothing comes."""
        found = self._news.get(timeout=20)
        if isinstance(found, InferenceServerException):
            raise found
        return found

    def __iter__(self) -> Iterator[Any]:
        while True:
            response = self.next()
            if response.as_numpy("text_output") is not None:
                yield response
            if response.get_response().parameters["triton_final_response"].bool_param:
                return

    def cancel(self) -> None:
        self._client.stop_stream(cancel_requests=True)

    def close(self) -> None:
        self._client.close()


def sampling(**values: Any) -> grpcclient.InferInput:
    return bytes_input("sampling_parameters", json.dumps(values).encode())


def value(triton: Triton, metric: str, **labels: str) -> float:
    """Sum of a metric's values whose labels have these values. KeyError if there are none."""
    found = []
    for line in triton.scrape().splitlines():
        name, _, rest = line.partition("{")
        known, _, number = rest.partition("} ")
        if name == metric and all(f'{key}="{wanted}"' in known for key, wanted in labels.items()):
            found.append(float(number))
    if not found:
        raise KeyError(metric)
    return sum(found)


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def running(triton: Triton) -> float:
    return value(triton, "aicloud_language_model_running", model="lm")


def cancelled(triton: Triton) -> float:
    """Answers that ended since nobody waited for them."""
    try:
        return value(triton, "aicloud_language_model_answers_total", model="lm", reason="cancelled")
    except KeyError:  # none yet
        return 0.0


def leaving_ends(triton: Triton, count: int, leave: Callable[[float], None]) -> None:
    """`leave` begins answers, waits for so many seconds at most, and leaves: so many of them end, and none goes on.

    A thousand tokens take less than a second. On a busy machine whoever leaves may come too late, or before anything
    has begun: it is tried again, with another patience.
    """
    for patience_s in (0.2, 0.4, 0.1, 0.8, 1.6):
        before = cancelled(triton)
        leave(patience_s)
        with contextlib.suppress(AssertionError):
            until(lambda before=before: cancelled(triton) - before >= count, 4.0)  # type: ignore[misc]
            break
    else:
        pytest.fail(f"never ended {count} answers that nobody waits for")
    until(lambda: running(triton) == 0)


# ---- answers


def test_an_exported_checkpoint_streams_text(triton: Triton, language_model: str) -> None:
    status, whole = ask(triton, language_model, "import json", **STREAMED)
    assert status == 200
    more = {"stream": True, "return_num_output_tokens": True, "return_finish_reason": True}
    status, parts = ask(triton, language_model, "import json", "generate_stream", **STREAMED, **more)
    assert status == 200
    assert len(parts) > 1
    assert text_of(parts) == text_of(whole) != ""
    assert sum(part["num_output_tokens"] for part in parts) == 200
    assert [part["finish_reason"] for part in parts] == [""] * (len(parts) - 1) + ["length"]
    assert "finish_reason" not in whole[0]


def test_grpc_streams_the_same(triton: Triton, language_model: str) -> None:
    _, whole = ask(triton, language_model, "import json", **GREEDY)
    inputs = [bytes_input("text_input", b"import json"), sampling(**GREEDY), true("stream")]
    stream = Stream(triton, language_model, inputs)
    parts = [response.as_numpy("text_output")[0, 0].decode() for response in stream]
    stream.close()
    assert "".join(parts) == text_of(whole)


def test_a_seed_decides_and_the_prompt_is_repeated_on_demand(triton: Triton, language_model: str) -> None:
    one, same, other = (ask(triton, language_model, "class", max_tokens=24, seed=seed)[1] for seed in (7, 7, 8))
    assert text_of(one) == text_of(same)
    assert text_of(one) != text_of(other)
    _, repeated = ask(triton, language_model, "class", max_tokens=24, seed=7, exclude_input_in_output=False)
    assert text_of(repeated) == "class" + text_of(one)


def test_many_answers_at_once_are_those_of_each_alone(triton: Triton, language_model: str) -> None:
    prompts = [f"def f{number}(" for number in range(10)]
    alone = [text_of(ask(triton, language_model, prompt, **GREEDY)[1]) for prompt in prompts]
    with ThreadPoolExecutor(len(prompts)) as pool:
        together = list(
            pool.map(
                lambda prompt: text_of(
                    ask(triton, language_model, prompt, "generate_stream", stream=True, **GREEDY)[1]
                ),
                prompts,
            )
        )
    assert together == alone


# ---- clients that leave


def test_a_cancelled_stream_gives_its_slot_back(triton: Triton, language_model: str) -> None:
    # The likeliest: at random, the token that ends an answer comes now and then.
    inputs = [bytes_input("text_input", b"x"), sampling(max_tokens=LONG, temperature=0), true("stream")]

    def leave(_: float) -> None:
        streams = [Stream(triton, language_model, inputs) for _ in range(SLOTS)]
        for stream in streams:
            stream.next()
            stream.cancel()
            stream.close()

    leaving_ends(triton, SLOTS, leave)


def test_a_client_that_disconnects_or_never_finishes_its_request_harms_nobody(
    triton: Triton, language_model: str
) -> None:
    host, _, port = triton.http.rpartition(":")
    body = json.dumps({"text_input": "x", "parameters": {"max_tokens": LONG, "stream": True}}).encode()
    head = (
        f"POST /v2/models/{language_model}/generate_stream HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    loris = []
    for number in range(40):
        connection = socket.create_connection((host, int(port)))
        if number % 2:
            connection.sendall(head.encode() + body)
            connection.close()
        else:
            # A slow loris: half a request, and the connection stays open.
            connection.sendall(head.encode()[: 20 + number])
            loris.append(connection)
    try:
        until(lambda: ask(triton, language_model, "import json", **GREEDY)[0] == 200)
        until(lambda: running(triton) == 0)
    finally:
        for connection in loris:
            connection.close()


def test_an_answer_ends_at_its_deadline(triton: Triton, language_model: str) -> None:
    inputs = [bytes_input("text_input", b"x"), sampling(max_tokens=LONG), true("stream"), true("return_finish_reason")]
    stream = Stream(triton, language_model, inputs, timeout=1000)  # microseconds
    assert [response.as_numpy("finish_reason")[0, 0] for response in stream][-1] == b"deadline"
    stream.close()


# ---- requests that cannot be answered


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "The document is empty"),
        (b"{", "Missing a name for object member"),
        (b'{"text_input": "x"', "Missing a comma"),
        (b"{}", "expected"),
        (b'{"text_input": ""}', "text_input: it is empty"),
        (b'{"text_input": 3}', "attempt to access JSON non-string as string"),
        (b'{"text_input": ["a", "b"]}', "batch-size must be <= 1"),
        (b'{"text_input": "x", "stream": "yes"}', "attempt to access JSON non-boolean as boolean"),
        (
            b'{"text_input": "x", "parameters": {"temprature": 1}}',
            "'temprature' is not known; expected some of max_tok",
        ),
        (b'{"text_input": "x", "parameters": {"max_tokens": 0}}', "max_new_tokens: 0: expected a whole number from 1"),
        (b'{"text_input": "x", "parameters": {"max_tokens": 2000}}', "2000: expected a whole number from 1 to 1023"),
        (b'{"text_input": "x", "parameters": {"max_tokens": "9"}}', "max_new_tokens: '9'"),
        (b'{"text_input": "x", "parameters": {"temperature": -1}}', "temperature: -1"),
        (b'{"text_input": "x", "parameters": {"top_p": 1.5}}', "top_p: 1.5"),
        (b'{"text_input": "x", "sampling_parameters": "[1]"}', "sampling_parameters: [1]: expected a JSON object"),
        (b'{"text_input": "x", "sampling_parameters": "{"}', "sampling_parameters: not JSON"),
        (b'{"text_input": "' + b"ab " * 900 + b'"}', "tokens:"),
        (b'{"text_input": "' + b"x" * 10_000_000 + b'"}', "text_input: 10000000 bytes; this model reads at most"),
    ],
)
def test_a_request_that_cannot_be_answered_is_told_why(
    triton: Triton, language_model: str, body: bytes, says: str
) -> None:
    status, said = post(triton, f"{language_model}/generate", body)
    # Triton answers what it cannot parse with 500, everything else with 400.
    assert status == (500 if "JSON" in said and "sampling_parameters" not in said else 400)
    assert says in json.loads(said)["error"]
    assert ask(triton, language_model, "import json", max_tokens=1)[0] == 200


@pytest.mark.parametrize("path", ["nobody/generate", "lm/versions/9/generate", "lm/versions/x/generate"])
def test_an_unknown_model_or_version_is_told(triton: Triton, language_model: str, path: str) -> None:
    assert language_model == "lm"
    status, said = post(triton, path, b'{"text_input": "x"}')
    assert 400 <= status < 500
    assert json.loads(said)["error"]


def _wrong(kind: str) -> list[Any]:
    match kind:
        case "not UTF-8":
            return [bytes_input("text_input", b"abc\xff")]
        case "of another type":
            tensor = grpcclient.InferInput("text_input", [1, 1], "FP32")
            tensor.set_data_from_numpy(np.zeros((1, 1), np.float32))
            return [tensor]
        case "of another shape":
            return [bytes_input("text_input", b"x", (1, 2))]
        case "a batch":
            return [bytes_input("text_input", b"x", (2, 1))]
        case "unknown input":
            return [bytes_input("text_input", b"x"), bytes_input("prompt", b"x")]
    return []


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("not UTF-8", "text_input: not UTF-8 at byte 3"),
        ("of another type", "text_input"),
        ("of another shape", "text_input"),
        ("a batch", "batch"),
        ("unknown input", "prompt"),
        ("nothing", "expected"),
    ],
)
def test_a_tensor_that_is_not_what_is_expected_is_told(
    triton: Triton, language_model: str, kind: str, says: str
) -> None:
    stream = Stream(triton, language_model, _wrong(kind))
    with pytest.raises(InferenceServerException, match=says):
        list(stream)
    stream.close()
    assert ask(triton, language_model, "import json", max_tokens=1)[0] == 200


# ---- more than it can do


def test_what_waits_is_in_the_servers_queue_and_one_too_many_is_refused(triton: Triton, language_model: str) -> None:
    """So that autoscaling, which goes by the server's own queue, sees a language model's load."""
    waited = value(triton, "nv_inference_queue_duration_us", model="lm")
    many = 10 * (SLOTS + WAITING)
    with ThreadPoolExecutor(many) as pool:
        answers = list(pool.map(lambda _: ask(triton, language_model, "x", max_tokens=60, seed=1), range(many)))
    served = [parts for status, parts in answers if status == 200]
    refused = [(status, parts) for status, parts in answers if status != 200]
    # All come at once, and may fill the queue before the first of them has begun: no more than these are sure.
    assert len(served) >= WAITING
    assert len({text_of(parts) for parts in served}) == 1
    assert refused
    assert {status for status, _ in refused} == {503}
    assert "maximum queue size" in refused[0][1][0]["error"]
    assert value(triton, "nv_inference_queue_duration_us", model="lm") - waited > 1000 * len(served)
    assert ask(triton, language_model, "import json", **GREEDY)[0] == 200
