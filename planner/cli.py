"""The `aicloud` command."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

DESCRIPTION = """\
Everything that is known about an environment before a cent is spent.

An environment is one Pulumi stack (dev, staging, prod, or any stack of another
project with --cwd). Nothing here needs the Pulumi CLI, a cloud or credentials."""

COMMANDS = ("preview", "check", "cost", "diagram", "diff", "record")
"""Modules of planner.commands, in the order of the help."""


def parser() -> argparse.ArgumentParser:
    """The command line; also what its documentation is checked against."""
    root = argparse.ArgumentParser(
        prog="aicloud", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"planner.commands.{name}").add(commands)
    return root


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


if __name__ == "__main__":
    command()
