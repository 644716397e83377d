"""What the engine is asked and what it answers: token ids in, token ids out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from workloads.serving.errors import ServingError


class BadRequest(ServingError):
    """A request that this model can never answer."""


class QueueFull(ServingError):
    """As many requests wait as may: asking again later, or elsewhere, is safe."""


class Finish(Enum):
    """Why an answer ended."""

    STOP = "stop"
    """The model produced one of the stop tokens; it is not part of the answer."""
    LENGTH = "length"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    ERROR = "error"


@dataclass(frozen=True)
class Request:
    """One prompt and how to go on from it."""

    tokens: Sequence[int]
    """The prompt, at least one token."""
    max_new_tokens: int = 128
    temperature: float = 0.0
    """0: always the likeliest token; 1: as the model says; above 2**-20."""
    top_k: int = 0
    """Only the k likeliest tokens; 0: all."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability."""
    seed: int = 0
    """The same request with the same seed gets the same answer, whoever else is being answered."""
    stop_tokens: Sequence[int] = ()
    deadline_s: float | None = None
    """Seconds after submission at which the answer ends, however long it is by then."""


@dataclass(frozen=True)
class Handle:
    """A request under way."""

    id: int


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a request: a token, its end, or both at once."""

    request_id: int
    token: int | None = None
    finished: Finish | None = None
    error: str | None = None
    """Of a finish by deadline or error: what happened."""


def check(request: Request, *, vocabulary: int, context: int) -> None:
    """Raises BadRequest, with the field, its value and what is accepted.

    `context`: the longest prompt and answer together, in tokens.
    """
    count = len(request.tokens)
    if not 1 <= count < context:
        raise BadRequest(f"tokens: {count} of them; expected 1 to {context - 1}")
    for name, tokens in (("tokens", request.tokens), ("stop_tokens", request.stop_tokens)):
        if not all(type(token) is int for token in tokens):
            wrong = next(token for token in tokens if type(token) is not int)
            raise BadRequest(f"{name}: {wrong!r:.80}: expected whole numbers")
        if tokens and (min(tokens) < 0 or max(tokens) >= vocabulary):
            wrong = next(token for token in tokens if not 0 <= token < vocabulary)
            raise BadRequest(f"{name}: {wrong}: expected 0 to {vocabulary - 1}")
    _whole("max_new_tokens", request.max_new_tokens, 1, context - count)
    _whole("top_k", request.top_k, 0, math.inf)
    _whole("seed", request.seed, 0, 2**64 - 1)
    temperature = request.temperature
    if not (_is_number(temperature) and (temperature == 0 or 2**-20 <= temperature < math.inf)):
        raise BadRequest(f"temperature: {temperature!r:.80}: expected 0, or a number from 2**-20")
    if not (_is_number(request.top_p) and 0 < request.top_p <= 1):
        raise BadRequest(f"top_p: {request.top_p!r:.80}: expected a number above 0, up to 1")
    if request.deadline_s is not None and not (_is_number(request.deadline_s) and request.deadline_s > 0):
        raise BadRequest(f"deadline_s: {request.deadline_s!r:.80}: expected seconds above 0, or none")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _whole(name: str, value: object, low: int, high: float) -> None:
    if type(value) is not int or not low <= value <= high:
        most = f" to {high}" if high < math.inf else ""
        raise BadRequest(f"{name}: {value!r:.80}: expected a whole number from {low}{most}")
