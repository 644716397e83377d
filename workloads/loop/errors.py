"""What can go wrong with the loop, each with an exit code."""

from __future__ import annotations


class LoopError(ValueError):
    """A failure that is the user's to mend: the message names the place, what was found and what is accepted."""

    exit_code = 1


class ArgumentError(LoopError):
    """A directory or option that cannot be used; 2 is also what argparse exits with."""

    exit_code = 2


class StageFailed(LoopError):
    """A stage of the loop did not do what it is there for. The page has been written all the same."""

    exit_code = 3
