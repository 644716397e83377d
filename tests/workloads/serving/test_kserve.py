"""KServe's model server in front of a real Triton, asked by KServe's own clients and over plain HTTP."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from tests.workloads.serving.fronts import (
    PAIR,
    PAIR_CONFIG,
    Front,
    Relay,
    front,
    leaving_ends_what_was_asked,
)
from tests.workloads.serving.test_language_model import (
    GREEDY,
    LONG,
    STREAMED,
    ask,
    bytes_input,
    leaving_ends,
    sampling,
    text_of,
)
from workloads.serving.client import Client, Refused
from workloads.serving.triton import Triton

ROWS = [[1.0, -2.5], [3.0, 1e-3]]
X = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2.5]}


@pytest.fixture(scope="module")
def relay(triton: Triton) -> Relay:
    return Relay(triton.http)


@pytest.fixture(scope="module")
def client() -> Iterator[subprocess.Popen[str]]:
    """KServe's clients, being imported while the server starts."""
    script = Path(__file__).with_name("kserve_client.py")
    process = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def serving(
    relay: Relay,
    client: subprocess.Popen[str],
    doubler: str,
    add_model: Callable[..., None],
    language_model: str,
) -> Iterator[Front]:
    assert client.poll() is None
    options = ("--grpc-port", "0", "--max-body-mib", "1", "--deadline-s", "20")
    with front("kserve", relay.address, doubler, "pair", language_model, options=options) as made:
        add_model("pair", PAIR_CONFIG, PAIR)
        yield made


@pytest.fixture(scope="module")
def answers(serving: Front, client: subprocess.Popen[str]) -> dict[str, Any]:
    """What KServe's clients were answered, by question (kserve_client.py)."""
    said, errors = client.communicate(f"{serving.http} {serving.grpc}\n", timeout=120)
    assert client.returncode == 0, errors
    return json.loads(said)


@pytest.fixture(scope="module")
def doubled(triton: Triton, doubler: str) -> list[list[float]]:
    """What Triton itself answers."""
    with Client([f"http://{triton.http}"]) as asked:
        return asked.infer(doubler, {"x": np.array(ROWS, np.float32)})["y"].tolist()


@pytest.fixture(scope="module")
def text(triton: Triton, language_model: str) -> str:
    return text_of(ask(triton, language_model, "import json", **GREEDY)[1])


def get(serving: Front, path: str) -> tuple[int, Any]:
    answer = httpx.get(f"http://{serving.http}{path}", timeout=20)
    return answer.status_code, answer.json()


def post(serving: Front, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", **headers}
    answer = httpx.post(f"http://{serving.http}{path}", content=content, headers=headers, timeout=30)
    assert (answer.headers.get("retry-after") == "1") == (answer.status_code == 503)
    return answer.status_code, answer.json()


# ---- KServe's own clients


def test_v1_answers_what_triton_does(answers: dict[str, Any], doubled: list[list[float]], text: str) -> None:
    assert answers["v1"] == {"predictions": doubled}
    assert answers["v1 text"] == {"predictions": [[text]]}
    assert answers["v1 ready"] is answers["v1 live"] is True
    status, said = answers["v1 wrong"]
    assert (status, said) == (400, {"error": "input 'x': \"a\", a string; expected a number, FP32"})


@pytest.mark.parametrize("question", ["v2 binary", "v2 json", "grpc raw", "grpc typed"])
def test_v2_answers_what_triton_does(answers: dict[str, Any], doubled: list[list[float]], question: str) -> None:
    said = answers[question]
    assert said["outputs"] == {"y": [number for row in doubled for number in row]}
    assert (said["shapes"], said["model"]) == ({"y": [2, 2]}, "doubler")
    # Of REST, KServe's client keeps none.
    assert said["version"] == ("1" if question.startswith("grpc") else None)
    assert said["id"] == "7" if question in ("v2 binary", "grpc raw") else said["id"]


@pytest.mark.parametrize("question", ["v2 text", "grpc text"])
def test_v2_answers_text(answers: dict[str, Any], text: str, question: str) -> None:
    assert answers[question]["outputs"] == {"text_output": [text]}
    assert answers[question]["shapes"] == {"text_output": [1, 1]}


def test_readiness_and_metadata_are_tritons(answers: dict[str, Any]) -> None:
    for question in ("v2 ready", "v2 server", "v2 live", "grpc ready", "grpc server", "grpc live"):
        assert answers[question] is True
    assert answers["grpc ready version"] is False
    assert answers["grpc metadata"] == [["1"], {"number": ["INT32", -1, 2], "words": ["BYTES", -1, 1]}]


@pytest.mark.parametrize(
    ("question", "status", "says"),
    [
        ("v2 unknown", 404, "Model with name nobody does not exist."),
        ("grpc unknown", "NOT_FOUND", "Model with name nobody does not exist."),
        ("grpc version", "NOT_FOUND", "doubler version 9 is not served"),
        ("grpc metadata version", "NOT_FOUND", "pair version 9 is not served"),
        ("grpc wrong", "INVALID_ARGUMENT", "input 'x': 1 values for shape [1, 2]"),
        ("grpc cut off", "INVALID_ARGUMENT", "pair"),
        ("grpc large", "RESOURCE_EXHAUSTED", "larger than max"),
        ("grpc late", "DEADLINE_EXCEEDED", "Deadline Exceeded"),
    ],
)
def test_clients_are_told_what_is_wrong(answers: dict[str, Any], question: str, status: Any, says: str) -> None:
    found, said = answers[question]
    assert found == status
    assert says in (said["error"] if isinstance(said, dict) else said)


def test_this_projects_client_asks_it_as_it_asks_triton(
    serving: Front, doubler: str, doubled: list[list[float]], text: str
) -> None:
    with Client([f"http://{serving.http}"]) as asked:
        answer = asked.infer(doubler, {"x": np.array(ROWS, np.float32)}, version=1, outputs=["y"])
        assert (answer["y"].tolist(), answer.version) == (doubled, "1")
        parts = asked.stream("lm", {"text_input": "import json"}, parameters={**GREEDY, "stream": True})
        assert "".join(part.text("text_output") for part in parts) == text
        with pytest.raises(Refused, match="doubler version 9 is not served"):
            asked.infer(doubler, {"x": np.array(ROWS, np.float32)}, version=9)
        assert asked.ready() == {f"http://{serving.http}": True}


def test_tritons_clients_ask_it_as_they_ask_triton(
    serving: Front, doubler: str, doubled: list[list[float]], text: str
) -> None:
    x = grpcclient.InferInput("x", [2, 2], "FP32")
    x.set_data_from_numpy(np.array(ROWS, np.float32))
    with grpcclient.InferenceServerClient(serving.grpc) as asked:
        answer = asked.infer(doubler, [x], model_version="1", outputs=[grpcclient.InferRequestedOutput("y")])
        assert answer.as_numpy("y").tolist() == doubled
        prompt = bytes_input("text_input", b"import json")
        answer = asked.infer("lm", [prompt, sampling(**GREEDY)])
        assert answer.as_numpy("text_output")[0, 0].decode() == text
        assert asked.get_model_metadata(doubler).versions == ["1"]
        assert asked.is_model_ready(doubler, "1")
        assert not asked.is_model_ready(doubler, "9")


# ---- plain HTTP


def test_what_there_is(serving: Front) -> None:
    assert get(serving, "/v1/models") == (200, {"models": ["doubler", "pair", "lm"]})
    assert get(serving, "/v1/models/doubler") == (200, {"name": "doubler", "ready": True})
    assert get(serving, "/v2/models/doubler/versions/1/ready") == (200, {"name": "doubler", "ready": True})
    assert get(serving, "/v2/health/ready") == (200, {"ready": True})
    for path in ("/v2/models/pair", "/v2/models/pair/versions/1"):
        assert get(serving, path) == (
            200,
            {
                "name": "pair",
                "versions": ["1"],
                "platform": "python",
                "inputs": [
                    {"name": "number", "datatype": "INT32", "shape": [-1, 2]},
                    {"name": "words", "datatype": "BYTES", "shape": [-1, 1]},
                ],
                "outputs": [
                    {"name": "sum", "datatype": "INT64", "shape": [-1, 1]},
                    {"name": "words_bytes", "datatype": "BYTES", "shape": [-1, 1]},
                ],
            },
        )


def test_several_inputs_and_any_content_type(serving: Front) -> None:
    body = {"instances": [{"number": [1, 2], "words": "é"}, {"number": [3, -9], "words": {"b64": "/wA="}}]}
    for kind in ("application/json", "application/json; charset=utf-8", "application/x-www-form-urlencoded"):
        assert post(serving, "/v1/models/pair:predict", body, **{"content-type": kind}) == (
            200,
            {
                "predictions": [
                    {"sum": [3], "words_bytes": [{"b64": "w6k="}]},
                    {"sum": [-6], "words_bytes": [{"b64": "/wA="}]},
                ]
            },
        )


def test_v2_versions_and_chosen_outputs(serving: Front) -> None:
    inputs = [
        {"name": "number", "shape": [1, 2], "datatype": "INT32", "data": [[1, 2]]},
        {"name": "words", "shape": [1, 1], "datatype": "BYTES", "data": ["x"]},
    ]
    body = {"id": "7", "inputs": inputs, "outputs": [{"name": "sum"}]}
    for path in ("/v2/models/pair/infer", "/v2/models/pair/versions/1/infer"):
        status, said = post(serving, path, body)
        (output,) = said["outputs"]
        assert (status, said["id"], said["model_version"]) == (200, "7", "1")
        assert (output["name"], output["shape"], output["datatype"], output["data"]) == ("sum", [1, 1], "INT64", [3])


def test_v2_chosen_outputs_of_a_language_model(serving: Front) -> None:
    inputs = [
        {"name": "text_input", "shape": [1, 1], "datatype": "BYTES", "data": ["import json"]},
        {"name": "return_num_output_tokens", "shape": [1, 1], "datatype": "BOOL", "data": [True]},
    ]
    outputs = [{"name": "num_output_tokens"}]
    status, said = post(serving, "/v2/models/lm/infer", {"inputs": inputs, "outputs": outputs, "parameters": GREEDY})
    assert (status, [each["data"] for each in said["outputs"]]) == (200, [[12]])


def test_text_in_parts(serving: Front, triton: Triton, language_model: str) -> None:
    text = text_of(ask(triton, language_model, "import json", **STREAMED)[1])
    body = {"text_input": "import json", "stream": True, "return_finish_reason": True, "parameters": STREAMED}
    for path in ("/v2/models/lm/generate_stream", "/v2/models/lm/versions/1/generate_stream"):
        with httpx.stream("POST", f"http://{serving.http}{path}", json=body, timeout=20) as answer:
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            parts = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]
        assert "".join(part["text_output"] for part in parts) == text
        assert len(parts) > 1
        assert [part["finish_reason"] for part in parts[-2:]] == ["", "length"]
        assert {part["model_version"] for part in parts} == {"1"}
    whole = post(serving, "/v2/models/lm/generate", {"text_input": "import json", "parameters": STREAMED})
    assert whole == (200, {"model_name": "lm", "model_version": "1", "text_output": text})
    number = post(serving, "/v2/models/doubler/generate", {"x": [1, 2.5]})
    assert number == (200, {"model_name": "doubler", "model_version": "1", "y": [2.0, 5.0]})


def test_leaving_a_text_ends_it(serving: Front, triton: Triton, language_model: str) -> None:
    body = {"text_input": "x", "stream": True, "parameters": {"max_tokens": LONG, "temperature": 0}}
    url = f"http://{serving.http}/v2/models/{language_model}/generate_stream"

    def leave(_: float) -> None:
        with httpx.stream("POST", url, json=body) as answer:
            next(answer.iter_lines())

    leaving_ends(triton, 1, leave)


def _binary(header: Any, *parts: bytes) -> tuple[bytes, dict[str, str]]:
    head = json.dumps(header).encode()
    length = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    return head + b"".join(parts), length


def _bytes(**changes: Any) -> Any:
    return {"inputs": [{**{key: X[key] for key in ("name", "shape", "datatype")}, **changes}]}


@pytest.mark.parametrize(
    ("header", "content", "says"),
    [
        (_bytes(parameters={"binary_data_size": 9}), b"12345678", "binary_data_size 9, and 8 bytes are left"),
        (_bytes(parameters={"binary_data_size": -1}), b"12345678", "binary_data_size -1"),
        (_bytes(parameters={"binary_data_size": 7}), b"1234567", "7 bytes are no whole number of FP32"),
        (_bytes(parameters={"binary_data_size": 4}), b"1234", "1 values for shape [1, 2]"),
        (_bytes(parameters={"binary_data_size": 8}), b"1234567890", "2 bytes are left after the last input"),
        (_bytes(datatype="BYTES", parameters={"binary_data_size": 8}), struct.pack("<I", 9) + b"abcd", "within string"),
        (_bytes(), b"", "inputs.0.data: Field required"),
        ({"inputs": "x"}, b"", "inputs"),
        ([], b"", "[] is not an object"),
    ],
)
def test_binary_data_that_is_not_what_it_says(serving: Front, header: Any, content: bytes, says: str) -> None:
    body, headers = _binary(header, content)
    status, said = post(serving, "/v2/models/doubler/infer", body, **headers)
    assert (status, says in said["error"]) == (400, True), said
    status, said = post(
        serving, "/v2/models/doubler/infer", b"{}", **{**headers, "inference-header-content-length": "9"}
    )
    assert (status, "of a body of 2 bytes" in said["error"]) == (400, True)


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("v1/models/doubler:predict", b"", 400, "empty"),
        ("v1/models/doubler:predict", b"{", 400, "Unrecognized request format"),
        ("v1/models/doubler:predict", b'{"instances": ["\xff"]}', 400, "not valid UTF-8"),
        ("v1/models/doubler:predict", [1], 400, "[1] is not an object"),
        ("v1/models/doubler:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("v1/models/doubler:predict", {"instances": []}, 400, "at least one instance"),
        ("v1/models/doubler:predict", {"instances": [[1], [1, 2]]}, 400, "lists of 1 and of 2"),
        ("v1/models/doubler:predict", {"instances": [[[1]]]}, 400, "unexpected shape for input 'x'"),
        ("v1/models/pair:predict", {"instances": [{"number": [1, 2], "words": "raise"}]}, 500, "as it was asked to"),
        ("v1/models/nobody:predict", {"instances": [[1]]}, 404, "nobody does not exist"),
        ("v1/models/doubler:explain", {"instances": [[1]]}, 501, "explainer"),
        ("v1/models/lm:predict", {"instances": [""]}, 400, "lm: text_input: it is empty"),
        ("v1/models/doubler:predict", b" " * (2**20 + 1), 413, "larger than 1048576 bytes"),
        ("v2/models/doubler/infer", b"", 400, "The document is empty"),
        ("v2/models/doubler/infer", b"{", 400, "JSON Parse error"),
        ("v2/models/doubler/infer", b'{"inputs": ["\xff"]}', 400, "not UTF-8 at byte 13"),
        ("v2/models/doubler/infer", {}, 400, "inputs: Field required"),
        ("v2/models/doubler/infer", {"inputs": [{**X, "data": ["a", "b"]}]}, 400, '"a", a string; expected a number'),
        ("v2/models/doubler/infer", {"inputs": [{**X, "data": [1]}]}, 400, "1 values for shape [1, 2]"),
        ("v2/models/doubler/infer", {"inputs": [{**X, "shape": [-1, 2]}]}, 400, "2 values for shape [-1, 2]"),
        ("v2/models/doubler/infer", {"inputs": [{**X, "shape": [2]}]}, 400, "unexpected shape for input 'x'"),
        ("v2/models/doubler/infer", {"inputs": [{**X, "datatype": "FP64"}]}, 400, "data-type is 'FP64'"),
        ("v2/models/doubler/infer", {"inputs": [{**X, "datatype": "FP8"}]}, 400, "datatype 'FP8'; expected one of"),
        ("v2/models/doubler/infer", {"inputs": [{**X, "name": "z"}]}, 400, "'z'"),
        ("v2/models/doubler/infer", {"inputs": [{**X, "name": "\ud800"}]}, 400, "surrogates not allowed"),
        ("v2/models/doubler/infer", {"inputs": [X], "parameters": {"a": "\ud800"}}, 400, "surrogates not allowed"),
        ("v2/models/doubler/infer", {"inputs": [X], "outputs": [{"name": "z"}]}, 400, "'z'"),
        ("v2/models/doubler/infer", {"inputs": [X], "parameters": {"sequence_id": 3}}, 400, "reserved parameter"),
        ("v2/models/doubler/versions/9/infer", {"inputs": [X]}, 404, "doubler version 9 is not served"),
        ("v2/models/nobody/infer", {"inputs": [X]}, 404, "nobody does not exist"),
        ("v2/models/nobody/versions/1/infer", {"inputs": [X]}, 404, "nobody does not exist"),
        ("v2/repository/models/doubler/unload", b"", 501, "loaded and unloaded at Triton"),
        ("v2/repository/models/doubler/load", b"", 501, "loaded and unloaded at Triton"),
        ("v2/models/lm/generate_stream", {"text_input": ""}, 400, "text_input: it is empty"),
        ("v2/models/lm/generate_stream", {"text_input": "x", "temprature": 1}, 400, "'temprature' is not known"),
        ("v2/models/lm/generate", {"text_input": 3}, 400, "expected a string"),
        ("v2/models/nobody/generate", {"text_input": "x"}, 404, "'nobody' is not served"),
        ("v3", b"", 404, "Not Found"),
    ],
)
def test_a_request_that_cannot_be_answered_is_told_why(
    serving: Front, path: str, body: Any, status: int, says: str
) -> None:
    found, said = post(serving, f"/{path}", body)
    assert (found, list(said)) == (status, ["error"])
    assert says in said["error"]
    assert post(serving, "/v1/models/doubler:predict", {"instances": [[1]]}) == (200, {"predictions": [[2.0]]})


def test_a_deadline_is_the_gateways(serving: Front) -> None:
    body = {"instances": [{"number": [1, 2], "words": "sleep 1"}]}
    status, said = post(serving, "/v1/models/pair:predict", body, **{"x-envoy-expected-rq-timeout-ms": "200"})
    assert (status, said) == (504, {"error": "pair: no answer within 0.2 s"})


def test_a_client_that_leaves_takes_its_request_along(serving: Front, triton: Triton, language_model: str) -> None:
    leaving_ends_what_was_asked(serving, triton, language_model)


def test_triton_away_and_back(serving: Front, relay: Relay) -> None:
    relay.cut()
    try:
        status, said = post(serving, "/v1/models/doubler:predict", {"instances": [[1]]})
        assert (status, "Triton cannot be reached" in said["error"]) == (503, True)
        assert post(serving, "/v2/models/doubler/infer", {"inputs": [X]})[0] == 503
        for path in ("/v1/models/doubler", "/v2/models/doubler/ready", "/v2/health/ready", "/v2/health/live"):
            assert get(serving, path)[0] == 503
        # This process is alive: to start it again would mend nothing.
        assert get(serving, "/") == (200, {"status": "alive"})
    finally:
        relay.mend()
    assert post(serving, "/v1/models/doubler:predict", {"instances": [[1]]})[0] == 200
    assert get(serving, "/v2/health/ready")[0] == 200


def test_its_metrics_tell_each_models_latency(serving: Front) -> None:
    post(serving, "/v1/models/doubler:predict", {"instances": [[1]]})
    metrics = httpx.get(f"http://{serving.http}/metrics").text
    assert 'request_predict_seconds_count{model_name="doubler"}' in metrics


def call_pair(serving: Front, words: str) -> int:
    number = grpcclient.InferInput("number", [1, 2], "INT32")
    number.set_data_from_numpy(np.array([[1, 2]], np.int32))
    with grpcclient.InferenceServerClient(serving.grpc) as asked:
        return int(asked.infer("pair", [number, bytes_input("words", words.encode())]).as_numpy("sum")[0, 0])


def test_told_to_end_it_drains(serving: Front) -> None:
    """The last: it ends the server that all of these tests ask."""
    with ThreadPoolExecutor(2) as pool:
        body = {"instances": [{"number": [1, 2], "words": "sleep 1.5"}]}
        under_way = pool.submit(post, serving, "/v1/models/pair:predict", body)
        called = pool.submit(call_pair, serving, "sleep 0.5")
        time.sleep(0.3)
        said: list[tuple[int, str]] = []
        ended = threading.Thread(target=lambda: said.append(serving.end()))
        ended.start()
        serving.until("told to end")
        assert under_way.result(20)[1]["predictions"][0]["sum"] == [3]
        assert called.result(20) == 3
        ended.join(20)
    # Nothing in its log for all that was wrong: those are its clients' faults, and were told to them.
    assert said == [(0, "")]
    assert serving.lines[-1] == "drained"
