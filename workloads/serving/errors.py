"""What can go wrong with a model repository, each with the exit code by which a pod's status tells it apart."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from workloads import disk


class ServingError(ValueError):
    """A failure that is the user's to mend: the message names the place, what was found and what is accepted."""

    exit_code = 1


class ArgumentError(ServingError):
    """A URL or option that cannot be used; 2 is also what argparse exits with."""

    exit_code = 2


class NotInStore(ServingError):
    """A manifest, or a file that a manifest names, is not in the repository."""

    exit_code = 3


class VerificationFailed(ServingError):
    """What was read is not what the manifest promises, or the manifest itself cannot be trusted."""

    exit_code = 4


class DiskFailed(ServingError):
    """The local disk has no room, or a place on it cannot be read or written."""

    exit_code = 5


class StoreFailed(ServingError):
    """The object store refused or did not answer, retries included."""

    exit_code = 6


def on_disk(place: Path) -> AbstractContextManager[None]:
    """Turn what the operating system says about local files into DiskFailed, with the place."""
    return disk.failures(place, DiskFailed)
