"""The front door on AWS: a private load balancer in each region, and one accelerator that reaches them all."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.routing import firewall
from components.routing.dns import Entry
from components.routing.front import CONNECTION_DRAINING, RESPONSE_TIMEOUT, FrontDoorRegion
from components.tags import aws_tags

TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"
"""TLS 1.3, and 1.2 with forward secrecy and AEAD only.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html"""

LOAD_BALANCER_NAME_LENGTH = 32


@dataclass(frozen=True)
class EndpointRequest:
    """What one region's load balancer is asked for; RegionalEndpoint documents the fields."""

    name: str
    region: str
    network_id: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    node_security_group_id: pulumi.Input[str]
    namespace: str
    service: str
    port: int
    health_path: str
    certificate_domain: str
    hosted_zone_id: pulumi.Input[str]
    log_bucket: Optional[pulumi.Input[str]]
    requests_per_client: int
    protect: bool
    tags: Mapping[str, str]


def short_name(name: str, length: int = LOAD_BALANCER_NAME_LENGTH) -> str:
    """A physical name of at most `length` characters: the beginning of `name`, and a hash of it and its stack.

    Load balancers and target groups take 32 characters, fewer than Pulumi's own names often need.
    """
    whole = f"{pulumi.get_project()}/{pulumi.get_stack()}/{name}"
    digest = hashlib.sha256(whole.encode()).hexdigest()[:7]
    return f"{name[: length - len(digest) - 1].rstrip('-')}-{digest}"


def endpoint(parent: pulumi.Resource, request: EndpointRequest, needs: Sequence[pulumi.Resource]) -> pulumi.Output[str]:
    """An internal application load balancer in front of one Service; its ARN. `needs` come before the binding."""
    return _Endpoint(parent, request, needs).load_balancer.arn


class _Endpoint:
    """The steps of `endpoint`, in the order in which the resources exist."""

    def __init__(self, parent: pulumi.Resource, request: EndpointRequest, needs: Sequence[pulumi.Resource]):
        self.request, self.name, self.region = request, request.name, request.region
        self.child = pulumi.ResourceOptions(parent=parent)
        certificate_arn = self._certificate()
        security_group, open_nodes = self._security_group()
        self.load_balancer = self._load_balancer(security_group)
        self._firewall()
        targets = self._target_group()
        listener = aws.lb.Listener(
            self.name,
            region=self.region,
            load_balancer_arn=self.load_balancer.arn,
            port=443,
            protocol="HTTPS",
            ssl_policy=TLS_POLICY,
            certificate_arn=certificate_arn,
            default_actions=[{"type": "forward", "target_group_arn": targets.arn}],
            tags=self.tags(),
            opts=self.child,
        )
        self._bind(targets, [*needs, listener, open_nodes])

    def tags(self) -> dict[str, str]:
        return aws_tags(self.request.tags, self.name)

    def child_with(self, opts: pulumi.ResourceOptions) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions.merge(self.child, opts)

    def _certificate(self) -> pulumi.Output[str]:
        certificate = aws.acm.Certificate(
            self.name,
            region=self.region,
            domain_name=self.request.certificate_domain,
            validation_method="DNS",
            tags=self.tags(),
            opts=self.child,
        )
        asked = certificate.domain_validation_options[0]
        # In one account ACM asks for the same record in every region: whichever is first writes it, and none may delete
        # it, or the other regions' certificates would not be renewed.
        record = aws.route53.Record(
            f"{self.name}-certificate",
            zone_id=self.request.hosted_zone_id,
            name=asked.resource_record_name,
            type=asked.resource_record_type,
            records=[asked.resource_record_value],
            ttl=300,
            allow_overwrite=True,
            opts=self.child_with(pulumi.ResourceOptions(retain_on_delete=True)),
        )
        return aws.acm.CertificateValidation(
            self.name,
            region=self.region,
            certificate_arn=certificate.arn,
            validation_record_fqdns=[record.fqdn],
            opts=self.child,
        ).certificate_arn

    def _security_group(self) -> tuple[aws.ec2.SecurityGroup, pulumi.Resource]:
        """In: HTTPS from anyone, which is whoever the accelerator lets through: an internal load balancer has no public
        address, and the accelerator preserves client addresses. Out: the server's port on the nodes."""
        name, port = self.name, self.request.port
        group = aws.ec2.SecurityGroup(
            name,
            region=self.region,
            vpc_id=self.request.network_id,
            description=f"Load balancer of {self.request.namespace}/{self.request.service}",
            revoke_rules_on_delete=True,
            tags=self.tags(),
            opts=self.child,
        )
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-clients",
            region=self.region,
            security_group_id=group.id,
            description="HTTPS from the accelerator, with client addresses preserved",
            cidr_ipv4="0.0.0.0/0",
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            tags=self.tags(),
            opts=self.child,
        )
        aws.vpc.SecurityGroupEgressRule(
            f"{name}-pods",
            region=self.region,
            security_group_id=group.id,
            description="To the inference server",
            referenced_security_group_id=self.request.node_security_group_id,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            tags=self.tags(),
            opts=self.child,
        )
        # Pulumi's rule, not the controller's: it goes when the load balancer goes.
        open_nodes = aws.vpc.SecurityGroupIngressRule(
            f"{name}-from-load-balancer",
            region=self.region,
            security_group_id=self.request.node_security_group_id,
            description=f"Load balancer of {self.request.namespace}/{self.request.service}",
            referenced_security_group_id=group.id,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            tags=self.tags(),
            opts=self.child,
        )
        return group, open_nodes

    def _load_balancer(self, group: aws.ec2.SecurityGroup) -> aws.lb.LoadBalancer:
        bucket = self.request.log_bucket
        return aws.lb.LoadBalancer(
            self.name,
            name=short_name(self.name),
            region=self.region,
            load_balancer_type="application",
            internal=True,
            subnets=self.request.subnet_ids,
            security_groups=[group.id],
            drop_invalid_header_fields=True,
            desync_mitigation_mode="defensive",
            idle_timeout=RESPONSE_TIMEOUT,
            enable_deletion_protection=self.request.protect,
            access_logs={"bucket": bucket, "prefix": self.name, "enabled": True} if bucket else None,
            tags=self.tags(),
            opts=self.child_with(pulumi.ResourceOptions(protect=self.request.protect)),
        )

    def _firewall(self) -> None:
        acl = firewall.web_acl(self.name, self.region, self.request.requests_per_client, self.request.tags, self.child)
        aws.wafv2.WebAclAssociation(
            self.name,
            region=self.region,
            resource_arn=self.load_balancer.arn,
            web_acl_arn=acl.arn,
            opts=self.child,
        )

    def _target_group(self) -> aws.lb.TargetGroup:
        return aws.lb.TargetGroup(
            self.name,
            name=short_name(self.name),
            region=self.region,
            vpc_id=self.request.network_id,
            target_type="ip",  # pods, without a hop through a node
            protocol="HTTP",
            port=self.request.port,
            health_check={
                "path": self.request.health_path,
                "protocol": "HTTP",
                "matcher": "200",
                "interval": 10,
                "timeout": 5,
                "healthy_threshold": 2,
                "unhealthy_threshold": 3,
            },
            # Requests differ in length: the pod with the fewest is the least busy.
            load_balancing_algorithm_type="least_outstanding_requests",
            deregistration_delay=CONNECTION_DRAINING,
            tags=self.tags(),
            opts=self.child,
        )

    def _bind(self, targets: aws.lb.TargetGroup, needs: Sequence[pulumi.Resource]) -> None:
        """Asks the load balancer controller only to keep the pods registered: had it made the load balancer from an
        Ingress, its ARN would be unknown here, and it would outlive the cluster and block the network's deletion."""
        kubernetes.apiextensions.CustomResource(
            self.name,
            api_version="elbv2.k8s.aws/v1beta1",
            kind="TargetGroupBinding",
            metadata={"namespace": self.request.namespace, "name": self.request.service},
            spec={
                "serviceRef": {"name": self.request.service, "port": self.request.port},
                "targetGroupARN": targets.arn,
                "targetType": "ip",
            },
            opts=self.child_with(pulumi.ResourceOptions(depends_on=list(needs))),
        )


def accelerate(
    parent: pulumi.Resource,
    name: str,
    regions: Sequence[FrontDoorRegion],
    health_path: str,
    protect: bool,
    tags: Mapping[str, str],
) -> tuple[Entry, pulumi.Output[str]]:
    """A Global Accelerator over the regions' load balancers, as children of `parent`; its entry and ARN.

    What it does that one may not expect: a traffic dial of 0 stops the regular share, but the region still gets
    other regions' requests when those have no healthy endpoint, so a drained region has weight 0. It looks at the three
    closest groups and then fails open. Established connections stay where they are.
    https://docs.aws.amazon.com/global-accelerator/latest/dg/about-endpoints-endpoint-weights.unhealthy-endpoints.html
    """
    child = pulumi.ResourceOptions(parent=parent)
    accelerator = aws.globalaccelerator.Accelerator(
        name,
        enabled=True,
        ip_address_type="IPV4",
        tags=aws_tags(tags, name),
        # Clients and their firewalls know these addresses; new ones would be others.
        opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(protect=protect)),
    )
    listener = aws.globalaccelerator.Listener(
        name,
        accelerator_arn=accelerator.arn,
        protocol="TCP",
        client_affinity="NONE",
        port_ranges=[{"from_port": 443, "to_port": 443}],
        opts=child,
    )
    for region in regions:
        aws.globalaccelerator.EndpointGroup(
            f"{name}-{region.region}",
            listener_arn=listener.arn,
            endpoint_group_region=region.region,
            traffic_dial_percentage=region.dial,
            # For load balancers the accelerator believes their own health checks; these are for other endpoints.
            health_check_protocol="HTTPS",
            health_check_port=443,
            health_check_path=health_path,
            health_check_interval_seconds=10,
            threshold_count=3,
            endpoint_configurations=[
                {
                    "endpoint_id": pulumi.Output.from_input(region.targets).apply(lambda targets: targets[0]),
                    "weight": 0 if region.drained else region.weight,
                    "client_ip_preservation_enabled": True,
                }
            ],
            opts=child,
        )
    addresses = accelerator.ip_sets.apply(lambda sets: [address for one in sets for address in one.ip_addresses])
    entry = Entry(
        addresses=addresses,
        check_name=accelerator.dns_name,
        alias_name=accelerator.dns_name,
        alias_zone=accelerator.hosted_zone_id,
    )
    return entry, accelerator.arn
