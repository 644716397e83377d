"""GlobalLoadBalancer: the one global entry that sends a request to the nearest healthy region."""

from typing import NotRequired, Optional, TypedDict

import pulumi

from components import arguments
from components.routing import aws as on_aws
from components.routing import dns, front
from components.routing import gcp as on_gcp

ROUTING_POLICIES = ("latency", "weighted")


class FrontDoorRegionArgs(TypedDict):
    """One region behind the front door."""

    region: str
    """Cloud and region, such as `aws:us-east-1`."""
    targets: pulumi.Input[list[str]]
    """Of its RegionalEndpoint."""
    weight: NotRequired[int]
    """Share among all regions (1 to 255) where the routing policy is `weighted`. Default 100."""
    dial: NotRequired[float]
    """Percent of the requests that are nearest to this region and may come to it: 0 to 100 on AWS, 10 to 100 on GCP.
    With 0 it still takes over for regions that fail. Default 100."""
    drained: NotRequired[bool]
    """Send nothing here, not even when other regions fail: weight 0 in the accelerator, capacity 0 in Google's load
    balancer, no DNS record. Established connections stay. Default false."""


class GlobalLoadBalancerArgs(TypedDict):
    """The front door of an environment."""

    domain: str
    """What clients ask for, such as `inference.example.com`."""
    hosted_zone_id: pulumi.Input[str]
    """Route 53 zone of the domain."""
    regions: list[FrontDoorRegionArgs]
    """At least one, and at least one that isn't drained."""
    routing_policy: NotRequired[str]
    """Between clouds: `latency` or `weighted`. Default `latency`. Within a cloud the nearest region serves."""
    health_check_path: NotRequired[str]
    """Path that answers 200 when the inference server can serve. Default `/v2/health/ready`."""
    requests_per_endpoint: NotRequired[float]
    """GCP: requests a second and pod above which requests spill over to the next region. Default 100."""
    requests_per_client: NotRequired[int]
    """GCP: requests that one client address may send in five minutes. Default 30,000. On AWS see RegionalEndpoint."""
    protect: NotRequired[bool]
    """Protect the anycast addresses from deletion. Default false."""
    tags: NotRequired[dict[str, str]]
    """Tags (labels on GCP)."""


class GlobalLoadBalancer(pulumi.ComponentResource):
    """One domain for all regions of both clouds.

    AWS regions stand behind a Global Accelerator, GCP regions behind a global external application load balancer, each
    with anycast addresses and its own failover between regions. With both clouds, Route 53 tells a client the entry of
    the region nearest to it whose cloud answers for the inference server; with one, there is a plain record.

    Raises ValueError for regions that cannot serve, an unknown policy, or a share that a cloud doesn't take.
    """

    domain_name: pulumi.Output[str]
    """What clients ask for."""
    addresses: pulumi.Output[list[str]]
    """Anycast addresses of both clouds."""
    accelerator_arn: pulumi.Output[str]
    """ARN of the Global Accelerator; empty without an AWS region."""

    def __init__(self, name: str, args: GlobalLoadBalancerArgs, opts: Optional[pulumi.ResourceOptions] = None):
        arguments.check(f"GlobalLoadBalancer {name!r}", args, GlobalLoadBalancerArgs)
        super().__init__("aicloud:index:GlobalLoadBalancer", name, {**args}, opts)
        where = f"GlobalLoadBalancer {name!r}"
        policy = args.get("routing_policy", "latency")
        if policy not in ROUTING_POLICIES:
            raise ValueError(f"{where}: routing_policy: expected 'latency' or 'weighted', got {policy!r}")
        regions = [self._region(region, where) for region in args["regions"]]
        front.check(regions, where)
        if not any(region.cloud == "gcp" for region in regions):
            for argument in ("requests_per_client", "requests_per_endpoint"):
                if (given := args.get(argument)) is not None:
                    raise ValueError(f"{where}: {argument}: expected none without a GCP region; got {given!r}")
        health_path = args.get("health_check_path", front.HEALTH_PATH)
        protect, tags = args.get("protect", False), args.get("tags", {})
        on = {cloud: [region for region in regions if region.cloud == cloud] for cloud in front.CLOUDS}

        entries: dict[str, dns.Entry] = {}
        self.accelerator_arn = pulumi.Output.from_input("")
        if on["aws"]:
            entries["aws"], self.accelerator_arn = on_aws.accelerate(self, name, on["aws"], health_path, protect, tags)
        if on["gcp"]:
            request = on_gcp.LoadBalancerRequest(
                name=name,
                domain=args["domain"],
                hosted_zone_id=args["hosted_zone_id"],
                health_path=health_path,
                requests_per_endpoint=args.get("requests_per_endpoint", on_gcp.REQUESTS_PER_ENDPOINT),
                requests_per_client=int(args.get("requests_per_client", front.REQUESTS_PER_CLIENT)),
                protect=protect,
                tags=tags,
            )
            entries["gcp"] = on_gcp.build(self, request, on["gcp"])
        # Which kind of record there is depends on the clouds in use, not on what is drained: a plain record and a set
        # cannot exist side by side, so changing from one to the other takes the domain away for a moment.
        plans = []
        if len(entries) > 1:
            plans = dns.latency_records(regions, where) if policy == "latency" else dns.weighted_records(regions)
        dns.publish(self, name, args["domain"], args["hosted_zone_id"], entries, plans, health_path, tags)

        self.domain_name = pulumi.Output.from_input(args["domain"])
        self.addresses = pulumi.Output.all(*[entry.addresses for entry in entries.values()]).apply(
            lambda lists: [address for addresses in lists for address in addresses]
        )
        self.register_outputs(
            {
                "domainName": self.domain_name,
                "addresses": self.addresses,
                "acceleratorArn": self.accelerator_arn,
            }
        )

    @staticmethod
    def _region(args: FrontDoorRegionArgs, where: str) -> front.FrontDoorRegion:
        cloud, region = front.split(args["region"], f"{where}: regions")
        return front.FrontDoorRegion(
            cloud=cloud,
            region=region,
            targets=args["targets"],
            weight=int(args.get("weight", 100)),
            dial=float(args.get("dial", 100.0)),
            drained=args.get("drained", False),
        )
