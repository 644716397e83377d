"""All that a program fails at, not only the first of it: registrations and applies that raised, with their line."""

from __future__ import annotations

import contextvars
import functools
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pulumi.runtime.proto import source_pb2
from pulumi.runtime.rpc_manager import RPCManager


@dataclass
class Failure:
    """One error of a program."""

    error: BaseException
    """As it arrived, wrapped by the SDK or not."""
    cause: BaseException
    """What was raised first."""
    frames: list[traceback.FrameSummary]
    """The way to where it was raised, outermost first."""
    position: source_pb2.SourcePosition | None
    """The line of the resource that failed for it."""


class Failures:
    """Errors of one run. An error that reaches many through their inputs is one error."""

    def __init__(self) -> None:
        self._by_cause: dict[int, Failure] = {}

    def __bool__(self) -> bool:
        return bool(self._by_cause)

    def __iter__(self) -> Iterator[Failure]:
        return iter(self._by_cause.values())

    def add(self, error: BaseException, position: source_pb2.SourcePosition | None = None) -> None:
        cause = _root_cause(error)
        known = self._by_cause.get(id(cause))
        if known is None:
            # Now: each time that an exception is raised again, its traceback changes, and loses the program's frames.
            frames = list(traceback.extract_tb(cause.__traceback__))
            self._by_cause[id(cause)] = Failure(error, cause, frames, position)
        elif known.position is None:
            known.position = position


CURRENT: contextvars.ContextVar[Failures] = contextvars.ContextVar("failures")
"""Where the run that is under way collects what fails."""


def remembering_the_line(do_rpc: Callable[..., Any]) -> Callable[..., Any]:
    """RPCManager.do_rpc, with the line of the program added to what fails in it.

    The SDK serializes a resource's inputs long after the line that made it, so its own traceback has lost the program.
    """

    @functools.wraps(do_rpc)
    def do(self: RPCManager, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        position = sys._getframe(1).f_locals.get("source_position")

        async def collecting(*args: Any, **kwargs: Any) -> Any:
            try:
                return await function(*args, **kwargs)
            except Exception as error:
                CURRENT.get().add(error, position)
                raise

        return do_rpc(self, name, collecting)

    return do


def _root_cause(error: BaseException) -> BaseException:
    """What was raised first; the SDK wraps it in others on its way."""
    seen: set[int] = set()
    while error.__cause__ is not None and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__
    return error
