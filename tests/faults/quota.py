"""Slips in what is asked of the clouds: more than was granted, what is not offered, where or how it is not."""

from __future__ import annotations

from typing import Any

from tests.faults.fault import Fault, State, the

NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
KARPENTER_POOL = "kubernetes:karpenter.sh/v1:NodePool"
NODE_POOL = "gcp:container/nodePool:NodePool"
SUBNET = "aws:ec2/subnet:Subnet"


def _karpenter(states: list[State], name: str) -> dict[str, Any]:
    return the(states, KARPENTER_POOL, name)["inputs"]["spec"]


def _machine(states: list[State], name: str, machine: str) -> None:
    for requirement in _karpenter(states, name)["template"]["spec"]["requirements"]:
        if requirement["key"] == "node.kubernetes.io/instance-type":
            requirement["values"] = [machine]


def more_training_than_granted(states: list[State]) -> None:
    _karpenter(states, "us-east-1-cluster-karpenter-training-h100-spot")["limits"] = {
        "cpu": "3072", "nodes": "16", "nvidia.com/gpu": "128",
    }  # fmt: skip


def flex_start_without_limit(states: list[State]) -> None:
    pool = the(states, NODE_POOL, "europe-west4-cluster-nodes-training-h100-flex-start")
    pool["inputs"]["autoscaling"]["totalMaxNodeCount"] = 64


def more_standing_machines_than_granted(states: list[State]) -> None:
    scaling = the(states, NODE_GROUP, "eu-central-1-cluster-nodes-serving-l4-on-demand")["inputs"]["scalingConfig"]
    scaling |= {"minSize": 20, "desiredSize": 20, "maxSize": 20}


def machine_of_another_region(states: list[State]) -> None:
    _machine(states, "eu-central-1-cluster-karpenter-serving-l4-spot", "p5en.48xlarge")


def machine_not_sold_as_capacity_block(states: list[State]) -> None:
    _machine(states, "us-east-1-cluster-karpenter-training-h100-capacity-block", "g6e.48xlarge")


def machine_without_on_demand_price(states: list[State]) -> None:
    node = the(states, NODE_POOL, "europe-west4-cluster-nodes-serving-l4-on-demand")["inputs"]["nodeConfig"]
    node["machineType"] = "a3-highgpu-1g"


def zone_of_another_region(states: list[State]) -> None:
    the(states, SUBNET, "us-east-1-network-private-us-east-1c")["inputs"]["availabilityZone"] = "us-west-2c"


def node_zone_of_another_region(states: list[State]) -> None:
    pool = the(states, NODE_POOL, "asia-southeast1-cluster-nodes-serving-l4-spot")
    pool["inputs"]["nodeLocations"][2] = "asia-southeast2-c"


def reservation_over_three_zones(states: list[State]) -> None:
    everywhere = the(states, NODE_GROUP, "us-east-1-cluster-nodes-serving-l4-on-demand")["inputs"]["subnetIds"]
    group = the(states, NODE_GROUP, "us-east-1-cluster-nodes-training-h100-base-reservation")
    group["inputs"]["subnetIds"] = everywhere


FAULTS: tuple[Fault, ...] = tuple(
    Fault(mutate.__name__.replace("_", " "), "prod", rule, at, mutate)
    for mutate, rule, at in (
        (more_training_than_granted, "quota-holds-maximum", "aws:us-east-1"),
        (flex_start_without_limit, "quota-holds-maximum", "gcp:europe-west4"),
        (more_standing_machines_than_granted, "quota-holds-minimum", "aws:eu-central-1"),
        (machine_of_another_region, "machine-is-offered", "p5en.48xlarge"),
        (machine_not_sold_as_capacity_block, "rung-is-possible", "g6e.48xlarge"),
        (machine_without_on_demand_price, "rung-is-possible", "a3-highgpu-1g"),
        (zone_of_another_region, "zone-is-in-region", "us-west-2c"),
        (node_zone_of_another_region, "zone-is-in-region", "asia-southeast2-c"),
        (reservation_over_three_zones, "reservation-has-a-zone", "cr-0123456789abcdef0"),
    )
)
