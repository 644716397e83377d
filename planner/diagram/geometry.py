"""A picture with coordinates: what lies where, in pixels of a page whose origin is the upper left corner."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from planner.diagram.picture import Box, Flow


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """x of its right side."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """y of its lower side."""
        return self.y + self.height

    @property
    def center(self) -> tuple[float, float]:
        """Its middle."""
        return self.x + self.width / 2, self.y + self.height / 2

    def holds(self, other: Rect) -> bool:
        """Whether the other one lies in it."""
        return self.x <= other.x and self.y <= other.y and other.right <= self.right and other.bottom <= self.bottom

    def overlaps(self, other: Rect) -> bool:
        """Whether they share more than a side."""
        return self.x < other.right and other.x < self.right and self.y < other.bottom and other.y < self.bottom

    def grown(self, by: float) -> Rect:
        """Larger on each side."""
        return Rect(self.x - by, self.y - by, self.width + 2 * by, self.height + 2 * by)


@dataclass(frozen=True, slots=True)
class Text:
    """Lines of text in a rectangle, at its left or right side."""

    rect: Rect
    lines: tuple[str, ...]
    size: float
    bold: bool = False
    end: bool = False
    """Whether it stands at the right."""
    tone: str = "row"
    """title, row, note or fact: decides the colour."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A small sign of colour: a kind of capacity, or a sample in the legend."""

    rect: Rect
    kind: str
    """`rung:spot`, `flow:requests`, `look:serving`."""


@dataclass(frozen=True)
class Shape:
    """A box where it lies, with its texts."""

    box: Box
    rect: Rect
    parent: str
    """Id of the box around it; empty for the outermost."""
    texts: tuple[Text, ...] = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Line:
    """A flow as a path of horizontal and vertical pieces."""

    flow: Flow
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Drawing:
    """All of it, ready to be written in some format."""

    title: str
    description: str
    width: float
    height: float
    shapes: tuple[Shape, ...]
    """Outside in: what comes later lies on top."""
    lines: tuple[Line, ...]

    @cached_property
    def by_id(self) -> dict[str, Shape]:
        """Id of a box -> its shape."""
        return {shape.box.id: shape for shape in self.shapes}
