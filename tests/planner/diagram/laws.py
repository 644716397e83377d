"""What holds for every drawing, whatever is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

from planner.diagram import text
from planner.diagram.geometry import Drawing, Rect, Shape
from planner.diagram.layout import SMALL
from planner.diagram.routes import obstacles


def broken(drawing: Drawing) -> list[str]:
    """Every law that a drawing breaks, with where; empty for a good one."""
    return [*_boxes(drawing), *_texts(drawing), *_lines(drawing)]


def _boxes(drawing: Drawing) -> Iterator[str]:
    page = Rect(0, 0, drawing.width, drawing.height)
    inside: dict[str, list[Shape]] = {}
    for shape in drawing.shapes:
        inside.setdefault(shape.parent, []).append(shape)
        around = drawing.by_id[shape.parent].rect if shape.parent else page
        if not around.holds(shape.rect):
            yield f"{shape.box.id} sticks out of {shape.parent or 'the page'}"
        if shape.box.kind != "header" and (shape.rect.width < 20 or shape.rect.height < 10):
            yield f"{shape.box.id} is crushed to {shape.rect}"
    for siblings in inside.values():
        for one, other in combinations(siblings, 2):
            if one.rect.overlaps(other.rect):
                yield f"{one.box.id} and {other.box.id} overlap"


def _texts(drawing: Drawing) -> Iterator[str]:
    children: dict[str, list[Shape]] = {}
    for shape in drawing.shapes:
        children.setdefault(shape.parent, []).append(shape)
    for shape in drawing.shapes:
        said = " ".join(line for words in shape.texts for line in words.lines)
        for expected in shape.box.texts:
            if expected.replace(" ", "") not in said.replace(" ", "") and shape.box.kind not in ("column", "tiers"):
                yield f"{shape.box.id} does not say {expected!r}"
        for words in shape.texts:
            if words.size < SMALL:
                yield f"{words.lines} in {shape.box.id} is too small: {words.size}"
            if not shape.rect.holds(words.rect):
                yield f"{words.lines} sticks out of {shape.box.id}"
            for line in words.lines:
                if text.width(line, words.size, words.bold) > words.rect.width + 1:
                    yield f"{line!r} in {shape.box.id} is wider than its place"
            if len(words.lines) * words.size > words.rect.height:
                yield f"{words.lines} in {shape.box.id} is higher than its place"
            for child in children.get(shape.box.id, ()):
                if child.rect.overlaps(words.rect):
                    yield f"{words.lines} in {shape.box.id} lies under {child.box.id}"
        for one, other in combinations([*shape.texts, *shape.marks], 2):
            if one.rect.overlaps(other.rect):
                yield f"{one} and {other} overlap in {shape.box.id}"


def _lines(drawing: Drawing) -> Iterator[str]:
    for line in drawing.lines:
        where = f"{line.flow.source} to {line.flow.target}"
        source, target = (drawing.by_id[id].rect for id in (line.flow.source, line.flow.target))
        if not _on_border(source, line.points[0]) or not _on_border(target, line.points[-1]):
            yield f"{where} doesn't begin and end at its boxes: {line.points}"
        blocked = obstacles(line.flow, drawing.by_id)
        for (ax, ay), (bx, by) in pairwise(line.points):
            if (ax == bx) == (ay == by):
                yield f"{where} goes neither straight across nor straight down"
            piece = Rect(min(ax, bx), min(ay, by), abs(ax - bx) + 0.01, abs(ay - by) + 0.01)
            if not Rect(0, 0, drawing.width, drawing.height).holds(piece):
                yield f"{where} leaves the page"
            if any(piece.overlaps(rect) for rect in blocked):
                yield f"{where} runs through a box or a text"


def _on_border(rect: Rect, point: tuple[float, float]) -> bool:
    x, y = point
    return (x in (rect.x, rect.right) and rect.y <= y <= rect.bottom) or (
        y in (rect.y, rect.bottom) and rect.x <= x <= rect.right
    )
