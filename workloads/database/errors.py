"""What can go wrong with a login."""

from __future__ import annotations


class DatabaseError(ValueError):
    """A failure that is the user's to mend: the message names what was asked for, what came and what is accepted."""
