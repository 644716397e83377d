"""Git revisions of a project: checked out into a directory of their own, so that their plans can be made."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class RevisionError(ValueError):
    """A revision that cannot be had: says what git said."""


@dataclass(frozen=True)
class Revision:
    """One commit."""

    name: str
    """As a person named it."""
    commit: str

    @property
    def label(self) -> str:
        """`main at 1a2b3c4d`."""
        short = self.commit[:8]
        return short if self.commit.startswith(self.name) else f"{self.name} at {short}"


def resolve(name: str, directory: Path) -> Revision:
    """The commit that a name means in the repository around a directory."""
    try:
        commit = _git(directory, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    except RevisionError:
        raise RevisionError(
            f"{name!r} is neither a file nor a revision of this repository; a shallow clone lacks most of them"
        ) from None
    return Revision(name, commit.strip())


def merge_base(revision: Revision, directory: Path) -> Revision:
    """The last commit that a revision and the checked-out one have in common; the revision itself if they have none.

    What a pull request changes is what has changed since then: its target may have moved on.
    """
    try:
        commit = _git(directory, "merge-base", "--end-of-options", revision.commit, "HEAD").strip()
    except RevisionError:
        return revision
    return Revision(revision.name, commit)


@contextmanager
def checked_out(revision: Revision, directory: Path) -> Iterator[Path]:
    """The project as it was: `directory`, in a temporary checkout of the whole repository.

    Through an index of its own, so neither the repository's nor its worktrees are touched.
    """
    prefix = _git(directory, "rev-parse", "--show-prefix").strip()
    with tempfile.TemporaryDirectory(prefix="aicloud-") as temporary:
        root = Path(temporary).resolve() / "repository"
        root.mkdir()
        index = {"GIT_INDEX_FILE": str(root.parent / "index")}
        _git(directory, "read-tree", revision.commit, environment=index)
        _git(directory, "checkout-index", "--all", "--force", f"--prefix={root}/", environment=index)
        # Where a program looks for the repository around it, this one ends.
        (root / ".git").mkdir(exist_ok=True)
        if not (root / prefix).is_dir():
            raise RevisionError(f"{revision.label} has no {prefix.rstrip('/')}")
        yield root / prefix


def _git(directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    except FileNotFoundError:
        raise RevisionError("git is not installed; compare plan files instead") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise RevisionError(f"git {arguments[0]}: {said[-1] if said else f'exit status {done.returncode}'}")
    return done.stdout
