"""Who is computed next: pure decisions about admission, prompts in parts, and slots of the cache.

A slot holds the keys and values of one sequence. Sequences that are being answered have the first slots, without gaps,
so that a step reads the cache as one slice; those whose prompt is still being read follow, in the order in which they
came. At most one of the latter is half read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What bounds the engine's memory and the length of a step."""

    slots: int
    """Sequences under way at once."""
    waiting: int
    """Requests that may wait for a slot."""
    prompt_tokens: int
    """Tokens of prompts that one step reads at most: what a new request may delay the tokens of others."""


def admitted(waiting: Sequence[int], free: int) -> tuple[int, ...]:
    """Who of those that wait, the oldest first, gets one of `free` slots: first come, first served."""
    return tuple(waiting[:free])


def parts(unread: Sequence[int], limits: Limits) -> tuple[int, ...]:
    """How many tokens of each prompt this step reads. `unread`: tokens left of each, the oldest first.

    The oldest is read to its end before the next one begins: so the first answers begin as early as they can, and
    whoever is finished first is who has the lowest slot.
    """
    left, shares = limits.prompt_tokens, []
    for tokens in unread:
        share = min(tokens, left)
        shares.append(share)
        left -= share
    return tuple(shares)


@dataclass(frozen=True)
class Move:
    """Copy what is cached of one sequence to another slot. Moves are made in their order."""

    source: int
    target: int


def close_gaps(answering: Sequence[bool], reading: Sequence[bool]) -> tuple[Move, ...]:
    """Moves after which no slot is empty between others. True: the sequence of that slot stays, False: it has left.

    `answering` has the first slots and `reading` those after them. The last ones that are being answered fill the gaps,
    as whichever slot they have does not matter; those whose prompts are being read keep their order.
    """
    moves = []
    kept = sum(answering)
    sources = [slot for slot in range(kept, len(answering)) if answering[slot]]
    for target in range(kept):
        if not answering[target]:
            moves.append(Move(sources.pop(), target))
    target = kept
    for index, stays in enumerate(reading):
        source = len(answering) + index
        if stays:
            if source != target:
                moves.append(Move(source, target))
            target += 1
    return tuple(moves)
