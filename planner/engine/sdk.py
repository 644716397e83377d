"""Changes to the running Pulumi SDK for the length of one preview: where a call came from, and the SDK's slow paths.

Nothing here changes what a program registers; `tests/planner/test_sdk.py` holds plans with and without it equal.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import pulumi
import pulumi.runtime
from pulumi.runtime import resource, resource_cycle_breaker, rpc, stack
from pulumi.runtime.proto import resource_pb2, source_pb2
from pulumi.runtime.rpc_manager import RPCManager

from planner.engine import failures, sdk_imports, sdk_speed

NOT_THE_PROGRAM = (pulumi.__path__[0], str(Path(__file__).parents[1]), "<frozen")
"""Files whose frames are not the program's: the SDK's, the planner's, the interpreter's."""
INVOKED_FROM: contextvars.ContextVar[source_pb2.SourcePosition | None] = contextvars.ContextVar(
    "invoked_from", default=None
)


@contextmanager
def patched() -> Iterator[failures.Failures]:
    """Have the SDK as a preview needs it; as it was, afterwards. Yields what fails in between."""
    sdk_imports.install()
    failed = failures.Failures()
    failures.CURRENT.set(failed)
    with ExitStack() as patches:

        def replace(target: Any, name: str, new: Any) -> None:
            patches.enter_context(mock.patch.object(target, name, new))

        for name in ("invoke", "invoke_async", "invoke_single", "invoke_output", "invoke_output_single"):
            if hasattr(pulumi.runtime, name):
                replace(pulumi.runtime, name, _remembering_the_caller(getattr(pulumi.runtime, name)))
        replace(resource, "_get_stack_trace", _stack_trace)
        replace(RPCManager, "do_rpc", failures.remembering_the_line(RPCManager.do_rpc))
        replace(stack, "wait_for_rpcs", _wait_for_rpcs)
        for module in (rpc, resource_cycle_breaker):
            replace(module, "declare_dependency", _declare_dependency)
        for target, name, new in sdk_speed.REPLACEMENTS:
            replace(target, name, new)
        yield failed


class PositionedMonitor:
    """A monitor that tells the engine which line made an invoke; the SDK sends that for resources only."""

    def __init__(self, monitor: Any) -> None:
        self._monitor = monitor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._monitor, name)

    def Invoke(self, request: resource_pb2.ResourceInvokeRequest) -> Any:
        position = INVOKED_FROM.get()
        if position is not None:
            request.sourcePosition.CopyFrom(position)
        return self._monitor.Invoke(request)


def _remembering_the_caller(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def invoke(*args: Any, **kwargs: Any) -> Any:
        frame = next(_frames(sys._getframe(1)), None)
        if frame is None:
            return function(*args, **kwargs)
        token = INVOKED_FROM.set(_position(frame))
        try:
            return function(*args, **kwargs)
        finally:
            INVOKED_FROM.reset(token)

    return invoke


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Frames of the program, innermost first: neither the SDK's nor the generated packages'."""
    while frame is not None:
        filename = frame.f_code.co_filename
        if "/site-packages/" not in filename and not filename.startswith(NOT_THE_PROGRAM):
            yield frame
        frame = frame.f_back


def _position(frame: FrameType) -> source_pb2.SourcePosition:
    return source_pb2.SourcePosition(uri=f"file://{frame.f_code.co_filename}", line=frame.f_lineno)


_DEEPEST = 6
"""Frames sent with a registration: the line itself and what called it. The SDK sends all of them, and reads each
frame's source text to do so."""


def _stack_trace() -> source_pb2.StackTrace:
    """Where a resource was made: the line that called its class, as in the SDK, not a line inside the class."""
    register = sys._getframe(1)
    made = register.f_locals.get("res")
    frames: list[source_pb2.StackFrame] = []
    for frame in _frames(register.f_back):
        if not frames and frame.f_code.co_name.endswith("__init__") and frame.f_locals.get("self") is made:
            continue
        frames.append(source_pb2.StackFrame(pc=_position(frame)))
        if len(frames) == _DEEPEST:
            break
    return source_pb2.StackTrace(frames=frames)


def _declare_dependency(from_resource: Any, to_resource: Any) -> bool:
    """As the SDK's: record the edge and say whether it is free of a cycle. The SDK recurses; 1,000 deep is too deep.

    Only a resource that something depends on can close a cycle. In most programs that is none, since a resource is
    registered before what depends on it; so the graph is walked for the few others.
    """
    edges = from_resource.__dict__.setdefault("_edges", set())
    if to_resource in edges:
        return True
    if to_resource is from_resource:
        return False
    seen, waiting = set(), [to_resource] if "_needed" in from_resource.__dict__ else []
    while waiting:
        reached = waiting.pop()
        if reached is from_resource:
            return False
        if reached not in seen:
            seen.add(reached)
            waiting += reached.__dict__.get("_edges", ())
    edges.add(to_resource)
    to_resource.__dict__["_needed"] = True
    return True


async def _wait_for_rpcs(await_all_outstanding_tasks: bool = True) -> None:
    """As the SDK's: return once nothing is outstanding. It raises only then, so that all that fails has been collected.

    The SDK re-arms a callback on every pending output whenever one of them completes, which is quadratic in a long
    chain of resources; this waits once for a whole wave.
    """
    manager, failed = stack._get_rpc_manager(), failures.CURRENT.get()
    while True:
        while manager.rpcs:
            await asyncio.sleep(0)
            try:
                await manager.rpcs.pop()
            except Exception as error:  # noqa: BLE001  it is collected, and raised below
                failed.add(error)
        if manager.unhandled_exception is not None:
            failed.add(manager.unhandled_exception)
        if await_all_outstanding_tasks:
            with stack.SETTINGS.lock:
                outputs = list(stack.SETTINGS.outputs)
                stack.SETTINGS.outputs.clear()
            if outputs:
                # What waits for something that failed may wait for ever.
                patience = _PATIENCE if failed else None
                done, pending = await asyncio.wait(outputs, timeout=patience, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    if not task.cancelled() and (raised := task.exception()) is not None:
                        failed.add(raised)
                if not done and failed:
                    break
                with stack.SETTINGS.lock:
                    stack.SETTINGS.outputs.update(pending)
        if not manager.rpcs and not stack.SETTINGS.outputs:
            break
    for failure in failed:
        raise failure.error


_PATIENCE = 1.0
"""Seconds without any progress after which a run that has failed is over."""
