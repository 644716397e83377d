"""What is declared is what is exported, by the names that dashboards and alerts go by."""

from __future__ import annotations

from prometheus_client import generate_latest

from workloads.monitoring.metrics import COUNTERS, GAUGES, HELP, Metrics


def test_every_declared_metric_is_exported() -> None:
    metrics = Metrics()
    for name, (_, labels) in COUNTERS.items():
        metrics.registry._names_to_collectors[name].labels(*labels).inc(2)
    for name, (_, labels) in GAUGES.items():
        metrics.registry._names_to_collectors[name].labels(*labels).set(2)
    samples = [line for line in generate_latest(metrics.registry).decode().splitlines() if line.endswith(" 2.0")]
    assert {line.partition("{")[0] for line in samples} == set(HELP)
    assert all(name.startswith("monitoring_") for name in HELP)
