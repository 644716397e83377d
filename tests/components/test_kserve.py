"""KServeInference: starts from verified models, as Deployments or on Knative, and says only what KServe takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pytest

from components import labels
from components.inference import KServeInference
from components.inference.kserve_pod import camel_case
from planner.engine import PreviewFailed
from planner.inventory import Inventory, Workload
from planner.inventory.objects import objects_in, selects
from planner.plan import Plan, Resource
from tests.components.test_inference import AWS, GCP
from tests.support import plan_of

SERVICE = "kubernetes:serving.kserve.io/v1beta1:InferenceService"
RUNTIME = "kubernetes:serving.kserve.io/v1alpha1:ServingRuntime"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
MONITOR = "kubernetes:monitoring.coreos.com/v1:PodMonitor"
OUTPUTS = ("url", "service", "namespace", "http_port", "grpc_port", "metrics_port")
ZERO: dict[str, Any] = {"mode": "serverless", "min_replicas": 0}


def plan_for(args: Mapping[str, Any] = AWS, **changes: Any) -> Plan:
    def program() -> None:
        provider = k8s.Provider("cluster", kubeconfig="{}")
        crds = k8s.core.v1.ConfigMap("crds", opts=pulumi.ResourceOptions(provider=provider))
        chat = KServeInference(
            "chat",
            {**args, **changes},  # type: ignore[typeddict-item]
            opts=pulumi.ResourceOptions(providers=[provider], depends_on=[crds]),
        )
        for output in OUTPUTS:
            pulumi.export(output, getattr(chat, output))

    return plan_of(program)


@pytest.fixture(scope="module")
def raw() -> Plan:
    return plan_for()


@pytest.fixture(scope="module")
def serverless() -> Plan:
    return plan_for(**ZERO)


@pytest.fixture(params=["raw", "serverless"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return request.getfixturevalue(request.param)


def predictor(plan: Plan) -> dict[str, Any]:
    return plan.one(SERVICE).inputs["spec"]["predictor"]


def runtime(plan: Plan) -> dict[str, Any]:
    return plan.one(RUNTIME).inputs["spec"]


def container(plan: Plan) -> dict[str, Any]:
    (server,) = runtime(plan)["containers"]
    return server


def annotations(plan: Plan) -> dict[str, str]:
    return plan.one(SERVICE).inputs["metadata"]["annotations"]


def children(plan: Plan) -> list[Resource]:
    return list(plan.under(plan.one("aicloud:index:KServeInference").urn))


def pod(plan: Plan) -> Workload:
    """As KServe will make it."""
    (workload,) = Inventory(plan).workloads
    return workload


# ---- what is built


def test_both_clouds_build_the_same_kubernetes_objects(raw: Plan) -> None:
    gcp = plan_for(GCP)
    kinds = [sorted(r.type for r in children(plan) if r.package == "kubernetes") for plan in (raw, gcp)]
    assert kinds[0] == kinds[1]
    assert len(kinds[0]) == 9
    assert dict(raw.outputs) == dict(gcp.outputs)


def test_outputs_are_where_requests_go(raw: Plan, serverless: Plan) -> None:
    assert dict(raw.outputs) == {
        "url": "http://chat.inference.svc.cluster.local:8000",
        "service": "chat",
        "namespace": "inference",
        "http_port": 8000,
        "grpc_port": 8001,
        "metrics_port": 8002,
    }
    assert dict(serverless.outputs) == {
        "url": "http://chat-predictor.inference.svc.cluster.local",
        "service": "chat-predictor",
        "namespace": "inference",
        "http_port": 80,
        "grpc_port": 0,
        "metrics_port": 8002,
    }
    by_grpc = plan_for(**ZERO, protocol="grpc-v2").outputs
    assert (by_grpc["http_port"], by_grpc["grpc_port"]) == (0, 80)


def test_a_raw_server_has_a_service_that_means_its_pods(raw: Plan, serverless: Plan) -> None:
    service = raw.one("kubernetes:core/v1:Service").inputs["spec"]
    assert selects({"matchLabels": service["selector"]}, pod(raw).labels)
    assert {port["targetPort"] for port in service["ports"]} == {8000, 8001}
    # A Service of pods would go past Knative, and find none at zero.
    assert serverless.of_type("kubernetes:core/v1:Service") == []


def test_what_the_component_waits_for_its_children_wait_for(plan: Plan) -> None:
    crds = plan.one("kubernetes:core/v1:ConfigMap").urn
    for resource in children(plan):
        if resource.package == "kubernetes":
            assert crds in resource.dependencies, resource.name


def test_the_service_is_made_after_its_runtime_its_identity_and_its_walls(plan: Plan) -> None:
    needed = [
        plan.one(RUNTIME),
        plan.one("aws:eks/podIdentityAssociation:PodIdentityAssociation"),
        *plan.of_type(POLICY),
    ]
    assert {resource.urn for resource in needed} <= set(plan.one(SERVICE).dependencies)
    assert annotations(plan)["pulumi.com/waitFor"] == "condition=Ready"
    (patience,) = set(plan.one(SERVICE).custom_timeouts.values())
    assert patience > 900


# ---- the runtime and its models


def test_models_are_fetched_verified_and_nothing_else_is_loaded(plan: Plan) -> None:
    (fetch,) = predictor(plan)["initContainers"]
    assert fetch["command"] == ["python3", "-m", "workloads.serving", "fetch"]
    assert fetch["args"][:2] == ["--source", "s3://ai-models/models"]
    model = predictor(plan)["model"]
    # What KServe would download, it would not verify.
    assert "storageUri" not in model
    assert model["args"] == ["--load-model=bert", "--load-model=resnet50"]
    assert "--model-control-mode=explicit" in container(plan)["args"]
    assert not any("load-model" in argument for argument in container(plan)["args"])


def test_the_runtime_fits_the_service(plan: Plan) -> None:
    model = predictor(plan)["model"]
    assert model["runtime"] == plan.one(RUNTIME).inputs["metadata"]["name"] == "chat"
    assert model["modelFormat"] in runtime(plan)["supportedModelFormats"]
    assert model["protocolVersion"] in runtime(plan)["protocolVersions"]
    assert container(plan)["name"] == "kserve-container"
    # No model of somebody else's finds this runtime by its format.
    assert all("autoSelect" not in known for known in runtime(plan)["supportedModelFormats"])


def test_the_pod_that_comes_of_it_is_a_whole_one(plan: Plan) -> None:
    spec = pod(plan).spec
    assert spec["containers"][0]["args"][-2:] == ["--load-model=bert", "--load-model=resnet50"]
    assert spec["nodeSelector"] == {labels.ACCELERATOR: "l4", labels.PURPOSE: "serving"}
    assert [toleration["key"] for toleration in spec["tolerations"]] == ["nvidia.com/gpu"]
    assert {volume["name"] for volume in spec["volumes"]} == {"models", "scratch", "shared-memory"}
    assert spec["serviceAccountName"] == "chat"
    assert spec["automountServiceAccountToken"] is False
    mounted = {mount["name"] for one in spec["containers"][:1] for mount in one["volumeMounts"]}
    assert mounted <= {volume["name"] for volume in spec["volumes"]}


def test_a_pod_passes_the_restricted_pod_security_standard(plan: Plan) -> None:
    spec = pod(plan).spec
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in (spec["containers"][0], *spec["initContainers"]):
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
    space = plan.one("kubernetes:core/v1:Namespace").inputs["metadata"]["labels"]
    assert space["pod-security.kubernetes.io/enforce"] == "restricted"


def test_nobody_outside_of_the_cluster_gets_a_name_for_it(raw: Plan, serverless: Plan) -> None:
    for plan in (raw, serverless):
        given = plan.one(SERVICE).inputs["metadata"]["labels"]
        assert given["networking.kserve.io/visibility"] == "cluster-local"
    assert serverless.one(SERVICE).inputs["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"


def test_budget_and_monitor_mean_its_pods(plan: Plan) -> None:
    budget = plan.one("kubernetes:policy/v1:PodDisruptionBudget").inputs["spec"]
    monitor = plan.one(MONITOR).inputs["spec"]
    for selector in (budget["selector"], monitor["selector"]):
        assert selects(selector, pod(plan).labels)
    assert budget["maxUnavailable"] == 1
    named = {port["name"] for one in pod(plan).spec["containers"] for port in one["ports"]}
    assert {endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]} <= named


# ---- the modes


def test_a_raw_server_drains_and_has_all_its_ports(raw: Plan) -> None:
    assert annotations(raw)["serving.kserve.io/deploymentMode"] == "Standard"
    # KServe's own Service puts 80 before the first port.
    assert [port["name"] for port in container(raw)["ports"]] == ["http", "grpc", "metrics"]
    drain = container(raw)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert predictor(raw)["terminationGracePeriodSeconds"] > drain + 60
    assert predictor(raw)["deploymentStrategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_a_serverless_server_says_nothing_that_knative_refuses(serverless: Plan) -> None:
    assert annotations(serverless)["serving.kserve.io/deploymentMode"] == "Knative"
    assert "serving.kserve.io/autoscalerClass" not in annotations(serverless)
    assert not {"lifecycle", "terminationMessagePath"} & container(serverless).keys()
    assert container(serverless)["ports"] == [{"name": "http1", "containerPort": 8000, "protocol": "TCP"}]
    assert container(serverless)["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": 8000}
    assert not {"terminationGracePeriodSeconds", "deploymentStrategy"} & predictor(serverless).keys()
    by_grpc = container(plan_for(**ZERO, protocol="grpc-v2"))
    assert by_grpc["ports"] == [{"name": "h2c", "containerPort": 8001, "protocol": "TCP"}]
    assert "httpGet" not in by_grpc["livenessProbe"]


def test_a_serverless_server_is_asked_by_knative_alone(raw: Plan, serverless: Plan) -> None:
    def ingress(plan: Plan) -> list[Any]:
        (policy,) = (r for r in plan.of_type(POLICY) if r.name.endswith("traffic"))
        return policy.inputs["spec"]["ingress"]

    assert {"ipBlock": {"cidr": "10.1.0.0/16"}} in ingress(raw)[0]["from"]
    peers = [peer for rule in ingress(serverless) for peer in rule["from"]]
    assert all("ipBlock" not in peer for peer in peers)
    assert ingress(serverless)[0]["from"][0]["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "knative-serving"
    }


def test_a_canary_gets_its_percent(serverless: Plan) -> None:
    assert "canaryTrafficPercent" not in predictor(serverless)
    assert predictor(plan_for(**ZERO, canary_traffic_percent=10))["canaryTrafficPercent"] == 10


def test_a_counted_server_takes_back_what_is_lent() -> None:
    plan = plan_for(cluster_queue="serving")
    assert plan.one("kubernetes:kueue.x-k8s.io/v1beta2:LocalQueue").inputs["spec"] == {"clusterQueue": "serving"}
    assert plan.one("kubernetes:core/v1:Namespace").inputs["metadata"]["labels"][labels.QUEUED] == "true"
    # KServe hands labels of the service on to the Deployment, where Kueue looks.
    assert (pod(plan).queue, pod(plan).labels["kueue.x-k8s.io/priority-class"]) == ("chat", "serving")


# ---- scaling


def test_by_default_it_scales_on_cpu_or_on_requests_at_once(raw: Plan, serverless: Plan) -> None:
    assert annotations(raw)["serving.kserve.io/autoscalerClass"] == "hpa"
    limits = [
        (predictor(plan)["minReplicas"], predictor(plan)["maxReplicas"], predictor(plan)["scaleMetric"])
        for plan in (raw, serverless)
    ]
    assert limits == [(2, 8, "cpu"), (0, 8, "concurrency")]
    assert [(pod(plan).min_replicas, pod(plan).max_replicas) for plan in (raw, serverless)] == [(2, 8), (0, 8)]


def test_by_keda_the_time_that_one_request_waits_counts_once_a_pod() -> None:
    plan = plan_for(scale_metric="queue", scale_target=20)
    assert annotations(plan)["serving.kserve.io/autoscalerClass"] == "keda"
    # KServe refuses the two fields with KEDA.
    assert not {"scaleMetric", "scaleTarget"} & predictor(plan).keys()
    (metric,) = predictor(plan)["autoScaling"]["metrics"]
    assert metric["external"]["target"] == {"type": "Value", "value": "0.02"}
    query = metric["external"]["metric"]["query"]
    assert 'namespace="inference"' in query
    assert query.index("nv_inference_queue_duration_us") < query.index("nv_inference_request_success")
    assert "count(count by (pod)" in query
    # No scaler that goes by a counter.
    assert query.count("rate(") == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mode": "raw-deployment"}, "mode is 'raw-deployment'; accepted are 'raw', 'serverless'"),
        ({"cloud": "azure"}, "cloud is 'azure'; accepted are 'aws', 'gcp'"),
        ({"namespace": "In_ference"}, "namespace is 'In_ference'; a Kubernetes name"),
        ({"image": "registry.example/triton:latest"}, "'latest' is another image tomorrow"),
        ({"min_replicas": 0}, "min_replicas is 0; accepted is, in mode 'raw', 1 or more: only serverless"),
        ({"min_replicas": 9}, "max_replicas is 8; accepted is min_replicas, 9, or more"),
        ({**ZERO, "max_replicas": 0}, "max_replicas is 0"),
        ({"scale_metric": "rps"}, "scale_metric is 'rps'; accepted are, in mode 'raw', 'cpu', 'memory', 'queue'"),
        ({**ZERO, "scale_metric": "cpu"}, "accepted are, in mode 'serverless', 'concurrency', 'rps'"),
        ({"scale_target": 120}, "scale_target is 120; of 'cpu', percent of the requested CPU, accepted is at most 100"),
        ({"scale_target": 0}, "scale_target is 0; accepted is a number above 0"),
        ({"canary_traffic_percent": 10}, "canary_traffic_percent is 10; accepted in mode 'serverless' only"),
        ({**ZERO, "canary_traffic_percent": 101}, "canary_traffic_percent is 101; accepted is 0 to 100"),
        ({**ZERO, "timeout_s": 900}, "timeout_s is 900; accepted is, in mode 'serverless', at most 600"),
        ({"cluster_queue": ""}, "cluster_queue is ''; give the name of a ClusterQueue, or leave it out"),
        ({**ZERO, "cluster_queue": "serving"}, "cluster_queue is 'serving'; accepted in mode 'raw' only"),
        ({"cluster_queue": "serving", "load_bandwidth_gib_s": 0.01}, "Kueue takes it away after 60 minutes"),
        ({**ZERO, "service": "front"}, "service is 'front'; accepted in mode 'raw' only"),
        ({"protocol": "v2"}, "protocol is 'v2'; accepted in mode 'serverless' only"),
        ({**ZERO, "protocol": "v1"}, "protocol is 'v1'; accepted are 'v2', 'grpc-v2'"),
        ({"client_cidrs": []}, "client_cidrs is []; give at least one network"),
        ({"accelerator": "l5"}, "accelerator is 'l5', gpus 1"),
        ({"gpus": 64}, "gpus 64"),
        ({"models": []}, "models is []; give at least one"),
        ({"models": [{"name": "m", "version": 0, "size_gib": 1.0}]}, "models[0].version is 0"),
        ({"repository_url": "s3://ai-models/other"}, "repository_url is 's3://ai-models/other'"),
        ({"replicas": 2}, "replicas: unknown argument"),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, PreviewFailed)) as error:
        plan_for(**changes)
    assert "KServeInference 'chat': " in str(error.value)
    assert says in str(error.value)


def test_a_name_leaves_room_for_what_kserve_makes_of_it() -> None:
    def program() -> None:
        KServeInference("a" * 49, AWS)  # type: ignore[arg-type]

    with pytest.raises((ValueError, PreviewFailed), match="up to 48 lower-case letters"):
        plan_of(program)


def test_fields_become_kubernetes_own_and_names_stay() -> None:
    given = {
        "exec_": {"command": ["a"]},
        "match_labels": {"a_b": "c_d"},
        "node_selector": {"x_y": "z"},
        "if_": [{"a_b": 1}],
    }
    assert camel_case(given) == {
        "exec": {"command": ["a"]},
        "matchLabels": {"a_b": "c_d"},
        "nodeSelector": {"x_y": "z"},
        "if": [{"aB": 1}],
    }


def test_the_planner_finds_what_the_service_selects(raw: Plan) -> None:
    objects = objects_in(Inventory(raw))
    (service,) = objects.of_kind("Service")
    assert [workload.kind for workload in objects.pods(service)] == ["InferenceService"]
