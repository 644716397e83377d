"""`aicloud diagram`: formats, places, mistakes."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from planner.cli import main
from tests.planner.diagram import strangers


@pytest.fixture
def plan_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "plan.json"
    path.write_text(strangers.plain_eks().to_json())
    return path


def test_by_default_an_svg_under_out(plan_file, capsys):
    assert main(["diagram", str(plan_file)]) == 0
    written = plan_file.parent / "out" / "live.svg"
    assert ElementTree.parse(written).getroot().tag.endswith("svg")
    assert "out/live.svg" in capsys.readouterr().out
    assert not list(written.parent.glob(".*"))


@pytest.mark.parametrize(
    ("name", "begins"), [("a.svg", b"<svg"), ("a.png", b"\x89PNG"), ("a.mmd", b"flowchart"), ("b/a.md", b"flowchart")]
)
def test_the_ending_says_the_format(plan_file, name, begins):
    assert main(["diagram", str(plan_file), "--out", name]) == 0
    assert (plan_file.parent / name).read_bytes().startswith(begins)


@pytest.mark.parametrize(("kind", "ending"), [("svg", "svg"), ("png", "png"), ("mermaid", "mmd")])
def test_the_format_says_the_ending(plan_file, kind, ending):
    assert main(["diagram", str(plan_file), "--format", kind]) == 0
    assert (plan_file.parent / "out" / f"live.{ending}").stat().st_size > 100


def test_it_can_be_piped(plan_file, capfdbinary):
    assert main(["diagram", str(plan_file), "--format", "mermaid", "--out", "-"]) == 0
    assert capfdbinary.readouterr().out.startswith(b"flowchart")


def test_a_format_that_contradicts_the_ending_is_refused(plan_file, capsys):
    assert main(["diagram", str(plan_file), "--format", "png", "--out", "a.svg"]) == 2
    assert "a.svg ends in .svg, but --format is png" in capsys.readouterr().err


def test_a_file_that_is_no_plan_is_refused(tmp_path, capsys):
    (tmp_path / "x.json").write_text("{}")
    assert main(["diagram", str(tmp_path / "x.json")]) == 2
    assert "neither a plan.json" in capsys.readouterr().err
