"""WorkloadIdentity: who may do what, and nobody more."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest

from components.security import WorkloadIdentity
from components.security.aws import bucket_policy, trust_policy
from components.security.gcp import prefix_condition
from planner.plan import UNKNOWN, Plan
from tests.support import plan_of

AWS: dict[str, Any] = {
    "cloud": "aws",
    "region": "us-east-1",
    "cluster_name": "main",
    "workload_identity_pool": "",
    "namespace": "serving",
    "service_account": "triton",
    "buckets": [
        {"bucket": "models", "prefix": "repository/", "key": "arn:aws:kms:us-east-1:1:key/k"},
        {"bucket": "results", "write": True},
    ],
    "aws_policy_json": json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "arn:q"}]}
    ),
    "tags": {"owner": "ml"},
}
GCP: dict[str, Any] = {
    **AWS,
    "cloud": "gcp",
    "region": "us-central1",
    "workload_identity_pool": "sim-project.svc.id.goog",
    "gcp_project_roles": ["roles/monitoring.metricWriter"],
}


def plan_with(**changes: Any) -> Plan:
    base = GCP if changes.get("cloud") == "gcp" else AWS

    def program() -> None:
        identity = WorkloadIdentity("triton", {**base, **changes})  # type: ignore[typeddict-item]
        pulumi.export("principal", identity.principal)

    return plan_of(program)


def test_only_the_service_account_of_this_cluster_takes_the_role() -> None:
    plan = plan_with()
    statement = json.loads(plan.one("aws:iam/role:Role", "triton-role").inputs["assumeRolePolicy"])["Statement"][0]
    assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    tags = statement["Condition"]["StringEquals"]
    assert tags["aws:RequestTag/kubernetes-namespace"] == "serving"
    assert tags["aws:RequestTag/kubernetes-service-account"] == "triton"
    assert tags["aws:RequestTag/eks-cluster-arn"].endswith(":cluster/main")
    association = plan.one("aws:eks/podIdentityAssociation:PodIdentityAssociation", "triton-association")
    assert association.inputs["serviceAccount"] == "triton"
    assert association.inputs["region"] == "us-east-1"
    policies = {r.urn for r in plan.of_type("aws:iam/rolePolicy:RolePolicy")}
    assert len(policies) == 2
    assert policies <= set(association.dependencies)
    assert plan.outputs["principal"] == UNKNOWN


def test_buckets_are_read_under_their_prefix_and_written_only_where_said() -> None:
    statements = json.loads(plan_with().one("aws:iam/rolePolicy:RolePolicy", "triton-buckets").inputs["policy"])[
        "Statement"
    ]
    models = [s for s in statements if "models" in json.dumps(s["Resource"])]
    results = [s for s in statements if "results" in json.dumps(s["Resource"])]
    assert models[0]["Condition"] == {"StringLike": {"s3:prefix": "repository/*"}}
    assert models[1] == {
        "Effect": "Allow",
        "Action": ["s3:GetObject"],
        "Resource": "arn:aws:s3:::models/repository/*",
    }
    assert "s3:PutObject" in results[1]["Action"]
    assert "Condition" not in results[0]
    (key,) = [s for s in statements if "key/k" in s["Resource"]]
    assert key["Action"] == ["kms:Decrypt"]
    assert all(s["Effect"] == "Allow" and s["Action"] != "*" and s["Resource"] != "*" for s in statements)


def test_a_writer_may_also_make_data_keys() -> None:
    document = bucket_policy("aws", "eu-west-1", [("b", "arn:key", "", True)])
    assert document["Statement"][-1]["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert document["Statement"][-1]["Condition"] == {"StringLike": {"kms:ViaService": "s3.eu-west-1.amazonaws.com*"}}


def test_a_bucket_that_does_not_exist_yet_still_gives_a_policy() -> None:
    def program() -> None:
        import pulumi_aws as aws

        bucket = aws.s3.Bucket("models", region="us-east-1")
        WorkloadIdentity("triton", {**AWS, "buckets": [{"bucket": bucket.bucket}]})  # type: ignore[typeddict-item]

    policy = plan_of(program).one("aws:iam/rolePolicy:RolePolicy", "triton-buckets")
    assert policy.inputs["policy"] == UNKNOWN
    assert any("Bucket::models" in urn for urn in policy.dependencies)


def test_on_gcp_the_kubernetes_identity_is_itself_the_member() -> None:
    plan = plan_with(cloud="gcp")
    members = plan.of_type("gcp:storage/bucketIAMMember:BucketIAMMember")
    assert {m.inputs["role"] for m in members} == {"roles/storage.objectViewer", "roles/storage.objectUser"}
    for member in members:
        assert member.inputs["member"].endswith(
            "/workloadIdentityPools/sim-project.svc.id.goog/subject/ns/serving/sa/triton"
        )
    conditions = {m.inputs["bucket"]: m.inputs.get("condition") for m in members}
    assert conditions["results"] is None
    assert conditions["models"]["expression"] == prefix_condition("models", "repository/")
    (project,) = plan.of_type("gcp:projects/iAMMember:IAMMember")
    assert project.inputs["role"] == "roles/monitoring.metricWriter"
    assert plan.outputs["principal"] == members[0].inputs["member"]
    assert not [r for r in plan if "serviceaccount" in r.type.lower() or r.package == "aws"]


def test_without_buckets_there_is_only_the_role_and_its_association() -> None:
    plan = plan_with(buckets=[], aws_policy_json=None)
    assert not plan.of_type("aws:iam/rolePolicy:RolePolicy")
    assert plan.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation")


def test_trust_names_everything_that_identifies_a_service_account() -> None:
    document = trust_policy("arn:cluster", "ns", "sa")
    (statement,) = document["Statement"]
    assert set(statement["Condition"]["StringEquals"].values()) == {"arn:cluster", "ns", "sa"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cloud": "azure"}, "cloud is 'azure'; accepted are 'aws' and 'gcp'"),
        ({"namespace": "Serving"}, "namespace is 'Serving'"),
        ({"service_account": ""}, "service_account is ''"),
        ({"buckets": [{"bucket": "b", "prefix": "/models"}]}, "buckets[0].prefix is '/models'"),
        ({"buckets": [{"bucket": "b", "prefix": 'a"'}]}, "buckets[0].prefix"),
        ({"buckets": [{"bucket": "b", "prefix": "a*"}]}, "buckets[0].prefix"),
    ],
)
def test_wrong_arguments_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="WorkloadIdentity 'triton'") as refused:
        WorkloadIdentity("triton", {**AWS, **changes})  # type: ignore[typeddict-item]
    assert message in str(refused.value)
