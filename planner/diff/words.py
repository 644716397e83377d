"""How a change is put into words: values, money, capacity, and changes that are alike in several regions."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from planner.cost.model import Amount
from planner.diff.model import Capacity, Change, Comparison, Impact, Loss, Property, Report

MINUS = "\N{MINUS SIGN}"
SIGNS = {"create": "+", "update": "~", "replace": "±", "delete": MINUS, "rename": "=", "read": "="}
VERBS = {
    "create": "created",
    "update": "updated",
    "replace": "replaced",
    "delete": "deleted",
    "rename": "renamed",
    "read": "read",
}
_ZONE = r"(?=[a-f]?(?![a-z0-9]))"


def clean(text: str) -> str:
    """Text in one line, without what could turn a line around or hide in it."""
    if text.isprintable():
        return text
    return "".join(
        "⏎" if c == "\n" else " " if c == "\t" else "\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c
        for c in text
    )


def cut(text: str, width: int) -> str:
    """At most `width` characters; the middle goes, for ends of names tell them apart."""
    if len(text) <= width:
        return text
    tail = width // 3
    return f"{text[: width - tail - 1]}…{text[len(text) - tail :]}"


def value(of: Any, width: int) -> str:
    """A property's value in one line."""
    if of is None:
        return "none"
    text = of if isinstance(of, str) else json.dumps(of, ensure_ascii=False, sort_keys=True, default=str)
    return cut(clean(text), width) if text else '""'


def count(number: int, word: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def money(dollars: float) -> str:
    """`+$1,200`, with a sign always; `±$0` where it stays."""
    rounded = round(dollars)
    if not rounded:
        return "±$0"
    return f"{'+' if rounded > 0 else MINUS}${abs(rounded):,}"


def cost(amount: Amount) -> str:
    """The difference a month as expected, and at the largest where that is another."""
    if round(amount.expected) == round(amount.largest) == round(amount.low):
        return money(amount.expected)
    return f"{money(amount.expected)} (at most {money(amount.largest)})"


def machines(bounds: tuple[int, int | None]) -> str:
    """`2 to 12`; `0 to any number`."""
    least, most = bounds
    if most is None:
        return f"{least} to any number"
    return str(least) if least == most else f"{least} to {most}"


def pools(found: Iterable[Capacity]) -> list[tuple[Capacity, str]]:
    """Pools that change alike, and `serving-l4 in aws:us-east-1, aws:eu-central-1` of each."""
    alike: dict[Any, list[Capacity]] = {}
    for one in found:
        alike.setdefault((one.pool, one.accelerator, one.old, one.new), []).append(one)
    return [(own[0], f"{own[0].pool} in {', '.join(one.region for one in own)}") for own in alike.values()]


def loss(of: Loss) -> str:
    """`2 to 20 serving accelerators of aws:us-east-1, 100% there, 20% of all regions`."""
    unit = "accelerator" if of.accelerators else "machine"
    purpose = f"{of.purpose} " if of.purpose else ""
    plural = "" if (of.least, of.largest) == (1, 1) else "s"
    text = f"{machines((of.least, of.largest))} {purpose}{unit}{plural} of {of.region}"
    if of.share_of_region is not None:
        text += f", {of.share_of_region:.0%} there"
    if of.share_of_all is not None and of.share_of_all != of.share_of_region:
        text += f", {of.share_of_all:.0%} of all regions"
    return text


def impact(of: Impact) -> list[str]:
    """What a change takes down, a phrase each: serving first."""
    order = {"serving": 0, "training": 1}
    losses = sorted(of.capacity, key=lambda one: (order.get(one.purpose, 2), one.region))
    said = [loss(one) for one in losses]
    said += of.traffic[:6]
    if len(of.traffic) > 6:
        said.append(f"and {len(of.traffic) - 6} more")
    said += [f"pods of {workload}" for workload in of.workloads[:3]]
    if len(of.workloads) > 3:
        said.append(f"pods of {len(of.workloads) - 3} more")
    return said


def how(change: Change) -> str:
    """How it is taken down."""
    if change.op == "delete":
        return "deleted"
    if change.op == "replace":
        return "old one goes first" if change.deletes_first else "new one comes first"
    return "exchanged a few at a time" if change.impact is None or change.impact.kind == "rolled" else "drained"


def headline(report: Report) -> tuple[str, str]:
    """The state of it (error, warning or ok) and a sentence: what stops it, what it takes away, what it costs."""
    counts = {op: sum(c.counts[op] for c in report.comparisons) for op in SIGNS}
    failing = [c.environment for c in report.comparisons if c.errors]
    warnings = sum(f.severity == "warning" for c in report.comparisons for f in (*c.blocking, *c.new_findings))
    unsure = sum(c.may_replace for c in report.comparisons)
    parts = [f"{counts[op]:,} {VERBS[op]}" for op in ("delete", "replace") if counts[op]]
    parts += [f"{unsure:,} may be replaced"] if unsure else []
    state = "error" if failing else "warning" if parts or warnings else "ok"
    if failing:
        parts.insert(0, f"{count(report.errors, 'error')} in {', '.join(failing)}")
    elif warnings:
        parts.append(count(warnings, "warning"))
    if not any(c.changes or c.errors for c in report.comparisons):
        parts = [*parts, "nothing changes"]
    elif not counts["delete"] and not counts["replace"]:
        parts.append("nothing is deleted or replaced")
    expected = sum(c.cost.delta.expected for c in report.comparisons if c.cost is not None)
    if round(expected):
        parts.append(f"{money(expected)} a month")
    sentence = ", ".join(parts)
    return state, sentence[0].upper() + sentence[1:]


# ---- changes that are alike


@dataclass(frozen=True)
class Group:
    """Changes that differ in nothing but their region."""

    changes: tuple[Change, ...]

    @property
    def first(self) -> Change:
        """The one that stands for all."""
        return self.changes[0]

    @property
    def regions(self) -> tuple[str, ...]:
        """Where they are."""
        return tuple(dict.fromkeys(change.region for change in self.changes))


def groups(changes: Iterable[Change]) -> list[Group]:
    """Changes, with those together that say the same of several regions, in the order of the first."""
    found: dict[Any, list[Change]] = {}
    for change in changes:
        found.setdefault(_alike(change), []).append(change)
    # What follows from something else stands after it.
    return sorted((Group(tuple(own)) for own in found.values()), key=lambda group: group.first.follows)


def _alike(change: Change) -> Any:
    code = change.region.partition(":")[2]

    def plain(text: str) -> str:
        return re.sub(rf"{re.escape(code)}{_ZONE}", "*", text) if code else text

    return (
        change.op,
        change.type,
        plain(change.name),
        tuple((plain(p.path), plain(value(p.old, 2_000)), plain(value(p.new, 2_000))) for p in change.properties),
        tuple(map(plain, change.reasons + change.notes)),
        change.data,
        change.deletes_first,
    )


def arrow(of: Property, width: int) -> tuple[str, str]:
    """Both values of a property."""
    return value(of.old, width), value(of.new, width)


def gone(comparison: Comparison) -> list[Change]:
    """Deletions and replacements that do not follow from another, and what is drained."""
    drained = [c for c in comparison.of("update") if c.impact is not None and c.impact.kind == "drained"]
    return [*(change for change in comparison.of("delete", "replace") if not change.follows), *drained]


def named(urn: str) -> str:
    """`LaunchTemplate us-east-1-nodes`."""
    parts = urn.split("::", 3)
    return f"{parts[2].rpartition(':')[2]} {parts[3]}" if len(parts) == 4 else urn


def rolled(comparison: Comparison) -> list[Change]:
    """Updates that exchange machines or pods."""
    return [
        c
        for c in comparison.of("update")
        if c.impact is not None and c.impact.kind == "rolled" and (c.impact.capacity or c.impact.workloads)
    ]
