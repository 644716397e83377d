"""The command line of the pipeline; runners, deployments and their contract test all read it from `parser()`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from workloads.pipelines import parameters as given
from workloads.pipelines.definition import RETRAIN
from workloads.pipelines.errors import EXIT_CODES, REJECTED, PipelineError, on_disk

TARGETS = ("airflow", "kubeflow", "sagemaker")


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("python -m workloads.pipelines", description=__doc__, epilog=EXIT_CODES)
    commands = root.add_subparsers(dest="command", required=True)

    def command(name: str, help: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help, epilog=EXIT_CODES, allow_abbrev=False)

    run = command("run", "run the pipeline on this machine, or go on where it got to")
    _add_run(run)
    run.add_argument("--in-process", action="store_true", help="every step in this process, which starts none anew")
    given.add_arguments(run)

    begin = command("begin", "begin a run; steps follow")
    _add_run(begin)
    given.add_arguments(begin)

    step = command("step", "do a step of a run, unless it is done")
    step.add_argument("name", choices=[step.name for step in RETRAIN.steps])
    _add_run(step)

    gate = command("gate", f"whether the candidate may go on: exits with 0, or with {REJECTED} where it was rejected")
    _add_run(gate)
    gate.add_argument("--answer", type=Path, metavar="FILE", help="write `true` or `false` there, and exit with 0")

    status = command("status", "what a run has come to")
    _add_run(status)
    status.add_argument("--json", action="store_true", help="for programs")

    key = command("key", "make a key that versions are signed with")
    key.add_argument("--output", type=Path, required=True, metavar="PEM", help="the private key; beside it the public")

    for name, help in (
        ("promote", "make a registered version the champion"),
        ("roll-back", "make the champion who it was before the last promotion"),
    ):
        registry = command(name, help)
        registry.add_argument("--mlflow", required=True, metavar="URI")
        registry.add_argument("--model", required=True)
        if name == "promote":
            registry.add_argument("--version", metavar="N", help="in the registry; default: the candidate")
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except PipelineError as error:
        print(f"{options.command}: {error}", file=sys.stderr, flush=True)
        return error.exit_code


def _run(options: argparse.Namespace) -> int:
    from workloads.pipelines.runners import local

    def show(event: local.Event) -> None:
        took = f" in {event.wall_s:.1f} s, {event.cost_usd:.4f} USD" if event.what in ("done", "rejected") else ""
        again = f", attempt {event.attempt}" if event.attempt > 1 else ""
        print(f"{event.task}: {event.what}{again}{took}", file=sys.stderr, flush=True)

    execute = local.in_process if options.in_process else local.as_process
    found = local.run(options.run, given.from_options(options), on_event=show, execute=execute)
    print("\n".join(found.lines()))
    return 0


def _begin(options: argparse.Namespace) -> int:
    from workloads.pipelines.begin import begin

    run, fresh = begin(options.run, given.from_options(options))
    print(f"{run.id} {'begins' if fresh else 'goes on'} at {run.store.url}; it makes version {run.resolved['version']}")
    return 0


def _step(options: argparse.Namespace) -> int:
    from workloads.pipelines.run import Run

    def say(text: str) -> None:
        print(f"{options.name}: {text}", flush=True)

    run = Run.open(options.run)
    done, now = run.do(run.pipeline.step(options.name), say)
    said = f"{done.wall_s:.1f} s, {done.cost_usd:.4f} USD" if now else "was done before"
    print(f"{options.name}: {said}; " + ", ".join(f"{name} {sha[:12]}" for name, sha in done.digests().items()))
    return 0


def _gate(options: argparse.Namespace) -> int:
    from workloads.pipelines.errors import NotReady
    from workloads.pipelines.record import record
    from workloads.pipelines.run import Run
    from workloads.pipelines.status import verdict_of

    run = Run.open(options.run)
    verdict = verdict_of(run)
    if verdict is None:
        raise NotReady(f"{run.store.url}: step {run.pipeline.gate.after} is not done")
    if not verdict["accepted"]:
        print("gate: rejected: " + "; ".join(verdict["reasons"]))
        # Nothing follows that would tell of it.
        record(run)
    if options.answer:
        with on_disk(options.answer):
            options.answer.parent.mkdir(parents=True, exist_ok=True)
            options.answer.write_text(json.dumps(verdict["accepted"]))
        return 0
    return 0 if verdict["accepted"] else REJECTED


def _status(options: argparse.Namespace) -> int:
    from workloads.pipelines.run import Run
    from workloads.pipelines.status import status

    found = status(Run.open(options.run))
    print(json.dumps(found.to_json(), indent=1) if options.json else "\n".join(found.lines()))
    return 0


def _key(options: argparse.Namespace) -> int:
    from workloads.serving import signing
    from workloads.serving.errors import ServingError

    try:
        public = signing.make_key(options.output)
        print(f"{options.output}; {public}: {signing.fingerprint(signing.public_key(public))}")
    except ServingError as error:
        raise PipelineError(str(error)) from None
    return 0


def _promote(options: argparse.Namespace) -> int:
    from workloads.pipelines.errors import ArgumentError
    from workloads.pipelines.registry import CANDIDATE, Registry

    registry = Registry(options.mlflow)
    version = options.version or registry.aliases(options.model).get(CANDIDATE)
    if version is None:
        raise ArgumentError(f"--version: {options.model} has no candidate; expected a version of it")
    registry.promote(options.model, version)
    print(f"{options.model}: version {version} is the champion")
    return 0


def _roll_back(options: argparse.Namespace) -> int:
    from workloads.pipelines.registry import Registry

    print(f"{options.model}: version {Registry(options.mlflow).roll_back(options.model)} is the champion again")
    return 0


def _add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--run", required=True, metavar="DIR|URL", help="where the run is kept: a directory, or s3://, gs://, az://"
    )


_COMMANDS = {
    "run": _run,
    "begin": _begin,
    "step": _step,
    "gate": _gate,
    "status": _status,
    "key": _key,
    "promote": _promote,
    "roll-back": _roll_back,
}
