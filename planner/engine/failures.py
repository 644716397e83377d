"""All that a program fails at, not only the first of it: registrations and applies that raised, with their line."""

from __future__ import annotations

import contextvars
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pulumi.runtime.proto import source_pb2
from pulumi.runtime.rpc_manager import RPCManager


@dataclass
class Failures:
    """Errors of one run. An error that reaches many through their inputs is one error."""

    errors: dict[int, tuple[BaseException, source_pb2.SourcePosition | None]] = field(default_factory=dict)

    def add(self, error: BaseException, position: source_pb2.SourcePosition | None = None) -> None:
        root = _root_cause(error)
        known = self.errors.get(id(root))
        if known is None or (known[1] is None and position is not None):
            self.errors[id(root)] = (error, position)


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
    seen: set[int] = set()
    while error.__cause__ is not None and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__
    return error
