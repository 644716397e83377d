"""What KServe's own clients make of a server, in a process of its own: they and tritonclient.grpc exclude each other.

Reads the addresses of REST and gRPC from a line of its input, and prints what came of each question as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

ROWS = [[1.0, -2.5], [3.0, 1e-3]]
PROMPT, GREEDY = "import json", {"max_tokens": 12, "temperature": 0}


def tensor(name: str, values: Any, dtype: Any, kind: str, binary: bool) -> InferInput:
    array = np.array(values, dtype)
    made = InferInput(name, list(array.shape), kind)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def rows(binary: bool = True) -> InferInput:
    return tensor("x", ROWS, np.float32, "FP32", binary)


def request(model: str, *inputs: InferInput, **options: Any) -> InferRequest:
    return InferRequest(model, list(inputs), **options)


def told(response: InferResponse) -> Any:
    outputs = {each.name: each.as_numpy() for each in response.outputs}
    return {
        "id": response.id,
        "model": response.model_name,
        "version": response.model_version,
        "outputs": {
            name: [item.decode() if isinstance(item, bytes) else item for item in value.reshape(-1).tolist()]
            for name, value in outputs.items()
        },
        "shapes": {name: list(value.shape) for name, value in outputs.items()},
    }


async def main() -> None:
    rest, at = sys.stdin.readline().split()
    url = f"http://{rest}"
    v1 = InferenceRESTClient(RESTConfig(protocol="v1", retries=0))
    v2 = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    calls = InferenceGRPCClient(at, retries=0)
    text = tensor("text_input", [[PROMPT.encode()]], object, "BYTES", True)
    sampling = tensor("sampling_parameters", [[json.dumps(GREEDY).encode()]], object, "BYTES", True)

    def infer(asked: InferRequest, **options: Any) -> Callable[[], Awaitable[Any]]:
        async def ask() -> Any:
            return told(await v2.infer(url, asked, model_name=asked.model_name, **options))

        return ask

    def call(asked: InferRequest, **options: Any) -> Callable[[], Awaitable[Any]]:
        async def ask() -> Any:
            return told(await calls.infer(asked, **options))

        return ask

    async def metadata(name: str, version: str = "") -> Any:
        found = await calls._client_stub.ModelMetadata(pb.ModelMetadataRequest(name=name, version=version))
        return [list(found.versions), {each.name: [each.datatype, *each.shape] for each in found.inputs}]

    async def ready(name: str, version: str) -> Any:
        return (await calls._client_stub.ModelReady(pb.ModelReadyRequest(name=name, version=version))).ready

    questions: dict[str, Callable[[], Awaitable[Any]]] = {
        "v1": lambda: v1.infer(url, {"instances": ROWS}, model_name="doubler"),
        "v1 text": lambda: v1.infer(url, {"instances": [PROMPT], "parameters": GREEDY}, model_name="lm"),
        "v1 wrong": lambda: v1.infer(url, {"instances": [["a"]]}, model_name="doubler"),
        "v1 ready": lambda: v1.is_model_ready(url, "doubler"),
        "v1 live": lambda: v1.is_server_live(url),
        "v2 binary": infer(request("doubler", rows(), parameters={"binary_data_output": True}, request_id="7")),
        "v2 json": infer(request("doubler", rows(False))),
        "v2 text": infer(request("lm", text, parameters=GREEDY)),
        "v2 unknown": infer(request("nobody", rows())),
        "v2 ready": lambda: v2.is_model_ready(url, "doubler"),
        "v2 server": lambda: v2.is_server_ready(url),
        "v2 live": lambda: v2.is_server_live(url),
        "grpc raw": call(request("doubler", rows(), request_id="7")),
        "grpc typed": call(request("doubler", rows(False), model_version="1")),
        "grpc text": call(request("lm", text, sampling)),
        "grpc version": call(request("doubler", rows(), model_version="9")),
        "grpc unknown": call(request("nobody", rows())),
        "grpc wrong": call(request("doubler", InferInput("x", [1, 2], "FP32", [3.0]))),
        "grpc cut off": call(request("pair", rows())),
        "grpc large": call(request("doubler", tensor("x", np.zeros((1, 300_000)), np.float32, "FP32", True))),
        "grpc late": call(
            request(
                "pair",
                tensor("number", [[1, 2]], np.int32, "INT32", True),
                tensor("words", [[b"sleep 1"]], object, "BYTES", True),
            ),
            timeout=0.2,
        ),
        "grpc ready": lambda: calls.is_model_ready("doubler"),
        "grpc ready version": lambda: ready("doubler", "9"),
        "grpc server": calls.is_server_ready,
        "grpc live": calls.is_server_live,
        "grpc metadata": lambda: metadata("pair"),
        "grpc metadata version": lambda: metadata("pair", "9"),
    }
    answers: dict[str, Any] = {}
    for name, ask in questions.items():
        try:
            answers[name] = await ask()
        except grpc.RpcError as error:
            answers[name] = [error.code().name, error.details()]
        except httpx.HTTPStatusError as error:
            answers[name] = [error.response.status_code, error.response.json()]
    print(json.dumps(answers))


asyncio.run(main())
