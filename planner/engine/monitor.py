"""The simulated engine: Pulumi's ResourceMonitor and Engine services, over a provider that needs no cloud.

One object serves both ways of running a program: its methods are called directly by a program in this process, and
over gRPC by a program in another.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import (
    callback_pb2,
    engine_pb2,
    engine_pb2_grpc,
    provider_pb2,
    resource_pb2,
    resource_pb2_grpc,
)

from planner import urn as urns
from planner.engine import aliases, construct, regions, transforms, values
from planner.engine.diagnostics import Diagnostics
from planner.engine.invokes import NoAnswer
from planner.engine.provider import Provider, SimulatedProvider
from planner.engine.providers import Providers, provider_id
from planner.engine.state import State, recorded_options, source_position
from planner.engine.target import STACK_REFERENCE, EngineError, Target
from planner.plan import SECRET, UNKNOWN, Plan, place_of

_UNSUPPORTED = ("OUTPUT_VALUES", "BYTE_STRING", "STATE_MIGRATIONS", "INVOKE_PARENT", "INVOKE_DEPENDS_ON")
_FEATURES = [n for name, n in resource_pb2.ResourceMonitorFeature.items() if not name.endswith(_UNSUPPORTED)]


class Engine(resource_pb2_grpc.ResourceMonitorServicer, engine_pb2_grpc.EngineServicer):
    """Runs one preview (or, with `preview=False`, one simulated `up`) of one target."""

    def __init__(
        self,
        target: Target,
        *,
        provider: Provider | None = None,
        preview: bool = True,
        call: transforms.Caller = transforms.call_in_process,
    ) -> None:
        self.target = target
        self.preview = preview
        self.diagnostics = Diagnostics(secrets=[target.config[key] for key in target.secret_keys])
        self._provider = provider or SimulatedProvider()
        self._call = call
        self._states: dict[str, State] = {}
        self._providers = Providers(target, self._states, self._add, preview=preview)
        self._stack_transforms: list[callback_pb2.Callback] = []
        self._invoke_transforms: list[callback_pb2.Callback] = []
        self._resource_transforms: dict[str, list[callback_pb2.Callback]] = {}
        self._root = ""
        # Registrations from another process come on many threads.
        self._lock = threading.RLock()

    def plan(self) -> Plan:
        """What has been registered so far, sorted."""
        regions.check(self._states, self.diagnostics)
        construct.report_unrendered(self._states.values(), self.diagnostics)
        resources = [state.to_resource(preview=self.preview) for state in self._states.values()]
        config = {key: SECRET if key in self.target.secret_keys else text for key, text in self.target.config.items()}
        return Plan.of(
            self.target.project,
            self.target.stack,
            resources,
            self.diagnostics.sorted(),
            config,
            simulated=not self.preview,
        )

    def stack_outputs(self) -> Mapping[str, Any]:
        """What the program has exported, as wire values: with the secrets that a plan leaves out."""
        return next((state.outputs for state in self._states.values() if state.type == urns.STACK_TYPE), {})

    # ---- Engine service

    def Log(self, request, context=None):  # noqa: ARG002
        severity = engine_pb2.LogSeverity.Name(request.severity).lower()
        if severity != "debug":
            place, separator, message = request.message.rpartition("\x00")  # as planner.engine.launch sends it
            self.diagnostics.add(severity, message, urn=request.urn, place=place if separator else "")
        return empty_pb2.Empty()

    def GetRootResource(self, request, context=None):  # noqa: ARG002
        return engine_pb2.GetRootResourceResponse(urn=self._root)

    def SetRootResource(self, request, context=None):  # noqa: ARG002
        self._root = request.urn
        return engine_pb2.SetRootResourceResponse()

    def RequirePulumiVersion(self, request, context=None):  # noqa: ARG002
        return engine_pb2.RequirePulumiVersionResponse()

    # ---- ResourceMonitor service: the deployment

    def GetDeploymentInfo(self, request, context=None):  # noqa: ARG002
        return resource_pb2.DeploymentInfo(
            project=self.target.project,
            stack=self.target.stack,
            organization=self.target.organization,
            config=self.target.config,
            configSecretKeys=self.target.secret_keys,
            dryRun=self.preview,
            supportedFeatures=_FEATURES,
        )

    def SupportsFeature(self, request, context=None):  # noqa: ARG002
        return resource_pb2.SupportsFeatureResponse(hasSupport=request.id not in ("outputValues",))

    def RegisterPackage(self, request, context=None):  # noqa: ARG002
        return resource_pb2.RegisterPackageResponse(ref=f"{request.name}@{request.version}")

    def SignalAndWaitForShutdown(self, request, context=None):  # noqa: ARG002
        return empty_pb2.Empty()

    def RegisterStackTransform(self, request, context=None):  # noqa: ARG002
        self._stack_transforms.append(request)
        return empty_pb2.Empty()

    def RegisterStackInvokeTransform(self, request, context=None):  # noqa: ARG002
        self._invoke_transforms.append(request)
        return empty_pb2.Empty()

    def RegisterResourceHook(self, request, context=None):  # noqa: ARG002
        # Hooks run around cloud operations, of which a preview has none.
        return empty_pb2.Empty()

    def RegisterErrorHook(self, request, context=None):  # noqa: ARG002
        return empty_pb2.Empty()

    # ---- ResourceMonitor service: resources

    def RegisterResource(self, request, context=None):
        with self._refusing(context):
            chain = [*request.transforms, *self._transforms_of_ancestors(request.parent), *self._stack_transforms]
            if chain:
                own = list(request.transforms)
                request = transforms.apply(request, chain, self._call)
            with self._lock:
                state = self._register(request)
                if chain and own:
                    self._resource_transforms[state.urn] = own
            if state.custom or request.remote:
                self._check(state)
            self._create(state, request)
            # The SDK takes a property that is absent as unknown, so a preview can send the inputs back as they came.
            returned = request.object if state.outputs is state.inputs else values.encode(state.outputs)
            return resource_pb2.RegisterResourceResponse(
                urn=state.urn,
                id="" if state.id == UNKNOWN and not state.is_provider else state.id,
                object=returned,
                # What a dynamic provider's code would answer, even a simulated update does not know.
                unknown=state.type.startswith("pulumi-python:"),
            )

    def RegisterResourceOutputs(self, request, context=None):  # noqa: ARG002
        state = self._states.get(request.urn)
        if state is not None:
            state.outputs = values.decode(request.outputs)
            self.diagnostics.hide(values.secret_texts(state.outputs))
        return empty_pb2.Empty()

    def ReadResource(self, request, context=None):
        with self._refusing(context), self._lock:
            inputs = values.decode(request.properties)
            state = self._new_state(request, inputs)
            state.id, state.external = request.id, True
            if request.type == STACK_REFERENCE:
                state.outputs = self._referenced_stack(state)
            else:
                state.provider = self._providers.reference(request)
                state.region = regions.region_of(state, self._states)
                created = self._provider.read(
                    state.type, state.name, state.urn, state.id, inputs, state.region, preview=self.preview
                )
                state.outputs = created.outputs
            self._add(state)
            return resource_pb2.ReadResourceResponse(
                urn=state.urn,
                id=state.id,
                properties=values.encode(state.outputs),
                # What is not said about something that exists is unknown also to a simulated update, and not None.
                unknown=True,
            )

    def ExistsResource(self, request, context=None):  # noqa: ARG002
        return resource_pb2.ExistsResourceResponse(unknown=self.preview)

    def _new_state(self, request: Any, inputs: dict[str, Any]) -> State:
        parent = request.parent
        if parent and parent not in self._states:
            raise EngineError(f"{request.type} {request.name!r}: its parent {parent} was never registered")
        urn = urns.create(
            stack=self.target.stack, project=self.target.project, parent=parent, type=request.type, name=request.name
        )
        self.diagnostics.hide(values.secret_texts(inputs))
        return State(
            urn=urn,
            type=request.type,
            name=request.name,
            custom=True,
            parent=parent,
            inputs=inputs,
            dependencies=request.dependencies,
            source_position=source_position(request, self.target.root),
        )

    def _register(self, request: resource_pb2.RegisterResourceRequest) -> State:
        state = self._new_state(request, values.decode(request.object))
        parent = self._states.get(request.parent)
        state.custom = request.custom
        state.provider = self._providers.reference(request)
        state.property_dependencies = {k: v.urns for k, v in request.propertyDependencies.items() if v.urns}
        state.aliases = aliases.resolve(
            request.aliases,
            request.aliasURNs,
            urn=state.urn,
            parent=request.parent,
            parent_aliases=parent.aliases if parent else (),
        )
        # What a child inherits unless it says otherwise (pulumi: pkg/resource/deploy, inheritFromParent).
        if parent is not None:
            state.protect, state.retain_on_delete = parent.protect, parent.retain_on_delete
            state.deleted_with = parent.deleted_with
        if request.HasField("protect"):
            state.protect = request.protect
        if request.HasField("retainOnDelete"):
            state.retain_on_delete = request.retainOnDelete
        if request.deletedWith:
            state.deleted_with = request.deletedWith
        state.options = recorded_options(request)
        if not request.custom:
            state.child_providers = dict(request.providers)
        if state.is_provider and request.version:
            state.inputs["version"] = request.version
        state.region = regions.region_of(state, self._states)
        self._add(state)
        return state

    def _add(self, state: State) -> None:
        before = self._states.get(state.urn)
        if before is not None:
            first = f" (first in {before.place})" if before.source_position else ""
            self._error(state, f"the name {state.name!r} is taken by another {state.type} of the same parent{first}")
        self._states[state.urn] = state

    def _check(self, state: State) -> None:
        for problem in self._provider.check(state.type, state.inputs):
            if problem.of_type:
                self.diagnostics.add(problem.severity, f"{state.type}: {problem}")
            else:
                message = f"{state.type} {state.name!r}: {problem}"
                self.diagnostics.add(problem.severity, message, urn=state.urn, place=state.place)

    def _create(self, state: State, request: resource_pb2.RegisterResourceRequest) -> None:
        if state.is_provider:
            state.id = UNKNOWN if self.preview else provider_id(state.urn)
            state.outputs = state.inputs
        elif request.remote:
            with self._lock:
                for child in construct.children(state, self.diagnostics, self.target.directory or Path()):
                    self._add(child)
                    self._check(child)
                if not self.preview:
                    state.outputs = construct.outputs(state)
        elif state.custom:
            if self.preview and not self._providers.is_configured(state.provider):
                # Its provider is configured only once another resource exists, so not even the inputs come back.
                state.outputs = {}
                return
            created = self._provider.create(
                state.type, state.name, state.urn, state.inputs, state.region, preview=self.preview
            )
            state.id, state.outputs = created.id, created.outputs
            self.diagnostics.hide(values.secret_texts(state.outputs) if not self.preview else ())

    # ---- ResourceMonitor service: functions

    def Invoke(self, request, context=None):
        with self._refusing(context):
            if self._invoke_transforms:
                request = transforms.apply_to_invoke(request, self._invoke_transforms, self._call)
            args = values.plain(values.decode(request.args))
            if request.tok == "pulumi:pulumi:getResource":
                return resource_pb2.ResourceInvokeResponse(**{"return": values.encode(self._own_resource(args))})
            with self._lock:
                package = request.tok.split(":", 1)[0]
                reference = request.provider or self._providers.default(package, request.version)
            provider = self._states.get(urns.provider_urn(reference))
            config = values.plain(provider.inputs) if provider else {}
            region = regions.region_of_invoke(args, provider)
            place = place_of(source_position(request, self.target.root))
            try:
                answer = self._provider.invoke(request.tok, args, region, config)
            except NoAnswer as error:
                raise EngineError(f"{place}: {error}" if place else str(error)) from None
            if answer.origin == "placeholder":
                message = f"{request.tok} is answered with a placeholder; record the real answer with `aicloud record`"
                self.diagnostics.add("warning", message + (f" ({answer.note})" if answer.note else ""), place=place)
            elif answer.note:
                self.diagnostics.add("info", f"{request.tok}: {answer.note}", place=place)
            value = {key: values.secret(v) if key in answer.secrets else v for key, v in answer.value.items()}
            self.diagnostics.hide(values.secret_texts(value))
            return resource_pb2.ResourceInvokeResponse(**{"return": values.encode(value)})

    def Call(self, request, context=None):  # noqa: ARG002
        # A method of a resource runs in its provider: in a preview, nobody can know its answer.
        self.diagnostics.add("info", f"{request.tok} is a method call; its result is unknown in a preview")
        answer = {"unknown": UNKNOWN}
        if not self.preview:
            of = values.decode(request.args).get("__self__") or {}
            answer = construct.answer(request.tok, self._states.get(of.get("urn", "")))
        return provider_pb2.CallResponse(**{"return": values.encode(answer)})

    def _own_resource(self, args: Mapping[str, Any]) -> dict[str, Any]:
        state = self._states.get(str(args.get("urn")))
        if state is None:
            raise EngineError(f"no resource {args.get('urn')!r} is registered")
        return {"urn": state.urn, "id": state.id, "state": dict(state.outputs)}

    # ---- other stacks

    def _referenced_stack(self, state: State) -> dict[str, Any]:
        name = str(state.inputs.get("name") or state.id)
        recorded = self.target.stack_references.get(name)
        if recorded is None:
            message = f"the outputs of the stack {name!r} are not recorded: what is read from them is unknown"
            self.diagnostics.add(
                "error" if self.target.strict else "warning", message, urn=state.urn, place=state.place
            )
            return {"name": name}
        secret_names = sorted(key for key, value in recorded.items() if value == SECRET)
        outputs = {key: values.secret(value) if key in secret_names else value for key, value in recorded.items()}
        return {"name": name, "outputs": outputs, "secretOutputNames": secret_names}

    # ---- helpers

    def _transforms_of_ancestors(self, parent: str) -> Iterator[callback_pb2.Callback]:
        if self._resource_transforms:
            while parent:
                yield from self._resource_transforms.get(parent, ())
                state = self._states.get(parent)
                parent = state.parent if state else ""

    def _error(self, state: State, message: str) -> None:
        self.diagnostics.add("error", f"{state.type} {state.name!r}: {message}", urn=state.urn, place=state.place)

    @contextmanager
    def _refusing(self, context: grpc.ServicerContext | None) -> Iterator[None]:
        """Over gRPC an EngineError becomes a status: the program prints its message and no traceback of ours."""
        try:
            yield
        except EngineError as error:
            if context is None:
                raise
            _abort(context, str(error))


def _abort(context: grpc.ServicerContext, message: str) -> NoReturn:
    context.abort(grpc.StatusCode.UNKNOWN, message)
    raise AssertionError("abort does not return")
