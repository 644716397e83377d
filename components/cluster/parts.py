"""What each cloud's builder hands back to GpuCluster: the same on both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Outputs and attributes of GpuCluster."""

    kubernetes: k8s.Provider
    addons: list[pulumi.Resource]
    cluster_name: pulumi.Output[str]
    endpoint: pulumi.Output[str]
    kubeconfig: pulumi.Output[str]
    workload_identity_pool: pulumi.Output[str]
    node_security_group_id: pulumi.Output[str]


def provider(
    parent: pulumi.Resource, name: str, kubeconfig: pulumi.Output[str], after: list[pulumi.Resource]
) -> k8s.Provider:
    """The cluster's Kubernetes provider.

    Before the cluster exists its kubeconfig is unknown, and a preview leaves what is in the cluster unchecked by any
    API server; it is registered, and shown, all the same.
    """
    return k8s.Provider(
        name,
        kubeconfig=kubeconfig,
        enable_server_side_apply=True,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=after),
    )


def kubeconfig(
    name: pulumi.Input[str], server: pulumi.Input[str], authority: pulumi.Input[str], command: dict[str, Any]
) -> dict[str, Any]:
    """A kubeconfig that asks the cloud's own `command` for a token, so that it holds no credential itself."""
    ask = {"apiVersion": "client.authentication.k8s.io/v1beta1", **command, "interactiveMode": "Never"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": authority}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "users": [{"name": name, "user": {"exec": ask}}],
    }
