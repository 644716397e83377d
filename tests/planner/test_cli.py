"""The `aicloud` command, as a person types it."""

import json
import re
from pathlib import Path

import pytest

from planner import cli
from planner.plan import UNKNOWN, Plan

ROOT = Path(__file__).parents[2]
SHOP = str(ROOT / "tests" / "fixtures" / "projects" / "shop")


@pytest.fixture
def aicloud(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        status = cli.main(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_a_preview_shows_everything_and_writes_the_plan(aicloud):
    status, out, err = aicloud("preview", "dev", "--cwd", SHOP)
    assert (status, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    assert re.fullmatch(r"dev  \d+ resources in aws:us-east-1", lines[1])
    assert any(re.fullmatch(r"[├└]── main  Network  7", line) for line in lines)
    assert any(re.fullmatch(r"[│ ]   └── 6 Subnet, Vpc", line) for line in lines)
    assert any(re.fullmatch(r"aws Subnet +\d? *6 +6", line.replace("·", "")) for line in lines), out
    assert any(re.fullmatch(r"  token +\[secret\]", line) for line in lines)
    assert any(re.fullmatch(r"  endpoint +\[unknown\]", line) for line in lines)
    assert "  ready" in lines
    assert re.fullmatch(r"\d+\.\d s, plan in plan\.json", lines[-1])
    assert UNKNOWN not in out
    plan = Plan.read("plan.json")
    assert plan.kinds["aws:ec2/subnet:Subnet"] == 6


def test_full_lists_every_resource(aicloud):
    _, out, _ = aicloud("preview", "dev", "--cwd", SHOP, "--full")
    assert "main-us-east-1a  aws:ec2/subnet:Subnet  [protected]" in out
    assert "existing  aws:ec2/vpc:Vpc  [existing]" in out


def test_json_is_the_plan_and_nothing_else(aicloud):
    status, out, _ = aicloud("preview", "dev", "--cwd", SHOP, "--json", "--out", "other.json")
    assert status == 0
    assert out == Path("other.json").read_text()
    assert json.loads(out)["aicloud"]["stack"] == "dev"


def test_a_plan_file_can_be_looked_at_again(aicloud):
    _, first, _ = aicloud("preview", "dev", "--cwd", SHOP)
    status, again, _ = aicloud("preview", "plan.json")
    assert status == 0
    assert again.splitlines()[:-1] == first.splitlines()[:-1]


def test_values_can_be_given(aicloud):
    _, out, _ = aicloud("preview", "dev", "--cwd", SHOP, "--config", "replicas=7", "--config", "aws:region=eu-west-1")
    assert re.search(r"replicas +7", out)
    assert "eu-west-1a" in out


def test_errors_are_told_and_the_status_is_one(aicloud, tmp_path):
    (tmp_path / "Pulumi.yaml").write_text("name: p\nruntime: python\n")
    (tmp_path / "__main__.py").write_text("import pulumi_aws as aws\naws.ec2.Vpc('v', cidr_block='10.0.0.0/99')\n")
    status, out, _ = aicloud("preview", "dev", "--config", "aws:region=us-east-1")
    assert status == 1
    assert "1 error" in out
    assert "__main__.py:2: aws:ec2/vpc:Vpc 'v': cidrBlock: '10.0.0.0/99'" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["preview", "dve", "--cwd", SHOP], "no stack 'dve'"),
        (["preview", "dev"], "no Pulumi.yaml here or above"),
        (["preview", "missing.json"], "missing.json: cannot be read"),
        (["preview", "dev", "--cwd", SHOP, "--config", "size"], "--config 'size': expected KEY=VALUE"),
        (["preview", "dev", "--cwd", SHOP, "--crds", "nowhere"], "nowhere"),
        (["record", "dev", "--cwd", SHOP], "give either --log FILE or --token TOKEN"),
        (["record", "dev", "--cwd", SHOP, "--token", "aws:a/b:c", "--args", "{"], "--args '{'"),
    ],
)
def test_bad_input_is_told_in_one_line_and_the_status_is_two(aicloud, arguments, message):
    status, out, err = aicloud(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("aicloud: ")
    assert err.count("\n") == 1
    assert message in err


def test_a_plan_is_written_whole_or_not_at_all(aicloud, tmp_path, monkeypatch):
    target = tmp_path / "plan.json"
    target.write_text("the plan of yesterday")

    def full(*_args, **_kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    status, _, err = aicloud("preview", "dev", "--cwd", SHOP)
    assert status == 2
    assert "No space left on device" in err
    assert target.read_text() == "the plan of yesterday"


def test_every_command_and_option_says_what_it_does():
    parser = cli.parser()
    commands = parser._subparsers._group_actions[0]
    assert parser.description
    for name, command in commands.choices.items():
        assert command.description, name
        for action in command._actions:
            assert action.help or action.dest == "stack", f"{name} {action.option_strings}"
