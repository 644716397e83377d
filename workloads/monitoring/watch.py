"""Looks at a window of a model's traffic: drift, quality, and whether to train again; the shell around it all.

`look` reads and judges and changes nothing. `watch` also remembers: it decides with the state that earlier decisions
left, writes the report, tells the metrics, and starts the pipeline by calling a hook.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from workloads.monitoring.baseline import Baseline, Window, baseline
from workloads.monitoring.drift import DriftReport, columns_of, drift
from workloads.monitoring.errors import HookFailed
from workloads.monitoring.files import read_json, write_json
from workloads.monitoring.labels import Labelled, joined, losses
from workloads.monitoring.metrics import Metrics
from workloads.monitoring.policy import WatchPolicy
from workloads.monitoring.prediction import Prediction, predict
from workloads.monitoring.quality import difference, estimate
from workloads.monitoring.report import Report
from workloads.monitoring.tables import FEATURES, Rows
from workloads.monitoring.trigger import Decision, Evidence, State, decide, ended

Hook = Callable[[Report, Path], None]
"""Starts the pipeline; is given the report that says why, and where it was written. Raises HookFailed."""


class Source(Protocol):
    def read(
        self, table: str, model: str, start_s: float, end_s: float, columns: Sequence[str] | None = None
    ) -> Rows: ...


@dataclass(frozen=True)
class _Traffic:
    """Requests of a version in a window and in its baseline, and the labels of both."""

    window: Rows
    baseline: Baseline
    labels: Rows


def look(source: Source, policy: WatchPolicy, model: str, window: Window, now_s: float, state: State) -> Report:
    """Judge a window. The report's decision has the state that would follow; nothing is written. Raises LakeFailed."""
    wanted = (*FEATURES, *policy.columns, "bits_per_byte", "embedding", "embedding_kind")
    reference = policy.baseline.reference(window)
    requests = source.read("requests", model, window.start_s, window.end_s, wanted)
    earlier = source.read("requests", model, reference.start_s, reference.end_s, wanted)
    labels = source.read("labels", model, reference.start_s, window.end_s)
    versions = Counter(requests["version"].astype(int).tolist())
    version = versions.most_common(1)[0][0] if versions else 0
    warnings = []
    if len(versions) > 1:
        warnings.append(f"versions {', '.join(map(str, sorted(versions)))} served; version {version} is judged")
    now = _traffic(policy, requests, earlier, labels, version, window)
    warnings += now.baseline.warnings

    found = _drift(policy, now)
    own_now = estimate(now.window["bits_per_byte"], 1 / now.window["sampling_rate"])
    own_before = estimate(now.baseline.rows["bits_per_byte"], 1 / now.baseline.rows["sampling_rate"])
    theirs, theirs_before = (rows.select(rows["version"] == version) for rows in (requests, earlier))
    labelled, measured_window = _closed(policy, theirs, theirs_before, labels, window, now_s)
    # That window's own baseline: an earlier window must not be compared with what it is a part of.
    rows_before = baseline(policy.baseline, theirs_before, measured_window).rows
    before = _labelled(policy, rows_before, labels, policy.baseline.reference(measured_window), now_s)
    if labelled and labelled.warning:
        warnings.append(labelled.warning)
    evidence = Evidence(
        time_s=now_s,
        rows=len(now.window),
        baseline_rows=len(now.baseline.rows),
        drifted=found.drifted,
        measured=difference(labelled.loss, before.loss) if labelled and before else None,
        completeness=labelled.completeness if labelled else 0.0,
        measured_before=measured_window != window,
        own=difference(own_now, own_before) if own_before.count else None,
        new_bytes=_new_bytes([earlier, requests], state.last_started_s),
    )
    predicted = _predicted(policy, now, now_s)
    if predicted.usable:
        evidence = replace(evidence, predicted=predicted.change)
    return Report(
        model=model,
        version=version,
        window=window,
        reference=reference,
        season_s=now.baseline.season_s,
        drift=found,
        labelled=labelled,
        labelled_before=before,
        own=(own_before, own_now),
        predicted=predicted,
        decision=decide(policy.retrain, state, evidence),
        warnings=tuple(warnings),
    )


def watch(
    source: Source,
    policy: WatchPolicy,
    model: str,
    window: Window,
    now_s: float,
    *,
    state_file: Path,
    output: Path,
    hook: Hook | None = None,
    metrics: Metrics | None = None,
) -> Report:
    """Judge a window and act on it. Raises LakeFailed, FileFailed, HookFailed.

    The state is kept before the hook is called: killed between the two, a run is thought to have been started that was
    not, and `ended` clears it; the other way round it would be started twice. If the hook fails, the run has ended at
    no cost, and the cool-down keeps it from being tried again and again.
    """
    found = read_json(state_file)
    state = State() if found is None else State.from_json(found)
    report = look(source, policy, model, window, now_s, state)
    path = output / f"{model}-{round(window.end_s)}.json"
    write_json(path, report.as_json())
    write_json(state_file, report.decision.state.as_json())
    if metrics:
        tell(metrics, report)
    if report.decision.fire and hook:
        try:
            hook(report, path)
        except HookFailed:
            write_json(state_file, ended(policy.retrain, report.decision.state, 0.0).as_json())
            raise
    return report


def command(words: str, environment: Mapping[str, str] | None = None) -> Hook:
    """A hook that runs a command, without a shell; MONITORING_REPORT and MONITORING_MODEL tell it what it is about."""

    def run(report: Report, path: Path) -> None:
        told = {"MONITORING_REPORT": str(path), "MONITORING_MODEL": f"{report.model}:{report.version}"}
        try:
            finished = subprocess.run(
                shlex.split(words), env={**(os.environ if environment is None else environment), **told}, check=False
            )
        except (OSError, ValueError) as error:
            raise HookFailed(f"{words}: {error}") from error
        if finished.returncode:
            raise HookFailed(f"{words}: exit code {finished.returncode}")

    return run


def tell(metrics: Metrics, report: Report) -> None:
    decision: Decision = report.decision
    for column in report.drift.columns:
        for test, effect in column.effects.items():
            metrics.effect.labels(report.model, column.column, test).set(effect)
    metrics.drifted.labels(report.model).set(len(report.drift.drifted))
    for name, loss in (
        ("reference", report.own[0]),
        ("current", report.own[1]),
        ("labelled", report.labelled.loss if report.labelled else None),
    ):
        if loss is not None and np.isfinite(loss.mean):
            metrics.quality.labels(report.model, report.version, name).set(loss.mean)
    if report.labelled and report.labelled.closed:
        metrics.joined.labels(report.model).inc(report.labelled.in_time)
    metrics.decisions.labels(report.model, str(decision.fire).lower(), decision.reason).inc()
    metrics.last_window.labels(report.model).set(report.window.end_s)


# ---- parts of a look


def _traffic(
    policy: WatchPolicy, requests: Rows, earlier: Rows, labels: Rows, version: int, window: Window
) -> _Traffic:
    """What is fair to compare: one version, thinned to one sampling rate on either side."""
    of_version = [rows.select(rows["version"] == version).thinned() for rows in (requests, earlier)]
    return _Traffic(of_version[0], baseline(policy.baseline, of_version[1], window), labels)


def _drift(policy: WatchPolicy, traffic: _Traffic) -> DriftReport:
    sides = traffic.baseline.rows, traffic.window
    # What neither side ever has, such as tokens where nobody counts them, is no column.
    names = [name for name in policy.columns if any(np.isfinite(rows[name]).any() for rows in sides)]
    kinds = Counter(k for rows in sides for k in set(rows["embedding_kind"].tolist()) if k)
    shared = sorted(kind for kind, count in kinds.items() if count == 2)
    embeddings = None
    if shared:
        matrices = [rows.embeddings(shared[0]) for rows in sides]
        embeddings = (matrices[0], matrices[1])
    return drift(columns_of(sides[0], names), columns_of(sides[1], names), policy.drift, embeddings=embeddings)


def _closed(
    policy: WatchPolicy, requests: Rows, earlier: Rows, labels: Rows, window: Window, now_s: float
) -> tuple[Labelled | None, Window]:
    """The labelled loss of the window, or of the latest before it whose labels have had their time; of one version."""
    found = _labelled(policy, requests, labels, window, now_s)
    if found and (found.closed or found.completeness >= policy.retrain.least_completeness):
        return found, window
    back = int(-(-(window.end_s + policy.label_wait_s - now_s) // window.length_s))
    older = Window(window.start_s - back * window.length_s, window.end_s - back * window.length_s)
    before = _labelled(policy, earlier, labels, older, now_s)
    return (before, older) if before else (found, window)


def _labelled(policy: WatchPolicy, rows: Rows, labels: Rows, window: Window, now_s: float) -> Labelled | None:
    """Of rows of one version."""
    found = joined(rows, labels, window, wait_s=policy.label_wait_s, now_s=now_s, kind=policy.label_kind)
    return found[0] if found else None


def _predicted(policy: WatchPolicy, traffic: _Traffic, now_s: float) -> Prediction:
    rows = traffic.baseline.rows
    known = losses(rows, traffic.labels, wait_s=policy.label_wait_s, now_s=now_s, kind=policy.label_kind)
    sides = [np.stack([side[name] for name in FEATURES], axis=1) for side in (rows, traffic.window)]
    return predict(sides[0], known, sides[1])


def _new_bytes(sides: Sequence[Rows], since_s: float | None) -> float:
    """Of requests since a time, as many as there were and not as many as were logged."""
    total = 0.0
    for rows in sides:
        new = rows.select(rows["time"] >= since_s) if since_s is not None else rows
        if len(new):
            total += float(np.sum(np.expm1(new["text_bytes"]) / new["sampling_rate"]))
    return total
