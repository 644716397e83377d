"""What networks and the front door cost: hours that are paid in any case, and traffic by stated assumptions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from planner.cost.model import HOURS_PER_MONTH, Amount, Line, Unpriced
from planner.cost.pools import counts
from planner.cost.reader import Reader, number, text
from planner.inventory.references import at, items, mapping
from planner.plan import UNKNOWN, Resource

Found = Iterator[Line | Unpriced]

HOURS = float(HOURS_PER_MONTH)
LOAD_BALANCERS = ("aws:lb/loadBalancer:LoadBalancer", "aws:alb/loadBalancer:LoadBalancer")


def nat_gateway(reader: Reader, resource: Resource) -> Found:
    """Hours and what goes through it; its address is a resource of its own."""
    yield from reader.line(resource, "nat-gateway", HOURS, "NAT gateway", kind="network")
    yield from reader.line(
        resource, "nat-gateway-data", reader.assumptions.natGib, "through NAT", kind="traffic", assumption="natGib"
    )


def router_nat(reader: Reader, resource: Resource) -> Found:
    """Google's NAT is paid by machine, for at most 32, by data, and by address."""
    region = reader.inventory.regions.get(resource.urn, "global")
    running = [
        amount
        for cluster in reader.inventory.clusters
        if cluster.region == region
        for pool in cluster.pools
        for amount in counts(pool, reader.assumptions.otherShare)
    ]
    machines = Amount(*(min(32.0, sum(getattr(a, level) for a in running)) for level in ("low", "expected", "largest")))
    yield from reader.line(resource, "nat-machine", machines.times(HOURS), "NAT, by machine", kind="network")
    addresses = items(resource.inputs, "natIps")
    yield from reader.line(resource, "public-ipv4", HOURS * max(1, len(addresses)), "NAT address", kind="network")
    yield from reader.line(
        resource, "nat-data", reader.assumptions.natGib, "through NAT", kind="traffic", assumption="natGib"
    )


def address(reader: Reader, resource: Resource) -> Found:
    """A public IPv4 address, in use or not."""
    yield from reader.line(resource, "public-ipv4", HOURS, "public address", kind="network")


def vpc_endpoint(reader: Reader, resource: Resource) -> Found:
    """An interface in each zone, and what goes through it; gateway endpoints are free."""
    kind = resource.inputs.get("vpcEndpointType", "Gateway")
    if kind == "Gateway":
        return
    subnets = resource.inputs.get("subnetIds")
    if subnets is None:
        subnets = items(resource.inputs, "subnetConfigurations")
    if subnets == UNKNOWN:
        subnets = resource.property_dependencies.get("subnetIds", ())
    service = text(resource.inputs.get("serviceName")).rsplit(".", 1)[-1]
    zones = len(subnets) if isinstance(subnets, list | tuple) and subnets else None
    hours = HOURS * zones if zones else None
    yield from reader.line(resource, "vpc-endpoint", hours, f"interface endpoints: {service}", kind="network")
    yield from reader.line(
        resource,
        "vpc-endpoint-data",
        reader.assumptions.endpointGib,
        "through interface endpoints",
        kind="traffic",
        assumption="endpointGib",
    )


def load_balancer(reader: Reader, resource: Resource) -> Found:
    """Hours, capacity units by traffic, and public addresses where it faces the internet."""
    kind = text(resource.inputs.get("loadBalancerType"), "application")
    service = {"application": "alb", "network": "nlb"}.get(kind)
    if service is None:
        yield reader.unpriced(resource, f"no price for a load balancer of the type {kind}")
        return
    yield from reader.line(resource, service, HOURS, f"{kind} load balancer", kind="network")
    yield from _capacity_units(reader, resource, service)
    internal = resource.inputs.get("internal")
    if internal is False or internal is None:
        subnets = items(resource.inputs, "subnets") or items(resource.inputs, "subnetMappings") or [None]
        yield from reader.line(resource, "public-ipv4", HOURS * len(subnets), "public addresses", kind="network")
        out = reader.assumptions.request_gib("response")
        yield from reader.line(
            resource, "internet-out", out, "answers to the internet", kind="traffic", assumption="requestsPerSecond"
        )


def _capacity_units(reader: Reader, resource: Resource, service: str) -> Found:
    # A unit is, whichever is more, 1 GiB an hour or 25 new connections a second; each request is taken as a connection.
    assumed = reader.assumptions
    data, per_second = assumed.request_gib("both"), assumed.requestsPerSecond
    units = Amount(*(max(getattr(data, level), getattr(per_second, level) / 25 * HOURS)
                     for level in ("low", "expected", "largest")))  # fmt: skip
    yield from reader.line(
        resource, f"{service}-capacity-unit", units, "capacity units", kind="traffic", assumption="requestsPerSecond"
    )


def classic_load_balancer(reader: Reader, resource: Resource) -> Found:
    """An ELB of the first generation."""
    yield from reader.line(resource, "clb", HOURS, "classic load balancer", kind="network")


def accelerator(reader: Reader, resource: Resource) -> Found:
    """Global Accelerator, by the hour."""
    if resource.inputs.get("enabled") is not False:
        yield from reader.line(
            resource, "global-accelerator", HOURS, "Global Accelerator", kind="network", region="aws:global"
        )


def endpoint_group(reader: Reader, resource: Resource) -> Found:
    """A region behind the accelerator: a premium on its data, in the dominant direction, and data to the internet."""
    place = text(resource.inputs.get("endpointGroupRegion"))
    region = f"aws:{place}" if place else reader.inventory.regions.get(resource.urn, "global")
    assumed = reader.assumptions
    by: dict[str, Any] = {"kind": "traffic", "assumption": "requestsPerSecond", "region": region}
    dominant = "request" if assumed.requestKib >= assumed.responseKib else "response"
    yield from reader.line(
        resource, "global-accelerator-data", assumed.request_gib(dominant), "through the accelerator", **by
    )
    public = [
        urn for urn in resource.property_dependencies.get("endpointConfigurations", ())
        if (other := reader.plan.by_urn.get(urn)) is not None
        and other.type in LOAD_BALANCERS and other.inputs.get("internal") is not True
    ]  # fmt: skip
    if not public:  # else the load balancer has it already
        out = assumed.request_gib("response")
        yield from reader.line(resource, "internet-out", out, "answers to the internet", **by)


def forwarding_rule(reader: Reader, resource: Resource) -> Found:
    """A rule of a Google load balancer."""
    place = "gcp:global" if "/global" in resource.type else ""
    yield from reader.line(resource, "forwarding-rule", HOURS, "forwarding rule", kind="network", region=place)


_PLACE = re.compile(r"/(?:zones|regions)/([a-z]+-[a-z]+\d+)")


def backend_service(reader: Reader, resource: Resource) -> Found:
    """What Google's load balancer carries to the regions behind it, what it checks, and what goes to the internet."""
    scheme = text(resource.inputs.get("loadBalancingScheme"), "EXTERNAL")
    if not scheme.startswith("EXTERNAL"):
        return
    groups = [text(at(backend, "group")) for backend in items(resource.inputs, "backends")]
    places = {found.group(1) for group in groups if (found := _PLACE.search(group))}
    regions = max(1, len(places))
    assumed = reader.assumptions
    by: dict[str, Any] = {"kind": "traffic", "assumption": "requestsPerSecond", "region": "gcp:global"}
    both, out = assumed.request_gib("both").times(regions), assumed.request_gib("response").times(regions)
    yield from reader.line(resource, "load-balancer-data", both, "through the load balancer", **by)
    yield from reader.line(resource, "internet-out", out, "answers to the internet", **by)
    if resource.inputs.get("securityPolicy"):
        requests = assumed.requests.times(regions / 1e6)
        yield from reader.line(resource, "armor-requests", requests, "Cloud Armor requests", **by)


def armor(reader: Reader, resource: Resource) -> Found:
    """A Cloud Armor policy and its rules; the default rule is free."""
    yield from reader.line(resource, "armor-policy", 1.0, "Cloud Armor policy", kind="network", region="gcp:global")
    rules = sum(1 for rule in items(resource.inputs, "rules") if at(rule, "priority") != 2147483647)
    if rules:
        yield from reader.line(
            resource, "armor-rule", float(rules), "Cloud Armor rules", kind="network", region="gcp:global"
        )


def web_acl(reader: Reader, resource: Resource) -> Found:
    """An ACL, its rules, and the requests of the region that it guards."""
    yield from reader.line(resource, "waf-acl", 1.0, "WAF", kind="network")
    rules = len(items(resource.inputs, "rules"))
    if rules:
        yield from reader.line(resource, "waf-rule", float(rules), "WAF rules", kind="network")
    requests = reader.assumptions.requests.times(1e-6)
    yield from reader.line(
        resource,
        "waf-requests",
        requests,
        "WAF requests",
        kind="traffic",
        assumption="requestsPerSecond",
    )


def zone(reader: Reader, resource: Resource) -> Found:
    """A hosted zone of Route 53."""
    yield from reader.line(resource, "route53-zone", 1.0, "hosted zone", kind="network", region="aws:global")


def record(reader: Reader, resource: Resource) -> Found:
    """Queries of a record that leads clients somewhere; those of validation records are next to none."""
    if resource.inputs.get("type") not in ("A", "AAAA", "CNAME") or text(resource.inputs.get("name")).startswith("_"):
        return
    if resource.inputs.get("type") == "CNAME" and not resource.inputs.get("setIdentifier"):
        return
    policies = ("geolocationRoutingPolicies", "geoproximityRoutingPolicy")
    service = "route53-queries"
    if resource.inputs.get("latencyRoutingPolicies"):
        service = "route53-latency-queries"
    elif any(resource.inputs.get(policy) for policy in policies):
        service = "route53-geo-queries"
    yield from reader.line(
        resource,
        service,
        reader.assumptions.dnsQueriesMillions,
        "DNS queries",
        kind="traffic",
        region="aws:global",
        assumption="dnsQueriesMillions",
    )


def health_check(reader: Reader, resource: Resource) -> Found:
    """A health check and its options: HTTPS, a string to match, every 10 seconds, latency."""
    yield from reader.line(resource, "route53-health-check", 1.0, "health check", kind="network", region="aws:global")
    kind = text(resource.inputs.get("type"))
    options = kind.startswith("HTTPS") + kind.endswith("STR_MATCH")
    options += number(resource.inputs.get("requestInterval"), 30.0) == 10
    options += resource.inputs.get("measureLatency") is True
    if options:
        by: dict[str, Any] = {"kind": "network", "region": "aws:global"}
        yield from reader.line(resource, "route53-health-check-option", float(options), "health check options", **by)


def dns_zone(reader: Reader, resource: Resource) -> Found:
    """A zone of Cloud DNS."""
    yield from reader.line(resource, "dns-zone", 1.0, "DNS zone", kind="network", region="gcp:global")


def service(reader: Reader, resource: Resource) -> Found:
    """A load balancer that the cluster makes for a Service."""
    if at(resource.inputs, "spec.type") != "LoadBalancer":
        return
    if reader.inventory.regions.get(resource.urn, "").startswith("gcp:"):
        yield from forwarding_rule(reader, resource)
        return
    kind = "nlb" if _annotations(resource).get(_AWS_TYPE) in ("nlb", "external", "nlb-ip") else "clb"
    yield from reader.line(resource, kind, HOURS, "load balancer made by the cluster", kind="network")
    if kind == "nlb":
        yield from _capacity_units(reader, resource, kind)


def ingress(reader: Reader, resource: Resource) -> Found:
    """A load balancer that the cluster makes for an Ingress or a Gateway of the clouds' own classes."""
    name = text(at(resource.inputs, "spec.ingressClassName") or at(resource.inputs, "spec.gatewayClassName"))
    name = name or text(_annotations(resource).get("kubernetes.io/ingress.class"))
    if name == "alb":
        yield from reader.line(resource, "alb", HOURS, "load balancer made by the cluster", kind="network")
        yield from _capacity_units(reader, resource, "alb")
    elif name.startswith("gce") or name.startswith("gke-l7"):
        yield from forwarding_rule(reader, resource)


_AWS_TYPE = "service.beta.kubernetes.io/aws-load-balancer-type"


def _annotations(resource: Resource) -> Mapping:
    return mapping(resource.inputs, "metadata.annotations")


HANDLERS = {
    "aws:ec2/natGateway:NatGateway": nat_gateway,
    "gcp:compute/routerNat:RouterNat": router_nat,
    "aws:ec2/eip:Eip": address,
    "aws:ec2/vpcEndpoint:VpcEndpoint": vpc_endpoint,
    **dict.fromkeys(LOAD_BALANCERS, load_balancer),
    "aws:elb/loadBalancer:LoadBalancer": classic_load_balancer,
    "aws:globalaccelerator/accelerator:Accelerator": accelerator,
    "aws:globalaccelerator/endpointGroup:EndpointGroup": endpoint_group,
    "gcp:compute/globalForwardingRule:GlobalForwardingRule": forwarding_rule,
    "gcp:compute/forwardingRule:ForwardingRule": forwarding_rule,
    "gcp:compute/backendService:BackendService": backend_service,
    "gcp:compute/securityPolicy:SecurityPolicy": armor,
    "aws:wafv2/webAcl:WebAcl": web_acl,
    "aws:route53/zone:Zone": zone,
    "aws:route53/record:Record": record,
    "aws:route53/healthCheck:HealthCheck": health_check,
    "gcp:dns/managedZone:ManagedZone": dns_zone,
    "kubernetes:core/v1:Service": service,
    "kubernetes:networking.k8s.io/v1:Ingress": ingress,
    "kubernetes:gateway.networking.k8s.io/v1:Gateway": ingress,
}
