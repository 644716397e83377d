"""What is declared is what is exported, by the names that dashboards and alerts go by."""

from __future__ import annotations

from workloads.monitoring.metrics import METRICS
from workloads.telemetry.metrics import COUNTER, Metrics


def test_every_declared_metric_is_exported() -> None:
    metrics = Metrics(METRICS)
    for name, metric in METRICS.items():
        one = metrics[name].labels(*metric.labels)
        one.inc(2) if metric.kind == COUNTER else one.set(2)
    samples = [line for line in metrics.text().decode().splitlines() if line.endswith(" 2.0")]
    assert {line.partition("{")[0] for line in samples} == set(METRICS)
    assert all(name.startswith("monitoring_") for name in METRICS)
