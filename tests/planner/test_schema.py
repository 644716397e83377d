"""Schemas read from the installed SDKs."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pulumi
import pytest

from planner.engine import curated, schema
from planner.engine.schema import UnknownType, alternatives, invoke_result_type, object_properties, resource_schema
from tests.support import ROOT

# The SDKs warn of their own deprecated classes while they are imported.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize(
    ("token", "required", "optional", "output"),
    [
        ("aws:ec2/vpc:Vpc", [], ["cidrBlock", "tags", "region"], "mainRouteTableId"),
        ("aws:eks/cluster:Cluster", ["roleArn", "vpcConfig"], ["accessConfig"], "endpoint"),
        ("gcp:container/cluster:Cluster", [], ["ipAllocationPolicy"], "selfLink"),
        ("kubernetes:apps/v1:Deployment", ["spec"], ["apiVersion", "kind", "metadata"], "status"),
        ("kubernetes:core/v1:Namespace", [], ["metadata", "spec"], "status"),
        ("kubernetes:helm.sh/v3:Release", ["chart"], ["values"], "status"),
        ("random:index/randomPassword:RandomPassword", ["length"], ["special"], "result"),
        ("tls:index/privateKey:PrivateKey", ["algorithm"], ["rsaBits"], "publicKeyPem"),
        ("command:local:Command", [], ["create"], "stdout"),
        ("docker-build:index:Image", ["push"], ["tags"], "digest"),
        ("eks:index:Cluster", [], ["vpcId"], "kubeconfig"),
        ("awsx:ec2:Vpc", [], ["natGateways"], "vpcId"),
        ("pulumi:providers:aws", [], ["region", "assumeRoles"], "region"),
        ("pulumi:providers:docker-build", [], ["host"], "host"),
    ],
)
def test_inputs_and_outputs(token: str, required: list[str], optional: list[str], output: str) -> None:
    found = resource_schema(token)
    assert found.inputs is not None
    assert sorted(name for name, known in found.inputs.items() if known.required) == sorted(required)
    for name in optional:
        assert not found.inputs[name].required
    assert output in found.outputs
    assert not {"id", "urn"} & found.outputs.keys()


def test_args_of_a_class_whose_name_is_taken_by_an_object_type() -> None:
    """pulumi_aws.s3 has two `BucketVersioningArgs`; the resource's own is called `BucketVersioningInitArgs`."""
    inputs = resource_schema("aws:s3/bucketVersioning:BucketVersioning").inputs
    assert inputs is not None
    assert inputs["versioningConfiguration"].required


def test_secret_outputs() -> None:
    assert resource_schema("random:index/randomPassword:RandomPassword").secret_outputs == ("bcryptHash", "result")
    assert resource_schema("aws:ec2/vpc:Vpc").secret_outputs == ()


def test_deprecation_in_the_words_of_the_sdk() -> None:
    inputs = resource_schema("aws:s3/bucket:Bucket").inputs
    assert inputs is not None
    assert "BucketVersioning resource" in str(inputs["versioning"].deprecated)
    assert inputs["bucket"].deprecated is None


@pytest.mark.parametrize(
    "token",
    [
        "kubernetes:monitoring.coreos.com/v1:PodMonitor",
        "kubernetes:karpenter.sh/v1:NodePool",
        "pulumi:pulumi:StackReference",
        "pulumi-python:dynamic:Resource",
        "pulumi-python:dynamic/schema:Migration",
    ],
)
def test_what_cannot_be_introspected_is_opaque(token: str) -> None:
    assert resource_schema(token).inputs is None


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("aws:ec2/vcp:Vcp", "did you mean 'aws:ec2/vpc:Vpc'?"),
        ("aws:ec2/vpc:VPC", "did you mean 'aws:ec2/vpc:Vpc'?"),
        ("kubernetes:apps/v1:Deploymnt", "did you mean 'kubernetes:apps/v1:Deployment'?"),
        ("kubernetes:networking.k8s.io/v9:Ingress", "did you mean 'kubernetes:networking.k8s.io/v1:Ingress'?"),
        ("gpc:compute/network:Network", "no SDK for the package 'gpc'"),
        ("pulumi:providers:gpc", "'gcp'"),
        ("nonsense", "<package>:<module>:<Name>"),
    ],
)
def test_an_unknown_type_names_what_comes_close(token: str, says: str) -> None:
    with pytest.raises(UnknownType) as failure:
        resource_schema(token)
    assert says in str(failure.value)


@pytest.mark.parametrize(
    ("token", "result"),
    [
        ("aws:index/getAvailabilityZones:getAvailabilityZones", "GetAvailabilityZonesResult"),
        ("aws:ec2/getAmi:getAmi", "GetAmiResult"),
        ("aws:iam/getPolicyDocument:getPolicyDocument", "GetPolicyDocumentResult"),
        ("gcp:organizations/getProject:getProject", "GetProjectResult"),
        ("gcp:compute/getZones:getZones", "GetZonesResult"),
        ("tls:index/getPublicKey:getPublicKey", "GetPublicKeyResult"),
        ("command:local:run", "RunResult"),
        ("awsx:ec2:getDefaultVpc", "GetDefaultVpcResult"),
        ("kubernetes:yaml:decode", None),
        ("aws:nowhere/getNothing:getNothing", None),
        ("gpc:compute/getZones:getZones", None),
    ],
)
def test_result_of_a_function(token: str, result: str | None) -> None:
    found = invoke_result_type(token)
    assert (found and found.__name__) == result
    if found is not None:
        assert schema.output_properties(found)


def test_alternatives_leave_out_plumbing() -> None:
    assert alternatives(pulumi.Input[str]) == [str]
    assert alternatives(pulumi.Input[int | str | None]) == [int, str]
    inputs = resource_schema("aws:eks/cluster:Cluster").inputs
    assert inputs is not None
    (config,) = alternatives(inputs["vpcConfig"].type)
    assert object_properties(config)["subnetIds"].python_name == "subnet_ids"


def test_many_threads_at_once() -> None:
    """importlib.util.LazyLoader breaks when two threads load one module; modules no other test has loaded yet."""
    tokens = [f"aws:{name}" for name in ("xray/group:Group", "xray/samplingRule:SamplingRule", "swf/domain:Domain")] * 8
    resource_schema.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        assert all(found.inputs for found in pool.map(resource_schema, tokens))


def _has(token: str, path: str) -> bool:
    """Whether a type has a property path such as `ingress[].fromPort`."""
    properties = resource_schema(token).inputs
    if properties is None:
        return True  # a custom resource, of which the SDK knows nothing
    for step in path.split("."):
        if not properties or step.removesuffix("[]") not in properties:
            return False
        types = alternatives(properties[step.removesuffix("[]")].type)
        if step.endswith("[]"):
            types = [item for one in types for inner in getattr(one, "__args__", ()) for item in alternatives(inner)]
        objects = [one for one in types if hasattr(one, "_pulumi_input_type")]
        properties = object_properties(objects[0]) if objects else {}
    return True


CURATED = sorted(
    {(token, path) for token, paths in curated.REPLACE_ON_CHANGES.items() for path in paths}
    | {(token, path) for token, groups in curated.CONFLICTS.items() for group in groups for path in group}
    | {
        (token, f"{prefix}.{name}".removeprefix("."))
        for token, rows in curated.ORDERED.items()
        for prefix, *names in rows
        for name in names
    }
    | {(token, path) for token, path, _ in (*curated.VALUES, *curated.LISTED) if path and "*" not in token}
)


def test_the_curated_tables_name_only_what_the_sdks_have() -> None:
    assert len(CURATED) > 300
    assert [entry for entry in CURATED if not _has(*entry)] == []


def test_looking_up_a_function_leaves_it_callable() -> None:
    import pulumi_gcp

    # a subpackage that nothing else loads
    assert invoke_result_type("gcp:accesscontextmanager/getAccessPolicy:getAccessPolicy") is not None
    assert callable(pulumi_gcp.accesscontextmanager.get_access_policy)


CUSTOM_FIRST = """
import pulumi
from planner.engine import schema
schema.resource_schema("kubernetes:example.com/v1:Thing")
import pulumi_kubernetes as k8s
assert isinstance(k8s.apiextensions.CustomResource, type), k8s.apiextensions.CustomResource
"""


def test_looking_up_a_custom_kind_leaves_the_sdk_as_it_is() -> None:
    """In a process of its own: what is imported first decides."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", CUSTOM_FIRST], check=True, cwd=ROOT)
