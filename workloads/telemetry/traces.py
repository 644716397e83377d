"""Traces, by OpenTelemetry: a span around what takes time, and the header by which the next process goes on with it.

A library begins spans and no more; a program decides where they go, once, by `configure`. Until then, and where the
packages of OpenTelemetry are not installed, a span costs next to nothing and carries nothing on.

    traces.configure("triage")
    with traces.begin("infer mlp", kind=traces.CLIENT, model="mlp") as span:
        post(url, headers=span.headers())
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from workloads.telemetry.errors import TelemetryError

try:
    from opentelemetry import context, trace
    from opentelemetry.propagate import extract, inject
except ModuleNotFoundError:  # what only asks, or only computes, does without
    trace = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context

INTERNAL, CLIENT, SERVER = "INTERNAL", "CLIENT", "SERVER"
"""Kinds of spans: within a process; asks another one; is asked by one."""
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
"""Environment variables of OpenTelemetry: where a collector takes OTLP over HTTP. The first is a base, the second the
whole address."""
FLUSH_MS = 2000
"""That the last spans have to leave in when a process ends: a collector that is away has had its time."""

Value = str | bool | int | float

_configured: list[Any] = []
"""The provider of this process, if it has one of its own; OpenTelemetry's global one, which a program that calls our
libraries may have set, cannot be taken back."""


def endpoint(environment: Mapping[str, str]) -> str:
    """Where spans are to be sent, the whole address; empty where nobody wants them."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return ""
    base = environment.get(ENDPOINT, "").rstrip("/")
    return environment.get(TRACES_ENDPOINT, "") or (f"{base}/v1/traces" if base else "")


def configure(service: str, environment: Mapping[str, str] = os.environ) -> Callable[[], None]:
    """Send this process's spans to where the environment says; returns what sends the last ones and ends it.

    Without an address nothing is sent. How many are is the SDK's own setting: OTEL_TRACES_SAMPLER and its _ARG, such as
    `parentbased_traceidratio` and 0.01. Raises TelemetryError if an address is given and the packages are not there.
    """
    where = endpoint(environment)
    if not where:
        return _nothing
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise TelemetryError(
            f"{where} is to be sent traces, which needs opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=where))
    provider.add_span_processor(processor)
    _configured.append(provider)

    def end() -> None:
        _configured.remove(provider)
        processor.force_flush(FLUSH_MS)
        provider.shutdown()

    return end


def _nothing() -> None:
    """Nothing was begun."""


class Span:
    """One piece of work. As a context manager it is also the parent of what begins within it."""

    def __init__(self, span: Any = None) -> None:
        self._span = span
        self._token: Token[Context] | None = None

    def headers(self) -> dict[str, str]:
        """What makes the other side's spans children of this one (W3C trace context); nothing of one that isn't kept:
        Triton would trace such a request all the same (2.51, measured)."""
        found: dict[str, str] = {}
        if self._span is not None and self._span.get_span_context().trace_flags.sampled:
            inject(found, trace.set_span_in_context(self._span))
        return found

    def set(self, **attributes: Value) -> None:
        if self._span is not None:
            self._span.set_attributes(_dotted(attributes))

    def event(self, name: str, **attributes: Value) -> None:
        if self._span is not None:
            self._span.add_event(name, _dotted(attributes))

    def fail(self, error: BaseException) -> None:
        """The work has failed."""
        if self._span is not None:
            self._span.record_exception(error)
            self._span.set_status(trace.StatusCode.ERROR, f"{type(error).__name__}: {error}")

    def end(self) -> None:
        if self._span is not None:
            self._span.end()

    def __enter__(self) -> Span:
        if self._span is not None:
            self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            context.detach(self._token)
        if error is not None:
            self.fail(error)
        self.end()


def begin(
    name: str, *, kind: str = INTERNAL, parent: Mapping[str, str] | Span | None = None, **attributes: Value
) -> Span:
    """A span that `end`, or the end of its `with`, ends. `parent`: another one, or headers that came with a request;
    default what is under way here. Attributes are written with dots outside: `model_version` is `model.version`."""
    if trace is None:
        return Span()
    made = _tracer().start_span(name, _context(parent), kind=trace.SpanKind[kind], attributes=_dotted(attributes))
    return Span(made if made.get_span_context().is_valid else None)


def record(name: str, seconds: float, *, parent: Mapping[str, str] | Span | None = None, **attributes: Value) -> None:
    """A span of work that has ended just now, and took that long."""
    if trace is None:
        return
    ended = time.time_ns()
    made = _tracer().start_span(
        name, _context(parent), attributes=_dotted(attributes), start_time=ended - round(seconds * 1e9)
    )
    made.end(ended)


def of_triton(request: Any) -> dict[str, str]:
    """The headers that continue a request's trace within a Python model of Triton's; none if it has no trace.

    `request`: an InferenceRequest of the Python backend. The parent is then the server's span of the model.
    """
    told = request.trace().get_context() if trace is not None else None
    return json.loads(told) if told else {}


def _tracer() -> Any:
    return (_configured[-1] if _configured else trace).get_tracer("workloads")


def _context(parent: Mapping[str, str] | Span | None) -> Context | None:
    if isinstance(parent, Span):
        return trace.set_span_in_context(parent._span) if parent._span is not None else None
    # With a context of its own: what came without a trace is not part of whatever is under way here.
    return None if parent is None else extract(parent, context.Context())


def _dotted(attributes: Mapping[str, Value]) -> dict[str, Value]:
    return {name.replace("_", "."): value for name, value in attributes.items()}
