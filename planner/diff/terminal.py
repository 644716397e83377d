"""A comparison in a terminal: each environment, worst first."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from planner.diff import words
from planner.diff.model import Comparison, Report
from planner.finding import Finding

_COLORS = {"create": "green", "update": "yellow", "replace": "magenta", "delete": "red", "rename": "dim", "read": "dim"}
_SEVERITIES = {"error": "bold red", "warning": "yellow", "info": "dim", "ok": "bold green"}
_PROPERTIES = 10
_FORCED = {"replace": "replaces it", "may": "may replace it"}


def show(report: Report, console: Console, *, full: bool = False) -> None:
    """Print a report. `full` shows every property, and each of the changes that are alike."""
    state, sentence = words.headline(report)
    sides = f"  {report.base} → {report.head}"
    console.print(Padding(_text((sentence, _SEVERITIES[state]), (sides, "dim")), (1, 0, 0, 0)))
    console.print(_summary(report))
    for note in (*report.notes, *(n for c in report.comparisons for n in c.notes)):
        console.print(_text(("note: " + note, "yellow")))
    for comparison in report.comparisons:
        if comparison.changes or comparison.errors or comparison.new_findings or comparison.fixed_findings:
            console.print(_environment(comparison, full=full))


def _text(*parts: str | tuple[str, str]) -> Text:
    """Text of parts, each with or without a style, and nothing in it that a terminal would obey."""
    pairs = [(part, "") if isinstance(part, str) else part for part in parts]
    return Text.assemble(*((words.clean(text), style) for text, style in pairs))


def _line(text: RenderableType, indent: int = 2, above: int = 0) -> RenderableType:
    return Padding(text, (above, 0, 0, indent))


def _table(*headings: str, right: Sequence[str] = (), header: bool = True) -> Table:
    table = Table(box=None, show_header=header, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    return table


def _summary(report: Report) -> RenderableType:
    ops = ("create", "update", "replace", "delete")
    table = _table("", *ops, "cost a month", "findings", right=(*ops, "cost a month"))
    for of in report.comparisons:
        cells = [
            _text((f"{words.SIGNS[op]}{of.counts[op]:,}", _COLORS[op]) if of.counts[op] else ("·", "dim")) for op in ops
        ]
        cost = "unknown" if of.cost is None else words.cost(of.cost.delta)
        table.add_row(_text((of.environment, "bold")), *cells, _text(cost), _counts(of))
    return _line(table, 0, above=1)


def _counts(of: Comparison) -> Text:
    said = []
    for severity in ("error", "warning", "info"):
        number = sum(f.severity == severity for f in (*of.blocking, *of.new_findings))
        number += len(of.diagnostics) if severity == "error" else 0
        if number:
            text = f"{number} info" if severity == "info" else words.count(number, severity)
            said.append((f"{text}  ", _SEVERITIES[severity]))
    if of.may_replace:
        said.append((f"{of.may_replace} may be replaced  ", "magenta"))
    if of.fixed_findings:
        said.append((f"{len(of.fixed_findings)} fixed", "green"))
    return _text(*said)


def _environment(of: Comparison, *, full: bool) -> RenderableType:
    parts: list[RenderableType] = [_line(_text((of.environment, "bold cyan")), 0, above=1)]
    for diagnostic in of.diagnostics:
        place = f"{diagnostic.place}: " if diagnostic.place else ""
        parts.append(_line(_text(("error  ", _SEVERITIES["error"]), (place, "bold"), diagnostic.message)))
    parts += [_finding(finding) for finding in (*of.blocking, *of.new_findings)]
    parts += [_line(_text(("fixed  ", "green"), f"{f.rule}  ", (f.name, "cyan"))) for f in of.fixed_findings]
    if of.capacity:
        parts.append(_pools(of))
    groups = [words.Group((change,)) for change in of.changes] if full else words.groups(of.changes)
    parts += [_change(group, full=full) for group in groups]
    if of.cost is not None and of.cost.regions:
        parts.append(_costs(of))
    return Group(*parts)


def _finding(finding: Finding) -> RenderableType:
    head = [(f"{finding.severity}  ", _SEVERITIES.get(finding.severity, "")), (f"{finding.name}  ", "cyan")]
    lines = [_line(_text(*head, (finding.place, "dim"))), _line(_text(finding.message), 4)]
    if finding.remediation:
        lines.append(_line(_text((f"→ {finding.remediation}", "green")), 4))
    return Group(*lines)


def _pools(of: Comparison) -> RenderableType:
    table = _table("node pool", "machine", "before", "after", right=("before", "after"))
    for one, where in words.pools(of.capacity):
        after = (words.machines(one.new), "bold")
        table.add_row(_text(where), _text(one.accelerator), _text(words.machines(one.old)), _text(after))
    return _line(table, above=1)


def _change(group: words.Group, *, full: bool) -> RenderableType:
    change = group.first
    color = _COLORS[change.op]
    head = [
        (f"{words.SIGNS[change.op]} {words.VERBS[change.op]}  ", color),
        (f"{change.kind}  ", "bold"),
        (change.name, ""),
        (f"  {_where(group)}", "cyan"),
        (f"  {change.place}" if change.place else "", "dim"),
    ]
    if change.follows and not full:
        paths = ", ".join(p.path for p in change.properties[:3])
        certainty = "  may be replaced:" if change.may_replace else ""
        cause = f"{certainty}  follows from {words.named(change.causes[0])} ({paths})"
        return _line(_text(*head, (cause, "dim")))
    lines: list[RenderableType] = [_line(_text(*head), above=1)]
    lines += [_line(_text((reason, color)), 4) for reason in change.reasons]
    lines += [_line(_text((note, "dim")), 4) for note in change.notes]
    lines += [_line(text, 4) for text in _taken(group)]
    shown = change.properties if full else change.properties[:_PROPERTIES]
    if shown:
        table = _table("", "", "", header=False)
        for one in shown:
            old, new = words.arrow(one, 400 if full else 60)
            styles = ["dim" if value is None else color for value, color in ((one.old, "red"), (one.new, "green"))]
            arrow = _text((old, styles[0]), " → ", (new, styles[1]))
            table.add_row(_text(one.path), arrow, _text((_FORCED.get(one.forces, ""), "magenta")))
        lines.append(_line(table, 4))
    if len(change.properties) > len(shown):
        lines.append(_line(_text((f"and {len(change.properties) - len(shown)} more properties", "dim")), 4))
    return Group(*lines)


def _where(group: words.Group) -> str:
    if len(group.changes) > 1:
        return f"and {len(group.changes) - 1} alike, in {', '.join(group.regions)}"
    return group.first.region


def _taken(group: words.Group) -> list[Text]:
    texts = []
    for change in group.changes:
        if change.data:
            texts.append(_text((f"loses {change.data}", "bold red")))
        if change.impact is not None:
            how = words.how(change) if change.op == "update" else f"takes down, {words.how(change)}"
            texts += [_text((f"{how}: {phrase}", "magenta")) for phrase in words.impact(change.impact)]
            if change.impact.resources:
                texts.append(_text((f"{words.count(change.impact.resources, 'more resource')} with it", "dim")))
    return texts


def _costs(of: Comparison) -> RenderableType:
    assert of.cost is not None
    figures = ("fewest machines", "expected", "most machines")
    table = _table("cost a month", *figures, right=figures)
    for region, a in [*of.cost.regions.items(), ("all", of.cost.delta)]:
        style = "bold" if region == "all" else ""
        cells = (region, words.money(a.low), words.money(a.expected), words.money(a.largest))
        table.add_row(*(_text((cell, style)) for cell in cells))
    return _line(table, above=1)
