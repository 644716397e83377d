"""One endpoint over HTTP: tritonclient's bodies, aiohttp's connections.

tritonclient's own asyncio client hides the status of an answer, and knows no `generate_stream`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any
from urllib.parse import quote

import aiohttp
import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException

from workloads.serving.client import wire
from workloads.serving.client.failures import Failure, Kind, of_http
from workloads.serving.client.messages import Answer, Endpoint, Request, Tensor

_LENGTH = "Inference-Header-Content-Length"
_LONGEST_EVENT = 64 * 2**20
"""Bytes of one event of a stream: aiohttp refuses lines longer than 128 KiB by default."""


class HttpTransport:
    """Made within a running event loop."""

    def __init__(self, endpoint: Endpoint, connect_s: float) -> None:
        self._name, self._connect_s = str(endpoint), connect_s
        # No limit on connections: who has to wait for one would not know why.
        self._session = aiohttp.ClientSession(
            str(endpoint), connector=aiohttp.TCPConnector(limit=0), auto_decompress=True, read_bufsize=2**18
        )

    async def infer(self, request: Request, timeout_s: float) -> Answer:
        body, length = InferenceServerClient.generate_request_body(
            wire.inputs(request, InferInput),
            wire.outputs(request, InferRequestedOutput),
            request.id,
            parameters=dict(request.parameters) or None,
        )
        headers = {**request.headers, "Content-Type": "application/octet-stream"}
        if length is not None:
            headers[_LENGTH] = str(length)
        with _failures():
            async with self._post(request, "infer", timeout_s, data=body, headers=headers) as response:
                content = await response.read()
                if response.status != 200:
                    raise of_http(response.status, _reason(content))
                length = response.headers.get(_LENGTH)
            result = InferResult.from_response_body(content, header_length=length and int(length))
        said = result.get_response()
        outputs = {output["name"]: result.as_numpy(output["name"]) for output in said.get("outputs", ())}
        return Answer(outputs, said["model_name"], said.get("model_version", ""), said.get("id", ""), self._name)

    async def stream(self, request: Request, timeout_s: float) -> AsyncGenerator[Answer, None]:
        """By Triton's generate extension: inputs and parameters as JSON, responses as server-sent events."""
        asked = {name: _plain(value) for name, value in request.inputs.items()} | dict(request.parameters)
        if request.id:
            asked["id"] = request.id
        headers = {**request.headers, "Accept": "text/event-stream"}
        with _failures():
            async with self._post(request, "generate_stream", timeout_s, json=asked, headers=headers) as response:
                if response.status != 200:
                    raise of_http(response.status, _reason(await response.read()))
                async for event in _events(response):
                    answer = self._event(event)
                    if answer:
                        yield answer

    def _event(self, event: str) -> Answer | None:
        try:
            said = json.loads(event)
        except ValueError:
            raise Failure(Kind.LOST, f"not JSON in the stream: {event[:200]!r}") from None
        if "error" in said:
            # Its status went out with the headers, as 200, before the error came about: what is left is the wording.
            raise of_http(400, str(said["error"]))
        meta = {key: str(said.pop(key, "")) for key in ("model_name", "model_version", "id")}
        for key in ("triton_final_response", "sequence_id", "sequence_start", "sequence_end"):
            said.pop(key, None)
        outputs = {name: _array(value) for name, value in said.items()}
        if not outputs:
            return None
        return Answer(outputs, meta["model_name"], meta["model_version"], meta["id"], self._name)

    def _post(self, request: Request, verb: str, timeout_s: float, **options: Any) -> Any:
        version = f"/versions/{quote(request.version, safe='')}" if request.version else ""
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(self._connect_s, timeout_s))
        path = f"/v2/models/{quote(request.model, safe='')}{version}/{verb}"
        return self._session.post(path, timeout=timeout, allow_redirects=False, **options)

    async def ready(self, timeout_s: float) -> bool:
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(self._connect_s, timeout_s))
        try:
            async with self._session.get("/v2/health/ready", timeout=timeout) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def get(self, path: str, timeout_s: float) -> Any:
        """What the server says of itself or a model, such as at `/v2/models/NAME`; {} of an empty answer."""
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(self._connect_s, timeout_s))
        with _failures():
            async with self._session.get(path, timeout=timeout, allow_redirects=False) as response:
                content = await response.read()
                if response.status != 200:
                    raise of_http(response.status, _reason(content))
                return json.loads(content) if content.strip() else {}

    async def close(self) -> None:
        await self._session.close()
        await asyncio.sleep(0)  # lets the connections' transports close before their loop does


def _plain(value: Tensor) -> Any:
    """What the generate extension takes for a tensor: a scalar where there is one element, a list otherwise."""
    items = [item.decode() if isinstance(item, bytes) else item for item in value.reshape(-1).tolist()]
    return items[0] if len(items) == 1 else items


def _array(value: Any) -> Tensor:
    items = value if isinstance(value, list) else [value]
    if items and all(isinstance(item, str) for item in items):
        return np.array([item.encode() for item in items], dtype=object)
    return np.asarray(items)


def _reason(content: bytes) -> str:
    text = content.decode(errors="replace")
    try:
        # Of a stream that never began, Triton sends the reason as an event.
        said = json.loads(text.removeprefix("data: "))
    except ValueError:
        return text
    return str(said["error"]) if isinstance(said, dict) and "error" in said else text


async def _events(response: aiohttp.ClientResponse) -> AsyncGenerator[str, None]:
    """The data of each server-sent event; what a chunk holds has nothing to do with where events end."""
    waiting = bytearray()
    async for chunk in response.content.iter_any():
        waiting += chunk
        if len(waiting) > _LONGEST_EVENT:
            raise Failure(Kind.WRONG, f"an event of the stream is longer than {_LONGEST_EVENT} bytes")
        while (end := waiting.find(b"\n\n")) >= 0:
            event = bytes(waiting[:end])
            del waiting[: end + 2]
            data = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
            if data:
                yield b"\n".join(data).decode(errors="replace")
    if waiting.strip():
        raise Failure(Kind.LOST, "the stream ended within an event")


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise Failure(Kind.UNSENT, _words(error)) from None
    except TimeoutError:
        raise Failure(Kind.TIMED_OUT, "no answer in time") from None
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError) as error:
        raise Failure(Kind.LOST, _words(error)) from None
    except (aiohttp.ClientError, InferenceServerException, ValueError, KeyError) as error:
        raise Failure(Kind.WRONG, f"not an answer of the inference protocol: {_words(error)}") from None


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
