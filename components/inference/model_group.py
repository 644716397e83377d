"""What one group of models has of its own: network policy, Service, Deployment, disruption budget, scaler, monitor.

Functions and no component: its resources are TritonInference's own children, as they were before there were groups, so
that nothing that serves is replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.inference.groups import ModelGroup
from components.inference.own_namespace import disruption_budget
from components.inference.pod import Machines, Server, pod_template
from components.inference.scaler import Front, scale
from components.inference.scaling import Target
from components.inference.traffic import GRPC, HTTP, server_policy
from components.training import queues


@dataclass(frozen=True)
class Shared:
    """What the groups of a server have in common."""

    name: str
    """The component's."""
    namespace: pulumi.Output[str]
    """Of the Namespace that was made."""
    namespace_name: str
    """The same, as it was given."""
    image: str
    source: pulumi.Input[str]
    claim: str
    region: str
    node_pool: str
    accelerator_resource: str
    client_cidrs: Sequence[str]
    monitoring_namespace: str
    otlp_endpoint: pulumi.Input[str]
    """Where servers send spans; empty: nowhere."""
    queue: str
    """LocalQueue that counts the pods; empty: nothing does."""
    after: Sequence[pulumi.Resource]
    """What a pod needs from its first moment on: its identity, its walls, its queue."""
    opts: pulumi.ResourceOptions
    """Of every child."""

    def machines(self, group: ModelGroup) -> Machines:
        return Machines(group.device, self.accelerator_resource, self.node_pool)


def labels_of(called: str) -> dict[str, str]:
    """Labels that tell a group's pods from any others."""
    return {"app.kubernetes.io/name": "triton", "app.kubernetes.io/instance": called}


def server_of(group: ModelGroup, shared: Shared) -> Server:
    """All that a pod of the group depends on."""
    return Server(
        labels=labels_of(group.called(shared.name)),
        service_account=shared.name,
        image=shared.image,
        models=group.models,
        source=shared.source,
        claim=shared.claim,
        region=shared.region,
        otlp_endpoint=shared.otlp_endpoint,
        machines=shared.machines(group),
        gpus=group.gpus,
        cpu=group.cpu,
        memory_gib=group.memory_gib,
        startup=group.cold.probe,
    )


def build(group: ModelGroup, shared: Shared) -> tuple[k8s.core.v1.Service, Front]:
    """Everything of one group, in the order in which it exists. Returns the Service that answers for its models, and
    the one that clients send to, which is another where an activator is before it."""
    called = group.called(shared.name)
    labels = labels_of(called)
    placed: dict[str, Any] = {"namespace": shared.namespace, "labels": labels}
    cloud = group.device.cloud
    traffic = k8s.networking.v1.NetworkPolicy(
        f"{called}-traffic",
        metadata={**placed, "name": f"{called}-traffic"},
        spec=server_policy(
            labels,
            cloud,
            shared.client_cidrs,
            shared.monitoring_namespace,
            activated=group.scaling.to_zero,
            traced=shared.otlp_endpoint != "",
        ),
        opts=shared.opts,
    )
    service = k8s.core.v1.Service(
        f"{called}-service",
        metadata={
            **placed,
            "name": group.service,
            # Pulumi would wait for pods behind the Service, which wait for it: the Deployment's wait is for both.
            "annotations": {
                "pulumi.com/skipAwait": "true",
                **({} if group.scaling.to_zero else group.service_annotations),
            },
        },
        spec={
            "type": "ClusterIP",
            "selector": labels,
            "ports": [
                {"name": "http", "port": HTTP, "target_port": "http", "protocol": "TCP", "app_protocol": "http"},
                {"name": "grpc", "port": GRPC, "target_port": "grpc", "protocol": "TCP", "app_protocol": "grpc"},
            ],
        },
        opts=shared.opts,
    )
    deployment = _deployment(group, shared, [service, traffic])
    k8s.policy.v1.PodDisruptionBudget(
        f"{called}-budget",
        **disruption_budget(called, placed, labels),
        opts=shared.opts,
    )
    front = scale(
        called,
        Target(
            called,
            shared.namespace_name,
            tuple(sorted({model.name for model in group.models})),
            group.cold.deadline_s,
        ),
        group.scaling,
        service=group.service,
        service_annotations=group.service_annotations,
        labels=labels,
        child=shared.opts,
        deployment=deployment,
    )
    k8s.apiextensions.CustomResource(
        f"{called}-monitor",
        api_version="monitoring.coreos.com/v1",
        kind="PodMonitor",
        metadata={**placed, "name": called},
        spec={
            "selector": {"matchLabels": labels},
            "podMetricsEndpoints": [{"port": "metrics", "path": "/metrics", "interval": "15s"}],
        },
        opts=shared.opts,
    )
    return service, front


def _deployment(group: ModelGroup, shared: Shared, after: Sequence[pulumi.Resource]) -> k8s.apps.v1.Deployment:
    called = group.called(shared.name)
    labels = labels_of(called)
    counted = {queues.QUEUE_LABEL: shared.queue, queues.PRIORITY_LABEL: queues.SERVING} if shared.queue else {}
    deadline_s = group.cold.deadline_s
    return k8s.apps.v1.Deployment(
        f"{called}-deployment",
        metadata={
            "namespace": shared.namespace,
            "name": called,
            # Kueue's webhook hands both on to the pods, which it then admits one by one.
            "labels": {**labels, **counted},
        },
        spec={
            # No `replicas`: with server-side apply a field that is left out belongs to whoever sets it, here the
            # autoscaler. Stated, even with ignore_changes, each replacement would start at that number again.
            "selector": {"match_labels": labels},
            "template": pod_template(server_of(group, shared)),
            "strategy": {"type": "RollingUpdate", "rolling_update": {"max_surge": "25%", "max_unavailable": 0}},
            "progress_deadline_seconds": deadline_s,
            "revision_history_limit": 5,
        },
        # A pod that starts before its identity is bound has none until it is started again. With its Service there
        # first, GKE makes a pod ready only once the load balancer knows it. Pulumi waits for the Deployment as long as
        # Kubernetes itself does.
        opts=pulumi.ResourceOptions.merge(
            shared.opts,
            pulumi.ResourceOptions(
                depends_on=[*shared.after, *after],
                custom_timeouts=pulumi.CustomTimeouts(create=f"{deadline_s}s", update=f"{deadline_s}s"),
            ),
        ),
    )
