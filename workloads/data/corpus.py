"""Text to learn from: files in a deterministic order, each once, some of them held out."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workloads.data.errors import ArgumentError

SUFFIXES = (".py", ".txt", ".md", ".rst")


@dataclass(frozen=True)
class Corpus:
    """Files below `root`, by their relative paths; `train` and `validation` have no file in common, nor a text."""

    name: str
    root: Path
    train: tuple[str, ...]
    validation: tuple[str, ...]
    repeated: int
    """Files left out as another has the same bytes: one of the two could be held out and the other learnt."""
    not_text: int
    """Files left out as they are empty or not UTF-8."""

    def text(self, name: str) -> str:
        return (self.root / name).read_bytes().decode()


def standard_library(held_out: float) -> Corpus:
    """The sources of this Python's standard library, without what was installed beside it."""
    root = Path(sysconfig.get_path("stdlib"))
    name = f"Python {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro} standard library"
    return _corpus(name, root, (".py",), held_out)


def directory(root: Path, held_out: float, suffixes: Sequence[str] = SUFFIXES) -> Corpus:
    """Every file below `root` whose name ends in one of `suffixes`. Hidden ones are left out."""
    if not root.is_dir():
        raise ArgumentError(f"corpus {str(root)!r}: expected stdlib or a directory with text files")
    return _corpus(root.name, root, suffixes, held_out)


def _corpus(name: str, root: Path, suffixes: Sequence[str], held_out: float) -> Corpus:
    """Which side a file is on depends on nothing but its content: it stays there when files are added or renamed."""
    if not 0 < held_out < 1:
        raise ArgumentError(f"held-out part {held_out}: expected more than 0 and less than 1")
    texts: dict[str, str] = {}
    repeated = not_text = 0
    for path in _files(root, suffixes):
        data = (root / path).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if not data or not _is_text(data):
            not_text += 1
        elif digest in texts:
            repeated += 1
        else:
            texts[digest] = path
    if len(texts) < 2:
        raise ArgumentError(
            f"corpus {root}: {len(texts)} different text files ({', '.join(suffixes)}); at least 2 are needed, "
            "one of them to be held out"
        )
    validation = {path for digest, path in texts.items() if int(digest[:12], 16) < held_out * 16**12}
    if not validation or len(validation) == len(texts):
        # Few files: one is held out, the same one each time.
        validation = {texts[min(texts)]}
    ordered = sorted(texts.values())
    train = tuple(path for path in ordered if path not in validation)
    return Corpus(name, root, train, tuple(path for path in ordered if path in validation), repeated, not_text)


def _files(root: Path, suffixes: Sequence[str]) -> list[str]:
    """Relative paths, sorted: directories list their files in whatever order they like."""
    installed = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    found = []
    for suffix in set(suffixes):
        for path in root.rglob(f"*{suffix}"):
            relative = path.relative_to(root)
            hidden = any(part.startswith(".") or part in ("__pycache__", "site-packages") for part in relative.parts)
            if not hidden and path.is_file() and installed.isdisjoint(path.parents):
                found.append(relative.as_posix())
    return sorted(set(found))


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data
