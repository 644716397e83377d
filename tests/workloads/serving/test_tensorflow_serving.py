"""TensorFlow Serving's REST protocol, by its documentation, in front of a real Triton."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support import ROOT
from tests.workloads.serving.fronts import PAIR, PAIR_CONFIG, Front, Relay, front, leaving_ends_what_was_asked
from tests.workloads.serving.test_language_model import GREEDY, ask, text_of
from workloads.serving.client import Client
from workloads.serving.triton import Triton


@pytest.fixture(scope="module")
def pair(add_model: Callable[..., None]) -> str:
    add_model("pair", PAIR_CONFIG, PAIR)
    return "pair"


@pytest.fixture(scope="module")
def relay(triton: Triton) -> Relay:
    return Relay(triton.http)


@pytest.fixture(scope="module")
def serving(relay: Relay, doubler: str, pair: str, language_model: str) -> Iterator[Front]:
    options = ("--label", "doubler:stable=1", "--max-body-mib", "1", "--deadline-s", "20")
    with front("tensorflow", relay.address, doubler, pair, language_model, "absent", options=options) as made:
        yield made


def get(serving: Front, path: str) -> tuple[int, Any]:
    answer = httpx.get(f"http://{serving.http}{path}", timeout=20)
    return answer.status_code, answer.json()


def post(serving: Front, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = httpx.post(f"http://{serving.http}/v1/models/{path}", content=content, headers=headers, timeout=30)
    assert answer.headers["content-type"] == "application/json"
    assert (answer.headers.get("retry-after") == "1") == (answer.status_code == 503)
    return answer.status_code, answer.json()


def predict(serving: Front, model: str, **body: Any) -> Any:
    status, said = post(serving, f"{model}:predict", body)
    assert status == 200, said
    return said


# ---- status and metadata


def test_the_status_of_a_model(serving: Front) -> None:
    available = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("doubler", "doubler/versions/1", "doubler/versions/001", "doubler/labels/stable", "%64oubler"):
        assert get(serving, f"/v1/models/{path}") == (200, {"model_version_status": [available]})


def test_metadata_are_a_signature(serving: Front) -> None:
    def tensor(name: str, dtype: str, *shape: int) -> Any:
        dims = [{"size": str(size), "name": ""} for size in shape]
        return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": f"{name}:0"}

    signature = {
        "inputs": {"number": tensor("number", "DT_INT32", -1, 2), "words": tensor("words", "DT_STRING", -1, 1)},
        "outputs": {
            "sum": tensor("sum", "DT_INT64", -1, 1),
            "words_bytes": tensor("words_bytes", "DT_STRING", -1, 1),
        },
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    for path in ("pair", "pair/versions/1"):
        assert get(serving, f"/v1/models/{path}/metadata") == (
            200,
            {
                "model_spec": {"name": "pair", "signature_name": "", "version": "1"},
                "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
            },
        )


def test_readiness_is_all_the_models(serving: Front, triton: Triton, doubler: str) -> None:
    assert get(serving, "/v2/health/live") == (200, {})
    assert get(serving, "/v2/health/ready")[0] == 503
    with front("tensorflow", triton.http, doubler) as other:
        assert get(other, "/v2/health/ready") == (200, {})
        assert other.end() == (0, "")


# ---- predictions


def test_numbers_are_those_that_triton_answers(serving: Front, triton: Triton, doubler: str) -> None:
    rows = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32) * 1e3
    with Client([f"http://{triton.http}"]) as client:
        direct = client.infer(doubler, {"x": rows})["y"]
    for asked, told in (("instances", "predictions"), ("inputs", "outputs")):
        answered = predict(serving, doubler, **{asked: rows.tolist()})[told]
        np.testing.assert_array_equal(np.array(answered, np.float32), direct)


def test_numbers_are_written_as_tensorflow_serving_does(serving: Front, doubler: str) -> None:
    """A point in whole numbers, no digits that float32 has not, and words that Python and JavaScript know."""
    content = '{"instances": [[0.05, 1, 4.5e6, 1.5e-5, 0.16666667, NaN, Infinity, -Infinity]]}'
    answer = httpx.post(f"http://{serving.http}/v1/models/{doubler}:predict", content=content)
    written = "0.1, 2.0, 9e+06, 3e-05, 0.333333343, NaN, Infinity, -Infinity"
    assert answer.text == f'{{"predictions": [[{written}]]}}'


def test_several_inputs_and_outputs_have_names(serving: Front) -> None:
    coded = {"b64": base64.b64encode(b"\xff\x00").decode()}
    instances = [{"number": [1, 2], "words": "é"}, {"number": [3, -9], "words": coded}]
    assert predict(serving, "pair", instances=instances, signature_name="serving_default") == {
        "predictions": [
            {"sum": [3], "words_bytes": [{"b64": base64.b64encode("é".encode()).decode()}]},
            {"sum": [-6], "words_bytes": [coded]},
        ]
    }
    inputs = {"number": [[1, 2], [3, -9]], "words": ["é", coded]}
    assert predict(serving, "pair", inputs=inputs)["outputs"] == {
        "sum": [[3], [-6]],
        "words_bytes": [[{"b64": "w6k="}], [coded]],
    }


def test_more_rows_than_triton_takes_at_once(serving: Front, doubler: str) -> None:
    rows = [[number, -number] for number in range(100)]
    answered = predict(serving, doubler, instances=rows)["predictions"]
    assert answered == [[2.0 * number, -2.0 * number] for number in range(100)]


def test_a_language_model_answers_text(serving: Front, triton: Triton, language_model: str) -> None:
    prompts = [f"def f{number}(" for number in range(6)]
    alone = [text_of(ask(triton, language_model, prompt, **GREEDY)[1]) for prompt in prompts]
    said = predict(serving, language_model, instances=prompts, parameters=GREEDY)
    assert said == {"predictions": [[text] for text in alone]}
    instance = {"text_input": prompts[0], "sampling_parameters": json.dumps(GREEDY), "return_num_output_tokens": True}
    (row,) = predict(serving, language_model, instances=[instance])["predictions"]
    assert row == {"text_output": [alone[0]], "num_output_tokens": [12]}
    # All parts of one answer, a row for each.
    parts = predict(serving, language_model, inputs=prompts[0], parameters={**GREEDY, "stream": True})["outputs"]
    assert "".join(part for (part,) in parts) == alone[0]


# ---- what cannot be answered


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/v1/models/nobody", 404, "Could not find any versions of model nobody"),
        ("/v1/models/absent", 404, "Could not find any versions of model absent"),
        ("/v1/models/doubler/versions/7", 404, "Could not find version 7 of model doubler"),
        ("/v1/models/doubler/versions/7/metadata", 404, "Servable not found for request: Specific(doubler, 7)"),
        ("/v1/models/nobody/metadata", 404, "Servable not found for request: Latest(nobody)"),
        ("/v1/models/doubler/labels/canary", 400, "Unrecognized servable version label: canary"),
        ("/v1/models/doubler/versions/9999999999999999999", 400, "Failed to convert version"),
        ("/v1/models", 400, "Missing model name in request."),
        ("/v1/models/doubler:predict", 400, "Malformed request: GET /v1/models/doubler:predict"),
        ("/v1/models/doubler/versions/x", 400, "Malformed request"),
        ("/v1/models/..%2f..%2fv2", 404, "Could not find any versions of model ../../v2"),
        ("/", 404, "expected /v1/models/"),
    ],
)
def test_what_is_not_there(serving: Front, path: str, status: int, says: str) -> None:
    found, said = get(serving, path)
    assert (found, list(said)) == (status, ["error"])
    assert says in said["error"]


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("doubler:predict", b"", 400, "JSON Parse error: The document is empty"),
        ("doubler:predict", b"{", 400, "JSON Parse error"),
        ("doubler:predict", b'{"instances": ["\xff"]}', 400, "not UTF-8 at byte 16"),
        ("doubler:predict", b"[" * 100_000, 400, "JSON Parse error"),
        ("doubler:predict", [1], 400, "[1] is not an object"),
        ("doubler:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("doubler:predict", {"instances": [], "inputs": []}, 400, "expected one of them"),
        ("doubler:predict", {"instances": []}, 400, "at least one instance"),
        ("doubler:predict", {"instances": 3}, 400, "expected a list"),
        ("doubler:predict", {"instances": [["a"]]}, 400, "input 'x': \"a\", a string; expected a number, FP32"),
        ("doubler:predict", {"instances": [[1], [1, 2]]}, 400, "lists of 1 and of 2 at depth 1"),
        ("doubler:predict", {"instances": [[[1]]]}, 400, "unexpected shape for input 'x'"),
        ("doubler:predict", {"instances": [[1e300]]}, 400, "out of range of FP32"),
        ("doubler:predict", {"instances": [[1]], "signature_name": "other"}, 400, '"other" not found in signature def'),
        ("doubler:predict", {"instances": [[1]], "signature_name": 100}, 400, "must be a string value"),
        ("doubler:predict", {"instances": [[1]], "parameters": {"a": [1]}}, 400, "'parameters': 'a' is [1]"),
        ("doubler:predict", {"instances": [{"y": [1]}]}, 400, "doubler has no input 'y'; expected some of x"),
        ("doubler:predict", {"inputs": {"x": {"b64": "AA=="}}}, 400, "an object; expected a number"),
        ("doubler:predict", {"instances": [{"\ud800": [1]}]}, 400, "no input '\\ud800'"),
        ("doubler:predict", {"instances": [[1]], "signature_name": "\ud800"}, 400, "not found in signature def"),
        ("pair:predict", {"instances": [1]}, 400, "pair has the inputs number, words"),
        ("pair:predict", {"instances": [{"number": [1, 2]}]}, 400, "Missing named input: words"),
        ("pair:predict", {"instances": [{"number": [1, 2.5], "words": ""}]}, 400, "expected a whole number, INT32"),
        ("pair:predict", {"instances": [{"number": [1, 2], "words": {"b64": "?"}}]}, 400, "base64"),
        ("pair:predict", {"instances": [{"number": [1, 2], "words": "raise"}]}, 500, "as it was asked to"),
        ("lm:predict", {"instances": ["x"] * 1025}, 400, "1025 instances; expected at most 1024"),
        ("doubler:predict", {"instances": [[0]] * 8193}, 400, "8193 instances; expected at most 8192"),
        ("lm:predict", {"instances": [""]}, 400, "lm: text_input: it is empty"),
        ("lm:predict", {"instances": ["x"], "parameters": {"temprature": 1}}, 400, "'temprature' is not known"),
        ("lm:predict", {"instances": [{"text_input": {"b64": "/w=="}}]}, 400, "not UTF-8 at byte 0"),
        # Long, and the same each time: an answer that happened to be a single part could be told.
        (
            "lm:predict",
            {"instances": ["x"], "parameters": {"stream": True, "temperature": 0, "max_tokens": 200}},
            400,
            "cannot be told which is whose",
        ),
        (
            "doubler/versions/7:predict",
            {"instances": [[1]]},
            404,
            "Servable not found for request: Specific(doubler, 7)",
        ),
        ("nobody:predict", {"instances": [[1]]}, 404, "Servable not found for request: Latest(nobody)"),
        ("absent:predict", {"instances": [[1]]}, 404, "Servable not found for request: Latest(absent)"),
        ("doubler:classify", {"examples": [{"x": 1}]}, 400, "method_name to be tensorflow/serving/classify"),
        ("doubler:regress", {"examples": [{"x": 1}]}, 400, "method_name to be tensorflow/serving/regress"),
        ("doubler:explain", {}, 400, "Malformed request: POST"),
        ("doubler:predict", b" " * (2**20 + 1), 413, "larger than 1048576 bytes"),
    ],
)
def test_a_request_that_cannot_be_answered_is_told_why(
    serving: Front, path: str, body: Any, status: int, says: str
) -> None:
    found, said = post(serving, path, body)
    assert (found, list(said)) == (status, ["error"])
    assert says in said["error"]
    assert predict(serving, "doubler", instances=[[1]]) == {"predictions": [[2.0]]}


def test_a_body_without_an_end_is_cut_off(serving: Front) -> None:
    def much() -> Iterator[bytes]:
        for _ in range(64):
            yield b" " * 2**16

    answer = httpx.post(f"http://{serving.http}/v1/models/doubler:predict", content=much(), timeout=20)
    assert (answer.status_code, list(answer.json())) == (413, ["error"])


def test_a_deadline_is_the_gateways(serving: Front) -> None:
    body = {"instances": [{"number": [1, 2], "words": "sleep 1"}]}
    started = time.monotonic()
    status, said = post(serving, "pair:predict", body, **{"x-envoy-expected-rq-timeout-ms": "200"})
    assert (status, said) == (504, {"error": "pair: no answer within 0.2 s"})
    assert time.monotonic() - started < 0.9
    status, said = post(serving, "pair:predict", body, **{"x-envoy-expected-rq-timeout-ms": "soon"})
    assert (status, "expected milliseconds" in said["error"]) == (400, True)


def test_a_client_that_leaves_takes_its_request_along(serving: Front, triton: Triton, language_model: str) -> None:
    leaving_ends_what_was_asked(serving, triton, language_model)


def test_triton_away_and_back(serving: Front, relay: Relay) -> None:
    relay.cut()
    try:
        status, said = post(serving, "doubler:predict", {"instances": [[1]]})
        assert (status, "Triton cannot be reached" in said["error"]) == (503, True)
        assert post(serving, "pair:predict", b"")[0] == 400
        for path in ("/v2/health/live", "/v2/health/ready", "/v1/models/absent"):
            assert get(serving, path)[0] == 503
    finally:
        relay.mend()
    assert predict(serving, "doubler", instances=[[1]]) == {"predictions": [[2.0]]}


def test_a_connection_that_breaks_under_way(serving: Front, relay: Relay) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(post, serving, "pair:predict", {"instances": [{"number": [1, 2], "words": "sleep 1"}]})
        time.sleep(0.4)
        relay.cut()
        relay.mend()
        status, said = asked.result(20)
    assert (status, "the connection to Triton broke" in said["error"]) == (503, True)


# ---- its end


def test_told_to_end_it_drains(triton: Triton, pair: str) -> None:
    with front("tensorflow", triton.http, pair, options=("--drain-s", "0.7")) as made:
        body = {"instances": [{"number": [1, 2], "words": "sleep 1.5"}]}
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(post, made, f"{pair}:predict", body)
            assert get(made, "/v2/health/ready")[0] == 200
            ended = threading.Thread(target=made.end)
            ended.start()
            made.until("told to end")
            assert get(made, "/v2/health/ready")[0] == 503
            assert post(made, f"{pair}:predict", {"instances": [{"number": [2, 2], "words": ""}]})[0] == 200
            assert under_way.result(20)[1]["predictions"][0]["sum"] == [3]
            ended.join(20)
        assert made.process.returncode == 0
        assert made.lines[-1] == "drained"
        with pytest.raises(httpx.ConnectError):
            get(made, "/v2/health/ready")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--triton", "grpc://127.0.0.1:1"], "expected http://HOST:PORT"),
        (["--model", "m"], "each once"),
        (["--deadline-s", "0"], "--deadline-s 0.0: expected seconds above 0"),
        (["--drain-s", "-1"], "--drain-s -1.0"),
        (["--max-body-mib", "0"], "--max-body-mib"),
        (["--label", "m=1"], "expected NAME:LABEL=VERSION"),
        (["--address", "192.0.2.1"], "192.0.2.1:8501: cannot listen there"),
    ],
)
def test_wrong_options(options: list[str], says: str) -> None:
    command = [sys.executable, "-m", "workloads.serving", "tensorflow", "--model", "m", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, says in done.stderr) == (2, True), done.stderr
