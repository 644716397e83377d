"""`aicloud diff`: what a change does to every environment, as a pull request's comment."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from planner.commands import source

if TYPE_CHECKING:
    from planner.diff import Comparison, Report
    from planner.plan import Plan
    from planner.reading import Digest

DESCRIPTION = """\
Compares two states of every environment: what is created, updated, replaced
and deleted, which property does it, what that takes down, what it costs, and
which findings it brings and mends. A side is a git revision (previewed with
its own program) or a plan file; without HEAD it is the working tree, compared
with where it left BASE.

  aicloud diff main                        what this branch changes
  aicloud diff v1.2 v1.3 --stack prod      between two releases
  aicloud diff export.json --stack prod    from what runs (stack export) on
  aicloud diff old.json new.json           two plan files
  aicloud diff preview.json                a `pulumi preview --json`, as it is

The exit status is 1 if the change brings an error."""


FORMATS = ("terminal", "markdown", "json", "sarif")
_SUFFIXES = {".md": "markdown", ".json": "json", ".sarif": "sarif"}


def add(commands) -> None:
    """Add the command to `aicloud`."""
    diff = commands.add_parser(
        "diff",
        help="say what a change does to every environment",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    diff.set_defaults(run=run)
    diff.add_argument("base", metavar="BASE", help="a git revision or a plan file")
    diff.add_argument("head", metavar="HEAD", nargs="*", help="another; default: the working tree")
    diff.add_argument(
        "--stack", action="append", default=[], metavar="STACK", help="only this environment; may be repeated"
    )
    diff.add_argument("--format", choices=FORMATS, default="terminal", help="of what is printed; default: terminal")
    diff.add_argument(
        "--out",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="write it into a file too, .md, .json, .sarif or text by its name; may be repeated",
    )
    diff.add_argument("--full", action="store_true", help="every property of every change, in a terminal")
    diff.add_argument("--marker", default="diff", metavar="NAME", help="tells comments of one pull request apart")
    source.add_project(diff)


def run(parsed: argparse.Namespace) -> int:
    """Compare, and show what was found."""
    report = _report(parsed)
    sys.stdout.write(_rendered(report, parsed.format, parsed, to_terminal=True))
    for path in parsed.out:
        path.parent.mkdir(parents=True, exist_ok=True)
        source.write(path, _rendered(report, _SUFFIXES.get(path.suffix, "terminal"), parsed))
    return 1 if report.errors else 0


def _rendered(report: Report, as_format: str, parsed: argparse.Namespace, *, to_terminal: bool = False) -> str:
    if as_format == "json":
        from planner.diff.plain_data import as_json

        return as_json(report)
    if as_format == "sarif":
        return _sarif(report)
    if as_format == "markdown":
        from planner.diff.markdown import markdown, marker

        return markdown(report, marker=marker(parsed.marker))
    from planner.diff.terminal import show

    like = source.console()
    colored = to_terminal and like.is_terminal
    file = io.StringIO()
    console = Console(
        file=file,
        force_terminal=colored,
        width=like.width if colored else source.WIDTH_OF_A_FILE,
        highlight=False,
        color_system="auto" if colored else None,
    )
    show(report, console, full=parsed.full)
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines()) if not colored else file.getvalue()


def _sarif(report: Report) -> str:
    """Findings of the new side, those of the change among them: what the old side has too is a code host's to tell."""
    from planner import sarif
    from planner.checks import all_rules
    from planner.diff import impact

    return sarif.of_environments(
        {c.environment: sarif.findings((*c.blocking, *c.new_findings, *c.kept_findings)) for c in report.comparisons},
        [*all_rules(), *impact.RULES],
    )


# ---- what is compared


def _report(parsed: argparse.Namespace) -> Report:
    from planner.diff import Report, assess

    today = date.today()
    digests = _digests([parsed.base, *parsed.head])
    if digests:
        comparisons = tuple(assess.assess_preview(_configured(digest, parsed), today) for digest in digests)
        return Report("what runs", "pulumi preview", _chosen(comparisons, parsed.stack))
    if len(parsed.head) > 1:
        raise ValueError("diff: more than two sides; several are only compared where all are `pulumi preview --json`")
    with _sides(parsed) as (old, new):
        notes: list[str] = []
        comparisons = tuple(
            assess.assess(old.plan(stack, notes, new), new.plan(stack, notes, old), today)
            for stack in _stacks(parsed, old, new)
        )
        return Report(old.label, new.label, comparisons, tuple(notes))


def _digests(names: Sequence[str]) -> list[Digest]:
    """Both sides of each `pulumi preview --json`; empty where a name is anything else."""
    from planner import reading
    from planner.plan import PlanError

    found = []
    for name in names:
        if not source.is_file(name):
            return []
        try:
            document = reading.read_document(name)
            if not reading.is_digest(document):
                return []
            found.append(reading.digest_of(document))
        except PlanError as error:
            raise PlanError(f"{name}: {error}") from None
    return found


def _configured(digest: Digest, parsed: argparse.Namespace) -> Digest:
    """A preview doesn't tell rules of the stack that are not in its configuration; the project's file does."""
    from planner.engine import project

    with suppress(project.ProjectError):
        config = project.load(parsed.cwd, digest.new.stack).config
        return replace(
            digest,
            old=replace(digest.old, config={**config, **digest.old.config}),
            new=replace(digest.new, config={**config, **digest.new.config}),
        )
    return digest


def _chosen(comparisons: tuple[Comparison, ...], stacks: Sequence[str]) -> tuple[Comparison, ...]:
    chosen = tuple(c for c in comparisons if not stacks or c.environment in stacks)
    if stacks and not chosen:
        raise ValueError(f"--stack {', '.join(stacks)}: there is {', '.join(c.environment for c in comparisons)}")
    return chosen


@dataclass(frozen=True)
class _File:
    """A side that is a plan file."""

    label: str
    read: Plan
    cwd: Path

    def stacks(self) -> list[str]:
        return [self.read.stack]

    def plan(self, stack: str, notes: list[str], other: _Side) -> Plan:  # noqa: ARG002
        """The plan, with its stack's configuration where the file has none."""
        from planner.engine import project

        if not self.read.config:
            with suppress(project.ProjectError):
                return replace(self.read, config=project.load(self.cwd, self.read.stack).config)
        return self.read


@dataclass(frozen=True)
class _Tree:
    """A side that is a directory with a program: the working tree, or a checked-out revision."""

    label: str
    directory: Path

    def stacks(self) -> list[str]:
        from planner.engine import project

        try:
            return project.all_stacks(self.directory)
        except project.ProjectError:
            return []

    def plan(self, stack: str, notes: list[str], other: _Side) -> Plan:
        """Preview a stack; an empty plan where this side has no such stack."""
        from planner.engine import preview, project
        from planner.plan import Plan

        if stack not in self.stacks():
            notes.append(f"{self.label} has no environment {stack}")
            return Plan.of("", stack, [])
        with source.progress(f"previewing {stack} of {self.label}"):
            # Beside what a real cloud has said, values that are made up would all be differences.
            plan = preview(project.load(self.directory, stack), simulate_up=isinstance(other, _Tree))
        if plan.errors and self.label != WORKING_TREE:
            notes.append(
                f"{stack} of {self.label} doesn't preview without errors, so what is compared is not whole: "
                f"{plan.errors[0].message}"
            )
        return plan


_Side = _File | _Tree
WORKING_TREE = "working tree"


@contextmanager
def _sides(parsed: argparse.Namespace) -> Iterator[tuple[_Side, _Side]]:
    """Both sides; checkouts are there until the block ends."""
    from contextlib import ExitStack

    from planner import revisions
    from planner.plan import Plan

    with ExitStack() as stack:

        def side(name: str, *, since: bool) -> _Side:
            if source.is_file(name):
                return _File(name, Plan.read(name), parsed.cwd)
            revision = revisions.resolve(name, parsed.cwd)
            if since:
                revision = revisions.merge_base(revision, parsed.cwd)
            return _Tree(revision.label, stack.enter_context(revisions.checked_out(revision, parsed.cwd)))

        old = side(parsed.base, since=not parsed.head)
        new = side(parsed.head[0], since=False) if parsed.head else _Tree(WORKING_TREE, parsed.cwd)
        yield old, new


def _stacks(parsed: argparse.Namespace, old: _Side, new: _Side) -> list[str]:
    files = [side for side in (old, new) if isinstance(side, _File)]
    there = list(dict.fromkeys(files[-1].stacks() if files else [*new.stacks(), *old.stacks()]))
    wanted = list(dict.fromkeys(parsed.stack)) or there
    if files and wanted != there:
        raise ValueError(f"--stack {', '.join(wanted)}: {files[-1].label} is a plan of {there[0]}")
    if missing := [stack for stack in wanted if stack not in there]:
        raise ValueError(f"--stack {missing[0]}: there is {', '.join(there) or 'none'}")
    return wanted
