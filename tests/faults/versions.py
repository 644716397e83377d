"""Slips in versions: what was upgraded without the rest, or not at all."""

from __future__ import annotations

from typing import Any

from tests.faults.fault import Fault, State, all_of, the

EKS_CLUSTER = "aws:eks/cluster:Cluster"
GKE_CLUSTER = "gcp:container/cluster:Cluster"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
NODE_POOL = "gcp:container/nodePool:NodePool"
RELEASE = "kubernetes:helm.sh/v3:Release"
NODE_CLASS = "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"


def _chart(states: list[State], name: str, version: str) -> dict[str, Any]:
    inputs = the(states, RELEASE, name)["inputs"]
    inputs["version"] = version
    return inputs


def kubernetes_that_ended(states: list[State]) -> None:
    the(states, EKS_CLUSTER, "us-east-1")["inputs"]["version"] = "1.29"


def kubernetes_in_its_last_weeks(states: list[State]) -> None:
    the(states, EKS_CLUSTER, "eu-central-1")["inputs"]["version"] = "1.34"


def gke_that_ended(states: list[State]) -> None:
    the(states, GKE_CLUSTER, "us-central1")["inputs"]["minMasterVersion"] = "1.33"


def node_group_left_behind(states: list[State]) -> None:
    the(states, NODE_GROUP, "us-east-1-cluster-nodes-serving-l4-on-demand")["inputs"]["version"] = "1.31"


def node_pool_before_its_control_plane(states: list[State]) -> None:
    the(states, NODE_POOL, "asia-southeast1-cluster-nodes-serving-l4-spot")["inputs"]["version"] = "1.36.0-gke.3302004"


def karpenter_too_old_for_kubernetes(states: list[State]) -> None:
    release = next(s for s in all_of(states, RELEASE, "us-west-2-cluster-karpenter") if s["urn"].endswith("karpenter"))
    release["inputs"]["version"] = "1.4.0"


def gpu_operator_too_old_for_kubernetes(states: list[State]) -> None:
    _chart(states, "us-east-1-cluster-addons-gpu-operator", "v25.3.4")


def kueue_before_its_api(states: list[State]) -> None:
    _chart(states, "us-west-2-cluster-addons-kueue", "0.14.4")


def driver_older_than_the_image_bears(states: list[State]) -> None:
    values = _chart(states, "us-east-1-cluster-addons-gpu-operator", "v26.7.0")["values"]
    values["driver"] = {"enabled": True, "version": "470.256.02"}


def machine_image_pinned_to_an_old_driver(states: list[State]) -> None:
    for state in all_of(states, NODE_CLASS, "eu-central-1-cluster-karpenter-serving-l4"):
        state["inputs"]["spec"]["amiSelectorTerms"] = [{"alias": "al2023@v20250501"}]


FAULTS: tuple[Fault, ...] = tuple(
    Fault(mutate.__name__.replace("_", " "), environment, rule, at, mutate)
    for mutate, environment, rule, at in (
        (kubernetes_that_ended, "prod", "kubernetes-version-is-supported", "us-east-1-cluster"),
        (kubernetes_in_its_last_weeks, "prod", "kubernetes-version-lasts", "eu-central-1-cluster"),
        (gke_that_ended, "staging", "kubernetes-version-is-supported", "us-central1-cluster"),
        (node_group_left_behind, "prod", "cluster-and-nodes-match", "serving-l4-on-demand"),
        (node_pool_before_its_control_plane, "prod", "cluster-and-nodes-match", "serving-l4-spot"),
        (karpenter_too_old_for_kubernetes, "staging", "chart-fits-kubernetes", "karpenter"),
        (gpu_operator_too_old_for_kubernetes, "prod", "chart-fits-kubernetes", "gpu-operator"),
        (kueue_before_its_api, "staging", "api-version-fits-chart", "kueue.x-k8s.io/v1beta2"),
        (driver_older_than_the_image_bears, "prod", "driver-fits-cuda", "us-east-1-triton"),
        (machine_image_pinned_to_an_old_driver, "prod", "driver-fits-cuda", "eu-central-1-triton"),
    )
)
