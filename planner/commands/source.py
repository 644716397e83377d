"""Where a command gets its Plan from: a preview of a stack made now, or a file of an earlier one."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from planner.plan import Plan

WIDTH_OF_A_FILE = 140
"""Columns of a report that goes into a file or a CI log."""


def add_stack(command: argparse.ArgumentParser) -> None:
    """The arguments that name an environment or a plan file."""
    command.add_argument(
        "stack",
        metavar="STACK",
        help="dev, staging, prod; or a file: a plan.json, a `pulumi preview --json`, a `pulumi stack export`",
    )
    add_project(command)
    command.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a configuration value for this preview; may be repeated",
    )


def add_project(command: argparse.ArgumentParser) -> None:
    """The argument that names the Pulumi project."""
    command.add_argument(
        "--cwd", type=Path, default=Path(), metavar="DIR", help="the Pulumi project; default: the current directory"
    )


def is_file(stack: str) -> bool:
    """Whether a person named a plan file, not a stack."""
    return Path(stack).suffix == ".json" or Path(stack).is_file()


def read(parsed: argparse.Namespace, *, simulate_up: bool = True) -> Plan:
    """The plan that `add_stack`'s arguments name.

    A stack is previewed with plausible outputs (`simulate_up`), so that there is more to judge. A file that does not
    say with which configuration it was made (a `pulumi stack export`) is judged by that of its stack in the project.
    """
    from planner.engine import preview, project

    overrides = dict(key_value(text) for text in parsed.config)
    if not is_file(parsed.stack):
        loaded = project.load(parsed.cwd, parsed.stack, overrides)
        with progress(f"previewing {parsed.stack}"):
            plan = preview(loaded, simulate_up=simulate_up)
        # The SDKs leave a million objects behind, which the collector would look through again and again.
        gc.freeze()
        return plan
    plan = Plan.read(parsed.stack)
    if not plan.config:
        # A plan of a project that is not here is judged by the rules' defaults.
        with suppress(project.ProjectError):
            plan = replace(plan, config=project.load(parsed.cwd, plan.stack).config)
    return replace(plan, config={**plan.config, **overrides})


def key_value(text: str) -> tuple[str, str]:
    """`KEY=VALUE` apart. ValueError where it is not."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ValueError(f"--config {text!r}: expected KEY=VALUE, such as aws:region=us-east-1")
    return key, value


def console() -> Console:
    """Standard output, as wide as the terminal, or as `WIDTH_OF_A_FILE` where there is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE)


def write(path: Path, text: str) -> None:
    """Write whole or not at all: a file that is cut off must never look like one that is not."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Say on a terminal what takes so long."""
    stderr = Console(stderr=True)
    if not stderr.is_terminal:
        yield
        return
    with stderr.status(f"{what} …"):
        yield
