"""KServe's own model server in front of Triton: v1, and v2 over REST and gRPC, for KServe's clients and components.

Endpoints, their bodies, cloud events and metrics are kserve's. Its server's parts are put together here, since it
listens on all addresses and ends at once when it is told to; and some of them say more than kserve's own:

- readiness and liveness are Triton's, but for `/`, by which a kubelet asks whether this process is alive;
- versions (`/v2/models/NAME/versions/V/…`), which kserve answers with 501, are Triton's;
- whatever is refused is told as `{"error": "…"}`, where FastAPI has forms of its own;
- nobody loads or unloads anything through it;
- texts can be asked for in parts, by the protocol's generate extension.

JSON has no word for NaN and infinity: kserve writes null for them, and takes none. v2's binary data has them.
It must not share a process with tritonclient.grpc: both define the same protocol buffers.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import re
import uuid
import warnings
from collections.abc import Mapping
from typing import Any

import grpc
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.constants.constants import FASTAPI_APP_IMPORT_STRING, INFERENCE_CONTENT_LENGTH_HEADER
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotLive, ServerNotReady
from kserve.model_server import app as kserve_app
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.infer_type import to_http_parameters
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer
from kserve.protocol.rest.v2_datamodels import InferenceRequest
from kserve.utils.numpy_codec import from_np_dtype
from starlette.exceptions import HTTPException

from workloads.serving.client.messages import Tensor
from workloads.serving.errors import ArgumentError
from workloads.serving.protocols import rows, tensors
from workloads.serving.protocols.generating import Generate
from workloads.serving.protocols.kserve_requests import binary, reasons, tensor
from workloads.serving.protocols.listening import (
    App,
    Guard,
    Listening,
    Receive,
    Scope,
    Send,
    bound,
    name_of,
    served,
    until_told,
)
from workloads.serving.protocols.refusal import GRPC, Refusal, wrong
from workloads.serving.protocols.triton import FORWARDED, Field, Question, Upstream

VERSION: contextvars.ContextVar[str] = contextvars.ContextVar("version", default="")
"""Of the model that the request in hand is about, as its path says."""
_VERSIONED = re.compile(r"(/v2/models/[^/]+)/versions/([^/]+)(/.*)?")


class TritonModel(Model):
    """A model of Triton's, as kserve asks one."""

    def __init__(self, name: str, upstream: Upstream) -> None:
        super().__init__(name)
        self._upstream = upstream
        # The server says whether it is, each time it is asked.
        self.ready = True

    async def healthy(self) -> bool:
        return await self._upstream.model_ready(self.name, VERSION.get())

    async def predict(
        self, payload: Any, headers: Mapping[str, str] | None = None, response_headers: Any = None
    ) -> dict[str, Any] | InferResponse:
        """`payload`: an InferRequest of v2; of v1 a dictionary, or the body, where its content type says nothing."""
        del response_headers
        headers = headers or {}
        if isinstance(payload, InferRequest):
            return await self._v2(payload, headers)
        if isinstance(payload, bytes):
            payload = rows.document(payload)
        if not isinstance(payload, dict):
            raise wrong(f"{json.dumps(payload):.80} is not an object; expected 'instances' or 'inputs'")
        deadline_s = self._upstream.deadline(headers)
        asked = rows.read(payload, await self._upstream.signature(self.name))
        answer = await self._upstream.ask(
            Question(
                self.name,
                asked.inputs,
                deadline_s,
                rows=asked.rows is not None,
                parameters=asked.parameters,
                headers=_forwarded(headers),
            )
        )
        return rows.answer(answer.outputs, asked.rows, tensors.values)

    async def _v2(self, request: InferRequest, headers: Mapping[str, str]) -> InferResponse:
        parameters = to_http_parameters(request.parameters or {})
        parameters.pop("binary_data_output", None)
        question = Question(
            self.name,
            {each.name: tensor(each) for each in request.inputs},
            self._upstream.deadline(headers),
            VERSION.get() or request.model_version or "",
            outputs=tuple(each.name for each in request.request_outputs or ()),
            parameters=parameters,
            headers=_forwarded(headers),
            id=request.id or "",
        )
        answer = await self._upstream.ask(question)
        return InferResponse(
            response_id=request.id or uuid.uuid4().hex,
            model_name=self.name,
            model_version=answer.version,
            infer_outputs=[_output(name, found, request.from_grpc) for name, found in answer.outputs.items()],
            from_grpc=request.from_grpc,
            use_binary_outputs=request.use_binary_outputs,
            requested_outputs=request.request_outputs,
        )


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in FORWARDED if name in headers}


def _output(name: str, found: Tensor, raw: bool) -> InferOutput:
    made = InferOutput(name, list(found.shape), from_np_dtype(found.dtype), found)
    if raw:
        # kserve would ask an array whether it is true.
        made.set_data_from_numpy(found)
    return made


class TritonDataPlane(DataPlane):
    """What kserve's endpoints go by, asking Triton."""

    def __init__(self, registry: Any, upstream: Upstream) -> None:
        super().__init__(registry)
        self._upstream = upstream

    async def live(self) -> dict[str, str]:
        return {"status": "alive" if await self._upstream.live() else "dead"}

    async def ready(self) -> bool:
        return await self._upstream.ready()

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:
        model = self.get_model_from_registry(model_name)
        # Before each inference kserve asks so. Triton will say it itself.
        return disable_predictor_health_check or await model.healthy()

    async def get_model(self, name: str) -> Any:
        return self.get_model_from_registry(name)

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        self.get_model_from_registry(model_name)
        signature = await self._upstream.signature(model_name, VERSION.get())
        return {
            "name": model_name,
            "versions": list(signature.versions),
            "platform": signature.platform,
            "inputs": [_described(each) for each in signature.inputs],
            "outputs": [_described(each) for each in signature.outputs],
        }

    def decode_inference_request(
        self, body: bytes | InferenceRequest, headers: Mapping[str, str], model_name: str
    ) -> InferRequest:
        """As kserve's, which takes a missing field, or bytes that are cut off, for a fault of its own."""
        if isinstance(body, bytes):
            return binary(body, headers.get(INFERENCE_CONTENT_LENGTH_HEADER), model_name)
        return super().decode_inference_request(body, headers, model_name)


def _described(field: Field) -> dict[str, Any]:
    return {"name": field.name, "datatype": field.datatype, "shape": list(field.shape)}


class _NoRepository(ModelRepositoryExtension):
    async def load(self, model_name: str) -> None:
        raise Refusal(501, f"{model_name:.80}: models are loaded and unloaded at Triton")

    unload = load


# ---- REST


class Versions:
    """Takes versions out of paths, where kserve wants none, and remembers them."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (found := _VERSIONED.fullmatch(scope["path"])):
            VERSION.set(found[2])
            path = found[1] + (found[3] or "")
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await self._app(scope, receive, send)


def application(server: ModelServer, upstream: Upstream) -> FastAPI:
    """kserve's own, with its endpoints; once in a process, as it is."""

    @kserve_app.get("/")
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    generate = Generate(upstream, VERSION)
    kserve_app.add_route("/v2/models/{model}/generate", generate.whole, methods=["POST"])
    kserve_app.add_route("/v2/models/{model}/generate_stream", generate.stream, methods=["POST"])
    RESTServer(
        FASTAPI_APP_IMPORT_STRING, server.dataplane, server.model_repository_extension, server.http_port
    ).create_application()
    for kind in (Refusal, RequestValidationError, *_KSERVES):
        kserve_app.add_exception_handler(kind, _refuse)
    kserve_app.add_exception_handler(HTTPException, _not_routed)
    return kserve_app


_KSERVES: dict[type[Exception], int] = {
    InvalidInput: 400,
    ModelNotFound: 404,
    NotImplementedError: 501,
    ModelNotReady: 503,
    ServerNotLive: 503,
    ServerNotReady: 503,
}
"""What kserve refuses. It logs each with a traceback, as if it were at fault."""


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, RequestValidationError):
        return wrong(reasons(error))
    return Refusal(next(status for kind, status in _KSERVES.items() if isinstance(error, kind)), str(error))


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    refusal = _refusal(error)
    return JSONResponse({"error": refusal.message}, refusal.status, refusal.headers)


async def _not_routed(_: Request, error: Any) -> JSONResponse:
    return JSONResponse({"error": _detail(error)}, error.status_code, error.headers)


def _detail(error: HTTPException) -> str:
    """FastAPI says of a body that is no text only that it cannot be parsed."""
    cause = error.__cause__
    if isinstance(cause, UnicodeDecodeError):
        return f"JSON Parse error: not UTF-8 at byte {cause.start}: {cause.reason}"
    return str(error.detail)


# ---- gRPC


class _Servicer(InferenceServicer):
    """kserve's, minding versions."""

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Any) -> pb.ModelReadyResponse:
        VERSION.set(request.version)
        return await super().ModelReady(request, context)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Any) -> pb.ModelMetadataResponse:
        VERSION.set(request.version)
        response = await super().ModelMetadata(request, context)
        response.versions.extend((await self._data_plane.model_metadata(request.name))["versions"])
        return response


class _Interceptor(ExceptionToStatusInterceptor):
    async def handle_exception(self, ex: Exception, request_or_iterator: Any, context: Any, method_name: str) -> None:
        if isinstance(ex, (Refusal, *_KSERVES)):
            refusal = _refusal(ex)
            await context.abort(grpc.StatusCode[GRPC[refusal.status]], refusal.message)
        await super().handle_exception(ex, request_or_iterator, context, method_name)


async def _calls(server: ModelServer, address: str, port: int, max_body: int) -> tuple[grpc.aio.Server, str]:
    """A server that takes calls, and where. ArgumentError where it cannot listen."""
    made = grpc.aio.server(
        interceptors=(_Interceptor(),),
        options=[
            ("grpc.max_receive_message_length", max_body),
            ("grpc.max_send_message_length", -1),
            # Two servers on one port would share it silently.
            ("grpc.so_reuseport", 0),
        ],
    )
    servicer = _Servicer(server.dataplane, server.model_repository_extension)
    add_GRPCInferenceServiceServicer_to_server(servicer, made)
    host = f"[{address}]" if ":" in address else address
    try:
        at = made.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise ArgumentError(f"{host}:{port}: cannot listen there: {error}") from None
    await made.start()
    return made, f"{host}:{at}"


def run(upstream: Upstream, listening: Listening, grpc_port: int | None) -> None:
    """Serve until SIGTERM, then drain. Raises ArgumentError where it cannot listen."""
    # Of kserve's endpoints, with each request; and kserve would write a line for each.
    warnings.filterwarnings("ignore", "ORJSONResponse is deprecated")
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("kserve").addHandler(logging.NullHandler())
    server = ModelServer(enable_grpc=False, enable_latency_logging=False)
    server.dataplane = TritonDataPlane(server.registered_models, upstream)
    server.model_repository_extension = _NoRepository(server.registered_models)
    for name in upstream.models:
        server.register_model(TritonModel(name, upstream))

    async def serve() -> None:
        listener = bound(listening.address, listening.port)
        calls, also = None, ""
        if grpc_port is not None:
            calls, at = await _calls(server, listening.address, grpc_port, listening.max_body)
            also = f", {at} (gRPC)"
        app = Guard(Versions(application(server, upstream)), listening.max_body)
        async with served(app, listener, listening.exit_timeout_s):
            print(f"KServe: {name_of(listener)} (HTTP){also}, Triton: {upstream.endpoint}", flush=True)
            await until_told(upstream, listening.drain_s)
            # Both have the same time.
            stopped = asyncio.ensure_future(calls.stop(listening.exit_timeout_s)) if calls else None
        if stopped is not None:
            await stopped
        await upstream.close()
        print("drained", flush=True)

    asyncio.run(serve())
