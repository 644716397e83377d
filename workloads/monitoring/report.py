"""What a look at a window found, as JSON and as text for a person."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workloads.monitoring.baseline import Window
from workloads.monitoring.drift import DriftReport, as_json
from workloads.monitoring.labels import Labelled
from workloads.monitoring.prediction import Prediction
from workloads.monitoring.quality import Estimate
from workloads.monitoring.tables import moment
from workloads.monitoring.trigger import Decision

FORMAT = 1


@dataclass(frozen=True)
class Report:
    model: str
    version: int
    """That served most of the window; 0 if nothing was served."""
    window: Window
    reference: Window
    season_s: float | None
    """The period whose same part the window was compared with; None: with all of the reference."""
    drift: DriftReport
    labelled: Labelled | None
    """Of the window, or of the latest earlier one whose labels have come."""
    labelled_before: Labelled | None
    """Of the baseline."""
    own: tuple[Estimate, Estimate]
    """The model's own bits per byte: of the baseline, and of the window."""
    predicted: Prediction
    decision: Decision
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "model": self.model,
            "version": self.version,
            "window": _window(self.window),
            "reference": _window(self.reference),
            "season_s": self.season_s,
            "drift": as_json(self.drift),
            "drifted": list(self.drift.drifted),
            "labelled": self.labelled.as_json() if self.labelled else None,
            "labelled_before": self.labelled_before.as_json() if self.labelled_before else None,
            "own": {"reference": self.own[0].as_json(), "current": self.own[1].as_json()},
            "predicted": self.predicted.as_json(),
            "decision": self.decision.as_json(),
            "warnings": list(self.warnings),
        }


def _window(window: Window) -> dict[str, float]:
    return {"start_s": window.start_s, "end_s": window.end_s}


def summary(found: Mapping[str, Any]) -> str:
    """For a person, from a report's JSON."""
    window, decision, own = found["window"], found["decision"], found["own"]
    evidence = decision["evidence"]
    lines = [
        f"{found['model']}:{found['version']}, {_time(window['start_s'])} to {_time(window['end_s'])}: "
        f"{evidence['rows']} requests against {evidence['baseline_rows']}",
        f"  {'RETRAIN' if decision['fire'] else 'no retraining'} ({decision['reason']}): {decision['explanation']}",
        f"  own bits per byte: {_mean(own['reference'])} before, {_mean(own['current'])} now",
    ]
    labelled, before = found["labelled"], found["labelled_before"]
    if labelled:
        lines.append(
            f"  by labels: {_mean(before['loss']) if before else 'unknown'} before, {_mean(labelled['loss'])} from "
            f"{_time(labelled['start_s'])} on; {labelled['in_time']} of {labelled['requests']} have one, "
            f"{labelled['late']} came late"
        )
    predicted = found["predicted"]
    change = predicted["change"]["mean"]
    lines.append(f"  predicted change: {'none made' if change is None else f'{change:+.3f}'}; {predicted['why']}")
    if found["drift"]:
        lines.append(f"  {'column':<18}{'effects':<58}{'q':>8}")
        for column in sorted(found["drift"], key=lambda c: (not c["drifted"], c["q"])):
            effects = column.get("skipped") or "  ".join(f"{t} {e:.3f}" for t, e in column["effects"].items())
            mark = "drifted" if column["drifted"] else ""
            lines.append(f"  {column['column']:<18}{effects:<58}{column['q']:>8.2g}  {mark}".rstrip())
    return "\n".join([*lines, *(f"  note: {warning}" for warning in found["warnings"])])


def _mean(estimate: Mapping[str, float | None]) -> str:
    mean, error = estimate["mean"], estimate["error"]
    if mean is None or not math.isfinite(mean):
        return "unknown"
    return f"{mean:.3f}" + (f" ± {error:.3f}" if error is not None else "")


def _time(seconds: float) -> str:
    return f"{moment(seconds):%Y-%m-%d %H:%M}"
