"""A language model in Triton: text in, text out as it is computed, many answers at once.

Tokenizer, engine and the way back to text are one model, so that they change together with a version. They are no
ensemble: Triton does not tell the running step of an ensemble that a client has left (2.51; measured, see
tests/workloads/serving/test_language_model.py), and the slot would be kept until the answer ends.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb  # type: ignore[import-not-found]

from workloads.serving.engine import BadRequest, Engine, Finish
from workloads.serving.engine.files import FILE
from workloads.serving.errors import ServingError
from workloads.serving.models import text
from workloads.serving.models.asking import FLAGS, Asked, Refused, asked
from workloads.serving.models.streams import Part, Streams
from workloads.telemetry import traces

METRICS_S = 1.0
"""Seconds between updates of metrics: each is a message to the server."""
PREFIX = "aicloud_language_model"


class _Sink:
    """One answer's way to its client."""

    def __init__(self, request: Any, asked: Asked) -> None:
        self._sender, self._asked = request.get_response_sender(), asked
        self._prompt = "" if asked.exclude_input_in_output else asked.text
        parent = traces.of_triton(request)
        self._span = traces.begin("generate", parent=parent) if parent else traces.Span()
        self._tokens = 0

    def send(self, part: Part) -> None:
        self._trace(part)
        final = pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL if part.finish else 0
        if part.finish == Finish.CANCELLED.value:
            self._sender.send(flags=final)
        elif part.error:
            error = pb.TritonError(part.error, pb.TritonError.INTERNAL)
            self._sender.send(pb.InferenceResponse(error=error), flags=final)
        else:
            words, self._prompt = self._prompt + part.text, ""
            outputs = [pb.Tensor("text_output", np.array([[words.encode()]], np.object_))]
            if self._asked.return_finish_reason:
                outputs.append(pb.Tensor("finish_reason", np.array([[part.finish.encode()]], np.object_)))
            if self._asked.return_num_output_tokens:
                outputs.append(pb.Tensor("num_output_tokens", np.array([[part.tokens]], np.uint32)))
            self._sender.send(pb.InferenceResponse(outputs), flags=final)

    def _trace(self, part: Part) -> None:
        if not self._tokens and part.tokens:
            self._span.event("first tokens")
        self._tokens += part.tokens
        if part.finish:
            self._span.set(output_tokens=self._tokens, finish_reason=part.finish)
            self._span.end()

    def cancelled(self) -> bool:
        return bool(self._sender.is_cancelled())


class TritonPythonModel:
    """What the backend calls."""

    def initialize(self, arguments: dict[str, str]) -> None:
        directory = Path(arguments["model_repository"]) / arguments["model_version"]
        settings, tokenizer = text.read(directory)
        self._engine = Engine(
            directory / FILE, slots=settings.slots, context=settings.context, threads=settings.threads
        )
        self._streams = Streams(self._engine, tokenizer, settings)
        self._metrics = _Metrics(self._engine, {"model": arguments["model_name"], "version": directory.name})
        self._end_traces = traces.configure(f"model {arguments['model_name']}")

    def execute(self, requests: list[Any]) -> None:
        """Returns when all of them are being answered; the server sends no more until then, and keeps them in line."""
        for request in requests:
            try:
                self._answer(request)
            except (Refused, BadRequest) as error:
                _refuse(request, str(error), pb.TritonError.INVALID_ARG)
            except ServingError as error:
                _refuse(request, str(error), pb.TritonError.UNAVAILABLE)

    def _answer(self, request: Any) -> None:
        given = {name: bool(value) for name in FLAGS if (value := _input(request, name)) is not None}
        found = asked(
            _input(request, "text_input"),
            self._streams.longest_text,
            given,
            _input(request, "sampling_parameters"),
            request.parameters(),
        )
        # In microseconds; 0: none.
        wanted = self._streams.request(found, request.timeout() / 1e6 or None)
        if not self._streams.admit(request.is_cancelled):
            request.get_response_sender().send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            return
        self._streams.start(wanted, found, _Sink(request, found))

    def finalize(self) -> None:
        self._metrics.close()
        self._streams.close()
        self._end_traces()


def _input(request: Any, name: str) -> Any:
    """The one value of an input, None if it is not there."""
    tensor = pb.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy().reshape(-1)[0]


def _refuse(request: Any, why: str, code: int) -> None:
    request.get_response_sender().send(
        pb.InferenceResponse(error=pb.TritonError(why, code)), flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL
    )


class _Metrics:
    """The engine's own figures among the server's."""

    COUNTERS = {
        "prompt_tokens": "Tokens of prompts that were read.",
        "generated_tokens": "Tokens that were computed.",
        "first_tokens": "Answers that have a first token.",
        "first_token_seconds": "From a slot's begin to the first token, of all these answers together.",
    }
    GAUGES = {
        "slots": "Answers that can be under way at once.",
        "running": "Answers under way.",
        "cache_bytes": "Memory of the cache of keys and values.",
    }

    def __init__(self, engine: Engine, labels: dict[str, str]) -> None:
        self._engine = engine
        self._kept: list[Any] = []
        self._counters = {name: self._made(f"{name}_total", said, labels, True) for name, said in self.COUNTERS.items()}
        self._gauges = {name: self._made(name, said, labels, False) for name, said in self.GAUGES.items()}
        self._finished: dict[str, Any] = {}
        self._labels = labels
        self._family = pb.MetricFamily(
            name=f"{PREFIX}_answers_total", description="Answers by why they ended.", kind=pb.MetricFamily.COUNTER
        )
        self._seen: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def _made(self, name: str, description: str, labels: dict[str, str], counter: bool) -> Any:
        kind = pb.MetricFamily.COUNTER if counter else pb.MetricFamily.GAUGE
        family = pb.MetricFamily(name=f"{PREFIX}_{name}", description=description, kind=kind)
        # The family must outlive its metrics.
        self._kept.append(family)
        return family.Metric(labels=labels)

    def _run(self) -> None:
        while not self._stop.wait(METRICS_S):
            self._update()

    def _update(self) -> None:
        found = self._engine.metrics()
        for name, gauge in self._gauges.items():
            gauge.set(float(getattr(found, name)))
        for name, counter in self._counters.items():
            self._increase(name, counter, float(getattr(found, name)))
        for reason, count in found.finished.items():
            if reason not in self._finished:
                self._finished[reason] = self._family.Metric(labels={**self._labels, "reason": reason})
            self._increase(f"finished {reason}", self._finished[reason], float(count))

    def _increase(self, name: str, counter: Any, value: float) -> None:
        if added := value - self._seen.get(name, 0.0):
            counter.increment(added)
            self._seen[name] = value

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._update()
