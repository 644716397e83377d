"""A picture as Mermaid text, which GitHub draws inside a README: coarser than the SVG, laid out where it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from planner.diagram import looks
from planner.diagram.picture import Box, Flow, Picture

_ARROWS = {"requests": "-->", "models": "-.->", "data": "==>", "replication": "-.->"}
_WORDS = {"requests": "", "models": "models", "data": "data", "replication": "replication"}
_SHAPES = {"name": ("([", "])"), "tier": ("[(", ")]"), "replica": ("[(", ")]")}
_MOST_EDGES = 400
"""GitHub draws no more than 500."""


def mermaid(picture: Picture) -> str:
    """The picture as a Mermaid flowchart."""
    return "\n".join(_Writer(picture).lines()) + "\n"


class _Writer:
    """The steps of `mermaid`."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.ids: dict[str, str] = {}
        self.classes: dict[str, list[str]] = {}

    def lines(self) -> Iterator[str]:
        yield "flowchart TB"
        yield f"  accTitle: {_plain(self.picture.title)}"
        yield f"  accDescr: {_plain('; '.join(self.picture.facts))}"
        for box in (*self.picture.names, *self.picture.clouds):
            yield from self._box(box, 1, "")
        edges = [edge for flow in self.picture.flows if (edge := self._edge(flow))]
        yield from dict.fromkeys(edges[:_MOST_EDGES])
        for key, members in sorted(self.classes.items()):
            kind, _, look = key.partition("-")
            own = looks.look_of(kind, look)
            yield f"  classDef {key.replace('-', '_')} fill:{own.fill},stroke:{own.edge},color:{own.ink}"
            yield f"  class {','.join(members)} {key.replace('-', '_')}"

    def _box(self, box: Box, depth: int, place: str) -> Iterator[str]:
        pad = "  " * depth
        if box.kind in ("column", "tiers", "group"):
            for child in box.children:
                yield from self._box(child, depth, place)
            # A flow to a group goes to the first box in it.
            inside = next((self.ids[child.id] for child in box.children if child.id in self.ids), "")
            if inside:
                self.ids[box.id] = inside
            return
        if box.kind == "network" and box.children:
            for child in box.children:
                yield from self._box(child, depth, f" in {box.title}")
            return
        id = self.ids[box.id] = f"n{len(self.ids)}"
        if box.kind in ("cloud", "region", "cluster") and box.children:
            self.classes.setdefault(f"{box.kind}-{box.look}".rstrip("-"), []).append(id)
            yield f'{pad}subgraph {id}["{_label([box.title + place])}"]'
            for child in box.children:
                yield from self._box(child, depth + 1, "")
            yield f"{pad}end"
            return
        self.classes.setdefault(f"{box.kind}-{box.look}".rstrip("-"), []).append(id)
        opening, closing = _SHAPES.get(box.kind, ("[", "]"))
        rows = [" ".join(filter(None, (row.text, row.note))) for row in box.rows]
        title = " · ".join(filter(None, (box.title, box.note)))
        yield f'{pad}{id}{opening}"{_label([title, *rows])}"{closing}'

    def _edge(self, flow: Flow) -> str:
        source, target = self.ids.get(flow.source), self.ids.get(flow.target)
        if not source or not target or source == target:
            return ""
        words = _WORDS[flow.kind]
        return f"  {source} {_ARROWS[flow.kind]}{f'|{words}|' if words else ''} {target}"


_ENTITIES: Mapping[str, str] = {c: f"#{ord(c)};" for c in '&"<>`#\\[]{}|'}


def _label(lines: list[str]) -> str:
    """Lines inside quotes; whatever Mermaid or Markdown could take for syntax is an entity."""
    cleaned = ["".join(_ENTITIES.get(c, c if c >= " " else " ") for c in line) for line in lines if line]
    # A label that begins like `1. ` is taken for a Markdown list.
    return "<br/>".join(line.replace(". ", "#46; ", 1) if line[:1].isdigit() else line for line in cleaned)


def _plain(words: str) -> str:
    return "".join(c if c >= " " and c not in ";{}#" else "," if c == ";" else " " for c in words)
