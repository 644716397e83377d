"""Tells held-out documents apart: a model that is better on the whole may be worse on some of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from workloads.pipelines.errors import ArgumentError

LONG = 4096
"""Bytes from which on a document is long; from a fourth of it on, it is of medium length."""


def _length(name: str, size: int) -> str:  # noqa: ARG001
    return "long" if size >= LONG else "medium" if size >= LONG // 4 else "short"


def _source(name: str, size: int) -> str:  # noqa: ARG001
    """The directory directly below the corpus that it is in."""
    parts = PurePosixPath(name).parts
    return parts[0] if len(parts) > 1 else "."


def _suffix(name: str, size: int) -> str:  # noqa: ARG001
    return PurePosixPath(name).suffix.removeprefix(".") or "none"


KINDS = {"length": _length, "source": _source, "suffix": _suffix}


def kinds(text: str) -> tuple[str, ...]:
    """The kinds of slices that a parameter names. Raises ArgumentError."""
    names = tuple(name for name in text.split(",") if name and name != "none")
    if unknown := [name for name in names if name not in KINDS]:
        raise ArgumentError(f"slices {text!r}: {unknown[0]!r} is none; expected some of {', '.join(KINDS)}, or none")
    return names


def of(name: str, size: int, wanted: Sequence[str]) -> list[str]:
    """The slices of a document, written `length=short`. `name`: its path in the corpus, `size`: its bytes."""
    return [f"{kind}={KINDS[kind](name, size)}" for kind in wanted]


def counts(documents: Iterable[Sequence[str]]) -> Mapping[str, int]:
    """Documents of each slice, the largest first."""
    found: dict[str, int] = {}
    for slices in documents:
        for name in slices:
            found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))
