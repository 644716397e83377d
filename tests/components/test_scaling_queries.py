"""What Prometheus answers a scaler: per request and not more with more traffic, nothing from gaps, never below zero."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.inference import forecast, scaling
from components.inference.forecast import Forecast
from components.inference.scaling import Target
from tests.components.promql import Series, evaluate, record, scalar

STEP = 15.0
TARGET = Target("chat", "inference", ("bert",), 900)
OTHERS = ("chat-beta-7d9f8b6c5-abcde", "chat-7d9f8b6c5", "xchat-7d9f8b6c5-abcde")
"""Pods and what isn't one of the deployment `chat`."""
Rate = Callable[[float], float]


def pod(number: int, name: str = "chat-7d9f8b6c5-") -> str:
    return f"{name}{number:05d}" if name.endswith("-") else name


def key(metric: str, name: str, namespace: str = "inference", model: str = "bert") -> str:
    return f'{metric}{{namespace="{namespace}",pod="{name}",model="{model}"}}'


def served(
    rates: list[Rate], wait_ms: list[float], seconds: float, *, namespace: str = "inference", names: Any = None
) -> dict[str, list[tuple[float, float]]]:
    """What pods export that answer requests at these rates, each of which waited as long."""
    found: dict[str, list[tuple[float, float]]] = {}
    for number, (rate, wait) in enumerate(zip(rates, wait_ms, strict=True)):
        name = names[number] if names else pod(number)
        count, points, waits = 0.0, [], []
        for tick in range(int(seconds // STEP) + 1):
            points.append((tick * STEP, count))
            waits.append((tick * STEP, count * wait * 1e3))
            count += rate(tick * STEP) * STEP
        found[key("nv_inference_request_success", name, namespace)] = points
        found[key("nv_inference_queue_duration_us", name, namespace)] = waits
    return found


def steady(rate: float) -> Rate:
    return lambda _at: rate


# ---- time in the queue


@pytest.mark.parametrize("traffic", [1.0, 10.0, 1_000.0])
def test_time_in_the_queue_does_not_grow_with_traffic(traffic: float) -> None:
    series = Series.of(served([steady(traffic)] * 2, [40.0, 40.0], 300))
    assert scalar(scaling.queue_query(TARGET), series, 300) == pytest.approx(40)


def test_each_request_weighs_the_same_on_whichever_replica_it_was() -> None:
    """90 requests a second waited 10 ms, 10 waited 110 ms: 20 ms, and not the 60 ms of the replicas' own means."""
    series = Series.of(served([steady(90), steady(10)], [10.0, 110.0], 300))
    assert scalar(scaling.queue_query(TARGET), series, 300) == pytest.approx(20)


@pytest.mark.parametrize("to_zero", [True, False])
def test_without_requests_nobody_waits(to_zero: bool) -> None:
    series = Series.of(served([steady(0)], [40.0], 300))
    assert scalar(scaling.queue_query(TARGET, to_zero=to_zero), series, 300) == 0


@pytest.mark.parametrize("query", [scaling.queue_query, scaling.pending_query])
def test_without_replicas_there_is_no_knowing_but_for_a_server_at_zero(query: Any) -> None:
    assert scalar(query(TARGET), Series({}), 300) is None
    assert scalar(query(TARGET, to_zero=True), Series({}), 300) == 0


def test_other_pods_do_not_count() -> None:
    names = [*OTHERS, pod(0)]
    theirs = served([steady(50)] * 4, [900.0] * 4, 300, namespace="elsewhere", names=names)
    own = served([steady(5)] * 4, [900.0] * 3 + [7.0], 300, names=names)
    assert scalar(scaling.queue_query(TARGET), Series.of({**own, **theirs}), 300) == pytest.approx(7)


def test_a_replica_that_starts_anew_is_no_negative_wait() -> None:
    series = Series.of(served([steady(20)], [30.0], 300))
    for points in series.samples.values():
        points[:] = [(at, value if at < 270 else value - points[18][1]) for at, value in points]
    assert scalar(scaling.queue_query(TARGET), series, 300) == pytest.approx(30)


# ---- what waits


def test_what_waits_on_all_replicas_is_counted_as_a_mean() -> None:
    metric = "nv_inference_pending_request_count"
    series = Series.of(
        {
            key(metric, pod(0)): [(at * STEP, 8.0 * (at % 2)) for at in range(21)],
            key(metric, pod(1)): [(at * STEP, 16.0) for at in range(21)],
            key(metric, OTHERS[0]): [(at * STEP, 500.0) for at in range(21)],
        }
    )
    found = scalar(scaling.pending_query(TARGET), series, 300)
    assert found == pytest.approx(16 + 8 * 2 / 5)  # both ends of a minute count: two of five samples were 8


# ---- forecasts


def history(rate: Rate, seconds: float, one: Forecast, *, gap: tuple[float, float] = (0, 0)) -> Series:
    """A database after that many seconds of traffic, with what the rules recorded; nothing was scraped in the gap."""
    series = Series.of(served([rate], [0.0], seconds))
    for points in series.samples.values():
        points[:] = [point for point in points if not gap[0] < point[0] < gap[1]]
    (group,) = forecast.rule_groups([one], TARGET.pods, TARGET.namespace, TARGET.deployment, TARGET.start_s)
    for tick in range(int(seconds // forecast.INTERVAL_S) + 1):
        at = tick * forecast.INTERVAL_S
        if not gap[0] < at < gap[1]:
            record(group["rules"], series, at)
    return series


def expected(rate: Rate, seconds: float, **how: Any) -> float | None:
    """Requests a second that the scaler is told to expect."""
    gap = how.pop("gap", (0, 0))
    one = Forecast("bert", 100, **how)
    return scalar(one.query(TARGET.namespace, TARGET.deployment), history(rate, seconds, one, gap=gap), seconds)


@pytest.mark.parametrize("method", ["level", "trend"])
def test_what_is_steady_stays(method: str) -> None:
    assert expected(steady(40), 1800, method=method) == pytest.approx(40, rel=1e-6)


def test_a_level_is_the_busiest_of_the_last_minutes() -> None:
    assert expected(lambda at: 90 if 1200 <= at < 1380 else 30, 1800) == pytest.approx(90)
    assert expected(lambda at: 90 if 300 <= at < 480 else 30, 1800) == pytest.approx(30)


def test_a_trend_goes_on_for_as_long_as_a_replica_takes_to_start() -> None:
    """From 50 by one a minute: after 30 minutes it is at 80, and 15 minutes later at 95."""
    found = expected(lambda at: 50 + at / 60, 1800, method="trend")
    assert found == pytest.approx(95, abs=1.5)


def test_a_trend_is_held_to_what_just_came() -> None:
    """A sudden rise is not prolonged to the sky: at most `growth` times the most of the last minutes."""

    def rise(at: float) -> float:
        return 10.0 if at < 1500 else 10 + (at - 1500)

    held, free = (expected(rise, 1800, method="trend", growth=growth) for growth in (1, 1000))
    assert held == pytest.approx(250, rel=0.05)
    assert free is not None
    assert free > 1.1 * 250


def test_a_fall_is_never_below_zero() -> None:
    assert expected(lambda at: max(0.0, 90 - at / 20), 1800, method="trend") == 0


@pytest.mark.parametrize("method", forecast.METHODS)
@pytest.mark.parametrize("gap", [(1000, 1300), (1500, 1790), (600, 1750)])
def test_a_history_with_gaps_says_nothing(method: str, gap: tuple[float, float]) -> None:
    assert expected(steady(40), 1800, method=method, gap=gap) is None


@pytest.mark.parametrize("method", forecast.METHODS)
def test_a_short_history_says_nothing(method: str) -> None:
    assert expected(steady(40), 600, method=method) is None


def yesterday(then: float, now: float, busy: tuple[float, float]) -> Callable[[float], float]:
    """A rate that was `then` in a part of yesterday and is `now` at all other times."""
    return lambda at: then if busy[0] <= at < busy[1] else now


DAY = 86_400.0
NOW = DAY + 3_600


def season(series: Series, one: Forecast) -> float | None:
    """The forecast from a series that was recorded, without evaluating a day of rules."""
    labels = {"namespace": TARGET.namespace, "deployment": TARGET.deployment, "model": one.model}
    text = ",".join(f'{name}="{value}"' for name, value in labels.items())
    found = evaluate(forecast.expression(one, f"{forecast.RATE}{{{text}}}", TARGET.start_s), series, NOW)
    return next(iter(found.values()), None)


def recorded(rate: Rate, *, gap: tuple[float, float] = (0, 0)) -> Series:
    series = Series({})
    labels = {"namespace": TARGET.namespace, "deployment": TARGET.deployment, "model": "bert"}
    for tick in range(int(NOW // forecast.INTERVAL_S) + 1):
        at = float(tick * forecast.INTERVAL_S)
        if not gap[0] < at < gap[1]:
            series.add(forecast.RATE, labels, at, rate(at))
    return series


DAILY = Forecast("bert", 100, "day", growth=4)


@pytest.mark.parametrize(
    ("busy", "expected"),
    [
        ((NOW - DAY + 900 - 60, NOW - DAY + 900 + 60), 90.0),  # just when a replica started now is ready
        ((NOW - DAY + 900 + 200, NOW - DAY + 900 + 260), 90.0),  # and a little later
        ((NOW - DAY - 600, NOW - DAY + 300), 30.0),  # that has passed by then
        ((NOW - DAY + 1800, NOW - DAY + 2400), 30.0),  # that has time
    ],
)
def test_a_day_is_looked_at_where_it_will_be(busy: tuple[float, float], expected: float) -> None:
    assert season(recorded(yesterday(90, 30, busy)), DAILY) == expected


def test_a_day_that_was_quite_different_is_held_to_today() -> None:
    busy = (NOW - DAY, NOW - DAY + 3600)
    assert season(recorded(yesterday(9_000, 30, busy)), DAILY) == 4 * 30
    assert season(recorded(yesterday(9_000, 0, busy)), DAILY) == 0


def test_a_gap_yesterday_says_nothing_and_one_elsewhere_is_no_matter() -> None:
    assert season(recorded(steady(30), gap=(NOW - DAY + 700, NOW - DAY + 1000)), DAILY) is None
    assert season(recorded(steady(30), gap=(20_000, 40_000)), DAILY) == 30


# ---- held against Prometheus itself

PROMTOOL = shutil.which("promtool")


def promtool_tests(directory: Path) -> Path:
    """Unit tests for `promtool test rules`: what this project's evaluator answers is what is expected."""
    methods = [Forecast("bert", 100, method) for method in ("level", "trend", "day")]
    groups = forecast.rule_groups(methods, TARGET.pods, TARGET.namespace, TARGET.deployment, TARGET.start_s)
    (directory / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    cases = []
    for name, rate, gap in (
        ("steady", steady(40), (0, 0)),
        ("trend", lambda at: 50 + at / 60, (0, 0)),
        ("fall", lambda at: max(0.0, 90 - at / 20), (0, 0)),
        ("rise", lambda at: 10.0 if at < 1500 else 10 + (at - 1500), (0, 0)),
        ("none", steady(0), (0, 0)),
        ("gap", steady(40), (600, 1320)),
    ):
        # A second replica waits longer; a third is another deployment's.
        given = served([rate, steady(5), steady(70)], [10.0, 300.0, 999.0], 1800, names=[pod(0), pod(1), OTHERS[0]])
        pending = [(at * STEP, float(at % 7)) for at in range(121)]
        given[key("nv_inference_pending_request_count", pod(0))] = pending
        for points in given.values():
            points[:] = [point for point in points if not gap[0] < point[0] < gap[1]]
        series = Series.of(given)
        for tick in range(61):
            record(groups[0]["rules"], series, tick * 30.0)
        queries = [
            *(
                query(TARGET, to_zero=to_zero)
                for query in (scaling.queue_query, scaling.pending_query)
                for to_zero in (False, True)
            ),
            *(one.query(TARGET.namespace, TARGET.deployment) for one in methods),
        ]
        cases.append(
            {
                "name": name,
                "interval": f"{STEP:g}s",
                "input_series": [{"series": text, "values": _written(points)} for text, points in given.items()],
                "promql_expr_test": [
                    {"expr": query, "eval_time": "1800s", "exp_samples": _samples(scalar(query, series, 1800))}
                    for query in queries
                ],
            }
        )
    written = directory / "tests.yaml"
    written.write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "30s", "tests": cases}, sort_keys=False)
    )
    return written


def _written(points: list[tuple[float, float]]) -> str:
    """As promtool reads samples: one a step, `_` where there is none."""
    there = dict(points)
    return " ".join(f"{there[tick * STEP]:.12g}" if tick * STEP in there else "_" for tick in range(121))


def _samples(value: float | None) -> list[dict[str, Any]]:
    return [] if value is None else [{"labels": "{}", "value": value}]


def test_the_rules_are_as_prometheus_reads_them(tmp_path: Path) -> None:
    """Without promtool (Debian: `apt-get install prometheus`) the tests above say what queries answer, and this one
    only that they can be read. Where it has to be there AICLOUD_PROMTOOL is set, and its absence fails."""
    tests = promtool_tests(tmp_path)
    assert len(yaml.safe_load(tests.read_text())["tests"]) == 6
    if PROMTOOL is None:
        assert not os.environ.get("AICLOUD_PROMTOOL"), "promtool is not installed"
        return
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "tests.yaml"]):
        done = subprocess.run([PROMTOOL, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_this_evaluator_refuses_what_it_does_not_know() -> None:
    for query in ("deriv(up{}[5m])", "sum(up{}) by (pod) extra", "up{} unless up{}"):
        with pytest.raises((ValueError, IndexError)):
            evaluate(query, Series.of({"up{}": [(0.0, 1.0), (15.0, 1.0)]}), 15)
    assert math.isnan(evaluate("0 / 0", Series({}), 0)[frozenset()])
