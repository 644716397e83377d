"""Resource and invoke transforms: callbacks of the program that may change properties and options on the way in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import grpc
from google.protobuf.message import Message
from pulumi.runtime._callbacks import _CallbackServicer
from pulumi.runtime.proto import callback_pb2, callback_pb2_grpc, resource_pb2
from pulumi.runtime.sync_await import _sync_await

M = TypeVar("M", bound=Message)


class Caller(Protocol):
    """Calls the program back."""

    def __call__(self, callback: callback_pb2.Callback, request: Message, answer: type[M]) -> M: ...


def call_in_process(callback: callback_pb2.Callback, request: Message, answer: type[M]) -> M:
    """Call a callback of a program that runs in this very process, without a socket."""
    for servicer in _CallbackServicer._servicers:
        function = servicer._callbacks.get(callback.token)
        if function is not None:
            return answer.FromString(_sync_await(function(request.SerializeToString())).SerializeToString())
    raise LookupError(f"no callback {callback.token} is registered")


class GrpcCaller:
    """Calls a program in another process back, over one channel a target."""

    def __init__(self) -> None:
        self._stubs: dict[str, callback_pb2_grpc.CallbacksStub] = {}

    def __call__(self, callback: callback_pb2.Callback, request: Message, answer: type[M]) -> M:
        stub = self._stubs.get(callback.target)
        if stub is None:
            stub = self._stubs[callback.target] = callback_pb2_grpc.CallbacksStub(
                grpc.insecure_channel(callback.target)
            )
        invoked = stub.Invoke(
            callback_pb2.CallbackInvokeRequest(token=callback.token, request=request.SerializeToString())
        )
        return answer.FromString(invoked.response)


def apply(
    request: resource_pb2.RegisterResourceRequest, transforms: Iterable[callback_pb2.Callback], call: Caller
) -> resource_pb2.RegisterResourceRequest:
    """The request after all transforms, in order; properties and options may both have changed."""
    properties, options = request.object, _options_of(request)
    for transform in transforms:
        answer = call(
            transform,
            resource_pb2.TransformRequest(
                type=request.type,
                name=request.name,
                custom=request.custom,
                parent=request.parent,
                properties=properties,
                options=options,
            ),
            resource_pb2.TransformResponse,
        )
        properties = answer.properties
        if answer.HasField("options"):
            options = answer.options
    return _with(request, properties, options)


# RegisterResourceRequest and TransformResourceOptions name the same options differently.
_REPEATED = {
    "dependencies": "depends_on",
    "ignoreChanges": "ignore_changes",
    "replaceOnChanges": "replace_on_changes",
    "additionalSecretOutputs": "additional_secret_outputs",
    "aliases": "aliases",
    "hideDiffs": "hide_diff",
    "replace_with": "replace_with",
}
_SINGLE = {
    "version": "version",
    "provider": "provider",
    "deletedWith": "deleted_with",
    "pluginDownloadURL": "plugin_download_url",
    "importId": "import",
}
_OPTIONAL = {"protect": "protect", "retainOnDelete": "retain_on_delete"}


def _options_of(request: resource_pb2.RegisterResourceRequest) -> resource_pb2.TransformResourceOptions:
    options = resource_pb2.TransformResourceOptions()
    for theirs, ours in _REPEATED.items():
        getattr(options, ours).extend(getattr(request, theirs))
    for theirs, ours in _SINGLE.items():
        setattr(options, ours, getattr(request, theirs))
    for theirs, ours in _OPTIONAL.items():
        if request.HasField(theirs):  # type: ignore[arg-type]
            setattr(options, ours, getattr(request, theirs))
    options.providers.update(request.providers)
    if request.HasField("customTimeouts"):
        options.custom_timeouts.CopyFrom(request.customTimeouts)
    if request.deleteBeforeReplaceDefined:
        options.delete_before_replace = request.deleteBeforeReplace
    return options


def _with(
    request: resource_pb2.RegisterResourceRequest, properties: Message, options: resource_pb2.TransformResourceOptions
) -> resource_pb2.RegisterResourceRequest:
    changed = resource_pb2.RegisterResourceRequest()
    changed.CopyFrom(request)
    changed.object.CopyFrom(properties)
    for theirs, ours in _REPEATED.items():
        changed.ClearField(theirs)  # type: ignore[arg-type]
        getattr(changed, theirs).extend(getattr(options, ours))
    for theirs, ours in _SINGLE.items():
        setattr(changed, theirs, getattr(options, ours))
    for theirs, ours in _OPTIONAL.items():
        if options.HasField(ours):  # type: ignore[arg-type]
            setattr(changed, theirs, getattr(options, ours))
    changed.providers.clear()
    changed.providers.update(options.providers)
    if options.HasField("custom_timeouts"):
        changed.customTimeouts.CopyFrom(options.custom_timeouts)
    if options.HasField("delete_before_replace"):
        changed.deleteBeforeReplace, changed.deleteBeforeReplaceDefined = options.delete_before_replace, True
    return changed


TransformInvoke = Callable[[resource_pb2.ResourceInvokeRequest], resource_pb2.ResourceInvokeRequest]


def apply_to_invoke(
    request: resource_pb2.ResourceInvokeRequest, transforms: Iterable[callback_pb2.Callback], call: Caller
) -> resource_pb2.ResourceInvokeRequest:
    """The invoke request after all stack invoke transforms."""
    changed = resource_pb2.ResourceInvokeRequest()
    changed.CopyFrom(request)
    for transform in transforms:
        answer = call(
            transform,
            resource_pb2.TransformInvokeRequest(
                token=changed.tok,
                args=changed.args,
                options=resource_pb2.TransformInvokeOptions(
                    provider=changed.provider, version=changed.version, plugin_download_url=changed.pluginDownloadURL
                ),
            ),
            resource_pb2.TransformInvokeResponse,
        )
        changed.args.CopyFrom(answer.args)
        if answer.HasField("options"):
            changed.provider, changed.version = answer.options.provider, answer.options.version
    return changed
