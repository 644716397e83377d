"""A namespace of a server's own: closed to all traffic, with one identity that may read its models and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.inference.server_arguments import DEFAULT_PREFIX, Refusal, checked_queue
from components.labels import QUEUED
from components.security import WorkloadIdentity, identity_place
from components.security.traffic import DENY_ALL
from components.training import queues


@dataclass(frozen=True)
class OwnNamespace:
    """What a server finds there."""

    namespace: k8s.core.v1.Namespace
    placed: dict[str, Any]
    """Namespace and labels, for the metadata of what is placed in it."""
    made: list[pulumi.Resource]
    """All of it, for pods to depend on: one that starts before its identity is bound has none until started again."""
    counted: dict[str, str]
    """Labels of what makes the pods, by which Kueue admits each of them; empty where nothing is counted."""


def own_namespace(
    refuse: Refusal,
    name: str,
    args: Mapping[str, Any],
    labels: Mapping[str, str],
    traffic: Mapping[str, Any] | None,
    child: pulumi.ResourceOptions,
) -> OwnNamespace:
    """Make the namespace of the server `name`, with restricted pod security, its service account and its policies.

    `traffic` is the spec of the NetworkPolicy that lets in and out what has to be, None where the caller makes its own;
    everything else is denied. With
    `cluster_queue` among the arguments Kueue looks at the namespace, and a LocalQueue of the server's name leads there.
    """
    counted = args.get("cluster_queue") is not None
    namespace = k8s.core.v1.Namespace(
        f"{name}-namespace",
        metadata={
            "name": args["namespace"],
            "labels": {
                **{f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")},
                **({QUEUED: "true"} if counted else {}),
            },
        },
        opts=child,
    )
    placed = {"namespace": namespace.metadata.name, "labels": dict(labels)}
    account = k8s.core.v1.ServiceAccount(
        f"{name}-account", metadata={**placed, "name": name}, automount_service_account_token=False, opts=child
    )
    identity = WorkloadIdentity(
        f"{name}-identity",
        {
            **identity_place(args),
            "service_account": name,
            "buckets": [
                {
                    "bucket": args["bucket"],
                    "prefix": f"{args.get('repository_prefix', DEFAULT_PREFIX)}/",
                    **({"key": args["encryption_key"]} if "encryption_key" in args else {}),  # type: ignore[typeddict-item]
                }
            ],
        },
        opts=child,
    )
    policies = [
        k8s.networking.v1.NetworkPolicy(
            f"{name}-{purpose}", metadata={**placed, "name": f"{name}-{purpose}"}, spec=dict(spec), opts=child
        )
        for purpose, spec in (("deny-all", DENY_ALL), ("traffic", traffic))
        if spec is not None
    ]
    made: list[pulumi.Resource] = [account, identity, *policies]
    if counted:
        queue = pulumi.Output.from_input(args["cluster_queue"]).apply(lambda value: checked_queue(refuse, value))
        made.append(
            k8s.apiextensions.CustomResource(
                f"{name}-queue",
                api_version=queues.API_VERSION,
                kind="LocalQueue",
                metadata={**placed, "name": name},
                spec={"clusterQueue": queue},
                opts=child,
            )
        )
    labels_of_queue = {queues.QUEUE_LABEL: name, queues.PRIORITY_LABEL: queues.SERVING} if counted else {}
    return OwnNamespace(namespace, placed, made, labels_of_queue)


def disruption_budget(name: str, placed: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of a PodDisruptionBudget under which nodes can always be drained, one pod after the other.

    Not minAvailable: with one replica that would block every node upgrade for good.
    """
    return {
        "metadata": {**placed, "name": name},
        "spec": {
            "selector": {"match_labels": dict(labels)},
            "max_unavailable": 1,
            "unhealthy_pod_eviction_policy": "AlwaysAllow",
        },
    }
