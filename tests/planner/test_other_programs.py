"""Programs as other people write them: each test is one style, or one slip of ours that such a program has found."""

import asyncio
import importlib
import json
import os
import sys
from pathlib import Path

import pulumi
import pulumi_aws as aws
import pulumi_awsx as awsx
import pulumi_eks as eks
import pulumi_kubernetes as k8s
import pytest
from pulumi import dynamic

from planner.engine import preview
from planner.engine.project import ProjectError, import_path, load
from planner.engine.target import STACK_REFERENCE
from planner.plan import SECRET, UNKNOWN
from tests.support import plan_of

PROJECTS = Path(__file__).parents[1] / "fixtures" / "projects"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def project(directory, source, *, about="", **files):
    """A small project; `files` are texts by name, with `__` for a dot."""
    (directory / "Pulumi.yaml").write_text(f"name: small\nruntime: python\n{about}")
    (directory / "__main__.py").write_text(source)
    for name, text in files.items():
        path = directory / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


# ---- projects, stacks and configuration


SIZE = "import pulumi\npulumi.export('size', pulumi.Config().require_int('size'))\n"


def test_a_stack_without_a_file_takes_its_configuration_from_the_command_line(tmp_path):
    assert preview(load(project(tmp_path, SIZE), "dev", {"size": "3"})).outputs == {"size": 3}
    (tmp_path / "Pulumi.live.yaml").write_text("config: {small:size: 9}\n")
    assert preview(load(tmp_path, "dev", {"size": "3"})).outputs == {"size": 3}
    with pytest.raises(ProjectError, match=r"no stack 'dev'.*there is live.*--config KEY=VALUE"):
        load(tmp_path, "dev")


def test_a_stack_may_be_named_with_its_organization(tmp_path):
    source = "import pulumi\npulumi.export('o', f'{pulumi.get_organization()}/{pulumi.get_stack()}')\n"
    assert preview(load(project(tmp_path, source), "acme/small/dev")).outputs == {"o": "acme/dev"}
    assert preview(load(tmp_path, "dev")).outputs == {"o": "organization/dev"}


def test_secrets_inside_objects_have_stand_ins(tmp_path, monkeypatch):
    source = (
        "import json, pulumi\n"
        "shown = lambda key: pulumi.Config().require_object(key)\n"
        "pulumi.export('users', [user['name'] for user in shown('users')])\n"
        "pulumi.export('length', len(shown('users')[1]['password']))\n"
    )
    stack = "config:\n  small:users:\n  - {name: a, password: x}\n  - {name: b, password: {secure: AAA=}}\n"
    monkeypatch.setenv("AICLOUD_SECRET_SMALL_USERS_1__PASSWORD", "four")
    loaded = load(project(tmp_path, source, Pulumi__dev__yaml=stack), "dev")
    assert loaded.secret_keys == ("small:users",)
    assert preview(loaded).outputs == {"users": ["a", "b"], "length": 4}


def test_scalars_without_quotes_are_texts(tmp_path):
    source = "import pulumi\npulumi.export('c', [pulumi.Config().require(k) for k in ('flag', 'day', 'count')])\n"
    about = "config:\n  flag: {type: string}\n  day: {type: string}\n"
    stack = "config: {small:flag: false, small:day: 2026-01-31, small:count: 3}\n"
    plan = preview(load(project(tmp_path, source, about=about, Pulumi__dev__yaml=stack), "dev"))
    assert plan.outputs == {"c": ["false", "2026-01-31", "3"]}


@pytest.mark.parametrize("isolate", [False, True])
def test_packages_of_the_repository_around_a_project_are_found(isolate):
    loaded = load(PROJECTS / "monorepo" / "deployments" / "web", "dev", {"aws:region": "eu-north-1"})
    plan = preview(loaded, isolate=isolate)
    assert plan.errors == []
    assert plan.one("aws:s3/bucket:Bucket").parent.endswith("parts:index:Site::web")
    assert "parts" not in sys.modules


def test_local_sdks_and_a_virtual_environment_are_found(tmp_path):
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for place in (tmp_path / "venv" / "lib" / version / "site-packages", tmp_path / "sdks" / "acme"):
        place.mkdir(parents=True)
        (place / f"only_in_{place.name.replace('-', '_')}.py").write_text("HERE = True\n")
    source = "import only_in_site_packages, only_in_acme\n"
    assert preview(load(project(tmp_path, source), "dev")).errors == []
    assert [path.name for path in import_path(tmp_path)] == ["site-packages", "acme"]
    assert not {str(path) for path in import_path(tmp_path)} & set(sys.path)
    sys.modules.pop("only_in_site_packages", None)


def test_a_package_that_is_missing_is_named_with_its_line(tmp_path):
    (error,) = preview(load(project(tmp_path, "import pulumi\nimport pulumi_nowhere\n"), "dev")).errors
    assert error.place == "__main__.py:2"
    assert "'pulumi_nowhere'; it is neither installed beside aicloud nor in a venv of the project" in error.message


def test_messages_have_no_paths_of_this_machine(tmp_path):
    (error,) = preview(load(project(tmp_path, "from pulumi_aws.ec2 import get_subnet_ids\n"), "dev")).errors
    assert error.message == "ImportError: cannot import name 'get_subnet_ids' from 'pulumi_aws.ec2'"
    (error,) = preview(load(project(tmp_path, "import os\nopen(os.path.abspath('key.pem'))\n"), "dev")).errors
    assert error.message == "FileNotFoundError: [Errno 2] No such file or directory: 'key.pem'"


def test_an_asynchronous_program(tmp_path):
    source = (
        "import asyncio, pulumi\n"
        "async def main():\n    await asyncio.sleep(0)\n    pulumi.export('done', True)\n"
        "pulumi.run(main)\n"
    )
    plan = preview(load(project(tmp_path, source), "dev"))
    assert plan.errors == []


# ---- values


def test_a_policy_may_be_an_object():
    def program():
        role = aws.iam.Role("r", assume_role_policy=TRUST)
        pulumi.export("actions", role.assume_role_policy.apply(lambda text: json.loads(text)["Statement"][0]["Action"]))

    assert plan_of(program).outputs["actions"] == "sts:AssumeRole"
    assert plan_of(program, simulate_up=True).outputs["actions"] == "sts:AssumeRole"


def test_what_a_secret_policy_says_stays_secret():
    def program():
        role = aws.iam.Role("r", assume_role_policy=pulumi.Output.secret(TRUST))
        pulumi.export("policy", role.assume_role_policy)

    assert plan_of(program).outputs["policy"] == SECRET


def test_arguments_of_a_function_come_back_converted():
    def program():
        ami = aws.ec2.get_ami(most_recent="true", owners=["amazon"])
        pulumi.export("recent", ami.most_recent)

    assert plan_of(program).outputs["recent"] is True


def test_a_module_that_shadows_a_class_of_its_package(monkeypatch):
    # What `from pulumi_kubernetes.apiextensions.CustomResource import CustomResource` does, the first time.
    module = importlib.import_module("pulumi_kubernetes.apiextensions.CustomResource")
    monkeypatch.setattr(k8s.apiextensions, "CustomResource", module)
    plan = plan_of(lambda: module.CustomResource("made", api_version="example.org/v1", kind="Thing", spec={"size": 1}))
    assert plan.kinds["kubernetes:example.org/v1:Thing"] == 1


def test_a_provider_takes_a_kubeconfig_as_an_object():
    def program():
        cluster = eks.Cluster("c")
        provider = k8s.Provider("p", kubeconfig=cluster.kubeconfig)
        k8s.core.v1.Namespace("n", opts=pulumi.ResourceOptions(provider=provider))

    assert plan_of(program).errors == []
    assert plan_of(program, simulate_up=True).errors == []


# ---- what a simulated update cannot know either


def components():
    vpc = awsx.ec2.Vpc("v", subnet_specs=[{"type": "Private"}, {"type": "Isolated"}, {"type": "Isolated"}])
    cluster = eks.Cluster("c", vpc_id=vpc.vpc_id, private_subnet_ids=vpc.private_subnet_ids)
    aws.ec2.Subnet("s", vpc_id=vpc.vpc_id, cidr_block="10.0.0.0/24")
    pulumi.export("last", vpc.isolated_subnet_ids.apply(lambda ids: ids[5]))
    pulumi.export("version", cluster.eks_cluster.version)
    pulumi.export("user", cluster.get_kubeconfig(role_arn="arn:aws:iam::123456789012:role/r").apply(json.loads)["kind"])


def test_remote_components_are_unknown_in_a_preview():
    assert plan_of(components).outputs == dict.fromkeys(("last", "version", "user"), UNKNOWN)


def test_remote_components_have_the_outputs_that_can_be_made_up():
    outputs = plan_of(components, simulate_up=True).outputs
    assert outputs["last"].startswith("subnet-")
    assert outputs["user"] == "Config"
    assert outputs["version"] == UNKNOWN


@pytest.mark.parametrize("simulate_up", [False, True])
def test_what_another_stack_says_is_unknown_until_it_is_recorded(simulate_up):
    def program():
        base = pulumi.StackReference("acme/base/dev")
        subnet = aws.ec2.Subnet("s", vpc_id=base.require_output("vpc"), cidr_block="10.0.0.0/24")
        pulumi.export("zones", base.require_output("zones").apply(lambda zones: zones[0]))
        pulumi.export("vpc", subnet.vpc_id)

    plan = plan_of(program, simulate_up=simulate_up)
    assert plan.outputs == {"zones": UNKNOWN, "vpc": UNKNOWN}
    assert plan.one(STACK_REFERENCE).external


class Provider(dynamic.ResourceProvider):
    def create(self, props):
        return dynamic.CreateResult("1", {**props, "answer": 42})


class Dynamic(dynamic.Resource):
    answer: pulumi.Output[int]

    def __init__(self, name, size):
        super().__init__(Provider(), name, {"size": size, "answer": None})


@pytest.mark.parametrize("simulate_up", [False, True])
def test_a_dynamic_providers_code_is_not_run(simulate_up):
    def program():
        pulumi.export("double", Dynamic("d", 3).answer.apply(lambda n: n * 2))

    plan = plan_of(program, simulate_up=simulate_up)
    assert plan.outputs == {"double": UNKNOWN}
    assert [r.inputs["size"] for r in plan if r.type.startswith("pulumi-python:")] == [3]


def test_an_existing_object_has_what_is_known_of_it():
    def program():
        service = k8s.core.v1.Service.get("web", "prod/web")
        secret = k8s.core.v1.Secret.get("keys", "prod/keys")
        pulumi.export("address", service.status.load_balancer.ingress[0].hostname)
        pulumi.export("key", secret.data["key"])

    assert plan_of(program, simulate_up=True).outputs == {"address": UNKNOWN, "key": UNKNOWN}


# ---- made-up outputs that programs take apart


def test_outputs_that_programs_read():
    def program():
        bucket = aws.s3.Bucket("b", website={"index_document": "index.html"})
        api = aws.appsync.GraphQLApi("a", authentication_type="API_KEY")
        pod = k8s.core.v1.Pod("p", spec={"containers": [{"name": "c", "image": "nginx"}]})
        pulumi.export("site", bucket.website_endpoint)
        pulumi.export("api", api.uris["GRAPHQL"])
        pulumi.export("pod", pod.status.pod_ip)

    outputs = plan_of(program, simulate_up=True).outputs
    assert ".s3-website-us-east-1.amazonaws.com" in outputs["site"]
    assert outputs["api"].endswith(".appsync-api.us-east-1.amazonaws.com/graphql")
    assert outputs["pod"].startswith("10.0.")


# ---- manifests and charts


MANIFEST = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: one, namespace: web}, data: {a: b}}
- {apiVersion: v1, kind: Service, metadata: {name: two, namespace: web}, spec: {ports: [{port: 80}]}}
"""


@pytest.mark.parametrize("version", ["yaml", "yaml.v2"])
def test_manifests_become_resources(tmp_path, version):
    source = (
        f"import pulumi_kubernetes as k8s\nfrom pulumi_kubernetes.{version} import ConfigFile, ConfigGroup\n"
        "ConfigFile('f', file='all.yaml')\nConfigGroup('g', files=['m/*.yaml'])\n"
    )
    loaded = load(project(tmp_path, source, all__yaml=MANIFEST), "dev")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "x.yaml").write_text(MANIFEST.replace("web", "other"))
    plan = preview(loaded)
    assert plan.errors == []
    assert plan.kinds["kubernetes:core/v1:ConfigMap"] == plan.kinds["kubernetes:core/v1:Service"] == 2


@pytest.mark.parametrize("simulate_up", [False, True])
def test_charts_and_kustomizations_that_cannot_be_rendered_say_so(simulate_up):
    def program():
        k8s.helm.v3.Chart("old", k8s.helm.v3.ChartOpts(chart="nginx", fetch_opts={"repo": "https://charts.example"}))
        k8s.helm.v4.Chart("new", chart="nginx")
        k8s.helm.v3.Release("kept", chart="nginx", version="1.0.0")
        k8s.kustomize.Directory("k", "./overlay")

    plan = plan_of(program, simulate_up=simulate_up)
    assert plan.kinds["kubernetes:helm.sh/v3:Release"] == 1
    told = " ".join(d.message for d in plan.diagnostics)
    for said in ("kubernetes:helm:template", "kubernetes:helm.sh/v4:Chart", "kubernetes:kustomize:directory"):
        assert said in told


def test_a_chart_that_waits_for_a_value_is_told():
    def program():
        namespace = k8s.core.v1.Namespace("n")
        options = k8s.helm.v3.ChartOpts(chart="nginx", namespace=namespace.metadata["name"])
        k8s.helm.v3.Chart("late", options)

    (warning,) = plan_of(program).warnings
    assert warning.place.startswith("tests/planner/test_other_programs.py:")
    assert "'late': its resources are not in the preview" in warning.message


def test_unit_tests_with_mocks_are_left_alone():
    before = os.environ.copy()
    plan_of(lambda: aws.s3.Bucket("b"))

    class Mocks(pulumi.runtime.Mocks):
        def new_resource(self, args):
            return f"{args.name}-id", {**args.inputs, "arn": "arn:mocked"}

        def call(self, args):  # noqa: ARG002
            return {}

    asyncio.set_event_loop(asyncio.new_event_loop())
    pulumi.runtime.set_mocks(Mocks())

    @pulumi.runtime.test
    def mocked():
        return aws.s3.Bucket("b").arn.apply(lambda arn: seen.append(arn))

    seen = []
    mocked()
    assert seen == ["arn:mocked"]
    assert os.environ == before
    assert plan_of(lambda: aws.s3.Bucket("b")).errors == []
