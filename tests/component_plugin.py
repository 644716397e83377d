"""The component package as Pulumi runs it: in a process of its own, constructing components for programs elsewhere."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from pulumi.runtime.proto import (
    engine_pb2_grpc,
    provider_pb2,
    provider_pb2_grpc,
    resource_pb2,
    resource_pb2_grpc,
)

from planner.engine import values
from planner.engine.monitor import Engine
from planner.engine.target import EngineError

BOOT_SECONDS = 180
_OPTIONS = [("grpc.max_receive_message_length", 400 << 20), ("grpc.max_send_message_length", 400 << 20)]


class Plugin:
    """A running plugin. It calls back, over gRPC, whichever engine is `engine` at the time."""

    def __init__(self, stub: provider_pb2_grpc.ResourceProviderStub, address: str) -> None:
        self.stub = stub
        self.address = address
        self.engine: Engine | None = None


@contextmanager
def running(directory: Path) -> Iterator[Plugin]:
    """Start the package in `directory` as Pulumi's language host does: its folder and the engine's address."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=_OPTIONS)
    plugin = Plugin(None, f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")  # type: ignore[arg-type]
    relay = _relay(plugin)
    resource_pb2_grpc.add_ResourceMonitorServicer_to_server(relay, server)  # type: ignore[no-untyped-call]
    engine_pb2_grpc.add_EngineServicer_to_server(relay, server)  # type: ignore[no-untyped-call]
    server.start()
    process = subprocess.Popen(
        [sys.executable, str(directory), plugin.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    assert process.stdout is not None
    assert process.stderr is not None
    watchdog = threading.Timer(BOOT_SECONDS, process.kill)
    watchdog.start()
    try:
        port = process.stdout.readline().strip()
        watchdog.cancel()
        assert port.isdigit(), f"the plugin printed {port!r} in place of its port\n{process.stderr.read()}"
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS) as channel:
            plugin.stub = provider_pb2_grpc.ResourceProviderStub(channel)  # type: ignore[no-untyped-call]
            yield plugin
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()
        server.stop(grace=None)


def _relay(plugin: Plugin) -> Any:
    """Both services of an engine, each call passed on to the engine of the moment."""

    def passed_on(name: str) -> Any:
        return lambda _self, request, context: getattr(plugin.engine, name)(request, context)

    services = (resource_pb2_grpc.ResourceMonitorServicer, engine_pb2_grpc.EngineServicer)
    names = {name for service in services for name in vars(service) if not name.startswith("_")}
    return type("Relay", services, {name: passed_on(name) for name in names})()


class ConstructingEngine(Engine):
    """The simulated engine, with a plugin that constructs its components as Pulumi's engine has it done."""

    def __init__(self, *args: Any, plugin: Plugin, **options: Any) -> None:
        super().__init__(*args, **options)
        self._plugin = plugin
        plugin.engine = self

    def SupportsFeature(self, request: Any, context: Any = None) -> Any:
        # Programs send remote components their outputs as such: unknown or not, secret or not, with dependencies.
        if request.id == "outputValues":
            return resource_pb2.SupportsFeatureResponse(hasSupport=True)
        return super().SupportsFeature(request, context)

    def GetDeploymentInfo(self, request: Any, context: Any = None) -> Any:
        info = super().GetDeploymentInfo(request, context)
        info.supportedFeatures.append(resource_pb2.ResourceMonitorFeature.RESOURCE_MONITOR_FEATURE_OUTPUT_VALUES)
        return info

    def RegisterResource(self, request: Any, context: Any = None) -> Any:
        if not request.remote:
            return super().RegisterResource(request, context)
        target = self.target
        asked = provider_pb2.ConstructRequest(
            project=target.project,
            stack=target.stack,
            organization=target.organization,
            config=target.config,
            configSecretKeys=target.secret_keys,
            dryRun=self.preview,
            parallel=16,
            monitorEndpoint=self._plugin.address,
            type=request.type,
            name=request.name,
            parent=request.parent,
            inputs=request.object,
            inputDependencies={
                key: provider_pb2.ConstructRequest.PropertyDependencies(urns=value.urns)
                for key, value in request.propertyDependencies.items()
            },
            providers=request.providers,
            dependencies=request.dependencies,
            protect=request.protect,
            accepts_output_values=True,
        )
        try:
            constructed = self._plugin.stub.Construct(asked)
        except grpc.RpcError as error:
            raise EngineError(error.details()) from None
        return resource_pb2.RegisterResourceResponse(
            urn=constructed.urn, object=values.encode(_plain(values.decode(constructed.state)))
        )


def _plain(value: Any) -> Any:
    """What a program is told of a component's outputs: output values are for providers, programs get secrets."""
    if isinstance(value, Mapping):
        if value.get(values.SIGNATURE) == values.OUTPUT_SIGNATURE:
            inner = _plain(value["value"]) if "value" in value else values.UNKNOWN
            return values.secret(inner) if value.get("secret") else inner
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
