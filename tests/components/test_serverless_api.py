"""What ServerlessInference asks of AWS, sent to moto through boto3: names, shapes and ranges are the API's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import botocore.session
import pulumi
import pytest
from moto import mock_aws

from components.inference import ServerlessInference, serverless_offers
from components.machine_types import MACHINES
from planner.plan import Plan
from tests.samples import samples
from tests.support import plan_of

MODEL, CONFIGURATION = "aws:sagemaker/model:Model", "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
RENAMED = {
    # Where the provider's name is not the API's
    "kmsKeyArn": "KmsKeyId", "s3DataSources": "S3DataSource", "memorySizeInMb": "MemorySizeInMB",
}  # fmt: skip
_ON_CPUS = {"mode": "synchronous"}


@pytest.fixture(scope="module", params=["asynchronous", "synchronous"])
def plan(request: pytest.FixtureRequest) -> Plan:
    # moto's list of instance types ends before the L4's.
    args = {**samples("aws")["ServerlessInference"], "accelerator": "t4"}
    if request.param == "synchronous":
        left = ("accelerator", "network_id", "private_subnet_ids")
        args = {**{key: value for key, value in args.items() if key not in left}, **_ON_CPUS, "min_instances": 1}

    def program() -> None:
        pulumi.export("url", ServerlessInference("chat", args).url)  # type: ignore[arg-type]

    return plan_of(program, simulate_up=True)


@pytest.fixture
def region(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield "us-east-1"


def request_of(inputs: Mapping[str, Any], **name: str) -> dict[str, Any]:
    """A resource's inputs as the API takes them."""
    left = {"region", "tags", "name"}
    tags = [{"Key": key, "Value": value} for key, value in inputs.get("tags", {}).items()]
    return {**_pascal({key: value for key, value in inputs.items() if key not in left}), **name, "Tags": tags}


def _pascal(value: Any) -> Any:
    if isinstance(value, Mapping):
        found = {RENAMED.get(key, key[0].upper() + key[1:]): _pascal(item) for key, item in value.items()}
        # The API has one source of S3, the provider a list.
        return {key: item[0] if key == "S3DataSource" else item for key, item in found.items()} | (
            {"Environment": dict(value["environment"])} if "environment" in value else {}
        )
    if isinstance(value, list):
        return [_pascal(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def test_the_api_takes_model_configuration_and_endpoint(plan: Plan, region: str) -> None:
    client = boto3.client("sagemaker", region_name=region)
    model, configuration = plan.one(MODEL), plan.one(CONFIGURATION)
    endpoint = plan.one("aws:sagemaker/endpoint:Endpoint")
    client.create_model(**request_of(model.inputs, ModelName=model.outputs["name"]))
    client.create_endpoint_config(**request_of(configuration.inputs, EndpointConfigName=configuration.outputs["name"]))
    client.create_endpoint(
        EndpointName=endpoint.inputs["name"], EndpointConfigName=endpoint.inputs["endpointConfigName"]
    )
    found = client.describe_endpoint(EndpointName="chat")
    assert found["EndpointConfigName"] == configuration.outputs["name"]
    (variant,) = client.describe_endpoint_config(EndpointConfigName=found["EndpointConfigName"])["ProductionVariants"]
    assert variant["ModelName"] == model.outputs["name"]
    container = client.describe_model(ModelName=variant["ModelName"])["PrimaryContainer"]
    assert container["Environment"]["AICLOUD_SERVE"].startswith("sagemaker --model resnet50:3")


def test_autoscaling_takes_what_scales(plan: Plan, region: str) -> None:
    client = boto3.client("application-autoscaling", region_name=region)
    for target in plan.of_type("aws:appautoscaling/target:Target"):
        client.register_scalable_target(**{k: v for k, v in request_of(target.inputs).items() if k != "Tags"})
    for policy in plan.of_type("aws:appautoscaling/policy:Policy"):
        given = request_of(policy.inputs, PolicyName=policy.name)
        given = {key: value for key, value in given.items() if key != "Tags"}
        for step in given.get("StepScalingPolicyConfiguration", {}).get("StepAdjustments", ()):
            step["MetricIntervalLowerBound"] = float(step["MetricIntervalLowerBound"])
        client.put_scaling_policy(**given)
    found = client.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert {one["PolicyName"] for one in found} == {p.name for p in plan.of_type("aws:appautoscaling/policy:Policy")}


def test_every_instance_that_an_endpoint_may_get_is_one_of_the_api_s() -> None:
    shapes = botocore.session.get_session().get_service_model("sagemaker")
    known = shapes.shape_for("ProductionVariantInstanceType").enum
    amis = shapes.shape_for("ProductionVariantInferenceAmiVersion").enum
    assert serverless_offers.SAGEMAKER_AMI in amis
    for machine in MACHINES:
        if machine.cloud == "aws" and machine.name.split(".")[0] in serverless_offers.SAGEMAKER_FAMILIES:
            assert f"ml.{machine.name}" in known


def test_names_are_what_sagemaker_takes(plan: Plan) -> None:
    for resource in plan.of_type(MODEL, CONFIGURATION, "aws:sagemaker/endpoint:Endpoint"):
        assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", str(resource.outputs["name"]))
