"""Pictures as SVG: lines, shares and bars over one axis of time. Colours are classes that the page's style defines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 960, 56, 12, 22, 24
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Mark:
    """A moment that is written above a chart and drawn through it."""

    at: float
    text: str
    kind: str = ""
    """good, bad, or nothing."""


@dataclass(frozen=True)
class Time:
    """The axis that all charts of a page share: seconds since `start`."""

    start: float
    end: float
    zero: float | None = None
    """What the clock counts from; default `start`."""

    def x(self, at: float) -> float:
        share = (at - self.start) / max(self.end - self.start, 1e-9)
        return LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT)

    def axis(self, y: float) -> str:
        ticks = [
            f'<text class="tick" x="{self.x(at):.1f}" y="{y + 15:.1f}" text-anchor="middle">{words}</text>'
            for at, words in self.ticks()
        ]
        return f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>' + "".join(ticks)

    def ticks(self) -> list[tuple[float, str]]:
        """Round moments, a dozen at most, and what the clock says then."""
        zero = self.start if self.zero is None else self.zero
        step = next(s for s in (2, 5, 10, 15, 30, 60, 120, 300, 600, 1e9) if (self.end - self.start) / s <= 12)
        first, last = math.ceil((self.start - zero) / step), math.floor((self.end - zero) / step)
        return [(zero + number * step, clock(number * step)) for number in range(first, last + 1)]


def clock(seconds: float) -> str:
    """`1:05`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def lines(
    time: Time,
    series: Mapping[str, Points],
    *,
    title: str,
    unit: str,
    height: int = 190,
    marks: Sequence[Mark] = (),
    classes: Mapping[str, str] | None = None,
    low: float | None = None,
    form: str = "",
) -> str:
    """`classes`: of a series, by its name, such as `champion`; `low`: where the axis begins, default near the least."""
    values = [value for points in series.values() for _, value in points if math.isfinite(value)]
    if not values:
        return ""
    least, most = (min(values) if low is None else low), max(values)
    ticks = _ticks(least, most)
    bottom, top = min(ticks[0], least), max(ticks[-1], most)
    room = height - TOP - BOTTOM

    def y(value: float) -> float:
        return TOP + room * (1 - (value - bottom) / max(top - bottom, 1e-12))

    form = form or ("{:.0f}" if max(map(abs, ticks)) >= 10 else "{:.2g}")
    body = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{form.format(tick)}</text>'
        for tick in ticks
    ]
    body.append(_marks(time, marks, height))
    for number, (name, points) in enumerate(series.items()):
        kind = (classes or {}).get(name, f"series-{number % 6}")
        for part in _parts(points):
            path = " ".join(f"{time.x(at):.1f},{y(value):.1f}" for at, value in part)
            if len(part) == 1:
                at, value = part[0]
                body.append(f'<circle class="dot {kind}" cx="{time.x(at):.1f}" cy="{y(value):.1f}" r="2"/>')
            else:
                body.append(f'<polyline class="line {kind}" points="{path}"/>')
    legend = [(name, (classes or {}).get(name, f"series-{i % 6}")) for i, name in enumerate(series)]
    return _svg(height, f"{title}, {unit}" if unit else title, legend, [*body, time.axis(height - BOTTOM)])


def shares(
    time: Time,
    steps: Sequence[tuple[float, Mapping[str, float]]],
    order: Sequence[str],
    *,
    title: str,
    height: int = 130,
    marks: Sequence[Mark] = (),
) -> str:
    """Shares that add up to 1, each valid from its moment to the next; `order`: from the bottom up, classes as well."""
    if not steps:
        return ""
    room = height - TOP - BOTTOM
    body = []
    ends = [at for at, _ in steps[1:]] + [time.end]
    for (begin, weights), end in zip(steps, ends, strict=True):
        below = 0.0
        total = sum(weights.values()) or 1.0
        for name in order:
            share = weights.get(name, 0.0) / total
            if share > 0 and end > begin:
                y = TOP + room * (1 - below - share)
                body.append(
                    f'<rect class="area {name}" x="{time.x(begin):.1f}" y="{y:.1f}" '
                    f'width="{max(time.x(end) - time.x(begin), 0.6):.1f}" height="{room * share:.1f}"/>'
                )
                below += share
    for share in (0, 0.5, 1):
        y = TOP + room * (1 - share)
        body.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    body.append(_marks(time, marks, height))
    return _svg(height, title, [(name, name) for name in order], [*body, time.axis(height - BOTTOM)])


def bars(time: Time, rows: Sequence[tuple[str, float, float, str, str]]) -> str:
    """A row each: (name, from, to, class, what is written behind it)."""
    row, left = 26, 150
    height = TOP + row * len(rows) + BOTTOM

    def x(at: float) -> float:
        return left + (time.x(at) - LEFT) / (WIDTH - LEFT - RIGHT) * (WIDTH - left - RIGHT)

    body = []
    for number, (name, begin, end, kind, words) in enumerate(rows):
        y = TOP + row * number
        width = max(x(end) - x(begin), 2.0)
        body.append(f'<text class="name" x="{left - 10}" y="{y + 16}" text-anchor="end">{escape(name)}</text>')
        body.append(f'<line class="grid" x1="{left}" x2="{WIDTH - RIGHT}" y1="{y + row - 1}" y2="{y + row - 1}"/>')
        body.append(f'<rect class="bar {kind}" x="{x(begin):.1f}" y="{y + 4}" width="{width:.1f}" height="16" rx="3"/>')
        # Behind the bar, or before it where there is no room.
        if x(end) < WIDTH - 110:
            body.append(f'<text class="tick" x="{x(end) + 6:.1f}" y="{y + 16}">{escape(words)}</text>')
        else:
            body.append(
                f'<text class="tick" x="{x(begin) - 6:.1f}" y="{y + 16}" text-anchor="end">{escape(words)}</text>'
            )
    ticks = [
        f'<text class="tick" x="{x(at):.1f}" y="{height - BOTTOM + 15}" text-anchor="middle">{words}</text>'
        for at, words in time.ticks()
    ]
    return _svg(height, "", [], [*body, *ticks])


def _svg(height: int, title: str, legend: Sequence[tuple[str, str]], body: Sequence[str]) -> str:
    words = [f'<text class="title" x="{LEFT}" y="13">{escape(title)}</text>'] if title else []
    x = float(WIDTH - RIGHT)
    for name, kind in reversed(legend if len(legend) > 1 else []):
        x -= 6.6 * len(name) + 26
        words.append(
            f'<rect class="bar {kind}" x="{x:.1f}" y="4" width="12" height="10" rx="2"/>'
            f'<text class="tick" x="{x + 17:.1f}" y="13">{escape(name)}</text>'
        )
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join([*words, *body])}</svg>'
    )


def _marks(time: Time, marks: Sequence[Mark], height: int) -> str:
    found = []
    for mark in marks:
        x = time.x(mark.at)
        found.append(
            f'<line class="mark {mark.kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM}">'
            f"<title>{escape(mark.text)}</title></line>"
        )
    return "".join(found)


def _parts(points: Points, gap_s: float = 6.0) -> list[list[tuple[float, float]]]:
    """Where there was nothing for a while there is no line."""
    parts: list[list[tuple[float, float]]] = []
    for at, value in points:
        if not math.isfinite(value):
            continue
        if not parts or at - parts[-1][-1][0] > gap_s:
            parts.append([])
        parts[-1].append((at, value))
    return parts


def _ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values around a range."""
    if high <= low:
        high = low + (abs(low) or 1.0) * 0.1
    raw = (high - low) / count
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """A block of text a value, `high` the tallest; a space where there is none."""
    return "".join(
        "▁▂▃▄▅▆▇█"[round((value - low) / ((high - low) or 1.0) * 7)] if math.isfinite(value) else " "
        for value in values
    )
