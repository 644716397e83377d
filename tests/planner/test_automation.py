"""Scripts of the Automation API: their stacks run on the simulated engine, and they notice no difference."""

import asyncio
import textwrap
from pathlib import Path

import pytest

from planner.cli import main
from planner.engine import preview
from planner.engine.project import ProjectError, load
from planner.plan import SECRET

LANDING_ZONES = Path(__file__).parents[1] / "fixtures" / "projects" / "landing_zones"
VPC = "aws:ec2/vpc:Vpc"


@pytest.fixture(scope="module")
def network():
    return preview(load(LANDING_ZONES, "network/dev"))


def said(plan):
    """What the script printed."""
    (text,) = [d.message for d in plan.diagnostics if d.severity == "info" and "\n" in d.message]
    return text.splitlines()


def test_the_stack_that_was_asked_for_is_previewed(network):
    assert network.errors == []
    assert (network.project, network.stack) == ("network", "dev")
    vpc = network.one(VPC)
    assert vpc.inputs["cidrBlock"] == "10.1.0.0/16"
    assert vpc.inputs["tags"] == {"owner": "platform", "stage": "dev"}, "configuration by path"
    assert vpc.place == "main.py:12"
    assert network.one("pulumi:providers:aws").inputs["region"] == "eu-west-1"
    assert "main.py also previews application/dev" in [d.message for d in network.diagnostics]


def test_the_script_gets_what_an_update_would_answer(network):
    vpc_id, secret, length = said(network)[0].split()
    assert vpc_id.startswith("vpc-")
    assert (secret, length) == ("True", "18")
    assert said(network)[1] == '{"create": 2} {"update": 1, "same": 1}'
    assert said(network)[2] == "10.1.0.0/16 update 3"
    assert said(network)[3].startswith("{<OpType.SAME: 'same'>: 2} arn:aws:ec2:eu-west-1:")
    assert said(network)[4] == "{}"


def test_secrets_of_a_script_stay_out_of_the_plan(network):
    assert network.outputs["password"] == SECRET
    assert "not shown anywhere" not in network.to_json()


def test_a_stack_reference_finds_what_the_script_has_updated_before():
    plan = preview(load(LANDING_ZONES / "main.py", "acme/application/dev"))
    assert plan.errors == plan.warnings == []
    group = plan.one("aws:ec2/securityGroup:SecurityGroup")
    assert group.inputs["vpcId"] == said(plan)[0].split()[0]


def test_a_simulated_update_has_outputs(network):
    plan = preview(load(LANDING_ZONES, "network/dev"), simulate_up=True)
    assert plan.outputs["vpcId"] == said(network)[0].split()[0]


def test_two_previews_are_the_same_bytes(network):
    assert preview(load(LANDING_ZONES, "network/dev")).to_json() == network.to_json()


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ("dev", "'dev' is one of application/dev, network/dev: say which"),
        ("live", "'live' is none of its own; it previews application/dev, network/dev"),
    ],
)
def test_a_stack_that_the_script_does_not_have_is_refused(stack, message):
    with pytest.raises(ProjectError, match=message):
        preview(load(LANDING_ZONES, stack))


def test_a_script_cannot_be_isolated():
    with pytest.raises(ProjectError, match="--isolated"):
        preview(load(LANDING_ZONES, "network/dev"), isolate=True)


def test_the_command_takes_a_script(tmp_path, capsys):
    arguments = ["preview", "network/dev", "--cwd", str(LANDING_ZONES), "--out", str(tmp_path / "plan.json")]
    assert main(arguments) == 0
    assert "in aws:eu-west-1" in capsys.readouterr().out


# ---- small scripts


PROGRAM = """
import pulumi
import pulumi_aws as aws
from pulumi import automation as auto

def program():
    config = pulumi.Config()
    vpc = aws.ec2.Vpc("main", cidr_block=config.get("cidr") or "10.0.0.0/16", region="us-east-1")
    pulumi.export("id", vpc.id)
    pulumi.export("size", int(config.get("size") or 1) / int(config.get("parts") or 1))
"""


def script(directory, text, name="main.py"):
    (directory / name).write_text(PROGRAM + textwrap.dedent(text))
    return directory


def test_an_error_of_a_program_is_told_once_with_its_line(tmp_path):
    script(tmp_path, 'auto.create_stack("dev", project_name="p", program=program, opts=None).up()\n')
    plan = preview(load(tmp_path, "dev"))
    assert plan.errors == []
    text = """
        stack = auto.create_stack("dev", project_name="p", program=program)
        stack.set_config("parts", auto.ConfigValue("0"))
        stack.up()
    """
    (error,) = preview(load(script(tmp_path, text), "dev")).errors
    assert (error.place, error.message.splitlines()[0]) == ("main.py:10", "ZeroDivisionError: division by zero")


def test_an_error_of_the_script_is_told_beside_the_plan(tmp_path):
    text = """
        auto.create_stack("dev", project_name="p", program=program).up()
        raise LookupError("after the update")
    """
    plan = preview(load(script(tmp_path, text), "dev"))
    assert plan.kinds[VPC] == 1
    assert [(d.place, d.message) for d in plan.errors] == [("main.py:13", "LookupError: after the update")]


def test_a_script_that_catches_a_failed_update_goes_on(tmp_path):
    text = """
        stack = auto.create_stack("dev", project_name="p", program=program)
        stack.set_config("parts", auto.ConfigValue("0"))
        try:
            stack.up()
        except auto.CommandError as error:
            assert "ZeroDivisionError" in str(error)
            stack.remove_config("parts")
        stack.up()
    """
    plan = preview(load(script(tmp_path, text), "dev"))
    assert plan.errors == []
    assert plan.kinds[VPC] == 1


def test_configuration_of_the_command_line_and_of_the_stack_file_reach_the_program(tmp_path):
    (tmp_path / "Pulumi.yaml").write_text("name: filed\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  cidr: 10.7.0.0/16\n  size: 4\n")
    text = """
        opts = auto.LocalWorkspaceOptions(work_dir=".")
        stack = auto.create_stack("dev", project_name="filed", program=program, opts=opts)
        assert stack.get_config("size").value == "8"
        stack.preview()
    """
    plan = preview(load(script(tmp_path, text), "dev", {"size": "8"}))
    assert plan.errors == []
    assert plan.project == "filed"
    assert plan.one(VPC).inputs["cidrBlock"] == "10.7.0.0/16"
    assert plan.outputs["size"] == 8
    assert (tmp_path / "Pulumi.dev.yaml").read_text() == "config:\n  cidr: 10.7.0.0/16\n  size: 4\n"


def test_a_program_on_disk_is_previewed(tmp_path):
    app = tmp_path / "app"
    app.mkdir()
    (app / "Pulumi.yaml").write_text("name: app\nruntime: python\n")
    (app / "__main__.py").write_text(
        "import os\nimport pulumi\npulumi.export('stage', pulumi.Config().require('stage') + os.environ['SUFFIX'])\n"
    )
    text = """
        opts = auto.LocalWorkspaceOptions(env_vars={"SUFFIX": "!"})
        stack = auto.select_stack("dev", work_dir="app", opts=opts)
        stack.set_all_config({"stage": auto.ConfigValue("first")})
        print(stack.up().outputs["stage"].value)
    """
    plan = preview(load(script(tmp_path, text), "dev"))
    assert plan.errors == []
    assert plan.outputs == {"stage": "first!"}
    assert [d.message for d in plan.diagnostics if d.severity == "info"] == ["first!"]


def test_updates_from_threads_and_from_a_running_loop(tmp_path):
    text = """
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        def deploy(name):
            return auto.create_stack(name, project_name="p", program=program).up().outputs["id"].value

        with ThreadPoolExecutor() as pool:
            ids = list(pool.map(deploy, ["a", "b", "c"]))

        async def main():
            return deploy("dev")

        print(len({*ids, asyncio.run(main())}))
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    plan = preview(load(script(tmp_path, text), "dev"))
    assert asyncio.get_event_loop() is loop
    loop.close()
    assert plan.errors == []
    assert "4" in [d.message for d in plan.diagnostics]


def test_events_tags_and_stacks(tmp_path):
    text = """
        stack = auto.create_stack("dev", project_name="p", program=program)
        events = []
        stack.preview(on_event=events.append)
        kinds = [e.resource_pre_event.metadata.type for e in events if e.resource_pre_event]
        assert "aws:ec2/vpc:Vpc" in kinds, kinds
        assert events[-1].summary_event.resource_changes == {"create": 2}
        stack.set_tag("team", "blue")
        assert stack.list_tags() == {"team": "blue"} and stack.get_tag("team") == "blue"
        assert [one.name for one in stack.workspace.list_stacks()] == ["dev"]
        assert stack.workspace.who_am_i().user and stack.workspace.pulumi_version
        assert stack.export_stack().deployment == {"resources": []}
        stack.workspace.remove_stack("dev")
    """
    assert preview(load(script(tmp_path, text), "dev")).errors == []


def test_what_is_not_simulated_says_so(tmp_path):
    text = """
        stack = auto.create_stack("dev", project_name="p", program=program)
        stack.rename("other")
    """
    (error,) = preview(load(script(tmp_path, text), "dev")).errors
    assert error.place == "main.py:13"
    assert "`pulumi stack rename other" in error.message
    assert "is not simulated" in error.message


def test_a_pulumi_program_beside_a_script_comes_first(tmp_path):
    (tmp_path / "Pulumi.yaml").write_text("name: plain\nruntime: python\n")
    (tmp_path / "__main__.py").write_text("")
    assert not load(script(tmp_path, ""), "dev").automation
    assert load(tmp_path / "main.py", "dev").automation
