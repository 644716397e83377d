"""From one domain name to the nearest healthy region, the same outputs on AWS and GCP."""

from components.routing.gcp import neg_annotation, neg_name
from components.routing.global_load_balancer import FrontDoorRegionArgs, GlobalLoadBalancer, GlobalLoadBalancerArgs
from components.routing.regional_endpoint import RegionalEndpoint, RegionalEndpointArgs

__all__ = [
    "FrontDoorRegionArgs",
    "GlobalLoadBalancer",
    "GlobalLoadBalancerArgs",
    "RegionalEndpoint",
    "RegionalEndpointArgs",
    "neg_annotation",
    "neg_name",
]
