"""Who can reach what from outside, and what is seen of it."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from planner.inventory import Inventory
from planner.plan import UNKNOWN, Resource
from policies import kinds
from policies.declare import Parameters, Violation, at, each, off, on, resource_policy, stack_policy, texts
from policies.lookup import attached, managed, unclear

WORLD = ("0.0.0.0/0", "::/0")


@resource_policy(
    "private-control-plane",
    "The API of a cluster answers only inside its network, or to networks that are named",
    types=(kinds.EKS_CLUSTER, kinds.GKE_CLUSTER),
    risk="critical",
    why="https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html",
    fix="Make the endpoint private; who must reach it from outside is named, network by network (publicAccessCidrs).",
)
def private_control_plane(cluster: Resource, _: Parameters) -> Iterator[str]:
    if cluster.type == kinds.EKS_CLUSTER:
        # Amazon's defaults are the open ones: public access, from everywhere, and none from within.
        networks = at(cluster, "vpcConfig.publicAccessCidrs", [])
        open_to_all = networks == [] or not set(WORLD).isdisjoint(texts(networks))
        if on(at(cluster, "vpcConfig.endpointPublicAccess", True)) and open_to_all:
            yield "its API answers the whole internet; expected endpointPublicAccess off, or publicAccessCidrs"
        if off(at(cluster, "vpcConfig.endpointPrivateAccess", False)):
            yield "its nodes reach its API over the internet; expected endpointPrivateAccess on"
        return
    allowed = [block.get("cidrBlock") for block in each(cluster, "masterAuthorizedNetworksConfig.cidrBlocks")]
    named = at(cluster, "masterAuthorizedNetworksConfig") is not None and not set(WORLD) & set(texts(allowed))
    if off(at(cluster, "privateClusterConfig.enablePrivateEndpoint")) and not named:
        yield "its API answers the whole internet; expected enablePrivateEndpoint, or masterAuthorizedNetworksConfig"


@resource_policy(
    "nodes-without-public-addresses",
    "No machine of a cluster has an address in the internet",
    types=(
        kinds.LAUNCH_TEMPLATE,
        kinds.NODE_CLASS,
        kinds.GKE_CLUSTER,
        kinds.GKE_NODE_POOL,
        kinds.EC2_INSTANCE,
        kinds.GCE_INSTANCE,
        kinds.GCE_TEMPLATE,
    ),
    risk="high",
    why="https://cloud.google.com/kubernetes-engine/docs/how-to/private-clusters",
    fix="Take the public address away; machines reach out through NAT and are reached through a load balancer.",
)
def nodes_without_public_addresses(machine: Resource, _: Parameters) -> Iterator[str]:
    if machine.type == kinds.LAUNCH_TEMPLATE:
        public = any(on(interface.get("associatePublicIpAddress")) for interface in each(machine, "networkInterfaces"))
    elif machine.type == kinds.EC2_INSTANCE:
        public = on(at(machine, "associatePublicIpAddress"))
    elif machine.type == kinds.NODE_CLASS:
        # Without the setting the subnet decides.
        public = on(at(machine, "spec.associatePublicIPAddress"))
    elif machine.type == kinds.GKE_CLUSTER:
        public = off(at(machine, "privateClusterConfig.enablePrivateNodes")) and not on(
            at(machine, "networkConfig.defaultEnablePrivateNodes")
        )
    elif machine.type == kinds.GKE_NODE_POOL:
        # Without the setting the cluster decides.
        public = at(machine, "networkConfig.enablePrivateNodes") in (False, "false")
    else:
        public = any(each(interface, "accessConfigs") for interface in each(machine, "networkInterfaces"))
    if public:
        yield "its machines get public addresses; expected private ones"


@stack_policy(
    "nothing-open-to-the-world",
    "Only the load balancer of the front door takes connections from everywhere, and only on its own port",
    risk="critical",
    why="https://docs.aws.amazon.com/securityhub/latest/userguide/ec2-controls.html#ec2-18",
    fix="Name the networks or security groups that may connect, or put a load balancer in front.",
    parameters={"ports": [443]},
)
def nothing_open_to_the_world(inventory: Inventory, parameters: Parameters) -> Iterator[Violation]:
    # An accelerator keeps the clients' addresses, so the load balancer behind it must take them all.
    fronts = {
        group.urn
        for balancer in inventory.plan.of_type(kinds.LOAD_BALANCER)
        for group in inventory.references(balancer, "securityGroups", kinds.SECURITY_GROUP)
    }
    # A load balancer whose groups only the cloud knows may have any of them.
    hidden = any(
        unclear(at(balancer, "securityGroups", []))
        and not inventory.references(balancer, "securityGroups", kinds.SECURITY_GROUP)
        for balancer in inventory.plan.of_type(kinds.LOAD_BALANCER)
    )
    ports = {int(port) for port in parameters["ports"] if str(port).isdigit()}

    def open_rule(rule, group: Resource | None) -> str:
        sources = {*texts(rule, "cidrBlocks"), *texts(rule, "ipv6CidrBlocks"), *texts(rule, "cidrIpv4")}
        if not {*sources, *texts(rule, "cidrIpv6")} & set(WORLD):
            return ""
        at_door = group is not None and (hidden or group.urn in fronts)
        if at_door and rule.get("fromPort") == rule.get("toPort") and rule.get("fromPort") in ports:
            return ""
        if at_door and (unclear(rule.get("fromPort")) or unclear(rule.get("toPort"))) and "fromPort" in rule:
            return ""
        return f"takes connections from everywhere on {_ports(rule)}; expected named networks or security groups"

    for group in managed(inventory, kinds.SECURITY_GROUP):
        for rule in each(group, "ingress"):
            if message := open_rule(rule, group):
                yield Violation(message, group, subject=_ports(rule))
    for ingress in managed(inventory, kinds.INGRESS_RULE, kinds.SECURITY_GROUP_RULE):
        if ingress.type == kinds.SECURITY_GROUP_RULE and at(ingress, "type") != "ingress":
            continue
        named = inventory.references(ingress, "securityGroupId", kinds.SECURITY_GROUP)
        if not named and unclear(at(ingress, "securityGroupId")):
            continue
        if message := open_rule(ingress.inputs, named[0] if named else None):
            yield Violation(message, ingress)
    for firewall in managed(inventory, kinds.FIREWALL):
        sources = at(firewall, "sourceRanges", [])
        tagged = at(firewall, "sourceTags") or at(firewall, "sourceServiceAccounts")
        # Without any source a firewall rule means everywhere.
        from_all = bool(set(texts(sources)) & set(WORLD)) or (sources == [] and not tagged)
        inward = at(firewall, "direction", "INGRESS") == "INGRESS"
        if inward and from_all and each(firewall, "allows") and not on(at(firewall, "disabled")):
            yield Violation("lets everyone in; expected named source ranges, tags or service accounts", firewall)


def _ports(rule) -> str:
    protocol = rule.get("ipProtocol") or rule.get("protocol") or "any protocol"
    first, last = rule.get("fromPort"), rule.get("toPort")
    if str(protocol) in ("-1", "all") or first is None:
        return "every port"
    return f"{protocol} {first}" if first == last else f"{protocol} {first} to {last}"


@stack_policy(
    "networks-keep-flow-logs",
    "Every network records who spoke with whom",
    risk="medium",
    why="https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs.html",
    fix="Add a flow log for all traffic to the VPC, or logConfig to the subnetwork.",
)
def networks_keep_flow_logs(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    logs = attached(inventory, "vpcId", kinds.VPC, kinds.FLOW_LOG)
    for vpc in managed(inventory, kinds.VPC):
        if logs.lacks(vpc):
            yield Violation("has no flow log", vpc)
        elif logs.to(vpc) and all(at(log, "trafficType", "ALL") in ("ACCEPT", "REJECT") for log in logs.to(vpc)):
            yield Violation("logs part of its traffic; expected trafficType ALL", vpc)
    for subnetwork in managed(inventory, kinds.SUBNETWORK):
        # Proxy-only subnetworks hold no machine; Google refuses flow logs for them.
        if at(subnetwork, "logConfig") is None and off(at(subnetwork, "purpose")):
            yield Violation("has no flow logs; expected logConfig", subnetwork)


@stack_policy(
    "public-load-balancers-have-a-firewall",
    "What takes requests from the internet has a web application firewall in front of it",
    risk="high",
    why="https://docs.aws.amazon.com/waf/latest/developerguide/how-aws-waf-works-resources.html",
    fix="Associate a web ACL (AWS) or set a security policy of Cloud Armor on the backend service (GCP).",
)
def public_load_balancers_have_a_firewall(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    firewalls = attached(inventory, "resourceArn", kinds.LOAD_BALANCER, kinds.WEB_ACL_ASSOCIATION)
    accelerated = {
        balancer.urn
        for group in inventory.plan.of_type(kinds.ENDPOINT_GROUP)
        for balancer in inventory.references(group, "endpointConfigurations", kinds.LOAD_BALANCER)
    }
    for balancer in managed(inventory, kinds.LOAD_BALANCER):
        public = off(at(balancer, "internal")) or balancer.urn in accelerated
        if not public:
            continue
        if at(balancer, "loadBalancerType", "application") in ("network", "gateway"):
            yield Violation("is public, and a load balancer of its type can have no web ACL", balancer)
        elif firewalls.lacks(balancer):
            yield Violation("is reached from the internet and has no web ACL", balancer)
    for service in managed(inventory, kinds.BACKEND_SERVICE):
        scheme = at(service, "loadBalancingScheme", "EXTERNAL")
        if scheme in ("EXTERNAL", "EXTERNAL_MANAGED") and off(at(service, "securityPolicy")):
            yield Violation("is reached from the internet and has no security policy of Cloud Armor", service)


@resource_policy(
    "tls-floor",
    "Nothing speaks TLS below 1.2, and nothing that faces clients speaks plain HTTP",
    types=(kinds.LISTENER, kinds.SSL_POLICY, kinds.HTTPS_PROXY),
    risk="high",
    why="https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html",
    fix="Choose a security policy with TLS 1.2 as its floor; let plain HTTP do no more than redirect.",
    parameters={
        "aws_policies": ["ELBSecurityPolicy-TLS13-1-2-*", "ELBSecurityPolicy-TLS13-1-3-*", "ELBSecurityPolicy-FS-1-2-*"]
    },
)
def tls_floor(resource: Resource, parameters: Parameters) -> Iterator[str]:
    if resource.type == kinds.SSL_POLICY:
        # Google's own default is TLS 1.0.
        if at(resource, "minTlsVersion", "TLS_1_0") in ("TLS_1_0", "TLS_1_1"):
            yield "accepts TLS below 1.2; expected minTlsVersion TLS_1_2 or higher"
    elif resource.type == kinds.HTTPS_PROXY:
        if off(at(resource, "sslPolicy")):
            yield "has no SSL policy, so it accepts TLS 1.0; expected one with minTlsVersion TLS_1_2"
    elif at(resource, "protocol") in ("HTTPS", "TLS"):
        policy = at(resource, "sslPolicy", "ELBSecurityPolicy-2016-08")
        if isinstance(policy, str) and not unclear(policy) and not _any_match(policy, parameters["aws_policies"]):
            yield f"its security policy {policy} accepts TLS below 1.2"
    elif at(resource, "protocol") == "HTTP":
        actions = {str(action.get("type")) for action in each(resource, "defaultActions")}
        if actions - {"redirect", UNKNOWN}:
            yield "answers plain HTTP; expected a redirect to HTTPS"


def _any_match(text: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(text, str(pattern)) for pattern in patterns)
