"""Where clients of a server that may be at zero send their requests: KEDA's HTTP add-on, in which they wait.

It waits as long as a replica may take to start. Load balancers don't: the front door's answer 504 after five minutes
(components.routing.front.RESPONSE_TIMEOUT). The replica starts nevertheless, so who asks again finds it, or waits on.

Fields: kedacore/http-add-on, config/crd/bases/http.keda.sh_interceptorroutes.yaml (`staticRoutes` are of 0.16).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.cluster.keda import ACTIVATOR_NAMESPACE, ACTIVATOR_PODS, ACTIVATOR_PORT
from components.inference.traffic import HTTP

API_VERSION = "http.keda.sh/v1beta1"

_MARGIN_S = 60
"""Seconds that a request waits beyond those in which a replica starts: to be counted, and to be told of the replica."""
_HEALTH = "/v2/health"


def destination(namespace: str, service: str, *, to_zero: bool) -> tuple[str, str, int]:
    """Namespace, name and HTTP port of the Service that clients send to."""
    return (ACTIVATOR_NAMESPACE, service, ACTIVATOR_PORT) if to_zero else (namespace, service, HTTP)


def service_spec() -> dict[str, Any]:
    """Spec of the Service before the activator, one for each server: so each has its own way in, with its own
    annotations, and load balancers find it in the plan rather than in a chart."""
    return {
        "type": "ClusterIP",
        "selector": dict(ACTIVATOR_PODS),
        "ports": [
            {
                "name": "http",
                "port": ACTIVATOR_PORT,
                "target_port": "proxy",
                "protocol": "TCP",
                "app_protocol": "http",
            }
        ],
    }


def route_spec(
    service: str, models: Sequence[str], *, hosts: Sequence[str], requests: int, start_s: int
) -> Mapping[str, Any]:
    """Spec of the InterceptorRoute of one server.

    All servers of a cluster are behind one activator: it is by the model in its path that a request finds its own, and
    by its host where `hosts` are given. Whoever asks for health wakes nobody and isn't let wait: while there is no
    replica the answer is that the server can be asked, or the front door would send its requests elsewhere for good.
    `requests` are those under way for each replica; `start_s` is the time in which a replica starts. gRPC goes to the
    server's own Service, and wakes nobody.
    """
    asked = {"paths": [{"value": f"/v2/models/{model}"} for model in models]}
    health = {"paths": [{"value": _HEALTH}]}
    return {
        "target": {"service": service, "port": HTTP},
        # Load balancers ask each pod by its address, so health goes by no host.
        "rules": [{**asked, **({"hosts": list(hosts)} if hosts else {})}, health],
        "scalingMetric": {"concurrency": {"targetValue": requests}},
        "staticRoutes": [
            {"rules": [health], "responseMode": "WhenUnavailable", "response": {"statusCode": 200, "body": ""}}
        ],
        # How long an answer may take when a replica has the request is the server's to say, not the activator's.
        "timeouts": {"readiness": f"{start_s + _MARGIN_S}s", "request": "0s", "responseHeader": "0s"},
    }
