"""Plants one mistake at a time in a copy of the program: the preview must reject each, and name the place."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from planner.cli import main
from planner.engine import preview, project
from tests.mistakes.in_program import PROGRAM
from tests.mistakes.in_settings import SETTINGS
from tests.mistakes.mistake import DEV, Mistake
from tests.support import ROOT

CRDS = Path(__file__).parent / "fixtures" / "crds"
MISTAKES = (*SETTINGS, *PROGRAM)


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, where it may be spoilt. Compiled once, so that each run reads only what was changed."""
    root = tmp_path_factory.mktemp("program")
    for folder in ("stacks", "components"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "Pulumi.yaml", root)
    return root


def errors(root: Path, stack: str, *, up: bool = False) -> list[str]:
    """What a person is told. Settings tell all that is wrong in one error, a line each; here they are one by one."""
    try:
        plan = preview(project.load(root, stack), simulate_up=up, crds=CRDS)
    except project.ProjectError as error:
        return [str(error).replace(f"{root}/", "")]
    told = [f"{d.place}: {d.message}" for d in plan.errors]
    return [part for text in told for part in (text.splitlines() if "SettingsError" in text else [text])]


@contextmanager
def planted(mistake: Mistake, root: Path) -> Iterator[range]:
    """The copy with the mistake in it; lines of the statement that now has it."""
    file = root / mistake.file
    text = file.read_text(encoding="utf-8")
    times = text.count(mistake.was)
    assert times == 1, f"{mistake.file} has {mistake.was!r} {times} times: the mistake was never planted"
    spoilt = text.replace(mistake.was, mistake.becomes)
    first = text[: text.index(mistake.was)].count("\n") + 1
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    # Compiled code is taken for that of its source while size and second of change agree: better not to rely on them.
    compiled = list(file.parent.glob(f"__pycache__/{file.stem}.*"))
    for stale in compiled:
        stale.unlink()
    file.write_text(spoilt, encoding="utf-8")
    try:
        changed = range(first, first + mistake.becomes.count("\n") + 1)
        yield range(0) if mistake.in_settings else _statement(spoilt, changed)
    finally:
        file.write_text(text, encoding="utf-8")
        sys.dont_write_bytecode = writes


def _statement(text: str, lines: range) -> range:
    """Lines of the innermost statement around `lines`; just those where the text is no Python any more."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return lines
    around = [
        range(node.lineno, (node.end_lineno or node.lineno) + 1)
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and node.lineno <= lines[0] and (node.end_lineno or node.lineno) >= lines[-1]
    ]
    return min(around, key=len, default=lines)


def test_the_program_itself_is_without_mistakes(copy: Path) -> None:
    for stack, up in (("dev", False), ("staging", False), ("dev", True)):
        assert errors(copy, stack, up=up) == []


def test_there_are_forty_different_mistakes() -> None:
    assert all(mistake.was != mistake.becomes and mistake.says for mistake in MISTAKES)
    assert len({(m.file, m.was, m.becomes) for m in MISTAKES}) == len({_name(m) for m in MISTAKES}) == len(MISTAKES)
    assert len(MISTAKES) >= 40


def _name(mistake: Mistake) -> str:
    return f"{'settings' if mistake.in_settings else 'program'}: {mistake.name}"


@pytest.mark.parametrize("mistake", MISTAKES, ids=_name)
def test_is_rejected_at_its_place(mistake: Mistake, copy: Path) -> None:
    with planted(mistake, copy) as statement:
        found = errors(copy, mistake.stack, up=mistake.up)
    assert not (missing := not_told(mistake, statement, found)), missing


def not_told(mistake: Mistake, statement: range, found: list[str]) -> str:
    """What the errors fail to say about the mistake; empty where they say it all."""
    if not found:
        return f"nobody noticed: {mistake.name}"
    telling = [error for error in found if all(word in error for word in mistake.says)]
    if not telling:
        return f"no error has all of {mistake.says}:\n" + "\n".join(found)
    if mistake.in_settings:
        return ""
    file = mistake.at or mistake.file
    lines = {int(line) for error in telling for line in re.findall(rf"{re.escape(file)}:(\d+)", error)}
    if not lines:
        return f"no line of {file} in\n" + "\n".join(telling)
    if not mistake.at and not lines & set(statement):
        return f"lines {lines} of {file}, but the mistake is in {statement}"
    return ""


@pytest.mark.parametrize("mistake", [SETTINGS[0], PROGRAM[0]], ids=_name)
def test_the_command_fails_and_says_so(mistake: Mistake, copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with planted(mistake, copy):
        status = main(["preview", mistake.stack, "--cwd", str(copy), "--out", str(copy / "plan.json")])
    told = re.sub(r"\s+", "", "".join(capfd.readouterr()))
    assert status == 1
    assert all(re.sub(r"\s+", "", word) in told for word in mistake.says)


SPY = """
import pulumi_aws as aws

spied = pulumi.Config("billing")
spied.require_secret("token").apply(print)
spied.require_secret("token").apply(lambda token: pulumi.log.warn(f"the token is {token}"))
print(spied.require("token"))
pulumi.export("token", spied.require_secret("token"))
aws.s3.Bucket("spied", region="us-east-1", bucket=spied.require_secret("token"))
raise ValueError(spied.require("token"))
"""


def test_a_secret_that_the_program_gives_away_is_not_shown(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AICLOUD_SECRET_BILLING_TOKEN", "Open-Sesame!")
    region = "  aws:region: us-east-1\n"
    secret = Mistake("", DEV, region, f"{region}  billing:token: {{secure: AAABAFqS8bYx}}\n", ())
    spy = Mistake("", "stacks/__main__.py", "environment = Environment", f"{SPY}\nenvironment = Environment", ())
    with planted(secret, copy), planted(spy, copy):
        plan = preview(project.load(copy, "dev"))
    assert [error.message for error in plan.errors if error.message.startswith("ValueError")] == [
        "ValueError: [secret]"
    ]
    assert any(warning.message == "the token is [secret]" for warning in plan.warnings)
    assert "Open-Sesame!" not in plan.to_json()
