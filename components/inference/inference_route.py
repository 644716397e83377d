"""InferenceRoute: which version of a model answers which request, and how the shares change hands."""

from dataclasses import replace
from typing import Any, NotRequired, Optional, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import arguments
from components.cluster import gateway
from components.inference import route_proxies, route_rules
from components.inference.route_arguments import (
    DEFAULT_CPU,
    DEFAULT_MAX_REPLICAS,
    DEFAULT_MEMORY_GIB,
    DEFAULT_MIN_REPLICAS,
    DEFAULT_RETRIES,
    ROLLOUT,
    checked_route,
    route_suffix,
)
from components.inference.route_permissions import permit
from components.inference.route_proxies import Proxies
from components.inference.route_rules import Backend
from components.inference.route_traffic import backend_policy, proxies_policy
from components.inference.server_arguments import DEFAULT_MONITORING
from components.inference.traffic import HTTP
from components.ordering import after
from components.routing.front import HEALTH_PATH
from components.security.traffic import DENY_ALL

GATEWAY_API = "gateway.networking.k8s.io/v1"
PROGRAMMED_MINUTES = 15
"""Until the first proxies serve: their machines may have to come first."""


class RouteBackendArgs(TypedDict):
    """A Service that requests may go to, such as a TritonInference's."""

    name: str
    """What rules call it, such as `stable` or `canary`."""
    namespace: str
    """Namespace of the Service; one that lets in the proxies' requests is added to its network policies."""
    service: str
    """Name of the Service."""
    port: NotRequired[int]
    """HTTP port of the Service, and of its pods. Default 8000."""
    weight: int
    """Percent of the requests that no experiment takes; all weights of a list add up to 100."""
    labels: dict[str, str]
    """Labels of the Service's pods."""


class RouteMirrorArgs(TypedDict):
    """Shadow traffic: copies of requests, whose answers nobody sees."""

    backend: str
    """Name of a backend of the same list, of weight 0."""
    percent: NotRequired[int]
    """Percent of the requests that are copied, 1 to 100; default 100."""


class RouteModelArgs(TypedDict):
    """Requests of one model, under `/v2/models/<name>`."""

    name: str
    """The model's name, as requests give it."""
    backends: list[RouteBackendArgs]
    """Who shares them."""
    mirror: NotRequired[RouteMirrorArgs]
    """Who gets copies of them; default nobody."""


class RouteConditionArgs(TypedDict):
    """A header, or a cookie, that a request has."""

    name: str
    """Of a header in any case, of a cookie as it is written."""
    value: str
    """Exactly."""


class RouteExperimentArgs(TypedDict):
    """Requests with a header or a cookie go to one backend, whatever the weights: testers, or a side of an A/B test."""

    name: str
    """Of the rule, such as `testers`."""
    backend: str
    """Name of a backend. The experiment concerns every list that has one of this name."""
    header: NotRequired[RouteConditionArgs]
    """The header that such requests have; this or `cookie`."""
    cookie: NotRequired[RouteConditionArgs]
    """The cookie that they have."""
    model: NotRequired[str]
    """Requests of this model alone."""


class RouteRolloutArgs(TypedDict):
    """Who changes the weights."""

    namespace: str
    """Of the service account."""
    service_account: str
    """May read and patch the HTTPRoutes of this route, list the endpoints in the backends' namespaces, to see which are
    ready, and nothing else."""


class InferenceRouteArgs(TypedDict):
    """Arguments of InferenceRoute."""

    cloud: str
    """`aws` or `gcp`."""
    namespace: str
    """Kubernetes namespace, made here and for the proxies alone."""
    hostnames: NotRequired[list[str]]
    """Domains whose requests are routed; default all. The health check is answered for every name: load balancers ask
    pods by their addresses."""
    backends: list[RouteBackendArgs]
    """Who shares the requests that name no model of `models`; the health check among them."""
    mirror: NotRequired[RouteMirrorArgs]
    """Who gets copies of these; default nobody."""
    models: NotRequired[list[RouteModelArgs]]
    """Models with backends of their own, each with an HTTPRoute of its own."""
    experiments: NotRequired[list[RouteExperimentArgs]]
    """Rules by header and cookie. Where two match a request, one by header comes before one by cookie, and else the
    first."""
    paths: NotRequired[list[str]]
    """Prefixes that requests without a model of `models` may have, in whole segments; whatever has another is told 404.
    Default `/v2/health` and `/v2/models`, and `/v2` itself: inference, but no control of models, memory or logs."""
    health_check_path: NotRequired[str]
    """Path that the load balancers' health checks ask. Default `/v2/health/ready`."""
    request_timeout_s: NotRequired[int]
    """Seconds from a request to the end of its answer. Default 300, which is also how long the load balancers let an
    answer be silent."""
    backend_timeout_s: NotRequired[int]
    """Seconds of one try at one backend. Default `request_timeout_s`."""
    retries: NotRequired[int]
    """More tries, 0 to 5, where no backend can have done any work yet. Default 2."""
    weights_by: NotRequired[str]
    """`program`: the weights are those given here, and each `pulumi up` says so. `rollout`: those given here are the
    first ones, and then belong to whoever changes them. Default `program`."""
    rollout: NotRequired[RouteRolloutArgs]
    """With `weights_by` `rollout`: who may change them. Default whoever has the right already."""
    client_cidrs: list[str]
    """Who may send requests: the networks of clients and load balancers, such as the region's own CIDR. Google's load
    balancers are added on GCP."""
    min_replicas: NotRequired[int]
    """Proxies that are always there, from 2, which is the default."""
    max_replicas: NotRequired[int]
    """Most proxies; default 6. They follow the CPU that they use."""
    proxy_cpu: NotRequired[float]
    """Cores of each proxy; default 0.5."""
    proxy_memory_gib: NotRequired[float]
    """GiB of each proxy; default 0.5."""
    monitoring_namespace: NotRequired[str]
    """Namespace of the Prometheus that scrapes the proxies; default `monitoring`."""
    service: NotRequired[str]
    """Name of the proxies' Service; default the component's name."""
    service_annotations: NotRequired[dict[str, str]]
    """Annotations of the Service, such as `cloud.google.com/neg`."""


class InferenceRoute(pulumi.ComponentResource):
    """The gateway of one cluster: proxies that send each request to a version of the model that it asks for.

    Built in a namespace of its own, in this order: the network policies; what lets the proxies into the namespaces of
    the backends, which is a ReferenceGrant and a network policy in each; the EnvoyProxy, which says how the proxies
    shall be (two or more, spread, drained before they end); the Gateway, of which Envoy Gateway makes their Deployment,
    Service, autoscaler and disruption budget in this namespace; the policies on clients and backends; the HTTPRoutes;
    the PodMonitor. TLS ends at the load balancer before it.

    There is an HTTPRoute for each of `models`, and one for all other requests, so that each model's weights are an
    object of their own. With `weights_by` `rollout` Pulumi writes their rules when it makes them and never again: the
    engine ignores changes of `spec.rules`, and the provider, which applies on the server, leaves out of an update what
    it ignores as soon as another field manager has it, and until then sends what is there (pulumi-kubernetes,
    provider/pkg/await, handleSSAIgnoreFields). Whoever changes weights has to patch the whole list `spec.rules`, which
    has one owner: its list type is atomic. A route that is replaced, or made anew, starts at the program's weights.
    With `program` Pulumi takes the rules back from whoever has changed them.

    A health check of the load balancers goes the way of a request that names no model: so a proxy is healthy if what is
    behind it answers, and a region whose servers are all gone is left by the front door. gRPC is not routed.

    Takes a Kubernetes provider from `opts`. What `opts.depends_on` names (Envoy Gateway, backends with their
    namespaces) is waited for by every child. ValueError, naming the argument, for a route that leads nowhere.
    """

    service: pulumi.Output[str]
    """Name of the proxies' Service: what RegionalEndpoint is pointed at."""
    namespace: pulumi.Output[str]
    """Its namespace."""
    http_port: pulumi.Output[int]
    """Port of the Service, and of the proxies."""
    route: pulumi.Output[str]
    """Name of the HTTPRoute of requests that name no model of `models`."""
    model_routes: pulumi.Output[dict[str, str]]
    """Model of `models` -> name of its HTTPRoute."""

    def __init__(self, name: str, args: InferenceRouteArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        arguments.check(f"InferenceRoute {name!r}", args, InferenceRouteArgs)
        route = checked_route(name, args)
        super().__init__("aicloud:index:InferenceRoute", name, {**args}, opts)
        child = pulumi.ResourceOptions(
            parent=self, depends_on=opts.depends_on if opts is not None and opts.depends_on is not None else []
        )
        health_path = args.get("health_check_path", HEALTH_PATH)
        least = int(args.get("min_replicas", DEFAULT_MIN_REPLICAS))
        proxies = Proxies(
            gateway=name,
            namespace=args["namespace"],
            service=args.get("service", name),
            annotations=args.get("service_annotations", {}),
            min_replicas=least,
            max_replicas=int(args.get("max_replicas", max(least, DEFAULT_MAX_REPLICAS))),
            cpu=args.get("proxy_cpu", DEFAULT_CPU),
            memory_gib=args.get("proxy_memory_gib", DEFAULT_MEMORY_GIB),
            health_path=health_path,
        )
        monitoring = args.get("monitoring_namespace", DEFAULT_MONITORING)

        namespace = k8s.core.v1.Namespace(
            f"{name}-namespace",
            metadata={
                "name": args["namespace"],
                "labels": {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")},
            },
            opts=child,
        )
        placed = {"namespace": namespace.metadata.name}

        def custom(kind: str, spec: dict[str, Any], suffix: str = "", **more: Any) -> k8s.apiextensions.CustomResource:
            """A custom resource of this namespace; its names are the component's with a suffix."""
            called = more.get("called") or (f"{name}-{suffix}" if suffix else name)
            return k8s.apiextensions.CustomResource(
                f"{called}-{kind.lower()}",
                api_version=more.get("api_version", GATEWAY_API),
                kind=kind,
                metadata={**placed, "name": called, **more.get("metadata", {})},
                spec=spec,
                opts=pulumi.ResourceOptions.merge(child, more.get("opts", pulumi.ResourceOptions())),
            )

        traffic = proxies_policy(proxies.labels, args["cloud"], args["client_cidrs"], monitoring, route.backends)
        walls: list[pulumi.Resource] = [
            k8s.networking.v1.NetworkPolicy(
                f"{name}-{purpose}", metadata={**placed, "name": f"{name}-{purpose}"}, spec=spec, opts=child
            )
            for purpose, spec in (("deny-all", DENY_ALL), ("traffic", traffic))
        ]
        for home in dict.fromkeys(backend.namespace for backend in route.backends):
            there = [backend for backend in route.backends if backend.namespace == home]
            walls += self._let_in(name, home, there, proxies, child)

        made = custom("EnvoyProxy", route_proxies.proxy_spec(proxies), api_version=route_proxies.API_VERSION)
        gate = custom(
            "Gateway",
            {
                "gatewayClassName": gateway.CLASS,
                "infrastructure": {
                    "parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": name}
                },
                "listeners": [
                    {
                        "name": "http",
                        "protocol": "HTTP",
                        "port": HTTP,
                        "allowedRoutes": {"namespaces": {"from": "Same"}, "kinds": [{"kind": "HTTPRoute"}]},
                    }
                ],
            },
            # The Service, and on GKE its network endpoint groups, are there only once proxies serve: what comes next
            # names them.
            metadata={"annotations": {"pulumi.com/waitFor": "condition=Programmed"}},
            opts=pulumi.ResourceOptions(
                depends_on=[*walls, made],
                custom_timeouts=pulumi.CustomTimeouts(create=f"{PROGRAMMED_MINUTES}m", update=f"{PROGRAMMED_MINUTES}m"),
            ),
        )
        for kind, spec in (
            ("ClientTrafficPolicy", route_proxies.client_policy(name, args["cloud"])),
            (
                "BackendTrafficPolicy",
                route_proxies.backend_policy(name, int(args.get("retries", DEFAULT_RETRIES))),
            ),
        ):
            custom(
                kind,
                spec,
                api_version=route_proxies.API_VERSION,
                opts=pulumi.ResourceOptions(depends_on=[made]),
            )

        by_rollout = route.weights_by == ROLLOUT
        annotations: dict[str, Any] = (
            {} if by_rollout else {"metadata": {"annotations": {"pulumi.com/patchForce": "true"}}}
        )
        owned = pulumi.ResourceOptions(depends_on=[gate], ignore_changes=["spec.rules"] if by_rollout else [])
        parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": name, "sectionName": "http"}
        hosts = {"hostnames": list(args["hostnames"])} if args.get("hostnames") else {}
        names: dict[str, str] = {}
        routes: list[pulumi.Resource] = []
        for group in route.groups:
            suffix = route_suffix(group.model)
            rules = route_rules.rules(group, route.experiments, route.timeouts, paths=route.paths, exact=route.exact)
            spec = {"parentRefs": [parent], **hosts, "rules": rules}
            routes.append(custom("HTTPRoute", spec, suffix, **annotations, opts=owned))
            names[group.model] = f"{name}-{suffix}" if suffix else name
        health = f"{name}.health"
        if hosts:
            answering = replace(route.groups[0], mirror=None)
            rules = route_rules.rules(answering, [], route.timeouts, paths=[], exact=[health_path])
            spec = {"parentRefs": [parent], "rules": rules}
            routes.append(custom("HTTPRoute", spec, called=health, **annotations, opts=owned))

        if "rollout" in args:
            may = [*names.values(), *([health] if hosts else [])]
            homes = {backend.namespace for backend in route.backends}
            permit(name, namespace.metadata.name, may, homes, dict(args["rollout"]), child)
        custom(
            "PodMonitor",
            {
                "selector": {"matchLabels": proxies.labels},
                "podMetricsEndpoints": [{"port": "metrics", "path": route_proxies.METRICS_PATH, "interval": "15s"}],
            },
            api_version="monitoring.coreos.com/v1",
        )

        self.service = after(proxies.service, [gate, *routes])
        self.namespace = namespace.metadata.name
        self.http_port = pulumi.Output.from_input(HTTP)
        self.route = pulumi.Output.from_input(names[""])
        self.model_routes = pulumi.Output.from_input(
            {group.model: names[group.model] for group in route.groups if group.model}
        )
        self.register_outputs(
            {
                "service": self.service,
                "namespace": self.namespace,
                "httpPort": self.http_port,
                "route": self.route,
                "modelRoutes": self.model_routes,
            }
        )

    def _let_in(
        self, name: str, home: str, backends: list[Backend], proxies: Proxies, child: pulumi.ResourceOptions
    ) -> list[pulumi.Resource]:
        """In the namespace of some backends: that this namespace's routes may name them, and the proxies reach them."""
        grant = k8s.apiextensions.CustomResource(
            f"{name}-{home}-grant",
            api_version=GATEWAY_API,
            kind="ReferenceGrant",
            metadata={"namespace": home, "name": f"{proxies.namespace}-{name}"},
            spec={
                "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": proxies.namespace}],
                "to": [{"group": "", "kind": "Service", "name": backend.service} for backend in backends],
            },
            opts=child,
        )
        policies = [
            k8s.networking.v1.NetworkPolicy(
                f"{name}-{home}-{backend.service}",
                metadata={"namespace": home, "name": f"{proxies.namespace}-{name}-{backend.service}"},
                spec=backend_policy(backend, proxies.namespace, proxies.labels),
                opts=child,
            )
            for backend in backends
        ]
        return [grant, *policies]
