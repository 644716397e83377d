"""The simulated engine against what is known of the real one."""

import json

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s
import pytest
from pulumi import Alias, InvokeOptions, Output, ResourceOptions

from planner.engine import PreviewFailed
from planner.engine.invokes import Recorded
from planner.engine.target import STACK_REFERENCE
from planner.plan import SECRET, UNKNOWN, Plan
from tests.support import CONFIG, plan_of

VPC = "aws:ec2/vpc:Vpc"


class Component(pulumi.ComponentResource):
    """A component with one VPC, so that tests can look at what a child inherits."""

    def __init__(self, name, opts=None, child=None):
        super().__init__("test:index:Component", name, None, opts)
        self.vpc = aws.ec2.Vpc(
            f"{name}-vpc", cidr_block="10.0.0.0/16", opts=ResourceOptions.merge(ResourceOptions(parent=self), child)
        )
        self.register_outputs({"vpcId": self.vpc.id})


def vpc(name="main", **kwargs):
    return aws.ec2.Vpc(name, cidr_block="10.0.0.0/16", **kwargs)


# ---- names and structure


def test_urns_carry_the_types_of_their_components_and_not_the_stack():
    plan = plan_of(lambda: Component("outer"), stack="dev", project="shop")
    assert plan.one(VPC).urn == "urn:pulumi:dev::shop::test:index:Component$aws:ec2/vpc:Vpc::outer-vpc"
    assert plan.one(VPC).parent == "urn:pulumi:dev::shop::test:index:Component::outer"
    assert plan.by_urn[plan.one(VPC).parent].parent == "urn:pulumi:dev::shop::pulumi:pulumi:Stack::shop-dev"


def test_default_providers_have_the_version_in_their_name_and_the_stacks_configuration():
    plan = plan_of(vpc, {**CONFIG, "aws:region": "eu-west-1"})
    provider = plan.one("pulumi:providers:aws")
    assert provider.name == "default_7_51_1"
    assert provider.inputs == {"region": "eu-west-1", "version": "7.51.1"}
    assert plan.one(VPC).provider == f"{provider.urn}::{UNKNOWN}"


def test_a_components_provider_reaches_its_children():
    def program():
        west = aws.Provider("west", region="us-west-2")
        Component("there", ResourceOptions(providers=[west]))
        Component("here")

    plan = plan_of(program)
    provider = {r.name: plan.by_urn[r.provider.rsplit("::", 1)[0]].name for r in plan.of_type(VPC)}
    assert provider == {"there-vpc": "west", "here-vpc": "default_7_51_1"}


def test_children_inherit_protection_and_may_refuse_it():
    def program():
        Component("kept", ResourceOptions(protect=True, retain_on_delete=True))
        Component("mixed", ResourceOptions(protect=True), child=ResourceOptions(protect=False))

    plan = plan_of(program)
    assert plan.one(VPC, "kept-vpc").protect
    assert plan.one(VPC, "kept-vpc").retain_on_delete
    assert plan.one("test:index:Component", "mixed").protect
    assert not plan.one(VPC, "mixed-vpc").protect


def test_dependencies_are_recorded_by_property():
    def program():
        aws.ec2.Subnet("private", vpc_id=vpc().id, cidr_block="10.0.1.0/24")

    plan = plan_of(program)
    subnet = plan.one("aws:ec2/subnet:Subnet")
    assert subnet.property_dependencies["vpcId"] == (plan.one(VPC).urn,)
    assert subnet.dependencies == (plan.one(VPC).urn,)


def test_options_are_recorded():
    def program():
        vpc(
            opts=ResourceOptions(
                ignore_changes=["tags"],
                replace_on_changes=["cidr_block"],
                delete_before_replace=True,
                custom_timeouts=pulumi.CustomTimeouts(create="1h30m", delete="45s"),
                import_="vpc-0123456789abcdef0",
            )
        )

    resource = plan_of(program).one(VPC)
    assert resource.ignore_changes == ("tags",)
    assert resource.replace_on_changes == ("cidrBlock",)
    assert resource.delete_before_replace
    assert resource.custom_timeouts == {"create": 5400.0, "delete": 45.0}
    assert resource.import_id == "vpc-0123456789abcdef0"


def test_aliases_become_urns_and_reach_children():
    def program():
        Component("new", ResourceOptions(aliases=[Alias(name="old")]))
        vpc("moved", opts=ResourceOptions(aliases=[Alias(name="before", parent=None), Alias(type_="aws:x:Y")]))

    plan = plan_of(program, stack="dev", project="p")
    assert plan.one("test:index:Component").aliases == ("urn:pulumi:dev::p::test:index:Component::old",)
    assert plan.one(VPC, "new-vpc").aliases == ("urn:pulumi:dev::p::test:index:Component$aws:ec2/vpc:Vpc::old-vpc",)
    assert set(plan.one(VPC, "moved").aliases) >= {
        "urn:pulumi:dev::p::aws:ec2/vpc:Vpc::before",
        "urn:pulumi:dev::p::aws:x:Y::moved",
    }


# ---- known and unknown


def test_what_only_the_cloud_knows_is_unknown_in_a_preview():
    ran = []

    def program():
        one = vpc()
        one.arn.apply(ran.append)
        one.cidr_block.apply(ran.append)
        pulumi.export("arn", one.arn)
        pulumi.export("cidr", one.cidr_block)

    plan = plan_of(program)
    assert ran == ["10.0.0.0/16"]
    assert plan.outputs == {"arn": UNKNOWN, "cidr": "10.0.0.0/16"}
    assert plan.one(VPC).outputs["arn"] == UNKNOWN
    assert plan.one(VPC).outputs["cidrBlock"] == "10.0.0.0/16"
    assert plan.one(VPC).id == ""


def test_a_simulated_up_knows_everything(must_run):
    def program():
        one = vpc()

        @must_run
        def looks_real(values):
            assert values[0].startswith("vpc-")
            assert values[1].startswith("arn:aws:ec2:us-east-1:")
            assert not pulumi.runtime.is_dry_run()

        Output.all(one.id, one.arn).apply(looks_real)

    first, second = plan_of(program, simulate_up=True), plan_of(program, simulate_up=True)
    assert first.to_json() == second.to_json()


def test_resources_of_a_provider_that_is_not_configured_yet_are_unknown():
    ran = []

    def program():
        cluster = aws.ec2.Vpc("cluster", cidr_block="10.0.0.0/16")
        late = k8s.Provider("late", kubeconfig=cluster.arn)
        now = k8s.Provider("now", kubeconfig="{}")
        for provider, name in ((late, "late-ns"), (now, "now-ns")):
            namespace = k8s.core.v1.Namespace(name, metadata={"name": name}, opts=ResourceOptions(provider=provider))
            namespace.metadata.apply(lambda metadata: ran.append(metadata["name"]))

    plan_of(program)
    assert ran == ["now-ns"]


def test_an_existing_resource_is_read_and_not_managed():
    plan = plan_of(lambda: aws.ec2.Vpc.get("there", "vpc-0123456789abcdef0"))
    assert plan.one(VPC).external
    assert plan.one(VPC).id == "vpc-0123456789abcdef0"


# ---- secrets


def secretive():
    token = pulumi.Config().require_secret("token")
    k8s.core.v1.Secret("s", metadata={"name": "s"}, string_data={"plain": "written-out-loud", "token": token})
    aws.ec2.Vpc("v", cidr_block="10.0.0.0/16", tags={"token": token, "name": "v"})
    pulumi.log.info("the token is hunter2-hunter2")
    print("printed hunter2-hunter2")
    pulumi.export("token", token)
    pulumi.export("derived", Output.concat("Bearer ", token))


@pytest.mark.parametrize("simulate_up", [False, True])
def test_a_secret_is_nowhere_in_the_plan(simulate_up):
    config = {**CONFIG, "ai-cloud:token": "hunter2-hunter2"}
    plan = plan_of(secretive, config, secret_keys=("ai-cloud:token",), simulate_up=simulate_up)
    assert "hunter2" not in plan.to_json()
    assert "written-out-loud" not in plan.to_json()
    assert plan.outputs == {"token": SECRET, "derived": SECRET}
    assert plan.one(VPC).inputs["tags"] == {"token": SECRET, "name": "v"}
    assert {d.message for d in plan.diagnostics} >= {f"the token is {SECRET}", f"printed {SECRET}"}


def test_a_secret_is_not_told_by_an_error():
    def program():
        token = pulumi.Config().require_secret("token")
        token.apply(lambda value: int(value))

    with pytest.raises(PreviewFailed) as failed:
        plan_of(program, {**CONFIG, "ai-cloud:token": "hunter2-hunter2"}, secret_keys=("ai-cloud:token",))
    assert "hunter2" not in str(failed.value)
    assert "invalid literal" in str(failed.value)


# ---- transforms


def test_transforms_run_from_the_inside_out_and_may_change_options():
    def adding(word):
        def transform(args):
            if args.type_ != VPC:
                return None
            order = (args.props.get("tags") or {}).get("order", "")
            opts = ResourceOptions.merge(args.opts, ResourceOptions(protect=True)) if word == "stack" else args.opts
            return pulumi.ResourceTransformResult({**args.props, "tags": {"order": f"{order}{word} "}}, opts)

        return transform

    def program():
        pulumi.runtime.register_resource_transform(adding("stack"))
        Component(
            "c",
            ResourceOptions(transforms=[adding("component")]),
            child=ResourceOptions(transforms=[adding("own")]),
        )

    resource = plan_of(program).one(VPC)
    assert resource.inputs["tags"] == {"order": "own component stack "}
    assert resource.protect


def test_invoke_transforms_change_what_is_asked():
    def program():
        def elsewhere(args):
            return pulumi.InvokeTransformResult({**args.args, "region": "eu-west-1"}, args.opts)

        pulumi.runtime.register_invoke_transform(elsewhere)
        pulumi.export("zones", aws.get_availability_zones(state="available").names)

    assert plan_of(program).outputs["zones"][0] == "eu-west-1a"


# ---- invokes and other stacks


def test_an_invoke_knows_its_region():
    def program():
        west = aws.Provider("west", region="us-west-2")
        pulumi.export("default", aws.get_availability_zones().names)
        pulumi.export("by provider", aws.get_availability_zones(opts=InvokeOptions(provider=west)).names)
        pulumi.export("by argument", aws.get_availability_zones(region="eu-central-1").names)
        pulumi.export("as output", aws.get_availability_zones_output(region="eu-west-3").names)

    outputs = plan_of(program).outputs
    assert {key: names[0] for key, names in outputs.items()} == {
        "default": "us-east-1a",
        "by provider": "us-west-2a",
        "by argument": "eu-central-1a",
        "as output": "eu-west-3a",
    }


def unheard_of():
    return aws.iot.get_endpoint(endpoint_type="iot:Data-ATS")


def test_a_placeholder_is_warned_about_with_its_line_and_refused_when_strict():
    plan = plan_of(unheard_of)
    (warning,) = plan.warnings
    assert "aws:iot/getEndpoint:getEndpoint" in warning.message
    assert warning.place == f"tests/planner/test_engine.py:{unheard_of.__code__.co_firstlineno + 1}"
    with pytest.raises(PreviewFailed, match=r"test_engine\.py:\d+.*aws:iot/getEndpoint:getEndpoint"):
        plan_of(unheard_of, strict=True)


def test_a_recorded_answer_is_used_without_a_warning():
    recorded = [
        Recorded("aws:iot/getEndpoint:getEndpoint", {"endpointType": "iot:Data-ATS"}, {"endpointAddress": "there"})
    ]
    plan = plan_of(lambda: pulumi.export("address", unheard_of().endpoint_address), recorded=recorded, strict=True)
    assert plan.outputs["address"] == "there"
    assert not plan.diagnostics


def test_another_stacks_outputs_are_recorded_or_unknown():
    def program():
        shared = pulumi.StackReference("acme/network/prod")
        pulumi.export("vpc", shared.get_output("vpcId"))
        pulumi.export("password", shared.require_output("password"))

    recorded = [Recorded(STACK_REFERENCE, {"name": "acme/network/prod"}, {"vpcId": "vpc-1", "password": SECRET})]
    assert plan_of(program, recorded=recorded, strict=True).outputs == {"vpc": "vpc-1", "password": SECRET}
    plan = plan_of(program)
    assert plan.outputs == {"vpc": UNKNOWN, "password": UNKNOWN}
    assert "'acme/network/prod'" in plan.warnings[0].message
    with pytest.raises(PreviewFailed, match="acme/network/prod"):
        plan_of(program, strict=True)


# ---- mistakes


def test_all_mistakes_are_reported_each_with_its_line():
    def program():
        aws.ec2.Vpc("first", cidr_block=["10.0.0.0/16"])
        aws.eks.Cluster("third", role_arn="arn:aws:iam::123456789012:role/r", vpc_config={"subnetIDs": ["subnet-1"]})

    plan = plan_of(program, check=False)
    line = program.__code__.co_firstlineno
    places = {(d.place, d.message) for d in plan.errors}
    assert {place for place, _ in places} == {f"tests/planner/test_engine.py:{line + n}" for n in (1, 2)}
    assert any("'first': cidr_block: expected str" in m for _, m in places)
    assert any("'third'" in m and "did you mean 'subnetIds'" in m for _, m in places)


def test_a_name_may_be_used_once():
    def program():
        vpc("twice")
        vpc("twice")

    with pytest.raises(PreviewFailed, match=r"'twice' is taken by another aws:ec2/vpc:Vpc.*first in tests/planner"):
        plan_of(program)


def test_a_resource_needs_a_region(monkeypatch):
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(PreviewFailed, match="'main' has no region"):
        plan_of(vpc, {"gcp:project": "p"})
    assert len(plan_of(lambda: vpc(region="us-east-1"), {"gcp:project": "p"}).of_type(VPC)) == 1


class Regional(pulumi.ComponentResource):
    def __init__(self, name, region, child):
        super().__init__("test:index:Regional", name, {"region": region})
        vpc(f"{name}-vpc", opts=ResourceOptions(parent=self), **child)


def test_a_child_must_follow_the_region_of_its_component():
    plan_of(lambda: Regional("r", "eu-west-1", {"region": "eu-west-1"}))
    with pytest.raises(PreviewFailed, match=r"goes to the provider's .us-east-1.; its component is for eu-west-1"):
        plan_of(lambda: Regional("r", "eu-west-1", {}))


def test_an_error_in_the_program_names_its_line():
    def program():
        raise KeyError("nope")

    plan = plan_of(program, check=False)
    assert plan.errors[0].message == "KeyError: 'nope'"
    assert plan.errors[0].place == f"tests/planner/test_engine.py:{program.__code__.co_firstlineno + 1}"


def test_an_error_inside_an_apply_is_an_error_of_the_preview():
    def program():
        Output.from_input([]).apply(lambda items: items[0])

    with pytest.raises(PreviewFailed, match="IndexError"):
        plan_of(program)


# ---- the plan


def test_a_plan_survives_writing_and_reading():
    plan = plan_of(lambda: Component("c", ResourceOptions(protect=True)))
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.to_json() == plan.to_json()
    assert json.loads(plan.to_json())["deployment"]["resources"][0]["type"]


def test_yaml_manifests_become_resources(tmp_path):
    manifest = tmp_path / "all.yaml"
    manifest.write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: n}\n---\n"
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: b, namespace: n}\nspec:\n"
        "  selector: {matchLabels: {app: b}}\n  template:\n    metadata: {labels: {app: b}}\n"
        "    spec: {containers: [{name: b, image: 'b:1'}]}\n"
    )

    def program():
        provider = k8s.Provider("p", kubeconfig="{}")
        k8s.yaml.ConfigFile("one", file=str(manifest), opts=ResourceOptions(provider=provider))
        k8s.yaml.v2.ConfigFile("two", file=str(manifest), opts=ResourceOptions(provider=provider))

    plan = plan_of(program)
    assert plan.kinds["kubernetes:core/v1:ConfigMap"] == 2
    assert plan.kinds["kubernetes:apps/v1:Deployment"] == 2


def test_fields_that_were_not_given_are_unknown_also_inside_an_object():
    def program():
        cluster = aws.eks.Cluster(
            "c", role_arn="arn:aws:iam::123456789012:role/r", vpc_config={"subnet_ids": ["subnet-1", "subnet-2"]}
        )
        pulumi.export("given", cluster.vpc_config.subnet_ids)
        pulumi.export("decided by the cloud", cluster.vpc_config.cluster_security_group_id)

    assert plan_of(program).outputs == {"given": ["subnet-1", "subnet-2"], "decided by the cloud": UNKNOWN}


def test_an_error_in_an_apply_is_told_once_and_as_itself():
    def program():
        def refuse(value):
            raise ValueError(f"{value} is too large")

        size = Output.from_input(9).apply(refuse)
        for name in ("one", "two"):
            aws.ec2.Vpc(name, cidr_block=size, region="us-east-1")

    (error,) = plan_of(program, check=False).errors
    assert error.message.startswith("ValueError: 9 is too large")
    assert error.place == f"tests/planner/test_engine.py:{program.__code__.co_firstlineno + 2}"
