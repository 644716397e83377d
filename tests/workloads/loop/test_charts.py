"""Pictures are well-formed, stay inside their frame, and show what they are given."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.loop.charts import LEFT, RIGHT, TOP, WIDTH, Mark, Time, bars, clock, lines, shares, sparkline

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)
SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def points(svg: str) -> list[tuple[float, float]]:
    pairs = [pair for line in re.findall(r'points="([^"]*)"', svg) for pair in line.split()]
    dots = re.findall(r'<circle[^>]* cx="([^"]*)" cy="([^"]*)"', svg)
    return [tuple(map(float, pair.split(","))) for pair in pairs] + [(float(x), float(y)) for x, y in dots]  # type: ignore[misc]


@given(
    values=st.lists(st.tuples(st.floats(0, 300), NUMBERS | st.just(float("nan"))), min_size=1, max_size=40),
    height=st.integers(80, 300),
)
def test_every_finite_value_is_drawn_inside_the_frame(values: list[tuple[float, float]], height: int) -> None:
    series = sorted(values)
    svg = lines(Time(0, 300), {"a & b": series}, title="<title>", unit="%", height=height, marks=[Mark(5, "<&>")])
    finite = [value for _, value in series if value == value]
    if not finite:
        assert svg == ""
        return
    parsed(svg)
    found = points(svg)
    assert len(found) == len(finite)
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP - 0.1 <= y <= height for x, y in found)


def test_higher_values_are_drawn_higher_and_later_ones_further_right() -> None:
    (x1, y1), (x2, y2) = points(lines(Time(0, 10), {"a": [(1, 5.0), (2, 7.0)]}, title="t", unit=""))
    assert x2 > x1
    assert y2 < y1


def test_where_nothing_was_for_a_while_there_is_no_line() -> None:
    svg = lines(Time(0, 60), {"a": [(0, 1.0), (1, 1.0), (30, 2.0), (31, 2.0)]}, title="t", unit="")
    assert svg.count("<polyline") == 2


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_shares_fill_the_whole_height_at_any_time(weights: list[float]) -> None:
    steps = [(float(at), {"champion": 1 - weight, "candidate": weight}) for at, weight in enumerate(weights)]
    svg = shares(Time(0, len(weights)), steps, ["champion", "candidate"], title="t", height=146)
    areas = [each.attrib for each in parsed(svg).iter(f"{SVG}rect") if "area" in each.attrib["class"]]
    for at in range(len(weights)):
        x = f"{Time(0, len(weights)).x(at):.1f}"
        assert sum(float(area["height"]) for area in areas if area["x"] == x) == pytest.approx(100, abs=0.2)


def test_bars_are_as_long_as_what_they_stand_for() -> None:
    svg = bars(Time(100, 200), [("a", 100, 150, "done", "50 s"), ("b", 150, 200, "failed", "50 s")])
    first, second = (each.attrib for each in parsed(svg).iter(f"{SVG}rect") if each.attrib["class"].startswith("bar"))
    assert float(first["width"]) == pytest.approx(float(second["width"]), abs=0.2)
    assert float(first["x"]) + float(first["width"]) == pytest.approx(float(second["x"]), abs=0.2)
    assert "failed" in second["class"]


@given(start=st.floats(0, 1e9), length=st.floats(0.5, 4000), before=st.floats(0, 1000))
def test_an_axis_has_a_dozen_ticks_at_most_and_at_least_one(start: float, length: float, before: float) -> None:
    ticks = Time(start, start + length, start - before).ticks()
    assert len(ticks) <= 14
    assert length < 2 or ticks
    assert all(start - 1e-3 <= at <= start + length + 1e-3 for at, _ in ticks)


def test_clocks_and_sparklines() -> None:
    assert [clock(seconds) for seconds in (0, 59.9, 65, 600)] == ["0:00", "0:59", "1:05", "10:00"]
    assert sparkline([1, 2, float("nan"), 8], 1, 8) == "▁▂ █"
    assert sparkline([2.0, 2.0], 2.0, 2.0) == "▁▁"
    assert sparkline([], 0, 1) == ""
