"""What can go wrong with starting a run."""

from __future__ import annotations


class LaunchError(ValueError):
    """A failure that is the user's to mend: the message names what was asked for and what came."""
