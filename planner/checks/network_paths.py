"""Ways through a network: to the services of the cloud, between EFA machines, and from health checks to pods."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network

from planner.finding import Finding, Rule
from planner.inventory import Inventory
from planner.inventory.firewalls import ANYWHERE, GROUP, IN, OUT, Firewall, Opening, SecurityGroups, firewalls
from planner.inventory.model import Cluster, Workload
from planner.inventory.networks import CLOSED, SUBNET, SUBNETWORK, Endpoint, Network, Subnet, networks
from planner.inventory.objects import objects_in
from planner.inventory.references import at, items, mapping
from planner.inventory.rungs import LAUNCH_TEMPLATE, NODE_CLASS, RELEASE
from planner.plan import UNKNOWN, Resource
from planner.rules import Rules

ENDPOINTS = Rule(
    "private-cluster-has-endpoints",
    "A private cluster reaches the services that it cannot do without",
    url="https://docs.aws.amazon.com/eks/latest/userguide/private-clusters.html",
    remediation="Add the endpoint to the machines' network, with private DNS and a security group that lets HTTPS in "
    "from machines and pods.",
)
EFA = Rule(
    "security-group-lets-efa",
    "EFA machines may send each other everything",
    url="https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-start.html#efa-start-security",
    remediation="Let the security group of the EFA interfaces allow all traffic from itself and to itself. An egress "
    "rule to 0.0.0.0/0 is not enough.",
)
HEALTH = Rule(
    "security-group-lets-health-checks",
    "Health checks and clients reach the load balancer, and it the pods",
    url="https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html",
    remediation="Open the port for the load balancer, on both sides.",
)

RULES = (ENDPOINTS, EFA, HEALTH)

# Names and reasons: https://docs.aws.amazon.com/eks/latest/userguide/private-clusters.html
ALWAYS = {
    "ec2": "the VPC CNI gives pods no address without it",
    "ecr.api": "no image is pulled without it",
    "ecr.dkr": "no image is pulled without it",
    "s3": "the layers of images lie there",
    "sts": "no pod or node gets credentials without it",
    "eks": "nodes ask it for the cluster when they join",
}
POD_IDENTITY = {"eks-auth": "the Pod Identity agent gets credentials there"}
BALANCERS = {"elasticloadbalancing": "the load balancer controller registers pods there"}
KARPENTER = {"ssm": "Karpenter finds machine images there"}
INTERRUPTIONS = {"sqs": "Karpenter hears of spot interruptions there"}

GOOGLE_CHECKERS = (IPv4Network("35.191.0.0/16"), IPv4Network("130.211.0.0/22"))
"""https://cloud.google.com/load-balancing/docs/firewall-rules"""

_BALANCER = "aws:lb/loadBalancer:LoadBalancer"
_LISTENER = "aws:lb/listener:Listener"
_TARGET_GROUP = "aws:lb/targetGroup:TargetGroup"
_BINDING = "kubernetes:elbv2.k8s.aws/v1beta1:TargetGroupBinding"
_ENDPOINT_GROUP = "aws:globalaccelerator/endpointGroup:EndpointGroup"
_EKS_CLUSTER = "aws:eks/cluster:Cluster"


def findings(inventory: Inventory, rules: Rules) -> Iterator[Finding]:  # noqa: ARG001
    """What cannot be reached."""
    by_urn = {network.urn: network for network in networks(inventory)}
    groups = SecurityGroups(inventory)
    services = _services(inventory)
    for cluster in inventory.clusters:
        if network := by_urn.get(cluster.network):
            if cluster.cloud == "aws":
                called = ALWAYS | services.get(cluster.urn, {})
                yield from _endpoints(cluster, network, called, groups, inventory)
            else:
                yield from _google_access(cluster, network, inventory)
    yield from _efa(groups, inventory)
    yield from _balancers(groups, inventory)
    yield from _google_health(inventory)


# ---- services of the cloud


def _endpoints(
    cluster: Cluster, network: Network, called: Mapping[str, str], groups: SecurityGroups, inventory: Inventory
) -> Iterator[Finding]:
    resource = inventory.plan.by_urn[cluster.urn]
    named = {one.urn for one in inventory.references(resource, "vpcConfig.subnetIds", SUBNET)}
    own = [subnet for subnet in network.subnets if subnet.urn in named]
    private = [endpoint for endpoint in network.endpoints if not endpoint.gateway]
    closed = bool(own) and all(subnet.way_out == CLOSED for subnet in own)
    if not closed and not private:
        return  # everything goes through NAT or the internet, as somebody chose
    # With NAT it works all the same, at its price per GiB and only while it works.
    severity = "error" if closed else "warning"
    how = "and there is no way out" if closed else "so it goes through NAT"
    shut: set[tuple[str, str]] = set()
    for service, reason in called.items():
        there = [endpoint for endpoint in network.endpoints if endpoint.service == service]
        if not there:
            yield ENDPOINTS.finding(
                f"{network.name} has no endpoint for {service}, {how}: {reason}",
                resource,
                subject=service,
                severity=severity,
            )
        for endpoint in there:
            yield from _usable(endpoint, own, inventory, severity)
            shut.update(_shut(endpoint, network, groups, inventory))
    for group, purpose in sorted(shut):
        yield ENDPOINTS.finding(
            f"the endpoints' security group does not let {purpose} in at 443, {how}",
            inventory.plan.by_urn[group],
            subject=purpose,
            severity=severity,
        )


def _services(inventory: Inventory) -> dict[str, dict[str, str]]:
    """Cluster -> services that what is installed there calls, beside those of every cluster, and why."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for release in inventory.plan.of_type(RELEASE):
        cluster, chart = inventory.cluster_of(release), str(release.inputs.get("chart")).rsplit("/", 1)[-1]
        if chart == "aws-load-balancer-controller":
            found[cluster] |= BALANCERS
        elif chart == "karpenter":
            queue = at(release.inputs, "values.settings.interruptionQueue")
            found[cluster] |= KARPENTER | (INTERRUPTIONS if queue else {})
    for addon in inventory.plan.of_type("aws:eks/addon:Addon"):
        if addon.inputs.get("addonName") == "eks-pod-identity-agent":
            for named in inventory.references(addon, "clusterName", _EKS_CLUSTER):
                found[named.urn] |= POD_IDENTITY
    return found


def _usable(endpoint: Endpoint, own: list[Subnet], inventory: Inventory, severity: str) -> Iterator[Finding]:
    """Whether machines and pods find an endpoint."""
    resource = inventory.plan.by_urn[endpoint.urn]
    if endpoint.gateway:
        tables = {subnet.route_table for subnet in own if subnet.route_table} - set(endpoint.route_tables)
        if tables and UNKNOWN not in str(resource.inputs.get("routeTableIds")):
            names = ", ".join(sorted(inventory.plan.by_urn[table].name for table in tables))
            yield ENDPOINTS.finding(
                f"the endpoint for {endpoint.service} is not in {names}", resource, severity=severity
            )
    elif endpoint.private_dns is False:
        yield ENDPOINTS.finding(
            f"the endpoint for {endpoint.service} has no private DNS, so nothing asks for it",
            resource,
            severity=severity,
        )


def _shut(
    endpoint: Endpoint, network: Network, groups: SecurityGroups, inventory: Inventory
) -> Iterator[tuple[str, str]]:
    """The security group of an endpoint, and whom it does not let in: machines or pods."""
    named = groups.of(inventory.plan.by_urn[endpoint.urn], "securityGroupIds")
    openings = [o for group in named for o in groups.openings.get(group, ()) if o.direction == IN and o.passes(443)]
    if endpoint.gateway or not named or any(opening.peers for opening in openings):
        return
    for purpose in ("machines", "pods"):
        blocks = [s.cidr for s in network.subnets if s.purpose == purpose and s.cidr]
        if not all(any(opening.covers(block) for opening in openings) for block in blocks):
            yield named[0], purpose


def _google_access(cluster: Cluster, network: Network, inventory: Inventory) -> Iterator[Finding]:
    resource = inventory.plan.by_urn[cluster.urn]
    if at(resource.inputs, "privateClusterConfig.enablePrivateNodes") is not True:
        return
    named = {one.urn for one in inventory.references(resource, "subnetwork", SUBNETWORK)}
    for subnet in network.subnets:
        if subnet.urn in named and not subnet.google_access:
            closed = subnet.way_out == CLOSED
            how = "and there is no way out" if closed else "so what it asks of Google goes through NAT"
            yield ENDPOINTS.finding(
                f"the subnet of {cluster.name} has no Private Google Access, {how}",
                inventory.plan.by_urn[subnet.urn],
                severity="error" if closed else "warning",
                remediation="Set `privateIpGoogleAccess` on the subnet.",
            )


# ---- EFA


def _efa(groups: SecurityGroups, inventory: Inventory) -> Iterator[Finding]:
    """Of the groups that the plan makes: the one of the EKS cluster has such rules only if it is new enough."""
    of_rungs: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for rung in (rung for cluster in inventory.clusters for rung in cluster.rungs):
        if rung.cloud == "aws" and rung.fabric_interfaces:
            of_machines = _machine_groups(inventory.plan.by_urn[rung.urn], groups, inventory)
            if made := tuple(urn for urn in of_machines if inventory.plan.by_urn[urn].type == GROUP):
                of_rungs[made].append(rung.name)
    for own, names in of_rungs.items():
        lacking = {group: _lacks_itself(group, groups.openings.get(group, ())) for group in own}
        if all(lacking.values()):
            group = min(own, key=lambda urn: len(lacking[urn]))
            yield EFA.finding(
                f"no rule for all traffic {' and none '.join(lacking[group])} itself, for the EFA interfaces of "
                f"{', '.join(sorted(names))}",
                inventory.plan.by_urn[group],
            )


def _lacks_itself(group: str, openings: tuple[Opening, ...]) -> list[str]:
    there = {o.direction for o in openings if o.everything and (group in o.peers or (o.elsewhere and not o.blocks))}
    return [words for direction, words in ((IN, "from"), (OUT, "to")) if direction not in there]


def _machine_groups(rung: Resource, groups: SecurityGroups, inventory: Inventory) -> list[str]:
    """Security groups of the machines that a node group or NodePool starts."""
    found: list[str] = []
    for template in inventory.references(rung, "launchTemplate", LAUNCH_TEMPLATE):
        found += groups.of(template, "networkInterfaces")
        found += groups.of(template, "vpcSecurityGroupIds")
    name = at(rung.inputs, "spec.template.spec.nodeClassRef.name")
    if name:
        for node_class in inventory.references(rung, "spec.template.spec.nodeClassRef", NODE_CLASS):
            found += groups.of(node_class, "spec.securityGroupSelectorTerms")
    return list(dict.fromkeys(found))


# ---- health checks on AWS


def _balancers(groups: SecurityGroups, inventory: Inventory) -> Iterator[Finding]:
    listeners: dict[str, list[Resource]] = defaultdict(list)
    for listener in inventory.plan.of_type(_LISTENER):
        for balancer in inventory.references(listener, "loadBalancerArn", _BALANCER):
            listeners[balancer.urn].append(listener)
    bindings: dict[str, list[Resource]] = defaultdict(list)
    for binding in inventory.plan.of_type(_BINDING):
        for target in inventory.references(binding, "spec.targetGroupARN", _TARGET_GROUP):
            bindings[target.urn].append(binding)
    accelerated = {
        balancer.urn
        for group in inventory.plan.of_type(_ENDPOINT_GROUP)
        for balancer in inventory.references(group, "endpointConfigurations", _BALANCER)
    }
    for balancer in inventory.plan.of_type(_BALANCER):
        own = groups.of(balancer, "securityGroups")
        if not own or not all(inventory.plan.by_urn[group].type == GROUP for group in own):
            continue
        public = balancer.urn in accelerated or balancer.inputs.get("internal") is False
        openings = [opening for group in own for opening in groups.openings.get(group, ())]
        for listener in listeners[balancer.urn]:
            yield from _listens(listener, balancer, openings, public)
            for target in inventory.references(listener, "defaultActions", _TARGET_GROUP):
                yield from _reaches(target, balancer, own, openings, bindings[target.urn], groups, inventory)


def _listens(listener: Resource, balancer: Resource, openings: list[Opening], public: bool) -> Iterator[Finding]:
    port = _number(listener.inputs.get("port"))
    entries = [opening for opening in openings if opening.direction == IN and port and opening.passes(port)]
    if port and not entries:
        yield HEALTH.finding(f"nothing may reach the listener at {port}", balancer, subject=f"listener {port}")
    elif port and public and not any(opening.elsewhere or ANYWHERE in opening.blocks for opening in entries):
        yield HEALTH.finding(
            f"the listener at {port} is open to {', '.join(str(b) for o in entries for b in o.blocks) or 'groups'} "
            "alone, and neither to all clients of the front door nor to Route 53's health checkers, who check for "
            "Global Accelerator as well",
            balancer,
            subject=f"clients {port}",
        )


def _reaches(
    target: Resource,
    balancer: Resource,
    own: tuple[str, ...],
    openings: list[Opening],
    bindings: list[Resource],
    groups: SecurityGroups,
    inventory: Inventory,
) -> Iterator[Finding]:
    """From the load balancer to pods, for requests and for health checks."""
    if target.inputs.get("targetType") != "ip":
        return
    serving = _number(target.inputs.get("port"))
    checked = _number(at(target.inputs, "healthCheck.port")) or serving
    # The controller opens the machines' group itself where a binding says so.
    clusters = {inventory.cluster_of(one) for one in bindings if not at(one.inputs, "spec.networking")} - {""}
    for port in sorted({port for port in (serving, checked) if port}):
        if not any(opening.direction == OUT and opening.passes(port) for opening in openings):
            yield HEALTH.finding(
                f"its security group lets nothing out at {port}, where {target.name} is served and checked",
                balancer,
                subject=f"to {port}",
            )
        for cluster in sorted(clusters):
            of_nodes = _node_groups(cluster, groups, inventory)
            entries = [o for group in of_nodes for o in groups.openings.get(group, ())
                       if o.direction == IN and o.passes(port)]  # fmt: skip
            if of_nodes and not any(o.elsewhere or o.blocks or set(o.peers) & set(own) for o in entries):
                name = inventory.plan.by_urn[cluster].name
                yield HEALTH.finding(
                    f"no security group of {name}'s machines lets it in at {port}: every target would be unhealthy",
                    balancer,
                    subject=f"in {port}",
                )


def _node_groups(cluster: str, groups: SecurityGroups, inventory: Inventory) -> set[str]:
    rungs = next((one.rungs for one in inventory.clusters if one.urn == cluster), ())
    return {group for rung in rungs for group in _machine_groups(inventory.plan.by_urn[rung.urn], groups, inventory)}


def _number(value: object) -> int:
    """A port, or 0 where there is none or it is unknown."""
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return int(value) if isinstance(value, int | float) else 0


# ---- health checks on GCP


def _google_health(inventory: Inventory) -> Iterator[Finding]:
    """Of standalone network endpoint groups, for which GKE opens no firewall."""
    rules: dict[str, list[Firewall]] = defaultdict(list)
    for rule in firewalls(inventory):
        rules[rule.network].append(rule)
    of_cluster = {cluster.urn: cluster for cluster in inventory.clusters if cluster.cloud == "gcp"}
    workloads: dict[str, list[Workload]] = defaultdict(list)
    for workload in inventory.workloads:
        workloads[workload.cluster].append(workload)
    for service in (one.resource for one in objects_in(inventory).of_kind("Service")):
        cluster = of_cluster.get(inventory.cluster_of(service))
        if cluster is None or not cluster.network:
            continue
        for port in _exposed_ports(service, workloads[cluster.urn]):
            shut = [block for block in GOOGLE_CHECKERS if not _admits(rules[cluster.network], block, port)]
            if shut:
                yield HEALTH.finding(
                    f"no firewall rule of {inventory.plan.by_urn[cluster.network].name} lets Google's load balancers "
                    f"and health checks ({', '.join(map(str, shut))}) in at {port}",
                    service,
                    subject=str(port),
                    remediation="Allow 35.191.0.0/16 and 130.211.0.0/22 at the port of the pods.",
                )


def _admits(rules: list[Firewall], block: IPv4Network, port: int) -> bool:
    for rule in rules:
        if not rule.passes(port):
            continue
        if rule.allows and any(block.subnet_of(source) for source in rule.sources):
            return True
        if not rule.allows and not rule.targeted and any(block.overlaps(source) for source in rule.sources):
            return False
    return False


def _exposed_ports(service: Resource, workloads: list[Workload]) -> list[int]:
    """Ports of pods behind the standalone NEGs that a Service asks for."""
    text = at(service.inputs, "metadata.annotations")
    asked = text.get("cloud.google.com/neg") if isinstance(text, dict) else None
    try:
        exposed = mapping(json.loads(asked) if isinstance(asked, str) else {}, "exposed_ports")
    except json.JSONDecodeError:
        return []
    found = []
    for port in items(service.inputs, "spec.ports"):
        if str(_number(at(port, "port"))) in exposed:
            target = at(port, "targetPort")
            found += [_number(target) or _named_port(str(target), service, workloads) or _number(at(port, "port"))]
    return [port for port in found if port]


def _named_port(name: str, service: Resource, workloads: list[Workload]) -> int:
    selector = mapping(service.inputs, "spec.selector")
    for workload in workloads:
        if selector.items() <= dict(workload.labels).items():
            for container in items(workload.spec, "containers"):
                for port in items(container, "ports"):
                    if at(port, "name") == name:
                        return _number(at(port, "containerPort"))
    return 0
