"""Karpenter, with everything that it needs to start machines on EKS and to hear of their end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from components.cluster import karpenter_pools as compiled
from components.cluster.charts import KARPENTER, KARPENTER_CRDS, release
from components.cluster.eks import EksControlPlane
from components.cluster.karpenter_policy import EVENTS, controller_policy, queue_policy
from components.cluster.ladder import Pool
from components.security import WorkloadIdentity

NAMESPACE = "kube-system"
"""Where API Priority and Fairness already favours controllers; Karpenter's own documentation installs it there."""

DRAIN = pulumi.CustomTimeouts(delete="60m")
"""How long the removal of a pool may take: all of its machines drain first."""


@dataclass(frozen=True, kw_only=True)
class KarpenterOptions:
    """Where Karpenter starts machines, as which role, and for which pools."""

    region: str
    cluster_name: str
    node_role: aws.iam.Role
    subnet_ids: pulumi.Input[Sequence[str]]
    fabric_security_group_id: pulumi.Input[str]
    pools: Sequence[Pool]
    tags: Mapping[str, str]


class Karpenter(pulumi.ComponentResource):
    """Starts machines when pods wait, from the first rung of their pool's ladder that has any.

    - the interruption queue (under the cluster's key) with one EventBridge rule each for spot interruptions, rebalance
      recommendations, state changes and AWS Health events, so that a node drains before it is taken
    - the controller's identity: it may start and stop only machines that carry this cluster's tags, and pass only the
      node role
    - its CRDs and the controller, as two releases: Helm never updates CRDs that come within a chart
    - for each rung of each pool an EC2NodeClass and a weighted NodePool

    Removal goes the other way around. A NodePool is removed in the foreground, so its NodeClaims go with it, and an
    EC2NodeClass stays until no NodeClaim uses it. Only then does the controller go, and after it the network: no
    machine outlives what it stands in.
    """

    release: k8s.helm.v3.Release
    pools: list[pulumi.Resource]

    def __init__(
        self,
        name: str,
        control_plane: EksControlPlane,
        args: KarpenterOptions,
        opts: pulumi.ResourceOptions | None = None,
        *,
        after: Sequence[pulumi.Resource] = (),
    ) -> None:
        """`after` is what the controller needs to run: nodes, DNS and the role that its machines take."""
        super().__init__("aicloud:cluster:Karpenter", name, {}, opts)
        self._name, self._control_plane, self._args = name, control_plane, args
        queue, rules = self._interruption_queue()
        identity = WorkloadIdentity(
            f"{name}-controller",
            {
                "cloud": "aws",
                "region": args.region,
                "cluster_name": control_plane.cluster.name,
                "workload_identity_pool": "",
                "namespace": NAMESPACE,
                "service_account": "karpenter",
                "aws_policy_json": self._policy(queue),
                "tags": dict(args.tags),
            },
            pulumi.ResourceOptions(parent=self),
        )
        crds = release(f"{name}-crds", KARPENTER_CRDS, {}, self, namespace=NAMESPACE, after=after)
        self.release = release(
            name,
            KARPENTER,
            {
                "settings": {
                    "clusterName": control_plane.cluster.name,
                    "clusterEndpoint": control_plane.cluster.endpoint,
                    "interruptionQueue": queue.name,
                    # Pods live on interfaces in the pod subnets, so the first interface of a machine carries none.
                    "reservedENIs": "1",
                    "enableZonalShift": True,
                },
                "serviceAccount": {"name": "karpenter"},
                "controller": {
                    # The metadata service is one hop too far for a pod.
                    "env": [{"name": "AWS_REGION", "value": args.region}],
                    "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
                },
            },
            self,
            namespace=NAMESPACE,
            after=[*after, identity, crds, *rules],
            skip_crds=True,
        )
        self.pools = [
            resource for pool in args.pools for rung in compiled.rungs(pool) for resource in self._rung(pool, rung)
        ]
        self.register_outputs({})

    def _interruption_queue(self) -> tuple[aws.sqs.Queue, list[pulumi.Resource]]:
        child = pulumi.ResourceOptions(parent=self)
        region, tags = self._args.region, dict(self._args.tags)
        queue = aws.sqs.Queue(
            f"{self._name}-interruptions",
            name=f"{self._args.cluster_name}-interruptions",
            message_retention_seconds=300,  # a notice of two minutes is of no use later
            kms_master_key_id=self._control_plane.key.arn,
            region=region,
            tags=tags,
            opts=child,
        )
        made: list[pulumi.Resource] = [
            aws.sqs.QueuePolicy(
                f"{self._name}-interruptions",
                queue_url=queue.url,
                policy=queue.arn.apply(lambda arn: json.dumps(queue_policy(arn))),
                region=region,
                opts=child,
            )
        ]
        for short, pattern in EVENTS.items():
            rule = aws.cloudwatch.EventRule(
                f"{self._name}-{short}", event_pattern=json.dumps(pattern), region=region, tags=tags, opts=child
            )
            target = aws.cloudwatch.EventTarget(
                f"{self._name}-{short}", rule=rule.name, arn=queue.arn, region=region, opts=child
            )
            made.append(target)
        return queue, made

    def _policy(self, queue: aws.sqs.Queue) -> pulumi.Output[str]:
        invoke = pulumi.InvokeOptions(parent=self)
        partition = aws.get_partition(opts=invoke).partition
        account = aws.get_caller_identity(opts=invoke).account_id
        return pulumi.Output.all(self._args.node_role.arn, queue.arn, self._control_plane.key.arn).apply(
            lambda arns: json.dumps(
                controller_policy(
                    partition,
                    account,
                    self._args.region,
                    self._args.cluster_name,
                    node_role_arn=arns[0],
                    queue_arn=arns[1],
                    key_arn=arns[2],
                )
            )
        )

    def _rung(self, pool: Pool, rung: compiled.Capacity) -> list[pulumi.Resource]:
        short = compiled.name(pool, rung)
        fabric = [self._args.fabric_security_group_id] if pool.fabric else []
        node_class = k8s.apiextensions.CustomResource(
            f"{self._name}-{short}-class",
            api_version="karpenter.k8s.aws/v1",
            kind="EC2NodeClass",
            metadata={"name": short},
            spec=compiled.node_class(
                pool,
                rung,
                role=self._args.node_role.name,
                subnets=pulumi.Output.from_input(self._args.subnet_ids).apply(
                    lambda subnets: [{"id": subnet} for subnet in subnets]
                ),
                security_groups=[{"id": group} for group in (self._control_plane.security_group_id, *fabric)],
                key=self._control_plane.key.arn,
                tags=self._args.tags,
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.release], custom_timeouts=DRAIN),
        )
        node_pool = k8s.apiextensions.CustomResource(
            f"{self._name}-{short}",
            api_version="karpenter.sh/v1",
            kind="NodePool",
            metadata={"name": short, "annotations": {"pulumi.com/deletionPropagationPolicy": "foreground"}},
            spec=compiled.node_pool(pool, rung),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.release, node_class], custom_timeouts=DRAIN),
        )
        return [node_class, node_pool]
