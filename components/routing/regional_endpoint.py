"""RegionalEndpoint: what the front door sends requests to in one region."""

from typing import NotRequired, Optional, TypedDict

import pulumi

from components import arguments
from components.ordering import prerequisites
from components.routing import aws as on_aws
from components.routing import gcp as on_gcp
from components.routing.front import CLOUDS, HEALTH_PATH, REQUESTS_PER_CLIENT

_ELSEWHERE_ON_GCP = {
    "log_bucket": "requests are in Cloud Logging",
    "requests_per_client": "GlobalLoadBalancer has the limit",
}


class RegionalEndpointArgs(TypedDict):
    """One region's way to one inference Service."""

    cloud: str
    """`aws` or `gcp`."""
    region: str
    """The cloud's own name of the region, such as `us-east-1`."""
    network_id: pulumi.Input[str]
    """Of the RegionalNetwork that the cluster is in."""
    private_subnet_ids: pulumi.Input[list[str]]
    """Of the RegionalNetwork."""
    node_security_group_id: pulumi.Input[str]
    """Of the GpuCluster; empty on GCP."""
    zones: pulumi.Input[list[str]]
    """Zones in which the cluster has nodes."""
    namespace: str
    """Namespace of the Service."""
    service: str
    """Name of the Service. On GCP it carries `neg_annotation(neg_name(namespace, service), port)`."""
    port: int
    """HTTP port of the Service, and of its pods."""
    health_check_path: NotRequired[str]
    """Path that answers 200 when the server can serve. Default `/v2/health/ready`."""
    certificate_domain: str
    """Domain that clients ask for. On GCP its certificate is the GlobalLoadBalancer's."""
    hosted_zone_id: pulumi.Input[str]
    """Route 53 zone of the domain."""
    log_bucket: NotRequired[pulumi.Input[str]]
    """AWS: bucket in the region that load balancers may write access logs to. Default: no access logs. On GCP requests
    go to Cloud Logging."""
    requests_per_client: NotRequired[int]
    """AWS: requests that one client address may send in five minutes. Default 30,000. On GCP see GlobalLoadBalancer."""
    protect: NotRequired[bool]
    """AWS: protect the load balancer from deletion. Default false."""
    tags: NotRequired[dict[str, str]]
    """Tags of the AWS resources."""


class RegionalEndpoint(pulumi.ComponentResource):
    """The load balancer of one region, in front of one inference Service.

    AWS: an internal application load balancer with certificate and web application firewall, whose targets the
    cluster's load balancer controller keeps. GCP: the Service's network endpoint groups; what stands before them is
    global.

    Give the Service, its pods and the cluster's add-ons as `depends_on`, and the cluster's Kubernetes provider among
    `providers`. Raises ValueError for an unknown cloud or a port that is none.
    """

    targets: pulumi.Output[list[str]]
    """What GlobalLoadBalancer takes: the load balancer's ARN, or self links of network endpoint groups."""
    health_target: pulumi.Output[str]
    """What the region's own health checks ask of each pod, such as `HTTP:8000/v2/health/ready`."""

    def __init__(self, name: str, args: RegionalEndpointArgs, opts: Optional[pulumi.ResourceOptions] = None):
        arguments.check(f"RegionalEndpoint {name!r}", args, RegionalEndpointArgs)
        super().__init__("aicloud:index:RegionalEndpoint", name, {**args}, opts)
        where = f"RegionalEndpoint {name!r}"
        cloud, port = args["cloud"], int(args["port"])
        if cloud not in CLOUDS:
            raise ValueError(f"{where}: cloud: expected 'aws' or 'gcp', got {cloud!r}")
        if not 1 <= port <= 65535:
            raise ValueError(f"{where}: port: expected 1 to 65535, got {port}")
        health_path = args.get("health_check_path", HEALTH_PATH)
        if not health_path.startswith("/"):
            raise ValueError(
                f"{where}: health_check_path: expected a path such as {HEALTH_PATH!r}, got {health_path!r}"
            )

        if cloud == "gcp":
            for argument, instead in _ELSEWHERE_ON_GCP.items():
                if (given := args.get(argument)) is not None:
                    raise ValueError(f"{where}: {argument}: expected none on GCP, where {instead}; got {given!r}")
        if cloud == "aws":
            request = on_aws.EndpointRequest(
                name=name,
                region=args["region"],
                network_id=args["network_id"],
                subnet_ids=args["private_subnet_ids"],
                node_security_group_id=args["node_security_group_id"],
                namespace=args["namespace"],
                service=args["service"],
                port=port,
                health_path=health_path,
                certificate_domain=args["certificate_domain"],
                hosted_zone_id=args["hosted_zone_id"],
                log_bucket=args.get("log_bucket"),
                requests_per_client=int(args.get("requests_per_client", REQUESTS_PER_CLIENT)),
                protect=args.get("protect", False),
                tags=args.get("tags", {}),
            )
            self.targets = pulumi.Output.all(on_aws.endpoint(self, request, prerequisites(opts)))
        else:
            group = on_gcp.neg_name(args["namespace"], args["service"])
            self.targets = on_gcp.neg_links(self, group, args["zones"], prerequisites(opts))
        self.health_target = pulumi.Output.from_input(f"HTTP:{port}{health_path}")
        self.register_outputs({"targets": self.targets, "healthTarget": self.health_target})
