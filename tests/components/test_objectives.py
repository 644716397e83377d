"""Objectives: what their budgets are, when they burn, and that what is recorded is what happened."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.observability.objectives import BURNS, ERRORS, REMAINING, Objective, groups, objectives
from components.observability.rule import ENVOY_BUCKETS_MS, INTERVAL_S, Alert, Scope
from components.observability.rules import rule_groups, serving
from tests.components.test_alerts import promtool

SCOPE = Scope()
EXAMPLE = next(one for one in objectives(SCOPE) if one.name == "inference-availability")
PERIOD_H = 30 * 24


@pytest.mark.parametrize(("burn", "share"), [*zip(BURNS, (0.02, 0.05, 0.1), strict=True)])
def test_burn_rates_are_those_of_the_workbook(burn: Any, share: float) -> None:
    """A rate is what spends that share of 30 days in its long window; the short one is a twelfth of it."""
    hours = {"5m": 1 / 12, "30m": 0.5, "1h": 1, "6h": 6, "3d": 72}
    assert burn.rate == pytest.approx(share * PERIOD_H / hours[burn.long])
    assert hours[burn.long] / hours[burn.short] == pytest.approx(12)


def test_what_cannot_burn_so_fast_is_not_watched_for_it() -> None:
    assert [burn.rate for burn in EXAMPLE.burns] == [14.4, 6, 1]
    loose = replace(EXAMPLE, target=0.9)
    assert [burn.rate for burn in loose.burns] == [6, 1]
    for objective in objectives(SCOPE):
        for alert in objective.alerts():
            (line,) = {float(value) for value in re.findall(r"ratio_rate\w+{[^}]*} > ([\d.e-]+)", alert.expr)}
            assert 0 < line < 1, alert


def test_promises_are_kept_for_all_that_was_asked_for() -> None:
    names = [objective.name for objective in objectives(SCOPE)]
    assert names == [
        *("route-availability", "route-latency", "inference-availability", "inference-queue", "training-goodput"),
        *("pipeline-freshness", "rollout-availability"),
    ]


@pytest.mark.parametrize("target", [0, 1, 1.5, -0.1])
def test_a_target_that_is_no_part_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match=r"inference-availability: target: .* between 0 and 1"):
        replace(EXAMPLE, target=target)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"serving_namespaces": "serving"}, "serving_namespaces: 'serving': expected a list"),
        ({"training_namespaces": ()}, "training_namespaces: .*: expected a list"),
        ({"latency_ms": 800}, "latency_ms: 800: expected a bound of Envoy's buckets: 1, 5, 10"),
        ({"queue_ms": 0}, "queue_ms: 0: expected more than 0"),
        ({"monthly_budget_usd": -5}, "monthly_budget_usd: -5: expected more than 0, or None"),
    ],
)
def test_a_scope_that_makes_no_sense_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Scope(**given)


def test_an_alert_has_somebody_to_tell() -> None:
    args: dict[str, Any] = {"name": "A", "expr": "up", "summary": "s", "description": "d", "dashboard": "fleet"}
    with pytest.raises(ValueError, match="A: severity: 'page': accepted are critical, warning"):
        Alert(**args, severity="page", team="serving")
    with pytest.raises(ValueError, match="A: team: 'nobody': accepted are serving, training"):
        Alert(**args, severity="warning", team="nobody")


def test_what_an_environment_says_is_in_its_rules() -> None:
    scope = Scope(
        runbooks="https://r/", grafana="https://g", serving_namespaces=["a", "b-.+"], queue_ms=40, latency_ms=250
    )
    text = yaml.safe_dump(rule_groups(scope), width=10_000)
    assert 'namespace=~"a|b-.+"' in text
    assert "milliseconds > bool 40" in text
    assert 'le="250"' in text
    assert "runbook_url: https://r/InferenceDown.md" in text
    assert "dashboard_url: https://g/d/aicloud-serving" in text
    assert "CostAboveBudget" not in text
    assert 250 in ENVOY_BUCKETS_MS
    assert rule_groups(scope) == rule_groups(scope)


# ---- as Prometheus reckons


def reckoned(directory: Path, series: dict[str, str], answers: dict[str, tuple[str, float | None]]) -> str:
    """What promtool finds wrong: `answers` are query -> (time, value)."""
    rules = [group.group(SCOPE) for group in [*serving.groups(SCOPE), *groups(SCOPE)]]
    (directory / "rules.yaml").write_text(yaml.safe_dump({"groups": rules}))
    test = {
        "interval": f"{INTERVAL_S}s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                # In millionths, as whole numbers: promtool compares all digits.
                "expr": f"round(max({query}) * 1e6)",
                "eval_time": at,
                "exp_samples": [] if value is None else [{"labels": "{}", "value": round(value * 1e6)}],
            }
            for query, (at, value) in answers.items()
        ],
    }
    path = directory / "tests.yaml"
    path.write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": f"{INTERVAL_S}s", "tests": [test]})
    )
    return promtool("test", "rules", path)


def test_errors_are_the_part_of_requests_that_failed(tmp_path: Path) -> None:
    """One in a hundred, then none: the short windows forget it, the long ones don't."""
    labels = 'namespace="serving",pod="a",model="bert",version="1"'
    series = {
        f"nv_inference_request_success{{{labels}}}": "0+297x240",
        f'nv_inference_request_failure{{{labels},reason="BACKEND"}}': "0+3x120 360x120",
        # Not a failure of ours.
        f'nv_inference_request_failure{{{labels},reason="CANCELED"}}': "0+300x240",
    }
    which = '{objective="inference-availability",model="bert"}'
    assert (
        reckoned(
            tmp_path,
            series,
            {
                f"{ERRORS}5m{which}": ("50m", 0.01),
                f"{ERRORS}1h{which}": ("58m", 0.01),
                f"{ERRORS}30m{which}": ("110m", 0),
                f"{REMAINING}{which}": ("58m", -9),
            },
        )
        == ""
    )


def test_without_requests_nothing_is_bad(tmp_path: Path) -> None:
    labels = 'namespace="serving",pod="a",model="bert",version="1"'
    series = {
        f"nv_inference_request_success{{{labels}}}": "5x60",
        f'nv_inference_request_failure{{{labels},reason="BACKEND"}}': "5x60",
    }
    which = '{objective="inference-availability"}'
    assert reckoned(tmp_path, series, {f"{ERRORS}5m{which}": ("20m", None), f"{ERRORS}1h{which}": ("20m", None)}) == ""


def test_slow_answers_are_counted_by_envoy_s_buckets(tmp_path: Path) -> None:
    of = 'namespace="gateway",pod="p",envoy_cluster_name="httproute/gateway/inference/rule/0"'
    series = {
        f'envoy_cluster_upstream_rq_time_bucket{{{of},le="1000"}}': "0+95x60",
        f'envoy_cluster_upstream_rq_time_bucket{{{of},le="+Inf"}}': "0+100x60",
    }
    which = '{objective="route-latency"}'
    assert reckoned(tmp_path, series, {f"{ERRORS}5m{which}": ("20m", 0.05)}) == ""


def test_an_arm_that_was_rescued_is_not_held_against_a_rollout(tmp_path: Path) -> None:
    def arm(name: str, outcome: str) -> str:
        return f'rollout_requests_total{{rollout="r",arm="{name}",outcome="{outcome}"}}'

    series = {
        arm("baseline", "ok"): "0+970x60",
        arm("candidate", "unreachable"): "0+30x60",
        arm("baseline", "rescued"): "0+20x60",
    }
    which = '{objective="rollout-availability"}'
    assert reckoned(tmp_path, series, {f"{ERRORS}5m{which}": ("20m", 0.01)}) == ""


def test_an_objective_without_bad_series_is_kept(tmp_path: Path) -> None:
    series = {
        'envoy_http_downstream_rq_xx{namespace="gateway",pod="p",envoy_http_conn_manager_prefix="http-10080",'
        'envoy_response_code_class="2"}': "0+100x60",
        # Probes and Prometheus are no users.
        'envoy_http_downstream_rq_xx{namespace="gateway",pod="p",envoy_http_conn_manager_prefix="admin",'
        'envoy_response_code_class="5"}': "0+100x60",
    }
    which = '{objective="route-availability"}'
    assert reckoned(tmp_path, series, {f"{ERRORS}5m{which}": ("20m", 0), f"{REMAINING}{which}": ("20m", 1)}) == ""


def test_objectives_are_told_apart() -> None:
    """Two with the same name would be added up."""
    every: tuple[Objective, ...] = objectives(SCOPE)
    assert len({one.name for one in every}) == len({one.alert for one in every}) == len(every)
