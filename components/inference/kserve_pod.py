"""The pod of an InferenceService, in the two parts that KServe merges it from: its ServingRuntime and its predictor.

KServe puts the runtime's containers, volumes, node selector and tolerations together with the predictor's pod spec, and
the runtime's arguments before the predictor's (kserve/kserve v0.20.0,
pkg/controller/v1beta1/inferenceservice/components/predictor.go). A runtime has no init containers and no security
context of the pod (ServingRuntimePodSpec), so those are the predictor's. What Knative then forbids in a pod, and why
some of this is left out of serverless ones: knative/serving, pkg/apis/serving/fieldmask.go and k8s_validation.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.inference.traffic import GRPC, HTTP, METRICS

CONTAINER = "kserve-container"
"""The name by which KServe knows the server among a runtime's containers."""
FORMAT, FORMAT_VERSION = "triton", "2"
PROTOCOLS = ("v2", "grpc-v2")

KNATIVE_HTTP, KNATIVE_H2C, KNATIVE_AUTOSCALER, KNATIVE_METRICS = 8012, 8013, 9090, 9091
"""Ports of the proxy that Knative puts before a server: requests, requests by HTTP/2, what its autoscaler reads, and
what Prometheus may (knative/serving, pkg/networking/constants.go)."""

_AS_WRITTEN = frozenset({"labels", "annotations", "match_labels", "node_selector", "requests", "limits"})
"""Fields whose keys are names of the user's own."""
_LOAD = "--load-model="


@dataclass(frozen=True)
class Split:
    """A server's pod as KServe takes it, in Kubernetes' own spelling."""

    runtime: dict[str, Any]
    """Spec of the ServingRuntime."""
    predictor: dict[str, Any]
    """What the predictor says of its pod."""
    model_args: list[str]
    """Arguments that the predictor's model adds to those of the runtime: which models to load."""


def split(template: Mapping[str, Any], *, serverless: bool, protocol: str, timeout_s: int) -> Split:
    """Split a pod template of `components.inference.pod` in two.

    Serverless: one port (that of the protocol), since Knative has no more; no hook before the end and no grace period,
    since Knative drains by a proxy of its own. It gives a pod as long to end as a request may take, `timeout_s`, and
    tells the server only once the proxy has drained: of that time the server takes half at most.
    """
    spec = camel_case(template["spec"])
    (server,) = spec.pop("containers")
    arguments = server.pop("args")
    if serverless:
        arguments = [_ending(argument, timeout_s // 2) for argument in arguments]
    container = {
        **server,
        "name": CONTAINER,
        "args": [argument for argument in arguments if not argument.startswith(_LOAD)],
        # A runtime says nothing of its pod, so its container says for itself that it is nobody.
        "securityContext": {**_of_container(spec["securityContext"]), **server["securityContext"]},
    }
    predictor = {
        key: spec[key]
        for key in (
            *("serviceAccountName", "automountServiceAccountToken", "enableServiceLinks", "securityContext"),
            *("topologySpreadConstraints", "initContainers"),
        )
    }
    if serverless:
        container.pop("lifecycle", None)
        container.update(_one_port(container, protocol))
    else:
        predictor["terminationGracePeriodSeconds"] = spec["terminationGracePeriodSeconds"]
        predictor["deploymentStrategy"] = {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0},
        }
    runtime = {
        # Only by name: a model that somebody else brings doesn't find this runtime by its format.
        "supportedModelFormats": [{"name": FORMAT, "version": FORMAT_VERSION}],
        "protocolVersions": list(PROTOCOLS),
        "containers": [container],
        **{key: spec[key] for key in ("nodeSelector", "tolerations", "volumes")},
    }
    return Split(runtime, predictor, [argument for argument in arguments if argument.startswith(_LOAD)])


def monitor_endpoints(serverless: bool) -> list[dict[str, Any]]:
    """What a PodMonitor reads: Triton's metrics, and for serverless servers those of Knative's proxy before it."""
    if not serverless:
        return [{"port": "metrics", "path": "/metrics", "interval": "15s"}]
    triton = {
        "port": "user-port",
        "path": "/metrics",
        "interval": "15s",
        # Knative lets a server declare a single port; Prometheus only finds what is declared.
        "relabelings": [
            {
                "sourceLabels": ["__meta_kubernetes_pod_ip"],
                "targetLabel": "__address__",
                "replacement": f"$1:{METRICS}",
            }
        ],
    }
    return [triton, {"port": "http-usermetric", "path": "/metrics", "interval": "15s"}]


def _ending(argument: str, most_s: int) -> str:
    """An option of Triton's, with at most so many seconds where it is the one for ending."""
    name, _, value = argument.partition("=")
    return f"{name}={min(int(value), most_s)}" if name == "--exit-timeout-secs" else argument


def camel_case(value: Any) -> Any:
    """Keys as Kubernetes writes them, of what is written for Pulumi's typed resources."""
    if isinstance(value, Mapping):
        return {
            _camel(key): dict(item) if key in _AS_WRITTEN and isinstance(item, Mapping) else camel_case(item)
            for key, item in value.items()
        }
    return [camel_case(item) for item in value] if isinstance(value, list | tuple) else value


def _camel(key: str) -> str:
    first, *others = key.rstrip("_").split("_")
    return first + "".join(word.capitalize() for word in others)


def _of_container(pod: Mapping[str, Any]) -> dict[str, Any]:
    return {key: pod[key] for key in ("runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile") if key in pod}


def _one_port(container: Mapping[str, Any], protocol: str) -> dict[str, Any]:
    """The port that Knative sends requests to, and the probe that it aims there itself."""
    liveness = {key: value for key, value in container["livenessProbe"].items() if key != "httpGet"}
    if protocol == "grpc-v2":
        return {
            "ports": [{"name": "h2c", "containerPort": GRPC, "protocol": "TCP"}],
            "livenessProbe": {**liveness, "tcpSocket": {"port": GRPC}},
        }
    path = container["livenessProbe"]["httpGet"]["path"]
    return {
        "ports": [{"name": "http1", "containerPort": HTTP, "protocol": "TCP"}],
        "livenessProbe": {**liveness, "httpGet": {"path": path, "port": HTTP}},
    }
