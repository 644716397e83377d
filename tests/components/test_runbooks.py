"""Each alert has a page, each page an alert; what pages link to is there, and their commands are understood."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from components.observability.dashboards.panels import NAMES
from components.observability.rules import Scope, rule_groups
from planner import cli
from tests.support import ROOT

BOOKS = ROOT / "docs/runbooks"
PARTS = ("**What users feel.**", "**How to look.**", "**What to do.**", "**How to prevent it.**")
PARSERS = {"workloads.training.checkpoint": "workloads.training.checkpoints.exporting"}
"""Where that is not in the module's `cli`."""
GROUPS = rule_groups(Scope(runbooks="https://git.example.com/docs/runbooks/", monthly_budget_usd=1_000))


def alerts() -> dict[str, list[dict[str, Any]]]:
    """Alert -> its rules: of objectives there are several."""
    found: dict[str, list[dict[str, Any]]] = {}
    for rule in (rule for group in GROUPS for rule in group["rules"] if "alert" in rule):
        found.setdefault(rule["alert"], []).append(rule)
    return found


def pages() -> list[Path]:
    return sorted(path for path in BOOKS.glob("*.md") if path.name != "README.md")


def commands() -> list[tuple[str, str]]:
    """Page -> each command of this project on it, in a block or in a line."""
    found = []
    for path in [*pages(), BOOKS / "README.md"]:
        text = path.read_text()
        given = re.findall(r"^    (.+)$", text, re.MULTILINE) + re.findall(r"`([^`]+)`", " ".join(text.split()))
        for line in given:
            match = re.search(r"(?:python -m workloads\.|aicloud ).*", line)
            if match and not line.startswith("python -m workloads..."):
                found.append((path.stem, match[0].partition("  # ")[0].partition(" | ")[0].strip()))
    return found


def test_each_alert_has_its_page_and_each_page_its_alert() -> None:
    assert [path.stem for path in pages()] == sorted(alerts())


def test_an_alert_links_to_its_page_and_to_a_dashboard() -> None:
    for name, rules in alerts().items():
        for rule in rules:
            assert rule["annotations"]["runbook_url"] == f"https://git.example.com/docs/runbooks/{name}.md"
            assert rule["annotations"]["dashboard_url"].removeprefix("/d/aicloud-") in NAMES


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.stem)
def test_a_page_says_all_that_it_should(path: Path) -> None:
    text, rules = path.read_text(), alerts()[path.stem]
    severities = " or ".join(dict.fromkeys(rule["labels"]["severity"] for rule in rules))
    assert text.startswith(f"# {path.stem}\n\nSeverity: {severities}. Team: {rules[0]['labels']['team']}. Dashboard: [")
    name = rules[0]["annotations"]["dashboard_url"].partition("aicloud-")[2]
    assert f"[{NAMES[name]}](../../components/observability/dashboards/{name}.py), `/d/aicloud-{name}`." in text
    assert [part for part in PARTS if text.count(part) != 1] == []
    assert re.search(r"\*\*How to look\.\*\*\n\n    \S", text), "no command"
    assert re.search(r"\*\*What to do\.\*\*\n\n- \S", text), "no step"
    assert len(text.splitlines()) < 60


def test_links_lead_somewhere() -> None:
    for path in [*pages(), BOOKS / "README.md"]:
        for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_index_lists_each_page_with_its_severity_and_team() -> None:
    text = (BOOKS / "README.md").read_text()
    for name, rules in alerts().items():
        severities = " or ".join(dict.fromkeys(rule["labels"]["severity"] for rule in rules))
        line = f"| [{name}]({name}.md) | {severities} | {rules[0]['labels']['team']} | "
        assert text.count(line) == 1, line
    assert len(re.findall(r"^\| \[", text, re.MULTILINE)) == len(alerts())


def test_commands_are_understood(capsys: pytest.CaptureFixture[str]) -> None:
    """By the parsers of the workloads that are there."""
    checked, refused = 0, []
    for page, line in commands():
        words = shlex.split(line)
        if words[0] == "aicloud":
            parser, words = cli.parser(), words[1:]
        else:
            module, words = words[2], words[3:]
            if importlib.util.find_spec(module) is None:
                continue
            parser = importlib.import_module(PARSERS.get(module, f"{module}.cli")).parser()
        if not words:
            continue  # only named
        checked += 1
        try:
            parser.parse_args(words)
        except SystemExit:
            refused.append(f"{page}: {line}: {capsys.readouterr().err.strip().splitlines()[-1]}")
    assert refused == []
    assert checked > 5
