"""TritonInference: starts from verified models, scales on waiting time, talks to nobody it needn't."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import kubernetes_validate
import pulumi
import pulumi_kubernetes as k8s
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import labels
from components.accelerators import machine_type, machines
from components.inference import TritonInference, startup
from components.inference.pod import mebibytes
from components.inference.server_arguments import Refusal, checked_url
from planner.plan import Plan, Resource
from tests.support import plan_of
from workloads.serving import tracing

DEPLOYMENT = "kubernetes:apps/v1:Deployment"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
SCALER = "kubernetes:keda.sh/v1alpha1:ScaledObject"
CUSTOM = ("monitoring.coreos.com", "keda.sh")

AWS: dict[str, Any] = {
    "cloud": "aws",
    "region": "us-east-1",
    "cluster_name": "ai",
    "workload_identity_pool": "",
    "namespace": "inference",
    "image": "registry.example/triton:26.09-1",
    "models": [{"name": "resnet50", "version": 3, "size_gib": 2.0}, {"name": "bert", "version": 1, "size_gib": 14.0}],
    "repository_url": "s3://ai-models/models",
    "bucket": "ai-models",
    "encryption_key": "arn:aws:kms:us-east-1:123456789012:key/k",
    "accelerator": "l4",
    "gpus": 1,
    "min_replicas": 2,
    "max_replicas": 8,
    "client_cidrs": ["10.1.0.0/16"],
}
GCP: dict[str, Any] = {
    **{key: value for key, value in AWS.items() if key != "encryption_key"},
    "cloud": "gcp",
    "region": "us-central1",
    "workload_identity_pool": "sim-project.svc.id.goog",
    "repository_url": "gs://ai-models/models",
}


OUTPUTS = (
    *("service", "namespace", "http_port", "grpc_port", "metrics_port"),
    *("request_service", "request_namespace", "request_port"),
)


def plan_for(args: Mapping[str, Any] = AWS, **changes: Any) -> Plan:
    def program() -> None:
        provider = k8s.Provider("cluster", kubeconfig="{}")
        crds = k8s.core.v1.ConfigMap("crds", opts=pulumi.ResourceOptions(provider=provider))
        chat = TritonInference(
            "chat",
            {**args, **changes},  # type: ignore[typeddict-item]
            opts=pulumi.ResourceOptions(providers=[provider], depends_on=[crds]),
        )
        for output in OUTPUTS:
            pulumi.export(output, getattr(chat, output))

    return plan_of(program)


@pytest.fixture(scope="module")
def aws() -> Plan:
    return plan_for(AWS)


@pytest.fixture(scope="module")
def gcp() -> Plan:
    return plan_for(GCP)


@pytest.fixture(params=["aws", "gcp"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return request.getfixturevalue(request.param)


def pod(plan: Plan) -> dict[str, Any]:
    return plan.one(DEPLOYMENT).inputs["spec"]["template"]["spec"]


def triton(plan: Plan) -> dict[str, Any]:
    (container,) = pod(plan)["containers"]
    return container


def fetch(plan: Plan) -> dict[str, Any]:
    (container,) = pod(plan)["initContainers"]
    return container


def children(plan: Plan) -> list[Resource]:
    return list(plan.under(plan.one("aicloud:index:TritonInference").urn))


# ---- what is built


def test_both_clouds_build_the_same_kubernetes_objects(aws: Plan, gcp: Plan) -> None:
    kinds = [sorted(r.type for r in children(plan) if r.package == "kubernetes") for plan in (aws, gcp)]
    assert kinds[0] == kinds[1]
    assert len(kinds[0]) == 9
    assert dict(aws.outputs) == dict(gcp.outputs)
    assert dict(aws.outputs) == {
        "service": "chat",
        "namespace": "inference",
        "http_port": 8000,
        "grpc_port": 8001,
        "metrics_port": 8002,
        "request_service": "chat",
        "request_namespace": "inference",
        "request_port": 8000,
    }


def test_kubernetes_knows_every_field(plan: Plan) -> None:
    checked = 0
    for resource in children(plan):
        if resource.package == "kubernetes" and not any(group in resource.type for group in CUSTOM):
            kubernetes_validate.validate(json.loads(json.dumps(resource.inputs)), "1.34", strict=True)
            checked += 1
    assert checked == 7


def test_what_the_component_waits_for_its_children_wait_for(aws: Plan) -> None:
    crds = aws.one("kubernetes:core/v1:ConfigMap").urn
    for resource in children(aws):
        if resource.package == "kubernetes":
            assert crds in resource.dependencies, resource.name


def test_a_pod_starts_with_its_identity_and_its_walls(aws: Plan) -> None:
    waited = aws.one(DEPLOYMENT).dependencies
    needed = [aws.one("aws:eks/podIdentityAssociation:PodIdentityAssociation"), *aws.of_type(POLICY)]
    assert len(needed) == 3
    assert {resource.urn for resource in needed} <= set(waited)


# ---- models


def test_models_are_verified_before_the_server_starts_and_never_polled(aws: Plan, gcp: Plan) -> None:
    for plan, source in ((aws, "s3://ai-models/models"), (gcp, "gs://ai-models/models")):
        assert fetch(plan)["command"] == ["python3", "-m", "workloads.serving", "fetch"]
        assert fetch(plan)["args"] == [
            *("--source", source, "--destination", "/models", "--model", "resnet50:3", "--model", "bert:1")
        ]
        arguments = triton(plan)["args"]
        assert "--model-control-mode=explicit" in arguments
        assert [a for a in arguments if a.startswith("--load-model")] == ["--load-model=bert", "--load-model=resnet50"]
        assert not any("poll" in argument or "://" in argument for argument in arguments)
        mounts = {mount["mountPath"]: mount for mount in triton(plan)["volumeMounts"]}
        assert mounts["/models"]["readOnly"] is True


def test_two_versions_of_a_model_are_loaded_as_one() -> None:
    models = [{"name": "bert", "version": version, "size_gib": 1.0} for version in (1.0, 2.0)]
    container = triton(plan_for(models=models))
    assert [a for a in container["args"] if a.startswith("--load-model")] == ["--load-model=bert"]
    assert container["readinessProbe"]["exec"]["command"][4:] == ["--model", "bert:1", "--model", "bert:2"]


def test_ready_means_each_model_is(plan: Plan) -> None:
    expected = ["python3", "-m", "workloads.serving", "ready", "--model", "resnet50:3", "--model", "bert:1"]
    for probe in ("startupProbe", "readinessProbe"):
        assert triton(plan)[probe]["exec"]["command"] == expected
        assert triton(plan)[probe]["timeoutSeconds"] > 3  # what `ready` takes at most, so that it can say why
    assert triton(plan)["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": "http"}


def test_local_disk_is_asked_for_and_bounded(plan: Plan) -> None:
    volumes = {volume["name"]: volume["emptyDir"] for volume in pod(plan)["volumes"]}
    assert volumes["models"]["sizeLimit"] == mebibytes(16 * 1.1 + 0.1)
    assert volumes["shared-memory"]["medium"] == "Memory"
    for container in (fetch(plan), triton(plan)):
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert requests["ephemeral-storage"] == limits["ephemeral-storage"]
        assert _mebibytes(limits["ephemeral-storage"]) > sum(
            _mebibytes(volumes[name]["sizeLimit"]) for name in ("models", "scratch")
        )


def _mebibytes(quantity: str) -> int:
    return int(quantity.removesuffix("Mi"))


# ---- starting and ending


@given(
    size=st.floats(0, 2**50),
    rate=st.floats(2**20, 2**40),
    safety=st.floats(1, 10),
    start=st.floats(0, 3600),
    period=st.integers(1, 60),
)
def test_the_startup_probe_is_patient_enough_and_no_more(
    size: float, rate: float, safety: float, start: float, period: int
) -> None:
    probe = startup.startup_probe(size, rate, safety=safety, server_start_s=start, period_s=period)
    needed = size / rate * safety + start
    assert probe.patience_s >= needed
    assert probe.patience_s - period < needed or probe.failure_threshold == 1
    larger = startup.startup_probe(size * 2 + 1, rate, safety=safety, server_start_s=start, period_s=period)
    assert larger.failure_threshold >= probe.failure_threshold


@pytest.mark.parametrize(("size", "rate"), [(-1, 1), (1, 0), (1, -1), (float("nan"), 1), (float("inf"), 1)])
def test_a_startup_that_cannot_be_is_refused(size: float, rate: float) -> None:
    with pytest.raises(ValueError, match="a size from 0 and a rate above 0"):
        startup.startup_probe(size, rate)


def test_a_larger_model_has_longer_to_start_and_to_roll_out() -> None:
    small, large = (
        plan_for(models=[{"name": "m", "version": 1, "size_gib": size, "device_memory_gib": 10.0}])
        for size in (1.0, 100.0)
    )
    patience = [
        probe["failureThreshold"] * probe["periodSeconds"]
        for probe in (triton(plan)["startupProbe"] for plan in (small, large))
    ]
    assert patience[0] == 65  # 1 GiB / 0.5 GiB/s * 2 + 60 s, to the next 5 s
    assert patience[1] == 460
    deadline = large.one(DEPLOYMENT).inputs["spec"]["progressDeadlineSeconds"]
    assert deadline == 900 + 100 / 0.25 * 2 + 460
    # Pulumi's own wait must not be the shorter one (its default is 10 minutes).
    assert set(large.one(DEPLOYMENT).custom_timeouts.values()) == {float(deadline)}


def test_a_pod_drains_before_it_ends(plan: Plan) -> None:
    drain = triton(plan)["lifecycle"]["preStop"]["sleep"]["seconds"]
    (timeout,) = (int(a.split("=")[1]) for a in triton(plan)["args"] if a.startswith("--exit-timeout-secs"))
    assert pod(plan)["terminationGracePeriodSeconds"] > drain + timeout
    assert drain >= 15


def test_a_rollout_never_has_fewer_replicas_and_an_upgrade_is_never_blocked(plan: Plan) -> None:
    strategy = plan.one(DEPLOYMENT).inputs["spec"]["strategy"]["rollingUpdate"]
    assert strategy["maxUnavailable"] == 0
    budget = plan.one("kubernetes:policy/v1:PodDisruptionBudget").inputs["spec"]
    assert budget["maxUnavailable"] == 1
    assert "minAvailable" not in budget


# ---- where pods go


def test_pods_find_the_pool_by_the_labels_that_pools_carry(plan: Plan) -> None:
    assert pod(plan)["nodeSelector"] == {labels.ACCELERATOR: "l4", labels.PURPOSE: "serving"}
    (toleration,) = pod(plan)["tolerations"]
    assert toleration == {"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"}
    assert triton(plan)["resources"]["requests"]["nvidia.com/gpu"] == "1"
    assert triton(plan)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in fetch(plan)["resources"]["limits"]
    spread = pod(plan)["topologySpreadConstraints"]
    assert [s["topologyKey"] for s in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_a_pool_can_be_named() -> None:
    assert pod(plan_for(node_pool="chat-l4"))["nodeSelector"][labels.POOL] == "chat-l4"


def test_by_default_a_pod_fits_every_machine_that_may_come(aws: Plan) -> None:
    requests = triton(aws)["resources"]["requests"]
    for machine in machines("l4", "aws", "us-east-1"):
        assert int(requests["cpu"].removesuffix("m")) * machine.count <= machine.vcpus * 1000 * 0.75
        assert _mebibytes(requests["memory"]) * machine.count <= machine.memory_gib * 1024 * 0.75
    # ... and leaves little unused on the leanest.
    leanest = machine_type("aws", "g6.xlarge")
    assert int(requests["cpu"].removesuffix("m")) >= leanest.vcpus * 1000 * 0.65


def test_cpu_and_memory_can_be_given() -> None:
    requests = triton(plan_for(cpu=1.5, memory_gib=6.0))["resources"]["requests"]
    assert (requests["cpu"], requests["memory"]) == ("1500m", "6144Mi")


def test_pods_that_share_a_gpu_share_its_machine(aws: Plan) -> None:
    models = [{"name": "resnet50", "version": 3, "size_gib": 2.0}]
    two = plan_for(pods_per_gpu=2, models=models)
    alone, shared = (triton(plan)["resources"]["requests"] for plan in (aws, two))
    assert int(shared["cpu"].removesuffix("m")) * 2 == int(alone["cpu"].removesuffix("m"))
    assert _mebibytes(shared["memory"]) * 2 <= _mebibytes(alone["memory"]) + 2


# ---- scaling


def test_the_scaler_looks_at_the_time_that_one_request_waits_and_at_what_waits(plan: Plan) -> None:
    """The rest of it: tests/components/test_scaling.py."""
    spec = plan.one(SCALER).inputs["spec"]
    assert [(one["name"], one["metricType"], one["metadata"]["threshold"]) for one in spec["triggers"]] == [
        ("queue", "Value", "50"),
        ("pending", "AverageValue", "16"),
    ]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 8)
    assert spec["scaleTargetRef"]["name"] == plan.one(DEPLOYMENT).inputs["metadata"]["name"]
    assert plan.one(DEPLOYMENT).urn in plan.one(SCALER).dependencies


def test_replicas_belong_to_the_scaler(plan: Plan) -> None:
    assert "replicas" not in plan.one(DEPLOYMENT).inputs["spec"]


def test_pods_are_scraped_where_they_export(plan: Plan) -> None:
    spec = plan.one("kubernetes:monitoring.coreos.com/v1:PodMonitor").inputs["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in triton(plan)["ports"]}
    template = plan.one(DEPLOYMENT).inputs["spec"]["template"]
    assert spec["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()


# ---- walls


def test_a_pod_passes_the_restricted_pod_security_standard(plan: Plan) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    namespace = plan.one("kubernetes:core/v1:Namespace").inputs["metadata"]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod(plan)["securityContext"]["runAsNonRoot"] is True
    assert pod(plan)["securityContext"]["runAsUser"] != 0
    assert pod(plan)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod(plan))
    assert all(set(volume) == {"name", "emptyDir"} for volume in pod(plan)["volumes"])
    for container in (fetch(plan), triton(plan)):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert not any("hostPort" in port for port in container.get("ports", []))


def test_a_pod_has_no_token_for_the_cluster(plan: Plan) -> None:
    assert pod(plan)["automountServiceAccountToken"] is False
    account = plan.one("kubernetes:core/v1:ServiceAccount").inputs
    assert account["automountServiceAccountToken"] is False
    assert account["metadata"]["name"] == pod(plan)["serviceAccountName"] == "chat"


def test_the_identity_reads_just_the_repository(aws: Plan, gcp: Plan) -> None:
    policy = json.loads(aws.one("aws:iam/rolePolicy:RolePolicy").inputs["policy"])
    objects = [s for s in policy["Statement"] if "s3:GetObject" in s["Action"]]
    assert [s["Resource"] for s in objects] == ["arn:aws:s3:::ai-models/models/*"]
    assert not any("s3:Put" in str(s["Action"]) or "s3:Delete" in str(s["Action"]) for s in policy["Statement"])
    association = aws.one("aws:eks/podIdentityAssociation:PodIdentityAssociation").inputs
    assert (association["namespace"], association["serviceAccount"]) == ("inference", "chat")

    member = gcp.one("gcp:storage/bucketIAMMember:BucketIAMMember").inputs
    assert member["role"] == "roles/storage.objectViewer"
    assert "objects/models/" in member["condition"]["expression"]


def test_nobody_talks_to_a_pod_unless_named(aws: Plan, gcp: Plan) -> None:
    for plan, sources in ((aws, ["10.1.0.0/16"]), (gcp, ["10.1.0.0/16", "35.191.0.0/16", "130.211.0.0/22"])):
        deny, allow = sorted(plan.of_type(POLICY), key=lambda r: "traffic" in r.name)
        assert deny.inputs["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        requests, scrapes = allow.inputs["spec"]["ingress"]
        assert [peer["ipBlock"]["cidr"] for peer in requests["from"]] == sources
        assert [port["port"] for port in requests["ports"]] == [8000, 8001]
        assert [port["port"] for port in scrapes["ports"]] == [8002]
        monitoring = {"kubernetes.io/metadata.name": "monitoring"}
        assert scrapes["from"] == [{"namespaceSelector": {"matchLabels": monitoring}}]


def test_a_pod_talks_to_names_credentials_and_the_object_store(aws: Plan, gcp: Plan) -> None:
    for plan, credentials in (
        (aws, {("169.254.170.23/32", 80)}),
        (gcp, {("169.254.169.254/32", 80), ("169.254.169.252/32", 988)}),
    ):
        (allow,) = (r for r in plan.of_type(POLICY) if "traffic" in r.name)
        names, *identity, store = allow.inputs["spec"]["egress"]
        assert {(port["port"], port["protocol"]) for port in names["ports"]} == {(53, "UDP"), (53, "TCP")}
        assert {(rule["to"][0]["ipBlock"]["cidr"], rule["ports"][0]["port"]) for rule in identity} == credentials
        assert [port["port"] for port in store["ports"]] == [443]
        assert "10.0.0.0/8" in store["to"][0]["ipBlock"]["except"]
        assert all(rule.get("to") for rule in allow.inputs["spec"]["egress"])  # an empty `to` is everywhere


def test_a_server_is_told_of_tracing_what_the_workload_would_tell_it() -> None:
    plan = plan_for(otlp_endpoint="http://otel-agent.observability.svc:4318")
    variables = {one["name"]: one["value"] for one in triton(plan)["env"] if "value" in one}
    told = [one for one in triton(plan)["args"] if one.startswith("--trace-config")]
    assert sorted(told) == sorted(tracing.arguments(variables, "chat"))
    assert "--trace-config=rate=100" in told


def test_callers_cannot_load_models_of_their_own(plan: Plan) -> None:
    uid = {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    assert uid in triton(plan)["env"]
    for option in ("--http-restricted-api=", "--grpc-restricted-protocol="):
        (argument,) = (a for a in triton(plan)["args"] if a.startswith(option))
        apis, header = argument.removeprefix(option).split(":")
        assert {"model-repository", "shared-memory"} <= set(apis.split(","))
        assert header.endswith("=$(POD_UID)")


def test_the_service_offers_requests_and_takes_annotations() -> None:
    plan = plan_for(GCP, service="chat-api", service_annotations={"cloud.google.com/neg": '{"exposed_ports":{}}'})
    service = plan.one("kubernetes:core/v1:Service").inputs
    assert service["metadata"]["name"] == plan.outputs["service"] == "chat-api"
    assert service["metadata"]["annotations"] == {
        "cloud.google.com/neg": '{"exposed_ports":{}}',
        "pulumi.com/skipAwait": "true",
    }
    assert plan.one("kubernetes:core/v1:Service").urn in plan.one("kubernetes:apps/v1:Deployment").dependencies
    assert [(port["name"], port["port"]) for port in service["spec"]["ports"]] == [("http", 8000), ("grpc", 8001)]
    labels_of_pods = plan.one(DEPLOYMENT).inputs["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels_of_pods.items()


# ---- what is refused

MODEL = {"name": "bert", "version": 1, "size_gib": 1.0}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cloud": "azure"}, "cloud is 'azure'; accepted are 'aws', 'gcp'"),
        ({"namespace": "In_ference"}, "namespace is 'In_ference'"),
        ({"service": "x" * 64}, "service is 'xxx"),
        ({"image": "registry:5000/triton"}, "image is 'registry:5000/triton'; give it a tag"),
        ({"image": "triton:latest"}, "'latest' is another image tomorrow"),
        ({"image": "triton:"}, "give it a tag"),
        ({"image": "triton@sha256:abc"}, "64 hexadecimal digits"),
        ({"repository_prefix": "/models"}, "repository_prefix is '/models'"),
        ({"repository_prefix": ""}, "repository_prefix is ''"),
        ({"client_cidrs": []}, "client_cidrs is []; give at least one network"),
        ({"client_cidrs": ["10.0.0.0/16", "10.0.0.1/8"]}, "client_cidrs[1] is '10.0.0.1/8'"),
        ({"min_replicas": 0}, "min_replicas is 0; accepted is 1 or more: without a pod nothing waits"),
        ({"max_replicas": 1}, "max_replicas is 1; accepted is min_replicas, 2, or more"),
        ({"queue_objective_ms": 0}, "queue_objective_ms is 0"),
        ({"load_bandwidth_gib_s": -1.0}, "load_bandwidth_gib_s is -1.0"),
        ({"memory_gib": float("nan")}, "memory_gib is nan"),
        ({"gpus": 0}, "gpus is 0"),
        ({"gpus": 64}, "no machine with 64 x l4"),
        ({"accelerator": "l5"}, "did you mean 'l4'"),
        ({"accelerator": "trainium2", "gpus": 16, "region": "us-east-2"}, "Triton serves on NVIDIA GPUs only"),
        ({"models": []}, "models is []; give at least one"),
        ({"models": [{**MODEL, "name": "../x"}]}, "models[0].name is '../x'"),
        ({"models": [MODEL, {**MODEL, "version": 0}]}, "models[1].version is 0"),
        ({"models": [{**MODEL, "version": 1.5}]}, "models[0].version: expected int, got 1.5"),
        ({"models": [{**MODEL, "size_gib": 0}]}, "models[0].size_gib is 0"),
        ({"models": [{**MODEL, "gpus": 2}]}, "models[0].gpus is 2; accepted is 1 to the pod's gpus, 1"),
        ({"models": [MODEL, MODEL]}, "models[1] is bert:1, which is there already"),
    ],
)
def test_a_wrong_argument_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match="TritonInference 'chat': ") as raised:
        TritonInference("chat", {**AWS, **changes})  # type: ignore[typeddict-item]
    assert says in str(raised.value)


@pytest.mark.parametrize(
    "image",
    ["triton:26.09", "registry:5000/a/triton:26.09-py3", f"triton@sha256:{'0' * 64}", f"t:latest@sha256:{'0' * 64}"],
)
def test_an_image_that_stays_the_same_is_accepted(image: str) -> None:
    assert triton(plan_for(image=image))["image"] == image


def test_a_repository_outside_the_prefix_is_refused() -> None:
    refuse = Refusal("TritonInference 'chat'")
    assert checked_url(refuse, "s3://bucket/team/models/", "team/models") == "s3://bucket/team/models/"
    for url in ("s3://bucket", "s3://bucket/other", "s3://bucket/models/deeper"):
        with pytest.raises(ValueError, match="repository_url is"):
            checked_url(refuse, url, "models")
