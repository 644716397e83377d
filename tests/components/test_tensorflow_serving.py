"""TensorFlowServing: just these versions, verified, warmed up, and told to end only after it has drained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import kubernetes_validate
import pulumi
import pulumi_kubernetes as k8s
import pytest

from components import labels
from components.inference import TensorFlowServing
from components.inference import tensorflow_config as config
from planner.engine import PreviewFailed
from planner.inventory.objects import selects
from planner.plan import Plan, Resource
from tests.support import plan_of

DEPLOYMENT = "kubernetes:apps/v1:Deployment"
CONFIG = "kubernetes:core/v1:ConfigMap"
SCALER = "kubernetes:autoscaling/v2:HorizontalPodAutoscaler"
OUTPUTS = ("url", "service", "namespace", "http_port", "grpc_port", "metrics_port", "health_path")
AWS: dict[str, Any] = {
    "cloud": "aws",
    "region": "us-east-1",
    "cluster_name": "ai",
    "workload_identity_pool": "",
    "namespace": "clicks",
    "image": "registry.example/tensorflow-serving:2.20.0",
    "fetch_image": "registry.example/triton:26.09-1",
    "models": [
        {"name": "clicks", "version": 4, "size_gib": 1.0, "labels": ["canary"]},
        {"name": "clicks", "version": 3, "size_gib": 1.0, "labels": ["stable", "old"]},
        {"name": "words", "version": 1, "size_gib": 2.0},
    ],
    "repository_url": "s3://ai-models/models",
    "bucket": "ai-models",
    "min_replicas": 2,
    "max_replicas": 8,
    "client_cidrs": ["10.1.0.0/16"],
}
GCP: dict[str, Any] = {**AWS, "cloud": "gcp", "region": "us-central1", "repository_url": "gs://ai-models/models"}
GPU: dict[str, Any] = {"accelerator": "l4", "image": "registry.example/tensorflow-serving:2.20.0-gpu"}
BATCHING: dict[str, Any] = {"max_batch_size": 32, "batch_timeout_ms": 1.5}


def plan_for(args: Mapping[str, Any] = AWS, **changes: Any) -> Plan:
    def program() -> None:
        provider = k8s.Provider("cluster", kubeconfig="{}")
        crds = k8s.core.v1.Secret("crds", opts=pulumi.ResourceOptions(provider=provider))
        server = TensorFlowServing(
            "tf",
            {**args, **changes},  # type: ignore[typeddict-item]
            opts=pulumi.ResourceOptions(providers=[provider], depends_on=[crds]),
        )
        for output in OUTPUTS:
            pulumi.export(output, getattr(server, output))

    return plan_of(program)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_for(batching=BATCHING)


@pytest.fixture(scope="module")
def on_gpus() -> Plan:
    return plan_for(**GPU, pods_per_gpu=2)


def template(plan: Plan) -> dict[str, Any]:
    return plan.one(DEPLOYMENT).inputs["spec"]["template"]


def pod(plan: Plan) -> dict[str, Any]:
    return template(plan)["spec"]


def server(plan: Plan) -> dict[str, Any]:
    (container,) = pod(plan)["containers"]
    return container


def files(plan: Plan) -> dict[str, str]:
    return plan.one(CONFIG).inputs["data"]


def children(plan: Plan) -> list[Resource]:
    return [r for r in plan.under(plan.one("aicloud:index:TensorFlowServing").urn) if r.package == "kubernetes"]


# ---- what is built


def test_both_clouds_build_the_same_kubernetes_objects(plan: Plan) -> None:
    gcp = plan_for(GCP, batching=BATCHING)
    assert sorted(r.type for r in children(plan)) == sorted(r.type for r in children(gcp))
    assert len(children(plan)) == 10
    assert dict(plan.outputs) == dict(gcp.outputs)
    assert dict(plan.outputs) == {
        "url": "http://tf.clicks.svc.cluster.local:8501",
        "service": "tf",
        "namespace": "clicks",
        "http_port": 8501,
        "grpc_port": 8500,
        "metrics_port": 8501,
        "health_path": "/v1/models/clicks/versions/3",
    }


def test_kubernetes_knows_every_field(plan: Plan, on_gpus: Plan) -> None:
    checked = 0
    for resource in [*children(plan), *children(on_gpus)]:
        if "monitoring.coreos.com" not in resource.type:
            kubernetes_validate.validate(json.loads(json.dumps(resource.inputs)), "1.34", strict=True)
            checked += 1
    assert checked == 18


def test_what_the_component_waits_for_its_children_wait_for(plan: Plan) -> None:
    crds = plan.one("kubernetes:core/v1:Secret").urn
    assert [r.name for r in children(plan) if crds not in r.dependencies] == []
    needed = [plan.one(CONFIG), plan.one("aws:eks/podIdentityAssociation:PodIdentityAssociation")]
    assert {r.urn for r in needed} <= set(plan.one(DEPLOYMENT).dependencies)


# ---- models and files


def test_just_these_versions_are_fetched_and_served(plan: Plan) -> None:
    (fetch,) = pod(plan)["initContainers"]
    assert fetch["image"] == AWS["fetch_image"]
    assert fetch["command"] == ["python3", "-m", "workloads.serving", "fetch"]
    assert fetch["args"][4:] == ["--model", "clicks:4", "--model", "clicks:3", "--model", "words:1"]
    assert files(plan)[config.MODELS] == (
        "model_config_list {\n"
        "  config {\n"
        '    name: "clicks"\n'
        '    base_path: "/models/clicks"\n'
        '    model_platform: "tensorflow"\n'
        "    model_version_policy {\n"
        "      specific {\n"
        "        versions: 3\n"
        "        versions: 4\n"
        "      }\n"
        "    }\n"
        "    version_labels {\n"
        '      key: "canary"\n'
        "      value: 4\n"
        "    }\n"
        "    version_labels {\n"
        '      key: "old"\n'
        "      value: 3\n"
        "    }\n"
        "    version_labels {\n"
        '      key: "stable"\n'
        "      value: 3\n"
        "    }\n"
        "  }\n"
        "  config {\n"
        '    name: "words"\n'
        '    base_path: "/models/words"\n'
        '    model_platform: "tensorflow"\n'
        "    model_version_policy {\n"
        "      specific {\n"
        "        versions: 1\n"
        "      }\n"
        "    }\n"
        "  }\n"
        "}\n"
    )


def test_the_server_reads_the_files_that_are_mounted(plan: Plan) -> None:
    flags = dict(argument.removeprefix("--").split("=", 1) for argument in server(plan)["args"])
    mounts = {mount["name"]: mount for mount in server(plan)["volumeMounts"]}
    for flag in ("model_config_file", "monitoring_config_file", "batching_parameters_file"):
        directory, _, name = flags[flag].rpartition("/")
        assert directory == mounts["config"]["mountPath"]
        assert name in files(plan)
    assert mounts["models"]["readOnly"] is True
    (volume,) = (v for v in pod(plan)["volumes"] if v["name"] == "config")
    assert volume["configMap"]["name"] == plan.one(CONFIG).inputs["metadata"]["name"]
    assert server(plan)["command"] == ["tensorflow_model_server"]


def test_nothing_is_batched_or_labelled_that_nobody_asked_for() -> None:
    plain = plan_for(models=[{"name": "words", "version": 1, "size_gib": 2.0}])
    assert not any("batching" in argument or "labels" in argument for argument in server(plain)["args"])
    assert set(files(plain)) == {config.MODELS, config.MONITORING}


def test_batching_parameters_are_of_all_models(plan: Plan) -> None:
    assert files(plan)[config.BATCHING].splitlines() == [
        "max_batch_size { value: 32 }",
        "batch_timeout_micros { value: 1500 }",
        "max_enqueued_batches { value: 100 }",
        "num_batch_threads { value: 2 }",
    ]
    sizes = files(plan_for(batching={**BATCHING, "allowed_batch_sizes": [8, 32], "num_batch_threads": 4}))
    assert sizes[config.BATCHING].splitlines()[-3:] == [
        "num_batch_threads { value: 4 }",
        "allowed_batch_sizes: 8",
        "allowed_batch_sizes: 32",
    ]


def test_other_files_want_other_pods(plan: Plan) -> None:
    other = plan_for(batching={**BATCHING, "max_batch_size": 64})
    digests = {template(one)["metadata"]["annotations"]["checksum/config"] for one in (plan, other)}
    assert len(digests) == 2


def test_pods_are_ready_once_their_models_are_loaded_and_warmed_up(plan: Plan) -> None:
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server(plan)[probe]["httpGet"] == {"path": "/v1/models/clicks/versions/3", "port": "rest"}
    assert "--enable_model_warmup=true" in server(plan)["args"]
    assert server(plan)["startupProbe"]["failureThreshold"] > server(plan)["livenessProbe"]["failureThreshold"]


def test_a_pod_drains_before_it_ends(plan: Plan) -> None:
    drain = server(plan)["lifecycle"]["preStop"]["sleep"]["seconds"]
    (timeout,) = (int(a.split("=")[1]) for a in server(plan)["args"] if a.startswith("--rest_api_timeout_in_ms"))
    assert pod(plan)["terminationGracePeriodSeconds"] > drain + timeout / 1000


def test_metrics_are_on_the_port_of_requests(plan: Plan) -> None:
    monitor = plan.one("kubernetes:monitoring.coreos.com/v1:PodMonitor").inputs["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("rest", "/monitoring/prometheus/metrics")
    assert f'path: "{endpoint["path"]}"' in files(plan)[config.MONITORING]
    assert selects(monitor["selector"], template(plan)["metadata"]["labels"])


# ---- where it runs


def test_without_an_accelerator_it_runs_on_cpus(plan: Plan) -> None:
    assert pod(plan)["nodeSelector"] == {labels.PURPOSE: "serving"}
    assert pod(plan).get("tolerations", []) == []
    assert server(plan)["resources"]["requests"]["cpu"] == "2000m"
    assert "nvidia.com/gpu" not in server(plan)["resources"]["limits"]


def test_with_one_it_takes_its_part_of_the_gpu(on_gpus: Plan) -> None:
    assert pod(on_gpus)["nodeSelector"][labels.ACCELERATOR] == "l4"
    assert [t["key"] for t in pod(on_gpus)["tolerations"]] == ["nvidia.com/gpu"]
    assert server(on_gpus)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "--per_process_gpu_memory_fraction=0.450" in server(on_gpus)["args"]
    assert not any("fraction" in argument for argument in server(plan_for(**GPU))["args"])


def test_a_pod_passes_the_restricted_pod_security_standard(plan: Plan) -> None:
    space = plan.one("kubernetes:core/v1:Namespace").inputs["metadata"]["labels"]
    assert space["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod(plan)["securityContext"]["runAsNonRoot"] is True
    for container in (*pod(plan)["initContainers"], server(plan)):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_only_clients_and_prometheus_get_in(plan: Plan) -> None:
    policies = {r.name: r.inputs["spec"] for r in plan.of_type("kubernetes:networking.k8s.io/v1:NetworkPolicy")}
    assert set(policies) == {"tf-deny-all", "tf-traffic"}
    clients, scrapes = policies["tf-traffic"]["ingress"]
    assert [port["port"] for port in clients["ports"]] == [8501, 8500]
    assert [port["port"] for port in scrapes["ports"]] == [8501]


def test_a_counted_server_takes_back_what_is_lent() -> None:
    plan = plan_for(**GPU, cluster_queue="serving")
    assert plan.one("kubernetes:kueue.x-k8s.io/v1beta2:LocalQueue").inputs["spec"] == {"clusterQueue": "serving"}
    given = plan.one(DEPLOYMENT).inputs["metadata"]["labels"]
    assert given["kueue.x-k8s.io/queue-name"] == "tf"
    assert not any(key.startswith("kueue") for key in template(plan)["metadata"]["labels"])


# ---- scaling


def test_it_scales_on_cpu(plan: Plan) -> None:
    spec = plan.one(SCALER).inputs["spec"]
    assert spec["metrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
    ]
    assert (spec["minReplicas"], spec["maxReplicas"], spec["scaleTargetRef"]["name"]) == (2, 8, "tf")
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert "replicas" not in plan.one(DEPLOYMENT).inputs["spec"]


def test_or_on_the_requests_that_it_counts_itself() -> None:
    plan = plan_for(scale_metric="requests", scale_target=25)
    assert plan.of_type(SCALER) == []
    spec = plan.one("kubernetes:keda.sh/v1alpha1:ScaledObject").inputs["spec"]
    (trigger,) = spec["triggers"]
    assert trigger["metadata"]["query"] == 'sum(rate(:tensorflow:serving:request_count{namespace="clicks"}[1m]))'
    assert (trigger["metricType"], trigger["metadata"]["threshold"]) == ("AverageValue", "25")
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 8)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image": "tensorflow/serving"}, "image is 'tensorflow/serving'; give it a tag"),
        ({"fetch_image": "triton:latest"}, "fetch_image is 'triton:latest'; 'latest' is another image tomorrow"),
        ({"min_replicas": 0}, "min_replicas is 0; accepted is 1 or more"),
        ({"cluster_queue": "serving"}, "cluster_queue is 'serving'; accepted with an accelerator only"),
        ({"gpus": 1}, "gpus is 1; accepted with an accelerator only"),
        ({"accelerator": "trainium2", "region": "us-east-2", "gpus": 16}, "TensorFlow Serving serves on NVIDIA GPUs"),
        ({"scale_metric": "queue"}, "scale_metric is 'queue'; accepted are 'cpu', 'requests'"),
        ({"scale_target": 101}, "scale_target is 101; of 'cpu', percent of the requested CPU, accepted is at most 100"),
        ({"timeout_s": 0}, "timeout_s is 0; accepted is a number above 0"),
        ({"batching": {**BATCHING, "max_batch_size": 0}}, "batching.max_batch_size is 0; accepted is 1 or more"),
        ({"batching": {**BATCHING, "batch_timeout_ms": -1}}, "batching.batch_timeout_ms is -1"),
        ({"batching": {**BATCHING, "allowed_batch_sizes": [8, 16]}}, "rise, from 1 or more to max_batch_size, 32"),
        ({"models": [{"name": "a b", "version": 1, "size_gib": 1.0}]}, "models[0].name is 'a b'"),
        ({"models": [{**AWS["models"][0], "labels": ["v-4"]}]}, "models[0].labels is 'v-4'; accepted are letters"),
        (
            {"models": [AWS["models"][0], {**AWS["models"][1], "labels": ["canary"]}]},
            "models[1].labels is 'canary'; version 4 has it already",
        ),
        ({"models": [AWS["models"][0]] * 2}, "models[1] is 'clicks:4'; it is there already"),
        ({"repository_prefix": "team/models"}, "repository_url is 's3://ai-models/models'; with repository_prefix"),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, PreviewFailed)) as error:
        plan_for(**changes)
    assert "TensorFlowServing 'tf': " in str(error.value)
    assert says in str(error.value)
