"""How good models are by what they are asked: drift, quality, the log of requests, and pipelines that retrain."""

from __future__ import annotations

from components.observability import vocabulary
from components.observability.rule import Alert, Group, Record, Scope

CHANGE = "aicloud:model_quality:change_ratio"
"""Recorded: part by which bits per byte have risen above the reference, by model and version; above 0 is worse."""


def groups(scope: Scope) -> list[Group]:
    quality = 'max by (model, version) (monitoring_quality_bits_per_byte{window="%s"})'
    change = f"{quality % vocabulary.LATEST} / {quality % vocabulary.REFERENCE} - 1"
    return [
        Group("aicloud-quality-records", [Record(CHANGE, change)]),
        Group("aicloud-quality", _alerts(scope)),
        Group("aicloud-pipelines", _pipelines()),
    ]


def _alerts(scope: Scope) -> list[Alert]:
    drifted = "max by (model) (monitoring_drift_columns_drifted)"
    worse = f"max by (model) ({CHANGE}) > {scope.quality_loss:g}"
    dropped = "sum by (model) (rate(monitoring_requests_dropped_total[15m]))"
    logged = "sum by (model) (rate(monitoring_requests_logged_total[15m]))"
    joined = "sum by (model) (increase(monitoring_labels_joined_total[1d]))"
    return [
        Alert(
            name="ModelQualityLost",
            expr=worse,
            lasts="15m",
            severity="warning",
            team="models",
            dashboard="quality",
            summary="{{ $labels.model }} has become worse by {{ $value | humanizePercentage }}",
            description=f"Its bits per byte are more than {scope.quality_loss:.0%} above its reference.",
        ),
        Alert(
            name="DriftWithQualityLoss",
            expr=f"{worse} and on (model) {drifted} > 0",
            lasts="15m",
            severity="critical",
            team="models",
            dashboard="quality",
            summary="{{ $labels.model }} is asked other things than it was trained for, and answers them worse",
            description="Bits per byte have risen by {{ $value | humanizePercentage }} while columns have drifted.",
        ),
        Alert(
            name="MonitoringWindowLate",
            expr=f"time() - max by (model) (monitoring_last_window_timestamp_seconds) > {scope.window_s}",
            lasts="10m",
            severity="warning",
            team="models",
            dashboard="quality",
            summary="nobody has looked at {{ $labels.model }} for {{ $value | humanizeDuration }}",
            description="No window of requests was judged: drift and loss of quality go unseen.",
        ),
        Alert(
            name="RequestsNotLogged",
            expr=f"({dropped}) / ({dropped} + {logged} > 0) > 0.01",
            lasts="15m",
            severity="warning",
            team="models",
            dashboard="quality",
            summary="{{ $value | humanizePercentage }} of what {{ $labels.model }} is asked is not logged",
            description="What is not logged is neither judged nor trained on.",
        ),
        Alert(
            name="LabelsMissing",
            expr="sum by (model) (increase(monitoring_requests_logged_total[1d])) > 1000"
            f" unless on (model) {joined} > 0",
            lasts="1h",
            severity="warning",
            team="models",
            dashboard="quality",
            summary="no labels come for {{ $labels.model }}",
            description="Of {{ $value | humanize }} requests of the last day not one has its label: quality is only "
            "predicted, not measured.",
        ),
    ]


def _pipelines() -> list[Alert]:
    ended = f'max by (pipeline) (pipeline_runs_total{{outcome="{vocabulary.FAILED}"}}%s)'
    failed, before = ended % "", ended % " offset 1h"
    return [
        Alert(
            name="PipelineFailed",
            # Not `increase`: the first failure makes the series, which Prometheus doesn't take for an increase.
            expr=f"{failed} - ({before} or {failed} * 0) > 0",
            severity="warning",
            team="models",
            dashboard="quality",
            summary="a run of {{ $labels.pipeline }} failed",
            description="The version in production stays. The next run goes on where this one ended.",
        ),
    ]
