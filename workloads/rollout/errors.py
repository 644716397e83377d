"""What can go wrong with a rollout, each with the exit code by which a pod's status tells it apart."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path


class RolloutError(ValueError):
    """A failure that is the user's to mend: the message names the place, what was found and what is accepted."""

    exit_code = 1


class RoutingError(RolloutError):
    """Arms or weights that no request could be routed by."""

    exit_code = 2


class JournalError(RolloutError):
    """The journal cannot be read or written, or is not of this rollout."""

    exit_code = 3


class Fenced(RolloutError):
    """Somebody else has changed the weights since: this controller is not the one that decides any more."""

    exit_code = 4


class RouteFailed(RolloutError):
    """The router, or the cluster's API, does not do what it is asked to; trying again may help."""

    exit_code = 5


class NotAllowed(RolloutError):
    """Weights that the rollout's state does not allow: nothing was set."""

    exit_code = 6


@contextlib.contextmanager
def on_disk(place: Path) -> Iterator[None]:
    """Turn what the operating system says about local files into JournalError, with the place."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise JournalError(
            f"{error.filename or place}: {'no space left' if full else error.strerror or error}"
        ) from error
