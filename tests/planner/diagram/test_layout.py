"""Nothing overlaps, sticks out, is cut off or too small to read, for any picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from planner.diagram import Box, Flow, Picture, Row, layout, picture
from planner.diagram.geometry import Drawing, Rect
from planner.inventory import Inventory
from tests.planner.diagram import strangers
from tests.planner.diagram.laws import broken


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_an_environment_is_laid_out_well(simulated_plan, name):
    drawing = layout(picture(Inventory(simulated_plan(name))))
    assert broken(drawing) == []


def test_prod_is_one_landscape_page(simulated_plan):
    drawing = layout(picture(Inventory(simulated_plan("prod"))))
    # A3 is 1.41, a screen 1.78. At 2,000 wide the smallest text is 2.2 mm high on A3, and 1.9 mm at 1.2.
    assert 1.2 < drawing.width / drawing.height < 2.0
    assert drawing.width <= 2000


def test_no_flow_of_prod_crosses_another(simulated_plan):
    drawing = layout(picture(Inventory(simulated_plan("prod"))))
    assert len(drawing.lines) > 20
    assert crossings(drawing) == []


@pytest.mark.parametrize("maker", strangers.PLANS.values(), ids=strangers.PLANS.keys())
def test_plans_of_other_people_are_laid_out_well(maker):
    assert broken(layout(picture(Inventory(maker())))) == []


def test_a_very_large_plan_stays_one_page():
    found = picture(Inventory(strangers.very_large()))
    drawing = layout(found)
    assert broken(drawing) == []
    assert len(found.boxes) < 320
    assert drawing.width < 2500
    assert drawing.height < 2500
    assert "18 more regions not drawn" in found.facts[0]
    assert "10,000 resources" in found.facts[0]


WORDS = st.text(st.sampled_from("abcdefgh-./_ 0123456789XYZäß漢"), min_size=1, max_size=40).filter(str.strip)


@st.composite
def pictures(draw) -> Picture:
    """Any number of clouds, regions, clusters, pools and tiers, with flows between any two of them."""
    count = 0

    def box(kind: str, *children: Box, look: str = "", rows: int = 2) -> Box:
        nonlocal count
        count += 1
        lines = tuple(
            Row(draw(WORDS), draw(st.sampled_from(["", "0-8", "36,000 GiB"])))
            for _ in range(draw(st.integers(0, rows)))
        )
        return Box(f"b{count}", kind, draw(WORDS), draw(st.sampled_from(["", "3"])), lines, tuple(children), look)

    def some(least: int, most: int) -> range:
        return range(draw(st.integers(least, most)))

    def cluster() -> Box:
        purposes = draw(st.lists(st.sampled_from(["training", "serving", "", "system"]), unique=True, max_size=4))
        groups = [
            replace(box("group", *(box("pool", look=p) for _ in some(1, 3)), look=p, rows=0), note="") for p in purposes
        ]
        return box("cluster", *groups)

    def region() -> Box:
        tiers = [
            Box(f"t{count}{n}", "tiers", children=tuple(box("tier", look="hot") for _ in some(1, 3)))
            for n in some(0, 2)
        ]
        network = [box("network", *(cluster() for _ in some(0, 2))) for _ in some(0, 2)]
        return box("region", *(box("endpoint") for _ in some(0, 2)), *network, *tiers)

    clouds = []
    for _ in some(1, 2):
        columns = [
            Box(f"c{count}{n}", "column", children=(region(), *(box("replica") for _ in some(0, 2))))
            for n in some(1, 4)
        ]
        clouds.append(box("cloud", *(box("entry") for _ in some(0, 2)), *columns, rows=0))
    names = tuple(box("name") for _ in some(0, 3))
    ends = [
        b.id for root in (*names, *clouds) for b in root if b.kind in ("endpoint", "pool", "tier", "replica", "name")
    ]
    flows = []
    if len(ends) > 1:
        pairs = draw(st.lists(st.tuples(st.sampled_from(ends), st.sampled_from(ends)), max_size=6, unique=True))
        kinds = st.sampled_from(["models", "data", "replication"])
        flows = [Flow(a, b, draw(kinds)) for a, b in pairs if a != b]
    return Picture(draw(WORDS), tuple(draw(st.lists(WORDS, max_size=3))), names, tuple(clouds), tuple(flows))


# Not made smaller: each trial is a whole layout, and the laws name the boxes.
@settings(
    max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(pictures())
def test_any_picture_is_laid_out_well(drawn):
    assert broken(layout(drawn)) == []


def stretched(cloud: str, regions: int, copies: int) -> Box:
    columns = []
    for n in range(regions):
        below = [Box(f"{cloud}-copy{n}-{c}", "replica", "copy") for c in range(copies)]
        columns.append(Box(f"{cloud}-column{n}", "column", children=(Box(f"{cloud}-{n}", "region", "region"), *below)))
    return Box(cloud, "cloud", cloud, children=tuple(columns))


@pytest.mark.parametrize("copies", range(1, 6))
@pytest.mark.parametrize("regions", range(1, 8))
def test_columns_that_are_stretched_to_parts_of_a_pixel_hold_what_is_in_them(regions, copies):
    clouds = (stretched("wide", 8, 0), stretched("narrow", regions, copies))
    assert broken(layout(Picture("t", (), (), clouds, ()))) == []


def test_the_laws_notice_a_box_that_sticks_out():
    drawing = layout(picture(Inventory(strangers.plain_eks())))
    shape = next(shape for shape in drawing.shapes if shape.box.kind == "pool")
    moved = replace(shape, rect=Rect(shape.rect.x + 5000, shape.rect.y, 100, 100))
    shapes = tuple(moved if one is shape else one for one in drawing.shapes)
    found = broken(replace(drawing, shapes=shapes))
    assert any("sticks out" in one for one in found)


def crossings(drawing: Drawing) -> list[tuple[str, str]]:
    """Pairs of flows whose paths cross."""
    found = []
    pieces = [(line, piece) for line in drawing.lines for piece in zip(line.points, line.points[1:], strict=False)]
    for one, ((ax, ay), (bx, by)) in pieces:
        for other, ((px, py), (qx, qy)) in pieces:
            flat_and_upright = ay == by and px == qx and one is not other
            if flat_and_upright and min(ax, bx) < px < max(ax, bx) and min(py, qy) < ay < max(py, qy):
                found.append((one.flow.source, other.flow.source))
    return found
