"""`aicloud check`: judge an environment by its rules."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from itertools import groupby
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from planner.commands import source
from planner.finding import SEVERITIES, Finding, Rule
from planner.inventory import Inventory
from planner.plan import Plan
from planner.rules import Exempt, Judgement, Rules

DESCRIPTION = """\
Judges an environment before it costs anything: policies, placement of every
pod, quotas, networks, what is left when a region fails, the order in which it
could be destroyed, contracts between its parts, versions and budget. Findings
come worst first; the exit status is 1 if there is an error.

Levels, parameters and justified exceptions are the environment's own, under
rules:levels, rules:parameters and rules:exceptions in its stack file."""

_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}


def add(commands) -> None:
    """Add the command to `aicloud`."""
    check = commands.add_parser(
        "check",
        help="judge an environment by its rules",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.set_defaults(run=run)
    source.add_stack(check)
    check.add_argument("--format", choices=("terminal", "json", "sarif"), default="terminal", help="default: terminal")
    check.add_argument("--scenarios", action="store_true", help="show what is left after each loss")
    check.add_argument("--rules", action="store_true", help="list the rules and how this environment has set them")


def run(parsed: argparse.Namespace) -> int:
    """Read the plan, judge it and show what was found."""
    from planner.checks import all_rules, check_inventory

    plan = source.read(parsed)
    inventory = Inventory(plan)
    judgement = check_inventory(inventory, date.today())
    if parsed.format == "json":
        sys.stdout.write(json.dumps(as_json(plan, judgement), indent=1, ensure_ascii=False) + "\n")
    elif parsed.format == "sarif":
        from planner import sarif

        sys.stdout.write(sarif.sarif(judgement, all_rules()))
    else:
        console = source.console()
        if parsed.rules:
            console.print(_rules(plan, all_rules()))
        if parsed.scenarios:
            console.print(_losses(inventory))
        show(plan, judgement, all_rules(), console)
    return 1 if judgement.errors or plan.errors else 0


def as_json(plan: Plan, judgement: Judgement) -> dict[str, Any]:
    """The judgement as plain data."""
    return {
        "stack": plan.stack,
        "findings": [asdict(finding) for finding in judgement.findings],
        "excused": [
            asdict(finding) | {"reason": exempt.reason, "until": exempt.until and exempt.until.isoformat()}
            for finding, exempt in judgement.excused
        ],
    }


def show(plan: Plan, judgement: Judgement, rules: Sequence[Rule], console: Console) -> None:
    """Print findings under the rule that they break, worst first, then what is excused and the sum of it."""
    for diagnostic in plan.errors:
        place = f"{diagnostic.place}: " if diagnostic.place else ""
        console.print(Text.assemble(("error  ", _STYLES["error"]), (place, "bold"), diagnostic.message))
    titles = {rule.name: rule.title for rule in rules}
    for (severity, name), group in groupby(judgement.findings, key=lambda f: (f.severity, f.rule)):
        console.print(_rule(severity, name, titles.get(name, ""), list(group)))
    if judgement.excused:
        console.print(_excused(judgement.excused))
    console.print(_summary(plan, judgement, len(rules)))


def _rule(severity: str, name: str, title: str, findings: list[Finding]) -> RenderableType:
    lines: list[RenderableType] = [Text.assemble((f"{severity}  ", _STYLES[severity]), (name, "bold"), f"  {title}")]
    remedies = dict.fromkeys(finding.remediation for finding in findings if finding.remediation)
    for finding in findings:
        where = Text.assemble((finding.name or "the environment", "cyan"))
        if finding.place:
            where.append(f"  {finding.place}", "dim")
        lines.append(Padding(where, (0, 0, 0, 2), expand=False))
        lines.append(Padding(Text(finding.message), (0, 0, 0, 4), expand=False))
    lines += [Padding(Text(f"→ {remedy}", "green"), (0, 0, 0, 2), expand=False) for remedy in remedies]
    url = next((finding.url for finding in findings if finding.url), "")
    if url:
        lines.append(Padding(Text(url, "dim"), (0, 0, 0, 2), expand=False))
    return Padding(Group(*lines), (1, 0, 0, 0), expand=False)


def _rules(plan: Plan, rules: Sequence[Rule]) -> RenderableType:
    asked = Rules.of(plan.config, rules)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("rule", "level", "what holds"):
        table.add_column(heading, no_wrap=heading != "what holds")
    for rule in rules:
        level = asked.levels.get(rule.name, rule.severity)
        set_here = {**rule.parameters, **asked.parameters.get(rule.name, {})}
        parameters = "".join(f"\n{name}: {json.dumps(value, default=str)}" for name, value in set_here.items())
        table.add_row(rule.name, Text(level, _STYLES.get(level, "dim")), Text.assemble(rule.title, (parameters, "dim")))
    return table


_MANY = 30
"""Losses of node pools and rungs are shown only where there are fewer in all; regions, zones and spot always are."""


def _losses(inventory: Inventory) -> RenderableType:
    """What is left at the largest size after each loss."""
    from planner.checks.failure import scenarios

    found = scenarios(inventory)
    if len(found) > _MANY:
        found = tuple(s for s in found if s.loss.kind not in ("pool", "rung"))
    table = Table(title="what is left at the largest size", title_justify="left", title_style="bold", box=None,
                  pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")  # fmt: skip
    table.add_column("without")
    for heading in ("machines", "accelerators", "serving replicas"):
        table.add_column(heading, justify="right")
    table.add_column("front door")
    for scenario in found:
        lost = scenario.loss
        names = [f"{name.name} {name.outcome}" for name in scenario.names if name.dead]
        short = any(one.left < one.needed for one in scenario.serving)
        table.add_row(
            lost.name if lost.kind in ("nothing", "spot") else f"{lost.kind} {lost.name}",
            *("no limit" if count is None else f"{count:,}" for count in (scenario.machines, scenario.accelerators)),
            Text(f"{scenario.replicas:,}", "yellow" if short else ""),
            Text("; ".join(names) or "answers", "yellow" if names else ""),
        )
    return Padding(table, (1, 0, 0, 0), expand=False)


def _excused(excused: Sequence[tuple[Finding, Exempt]]) -> RenderableType:
    lines: list[RenderableType] = [Text("excused", "bold")]
    by_reason: dict[tuple[str, date | None], list[Finding]] = {}
    for finding, exempt in excused:
        by_reason.setdefault((exempt.reason, exempt.until), []).append(finding)
    for (reason, ends), findings in by_reason.items():
        until = f", until {ends}" if ends else ""
        rules = ", ".join(dict.fromkeys(finding.rule for finding in findings))
        names = ", ".join(dict.fromkeys(finding.name for finding in findings))
        lines.append(Padding(Text(f"{names}{until}"), (0, 0, 0, 2), expand=False))
        lines.append(Padding(Text(rules), (0, 0, 0, 4), expand=False))
        lines.append(Padding(Text(reason, "dim"), (0, 0, 0, 4), expand=False))
    return Padding(Group(*lines), (1, 0, 0, 0), expand=False)


def _summary(plan: Plan, judgement: Judgement, rules: int) -> RenderableType:
    broken = {finding.rule for finding in judgement.findings}
    counts = {severity: sum(f.severity == severity for f in judgement.findings) for severity in SEVERITIES}
    counts["error"] += len(plan.errors)
    text = Text.assemble((plan.stack, "bold"), f"  {rules - len(broken)} of {rules} rules hold")
    for severity, count in counts.items():
        if count:
            text.append(f", {count} {severity}{'s' if count > 1 and severity != 'info' else ''}", _STYLES[severity])
    if judgement.excused:
        text.append(f", {len(judgement.excused)} excused", "dim")
    return Padding(text, (1, 0, 0, 0), expand=False)
