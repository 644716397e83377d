"""The `aicloud` command."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

DESCRIPTION = """\
Everything that is known about an environment before a cent is spent.

An environment is one Pulumi stack (dev, staging, prod, or any stack of another
project with --cwd). Nothing here needs the Pulumi CLI, a cloud or credentials."""

PREVIEW = """\
Runs the unmodified Pulumi program against a simulated engine and shows what it
would make. Every resource is checked against the schemas of the installed
SDKs; all mistakes are reported at once, each with its line of the program."""

RECORD = """\
A preview asks the cloud some questions (images, zones, existing networks).
Those that the simulation does not know are answered with placeholders, unless
their real answers are recorded in a file beside the stack. Fill it from the
log of a real preview, made with PULUMI_DEBUG_GRPC=grpc.json pulumi preview, or
add one entry to edit by hand."""


_WIDTH_OF_A_FILE = 140
"""Columns of a report that goes into a file or a CI log."""


def parser() -> argparse.ArgumentParser:
    """The command line; also what its documentation is checked against."""
    root = argparse.ArgumentParser(
        prog="aicloud", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)

    preview = commands.add_parser(
        "preview",
        help="show all resources that an environment would have",
        description=PREVIEW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    preview.set_defaults(run=_preview)
    preview.add_argument(
        "stack",
        metavar="STACK",
        help="dev, staging, prod; or a file: a plan.json, a `pulumi preview --json`, a `pulumi stack export`",
    )
    preview.add_argument("--json", action="store_true", help="print the plan as JSON in place of the tree")
    preview.add_argument("--out", type=Path, default=Path("plan.json"), metavar="FILE", help="default: plan.json")
    preview.add_argument("--full", action="store_true", help="list every resource, not only how many of a kind")
    preview.add_argument(
        "--simulate-up", action="store_true", help="give plausible outputs to what only the cloud can know"
    )
    preview.add_argument("--isolated", action="store_true", help="run the program in its own process, over gRPC")
    preview.add_argument(
        "--time-limit", type=float, default=600.0, metavar="SECONDS", help="of an isolated program; default: 600"
    )
    preview.add_argument("--strict", action="store_true", help="refuse placeholders in place of answers by the cloud")
    preview.add_argument(
        "--crds", type=Path, metavar="DIR", help="check custom resources against the definitions in a directory"
    )
    _add_project(preview)
    preview.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a configuration value for this preview; may be repeated",
    )

    record = commands.add_parser(
        "record",
        help="record real answers to what a preview asks the cloud",
        description=RECORD,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    record.set_defaults(run=_record)
    record.add_argument("stack", metavar="STACK")
    record.add_argument("--log", type=Path, metavar="FILE", help="a PULUMI_DEBUG_GRPC log of a real preview")
    record.add_argument("--token", help="a function, such as aws:ec2/getAmi:getAmi, to add an entry for by hand")
    record.add_argument("--args", default="{}", metavar="JSON", help="the function's arguments; default: {}")
    _add_project(record)
    return root


def _add_project(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--cwd", type=Path, default=Path(), metavar="DIR", help="the Pulumi project; default: the current directory"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. 0: done; 1: the environment has errors; 2: it could not be looked at."""
    parsed = parser().parse_args(arguments)
    try:
        return parsed.run(parsed)
    except (ValueError, OSError) as error:
        # Bad input, said by whoever noticed it: PlanError, ProjectError, a file that cannot be read.
        print(f"aicloud: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0


def command() -> NoReturn:
    """`aicloud`, as it is installed: ends without taking apart the SDKs' million objects, which takes over a second."""
    try:
        status = main()
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        status = 0
    except KeyboardInterrupt:
        status = 130  # as a shell reports what Ctrl-C ended
    os._exit(status)


def _preview(parsed: argparse.Namespace) -> int:
    from rich.console import Console

    from planner import report
    from planner.plan import Plan

    started = time.perf_counter()
    if Path(parsed.stack).suffix == ".json" or Path(parsed.stack).is_file():
        plan, written = Plan.read(parsed.stack), None
    else:
        plan, written = _run_preview(parsed), parsed.out
        _write(written, plan.to_json())
    took = time.perf_counter() - started
    if parsed.json:
        sys.stdout.write(plan.to_json())
    else:
        console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)
        report.show(plan, console, full=parsed.full)
        console.print(f"\n{took:.1f} s" + (f", plan in {written}" if written else ""))
    return 1 if plan.errors else 0


def _run_preview(parsed: argparse.Namespace):
    from planner import engine
    from planner.engine import project

    overrides = dict(_key_value(text) for text in parsed.config)
    loaded = project.load(parsed.cwd, parsed.stack, overrides)
    with _progress(f"previewing {parsed.stack}"):
        return engine.preview(
            loaded,
            simulate_up=parsed.simulate_up,
            isolate=parsed.isolated,
            strict=parsed.strict,
            crds=parsed.crds.resolve() if parsed.crds else None,
            time_limit=parsed.time_limit,
        )


def _key_value(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ValueError(f"--config {text!r}: expected KEY=VALUE, such as aws:region=us-east-1")
    return key, value


def _write(path: Path, text: str) -> None:
    """Write whole or not at all: a plan that is cut off must never look like a plan."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


@contextmanager
def _progress(what: str) -> Iterator[None]:
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(f"{what} …"):
        yield


def _record(parsed: argparse.Namespace) -> int:
    import json

    from planner import recording
    from planner.engine import project

    into = project.load(parsed.cwd, parsed.stack).recorded_answers
    if (parsed.log is None) == (parsed.token is None):
        raise ValueError("record: give either --log FILE or --token TOKEN")
    if parsed.log is not None:
        print(recording.record_from_log(parsed.log, into))
        return 0
    try:
        arguments = json.loads(parsed.args)
    except json.JSONDecodeError as error:
        raise ValueError(f"--args {parsed.args!r}: {error}") from None
    print(f"edit the new entry in {recording.record_by_hand(parsed.token, arguments, into)}")
    return 0


if __name__ == "__main__":
    command()
