"""Answers to invokes: exact where programs depend on them, the same every time, of the declared type otherwise."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_gcp as gcp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.engine import invokes, schema
from planner.engine.invokes import Answers, NoAnswer, Recorded
from planner.engine.simulated import aws_facts, gcp_facts
from tests.support import plan_of


def ask(token: str, region: str | None = "us-east-1", config: dict[str, Any] | None = None, /, **args: Any) -> Any:
    """The value of a simulated answer. The function's short name will do: `aws:ec2/getVpc`."""
    full = token if token.count(":") > 1 else f"{token}:{token.rsplit('/', 1)[-1]}"
    answer = Answers(strict=True).answer(full, args, region, config or {})
    assert answer.origin == "simulated"
    return answer.value


# ---- where and who


@pytest.mark.parametrize(
    ("region", "names", "ids"),
    [
        ("us-east-1", "abcdef", ["use1-az1", "use1-az2", "use1-az3", "use1-az4", "use1-az5", "use1-az6"]),
        ("us-west-1", "ac", ["usw1-az1", "usw1-az3"]),
        ("eu-central-1", "abc", ["euc1-az1", "euc1-az2", "euc1-az3"]),
        ("ap-northeast-1", "acd", ["apne1-az1", "apne1-az2", "apne1-az4"]),
        ("us-gov-west-1", "abc", ["usgw1-az1", "usgw1-az2", "usgw1-az3"]),
    ],
)
def test_availability_zones(region: str, names: str, ids: list[str]) -> None:
    zones = ask("aws:index/getAvailabilityZones", region, state="available")
    assert zones["names"] == [f"{region}{letter}" for letter in names]
    assert zones["zoneIds"] == ids
    assert zones["groupNames"] == [region]
    assert zones["region"] == region


@pytest.mark.parametrize(
    ("args", "letters"),
    [
        ({"excludeNames": ["us-west-2a"]}, "bcd"),
        ({"excludeZoneIds": ["usw2-az4"]}, "abc"),
        ({"filters": [{"name": "zone-id", "values": ["usw2-az2", "usw2-az3"]}]}, "bc"),
        ({"filters": [{"name": "opt-in-status", "values": ["opt-in-not-required"]}]}, "abcd"),
        ({"filters": [{"name": "zone-type", "values": ["local-zone"]}]}, ""),
        ({"state": "impaired"}, ""),
    ],
)
def test_availability_zones_are_filtered(args: dict[str, Any], letters: str) -> None:
    assert ask("aws:index/getAvailabilityZones", "us-west-2", **args)["names"] == [f"us-west-2{x}" for x in letters]


def test_one_availability_zone() -> None:
    assert ask("aws:index/getAvailabilityZone", name="us-east-1c")["zoneId"] == "use1-az3"
    assert ask("aws:index/getAvailabilityZone", zoneId="use1-az3")["nameSuffix"] == "c"
    with pytest.raises(NoAnswer, match=r"us-east-1 has no zone 'us-east-1z'; it has us-east-1a, "):
        ask("aws:index/getAvailabilityZone", name="us-east-1z")


def test_who_and_where() -> None:
    assert ask("aws:index/getCallerIdentity")["accountId"] == "123456789012"
    answer = Answers(account="210987654321").answer("aws:index/getCallerIdentity:getCallerIdentity", {}, None)
    assert answer.value["arn"] == "arn:aws:iam::210987654321:user/preview"
    assert ask("aws:index/getRegion", "eu-west-1")["endpoint"] == "ec2.eu-west-1.amazonaws.com"
    assert ask("aws:index/getRegion", None, {"region": "eu-west-1"})["name"] == "eu-west-1"
    partition = ask("aws:index/getPartition", "cn-north-1")
    assert (partition["partition"], partition["dnsSuffix"]) == ("aws-cn", "amazonaws.com.cn")
    assert partition["reverseDnsPrefix"] == "cn.com.amazonaws"
    parsed = ask("aws:index/getArn", arn="arn:aws:rds:eu-west-1:123456789012:db:mysql-db")
    assert (parsed["service"], parsed["account"], parsed["resource"]) == ("rds", "123456789012", "db:mysql-db")
    with pytest.raises(NoAnswer, match="'nonsense' is not an ARN"):
        ask("aws:index/getArn", arn="nonsense")
    assert ask("aws:index/getDefaultTags", None, {"defaultTags": {"tags": {"a": "b"}}})["tags"] == {"a": "b"}
    assert "eu-west-1" in ask("aws:index/getRegions")["names"]


def test_google_places_and_projects() -> None:
    assert ask("gcp:compute/getZones", "us-central1")["names"] == [f"us-central1-{x}" for x in "abcf"]
    assert ask("gcp:compute/getZones", None, region="europe-west1")["names"] == [f"europe-west1-{x}" for x in "bcd"]
    project = Answers(gcp_project="team").answer("gcp:organizations/getProject:getProject", {}, None).value
    assert (project["projectId"], len(project["number"])) == ("team", 12)
    agent = Answers(gcp_project="team").answer(
        "gcp:storage/getProjectServiceAccount:getProjectServiceAccount", {}, None
    )
    assert agent.value["emailAddress"] == f"service-{project['number']}@gs-project-accounts.iam.gserviceaccount.com"
    client = ask("gcp:organizations/getClientConfig", "europe-west4-b", {"project": "other"})
    assert (client["project"], client["region"], client["zone"]) == ("other", "europe-west4", "europe-west4-b")
    account = ask("gcp:serviceaccount/getAccount", None, accountId="robot", project="p")
    assert account["member"] == "serviceAccount:robot@p.iam.gserviceaccount.com"
    image = ask("gcp:compute/getImage", None, family="debian-12", project="debian-cloud")
    assert image["selfLink"].startswith("https://www.googleapis.com/compute/v1/projects/debian-cloud/global/images/")


def test_gke_versions() -> None:
    found = ask("gcp:container/getEngineVersions", "us-central1", versionPrefix="1.35.")
    assert found["validMasterVersions"]
    assert all(version.startswith("1.35.") for version in found["validMasterVersions"])
    assert found["latestMasterVersion"] == found["validMasterVersions"][0]
    assert set(found["releaseChannelDefaultVersion"]) >= {"RAPID", "REGULAR", "STABLE"}
    with pytest.raises(NoAnswer, match=r"no version that begins with '1\.2\.'"):
        ask("gcp:container/getEngineVersions", "us-central1", versionPrefix="1.2.")


# ---- networks, machines, clusters


def test_subnets_of_a_list_are_in_different_zones() -> None:
    ids = ask("aws:ec2/getSubnets", "eu-west-1", filters=[{"name": "vpc-id", "values": ["vpc-1"]}])["ids"]
    subnets = [ask("aws:ec2/getSubnet", "eu-west-1", id=id) for id in ids]
    assert [subnet["availabilityZone"] for subnet in subnets] == ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
    assert len({subnet["cidrBlock"] for subnet in subnets}) == 3
    assert all(subnet["id"] == id for subnet, id in zip(subnets, ids, strict=True))


def test_existing_things_keep_the_id_that_they_are_asked_for_by() -> None:
    vpc = ask("aws:ec2/getVpc", id="vpc-0123")
    assert (vpc["id"], vpc["arn"]) == ("vpc-0123", "arn:aws:ec2:us-east-1:123456789012:vpc/vpc-0123")
    assert ask("aws:ec2/getVpc", default=True)["cidrBlock"] == "172.31.0.0/16"
    assert ask("aws:s3/getBucket", bucket="b")["arn"] == "arn:aws:s3:::b"
    assert ask("aws:iam/getRole", name="r")["arn"] == "arn:aws:iam::123456789012:role/r"
    group = ask("aws:ec2/getSecurityGroup", name="default", vpcId="vpc-9")
    assert (group["name"], group["vpcId"]) == ("default", "vpc-9")
    arn = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    assert ask("aws:iam/getPolicy", arn=arn)["name"] == "ReadOnlyAccess"


def test_images_depend_on_what_is_asked_for() -> None:
    def image(region: str, *values: str) -> Any:
        return ask("aws:ec2/getAmi", region, owners=["amazon"], filters=[{"name": "name", "values": list(values)}])

    intel, arm = image("us-east-1", "al2023-ami-*-x86_64"), image("us-east-1", "al2023-ami-*-arm64")
    assert re.fullmatch(r"ami-[0-9a-f]{17}", intel["id"])
    assert len({intel["id"], arm["id"], image("eu-west-1", "al2023-ami-*-x86_64")["id"]}) == 3
    assert (intel["architecture"], arm["architecture"]) == ("x86_64", "arm64")
    parameter = "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/nvidia/recommended/image_id"
    assert re.fullmatch(r"ami-[0-9a-f]{17}", ask("aws:ssm/getParameter", name=parameter)["value"])


@pytest.mark.parametrize(
    ("name", "vcpus", "gib", "gpus", "architecture"),
    [
        ("m7i.2xlarge", 8, 32, 0, "x86_64"),
        ("c7g.xlarge", 4, 8, 0, "arm64"),
        ("r6i.large", 2, 16, 0, "x86_64"),
        ("p5.48xlarge", 192, 2048, 8, "x86_64"),
        ("p5.4xlarge", 16, 256, 1, "x86_64"),
        ("p4d.24xlarge", 96, 1152, 8, "x86_64"),
        ("g6.12xlarge", 48, 192, 4, "x86_64"),
        ("g6e.48xlarge", 192, 1536, 8, "x86_64"),
        ("t3.small", 2, 2, 0, "x86_64"),
    ],
)
def test_machine_types(name: str, vcpus: int, gib: int, gpus: int, architecture: str) -> None:
    machine = ask("aws:ec2/getInstanceType", instanceType=name)
    assert machine["defaultVcpus"] == vcpus
    assert machine["memorySize"] == gib * 1024
    assert sum(gpu["count"] for gpu in machine["gpuses"]) == gpus
    assert machine["supportedArchitectures"] == [architecture]


def test_offerings_are_by_zone_where_asked() -> None:
    filters = [{"name": "instance-type", "values": ["p5.48xlarge"]}]
    found = ask("aws:ec2/getInstanceTypeOfferings", "us-west-1", filters=filters, locationType="availability-zone")
    assert found["locations"] == ["us-west-1a", "us-west-1c"]
    assert found["instanceTypes"] == ["p5.48xlarge"] * 2


def test_eks() -> None:
    cluster = ask("aws:eks/getCluster", "eu-west-1", name="c")
    assert re.fullmatch(r"https://[A-Z0-9]{32}\.gr7\.eu-west-1\.eks\.amazonaws\.com", cluster["endpoint"])
    assert cluster["certificateAuthorities"][0]["data"].startswith("LS0tLS1C")
    assert ask("aws:eks/getAddonVersion", addonName="kube-proxy", kubernetesVersion="1.34")["version"].startswith(
        "v1.34."
    )
    versions = [v["clusterVersion"] for v in ask("aws:eks/getClusterVersions")["clusterVersions"]]
    assert versions == sorted(versions, reverse=True)
    assert len(ask("aws:eks/getClusterVersions", defaultOnly=True)["clusterVersions"]) == 1


def test_secret_parts_of_answers_are_named() -> None:
    answer = Answers().answer("aws:eks/getClusterAuth:getClusterAuth", {"name": "c"}, "us-east-1")
    assert answer.secrets == ("token",)
    password = Answers().answer(
        "aws:secretsmanager/getRandomPassword:getRandomPassword",
        {"passwordLength": 20, "excludePunctuation": True, "excludeCharacters": "aA1"},
        "us-east-1",
    )
    assert re.fullmatch(r"[b-zB-Z02-9]{20}", password.value["randomPassword"])
    assert password.secrets == ("randomPassword",)


# ---- IAM policy documents: expected texts are what the provider's own tests and docs show


def test_a_policy_document_is_rendered_as_the_provider_does() -> None:
    document = ask(
        "aws:iam/getPolicyDocument",
        policyId="id",
        statements=[
            {"sid": "1", "actions": ["s3:ListAllMyBuckets", "s3:GetBucketLocation"], "resources": ["arn:aws:s3:::*"]},
            {
                "effect": "Deny",
                "notActions": ["s3:*"],
                "resources": ["arn:aws:s3:::b/home/&{aws:username}", "arn:aws:s3:::b"],
                "conditions": [
                    {"test": "StringLike", "variable": "s3:prefix", "values": ["home/", "", "home/&{aws:username}/"]},
                    {"test": "Bool", "variable": "aws:SecureTransport", "values": ["false"]},
                ],
                "principals": [
                    {"type": "AWS", "identifiers": ["arn:b", "arn:a"]},
                    {"type": "Service", "identifiers": ["ec2.amazonaws.com"]},
                    {"type": "AWS", "identifiers": ["arn:c"]},
                ],
            },
            {"actions": ["sts:AssumeRole"], "principals": [{"type": "*", "identifiers": ["*"]}]},
        ],
    )
    assert (
        document["json"]
        == """{
  "Version": "2012-10-17",
  "Id": "id",
  "Statement": [
    {
      "Sid": "1",
      "Effect": "Allow",
      "Action": [
        "s3:ListAllMyBuckets",
        "s3:GetBucketLocation"
      ],
      "Resource": "arn:aws:s3:::*"
    },
    {
      "Effect": "Deny",
      "NotAction": "s3:*",
      "Resource": [
        "arn:aws:s3:::b/home/${aws:username}",
        "arn:aws:s3:::b"
      ],
      "Principal": {
        "AWS": [
          "arn:b",
          "arn:a",
          "arn:c"
        ],
        "Service": "ec2.amazonaws.com"
      },
      "Condition": {
        "Bool": {
          "aws:SecureTransport": "false"
        },
        "StringLike": {
          "s3:prefix": [
            "home/",
            "",
            "home/${aws:username}/"
          ]
        }
      }
    },
    {
      "Effect": "Allow",
      "Action": "sts:AssumeRole",
      "Principal": "*"
    }
  ]
}"""
    )
    assert json.loads(document["minifiedJson"]) == json.loads(document["json"])
    assert " " not in document["minifiedJson"]


def _document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def test_policy_documents_are_merged_by_sid() -> None:
    source = _document({"Sid": "A", "Effect": "Allow", "Action": "a:1"}, {"Effect": "Allow", "Action": "a:2"})
    override = _document(
        {"Sid": "B", "Effect": "Deny", "Action": "b:2"}, {"Sid": "C", "Effect": "Allow", "Action": "c"}
    )
    own = [{"sid": "A", "actions": ["a:3"], "resources": ["*"]}, {"sid": "B", "actions": ["b:1"], "resources": ["*"]}]
    found = json.loads(
        ask(
            "aws:iam/getPolicyDocument",
            sourcePolicyDocuments=[source],
            overridePolicyDocuments=[override],
            statements=own,
        )["json"]
    )
    assert [(s.get("Sid"), s["Effect"], s["Action"]) for s in found["Statement"]] == [
        ("A", "Allow", "a:3"),
        (None, "Allow", "a:2"),
        ("B", "Deny", "b:2"),
        ("C", "Allow", "c"),
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"statements": [{"sid": "A"}, {"sid": "A"}]}, "two statements .* have the sid 'A'"),
        ({"sourcePolicyDocuments": [_document({"Sid": "A"}), _document({"Sid": "A"})]}, "have the sid 'A'"),
        ({"sourcePolicyDocuments": ["{"]}, "is not JSON"),
        ({"version": "2008-10-17", "statements": [{"resources": ["&{aws:username}"]}]}, "need version 2012-10-17"),
    ],
)
def test_a_policy_document_that_the_provider_refuses_is_refused(args: dict[str, Any], message: str) -> None:
    with pytest.raises(NoAnswer, match=message):
        Answers().answer("aws:iam/getPolicyDocument:getPolicyDocument", args, None)


def test_google_iam_policies_join_bindings_and_sort() -> None:
    condition = {"title": "t", "expression": "request.time < timestamp('2027-01-01T00:00:00Z')"}
    found = ask(
        "gcp:organizations/getIAMPolicy",
        bindings=[
            {"role": "roles/viewer", "members": ["user:b@x.org", "user:a@x.org"]},
            {"role": "roles/editor", "members": ["user:e@x.org"], "condition": condition},
            {"role": "roles/viewer", "members": ["group:g@x.org"]},
            {"role": "roles/editor", "members": ["user:d@x.org"]},
        ],
    )
    assert "\\u003c" in found["policyData"]
    assert json.loads(found["policyData"]) == {
        "bindings": [
            {"members": ["user:d@x.org"], "role": "roles/editor"},
            {"condition": condition, "members": ["user:e@x.org"], "role": "roles/editor"},
            {"members": ["group:g@x.org", "user:a@x.org", "user:b@x.org"], "role": "roles/viewer"},
        ]
    }


# ---- kubernetes


def test_yaml_text_becomes_objects() -> None:
    text = """
apiVersion: v1
kind: Namespace
metadata: {name: a}
---
# nothing here
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}, data: {when: 2026-01-01}}
"""
    found = ask("kubernetes:yaml:decode", text=text, defaultNamespace="n")["result"]
    assert [(one["kind"], one["metadata"]["name"]) for one in found] == [("Namespace", "a"), ("ConfigMap", "b")]
    assert found[1]["metadata"]["namespace"] == "n"
    assert found[1]["data"]["when"] == "2026-01-01"
    for wrong in ("a: [", "just: this"):
        with pytest.raises(NoAnswer, match=r"not YAML|not a Kubernetes object"):
            ask("kubernetes:yaml:decode", text=wrong)


CHART = {"jsonOpts": json.dumps({"path": "./chart", "namespace": "n", "values": {"a": 1}, "release_name": "r"})}


def test_a_chart_without_helm_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = Answers().answer("kubernetes:helm:template", CHART, None)
    assert (answer.origin, answer.value) == ("placeholder", {"result": []})
    assert "'./chart' are not in the preview" in answer.note
    with pytest.raises(NoAnswer, match="helm is not installed"):
        Answers(strict=True).answer("kubernetes:helm:template", CHART, None)


def test_a_chart_is_rendered_where_helm_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    helm = tmp_path / "helm"
    helm.write_text(
        "#!/bin/sh\necho \"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: seen\ndata:\n  args: '$*'\"\n"
    )
    helm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (found,) = ask("kubernetes:helm:template", **CHART)["result"]
    assert found["data"]["args"].startswith("template r ./chart --namespace n --skip-tests --include-crds --values ")
    helm.write_text("#!/bin/sh\necho first >&2; echo 'Error: no such chart' >&2; exit 1\n")
    answer = Answers().answer("kubernetes:helm:template", CHART, None)
    assert answer.origin == "placeholder"
    assert answer.note.endswith("Error: no such chart")


def test_a_kustomization_is_rendered_where_kustomize_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kustomize = tmp_path / "kustomize"
    kustomize.write_text("#!/bin/sh\necho \"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: '$2'\"\n")
    kustomize.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = ask("kubernetes:kustomize:directory", directory="overlays/dev")["result"]
    assert found["metadata"]["name"] == "overlays/dev"
    kustomize.unlink()
    with pytest.raises(NoAnswer, match="neither kustomize nor kubectl is installed"):
        ask("kubernetes:kustomize:directory", directory="overlays/dev")


# ---- order of answers, strictness, placeholders

UNSIMULATED = "aws:msk/getCluster:getCluster"


def test_the_order_is_simulated_recorded_placeholder() -> None:
    assert UNSIMULATED not in invokes.SIMULATED
    zones = "aws:index/getAvailabilityZones:getAvailabilityZones"
    answers = Answers(
        [Recorded(zones, {}, {"names": ["x"]}), Recorded(UNSIMULATED, {"clusterName": "c"}, {"arn": "real"})]
    )
    assert answers.answer(zones, {}, "us-west-1").origin == "simulated"
    recorded = answers.answer(UNSIMULATED, {"clusterName": "c", "tags": None}, "us-west-1")
    assert (recorded.origin, recorded.value) == ("recorded", {"arn": "real"})
    placeholder = answers.answer(UNSIMULATED, {"clusterName": "other"}, "us-west-1")
    assert placeholder.origin == "placeholder"
    assert placeholder.value["clusterName"] == "other"
    assert placeholder.value["arn"].startswith("arn:aws:msk:us-west-1:123456789012:")


def test_strict_refuses_placeholders() -> None:
    with pytest.raises(NoAnswer, match=rf"{UNSIMULATED} has no simulated or recorded answer"):
        Answers(strict=True).answer(UNSIMULATED, {}, None)
    with pytest.raises(NoAnswer, match="known only to its account"):
        Answers(strict=True).answer("aws:ssm/getParameter:getParameter", {"name": "/mine"}, None)


def test_an_unknown_function_is_an_error_even_without_strict() -> None:
    with pytest.raises(NoAnswer, match="aws:ec2/getNothing:getNothing cannot be answered"):
        Answers().answer("aws:ec2/getNothing:getNothing", {}, None)


def test_recorded_answers_match_by_region_and_hidden_arguments() -> None:
    answers = Answers(
        [
            Recorded(UNSIMULATED, {}, {"arn": "west"}, "us-west-2"),
            Recorded(UNSIMULATED, {}, {"arn": "any"}),
            Recorded("aws:rds/getCluster:getCluster", {"a": {"password": "[secret]"}}, {"masterPassword": "[secret]"}),
        ]
    )
    assert answers.answer(UNSIMULATED, {}, "us-west-2").value["arn"] == "west"
    assert answers.answer(UNSIMULATED, {}, "eu-west-1").value["arn"] == "any"
    hidden = answers.answer("aws:rds/getCluster:getCluster", {"a": {"password": "x"}}, None)
    assert (hidden.origin, hidden.secrets) == ("recorded", ("masterPassword",))


@given(
    region=st.sampled_from([*aws_facts.ENABLED_REGIONS]),
    other=st.sampled_from([*aws_facts.ENABLED_REGIONS]),
    token=st.sampled_from(sorted(token for token in invokes.SIMULATED if token.startswith("aws:ec2/"))),
    name=st.sampled_from(["alpha", "beta"]),
)
@settings(max_examples=80, deadline=None)
def test_the_same_question_gets_the_same_answer(region: str, other: str, token: str, name: str) -> None:
    args = {"name": name}
    first = Answers().answer(token, args, region)
    assert first == Answers().answer(token, dict(args), region)
    zones = [set(ask("aws:index/getAvailabilityZones", r)["names"]) for r in (region, other)]
    assert (zones[0] == zones[1]) == (region == other)
    assert all(zone.startswith(region) for zone in zones[0])


def test_every_simulated_function_exists_and_answers_with_its_own_properties() -> None:
    typed = [token for token in invokes.SIMULATED if not token.startswith("kubernetes:")]
    for token in typed:
        result = schema.invoke_result_type(token)
        assert result is not None, token
        region = gcp_facts.REGIONS[0] if token.startswith("gcp:") else "us-east-1"
        args = {"arn": "arn:aws:iam::123456789012:role/r"} if "arn" in token.lower() else {}
        value = Answers().answer(token, args, region).value
        assert value.keys() <= schema.output_properties(result).keys(), token


@pytest.mark.parametrize("package", ["aws", "gcp"])
def test_a_placeholder_can_be_made_for_every_function(package: str) -> None:
    """A quarter of each SDK's functions, 290 in all: the rest takes minutes, and is made in the same way."""
    sdk = Path({"aws": aws, "gcp": gcp}[package].__file__).parent
    call = re.compile(r"runtime\.invoke\('([^']+)'")
    tokens = sorted({token for file in sdk.rglob("get_*.py") for token in call.findall(file.read_text("utf-8"))})
    chosen = tokens[::4]
    assert len(chosen) >= 120
    for token in chosen:
        result = schema.invoke_result_type(token)
        assert result is not None, token
        value = invokes.placeholder(token)
        assert value, token
        assert value == invokes.placeholder(token)
        # The SDK's class takes it, type checks included.
        pulumi.runtime.rpc.translate_output_properties(value, lambda name: name, result)


def test_programs_get_answers_and_warnings_with_the_line() -> None:
    def program() -> None:
        zones = aws.get_availability_zones(state="available", region="us-west-2")
        brokers = aws.msk.get_broker_nodes(cluster_arn="arn:aws:kafka:us-west-2:123456789012:cluster/c/1")
        pulumi.export("zones", zones.names)
        pulumi.export("later", aws.ec2.get_vpc_output(id="vpc-1").apply(lambda vpc: vpc.arn))
        pulumi.export("brokers", brokers.node_info_lists)

    plan = plan_of(program, {"aws:region": "us-east-1"})
    assert plan.outputs["zones"] == ["us-west-2a", "us-west-2b", "us-west-2c", "us-west-2d"]
    assert plan.outputs["later"] == "arn:aws:ec2:us-east-1:123456789012:vpc/vpc-1"
    assert plan.outputs["brokers"] == []
    (warning,) = [w for w in plan.warnings if "placeholder" in w.message]
    assert "aws:msk/getBrokerNodes:getBrokerNodes" in warning.message
    assert re.search(r"test_invokes\.py:\d+$", warning.place)


# ---- the file of recorded answers

GOOD = {"version": 1, "invokes": [{"token": UNSIMULATED, "args": {}, "region": "eu-west-1", "result": {"arn": "x"}}]}


def test_a_file_of_recorded_answers_is_read_and_written_alike(tmp_path: Path) -> None:
    path = tmp_path / "invokes.dev.json"
    assert path.name == "invokes.dev.json"
    assert invokes.read_recorded(path) == []
    path.write_text(json.dumps(GOOD))
    recorded = invokes.read_recorded(path)
    assert recorded == [Recorded(UNSIMULATED, {}, {"arn": "x"}, "eu-west-1")]
    invokes.write_recorded(path, recorded)
    assert json.loads(path.read_text()) == GOOD
    assert invokes.read_recorded(path) == recorded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"invokes\.dev\.json: not JSON \(line 1, column 2"),
        ("[]", "key 'version' is 'list'; expected an object with version 1"),
        ('{"version": 2}', "key 'version' is 2"),
        ('{"version": 1}', "key 'invokes' is NoneType; expected a list"),
        ('{"version": 1, "invokes": [3]}', r"invokes\[0\] is int"),
        (
            '{"version": 1, "invokes": [{"token": "a:b:c", "result": {}}, {"token": 1}]}',
            r"invokes\[1\]: key 'token' is 1; expected text",
        ),
        ('{"version": 1, "invokes": [{"token": "a:b:c"}]}', r"invokes\[0\]: key 'result' is null; expected an object"),
        (
            '{"version": 1, "invokes": [{"token": "a:b:c", "result": {}, "args": []}]}',
            r"key 'args' is \[\]; expected an object",
        ),
        ('{"version": 1, "invokes": [{"token": "vpc", "result": {}}]}', "key 'token' is 'vpc'; expected <package>:"),
        ('{"version": 1, "invokes": [{"token": "a:b:c", "results": {}}]}', "unknown key 'results'; accepted are"),
    ],
)
def test_a_malformed_file_is_refused_by_file_entry_and_key(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "invokes.dev.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        invokes.read_recorded(path)
    assert str(raised.value).startswith(str(path))
