"""Where everything lies: boxes in rows and columns by taffy (CSS flexbox), then the flows between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from math import ceil, floor
from typing import Any

from planner.diagram import routes, text
from planner.diagram.geometry import Drawing, Mark, Rect, Shape, Text
from planner.diagram.picture import FLOWS, Box, Picture, Row
from planner.diagram.words import span

UNIT = 248
"""Width of a region with one column of pools."""
ROW_UNITS = 8
"""Columns of pools side by side; what is beyond goes into a second row."""
LEAST_WIDTH = 760
WIDEST_NAME, WIDEST_HEADER = 340, 716
"""Longer names and titles are broken into lines."""
MARGIN, GAP, CHANNEL = 22, 14, 30
"""Around the page; between siblings; between rows of boxes that flows run between."""
MARK = 9
NARROW = 24
"""No column of text is narrower."""
NOISE = 1e-3
"""Of edges in pixels. Sums of 32-bit floats up to 4,096 are off by less than half of that."""
MIN_CONTENT = 3
"""taffy asks how narrow a text can be (`stretchable.style.geometry.length.Scale`)."""

PADDING = {"cloud": 14, "region": 16, "network": 10, "cluster": 10, "group": 7, "pool": 7, "workload": 7, "tiers": 0,
           "name": 9, "entry": 9}  # fmt: skip

SIZES = {"page": 22, "cloud": 15, "region": 14, "entry": 13, "name": 13}
"""Font sizes of titles; all others are `TITLE`. Nothing is smaller than `SMALL`."""
TITLE, SMALL = 11.5, 11.0

RUNGS = ("reservation", "capacity-block", "flex-start", "spot", "on-demand")
_LOOKS = {
    "training": "for training",
    "serving": "for serving",
    "system": "system",
    "hot": "hot tier",
    "warm": "warm tier",
    "cold": "cold tier",
    "replica": "second copy",
}


def layout(picture: Picture) -> Drawing:
    """Give every box, text and flow of a picture its place."""
    return _Layout(picture).drawing()


@dataclass
class _Item:
    """A node of the flexbox tree, and what it becomes: a box, a text, a mark or nothing."""

    node: Any
    box: Box | None = None
    words: str = ""
    size: float = SMALL
    bold: bool = False
    end: bool = False
    tone: str = "row"
    mark: str = ""
    children: list[_Item] = field(default_factory=list)

    def add(self, *items: _Item) -> _Item:
        for item in items:
            self.node.append(item.node)
            self.children.append(item)
        return self


class _Layout:
    """The steps of `layout`."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.units = {
            column.id: _units(column)
            for cloud in picture.clouds
            for column in cloud.children
            if column.kind == "column"
        }

    def drawing(self) -> Drawing:
        rows = [list(self._rows(cloud)) for cloud in self.picture.clouds]
        beside = sum(self.units.values()) <= ROW_UNITS
        widths = [max(map(self._width, own), default=0) + 2 * PADDING["cloud"] for own in rows]
        width = sum(widths) + GAP * (len(widths) - 1) if beside else max(widths)
        page = _flex("column", gap=16, padding=MARGIN, width=max(width, LEAST_WIDTH) + 2 * MARGIN)
        head = _flex("row", gap=CHANNEL, wrap=True, center=True).add(self._header())
        if self.picture.names:
            names = _flex("row", gap=CHANNEL, wrap=True, middle=True, center=True, grow=1)
            head.add(names.add(*(self._box(box) for box in self.picture.names)))
        clouds = _flex("row" if beside else "column", gap=GAP if beside else CHANNEL)
        clouds.add(*(self._cloud(cloud, own, beside) for cloud, own in zip(self.picture.clouds, rows, strict=True)))
        page.add(head, clouds, *self._legend())
        page.node.compute_layout(use_rounding=False)
        shapes = tuple(_shapes(page, 0, 0, ""))
        outer = page.node.get_box()
        lines = routes.route(self.picture.flows, {shape.box.id: shape for shape in shapes})
        facts = "; ".join(self.picture.facts)
        return Drawing(self.picture.title, facts, ceil(outer.width), ceil(outer.height), shapes, lines)

    def _width(self, columns: list[Box]) -> float:
        return sum(self._column_width(column) for column in columns) + GAP * (len(columns) - 1)

    def _column_width(self, column: Box) -> float:
        units = self.units[column.id]
        return units * UNIT + (units - 1) * GAP

    # ---- around the picture

    def _header(self) -> _Item:
        box = Box("header", "header", self.picture.title, rows=tuple(Row(fact) for fact in self.picture.facts))
        item = _flex("column", gap=3, width=_no_wider(WIDEST_HEADER, box, SIZES["page"]), box=box)
        item.add(_text(self.picture.title, SIZES["page"], bold=True, tone="title", shrink=True))
        item.add(*(_text(fact, 12.5, tone="fact", shrink=True) for fact in self.picture.facts))
        return item

    def _legend(self) -> Iterator[_Item]:
        """Samples of what occurs in the picture, and of nothing else."""
        boxes = self.picture.boxes.values()
        looks = {box.look for box in boxes}
        rungs = {row.mark for box in boxes for row in box.rows if row.mark}
        flows = {flow.kind for flow in self.picture.flows}
        entries = [(f"flow:{kind}", words) for kind, words in FLOWS.items() if kind in flows]
        entries += [(f"look:{look}", words) for look, words in _LOOKS.items() if look in looks]
        entries += [(f"rung:{kind}", kind) for kind in RUNGS if kind in rungs]
        item = _flex(
            "row", gap=18, row_gap=6, wrap=True, box=Box("legend", "legend", rows=tuple(Row(w) for _, w in entries))
        )
        for mark, words in entries:
            sample = _flex("row", gap=6, center=True)
            item.add(sample.add(_mark(mark, 26 if mark.startswith("flow:") else 12), _text(words, SMALL, tone="note")))
        if rungs:
            words = f"1, 2, 3: the order in which machines are tried; {span(2, 8)}: fewest to most"
            item.add(_text(words, SMALL, tone="note"))
        if entries:
            yield item

    # ---- clouds, regions

    def _cloud(self, cloud: Box, rows: list[list[Box]], beside: bool) -> _Item:
        units = sum(self.units.get(child.id, 0) for child in cloud.children)
        width = max(map(self._width, rows), default=0) + 2 * PADDING["cloud"]
        item = _flex("column", padding=PADDING["cloud"], box=cloud, grow=units, basis=width if beside else None)
        item.add(self._title(cloud))
        entries = [child for child in cloud.children if child.kind == "entry"]
        if entries:
            row = _flex("row", gap=GAP, wrap=True, margin_top=10)
            item.add(row.add(*(self._box(entry, grow=1, basis=190) for entry in entries)))
        for number, columns in enumerate(rows):
            row = _flex("row", gap=GAP, margin_top=CHANNEL if entries or number else 10, grow=1)
            item.add(row.add(*map(self._column, columns)))
        return item

    def _column(self, column: Box) -> _Item:
        """A region, and below it the second copies of its data."""
        region, *replicas = column.children
        item = _flex("column", gap=CHANNEL, grow=self.units[column.id], basis=self._column_width(column), box=column)
        item.add(self._box(region, grow=1, wide=self.units[column.id] > 1))
        if replicas:
            below = _flex("row", gap=GAP, wrap=True)
            item.add(below.add(*(self._box(replica, grow=1, basis=150) for replica in replicas)))
        return item

    def _rows(self, cloud: Box) -> Iterator[list[Box]]:
        row: list[Box] = []
        for column in (child for child in cloud.children if child.kind == "column"):
            if row and sum(self.units[c.id] for c in (*row, column)) > ROW_UNITS:
                yield row
                row = []
            row.append(column)
        if row:
            yield row

    # ---- boxes

    def _box(self, box: Box, *, grow: float = 0, basis: float | None = None, wide: bool = False) -> _Item:
        width = _no_wider(WIDEST_NAME, box, SIZES["name"]) if box.kind == "name" else None
        item = _flex("column", padding=PADDING.get(box.kind, 8), grow=grow, basis=basis, width=width, box=box)
        head = [] if box.kind == "tiers" else [self._title(box), *map(self._row, box.rows)]
        item.add(*head)
        if box.kind == "cluster":
            item.add(self._groups(box, wide))
        elif box.kind in ("group", "tiers"):
            inside = _flex("row", gap=9 if head else GAP, wrap=True, margin_top=6 if head else 0)
            item.add(inside.add(*(self._box(child, grow=1, basis=150) for child in box.children)))
        else:
            for child in box.children:
                grows = 1 if child.kind in ("network", "cluster") else 0
                gap = 20 if box.kind == "region" and child.kind in ("network", "tiers") else 9
                inside = _flex("column", margin_top=gap, grow=grows)
                item.add(inside.add(self._box(child, grow=grows, wide=wide)))
        return item

    def _groups(self, cluster: Box, wide: bool) -> _Item:
        """Pools for training beside the others: what they are fed from lies below them."""
        left = [group for group in cluster.children if wide and group.look == "training"]
        columns = [own for own in (left, [g for g in cluster.children if g not in left]) if own]
        inside = _flex("row", gap=GAP, margin_top=6, grow=1)
        for groups in columns:
            column = _flex("column", gap=GAP, grow=1, basis=150)
            for group in groups:
                column.add(self._box(group, grow=1 if group is groups[-1] else 0))
            inside.add(column)
        return inside

    def _title(self, box: Box) -> _Item:
        size = SIZES.get(box.kind, TITLE)
        row = _flex("row", gap=8, between=True)
        row.add(_text(box.title, size, bold=True, tone="title", shrink=True))
        if box.note:
            row.add(_text(box.note, SMALL if size <= TITLE else size - 2, end=True, tone="note"))
        return row

    def _row(self, given: Row) -> _Item:
        row = _flex("row", gap=6, between=True, margin_top=1)
        left = _flex("row", gap=5, center=True, shrink=True)
        if given.mark:
            left.add(_mark(f"rung:{given.mark}", MARK))
        row.add(left.add(_text(given.text, SMALL, shrink=True)))
        if given.note:
            row.add(_text(given.note, SMALL, end=True))
        return row


def _units(column: Box) -> int:
    """How many columns of pools a region is wide: two where it has pools of two purposes beside the system's."""
    groups = [box for box in column if box.kind == "group"]
    clusters = [box for box in column if box.kind == "cluster"]
    purposes = {box.look for box in groups if box.look != "system"}
    return 2 if len(purposes) > 1 or len(clusters) > 1 else 1


def _no_wider(most: float, box: Box, size: float) -> float | None:
    """That width for a box whose title or lines would be wider; taffy measures text before it heeds a `max-width`."""
    widest = max([text.width(box.title, size, bold=True), *(text.width(row.text, 12.5) for row in box.rows)])
    return most if widest > most - 2 * PADDING.get(box.kind, 0) else None


# ---- the flexbox tree


def _flex(
    direction: str,
    *,
    gap: float = 0,
    row_gap: float | None = None,
    padding: float = 0,
    margin_top: float = 0,
    grow: float = 0,
    basis: float | None = None,
    width: float | None = None,
    wrap: bool = False,
    between: bool = False,
    middle: bool = False,
    center: bool = False,
    shrink: bool = False,
    box: Box | None = None,
) -> _Item:
    from stretchable import Node
    from stretchable.style import AlignContent, AlignItems, FlexDirection, FlexWrap, JustifyContent

    style = _style(
        flex_direction=FlexDirection.ROW if direction == "row" else FlexDirection.COLUMN,
        flex_wrap=FlexWrap.WRAP if wrap else FlexWrap.NO_WRAP,
        gap=(gap, gap if row_gap is None else row_gap),
        padding=padding,
        margin=(margin_top, 0, 0, 0),
        flex_grow=float(grow),
        flex_shrink=1.0 if shrink else 0.0,
        flex_basis=basis,
        size=(width, None),
        min_size=(0 if shrink or basis is not None else None, None),
        align_items=AlignItems.CENTER if center else AlignItems.STRETCH,
        align_content=AlignContent.START if wrap else None,
        justify_content=(
            JustifyContent.SPACE_BETWEEN if between else JustifyContent.CENTER if middle else JustifyContent.START
        ),
    )
    return _Item(Node(style=style), box=box)


@cache
def _style(**given: Any) -> Any:
    """Made once: the library checks each of a style's forty lengths, which takes milliseconds."""
    from stretchable.style import Style

    return Style(**{key: value for key, value in given.items() if value is not None})


def _mark(kind: str, width: float) -> _Item:
    from stretchable import Node

    return _Item(Node(style=_style(size=(width, MARK), flex_shrink=0.0)), mark=kind)


def _text(
    words: str,
    size: float,
    *,
    bold: bool = False,
    end: bool = False,
    tone: str = "row",
    shrink: bool = False,
) -> _Item:
    """A text; where it may shrink, it wraps."""
    from stretchable import Node
    from stretchable.style.geometry.size import SizePoints

    whole = ceil(text.width(words, size, bold)) + 1
    item = _Item(None, words=words, size=size, bold=bold, end=end, tone=tone)
    if not shrink:
        item.node = Node(style=_style(size=(whole, ceil(size * text.LINE)), flex_shrink=0.0))
        return item

    @cache
    def wrapped(room: float) -> Any:
        lines = text.wrap(words, size, bold, room)
        widest = whole if len(lines) == 1 else max(ceil(text.width(line, size, bold)) + 1 for line in lines)
        return SizePoints(widest, ceil(len(lines) * size * text.LINE))

    def measure(_node: Any, known: Any, available: Any) -> Any:
        room = known.width.value
        if room != room:  # not known
            room = available.width.value
        if room != room:
            room = NARROW if available.width.scale == MIN_CONTENT else whole
        return wrapped(max(room, NARROW))

    item.node = Node(measure=measure, style=_style(flex_shrink=1.0, min_size=(0, None)))
    return item


def _shapes(item: _Item, left: float, top: float, parent: str) -> Iterator[Shape]:
    """The shapes of an item and all in it, with absolute places."""
    rect = _rect(item, left, top)
    if item.box is not None:
        texts, marks = _leaves(item, left, top)
        yield Shape(item.box, _on_pixels(rect), parent, tuple(texts), tuple(marks))
        parent = item.box.id
    yield from chain.from_iterable(_shapes(child, rect.x, rect.y, parent) for child in item.children)


def _leaves(item: _Item, left: float, top: float) -> tuple[list[Text], list[Mark]]:
    """Texts and marks that belong to an item's own box."""
    rect = _rect(item, left, top)
    texts: list[Text] = []
    marks: list[Mark] = []
    for child in item.children:
        place = _rect(child, rect.x, rect.y)
        if child.box is not None:
            continue
        if child.words:
            lines = text.wrap(child.words, child.size, child.bold, max(place.width, NARROW))
            texts.append(Text(_on_pixels(place), lines, child.size, child.bold, child.end, child.tone))
        elif child.mark:
            marks.append(Mark(_on_pixels(place), child.mark))
        else:
            inner = _leaves(child, rect.x, rect.y)
            texts += inner[0]
            marks += inner[1]
    return texts, marks


def _rect(item: _Item, left: float, top: float) -> Rect:
    box = item.node.get_box()
    return Rect(left + box.x, top + box.y, box.width, box.height)


def _on_pixels(rect: Rect) -> Rect:
    """Its edges rounded, so that what touches still touches and nothing sticks out; taffy rounds places within their
    parent, and these add up to a pixel too much."""
    left, top = _pixel(rect.x), _pixel(rect.y)
    return Rect(left, top, _pixel(rect.x + rect.width) - left, _pixel(rect.y + rect.height) - top)


def _pixel(edge: float) -> int:
    """Just below a half it is rounded up: taffy reckons in 32 bits, and halves come as a bit more and as a bit less."""
    return floor(edge + 0.5 + NOISE)
