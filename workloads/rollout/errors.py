"""What can go wrong with a rollout, each with the exit code by which a pod's status tells it apart."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from workloads import disk


class RolloutError(ValueError):
    """A failure that is the user's to mend: the message names the place, what was found and what is accepted."""

    exit_code = 1


class SpecError(RolloutError):
    """A specification that cannot be followed; 2 is also what argparse exits with."""

    exit_code = 2


class StateError(RolloutError):
    """A state, an observation or a log that is not what was written."""

    exit_code = 3


class RoutingError(RolloutError):
    """Arms, weights or addresses that no request could be routed by."""

    exit_code = 2


class JournalError(RolloutError):
    """The journal, or another file of the rollout's, cannot be read or written."""

    exit_code = 4


class Fenced(RolloutError):
    """Somebody else has changed the weights since: this controller is not the one that decides any more."""

    exit_code = 5


class ShellFailed(RolloutError):
    """The router, the cluster or Prometheus does not do what it is asked to; trying again may help."""

    exit_code = 6


class NotAllowed(RolloutError):
    """Weights that the rollout's state does not allow: nothing was set."""

    exit_code = 7


def on_disk(place: Path) -> AbstractContextManager[None]:
    """Turn what the operating system says about local files into JournalError, with the place."""
    return disk.failures(place, JournalError)
