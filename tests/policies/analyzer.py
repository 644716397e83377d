"""The unmodified pack as a process of its own, spoken to as Pulumi's engine does: the Analyzer protocol over gRPC.

As sdk/go/common/resource/plugin/analyzer_plugin.go of Pulumi (read November 2026): the process runs within the pack's
folder, `python -u -m pulumi.policy <engine> .`, has the stack's configuration in PULUMI_CONFIG and writes its port. It
says what it has, is told its configuration, then sees each resource's inputs, and at last all resources.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import analyzer_pb2 as proto
from pulumi.runtime.proto import analyzer_pb2_grpc

from planner import urn as urns
from planner.plan import Plan, Resource
from tests.support import ROOT

PACK = ROOT / "policies"
LARGE = [("grpc.max_receive_message_length", 400 << 20), ("grpc.max_send_message_length", 400 << 20)]
"""Pulumi's own limit of a message."""


class Diagnostic(NamedTuple):
    """What the pack says: `level` is advisory or mandatory."""

    policy: str
    level: str
    urn: str
    message: str


@contextmanager
def booted(plan: Plan, pack: Path = PACK) -> Iterator[analyzer_pb2_grpc.AnalyzerStub]:
    """The pack, up and configured for a plan's stack."""
    environment = {
        **os.environ,
        "PULUMI_CONFIG": json.dumps(dict(plan.config)),
        "PULUMI_PROJECT": plan.project,
        "PULUMI_STACK": plan.stack,
        "PULUMI_DRY_RUN": "true",
    }
    command = [sys.executable, "-u", "-m", "pulumi.policy", "127.0.0.1:1", "."]
    with subprocess.Popen(command, cwd=pack, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port.isdigit(), f"the pack wrote {port!r} in place of its port"
            with grpc.insecure_channel(f"127.0.0.1:{port}", options=LARGE) as channel:
                yield analyzer_pb2_grpc.AnalyzerStub(channel)
        finally:
            process.kill()


def configure(stub: analyzer_pb2_grpc.AnalyzerStub, given: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """As the engine does: defaults of the schema, then what the pack begins with, then `--policy-pack-config`."""
    told = stub.GetAnalyzerInfo(empty_pb2.Empty())
    request = proto.ConfigureAnalyzerRequest()
    for policy in told.policies:
        config = request.policyConfig[policy.name]
        config.enforcementLevel = policy.enforcementLevel
        for name, schema in policy.configSchema.properties.items():
            if "default" in schema:
                config.properties.update({name: schema["default"]})
        if policy.name in told.initialConfig:
            begins = told.initialConfig[policy.name]
            config.enforcementLevel = begins.enforcementLevel
            config.properties.update(dict(begins.properties.items()))
        for name, value in (given or {}).get(policy.name, {}).items():
            if name == "enforcementLevel":
                config.enforcementLevel = proto.EnforcementLevel.Value(value.upper())
            else:
                config.properties.update({name: value})
    stub.Configure(request)


def analyze(plan: Plan, given: Mapping[str, Mapping[str, Any]] | None = None) -> list[Diagnostic]:
    """What the pack finds in a plan."""
    with booted(plan) as stub:
        configure(stub, given)
        found: list[Diagnostic] = []
        for resource in plan:
            if not resource.external:
                answer = stub.Analyze(_request(proto.AnalyzeRequest, resource, resource.inputs, plan))
                found += [_diagnostic(one, one.urn or resource.urn) for one in answer.diagnostics]
        answer = stub.AnalyzeStack(
            proto.AnalyzeStackRequest(resources=[_with_links(resource, _state(resource), plan) for resource in plan])
        )
        return [*found, *(_diagnostic(one, one.urn) for one in answer.diagnostics)]


def _state(resource: Resource) -> dict[str, Any]:
    """A provider's state of a resource: its id, what was asked for, and what comes of it."""
    return {**({"id": resource.id} if resource.id else {}), **resource.outputs, **resource.inputs}


def _request(kind: Any, resource: Resource, properties: Mapping[str, Any], plan: Plan) -> Any:
    request = kind(type=resource.type, urn=resource.urn, name=resource.name, properties=_struct(properties))
    request.options.protect = resource.protect
    request.options.parent = resource.parent
    provider = plan.by_urn.get(urns.provider_urn(resource.provider)) if resource.provider else None
    if provider is not None:
        request.provider.type, request.provider.urn, request.provider.name = provider.type, provider.urn, provider.name
        request.provider.properties.CopyFrom(_struct(provider.inputs))
    return request


def _with_links(resource: Resource, properties: Mapping[str, Any], plan: Plan) -> Any:
    request = _request(proto.AnalyzerResource, resource, properties, plan)
    request.parent = resource.parent
    request.dependencies.extend(resource.dependencies)
    for key, urns_of_key in resource.property_dependencies.items():
        if urns_of_key:
            request.propertyDependencies[key].urns.extend(urns_of_key)
    return request


def _struct(properties: Mapping[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(dict(properties))
    return struct


def _diagnostic(one: Any, urn: str) -> Diagnostic:
    message = one.message.removeprefix(one.description).removeprefix("\n")
    return Diagnostic(one.policyName, proto.EnforcementLevel.Name(one.enforcementLevel).lower(), urn, message)
