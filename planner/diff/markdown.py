"""A comparison as one comment on a pull request: a headline, what breaks, what is replaced, and all else folded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from planner.diff import words
from planner.diff.model import Change, Comparison, Report
from planner.diff.page import LIMIT, Page, code, link, plain, summary
from planner.diff.words import Group
from planner.finding import Finding


def marker(name: str = "diff") -> str:
    """A comment that nobody sees, by which CI finds what it wrote before."""
    return f"<!-- aicloud:{re.sub(r'[^a-z0-9]+', '-', name.lower())} -->"


MARKER = marker()

_ICONS = {"error": "❌", "warning": "⚠️", "ok": "✅", "info": "ℹ️"}  # noqa: RUF001
_OPEN = 6
"""Rows that are told without a fold."""
_PER_RULE = 8
_PROPERTIES = 12
"""Properties shown of one change."""


def markdown(report: Report, *, marker: str = MARKER, limit: int = LIMIT) -> str:
    """The comment, in fewer than `limit` characters whatever the report holds."""
    return _Comment(report, Page(limit)).write(marker)


class _Comment:
    """Writes one comment, the most important part first."""

    def __init__(self, report: Report, page: Page) -> None:
        self.report, self.page = report, page
        self.changed = [c for c in report.comparisons if c.changes or c.errors or c.new_findings or c.fixed_findings]

    def write(self, marker: str) -> str:
        """All of it."""
        report, page = self.report, self.page
        state, sentence = words.headline(report)
        page.add(f"{marker}\n## {_ICONS[state]} {plain(sentence, 200)}")
        page.add(f"{code(report.base, 80)} → {code(report.head, 80)}\n")
        page.block(_SUMMARY, [_row(c) for c in self.changed], "", "environment")
        same = [c.environment for c in report.comparisons if c not in self.changed]
        if same:
            more = f" and {len(same) - 12} more" if len(same) > 12 else ""
            names = ", ".join(code(name, 40) for name in same[:12])
            page.block("", [f"\nNothing changes in {names}{more}.\n"], "", "note")
        page.block("", [f"> {_ICONS['info']} {plain(n)}\n>" for n in _notes(report)], "", "note")
        page.block("\n### What breaks\n", list(self.breaking()), "", "error")
        page.block(f"\n### What it takes down\n\n{_TAKEN}", list(self.taken(words.gone)), "", "replacement or deletion")
        self.rolled()
        page.block(_POOLS, list(self.pools()), "", "pool")
        page.block("\n### Findings\n", list(self.findings()), "", "finding")
        for comparison in self.changed:
            _fold_changes(page, comparison)
        for comparison in self.changed:
            _fold_costs(page, comparison)
        return page.text()

    def who(self, of: Comparison) -> str:
        """Which environment is meant, where there are several."""
        return f"{code(of.environment, 40)} " if len(self.changed) > 1 else ""

    def breaking(self) -> Iterator[str]:
        """Errors of the preview, then what is wrong with the change itself."""
        for of in self.changed:
            for diagnostic in of.diagnostics:
                place = f"{code(diagnostic.place)} " if diagnostic.place else ""
                yield f"- {_ICONS['error']} {self.who(of)}{place}{plain(diagnostic.message, 600)}"
        for severity in ("error", "warning"):
            for of in self.changed:
                yield from self.by_rule(of, [f for f in of.blocking if f.severity == severity])

    def findings(self) -> Iterator[str]:
        """New ones, then those that are fixed."""
        for of in self.changed:
            yield from self.by_rule(of, of.new_findings)
        for of in self.changed:
            fixed: dict[str, list[Finding]] = {}
            for finding in of.fixed_findings:
                fixed.setdefault(finding.rule, []).append(finding)
            for rule, own in fixed.items():
                names = ", ".join(code(name) for name in dict.fromkeys(f.name for f in own[:3] if f.name))
                more = f" and {len(own) - 3} more" if len(own) > 3 else ""
                yield f"- {_ICONS['ok']} {self.who(of)}fixed: {plain(rule)}{': ' if names else ''}{names}{more}"

    def by_rule(self, of: Comparison, findings: Sequence[Finding]) -> Iterator[str]:
        """An item a rule: where it is broken, and what to do."""
        rules: dict[tuple[str, str], list[Finding]] = {}
        for finding in findings:
            rules.setdefault((finding.severity, finding.rule), []).append(finding)
        for (severity, rule), own in rules.items():
            lines = [f"- {_ICONS.get(severity, '')} {self.who(of)}**{link(rule, own[0].url)}**"]
            for finding in own[:_PER_RULE]:
                where = f"{code(finding.name)} " if finding.name else ""
                place = f"({code(finding.place, 100)}) " if finding.place else ""
                lines.append(f"  - {where}{place}{plain(finding.message, 600)}")
            if len(own) > _PER_RULE:
                lines.append(f"  - and {len(own) - _PER_RULE} more")
            remedies = dict.fromkeys(finding.remediation for finding in own if finding.remediation)
            lines += [f"  - → {plain(remedy)}" for remedy in [*remedies][:2]]
            yield "\n".join(lines)

    def rolled(self) -> None:
        """What is exchanged a few at a time; folded where it is much."""
        rows = list(self.taken(words.rolled))
        title = f"Exchanged a few at a time: {len(rows)}"
        if len(rows) > _OPEN:
            opening = f"\n<details><summary>{title}</summary>\n\n{_TAKEN}"
            self.page.block(opening, rows, "\n</details>", "exchange")
        else:
            self.page.block(f"\n### Exchanged a few at a time\n\n{_TAKEN}", rows, "", "exchange")

    def taken(self, which: Callable[[Comparison], list[Change]]) -> Iterator[str]:
        """A row for each of these changes."""
        for of in self.changed:
            for group in words.groups(which(of)):
                change = group.first
                how = f"<br>{plain(words.how(change))}" if change.op == "replace" else ""
                verb = change.op
                if change.op == "update" and change.impact is not None:
                    verb = "rolls" if change.impact.kind == "rolled" else "drains"
                why = "<br>".join(plain(reason, 200) for reason in change.reasons[:3]) or _because(change)
                yield (
                    f"| {self.who(of)}**{verb}**{how} | {plain(change.kind)}<br>{_names(group)} "
                    f"| {why} | {'<br>'.join(_down(group)) or 'nothing that serves'} |"
                )

    def pools(self) -> Iterator[str]:
        """A row for each pool, with those that change alike in one."""
        for of in self.changed:
            for one, where in words.pools(of.capacity):
                gpus = f", {one.accelerators} accelerators each" if one.accelerators > 1 else ""
                yield (
                    f"| {self.who(of)}{code(where, 200)} | {plain(one.accelerator or 'unknown', 80)}{gpus} "
                    f"| {words.machines(one.old)} | **{words.machines(one.new)}** |"
                )


# ---- the top

_SUMMARY = (
    "| environment | create | update | replace | delete | cost a month | findings |\n|---|--:|--:|--:|--:|--:|---|"
)


def _row(of: Comparison) -> str:
    counts = of.counts
    numbers = [f"{words.SIGNS[op]}{counts[op]:,}" if counts[op] else "" for op in ("create", "update", "replace")]
    numbers.append(f"**{words.SIGNS['delete']}{counts['delete']:,}**" if counts["delete"] else "")
    if counts["replace"]:
        numbers[2] = f"**{numbers[2]}**"
    if of.may_replace:
        numbers[1] += f"<br>{of.may_replace} may be replaced"
    money = "unknown" if of.cost is None else words.cost(of.cost.delta)
    return f"| {code(of.environment, 40)} | {' | '.join(numbers)} | {plain(money)} | {_finding_counts(of)} |"


def _finding_counts(of: Comparison) -> str:
    found = [*of.blocking, *of.new_findings]
    said = []
    for severity in ("error", "warning", "info"):
        number = sum(f.severity == severity for f in found) + (len(of.diagnostics) if severity == "error" else 0)
        if number:
            said.append(f"{_ICONS[severity]} {words.count(number, severity) if severity != 'info' else number}")
    if of.fixed_findings:
        said.append(f"{len(of.fixed_findings)} fixed")
    return ", ".join(said) or "no new ones"


def _notes(report: Report) -> list[str]:
    notes = [*report.notes, *(note for c in report.comparisons for note in c.notes)]
    pulumi = [c.environment for c in report.comparisons if c.decided_by == "pulumi"]
    if pulumi:
        notes.append(f"What is created, updated, replaced and deleted in {', '.join(pulumi)} is Pulumi's own word.")
    return notes


# ---- what a reviewer must not miss

_TAKEN = "| | resource | why | takes down |\n|---|---|---|---|"


def _because(change: Change) -> str:
    if change.notes:
        return plain(change.notes[0], 200)
    if change.op == "delete":
        return "not in the program any more"
    because = change.impact.because if change.impact is not None else ()
    paths = list(dict.fromkeys(because or [p.path for p in change.properties]))[:3]
    by = f", from {code(words.named(change.causes[0]), 100)}" if change.causes and change.follows else ""
    return ", ".join(code(path, 100) for path in paths) + by


def _down(group: Group) -> Iterator[str]:
    data = {change.data: change for change in group.changes if change.data}
    for lost in data:
        yield f"**data:** {plain(lost)}"
    for change in group.changes[:6]:
        if change.impact is not None:
            yield from (plain(phrase) for phrase in words.impact(change.impact))
            if change.impact.resources:
                yield f"{words.count(change.impact.resources, 'more resource')} with it"
    if len(group.changes) > 6:
        yield f"and as much in {len(group.changes) - 6} more"


_POOLS = (
    "\n### Node pools\n\n"
    "| pool | machines | before | after |\n|---|---|--:|--:|"
)  # fmt: skip


# ---- everything else, folded


def _fold_changes(page: Page, of: Comparison) -> None:
    folds: dict[tuple[str, ...], list[Group]] = {}
    for group in words.groups(of.changes):
        folds.setdefault(group.regions, []).append(group)
    for regions, own in folds.items():
        where = regions[0] if len(regions) == 1 else f"{len(regions)} regions alike ({', '.join(regions)})"
        changes = sum(len(group.changes) for group in own)
        title = f"{of.environment}, {where or 'anywhere'}: {words.count(changes, 'change')}"
        page.block(
            f"\n<details><summary>{summary(title)}</summary>\n",
            [_change(group) for group in own],
            "\n</details>",
            f"change in {of.environment} {where}",
        )


def _change(group: Group) -> str:
    change = group.first
    kind = f"**{words.SIGNS[change.op]}** {plain(change.kind)} {_names(group)}"
    if change.follows:
        paths = ", ".join(code(p.path, 80) for p in change.properties[:3])
        certainty = "may be replaced" if change.may_replace else words.VERBS[change.op]
        return f"- {kind} {certainty}: {paths} from {code(words.named(change.causes[0]), 100)}"
    lines = [f"- {kind}{' ' + code(change.place, 80) if change.place else ''}"]
    lines += [f"  - {plain(note)}" for note in change.notes[:4]]
    for one in change.properties[:_PROPERTIES]:
        old, new = words.arrow(one, 120)
        forced = {"replace": " **replaces it**", "may": " _may replace it_"}.get(one.forces, "")
        if one.old is None:
            values = f"**+** {code(new)}"
        elif one.new is None:
            values = f"**{words.SIGNS['delete']}** {code(old)}"
        else:
            values = f"{code(old)} → {code(new)}"
        lines.append(f"  - {code(one.path, 120)}: {values}{forced}")
    if len(change.properties) > _PROPERTIES:
        lines.append(f"  - and {len(change.properties) - _PROPERTIES} more properties")
    return "\n".join(lines)


def _names(group: Group) -> str:
    names = [code(change.name, 120) for change in group.changes[:3]]
    more = f" and {len(group.changes) - 3} more" if len(group.changes) > 3 else ""
    return ", ".join(names) + more


def _fold_costs(page: Page, of: Comparison) -> None:
    if of.cost is None:
        return
    rows = [("all", of.cost.delta), *of.cost.regions.items()]
    if not of.cost.regions and not of.cost.unpriced:
        return
    lines = [
        f"| {plain(where)} | {words.money(a.low)} | {words.money(a.expected)} | {words.money(a.largest)} |"
        for where, a in rows
    ]
    if of.cost.unpriced:
        names = ", ".join(code(name, 80) for name in of.cost.unpriced[:8])
        more = f" and {len(of.cost.unpriced) - 8} more" if len(of.cost.unpriced) > 8 else ""
        lines.append(f"\nWithout a price: {names}{more}\n")
    total = of.cost.new
    title = (
        f"{of.environment}, cost a month: {words.cost(of.cost.delta)}, "
        f"afterwards ${total.low:,.0f} to ${total.largest:,.0f}, ${total.expected:,.0f} as expected"
    )
    page.block(
        f"\n<details><summary>{summary(title)}</summary>\n\n"
        "| | fewest machines | expected | most machines |\n|---|--:|--:|--:|",
        lines,
        "\n</details>",
        f"line of the cost of {of.environment}",
    )
