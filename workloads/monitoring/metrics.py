"""What monitoring tells Prometheus: every metric of this room, declared once."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

COUNTERS = {
    "monitoring_requests_logged_total": ("requests that were written to the lake", ("model", "version")),
    "monitoring_requests_dropped_total": ("sampled requests that were not, by reason", ("model", "reason")),
    "monitoring_retrain_decisions_total": ("decisions whether to retrain", ("model", "fired", "reason")),
    "monitoring_labels_joined_total": ("labels that came in time and were joined to their request", ("model",)),
}
GAUGES = {
    "monitoring_drift_effect": ("size of the drift of a column, by test", ("model", "column", "test")),
    "monitoring_drift_columns_drifted": ("columns that have drifted", ("model",)),
    "monitoring_quality_bits_per_byte": (
        "mean loss of a version: on labels (window=labelled) or the model's own (window=current, reference)",
        ("model", "version", "window"),
    ),
    "monitoring_last_window_timestamp_seconds": ("end of the last window that was looked at", ("model",)),
}
HELP = {name: help for name, (help, _) in (COUNTERS | GAUGES).items()}


class Metrics:
    """All of them, on a registry of their own unless one is handed in."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        counters = [Counter(n, h, labels, registry=self.registry) for n, (h, labels) in COUNTERS.items()]
        gauges = [Gauge(n, h, labels, registry=self.registry) for n, (h, labels) in GAUGES.items()]
        self.logged, self.dropped, self.decisions, self.joined = counters
        self.effect, self.drifted, self.quality, self.last_window = gauges
