"""Runs a script that drives Pulumi's Automation API, with its stacks on the simulated engine in place of the CLI.

Inside the script `create_stack`, `up`, `outputs` and the like work as ever; only what they would ask of the CLI is
answered here. Nothing is written: configuration and settings stay in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import runpy
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from pulumi import automation
from pulumi.automation import _local_workspace
from pulumi.automation._cmd import PulumiCommand

from planner.engine import automation_api, project, runner, values
from planner.engine.diagnostics import Diagnostics
from planner.engine.failures import Failures
from planner.engine.monitor import Engine
from planner.engine.project import Project, ProjectError
from planner.engine.target import Target
from planner.plan import SECRET, Diagnostic, Plan, Resource

MakeEngine = Callable[[Target, Path, bool], Engine]
"""(what to run, the file of recorded answers, whether it is a preview) -> the engine that runs it."""
T = TypeVar("T")


@dataclass
class Stack:
    """One stack of a script: what the CLI's backend would know of it."""

    organization: str
    project: str
    name: str
    config: dict[str, automation.ConfigValue] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    environments: list[str] = field(default_factory=list)
    outputs: dict[str, automation.OutputValue] = field(default_factory=dict)
    deployed: Mapping[str, Resource] = field(default_factory=dict)
    """What the last `up` left behind, by URN."""
    history: list[automation_api.UpdateSummary] = field(default_factory=list)
    plan: Plan | None = None
    """What the last `preview` or `up` found."""

    @property
    def names(self) -> tuple[str, str, str]:
        """The names by which a person or another stack may call it, shortest first."""
        return self.name, f"{self.project}/{self.name}", f"{self.organization}/{self.project}/{self.name}"


class Script:
    """All stacks of one run of one script."""

    def __init__(self, script: Project, make: MakeEngine, *, simulate_up: bool) -> None:
        self.script = script
        self.stacks: dict[tuple[str, str], Stack] = {}
        self.settings: dict[str, automation.ProjectSettings] = {}
        """Project settings by working directory, where the script has given its own."""
        self.told: set[int] = set()
        """Errors that were raised to the script and are in a plan already."""
        self._make = make
        self._simulate_up = simulate_up
        # A script may update several stacks from several threads; Pulumi's SDK is changed for all of them at once.
        self._lock = threading.RLock()

    def stack(self, workspace: automation.Workspace, name: str) -> Stack:
        """The stack of this name, with the configuration in its file where it is new. Every stack exists."""
        settings = workspace.project_settings()
        organization, in_project, short = project.stack_name(name)
        key = (in_project or settings.name, short)
        if key not in self.stacks:
            self.stacks[key] = stack = Stack(organization, *key)
            stack.config.update(self._configured(workspace, stack))
        return self.stacks[key]

    def _configured(
        self, workspace: automation.Workspace, stack: Stack
    ) -> Iterator[tuple[str, automation.ConfigValue]]:
        """What `Pulumi.<stack>.yaml` says, then the command line for the stack that is previewed."""
        asked = self.script.config if self.script.stack in stack.names else {}
        file = Path(workspace.work_dir) / f"Pulumi.{stack.name}.yaml"
        text, secret = project.stack_config(file, stack.project, asked)
        for key, value in text.items():
            yield key, automation.ConfigValue(value, secret=key in secret)

    def run(self, stack: automation.Stack, program: Callable[[], Any] | None, *, up: bool) -> Stack:
        """Preview a stack's program; for an `up`, also find the outputs that the script may ask for.

        InlineSourceRuntimeError where it has errors, as the CLI would say; they are in the plan then.
        """
        with self._lock:
            state = self.stack(stack.workspace, stack.name)
            state.plan, outputs = self._simulate(state, stack.workspace, program, preview=not self._simulate_up)
            if not state.plan.errors and up and not self._simulate_up:
                updated, outputs = self._simulate(state, stack.workspace, program, preview=False)
                state.plan = replace(state.plan, diagnostics=(*updated.errors, *state.plan.diagnostics))
            if state.plan.errors:
                error = automation_api.failed(state.plan.errors)
                self.told.add(id(error))
                raise error
            if up:
                state.outputs = {
                    key: automation.OutputValue(values.plain(value), values.is_secret(value))
                    for key, value in outputs.items()
                }
            return state

    def _simulate(
        self, state: Stack, workspace: automation.Workspace, program: Callable[[], Any] | None, *, preview: bool
    ) -> tuple[Plan, Mapping[str, Any]]:
        config = {key: value.value for key, value in state.config.items()}
        secret = tuple(sorted(key for key, value in state.config.items() if value.secret))
        target = Target(
            project=state.project,
            stack=state.name,
            organization=state.organization,
            root=self.script.root,
            config=config,
            secret_keys=secret,
            stack_references=self._other_stacks(state),
        )
        recorded = self.script.root / f"invokes.{state.name}.json"
        run: runner.Program
        if program is None:
            local = project.load(workspace.work_dir, state.name, config)
            target = replace(
                target,
                root=local.root,
                config={**local.config, **config},
                secret_keys=tuple(sorted({*local.secret_keys, *secret})),
            )
            recorded, run = local.recorded_answers, local.program
        else:
            run = program
        engine = self._make(target, recorded, preview)
        with mock.patch.dict(os.environ, workspace.env_vars if program is None else {}):
            _outside_of_a_loop(lambda: runner.run(engine, run))
        return engine.plan(), engine.stack_outputs()

    def _other_stacks(self, but: Stack) -> dict[str, Mapping[str, Any]]:
        """Outputs of what the script has updated so far, under each name that a StackReference may use."""
        return {
            name: {key: SECRET if value.secret else value.value for key, value in stack.outputs.items()}
            for stack in self.stacks.values()
            if stack is not but and stack.outputs
            for name in stack.names
        }

    def plan(self) -> Plan:
        """The plan of the stack that was asked for. ProjectError where the script has no such stack, or two."""
        ran = [stack for stack in self.stacks.values() if stack.plan is not None]
        found = [stack for stack in ran if self.script.stack in stack.names]
        others = ", ".join(sorted(f"{stack.project}/{stack.name}" for stack in ran if stack not in found))
        if len(found) != 1:
            which = ", ".join(sorted(f"{stack.project}/{stack.name}" for stack in found))
            raise ProjectError(
                f"{self.script.program.name}: the stack {self.script.stack!r} is "
                + (f"one of {which}: say which" if found else f"none of its own; it previews {others or 'no stack'}")
            )
        plan = found[0].plan
        assert plan is not None
        note = [Diagnostic("info", f"{self.script.program.name} also previews {others}")] if others else []
        return replace(plan, diagnostics=(*plan.diagnostics, *note))


def run(script: Project, make: MakeEngine, *, simulate_up: bool) -> Plan:
    """Run a script to its end; the plan of its stack `script.stack`, with what the script itself said and raised."""
    simulation = Script(script, make, simulate_up=simulate_up)
    failed, diagnostics, printed = Failures(), Diagnostics(), io.StringIO()
    loop = runner._current_event_loop()
    with _patched(simulation), contextlib.redirect_stdout(printed), runner._in_project(script.root, script.program):
        try:
            runpy.run_path(str(script.program), run_name="__main__")
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a script raises is its result
            if id(error) not in simulation.told:
                failed.add(error)
        finally:
            # A script's `asyncio.run` leaves its thread without an event loop.
            asyncio.set_event_loop(loop)
    runner.report(failed, diagnostics, script.root)
    if text := printed.getvalue().strip():
        diagnostics.add("info", text)
    try:
        plan = simulation.plan()
    except ProjectError as error:
        if not failed:
            raise
        diagnostics.add("warning", str(error))
        plan = Plan.of(script.name, script.stack, [])
    said = diagnostics.sorted()
    return replace(plan, diagnostics=tuple(sorted({*plan.diagnostics, *said}, key=_rank)))


def _rank(diagnostic: Diagnostic) -> tuple[int, str, str, str]:
    order = ("error", "warning", "info")
    return order.index(diagnostic.severity), diagnostic.place, diagnostic.urn, diagnostic.message


def _outside_of_a_loop(function: Callable[[], T]) -> T:
    """Call it here, or on another thread where an event loop runs on this one: a run needs a loop of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function()
    with ThreadPoolExecutor(max_workers=1) as other:
        return other.submit(function).result()


@contextlib.contextmanager
def _patched(script: Script) -> Iterator[None]:
    """Pulumi's Automation API over `script`, and as it was afterwards."""
    replaced: list[tuple[Any, automation_api.Methods]] = [
        (_local_workspace.LocalWorkspace, automation_api.workspace_methods(script)),
        (automation.Stack, automation_api.stack_methods(script)),
        (PulumiCommand, automation_api.command_methods()),
    ]
    with contextlib.ExitStack() as patches:
        # Inline programs get a working directory each, which the SDK never removes.
        directory = patches.enter_context(tempfile.TemporaryDirectory())
        patches.enter_context(mock.patch.object(tempfile, "tempdir", directory))
        for target, methods in replaced:
            for name, method in methods.items():
                patches.enter_context(mock.patch.object(target, name, method))
        yield
