"""What an environment costs, as a person reads it in a terminal: totals first, then where they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from math import ceil
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from planner.cost.assumptions import Assumptions
from planner.cost.budgets import Limit
from planner.cost.model import HOURS_PER_MONTH, Amount, Estimate, Line, total

_BAR = 30
_LEVELS = (("low", "green"), ("expected", "cyan"), ("largest", "magenta"))
_MONEY = ("low", "expected", "largest")
_ROWS = 8
"""Services that a table tells apart."""
_TIERS = ("hot", "warm", "cold", "disk")
_TIER_NAMES = {"hot": "hot tier", "warm": "warm tier", "cold": "cold tier", "disk": "disks of machines"}


def show(estimate: Estimate, budget: Sequence[Limit], console: Console, *, by: str = "", explain: bool = False) -> None:
    """Print an estimate: totals and budget, by region or another key, pools, storage, traffic, what has no price."""
    console.print(_totals(estimate))
    if budget:
        console.print(_budget(budget))
    console.print(_section(f"by {by or 'region'}, a month", _by(estimate, by or "region")))
    if explain:
        console.print(_section("every line", _explained(estimate.lines)))
    elif not by:
        for title, table in (
            ("machines by pool and rung, a month", _pools(estimate.of(kind="compute"))),
            ("storage by tier, a month", _storage(estimate.of(kind="storage"))),
            ("networks and front door, a month, used or not", _services(estimate.of(kind="network"), assumed=False)),
            ("traffic, a month, by assumption", _services(estimate.of(kind="traffic"))),
            ("control planes, keys, logs, a month", _services(estimate.of(kind="service"))),
        ):
            if table is not None:
                console.print(_section(title, table))
    if estimate.lines and not by:
        console.print(_section("what is assumed", _assumptions(estimate)))
    console.print(_gaps(estimate))


def _section(title: str, content: RenderableType) -> RenderableType:
    return Padding(Group(Text(title, "bold"), Padding(content, (0, 0, 0, 2))), (1, 0, 0, 0), expand=False)


def usd(amount: float, digits: int | None = None) -> str:
    """`$1,234`, or with cents where it is little."""
    if digits is None:
        digits = 0 if abs(amount) >= 100 else 2
    return f"${amount:,.{digits}f}" if amount >= 0 else f"-${-amount:,.{digits}f}"


def count(value: float) -> str:
    """`12`, `0.4` or `1.2 M`: as many digits as one can use."""
    if value == 0:
        return "0"
    for limit, unit in ((1e6, " M"), (1e4, " k")):
        if abs(value) >= limit:
            return f"{value / (1e6 if unit == ' M' else 1e3):,.3g}{unit}"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.1f}".removesuffix(".0")


def levels(amount: Amount, write: Callable[[float], str] = count) -> str:
    """`2 · 3.5 · 12`, or one number where all are the same."""
    found = [write(amount.low), write(amount.expected), write(amount.largest)]
    return found[0] if len(set(found)) == 1 else " · ".join(found)


def _table(*headings: str, left: int = 1) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < left else "right", no_wrap=True)
    return table


def _totals(estimate: Estimate) -> RenderableType:
    month, hour = estimate.per_month, estimate.per_hour
    words = {
        "low": "no traffic and no job: what is paid in any case",
        "expected": "at the assumptions below",
        "largest": "every rung at its most machines, spot machines at the on-demand price",
    }
    table = _table("", "an hour", "a month", "")
    table.columns[3].justify = "left"
    more = "+" if estimate.unbounded else ""
    for level, style in _LEVELS:
        sign = more if level == "largest" else ""
        table.add_row(
            Text(level, f"bold {style}"),
            Text(usd(getattr(hour, level), 2) + sign, "bold"),
            Text(usd(getattr(month, level), 0) + sign, "bold"),
            Text(words[level], "dim"),
        )
    heading = Text.assemble(("\n" + estimate.stack, "bold"), f"  {len(estimate.lines):,} lines of cost")
    heading.append(f", {estimate.free:,} resources are free, {len(estimate.unpriced):,} without a price")
    return Group(heading, Padding(table, (1, 0, 0, 2), expand=False))


def _budget(budget: Sequence[Limit]) -> RenderableType:
    table = _table("", "", "", "", left=4)
    table.show_header = False
    for limit in budget:
        part = limit.estimated / limit.usd if limit.usd else float("inf")
        style = "bold red" if limit.exceeded else "green"
        filled = min(_BAR, round(part * _BAR)) if part != float("inf") else _BAR
        digits = 2 if limit.period == "hour" else 0
        per = "an hour" if limit.period == "hour" else "a month"
        table.add_row(
            f"{limit.level}, {per}",
            Text.assemble(("━" * filled, style), ("━" * (_BAR - filled), "dim")),
            Text(f"{usd(limit.estimated, digits)} of {usd(limit.usd, digits)}"),
            Text("over budget" if limit.exceeded else f"{part:.0%}", style),
        )
    return _section("budget", table)


def _bar(amount: Amount, most: float) -> Text:
    ends = [ceil(value / most * _BAR) if most else 0 for value in (amount.low, amount.expected, amount.largest)]
    bar, start = Text(), 0
    for end, (_, style) in zip(ends, _LEVELS, strict=True):
        bar.append("━" * max(0, end - start), style)
        start = max(start, end)
    return bar


def _by(estimate: Estimate, key: str) -> Table:
    sums = estimate.by(key)
    most = max((amount.largest for amount in sums.values()), default=0)
    table = _table(key, "low", "expected", "largest", "largest, an hour", "")
    table.columns[5].justify = "left"
    for name, amount in sums.items():
        hour = usd(amount.largest / HOURS_PER_MONTH, 2)
        table.add_row(Text(name or "(none)", "cyan" if name else "dim"), *_money(amount), hour, _bar(amount, most))
    return table


def _money(amount: Amount) -> tuple[str, str, str]:
    return usd(amount.low), usd(amount.expected), usd(amount.largest)


def _pools(lines: Sequence[Line]) -> Table | None:
    if not lines:
        return None
    table = _table("", "machine", "machines", "$ an hour", *_MONEY, left=2)
    for region in sorted({line.region for line in lines}):
        here = [line for line in lines if line.region == region]
        table.add_row(Text(region, "bold cyan"), "", "", "", *(Text(m, "bold") for m in _money(_sum(here))))
        for pool in dict.fromkeys(line.pool for line in sorted(here, key=lambda line: -line.per_month.largest)):
            rungs = [line for line in here if line.pool == pool]
            if len(rungs) > 1 or not pool:
                machines = total(line.machines for line in rungs if line.machines)
                table.add_row(f"  {pool or 'outside pools'}", "", levels(machines), "", *_money(_sum(rungs)))
            for line in rungs:
                alone = len(rungs) == 1 and pool
                name = f"  {pool}, {line.capacity}" if alone else f"    {line.capacity if pool else line.name}"
                table.add_row(name, *_rung(line), style="" if alone else "dim")
    return table


def _rung(line: Line) -> list[str]:
    machines = levels(line.machines) if line.machines else ""
    price = usd(line.price, 2)
    if line.largest_price != line.price:
        price += f" to {usd(line.largest_price, 2)}"
    money = list(_money(line.per_month))
    if line.unbounded:
        machines, money[2] = f"{machines} · no limit", f"{money[2]}+"
    return [line.what, machines, price, *money]


def _sum(lines: Iterable[Line]) -> Amount:
    return total(line.per_month for line in lines)


def _grouped(lines: Iterable[Line], key: Callable[[Line], Any]) -> list[tuple[Any, list[Line]]]:
    found: dict[Any, list[Line]] = {}
    for line in lines:
        found.setdefault(key(line), []).append(line)
    return sorted(found.items(), key=lambda group: -_sum(group[1]).expected)


def _storage(lines: Sequence[Line]) -> Table | None:
    if not lines:
        return None
    table = _table("", "where", "amount", "$ a unit", *_MONEY, left=2)
    for tier in _TIERS:
        here = [line for line in lines if line.tier == tier]
        if here:
            money = (Text(m, "bold") for m in _money(_sum(here)))
            table.add_row(Text(_TIER_NAMES[tier], "bold cyan"), "", "", "", *money)
            _rows(table, here, _what, style="dim", indent="  ")
    return table


def _rows(
    table: Table,
    lines: Sequence[Line],
    what: Callable[[Line], str],
    *,
    style: str = "",
    indent: str = "",
    more: int = 0,
) -> None:
    """A row for all lines of a service, dearest first; what is little is added up in the last."""
    groups = _grouped(lines, lambda line: (line.service, line.unit))
    shown = groups if len(groups) <= _ROWS + 1 else groups[:_ROWS]
    for (_, unit), group in shown:
        whats = list(dict.fromkeys(map(what, group)))
        name = _common(whats)
        amount = f"{levels(total(line.quantity for line in group))} {unit}"
        last = [Text(group[0].assumption, "dim")] if more else []
        table.add_row(indent + name, _places(group), amount, _prices(group), *_money(_sum(group)), *last, style=style)
    rest = [line for _, group in groups[len(shown) :] for line in group]
    if rest:
        name = f"{indent}{len(groups) - len(shown)} smaller ones"
        table.add_row(name, _places(rest), "", "", *_money(_sum(rest)), *[""] * more, style="dim")


def _common(whats: Sequence[str]) -> str:
    """`copies to another region` for copies to several: the words that all begin with, else the first."""
    words = takewhile(lambda found: len(set(found)) == 1, zip(*(what.split() for what in whats), strict=False))
    return " ".join(found[0] for found in words).rstrip(":,") or whats[0]


def _what(line: Line) -> str:
    return f"boot disks, {line.service.removeprefix('ebs-')}" if line.pool else line.what


def _places(lines: Sequence[Line]) -> str:
    places = {line.region for line in lines}
    return places.pop() if len(places) == 1 else f"{len(places)} regions"


def _prices(lines: Sequence[Line]) -> str:
    prices = sorted({line.price for line in lines})
    if len(prices) > 1:
        shown = [f"{price:.2g}" if price < 1 else f"{price:,.2f}" for price in (prices[0], prices[-1])]
        return shown[0] if shown[0] == shown[1] else f"{shown[0]} to {shown[1]}"
    return f"{prices[0]:.4g}" if prices[0] < 1 else f"{prices[0]:,.2f}"


def _services(lines: Sequence[Line], *, assumed: bool = True) -> Table | None:
    if not lines:
        return None
    table = _table("", "where", "amount", "$ a unit", *_MONEY, *(["rests on"] if assumed else []), left=2)
    if assumed:
        table.columns[-1].justify = "left"
    _rows(table, lines, lambda line: line.what, more=int(assumed))
    return table


def _assumptions(estimate: Estimate) -> RenderableType:
    used = {line.assumption for line in estimate.lines}
    # Sizes that amounts are counted from, which no line names by itself.
    if "requestsPerSecond" in used:
        used |= {"requestKib", "responseKib"}
    if "coldGib" in used:
        used |= {"objectMib", "monthlyChange", "readsPerObject", "dataAgeDays"}
    if "warmGib" in used:
        used.add("warmAgeDays")
    defaults = Assumptions().as_data()
    cells = []
    for name, value in estimate.assumptions.items():
        if name in used:
            values = " · ".join(map(count, value)) if isinstance(value, list) else count(value)
            cells.append(Text.assemble((f"{name} ", "dim"), (values, "bold" if value != defaults.get(name) else "")))
    where = (
        "cost:assumptions in the stack file overrides them (bold: it does); --explain tells every price and its source"
    )
    return Group(Columns(cells, padding=(0, 3)), Text(where, "dim"))


def _gaps(estimate: Estimate) -> RenderableType:
    parts: list[RenderableType] = []
    if estimate.unpriced:
        table = _table("type", "why", "how many", left=2)
        table.columns[1].no_wrap = False
        groups: dict[tuple[str, str], list[str]] = {}
        for gap in estimate.unpriced:
            groups.setdefault((gap.type, gap.reason), []).append(gap.name)
        for (type, reason), names in sorted(groups.items(), key=lambda item: -len(item[1])):
            table.add_row(type, Text(reason), str(len(names)) if len(names) > 1 else names[0])
        parts.append(_section(Text("without a price: not in any sum above", "yellow").plain, table))
    for line in estimate.unbounded:
        if line.kind == "compute":
            text = f"nothing limits {line.pool or line.name} in {line.region}: the largest cost is more than is shown"
            parts.append(Padding(Text(text, "bold red"), (1, 0, 0, 0), expand=False))
    parts.append(Padding(Text(_trust(estimate), "dim"), (1, 0, 0, 0), expand=False))
    return Group(*parts)


def _trust(estimate: Estimate) -> str:
    if not estimate.lines:
        return "nothing here costs anything that is known"
    remembered = _sum(line for line in estimate.lines if "remembered" in line.source).expected
    dates = [line.as_of for line in estimate.lines]
    part = remembered / estimate.per_month.expected if estimate.per_month.expected else 0
    return (
        f"List prices of {min(dates)} to {max(dates)}, without tax, support, credits and contracts. {part:.0%} of the "
        "expected cost rests on prices that are remembered and were not looked up."
    )


def _explained(lines: Sequence[Line]) -> RenderableType:
    parts: list[RenderableType] = []
    for (region, component), group in _grouped(lines, lambda line: (line.region, line.component)):
        parts.append(Text.assemble(("\n" if parts else "", ""), (f"{component}", "bold cyan"), f"  {region}"))
        for line in sorted(group, key=lambda line: (line.name, line.kind, -line.per_month.expected)):
            price = f"{line.price:,.5g}"
            if line.largest_price != line.price:
                price += f" to {line.largest_price:,.5g}"
            money = f"{usd(line.per_month.expected, 2)} a month"
            parts.append(Text(f"{line.name}  {line.what}"))
            sum = f"{levels(line.quantity)} {line.unit} at ${price}: {money}"
            assumed = f"; assumed: {line.assumption}" if line.assumption else ""
            parts.append(Text(f"    {sum}{assumed}\n    {line.source}, {line.as_of}", "dim"))
    return Group(*parts)
