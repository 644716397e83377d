"""What a diagram shows: boxes inside boxes, their lines of text, and flows between them. No coordinates, no colours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

FLOWS: Mapping[str, str] = {
    "requests": "requests",
    "models": "models and other objects read from a bucket",
    "data": "training data and checkpoints",
    "replication": "replication to another region",
}
"""Kinds of flows, with the legend's words."""


@dataclass(frozen=True)
class Row:
    """One line inside a box."""

    text: str
    note: str = ""
    """Stands at the right end."""
    mark: str = ""
    """Kind of capacity, drawn as a coloured square; empty for none."""


@dataclass(frozen=True)
class Box:
    """Something that is there, with what is inside it."""

    id: str
    """Unique in the picture; a URN where the box is one resource."""
    kind: str
    """cloud, column, region, name, entry, endpoint, network, cluster, group, workload, pool, tiers, tier, replica or
    rest.

    A column, and a row of tiers, only hold others together and are not drawn.
    """
    title: str = ""
    note: str = ""
    """Stands at the right of the title."""
    rows: tuple[Row, ...] = ()
    children: tuple[Box, ...] = ()
    look: str = ""
    """What decides the colour: a cloud, a purpose or a tier."""
    about: str = ""
    """A sentence for whoever points at it, or cannot see it."""

    def __iter__(self) -> Iterator[Box]:
        """The box and all boxes in it, outside in."""
        yield self
        for child in self.children:
            yield from child

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts of the box itself."""
        own = (self.title, self.note, *(text for row in self.rows for text in (row.text, row.note)))
        return tuple(text for text in own if text)


@dataclass(frozen=True)
class Flow:
    """What goes from one box to another."""

    source: str
    target: str
    kind: str
    """A key of `FLOWS`."""
    about: str = ""


@dataclass(frozen=True)
class Picture:
    """All that is drawn of an environment."""

    title: str
    facts: tuple[str, ...]
    """Counts and totals, a line each."""
    names: tuple[Box, ...]
    """Clients, and the names that they ask for."""
    clouds: tuple[Box, ...]
    flows: tuple[Flow, ...] = ()

    @cached_property
    def boxes(self) -> Mapping[str, Box]:
        """Id -> box, in the order in which they are read."""
        return {box.id: box for root in (*self.names, *self.clouds) for box in root}
