"""Contracts of load balancers: whoever names a Service, its port, a target group or an endpoint group finds it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from planner.checks.view import View, has_port, listed, number_of, ports
from planner.finding import Finding, Rule
from planner.inventory.front_door import BACKEND_SERVICES, NEG_ANNOTATION, TARGET_GROUPS, neg_names
from planner.inventory.objects import Object, maps
from planner.inventory.references import at, mapping
from planner.inventory.routes import ROUTES, references
from planner.plan import UNKNOWN
from planner.rules import Rules

NAMED_SERVICE = Rule(
    "service-exists",
    "Every Service that an ingress, route, stateful set or binding names is there, with that port",
    remediation="Name a Service of the same namespace, and one of its ports.",
)
TARGETS = Rule(
    "target-group-matches-service",
    "Every target group of pods has a Service bound to it, of the same kind of target and port",
    url="https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/targetgroupbinding/targetgroupbinding/",
    remediation="Bind the target group to the Service with a TargetGroupBinding of the same target type and port.",
)
BACKEND = Rule(
    "backend-group-has-a-service",
    "Every network endpoint group that a load balancer names is made for a Service of that region",
    url="https://cloud.google.com/kubernetes-engine/docs/how-to/standalone-neg",
    remediation=f"Give the Service the annotation {NEG_ANNOTATION} with the group's name.",
)
RULES = (NAMED_SERVICE, TARGETS, BACKEND)

ATTACHMENTS = (
    "aws:lb/targetGroupAttachment:TargetGroupAttachment",
    "aws:alb/targetGroupAttachment:TargetGroupAttachment",
    "aws:autoscaling/attachment:Attachment",
    "aws:autoscaling/group:Group",
    "aws:ecs/service:Service",
)


def findings(view: View, _rules: Rules) -> Iterator[Finding]:
    """Whatever would send requests where nothing is."""
    yield from _references(view)
    yield from _target_groups(view)
    yield from _backends(view)


# ---- Services that others name


def _references(view: View) -> Iterator[Finding]:
    for binding in view.objects.of_kind("TargetGroupBinding"):
        reference = mapping(binding.spec, "serviceRef")
        yield from _named(view, binding, reference.get("name"), reference.get("port"))
    for ingress in view.objects.of_kind("Ingress"):
        backends = [mapping(ingress.spec, "defaultBackend")]
        backends += [mapping(p, "backend") for r in maps(ingress.spec, "rules") for p in maps(r, "http.paths")]
        for backend in backends:
            port = mapping(backend, "service.port")
            yield from _named(view, ingress, at(backend, "service.name"), port.get("number", port.get("name")))
    for route in view.objects.of_kind(*ROUTES):
        # Rules may name the same Service: told once.
        named = {(one.namespace, one.name, one.port): one for one in references(route)}
        for routed in named.values():
            yield from _named(view, route, routed.name, routed.port, routed.namespace)
    for route in view.objects.of_kind("InterceptorRoute"):
        for target in (mapping(route.spec, "target"), mapping(route.spec, "coldStart.fallback.service")):
            service = target.get("service", target.get("name"))
            yield from _named(view, route, service, target.get("port", target.get("portName")))
    for stateful in view.objects.of_kind("StatefulSet"):
        yield from _named(view, stateful, stateful.spec.get("serviceName"), None)


def _named(view: View, one: Object, name: Any, port: Any, namespace: str | None = None) -> Iterator[Finding]:
    there = one.namespace if namespace is None else namespace
    if not isinstance(name, str) or UNKNOWN in (name, there) or not name:
        return
    service = view.objects.find(one, "Service", name, there)
    if service is None:
        if not view.objects.in_doubt(one, "Service") and not view.releases(one, there):
            services = view.objects.in_cluster(one.cluster, "Service")
            names = ", ".join(sorted(s.name for s in services if s.namespace == there)) or "none"
            where = "" if there == one.namespace else f" of {there}"
            yield NAMED_SERVICE.finding(
                f"{one.kind} {one.place} names the Service {name!r}{where}; there is {names}",
                one.resource, subject=name,
            )  # fmt: skip
        return
    own = maps(service.spec, "ports")
    number = number_of(port)
    if port in (None, UNKNOWN) or not own:
        return
    if not any(number_of(p.get("port")) == number if number is not None else p.get("name") == port for p in own):
        yield NAMED_SERVICE.finding(
            f"{one.kind} {one.place} names port {port!r} of {service.place}, which has {listed(own, 'port')}",
            one.resource, subject=f"{name} {port}",
        )  # fmt: skip


# ---- load balancers


def _target_groups(view: View) -> Iterator[Finding]:
    bindings: dict[str, list[Object]] = {}
    for binding in view.objects.of_kind("TargetGroupBinding"):
        arn = binding.spec.get("targetGroupARN")
        groups = view.links.find(binding.resource, "spec", arn, *TARGET_GROUPS)
        for group in groups:
            bindings.setdefault(group.urn, []).append(binding)
        if not groups and isinstance(arn, str) and arn != UNKNOWN and view.links.of_type(*TARGET_GROUPS):
            yield TARGETS.finding(f"{binding.place} binds {arn}, which is no target group of this environment",
                                  binding.resource, severity="warning")  # fmt: skip
    attached = {
        group.urn
        for one in view.links.of_type(*ATTACHMENTS)
        for key in ("targetGroupArn", "lbTargetGroupArn", "targetGroupArns", "loadBalancers")
        for group in view.inventory.references(one, key, *TARGET_GROUPS)
    }
    for group in view.links.of_type(*TARGET_GROUPS):
        own = bindings.get(group.urn, [])
        if not own and bindings and group.urn not in attached and group.inputs.get("targetType") == "ip":
            yield TARGETS.finding(f"no TargetGroupBinding registers pods in target group {group.name}", group)
        for binding in own:
            yield from _binding(view, group, binding)


def _binding(view: View, group: Any, binding: Object) -> Iterator[Finding]:
    kind, bound = group.inputs.get("targetType", "instance"), binding.spec.get("targetType")
    if bound is not None and UNKNOWN not in (kind, bound) and kind != bound:
        yield TARGETS.finding(
            f"{binding.place} binds targets of type {bound!r}, target group {group.name} takes {kind!r}",
            binding.resource,
            subject="type",
        )
    service = view.objects.find(binding, "Service", str(at(binding.spec, "serviceRef.name")))
    port = number_of(at(binding.spec, "serviceRef.port"))
    own = [p for p in maps(service.spec, "ports") if number_of(p.get("port")) == port] if service else []
    if service is None or not own:
        return
    target = own[0].get("targetPort", port)
    there = ports(view.pods(service, {"matchLabels": mapping(service.spec, "selector")}))
    number = number_of(target)
    if number is None:
        number = next((number_of(p.get("containerPort")) for p in there if p.get("name") == target), None)
    given = number_of(group.inputs.get("port"))
    if kind == "ip" and None not in (number, given) and number != given:
        # Targets are registered with the pods' port; security groups and people go by the target group's.
        yield TARGETS.finding(
            f"target group {group.name} is for port {given}, the pods behind {service.place} listen on {number}",
            group, subject="port", severity="warning",
        )  # fmt: skip
    checked = number_of(at(group.inputs, "healthCheck.port"))
    if kind == "ip" and checked is not None and there and not has_port(there, checked):
        yield TARGETS.finding(
            f"target group {group.name} checks port {checked}; the pods behind {service.place} have {listed(there)}",
            group, subject="health check",
        )  # fmt: skip


def _backends(view: View) -> Iterator[Finding]:
    made: dict[str, set[str]] = {}
    for service in view.objects.of_kind("Service"):
        region = view.inventory.regions.get(service.resource.urn, "global")
        for name in neg_names(service):
            made.setdefault(name, set()).add(region)
        yield from _exposed(service)
    clusters = {cluster.region for cluster in view.inventory.clusters}
    for backend_service in view.links.of_type(*BACKEND_SERVICES):
        wrong: dict[tuple[str, str], None] = {}
        for backend in maps(backend_service.inputs, "backends"):
            parts = str(backend.get("group", "")).split("/")
            if len(parts) < 4 or parts[-2] != "networkEndpointGroups" or parts[-4] != "zones":
                continue
            region, name = f"gcp:{parts[-3].rpartition('-')[0]}", parts[-1]
            if region in clusters and not made.get(name, set()) & {region, "global"} and not _made_here(view, name):
                wrong[region, name] = None
        for region, name in wrong:
            yield BACKEND.finding(
                f"no Service in {region} has its network endpoint groups called {name!r}; there is "
                f"{', '.join(sorted(n for n, regions in made.items() if region in regions)) or 'none'}",
                backend_service, subject=region,
            )  # fmt: skip


def _made_here(view: View, name: str) -> bool:
    groups = view.links.of_type("gcp:compute/networkEndpointGroup:NetworkEndpointGroup")
    return any(name in (group.inputs.get("name"), group.outputs.get("name")) for group in groups)


def _exposed(service: Object) -> Iterator[Finding]:
    """The ports for which GKE shall make groups are the Service's own."""
    raw = service.annotations.get(NEG_ANNOTATION)
    if not isinstance(raw, str) or raw == UNKNOWN:
        return
    try:
        asked = mapping(json.loads(raw), "exposed_ports")
    except json.JSONDecodeError:
        yield BACKEND.finding(
            f"{service.place} has an annotation {NEG_ANNOTATION} that is not JSON: {raw}", service.resource
        )
        return
    own = maps(service.spec, "ports")
    for port in asked:
        if own and not any(number_of(p.get("port")) == number_of(port) for p in own):
            yield BACKEND.finding(
                f"{service.place} shall have network endpoint groups for port {port}; it has {listed(own, 'port')}",
                service.resource, subject=f"port {port}",
            )  # fmt: skip
