"""The Triton behind: which models it is asked for, what they take, whether they are ready, and their answers.

Nothing is sent twice here. Whoever asked hears at once that Triton is away or has enough to do, and when to come back;
repeating is for the clients, who know what else they could ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
from tritonclient.utils import InferenceServerException

from workloads.serving.client.failures import Failure, Kind
from workloads.serving.client.messages import Answer, Endpoint, Parameter, Request, Tensor
from workloads.serving.client.over_http import HttpTransport
from workloads.serving.errors import ArgumentError
from workloads.serving.protocols import tensors
from workloads.serving.protocols.refusal import Refusal, of_failure, wrong

CONNECT_S = 1.0
PROBE_S = 2.0
"""Until a Triton that is asked whether it is ready counts as not."""
KNOWN_S = 5.0
"""How long a signature is remembered; a newer version may have another one."""
AT_ONCE, MOST_PARTS = 32, 1024
"""Parts of one request that are asked for at once, and in all: a short body can have millions of instances."""
FORWARDED = ("traceparent", "tracestate", "x-request-id")
"""Headers of a request that go on to Triton."""
T = TypeVar("T")


@dataclass(frozen=True)
class Field:
    """An input or output. `shape`: with the batch axis where there is one; -1: of any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives."""

    model: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    max_batch: int
    """Rows that Triton takes at once; 0: it knows of no batch axis."""
    decoupled: bool
    """Whether a request may have any number of responses."""

    @property
    def streams(self) -> bool:
        """Whether it sends a text in parts where it is asked to, as `workloads.serving.models` does.

        Not so vLLM's: with `stream` it leaves the prompt away, without it repeats it.
        """
        asked = any(each.name == "stream" and each.datatype == "BOOL" and each.optional for each in self.inputs)
        return self.decoupled and self.platform == "python" and asked


@dataclass(frozen=True)
class Question:
    """What a model is asked. `version`: empty for the server's choice. `deadline_s`: from now on."""

    model: str
    inputs: Mapping[str, Tensor]
    deadline_s: float
    version: str = ""
    rows: bool = False
    """The first axis is that of instances, which are nothing to each other."""
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    id: str = ""


class Upstream:
    """Some models of one Triton, over HTTP. To be used within one event loop; close it there."""

    def __init__(
        self,
        url: str,
        models: Sequence[str],
        *,
        deadline_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`deadline_s`: of a request that brings no shorter one. ArgumentError for what is no http:// URL."""
        self.endpoint = Endpoint.parse(url)
        if not self.endpoint.scheme.startswith("http"):
            raise ArgumentError(f"--triton {url}: expected http://HOST:PORT, Triton's HTTP endpoint")
        if not models or len(set(models)) < len(models):
            raise ArgumentError(f"--model {' '.join(models)}: expected at least one, each once")
        self.models, self.deadline_s, self.draining = tuple(models), deadline_s, False
        self._clock = clock
        self._made: HttpTransport | None = None
        self._known: dict[tuple[str, str], tuple[float, Signature]] = {}

    @property
    def _transport(self) -> HttpTransport:
        if self._made is None:
            self._made = HttpTransport(self.endpoint, CONNECT_S)
        return self._made

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()

    # ---- what it says of itself

    async def live(self) -> bool:
        return await self._says("/v2/health/live")

    async def ready(self) -> bool:
        """Whether all of these models are, and this is not told to end. Triton as a whole also counts models that are
        not asked for here, and is not ready while any of them failed to load."""
        return not self.draining and all(await asyncio.gather(*map(self.model_ready, self.models)))

    async def model_ready(self, model: str, version: str = "") -> bool:
        return model in self.models and await self._says(f"{_path(model, version)}/ready")

    async def _says(self, path: str) -> bool:
        try:
            await self._transport.get(path, PROBE_S)
        except Failure:
            return False
        return True

    async def signature(self, model: str, version: str = "") -> Signature:
        """Raises Refusal."""
        if model not in self.models:
            raise Refusal(404, f"{model!r:.80} is not served; expected one of {', '.join(self.models)}")
        known = self._known.get((model, version))
        if known and self._clock() < known[0] + KNOWN_S:
            return known[1]
        with _refused(model, version, PROBE_S):
            metadata, config = await _together(
                [self._transport.get(_path(model, version) + rest, PROBE_S) for rest in ("", "/config")]
            )
            made = _signature(metadata, config)
        self._known[(model, version)] = self._clock(), made
        return made

    def deadline(self, headers: Mapping[str, str]) -> float:
        """Seconds that a request has: as a gateway says, which is how long it waits itself; no more than the default.

        The header is Envoy's. gRPC's deadline needs none: it ends the call, and with it the request at Triton.
        """
        said = headers.get("x-envoy-expected-rq-timeout-ms")
        if said is None:
            return self.deadline_s
        if not said.isdecimal() or int(said) < 1:
            raise wrong(f"x-envoy-expected-rq-timeout-ms: {said!r:.40}; expected milliseconds, from 1")
        return min(self.deadline_s, int(said) / 1e3)

    # ---- answers

    async def ask(self, question: Question) -> Answer:
        """Raises Refusal. Cancelling it, as when a client leaves, ends the request at Triton."""
        until = self._clock() + question.deadline_s
        with _refused(question.model, question.version, question.deadline_s):
            try:
                async with asyncio.timeout(question.deadline_s):
                    signature = await self.signature(question.model, question.version)
                    parts = [replace(question, inputs=inputs) for inputs in _parts(question, signature)]
                    ask = self._collected if signature.decoupled else self._once
                    limit = asyncio.Semaphore(AT_ONCE)

                    async def one(part: Question) -> Answer:
                        async with limit:
                            return await ask(part, signature, until)

                    answers = await _together([one(part) for part in parts])
            except TimeoutError:
                raise Failure(Kind.TIMED_OUT, "no answer in time") from None
            except Failure as failure:
                # What was wrong may be what is remembered.
                if failure.kind in (Kind.WRONG, Kind.NOT_HERE):
                    self._known.pop((question.model, question.version), None)
                raise
        return _concatenated(answers, question.model)

    async def stream(self, question: Question) -> AsyncGenerator[Answer, None]:
        """Responses as they come. Raises Refusal; closing it ends the request at Triton."""
        for name, found in question.inputs.items():
            _check_plain(name, found)
        request = _request(replace(question, id=""))
        with _refused(question.model, question.version, question.deadline_s):
            async with contextlib.aclosing(self._transport.stream(request, question.deadline_s)) as responses:
                async for response in responses:
                    yield response

    async def _once(self, question: Question, signature: Signature, until: float) -> Answer:
        del signature
        return await self._transport.infer(_request(question), max(until - self._clock(), 1e-3))

    async def _collected(self, question: Question, signature: Signature, until: float) -> Answer:
        """All responses of a decoupled model as one: a row for each, or the parts of a text joined."""
        for name, found in question.inputs.items():
            _check_plain(name, found)
        parts = signature.streams and "stream" not in {*question.inputs, *question.parameters}
        if parts:
            # Triton hears that a client has left, over HTTP, when it next sends something: a model that answers when it
            # is done would compute on for nobody (2.51; measured).
            question = replace(question, parameters={**question.parameters, "stream": True})
        # Triton 2.51 takes an id for a parameter of the model's; whoever asked gives his own one to the answer.
        request = _request(replace(question, id=""))
        async with contextlib.aclosing(self._transport.stream(request, max(until - self._clock(), 1e-3))) as stream:
            responses = [_typed(response, signature, question.outputs) async for response in stream]
        if not responses:
            raise Failure(Kind.LOST, "it ended without a response")
        return _joined(responses) if parts else _concatenated(responses, question.model)


def _path(model: str, version: str) -> str:
    return f"/v2/models/{quote(model, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "")


def _signature(metadata: Any, config: Any) -> Signature:
    optional = {each["name"] for each in config.get("input", ()) if each.get("optional")}

    def fields(found: Any) -> tuple[Field, ...]:
        return tuple(
            Field(each["name"], each["datatype"], tuple(map(int, each["shape"])), each["name"] in optional)
            for each in found
        )

    try:
        return Signature(
            metadata["name"],
            tuple(metadata.get("versions", ())),
            metadata.get("platform", ""),
            fields(metadata["inputs"]),
            fields(metadata["outputs"]),
            int(config.get("max_batch_size", 0)),
            bool(config.get("model_transaction_policy", {}).get("decoupled", False)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Failure(Kind.WRONG, f"not what Triton says of a model: {type(error).__name__}: {error}") from None


def _request(question: Question) -> Request:
    return Request(
        question.model,
        question.inputs,
        question.version,
        question.outputs,
        question.id,
        question.parameters,
        question.headers,
    )


def _parts(question: Question, signature: Signature) -> list[Mapping[str, Tensor]]:
    """What is asked at once: Triton's own limit, or one instance of a model whose responses have no fixed number."""
    inputs = question.inputs
    rows = len(next(iter(inputs.values()))) if question.rows and inputs else 0
    at_once = 1 if signature.decoupled else signature.max_batch
    if not at_once or rows <= at_once:
        return [inputs]
    if rows > at_once * MOST_PARTS:
        raise wrong(f"{question.model}: {rows} instances; expected at most {at_once * MOST_PARTS} in a request")
    return [
        {name: found[begin : begin + at_once] for name, found in inputs.items()} for begin in range(0, rows, at_once)
    ]


def _check_plain(name: str, found: Tensor) -> None:
    """Decoupled models are asked by Triton's generate extension, which has values and lists, and text."""
    if found.size != (found.shape[-1] if found.ndim else 1):
        raise wrong(f"input {name!r}: shape {list(found.shape)}; expected one row, since the model answers in parts")
    if found.dtype == np.object_:
        for item in found.reshape(-1):
            try:
                item.decode()
            except UnicodeDecodeError as error:
                raise wrong(f"input {name!r}: not UTF-8 at byte {error.start}: {error.reason}") from None


def _typed(response: Answer, signature: Signature, wanted: tuple[str, ...] = ()) -> Answer:
    """With the types and shapes that JSON does not tell; of the outputs that are wanted."""
    made = {}
    for each in signature.outputs:
        if each.name in response.outputs and (not wanted or each.name in wanted):
            found = response.outputs[each.name].astype(tensors.NUMPY.get(each.datatype, np.object_))
            free = [index for index, size in enumerate(each.shape) if size < 0]
            # What is left for the free axes belongs to the last; the batch is one.
            left = found.size // max(math.prod(size for size in each.shape if size >= 0), 1)
            shape = [size if size >= 0 else left if index == free[-1] else 1 for index, size in enumerate(each.shape)]
            made[each.name] = found.reshape(shape if math.prod(shape) == found.size else (1, -1))
    return replace(response, outputs=made)


def _joined(parts: list[Answer]) -> Answer:
    """The answer of which these are the parts: text and counts of all, anything else of the last."""
    outputs = dict(parts[-1].outputs)
    for name, last in outputs.items():
        found = [each.outputs[name] for each in parts]
        if name == "text_output":
            outputs[name] = np.full(last.shape, b"".join(each.reshape(-1)[0] for each in found), np.object_)
        elif name == "num_output_tokens":
            outputs[name] = np.sum(found, axis=0).astype(last.dtype)
    return replace(parts[-1], outputs=outputs)


def _concatenated(answers: list[Answer], model: str) -> Answer:
    first = answers[0]
    if len(answers) == 1:
        return first
    if any(each.outputs.keys() != first.outputs.keys() for each in answers):
        raise Refusal(400, f"{model}: its responses have different outputs, and cannot be one answer")
    try:
        outputs = {name: np.concatenate([each.outputs[name] for each in answers]) for name in first.outputs}
    except ValueError as error:
        raise Refusal(400, f"{model}: its responses cannot be one answer: {error}") from None
    return replace(first, outputs=outputs)


async def _together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All of it; when one fails the others end, too."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        # Heard of once, from the first.
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def _refused(model: str, version: str, deadline_s: float) -> Iterator[None]:
    try:
        yield
    except Failure as failure:
        raise of_failure(failure, model, version, deadline_s) from None
    except (ArgumentError, InferenceServerException, UnicodeEncodeError) as error:
        raise wrong(f"{model}: {error}") from None
