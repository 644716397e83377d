"""KubeflowPipelines: a database that nobody reaches, runs that may do little, and names that KFP's parts look for."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
from typing import Any

import kubernetes_validate
import pulumi
import pulumi_kubernetes as k8s
import pytest
import yaml

from components.pipelines import KubeflowPipelines, kubeflow_pods
from components.pipelines.kubeflow_rights import RULES
from planner import checks
from planner.engine import PreviewFailed, preview
from planner.engine.project import load
from planner.inventory.objects import selects
from planner.plan import Plan
from tests.samples import samples
from tests.support import ROOT, plan_of

DEPLOYMENT, RELEASE = "kubernetes:apps/v1:Deployment", "kubernetes:helm.sh/v3:Release"
POLICY, CONFIG = "kubernetes:networking.k8s.io/v1:NetworkPolicy", "kubernetes:core/v1:ConfigMap"
ROLE, SERVICE = "kubernetes:rbac.authorization.k8s.io/v1:Role", "kubernetes:core/v1:Service"
TODAY = datetime.date(2026, 11, 29)
RUN = {"workflows.argoproj.io/workflow": "train-x7k2p"}


def plan_for(on: str = "aws", /, name: str = "kfp", **changes: Any) -> Plan:
    args = {**samples(on)["KubeflowPipelines"], **changes}

    def program() -> None:
        made = KubeflowPipelines(
            name,
            {key: value for key, value in args.items() if value is not None},  # type: ignore[arg-type]
            pulumi.ResourceOptions(providers=[k8s.Provider("cluster", kubeconfig="{}")]),
        )
        for output in ("endpoint", "namespace", "pipeline_root", "service_account", "principal"):
            pulumi.export(output, getattr(made, output))

    return plan_of(program, simulate_up=True)


@pytest.fixture(scope="module", params=["aws", "gcp"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return plan_for(request.param)


def deployments(plan: Plan) -> dict[str, dict[str, Any]]:
    found = (r.inputs for r in plan.of_type(DEPLOYMENT))
    return {one["metadata"]["name"]: one["spec"]["template"] for one in found}


def containers(plan: Plan) -> dict[str, dict[str, Any]]:
    spec = deployments(plan)["ml-pipeline"]["spec"]
    return {one["name"]: one for one in [*spec["initContainers"], *spec["containers"]]}


def environment(container: dict[str, Any]) -> dict[str, str | None]:
    return {one["name"]: one.get("value") for one in container["env"]}


def policies(plan: Plan, labels: dict[str, str]) -> dict[str, Any]:
    """Those that say something of a pod, but for what denies all."""
    found = {r.inputs["metadata"]["name"].removeprefix("kfp-"): r.inputs["spec"] for r in plan.of_type(POLICY)}
    assert found.pop("deny-all") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    return {name: spec for name, spec in found.items() if selects(spec["podSelector"], labels)}


def test_mysql_answers_inside_its_pod_alone_and_there_is_no_password(plan: Plan) -> None:
    mysql = containers(plan)["mysql"]
    assert mysql["restartPolicy"] == "Always"
    assert {"--bind-address=127.0.0.1", "--mysqlx=OFF"} <= set(mysql["args"])
    assert "ports" not in mysql
    assert not plan.of_type("kubernetes:core/v1:Secret")
    for service in plan.of_type(SERVICE):
        assert 3306 not in [port["port"] for port in service.inputs["spec"]["ports"]]
    for policy in plan.of_type(POLICY):
        assert "3306" not in json.dumps(policy.inputs)
    server = environment(containers(plan)["api-server"])
    assert (server["DBCONFIG_MYSQLCONFIG_HOST"], server["DBCONFIG_MYSQLCONFIG_PASSWORD"]) == ("127.0.0.1", "")
    assert "--mysql_config_host=127.0.0.1" in containers(plan)["metadata"]["args"]


def test_mysql_comes_first_and_its_data_outlive_the_pod(plan: Plan) -> None:
    template = deployments(plan)["ml-pipeline"]["spec"]
    mysql = containers(plan)["mysql"]
    # Until its first set-up is done it answers on a socket alone.
    assert "--protocol=tcp" in mysql["startupProbe"]["exec"]["command"]
    (directory,) = [word.partition("=")[2] for word in mysql["args"] if word.startswith("--datadir")]
    (mount,) = [one["mountPath"] for one in mysql["volumeMounts"] if one["name"] == "data"]
    assert directory.startswith(f"{mount}/")
    (volume,) = [one for one in template["volumes"] if one["name"] == "data"]
    claim = plan.one("kubernetes:core/v1:PersistentVolumeClaim")
    assert volume["persistentVolumeClaim"]["claimName"] == claim.inputs["metadata"]["name"]
    assert claim.protect
    # The volume's group is that which MySQL runs as.
    assert template["securityContext"]["fsGroup"] == mysql["securityContext"]["runAsGroup"]
    (spec,) = [r.inputs["spec"] for r in plan.of_type(DEPLOYMENT) if r.name.endswith("-server")]
    assert spec["strategy"] == {"type": "Recreate"}


def test_the_api_server_knows_no_key_and_no_bucket(plan: Plan) -> None:
    server = environment(containers(plan)["api-server"])
    assert server["OBJECTSTORECONFIG_ACCESSKEY"] == server["OBJECTSTORECONFIG_SECRETACCESSKEY"] == ""
    assert server["AWS_EC2_METADATA_DISABLED"] == "true"
    for association in plan.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation"):
        assert association.inputs["serviceAccount"] == "pipeline-runner"


def test_pods_are_pinned_nobody_and_beside_the_add_ons(plan: Plan) -> None:
    for template in deployments(plan).values():
        spec = template["spec"]
        assert spec["nodeSelector"]["aicloud.dev/purpose"] == "system"
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            assert container["image"].rpartition(":")[2] not in ("", "latest")
            security = {**spec["securityContext"], **container["securityContext"]}
            assert security["runAsNonRoot"]
            assert security["runAsUser"] > 0
            assert security["readOnlyRootFilesystem"]
            assert "memory" in container["resources"]["limits"]


def test_versions_go_together(plan: Plan) -> None:
    # Not imported: Pulumi and kfp each register google.rpc.Status, and a process takes one.
    installed = importlib.metadata.version("kfp")
    assert installed == kubeflow_pods.VERSION
    server = environment(containers(plan)["api-server"])
    images = [server["V2_DRIVER_IMAGE"], server["V2_LAUNCHER_IMAGE"]]
    images += [one["image"] for name in deployments(plan) for one in deployments(plan)[name]["spec"]["containers"]]
    assert {str(image).rpartition(":")[2] for image in images if "/kubeflow/kfp-" in str(image)} == {installed}


def test_what_parts_look_for_has_the_name_they_look_for(plan: Plan) -> None:
    found = {r.inputs["metadata"]["name"]: r.inputs["spec"] for r in plan.of_type(SERVICE)}
    assert {name: [one["port"] for one in spec["ports"]] for name, spec in found.items()} == {
        "ml-pipeline": [8888, 8887],
        "metadata-grpc-service": [8080],
    }
    labels = deployments(plan)["ml-pipeline"]["metadata"]["labels"]
    named = {port["name"] for one in containers(plan).values() for port in one.get("ports", [])}
    for spec in found.values():
        assert spec["selector"].items() <= labels.items()
        assert {port["targetPort"] for port in spec["ports"]} <= named
    assert plan.outputs["endpoint"] == "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
    assert plan.outputs["service_account"] == "pipeline-runner"


def test_runs_are_told_their_root() -> None:
    for on, root in (("aws", "s3://sim-models/kubeflow?region=us-east-1"), ("gcp", "gs://sim-models/kubeflow")):
        plan = plan_for(on)
        (launcher,) = [r.inputs for r in plan.of_type(CONFIG) if r.inputs["metadata"]["name"] == "kfp-launcher"]
        assert launcher["data"] == {"defaultPipelineRoot": root}
        assert plan.outputs["pipeline_root"] == root


def test_a_run_reads_no_secret_makes_no_pod_and_uses_its_prefixes(plan: Plan) -> None:
    rules = {r.inputs["metadata"]["name"]: r.inputs["rules"] for r in plan.of_type(ROLE)}
    assert set(rules) == set(RULES)
    allowed = {(resource, verb) for rule in rules["pipeline-runner"] for resource in rule["resources"]
               for verb in rule["verbs"]}  # fmt: skip
    assert ("workflowtaskresults", "create") in allowed
    assert not {resource for resource, _ in allowed} & {"secrets", "deployments", "jobs", "pods/exec", "workflows"}
    assert ("pods", "create") not in allowed
    assert not any("*" in (*rule["verbs"], *rule["resources"]) for one in rules.values() for rule in one)
    for policy in plan.of_type("aws:iam/rolePolicy:RolePolicy"):
        text = policy.inputs["policy"]
        assert all(f"sim-models/{prefix}/*" in text for prefix in ("kubeflow", "models", "datasets"))
        assert "sim-models/*" not in text


def test_traffic_is_told_by_kind_of_pod(plan: Plan) -> None:
    labels = {name: one["metadata"]["labels"] for name, one in deployments(plan).items()}
    assert set(policies(plan, labels["ml-pipeline"])) == {"server"}
    assert set(policies(plan, labels["ml-pipeline-persistenceagent"])) == {"controllers"}
    assert set(policies(plan, {"app.kubernetes.io/component": "workflow-controller"})) == {"controllers"}
    run = policies(plan, RUN)["runs"]
    assert set(policies(plan, RUN)) == {"runs"}
    assert run["policyTypes"] == ["Egress"]
    assert [5000] in [[port["port"] for port in rule["ports"]] for rule in run["egress"]]
    server = policies(plan, labels["ml-pipeline"])["server"]
    _, asked = server["ingress"]
    assert [one["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for one in asked["from"]] == [
        "training",
        "monitoring",
    ]


def test_argo_has_one_namespace_and_brings_both_kinds(plan: Plan) -> None:
    release = plan.one(RELEASE).inputs
    values = release["values"]
    assert (release["chart"], release["version"]) == ("argo-workflows", "0.45.27")
    assert values["singleNamespace"]
    assert not values["createAggregateRoles"]
    assert not values["controller"]["clusterWorkflowTemplates"]["enabled"]
    assert not values["server"]["enabled"]
    assert not values["workflow"]["rbac"]["create"]
    (kind,) = values["extraObjects"]
    assert kubernetes_validate.validate(kind, "1.34", strict=True) is not None
    # Helm's template would take what stands in double braces for its own.
    assert "{{" not in yaml.safe_dump(kind)
    for account in ("ml-pipeline-persistenceagent", "ml-pipeline-scheduledworkflow", "ml-pipeline"):
        (waits,) = [r for r in plan.of_type(DEPLOYMENT) if r.inputs["metadata"]["name"] == account]
        assert RELEASE in {plan.by_urn[urn].type for urn in waits.dependencies}


def test_what_exports_metrics_is_asked_for_them(plan: Plan) -> None:
    templates = deployments(plan)
    monitors = {r.inputs["metadata"]["name"]: r.inputs["spec"] for r in plan if r.type.endswith(":PodMonitor")}
    assert set(monitors) == {"ml-pipeline", "ml-pipeline-scheduledworkflow", "workflow-controller"}
    for name in monitors.keys() & templates.keys():
        named = {port["name"] for one in templates[name]["spec"]["containers"] for port in one.get("ports", [])}
        (endpoint,) = monitors[name]["podMetricsEndpoints"]
        assert endpoint["port"] in named
        assert monitors[name]["selector"]["matchLabels"].items() <= templates[name]["metadata"]["labels"].items()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cloud": "azure"}, "cloud is 'azure'; accepted are 'aws', 'gcp'"),
        ({"namespace": "Kube"}, "namespace is 'Kube'; a Kubernetes name"),
        ({"name": "k" * 35}, "up to 34 lower-case letters"),
        ({"prefix": "/"}, "prefix is '/'"),
        ({"read_prefixes": ["a", ""]}, r"read_prefixes\[1\] is ''"),
        ({"client_namespaces": ["a_b"]}, r"client_namespaces\[0\] is 'a_b'"),
        ({"images": {"ui": "x:1"}}, "images is 'ui'; accepted are 'api-server'"),
        ({"images": {"mysql": "mysql:latest"}}, "images.mysql is 'mysql:latest'"),
        ({"storage_gib": 4}, "storage_gib is 4; accepted is 5 to 1000"),
    ],
)
def test_wrong_arguments(changes: dict[str, Any], says: str) -> None:
    name = changes.pop("name", "kfp")
    with pytest.raises(PreviewFailed, match=says):
        plan_for("aws", name, **changes)


def test_an_environment_may_have_it() -> None:
    name = "ai-cloud:pipelines"
    entries = yaml.safe_load((ROOT / "stacks" / "Pulumi.dev.yaml").read_text())["config"][name]
    own = {part: f"registry.example.com/ai-cloud/{part}:1@sha256:{'0' * 64}" for part in kubeflow_pods.IMAGES}
    wanted = json.dumps([{**entry, "kubeflow": {"images": own}} for entry in entries])
    plan = preview(load(ROOT, "dev", {name: wanted}), simulate_up=True)
    assert not [str(one) for one in plan.errors]
    # A password of MySQL's that is empty, and the switch of its way to log in, are no secrets.
    assert not [str(one) for one in checks.check(plan, TODAY).findings if "kubeflow" in str(one)]
    (made,) = [r for r in plan if r.type == "aicloud:index:KubeflowPipelines"]
    assert made.name.endswith("-kubeflow")
    # MlflowServer lets its runs in.
    (traffic,) = [r for r in plan.of_type(POLICY) if r.name.endswith("-mlflow-traffic")]
    peers = json.dumps(traffic.inputs["spec"]["ingress"])
    assert '"kubeflow"' in peers
