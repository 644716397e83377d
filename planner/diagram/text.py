"""How wide texts are, and where they break.

Measured in Bitstream Vera Sans, which reportlab carries: the PNG is drawn with that very font, so it looks the same on
a machine that has no fonts at all, and what a browser picks for the SVG (Helvetica, Arial, Liberation) is narrower.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

REGULAR, BOLD = "Vera", "VeraBd"
FAMILIES = "Helvetica, Arial, 'Liberation Sans', 'Bitstream Vera Sans', 'DejaVu Sans', sans-serif"
"""What the SVG asks for; none is wider than what was measured."""
PNG_FAMILY = "Bitstream Vera Sans"
LINE = 1.32
"""Height of a line, in font sizes."""
WIDE = 1.05
"""Width in font sizes of a character that the font lacks, such as a Chinese one."""


def font_files() -> list[Path]:
    """The two fonts."""
    import reportlab

    fonts = Path(reportlab.__file__).parent / "fonts"
    return [fonts / f"{name}.ttf" for name in (REGULAR, BOLD)]


def knows(text: str) -> bool:
    """Whether the font has every character of a text."""
    faces = _font(REGULAR).face.charToGlyph
    return all(ord(character) in faces for character in text if not character.isspace())


def width(text: str, size: float, bold: bool = False) -> float:
    """Width of a line of text, in the font size's unit."""
    widths = _widths(BOLD if bold else REGULAR)
    return sum(widths.get(ord(character), WIDE * 1000) for character in text) * size / 1000


def wrap(text: str, size: float, bold: bool, room: float) -> tuple[str, ...]:
    """Lines that fit: broken between words, else at a hyphen, dot or slash, else anywhere."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if width(joined, size, bold) <= room:
            line = joined
            continue
        if line:
            lines.append(line)
        *full, line = _pieces(word, size, bold, room)
        lines += full
    return (*lines, line)


def _pieces(word: str, size: float, bold: bool, room: float) -> list[str]:
    found = []
    while width(word, size, bold) > room and len(word) > 1:
        end = next((n for n in range(len(word) - 1, 0, -1) if width(word[:n], size, bold) <= room), 1)
        breaks = [n for n in range(2, end + 1) if word[n - 1] in "-./_:"]
        end = breaks[-1] if breaks else end
        found.append(word[:end])
        word = word[end:]
    return [*found, word]


@cache
def _font(name: str):
    from reportlab.pdfbase.ttfonts import TTFont

    return TTFont(name, f"{name}.ttf")


@cache
def _widths(name: str) -> dict[int, float]:
    return dict(_font(name).face.charWidths)
