"""The EKS machines that always stand: the system node group, the floors of pools, and static pools."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.cluster.eks import EksControlPlane, service_trust
from components.cluster.eks_machines import MARKETS, check_standing, disk_and_metadata, image, machine
from components.cluster.karpenter_pools import node_labels
from components.cluster.ladder import Capacity, Pool, capacities

SYSTEM_MACHINE = "m7i.xlarge"
SYSTEM_MACHINES = 3
"""One a zone: CoreDNS, Karpenter and the operators run here, so that no node of theirs depends on them."""

NODE_POLICIES = (
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKS_CNI_Policy",
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonSSMManagedInstanceCore",
)
_EFFECTS = {"NoSchedule": "NO_SCHEDULE", "PreferNoSchedule": "PREFER_NO_SCHEDULE", "NoExecute": "NO_EXECUTE"}


@dataclass(frozen=True, kw_only=True)
class EksNodesOptions:
    """Where the machines stand, and which pools they belong to."""

    region: str
    subnet_ids: pulumi.Input[Sequence[str]]
    zones: pulumi.Input[Sequence[str]]
    fabric_security_group_id: pulumi.Input[str]
    pools: Sequence[Pool]
    tags: Mapping[str, str]


class EksNodes(pulumi.ComponentResource):
    """The node role, and a managed node group for each set of machines that always stands.

    - the role of every node, Karpenter's included, and its access entry
    - the system node group, three machines without taints
    - for each rung with standing machines a launch template (IMDSv2 with one hop, encrypted gp3 root, EFA interfaces,
      capacity reservation) and a node group whose minimum, desired and maximum size are that number: neither Karpenter
      nor an autoscaler can take those machines away. This is what enforces a serving pool's on-demand floor.
    - for static pools a cluster placement group, hence one zone (a Capacity Block needs none)
    """

    role: aws.iam.Role
    system: aws.eks.NodeGroup
    ready: list[pulumi.Resource]
    """What a node needs before it can join: the role's policies and its access entry."""

    def __init__(
        self,
        name: str,
        control_plane: EksControlPlane,
        args: EksNodesOptions,
        opts: pulumi.ResourceOptions | None = None,
        *,
        networking: Sequence[pulumi.Resource] = (),
    ) -> None:
        """`networking` are the add-ons without which a node never becomes ready: nodes wait for them."""
        super().__init__("aicloud:cluster:EksNodes", name, {}, opts)
        self.role = aws.iam.Role(
            f"{name}-role",
            assume_role_policy=json.dumps(service_trust("ec2.amazonaws.com")),
            tags=dict(args.tags),
            opts=pulumi.ResourceOptions(parent=self),
        )
        partition = aws.get_partition(opts=pulumi.InvokeOptions(parent=self)).partition
        self.ready = [
            aws.iam.RolePolicyAttachment(
                f"{name}-{policy}",
                role=self.role.name,
                policy_arn=f"arn:{partition}:iam::aws:policy/{policy}",
                opts=pulumi.ResourceOptions(parent=self),
            )
            for policy in NODE_POLICIES
        ]
        self.ready.append(
            aws.eks.AccessEntry(
                f"{name}-access",
                cluster_name=control_plane.cluster.name,
                principal_arn=self.role.arn,
                type="EC2_LINUX",
                region=args.region,
                tags=dict(args.tags),
                opts=pulumi.ResourceOptions(parent=self),
            )
        )
        self._name, self._args, self._control_plane = name, args, control_plane
        self._after = [*self.ready, *networking]
        self.system = self._system()
        for pool in args.pools:
            for capacity in capacities(pool):
                if capacity.standing:
                    self._group(pool, capacity)
        self.register_outputs({})

    def _system(self) -> aws.eks.NodeGroup:
        template = aws.ec2.LaunchTemplate(
            f"{self._name}-system",
            instance_type=SYSTEM_MACHINE,
            vpc_security_group_ids=[self._control_plane.security_group_id],
            **disk_and_metadata(self._control_plane.key.arn, 100, self._args.tags, f"{self._name}-system"),
            region=self._args.region,
            tags=dict(self._args.tags),
            opts=pulumi.ResourceOptions(parent=self),
        )
        return self._node_group(
            "system", template, SYSTEM_MACHINES, subnets=self._args.subnet_ids, ami="AL2023_x86_64_STANDARD"
        )

    def _group(self, pool: Pool, capacity: Capacity) -> None:
        check_standing(pool, capacity)
        short = f"{pool.name}-{capacity.rung.kind}"
        placement = None
        if pool.static and capacity.rung.kind != "capacity-block":  # a block lies close together by itself
            placement = aws.ec2.PlacementGroup(
                f"{self._name}-{short}",
                strategy="cluster",
                region=self._args.region,
                tags=dict(self._args.tags),
                opts=pulumi.ResourceOptions(parent=self),
            )
        groups = [self._control_plane.security_group_id]
        if pool.fabric_interfaces:
            groups.append(pulumi.Output.from_input(self._args.fabric_security_group_id))
        template = aws.ec2.LaunchTemplate(
            f"{self._name}-{short}",
            **machine(pool, capacity, groups, placement.name if placement else None),
            **disk_and_metadata(self._control_plane.key.arn, pool.disk_gib, self._args.tags, f"{self._name}-{short}"),
            region=self._args.region,
            tags=dict(self._args.tags),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._node_group(
            short,
            template,
            capacity.standing,
            subnets=self._subnets(pool),
            ami=image(pool),
            capacity_type=MARKETS[capacity.rung.kind],
            labels=node_labels(pool, capacity),
            taints=[{"key": t.key, "value": t.value, "effect": _EFFECTS[t.effect]} for t in pool.taints],
        )

    def _node_group(
        self,
        short: str,
        template: aws.ec2.LaunchTemplate,
        machines: int,
        *,
        subnets: pulumi.Input[Sequence[str]],
        ami: str,
        **more: Any,
    ) -> aws.eks.NodeGroup:
        return aws.eks.NodeGroup(
            f"{self._name}-{short}",
            cluster_name=self._control_plane.cluster.name,
            node_role_arn=self.role.arn,
            subnet_ids=subnets,
            ami_type=ami,
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            scaling_config={"min_size": machines, "desired_size": machines, "max_size": machines},
            update_config={"max_unavailable": 1},
            region=self._args.region,
            tags=dict(self._args.tags),
            **more,
            opts=pulumi.ResourceOptions(parent=self, depends_on=self._after),
        )

    def _subnets(self, pool: Pool) -> pulumi.Output[list[str]]:
        """Subnets of the pool's zones; a static pool's placement group lies in one zone, its first."""

        def choose(values: list[Any]) -> list[str]:
            zones, subnets = values
            wanted = list(pool.zones) or list(zones)
            unknown = sorted(set(wanted) - set(zones))
            if unknown:
                raise ValueError(f"node pool {pool.name!r}: zones {unknown} are not the network's: {list(zones)}")
            chosen = [subnet for zone, subnet in zip(zones, subnets, strict=True) if zone in wanted]
            return chosen[:1] if pool.static else chosen

        return pulumi.Output.all(self._args.zones, self._args.subnet_ids).apply(choose)
