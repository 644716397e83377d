"""From logged requests to a decision: each drift planted in a window is found, a healthy season is not."""

from __future__ import annotations

import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.workloads.monitoring.traffic import MONDAY_S, SHIFTS, request
from workloads.monitoring.baseline import DAY_S, HOUR_S, BaselinePolicy, Window
from workloads.monitoring.errors import ArgumentError, HookFailed
from workloads.monitoring.lakehouse import Lake
from workloads.monitoring.metrics import Metrics
from workloads.monitoring.policy import COLUMNS, WatchPolicy
from workloads.monitoring.report import Report, summary
from workloads.monitoring.request_log import RequestLog
from workloads.monitoring.tables import Label, Request, label_row
from workloads.monitoring.trigger import RetrainPolicy, State
from workloads.monitoring.watch import command, look, watch

NOW = Window(MONDAY_S + 3 * HOUR_S, MONDAY_S + 4 * HOUR_S)
POLICY = WatchPolicy(
    label_wait_s=HOUR_S,
    baseline=BaselinePolicy(reference_s=3 * HOUR_S, seasons_s=()),
    retrain=RetrainPolicy(least_new_bytes=1000),
)


def hours(shift: str = "", count: int = 1000, **arguments: Any) -> list[Request]:
    """Three hours as usual and one with a shift."""
    return [
        request(i, MONDAY_S + 4 * HOUR_S * i / count, shift=shift if i >= 3 * count // 4 else "", **arguments)
        for i in range(count)
    ]


def log(lake: Lake, requests: list[Request], rate: float = 1.0) -> None:
    with RequestLog(lake, rate=rate, queue=10**6) as log:
        for each in requests:
            log.record(each)
    assert not log.dropped


def labels(lake: Lake, requests: list[Request], after_s: float, worse: float = 0.0) -> None:
    """Of a third of the requests, their own loss and what is added to it from the window on."""
    found = [
        Label(r.id, r.time_s, r.model, r.time_s + after_s, r.bits_per_byte + worse * (r.time_s >= NOW.start_s))
        for r in requests[::3]
    ]
    lake.append("labels", [label_row(each) for each in found], f"labels {after_s}")


def looked(lake: Lake, policy: WatchPolicy = POLICY, now_s: float = NOW.end_s, state: State | None = None) -> Report:
    report = look(lake, policy, "lm", NOW, now_s, state or State())
    json.dumps(report.as_json(), allow_nan=False)
    return report


EXPECTED = {
    "longer": {"text_bytes", "line_bytes"},
    "digits": {"digits", "byte_entropy", "embedding"},
    "words": {"embedding", "byte_entropy"},
    "capitals": {"capitals", "embedding"},
    "harder": {"bits_per_byte"},
}


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_planted_drift_is_found_and_only_a_loss_trains_again(lake: Lake, shift: str) -> None:
    log(lake, hours(shift, count=3000))
    report = looked(lake)
    assert EXPECTED[shift] <= set(report.drift.drifted)
    if shift == "harder":
        assert report.drift.drifted == ("bits_per_byte",)
        assert report.decision.reason == "own_loss"
        assert report.own[1].mean - report.own[0].mean == pytest.approx(1.0, abs=0.2)
    else:
        assert report.decision.reason == "input_drift_only"
        assert not report.decision.fire


def test_healthy_traffic_is_healthy(lake: Lake) -> None:
    log(lake, hours())
    report = looked(lake)
    assert report.drift.drifted == ()
    assert report.decision.reason == "healthy"


def test_a_season_is_no_drift_and_a_drift_within_it_is_one(lake: Lake) -> None:
    """Every night texts are longer, capital and harder, as batch jobs of another continent may be."""
    policy = WatchPolicy(
        window_s=HOUR_S,
        baseline=BaselinePolicy(reference_s=4 * DAY_S, seasons_s=(DAY_S,), least_rows=150),
        retrain=RetrainPolicy(least_new_bytes=1000),
    )
    night = Window(MONDAY_S + 4 * DAY_S, MONDAY_S + 4 * DAY_S + HOUR_S)
    requests = []
    for day in range(5):
        for hour in (0, 6, 12, 18):
            for i in range(80):
                number = (day * 24 + hour) * 100 + i
                time_s = MONDAY_S + day * DAY_S + hour * HOUR_S + i * 40
                requests.append(
                    request(number, time_s, shift="capitals" if hour == 0 else "", loss=3.0 if hour == 0 else 2.0)
                )
    log(lake, requests)
    # A second night, the same but for its loss.
    log(lake, [request(10**6 + i, night.start_s + i * 40, shift="capitals", loss=3.0) for i in range(80)])
    seen = look(lake, policy, "lm", night, night.end_s, State())
    assert seen.season_s == DAY_S
    assert seen.drift.drifted == ()
    assert seen.decision.reason in ("healthy", "inconclusive")
    blind = WatchPolicy(
        window_s=HOUR_S, baseline=BaselinePolicy(reference_s=4 * DAY_S, seasons_s=()), retrain=policy.retrain
    )
    wrong = look(lake, blind, "lm", night, night.end_s, State())
    assert {"capitals", "bits_per_byte"} <= set(wrong.drift.drifted)
    assert wrong.decision.reason == "own_loss"


def test_labels_when_they_come(lake: Lake) -> None:
    """Nothing is seen but by labels, which come half an hour late."""
    policy = WatchPolicy(
        label_wait_s=HOUR_S,
        baseline=POLICY.baseline,
        retrain=RetrainPolicy(own_loss_counts=False, least_new_bytes=1000),
    )
    requests = hours(count=2000)
    log(lake, requests)
    labels(lake, requests, HOUR_S / 2, worse=0.5)
    early = looked(lake, policy, NOW.start_s + 60)
    assert not early.decision.fire
    late = looked(lake, policy, NOW.end_s + HOUR_S)
    assert late.decision.reason == "measured_loss"
    assert late.labelled is not None
    assert late.labelled.window == NOW
    assert late.labelled.completeness == pytest.approx(1 / 3, abs=0.01)
    assert late.drift.drifted == ()


def test_labels_of_the_window_before_say_that_it_was_worse(lake: Lake) -> None:
    """This window's have not come; the one before is not compared with a baseline that it is in itself."""
    policy = WatchPolicy(
        label_wait_s=HOUR_S,
        baseline=BaselinePolicy(reference_s=3 * HOUR_S, seasons_s=(), least_rows=100),
        retrain=RetrainPolicy(own_loss_counts=False, predicted_loss_counts=False, least_new_bytes=1000),
    )
    requests = hours(count=2000)
    log(lake, requests)
    found = [
        Label(r.id, r.time_s, "lm", r.time_s + 60, 2.0 + (r.time_s >= NOW.start_s - HOUR_S))
        for r in requests[::3]
        if r.time_s < NOW.start_s
    ]
    lake.append("labels", [label_row(each) for each in found], "labels")
    report = looked(lake, policy)
    assert report.decision.reason == "measured_loss"
    assert report.decision.evidence.measured_before
    assert report.labelled is not None
    assert report.labelled.window == Window(NOW.start_s - HOUR_S, NOW.start_s)
    assert report.decision.evidence.measured is not None
    assert report.decision.evidence.measured.mean == pytest.approx(1.0)


def test_until_labels_come_the_loss_is_predicted(lake: Lake) -> None:
    """Long texts are harder; then most texts are long, but no label has come yet."""
    policy = WatchPolicy(
        label_wait_s=HOUR_S,
        baseline=POLICY.baseline,
        retrain=RetrainPolicy(own_loss_counts=False, least_new_bytes=1000),
    )
    requests = []
    for i in range(4000):
        long = i % 4 == 0 if i < 3000 else i % 10 != 0
        requests.append(request(i, MONDAY_S + i * 3.6, shift="longer" if long else "", loss=2.6 if long else 2.0))
    log(lake, requests)
    labels(lake, requests[:3000], 60)
    report = looked(lake, policy)
    assert report.predicted.usable
    assert report.decision.reason == "predicted_loss"
    # It is 0.39; the classifier, which is quadratic, does not see all of it.
    assert 0.15 < report.predicted.change.mean < 0.45


def test_sampling_changes_no_figure_much(lake: Lake) -> None:
    """The window was logged at a tenth of the rate of the baseline: both are as if at the lower of their own."""
    requests = hours("harder", count=8000)
    log(lake, requests[:6000], rate=0.5)
    log(lake, requests[6000:], rate=0.1)
    report = looked(lake)
    assert report.own[1].mean - report.own[0].mean == pytest.approx(1.0, abs=0.15)
    assert report.drift.drifted == ("bits_per_byte",)
    logged = sum(len(each.text.encode()) for each in requests)
    assert report.decision.evidence.new_bytes == pytest.approx(logged, rel=0.1)


def test_one_version_is_judged_against_itself(lake: Lake) -> None:
    """The new version is better, and its baseline is not the old one's."""
    requests = hours(count=2000)
    log(lake, [request(i, r.time_s, loss=2.0, version=1) for i, r in enumerate(requests[:1500])])
    log(lake, [request(i + 1500, r.time_s, loss=1.0, version=2) for i, r in enumerate(requests[1500:])])
    report = looked(lake)
    assert report.version == 2
    assert report.decision.reason == "no_data"
    assert any("0 requests in the reference period" in warning for warning in report.warnings)


def test_there_is_no_traffic(lake: Lake) -> None:
    report = looked(lake)
    assert report.decision.reason == "no_data"
    assert report.drift.drifted == ()
    assert "lm:0" in summary(report.as_json())


@pytest.fixture
def harder(lake: Lake) -> Lake:
    log(lake, hours("harder"))
    return lake


def run(lake: Lake, tmp_path: Path, **more: Any) -> Report:
    return watch(
        lake, POLICY, "lm", NOW, NOW.end_s, state_file=tmp_path / "state.json", output=tmp_path / "reports", **more
    )


def test_a_watch_starts_the_pipeline_once(harder: Lake, tmp_path: Path) -> None:
    metrics = Metrics()
    told = "import os, sys; open(sys.argv[1], 'a').write('{MONITORING_REPORT} {MONITORING_MODEL}'.format(**os.environ))"
    words = shlex.join([sys.executable, "-c", told, f"{tmp_path}/started"])
    first = run(harder, tmp_path, hook=command(words), metrics=metrics)
    again = run(harder, tmp_path, hook=command(words), metrics=metrics)
    assert (first.decision.reason, again.decision.reason) == ("own_loss", "already_running")
    path, model = (tmp_path / "started").read_text().split()
    assert model == "lm:1"
    assert json.loads(Path(path).read_text())["model"] == "lm"
    value = metrics.registry.get_sample_value
    assert value("monitoring_retrain_decisions_total", {"model": "lm", "fired": "true", "reason": "own_loss"}) == 1
    assert (
        value("monitoring_retrain_decisions_total", {"model": "lm", "fired": "false", "reason": "already_running"}) == 1
    )
    assert value("monitoring_drift_columns_drifted", {"model": "lm"}) == 1
    assert value("monitoring_drift_effect", {"model": "lm", "column": "bits_per_byte", "test": "ks"}) > 0.5
    window = {"model": "lm", "version": "1", "window": "current"}
    assert value("monitoring_quality_bits_per_byte", window) == pytest.approx(3.0, abs=0.1)
    assert value("monitoring_last_window_timestamp_seconds", {"model": "lm"}) == NOW.end_s


@pytest.mark.parametrize("words", ["false", "/no/such/program", "unbalanced 'quote"])
def test_a_hook_that_fails_costs_the_cooldown_and_no_budget(harder: Lake, tmp_path: Path, words: str) -> None:
    with pytest.raises(HookFailed):
        run(harder, tmp_path, hook=command(words))
    state = State.from_json(json.loads((tmp_path / "state.json").read_text()))
    assert (state.running, state.spent_usd, state.runs) == (False, 0.0, 1)
    assert run(harder, tmp_path, hook=command(words)).decision.reason == "cooling_down"


def test_killed_before_the_hook_it_is_not_started_twice(harder: Lake, tmp_path: Path) -> None:
    """Whatever happens within the hook, the state already says that a run was started."""

    class Killed(BaseException):
        pass

    def hook(_: Report, path: Path) -> None:
        assert path.exists()
        raise Killed

    with pytest.raises(Killed):
        run(harder, tmp_path, hook=hook)
    assert run(harder, tmp_path, hook=hook).decision.reason == "already_running"


def test_a_person_can_read_the_report(harder: Lake) -> None:
    text = summary(json.loads(json.dumps(looked(harder).as_json())))
    assert "RETRAIN (own_loss)" in text
    assert "2024-09-30 03:00 to 2024-09-30 04:00: 250 requests against 750" in text
    (line,) = (line for line in text.splitlines() if line.startswith("  bits_per_byte "))
    assert line.endswith("drifted")


def test_a_policy_from_json() -> None:
    found = WatchPolicy.from_json(
        {
            "window_s": 60,
            "drift": {"ks": 0.2, "permutations": 300},
            "baseline": {"seasons_s": [60]},
            "columns": ["digits"],
        }
    )
    assert (found.window_s, found.drift.ks, found.baseline.seasons_s, found.columns) == (
        60.0,
        0.2,
        (60.0,),
        ("digits",),
    )
    assert WatchPolicy.from_json({}) == WatchPolicy()
    assert math.isclose(found.retrain.tolerated_loss, RetrainPolicy().tolerated_loss)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ([], "policy: expected an object"),
        ({"windows": 1}, "policy.windows: unknown; expected one of window_s"),
        ({"window_s": "1h"}, "policy.window_s: expected a number, found '1h'"),
        ({"drift": {"permutations": 1.5}}, "policy.drift.permutations: expected a whole number"),
        ({"drift": {"correction": "none"}}, "policy.drift.correction 'none': expected bh or by"),
        ({"columns": "digits"}, "policy.columns: expected a list"),
        ({"columns": ["ears"]}, f"expected some of {', '.join(COLUMNS[:3])}"),
        ({"retrain": {"own_loss_counts": 1}}, "policy.retrain.own_loss_counts: expected true or false"),
    ],
)
def test_a_policy_that_is_none(policy: Any, expected: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        WatchPolicy.from_json(policy)
    assert expected in str(caught.value)
