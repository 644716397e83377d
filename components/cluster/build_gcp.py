"""Builds a GpuCluster on GKE, in the order in which its parts exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pulumi

from components.cluster.addons import AddonOptions, Addons
from components.cluster.gke import GkeControlPlane, GkeOptions
from components.cluster.gke_nodes import GkeNodes, GkeNodesOptions
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
    administrators = args.get("administrators") or []
    control_plane = GkeControlPlane(
        f"{name}-control",
        GkeOptions(
            region=region,
            cluster_name=args["cluster_name"],
            kubernetes_version=args["kubernetes_version"],
            network_id=args["network_id"],
            subnet_ids=args["private_subnet_ids"],
            pod_range_name=args["pod_range_name"],
            service_range_name=args["service_range_name"],
            zones=args["zones"],
            pools=pools,
            administrators=administrators,
            public_access_cidrs=args.get("public_access_cidrs") or [],
            log_retention_days=args["log_retention_days"],
            protect=bool(args.get("protect")),
            tags=tags,
        ),
        pulumi.ResourceOptions(parent=parent),
        after=after,
    )
    kubernetes = provider(parent, f"{name}-kubernetes", control_plane.kubeconfig, [control_plane.system])
    inside = pulumi.ResourceOptions(parent=parent, providers=[kubernetes])
    nodes = GkeNodes(
        f"{name}-nodes",
        control_plane,
        GkeNodesOptions(
            region=region,
            zones=args["zones"],
            gpudirect_networks=args["gpudirect_networks"],
            gpudirect_subnetworks=args["gpudirect_subnetworks"],
            pools=pools,
            kubernetes_version=args["kubernetes_version"],
            administrators=administrators,
            tags=tags,
        ),
        inside,
    )
    addons = Addons(
        f"{name}-addons",
        AddonOptions(
            cloud="gcp",
            pools=pools,
            disk_key=control_plane.key.id,
            kserve=args.get("kserve", ""),
            prometheus=args["prometheus"],
        ),
        inside,
        after=[control_plane.system],
    )
    return Parts(
        kubernetes=kubernetes,
        addons=[control_plane.system, *nodes.made, *addons.made],
        cluster_name=control_plane.cluster.name,
        endpoint=control_plane.cluster.endpoint.apply(lambda endpoint: f"https://{endpoint}"),
        kubeconfig=control_plane.kubeconfig,
        workload_identity_pool=pulumi.Output.from_input(control_plane.workload_identity_pool),
        node_security_group_id=pulumi.Output.from_input(""),
    )
