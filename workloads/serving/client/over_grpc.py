"""One endpoint over gRPC, by tritonclient's asyncio client.

Not to be imported beside `kserve`: both register the same protocol.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from workloads.serving.client import wire
from workloads.serving.client.failures import of_grpc
from workloads.serving.client.messages import Answer, Endpoint, Request

_LARGEST = 2**31 - 1
# The server ends the stream with a status, in place of a message without one (Triton, gRPC streaming errors).
_WITH_STATUS = {"triton_grpc_error": "true"}


class GrpcTransport:
    def __init__(self, endpoint: Endpoint, connect_s: float) -> None:
        self._name = str(endpoint)
        backoff_ms = max(1, round(connect_s * 1000))
        self._client = InferenceServerClient(
            endpoint.address,
            ssl=endpoint.scheme == "grpcs",
            channel_args=[
                ("grpc.max_send_message_length", _LARGEST),
                ("grpc.max_receive_message_length", _LARGEST),
                # gRPC gives a connection at least this long to come about (20 s by default), and leaves as much between
                # two tries: the client's own policy decides when an endpoint is asked again.
                ("grpc.min_reconnect_backoff_ms", backoff_ms),
                ("grpc.initial_reconnect_backoff_ms", min(100, backoff_ms)),
                ("grpc.max_reconnect_backoff_ms", backoff_ms),
                # Channels to one address share a connection otherwise, and with it its fate.
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )

    async def infer(self, request: Request, timeout_s: float) -> Answer:
        with _failures():
            result = await self._client.infer(
                request.model,
                wire.inputs(request, InferInput),
                request.version,
                wire.outputs(request, InferRequestedOutput),
                request.id,
                client_timeout=timeout_s,
                headers=dict(request.headers) or None,
                parameters=dict(request.parameters) or None,
            )
        return _answer(result, self._name)

    async def stream(self, request: Request, timeout_s: float) -> AsyncGenerator[Answer, None]:
        asked = {
            "model_name": request.model,
            "model_version": request.version,
            "inputs": wire.inputs(request, InferInput),
            "outputs": wire.outputs(request, InferRequestedOutput),
            "request_id": request.id,
            "parameters": dict(request.parameters) or None,
        }

        async def requests() -> AsyncIterator[dict[str, Any]]:
            # One request a call, and no more: the server ends the call, with status OK, after its last response.
            yield asked

        responses = self._client.stream_infer(
            requests(), stream_timeout=timeout_s, headers={**_WITH_STATUS, **request.headers}
        )
        ended = False
        try:
            with _failures():
                async for result, error in responses:
                    if error is not None:
                        raise error
                    if result.get_response().outputs:
                        yield _answer(result, self._name)
            ended = True
        finally:
            if not ended:
                responses.cancel()

    async def ready(self, timeout_s: float) -> bool:
        try:
            return bool(await self._client.is_server_ready(client_timeout=timeout_s))
        except (InferenceServerException, grpc.RpcError):
            return False

    async def close(self) -> None:
        await self._client.close()


def _answer(result: InferResult, endpoint: str) -> Answer:
    message = result.get_response()
    outputs = {output.name: result.as_numpy(output.name) for output in message.outputs}
    return Answer(outputs, message.model_name, message.model_version, message.id, endpoint)


@contextlib.contextmanager
def _failures() -> Any:
    try:
        yield
    except grpc.RpcError as error:
        raise of_grpc(error.code().name, error.details() or "") from None
    except InferenceServerException as error:
        code = (error.status() or "UNKNOWN").removeprefix("StatusCode.")
        raise of_grpc(code, error.message() or "") from None
