"""Routes of the Gateway API: which of them a Gateway has, and the Services that they lead to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from planner.inventory.gateways import NAME_LABEL
from planner.inventory.objects import Object, Objects, maps
from planner.inventory.references import items, mapping
from planner.plan import UNKNOWN

ROUTES = ("HTTPRoute", "GRPCRoute")


@dataclass(frozen=True)
class Reference:
    """A Service that a rule of a route names."""

    rule: Mapping[str, Any]
    name: Any
    namespace: str
    """The route's own where it names none."""
    port: Any
    weight: int | None
    """None where the plan doesn't know."""
    mirrored: bool = False
    """Whether it gets copies of requests, and answers nobody."""


def gateway_of(objects: Objects, service: Object) -> Object | None:
    """The Gateway that a Service of proxies was made of; None for any other Service."""
    name = service.labels.get(NAME_LABEL)
    return objects.find(service, "Gateway", name) if isinstance(name, str) else None


def routes_of(objects: Objects, gateway: Object) -> list[Object]:
    """The routes that name a Gateway as their parent."""
    return [
        route
        for route in objects.in_cluster(gateway.cluster, *ROUTES)
        if any(one is gateway for _, one in parents(objects, route))
    ]


def parents(objects: Objects, route: Object) -> Iterator[tuple[Mapping[str, Any], Object | None]]:
    """What a route names as its parents, and the Gateways that these are; None where there is none of that name."""
    for reference in maps(route.spec, "parentRefs"):
        if reference.get("kind", "Gateway") != "Gateway" or UNKNOWN in (reference.get("name"), route.namespace):
            continue
        namespace = str(reference.get("namespace") or route.namespace)
        yield reference, objects.find(route, "Gateway", str(reference.get("name")), namespace)


def references(route: Object) -> Iterator[Reference]:
    """Every Service that a route names, in the order of its rules."""
    for rule in maps(route.spec, "rules"):
        for backend in maps(rule, "backendRefs"):
            weight = backend.get("weight", 1)
            yield from _reference(route, rule, backend, int(weight) if isinstance(weight, int | float) else None)
        filters = [*maps(rule, "filters"), *(f for b in maps(rule, "backendRefs") for f in maps(b, "filters"))]
        for one in filters:
            if copy := mapping(one, "requestMirror.backendRef"):
                yield from _reference(route, rule, copy, None, mirrored=True)


def _reference(
    route: Object, rule: Mapping[str, Any], given: Mapping[str, Any], weight: int | None, *, mirrored: bool = False
) -> Iterator[Reference]:
    if given.get("kind", "Service") == "Service" and given.get("group", "") == "":
        namespace = str(given.get("namespace") or route.namespace)
        yield Reference(rule, given.get("name"), namespace, given.get("port"), weight, mirrored)


def service_named(objects: Objects, route: Object, reference: Reference) -> Object | None:
    """The Service that a route means."""
    return objects.find(route, "Service", str(reference.name), reference.namespace)


def routed_services(objects: Objects, gateway: Object) -> list[Object]:
    """The Services that answer requests through a Gateway: those with a share, and not those that only get copies."""
    found = {}
    for route in routes_of(objects, gateway):
        for reference in references(route):
            service = None if reference.mirrored or reference.weight == 0 else service_named(objects, route, reference)
            if service is not None:
                found[service.place] = service
    return list(found.values())


def ports_of(reference: Reference, service: Object) -> list[Mapping[str, Any]]:
    """The ports of a Service that a reference means."""
    return [port for port in items(service.spec, "ports") if mapping(port).get("port") == reference.port]
