"""Texts that every Python has: its library's code, and the English of its language reference.

The champion learns code. What users ask about later is English, which it never saw: so its bits per byte really get
worse, and a model that has learnt both is really better.
"""

from __future__ import annotations

import hashlib
import random
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CODE, PROSE = "code", "prose"
KINDS = (CODE, PROSE)
LEFT_OUT = ("site-packages", "test", "pydoc_data", "idlelib", "lib2to3", "encodings", "lib-dynload", "ensurepip")
CODE_BYTES = 3_000_000
"""Of code in all: enough for a model that learns for a minute."""


@dataclass(frozen=True)
class Document:
    """One file of code, or one topic of the language reference."""

    kind: str
    name: str
    text: str


@dataclass(frozen=True)
class Library:
    """Documents by use: none is in two of them, so nobody is asked about, or judged on, what was learnt."""

    learnt: tuple[Document, ...]
    """For training, and what it holds out by itself."""
    judged: tuple[Document, ...]
    """For evaluations, by slice."""
    asked: tuple[Document, ...]
    """What users ask about."""

    def of(self, use: str, kind: str) -> list[Document]:
        return [document for document in getattr(self, use) if document.kind == kind]

    def write(self, use: str, kinds: Sequence[str], directory: Path) -> Path:
        """Those documents as files, for `workloads.data.corpus.directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        for kind in kinds:
            for document in self.of(use, kind):
                (directory / f"{kind}-{document.name}.txt").write_text(document.text, encoding="utf-8")
        return directory


def library(code_bytes: int = CODE_BYTES) -> Library:
    """The same on every run of one Python: which use a document has depends on nothing but its name."""
    uses: dict[str, list[Document]] = {"learnt": [], "judged": [], "asked": []}
    for document in [*_code(code_bytes), *_prose()]:
        part = int(hashlib.sha256(document.name.encode()).hexdigest()[:8], 16) % 10
        uses["asked" if part < 3 else "judged" if part < 4 else "learnt"].append(document)
    return Library(*(tuple(uses[name]) for name in ("learnt", "judged", "asked")))


def _code(most: int) -> list[Document]:
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for path in sorted([*root.glob("*.py"), *root.glob("*/*.py")]):
        name = path.relative_to(root).as_posix()
        if name.startswith(LEFT_OUT):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found.append(Document(CODE, name.replace("/", "."), text))
    # Not the first of the alphabet, and the same ones each time.
    random.Random(0).shuffle(found)
    kept, size = [], 0
    for document in found:
        if size < most:
            kept.append(document)
            size += len(document.text)
    return kept


def _prose() -> list[Document]:
    from pydoc_data.topics import topics

    return [Document(PROSE, name, text) for name, text in sorted(topics.items())]


def passages(documents: Sequence[Document], size: int) -> list[str]:
    """Whole lines together, each passage of at most `size` bytes of UTF-8 and at least half of them."""
    found = []
    for document in documents:
        held: list[str] = []
        length = 0
        for line in document.text.splitlines(keepends=True):
            bytes_ = len(line.encode())
            if held and length + bytes_ > size:
                if length >= size // 2:
                    found.append("".join(held))
                held, length = [], 0
            if bytes_ <= size:
                held.append(line)
                length += bytes_
        if length >= size // 2:
            found.append("".join(held))
    return found
