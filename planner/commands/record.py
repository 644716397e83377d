"""`aicloud record`: keep real answers to what a preview asks the cloud."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from planner.commands import source

DESCRIPTION = """\
A preview asks the cloud some questions (images, zones, existing networks).
Those that the simulation does not know are answered with placeholders, unless
their real answers are recorded in a file beside the stack. Fill it from the
log of a real preview, made with PULUMI_DEBUG_GRPC=grpc.json pulumi preview, or
add one entry to edit by hand."""


def add(commands) -> None:
    """Add the command to `aicloud`."""
    record = commands.add_parser(
        "record",
        help="record real answers to what a preview asks the cloud",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    record.set_defaults(run=run)
    record.add_argument("stack", metavar="STACK")
    record.add_argument("--log", type=Path, metavar="FILE", help="a PULUMI_DEBUG_GRPC log of a real preview")
    record.add_argument("--token", help="a function, such as aws:ec2/getAmi:getAmi, to add an entry for by hand")
    record.add_argument("--args", default="{}", metavar="JSON", help="the function's arguments; default: {}")
    source.add_project(record)


def run(parsed: argparse.Namespace) -> int:
    """Record from a log, or one answer by hand."""
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
