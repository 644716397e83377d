"""MlflowServer: what it builds, that MLflow itself takes what it is told, and that nobody else gets in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import kubernetes_validate
import pulumi
import pulumi_kubernetes as k8s
import pytest

from components.pipelines import MlflowServer
from components.pipelines.mlflow_pod import PORT
from planner.engine import PreviewFailed
from planner.inventory.objects import selects
from planner.plan import UNKNOWN, Plan
from tests.samples import samples
from tests.support import plan_of

DEPLOYMENT, JOB = "kubernetes:apps/v1:Deployment", "kubernetes:batch/v1:Job"
RDS, SQL = "aws:rds/instance:Instance", "gcp:sql/databaseInstance:DatabaseInstance"
SECRET = "arn:aws:secretsmanager:"


def plan_for(on: str = "aws", /, simulate_up: bool = True, **changes: Any) -> Plan:
    def program() -> None:
        provider = k8s.Provider("cluster", kubeconfig="{}")
        crds = k8s.core.v1.Secret("crds", opts=pulumi.ResourceOptions(provider=provider))
        server = MlflowServer(
            "runs",
            {**samples(on)["MlflowServer"], **changes},  # type: ignore[typeddict-item]
            pulumi.ResourceOptions(providers=[provider], depends_on=[crds]),
        )
        pulumi.export("tracking", server.tracking_uri)

    return plan_of(program, simulate_up=simulate_up)


@pytest.fixture(scope="module", params=["aws", "gcp"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return plan_for(request.param)


@pytest.fixture(scope="module")
def on_aws() -> Plan:
    return plan_for("aws")


@pytest.fixture(scope="module")
def on_gcp() -> Plan:
    return plan_for("gcp")


def pod(plan: Plan, kind: str = DEPLOYMENT) -> dict[str, Any]:
    return plan.one(kind).inputs["spec"]["template"]["spec"]


def environment(container: Mapping[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value") for one in container["env"]}


def test_kubernetes_knows_every_field(plan: Plan) -> None:
    checked = 0
    for resource in plan.under(plan.one("aicloud:index:MlflowServer").urn):
        if resource.package == "kubernetes" and "monitoring.coreos.com" not in resource.type:
            kubernetes_validate.validate(json.loads(json.dumps(resource.inputs)), "1.34", strict=True)
            checked += 1
    assert checked == 8


def test_its_address_is_known_before_anything_is_there() -> None:
    plan = plan_for(simulate_up=False)
    assert plan.outputs["tracking"] == "http://runs.mlflow.svc.cluster.local:5000"


def test_mlflow_takes_the_command_line(plan: Plan) -> None:
    from mlflow.cli import cli

    (server,) = pod(plan)["containers"]
    assert server["command"] == ["mlflow"]
    word, *rest = server["args"]
    context = cli.commands[word].make_context(word, list(rest))
    assert context.params["serve_artifacts"] is True
    assert context.params["artifacts_destination"].endswith("://sim-models/mlflow")
    assert context.params["port"] == PORT
    (upgrade,) = pod(plan, JOB)["containers"]
    assert upgrade["args"][:2] == ["db", "upgrade"]
    assert cli.commands["db"].commands["upgrade"].make_context("upgrade", upgrade["args"][2:]).params["url"]


def test_mlflow_answers_to_the_names_that_clients_use_and_to_no_others(plan: Plan) -> None:
    from mlflow.server.security_utils import is_allowed_host_header

    (server,) = pod(plan)["containers"]
    hosts = server["args"][server["args"].index("--allowed-hosts") + 1].replace("$(POD_IP)", "100.64.3.7").split(",")
    for known in ("runs.mlflow.svc.cluster.local:5000", "100.64.3.7:5000", "localhost:5000", "runs.mlflow:5000"):
        assert is_allowed_host_header(hosts, known), known
    for strange in ("evil.example.com", "evil.example.com:5000", "169.254.169.254"):
        assert not is_allowed_host_header(hosts, strange), strange


def test_no_password_is_anywhere_in_the_plan(plan: Plan) -> None:
    (server,) = pod(plan)["containers"]
    uri = environment(server)["MLFLOW_BACKEND_STORE_URI"]
    user, _, place = uri.removeprefix("postgresql://").partition("@")
    assert ":" not in user
    assert place.endswith(":5432/mlflow?sslmode=require")
    (side,) = pod(plan)["initContainers"]
    assert side["restartPolicy"] == "Always"
    passfile = side["args"][side["args"].index("--passfile") + 1]
    assert environment(server)["PGPASSFILE"] == passfile
    mounts = {mount["name"]: mount for mount in server["volumeMounts"]}
    assert passfile.startswith(mounts["database"]["mountPath"] + "/")
    assert mounts["database"]["readOnly"] is True
    assert pod(plan)["volumes"][0]["emptyDir"]["medium"] == "Memory"


def test_the_role_reads_its_own_secret_and_no_other(on_aws: Plan) -> None:
    (policy,) = [
        json.loads(r.inputs["policy"]) for r in on_aws.of_type("aws:iam/rolePolicy:RolePolicy")
        if "secretsmanager" in str(r.inputs["policy"])
    ]  # fmt: skip
    read, decrypt = policy["Statement"]
    (side,) = pod(on_aws)["initContainers"]
    assert read["Resource"] == side["args"][side["args"].index("--secret") + 1]
    assert read["Resource"].startswith(SECRET)
    assert decrypt["Condition"]["StringEquals"] == {"kms:ViaService": "secretsmanager.us-east-1.amazonaws.com"}


def test_only_the_clusters_nodes_and_pods_reach_the_database(on_aws: Plan) -> None:
    database = on_aws.one(RDS).inputs
    assert database["publiclyAccessible"] is False
    rule = on_aws.one("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule").inputs
    assert rule["referencedSecurityGroupId"] == "sg-2"
    assert (rule["fromPort"], rule["toPort"]) == (5432, 5432)
    assert database["vpcSecurityGroupIds"] == [rule["securityGroupId"]]


def test_the_google_account_of_the_pods_is_the_user(on_gcp: Plan) -> None:
    email = on_gcp.one("gcp:serviceaccount/account:Account").outputs["email"]
    user = on_gcp.one("gcp:sql/user:User").inputs["name"]
    assert email == f"{user}.gserviceaccount.com"
    account = on_gcp.one("kubernetes:core/v1:ServiceAccount").inputs["metadata"]
    assert account["annotations"] == {"iam.gke.io/gcp-service-account": email}
    member = on_gcp.one("gcp:serviceaccount/iAMMember:IAMMember").inputs
    assert member["member"] == f"serviceAccount:sim-project.svc.id.goog[mlflow/{account['name']}]"
    (server,) = pod(on_gcp)["containers"]
    assert environment(server)["MLFLOW_BACKEND_STORE_URI"].startswith(f"postgresql://{user.replace('@', '%40')}@10.")


def test_the_service_sends_requests_to_servers_and_not_to_the_migration(plan: Plan) -> None:
    selector = {"matchLabels": plan.one("kubernetes:core/v1:Service").inputs["spec"]["selector"]}
    labels = {kind: plan.one(kind).inputs["spec"]["template"]["metadata"]["labels"] for kind in (DEPLOYMENT, JOB)}
    assert selects(selector, labels[DEPLOYMENT])
    assert not selects(selector, labels[JOB])
    closed = [r.inputs["spec"] for r in plan.of_type("kubernetes:networking.k8s.io/v1:NetworkPolicy")]
    assert all(
        any(spec["podSelector"] and selects(spec["podSelector"], own) for spec in closed) for own in labels.values()
    )


def test_tables_are_there_before_a_server_looks(plan: Plan) -> None:
    job = plan.one(JOB)
    assert job.urn in plan.one(DEPLOYMENT).dependencies
    waits = {plan.by_urn[urn].type for urn in job.dependencies}
    assert {"kubernetes:core/v1:ServiceAccount", "kubernetes:networking.k8s.io/v1:NetworkPolicy"} <= waits
    # Another image is another migration.
    assert plan_for(image="registry.example.com/mlflow:3.18.0").one(JOB).name != job.name


def test_what_is_protected_has_a_last_snapshot_and_what_is_not_has_none(on_aws: Plan) -> None:
    assert on_aws.one(RDS).inputs["finalSnapshotIdentifier"] == "runs-database-final"
    free = plan_for(protect=False).one(RDS)
    assert free.inputs["skipFinalSnapshot"] is True
    assert not free.protect
    assert "finalSnapshotIdentifier" not in free.inputs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cloud": "azure"}, "cloud is 'azure'; accepted are 'aws', 'gcp'"),
        ({"namespace": "Runs"}, "namespace is 'Runs'; a Kubernetes name"),
        ({"client_namespaces": ["a", "b_c"]}, r"client_namespaces\[1\] is 'b_c'"),
        ({"image": "mlflow:latest"}, "image is 'mlflow:latest'; 'latest' is another image tomorrow"),
        ({"artifact_prefix": "/runs/"}, "artifact_prefix is '/runs/'; accepted is a path"),
        ({"replicas": 0}, "replicas is 0; accepted is a number above 0"),
        ({"network_cidr": "10.0.0.1/16"}, "network_cidr is '10.0.0.1/16'; expected a network"),
        ({"database": {"size": "huge"}}, "database.size is 'huge'; accepted are 'small', 'medium', 'large'"),
        ({"database": {"storage_gib": 5}}, "database.storage_gib is 5; accepted is 20 to 6000"),
        ({"database": {"backup_days": 60}}, "database.backup_days is 60; accepted is 1 to 35"),
        ({"databse": {}}, "databse: unknown argument; did you mean 'database'"),
    ],
)
def test_wrong_arguments_are_told(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PreviewFailed, match=f"MlflowServer 'runs': {message}"):
        plan_for(**change)


def test_nothing_of_a_name_that_is_too_long() -> None:
    def program() -> None:
        MlflowServer("a" * 43, samples("aws")["MlflowServer"])  # type: ignore[arg-type]

    with pytest.raises(PreviewFailed, match=r"name is 'a+'; a Kubernetes name has up to 42"):
        plan_of(program)


def test_what_is_not_known_yet_stays_unknown_and_breaks_nothing() -> None:
    plan = plan_for(simulate_up=False)
    assert UNKNOWN in str(plan.one(DEPLOYMENT).inputs)
