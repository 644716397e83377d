"""OpenTelemetry collectors: an agent on each machine, and gateways that decide which traces are kept. Helm values.

Fields: open-telemetry/opentelemetry-helm-charts 0.170.0, and the READMEs of the components in
open-telemetry/opentelemetry-collector-contrib 0.158.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.labels import PURPOSE, TEAM
from components.observability.parts import GATEWAY
from components.security.traffic import COLLECTORS, OTLP_GRPC, OTLP_HTTP

GRPC, HTTP = OTLP_GRPC, OTLP_HTTP
METRICS, SELF = 8889, 8888
"""Where the agent shows the metrics that it was sent, and where each collector shows its own."""
AGENT = "otel-agent"
AGENT_PODS = COLLECTORS
GATEWAY_PODS = {"app.kubernetes.io/name": "opentelemetry-collector", "app.kubernetes.io/instance": GATEWAY}
HEADLESS = f"{GATEWAY}-pods"
"""Service whose name resolves to the gateways' own addresses."""

DECISION_S = 10
"""Seconds from a trace's first span until it is decided on: longer than what is traced usually takes."""
TRACES = 50_000
"""Traces that a gateway remembers meanwhile."""

_IMAGE = {"repository": "otel/opentelemetry-collector-contrib"}
_LIMITER = {"check_interval": "1s", "limit_percentage": 80, "spike_limit_percentage": 25}
_POD = "${env:MY_POD_IP}"
_UNUSED_PORTS = ("jaeger-compact", "jaeger-thrift", "jaeger-grpc", "zipkin")


def endpoint(namespace: str) -> str:
    """OTEL_EXPORTER_OTLP_ENDPOINT of pods: the agent on their own machine, over HTTP; gRPC is on port 4317."""
    return f"http://{AGENT}.{namespace}.svc:{HTTP}"


def agent(namespace: str, resource: Mapping[str, Any]) -> dict[str, Any]:
    """An agent on each machine, of whichever pool. It says whose a span is, and sends all spans of a trace to the same
    gateway. Metrics that pods send it shows to Prometheus itself, so they need no further hop.

    `resource` are attributes of everything that comes from this cluster. They are told rather than detected: detection
    would need the machine's metadata, which pods don't get at.
    """
    return {
        **_common(AGENT, "daemonset"),
        # What `k8s_attributes` watches.
        "clusterRole": {
            "create": True,
            "rules": [
                {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["get", "list", "watch"]},
            ],
        },
        # Every machine, with whatever taints.
        "tolerations": [{"operator": "Exists"}],
        "service": {"enabled": True},  # pods are led to the agent on their own machine
        "ports": {
            # Pods come through the Service; no port of the machine is needed.
            "otlp": {"hostPort": 0},
            "otlp-http": {"hostPort": 0},
            **_ports(),
            "app-metrics": {"enabled": True, "containerPort": METRICS, "servicePort": METRICS, "protocol": "TCP"},
        },
        "podMonitor": {
            "enabled": True,
            "metricsEndpoints": [{"port": "metrics"}, {"port": "app-metrics", "honorLabels": True}],
        },
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        # All of it, rather than what the chart has by default and changes to that.
        "alternateConfig": {
            **_base(("grpc", GRPC), ("http", HTTP)),
            "processors": {
                "memory_limiter": _LIMITER,
                "k8s_attributes": _whose(),
                "resource/cluster": _told(resource),
                "batch": {},
            },
            "exporters": {
                # https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/exporter/loadbalancingexporter
                "loadbalancing": {
                    "routing_key": "traceID",
                    "protocol": {"otlp": {"tls": {"insecure": True}, "timeout": "5s"}},
                    "resolver": {"dns": {"hostname": f"{HEADLESS}.{namespace}.svc.cluster.local", "port": str(GRPC)}},
                },
                "prometheus": {
                    "endpoint": f"{_POD}:{METRICS}",
                    "resource_to_telemetry_conversion": {"enabled": True},
                },
            },
            "service": {
                **_service(),
                "pipelines": {
                    "traces": {
                        "receivers": ["otlp"],
                        "processors": ["memory_limiter", "k8s_attributes", "resource/cluster", "batch"],
                        "exporters": ["loadbalancing"],
                    },
                    "metrics": {
                        "receivers": ["otlp"],
                        "processors": ["memory_limiter", "k8s_attributes", "resource/cluster"],
                        "exporters": ["prometheus"],
                    },
                },
            },
        },
    }


def gateway(traces: Mapping[str, Any], *, sample_ratio: float, slow_ms: int) -> dict[str, Any]:
    """Gateways, two or more, that see each trace as a whole: those with an error or a long wait are kept, and a part of
    all others. `traces` are the cloud's exporters, and what these need."""
    exporters, extensions, processors = (traces[kind] for kind in ("exporters", "extensions", "processors"))
    spread = {"maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": GATEWAY_PODS}}
    return {
        **_common(GATEWAY, "deployment"),
        "replicaCount": 2,
        "nodeSelector": {PURPOSE: "system"},
        "podDisruptionBudget": {"enabled": True, "maxUnavailable": 1},
        "topologySpreadConstraints": [
            {**spread, "topologyKey": key} for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
        ],
        # Those that are decided on when a gateway goes are decided first.
        "terminationGracePeriodSeconds": 3 * DECISION_S,
        "ports": {"otlp-http": {"enabled": False}, **_ports()},
        "podMonitor": {"enabled": True, "metricsEndpoints": [{"port": "metrics"}]},
        "resources": {"requests": {"cpu": "200m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        "alternateConfig": {
            **_base(("grpc", GRPC), extensions=extensions),
            "processors": {
                "memory_limiter": _LIMITER,
                "tail_sampling": sampling(sample_ratio, slow_ms),
                **processors,
                # X-Ray takes 5 MB a request, Cloud Trace's API 4 MiB.
                "batch": {"send_batch_size": 256, "send_batch_max_size": 512, "timeout": "2s"},
            },
            "exporters": dict(exporters),
            "service": {
                **_service(*extensions),
                "pipelines": {
                    "traces": {
                        "receivers": ["otlp"],
                        "processors": ["memory_limiter", "tail_sampling", *processors, "batch"],
                        "exporters": list(exporters),
                    },
                },
            },
        },
    }


def sampling(ratio: float, slow_ms: int) -> dict[str, Any]:
    """https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/processor/tailsamplingprocessor: what
    one of the policies keeps is kept."""
    return {
        "decision_wait": f"{DECISION_S}s",
        "num_traces": TRACES,
        "decision_cache": {"sampled_cache_size": 2 * TRACES, "non_sampled_cache_size": 2 * TRACES},
        "policies": [
            {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
            {"name": "slow", "type": "latency", "latency": {"threshold_ms": slow_ms}},
            {
                "name": "part-of-all",
                "type": "probabilistic",
                "probabilistic": {"sampling_percentage": round(100 * ratio, 6)},
            },
        ],
    }


def _common(called: str, mode: str) -> dict[str, Any]:
    return {
        "mode": mode,
        "fullnameOverride": called,
        "image": _IMAGE,
        "command": {"name": "otelcol-contrib"},
        "serviceAccount": {"create": True, "name": called},
        "podSecurityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }


def _ports() -> dict[str, Any]:
    unused = {port: {"enabled": False} for port in _UNUSED_PORTS}
    return {**unused, "metrics": {"enabled": True}}


def _base(*protocols: tuple[str, int], extensions: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """OTLP in, over these protocols, and what the chart's probes ask."""
    listening = {protocol: {"endpoint": f"{_POD}:{port}"} for protocol, port in protocols}
    return {
        "receivers": {"otlp": {"protocols": listening}},
        "extensions": {"health_check": {"endpoint": f"{_POD}:13133"}, **(extensions or {})},
    }


def _service(*extensions: str) -> dict[str, Any]:
    shown = {"pull": {"exporter": {"prometheus": {"host": _POD, "port": SELF}}}}
    return {"extensions": ["health_check", *extensions], "telemetry": {"metrics": {"readers": [shown]}}}


def _whose() -> dict[str, Any]:
    """Which pod sent a span, and the labels by which it is found and paid for."""
    labels = {"app.name": "app.kubernetes.io/name", "app.instance": "app.kubernetes.io/instance", "team": TEAM}
    names = ("namespace.name", "pod.name", "node.name", "deployment.name", "job.name", "container.name")
    return {
        "filter": {"node_from_env_var": "OTEL_K8S_NODE_NAME"},
        "pod_association": [{"sources": [{"from": "connection"}]}],
        "extract": {
            "metadata": [f"k8s.{name}" for name in names],
            "labels": [{"tag_name": tag, "key": key, "from": "pod"} for tag, key in labels.items()],
        },
    }


def _told(resource: Mapping[str, Any]) -> dict[str, Any]:
    return {"attributes": [{"key": key, "value": value, "action": "upsert"} for key, value in resource.items()]}
