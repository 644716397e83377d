"""Contracts of a gateway's ways: network policies let its proxies reach servers, and their controller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from planner.checks.view import View, number_of, ports
from planner.finding import Finding, Rule
from planner.inventory import Workload
from planner.inventory.gateways import NAME_LABEL, XDS, in_namespaces_of_gateways
from planner.inventory.objects import Object, maps, selects
from planner.inventory.references import items, mapping
from planner.inventory.routes import gateway_of, ports_of, references, routes_of, service_named
from planner.plan import UNKNOWN
from planner.rules import Rules

THROUGH = Rule(
    "network-policies-let-the-gateway-through",
    "Network policies let a gateway's proxies reach the servers behind their routes, and their controller",
    url="https://kubernetes.io/docs/concepts/services-networking/network-policies/",
    remediation="Allow the hop on both sides: egress in the namespace of the proxies, ingress in that of the servers. "
    "Name pods by labels, for an address block need not mean pods.",
)
RULES = (THROUGH,)

_CONTROLLER = {"control-plane": "envoy-gateway"}
"""Labels of Envoy Gateway's own pods, by its chart."""


@dataclass(frozen=True)
class _End:
    """Pods at one end of a hop."""

    cluster: str
    namespace: str
    labels: Mapping[str, Any]


def findings(view: View, _rules: Rules) -> Iterator[Finding]:
    """Every hop from proxies that some policy closes and none opens."""
    for service in view.objects.of_kind("Service"):
        gateway = gateway_of(view.objects, service) if NAME_LABEL in service.labels else None
        if gateway is None:
            continue
        for proxies in view.pods(service, {"matchLabels": mapping(service.spec, "selector")})[:1]:
            here = _End(service.cluster, service.namespace, proxies.labels)
            yield from _to_servers(view, gateway, here)
            yield from _to_controller(view, gateway, here)


def _to_servers(view: View, gateway: Object, here: _End) -> Iterator[Finding]:
    told: set[tuple[str, str]] = set()
    for route in routes_of(view.objects, gateway):
        for reference in references(route):
            server = service_named(view.objects, route, reference)
            for port in ports_of(reference, server) if server is not None else ():
                assert server is not None
                pods = view.pods(server, {"matchLabels": mapping(server.spec, "selector")})
                for workload in pods[:1]:
                    name, number = _container_port(port, workload)
                    there = _End(server.cluster, server.namespace, workload.labels)
                    for side, closed in _closed(view, here, there, name, number):
                        if (side, server.place) not in told:
                            told.add((side, server.place))
                            yield THROUGH.finding(
                                f"proxies of Gateway {gateway.place} may not reach port {number or name} of "
                                f"{server.place}: {closed}",
                                gateway.resource, subject=f"{server.place} {side}",
                            )  # fmt: skip


def _to_controller(view: View, gateway: Object, here: _End) -> Iterator[Finding]:
    for release in view.releases_in(gateway.cluster):
        namespace = view.release_namespace(release)
        if in_namespaces_of_gateways(release) and namespace != UNKNOWN:
            there = _End(gateway.cluster, namespace, _CONTROLLER)
            for side, closed in _closed(view, here, there, "grpc", XDS):
                yield THROUGH.finding(
                    f"proxies of Gateway {gateway.place} may not reach port {XDS} of Envoy Gateway in {namespace}, and "
                    f"so never learn a route: {closed}",
                    gateway.resource, subject=f"controller {side}",
                )  # fmt: skip


def _container_port(port: Mapping[str, Any], workload: Workload) -> tuple[str, int | None]:
    """Name and number of the container's port behind a Service's."""
    target = port.get("targetPort", port.get("port"))
    if (number := number_of(target)) is not None:
        return "", number
    named = next((one for one in ports([workload]) if one.get("name") == target), {})
    return str(target), number_of(named.get("containerPort"))


def _closed(view: View, here: _End, there: _End, name: str, number: int | None) -> Iterator[tuple[str, str]]:
    """Which side of a hop is closed, and by what."""
    for side, end, other in (("egress", here, there), ("ingress", there, here)):
        closing = [one for one in _policies(view, end) if _is_of(one, side) and _means(one, end)]
        if closing and not any(_opens(view, one, side, other, name, number) for one in closing):
            yield side, f"the {side} rules of {', '.join(one.place for one in closing)} don't name these pods"


def _policies(view: View, end: _End) -> Iterator[Object]:
    for one in view.objects.in_cluster(end.cluster, "NetworkPolicy"):
        if one.namespace == end.namespace:
            yield one


def _is_of(policy: Object, side: str) -> bool:
    kinds = items(policy.spec, "policyTypes")
    return side.capitalize() in kinds if kinds else side == "ingress" or "egress" in policy.spec


def _means(policy: Object, end: _End) -> bool:
    return selects(policy.spec.get("podSelector"), end.labels)


def _opens(view: View, policy: Object, side: str, other: _End, name: str, number: int | None) -> bool:
    if policy.spec.get(side) == UNKNOWN:
        return True
    for rule in maps(policy.spec, side):
        peers: Sequence[Any] = maps(rule, "from" if side == "ingress" else "to")
        if not peers or any(_is(view, policy, peer, other) for peer in peers):
            allowed = maps(rule, "ports")
            if not allowed or any(_port(one, name, number) for one in allowed):
                return True
    return False


def _is(view: View, policy: Object, peer: Mapping[str, Any], other: _End) -> bool:
    """Whether a peer means some pods. An address block does not: on some networks it never means pods."""
    if "ipBlock" in peer:
        return False
    if "namespaceSelector" in peer:
        namespace = next(
            (one for one in view.objects.in_cluster(other.cluster, "Namespace") if one.name == other.namespace), None
        )
        labels = {**(namespace.labels if namespace else {}), "kubernetes.io/metadata.name": other.namespace}
        near = selects(peer["namespaceSelector"], labels)
    else:
        near = policy.namespace == other.namespace
    return near and selects(peer.get("podSelector", {}), other.labels)


def _port(allowed: Mapping[str, Any], name: str, number: int | None) -> bool:
    given = allowed.get("port")
    first, last = number_of(given), number_of(allowed.get("endPort"))
    if given in (None, UNKNOWN) or (name and given == name) or number is None:
        return True
    return first is not None and first <= number <= (last or first)
