"""Reading and writing plans: our own, Pulumi's previews and Pulumi's exports."""

import json

import pytest

from planner.plan import SECRET, Plan, PlanError, Resource

BUCKET = {
    "urn": "urn:pulumi:dev::shop::aws:s3/bucket:Bucket::logs",
    "custom": True,
    "type": "aws:s3/bucket:Bucket",
    "inputs": {
        "bucket": "logs",
        "policy": {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "AAAB"},
    },
    "parent": "urn:pulumi:dev::shop::pulumi:pulumi:Stack::shop-dev",
    "protect": True,
    "propertyDependencies": {"bucket": None},
}
STACK = {
    "urn": "urn:pulumi:dev::shop::pulumi:pulumi:Stack::shop-dev",
    "custom": False,
    "type": "pulumi:pulumi:Stack",
    "outputs": {"bucket": "logs"},
}


def test_a_stack_export_is_read():
    gone = {**BUCKET, "urn": BUCKET["urn"] + "-old", "delete": True}
    plan = Plan.from_json(json.dumps({"version": 3, "deployment": {"resources": [STACK, BUCKET, gone]}}))
    assert (plan.project, plan.stack, len(plan)) == ("shop", "dev", 2)
    bucket = plan.one("aws:s3/bucket:Bucket")
    assert bucket.inputs == {"bucket": "logs", "policy": SECRET}
    assert bucket.protect
    assert plan.outputs == {"bucket": "logs"}
    assert [child.name for child in plan.under(STACK["urn"])] == ["logs"]


def test_a_preview_by_the_cli_is_read():
    steps = [
        {"op": "create", "urn": STACK["urn"], "newState": STACK},
        {"op": "create-replacement", "urn": BUCKET["urn"], "newState": BUCKET},
        {"op": "replace", "urn": BUCKET["urn"], "newState": BUCKET},
        {"op": "delete", "urn": "urn:pulumi:dev::shop::aws:s3/bucket:Bucket::old", "oldState": BUCKET},
    ]
    diagnostics = [{"urn": BUCKET["urn"], "message": "deprecated\n", "severity": "warning"}]
    plan = Plan.from_json(json.dumps({"steps": steps, "diagnostics": diagnostics}))
    assert sorted(resource.name for resource in plan) == ["logs", "shop-dev"]
    assert [d.message for d in plan.warnings] == ["deprecated"]


def test_an_empty_export_is_an_empty_plan():
    assert len(Plan.from_json('{"version": 3, "deployment": {"resources": null}}')) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ('{"version": 3, "deployment": {"resour', "is it cut off"),
        ("[]", "expected a JSON object, found list"),
        ('{"resources": []}', "found the keys \\['resources'\\]"),
        ('{"version": 99, "deployment": {"resources": []}}', "version 99 of a stack export; this reads"),
        ('{"version": 3, "deployment": {"resources": {}}}', "deployment.resources: is an object: {}; expected a list"),
        ('{"version": 3, "deployment": {"resources": [{"type": "x"}]}}', "resources\\[0\\]: without 'urn'"),
        ('{"version": 3, "deployment": {"resources": [{"urn": "vpc", "type": "x"}]}}', "not a URN: 'vpc'"),
        ('{"version": 3, "deployment": {"resources": [7]}}', "resources\\[0\\]: is the number 7"),
        ('{"steps": 3}', "steps: is the number 3: 3; expected a list"),
    ],
)
def test_a_bad_file_is_refused_with_the_reason(tmp_path, text, message):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(PlanError, match=message) as refused:
        Plan.read(path)
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path):
    with pytest.raises(PlanError, match="cannot be read"):
        Plan.read(tmp_path / "nothing.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00\xd8\x00")
    with pytest.raises(PlanError, match="cannot be read"):
        Plan.read(tmp_path / "binary.json")


def test_looking_for_one_says_what_there_is():
    plan = Plan.of("shop", "dev", [Resource.from_state(BUCKET)])
    with pytest.raises(LookupError, match=r"expected one aws:s3/bucket:Bucket other, found 0; the plan has \['logs'\]"):
        plan.one("aws:s3/bucket:Bucket", "other")
