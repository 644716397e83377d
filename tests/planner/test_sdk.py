"""The changes to the running SDK change no plan: each program's is the same with them and without."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pulumi
import pulumi_aws as aws
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi import Alias, InvokeOutputOptions, Output, ResourceOptions
from pulumi.runtime import resource_cycle_breaker, rpc

from planner.engine import failures, runner, sdk, sdk_speed
from tests.support import plan_of

CIDR = "10.0.0.0/16"


class NotAnInput:
    """Nothing that can be sent to an engine."""


class Group(pulumi.ComponentResource):
    def __init__(self, name, opts=None, size=3):
        super().__init__("test:index:Group", name, {"size": size, "nothing": None}, opts)
        own = ResourceOptions(parent=self)
        self.vpc = aws.ec2.Vpc(f"{name}-vpc", cidr_block=CIDR, tags={"Name": name}, opts=own)
        self.subnets = [
            aws.ec2.Subnet(f"{name}-{i}", vpc_id=self.vpc.id, cidr_block=f"10.0.{i}.0/24", opts=own)
            for i in range(size)
        ]
        self.ids = Output.all(*[subnet.id for subnet in self.subnets])
        self.register_outputs({"ids": self.ids, "vpc": self.vpc, "nothing": None})


# ---- programs: what people do with Pulumi, small


def wide():
    for i in range(5):
        pulumi.export(f"group-{i}", Group(f"group-{i}").ids)


def chain():
    before = "none"
    for i in range(40):
        before = aws.ec2.Eip(f"address-{i}", tags={"before": before, "static": "yes"}).id
    pulumi.export("last", before)


def waiting_for_one_another():
    before = []
    for i in range(20):
        before = [aws.ec2.Eip(f"address-{i}", opts=ResourceOptions(depends_on=before))]
    group = Group("group", ResourceOptions(depends_on=Output.from_input(before)))
    aws.ec2.Eip("after-a-component", opts=ResourceOptions(depends_on=[group, group.vpc]))


def outputs_of_all_kinds():
    group = Group("group")
    vpc = group.vpc

    async def later():
        await asyncio.sleep(0)
        return "later"

    pulumi.export("all", Output.all(vpc.id, CIDR, None))
    pulumi.export("named", Output.all(id=vpc.id, block=vpc.cidr_block).apply(lambda found: found["block"]))
    pulumi.export("text", Output.concat("vpc ", vpc.cidr_block, " of ", vpc.tags["Name"]))
    pulumi.export("format", Output.format("{} and {}", vpc.cidr_block, vpc.arn))
    pulumi.export("json", Output.json_dumps({"block": vpc.cidr_block, "id": vpc.id, "deep": [{"x": vpc.tags}]}))
    pulumi.export("unknowns", vpc.id.apply(lambda id: str(type(id)), run_with_unknowns=True))
    pulumi.export("nested", vpc.cidr_block.apply(lambda block: vpc.tags.apply(lambda tags: {**tags, "block": block})))
    pulumi.export("awaited", Output.from_input({"value": later(), "list": [later(), 1, 2.5, True, None, ()]}))
    pulumi.export("in an apply", vpc.cidr_block.apply(lambda block: aws.ec2.Vpc("inner", cidr_block=block).id))
    pulumi.export("resource", vpc)
    pulumi.export("component", group)


def secrets():
    password = Output.secret("hunter2-hunter2")
    secret = aws.secretsmanager.SecretVersion("version", secret_id="id", secret_string=password)
    aws.ssm.Parameter("parameter", type="SecureString", value=Output.concat("p=", secret.secret_string))
    pulumi.export("secret", password)
    pulumi.export("unsecret", Output.unsecret(password).apply(len))
    pulumi.export("from a secret", Output.all(password, secret.arn).apply(lambda both: both[0]))
    pulumi.export("is", Output.from_input(password).apply(lambda value: {"value": [value]}))


def invokes():
    zones = aws.get_availability_zones(state="available")
    for zone in zones.names:
        aws.ebs.Volume(zone, availability_zone=zone, size=1)
        pulumi.export(f"account of {zone}", aws.get_caller_identity().account_id)
    group = Group("group")
    later = aws.get_availability_zones_output(opts=InvokeOutputOptions(depends_on=[group.vpc]))
    pulumi.export("later", later.names[0])
    pulumi.export("account", aws.get_caller_identity_output().account_id)
    pulumi.export("unknown", aws.ec2.get_vpc_output(id=group.vpc.id).cidr_block)


def existing_and_aliased():
    found = aws.ec2.Vpc.get("found", "vpc-0123")
    aws.ec2.Subnet("in-it", vpc_id=found.id, cidr_block=found.cidr_block)
    aliases = [Alias(name="former"), Alias(type_="test:index:Crowd"), "urn:pulumi:test::ai-cloud::test:index:G::g"]
    group = Group("renamed", ResourceOptions(aliases=aliases))
    pulumi.export("child", pulumi.create_urn("name", "test:index:Thing", group))
    pulumi.export("urn", pulumi.create_urn("name", "test:index:Thing"))
    pulumi.export("joined", pulumi.create_urn(Output.from_input("name"), "test:index:Thing", group.urn))


def transformed():
    def tag(args):
        if args.type_ == "aws:ec2/vpc:Vpc":
            return pulumi.ResourceTransformResult({**args.props, "tags": {"by": "transform"}}, args.opts)
        return None

    def protect(args):
        options = ResourceOptions.merge(args.opts, ResourceOptions(protect=True))
        return pulumi.ResourceTransformationResult(args.props, options)

    pulumi.runtime.register_stack_transform(tag)
    Group("new", ResourceOptions(transforms=[tag]))
    Group("old", ResourceOptions(transformations=[protect]))


def rich_inputs():
    aws.s3.BucketObject("text", bucket="b", source=pulumi.StringAsset("text"))
    archive = pulumi.AssetArchive({"a.txt": pulumi.StringAsset("a"), "more": pulumi.FileArchive("./more")})
    aws.lambda_.Function("function", role="arn:aws:iam::123456789012:role/r", code=archive, runtime="python3.12")
    aws.ec2.SecurityGroup(
        "typed",
        ingress=[aws.ec2.SecurityGroupIngressArgs(from_port=0, to_port=443, protocol="tcp", cidr_blocks=[CIDR])],
        egress=[{"from_port": 0, "to_port": 0, "protocol": "-1", "description": None, "cidr_blocks": ["0.0.0.0/0"]}],
        opts=ResourceOptions(ignore_changes=["ingress"], custom_timeouts=pulumi.CustomTimeouts(create="5m")),
    )
    aws.iam.Policy(
        "policy",
        policy=Output.json_dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}
        ),
    )
    provider = aws.Provider("west", region="us-west-2", default_tags={"tags": {"team": "ai"}})
    aws.ec2.Vpc("west", cidr_block=CIDR, opts=ResourceOptions(provider=provider, protect=True))


def failing_in_applies():
    group = Group("group")
    pulumi.export("fails", group.vpc.cidr_block.apply(lambda block: {}[block]))
    aws.ec2.Eip("after", tags={"value": group.vpc.cidr_block.apply(lambda block: block.no_such_thing)})
    recovered = group.vpc.cidr_block.apply(lambda block: f"{block}, {1 / 0}").recover(lambda error: str(error))
    aws.ec2.Eip("recovered", tags={"value": recovered})


def failing_registrations():
    bad = aws.ec2.Vpc("bad", cidr_block=CIDR, tags={"value": NotAnInput})
    aws.ec2.Subnet("of-a-bad-one", vpc_id=bad.id, cidr_block=bad.cidr_block.apply(lambda block: block))
    for _ in range(2):
        aws.ec2.Vpc("twice", cidr_block=CIDR)
    aws.ec2.Vpc("unknown-key", cidr_block=CIDR, opts=ResourceOptions(depends_on=Output.from_input(["no resource"])))


def failing_at_the_top():
    Group("group")
    raise ValueError("this far and no further")


FINE = [
    wide,
    chain,
    waiting_for_one_another,
    outputs_of_all_kinds,
    secrets,
    invokes,
    existing_and_aliased,
    transformed,
    rich_inputs,
]
FAILING = [failing_in_applies, failing_registrations, failing_at_the_top]


@pytest.mark.parametrize("simulate_up", [False, True])
@pytest.mark.parametrize("program", FINE + FAILING)
def test_a_plan_is_the_same_bytes_with_and_without_the_faster_paths(program, simulate_up, monkeypatch):
    fast = plan_of(program, check=False, simulate_up=simulate_up)
    assert bool(fast.errors) == (program in FAILING), fast.errors
    monkeypatch.setattr(sdk_speed, "REPLACEMENTS", ())
    assert plan_of(program, check=False, simulate_up=simulate_up).to_json() == fast.to_json()


@pytest.mark.parametrize("program", FINE)
def test_the_sdk_as_it_is_gives_the_same_resources(program, monkeypatch):
    """But for the lines of the program, which the SDK knows of no invoke, and in other frames."""

    @contextmanager
    def nothing():
        failures.CURRENT.set(failed := failures.Failures())
        yield failed

    fast = plan_of(program, check=False)
    monkeypatch.setattr(sdk, "patched", nothing)
    monkeypatch.setattr(runner, "InlineExecutor", ThreadPoolExecutor)
    assert list(map(without_lines, plan_of(program, check=False))) == list(map(without_lines, fast))


def without_lines(resource):
    return {key: value for key, value in resource.to_state().items() if key != "sourcePosition"}


def test_a_failure_in_an_apply_surfaces():
    plan = plan_of(failing_in_applies, check=False)
    assert {d.message.split(":")[0] for d in plan.errors} == {"KeyError", "AttributeError"}
    assert plan.one("aws:ec2/eip:Eip", "recovered").inputs["tags"] == {"value": "division by zero"}


def test_a_failed_registration_surfaces():
    messages = "\n".join(d.message for d in plan_of(failing_registrations, check=False).errors)
    for expected in ("unexpected input of type", "the name 'twice' is taken", "was not a Resource"):
        assert expected in messages


def test_the_sdk_is_left_as_it_was():
    places = [(target, name) for target, name, _ in sdk_speed.REPLACEMENTS]
    before = [getattr(target, name) for target, name in places]
    plan_of(failing_at_the_top, check=False)
    assert [getattr(target, name) for target, name in places] == before


def test_a_resource_in_use_by_another_thread_is_resolved_there():
    """Transforms run on other threads, each with a loop of its own, and may look at outputs that they make."""

    async def read():
        return await pulumi.Output.all(pulumi.Output.from_input("value"), pulumi.create_urn("n", "a:b:C")).future()

    def program():
        with ThreadPoolExecutor(1) as pool:
            pulumi.export("read", pool.submit(asyncio.run, read()).result()[0])

    assert plan_of(program).outputs["read"] == "value"


# ---- the walk through dependencies


class Node:
    """Stands for a resource: the walk looks at nothing but its attributes."""


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=30))
def test_dependencies_are_free_of_cycles_exactly_where_the_sdk_says_so(edges):
    ours, theirs = [Node() for _ in range(7)], [Node() for _ in range(7)]
    for source, target in edges:
        assert sdk._declare_dependency(ours[source], ours[target]) == resource_cycle_breaker.declare_dependency(
            theirs[source], theirs[target]
        )


def test_a_circular_dependency_is_refused():
    def program():
        group = Group("group")
        aws.ec2.Eip("inside", opts=ResourceOptions(parent=group, depends_on=[group]))

    assert "circular dependency" in plan_of(program, check=False).errors[0].message


@pytest.mark.parametrize("by", ["input", "depends_on"])
def test_a_chain_longer_than_the_stack_is_deep_previews(by):
    def program():
        before = None
        for i in range(sys.getrecursionlimit() + 200):
            tags = {"before": before.id if by == "input" and before else "none"}
            after = [before] if by == "depends_on" and before else None
            before = aws.ec2.Eip(f"address-{i}", tags=tags, opts=ResourceOptions(depends_on=after))

    plan = plan_of(program)
    assert len(plan.of_type("aws:ec2/eip:Eip")) == sys.getrecursionlimit() + 200
    assert plan.one("aws:ec2/eip:Eip", "address-1").dependencies == (plan.one("aws:ec2/eip:Eip", "address-0").urn,)


def test_property_values_that_are_none_are_absent_and_others_are_not():
    struct = asyncio.run(sdk_speed.serialize_properties({"none": None, "zero": 0, "empty": "", "no": False}, {}))
    assert struct == asyncio.run(rpc.serialize_properties({"none": None, "zero": 0, "empty": "", "no": False}, {}))
    assert sorted(struct.fields) == ["empty", "no", "zero"]


def test_this_file_is_where_its_resources_are_made():
    assert plan_of(wide).one("aws:ec2/vpc:Vpc", "group-0-vpc").place.split(":")[0].endswith(Path(__file__).name)
