"""README shows what a person would see: its preview is the preview, and its commands exist."""

from __future__ import annotations

import io
import os
import re
import shlex
from datetime import date

import pytest
from rich.console import Console

from planner import checks, cli, cost, diagram, report
from planner.commands import check
from planner.cost import view
from planner.cost.budgets import limits
from planner.inventory import Inventory
from tests.faults.placement import FAULTS
from tests.support import ROOT

README = ROOT / "README.md"
WIDTH = 118
TODAY = date(2026, 11, 22)


def preview_of_dev(simulated_plan, console):
    report.show(simulated_plan("dev"), console)


def check_of_a_fault(simulated_plan, console):
    """The label of a node pool renamed, and nothing else."""
    (fault,) = [fault for fault in FAULTS if "label of a pool is renamed" in fault.name]
    plan = fault.plant(simulated_plan(fault.environment))
    check.show(plan, checks.check(plan, TODAY), checks.all_rules(), console)


def cost_of_prod(simulated_plan, console):
    plan = simulated_plan("prod")
    estimate = cost.estimate(plan)
    view.show(estimate, limits(estimate, plan.config), console)


def diagram_of_dev(simulated_plan, console):
    console.print(diagram.mermaid(diagram.picture(Inventory(simulated_plan("dev")))), soft_wrap=True, markup=False)


BLOCKS = {
    "preview of dev": (preview_of_dev, None),
    "check of prod after a label was renamed": (check_of_a_fault, None),
    "cost of prod": (cost_of_prod, 22),
    "diagram of dev": (diagram_of_dev, None),
}
"""What a block shows -> what prints it, and of how many lines the block is (None: all)."""


def test_what_the_readme_shows_is_what_a_person_sees(environment_plan, simulated_plan):
    # In one test: side by side, they would write over each other.
    text = written = README.read_text(encoding="utf-8")
    for title in BLOCKS:
        block = re.compile(rf"(<!-- {title}: .*? -->\n```\w*\n)(.*?)(```\n<!-- end -->)", re.DOTALL)
        assert block.search(text), f"README has no block for the {title}"
        shown = _shown(title, environment_plan if title.startswith("preview") else simulated_plan)
        written = block.sub(lambda found, shown=shown: found[1] + shown + found[3], written)
    if os.environ.get("AICLOUD_WRITE_GOLDEN"):
        README.write_text(written, encoding="utf-8")
    else:
        assert written == text, "run `make golden`"


def _shown(title, plans):
    prints, length = BLOCKS[title]
    console = Console(file=io.StringIO(), width=WIDTH, highlight=False, color_system=None)
    prints(plans, console)
    lines = [line.rstrip() for line in console.file.getvalue().strip("\n").splitlines()]
    shown = [*lines[:length], *(["…"] if len(lines[:length]) < len(lines) else [])]
    return "\n".join(shown).strip("\n") + "\n"


def documents():
    return [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_commands_in_the_documents_exist(document):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    text = document.read_text(encoding="utf-8")
    used = set(re.findall(r"(?:^ +|`)make ([a-z-]+)", text, re.MULTILINE))
    assert used <= targets
    for command in re.findall(r"(?:^ +|`)(?:\.venv/bin/)?aicloud ([^`\n]+)", text, re.MULTILINE):
        words = shlex.split(command.split("  #")[0].replace("…", ""))
        if len(words) > 1 and not words[0].startswith("-") and "[" not in command:
            cli.parser().parse_args(words)


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_links_in_the_documents_lead_somewhere(document):
    for target in re.findall(r"\]\((?!http)([^)#]+)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target
