"""The front door on GCP: one anycast address, and Google picks the nearest region with capacity."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_gcp as gcp

from components.ordering import after
from components.routing.dns import Entry
from components.routing.front import CONNECTION_DRAINING, RATE_WINDOW, RESPONSE_TIMEOUT, FrontDoorRegion
from components.tags import gcp_labels

REQUESTS_PER_ENDPOINT = 100.0
"""Requests a second and pod from which requests spill over to the next region. A target, not a limit."""

FIREWALL_RULES = {
    "scannerdetection-v33-stable": "vulnerability scanners",
    "protocolattack-v33-stable": "HTTP smuggling and splitting",
    "cve-canary": "newly found holes of common servers",
}
"""Cloud Armor's own rules. Those that look for SQL or script in bodies are left out: prompts are full of both.
https://cloud.google.com/armor/docs/waf-rules"""

LAST_PRIORITY = 2147483647

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def neg_name(namespace: str, service: str) -> str:
    """The name of a Service's network endpoint groups, one a zone: unique for a stack, so that stacks share a project.

    ValueError if it is not a name for GCP (RFC 1035, 63 characters).
    """
    name = f"{pulumi.get_stack()}-{namespace}-{service}".lower()
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"network endpoint group {name!r} (stack, namespace and service): expected up to 63 of a-z, 0-9 and '-', "
            "beginning with a letter"
        )
    return name


def neg_annotation(name: str, port: int) -> dict[str, str]:
    """Annotation of a Service, by which GKE makes network endpoint groups called `name` for its port.

    https://cloud.google.com/kubernetes-engine/docs/how-to/standalone-neg
    """
    return {"cloud.google.com/neg": json.dumps({"exposed_ports": {str(int(port)): {"name": name}}})}


def neg_links(
    parent: pulumi.Resource,
    name: str,
    zones: pulumi.Input[Sequence[pulumi.Input[str]]],
    needs: Sequence[pulumi.Resource],
) -> pulumi.Output[list[str]]:
    """Self links of a Service's network endpoint groups, after `needs` (the Service, and the pods behind it).

    They are computed because GKE makes the groups: in each zone where the cluster has a node.
    """
    project = gcp.organizations.get_project(opts=pulumi.InvokeOptions(parent=parent)).project_id
    base = f"https://www.googleapis.com/compute/v1/projects/{project}/zones"
    links = pulumi.Output.from_input(zones).apply(
        lambda known: [f"{base}/{zone}/networkEndpointGroups/{name}" for zone in known]
    )
    return after(links, needs)


@dataclass(frozen=True)
class LoadBalancerRequest:
    """What the global load balancer is asked for; GlobalLoadBalancer documents the fields."""

    name: str
    domain: str
    hosted_zone_id: pulumi.Input[str]
    health_path: str
    requests_per_endpoint: float
    requests_per_client: int
    protect: bool
    tags: dict[str, str]


def build(parent: pulumi.Resource, request: LoadBalancerRequest, regions: Sequence[FrontDoorRegion]) -> Entry:
    """A global external application load balancer over the regions' network endpoint groups, under `parent`."""
    child = pulumi.ResourceOptions(parent=parent)
    name, labels = request.name, gcp_labels(request.tags)
    address = gcp.compute.GlobalAddress(
        name,
        address_type="EXTERNAL",
        ip_version="IPV4",
        labels=labels,
        # Clients and their firewalls know this address; a new one would be another.
        opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(protect=request.protect)),
    )
    backends = gcp.compute.BackendService(
        name,
        load_balancing_scheme="EXTERNAL_MANAGED",
        protocol="HTTP",
        health_checks=_health_check(request, child).id,
        security_policy=_firewall(request, child).id,
        backends=_backends(regions, request.requests_per_endpoint),
        locality_lb_policy="LEAST_REQUEST",  # requests differ in length: the pod with the fewest is the least busy
        timeout_sec=RESPONSE_TIMEOUT,
        connection_draining_timeout_sec=CONNECTION_DRAINING,
        log_config={"enable": True, "sample_rate": 1.0},
        opts=child,
    )
    proxy = gcp.compute.TargetHttpsProxy(
        name,
        url_map=gcp.compute.URLMap(name, default_service=backends.id, opts=child).id,
        certificate_map=pulumi.Output.concat("//certificatemanager.googleapis.com/", _certificate(request, child)),
        ssl_policy=gcp.compute.SSLPolicy(name, profile="RESTRICTED", min_tls_version="TLS_1_2", opts=child).id,
        opts=child,
    )
    redirect = gcp.compute.TargetHttpProxy(
        f"{name}-redirect",
        url_map=gcp.compute.URLMap(
            f"{name}-redirect",
            default_url_redirect={
                "https_redirect": True,
                "strip_query": False,
                "redirect_response_code": "MOVED_PERMANENTLY_DEFAULT",
            },
            opts=child,
        ).id,
        opts=child,
    )
    for purpose, port, target in (("https", "443", proxy.id), ("http", "80", redirect.id)):
        gcp.compute.GlobalForwardingRule(
            f"{name}-{purpose}",
            load_balancing_scheme="EXTERNAL_MANAGED",
            ip_address=address.address,
            port_range=port,
            target=target,
            labels=labels,
            opts=child,
        )
    return Entry(addresses=after([address.address], []), check_name=None)


def _backends(regions: Sequence[FrontDoorRegion], rate: float) -> pulumi.Output[list[dict[str, object]]]:
    """All regions in one backend service: only within one does Google choose by distance, and fail over.

    A drained region's capacity is 0. (Google refuses that for the only backend of a service: a single zone that is all
    there is on GCP cannot be drained.)
    """

    def of(all_targets: Sequence[Sequence[str]]) -> list[dict[str, object]]:
        return [
            {
                "group": group,
                "balancing_mode": "RATE",
                "max_rate_per_endpoint": rate,
                "capacity_scaler": 0.0 if region.drained else region.dial / 100,
            }
            for region, targets in zip(regions, all_targets, strict=True)
            for group in targets
        ]

    return pulumi.Output.all(*[region.targets for region in regions]).apply(of)


def _health_check(request: LoadBalancerRequest, opts: pulumi.ResourceOptions) -> gcp.compute.HealthCheck:
    return gcp.compute.HealthCheck(
        request.name,
        check_interval_sec=10,
        timeout_sec=5,
        healthy_threshold=2,
        unhealthy_threshold=3,
        http_health_check={"port_specification": "USE_SERVING_PORT", "request_path": request.health_path},
        log_config={"enable": True},
        opts=opts,
    )


def _firewall(request: LoadBalancerRequest, opts: pulumi.ResourceOptions) -> gcp.compute.SecurityPolicy:
    everyone = {"versioned_expr": "SRC_IPS_V1", "config": {"src_ip_ranges": ["*"]}}
    managed = [
        {
            "action": "deny(403)",
            "priority": 1000 + index,
            "description": what,
            "match": {"expr": {"expression": f"evaluatePreconfiguredWaf('{rule}', {{'sensitivity': 1}})"}},
        }
        for index, (rule, what) in enumerate(FIREWALL_RULES.items())
    ]
    rate = {
        "action": "throttle",
        "priority": 2000,
        "description": "One client's share",
        "match": everyone,
        "rate_limit_options": {
            "conform_action": "allow",
            "exceed_action": "deny(429)",
            "enforce_on_key": "IP",
            "rate_limit_threshold": {"count": request.requests_per_client, "interval_sec": RATE_WINDOW},
        },
    }
    default = {"action": "allow", "priority": LAST_PRIORITY, "description": "Everyone else", "match": everyone}
    return gcp.compute.SecurityPolicy(
        request.name,
        type="CLOUD_ARMOR",
        rules=[*managed, rate, default],
        labels=gcp_labels(request.tags),
        opts=opts,
    )


def _certificate(request: LoadBalancerRequest, opts: pulumi.ResourceOptions) -> pulumi.Output[str]:
    """Certificate map of a managed certificate, proven by DNS.

    The load balancer's own proof would need the domain to point to Google alone, which it never does with two clouds.
    """
    name, labels = request.name, gcp_labels(request.tags)
    proof = gcp.certificatemanager.DnsAuthorization(name, domain=request.domain, labels=labels, opts=opts)
    asked = proof.dns_resource_records[0]
    record = aws.route53.Record(
        f"{name}-gcp-certificate",
        zone_id=request.hosted_zone_id,
        name=asked.name,
        type=asked.type,
        ttl=300,
        records=[asked.data],
        opts=opts,
    )
    certificate = gcp.certificatemanager.Certificate(
        name,
        scope="DEFAULT",
        managed={"domains": [request.domain], "dns_authorizations": [proof.id]},
        labels=labels,
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[record])),
    )
    certificates = gcp.certificatemanager.CertificateMap(name, labels=labels, opts=opts)
    entry = gcp.certificatemanager.CertificateMapEntry(
        name,
        map=certificates.name,
        hostname=request.domain,
        certificates=[certificate.id],
        labels=labels,
        opts=opts,
    )
    return after(certificates.id, [entry])
