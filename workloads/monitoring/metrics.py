"""What monitoring tells Prometheus: every metric of this room, declared once."""

from __future__ import annotations

from workloads.telemetry.metrics import COUNTER, Metric

METRICS = {
    "monitoring_requests_logged_total": Metric("requests that were written to the lake", ("model", "version"), COUNTER),
    "monitoring_requests_dropped_total": Metric(
        "sampled requests that were not, by reason", ("model", "reason"), COUNTER
    ),
    "monitoring_retrain_decisions_total": Metric("decisions whether to retrain", ("model", "fired", "reason"), COUNTER),
    "monitoring_labels_joined_total": Metric(
        "labels that came in time and were joined to their request", ("model",), COUNTER
    ),
    "monitoring_drift_effect": Metric("size of the drift of a column, by test", ("model", "column", "test")),
    "monitoring_drift_columns_drifted": Metric("columns that have drifted", ("model",)),
    "monitoring_quality_bits_per_byte": Metric(
        "mean loss of a version: on labels (window=labelled) or the model's own (window=current, reference)",
        ("model", "version", "window"),
    ),
    "monitoring_last_window_timestamp_seconds": Metric("end of the last window that was looked at", ("model",)),
}
