"""Pod templates of InferenceServices, as KServe makes their pods: a ServingRuntime, and what the service says itself.

Source: https://github.com/kserve/kserve v0.20.0, pkg/controller/v1beta1/inferenceservice/components/predictor.go
(buildPodSpec, buildObjectMeta), utils/utils.go (MergeRuntimeContainers, MergePodSpec) and reconcilers/{deployment,hpa};
what Knative adds: https://github.com/knative/serving, pkg/reconciler/revision/resources/{deploy,queue}.go, August 2026;
read on 2026-11-29.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from planner.inventory.references import at, items, mapping
from planner.inventory.training import Template, merged, number
from planner.plan import UNKNOWN, Resource

KIND = "InferenceService"
RUNTIMES = ("ServingRuntime", "ClusterServingRuntime")
"""Kinds that hold pods which no one starts, until an InferenceService names them. Those of a namespace go first."""
COMPONENTS = ("predictor", "transformer", "explainer")
CONTAINER = "kserve-container"
MODE = "serving.kserve.io/deploymentMode"
AUTOSCALER = "serving.kserve.io/autoscalerClass"
_MODES = {"Serverless": "Knative", "RawDeployment": "Standard"}
"""Older names of the modes."""

FRAMEWORKS = (
    *("sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface", "pmml", "lightgbm", "paddle"),
)
"""Fields of a predictor that stand for a `model` of that format, of older services."""

_RUNTIME_POD = ("nodeSelector", "affinity", "tolerations", "volumes", "imagePullSecrets", "schedulerName")
_NO_POD = frozenset({
    *("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling"),
    *("containerConcurrency", "timeout", "canaryTrafficPercent", "logger", "batcher", "labels", "annotations"),
    *("deploymentStrategy", "model", "workerSpec", "name", "storageContainerName", "storageUris"),
    *FRAMEWORKS,
})  # fmt: skip
"""Fields of a component that are no pod's."""
_NO_CONTAINER = frozenset(
    {"modelFormat", "runtime", "runtimeVersion", "protocolVersion", "storageUri", "storage", "confidential"}
)
"""Fields of a model that are no container's."""

QUEUE = "queue-proxy"
QUEUE_PROXY: Mapping[str, Any] = {
    "name": QUEUE,
    "ports": [
        {"name": "http-queueadm", "containerPort": 8022},
        {"name": "http-autometric", "containerPort": 9090},
        {"name": "http-usermetric", "containerPort": 9091},
        {"name": "queue-port", "containerPort": 8012},
        {"name": "queue-port-h2c", "containerPort": 8013},
        {"name": "https-port", "containerPort": 8112},
    ],
    "resources": {
        "requests": {"cpu": "25m", "memory": "400Mi", "ephemeral-storage": "512Mi"},
        "limits": {"cpu": "1000m", "memory": "800Mi", "ephemeral-storage": "1024Mi"},
    },
}
"""The container that Knative puts beside a server; its amounts are defaults of `config-deployment`. It has one of the
two queue ports, by the server's protocol."""


_UNDECLARED = {"name": UNKNOWN, "containerPort": UNKNOWN}
"""Knative lets a server declare one port; it may well listen on others, such as that of its metrics."""


def mode_of(service: Resource) -> str:
    """`Standard` (Deployments) or `Knative`; KServe 0.20 takes the first where nobody says."""
    mode = at(service.inputs, "metadata.annotations") or {}
    stated = mode.get(MODE) if isinstance(mode, Mapping) else None
    return _MODES.get(str(stated), str(stated)) if stated else "Standard"


def model_of(service: Resource) -> Mapping[str, Any]:
    """The predictor's model, or what an older service has in its place; empty where it brings its own container."""
    predictor = mapping(service.inputs, "spec.predictor")
    if isinstance(predictor.get("model"), Mapping):
        return predictor["model"]
    for framework in FRAMEWORKS:
        if isinstance(predictor.get(framework), Mapping):
            return {"modelFormat": {"name": framework}, **predictor[framework]}
    return {}


def runtime_of(service: Resource, runtimes: Iterable[tuple[Resource, str]], namespace: str) -> Resource | None:
    """The runtime that an InferenceService names, among those (and their namespaces) of its cluster.

    None where it names none: KServe then takes one by the model's format, of those that offer themselves.
    """
    name = model_of(service).get("runtime")
    for kind in RUNTIMES:
        for one, where in runtimes:
            elsewhere = kind == RUNTIMES[0] and UNKNOWN not in (where, namespace) and where != namespace
            if elsewhere or not one.type.endswith(f":{kind}"):
                continue
            if name == UNKNOWN and one.urn in service.property_dependencies.get("spec", ()):
                return one
            if name not in (None, UNKNOWN) and at(one.inputs, "metadata.name") == name:
                return one
    return None


def inference_service(service: Resource, name: str, runtime: Resource | None) -> Iterator[Template]:
    """The pod templates of an InferenceService; of a predictor whose runtime isn't in the plan there is none."""
    knative = mode_of(service) == "Knative"
    for part in COMPONENTS:
        component = mapping(service.inputs, f"spec.{part}")
        if not component:
            continue
        model = model_of(service) if part == "predictor" else {}
        if model and runtime is None:
            continue
        spec = {key: value for key, value in component.items() if key not in _NO_POD}
        labels: dict[str, Any] = {}
        if model and runtime is not None:
            spec = _with_runtime(spec, model, mapping(runtime.inputs, "spec"))
            labels = dict(mapping(runtime.inputs, "spec.labels"))
        labels |= {
            **mapping(service.inputs, "metadata.labels"),
            **mapping(component, "labels"),
            "serving.kserve.io/inferenceservice": name,
            "component": part,
            "app": UNKNOWN if knative else f"isvc.{name}-{part}",
        }
        if knative:
            spec = _on_knative(spec, component)
            labels |= {f"serving.knative.dev/{key}": UNKNOWN for key in ("revision", "revisionUID", "service")}
        pod = {"metadata": {"labels": labels, "annotations": mapping(component, "annotations")}, "spec": spec}
        yield Template(part, pod, *_replicas(component, knative))


def _with_runtime(own: Mapping[str, Any], model: Mapping[str, Any], runtime: Mapping[str, Any]) -> dict[str, Any]:
    """The runtime's pod, with the predictor's over it: its containers' arguments after the runtime's."""
    base = {key: runtime[key] for key in _RUNTIME_POD if key in runtime}
    containers = [one for one in items(runtime, "containers") if isinstance(one, Mapping)]
    stated = {key: value for key, value in model.items() if key not in _NO_CONTAINER}
    found: list[Any] = []
    for one in containers:
        if one.get("name") == CONTAINER:
            whole = merged(one, stated)
            arguments = [*items(one, "args"), *items(stated, "args")]
            found.append({**whole, "name": CONTAINER, **({"args": arguments} if arguments else {})})
        else:
            found.append(one)
    return {**merged(base, {k: v for k, v in own.items() if k != "containers"}),
            "containers": [*found, *items(own, "containers")]}  # fmt: skip


def _on_knative(spec: Mapping[str, Any], component: Mapping[str, Any]) -> dict[str, Any]:
    """What Knative makes of it: the proxy beside the server, whose port it names anew; the proxy drains, so that a pod
    has as long to end as a request may take."""
    containers: list[Any] = []
    for index, one in enumerate(items(spec, "containers")):
        ports = [{**port, "name": "user-port"} for port in items(one, "ports") if isinstance(port, Mapping)]
        containers.append({**one, "ports": [*ports, _UNDECLARED]} if ports and index == 0 else one)
    return {
        **spec,
        "containers": [*containers, QUEUE_PROXY] if containers else [],
        "terminationGracePeriodSeconds": number(component.get("timeout"), 300),
    }


def _replicas(component: Mapping[str, Any], knative: bool) -> tuple[int, int]:
    """Fewest and most pods. A HorizontalPodAutoscaler keeps one, and as many as the fewest where `most` is below."""
    fewest = max(number(component.get("minReplicas"), 1), 0 if knative else 1)
    return fewest, max(number(component.get("maxReplicas"), 0), fewest, 1)
