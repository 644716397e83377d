"""README shows what a person would see: its preview is the preview, and its commands exist."""

from __future__ import annotations

import io
import os
import re
import shlex

import pytest
from rich.console import Console

from planner import cli, report
from tests.support import ROOT

README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- preview of dev: .*? -->\n```\n)(.*?)(```\n<!-- end -->)", re.DOTALL)
WIDTH = 118


def test_the_preview_in_the_readme_is_the_preview(environment_plan):
    console = Console(file=io.StringIO(), width=WIDTH, highlight=False, color_system=None)
    report.show(environment_plan("dev"), console)
    shown = "\n".join(line.rstrip() for line in console.file.getvalue().strip().splitlines()) + "\n"
    text = README.read_text(encoding="utf-8")
    if os.environ.get("AICLOUD_WRITE_GOLDEN"):
        text = BLOCK.sub(lambda found: found[1] + shown + found[3], text)
        README.write_text(text, encoding="utf-8")
    found = BLOCK.search(text)
    assert found, "README has no block for the preview"
    assert found[2] == shown, "run `make golden`"


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
