"""TensorFlow Serving's REST protocol in front of Triton: status, metadata and predict, as that server words them.

Paths, bodies, statuses and the texts that clients look for are those of tensorflow_serving/g3doc/api_rest.md and
model_servers/http_rest_api_handler.cc, util/json_tensor.cc and model_servers/get_model_status_impl.cc, read 2026-11.
Different from it, and on purpose: optional inputs may be left out; plain values do for rows of one; `parameters` of a
request reach Triton; strings that are no UTF-8 come as `{"b64": …}`, also without `_bytes` in their output's name.
Labels are given when it starts. Classify and regress want a signature that models in Triton have not.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from workloads.serving.protocols import rows, tensors
from workloads.serving.protocols.listening import (
    Guard,
    Listening,
    Receive,
    Scope,
    Send,
    bound,
    name_of,
    respond,
    served,
    until_told,
)
from workloads.serving.protocols.refusal import Refusal, wrong
from workloads.serving.protocols.triton import FORWARDED, Field, Question, Signature, Upstream

log = logging.getLogger(__name__)

SIGNATURE = "serving_default"
METHOD = "tensorflow/serving/predict"
TYPES = {
    "BOOL": "DT_BOOL",
    "UINT8": "DT_UINT8",
    "UINT16": "DT_UINT16",
    "UINT32": "DT_UINT32",
    "UINT64": "DT_UINT64",
    "INT8": "DT_INT8",
    "INT16": "DT_INT16",
    "INT32": "DT_INT32",
    "INT64": "DT_INT64",
    "FP16": "DT_HALF",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    "BF16": "DT_BFLOAT16",
    "BYTES": "DT_STRING",
}
_WHICH = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_ASKED = re.compile(rf"{_WHICH}:(classify|regress|predict)", re.IGNORECASE)
_TOLD = re.compile(rf"{_WHICH}(/metadata)?", re.IGNORECASE)


class Protocol:
    """The ASGI application. `labels`: versions by model and label."""

    def __init__(self, upstream: Upstream, labels: Mapping[tuple[str, str], str]) -> None:
        self._upstream, self._labels = upstream, labels

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", scope["type"]
        try:
            # Guard gives a body whole.
            body = (await receive()).get("body", b"")
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            found = await self.answer(scope["method"], scope["raw_path"].decode("latin-1"), headers, body)
            await respond(send, 200, found)
        except Refusal as refusal:
            await respond(send, refusal.status, {"error": refusal.message}, refusal.headers)
        except Exception as error:
            log.exception("a request could not be answered")
            await respond(send, 500, {"error": f"{type(error).__name__}: {error}"})

    async def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Any:
        """The answer's body. Raises Refusal."""
        if method == "POST" and (asked := _ASKED.fullmatch(path)):
            model, version = self._model(*asked.groups()[:3])
            verb = asked[4].lower()
            if verb != "predict":
                raise _not_offered(verb)
            return await self._predict(model, version, headers, body)
        if method == "GET" and (told := _TOLD.fullmatch(path)):
            model, version = self._model(*told.groups()[:3])
            return await (self._metadata if told[4] else self._status)(model, version)
        if method == "GET" and path in ("/v2/health/live", "/v2/health/ready"):
            good = await (self._upstream.live() if path.endswith("live") else self._upstream.ready())
            if not good:
                raise Refusal(503, f"Triton at {self._upstream.endpoint} or this server is not {path[11:]}")
            return {}
        if method == "GET" and path.lower() == "/v1/models":
            raise wrong("Missing model name in request.")
        if path.lower().startswith("/v1/"):
            raise wrong(f"Malformed request: {method} {path:.200}")
        raise Refusal(404, f"{path:.200}: expected /v1/models/…")

    def _model(self, name: str, version: str | None, label: str | None) -> tuple[str, str]:
        model = unquote(name)
        if version and int(version) >= 2**63:
            raise wrong(f"Failed to convert version: {version:.80} to numeric.")
        if label is None:
            return model, str(int(version)) if version else ""
        try:
            return model, self._labels[(model, unquote(label))]
        except KeyError:
            raise wrong(f"Unrecognized servable version label: {unquote(label):.80}") from None

    async def _status(self, model: str, version: str) -> Any:
        signature = await self._signature(
            model,
            version,
            f"Could not find version {version} of model {model:.80}"
            if version
            else f"Could not find any versions of model {model:.80}",
        )
        versions = [version] if version else sorted(signature.versions, key=int, reverse=True)
        ready = await asyncio.gather(*(self._upstream.model_ready(model, each) for each in versions))
        fine = {"error_code": "OK", "error_message": ""}
        return {
            "model_version_status": [
                {"version": each, "state": "AVAILABLE" if good else "UNKNOWN", "status": fine}
                for each, good in zip(versions, ready, strict=True)
            ]
        }

    async def _metadata(self, model: str, version: str) -> Any:
        signature = await self._signature(model, version, _unknown(model, version))
        newest = version or max(signature.versions, key=int, default="")
        described = {
            "inputs": {each.name: _tensor(each) for each in signature.inputs},
            "outputs": {each.name: _tensor(each) for each in signature.outputs},
            "method_name": METHOD,
            "defaults": {},
        }
        return {
            "model_spec": {"name": model, "signature_name": "", "version": newest},
            "metadata": {"signature_def": {"signature_def": {SIGNATURE: described}}},
        }

    async def _predict(self, model: str, version: str, headers: Mapping[str, str], body: bytes) -> str:
        deadline_s = self._upstream.deadline(headers)
        found = rows.document(body)
        name = found.get("signature_name", "")
        if not isinstance(name, str):
            raise wrong(f"{json.dumps(name):.80}: 'signature_name' key must be a string value.")
        if name not in ("", SIGNATURE):
            raise wrong(f'Serving signature name: "{name:.80}" not found in signature def')
        signature = await self._signature(model, version, _unknown(model, version))
        asked = rows.read(found, signature)
        question = Question(
            model,
            asked.inputs,
            deadline_s,
            version,
            rows=asked.rows is not None,
            parameters=asked.parameters,
            headers={name: headers[name] for name in FORWARDED if name in headers},
        )
        answer = await self._upstream.ask(question)
        return tensors.joined(rows.answer(answer.outputs, asked.rows, tensors.literals))

    async def _signature(self, model: str, version: str, unknown: str) -> Signature:
        try:
            return await self._upstream.signature(model, version)
        except Refusal as refusal:
            raise Refusal(404, unknown) if refusal.status == 404 else refusal from None


def _unknown(model: str, version: str) -> str:
    asked = f"Specific({model:.80}, {version})" if version else f"Latest({model:.80})"
    return f"Servable not found for request: {asked}"


def _not_offered(verb: str) -> Refusal:
    kind = {"classify": "classification", "regress": "regression"}[verb]
    return wrong(
        f"Expected {kind} signature method_name to be tensorflow/serving/{verb}. Was: {METHOD}; ask :predict instead"
    )


def _tensor(field: Field) -> Any:
    return {
        "dtype": TYPES.get(field.datatype, "DT_INVALID"),
        "tensor_shape": {"dim": [{"size": str(size), "name": ""} for size in field.shape], "unknown_rank": False},
        "name": f"{field.name}:0",
    }


def run(upstream: Upstream, listening: Listening, labels: Mapping[tuple[str, str], str]) -> None:
    """Serve until SIGTERM, then drain. Raises ArgumentError where it cannot listen."""

    async def serve() -> None:
        listener = bound(listening.address, listening.port)
        app = Guard(Protocol(upstream, labels), listening.max_body)
        async with served(app, listener, listening.exit_timeout_s):
            print(f"TensorFlow Serving's REST protocol: {name_of(listener)}, Triton: {upstream.endpoint}", flush=True)
            await until_told(upstream, listening.drain_s)
        await upstream.close()
        print("drained", flush=True)

    asyncio.run(serve())
