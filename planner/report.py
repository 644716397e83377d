"""A plan as a person reads it in a terminal: what there would be, where, what it exports and what is wrong with it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from planner import urn as urns
from planner.plan import UNKNOWN, Diagnostic, Plan, Resource
from planner.regions import GLOBAL, regions

_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}


def show(plan: Plan, console: Console, *, full: bool = False) -> None:
    """Print a plan: the tree by region and component, counts, outputs and messages. `full` lists every resource."""
    where = regions(plan)
    console.print(_heading(plan, where))
    if any(resource.is_managed for resource in plan):
        console.print(_tree(plan, where, full=full))
        console.print(_counts(plan, where, console.width))
    if plan.outputs:
        console.print(_outputs(plan.outputs))
    for severity in ("info", "warning", "error"):
        messages = [d for d in plan.diagnostics if d.severity == severity]
        if messages:
            console.print(_messages(severity, messages))


def _heading(plan: Plan, where: Mapping[str, str]) -> Text:
    places = sorted({place for place in where.values() if place != GLOBAL})
    managed = sum(1 for resource in plan if resource.is_managed)
    text = Text.assemble(("\n" + plan.stack, "bold"), f"  {managed:,} resources")
    if places:
        text.append(f" in {', '.join(places)}")
    return text


def _kind(resource: Resource) -> str:
    """`aws:ec2/vpc:Vpc` -> `Vpc`; short enough to be read, long enough to be known."""
    return resource.type.rsplit(":", 1)[-1]


def _tree(plan: Plan, where: Mapping[str, str], *, full: bool) -> RenderableType:
    stack = next((resource.urn for resource in plan if resource.type == urns.STACK_TYPE), "")
    tops = [r for r in plan.children.get(stack, ()) if not r.is_provider]
    if stack:
        tops += [r for r in plan.children.get("", ()) if r.urn != stack and not r.is_provider]
    trees = []
    for place in sorted({where[top.urn] for top in tops}, key=lambda p: (p == GLOBAL, p)):
        here = [top for top in tops if where[top.urn] == place]
        tree = Tree(Text.assemble((place, "bold cyan"), f"  {_size(plan, here):,}"))
        _grow(tree, plan, here, full=full)
        trees.append(Padding(tree, (1, 0, 0, 0), expand=False))
    return Group(*trees)


def _size(plan: Plan, tops: Iterable[Resource]) -> int:
    return sum(top.is_managed + sum(resource.is_managed for resource in plan.under(top.urn)) for top in tops)


def _grow(tree: Tree, plan: Plan, resources: Iterable[Resource], *, full: bool) -> None:
    leaves: list[Resource] = []
    for resource in sorted(resources, key=lambda r: r.name):
        children = [child for child in plan.children.get(resource.urn, ()) if not child.is_provider]
        if resource.custom and not children:
            leaves.append(resource)
        else:
            count = f"  {_size(plan, [resource]):,}" if not resource.custom else ""
            branch = tree.add(Text.assemble((resource.name, "bold"), (f"  {_kind(resource)}", "green"), (count, "dim")))
            _grow(branch, plan, children, full=full)
    if full:
        for leaf in leaves:
            tree.add(Text.assemble(leaf.name, (f"  {leaf.type}", "dim"), (_marks(leaf), "magenta")))
    elif leaves:
        kinds = Counter(map(_kind, leaves))
        tree.add(
            Text(", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in sorted(kinds.items())), "dim")
        )


def _marks(resource: Resource) -> str:
    marks = [name for name, is_set in (("protected", resource.protect), ("existing", resource.external)) if is_set]
    return f"  [{', '.join(marks)}]" if marks else ""


_KINDS_SHOWN = 12
_KIND_WIDTH, _PLACE_WIDTH = 40, 16
"""Columns of the terminal that a kind, with the table's sums, and a region need."""


def _counts(plan: Plan, where: Mapping[str, str], width: int) -> RenderableType:
    """Kinds by region. What is rare is added up, so that the table fits: other kinds below, other places beside."""
    managed = [resource for resource in plan if resource.is_managed]
    of_places = Counter(where[r.urn] for r in managed)
    fitting = max(2, (width - _KIND_WIDTH) // _PLACE_WIDTH)
    main = {place for place, _ in of_places.most_common(fitting if fitting < len(of_places) else None)}
    places = sorted(main, key=lambda place: (place == GLOBAL, place))
    kinds = Counter(f"{r.package} {_kind(r)}" for r in managed)
    cells = Counter((f"{r.package} {_kind(r)}", where[r.urn] if where[r.urn] in main else None) for r in managed)
    columns: list[str | None] = [*places, *([None] if len(of_places) > len(main) else [])]

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("\nkind", no_wrap=True)
    for place in columns:
        heading = place or f":{len(of_places) - len(main)} others"
        table.add_column(heading.replace(":", "\n"), justify="right", no_wrap=True)
    table.add_column("\nall", justify="right")
    shown = [kind for kind, _ in kinds.most_common(_KINDS_SHOWN)]
    for kind in shown:
        table.add_row(kind, *(_count(cells[kind, place]) for place in columns), str(kinds[kind]))
    rest = [kind for kind in kinds if kind not in shown]
    if rest:
        others = [sum(cells[kind, place] for kind in rest) for place in columns]
        table.add_row(f"{len(rest)} other kinds", *map(_count, others), str(sum(others)), style="dim")
    totals = [sum(cells[kind, place] for kind in kinds) for place in columns]
    table.add_row("all", *map(str, totals), str(len(managed)), style="bold")
    return Padding(table, (1, 0, 0, 0), expand=False)


def _count(number: int) -> str:
    return str(number) if number else "·"


def _outputs(outputs: Mapping[str, Any]) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in sorted(outputs.items()):
        table.add_row(Text(f"  {name}"), Text(shown_value(value), overflow="fold"))
    return Padding(Group(Text("outputs", "bold"), table), (1, 0, 0, 0), expand=False)


def shown_value(value: Any) -> str:
    """An output's value in one line: what the cloud will decide is `[unknown]`."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text.replace(UNKNOWN, "[unknown]")


def _messages(severity: str, messages: list[Diagnostic]) -> RenderableType:
    lines: list[RenderableType] = [
        Text(f"{len(messages)} {severity}{'s' if len(messages) > 1 and severity != 'info' else ''}", _STYLES[severity])
    ]
    for message in messages:
        place = f"{message.place}: " if message.place else ""
        text = Text.assemble((place, "bold"), shown_value(message.message), overflow="fold")
        lines.append(Padding(text, (0, 0, 0, 2), expand=False))
    return Padding(Group(*lines), (1, 0, 0, 0), expand=False)
