"""What a person sees: it fits a file's 140 columns, says what matters, and is the same as JSON says."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console

from planner.cli import main
from planner.commands.source import WIDTH_OF_A_FILE
from planner.cost import Book, estimate, view
from planner.cost.budgets import limits
from planner.plan import UNKNOWN, Plan, Resource

BOOK = Book.load(refreshed=None)


def shown(plan: Plan, **options) -> str:
    console = Console(file=StringIO(), width=WIDTH_OF_A_FILE, highlight=False)
    found = estimate(plan, BOOK)
    view.show(found, limits(found, plan.config), console, **options)
    return console.file.getvalue()


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_a_report_fits_its_width_and_cuts_nothing_off(environment, simulated_plan):
    text = shown(simulated_plan(environment))
    assert max(map(len, text.splitlines())) <= WIDTH_OF_A_FILE
    assert "…" not in text
    headings = [
        "\nbudget",
        "by region, a month",
        "machines by pool",
        "storage by tier",
        "traffic, a month",
        "is assumed",
    ]
    places = [text.index(heading) for heading in headings]
    assert places == sorted(places)
    assert "List prices of" in text


def test_a_report_names_the_assumption_behind_each_figure_of_traffic(simulated_plan):
    text = shown(simulated_plan("prod"))
    assert "requestsPerSecond 0 · 20 · 200" in text
    assert "natGib" in text


def test_sums_by_another_key_stand_alone(simulated_plan):
    text = shown(simulated_plan("prod"), by="team")
    assert "ml-platform" in text
    assert "machines by pool" not in text


def test_every_line_is_explained_with_its_source_and_date(simulated_plan):
    text = shown(simulated_plan("dev"), explain=True)
    assert "NAT gateway" in text
    assert "as remembered, unverified, 2026-11-22" in text
    assert "karpenter-provider-aws" in text


def test_what_has_no_price_and_what_has_no_limit_is_said():
    urn = "urn:pulumi:t::t::{}::{}"
    plan = Plan.of("t", "t", [
        Resource(urn.format("aws:rds/instance:Instance", "db"), "aws:rds/instance:Instance"),
        Resource(urn.format("aws:ebs/volume:Volume", "v"), "aws:ebs/volume:Volume", inputs={"size": UNKNOWN}),
        Resource(urn.format("pulumi:providers:aws", "p"), "pulumi:providers:aws", inputs={"region": "us-east-1"}),
        Resource(
            urn.format("kubernetes:karpenter.sh/v1:NodePool", "k"), "kubernetes:karpenter.sh/v1:NodePool",
            provider=urn.format("pulumi:providers:aws", "p") + "::1",
            inputs={"spec": {"template": {"spec": {"requirements": [
                {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["g6.xlarge"]}]}}}},
        ),
    ])  # fmt: skip
    text = shown(plan)
    assert "without a price: not in any sum above" in text
    assert "aws:rds/instance:Instance" in text
    assert "nothing limits" in text
    assert "no limit" in text
    assert shown(Plan.of("t", "t", [])).count("nothing here costs anything") == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (4.5, "4.5"),
        (25.0000001, "25"),
        (250, "250"),
        (5120, "5,120"),
        (36000, "36 k"),
        (2.5e6, "2.5 M"),
    ],
)
def test_counts_are_written_as_short_as_they_can_be(value, text):
    assert view.count(value) == text


def test_the_command_gives_json_and_fails_over_budget(simulated_plan, tmp_path, capsys):
    file = tmp_path / "plan.json"
    file.write_text(simulated_plan("dev").to_json())
    assert main(["cost", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["stack"] == "dev"
    assert told["perMonth"]["low"] <= told["perMonth"]["expected"] <= told["perMonth"]["largest"]
    assert sum(line["per_month"]["expected"] for line in told["lines"]) == pytest.approx(told["perMonth"]["expected"])
    assert not any(limit["exceeded"] for limit in told["budget"])
    assert main(["cost", str(file), "--config", 'cost:budget={"largestUsdPerHour": 1}']) == 1
    assert "over budget" in capsys.readouterr().out
    assert main(["cost", str(file), "--config", 'cost:assumptions={"natGib": "lots"}']) == 2
    assert "cost:assumptions.natGib" in capsys.readouterr().err
