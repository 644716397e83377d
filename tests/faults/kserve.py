"""Slips with KServe and TensorFlow Serving: servers that never come, that nothing reaches, or that end too early."""

from __future__ import annotations

from typing import Any

from tests.faults.fault import Fault, State, remove, the

SERVICE = "kubernetes:serving.kserve.io/v1beta1:InferenceService"
RUNTIME = "kubernetes:serving.kserve.io/v1alpha1:ServingRuntime"
RELEASE = "kubernetes:helm.sh/v3:Release"
BUDGET = "kubernetes:policy/v1:PodDisruptionBudget"
MONITOR = "kubernetes:monitoring.coreos.com/v1:PodMonitor"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
ENDPOINT = "kubernetes:core/v1:Service"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"

KSERVE, TENSORFLOW = "kserve-sentiment", "tensorflow-clicks"


def predictor(states: list[State]) -> dict[str, Any]:
    return the(states, SERVICE)["inputs"]["spec"]["predictor"]


def server(states: list[State]) -> dict[str, Any]:
    """The runtime's container."""
    return the(states, RUNTIME)["inputs"]["spec"]["containers"][0]


def annotations(states: list[State]) -> dict[str, str]:
    return the(states, SERVICE)["inputs"]["metadata"]["annotations"]


def runtime_renamed(states: list[State]) -> None:
    the(states, RUNTIME)["inputs"]["metadata"]["name"] = "triton"


def runtime_in_another_namespace(states: list[State]) -> None:
    the(states, RUNTIME)["inputs"]["metadata"]["namespace"] = "serving"


def format_of_another_runtime(states: list[State]) -> None:
    predictor(states)["model"]["modelFormat"] = {"name": "onnx", "version": "1"}


def protocol_that_the_runtime_does_not_speak(states: list[State]) -> None:
    predictor(states)["model"]["protocolVersion"] = "v1"


def container_by_its_own_name(states: list[State]) -> None:
    server(states)["name"] = "triton"


def serverless_without_knative(states: list[State]) -> None:
    annotations(states)["serving.kserve.io/deploymentMode"] = "Knative"


def hook_in_a_serverless_server(states: list[State]) -> None:
    annotations(states)["serving.kserve.io/deploymentMode"] = "Serverless"


def definitions_left_out(states: list[State]) -> None:
    remove(states, RELEASE, "kserve-crd")


def controller_left_out(states: list[State]) -> None:
    remove(states, RELEASE, "kserve-resources")


def definitions_too_old(states: list[State]) -> None:
    the(states, RELEASE, "kserve-crd")["inputs"]["version"] = "v0.8.0"


def certificates_out_of_support(states: list[State]) -> None:
    the(states, RELEASE, "cert-manager")["inputs"]["version"] = "v1.20.3"
    cluster = the(states, "gcp:container/cluster:Cluster")["inputs"]
    cluster["minMasterVersion"] = "1.36"


def pod_killed_while_it_drains(states: list[State]) -> None:
    predictor(states)["terminationGracePeriodSeconds"] = 60


def token_for_the_api(states: list[State]) -> None:
    predictor(states)["automountServiceAccountToken"] = True


def fetch_as_anybody(states: list[State]) -> None:
    predictor(states)["initContainers"][0]["securityContext"]["allowPrivilegeEscalation"] = True


def runtime_for_another_accelerator(states: list[State]) -> None:
    the(states, RUNTIME)["inputs"]["spec"]["nodeSelector"]["aicloud.dev/accelerator"] = "a100-80gb"


def predictor_without_its_account(states: list[State]) -> None:
    predictor(states)["serviceAccountName"] = "sentiment"


def budget_of_other_pods(states: list[State]) -> None:
    selector = the(states, BUDGET, KSERVE)["inputs"]["spec"]["selector"]["matchLabels"]
    selector["app.kubernetes.io/instance"] = "sentiment"


def endpoint_of_other_pods(states: list[State]) -> None:
    the(states, ENDPOINT, KSERVE)["inputs"]["spec"]["selector"] = {"app": "isvc.sentiment-predictor"}


def no_readiness(states: list[State]) -> None:
    del server(states)["readinessProbe"]


def monitor_of_kserves_usual_port(states: list[State]) -> None:
    the(states, MONITOR, TENSORFLOW)["inputs"]["spec"]["podMetricsEndpoints"][0]["port"] = "metrics"


def scrapes_shut_out(states: list[State]) -> None:
    spec = the(states, POLICY, f"{TENSORFLOW}-traffic")["inputs"]["spec"]
    spec["ingress"] = [{**spec["ingress"][0], "ports": [{"port": 8500, "protocol": "TCP"}]}]


def server_on_machines_that_train(states: list[State]) -> None:
    pod = the(states, DEPLOYMENT, TENSORFLOW)["inputs"]["spec"]["template"]["spec"]
    pod["nodeSelector"]["aicloud.dev/purpose"] = "training"


FAULTS: tuple[Fault, ...] = tuple(
    Fault(mutate.__name__.replace("_", " "), "staging", rule, at, mutate)
    for mutate, rule, at in (
        (runtime_renamed, "serving-runtime-exists", KSERVE),
        (runtime_in_another_namespace, "serving-runtime-exists", KSERVE),
        (format_of_another_runtime, "serving-runtime-fits-the-model", KSERVE),
        (protocol_that_the_runtime_does_not_speak, "serving-runtime-fits-the-model", KSERVE),
        (container_by_its_own_name, "serving-runtime-fits-the-model", KSERVE),
        (serverless_without_knative, "inference-service-can-run", KSERVE),
        (hook_in_a_serverless_server, "knative-allows-the-pod", KSERVE),
        (definitions_left_out, "custom-resource-after-its-definition", KSERVE),
        (controller_left_out, "cloud-objects-have-a-deleter", KSERVE),
        (definitions_too_old, "api-version-fits-chart", "serving.kserve.io"),
        (certificates_out_of_support, "chart-fits-kubernetes", "cert-manager"),
        (pod_killed_while_it_drains, "grace-period-covers-draining", KSERVE),
        (token_for_the_api, "service-account-tokens-only-where-needed", KSERVE),
        (fetch_as_anybody, "no-privilege-escalation", KSERVE),
        (runtime_for_another_accelerator, "pod-fits-a-pool", KSERVE),
        (predictor_without_its_account, "service-account-exists", KSERVE),
        (budget_of_other_pods, "servers-have-a-disruption-budget", KSERVE),
        (endpoint_of_other_pods, "service-selects-pods", KSERVE),
        (no_readiness, "servers-have-readiness-probes", KSERVE),
        (monitor_of_kserves_usual_port, "port-exists", TENSORFLOW),
        (scrapes_shut_out, "network-policy-admits-the-service", TENSORFLOW),
        (server_on_machines_that_train, "pod-fits-a-pool", TENSORFLOW),
    )
)
