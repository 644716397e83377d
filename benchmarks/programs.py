"""The synthetic programs that the benchmarks preview; as a person would write them, only larger."""

from __future__ import annotations

import pulumi
from pulumi import ResourceOptions
from pulumi_aws.ec2 import Eip, Subnet, Vpc

SUBNETS = 9
GROUPS_PER_NETWORK = 20


class SubnetGroup(pulumi.ComponentResource):
    """Some subnets of one network; with itself, ten resources."""

    def __init__(self, name: str, vpc: Vpc) -> None:
        super().__init__("bench:index:SubnetGroup", name)
        subnets = [
            Subnet(
                f"{name}-{index}",
                vpc_id=vpc.id,
                cidr_block=f"10.0.{index}.0/24",
                availability_zone="us-east-1a",
                tags={"Name": f"{name}-{index}", "team": "ai"},
                opts=ResourceOptions(parent=self),
            )
            for index in range(SUBNETS)
        ]
        self.register_outputs({"subnet_ids": [subnet.id for subnet in subnets]})


def wide(count: int) -> None:
    """About `count` resources, few of which depend on one another: networks, and components with subnets in them."""
    for group in range(count // (SUBNETS + 1)):
        if group % GROUPS_PER_NETWORK == 0:
            vpc = Vpc(f"network-{group}", cidr_block="10.0.0.0/16")
        SubnetGroup(f"group-{group}", vpc)


def chain(count: int) -> None:
    """`count` resources, each with an input that is the output of the one before."""
    before: pulumi.Input[str] = "none"
    for index in range(count):
        before = Eip(f"address-{index}", tags={"before": before}).id


def depends_on_chain(count: int) -> None:
    """`count` resources, each of which waits for the one before."""
    before: list[pulumi.Resource] = []
    for index in range(count):
        before = [Eip(f"address-{index}", opts=ResourceOptions(depends_on=before))]
