"""A collector for tests: takes OTLP over HTTP, traces as protobuf from Python and as JSON from Triton, and metrics."""

from __future__ import annotations

import base64
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Spanned:
    """One span as it came."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    seconds: float
    attributes: dict[str, Any] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    failed: bool = False


class Collector:
    """As a context manager: `url` is the base that OTEL_EXPORTER_OTLP_ENDPOINT wants."""

    def __init__(self) -> None:
        self.spans: list[Spanned] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/v1/metrics":
                    collector.metrics.append(ExportMetricsServiceRequest.FromString(body))
                elif self.path == "/v1/traces":
                    said = json.loads(body) if "json" in self.headers["content-type"] else _plain(body)
                    collector.spans.extend(_spans(said))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Collector:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, *names: str, timeout_s: float = 30.0) -> dict[str, Spanned]:
        """One span of each name, once all have come."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = {span.name: span for span in list(self.spans) if span.name in names}
            if len(found) == len(names):
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"no span of {sorted(set(names) - set(found))} among {self.spans}")
            time.sleep(0.05)


def _plain(body: bytes) -> dict[str, Any]:
    """A protobuf message in the shape of OTLP's JSON, whose ids are hexadecimal."""
    from google.protobuf.json_format import MessageToDict

    said: dict[str, Any] = MessageToDict(ExportTraceServiceRequest.FromString(body))
    for span in _each(said):
        for key in ("traceId", "spanId", "parentSpanId"):
            span[key] = base64.b64decode(span.get(key, "")).hex()
    return said


def _each(said: dict[str, Any]) -> list[dict[str, Any]]:
    return [span for one in said["resourceSpans"] for scope in one["scopeSpans"] for span in scope["spans"]]


def _spans(said: dict[str, Any]) -> list[Spanned]:
    return [
        Spanned(
            _values(one["resource"]).get("service.name", ""),
            span["name"],
            span["traceId"],
            span["spanId"],
            span.get("parentSpanId", ""),
            (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) / 1e9,
            _values(span),
            tuple(event["name"] for event in span.get("events", ())),
            "ERROR" in str(span.get("status", {}).get("code", "")),
        )
        for one in said["resourceSpans"]
        for scope in one["scopeSpans"]
        for span in scope["spans"]
    ]


def _values(of: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values())) for each in of.get("attributes", ())}
