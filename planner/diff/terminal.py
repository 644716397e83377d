"""A comparison in a terminal: each environment, worst first."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from planner.diff import words
from planner.diff.model import Change, Comparison, Report
from planner.finding import Finding

_COLORS = {"create": "green", "update": "yellow", "replace": "magenta", "delete": "red", "rename": "dim", "read": "dim"}
_SEVERITIES = {"error": "bold red", "warning": "yellow", "info": "dim", "ok": "bold green"}
_PROPERTIES = 10


def show(report: Report, console: Console, *, full: bool = False) -> None:
    """Print a report. `full` shows every property, and each of the changes that are alike."""
    state, sentence = words.headline(report)
    console.print(
        Text.assemble(
            ("\n" + words.clean(sentence), _SEVERITIES[state]),
            (f"  {words.clean(report.base)} → {words.clean(report.head)}", "dim"),
        )
    )
    console.print(_summary(report))
    for note in (*report.notes, *(n for c in report.comparisons for n in c.notes)):
        console.print(Text(f"note: {words.clean(note)}", "yellow"))
    for comparison in report.comparisons:
        if comparison.changes or comparison.errors or comparison.new_findings or comparison.fixed_findings:
            console.print(_environment(comparison, full=full))


def _summary(report: Report) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for heading in ("", "create", "update", "replace", "delete", "cost a month", "findings"):
        table.add_column(heading, justify="left" if heading in ("", "findings") else "right", no_wrap=True)
    for of in report.comparisons:
        cells = [
            Text(f"{words.SIGNS[op]}{of.counts[op]:,}", _COLORS[op]) if of.counts[op] else Text("·", "dim")
            for op in ("create", "update", "replace", "delete")
        ]
        cost = "unknown" if of.cost is None else words.cost(of.cost.delta)
        table.add_row(Text(words.clean(of.environment), "bold"), *cells, Text(cost), _counts(of))
    return Padding(table, (1, 0, 0, 0), expand=False)


def _counts(of: Comparison) -> Text:
    text = Text()
    for severity in ("error", "warning", "info"):
        number = sum(f.severity == severity for f in (*of.blocking, *of.new_findings))
        number += len(of.diagnostics) if severity == "error" else 0
        if number:
            text.append(
                f"{words.count(number, severity) if severity != 'info' else f'{number} info'}  ", _SEVERITIES[severity]
            )
    if of.may_replace:
        text.append(f"{of.may_replace} may be replaced  ", "magenta")
    if of.fixed_findings:
        text.append(f"{len(of.fixed_findings)} fixed", "green")
    return text


def _environment(of: Comparison, *, full: bool) -> RenderableType:
    parts: list[RenderableType] = [Text(f"\n{words.clean(of.environment)}", "bold cyan")]
    for diagnostic in of.diagnostics:
        place = f"{diagnostic.place}: " if diagnostic.place else ""
        parts.append(
            _line(Text.assemble(("error  ", _SEVERITIES["error"]), (place, "bold"), words.clean(diagnostic.message)))
        )
    parts += [_finding(finding) for finding in (*of.blocking, *of.new_findings)]
    for finding in of.fixed_findings:
        parts.append(
            _line(Text.assemble(("fixed  ", "green"), f"{finding.rule}  ", (words.clean(finding.name), "cyan")))
        )
    if of.capacity:
        parts.append(_pools(of))
    groups = words.groups(of.changes)
    if full:
        groups = [words.Group((change,)) for change in of.changes]
    parts += [_change(group, full=full) for group in groups]
    if of.cost is not None and of.cost.regions:
        parts.append(_costs(of))
    return Group(*parts)


def _line(text: RenderableType, indent: int = 2) -> RenderableType:
    return Padding(text, (0, 0, 0, indent))


def _finding(finding: Finding) -> RenderableType:
    head = Text.assemble(
        (f"{finding.severity}  ", _SEVERITIES.get(finding.severity, "")), (words.clean(finding.name), "cyan")
    )
    if finding.place:
        head.append(f"  {finding.place}", "dim")
    lines = [_line(head), _line(Text(words.clean(finding.message)), 4)]
    if finding.remediation:
        lines.append(_line(Text(f"→ {finding.remediation}", "green"), 4))
    return Group(*lines)


def _pools(of: Comparison) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for heading in ("node pool", "machine", "before", "after"):
        table.add_column(heading, justify="right" if heading in ("before", "after") else "left")
    for one, where in words.pools(of.capacity):
        after = Text(words.machines(one.new), "bold")
        table.add_row(words.clean(where), one.accelerator, words.machines(one.old), after)
    return Padding(table, (1, 0, 0, 2), expand=False)


def _change(group: words.Group, *, full: bool) -> RenderableType:
    change = group.first
    color = _COLORS[change.op]
    head = Text.assemble(
        (f"{words.SIGNS[change.op]} {words.VERBS[change.op]}  ", color),
        (f"{change.kind}  ", "bold"),
        words.clean(change.name),
    )
    if len(group.changes) > 1:
        head.append(f"  and {len(group.changes) - 1} alike, in {', '.join(group.regions)}", "cyan")
    elif change.region:
        head.append(f"  {change.region}", "cyan")
    if change.place:
        head.append(f"  {change.place}", "dim")
    if change.follows and not full:
        paths = ", ".join(p.path for p in change.properties[:3])
        certainty = "  may be replaced:" if change.may_replace else ""
        head.append(f"{certainty}  follows from {words.named(change.causes[0])} ({words.clean(paths)})", "dim")
        return _line(head)
    lines: list[RenderableType] = [Padding(head, (1, 0, 0, 2), expand=False)]
    lines += [_line(Text(words.clean(reason), color), 4) for reason in change.reasons]
    lines += [_line(Text(words.clean(note), "dim"), 4) for note in change.notes]
    lines += [_line(text, 4) for text in _taken(group)]
    shown = change.properties if full else change.properties[:_PROPERTIES]
    if shown:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for one in shown:
            old, new = words.arrow(one, 400 if full else 60)
            forced = {"replace": Text("replaces it", "magenta"), "may": Text("may replace it", "magenta")}
            arrow = Text.assemble(
                (old, "red" if one.old is not None else "dim"), " → ", (new, "green" if one.new is not None else "dim")
            )
            table.add_row(Text(words.clean(one.path)), arrow, forced.get(one.forces, Text()))
        lines.append(_line(table, 4))
    if len(change.properties) > len(shown):
        lines.append(_line(Text(f"and {len(change.properties) - len(shown)} more properties", "dim"), 4))
    return Group(*lines)


def _taken(group: words.Group) -> list[Text]:
    texts = []
    for change in group.changes:
        if change.data:
            texts.append(Text(f"loses {change.data}", "bold red"))
        texts += [
            Text(f"{_verb(change)} {phrase}", "magenta")
            for phrase in (words.impact(change.impact) if change.impact else ())
        ]
        if change.impact is not None and change.impact.resources:
            texts.append(Text(f"{words.count(change.impact.resources, 'more resource')} with it", "dim"))
    return texts


def _verb(change: Change) -> str:
    return f"takes down, {words.how(change)}:" if change.op != "update" else f"{words.how(change)}:"


def _costs(of: Comparison) -> RenderableType:
    assert of.cost is not None
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for heading in ("cost a month", "fewest machines", "expected", "most machines"):
        table.add_column(heading, justify="left" if heading.startswith("cost") else "right")
    for region, a in [*of.cost.regions.items(), ("all", of.cost.delta)]:
        style = "bold" if region == "all" else ""
        table.add_row(region, words.money(a.low), words.money(a.expected), words.money(a.largest), style=style)
    return Padding(table, (1, 0, 0, 2), expand=False)
