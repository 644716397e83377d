"""SVG, PNG and Mermaid: well-formed, escaped, readable, and the same bytes for the same plan."""

from __future__ import annotations

import io
import os
import re
from xml.etree import ElementTree

import pytest
from PIL import Image

from planner.diagram import layout, looks, mermaid, picture, png, svg
from planner.inventory import Inventory
from tests.planner.diagram import strangers
from tests.support import ROOT

SVG = "{http://www.w3.org/2000/svg}"
DOCS = ROOT / "docs" / "diagrams"
HARD = {**strangers.PLANS, "very_large": strangers.very_large}


@pytest.mark.parametrize("maker", HARD.values(), ids=HARD.keys())
def test_svg_is_well_formed_and_says_what_it_shows(maker):
    found = picture(Inventory(maker()))
    root = ElementTree.fromstring(svg(layout(found)))
    assert root.find(f"{SVG}title").text == found.title
    assert found.facts[0] in root.find(f"{SVG}desc").text
    assert root.get("role") == "img"
    assert {element.tag for element in root.iter()} <= {
        f"{SVG}{name}" for name in ("svg", "title", "desc", "g", "rect", "text", "tspan", "path")
    }  # fmt: skip


def test_names_are_text_never_markup():
    document = svg(layout(picture(Inventory(strangers.hostile_names()))))
    texts = "".join(ElementTree.fromstring(document).itertext())
    assert "<script" not in document
    assert '<script>alert("1")</script>' in texts
    assert "\x07" not in document


def test_the_same_plan_gives_the_same_bytes():
    def write() -> tuple[str, bytes, str]:
        found = picture(Inventory(strangers.plain_eks()))
        drawing = layout(found)
        return svg(drawing), png(drawing), mermaid(found)

    assert write() == write()


def test_png_is_the_drawing_and_not_blank():
    drawing = layout(picture(Inventory(strangers.plain_eks())))
    image = Image.open(io.BytesIO(png(drawing, scale=2)))
    assert image.size == (2 * drawing.width, 2 * drawing.height)
    assert len(image.convert("RGB").getcolors(1 << 24)) > 20


def test_png_has_its_texts_without_any_font_of_the_machine():
    drawing = layout(picture(Inventory(strangers.plain_eks())))
    title = next(shape for shape in drawing.shapes if shape.box.kind == "header").texts[0].rect
    image = Image.open(io.BytesIO(png(drawing, scale=1))).convert("L")
    ink = image.crop((int(title.x), int(title.y), int(title.right), int(title.bottom))).getextrema()
    assert ink[0] < 60  # dark letters, for resvg was told to leave the machine's fonts alone
    assert ink[1] == 255


def test_every_text_stands_out_from_what_it_is_on():
    """WCAG 2.2: 4.5 to 1. https://www.w3.org/TR/WCAG22/#contrast-minimum"""
    kinds = {box.kind for maker in HARD.values() for box in picture(Inventory(maker())).boxes.values()}
    kinds |= {"entry", "endpoint", "workload", "replica"}
    for kind in kinds:
        for look in ("", "aws", "gcp", "client", "training", "serving", "system", "hot", "warm", "cold"):
            for tone in ("title", "row", "note", "fact"):
                ink, fill = looks.ink(kind, look, tone), looks.look_of(kind, look).fill
                assert contrast(ink, fill) >= 4.5, (kind, look, tone, ink, fill)


def test_a_flow_stands_out_from_the_page():
    for colour, _ in looks.FLOWS.values():
        assert contrast(colour, looks.PAGE) >= 3


def contrast(one: str, other: str) -> float:
    """Contrast of two colours by WCAG's formula."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


LABEL = r'"[^"\[\]{}`\\]*"'
NODE = re.compile(rf"^\s*n\d+(\({LABEL[0]}|\[|\(\[|\[\(){LABEL}(\]|\]\)|\)\])$")
EDGE = re.compile(r"^\s*(n\d+) (-->|-\.->|==>)(\|[a-z]+\|)? (n\d+)$")


@pytest.mark.parametrize("maker", HARD.values(), ids=HARD.keys())
def test_mermaid_is_a_flowchart_of_known_nodes(maker):
    """What the grammar of Mermaid 11 asks for, as far as lines go; its own parser took these very files."""
    first, *lines = mermaid(picture(Inventory(maker()))).splitlines()
    assert first == "flowchart TB"
    defined: set[str] = set()
    depth = 0
    for line in lines:
        words = line.split()
        if words[0] in ("accTitle:", "accDescr:", "classDef"):
            assert ";" not in line
        elif words[0] == "class":
            assert set(words[1].split(",")) <= defined
        elif words[0] == "subgraph":
            assert re.fullmatch(rf"\s*subgraph n\d+\[{LABEL}\]", line), line
            defined.add(words[1].partition("[")[0])
            depth += 1
        elif words == ["end"]:
            depth -= 1
            assert depth >= 0
        elif edge := EDGE.match(line):
            assert {edge[1], edge[4]} <= defined
        else:
            assert NODE.match(line), line
            defined.add(re.match(r"\s*(n\d+)", line)[1])
    assert depth == 0


def test_mermaid_shows_the_same_as_the_picture(simulated_plan):
    found = picture(Inventory(simulated_plan("prod")))
    text = mermaid(found)
    for box in found.boxes.values():
        if box.kind in ("region", "pool", "tier", "workload", "entry", "name", "replica"):
            assert box.title in text, box
    assert len(text) < 50_000  # GitHub's limit (Mermaid's maxTextSize)


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_the_pictures_in_docs_are_up_to_date(simulated_plan, name):
    found = picture(Inventory(simulated_plan(name)))
    for path, text in ((DOCS / f"{name}.svg", svg(layout(found))), (DOCS / f"{name}.mmd", mermaid(found))):
        assert len(text) < 200_000
        if os.environ.get("AICLOUD_WRITE_GOLDEN"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == text, f"make golden writes {path.relative_to(ROOT)} anew"
