"""ServerlessInference: closed, verified, no bigger than its cloud takes, and nothing there while nothing is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pulumi
import pytest

from components.inference import ServerlessInference, serverless_offers
from components.inference.serverless_aws import log_group
from components.inference.serverless_aws_identity import prefixes
from components.security.gcp import account_id
from planner.plan import Plan
from tests.samples import CLOUDS, samples
from tests.support import plan_of

SERVICE, MEMBER = "gcp:cloudrunv2/service:Service", "gcp:cloudrunv2/serviceIamMember:ServiceIamMember"
MODEL, CONFIGURATION = "aws:sagemaker/model:Model", "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
ENDPOINT, TARGET, SCALING = (
    "aws:sagemaker/endpoint:Endpoint", "aws:appautoscaling/target:Target", "aws:appautoscaling/policy:Policy"
)  # fmt: skip
OUTPUTS = ("name", "url", "principal", "invoker_grant", "requests_url", "answers_url", "topic")
ON_CPUS = {"mode": "synchronous", "accelerator": None, "network_id": None, "private_subnet_ids": None}


def plan_for(of: str, *, simulate_up: bool = True, **changes: Any) -> Plan:
    """The sample of a cloud with changes; None takes an argument away."""
    args = {key: value for key, value in {**samples(of)["ServerlessInference"], **changes}.items() if value is not None}

    def program() -> None:
        made = ServerlessInference("chat", args)  # type: ignore[arg-type]
        for output in OUTPUTS:
            pulumi.export(output, getattr(made, output))

    return plan_of(program, simulate_up=simulate_up)


@pytest.fixture(scope="module")
def aws() -> Plan:
    return plan_for("aws")


@pytest.fixture(scope="module")
def gcp() -> Plan:
    return plan_for("gcp")


@pytest.fixture(scope="module")
def cpus() -> Plan:
    return plan_for("aws", **ON_CPUS)


def statements(plan: Plan, type: str, name: str) -> list[dict[str, Any]]:
    return json.loads(plan.one(type, name).inputs["policy"])["Statement"]


def actions(plan: Plan, type: str, name: str) -> set[str]:
    found = [one["Action"] for one in statements(plan, type, name)]
    return {action for one in found for action in (one if isinstance(one, list) else [one])}


# ---- both


def test_the_outputs_are_the_same_on_both_clouds(aws: Plan, gcp: Plan, cpus: Plan) -> None:
    assert dict(aws.outputs).keys() == dict(gcp.outputs).keys() == set(OUTPUTS)
    runtime = "https://runtime.sagemaker.us-east-1.amazonaws.com/endpoints/chat"
    assert aws.outputs["url"] == f"{runtime}/async-invocations"
    assert cpus.outputs["url"] == f"{runtime}/invocations"
    assert gcp.outputs["url"].endswith(".run.app/v2/models/resnet50/versions/3/infer")
    assert gcp.outputs["invoker_grant"] == "roles/run.invoker"
    assert ":policy/" in aws.outputs["invoker_grant"]
    within = prefixes("chat")
    assert aws.outputs["requests_url"] == f"s3://sim-models/{within.requests}"
    assert aws.outputs["answers_url"] == f"s3://sim-models/{within.answers}"
    assert (gcp.outputs["requests_url"], cpus.outputs["topic"]) == ("", "")


@pytest.mark.parametrize("cloud", CLOUDS)
def test_everything_is_below_the_component_and_tagged(cloud: str, request: pytest.FixtureRequest) -> None:
    plan: Plan = request.getfixturevalue(cloud)
    component = plan.one("aicloud:index:ServerlessInference")
    own = [r for r in plan if r.custom and not r.is_provider]
    assert {r.parent for r in own} == {component.urn}
    assert all(r.name.startswith("chat") for r in own)
    for resource in own:
        tags = resource.inputs.get("tags") or resource.inputs.get("labels")
        if tags is not None:
            assert tags["environment"] == "test", resource.name
    if cloud == "aws":
        elsewhere = ("aws:iam/",)
        assert all(r.inputs.get("region") == "us-east-1" for r in own if not r.type.startswith(elsewhere))


def test_dependencies_are_handed_on() -> None:
    import pulumi_aws as aws_sdk

    args = samples("aws")["ServerlessInference"]

    def program() -> None:
        first = aws_sdk.sqs.Queue("first", region="us-east-1")
        ServerlessInference("chat", args, pulumi.ResourceOptions(depends_on=[first]))

    plan = plan_of(program)
    first = plan.one("aws:sqs/queue:Queue").urn
    own = [r for r in plan if r.custom and not r.is_provider and r.urn != first]
    assert all(first in r.dependencies for r in own), [r.name for r in own if first not in r.dependencies]


# ---- Google Cloud


def template(plan: Plan) -> dict[str, Any]:
    return plan.one(SERVICE).inputs["template"]


def container(plan: Plan) -> dict[str, Any]:
    (only,) = template(plan)["containers"]
    return only


def test_cloud_run_is_closed_by_default(gcp: Plan) -> None:
    service = gcp.one(SERVICE).inputs
    assert service["ingress"] == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    assert service["binaryAuthorization"] == {"useDefault": True}
    assert "invokerIamDisabled" not in service
    assert [member.inputs["member"] for member in gcp.of_type(MEMBER)] == ["group:ml@example.com"]
    assert service["template"]["vpcAccess"]["egress"] == "ALL_TRAFFIC"
    assert plan_for("gcp", unauthenticated=True).one(MEMBER, "chat-everybody").inputs["member"] == "allUsers"


def test_cloud_run_may_read_one_version_and_nothing_else(gcp: Plan) -> None:
    grant = gcp.one("gcp:storage/bucketIAMMember:BucketIAMMember").inputs
    assert grant["role"] == "roles/storage.objectViewer"
    assert "objects/models/resnet50/3/" in grant["condition"]["expression"]
    email = gcp.outputs["principal"]
    assert grant["member"] == f"serviceAccount:{email}"
    assert template(gcp)["serviceAccount"] == email


def test_cloud_run_has_a_gpu_and_what_goes_with_it(gcp: Plan) -> None:
    assert template(gcp)["nodeSelector"] == {"accelerator": "nvidia-l4"}
    assert template(gcp)["gpuZonalRedundancyDisabled"] is True
    resources = container(gcp)["resources"]
    assert resources["limits"] == {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}
    assert resources["cpuIdle"] is False
    assert template(gcp)["scaling"] == {"minInstanceCount": 0, "maxInstanceCount": 3}
    without = plan_for("gcp", accelerator=None)
    assert "nodeSelector" not in template(without)
    # Twice the model, for files are in memory there, and the server.
    assert container(without)["resources"]["limits"] == {"cpu": "4", "memory": "9Gi"}
    assert container(without)["resources"]["cpuIdle"] is True


def test_cloud_run_waits_for_the_model_as_long_as_it_takes(gcp: Plan) -> None:
    probe = container(gcp)["startupProbe"]
    assert probe["httpGet"] == {"path": "/v2/models/resnet50/versions/3/ready", "port": 8080}
    # 2.5 GiB at 0.25 GiB/s, then at 0.5, both twice, and a minute.
    assert probe["periodSeconds"] * probe["failureThreshold"] == 20 + 10 + 60
    assert container(gcp)["ports"]["containerPort"] == 8080


def test_cloud_run_uses_the_bucket_s_key(gcp: Plan) -> None:
    key = "projects/sim-project/locations/europe-west4/keyRings/models/cryptoKeys/models"
    assert template(gcp)["encryptionKey"] == key
    grant = gcp.one("gcp:kms/cryptoKeyIAMMember:CryptoKeyIAMMember")
    assert "serverless-robot-prod" in grant.inputs["member"]
    assert grant.urn in gcp.one(SERVICE).dependencies
    without = plan_for("gcp", encryption_key=None)
    assert "encryptionKey" not in template(without)
    assert not without.of_type("gcp:projects/serviceIdentity:ServiceIdentity")


def test_cloud_run_is_protected_when_asked() -> None:
    plan = plan_for("gcp", protect=True)
    assert plan.one(SERVICE).protect
    assert plan.one(SERVICE).inputs["deletionProtection"] is True
    assert plan_for("gcp").one(SERVICE).inputs["deletionProtection"] is False


@pytest.mark.parametrize("name", ["chat", "us-central1-embeddings", "asia-southeast1-" + "m" * 30])
def test_account_ids_are_what_google_takes(name: str) -> None:
    assert 6 <= len(account_id(name)) <= 30
    assert account_id(name) != account_id(name + "2")


# ---- SageMaker with instances


def test_the_container_is_isolated_and_in_private_subnets(aws: Plan) -> None:
    model = aws.one(MODEL).inputs
    assert model["enableNetworkIsolation"] is True
    group = aws.one("aws:ec2/securityGroup:SecurityGroup")
    assert model["vpcConfig"] == {"subnets": ["subnet-0", "subnet-1", "subnet-2"], "securityGroupIds": [group.id]}
    assert not aws.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
    (out,) = aws.of_type("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule")
    assert (out.inputs["fromPort"], out.inputs["toPort"]) == (443, 443)


def test_sagemaker_copies_one_version_which_the_container_verifies(aws: Plan) -> None:
    container = aws.one(MODEL).inputs["primaryContainer"]
    (source,) = container["modelDataSource"]["s3DataSources"]
    assert source == {
        "s3Uri": "s3://sim-models/models/resnet50/3/",
        "s3DataType": "S3Prefix",
        "compressionType": "None",
    }
    words = container["environment"]["AICLOUD_SERVE"].split()
    assert words[:1] == ["sagemaker"]
    assert words[words.index("--version-directory") + 1] == "/opt/ml/model"
    assert words[words.index("--threads") + 1] == "8"


def test_requests_wait_and_answers_are_objects_under_the_bucket_s_key(aws: Plan) -> None:
    waits = aws.one(CONFIGURATION).inputs["asyncInferenceConfig"]
    assert waits["clientConfig"] == {"maxConcurrentInvocationsPerInstance": 8}
    output = waits["outputConfig"]
    assert output["kmsKeyId"] == "arn:aws:kms:us-east-1:123456789012:key/models"
    assert output["s3OutputPath"] == "s3://sim-models/serverless/chat/answers/"
    assert output["s3FailurePath"] == "s3://sim-models/serverless/chat/failures/"
    topic = aws.one("aws:sns/topic:Topic")
    assert output["notificationConfig"] == {"successTopic": topic.outputs["arn"], "errorTopic": topic.outputs["arn"]}
    assert topic.inputs["kmsMasterKeyId"]


def test_an_instance_has_the_accelerator_a_new_driver_and_time_to_start(aws: Plan) -> None:
    (variant,) = aws.one(CONFIGURATION).inputs["productionVariants"]
    assert variant["instanceType"] == "ml.g6.xlarge"
    assert variant["inferenceAmiVersion"] == "al2023-ami-sagemaker-inference-gpu-4-1"
    assert variant["modelDataDownloadTimeoutInSeconds"] == 300
    large = plan_for("aws", size_gib=80, accelerator="l4", gpus=4, max_instances=1)
    (variant,) = large.one(CONFIGURATION).inputs["productionVariants"]
    assert variant["instanceType"] == "ml.g6.12xlarge"
    assert variant["modelDataDownloadTimeoutInSeconds"] == 80 / 0.25 * 2
    assert variant["containerStartupHealthCheckTimeoutInSeconds"] == 2 * 80 / 0.5 * 2 + 60


def test_instances_come_by_their_backlog_and_the_first_by_a_step(aws: Plan) -> None:
    target = aws.one(TARGET).inputs
    assert (target["minCapacity"], target["maxCapacity"]) == (0, 3)
    assert target["resourceId"] == "endpoint/chat/variant/serving"
    backlog = aws.one(SCALING, "chat-backlog").inputs["targetTrackingScalingPolicyConfiguration"]
    assert backlog["customizedMetricSpecification"]["metricName"] == "ApproximateBacklogSizePerInstance"
    assert backlog["targetValue"] == 16
    first = aws.one(SCALING, "chat-first")
    alarm = aws.one("aws:cloudwatch/metricAlarm:MetricAlarm").inputs
    assert alarm["metricName"] == "HasBacklogWithoutCapacity"
    assert alarm["alarmActions"] == [first.outputs["arn"]]
    # Where one instance always is, there is a backlog of each.
    warm = plan_for("aws", min_instances=1)
    assert [one.name for one in warm.of_type(SCALING)] == ["chat-backlog"]
    assert not plan_for("aws", min_instances=3).of_type(TARGET)


def test_the_role_may_do_what_the_endpoint_needs_and_no_more(aws: Plan) -> None:
    found = statements(aws, "aws:iam/rolePolicy:RolePolicy", "chat-needs")
    everywhere = {
        action
        for one in found
        if one["Resource"] == "*"
        for action in (one["Action"] if isinstance(one["Action"], list) else [one["Action"]])
    }
    assert everywhere == {
        "ecr:GetAuthorizationToken",
        "cloudwatch:PutMetricData",
        "ec2:CreateNetworkInterface",
        "ec2:CreateNetworkInterfacePermission",
        "ec2:DeleteNetworkInterface",
        "ec2:DeleteNetworkInterfacePermission",
        "ec2:DescribeDhcpOptions",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
    }
    (read,) = [one for one in found if one["Action"] == "s3:GetObject"]
    assert read["Resource"] == [
        "arn:aws:s3:::sim-models/models/resnet50/3/*",
        "arn:aws:s3:::sim-models/serverless/chat/requests/*",
    ]
    (pull,) = [one for one in found if "ecr:BatchGetImage" in one["Action"]]
    assert pull["Resource"] == "arn:aws:ecr:us-east-1:123456789012:repository/ai-cloud/serving"


def test_invokers_may_send_requests_and_read_answers(aws: Plan, cpus: Plan) -> None:
    policy = "aws:iam/policy:Policy"
    assert actions(aws, policy, "chat-invoke") == {
        "sagemaker:InvokeEndpointAsync", "s3:PutObject", "s3:GetObject", "kms:Decrypt", "kms:GenerateDataKey",
    }  # fmt: skip
    assert actions(cpus, policy, "chat-invoke") == {"sagemaker:InvokeEndpoint"}
    (attachment,) = aws.of_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    assert attachment.inputs["role"] == "app"


def test_logs_are_there_first_under_a_key_and_end(aws: Plan) -> None:
    logs = aws.one("aws:cloudwatch/logGroup:LogGroup")
    assert logs.inputs["name"] == log_group("chat") == "/aws/sagemaker/Endpoints/chat"
    assert logs.inputs["retentionInDays"] == 30
    assert logs.inputs["kmsKeyId"] == aws.one("aws:kms/key:Key").outputs["arn"]
    assert logs.urn in aws.one(ENDPOINT).dependencies


# ---- SageMaker without instances


def test_a_serverless_endpoint_fetches_its_model_itself(cpus: Plan) -> None:
    model = cpus.one(MODEL).inputs
    # SageMaker refuses all three for these.
    assert not {"enableNetworkIsolation", "vpcConfig"} & {key for key, value in model.items() if value}
    assert "modelDataSource" not in model["primaryContainer"]
    environment = model["primaryContainer"]["environment"]
    assert environment["AICLOUD_REPOSITORY"] == "s3://sim-models/models"
    assert "--version-directory" not in environment["AICLOUD_SERVE"]
    assert "--threads 1 " in environment["AICLOUD_SERVE"]
    (variant,) = cpus.one(CONFIGURATION).inputs["productionVariants"]
    assert variant["serverlessConfig"] == {"maxConcurrency": 3, "memorySizeInMb": 4096}
    assert not cpus.of_type(TARGET)
    ready = plan_for("aws", **ON_CPUS, min_instances=2)
    (variant,) = ready.one(CONFIGURATION).inputs["productionVariants"]
    assert variant["serverlessConfig"]["provisionedConcurrency"] == 2


# ---- what is refused


@pytest.mark.parametrize(
    ("cloud", "changes", "says"),
    [
        ("aws", {"cloud": "azure"}, "cloud is 'azure'; accepted are 'aws' and 'gcp'"),
        ("gcp", {"mode": "asynchronous"}, "Cloud Run answers on the request's own connection"),
        ("gcp", {"mode": "eventual"}, "accepted are 'synchronous', 'asynchronous'"),
        ("aws", {"mode": "synchronous"}, "SageMaker's serverless endpoints have no GPU"),
        ("aws", {"accelerator": None}, "an asynchronous endpoint has one"),
        ("aws", {"accelerator": "l5"}, "no accelerator 'l5', did you mean 'l4'?"),
        ("aws", {"gpus": 3}, "SageMaker has no instance with 3 x l4 in us-east-1; there are instances with 1, 4, 8"),
        ("gcp", {"gpus": 2}, "accepted is 1 on Cloud Run"),
        ("gcp", {"accelerator": "h100-80gb"}, "Cloud Run has no h100-80gb; it has l4"),
        ("gcp", {"region": "europe-north1"}, "Cloud Run has no l4 in europe-north1; it has it in asia-south1"),
        ("aws", {**ON_CPUS, "region": "eu-south-2"}, "SageMaker has serverless endpoints in us-east-1"),
        ("aws", {"image": "registry.example/serving:1"}, "SageMaker pulls from ECR in its own region"),
        ("aws", {"image": "1" * 12 + ".dkr.ecr.eu-west-1.amazonaws.com/s:1"}, ".dkr.ecr.us-east-1.amazonaws.com"),
        ("gcp", {"image": "registry.example/serving:1"}, "Cloud Run pulls from Artifact Registry"),
        ("gcp", {"image": "us-docker.pkg.dev/p/r/serving"}, "give it a tag"),
        ("gcp", {"version": 0}, "version is 0; accepted is a whole number from 1"),
        ("gcp", {"size_gib": 0}, "size_gib is 0; accepted is a number above 0"),
        ("gcp", {"size_gib": 30}, "size_gib is 30; accepted is at most 24, what its GPUs have"),
        ("gcp", {"size_gib": 14.5}, "an instance needs 35 GiB, of at most 32"),
        ("gcp", {"size_gib": 10, "load_bandwidth_gib_s": 0.1}, "takes 300 s until it is ready, of at most 240"),
        ("aws", {**ON_CPUS, "size_gib": 5}, "of at most 6"),
        ("aws", {"size_gib": 24, "load_bandwidth_gib_s": 0.01}, "it takes 4800 s to move"),
        ("gcp", {"max_instances": 0}, "max_instances is 0"),
        ("gcp", {"min_instances": 4}, "accepted is 0 to max_instances, 3"),
        ("gcp", {"memory_gib": 8}, "accepted is a whole number of GiB from 16 to 32"),
        ("gcp", {"memory_gib": 32, "cpu": 4}, "with 32 GiB at least 8"),
        ("aws", {"memory_gib": 8}, "the instance type has what it has"),
        ("aws", {"ingress": "all"}, "accepted on gcp only"),
        ("aws", {"unauthenticated": True}, "SageMaker takes signed requests only"),
        ("gcp", {"ingress": "public"}, "accepted are 'internal', 'internal-and-load-balancer', 'all'"),
        ("gcp", {"request_timeout_s": 7200}, "accepted is 1 to 3600"),
        ("aws", {"network_id": None, "private_subnet_ids": None}, "an endpoint with instances is in a network"),
        ("gcp", {"network_id": None}, "are given together, or neither"),
        ("aws", {"encryption_key": None}, "answers are written under it"),
        ("gcp", {"invokers": ["allUsers"]}, "give unauthenticated, if that is meant"),
        ("gcp", {"invokers": ["ml@example.com"]}, "is no member such as"),
        ("aws", {"invokers": ["arn:aws:iam::123456789012:user/ada"]}, "is no name or ARN of an IAM role"),
        ("gcp", {"repository_url": "gs://sim-models/others"}, "the server may read nothing else"),
        ("gcp", {"maximum": 1}, "maximum: unknown argument"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(cloud: str, changes: Mapping[str, Any], says: str) -> None:
    with pytest.raises(Exception, match="ServerlessInference 'chat'") as refused:
        plan_for(cloud, **changes)
    assert says in str(refused.value)


def test_every_gpu_that_sagemaker_has_is_a_machine_of_the_catalog() -> None:
    instance, machine = serverless_offers.sagemaker_instance("h100-80gb", "us-east-1", 8)
    assert instance == "ml.p5.48xlarge"
    assert machine.count == 8
