"""Routes to versions of models, feature by feature and cloud by cloud."""

from __future__ import annotations

from typing import Any

from planner.plan import Plan
from tests.components.parity import Feature, Offered, values

GATEWAY, ROUTE = "kubernetes:gateway.networking.k8s.io/v1:Gateway", "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"
GRANT = "kubernetes:gateway.networking.k8s.io/v1:ReferenceGrant"
ENVOY = "kubernetes:gateway.envoyproxy.io/v1alpha1:"
PROXY, CLIENTS, BACKENDS = f"{ENVOY}EnvoyProxy", f"{ENVOY}ClientTrafficPolicy", f"{ENVOY}BackendTrafficPolicy"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
MONITOR = "kubernetes:monitoring.coreos.com/v1:PodMonitor"
JOB, VOLUME = "kubernetes:batch/v1:Job", "kubernetes:core/v1:PersistentVolumeClaim"
_PROVIDER = "spec.provider.kubernetes"


def route(title: str, arguments: str, aws: Offered, gcp: Offered | None = None, **more: Any) -> Feature:
    """The same on both clouds, but where there is something for GCP."""
    return Feature("InferenceRoute", title, tuple(arguments.split()), aws, gcp or aws, **more)


def rollout(title: str, arguments: str, *offered: Offered) -> Feature:
    return Feature("ModelRollout", title, tuple(arguments.split()), offered[0], offered[0])


def _controller(plan: Plan) -> dict[str, Any]:
    spec = plan.one(JOB).inputs["spec"]
    return {**spec, "words": spec["template"]["spec"]["containers"][0]["args"]}


def _role(plan: Plan) -> bool:
    role = "kubernetes:rbac.authorization.k8s.io/v1:Role"
    (named,) = [r.inputs["rules"][0] for r in plan.of_type(role) if "resourceNames" in r.inputs["rules"][0]]
    others = {verb for r in plan.of_type(role) for rule in r.inputs["rules"] if rule != named for verb in rule["verbs"]}
    return {"sample", "sample-resnet50"} < set(named["resourceNames"]) and others == {"list"}


FEATURES = [
    route(
        "Versions share requests by weight",
        "backends.name backends.weight backends.port",
        Offered(
            "HTTPRoute by Envoy Gateway, on pods of the cluster",
            lambda p: (
                {0, 100} < set(values(p, ROUTE, "spec.rules.backendRefs.weight")) and len(p.of_type(GATEWAY)) == 1
            ),
        ),
    ),
    route(
        "Each model has shares of its own",
        "models.name models.backends.name models.backends.weight models.backends.port",
        Offered(
            "HTTPRoute for each model",
            lambda p: "/v2/models/resnet50" in values(p, ROUTE, "spec.rules.matches.path.value"),
        ),
    ),
    route(
        "Requests with a header or cookie go to one version",
        "experiments.name experiments.backend experiments.model experiments.header.name experiments.header.value"
        " experiments.cookie.name experiments.cookie.value",
        Offered(
            "rules before the shares",
            lambda p: {"x-variant", "cookie"} == set(values(p, ROUTE, "spec.rules.matches.headers.name")),
        ),
    ),
    route(
        "A version gets copies of requests, and answers nobody",
        "mirror.backend mirror.percent models.mirror.backend models.mirror.percent",
        Offered("mirror filter", lambda p: values(p, ROUTE, "spec.rules.filters.requestMirror.percent") == [5]),
    ),
    route(
        "A rollout owns the shares, and may do nothing else",
        "weights_by rollout.service_account rollout.namespace",
        Offered(
            "changes ignored, role for the routes by name, and to see who is ready",
            lambda p: {r.ignore_changes for r in p.of_type(ROUTE)} == {("spec.rules",)} and _role(p),
        ),
    ),
    route(
        "Each version's requests are counted apart, and answers say whose they are",
        "",
        Offered(
            "a response header by backend, which gives each a cluster in Envoy",
            lambda p: (
                {"stable", "canary", "shadow"}
                == set(values(p, ROUTE, "spec.rules.backendRefs.filters.responseHeaderModifier.set.value"))
            ),
        ),
    ),
    route(
        "Only inference is let through, of known hosts, and the health check of any",
        "paths hostnames health_check_path",
        Offered(
            "paths of the protocol, and a route without host names",
            lambda p: (
                [r.name for r in p.of_type(ROUTE) if "hostnames" not in r.inputs["spec"]] == ["sample.health-httproute"]
            ),
        ),
    ),
    route(
        "Requests end in time, and are tried again where nothing was done yet",
        "request_timeout_s backend_timeout_s retries",
        Offered(
            "timeouts of each rule, retries of connections",
            lambda p: (
                set(values(p, ROUTE, "spec.rules.timeouts.request")) == {"300s"}
                and values(p, BACKENDS, "spec.retry.retryOn.triggers")
                == ["connect-failure", "refused-stream", "reset-before-request"]
            ),
        ),
    ),
    route(
        "Proxies are several, spread, watched, and leave only when they are done",
        "min_replicas max_replicas proxy_cpu proxy_memory_gib",
        Offered(
            "autoscaler, budget, drain beyond the target group's",
            lambda p: (
                values(p, PROXY, f"{_PROVIDER}.envoyHpa.minReplicas") == [2]
                and values(p, PROXY, f"{_PROVIDER}.envoyPDB.maxUnavailable") == [1]
                and values(p, PROXY, "spec.shutdown.minDrainDuration") == ["90s"]
            ),
        ),
        Offered(
            "autoscaler, budget, drain beyond the backend service's",
            lambda p: (
                values(p, PROXY, f"{_PROVIDER}.envoyHpa.minReplicas") == [2]
                and values(p, PROXY, f"{_PROVIDER}.envoyPDB.maxUnavailable") == [1]
                and values(p, PROXY, "spec.shutdown.minDrainDuration") == ["90s"]
            ),
        ),
    ),
    route(
        "The client's address is known behind load balancers, and cannot be made up",
        "",
        Offered(
            "last entry of `x-forwarded-for`",
            lambda p: values(p, CLIENTS, "spec.clientIPDetection.xForwardedFor.numTrustedHops") == [1],
        ),
        Offered(
            "last entry but one of `x-forwarded-for`",
            lambda p: values(p, CLIENTS, "spec.clientIPDetection.xForwardedFor.numTrustedHops") == [2],
        ),
    ),
    route(
        "Every hop is let through, and no other",
        "client_cidrs monitoring_namespace backends.namespace backends.service backends.labels"
        " models.backends.namespace models.backends.service models.backends.labels",
        Offered(
            "network policies and grants",
            lambda p: len(values(p, POLICY)) == 5 and len(values(p, GRANT)) == 3,
        ),
        Offered(
            "network policies, open to Google's load balancers, and grants",
            lambda p: (
                "35.191.0.0/16" in values(p, POLICY, "spec.ingress.from.ipBlock.cidr") and len(values(p, GRANT)) == 3
            ),
        ),
    ),
    rollout(
        "A version takes over step by step, on evidence, or not at all",
        "specification route route_namespace baseline.namespace baseline.service baseline.port candidate.namespace"
        " candidate.service candidate.port ready_replicas control",
        Offered(
            "a Job whose pod sets the route's weights",
            lambda p: {"gateway/main-resnet50", "serving-canary/triton-canary:8000"} < set(_controller(p)["words"]),
        ),
    ),
    rollout(
        "A rollout outlives the pod and the machine that it runs on",
        "namespace image journal_claim",
        Offered(
            "a journal on a volume; evictions are no failures, ends are no reason to try again",
            lambda p: (
                len(p.of_type(VOLUME)) == 1
                and [rule["action"] for rule in _controller(p)["podFailurePolicy"]["rules"]] == ["Ignore", "FailJob"]
            ),
        ),
    ),
    rollout(
        "Quality is compared on texts that both versions score",
        "texts baseline.labels candidate.labels",
        Offered(
            "network policies, and no others into the servers",
            lambda p: len(p.of_type(POLICY)) == 3 and "--texts" in _controller(p)["words"],
        ),
    ),
    rollout(
        "Requests are counted by Envoy, decisions by the controller, and both are scraped",
        "monitoring_namespace",
        Offered("Prometheus of the add-ons, and a PodMonitor", lambda p: bool(values(p, MONITOR, "spec.selector"))),
    ),
]
