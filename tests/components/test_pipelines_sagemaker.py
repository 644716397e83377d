"""SageMakerPipeline: whatever the definition says, its jobs run as the role, in the network, under the key."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import pytest
from moto import mock_aws

from components.inference.server_arguments import Refusal
from components.pipelines import SageMakerPipeline
from components.pipelines.sagemaker_definition import Own, filled, parsed, steps
from planner.cost import Book, estimate
from planner.engine import PreviewFailed
from planner.plan import Plan
from tests.samples import PIPELINE as DEFINITION
from tests.samples import samples
from tests.support import ROOT, plan_of

PIPELINE, SCHEDULE = "aws:sagemaker/pipeline:Pipeline", "aws:scheduler/schedule:Schedule"
OWN = Own(role="arn:role", bucket="runs", key="arn:key", subnets=["subnet-1"], security_group="sg-1")


def plan_for(simulate_up: bool = True, **changes: Any) -> Plan:
    def program() -> None:
        args = {**samples("aws")["SageMakerPipeline"], **changes}
        SageMakerPipeline("retrain", {key: value for key, value in args.items() if value is not None})  # type: ignore[arg-type]

    return plan_of(program, simulate_up=simulate_up)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_for()


def definition_of(plan: Plan) -> dict[str, Any]:
    return json.loads(plan.one(PIPELINE).inputs["pipelineDefinition"])


def statements(plan: Plan, name: str) -> list[Mapping[str, Any]]:
    (policy,) = [r for r in plan.of_type("aws:iam/rolePolicy:RolePolicy") if r.name == name]
    return json.loads(policy.inputs["policy"])["Statement"]


def test_every_job_runs_as_the_role_in_the_network_under_the_key(plan: Plan) -> None:
    role = plan.one("aicloud:index:SageMakerPipeline").outputs["roleArn"]
    group = plan.one("aws:ec2/securityGroup:SecurityGroup").id
    found = {step["Name"]: step["Arguments"] for step in steps(definition_of(plan))}
    train, register = found["train"], found["register"]
    assert train["RoleArn"] == register["RoleArn"] == role
    for network in (train["NetworkConfig"]["VpcConfig"], register["VpcConfig"]):
        assert network == {"Subnets": ["subnet-0", "subnet-1", "subnet-2"], "SecurityGroupIds": [group]}
    key = samples("aws")["SageMakerPipeline"]["encryption_key"]
    assert train["ProcessingResources"]["ClusterConfig"]["VolumeKmsKeyId"] == key
    assert register["ResourceConfig"]["VolumeKmsKeyId"] == register["OutputDataConfig"]["KmsKeyId"] == key
    assert "somebody-else" not in json.dumps(definition_of(plan))


def test_filling_in_twice_is_filling_in_once_and_leaves_the_rest_alone() -> None:
    definition = parsed(Refusal("a test"), DEFINITION)
    before = copy.deepcopy(definition)
    once = filled(definition, OWN)
    assert filled(json.loads(once), OWN) == once
    assert definition == before
    assert json.loads(once)["Parameters"] == before["Parameters"]


def test_the_pipelines_own_definition_is_taken_and_knows_its_bucket() -> None:
    """What the compiler wrote, as prod has it."""
    text = (ROOT / "stacks" / "definitions" / "retrain.json").read_text()
    made = filled(parsed(Refusal("a test"), text), OWN)
    assert "region-bucket" not in made
    assert "s3://runs/pipelines/retrain/" in made
    jobs = [step for step in steps(json.loads(made)) if step["Type"] == "Processing"]
    assert {step["Arguments"]["RoleArn"] for step in jobs} == {"arn:role"}
    assert {"begin", "train", "sign", "register"} <= {step["Name"] for step in jobs}


def test_moto_takes_the_definition(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        client = boto3.client("sagemaker", region_name="us-east-1")
        inputs = plan.one(PIPELINE).inputs
        client.create_pipeline(
            PipelineName=inputs["pipelineName"],
            PipelineDefinition=inputs["pipelineDefinition"],
            RoleArn=inputs["roleArn"],
            ClientRequestToken="a" * 32,
        )
        found = client.describe_pipeline(PipelineName="retrain")
    assert json.loads(found["PipelineDefinition"]) == definition_of(plan)


def test_botocore_knows_the_arguments_of_each_job(plan: Plan) -> None:
    """The fields within `Arguments` are those of the API's own calls, the job's name aside."""
    from botocore.validate import ParamValidator

    model = boto3.client("sagemaker", region_name="us-east-1").meta.service_model
    checked = 0
    for step in steps(definition_of(plan)):
        if step["Type"] in ("Processing", "Training"):
            shape = model.operation_model(f"Create{step['Type']}Job").input_shape
            job = {f"{step['Type']}JobName": "pipelines-1-step", **step["Arguments"]}
            report = ParamValidator().validate(job, shape)
            assert not report.has_errors(), report.generate_report()
            checked += 1
    assert checked == 2


def test_the_role_may_do_what_its_steps_do_and_no_more(plan: Plan) -> None:
    allowed = statements(plan, "retrain-needs")
    by_action = {action: one for one in allowed for action in _list(one["Action"])}
    assert set(by_action["s3:PutObject"]["Resource"]) == {
        "arn:aws:s3:::sim-models/pipelines/*",
        "arn:aws:s3:::sim-models/models/*",
    }
    assert "arn:aws:s3:::sim-models/datasets/*" in by_action["s3:GetObject"]["Resource"]
    assert all("/pipelines-*" in arn for arn in by_action["sagemaker:CreateTrainingJob"]["Resource"])
    assert by_action["iam:PassRole"]["Resource"] == plan.one(PIPELINE).inputs["roleArn"]
    assert by_action["ecr:BatchGetImage"]["Resource"] == [
        "arn:aws:ecr:us-east-1:123456789012:repository/ai-cloud/pipelines",
        "arn:aws:ecr:us-east-1:123456789012:repository/ai-cloud/training",
    ]
    everything = {action for one in allowed if one["Resource"] == "*" for action in _list(one["Action"])}
    assert {action.split(":")[0] for action in everything} == {"ec2", "ecr", "cloudwatch"}
    assert not any("*" in action for one in allowed for action in _list(one["Action"]))


def _list(value: Any) -> Iterator[str]:
    yield from value if isinstance(value, list) else [value]


def test_the_schedule_may_start_this_pipeline_alone(plan: Plan) -> None:
    start, decrypt = statements(plan, "retrain-schedule")
    assert start["Action"] == "sagemaker:StartPipelineExecution"
    assert start["Resource"] == plan.one(SCHEDULE).inputs["target"]["arn"]
    assert decrypt["Condition"]["StringLike"]["kms:ViaService"].startswith("scheduler.")


def test_without_a_schedule_nothing_starts_it() -> None:
    plan = plan_for(schedule=None, parameters=None)
    assert not plan.of_type(SCHEDULE)
    assert len(plan.of_type("aws:iam/role:Role")) == 1


@pytest.mark.parametrize("simulate_up", [True, False])
def test_it_costs_its_dearest_machine_for_the_hours_of_a_month(simulate_up: bool) -> None:
    """Also in a preview, where the definition has a role's name in it that nobody knows yet."""
    found = estimate(plan_for(simulate_up), Book.load(refreshed=None))
    (line,) = [line for line in found.lines if line.what == "ml.g6.xlarge"]
    assert line.per_month.expected == pytest.approx(10 * 1.1267)
    assert not found.unpriced


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cloud": "gcp"}, "cloud is 'gcp'; SageMaker is of aws alone"),
        ({"definition": "{"}, "definition is .*; expected JSON"),
        ({"definition": '{"Version": "2020-12-01", "Steps": []}'}, "definition is 'no Steps'"),
        (
            {"definition": DEFINITION.replace('"Processing"', '"Lambda"')},
            "definition is 'step train of type Lambda'; accepted are Processing, Training, Condition, Fail",
        ),
        (
            {"definition": DEFINITION.replace("123456789012.dkr.ecr.us-east-1.amazonaws.com", "ghcr.io")},
            "pulls from ECR",
        ),
        ({"write_prefixes": []}, r"write_prefixes is \[\]; give one at least"),
        ({"read_prefixes": ["a", "/b"]}, r"read_prefixes\[1\] is '/b'; accepted is a path"),
        ({"parameters": {"Corpse": "x"}}, "parameters is 'Corpse'; the definition has Corpus"),
        ({"schedule": "0 3 * * 0"}, "schedule is '0 3 . . 0'; accepted are 'rate"),
        ({"schedule": None}, "parameters is .*; they are the schedule's"),
        ({"parallel_steps": 0}, "parallel_steps is 0; accepted is 1 to 200"),
    ],
)
def test_wrong_arguments_are_told(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PreviewFailed, match=message):
        plan_for(**change)
