"""Contracts of traffic inside a cluster: selectors mean pods, ports are there on both sides, policies let them in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from planner.checks.view import (
    View,
    containers,
    has_port,
    labels_there,
    listed,
    number_of,
    ports,
    selector_words,
)  # fmt: skip
from planner.finding import Finding, Rule
from planner.inventory import Workload
from planner.inventory.objects import Object, maps, selects
from planner.inventory.references import at, items, mapping
from planner.plan import UNKNOWN
from planner.rules import Rules

_SELECTORS = "https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/"
_SELECT = "Make the selector and the labels of the pods the same, in one namespace."

SERVICE = Rule("service-selects-pods", "Every Service selects pods", url=_SELECTORS, remediation=_SELECT)
OWN = Rule("workload-selects-its-own-pods", "The selector of a workload means its own template", url=_SELECTORS,
           remediation=_SELECT)  # fmt: skip
BUDGET = Rule("disruption-budget-selects-pods", "Every disruption budget selects pods", url=_SELECTORS,
              remediation=_SELECT)  # fmt: skip
POLICY = Rule("network-policy-selects-pods", "Every network policy selects pods", url=_SELECTORS, remediation=_SELECT)
MONITOR = Rule("monitor-selects-pods", "Every pod monitor selects pods, every service monitor Services",
               url="https://prometheus-operator.dev/docs/developer/getting-started/", remediation=_SELECT)  # fmt: skip
PORT = Rule(
    "port-exists",
    "Every port that a Service, probe, monitor or network policy names is declared by the container",
    url="https://kubernetes.io/docs/concepts/services-networking/service/#defining-a-service",
    remediation="Declare the port in the container, or name the one that is declared.",
)
ADMITTED = Rule(
    "network-policy-admits-the-service",
    "Pods that network policies close off let in what their Services and monitors ask for",
    url="https://kubernetes.io/docs/concepts/services-networking/network-policies/",
    remediation="Add the port to a network policy's ingress rules.",
)
RULES = (SERVICE, OWN, BUDGET, POLICY, MONITOR, PORT, ADMITTED)


def findings(view: View, _rules: Rules) -> Iterator[Finding]:
    """What traffic, or whoever watches it, would not find."""
    objects = view.objects
    for service in objects.of_kind("Service"):
        yield from _service(view, service)
    for budget in objects.of_kind("PodDisruptionBudget"):
        yield from _selects(view, BUDGET, budget, budget.spec.get("selector"))
    for policy in objects.of_kind("NetworkPolicy"):
        yield from _policy(view, policy)
    for monitor in objects.of_kind("PodMonitor", "ServiceMonitor"):
        yield from _monitor(view, monitor)
    for workload in view.inventory.workloads:
        if (owner := objects.by_urn.get(workload.urn)) is not None:
            yield from _workload(owner, workload)
    yield from _admitted(view)


# ---- selectors


def _selects(view: View, rule: Rule, one: Object, selector: Any) -> Iterator[Finding]:
    # An empty selector means every pod that there may be, a missing one none on purpose.
    if selector in (None, {}, UNKNOWN) or not view.knows_pods(one) or view.pods(one, selector):
        return
    there = labels_there(view.objects.pods(one), selector)
    yield rule.finding(f"{one.place} selects no pod: it asks for {selector_words(selector)}; {there}", one.resource)


def _service(view: View, service: Object) -> Iterator[Finding]:
    selector = service.spec.get("selector")
    if not isinstance(selector, dict) or not selector or service.spec.get("type") == "ExternalName":
        return
    wanted = {"matchLabels": selector}
    yield from _selects(view, SERVICE, service, wanted)
    pods = view.pods(service, wanted)
    there = ports(pods)
    for port in maps(service.spec, "ports"):
        target = port.get("targetPort", port.get("port"))
        # A number works without a declaration; declared ones that differ are a slip all the same.
        if there and not has_port(there, target):
            yield PORT.finding(
                f"port {port.get('name', port.get('port'))} of {service.place} leads to {target!r}, which "
                f"{pods[0].name} does not declare; it has {listed(there)}",
                service.resource,
                subject=str(port.get("name", port.get("port"))),
            )
        elif pods and not there and number_of(target) is None and target != UNKNOWN:
            yield PORT.finding(
                f"port {port.get('name', port.get('port'))} of {service.place} leads to {target!r}, and "
                f"{pods[0].name} declares no ports",
                service.resource,
                subject=str(port.get("name", port.get("port"))),
            )


def _workload(owner: Object, workload: Workload) -> Iterator[Finding]:
    selector = owner.spec.get("selector")
    if owner.kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet") and isinstance(selector, dict):
        wrong = {k: v for k, v in mapping(selector, "matchLabels").items()
                 if workload.labels.get(k) != v and UNKNOWN not in (v, workload.labels.get(k))}  # fmt: skip
        if wrong:
            yield OWN.finding(
                f"{owner.place} selects {', '.join(f'{k}={v}' for k, v in wrong.items())}, which its own template "
                "has not: Kubernetes refuses it", owner.resource,
            )  # fmt: skip
    for container in containers(workload, "initContainers"):
        declared = maps(container, "ports")
        for place, handler in _handlers(container):
            port = next(
                (at(handler, f"{kind}.port") for kind in ("httpGet", "tcpSocket", "grpc") if kind in handler), None
            )
            # A number needs no declaration, but among declared ones it should be.
            if (isinstance(port, str) or declared) and not has_port(declared, port):
                name = container.get("name")
                yield PORT.finding(
                    f"the {place} of container {name} in {workload.name} asks port {port!r}; it has {listed(declared)}",
                    owner.resource, subject=f"{name} {place}",
                )  # fmt: skip


def _handlers(container: Any) -> Iterator[tuple[str, Any]]:
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        yield probe, mapping(container, probe)
    for hook in ("preStop", "postStart"):
        yield hook, mapping(container, f"lifecycle.{hook}")


def _monitor(view: View, monitor: Object) -> Iterator[Finding]:
    if mapping(monitor.spec, "namespaceSelector"):
        return  # it looks elsewhere, too
    selector = monitor.spec.get("selector")
    if monitor.kind == "PodMonitor":
        yield from _selects(view, MONITOR, monitor, selector)
        there = ports(view.pods(monitor, selector))
        endpoints, key = maps(monitor.spec, "podMetricsEndpoints"), "containerPort"
    else:
        services = [s for s in view.objects.beside(monitor, "Service") if selects(selector, s.labels)]
        if not services and view.knows_pods(monitor) and selector not in (None, {}, UNKNOWN):
            yield MONITOR.finding(f"{monitor.place} selects no Service: it asks for {selector_words(selector)}",
                                  monitor.resource)  # fmt: skip
        there = [port for service in services for port in maps(service.spec, "ports")]
        endpoints, key = maps(monitor.spec, "endpoints"), "port"
    for endpoint in endpoints:
        port = endpoint.get("port")
        if there and isinstance(port, str) and port != UNKNOWN and all(p.get("name") != port for p in there):
            yield PORT.finding(f"{monitor.place} scrapes port {port!r}; there is {listed(there, key)}",
                               monitor.resource, subject=port)  # fmt: skip


# ---- network policies


def _policy(view: View, policy: Object) -> Iterator[Finding]:
    selector = policy.spec.get("podSelector")
    yield from _selects(view, POLICY, policy, selector)
    there = ports(view.pods(policy, selector))
    for rule in maps(policy.spec, "ingress"):
        for port in maps(rule, "ports"):
            if there and not has_port(there, port.get("port"), port.get("endPort")):
                yield PORT.finding(f"{policy.place} lets in port {port.get('port')!r}; its pods have {listed(there)}",
                                   policy.resource, subject=str(port.get("port")))  # fmt: skip
    for direction, side in (("ingress", "from"), ("egress", "to")):
        for peer in (p for rule in maps(policy.spec, direction) for p in maps(rule, side)):
            name = mapping(peer, "namespaceSelector.matchLabels").get("kubernetes.io/metadata.name")
            if isinstance(name, str) and not view.has_namespace(policy, name):
                yield POLICY.finding(
                    f"{policy.place} names the namespace {name!r} as a peer, which is not there",
                    policy.resource, subject=f"{direction} {name}",
                )  # fmt: skip


def _admitted(view: View) -> Iterator[Finding]:
    """Pods that some policy closes off to whoever isn't named, and whose port none of them lets in."""
    for one in view.objects.of_kind("Service", "PodMonitor"):
        selector = one.spec.get("selector")
        wanted = {"matchLabels": selector} if one.kind == "Service" else selector
        if not wanted or selector in (None, {}, UNKNOWN):
            continue
        for workload in view.pods(one, wanted)[:1]:
            closing = [p for p in view.objects.beside(one, "NetworkPolicy") if _closes(p, workload)]
            if not closing:
                continue
            for name, number in _asked(one, workload):
                if not any(_lets_in(policy, name, number) for policy in closing):
                    yield ADMITTED.finding(
                        f"{one.place} sends to port {number or name} of {workload.name}, which no network policy "
                        f"lets in; {', '.join(policy.name for policy in closing)} close the pods off",
                        one.resource, subject=str(number or name),
                    )  # fmt: skip


def _closes(policy: Object, workload: Workload) -> bool:
    types = items(policy.spec, "policyTypes")
    return (not types or "Ingress" in types) and selects(policy.spec.get("podSelector"), workload.labels)


def _asked(one: Object, workload: Workload) -> Iterator[tuple[str, int | None]]:
    """(name, number) of the container ports that a Service or monitor sends to."""
    endpoints = maps(one.spec, "ports") if one.kind == "Service" else maps(one.spec, "podMetricsEndpoints")
    for endpoint in endpoints:
        target = endpoint.get("targetPort", endpoint.get("port"))
        if target in (None, UNKNOWN):
            continue
        if (moved := _relabelled(endpoint)) is not None:
            yield "", moved
            continue
        number = number_of(target)
        named = next((p for p in ports([workload]) if p.get("name") == target), None)
        if number is not None:
            yield "", number
        elif named is not None:  # one that isn't declared, `port-exists` tells
            yield str(target), number_of(named.get("containerPort"))


def _relabelled(endpoint: Any) -> int | None:
    """The port that a monitor scrapes in place of the declared one: its address is rewritten to end in it.

    https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config
    """
    for rule in maps(endpoint, "relabelings"):
        if rule.get("targetLabel") == "__address__":
            return number_of(str(rule.get("replacement")).rpartition(":")[2])
    return None


def _lets_in(policy: Object, name: str, number: int | None) -> bool:
    for rule in maps(policy.spec, "ingress"):
        allowed = maps(rule, "ports")
        if not allowed:
            return True
        for port in allowed:
            given = port.get("port")
            first, last = number_of(given), number_of(port.get("endPort"))
            if given in (None, UNKNOWN) or given == name:
                return True
            if number is not None and first is not None and first <= number <= (last or first):
                return True
    return policy.spec.get("ingress") == UNKNOWN
