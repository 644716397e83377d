"""The proxies of an inference route: what Envoy Gateway is told to run, and how it treats requests.

Fields: envoyproxy/gateway v1.9.0, api/v1alpha1 (EnvoyProxy, ClientTrafficPolicy, BackendTrafficPolicy).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.inference.pod import mebibytes
from components.routing.front import CONNECTION_DRAINING

API_VERSION = "gateway.envoyproxy.io/v1alpha1"

METRICS, METRICS_PATH = 19001, "/stats/prometheus"
"""Where a proxy tells its metrics. The container's port is called `metrics`."""

MIN_DRAIN_S = CONNECTION_DRAINING + 30
"""Seconds that a proxy goes on taking requests after it was told to end. The load balancer hears of it late, and then
lets requests under way finish for CONNECTION_DRAINING."""
DRAIN_TIMEOUT_S = MIN_DRAIN_S + 30
"""Seconds after which it ends, even with connections open: the load balancer has long closed its own. The pod's grace
period is five minutes longer; that is Envoy Gateway's."""

BUSY_PERCENT = 70
"""CPU, of what the proxies request, from which more are started."""

TRUSTED_HOPS = {"aws": 1, "gcp": 2}
"""Entries that the load balancers themselves write at the end of `x-forwarded-for`: the client's address, and on GCP
then the load balancer's own. https://cloud.google.com/load-balancing/docs/https#x-forwarded-for_header"""

_LOGGED = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "upstream_ms": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "route": "%ROUTE_NAME%",
    "authority": "%REQ(:AUTHORITY)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "user_agent": "%REQ(USER-AGENT)%",
}
"""Of each request: no headers that carry credentials, and nothing of a body."""


@dataclass(frozen=True)
class Proxies:
    """How the proxies of one Gateway shall be."""

    gateway: str
    """Name of the Gateway; their Deployment, budget and autoscaler are called the same."""
    namespace: str
    service: str
    annotations: Mapping[str, str]
    """Of the Service."""
    min_replicas: int
    max_replicas: int
    cpu: float
    """Cores that each requests."""
    memory_gib: float
    health_path: str

    @property
    def labels(self) -> dict[str, str]:
        """Labels that Envoy Gateway gives their pods, and no others."""
        return {
            "app.kubernetes.io/name": "envoy",
            "gateway.envoyproxy.io/owning-gateway-name": self.gateway,
            "gateway.envoyproxy.io/owning-gateway-namespace": self.namespace,
        }


def proxy_spec(proxies: Proxies) -> dict[str, Any]:
    """Spec of the EnvoyProxy: Deployment, Service, autoscaler and disruption budget, logs and how a proxy ends.

    Security contexts are Envoy Gateway's own, which the "restricted" standard accepts: as nobody, with no capability.
    """
    memory = mebibytes(proxies.memory_gib)
    # What is left out of the Service's name and the others' would be made up.
    name = {"name": proxies.gateway}
    return {
        "provider": {
            "type": "Kubernetes",
            "kubernetes": {
                "envoyDeployment": {
                    **name,
                    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
                    "pod": {
                        # No node selector: machines without a taint are the system's, of two pools, as for operators.
                        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                        "topologySpreadConstraints": [
                            {
                                "topologyKey": key,
                                "maxSkew": 1,
                                # A wish, as for the servers: two proxies in one zone beat one that is pending.
                                "whenUnsatisfiable": "ScheduleAnyway",
                                "labelSelector": {"matchLabels": proxies.labels},
                            }
                            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
                        ],
                    },
                    "container": {
                        # Envoy starts to refuse requests at 80 % of this limit, before the kernel ends it.
                        "resources": {
                            "requests": {"cpu": f"{round(proxies.cpu * 1000)}m", "memory": memory},
                            "limits": {"memory": memory},
                        }
                    },
                },
                "envoyService": {
                    "name": proxies.service,
                    "type": "ClusterIP",
                    **({"annotations": dict(proxies.annotations)} if proxies.annotations else {}),
                },
                "envoyHpa": {
                    **name,
                    "minReplicas": proxies.min_replicas,
                    "maxReplicas": proxies.max_replicas,
                    "metrics": [
                        {
                            "type": "ContainerResource",
                            "containerResource": {
                                "name": "cpu",
                                "container": "envoy",
                                "target": {"type": "Utilization", "averageUtilization": BUSY_PERCENT},
                            },
                        }
                    ],
                    # A proxy that goes takes a drain with it: not for every lull.
                    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
                },
                "envoyPDB": {
                    **name,
                    "maxUnavailable": 1,
                    # One that is not ready keeps no node from being drained.
                    "patch": {
                        "type": "StrategicMerge",
                        "value": {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}},
                    },
                },
            },
        },
        "bootstrap": bootstrap(),
        "shutdown": {"drainTimeout": f"{DRAIN_TIMEOUT_S}s", "minDrainDuration": f"{MIN_DRAIN_S}s"},
        "logging": {"level": {"default": "warn"}},
        "telemetry": {
            "accessLog": {
                "settings": [
                    {
                        "format": {"type": "JSON", "json": _LOGGED},
                        # Every few seconds a health check that went well is nothing to keep.
                        "matches": [f"!(request.path == '{proxies.health_path}' && response.code == 200)"],
                        "sinks": [{"type": "File", "file": {"path": "/dev/stdout"}}],
                    }
                ]
            }
        },
    }


def bootstrap() -> dict[str, Any]:
    """What Envoy counts latencies in: four buckets an octave from 1.1 ms to 7 minutes, each 19 % longer than the one
    before. Its own are 2 to 2.5 times as long as the one before, in which a p99 that is a fifth longer is not seen.

    Each is a bound of workloads.rollout.observation, too. Fields of envoy.config.metrics.v3.StatsConfig; Envoy Gateway
    merges them into its own bootstrap configuration (v1.9.0, api/v1alpha1/envoyproxy_types.go).
    """
    milliseconds = [float(f"{0.1 * 2 ** (step / 4):.5g}") for step in range(14, 89)]
    settings = [{"match": {"suffix": "upstream_rq_time"}, "buckets": milliseconds}]
    return {"type": "Merge", "value": json.dumps({"stats_config": {"histogram_bucket_settings": settings}})}


def client_policy(gateway: str, cloud: str) -> dict[str, Any]:
    """Spec of the ClientTrafficPolicy: whom to believe about the client's address.

    Paths are normalized before they are matched, which is Envoy Gateway's own default: `/v2/models/../repository` is
    `/v2/repository`.
    """
    return {
        "targetRefs": [_gateway(gateway)],
        "clientIPDetection": {"xForwardedFor": {"numTrustedHops": TRUSTED_HOPS[cloud]}},
    }


def backend_policy(gateway: str, retries: int) -> dict[str, Any]:
    """Spec of the BackendTrafficPolicy: to the backend pod with the fewest requests, since they differ in length.

    Another pod is tried only where the first did no work yet: it was not to be reached, it refused the stream, or the
    connection broke before the request was sent. What a model has seen is not sent to it twice: it may have side
    effects, or a state for each sequence.
    """
    retry = {
        "numRetries": retries,
        "retryOn": {"triggers": ["connect-failure", "refused-stream", "reset-before-request"]},
        "perRetry": {"backOff": {"baseInterval": "25ms", "maxInterval": "250ms"}},
    }
    return {
        "targetRefs": [_gateway(gateway)],
        "loadBalancer": {"type": "LeastRequest"},
        "timeout": {"tcp": {"connectTimeout": "3s"}},
        **({"retry": retry} if retries else {}),
    }


def _gateway(name: str) -> dict[str, str]:
    return {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": name}
