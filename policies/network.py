"""Who can reach what from outside."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan import Resource
from policies.declare import Parameters, at, off, on, resource_policy, texts
from policies.kinds import EKS_CLUSTER, GKE_CLUSTER


@resource_policy(
    "private-control-plane",
    "The API of a cluster answers only inside its network, or to networks that are named",
    types=(EKS_CLUSTER, GKE_CLUSTER),
    risk="critical",
    why="https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html",
    fix="Make the endpoint private; who must reach it from outside is named, network by network (publicAccessCidrs).",
)
def private_control_plane(cluster: Resource, _: Parameters) -> Iterator[str]:
    if cluster.type == EKS_CLUSTER:
        networks = texts(cluster, "vpcConfig.publicAccessCidrs")
        # Amazon's defaults are the open ones: public access, from everywhere.
        public = at(cluster, "vpcConfig.endpointPublicAccess", True)
        if on(public) and ("0.0.0.0/0" in networks or at(cluster, "vpcConfig.publicAccessCidrs") in (None, [])):
            yield "its API answers the whole internet; expected endpointPublicAccess off or publicAccessCidrs"
        if off(at(cluster, "vpcConfig.endpointPrivateAccess", False)):
            yield "its nodes reach its API over the internet; expected endpointPrivateAccess on"
    elif off(at(cluster, "privateClusterConfig.enablePrivateEndpoint")) and not on(
        at(cluster, "controlPlaneEndpointsConfig.dnsEndpointConfig.allowExternalTraffic")
    ):
        yield "its API has a public address; expected privateClusterConfig.enablePrivateEndpoint"
