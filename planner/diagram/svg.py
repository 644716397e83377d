"""A drawing as SVG, and that as PNG: the same bytes for the same plan."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from planner.diagram import looks, text
from planner.diagram.geometry import Drawing, Line, Mark, Shape, Text

_UNDRAWN = ("column", "tiers", "header", "legend")
_ARROW = 6.5


def svg(drawing: Drawing) -> str:
    """The drawing as an SVG document of its own."""
    width, height = f"{drawing.width:g}", f"{drawing.height:g}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-labelledby="title description" font-family="{escape(text.FAMILIES)}">',
        f'<title id="title">{_clean(drawing.title)}</title>',
        f'<desc id="description">{_clean(drawing.description)}</desc>',
        f'<rect width="{width}" height="{height}" rx="12" fill="{looks.PAGE}"/>',
    ]
    for shape in drawing.shapes:
        lines += _shape(shape)
    for line in drawing.lines:
        lines.append(_line(line))
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def png(drawing: Drawing, scale: float = 2.0) -> bytes:
    """The drawing as PNG, `scale` pixels for each of the drawing's. Needs no fonts on the machine for Latin text."""
    import resvg_py

    document = svg(drawing).replace(escape(text.FAMILIES), text.PNG_FAMILY)
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=document,
            zoom=scale,
            font_files=[str(path) for path in text.font_files()],
            font_family=text.PNG_FAMILY,
            # Names in other scripts are left to the machine's fonts, if it has any.
            skip_system_fonts=text.knows("".join(t for s in drawing.shapes for t in s.box.texts)),
        )
    )


def _shape(shape: Shape) -> Iterator[str]:
    box = shape.box
    if box.kind not in _UNDRAWN:
        yield f"<g>{f'<title>{_clean(box.about)}</title>' if box.about else ''}"
        look, r = looks.look_of(box.kind, box.look), shape.rect
        dash = f' stroke-dasharray="{look.dash}"' if look.dash else ""
        yield (
            f'<rect x="{r.x:g}" y="{r.y:g}" width="{r.width:g}" height="{r.height:g}" rx="{look.radius:g}" '
            f'fill="{look.fill}" stroke="{look.edge}" stroke-width="{look.weight:g}"{dash}/>'
        )
    for mark in shape.marks:
        yield from _mark(mark)
    for words in shape.texts:
        yield _text(words, looks.ink(box.kind, box.look, words.tone))
    if box.kind not in _UNDRAWN:
        yield "</g>"


def _text(words: Text, ink: str) -> str:
    x = words.rect.right if words.end else words.rect.x
    step = words.size * text.LINE
    weight = ' font-weight="bold"' if words.bold else ""
    anchor = ' text-anchor="end"' if words.end else ""
    start = (
        f'<text x="{x:g}" y="{words.rect.y + words.size:g}" font-size="{words.size:g}" fill="{ink}"{weight}{anchor}>'
    )
    first, *rest = (_clean(line) for line in words.lines)
    more = "".join(f'<tspan x="{x:g}" dy="{step:g}">{line}</tspan>' for line in rest)
    return f"{start}{first}{more}</text>"


def _mark(mark: Mark) -> Iterator[str]:
    kind, _, name = mark.kind.partition(":")
    r = mark.rect
    if kind == "flow":
        colour, dash = looks.FLOWS[name]
        yield _stroke(((r.x, r.center[1]), (r.right, r.center[1])), colour, dash)
        return
    look = looks.look_of("tier" if name in ("hot", "warm", "cold") else "group" if kind == "look" else "", name)
    if name == "replica":
        look = looks.look_of("replica", "")
    fill, edge = (looks.RUNGS[name], looks.RUNGS[name]) if kind == "rung" else (look.fill, look.edge)
    yield (
        f'<rect x="{r.x:g}" y="{r.y:g}" width="{r.width:g}" height="{r.height:g}" rx="2" '
        f'fill="{fill}" stroke="{edge}"/>'
    )


def _line(line: Line) -> str:
    colour, dash = looks.FLOWS[line.flow.kind]
    return _stroke(line.points, colour, dash)


def _stroke(points: tuple[tuple[float, float], ...], colour: str, dash: str) -> str:
    """A path with round bends and an arrow at its end, with a light edge so that it stands out from what it crosses."""
    (ax, ay), (bx, by) = points[-2], points[-1]
    dx, dy = (bx > ax) - (bx < ax), (by > ay) - (by < ay)
    tail = (*points[:-1], (bx - dx * _ARROW, by - dy * _ARROW))
    path = "M" + " L".join(f"{x:g} {y:g}" for x, y in tail)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    half = _ARROW * 0.55
    head = (
        f"M{bx:g} {by:g} L{bx - dx * _ARROW - dy * half:g} {by - dy * _ARROW - dx * half:g} "
        f"L{bx - dx * _ARROW + dy * half:g} {by - dy * _ARROW + dx * half:g}Z"
    )
    return (
        f'<path d="{path}" fill="none" stroke="{looks.PAGE}" stroke-width="4.5" stroke-linejoin="round"/>'
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-linejoin="round"{dashes}/>'
        f'<path d="{head}" fill="{colour}"/>'
    )


def _clean(words: str) -> str:
    """Text for XML: escaped, without the characters that no XML may hold."""
    return escape("".join(c if c >= " " and c not in "\ufffe\uffff" else " " for c in words))
