"""What can go wrong with a rollout, each with the exit code by which a pod's status tells it apart."""

from __future__ import annotations


class RolloutError(ValueError):
    """A failure that is the user's to mend: the message names the place, what was found and what is accepted."""

    exit_code = 1


class SpecError(RolloutError):
    """A specification that cannot be followed; 2 is also what argparse exits with."""

    exit_code = 2


class StateError(RolloutError):
    """A state, an observation or a log that is not what was written."""

    exit_code = 3
