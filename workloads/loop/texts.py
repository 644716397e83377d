"""Texts that every Python has: its library's code, and the English of its language reference.

The champion learns code. What users ask about later is English, which it never saw: so its bits per byte really get
worse, and a model that has learnt both is really better.
"""

from __future__ import annotations

import hashlib
import random
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CODE, PROSE = "code", "prose"
KINDS = (CODE, PROSE)
LEFT_OUT = ("site-packages", "test", "pydoc_data", "idlelib", "lib2to3", "encodings", "lib-dynload", "ensurepip")
CODE_BYTES = 1_500_000
"""Of code in all: enough for a model that learns for a minute."""
PART_BYTES = 6000
"""Of a document, about: an evaluation counts documents, and a few long ones say little."""
ASKED = 0.15
"""Part of the texts that users ask about, and no model learns."""


@dataclass(frozen=True)
class Document:
    """A part of a file of code, or of a topic of the language reference."""

    kind: str
    name: str
    text: str


@dataclass(frozen=True)
class Library:
    """No file and no topic is in both: nobody is asked about what a model may have learnt."""

    learnt: tuple[Document, ...]
    asked: tuple[Document, ...]

    def passages(self, size: int) -> dict[str, list[str]]:
        """What users ask about, by kind, each of at most `size` bytes."""
        return {kind: passages([d.text for d in self.asked if d.kind == kind], size) for kind in KINDS}

    def write(self, kinds: Sequence[str], directory: Path, through: Callable[[str], str] = lambda text: text) -> Path:
        """What is to be learnt of these kinds, as `directory/<kind>/<name>.txt`. `through`: what becomes of a text."""
        for kind in kinds:
            (directory / kind).mkdir(parents=True, exist_ok=True)
            for document in self.learnt:
                if document.kind == kind:
                    (directory / kind / f"{document.name}.txt").write_text(through(document.text), encoding="utf-8")
        return directory


def library() -> Library:
    """The same on every run of one Python: who may learn a text depends on nothing but its name."""
    learnt: list[Document] = []
    asked: list[Document] = []
    for kind, name, text in [*_code(), *_prose()]:
        share = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 16**8
        parts = [Document(kind, f"{name}-{i:02d}", part) for i, part in enumerate(_parts(text))]
        (asked if share < ASKED else learnt).extend(parts)
    return Library(tuple(learnt), tuple(asked))


def _code() -> Iterator[tuple[str, str, str]]:
    root = Path(sysconfig.get_path("stdlib"))
    paths = [path.relative_to(root).as_posix() for path in (*root.glob("*.py"), *root.glob("*/*.py"))]
    found = sorted(path for path in paths if not path.startswith(LEFT_OUT))
    # Not the first of the alphabet, and the same ones each time.
    random.Random(0).shuffle(found)
    size = 0
    for name in found:
        if size >= CODE_BYTES:
            return
        try:
            text = (root / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        size += len(text)
        yield CODE, name.replace("/", "."), text


def _prose() -> Iterator[tuple[str, str, str]]:
    from pydoc_data.topics import topics

    for name, text in sorted(topics.items()):
        yield PROSE, name, text


def _parts(text: str) -> list[str]:
    """Whole lines, about PART_BYTES of them together."""
    parts: list[str] = []
    for line in text.splitlines(keepends=True):
        if not parts or len(parts[-1]) >= PART_BYTES:
            parts.append("")
        parts[-1] += line
    return [part for part in parts if part.strip()]


def passages(texts: Sequence[str], size: int) -> list[str]:
    """Whole lines together, each passage of at most `size` bytes of UTF-8 and at least half as many."""
    found = []
    for text in texts:
        held, length = "", 0
        for line in [*text.splitlines(keepends=True), ""]:
            count = len(line.encode())
            if length + count > size or not line:
                if length >= size // 2:
                    found.append(held)
                held, length = "", 0
            if count <= size:
                held, length = held + line, length + count
    return found
