"""Networks are deleted after everything that is in them, and after whoever needs a way out to clean up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from planner.checks.destroy.controllers import Made
from planner.checks.destroy.order import Order
from planner.checks.view import View
from planner.finding import Finding, Rule
from planner.inventory.front_door import BACKEND_SERVICES, neg_names
from planner.inventory.objects import maps
from planner.inventory.references import texts
from planner.plan import UNKNOWN, Resource

NETWORK = Rule(
    "network-outlives-its-users",
    "What is in a network is deleted before the network, and the way out of it after whoever needs it to clean up",
    url="https://docs.aws.amazon.com/vpc/latest/userguide/delete-vpc.html",
    remediation="Take the network's ids from its outputs, and make what depends on its routes wait for these.",
)
PROTECTION = Rule(
    "protection-is-told-to-pulumi",
    "What the cloud refuses to delete is protected in Pulumi too, so that a destroy stops before it has begun",
    "warning",
    url="https://www.pulumi.com/docs/iac/concepts/resources/options/protect/",
    remediation="Set `protect` on the resource, or take its deletion protection away.",
)
RULES: tuple[Rule, ...] = (NETWORK, PROTECTION)

VPC, SUBNET, SECURITY_GROUP = "aws:ec2/vpc:Vpc", "aws:ec2/subnet:Subnet", "aws:ec2/securityGroup:SecurityGroup"
GCP_NETWORK, GCP_SUBNET = "gcp:compute/network:Network", "gcp:compute/subnetwork:Subnetwork"
NETWORKS = (VPC, SUBNET, SECURITY_GROUP, GCP_NETWORK, GCP_SUBNET)
ROUTE_TABLE, NAT_GATEWAY = "aws:ec2/routeTable:RouteTable", "aws:ec2/natGateway:NatGateway"
WAY_OUT = {
    "aws:ec2/internetGateway:InternetGateway": ("vpcId", VPC),
    "aws:ec2/vpcEndpoint:VpcEndpoint": ("vpcId", VPC),
    ROUTE_TABLE: ("vpcId", VPC),
    NAT_GATEWAY: ("subnetId", SUBNET),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": ("routeTableId", ROUTE_TABLE),
    "aws:ec2/route:Route": ("routeTableId", ROUTE_TABLE),
}
"""What a network's way to the cloud's API consists of, and by which property each leads to the VPC."""
HOLDERS = frozenset(
    {"aws:lb/loadBalancer:LoadBalancer", "aws:alb/loadBalancer:LoadBalancer", "aws:eks/cluster:Cluster",
     "aws:eks/nodeGroup:NodeGroup", "aws:ec2/instance:Instance", "aws:ec2/networkInterface:NetworkInterface",
     "aws:ec2/vpcEndpoint:VpcEndpoint", "aws:efs/mountTarget:MountTarget", "aws:fsx/lustreFileSystem:LustreFileSystem",
     "aws:rds/instance:Instance", "aws:rds/cluster:Cluster", "aws:lambda/function:Function", NAT_GATEWAY,
     "gcp:container/cluster:Cluster", "gcp:container/nodePool:NodePool", "gcp:filestore/instance:Instance",
     "gcp:lustre/instance:Instance", "gcp:compute/instance:Instance", "gcp:compute/forwardingRule:ForwardingRule",
     "gcp:sql/databaseInstance:DatabaseInstance"}
)  # fmt: skip
"""Types with interfaces or addresses in a subnet, by which they hold it."""
PROTECTED = ("enableDeletionProtection", "deletionProtection", "deletionProtectionEnabled")
_REFUSES = (True, "ACTIVE", "ENABLED")


def findings(view: View, order: Order, made: Iterable[Made]) -> Iterator[Finding]:
    """Whatever holds on to a network, or loses it too early."""
    yield from _users(view, order)
    yield from _ways_out(view, order, made)
    yield from _groups(view, order)
    for resource in view.plan:
        refused = [key for key in PROTECTED if resource.inputs.get(key) in _REFUSES]
        if refused and not resource.protect and not resource.retain_on_delete:
            yield PROTECTION.finding(
                f"{resource.name} has {refused[0]} but no `protect`: a destroy would stop at it, halfway", resource
            )


def _users(view: View, order: Order) -> Iterator[Finding]:
    """Resources that name a network by its id."""
    known: dict[str, Resource] = {}
    for network in view.links.of_type(*NETWORKS):
        for value in (network.id, network.outputs.get("selfLink"), network.outputs.get("arn")):
            if isinstance(value, str) and value not in ("", UNKNOWN):
                known[value] = network
    for resource in view.plan:
        if not resource.custom or resource.external:
            continue
        named = {known[text].urn: known[text] for text in texts(resource.inputs) if text in known}
        for urn in {d for value in resource.property_dependencies.values() for d in value} | {*resource.dependencies}:
            one = view.plan.by_urn.get(urn)
            if one is not None and one.type in NETWORKS:
                named[urn] = one
        in_order = sorted(named.values(), key=lambda one: NETWORKS.index(one.type))
        early = [one for one in in_order if one is not resource and not order.outlives(one, resource)]
        if early:
            yield NETWORK.finding(
                f"{resource.name} is in {_called(early[0])} but does not depend on it: its id is written out, and "
                "Pulumi may delete the network first",
                resource,
                subject=early[0].name,
            )
        left = [one for one in in_order if not one.retain_on_delete and not one.external]
        if resource.retain_on_delete and left and resource.type in HOLDERS:
            yield NETWORK.finding(
                f"{resource.name} is retained on delete and {_called(left[0])}, which it is in, is not: the network "
                "cannot be deleted",
                resource,
                subject="retained",
            )


def _called(network: Resource) -> str:
    """`Subnet eu-central-1-network-private-eu-central-1a`."""
    return f"{network.type.rpartition(':')[2]} {network.name}"


def _ways_out(view: View, order: Order, made: Iterable[Made]) -> Iterator[Finding]:
    """Routes, gateways and endpoints by which controllers reach the cloud's API."""
    parts: dict[str, list[Resource]] = {}
    for type, (property, to) in WAY_OUT.items():
        for part in view.links.of_type(type):
            for vpc in _vpcs(view, part, property, to):
                parts.setdefault(vpc, []).append(part)
    networks = {cluster.urn: cluster.network for cluster in view.inventory.clusters}
    waiting: dict[str, list[str]] = {}
    for one in made:
        if one.controller is None or not one.controller.calls_cloud or not one.deleter:
            continue
        for part in parts.get(networks.get(one.by.cluster, ""), ()):
            if not order.outlives(part, one.by.resource):
                waiting.setdefault(part.urn, []).append(f"{one.by.kind} {one.by.name}")
    for urn, objects in waiting.items():
        resource = view.plan.by_urn[urn]
        more = f" and {len(objects) - 2} more" if len(objects) > 2 else ""
        yield NETWORK.finding(
            f"Pulumi may delete {resource.name} while controllers still clean up after {', '.join(objects[:2])}{more}: "
            "they would no longer reach the cloud",
            resource,
            subject="way out",
        )


def _vpcs(view: View, part: Resource, property: str, to: str) -> list[str]:
    found = view.inventory.references(part, property, to)
    if to == VPC:
        return [vpc.urn for vpc in found]
    return [vpc.urn for one in found for vpc in view.inventory.references(one, "vpcId", VPC)]


def _groups(view: View, order: Order) -> Iterator[Finding]:
    """A network endpoint group that a load balancer still uses stays when its Service goes, and holds its network.

    https://cloud.google.com/kubernetes-engine/docs/how-to/standalone-neg#leaked_negs
    """
    made_for: dict[str, list[Resource]] = {}
    for service in view.objects.of_kind("Service"):
        for name in neg_names(service):
            made_for.setdefault(name, []).append(service.resource)
    for backend_service in view.links.of_type(*BACKEND_SERVICES):
        names = {str(b.get("group", "")).rpartition("/")[2] for b in maps(backend_service.inputs, "backends")}
        early = [s for name in sorted(names) for s in made_for.get(name, ()) if not order.outlives(s, backend_service)]
        if early:
            yield NETWORK.finding(
                f"Pulumi may delete {early[0].name} while {backend_service.name} uses its network endpoint groups: "
                "these stay, and their network with them",
                backend_service,
                subject=early[0].name,
            )
