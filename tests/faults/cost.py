"""Slips that cost more than the environment may: at the size that it has, or at the one that it may scale to."""

from __future__ import annotations

from typing import Any

from tests.faults.fault import Fault, State, the

NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
KARPENTER_POOL = "kubernetes:karpenter.sh/v1:NodePool"
LAUNCH_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
NODE_POOL = "gcp:container/nodePool:NodePool"
LUSTRE = "aws:fsx/lustreFileSystem:LustreFileSystem"

RULE = "budget-holds"
CEILING = "hourly-cost-ceiling"


def _karpenter(states: list[State], name: str) -> dict[str, Any]:
    return the(states, KARPENTER_POOL, name)["inputs"]["spec"]


def _require(spec: dict[str, Any], key: str, value: str) -> None:
    for requirement in spec["template"]["spec"]["requirements"]:
        if requirement["key"] == key:
            requirement["values"] = [value]


def more_machines_than_budgeted(states: list[State]) -> None:
    _karpenter(states, "serving-l4-spot")["limits"] = {"cpu": "32", "nodes": "8", "nvidia.com/gpu": "16"}


def spot_becomes_on_demand(states: list[State]) -> None:
    spec = _karpenter(states, "serving-l4-spot")
    _require(spec, "karpenter.sh/capacity-type", "on-demand")
    spec["template"]["metadata"]["labels"]["aicloud.dev/capacity"] = "on-demand"


def dearer_machine(states: list[State]) -> None:
    spec = _karpenter(states, "training-l4-spot")
    _require(spec, "node.kubernetes.io/instance-type", "g6e.12xlarge")
    spec["limits"] = {"cpu": "96", "nodes": "2", "nvidia.com/gpu": "8"}


def dearer_system_machines(states: list[State]) -> None:
    template = the(states, LAUNCH_TEMPLATE, "us-east-1-cluster-nodes-system-on-demand")
    template["inputs"]["instanceType"] = "m7i.4xlarge"


def larger_reservation(states: list[State]) -> None:
    pool = the(states, NODE_POOL, "europe-west4-cluster-nodes-training-h100-reservation")
    pool["inputs"]["autoscaling"]["totalMaxNodeCount"] = 8


def standing_training_machines(states: list[State]) -> None:
    pool = the(states, NODE_POOL, "europe-west4-cluster-nodes-training-h100-flex-start")
    pool["inputs"]["autoscaling"]["totalMinNodeCount"] = 2


def larger_hot_tier(states: list[State]) -> None:
    the(states, LUSTRE, "us-east-1-storage-hot")["inputs"]["storageCapacity"] = 360000


def no_limit(states: list[State]) -> None:
    del _karpenter(states, "us-east-1-cluster-karpenter-training-h100-on-demand")["limits"]


FAULTS = (
    Fault("a pool may have four times the machines", "dev", CEILING, "", more_machines_than_budgeted),
    Fault("spot machines become on-demand ones", "dev", RULE, "expectedUsdPerMonth", spot_becomes_on_demand),
    Fault("a dearer machine for training", "staging", CEILING, "", dearer_machine),
    Fault("dearer machines that always run", "dev", RULE, "expectedUsdPerMonth", dearer_system_machines),
    Fault("a reservation twice as large", "prod", RULE, "expectedUsdPerMonth", larger_reservation),
    Fault("training machines that never go", "prod", RULE, "expectedUsdPerMonth", standing_training_machines),
    Fault("a hot tier ten times as large", "prod", RULE, "expectedUsdPerMonth", larger_hot_tier),
    Fault("a training pool without a limit", "prod", RULE, "training-h100-on-demand", no_limit),
)
