"""The parts of other servers' protocols that need no server: JSON and arrays, what failures are, clients that leave."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.serving.client.failures import Failure, Kind, of_http
from workloads.serving.errors import ArgumentError
from workloads.serving.protocols import rows, tensors
from workloads.serving.protocols.listening import Guard, bound, respond
from workloads.serving.protocols.refusal import Refusal, of_failure
from workloads.serving.protocols.triton import Field, Signature


def signature(*inputs: Field) -> Signature:
    return Signature("m", ("1",), "python", inputs, (), 8, False)


X = Field("x", "FP32", (-1, 2))
TEXT = Field("text", "BYTES", (-1, 1))
FLAG = Field("flag", "BOOL", (-1, 1), optional=True)


# ---- arrays


@given(st.lists(st.floats(width=32), max_size=20), st.sampled_from([np.float32, np.float64]))
def test_what_is_written_is_what_was_there(numbers: list[float], kind: type[np.floating[Any]]) -> None:
    there = np.array(numbers, kind)
    written = json.loads(tensors.joined(tensors.literals("y", there)))
    np.testing.assert_array_equal(np.array(written, kind), there)
    assert all(isinstance(number, float) for number in written)


@pytest.mark.parametrize(
    ("value", "datatype", "shape"),
    [
        (3, "INT8", ()),
        ([], "FP32", (0,)),
        ([[], []], "INT32", (2, 0)),
        ([[[1], [2]]], "FP64", (1, 2, 1)),
        (["a", {"b64": "AP8"}], "BYTES", (2,)),
        ([True, False], "BOOL", (2,)),
        ([2**64 - 1], "UINT64", (1,)),
    ],
)
def test_nested_lists_are_arrays(value: Any, datatype: str, shape: tuple[int, ...]) -> None:
    found = tensors.array("x", value, datatype)
    assert (found.shape, found.dtype) == (shape, tensors.NUMPY[datatype])


@pytest.mark.parametrize(
    ("value", "datatype", "says"),
    [
        ([1, [2]], "FP32", "mixed at depth 1"),
        ([[1], 2], "FP32", "mixed at depth 1"),
        ([True], "INT32", "true, a boolean; expected a whole number"),
        ([1], "BOOL", "1, a number; expected true or false"),
        ([None], "FP32", "null; expected a number"),
        ([128], "INT8", "128 is out of range; INT8 is -128 to 127"),
        ([-1], "UINT8", "-1 is out of range"),
        ([2**24], "FP32", "16777216 loses precision as FP32"),
        ([10**400], "FP64", "loses precision"),
        ([70000.0], "FP16", "70000.0 is out of range of FP16"),
        (["\ud800"], "BYTES", "surrogates not allowed"),
        ([{"b64": 1}], "BYTES", 'expected a string or {"b64": "…"}'),
        ([1], "BF16", "datatype 'BF16'; expected one of BOOL"),
    ],
)
def test_a_value_is_not_bent_to_fit(value: Any, datatype: str, says: str) -> None:
    with pytest.raises(Refusal) as caught:
        tensors.array("x", value, datatype)
    assert (caught.value.status, says in caught.value.message) == (400, True), caught.value.message
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    with pytest.raises(Refusal, match="nested more than 32 deep"):
        tensors.array("x", deep, "FP32")


# ---- rows


def test_plain_values_do_for_rows_of_one_and_what_is_optional_may_be_missing() -> None:
    asked = rows.read({"instances": ["a", "b"]}, signature(FLAG, TEXT))
    assert (asked.inputs["text"].shape, list(asked.inputs), asked.rows) == ((2, 1), ["text"], 2)
    asked = rows.read({"instances": [{"text": "a", "flag": True}], "parameters": {"n": 3}}, signature(FLAG, TEXT))
    assert (asked.inputs["flag"].tolist(), asked.parameters) == ([[True]], {"n": 3})
    asked = rows.read({"inputs": [{"b64": "AA=="}]}, signature(TEXT))
    assert (asked.inputs["text"].tolist(), asked.rows) == ([[b"\0"]], None)
    assert rows.read({"instances": [[1, 2]]}, signature(X)).inputs["x"].shape == (1, 2)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"instances": [{"text": "a"}, {"text": "a", "flag": True}]}, "1 has ['flag', 'text'], 0 has ['text']"),
        ({"instances": [{"text": "a"}, "b"]}, "1 differs from 0"),
        ({"instances": [{"flag": True}]}, "Missing named input: text"),
        ({"inputs": {"flag": True}}, "Missing named input: text"),
        ({"instances": ["a"], "parameters": 3}, "'parameters': 3; expected an object"),
    ],
)
def test_rows_that_do_not_fit(body: Any, says: str) -> None:
    with pytest.raises(Refusal) as caught:
        rows.read(body, signature(FLAG, TEXT))
    assert says in caught.value.message


def test_answers_of_one_output_have_no_name() -> None:
    y, z = np.array([[1], [2]], np.int32), np.array([True, False])
    assert rows.answer({"y": y}, 2, tensors.values) == {"predictions": [[1], [2]]}
    assert rows.answer({"y": y}, None, tensors.values) == {"outputs": [[1], [2]]}
    assert rows.answer({"y": y, "z": z}, 2, tensors.values)["predictions"] == [
        {"y": [1], "z": True},
        {"y": [2], "z": False},
    ]
    assert rows.answer({"y": y, "z": z}, None, tensors.values)["outputs"] == {"y": [[1], [2]], "z": [True, False]}
    with pytest.raises(Refusal, match="3 instances"):
        rows.answer({"y": y}, 3, tensors.values)


# ---- failures


@pytest.mark.parametrize(
    ("failure", "status", "says"),
    [
        (Failure(Kind.UNSENT, "refused"), 503, "Triton cannot be reached: refused"),
        (Failure(Kind.LOST, "reset"), 503, "it may have run: reset"),
        (Failure(Kind.TIMED_OUT, "late"), 504, "m version 3: no answer within 2 s"),
        (of_http(503, "Exceeds maximum queue size"), 503, "m version 3: Exceeds maximum queue size"),
        (of_http(400, "Request for unknown model: 'm' has no available versions"), 503, "m version 3 is not ready"),
        (of_http(404, "Request for unknown model: 'm' is not found"), 404, "m version 3 is not served"),
        (of_http(400, "unexpected shape"), 400, "m version 3: unexpected shape"),
        (of_http(500, "RuntimeError"), 500, "m version 3: RuntimeError"),
        (Failure(Kind.WRONG, "not an answer"), 502, "not an answer"),
    ],
)
def test_what_a_failure_is_to_whoever_asked(failure: Failure, status: int, says: str) -> None:
    refusal = of_failure(failure, "m", "3", 2.0)
    assert (refusal.status, says in refusal.message) == (status, True), refusal.message
    assert ("Retry-After" in refusal.headers) == (status == 503)


# ---- clients

Message = MutableMapping[str, Any]


def guarded(
    app: Any, messages: list[Message], max_body: int = 10, then: Callable[[], Awaitable[Message]] | None = None
) -> list[Message]:
    """What an application behind a guard sends when these messages come."""
    sent: list[Message] = []

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        if then:
            return await then()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(Guard(app, max_body, body_s=0.2)({"type": "http", "headers": []}, receive, send))
    return sent


def part(body: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def echo(_: Any, receive: Any, send: Any) -> None:
    await respond(send, 200, {"body": (await receive())["body"].decode()})


def test_a_body_is_given_whole_or_not_at_all() -> None:
    start, body = guarded(echo, [part(b"12345", True), part(b"67890")])
    assert (start["status"], json.loads(body["body"])) == (200, {"body": "1234567890"})
    start, body = guarded(echo, [part(b"12345", True), part(b"678901", True)])
    assert (start["status"], b"larger than 10 bytes" in body["body"]) == (413, True)
    start, body = guarded(echo, [part(b"12345", True)])
    assert (start["status"], b"did not arrive within 0.2 s" in body["body"]) == (408, True)
    assert guarded(echo, [part(b"12345", True), {"type": "http.disconnect"}]) == []


def test_work_ends_when_its_client_leaves_and_not_before() -> None:
    ended: list[str] = []

    async def slow(_: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            await asyncio.sleep(0.2)
            await respond(send, 200, {})
            ended.append("answered")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def leaves() -> Message:
        await asyncio.sleep(0.05)
        return {"type": "http.disconnect"}

    assert guarded(slow, [part(b"")], then=leaves) == []
    assert len(guarded(slow, [part(b"")])) == 2
    assert ended == ["cancelled", "answered"]


def test_parts_that_are_there_already_end_when_the_client_leaves() -> None:
    written: list[int] = []

    async def test() -> None:
        gone, asked = asyncio.Event(), [part(b"")]

        async def parts(_: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for number in range(1000):
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                written.append(number)

        async def receive() -> Message:
            if asked:
                return asked.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(_: Message) -> None:
            if len(written) == 3:
                gone.set()

        await Guard(parts, 10, body_s=0.2)({"type": "http", "headers": []}, receive, send)

    asyncio.run(test())
    assert len(written) < 20


def test_answers_are_not_held_back() -> None:
    """Without it each takes 40 ms longer: its second packet waits until the first has been confirmed."""
    with bound("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with pytest.raises(ArgumentError, match="cannot listen there"):
            bound(*listener.getsockname())


def test_a_fault_of_the_application_is_not_swallowed() -> None:
    async def broken(_: Any, __: Any, ___: Any) -> None:
        raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        guarded(broken, [part(b"")])
