"""The GKE node pools of every rung, the ComputeClasses that order them, and who administers the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_gcp as gcp
import pulumi_kubernetes as k8s

from components.accelerators import MachineType
from components.cluster import gke_pools
from components.cluster.gke import GkeControlPlane
from components.cluster.ladder import Pool
from components.tags import gcp_labels


@dataclass(frozen=True, kw_only=True)
class GkeNodesOptions:
    """Where the machines are, and which pools they belong to."""

    region: str
    zones: pulumi.Input[Sequence[str]]
    gpudirect_networks: pulumi.Input[Sequence[str]]
    gpudirect_subnetworks: pulumi.Input[Sequence[str]]
    pools: Sequence[Pool]
    kubernetes_version: str
    administrators: Sequence[str]
    tags: Mapping[str, str]


class GkeNodes(pulumi.ComponentResource):
    """A node pool for each rung of each pool, a ComputeClass for each pool, the pods' side of GPUDirect.

    - node pools: their total minimum is the machines that always stand, so the autoscaler itself enforces a floor;
      static pools have a fixed size, in one zone, placed compactly
    - ComputeClasses: a pod that selects `cloud.google.com/compute-class: <pool>` gets the pool's rungs in order
    - for pools with fabric a Network and its parameters for each additional VPC, so that pods can ask for those NICs
    - cluster-admin for the administrators
    """

    made: list[pulumi.Resource]
    """Node pools, ComputeClasses and Networks, for workloads to depend on."""

    def __init__(
        self,
        name: str,
        control_plane: GkeControlPlane,
        args: GkeNodesOptions,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("aicloud:cluster:GkeNodes", name, {}, opts)
        self._name, self._control_plane, self._args = name, control_plane, args
        self.made = []
        for pool in args.pools:
            rungs = [self._node_pool(pool, capacity) for capacity in gke_pools.rungs(pool)]
            self.made += [*rungs, self._compute_class(pool, rungs)]
        for index in range(max((nics(pool) for pool in args.pools), default=0)):
            self.made += self._network(index)
        self._administrators()
        self.register_outputs({})

    def _node_pool(self, pool: Pool, capacity: gke_pools.Capacity) -> gcp.container.NodePool:
        short = gke_pools.name(pool, capacity)
        return gcp.container.NodePool(
            f"{self._name}-{short}",
            name=short,
            cluster=self._control_plane.cluster.name,
            location=self._args.region,
            **gke_pools.node_pool(
                pool,
                capacity,
                service_account=self._control_plane.service_account.email,
                key=self._control_plane.key.id,
                zones=self._zones(pool),
                networks=self._networks(nics(pool)) if nics(pool) else None,
                resource_labels=gcp_labels(self._args.tags),
                kubernetes_version=self._args.kubernetes_version,
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self._control_plane.system]),
        )

    def _zones(self, pool: Pool) -> pulumi.Output[list[str]]:
        def choose(zones: Sequence[str]) -> list[str]:
            unknown = sorted(set(pool.zones) - set(zones))
            if unknown:
                raise ValueError(f"node pool {pool.name!r}: zones {unknown} are not the network's: {list(zones)}")
            chosen = list(pool.zones or zones)
            # Sizes count machines a zone; a compact placement lies in one zone anyway.
            return chosen[:1] if pool.static else chosen

        return pulumi.Output.from_input(self._args.zones).apply(choose)

    def _networks(self, count: int) -> pulumi.Output[list[dict[str, str]]]:
        def pair(values: list[Sequence[str]]) -> list[dict[str, str]]:
            networks, subnetworks = values
            if len(networks) < count:
                raise ValueError(f"GPUDirect needs {count} additional networks; the network has {len(networks)}")
            return [
                {"network": network, "subnetwork": subnetwork}
                for network, subnetwork in zip(networks[:count], subnetworks[:count], strict=True)
            ]

        return pulumi.Output.all(self._args.gpudirect_networks, self._args.gpudirect_subnetworks).apply(pair)

    def _compute_class(self, pool: Pool, rungs: Sequence[pulumi.Resource]) -> pulumi.Resource:
        return k8s.apiextensions.CustomResource(
            f"{self._name}-{pool.name}",
            api_version="cloud.google.com/v1",
            kind="ComputeClass",
            metadata={"name": pool.name},
            spec=gke_pools.compute_class(pool),
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(rungs)),
        )

    def _network(self, index: int) -> list[pulumi.Resource]:
        def segment(value: pulumi.Input[Sequence[str]]) -> pulumi.Output[str]:
            return pulumi.Output.from_input(value).apply(lambda links: links[index].rsplit("/", 1)[-1])

        # The first of a RoCE machine's networks is the second gVNIC's (RegionalNetwork).
        rdma = index > 0 and any(map(_roce, self._args.pools))
        ready: dict[str, Any] = {"parent": self, "depends_on": [self._control_plane.system]}
        parameters = k8s.apiextensions.CustomResource(
            f"{self._name}-gpudirect-{index}-parameters",
            api_version="networking.gke.io/v1",
            kind="GKENetworkParamSet",
            metadata={"name": f"gpudirect-{index}"},
            spec={
                "vpc": segment(self._args.gpudirect_networks),
                "vpcSubnet": segment(self._args.gpudirect_subnetworks),
                "deviceMode": "RDMA" if rdma else "NetDevice",
            },
            opts=pulumi.ResourceOptions(**ready),
        )
        network = k8s.apiextensions.CustomResource(
            f"{self._name}-gpudirect-{index}",
            api_version="networking.gke.io/v1",
            kind="Network",
            metadata={"name": f"gpudirect-{index}"},
            spec={
                "type": "Device",
                "parametersRef": {
                    "group": "networking.gke.io",
                    "kind": "GKENetworkParamSet",
                    "name": f"gpudirect-{index}",
                },
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[parameters]),
        )
        return [parameters, network]

    def _administrators(self) -> None:
        if not self._args.administrators:
            return
        kinds = {"user": "User", "group": "Group", "serviceAccount": "User"}
        k8s.rbac.v1.ClusterRoleBinding(
            f"{self._name}-administrators",
            metadata={"name": "aicloud-administrators"},
            role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            subjects=[
                {"kind": kinds[kind], "name": member, "api_group": "rbac.authorization.k8s.io"}
                for kind, _, member in (administrator.partition(":") for administrator in self._args.administrators)
            ],
            opts=pulumi.ResourceOptions(parent=self),
        )
        for administrator in self._args.administrators:
            # Enough to fetch the cluster's address; what they may do in it is the binding's matter.
            gcp.projects.IAMMember(
                f"{self._name}-admin-{administrator.partition(':')[2]}",
                project=self._control_plane.cluster.project,
                role="roles/container.clusterViewer",
                member=administrator,
                opts=pulumi.ResourceOptions(parent=self),
            )


def nics(pool: Pool) -> int:
    """Additional NICs of each machine of a pool: those that serve accelerators, and before them, on RoCE machines, a
    second gVNIC for the host's own traffic. https://cloud.google.com/ai-hypercomputer/docs/create/gke-ai-hypercompute-custom
    """
    return pool.fabric_interfaces + _roce(pool)


def _roce(pool: Pool) -> bool:
    return isinstance(pool.machine, MachineType) and pool.fabric and pool.machine.fabric.kind == "gpudirect-rdma"
