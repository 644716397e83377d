"""The command line of the pipeline; runners, deployments and their contract test all read it from `parser()`."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from workloads.pipelines import parameters as given
from workloads.pipelines.definition import RETRAIN
from workloads.pipelines.errors import EXIT_CODES, REJECTED, PipelineError, on_disk

TARGETS = ("airflow", "kubeflow", "sagemaker")
SETTINGS = (
    ("image", "", "of the workloads; without one, Airflow starts tasks in shells"),
    ("python", "", "the interpreter of tasks in shells"),
    ("directory", "", "where tasks in shells are started"),
    ("namespace", "pipelines", "of pods"),
    ("service-account", "pipelines", "of pods"),
    ("signing-key", "", "for shells a path; for pods a secret with key.pem; for SageMaker an S3 prefix with key.pem"),
    ("schedule", "", "cron, in UTC, of Airflow"),
    ("role", "", "ARN of the role that SageMaker takes"),
    ("kms-key", "", "ARN of the key for SageMaker's volumes"),
)
"""Of `runners.settings.Settings`: option, default, help."""


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
    begin.add_argument("--overrides", default="", metavar="JSON", help="parameters by name, before which others yield")
    given.add_arguments(begin)

    step = command("step", "do a step of a run, unless it is done")
    step.add_argument("name", choices=[step.name for step in RETRAIN.steps])
    _add_run(step)

    gate = command("gate", f"whether the candidate may go on: exits with 0, or with {REJECTED} where it was rejected")
    _add_run(gate)
    gate.add_argument(
        "--answer", type=Path, metavar="FILE", help="exit with 0 and write `true` or `false`, or an object of it"
    )

    status = command("status", "what a run has come to")
    _add_run(status)
    status.add_argument("--json", action="store_true", help="for programs")

    exporter = command("exporter", "serve metrics of all runs for Prometheus, until it is stopped")
    exporter.add_argument("--runs", required=True, metavar="DIR|URL", help="the directory or prefix that has the runs")
    exporter.add_argument("--port", type=int, default=9465, help="(default %(default)s)")

    compile = command("compile", "write the pipeline as Airflow, Kubeflow Pipelines or SageMaker reads it")
    compile.add_argument("--target", required=True, choices=TARGETS)
    compile.add_argument("--output", required=True, type=Path, metavar="FILE", help="retrain.py, .yaml or .json")
    _add_run(compile, "with {run} in it, which every run replaces by its own name")
    for option, default, help in SETTINGS:
        compile.add_argument(f"--{option}", default=default, help=help + (f" (default {default})" if default else ""))
    given.add_arguments(compile)

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

    parameters = given.from_options(options).with_overrides(options.overrides)
    run, fresh = begin(options.run, parameters)
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
            accepted = verdict["accepted"]
            options.answer.write_text(
                json.dumps({"accepted": accepted} if options.answer.suffix == ".json" else accepted)
            )
        return 0
    return 0 if verdict["accepted"] else REJECTED


def _status(options: argparse.Namespace) -> int:
    from workloads.pipelines.run import Run
    from workloads.pipelines.status import status

    found = status(Run.open(options.run))
    print(json.dumps(found.to_json(), indent=1) if options.json else "\n".join(found.lines()))
    return 0


def _exporter(options: argparse.Namespace) -> int:
    from workloads.pipelines.metrics import serve

    return serve(options.runs, options.port)


def _compile(options: argparse.Namespace) -> int:
    from workloads.pipelines.runners.settings import Settings

    names = {option: option.replace("-", "_") for option, _, _ in SETTINGS}
    settings = Settings(
        options.run, given.from_options(options), **{name: getattr(options, name) for name in names.values()}
    )
    runner = importlib.import_module(f"workloads.pipelines.runners.{options.target}")
    for path in runner.compile(options.output, settings):
        print(path)
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


def _add_run(command: argparse.ArgumentParser, more: str = "") -> None:
    help = f"where the run is kept: a directory, or s3://, gs://, az:// {more}".strip()
    command.add_argument("--run", required=True, metavar="DIR|URL", help=help)


_COMMANDS = {
    "run": _run,
    "begin": _begin,
    "step": _step,
    "gate": _gate,
    "status": _status,
    "exporter": _exporter,
    "compile": _compile,
    "key": _key,
    "promote": _promote,
    "roll-back": _roll_back,
}
