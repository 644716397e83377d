"""`aicloud preview`: show all resources that an environment would have."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from planner.commands import source

DESCRIPTION = """\
Runs the unmodified Pulumi program against a simulated engine and shows what it
would make. Every resource is checked against the schemas of the installed
SDKs; all mistakes are reported at once, each with its line of the program."""


def add(commands) -> None:
    """Add the command to `aicloud`."""
    preview = commands.add_parser(
        "preview",
        help="show all resources that an environment would have",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    preview.set_defaults(run=run)
    source.add_stack(preview)
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


def run(parsed: argparse.Namespace) -> int:
    """Preview, or read a plan file, and show it."""
    from planner import report
    from planner.plan import Plan

    started = time.perf_counter()
    if source.is_file(parsed.stack):
        plan, written = Plan.read(parsed.stack), None
    else:
        plan, written = _preview(parsed), parsed.out
        source.write(written, plan.to_json())
    took = time.perf_counter() - started
    if parsed.json:
        sys.stdout.write(plan.to_json())
    else:
        console = source.console()
        report.show(plan, console, full=parsed.full)
        console.print(f"\n{took:.1f} s" + (f", plan in {written}" if written else ""))
    return 1 if plan.errors else 0


def _preview(parsed: argparse.Namespace):
    from planner import engine
    from planner.engine import project

    overrides = dict(source.key_value(text) for text in parsed.config)
    loaded = project.load(parsed.cwd, parsed.stack, overrides)
    with source.progress(f"previewing {parsed.stack}"):
        return engine.preview(
            loaded,
            simulate_up=parsed.simulate_up,
            isolate=parsed.isolated,
            strict=parsed.strict,
            crds=parsed.crds.resolve() if parsed.crds else None,
            time_limit=parsed.time_limit,
        )
