"""Recording: the gRPC log of a real preview, in the format of pulumi's rpcdebug, becomes a file without secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner import recording
from planner.engine import invokes
from planner.engine.invokes import Answers, Recorded
from planner.plan import UNKNOWN

SIGNATURE, SECRET, OUTPUT = (
    "4dabf18193072939515e22adb298388d",
    "1b47061264138c4ac30d75fd1eb44270",
    "d0e6a833031e9bbcd3f4e8bde6ca49a4",
)
CLUSTER = "aws:msk/getCluster:getCluster"
HIDDEN = "hunter2-do-not-write-me"


def call(
    method: str, request: dict[str, Any], response: Any = None, errors: list[str] | None = None
) -> list[dict[str, Any]]:
    """The two entries that pulumi writes for a call, in the order of its struct's fields."""
    about = {"metadata": {"mode": "server"}, "timestamp": "2026-11-01T10:00:00Z"}
    start = {"method": f"/pulumirpc.{method}", "request": request, "progress": "request_started", **about}
    end = {**start, "response": response, "progress": "response_completed", "duration": 1200}
    return [start, {**end, "errors": errors} if errors else end]


def invoke(
    token: str, args: dict[str, Any], result: Any, *, provider: str = "", by: str = "ResourceMonitor", **more: Any
) -> list[dict[str, Any]]:
    request = {"tok": token, "args": args, **({"provider": provider} if provider else {})}
    return call(f"{by}/Invoke", request, {"return": result} if result is not None else None, **more)


def write(path: Path, *calls: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for one in calls for entry in one), encoding="utf-8")
    return path


def default_provider(region: str) -> list[dict[str, Any]]:
    urn = "urn:pulumi:dev::p::pulumi:providers:aws::default_7_51_1"
    return call(
        "ResourceProvider/CheckConfig", {"urn": urn, "news": {"region": region}}, {"inputs": {"region": region}}
    )


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "invokes.dev.json"


def test_a_log_becomes_answers(tmp_path: Path, into: Path) -> None:
    west = "urn:pulumi:dev::p::pulumi:providers:aws::west::0b1c2d3e"
    log = write(
        tmp_path / "grpc.json",
        default_provider("eu-west-1"),
        call(
            "ResourceMonitor/RegisterResource",
            {"type": "pulumi:providers:aws", "name": "west", "object": {"region": "us-west-2"}},
            {"urn": west.rsplit("::", 1)[0], "id": "0b1c2d3e"},
        ),
        invoke(CLUSTER, {"clusterName": "c", "tags": None}, {"arn": "in-europe"}),
        invoke(CLUSTER, {"clusterName": "c"}, {"arn": "in-europe"}, by="ResourceProvider"),
        invoke(CLUSTER, {"clusterName": "c"}, {"arn": "in-the-west"}, provider=west),
        invoke(CLUSTER, {"clusterName": "c", "region": "ap-south-1"}, {"arn": "in-asia"}),
        invoke("aws:mq/getBroker:getBroker", {"brokerId": "b"}, {"arn": "of-a-component"}, by="ResourceProvider"),
        call("ResourceMonitor/SupportsFeature", {"id": "secrets"}, {"hasSupport": True}),
    )
    summary = recording.record_from_log(log, into)
    assert (summary.added, summary.changed, summary.unchanged, summary.warnings) == (4, 0, 0, ())
    assert {(one.token, one.region): one.result for one in invokes.read_recorded(into)} == {
        (CLUSTER, "eu-west-1"): {"arn": "in-europe"},
        (CLUSTER, "us-west-2"): {"arn": "in-the-west"},
        (CLUSTER, None): {"arn": "in-asia"},
        ("aws:mq/getBroker:getBroker", "eu-west-1"): {"arn": "of-a-component"},
    }
    answers = Answers(invokes.read_recorded(into), strict=True)
    for region, args, arn in (
        ("eu-west-1", {"clusterName": "c"}, "in-europe"),
        ("us-west-2", {"clusterName": "c"}, "in-the-west"),
        ("ap-south-1", {"clusterName": "c", "region": "ap-south-1"}, "in-asia"),
    ):
        assert answers.answer(CLUSTER, args, region).value == {"arn": arn}


def test_no_secret_is_written(tmp_path: Path, into: Path) -> None:
    marked = {SIGNATURE: SECRET, "value": HIDDEN}
    in_output = {SIGNATURE: OUTPUT, "value": HIDDEN, "secret": True, "dependencies": []}
    log = write(
        tmp_path / "grpc.json",
        invoke("aws:rds/getCluster:getCluster", {"filter": in_output}, {"endpoint": "e", "tags": {"t": marked}}),
        invoke("aws:redshift/getClusterCredentials:getClusterCredentials", {}, {"dbPassword": HIDDEN, "dbUser": "u"}),
        invoke("aws:ssm/getParameter:getParameter", {"name": "/p"}, {"type": "SecureString", "value": HIDDEN}),
        invoke("aws:ssm/getParameter:getParameter", {"name": "/q"}, {"type": "String", "value": "shown"}),
        invoke(
            "aws:secretsmanager/getSecretVersion:getSecretVersion",
            {"secretId": "s"},
            {"secretString": HIDDEN, "secretId": "s"},
        ),
        invoke("gcp:kms/getKMSSecret:getKMSSecret", {"ciphertext": "c"}, {"plaintext": HIDDEN}),
        invoke("aws:rds/getProxy:getProxy", {"auths": [{"clientSecret": HIDDEN}]}, {"arn": "a"}),
    )
    assert recording.record_from_log(log, into).added == 7
    text = into.read_text()
    assert HIDDEN not in text
    assert text.count('"[secret]"') == 7
    by_args = {json.dumps(one.args): one.result for one in invokes.read_recorded(into)}
    assert by_args['{"name": "/q"}']["value"] == "shown"
    assert by_args['{"secretId": "s"}'] == {"secretString": "[secret]", "secretId": "s"}
    # An answer whose argument was secret is still found.
    answer = Answers(invokes.read_recorded(into)).answer("aws:rds/getCluster:getCluster", {"filter": HIDDEN}, None)
    assert (answer.origin, answer.secrets) == ("recorded", ("tags",))


def test_what_cannot_be_recorded_is_counted(tmp_path: Path, into: Path) -> None:
    log = write(
        tmp_path / "grpc.json",
        invoke("aws:index/getCallerIdentity:getCallerIdentity", {}, {"accountId": "1"}),
        invoke(CLUSTER, {"clusterName": UNKNOWN}, {"arn": "x"}),
        invoke(CLUSTER, {"clusterName": "gone"}, None, errors=["rpc error: not found"]),
        call("ResourceMonitor/Invoke", {"tok": CLUSTER, "args": {}}, {"failures": [{"property": "clusterName"}]}),
        invoke("pulumi:pulumi:getResource", {"urn": "u"}, {"urn": "u"}),
    )
    summary = recording.record_from_log(log, into)
    assert (summary.added, summary.simulated, summary.unknown, summary.failed) == (0, 1, 1, 2)
    assert not into.exists()
    assert "left out: 2 (answered with an error)" in str(summary)


def test_outputs_of_other_stacks_are_recorded(tmp_path: Path, into: Path) -> None:
    outputs = {"vpc": "vpc-1", "key": {SIGNATURE: SECRET, "value": HIDDEN}}
    request = {"type": "pulumi:pulumi:StackReference", "id": "org/net/dev", "properties": {"name": "org/net/dev"}}
    log = write(
        tmp_path / "grpc.json",
        call("ResourceMonitor/ReadResource", request, {"properties": {"name": "org/net/dev", "outputs": outputs}}),
    )
    assert recording.record_from_log(log, into).added == 1
    (one,) = invokes.read_recorded(into)
    assert (one.token, one.args) == ("pulumi:pulumi:StackReference", {"name": "org/net/dev"})
    assert one.result == {"vpc": "vpc-1", "key": "[secret]"}


def test_recording_merges(tmp_path: Path, into: Path) -> None:
    invokes.write_recorded(
        into, [Recorded(CLUSTER, {"clusterName": "mine"}, {"arn": "by-hand"}), Recorded(CLUSTER, {}, {"arn": "old"})]
    )
    log = write(tmp_path / "grpc.json", invoke(CLUSTER, {}, {"arn": "new"}))
    summary = recording.record_from_log(log, into)
    assert (summary.added, summary.changed) == (0, 1)
    assert sorted(one.result["arn"] for one in invokes.read_recorded(into)) == ["by-hand", "new"]
    before = into.read_bytes()
    assert recording.record_from_log(log, into).unchanged == 1
    assert into.read_bytes() == before


def test_another_kind_of_log_is_refused(tmp_path: Path, into: Path) -> None:
    log = tmp_path / "pulumi.log"
    log.write_text("I1122 10:00:00.000000 1 plugins.go:1] Provider[aws].Invoke(...) executing\nmore\n")
    with pytest.raises(ValueError, match=r"line 1 is not an entry of a gRPC log.*PULUMI_DEBUG_GRPC=grpc\.json"):
        recording.record_from_log(log, into)
    with pytest.raises(ValueError, match=r"missing\.json: cannot be read"):
        recording.record_from_log(tmp_path / "missing.json", into)


def test_a_log_that_was_cut_off_is_read_up_to_there(tmp_path: Path, into: Path) -> None:
    log = write(tmp_path / "grpc.json", invoke(CLUSTER, {}, {"arn": "x"}))
    log.write_text(log.read_text() + '{"method": "/pulumirpc.Resou')
    summary = recording.record_from_log(log, into)
    assert summary.added == 1
    assert "line 3, the last, is cut off" in summary.warnings[0]
    assert "no answered invoke" in recording.record_from_log(write(tmp_path / "empty.json"), into).warnings[0]


def test_by_hand_writes_a_skeleton_that_is_then_used(into: Path) -> None:
    token = "aws:rds/getCluster:getCluster"
    assert recording.record_by_hand(token, {"clusterIdentifier": "main"}, into, "eu-west-1") == into
    (one,) = invokes.read_recorded(into)
    assert one.args == {"clusterIdentifier": "main"}
    assert one.result["clusterIdentifier"] == "main"
    assert one.result["arn"].startswith("arn:aws:rds:eu-west-1:")
    assert isinstance(one.result["availabilityZones"], list)
    edited = json.loads(into.read_text())
    edited["invokes"][0]["result"]["endpoint"] = "the-real-one"
    into.write_text(json.dumps(edited))
    answer = Answers(invokes.read_recorded(into), strict=True).answer(token, {"clusterIdentifier": "main"}, "eu-west-1")
    assert answer.value["endpoint"] == "the-real-one"
    with pytest.raises(ValueError, match="already; edit that one"):
        recording.record_by_hand(token, {"clusterIdentifier": "main"}, into, "eu-west-1")


def test_by_hand_hides_secrets_and_takes_functions_of_other_packages(into: Path) -> None:
    recording.record_by_hand("aws:secretsmanager/getSecretVersion:getSecretVersion", {"secretId": "s"}, into)
    recording.record_by_hand("datadog:index/getMonitor:getMonitor", {}, into)
    results = {one.token: one.result for one in invokes.read_recorded(into)}
    assert results["aws:secretsmanager/getSecretVersion:getSecretVersion"]["secretString"] == "[secret]"
    assert results["datadog:index/getMonitor:getMonitor"] == {}
    with pytest.raises(ValueError, match="'getVpc' is not a function"):
        recording.record_by_hand("getVpc", {}, into)
    with pytest.raises(ValueError, match="the arguments are list"):
        recording.record_by_hand(CLUSTER, [1], into)  # type: ignore[arg-type]
