"""Contracts of gateways: class, listener, grants and shares are there, and health checks go the way of requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from planner.checks.view import View
from planner.finding import Finding, Rule
from planner.inventory.front_door import BACKEND_SERVICES, TARGET_GROUPS, bound_services, neg_names
from planner.inventory.gateways import CHART, CONTROLLER, drain_timeout_s, min_drain_s
from planner.inventory.objects import Object, maps
from planner.inventory.references import at, mapping
from planner.inventory.routes import ROUTES, gateway_of, parents, references, routes_of
from planner.plan import UNKNOWN, Resource
from planner.rules import Rules

_SPEC = "https://gateway-api.sigs.k8s.io/reference/spec/"

CLASS = Rule(
    "gateway-has-a-controller",
    "Every Gateway has a class and parameters that are there, and a controller that makes proxies of it",
    url=f"{_SPEC}#gatewayclass",
    remediation="Name a GatewayClass of the cluster, install its controller, and put the parameters into the Gateway's "
    "namespace.",
)
PARENT = Rule(
    "route-has-a-gateway",
    "Every route has a Gateway, and a listener there that takes it",
    url=f"{_SPEC}#parentreference",
    remediation="Name a Gateway and one of its listeners, which allows routes of the route's namespace.",
)
GRANT = Rule(
    "reference-is-granted",
    "Whatever a route names in another namespace, that namespace has granted",
    url="https://gateway-api.sigs.k8s.io/api-types/referencegrant/",
    remediation="Add a ReferenceGrant to the Service's namespace: from the routes of the other one, to the Service.",
)
SHARE = Rule(
    "route-sends-somewhere",
    "Every rule of a route has a backend with a share of its requests",
    url=f"{_SPEC}#backendref",
    remediation="Give some backend a weight above 0: with none, all requests of the rule are answered 500.",
)
HEALTH = Rule(
    "health-path-is-routed",
    "A load balancer's health check of a gateway is routed to what answers it, whatever host it asks for",
    url="https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html",
    remediation="Route the path in an HTTPRoute without hostnames: health checks ask pods by their addresses.",
)
DRAIN = Rule(
    "gateway-outlasts-deregistration",
    "Proxies go on until the load balancer before them has let the requests under way finish",
    url="https://gateway.envoyproxy.io/docs/tasks/operations/graceful-shutdown/",
    remediation="Make the EnvoyProxy's minDrainDuration longer than the load balancer's deregistration delay, and its "
    "drainTimeout longer still.",
)
METRICS = Rule(
    "resource-metrics-are-served",
    "Where an autoscaler goes by CPU or memory, something in its cluster serves these",
    url="https://docs.aws.amazon.com/eks/latest/userguide/metrics-server.html",
    remediation="Install the EKS add-on metrics-server; GKE runs its own.",
)
RULES = (CLASS, PARENT, GRANT, SHARE, HEALTH, DRAIN, METRICS)

_OTHERS = ("gke-", "istio", "cilium", "nginx", "traefik", "kong", "contour", "eg-")
"""Beginnings of classes that clouds and charts make."""
_METRICS_SERVERS = ("metrics-server",)


def findings(view: View, _rules: Rules) -> Iterator[Finding]:
    """Whatever keeps requests from getting through a gateway."""
    for gateway in view.objects.of_kind("Gateway"):
        yield from _class(view, gateway)
    for route in view.objects.of_kind(*ROUTES):
        yield from _parents(view, route)
        yield from _granted(view, route)
        yield from _shares(route)
    for service, path, draining, asked in _checked(view):
        if (before := gateway_of(view.objects, service)) is not None:
            yield from _health(view, before, path, asked)
            yield from _drains(view, before, draining, asked)
    for scaler in view.objects.of_kind("HorizontalPodAutoscaler"):
        yield from _metrics(view, scaler)


# ---- the Gateway itself


def _class(view: View, gateway: Object) -> Iterator[Finding]:
    name = gateway.spec.get("gatewayClassName")
    classes = {one.name: one for one in view.objects.in_cluster(gateway.cluster, "GatewayClass")}
    if not isinstance(name, str) or UNKNOWN in (name, *classes) or not classes or name.startswith(_OTHERS):
        return
    if name not in classes:
        yield CLASS.finding(
            f"Gateway {gateway.place} has the class {name!r}; there is {', '.join(sorted(classes))}",
            gateway.resource,
        )
        return
    if classes[name].spec.get("controllerName") != CONTROLLER:
        return
    charts = [str(release.inputs.get("chart", "")).rpartition("/")[2] for release in view.releases_in(gateway.cluster)]
    if charts and CHART not in charts:
        yield CLASS.finding(
            f"Gateway {gateway.place} has the class {name!r}, and nothing installs Envoy Gateway, which serves it",
            gateway.resource, subject="controller",
        )  # fmt: skip
    parameters = mapping(gateway.spec, "infrastructure.parametersRef")
    kind, wanted = str(parameters.get("kind")), parameters.get("name")
    if not isinstance(wanted, str) or wanted == UNKNOWN or view.objects.in_doubt(gateway, kind):
        return
    if view.objects.find(gateway, kind, wanted) is None:
        there = sorted(one.name for one in view.objects.beside(gateway, kind))
        yield CLASS.finding(
            f"Gateway {gateway.place} names the {kind} {wanted!r}; its namespace has {', '.join(there) or 'none'}",
            gateway.resource, subject="parameters",
        )  # fmt: skip


# ---- routes


def _parents(view: View, route: Object) -> Iterator[Finding]:
    for reference, gateway in parents(view.objects, route):
        name = str(reference.get("name"))
        if gateway is None:
            if not view.objects.in_doubt(route, "Gateway") and any(view.objects.in_cluster(route.cluster, "Gateway")):
                there = sorted(one.place for one in view.objects.in_cluster(route.cluster, "Gateway"))
                yield PARENT.finding(
                    f"{route.kind} {route.place} names the Gateway {name!r}; there is {', '.join(there)}",
                    route.resource, subject=name,
                )  # fmt: skip
            continue
        listeners = maps(gateway.spec, "listeners")
        section, port = reference.get("sectionName"), reference.get("port")
        taking = [
            one
            for one in listeners
            if section in (None, UNKNOWN, one.get("name")) and port in (None, UNKNOWN, one.get("port"))
        ]
        if listeners and not taking:
            yield PARENT.finding(
                f"{route.kind} {route.place} names listener {section or port!r} of Gateway {gateway.place}, which has "
                f"{', '.join(str(one.get('name')) for one in listeners)}",
                route.resource, subject=name,
            )  # fmt: skip
        elif taking and not any(_allows(one, gateway, route) for one in taking):
            yield PARENT.finding(
                f"no listener of Gateway {gateway.place} allows {route.kind} {route.place}", route.resource,
                subject=name,
            )  # fmt: skip


def _allows(listener: Mapping[str, Any], gateway: Object, route: Object) -> bool:
    whence = at(listener, "allowedRoutes.namespaces.from")
    kinds = maps(listener, "allowedRoutes.kinds")
    near = whence not in (None, "Same") or gateway.namespace == route.namespace
    return near and (not kinds or any(kind.get("kind") in (route.kind, UNKNOWN) for kind in kinds))


def _granted(view: View, route: Object) -> Iterator[Finding]:
    others = {(one.namespace, str(one.name)) for one in references(route) if one.namespace != route.namespace}
    for namespace, name in sorted(others):
        if (
            UNKNOWN in (namespace, name, route.namespace)
            or view.objects.find(route, "Service", name, namespace) is None
        ):
            continue  # what isn't there, `service-exists` tells
        grants = [
            one
            for one in view.objects.in_cluster(route.cluster, "ReferenceGrant")
            if one.namespace in (namespace, UNKNOWN)
        ]
        if not any(_grants(one, route, name) for one in grants) and not view.releases(route, namespace):
            yield GRANT.finding(
                f"{route.kind} {route.place} names the Service {name!r} of {namespace}, which no ReferenceGrant there "
                f"allows routes of {route.namespace}",
                route.resource, subject=f"{namespace}/{name}",
            )  # fmt: skip


def _grants(grant: Object, route: Object, service: str) -> bool:
    from_ = any(
        one.get("kind") == route.kind and one.get("namespace") in (route.namespace, UNKNOWN)
        for one in maps(grant.spec, "from")
    )
    return from_ and any(
        one.get("kind") == "Service" and one.get("name") in (None, service, UNKNOWN) for one in maps(grant.spec, "to")
    )


def _shares(route: Object) -> Iterator[Finding]:
    for index, rule in enumerate(maps(route.spec, "rules")):
        if any(one.get("type") == "RequestRedirect" for one in maps(rule, "filters")):
            continue
        weights = [backend.get("weight", 1) for backend in maps(rule, "backendRefs")]
        if rule.get("backendRefs") != UNKNOWN and UNKNOWN not in weights and not any(weights):
            which = str(rule.get("name", index))
            there = "only backends of weight 0" if weights else "no backend"
            yield SHARE.finding(
                f"rule {which} of {route.kind} {route.place} has {there}", route.resource, subject=which
            )


# ---- what the load balancer before it expects


def _checked(view: View) -> Iterator[tuple[Object, Any, Any, Resource]]:
    """Services that a load balancer sends to: path of its health check, seconds that requests under way get, and where
    that is said."""
    for group in view.links.of_type(*TARGET_GROUPS):
        for service in bound_services(view.objects, view.links, group):
            yield service, at(group.inputs, "healthCheck.path"), group.inputs.get("deregistrationDelay", 300), group
    by_group = {name: service for service in view.objects.of_kind("Service") for name in neg_names(service)}
    for backends in view.links.of_type(*BACKEND_SERVICES):
        checks = view.inventory.references(backends, "healthChecks", "gcp:compute/healthCheck:HealthCheck")
        path = at(checks[0].inputs, "httpHealthCheck.requestPath") if checks else None
        names = {str(one.get("group", "")).rpartition("/")[2] for one in maps(backends.inputs, "backends")}
        for name in sorted(names & by_group.keys()):
            yield by_group[name], path, backends.inputs.get("connectionDrainingTimeoutSec", 0), backends


def _health(view: View, gateway: Object, path: Any, asked: Resource) -> Iterator[Finding]:
    if not isinstance(path, str) or path == UNKNOWN:
        return
    routes = routes_of(view.objects, gateway)
    answering = [route for route in routes if route.spec.get("hostnames") in (None, [], UNKNOWN)]
    if any(_takes(rule, path) for route in answering for rule in maps(route.spec, "rules")):
        return
    elsewhere = [route.name for route in routes if any(_takes(rule, path) for rule in maps(route.spec, "rules"))]
    why = f", but for {', '.join(elsewhere)}, which has hostnames" if elsewhere else ""
    yield HEALTH.finding(
        f"{asked.name} checks {path}, which no route of Gateway {gateway.place} takes{why}: every proxy would be "
        "unhealthy",
        gateway.resource, subject=path,
    )  # fmt: skip


def _takes(rule: Mapping[str, Any], path: str) -> bool:
    """Whether a rule takes a plain GET of a path."""
    matches = maps(rule, "matches") or [{}]
    return any(
        not one.get("headers")
        and not one.get("queryParams")
        and one.get("method") in (None, "GET", UNKNOWN)
        and _fits(mapping(one, "path"), path)
        for one in matches
    )


def _fits(wanted: Mapping[str, Any], path: str) -> bool:
    kind, value = wanted.get("type", "PathPrefix"), str(wanted.get("value", "/"))
    if kind == "RegularExpression" or UNKNOWN in (kind, value):
        return True
    prefix = value.rstrip("/")
    return path == value if kind == "Exact" else path == prefix or path.startswith(f"{prefix}/")


def _drains(view: View, gateway: Object, draining: Any, asked: Resource) -> Iterator[Finding]:
    wanted = at(gateway.spec, "infrastructure.parametersRef.name")
    settings = view.objects.find(gateway, "EnvoyProxy", str(wanted)) if wanted else None
    shutdown = mapping(settings.spec, "shutdown") if settings else {}
    if not isinstance(draining, int | float) or UNKNOWN in shutdown.values():
        return
    least, most = min_drain_s(shutdown), drain_timeout_s(shutdown)
    if least <= draining or most <= draining:
        yield DRAIN.finding(
            f"proxies of Gateway {gateway.place} go on for {least} to {most} s after they are told to end; "
            f"{asked.name} lets requests under way finish for {draining:g} s",
            (settings or gateway).resource,
        )


# ---- what their autoscalers ask


def _metrics(view: View, scaler: Object) -> Iterator[Finding]:
    cloud = view.inventory.regions.get(scaler.cluster, "").partition(":")[0]
    kinds = {str(metric.get("type")) for metric in maps(scaler.spec, "metrics")} or {"Resource"}
    addons = view.addons.get(scaler.cluster, [])
    if cloud != "aws" or not kinds & {"Resource", "ContainerResource"} or not addons:
        return  # without add-ons in the plan, somebody else looks after them
    there = {str(addon.inputs.get("addonName")) for addon in addons}
    there |= {str(release.inputs.get("chart", "")).rpartition("/")[2] for release in view.releases_in(scaler.cluster)}
    if not there & set(_METRICS_SERVERS):
        yield METRICS.finding(
            f"{scaler.place} goes by what pods use, and nothing in its cluster serves that", scaler.resource
        )
