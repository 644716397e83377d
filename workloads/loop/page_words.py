"""Tables, numbers and moments of the page, as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from workloads.loop.charts import clock
from workloads.loop.events import Event
from workloads.loop.story import Story


def at(story: Story, event: Event) -> str:
    return clock(event["at"] - story.began)


def number(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def change(before: Any, after: Any) -> str:
    return f"{after / before - 1:+.1%}" if before and after else ""


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, last: bool = False, strong: Any = lambda _: False
) -> str:
    """`last`: the last row is a sum."""
    if not rows:
        return ""
    titles = "".join(f"<th>{escape(word)}</th>" for word in head) if any(head) else ""
    body = ""
    for number, row in enumerate(rows):
        names = " ".join(
            word for word, there in (("sum", last and number == len(rows) - 1), ("strong", strong(row))) if there
        )
        body += f'<tr class="{names}">' + "".join(f"<td{_kind(cell)}>{escape(cell)}</td>" for cell in row) + "</tr>"
    top = f"<thead><tr>{titles}</tr></thead>" if titles else ""
    return f'<div class="wide"><table>{top}<tbody>{body}</tbody></table></div>'


def _kind(cell: str) -> str:
    return ' class="number"' if cell[:1] in "+-0123456789" and cell.strip("+-.,:%e0123456789") == "" else ""
