"""Builds a GpuCluster on EKS, in the order in which its parts exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pulumi

from components.cluster import eks_addons, load_balancers
from components.cluster.addons import AddonOptions, Addons
from components.cluster.eks import EksControlPlane, EksOptions
from components.cluster.eks_nodes import EksNodes, EksNodesOptions
from components.cluster.karpenter import Karpenter, KarpenterOptions
from components.cluster.ladder import Pool
from components.cluster.parts import Parts, provider

if TYPE_CHECKING:
    from components.cluster.gpu_cluster import GpuClusterArgs


def build(
    parent: pulumi.Resource,
    name: str,
    args: GpuClusterArgs,
    pools: Sequence[Pool],
    *,
    after: Sequence[pulumi.Resource],
) -> Parts:
    """Everything under `parent`, once `after` is there; `args` come with their defaults."""
    region, tags = args["region"], args.get("tags") or {}
    child = pulumi.ResourceOptions(parent=parent)

    control_plane = EksControlPlane(
        f"{name}-control",
        EksOptions(
            region=region,
            cluster_name=args["cluster_name"],
            kubernetes_version=args["kubernetes_version"],
            subnet_ids=args["private_subnet_ids"],
            administrators=args.get("administrators") or [],
            public_access_cidrs=args.get("public_access_cidrs") or [],
            log_retention_days=args["log_retention_days"],
            protect=bool(args.get("protect")),
            tags=tags,
        ),
        child,
        after=after,
    )
    networking = eks_addons.networking(
        parent,
        name,
        control_plane,
        region=region,
        zones=args["zones"],
        pod_subnet_ids=args["pod_subnet_ids"],
        tags=tags,
    )
    nodes = EksNodes(
        f"{name}-nodes",
        control_plane,
        EksNodesOptions(
            region=region,
            subnet_ids=args["private_subnet_ids"],
            zones=args["zones"],
            fabric_security_group_id=args["fabric_security_group_id"],
            pools=pools,
            tags=tags,
        ),
        child,
        networking=networking,
    )
    managed = eks_addons.workloads(parent, name, control_plane, region=region, nodes=[nodes.system], tags=tags)
    ready: list[pulumi.Resource] = [*networking, *nodes.ready, nodes.system, *managed]

    kubernetes = provider(parent, f"{name}-kubernetes", control_plane.kubeconfig, [])
    inside = pulumi.ResourceOptions(parent=parent, providers=[kubernetes])
    karpenter = Karpenter(
        f"{name}-karpenter",
        control_plane,
        KarpenterOptions(
            region=region,
            cluster_name=args["cluster_name"],
            node_role=nodes.role,
            subnet_ids=args["private_subnet_ids"],
            fabric_security_group_id=args["fabric_security_group_id"],
            pools=pools,
            tags=tags,
        ),
        inside,
        after=ready,
    )
    balancers = load_balancers.controller(
        parent,
        f"{name}-balancers",
        control_plane,
        region=region,
        network_id=args["network_id"],
        tags=tags,
        kubernetes=kubernetes,
        after=ready,
    )
    addons = Addons(
        f"{name}-addons",
        AddonOptions(
            cloud="aws",
            pools=pools,
            disk_key=control_plane.key.arn,
            kserve=args.get("kserve", ""),
            prometheus=args["prometheus"],
        ),
        inside,
        # Its webhook looks at every new pod, so it is up before most of them are made.
        after=[*ready, balancers],
    )
    return Parts(
        kubernetes=kubernetes,
        addons=[*ready, balancers, karpenter.release, *karpenter.pools, *addons.made],
        cluster_name=control_plane.cluster.name,
        endpoint=control_plane.cluster.endpoint,
        kubeconfig=control_plane.kubeconfig,
        workload_identity_pool=pulumi.Output.from_input(""),
        node_security_group_id=control_plane.security_group_id,
    )
