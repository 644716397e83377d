"""A table of metrics, and what Prometheus then reads."""

from __future__ import annotations

import urllib.request

import pytest

from workloads.telemetry.errors import TelemetryError
from workloads.telemetry.metrics import COUNTER, HISTOGRAM, Metric, Metrics

TABLE = {
    "test_weight_ratio": Metric("share of an arm", ("arm",)),
    "test_decisions_total": Metric("decisions", kind=COUNTER),
    "test_answer_seconds": Metric("of an answer", ("arm",), HISTOGRAM, (0.1, 1.0)),
}


def test_what_is_declared_is_what_is_read() -> None:
    metrics = Metrics(TABLE)
    metrics["test_weight_ratio"].labels("canary").set(0.05)
    metrics["test_decisions_total"].inc(3)
    metrics["test_answer_seconds"].labels("canary").observe(0.5)
    with metrics.serve(0, "127.0.0.1") as served:
        read = urllib.request.urlopen(f"http://127.0.0.1:{served.port}/metrics", timeout=5).read()
        with pytest.raises(TelemetryError, match=f"127.0.0.1:{served.port}: Address already in use"):
            metrics.serve(served.port, "127.0.0.1")
    assert read == metrics.text()
    lines = read.decode().splitlines()
    assert 'test_weight_ratio{arm="canary"} 0.05' in lines
    assert "test_decisions_total 3.0" in lines
    assert 'test_answer_seconds_bucket{arm="canary",le="0.1"} 0.0' in lines
    assert 'test_answer_seconds_bucket{arm="canary",le="1.0"} 1.0' in lines
    # The port is free again, and one room's metrics are not another's.
    with Metrics({}).serve(served.port, "127.0.0.1") as other:
        assert urllib.request.urlopen(f"http://127.0.0.1:{other.port}/metrics", timeout=5).read() == b""
