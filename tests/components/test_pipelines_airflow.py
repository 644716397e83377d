"""AirflowDeployment: a chart with no state and no password in it, or the cloud's own behind closed doors."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pytest

from components import images
from components.pipelines import AirflowDeployment
from components.pipelines.database_pod import spelled
from planner.engine import PreviewFailed
from planner.plan import Plan
from tests.components.parity_pipelines import managed
from tests.samples import samples
from tests.support import plan_of

RELEASE = "kubernetes:helm.sh/v3:Release"
MWAA, COMPOSER = "aws:mwaa/environment:Environment", "gcp:composer/environment:Environment"


def plan_for(on: str = "aws", /, of_the_cloud: bool = False, **changes: Any) -> Plan:
    args = samples(on)["AirflowDeployment"]

    def program() -> None:
        AirflowDeployment(
            "dags",
            {**(managed(args) if of_the_cloud else args), **changes},  # type: ignore[typeddict-item]
            pulumi.ResourceOptions(providers=[k8s.Provider("cluster", kubeconfig="{}")]),
        )

    return plan_of(program, simulate_up=True)


@pytest.fixture(scope="module", params=["aws", "gcp"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return plan_for(request.param)


@pytest.fixture(scope="module")
def mwaa() -> Plan:
    return plan_for("aws", of_the_cloud=True)


@pytest.fixture(scope="module")
def composer() -> Plan:
    return plan_for("gcp", of_the_cloud=True)


def values(plan: Plan) -> dict[str, Any]:
    return plan.one(RELEASE).inputs["values"]


def test_no_user_has_the_charts_own_password_and_no_state_is_in_the_cluster(plan: Plan) -> None:
    found = values(plan)
    assert found["createUserJob"] == {"enabled": False, "defaultUser": {"enabled": False}}
    assert not found["postgresql"]["enabled"]
    assert not found["redis"]["enabled"]
    assert not found["logs"]["persistence"]["enabled"]
    assert not found["triggerer"]["persistence"]["enabled"]


def test_every_process_gets_its_password_before_it_looks_for_tables(plan: Plan) -> None:
    found = values(plan)
    for process in ("scheduler", "dagProcessor", "apiServer", "triggerer"):
        first, second = found[process]["extraInitContainers"]
        assert first["restartPolicy"] == "Always"
        assert first["args"][:2] == ["--passfile", "/var/run/database/pgpass"]
        assert second["args"][:3] == ["airflow", "db", "check-migrations"]
        # The chart's own comes before both, and would wait for ever.
        assert found[process]["waitForMigrations"] == {"enabled": False}
        assert {"name": "PGPASSFILE", "value": "/var/run/database/pgpass"} in found[process]["env"]
    migration = found["migrateDatabaseJob"]
    assert [one["name"] for one in migration["extraInitContainers"]] == ["database-login"]
    assert migration["useHelmHooks"] is False
    secret = plan.one("kubernetes:core/v1:Secret").inputs
    assert secret["metadata"]["name"] == found["data"]["metadataSecretName"]


def test_tasks_have_another_identity_and_no_way_into_the_database(plan: Plan) -> None:
    found = values(plan)
    assert found["workers"]["serviceAccount"] == {"create": False, "name": "airflow-tasks"}
    assert "extraInitContainers" not in found["workers"]
    accounts = {r.inputs["metadata"]["name"] for r in plan.of_type("kubernetes:core/v1:ServiceAccount")}
    assert accounts == {"airflow", "airflow-tasks"}
    for process in ("scheduler", "dagProcessor", "apiServer", "triggerer", "migrateDatabaseJob"):
        assert found[process]["serviceAccount"] == {"create": False, "name": "airflow"}
    for policy in plan.of_type("aws:iam/rolePolicy:RolePolicy"):
        assert ("secretsmanager" in policy.inputs["policy"]) == (policy.name == "dags-airflow-identity-policy")


def test_the_release_waits_for_whatever_its_pods_need(plan: Plan) -> None:
    waited = {plan.by_urn[urn].type for urn in plan.one(RELEASE).dependencies}
    assert {"kubernetes:core/v1:Secret", "kubernetes:core/v1:ServiceAccount"} <= waited
    assert "kubernetes:networking.k8s.io/v1:NetworkPolicy" in waited


def test_images_are_taken_apart_and_digests_win(plan: Plan) -> None:
    digest = f"sha256:{'0' * 64}"
    assert values(plan)["images"]["airflow"] == {
        "repository": "registry.example.com/ai-cloud/airflow",
        "tag": "3.3.2-1",
    }
    image = f"localhost:5000/airflow:3.3.2@{digest}"
    assert images.parts(image) == ("localhost:5000/airflow", "3.3.2", digest)
    found = values(plan_for(image=image))
    assert found["images"]["airflow"] == {"repository": "localhost:5000/airflow", "digest": digest}


def test_kubernetes_own_spelling() -> None:
    spec = {"image_pull_policy": "IfNotPresent", "startup_probe": {"exec_": {"command": ["a_b"]}}, "args": [{"x_y": 1}]}
    assert spelled(spec) == {
        "imagePullPolicy": "IfNotPresent",
        "startupProbe": {"exec": {"command": ["a_b"]}},
        "args": [{"xY": 1}],
    }


def test_mwaa_is_closed_encrypted_and_in_two_subnets(mwaa: Plan) -> None:
    environment = mwaa.one(MWAA)
    inputs = environment.inputs
    assert inputs["webserverAccessMode"] == "PRIVATE_ONLY"
    assert inputs["networkConfiguration"]["subnetIds"] == ["subnet-0", "subnet-1"]
    assert inputs["kmsKey"] == mwaa.one("aws:kms/key:Key").outputs["arn"]
    groups = mwaa.of_type("aws:cloudwatch/logGroup:LogGroup")
    assert {group.inputs["name"] for group in groups} == {
        f"airflow-dags-{kind}" for kind in ("DAGProcessing", "Scheduler", "Task", "WebServer", "Worker")
    }
    assert {group.urn for group in groups} <= set(environment.dependencies), "or MWAA makes them, without a key"
    assert not mwaa.of_type(RELEASE)


def test_mwaas_role_reads_its_dags_and_writes_where_tasks_may(mwaa: Plan) -> None:
    (policy,) = mwaa.of_type("aws:iam/rolePolicy:RolePolicy")
    by_action = {
        action: one["Resource"] for one in json.loads(policy.inputs["policy"])["Statement"] for action in one["Action"]
    }
    assert "arn:aws:s3:::sim-models/airflow/*" in by_action["s3:GetObject"]
    assert by_action["s3:PutObject"] == ["arn:aws:s3:::sim-models/pipelines/*", "arn:aws:s3:::sim-models/models/*"]
    assert not any("*" in action for action in by_action)


def test_composer_is_private_and_under_the_regions_key(composer: Plan) -> None:
    config = composer.one(COMPOSER).inputs["config"]
    assert config["enablePrivateEnvironment"] is True
    assert config["encryptionConfig"]["kmsKeyName"].endswith("cryptoKeys/models")
    assert [one["value"] for one in config["webServerNetworkAccessControl"]["allowedIpRanges"]] == ["10.16.0.0/16"]
    assert config["nodeConfig"]["serviceAccount"] == composer.one("gcp:serviceaccount/account:Account").outputs["email"]


@pytest.mark.parametrize(
    ("of_the_cloud", "change", "message"),
    [
        (False, {"cloud": "azure"}, "cloud is 'azure'"),
        (False, {"image": None}, "image is None"),
        (False, {"image": "airflow"}, "image is 'airflow'; give it a tag"),
        (False, {"size": "small"}, "size is 'small'; the managed one has it; managed is not"),
        (False, {"replicas": 0}, "replicas is 0"),
        (False, {"write_prefixes": ["/a"]}, r"write_prefixes\[0\] is '/a'"),
        (True, {"image": "a:1"}, "image is 'a:1'; one in the cluster has it; managed is True"),
        (True, {"size": "huge"}, "size is 'huge'; accepted are 'small', 'medium', 'large'"),
        (True, {"max_workers": 50}, "max_workers is 50; accepted is 1 to 25"),
    ],
)
def test_wrong_arguments_are_told(of_the_cloud: bool, change: dict[str, Any], message: str) -> None:
    with pytest.raises(PreviewFailed, match=f"AirflowDeployment 'dags': {message}"):
        plan_for("aws", of_the_cloud=of_the_cloud, **change)
