"""Spans of one process: where they go, what they carry on, and what they cost where nobody wants them."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from tests.collector import Collector
from tests.support import ROOT
from workloads.telemetry import traces
from workloads.telemetry.errors import TelemetryError


def test_spans_are_within_one_another_and_are_carried_on() -> None:
    with Collector() as collector:
        end = traces.configure("one", {traces.ENDPOINT: collector.url})
        with traces.begin("outer", kind=traces.SERVER, model_name="mlp") as outer:
            inner = traces.begin("inner")
            carried = inner.headers()
            inner.event("half", done=0.5)
            inner.end()
        # As the next process has it, and as one that another thread begins: the headers alone connect them.
        far = threading.Thread(target=lambda: traces.begin("far", parent=carried).end())
        far.start()
        far.join()
        traces.record("computed", 2.5, parent=carried, rows=3)
        traces.begin("alone", parent={}).end()
        with pytest.raises(ZeroDivisionError), traces.begin("fails"):
            1 / 0  # noqa: B018
        end()
        found = collector.wait("outer", "inner", "far", "computed", "alone", "fails")
    assert found["inner"].parent == found["outer"].id
    assert found["far"].parent == found["computed"].parent == found["inner"].id
    assert {found[name].trace for name in ("inner", "far", "computed")} == {found["outer"].trace}
    assert found["alone"].parent == ""
    assert found["alone"].trace != found["outer"].trace
    assert found["inner"].events == ("half",)
    assert found["outer"].attributes == {"model.name": "mlp"}
    assert found["computed"].seconds == pytest.approx(2.5, abs=1e-3)
    assert [name for name, span in found.items() if span.failed] == ["fails"]
    assert outer.headers()["traceparent"].split("-")[1] == found["outer"].trace


def test_nothing_is_carried_on_where_nobody_wants_traces() -> None:
    for variables in ({}, {traces.ENDPOINT: "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}):
        end = traces.configure("none", variables)
        with traces.begin("work") as span:
            span.set(rows=3)
            assert span.headers() == {}
        end()


def test_a_trace_that_is_not_kept_is_not_carried_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with Collector() as collector:
        end = traces.configure("off", {traces.ENDPOINT: collector.url})
        with traces.begin("work") as span:
            assert span.headers() == {}
        end()
        assert collector.spans == []


def test_where_spans_go_is_what_the_specification_says() -> None:
    base, whole = traces.ENDPOINT, traces.TRACES_ENDPOINT
    assert traces.endpoint({base: "http://agent:4318/"}) == "http://agent:4318/v1/traces"
    assert traces.endpoint({base: "http://agent:4318", whole: "http://other:1/x"}) == "http://other:1/x"
    assert traces.endpoint({}) == ""


# What an image without these packages has.
WITHOUT = """
import sys

for name in ("opentelemetry", "opentelemetry.trace"):
    sys.modules[name] = None
from workloads.telemetry import traces

with traces.begin("work", rows=3) as span:
    span.event("half")
    traces.record("computed", 1.0)
    assert span.headers() == {}
traces.configure("quiet", {})
try:
    traces.configure("loud", {traces.ENDPOINT: "http://agent:4318"})
except ValueError as error:
    print(error)
"""


def test_without_the_packages_only_asking_for_traces_fails() -> None:
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert said.startswith("http://agent:4318/v1/traces is to be sent traces, which needs opentelemetry-sdk")
    assert issubclass(TelemetryError, ValueError)
