"""Inputs checked against the SDKs: planted mistakes are found where they are, right values pass."""

from __future__ import annotations

import enum
import json
import typing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pulumi import _types
from pulumi.asset import Archive, Asset
from pulumi.runtime import rpc

from planner.engine import values
from planner.engine.check import Problem, check_inputs
from planner.engine.checkers import Report, checker_of, is_list, path_of
from planner.engine.schema import UnknownType, alternatives, object_properties, resource_schema
from planner.plan import UNKNOWN

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ARN = "arn:aws:iam::123456789012:role/eks"
ASSET = {values.SIGNATURE: rpc._special_asset_sig, "text": "x"}
ARCHIVE = {values.SIGNATURE: rpc._special_archive_sig, "assets": {}}
REFERENCE = {values.SIGNATURE: values.RESOURCE_SIGNATURE, "urn": "urn:pulumi:dev::p::aws:ec2/vpc:Vpc::v", "id": "vpc-1"}


def output(value: Any, **more: Any) -> dict[str, Any]:
    return {values.SIGNATURE: values.OUTPUT_SIGNATURE, "value": value, **more}


def cluster(**changes: Any) -> dict[str, Any]:
    return {"roleArn": ARN, "vpcConfig": {"subnetIds": ["subnet-1", UNKNOWN]}, "tags": {"owner": "ml"}, **changes}


def deployment(container: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "triton"},
        "spec": {
            "selector": {"matchLabels": {"app": "triton"}},
            "template": {"metadata": {"labels": {"app": "triton"}}, "spec": {"containers": [container]}},
        },
    }


def found(token: str, inputs: dict[str, Any]) -> list[tuple[str, str]]:
    return [(problem.path, problem.severity) for problem in check_inputs(token, inputs)]


CLUSTER = "aws:eks/cluster:Cluster"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"

MISTAKES: list[tuple[str, dict[str, Any], str, str, str]] = [
    # token, inputs, severity, path, a part of the message
    (CLUSTER, cluster(vpcConfig={"subnetIds": [], "subnetIDs": 1}), "error", "vpcConfig.subnetIDs", "unknown property"),
    (CLUSTER, cluster(vpcConfig={"subnetIDs": []}), "error", "vpcConfig.subnetIDs", "did you mean 'subnetIds'?"),
    (CLUSTER, cluster(vpcConfig={"subnet_idz": []}), "error", "vpcConfig.subnet_idz", "did you mean 'subnet_ids'?"),
    (CLUSTER, cluster(vpcConfig={}), "error", "vpcConfig.subnetIds", "is required"),
    (CLUSTER, cluster(vpcConfig={"subnetIds": "subnet-1"}), "error", "vpcConfig.subnetIds", "expected a list"),
    (CLUSTER, cluster(vpcConfig={"subnetIds": [["a"]]}), "error", "vpcConfig.subnetIds[0]", "expected a string"),
    (CLUSTER, cluster(vpcConfig="vpc-1"), "error", "vpcConfig", "expected an object"),
    (CLUSTER, cluster(vpcConfig=[{"subnetIds": []}]), "warning", "vpcConfig", "will be converted"),
    (CLUSTER, cluster(acessConfig={}), "error", "acessConfig", "did you mean 'accessConfig'?"),
    (CLUSTER, cluster(tags=["ml"]), "error", "tags", "expected a map"),
    (CLUSTER, cluster(tags={"a.b": []}), "error", 'tags["a.b"]', "expected a string"),
    (CLUSTER, cluster(tags={"a": 1}), "warning", "tags.a", "got number 1"),
    (CLUSTER, cluster(version=1.30), "warning", "version", "got number 1.3"),
    (CLUSTER, cluster(deletionProtection="yes"), "error", "deletionProtection", "expected true or false"),
    (CLUSTER, cluster(deletionProtection="true"), "warning", "deletionProtection", "will be converted"),
    (CLUSTER, cluster(deletionProtection=1), "error", "deletionProtection", "expected true or false"),
    (CLUSTER, cluster(name=ASSET), "error", "name", "got an asset"),
    ("aws:sqs/queue:Queue", {"delaySeconds": "3"}, "warning", "delaySeconds", 'got string "3"'),
    ("aws:sqs/queue:Queue", {"delaySeconds": "soon"}, "error", "delaySeconds", "expected a whole number"),
    ("aws:sqs/queue:Queue", {"delaySeconds": 1.5}, "error", "delaySeconds", "expected a whole number"),
    ("aws:sqs/queue:Queue", {"delaySeconds": True}, "error", "delaySeconds", "expected a whole number"),
    ("aws:lambda/function:Function", {"role": ARN, "code": ASSET}, "error", "code", "expected an archive"),
    ("aws:s3/bucket:Bucket", {"versioning": {"enabled": True}}, "warning", "versioning", "deprecated"),
    ("aws:s3/bucket:Bucket", {"acl": "public_read"}, "warning", "acl", "did you mean 'public-read'?"),
    ("command:local:Command", {"logging": "sdout"}, "error", "logging", "did you mean 'stdout'?"),
    (
        "gcp:storage/bucket:Bucket",
        {"location": "EU", "lifecycleRules": [{"action": {"typ": "Delete"}, "condition": {}}]},
        "error",
        "lifecycleRules[0].action.typ",
        "did you mean 'type'?",
    ),
    (DEPLOYMENT, deployment({"name": "a", "imag": "b"}), "error", "spec.template.spec.containers[0].imag", "'image'"),
    (DEPLOYMENT, deployment({"image": "b"}), "error", "spec.template.spec.containers[0].name", "is required"),
    (DEPLOYMENT, deployment({"name": "a", "tty": "true"}), "error", "spec.template.spec.containers[0].tty", "true or"),
    (
        DEPLOYMENT,
        deployment({"name": "a", "ports": [{"containerPort": "80"}]}),
        *("error", "spec.template.spec.containers[0].ports[0].containerPort", "expected a whole number"),
    ),
    ("kubernetes:apps/v1:Deployment", {"kind": "deployment", "spec": {}}, "error", "kind", 'expected "Deployment"'),
    ("kubernetes:core/v1:Service", {"spec": {"type": "Loadbalancer"}}, "warning", "spec.type", "LoadBalancer"),
    (
        "kubernetes:helm.sh/v3:Release",
        {"chart": "x", "repositoryOpts": {"url": "x"}},
        "error",
        "repositoryOpts.url",
        "there are caFile",
    ),
    ("eks:index:Cluster", {"nodeGroupOptions": {"minsize": 1}}, "error", "nodeGroupOptions.minsize", "'minSize'"),
    (
        "pulumi:providers:aws",
        {"assumeRoles": '[{"sesionName": "x"}]'},
        "error",
        "assumeRoles[0].sesionName",
        "did you mean 'sessionName'?",
    ),
    ("pulumi:providers:aws", {"regoin": "us-east-1"}, "error", "regoin", "did you mean 'region'?"),
    ("pulumi:providers:aws", {"maxRetries": "many"}, "error", "maxRetries", "expected a whole number"),
    # beyond the SDK
    ("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.1/16"}, "error", "cidrBlock", "did you mean 10.0.0.0/16?"),
    ("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/8"}, "error", "cidrBlock", "/16 to /28"),
    ("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/33"}, "error", "cidrBlock", "CIDR notation"),
    ("aws:iam/role:Role", {"assumeRolePolicy": "{"}, "error", "assumeRolePolicy", "not JSON (line 1"),
    ("aws:iam/role:Role", {"assumeRolePolicy": "[]"}, "error", "assumeRolePolicy", "found a JSON list"),
    (
        "aws:iam/role:Role",
        {"assumeRolePolicy": '{"Statement": [{"Effect": "Allow", "Actions": "*"}]}'},
        "error",
        "assumeRolePolicy",
        "did you mean 'Action'?",
    ),
    ("aws:cloudwatch/logGroup:LogGroup", {"retentionInDays": 31}, "error", "retentionInDays", "expected one of 0, 1"),
    ("aws:s3/bucket:Bucket", {"bucket": "My_Bucket"}, "error", "bucket", "3 to 63"),
    ("aws:s3/bucket:Bucket", {"bucket": "a-b", "bucketPrefix": "a"}, "error", "bucketPrefix", "conflicts with bucket"),
    ("aws:lb/targetGroup:TargetGroup", {"name": "x" * 33}, "error", "name", "at most 32"),
    ("aws:ec2/launchTemplate:LaunchTemplate", {"instanceType": "p5"}, "error", "instanceType", "<family>.<size>"),
    ("aws:ec2/launchTemplate:LaunchTemplate", {"instanceType": "p5.48xlarg"}, "warning", "instanceType", "p5.48xlarge"),
    ("aws:iam/instanceProfile:InstanceProfile", {"role": ARN}, "error", "role", "expected the role's name"),
    ("gcp:compute/network:Network", {"name": "Main"}, "error", "name", "lower-case letters"),
    ("gcp:compute/network:Network", {"name": "a" * 64}, "error", "name", "at most 63"),
    ("gcp:storage/bucket:Bucket", {"location": "EU", "labels": {"Owner": "x"}}, "error", "labels", "'Owner'"),
    (
        "aws:eks/nodeGroup:NodeGroup",
        {"nodeRoleArn": ARN, "subnetIds": [], "scalingConfig": {"minSize": 4, "desiredSize": 2, "maxSize": 3}},
        *("error", "scalingConfig.minSize", "4 exceeds desiredSize"),
    ),
    (
        "aws:ec2/securityGroup:SecurityGroup",
        {"ingress": [{"protocol": "tcp", "fromPort": 443, "toPort": 80, "cidrBlocks": ["10.0.0.0/8"]}]},
        *("error", "ingress[0].fromPort", "443 exceeds toPort"),
    ),
]


@pytest.mark.parametrize(
    ("token", "inputs", "severity", "path", "message"),
    MISTAKES,
    ids=[f"{m[0].split(':')[-1]}-{m[3]}" for m in MISTAKES],
)
def test_a_planted_mistake(token: str, inputs: dict[str, Any], severity: str, path: str, message: str) -> None:
    problems = check_inputs(token, inputs)
    assert [p for p in problems if p.path == path and message in p.message and p.severity == severity], problems


FINE: list[tuple[str, dict[str, Any]]] = [
    (CLUSTER, cluster(vpcConfig=UNKNOWN)),
    (CLUSTER, cluster(vpcConfig=output({"subnetIds": ["a"]}))),
    (CLUSTER, cluster(vpcConfig=output(None))),
    (CLUSTER, cluster(name=REFERENCE, tags={"a": REFERENCE, "b": UNKNOWN})),
    (CLUSTER, cluster(name=None, __defaults=["name"])),
    ("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/16", "tags": values.secret({"a": "b"})}),
    ("aws:ec2/securityGroup:SecurityGroup", {"ingress": [{"protocol": "icmp", "fromPort": 8, "toPort": 0}]}),
    ("aws:lb/loadBalancer:LoadBalancer", {"loadBalancerType": "gateway"}),
    ("aws:ec2/placementGroup:PlacementGroup", {"strategy": "partition"}),
    ("aws:lambda/function:Function", {"role": ARN, "code": ARCHIVE, "runtime": "python3.19"}),
    ("aws:iam/rolePolicyAttachment:RolePolicyAttachment", {"role": "r", "policyArn": "arn:aws:iam::1:policy/mine"}),
    ("aws:route53/record:Record", {"zoneId": "Z1", "name": "x", "type": "HTTPS", "ttl": 60, "records": []}),
    ("kubernetes:core/v1:Service", {"spec": {"ports": [{"port": 80, "targetPort": "http"}]}}),
    ("kubernetes:helm.sh/v3:Release", {"chart": "x", "values": {"a": {"b": [1, {"c": None}]}}}),
    ("kubernetes:karpenter.sh/v1:NodePool", {"apiVersion": "karpenter.sh/v1", "anything": 1}),
    ("pulumi:pulumi:StackReference", {"name": "org/network/prod"}),
    (
        "pulumi:providers:aws",
        {
            "region": "us-east-1",
            "version": "7.51.1",
            "assumeRoles": '[{"role_arn": "arn:aws:iam::1:role/r"}]',
            "defaultTags": values.secret('{"tags": {"a": "b"}}'),
            "skipMetadataApiCheck": "true",
            "maxRetries": "3",
        },
    ),
]


@pytest.mark.parametrize(
    ("token", "inputs"), FINE, ids=[f"{token.split(':')[-1]}-{i}" for i, (token, _) in enumerate(FINE)]
)
def test_what_is_right_passes(token: str, inputs: dict[str, Any]) -> None:
    assert check_inputs(token, inputs) == []


def test_unknown_types_are_the_callers_to_report() -> None:
    with pytest.raises(UnknownType, match="did you mean"):
        check_inputs("aws:ec2/vcp:Vcp", {})


def test_all_mistakes_are_reported_at_once() -> None:
    inputs = cluster(vpcConfig={"subnetIDs": [], "securityGroupIds": "sg"}, tags=[], versoin="1.34")
    assert [path for path, _ in found(CLUSTER, inputs)] == [
        *("vpcConfig.subnetIDs", "vpcConfig.securityGroupIds", "vpcConfig.subnetIds", "tags", "versoin")
    ]


@pytest.mark.parametrize(
    ("token", "inputs"),
    [
        (CLUSTER, cluster(vpcConfig=values.secret({"subnetIds": [{}], "publicAccessCidrs": ["hunter2"]}), tags=[])),
        ("aws:iam/role:Role", {"assumeRolePolicy": values.secret("hunter2")}),
        ("aws:sqs/queue:Queue", {"delaySeconds": values.secret("hunter2")}),
        ("aws:sqs/queue:Queue", {"delaySeconds": output("hunter2", secret=True)}),
        ("command:local:Command", {"logging": values.secret("hunter2")}),
        ("pulumi:providers:aws", {"maxRetries": values.secret("hunter2")}),
    ],
)
def test_a_secret_is_checked_and_never_shown(token: str, inputs: dict[str, Any]) -> None:
    problems = check_inputs(token, inputs)
    assert problems
    assert "hunter2" not in " ".join(map(str, problems))


def test_a_problem_reads_well() -> None:
    assert str(Problem("a.b[0]", "is required")) == "a.b[0]: is required"
    assert str(Problem("", "no such type")) == "no such type"
    assert path_of(["a", 0, "b.c", "d"]) == 'a[0]["b.c"].d'


# ---- any value built from the annotations passes; any key that they don't have is found

TOKENS = [
    "aws:ec2/launchTemplate:LaunchTemplate",
    "aws:eks/nodeGroup:NodeGroup",
    "aws:lambda/function:Function",
    "aws:lb/listener:Listener",
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    "gcp:container/cluster:Cluster",
    "gcp:compute/uRLMap:URLMap",
    "kubernetes:apps/v1:StatefulSet",
    "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition",
    "kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "docker-build:index:Image",
    "eks:index:Cluster",
    "awsx:ecs:FargateService",
]

ENVELOPES = (lambda _: UNKNOWN, values.secret, output, lambda value: value, lambda value: value)


@st.composite
def built(draw: st.DrawFn, annotation: Any, depth: int = 0) -> Any:
    """A value that fits an annotation, here and there unknown or in an envelope."""
    types = alternatives(annotation)
    if not types:
        return None
    one = draw(st.sampled_from(types))
    origin, arguments = typing.get_origin(one), typing.get_args(one)
    value: Any
    if one in (str, bool, int, float):
        value = draw(st.from_type(one).filter(lambda x: x == x and x != UNKNOWN))
    elif is_list(one):
        value = [draw(built(arguments[0], depth + 1)) for _ in range(draw(st.integers(0, 2)))] if depth < 6 else []
    elif origin is typing.Literal:
        value = arguments[0]
    elif isinstance(one, type) and issubclass(one, enum.Enum):
        value = draw(st.sampled_from([member.value for member in one]))
    elif isinstance(one, type) and _types.is_input_type(one):
        value = draw(built_object(one, depth + 1))
    elif one is Asset:
        value = ASSET
    elif one is Archive:
        value = ARCHIVE
    elif len(arguments) == 2:
        value = {"key": draw(built(arguments[1], depth + 1))} if depth < 6 else {}
    else:
        value = draw(st.sampled_from(["anything", 1, {"a": [None]}]))
    return draw(st.sampled_from(ENVELOPES))(value) if depth else value


@st.composite
def built_object(draw: st.DrawFn, cls: type, depth: int = 0) -> dict[str, Any]:
    properties = object_properties(cls)
    optional = [name for name, known in properties.items() if not known.required]
    some = draw(st.lists(st.sampled_from(optional), max_size=3, unique=True)) if optional and depth < 6 else []
    names = [name for name, known in properties.items() if known.required] + some
    return {name: draw(built(properties[name].type, depth + 1)) for name in names}


def problems_of(token: str, inputs: dict[str, Any]) -> list[Problem]:
    """By type alone: made-up values break the rules that go beyond it."""
    args = resource_schema(token).args
    assert args is not None
    report = Report(native=True)
    checker_of(args).check(inputs, None, report)
    return [problem for problem in report.problems if not problem.message.startswith("deprecated")]


@pytest.mark.parametrize("token", TOKENS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_fits_the_annotations_passes(token: str, data: st.DataObject) -> None:
    inputs = data.draw(built_object(resource_schema(token).args))  # type: ignore[arg-type]
    assert [p for p in problems_of(token, inputs) if p.severity == "error"] == [], json.dumps(inputs)


def objects_in(value: Any, annotation: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Every object of a known class in a value, with its path; envelopes count for nothing in it."""
    types = alternatives(annotation)
    if isinstance(value, dict) and values.SIGNATURE in value:
        return objects_in(value.get("value"), annotation, path)
    if len(types) != 1:
        return []
    if isinstance(value, list):
        item = (typing.get_args(types[0]) or (Any,))[0]
        return [one for i, part in enumerate(value) for one in objects_in(part, item, (*path, i))]
    if isinstance(value, dict) and isinstance(types[0], type) and _types.is_input_type(types[0]):
        known = object_properties(types[0])
        inner = [one for k, part in value.items() for one in objects_in(part, known[k].type, (*path, k))]
        return [(path, value), *inner]
    return []


@pytest.mark.parametrize("token", TOKENS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_key_that_the_sdk_does_not_have_is_found_at_any_depth(token: str, data: st.DataObject) -> None:
    args = resource_schema(token).args
    inputs = data.draw(built_object(args))  # type: ignore[arg-type]
    path, owner = data.draw(st.sampled_from(objects_in(inputs, args)))
    owner["nobodyHasThis"] = 1
    (problem,) = [p for p in problems_of(token, inputs) if p.severity == "error"]
    assert problem.path == path_of([*path, "nobodyHasThis"])
    assert "unknown property" in problem.message


def test_a_few_hundred_types_accept_the_least_that_they_require() -> None:
    """Whole modules of the SDKs, so that a form of annotation that nobody thought of shows up here."""
    packages = ("random", "tls", "command", "docker", "docker-build", "eks", "awsx", "kubernetes")
    for package in packages:
        resource_schema(f"pulumi:providers:{package}")
    resource_schema("aws:ec2/vpc:Vpc")
    wanted = (*(f"{package}:" for package in packages), "aws:ec2/", "aws:s3/", "aws:iam/")
    tokens = sorted(
        token
        for modules in list(rpc._RESOURCE_MODULES.values())
        for module in modules
        for token in getattr(module, "mod_info", {}).get("classes", ())
        if token.startswith(wanted) and ("kubernetes" not in token or token.endswith(("Set", "Policy", "Service")))
    )
    assert len(tokens) > 200
    wrong = {}
    for token in tokens:
        properties = resource_schema(token).inputs
        if properties is not None:
            least = {name: _least(known.type) for name, known in properties.items() if known.required}
            wrong[token] = [str(p) for p in problems_of(token, least)]
    assert {token: problems for token, problems in wrong.items() if problems} == {}


def _least(annotation: Any) -> Any:
    one = (alternatives(annotation) or [str])[0]
    if one in (str, bool, int, float):
        return {str: "x", bool: True, int: 1, float: 0.5}[one]
    if is_list(one):
        return [_least(argument) for argument in typing.get_args(one)]
    if isinstance(one, type) and issubclass(one, enum.Enum):
        return next(iter(one)).value
    if isinstance(one, type) and _types.is_input_type(one):
        return {name: _least(known.type) for name, known in object_properties(one).items() if known.required}
    if one in (Asset, Archive):
        return ARCHIVE
    return {} if len(typing.get_args(one)) == 2 else UNKNOWN
