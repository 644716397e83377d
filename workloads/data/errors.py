"""What can go wrong with a dataset, each with the exit code by which a job's status tells it apart."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from workloads import disk


class DataError(ValueError):
    """A failure that is the user's to mend: the message names the place, what was found and what is accepted."""

    exit_code = 1


class ArgumentError(DataError):
    """A URL, size or option that cannot be used; 2 is also what argparse exits with."""

    exit_code = 2


class NotADataset(DataError):
    """There is no manifest where one should be, or it cannot be trusted."""

    exit_code = 3


class WrongDataset(DataError):
    """The position belongs to another dataset, or to another way of cutting and shuffling it."""

    exit_code = 3


class BadShard(DataError):
    """A shard is missing, truncated, or not what the manifest says."""

    exit_code = 4

    def __init__(self, place: str, expected: str, found: str) -> None:
        super().__init__(f"shard {place}: expected {expected}, found {found}")
        self.place, self.expected, self.found = place, expected, found


class DiskFailed(DataError):
    """The local disk or the cache has no room, or a place on it cannot be read or written."""

    exit_code = 5


class StoreFailed(DataError):
    """The object store refused or did not answer, retries included."""

    exit_code = 6


class Closed(DataError):
    """What was asked for is no longer wanted: the dataset was closed meanwhile."""


def on_disk(place: Path) -> AbstractContextManager[None]:
    """Turn what the operating system says about local files into DiskFailed, with the place."""
    return disk.failures(place, DiskFailed)
