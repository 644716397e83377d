"""No rule, no panel and no scaler names a metric or a label that nothing exports."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from components.inference import forecast, scaling
from components.inference.forecast import Forecast
from components.inference.scaling import Target
from components.observability import objectives, vocabulary
from components.observability.dashboards import dashboards
from components.observability.rules import Scope, rule_groups
from tests.components.promql_labels import Exported, Found, analyze
from tests.support import ROOT
from workloads.training.metrics import METRICS as TRAINING

LISTS = ROOT / "tests/fixtures/exported_metrics"
EXTERNAL = frozenset({"environment", "region", "cluster"})
"""What Prometheus adds to whatever leaves a cluster."""
RUN = frozenset({"job", "instance", "namespace", "pod", "container", "endpoint"})
SCOPE = Scope(monthly_budget_usd=50_000)
ROOMS = ("rollout", "monitoring", "pipelines")


def listed(path: Path) -> dict[str, frozenset[str]]:
    """Metrics of an exporter: `metric: label label`, after a line `target: label label` of what Prometheus adds."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    pairs = [(name, frozenset(labels.split())) for name, _, labels in (line.partition(":") for line in lines)]
    assert pairs[0][0] == "target", path
    return {name: labels | pairs[0][1] for name, labels in pairs[1:]}


def exported_by_others() -> dict[str, frozenset[str]]:
    """Everything that is not recorded by our own rules."""
    found: dict[str, frozenset[str]] = {name: RUN | set(metric.labels) for name, metric in TRAINING.items()}
    for path in sorted(LISTS.glob("*.txt")):
        found |= listed(path)
    return found


def recorded(groups: list[dict[str, Any]], known: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """What rules record, on top of what is known; each rule on what others record, whichever comes first."""
    found = dict(known)
    for _ in range(3):
        for rule in (rule for group in groups for rule in group["rules"] if "record" in rule):
            labels = analyze(rule["expr"], Exported(found)).labels or frozenset()
            found[rule["record"]] = found.get(rule["record"], frozenset()) | labels | set(rule.get("labels", {}))
    return found


GROUPS = rule_groups(SCOPE)
OTHERS = exported_by_others()
ALL = recorded(GROUPS, OTHERS)


def rules() -> Iterator[tuple[str, dict[str, Any]]]:
    for group in GROUPS:
        for rule in group["rules"]:
            yield f"{group['name']}: {rule.get('alert') or rule['record']}", rule


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for uid, model in dashboards().items():
        for panel in model["panels"]:
            if panel["type"] != "row":
                yield f"{uid}: {panel['title']}", panel


def asked(query: str) -> str:
    """A panel's query as Grafana sends it: variables in strings stand for values."""
    return query.replace("$__rate_interval", "5m")


def problems(where: str, found: Found) -> list[str]:
    return [f"{where}: {problem}" for problem in found.problems]


# ---- rules


def test_rules_name_what_is_exported() -> None:
    found = [problem for where, rule in rules() for problem in problems(where, analyze(rule["expr"], Exported(ALL)))]
    assert found == []


def test_alerts_tell_of_labels_that_they_have() -> None:
    told = 0
    for where, rule in rules():
        labels = (analyze(rule["expr"], Exported(ALL)).labels or frozenset()) | set(rule.get("labels", {}))
        for text in rule.get("annotations", {}).values():
            for label in re.findall(r"\$labels\.(\w+)", text):
                assert label in labels, f"{where}: {text}"
                told += 1
    assert told > 50


def test_an_objective_s_series_have_the_labels_that_it_says() -> None:
    for objective in objectives.objectives(SCOPE):
        for query in (objective.bad, objective.total):
            assert analyze(query, Exported(ALL)).labels == frozenset(objective.by), objective.name


def test_what_is_recorded_is_used() -> None:
    used = {name for _, rule in rules() for name in analyze(rule["expr"], Exported(ALL)).metrics}
    for _, panel in panels():
        for target in panel["targets"]:
            used |= analyze(asked(target["expr"]), Exported(ALL, EXTERNAL)).metrics
    assert {rule["record"] for _, rule in rules() if "record" in rule} - used == set()


# ---- panels


def test_panels_name_what_is_exported() -> None:
    found = []
    for where, panel in panels():
        for target in panel["targets"]:
            answer = analyze(asked(target["expr"]), Exported(ALL, EXTERNAL))
            found += problems(where, answer)
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                if label not in (answer.labels or ()):
                    found.append(f"{where}: legend: no label {label!r}")
            if panel["type"] == "table":
                (kept,) = (t for t in panel["transformations"] if t["id"] == "filterFieldsByName")
                for label in set(kept["options"]["include"]["names"]) - {"Value"} - (answer.labels or frozenset()):
                    found.append(f"{where}: column: no label {label!r}")
    assert found == []


def test_variables_name_what_is_exported() -> None:
    found = []
    for uid, model in dashboards().items():
        for variable in model["templating"]["list"]:
            if variable["type"] != "query":
                continue
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert match, variable["query"]
            answer = analyze(match[1], Exported(ALL, EXTERNAL))
            found += problems(uid, answer)
            assert match[2] in (answer.labels or ()), (uid, variable["name"])
    assert found == []


def test_annotations_name_what_is_exported() -> None:
    for uid, model in dashboards().items():
        (annotation,) = model["annotations"]["list"]
        assert problems(uid, analyze(annotation["expr"], Exported(ALL, EXTERNAL))) == []


# ---- scalers


def test_scalers_name_what_is_exported() -> None:
    target = Target("chat", "serving", ("bert",), 900)
    methods = [Forecast("bert", 100, method) for method in forecast.METHODS]
    groups = forecast.rule_groups(methods, target.pods, target.namespace, target.deployment, target.start_s)
    known = recorded(groups, OTHERS)
    queries = [rule["expr"] for group in groups for rule in group["rules"]]
    queries += [
        trigger["metadata"]["query"] for trigger in scaling.triggers(target, Scaled) if "query" in trigger["metadata"]
    ]
    queries += [one.query(target.namespace, target.deployment) for one in methods]
    assert len(queries) > 8
    assert [problem for query in queries for problem in problems(query, analyze(query, Exported(known)))] == []


Scaled = scaling.Scaling(least=0, most=2, queue_objective_ms=50, to_zero=True, forecasts=(Forecast("bert", 100),))


# ---- what our own workloads export


@pytest.mark.parametrize("room", ROOMS)
def test_workloads_export_what_was_agreed(room: str) -> None:
    """Their tables hold the names, and where they say them the labels too."""
    if importlib.util.find_spec(f"workloads.{room}") is None:
        pytest.skip(f"workloads.{room} is not there yet")
    table = importlib.import_module(f"workloads.{room}.metrics")
    prefix = {"pipelines": "pipeline"}.get(room, room)
    agreed = {name: labels for name, labels in listed(LISTS / "workloads.txt").items() if name.startswith(f"{prefix}_")}
    assert agreed
    declared = getattr(table, "METRICS", None) or table.HELP
    for name, labels in agreed.items():
        base = name.removesuffix("_bucket")
        assert base in declared, name
        said = getattr(declared[base], "labels", getattr(table, "LABELS", {}).get(base))
        if said is not None:
            assert set(said) == labels - RUN - {"le"}, name


def test_outcomes_of_pipelines_are_those_that_are_asked_for() -> None:
    if importlib.util.find_spec("workloads.pipelines") is None:
        pytest.skip("workloads.pipelines is not there yet")
    assert vocabulary.FAILED in importlib.import_module("workloads.pipelines.metrics").OUTCOMES


def test_states_and_outcomes_are_those_of_rollouts() -> None:
    if importlib.util.find_spec("workloads.rollout") is None:
        pytest.skip("workloads.rollout is not there yet")
    phases = {str(phase) for phase in importlib.import_module("workloads.rollout.state").Phase}
    named = {*vocabulary.MOVING, *vocabulary.ROLLED_BACK, vocabulary.INCONCLUSIVE, vocabulary.STOPPED}
    assert named <= phases
    counts = importlib.import_module("workloads.rollout.counts")
    assert (*vocabulary.FAILURES, vocabulary.RESCUED) == (*counts.FAILURES, counts.RESCUED)


# ---- the contract itself


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("rate(nv_inference_request_succes[5m])", "nothing exports nv_inference_request_succes"),
        ('nv_inference_request_success{modell="a"}', "no label 'modell'"),
        ("sum by (pool) (kube_node_status_condition)", "no label 'pool'"),
        ("sum by (model) (nv_inference_count) / sum by (version) (nv_inference_count)", "never match"),
        ("sum(nv_inference_count) / on (model) sum by (model) (nv_inference_count)", "no label 'model'"),
        ("histogram_quantile(0.9, sum by (rollout) (rollout_request_duration_seconds_bucket))", "no label 'le'"),
        ("a_metric * on (x) group_left (y) (up)", "no label 'x'"),
    ],
)
def test_what_nothing_exports_is_found(query: str, says: str) -> None:
    found = analyze(query, Exported(ALL))
    assert any(says in problem for problem in found.problems), found.problems


def test_a_label_that_is_another_in_storage_is_found() -> None:
    found = analyze('sum by (region) (node_total_hourly_cost{region=~"$region"})', Exported(ALL, EXTERNAL))
    assert found.problems == ["node_total_hourly_cost has a label 'region' of its own, which is not what is asked for"]


@pytest.mark.parametrize("query", ["sum without (a) (up)", "foo(up)", "up{", "up and", "up)", "rate(up[x])"])
def test_what_is_not_understood_is_refused(query: str) -> None:
    with pytest.raises(ValueError, match=r"not understood|expected"):
        analyze(query, Exported(ALL))


def test_each_list_says_of_what_it_is() -> None:
    paths = sorted(LISTS.glob("*.txt"))
    assert len(paths) > 12
    for path in paths:
        assert path.read_text().startswith("# "), path
        assert listed(path), path
