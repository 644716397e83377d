"""Model quality: what models are asked, how well they answer, and whether and why they are trained anew."""

from __future__ import annotations

from typing import Any

from components.observability.dashboards.panels import (
    BLUE,
    BUDGET_LEFT,
    RED,
    WHERE,
    WINDOW,
    YELLOW,
    Query,
    alerts,
    bars,
    dashboard,
    lines,
    number,
    rows,
)
from components.observability.objectives import REMAINING
from components.observability.rules.quality import CHANGE

_IN = f'{WHERE},model=~"$model"'


def build(runbooks: str) -> dict[str, Any]:
    logged = f"sum by (model) (rate(monitoring_requests_logged_total{{{_IN}}}[{WINDOW}]))"
    dropped = f"sum by (model) (rate(monitoring_requests_dropped_total{{{_IN}}}[{WINDOW}]))"
    window = f"max by (cluster, model) (monitoring_last_window_timestamp_seconds{{{_IN}}})"
    succeeded = f"max by (cluster, pipeline) (pipeline_last_success_timestamp_seconds{{{WHERE}}})"
    return dashboard(
        "quality",
        "How good models are by what they are asked, and the pipelines that retrain them. Few bits per byte are good.",
        {"model": f"monitoring_quality_bits_per_byte{{{WHERE}}}, model"},
        {
            "Now": [
                [
                    number(
                        "Worst change",
                        "Part by which bits per byte have risen above the reference. Alert: ModelQualityLost.",
                        "percentunit",
                        f"max({CHANGE}{{{_IN}}})",
                        lines={0.01: YELLOW, 0.02: RED},
                        decimals=2,
                    ),
                    number(
                        "Columns drifted",
                        "Of all models. By itself no reason to do anything. Alert: DriftWithQualityLoss.",
                        "short",
                        f"sum(max by (cluster, model) (monitoring_drift_columns_drifted{{{_IN}}}))",
                        lines={1: YELLOW},
                    ),
                    number(
                        "Oldest window",
                        "Time since a model was last looked at. Alert: MonitoringWindowLate.",
                        "s",
                        f"time() - min({window})",
                        lines={3600: YELLOW, 7200: RED},
                    ),
                    number(
                        "Not logged",
                        "Part of the requests that are neither judged nor trained on. Alert: RequestsNotLogged.",
                        "percentunit",
                        f"(sum({dropped}) or vector(0)) / (sum({logged}) + (sum({dropped}) or vector(0)))",
                        lines={0.005: YELLOW, 0.01: RED},
                        decimals=2,
                    ),
                    number(
                        "Oldest success of a pipeline",
                        "Alert: PipelineFreshnessBurn.",
                        "s",
                        f"time() - min({succeeded})",
                        lines={345_600: YELLOW, 604_800: RED},
                    ),
                    number(
                        "Freshness budget left",
                        "Of the time in 30 days in which pipelines may be late.",
                        "percentunit",
                        f'min({REMAINING}{{{WHERE},objective="pipeline-freshness"}})',
                        **BUDGET_LEFT,
                    ),
                ],
                [alerts("models", runbooks)],
            ],
            "How well they answer": [
                [
                    lines(
                        "Bits per byte",
                        "Of what was asked, by version; and of the reference. Labels that come late change what was.",
                        "none",
                        Query(
                            f"max by (model, version, window) (monitoring_quality_bits_per_byte{{{_IN}}})",
                            "{{model}}:{{version}} {{window}}",
                        ),
                        width=10,
                    ),
                    lines(
                        "Change against the reference",
                        "Above the line quality is lost. Alert: ModelQualityLost.",
                        "percentunit",
                        Query(f"max by (model, version) ({CHANGE}{{{_IN}}})", "{{model}}:{{version}}"),
                        lines={0.02: RED},
                    ),
                    lines(
                        "Labels joined",
                        "An hour. Without them quality is predicted only. Alert: LabelsMissing.",
                        "short",
                        Query(
                            f"sum by (model) (increase(monitoring_labels_joined_total{{{_IN}}}[1h]))",
                            "{{model}}",
                        ),
                    ),
                ],
            ],
            "What they are asked": [
                [
                    rows(
                        "Drift by column",
                        "Effect size of each test, strongest first. False discoveries are controlled over the columns.",
                        "none",
                        f"sort_desc(max by (model, column, test) (monitoring_drift_effect{{{_IN}}}))",
                        ("model", "column", "test"),
                        width=8,
                    ),
                    lines(
                        "Drift over time",
                        "The five strongest effects.",
                        "none",
                        Query(
                            f"topk(5, max by (model, column, test) (monitoring_drift_effect{{{_IN}}}))",
                            "{{model}} {{column}} {{test}}",
                        ),
                        width=8,
                    ),
                    lines(
                        "Requests logged, and dropped",
                        "Requests a second; why those were dropped that were.",
                        "reqps",
                        Query(logged, "{{model}} logged"),
                        Query(
                            f"sum by (model, reason) (rate(monitoring_requests_dropped_total{{{_IN}}}[{WINDOW}])) > 0",
                            "{{model}} dropped: {{reason}}",
                        ),
                        width=8,
                    ),
                ],
            ],
            "What was done": [
                [
                    rows(
                        "Decisions about retraining, last week",
                        "Whether it was fired, and why or why not.",
                        "short",
                        f"sort_desc(sum by (model, fired, reason)"
                        f" (increase(monitoring_retrain_decisions_total{{{_IN}}}[7d])) > 0)",
                        ("model", "fired", "reason"),
                        empty="none",
                    ),
                    bars(
                        "Runs of pipelines, last week",
                        "By what they have come to; rejected is the gate at work. Alert: PipelineFailed.",
                        "short",
                        Query(
                            f"sum by (pipeline, outcome) (increase(pipeline_runs_total{{{WHERE}}}[7d]))",
                            "{{pipeline}} {{outcome}}",
                        ),
                        good=BLUE,
                        empty="none",
                    ),
                    lines(
                        "Time of a pipeline's steps",
                        "Of its last run.",
                        "s",
                        Query(
                            f"max by (pipeline, step) (pipeline_step_duration_seconds{{{WHERE}}})",
                            "{{pipeline}} {{step}}",
                        ),
                        stacked=True,
                    ),
                    bars(
                        "Since the last success",
                        "Of each pipeline: since a run ended with a registered version.",
                        "s",
                        Query(f"time() - {succeeded}", "{{pipeline}}"),
                        lines={345_600: YELLOW, 604_800: RED},
                    ),
                ],
            ],
        },
        window="now-7d",
    )
