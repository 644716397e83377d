"""The Pulumi SDK's slow paths, done faster and to the same result; `planner.engine.sdk` puts them in for one preview.

A registration costs the SDK about 2 ms, most of it in bookkeeping: five futures and a task for each property that a
resource might have, a URN that only a test without a monitor needs, a remote call for each debug message.
docs/LOG.md has what each function here saves, and what was tried and left out.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import pulumi
from pulumi import _types, log
from pulumi.output import _OutputData
from pulumi.runtime import resource, rpc, settings
from pulumi.runtime import sync_await as _sync

Resolver = Callable[[Any, bool, bool, "set[pulumi.Resource] | None", Exception | None], None]


# ---- outputs


def _output(data: asyncio.Future[Any]) -> pulumi.Output[Any]:
    """An output that nobody waits for at the end of the program: the caller sees to that."""
    output: pulumi.Output[Any] = object.__new__(pulumi.Output)
    output._data = data
    return output


def transfer_properties(res: pulumi.Resource, props: Iterable[str], custom: bool) -> dict[str, Resolver]:
    """The resource's properties as outputs, and what resolves them: one future each.

    The SDK makes four futures, a task that gathers them into a fifth, and a callback; most are never looked at. Nor are
    they waited for at the end of the program, as in the SDK: the resource's `urn` is, and the call that resolves all.
    """
    resolvers: dict[str, Resolver] = {}
    for name in props:
        if name != "urn" and not (name == "id" and custom):
            future: asyncio.Future[Any] = asyncio.Future()
            res.__dict__[name] = _output(future)
            resolvers[name] = functools.partial(_resolve, res, future)
    return resolvers


def _resolve(
    res: pulumi.Resource,
    future: asyncio.Future[Any],
    value: Any,
    is_known: bool,
    is_secret: bool,
    deps: set[pulumi.Resource] | None,
    failed: Exception | None,
) -> None:
    if failed is not None:
        future.set_exception(failed)
    else:
        future.set_result(_OutputData({*deps, res} if deps else {res}, value, is_known, is_secret))


def resolve_properties(
    resolvers: Mapping[str, Resolver],
    all_properties: Mapping[str, Any],
    deps: Mapping[str, set[pulumi.Resource]],
    custom: bool,
    resolve_missing_as_unknown: bool = False,
) -> None:
    """As the SDK's, which looks up for each property whether this is a preview."""
    preview = settings.is_dry_run()
    for name, value in all_properties.items():
        resolve = resolvers.get(name)
        if resolve is not None and name != "urn" and not (name == "id" and custom):
            plain = rpc.unwrap_rpc_secret(value)
            resolve(plain, plain is not None or not preview, rpc.is_rpc_secret(value), deps.get(name), None)
    known = not preview and not resolve_missing_as_unknown
    for name, resolve in resolvers.items():
        if name not in all_properties:
            resolve(None, known, False, deps.get(name), None)


_contains_unknowns = rpc.contains_unknowns
_SCALARS = frozenset({type(None), str, bool, int, float})


def contains_unknowns(value: Any) -> bool:
    """Asked several times for each output; nearly all are None or a text."""
    return False if type(value) in _SCALARS else _contains_unknowns(value)


_create_urn = resource.create_urn


def create_urn(name: Any, type_: Any, parent: Any = None, project: Any = None, stack: Any = None) -> Any:
    """The SDK joins five outputs to make the URN of every registration, and then uses the engine's.

    Where all parts are texts there is nothing to wait for.
    """
    if type(name) is not str or type(type_) is not str or type(parent) is not str:
        return _create_urn(name, type_, parent, project, stack)
    return pulumi.Output._from_data(_resolved(f"{parent[: parent.rfind('::')]}${type_}::{name}"))


def _resolved(value: Any) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.Future()
    future.set_result(_OutputData(set(), value, is_known=True, is_secret=False))
    return future


# ---- properties

_serialize_properties = rpc.serialize_properties


async def serialize_properties(inputs: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """A resource class sends all that it could be given; what is None is absent, and costs as much as a value."""
    return await _serialize_properties({k: inputs[k] for k in inputs if inputs[k] is not None}, *args, **kwargs)


_unwrap_type = _types.unwrap_type
_unwrapped: dict[int, tuple[Any, Any]] = {}


def unwrap_type(annotation: Any) -> Any:
    """The same few thousand annotations are taken apart for every value.

    Remembered by identity: unions that compare equal may list their members in another order.
    """
    known = _unwrapped.get(id(annotation))
    if known is None or known[0] is not annotation:
        known = _unwrapped[id(annotation)] = (annotation, _unwrap_type(annotation))
    return known[1]


# ---- the rest

_debug = log.debug


def debug(msg: Any, resource: Any = None, *args: Any, **kwargs: Any) -> None:
    """The engine drops debug messages; four a resource need not be sent to it."""
    if type(msg) is not str or resource is not None:
        _debug(msg, resource, *args, **kwargs)


def sync_await(awaitable: Awaitable[Any]) -> Any:
    """Wait for an invoke from within the running loop, as the SDK's.

    What the loop ran in between leaves gaps in the count that it goes by. The SDK fills each with a new cancelled
    handle, as many as there are resources under way, at every invoke: quadratic. One handle fills them all.
    """
    loop: Any = _sync._ensure_event_loop()
    future = asyncio.ensure_future(awaitable, loop=loop)
    if not loop.is_running():
        return loop.run_until_complete(future)
    task = asyncio.current_task(loop)
    if task is not None:
        asyncio.tasks._leave_task(loop, task)
    counted_on = len(loop._ready)
    while not future.done():
        loop._run_once()
    if (gaps := counted_on - len(loop._ready)) > 0:
        handle = asyncio.Handle(_nothing, (), loop)
        handle._cancelled = True
        loop._ready.extend([handle] * gaps)
    if task is not None:
        asyncio.tasks._enter_task(loop, task)
    return future.result()


def _nothing() -> None:
    pass


REPLACEMENTS: tuple[tuple[Any, str, Any], ...] = (
    (rpc, "transfer_properties", transfer_properties),
    (rpc, "resolve_properties", resolve_properties),
    (rpc, "contains_unknowns", contains_unknowns),
    (resource, "create_urn", create_urn),
    (rpc, "serialize_properties", serialize_properties),
    (_types, "unwrap_type", unwrap_type),
    (log, "debug", debug),
    (sys.modules["pulumi.runtime.invoke"], "_sync_await", sync_await),
)
