"""Reading Pulumi.yaml and the stack files."""

import re
from pathlib import Path

import pytest

from planner.engine.project import ProjectError, load

SHOP = Path(__file__).parents[1] / "fixtures" / "projects" / "shop"


def test_a_project_is_read_as_the_cli_reads_it():
    project = load(SHOP, "dev")
    assert project.name == "shop"
    assert project.program == SHOP / "infra"
    assert project.config == {
        "shop:replicas": "2",
        "aws:region": "us-east-1",
        "shop:zones": '["a", "b"]',
        "shop:token": "secret value of shop:token",
    }
    assert project.secret_keys == ("shop:token",)


def test_what_is_declared_secret_is_secret_also_in_the_clear():
    project = load(SHOP, "live")
    assert project.config["shop:token"] == "not-so-secret"
    assert project.secret_keys == ("shop:token",)


def test_values_can_be_overridden_and_secrets_supplied(monkeypatch):
    monkeypatch.setenv("AICLOUD_SECRET_SHOP_TOKEN", "from the environment")
    project = load(SHOP, "dev", {"replicas": "5", "aws:region": "eu-west-1"})
    assert project.config["shop:replicas"] == "5"
    assert project.config["aws:region"] == "eu-west-1"
    assert project.config["shop:token"] == "from the environment"


def test_a_project_is_found_from_below():
    assert load(SHOP / "infra", "dev").root == SHOP


def test_the_nearest_stack_is_suggested():
    with pytest.raises(ProjectError, match=r"no stack 'lives'.*there is dev, live \(did you mean 'live'\?\)"):
        load(SHOP, "lives")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no Pulumi.yaml here or above"),
        ({"Pulumi.yaml": "runtime: python\n"}, "'name' is None"),
        ({"Pulumi.yaml": "name: p\nruntime: go\n"}, "'runtime' is 'go'; only python"),
        ({"Pulumi.yaml": "name: [\n"}, "Pulumi.yaml: while parsing"),
        ({"Pulumi.yaml": "- name\n"}, "is a list; expected a map"),
        ({"Pulumi.yaml": "name: p\nruntime: python\n"}, "no __main__.py"),
        ({"Pulumi.yaml": "name: p\nruntime: python\nmain: away\n"}, "away, which does not exist"),
        (
            {"Pulumi.yaml": "name: p\nruntime: python\n", "__main__.py": "", "Pulumi.dev.yaml": "config: 3\n"},
            "'config' is int",
        ),
        (
            {
                "Pulumi.yaml": "name: p\nruntime: python\nconfig: {size: {type: integer}}\n",
                "__main__.py": "",
                "Pulumi.dev.yaml": "config: {}\n",
            },
            "p:size is missing; Pulumi.yaml declares it as integer",
        ),
        (
            {
                "Pulumi.yaml": "name: p\nruntime: python\nconfig: {size: {type: integer}}\n",
                "__main__.py": "",
                "Pulumi.dev.yaml": "config: {p:size: [1]}\n",
            },
            r"p:size is \[1\]; Pulumi.yaml declares it as integer",
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_file(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ProjectError, match=message if "\\" in message else re.escape(message)):
        load(tmp_path, "dev")
