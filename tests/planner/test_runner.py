"""Running a whole project: in this process, in its own, twice, and when it fails."""

import gc
import sys
from pathlib import Path

import pytest

from planner.engine import preview
from planner.engine.project import load

SHOP = Path(__file__).parents[1] / "fixtures" / "projects" / "shop"


@pytest.fixture(scope="module")
def plan():
    return preview(load(SHOP, "dev"))


def test_a_project_previews(plan):
    assert plan.errors == []
    assert plan.kinds["aws:ec2/subnet:Subnet"] == len(plan.outputs["zones"]) == 6
    assert plan.kinds["kubernetes:core/v1:ConfigMap"] == 1
    assert plan.outputs["zones"][:2] == ["us-east-1a", "us-east-1b"]
    assert plan.outputs["replicas"] == 2
    assert {r.place for r in plan.of_type("aws:ec2/subnet:Subnet")} == {"infra/network.py:13"}
    assert [d.message for d in plan.diagnostics if d.severity == "info"] == ["ready"]


def test_two_previews_are_the_same_bytes(plan):
    assert preview(load(SHOP, "dev")).to_json() == plan.to_json()


def test_an_isolated_preview_is_the_same_bytes(plan):
    assert preview(load(SHOP, "dev"), isolate=True).to_json() == plan.to_json()


@pytest.mark.parametrize("isolate", [False, True])
def test_a_simulated_up_is_the_same_both_ways(isolate):
    expected = preview(load(SHOP, "dev"), simulate_up=True)
    assert expected.errors == []
    assert expected.outputs["endpoint"].startswith("https://")
    assert preview(load(SHOP, "dev"), simulate_up=True, isolate=isolate).to_json() == expected.to_json()


def test_nothing_of_a_run_stays_behind():
    before, path, working_directory = set(sys.modules), list(sys.path), Path.cwd()
    preview(load(SHOP, "dev"))
    assert not {name for name in set(sys.modules) - before if name.split(".")[0] == "network"}
    assert sys.path == path
    assert Path.cwd() == working_directory
    assert gc.isenabled()


def program(tmp_path, source, stack="config: {}"):
    (tmp_path / "Pulumi.yaml").write_text("name: small\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text(stack)
    (tmp_path / "__main__.py").write_text(source)
    return load(tmp_path, "dev")


@pytest.mark.parametrize("isolate", [False, True])
@pytest.mark.parametrize(
    ("source", "place", "message"),
    [
        ("import pulumi\n\nx = [][1]\n", "__main__.py:3", "IndexError: list index out of range"),
        ("def broken(:\n", "__main__.py:1", "SyntaxError: invalid syntax"),
        ("import nowhere_to_be_found\n", "__main__.py:1", "No module named 'nowhere_to_be_found'"),
        ("import pulumi\npulumi.Config().require('size')\n", "__main__.py:2", "small:size"),
        ("import sys\nsys.exit(3)\n", "__main__.py:2", "the program exited with 3"),
        ("import pulumi\npulumi.Output.from_input(1).apply(lambda n: n / 0)\n", "__main__.py:2", "ZeroDivisionError"),
    ],
    ids=["exception", "syntax", "import", "config", "exit", "apply"],
)
def test_what_a_program_raises_is_told_with_its_line(tmp_path, source, place, message, isolate):
    plan = preview(program(tmp_path, source), isolate=isolate)
    (error,) = plan.errors
    assert error.place == place
    assert message in error.message


def test_all_failures_are_told(tmp_path):
    source = (
        "import pulumi\nimport pulumi_aws as aws\n"
        "aws.ec2.Vpc('one', cidr_block=['10.0.0.0/16'], region='us-east-1')\n"
        "aws.ec2.Vpc('two', tags='blue', region='us-east-1')\n"
        "pulumi.Output.from_input(1).apply(lambda n: n / 0)\n"
        "raise ValueError('and this')\n"
    )
    errors = {d.place for d in preview(program(tmp_path, source)).errors}
    assert errors == {f"__main__.py:{line}" for line in (3, 4, 5, 6)}


def test_a_program_that_never_ends_is_killed(tmp_path):
    endless = program(tmp_path, "import time\nwhile True:\n    time.sleep(1)\n")
    (error,) = preview(endless, isolate=True, time_limit=4).errors
    assert "still running after 4 s" in error.message


def test_a_process_that_dies_is_noticed(tmp_path):
    dies = program(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    (error,) = preview(dies, isolate=True).errors
    assert "-9" in error.message


def test_modules_of_two_projects_do_not_mix(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        project = program(tmp_path / name, "import pulumi\nimport names\npulumi.export('name', names.NAME)\n")
        (tmp_path / name / "names.py").write_text(f"NAME = {name!r}\n")
        assert preview(project).outputs == {"name": name}
