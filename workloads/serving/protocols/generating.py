"""The generate extension of the open inference protocol: text in, text out, whole or in parts as it is computed.

As Triton has it: inputs and parameters are members of one object, and an answer's parts are server-sent events.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse

from workloads.serving.client.messages import Answer
from workloads.serving.protocols import rows, tensors
from workloads.serving.protocols.refusal import Refusal
from workloads.serving.protocols.triton import FORWARDED, Question, Signature, Upstream


class Generate:
    """Endpoints for models of `upstream`; `version`: of the request in hand."""

    def __init__(self, upstream: Upstream, version: ContextVar[str]) -> None:
        self._upstream, self._version = upstream, version

    async def whole(self, request: Request) -> JSONResponse:
        question, signature = await self._question(request)
        if signature.decoupled:
            return JSONResponse(_event(await self._upstream.ask(question)))
        async with contextlib.aclosing(self._upstream.stream(question)) as answers:
            return JSONResponse(_event(await anext(answers)))

    async def stream(self, request: Request) -> StreamingResponse:
        question, _ = await self._question(request)
        answers = self._upstream.stream(question)
        # What is refused has a status; once an answer has begun there is only its text.
        first = await anext(answers, None)
        return StreamingResponse(_events(first, answers), media_type="text/event-stream")

    async def _question(self, request: Request) -> tuple[Question, Signature]:
        model, version = request.path_params["model"], self._version.get()
        deadline_s = self._upstream.deadline(request.headers)
        found = rows.document(await request.body())
        signature = await self._upstream.signature(model, version)
        known = {each.name: each.datatype for each in signature.inputs}
        id, nested = found.pop("id", ""), rows.parameters(found.pop("parameters", {}))
        # What is no input is a parameter, as Triton has it; the model knows which there are.
        parameters = rows.parameters({name: value for name, value in found.items() if name not in known}) | nested
        question = Question(
            model,
            {name: tensors.array(name, value, known[name]) for name, value in found.items() if name in known},
            deadline_s,
            version,
            parameters=parameters,
            headers={name: request.headers[name] for name in FORWARDED if name in request.headers},
            id=str(id),
        )
        return question, signature


def _event(answer: Answer) -> dict[str, Any]:
    said: dict[str, Any] = {"model_name": answer.model, "model_version": answer.version}
    for name, found in answer.outputs.items():
        flat = tensors.values(name, found.reshape(-1))
        said[name] = flat[0] if len(flat) == 1 else flat
    return said


async def _events(first: Answer | None, answers: AsyncGenerator[Answer, None]) -> AsyncGenerator[str, None]:
    async with contextlib.aclosing(answers):
        try:
            if first is not None:
                yield _data(_event(first))
            async for answer in answers:
                yield _data(_event(answer))
        except Refusal as refusal:
            yield _data({"error": refusal.message})


def _data(said: dict[str, Any]) -> str:
    return f"data: {json.dumps(said)}\n\n"
