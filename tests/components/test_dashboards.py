"""Dashboards can be read: nothing overlaps, everything says what it is, and nothing is tied to one Grafana."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest

from components.observability.dashboards import dashboards
from components.observability.dashboards.panels import COLUMNS, NAMES, Panel, Query, dashboard, lines, number
from components.observability.rules import TEAMS, Scope, rule_groups
from tests.components.promql_labels import Exported, analyze

RUNBOOKS = "https://git.example.com/docs/runbooks"
MADE = dashboards(RUNBOOKS)
PLAIN = {"short", "none"}
"""Units of numbers that count something, or have none; that must be said too."""


@pytest.fixture(params=sorted(MADE))
def model(request: pytest.FixtureRequest) -> dict[str, Any]:
    return MADE[request.param]


def panels(model: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in model["panels"] if panel["type"] != "row"]


def test_there_is_one_for_each_name() -> None:
    assert set(MADE) == {f"aicloud-{name}" for name in NAMES}
    assert [model["uid"] for model in MADE.values()] == list(MADE)


def test_the_same_is_made_each_time_and_fits_a_config_map() -> None:
    assert dashboards(RUNBOOKS) == MADE
    for uid, model in MADE.items():
        assert len(json.dumps(model).encode()) < 2**20 / 4, uid


def test_panels_have_ids_and_places_of_their_own(model: dict[str, Any]) -> None:
    every = model["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    for one, other in itertools.combinations(every, 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"] or a["y"] + a["h"] <= b["y"]
        assert apart or b["y"] + b["h"] <= a["y"], (one["title"], other["title"])
    for panel in every:
        place = panel["gridPos"]
        assert place["x"] >= 0, panel["title"]
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]


def test_lines_are_filled(model: dict[str, Any]) -> None:
    """But for the last of a row of panels: a hole looks like something that doesn't load."""
    widths: dict[int, int] = {}
    for panel in model["panels"]:
        widths[panel["gridPos"]["y"]] = widths.get(panel["gridPos"]["y"], 0) + panel["gridPos"]["w"]
    assert all(width >= COLUMNS / 2 for width in widths.values())
    assert sum(width == COLUMNS for width in widths.values()) >= len(widths) - 1


def test_each_panel_says_what_it_is(model: dict[str, Any]) -> None:
    for panel in panels(model):
        title = panel["title"]
        assert len(panel["description"]) > 10, title
        assert panel["fieldConfig"]["defaults"]["unit"], title
        assert panel["fieldConfig"]["defaults"]["noValue"], title
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None, title
        assert panel["targets"], title
        for target in panel["targets"]:
            assert target["expr"], title
        if panel["type"] in ("timeseries", "bargauge", "state-timeline"):
            assert all(target["legendFormat"] for target in panel["targets"]), title
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert len({panel["title"] for panel in panels(model)}) == len(panels(model))


def test_nothing_names_a_data_source(model: dict[str, Any]) -> None:
    sources = [panel["datasource"] for panel in panels(model)]
    sources += [one["datasource"] for one in model["templating"]["list"] if one["type"] == "query"]
    assert {json.dumps(source) for source in sources} == {'{"type": "prometheus", "uid": "${datasource}"}'}
    assert "localhost" not in json.dumps(model)


def test_every_query_asks_for_the_chosen_clusters(model: dict[str, Any]) -> None:
    for panel in panels(model):
        for target in panel["targets"]:
            for selector in re.findall(r"{([^{}]*)}", target["expr"]):
                assert 'cluster=~"$cluster"' in selector, (panel["title"], selector)
            for name in analyze(target["expr"].replace("$__rate_interval", "5m"), Exported({})).metrics:
                after = re.findall(rf"(?<![\w:]){name}(?![\w:])(.?)", target["expr"])
                assert set(after) == {"{"}, (panel["title"], name)


def test_variables_are_those_that_queries_use(model: dict[str, Any]) -> None:
    names = {one["name"] for one in model["templating"]["list"]}
    text = json.dumps([panel["targets"] for panel in panels(model)])
    text += json.dumps([one.get("query", "") for one in model["templating"]["list"]])
    used = set(re.findall(r"\$(\w+)", text)) - {"__rate_interval"} | {"datasource"}
    assert used == names


def test_links_lead_to_the_other_dashboards(model: dict[str, Any]) -> None:
    others = {f"/d/{uid}" for uid in MADE} - {f"/d/{model['uid']}"}
    assert {link["url"] for link in model["links"]} == others


def test_alerts_that_are_named_are_there_and_shown() -> None:
    """A panel that says which alert goes with it says it rightly; and each team has a table of what fires."""
    known = {
        rule["alert"]
        for group in rule_groups(Scope(monthly_budget_usd=1))
        for rule in group["rules"]
        if "alert" in rule
    }
    named: set[str] = set()
    teams: set[str] = set()
    for model in MADE.values():
        for panel in panels(model):
            for text in re.findall(r"Alerts?: ([^.;]+)", panel["description"]):
                named |= set(re.findall(r"[A-Z]\w+[A-Z]\w+", text))
            if panel["title"] == "Alerts":
                teams |= set(re.findall(r'team="(\w+)"', panel["targets"][0]["expr"]))
                (link,) = panel["fieldConfig"]["defaults"]["links"]
                assert link["url"] == f"{RUNBOOKS}/${{__data.fields.alertname}}.md"
    assert named <= known, named - known
    assert len(named) > 30
    assert teams == set(TEAMS)


# ---- what a layout that is wrong says


def one(**how: Any) -> Panel:
    return lines("Requests", "A second.", "reqps", Query("up", "{{job}}"), **how)


def test_panels_share_a_line() -> None:
    model = dashboard(
        "fleet", "All.", {}, {"Row": [[one(), one(), one(width=5), one()], [number("N", "x", "short", "up")]]}
    )
    places = [panel["gridPos"] for panel in model["panels"]]
    assert [(place["x"], place["w"]) for place in places[1:5]] == [(0, 7), (7, 6), (13, 5), (18, 6)]
    assert places[5]["y"] == places[1]["y"] + places[1]["h"]


def test_a_line_that_is_too_wide_is_refused() -> None:
    with pytest.raises(ValueError, match=r"30 columns wide.*24"):
        dashboard("fleet", "All.", {}, {"Row": [[one(width=15), one(width=15)]]})
