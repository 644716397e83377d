"""Flows as paths that run between the boxes: horizontal and vertical pieces, few bends, through no box and no text.

A flow may cross the border of a box that holds one of its ends, and of no other. Paths are sought on the lines that run
along the boxes in question, with A*; that is a few hundred crossings for each flow.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from planner.diagram.geometry import Line, Rect, Shape
from planner.diagram.picture import Flow

CLEAR = 4.0
"""Least distance between a path and a box that it passes."""
LANES = (5.0, 10.0, 15.0)
"""Distances from a box at which paths run along it."""
CORNER = 8.0
"""Paths leave a box at least so far from its corners."""
BEND, CROSSING, SHARING = 40.0, 60.0, 6.0
"""What a bend, crossing another flow and each pixel on top of another flow cost, in pixels of length."""

_SIDES = {
    "requests": (("bottom",), ("top",)),
    "replication": (("bottom", "left", "right"), ("top", "left", "right", "bottom")),
}
_ANY = ("top", "bottom", "left", "right")
_OUT = {"top": (0, -1), "bottom": (0, 1), "left": (-1, 0), "right": (1, 0)}

Point = tuple[float, float]
Segment = tuple[Point, Point]


def route(flows: Iterable[Flow], shapes: Mapping[str, Shape]) -> tuple[Line, ...]:
    """A path for every flow, the shortest first: they have the least choice."""

    def length(flow: Flow) -> tuple[float, str, str]:
        (x, y), (u, v) = shapes[flow.source].rect.center, shapes[flow.target].rect.center
        return abs(x - u) + abs(y - v), flow.source, flow.target

    drawn: list[Line] = []
    for flow in sorted(flows, key=length):
        points = _path(flow, shapes, drawn)
        drawn.append(Line(flow, points))
    return tuple(drawn)


def obstacles(flow: Flow, shapes: Mapping[str, Shape]) -> list[Rect]:
    """What a flow may not touch: texts of the boxes that hold its ends, and every other box beside them."""
    source, target = _holders(flow.source, shapes), _holders(flow.target, shapes)
    open_ = {*source, *target, ""}
    found = []
    for shape in shapes.values():
        if shape.parent not in open_ or shape.box.id in (flow.source, flow.target):
            continue
        if shape.box.id in open_:
            found += [text.rect for text in shape.texts]
        else:
            found.append(shape.rect)
    return found


def _holders(id: str, shapes: Mapping[str, Shape]) -> list[str]:
    found = []
    parent = shapes[id].parent
    while parent:
        found.append(parent)
        parent = shapes[parent].parent
    return found


def _path(flow: Flow, shapes: Mapping[str, Shape], drawn: list[Line]) -> tuple[Point, ...]:
    source, target = shapes[flow.source].rect, shapes[flow.target].rect
    blocked = [rect.grown(CLEAR) for rect in obstacles(flow, shapes)]
    both_names = shapes[flow.source].box.kind == shapes[flow.target].box.kind == "name"
    usual = (("right",), ("left",)) if both_names else _SIDES.get(flow.kind, (_ANY, _ANY))
    # Inside what holds both and at the usual sides; else at any side; else around everything.
    for sides, area in (
        (usual, _area(flow, shapes)),
        ((_ANY, _ANY), _area(flow, shapes)),
        ((_ANY, _ANY), _page(shapes)),
    ):
        near = [rect for rect in blocked if rect.overlaps(area)]
        points = _Grid(source, target, near, area, _others(flow, drawn)).search(*sides)
        if points:
            return points
    raise AssertionError(f"no way from {flow.source} to {flow.target}")  # siblings stand apart: there always is one


def _area(flow: Flow, shapes: Mapping[str, Shape]) -> Rect:
    """The innermost box drawn around both ends: a flow stays inside."""
    around = {id for id in _holders(flow.source, shapes) if shapes[id].box.kind not in ("column", "tiers")}
    common = next((id for id in _holders(flow.target, shapes) if id in around), None)
    return shapes[common].rect if common is not None else _page(shapes)


def _page(shapes: Mapping[str, Shape]) -> Rect:
    rects = [shape.rect for shape in shapes.values()]
    left, top = min(r.x for r in rects) - 16, min(r.y for r in rects)
    return Rect(left, top, max(r.right for r in rects) + 16 - left, max(r.bottom for r in rects) - top)


def _others(flow: Flow, drawn: list[Line]) -> list[tuple[Segment, bool]]:
    """Pieces of earlier paths, and whether a path may run on top: flows of one kind from one box are one stream."""
    return [
        (piece, line.flow.kind == flow.kind and line.flow.source == flow.source)
        for line in drawn
        for piece in pairwise(line.points)
    ]


class _Grid:
    """The lines that a path may follow, and the search on them."""

    def __init__(
        self, source: Rect, target: Rect, blocked: list[Rect], area: Rect, others: list[tuple[Segment, bool]]
    ) -> None:
        self.source, self.target, self.others = source, target, others
        xs = {area.x + lane for lane in LANES} | {area.right - lane for lane in LANES}
        ys = {area.y + lane for lane in LANES} | {area.bottom - lane for lane in LANES}
        for rect in (source, target):
            xs |= {rect.center[0], rect.x + CORNER, rect.right - CORNER, rect.right - 22, rect.x + 22}
            ys |= {rect.center[1], rect.y + CORNER, rect.bottom - CORNER}
        for rect in (source, target, *(rect.grown(-CLEAR) for rect in blocked)):
            xs |= {rect.x - lane for lane in LANES} | {rect.right + lane for lane in LANES}
            ys |= {rect.y - lane for lane in LANES} | {rect.bottom + lane for lane in LANES}
        self.xs: list[float] = sorted({round(x) for x in xs if area.x < x < area.right})
        self.ys: list[float] = sorted({round(y) for y in ys if area.y < y < area.bottom})
        # Neither back through the source nor through the target.
        self.blocked = [(r.x, r.y, r.right, r.bottom) for r in (*blocked, source.grown(-0.5))]
        self.beside_target = target.grown(0.5)
        self.costs: dict[Segment, float | None] = {}

    def search(self, leave: tuple[str, ...], arrive: tuple[str, ...]) -> tuple[Point, ...]:
        """The cheapest path from one of the source's sides to one of the target's; empty where there is none."""
        # States are (point, direction); a path starts on the border, going out, and ends on the border, going in.
        goals = {(point, (-dx, -dy)): cost for point, (dx, dy), cost in self._ports(self.target, arrive)}
        ends = {point for point, _ in goals}
        queue: list[tuple[float, int, Point, Point]] = []
        best: dict[tuple[Point, Point], float] = {}
        before: dict[tuple[Point, Point], tuple[Point, Point] | None] = {}
        for point, way, cost in self._ports(self.source, leave):
            # A wide box is left wherever that is nearest to what lies below.
            cost = 0.0 if self.source.width > 2 * self.target.width else cost
            best[point, way] = cost
            before[point, way] = None
            heapq.heappush(queue, (cost + self._rest(point), len(best), point, way))
        order = len(best)
        done: set[tuple[Point, Point]] = set()
        found: tuple[float, tuple[Point, Point]] | None = None
        while queue:
            guess, _, point, way = heapq.heappop(queue)
            state = (point, way)
            if found is not None and guess >= found[0]:
                break
            if state in done:
                continue
            done.add(state)
            cost = best[state]
            if state in goals:
                total = cost + goals[state]
                if found is None or total < found[0]:
                    found = (total, state)
                continue
            for next_point, next_way in self._steps(point, way, before[state] is None, ends):
                length = self._cost(point, next_point, next_point in ends)
                if length is None:
                    continue
                price = cost + length + (BEND if next_way != way else 0)
                key = (next_point, next_way)
                if price < best.get(key, float("inf")):
                    best[key], before[key] = price, state
                    order += 1
                    heapq.heappush(queue, (price + self._rest(next_point), order, next_point, next_way))
        if found is None:
            return ()
        points = []
        state_: tuple[Point, Point] | None = found[1]
        while state_ is not None:
            points.append(state_[0])
            state_ = before[state_]
        return _straightened(points[::-1])

    def _ports(self, rect: Rect, sides: tuple[str, ...]) -> Iterator[tuple[Point, Point, float]]:
        """Points on the sides of a box, with the way out and what they cost: the middle is best."""
        middle_x, middle_y = rect.center
        for side in sides:
            way = _OUT[side]
            if side in ("top", "bottom"):
                y = rect.y if side == "top" else rect.bottom
                for x in self.xs:
                    if rect.x + CORNER <= x <= rect.right - CORNER:
                        yield (x, y), way, abs(x - middle_x) / 10
            else:
                x = rect.x if side == "left" else rect.right
                for y in self.ys:
                    if rect.y + CORNER <= y <= rect.bottom - CORNER:
                        yield (x, y), way, abs(y - middle_y) / 10 + 4

    def _rest(self, point: Point) -> float:
        x, y = point
        r = self.target
        return max(r.x - x, 0, x - r.right) + max(r.y - y, 0, y - r.bottom)

    def _steps(self, point: Point, way: Point, first: bool, ends: set[Point]) -> Iterator[tuple[Point, Point]]:
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            if (dx, dy) == (-way[0], -way[1]) or (first and (dx, dy) != way):
                continue
            for reached in self._ahead(point, dx, dy, ends):
                yield reached, (dx, dy)

    def _cost(self, a: Point, b: Point, arriving: bool) -> float | None:
        """What going from one crossing to the next costs; None where something is in between."""
        piece = (a, b) if a < b else (b, a)
        if piece not in self.costs:
            self.costs[piece] = self._price(a, b) if self._free(a, b, arriving) else None
        return self.costs[piece]

    def _ahead(self, point: Point, dx: float, dy: float, ends: set[Point]) -> Iterator[Point]:
        """The next crossing that way, and a port of the target that lies before it."""
        x, y = point
        lines: list[float] = self.xs if dx else self.ys
        here = x if dx else y
        index = bisect_left(lines, here)
        if dx + dy > 0:
            index += 1 if index < len(lines) and lines[index] == here else 0
        else:
            index -= 1
        stop = lines[index] if 0 <= index < len(lines) else None
        r = self.target
        border = (r.x if dx > 0 else r.right) if dx else (r.y if dy > 0 else r.bottom)
        passes = (border - here) * (dx + dy)
        port = (border, y) if dx else (x, border)
        if passes > 0 and port in ends and (stop is None or passes <= (stop - here) * (dx + dy)):
            yield port
        elif stop is not None:
            yield (stop, y) if dx else (x, stop)

    def _free(self, a: Point, b: Point, arriving: bool) -> bool:
        left, right = (a[0], b[0]) if a[0] < b[0] else (b[0], a[0])
        top, bottom = (a[1], b[1]) if a[1] < b[1] else (b[1], a[1])
        for x, y, far_x, far_y in self.blocked:
            if x < right + 0.01 and left < far_x and y < bottom + 0.01 and top < far_y:
                return False
        r = self.beside_target
        return arriving or not (r.x < right + 0.01 and left < r.right and r.y < bottom + 0.01 and top < r.bottom)

    def _price(self, a: Point, b: Point) -> float:
        cost = abs(a[0] - b[0]) + abs(a[1] - b[1])
        flat = a[1] == b[1]
        low, high = (min(a[0], b[0]), max(a[0], b[0])) if flat else (min(a[1], b[1]), max(a[1], b[1]))
        at = a[1] if flat else a[0]
        for ((px, py), (qx, qy)), same in self.others:
            if same:
                continue
            if (py == qy) == flat:
                other = py if flat else px
                if abs(other - at) < CLEAR:
                    start, end = sorted((px, qx) if flat else (py, qy))
                    cost += max(0.0, min(high, end) - max(low, start)) * SHARING
            else:
                across = px if flat else py
                start, end = sorted((py, qy) if flat else (px, qx))
                if low < across < high and start < at < end:
                    cost += CROSSING
        return cost


def _straightened(points: list[Point]) -> tuple[Point, ...]:
    """Without the points at which a path goes straight on."""
    kept = points[:1]
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        if not (before[0] == here[0] == after[0] or before[1] == here[1] == after[1]):
            kept.append(here)
    return (*kept, points[-1])
