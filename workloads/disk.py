"""Local files: on the medium, replaced as a whole or not at all, and what the operating system says of them."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def failures(place: Path, kind: type[ValueError]) -> Iterator[None]:
    """Turn what the operating system says about local files into an error of the caller's own, with the place."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise kind(f"{error.filename or place}: {'no space left' if full else error.strerror or error}") from error


def sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the medium: a power loss may undo a rename otherwise."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, text: str) -> None:
    """Put a text in a file's place, whose directory is made: whatever happens meanwhile, the old or the new is there.

    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    sync(path.parent)
