"""Reads the front door of a plan: which records, accelerators and load balancers lead from a name to which pods."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from planner.inventory.front_door_model import DEFAULT_WEIGHT, Answer, Entry, FrontDoor, Target
from planner.inventory.links import Links
from planner.inventory.objects import Object, Objects, maps, objects_in, selects
from planner.inventory.once import once
from planner.inventory.references import mapping
from planner.inventory.routes import gateway_of, routed_services
from planner.plan import UNKNOWN, Resource

if TYPE_CHECKING:
    from planner.inventory.inventory import Inventory

__all__ = ["Answer", "Entry", "FrontDoor", "Target", "bound_services", "front_doors", "neg_names", "selected_workloads"]

RECORD = "aws:route53/record:Record"
ACCELERATOR = "aws:globalaccelerator/accelerator:Accelerator"
ACCELERATOR_LISTENER = "aws:globalaccelerator/listener:Listener"
ENDPOINT_GROUP = "aws:globalaccelerator/endpointGroup:EndpointGroup"
LOAD_BALANCERS = ("aws:lb/loadBalancer:LoadBalancer", "aws:alb/loadBalancer:LoadBalancer")
LISTENERS = ("aws:lb/listener:Listener", "aws:alb/listener:Listener")
LISTENER_RULES = ("aws:lb/listenerRule:ListenerRule", "aws:alb/listenerRule:ListenerRule")
TARGET_GROUPS = ("aws:lb/targetGroup:TargetGroup", "aws:alb/targetGroup:TargetGroup")
HEALTH_CHECK = "aws:route53/healthCheck:HealthCheck"
ADDRESSES = ("gcp:compute/globalAddress:GlobalAddress", "gcp:compute/address:Address")
FORWARDING_RULES = (
    "gcp:compute/globalForwardingRule:GlobalForwardingRule",
    "gcp:compute/forwardingRule:ForwardingRule",
)
PROXIES = (
    "gcp:compute/targetHttpsProxy:TargetHttpsProxy",
    "gcp:compute/targetHttpProxy:TargetHttpProxy",
    "gcp:compute/targetTCPProxy:TargetTCPProxy",
    "gcp:compute/targetSSLProxy:TargetSSLProxy",
    "gcp:compute/regionTargetHttpsProxy:RegionTargetHttpsProxy",
    "gcp:compute/regionTargetHttpProxy:RegionTargetHttpProxy",
    "gcp:compute/regionTargetTcpProxy:RegionTargetTcpProxy",
)
URL_MAPS = ("gcp:compute/uRLMap:URLMap", "gcp:compute/regionUrlMap:RegionUrlMap")
BACKEND_SERVICES = (
    "gcp:compute/backendService:BackendService",
    "gcp:compute/regionBackendService:RegionBackendService",
)
NEG_ANNOTATION = "cloud.google.com/neg"

_GROUP = re.compile(r"(zones|regions)/([^/]+)/(?:networkEndpointGroups|instanceGroups)/([^/]+)$")
_POLICIES = {
    "latencyRoutingPolicies": "latency",
    "weightedRoutingPolicies": "weighted",
    "failoverRoutingPolicies": "failover",
    "geolocationRoutingPolicies": "geolocation",
    "geoproximityRoutingPolicy": "geoproximity",
    "cidrRoutingPolicy": "cidr",
}


@once
def front_doors(inventory: Inventory) -> tuple[FrontDoor, ...]:
    """Every name that leads to a load balancer of the plan, and every entry that no name leads to."""
    return _Reading(inventory).doors()


class _Reading:
    """The steps of `front_doors`."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory, self.plan = inventory, inventory.plan
        self.links = Links(inventory.plan)
        self.objects = objects_in(inventory)

    def doors(self) -> tuple[FrontDoor, ...]:
        entries = {
            entry.urn: entry for read in (self._accelerators, self._google, self._load_balancers) for entry in read()
        }
        by_name: dict[str, list[Answer]] = {}
        for record in self.links.of_type(RECORD):
            if (kind := record.inputs.get("type")) not in ("A", "AAAA", "CNAME", UNKNOWN):
                continue
            answer = self._answer(record, entries)
            name = _text(record.inputs.get("name")).rstrip(".")
            if answer is not None and name:
                by_name.setdefault(f"{name} {kind}" if kind == "AAAA" else name, []).append(answer)
        doors = [FrontDoor(name.partition(" ")[0], tuple(answers)) for name, answers in by_name.items()]
        doors = [door for door in doors if _leads_somewhere(door, doors)]
        named = {entry.urn for door in doors for entry in door.entries}
        # A load balancer that an accelerator sends to is no entry of its own.
        behind = {target.urn for entry in entries.values() if entry.kind != "load-balancer" for target in entry.targets}
        loose = [e for e in entries.values() if e.urn not in named and e.urn not in behind and e.targets]
        return (*doors, *(FrontDoor("", (Answer("", "simple", entry=entry),)) for entry in loose))

    # ---- records

    def _answer(self, record: Resource, entries: dict[str, Entry]) -> Answer | None:
        given = record.inputs
        policy, key, weight = _policy(given)
        alias = next(iter(maps(given.get("aliases"))), {})
        checks = self.links.find(record, "healthCheckId", given.get("healthCheckId"), HEALTH_CHECK)
        asked = self._entry_named(checks[0], ("fqdn", "ipAddress"), entries) if checks else None
        answer = Answer(
            record.urn,
            policy,
            key,
            weight,
            _text(given.get("setIdentifier")),
            checks[0].urn if checks else _text(given.get("healthCheckId")),
            asked.urn if asked else "",
            alias.get("evaluateTargetHealth") is True,
            self._entry_named(record, ("aliases", "records"), entries),
        )
        other = _text(alias.get("name")).rstrip(".")
        records = self.links.of_type(RECORD) if answer.entry is None and other else ()
        if any(_text(record.inputs.get("name")).rstrip(".") == other for record in records):
            return replace(answer, alias_of=other)
        return answer

    def _entry_named(self, resource: Resource, properties: Sequence[str], entries: dict[str, Entry]) -> Entry | None:
        """The entry that a record or a health check names by DNS name or address."""
        for property in properties:
            raw = resource.inputs.get(property)
            for value in raw if isinstance(raw, list) else [raw]:
                named = value.get("name") if isinstance(value, Mapping) else value
                for one in self.links.find(resource, property, named, ACCELERATOR, *LOAD_BALANCERS, *ADDRESSES):
                    if entry := entries.get(one.urn) or self._entry_at(one, entries):
                        return entry
        return None

    def _entry_at(self, address: Resource, entries: dict[str, Entry]) -> Entry | None:
        rules = (rule for rule in self.links.of_type(*FORWARDING_RULES) if rule.urn in entries)
        return next((entries[rule.urn] for rule in rules if address in self._address(rule)), None)

    # ---- entries

    def _accelerators(self) -> Iterator[Entry]:
        for accelerator in self.links.of_type(ACCELERATOR):
            groups = [
                group
                for listener in self._pointing(ACCELERATOR_LISTENER, "acceleratorArn", accelerator)
                for group in self._pointing(ENDPOINT_GROUP, "listenerArn", listener)
            ]
            targets = [target for group in groups for target in self._endpoints(group)]
            yield Entry(accelerator.urn, "accelerator", tuple(targets), tuple(group.urn for group in groups))

    def _endpoints(self, group: Resource) -> Iterator[Target]:
        region = _text(group.inputs.get("endpointGroupRegion"))
        dial = _number(group.inputs.get("trafficDialPercentage"), 100.0)
        for endpoint in maps(group.inputs.get("endpointConfigurations")):
            found = self.links.find(group, "endpointConfigurations", endpoint.get("endpointId"), *LOAD_BALANCERS)
            weight = int(_number(endpoint.get("weight"), DEFAULT_WEIGHT))
            base = Target("", f"aws:{region}", weight=weight, dial=dial, group=group.urn)
            if not found:
                yield replace(base, region=base.region if region else self._region(group))
            for balancer in found:
                services = self._behind(balancer)
                where = base.region if region else self._region(balancer)
                yield self._served(replace(base, urn=balancer.urn, region=where), services)

    def _load_balancers(self) -> Iterator[Entry]:
        for balancer in self.links.of_type(*LOAD_BALANCERS):
            target = Target(balancer.urn, self._region(balancer), group=balancer.urn)
            yield Entry(balancer.urn, "load-balancer", (self._served(target, self._behind(balancer)),))

    def _google(self) -> Iterator[Entry]:
        """One entry an address: the rule for HTTPS and the one that only redirects belong together."""
        by_address: dict[str, list[Resource]] = {}
        for rule in self.links.of_type(*FORWARDING_RULES):
            address = self._address(rule)
            by_address.setdefault(address[0].urn if address else rule.urn, []).append(rule)
        for rules in by_address.values():
            services = {one.urn: one for rule in rules for one in self._backend_services(rule)}
            targets = tuple(target for one in services.values() for target in self._backends(one))
            for rule in rules:
                # Under each rule's URN: a record may name either; the first one with a backend gives its name.
                if self._backend_services(rule) or (rule is rules[-1] and not services):
                    yield Entry(rule.urn, "google", targets, tuple(services))

    def _address(self, rule: Resource) -> list[Resource]:
        return self.links.find(rule, "ipAddress", rule.inputs.get("ipAddress"), *ADDRESSES)

    def _backend_services(self, rule: Resource) -> list[Resource]:
        found = self.links.find(rule, "backendService", rule.inputs.get("backendService"), *BACKEND_SERVICES)
        for proxy in self.links.find(rule, "target", rule.inputs.get("target"), *PROXIES):
            direct = proxy.inputs.get("backendService")
            found += self.links.find(proxy, "backendService", direct, *BACKEND_SERVICES)
            for url_map in self.links.find(proxy, "urlMap", proxy.inputs.get("urlMap"), *URL_MAPS):
                for property, value in url_map.inputs.items():
                    for name in _services_named(property, value):
                        found += self.links.find(url_map, property, name, *BACKEND_SERVICES)
        return list({one.urn: one for one in found}.values())

    def _backends(self, service: Resource) -> Iterator[Target]:
        checked = bool(service.inputs.get("healthChecks"))
        raw = service.inputs.get("backends")
        for backend in maps(raw) if isinstance(raw, list) else [{"group": UNKNOWN}]:
            scaler = _number(backend.get("capacityScaler"), 1.0)
            base = Target(
                "", "", weight=DEFAULT_WEIGHT if scaler else 0, dial=scaler * 100, health_checked=checked,
                group=service.urn,
            )  # fmt: skip
            link = _GROUP.search(_text(backend.get("group")))
            if link is None:
                for service_object in self._neg_services(service, "backends"):
                    where = self._region(service_object.resource)
                    yield self._served(replace(base, urn=service_object.resource.urn, region=where), [service_object])
                continue
            of, place, name = link.groups()
            zone = place if of == "zones" else ""
            region = f"gcp:{place.rsplit('-', 1)[0] if zone else place}"
            services = [one for one in self._negs.get(name, ()) if self._region(one.resource) in (region, "global")]
            urn = services[0].resource.urn if services else ""
            yield self._served(replace(base, urn=urn, region=region, zone=zone), services)

    @cached_property
    def _negs(self) -> dict[str, list[Object]]:
        """Name of a network endpoint group -> the Services that GKE makes it for."""
        found: dict[str, list[Object]] = {}
        for service in self.objects.of_kind("Service"):
            for name in neg_names(service):
                found.setdefault(name, []).append(service)
        return found

    def _neg_services(self, resource: Resource, property: str) -> list[Object]:
        known = {one.resource.urn: one for services in self._negs.values() for one in services}
        return [known[urn] for urn in resource.property_dependencies.get(property, ()) if urn in known]

    # ---- what is behind a load balancer

    def _pointing(self, type: str, property: str, to: Resource) -> list[Resource]:
        """Resources of a type whose property names another."""
        return [
            one
            for one in self.links.of_type(type)
            if to in self.links.find(one, property, one.inputs.get(property), to.type)
        ]

    def _behind(self, balancer: Resource) -> list[Object]:
        """The Services that a load balancer's target groups are bound to."""
        groups: dict[str, Resource] = {}
        for listener_type in LISTENERS:
            for listener in self._pointing(listener_type, "loadBalancerArn", balancer):
                groups.update(self._forwarded(listener, "defaultActions"))
                for rule_type in LISTENER_RULES:
                    for rule in self._pointing(rule_type, "listenerArn", listener):
                        groups.update(self._forwarded(rule, "actions"))
        return [service for group in groups.values() for service in bound_services(self.objects, self.links, group)]

    def _forwarded(self, listener: Resource, property: str) -> dict[str, Resource]:
        found: dict[str, Resource] = {}
        for action in maps(listener.inputs.get(property)):
            forward = mapping(action.get("forward"))
            named = [action.get("targetGroupArn"), *(g.get("arn") for g in maps(forward.get("targetGroups")))]
            for value in named:
                for group in self.links.find(listener, property, value, *TARGET_GROUPS):
                    found[group.urn] = group
        return found

    def _served(self, target: Target, services: list[Object]) -> Target:
        workloads: list[str] = []
        proxies: list[str] = []
        behind: list[Object] = []
        for service in services:
            selected = selected_workloads(self.objects, service)
            gateway = gateway_of(self.objects, service)
            if gateway is None:
                workloads += selected
                continue
            proxies += selected
            routed = routed_services(self.objects, gateway)
            behind += routed
            workloads += [w for one in routed for w in selected_workloads(self.objects, one)]
        return replace(
            target,
            services=tuple(dict.fromkeys(one.resource.urn for one in (*services, *behind))),
            workloads=tuple(dict.fromkeys(workloads)),
            proxies=tuple(dict.fromkeys(proxies)),
        )

    def _region(self, resource: Resource) -> str:
        return self.inventory.regions.get(resource.urn, "global")


def bound_services(objects: Objects, links: Links, group: Resource) -> list[Object]:
    """The Services whose pods a TargetGroupBinding registers in a target group."""
    found = []
    for binding in objects.of_kind("TargetGroupBinding"):
        if group in links.find(binding.resource, "spec", binding.spec.get("targetGroupARN"), group.type):
            service = objects.find(binding, "Service", _text(mapping(binding.spec.get("serviceRef")).get("name")))
            found += [service] if service else []
    return found


def selected_workloads(objects: Objects, service: Object) -> list[str]:
    """URNs of the workloads whose pods a Service selects."""
    selector = mapping(service.spec.get("selector"))
    return [
        workload.urn
        for workload in objects.pods(service)
        if selector and selects({"matchLabels": selector}, workload.labels)
    ]


def neg_names(service: Object) -> list[str]:
    """Names of the network endpoint groups that GKE makes for a Service.

    https://cloud.google.com/kubernetes-engine/docs/how-to/standalone-neg
    """
    try:
        asked = json.loads(_text(service.annotations.get(NEG_ANNOTATION)) or "{}")
    except json.JSONDecodeError:
        return []
    return [
        name
        for port in mapping(mapping(asked).get("exposed_ports")).values()
        if (name := _text(mapping(port).get("name")))
    ]


def _leads_somewhere(door: FrontDoor, doors: list[FrontDoor]) -> bool:
    by_name = {one.name: one for one in doors}
    return any(
        answer.entry or (by_name.get(answer.alias_of) and by_name[answer.alias_of].entries) for answer in door.answers
    )


def _policy(given: Any) -> tuple[str, str, int | None]:
    """Policy of a record, what it asks, and its weight."""
    for property, policy in _POLICIES.items():
        raw = given.get(property)
        if raw in (None, [], {}, UNKNOWN):
            continue
        one = mapping(raw[0] if isinstance(raw, list) else raw)
        if policy == "weighted":
            return policy, "", int(_number(one.get("weight"), 1))
        return policy, _text(one.get("region") or one.get("type") or one.get("country") or one.get("continent")), None
    return ("multivalue" if given.get("multivalueAnswerRoutingPolicy") is True else "simple"), "", None


def _services_named(property: str, value: Any) -> Iterator[Any]:
    """Every backend service that a URL map names, however deep."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _services_named(key, item)
    elif isinstance(value, list):
        for item in value:
            yield from _services_named(property, item)
    elif property in ("defaultService", "service", "backendService") and value:
        yield value


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value != UNKNOWN else ""


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default
