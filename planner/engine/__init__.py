"""A simulated Pulumi engine: previews an unmodified program with no CLI, no cloud and no credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from planner.engine import isolated, runner
from planner.engine.invokes import Answers, Recorded, read_recorded
from planner.engine.kubernetes import CustomResourceDefinitions
from planner.engine.monitor import Engine
from planner.engine.project import Project, ProjectError
from planner.engine.provider import SimulatedProvider
from planner.engine.target import STACK_REFERENCE, Target
from planner.engine.transforms import GrpcCaller, call_in_process
from planner.plan import Plan

TIME_LIMIT = 600.0
"""Seconds that an isolated program may take."""


class PreviewFailed(Exception):
    """A preview found errors; the message lists all of them with their places. The plan is kept in `plan`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        lines = [f"{d.place + ': ' if d.place else ''}{d.message}" for d in plan.errors]
        super().__init__(f"{len(lines)} error(s) in the preview of {plan.stack}:\n" + "\n".join(lines))


def preview(
    project: Project,
    *,
    simulate_up: bool = False,
    isolate: bool = False,
    strict: bool = False,
    crds: Path | None = None,
    time_limit: float = TIME_LIMIT,
) -> Plan:
    """Preview one stack of a project. Errors are in the plan's diagnostics, all of them.

    `simulate_up` gives resources plausible outputs in place of unknown ones, `isolate` runs the program in its own
    process for at most `time_limit` seconds, `strict` refuses placeholders, `crds` is a directory of custom resource
    definitions to check against.
    """
    if project.automation:
        return _preview_script(project, simulate_up=simulate_up, isolate=isolate, strict=strict, crds=crds)
    recorded = read_recorded(project.recorded_answers)
    target = Target(
        project=project.name,
        stack=project.stack,
        organization=project.organization,
        root=project.root,
        directory=project.program if project.program.is_dir() else project.program.parent,
        config=project.config,
        secret_keys=project.secret_keys,
        stack_references=_stack_references(recorded),
        strict=strict,
    )
    engine = Engine(
        target,
        provider=_provider(project.config, recorded, strict=strict, crds=crds),
        preview=not simulate_up,
        call=GrpcCaller() if isolate else call_in_process,
    )
    if isolate:
        isolated.run(engine, project.program, time_limit=time_limit)
    else:
        runner.run(engine, project.program)
    return engine.plan()


def _preview_script(script: Project, *, simulate_up: bool, isolate: bool, strict: bool, crds: Path | None) -> Plan:
    """Preview a stack that a script makes with the Automation API."""
    if isolate:
        raise ProjectError(f"{script.program.name} drives the Automation API: it cannot be previewed with --isolated")
    from planner.engine import automation  # and with it Pulumi's, which takes a while

    def make(target: Target, file: Path, preview: bool) -> Engine:
        recorded = read_recorded(file)
        known = {**_stack_references(recorded), **target.stack_references}
        provider = _provider(target.config, recorded, strict=strict, crds=crds)
        return Engine(replace(target, stack_references=known, strict=strict), provider=provider, preview=preview)

    return automation.run(script, make, simulate_up=simulate_up)


def preview_program(
    program: Callable[[], Any],
    *,
    project: str = "ai-cloud",
    stack: str = "test",
    root: Path | None = None,
    config: Mapping[str, str] | None = None,
    secret_keys: tuple[str, ...] = (),
    recorded: Iterable[Recorded] = (),
    simulate_up: bool = False,
    strict: bool = False,
    crds: Path | None = None,
) -> Plan:
    """Preview a function that declares resources, as an Automation API inline program does."""
    recorded = list(recorded)
    target = Target(
        project=project,
        stack=stack,
        root=root,
        config=config or {},
        secret_keys=secret_keys,
        stack_references=_stack_references(recorded),
        strict=strict,
    )
    provider = _provider(target.config, recorded, strict=strict, crds=crds)
    engine = Engine(target, provider=provider, preview=not simulate_up)
    runner.run(engine, program)
    return engine.plan()


def _stack_references(recorded: Iterable[Recorded]) -> dict[str, Mapping[str, Any]]:
    """The outputs of other stacks are recorded like answers: the reference's name in, the stack's outputs out."""
    return {str(one.args.get("name")): one.result for one in recorded if one.token == STACK_REFERENCE}


def _provider(
    config: Mapping[str, str], recorded: Iterable[Recorded], *, strict: bool, crds: Path | None
) -> SimulatedProvider:
    answers = Answers(recorded, gcp_project=config.get("gcp:project", "sim-project"), strict=strict)
    definitions = CustomResourceDefinitions.from_directory(crds) if crds else None
    return SimulatedProvider(answers, definitions)
