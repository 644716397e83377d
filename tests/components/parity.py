"""What the two clouds offer: features, each with a proof from a plan on either cloud, or a reason for its absence."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

import components
from planner.plan import Plan
from tests.samples import samples, serving_pool, system_pool, training_pool
from tests.support import plan_of

Arguments = dict[str, Any]
Change = Callable[[Arguments], Arguments]


@dataclass(frozen=True)
class Offered:
    """`how`: what the cloud makes of it, in a few words of Markdown. `proof` looks for just that in a plan."""

    how: str
    proof: Callable[[Plan], bool]


@dataclass(frozen=True)
class NotOffered:
    """`why`, and the arguments that ask for it all the same: they are refused by an error that has `refusal` in it.

    Without `ask`, no argument can ask for it.
    """

    why: str
    ask: Change | None = None
    refusal: str = ""


@dataclass(frozen=True)
class Feature:
    """One thing that a person may want of a component."""

    component: str
    title: str
    arguments: tuple[str, ...]
    """What asks for it, such as `node_pools.ladder.floor`; empty where it is always there."""
    aws: Offered | NotOffered
    gcp: Offered | NotOffered
    change: Change | None = None
    """Arguments to ask for it, made from the full ones; by default these ask for it already."""

    def on(self, cloud: str) -> Offered | NotOffered:
        return {"aws": self.aws, "gcp": self.gcp}[cloud]


@cache
def full(component: str, cloud: str) -> Plan:
    """A component that was asked for everything that its cloud offers and that goes together, as it would be built."""
    return built(component, arguments(component, cloud))


def built(component: str, args: Arguments) -> Plan:
    def program() -> None:
        options = pulumi.ResourceOptions(providers=[kubernetes.Provider("cluster", kubeconfig="{}")])
        getattr(components, component)("sample", args, options)

    return plan_of(program, simulate_up=True)


def arguments(component: str, cloud: str) -> Arguments:
    """The arguments of `full`."""
    args = copy.deepcopy(samples(cloud)[component])
    if component == "GpuCluster":
        args |= {"node_pools": pools(cloud), "administrators": _ADMINISTRATORS[cloud], "kubernetes_version": "1.34"}
        args["public_access_cidrs"] = ["203.0.113.0/24"]
    elif component == "RegionalNetwork":
        args["nat_per_zone"] = cloud == "aws"
        args["protect"] = True
        args |= {"gpudirect_networks": 8} if cloud == "gcp" else {}
    elif component == "TieredStorage":
        args["cold"] |= {"noncurrent_days": 45, "cache_gib": 80}
        args["hot"]["throughput_mbps_per_tib"] = 500
    elif component == "WorkloadIdentity" and cloud == "aws":
        args["buckets"][0]["key"] = "arn:aws:kms:us-east-1:123456789012:key/data"
        args["aws_policy_json"] = json.dumps({"Version": "2012-10-17", "Statement": [_QUEUE]})
    elif component == "WorkloadIdentity":
        args["gcp_project_roles"] = ["roles/monitoring.metricWriter"]
    elif component == "RegionalEndpoint":
        args |= {"log_bucket": "logs"} if cloud == "aws" else {}
        args["protect"] = True
    elif component == "GlobalLoadBalancer":
        args |= {"requests_per_client": 2000, "requests_per_endpoint": 40} if cloud == "gcp" else {}
        args["protect"] = True
    return args


_ADMINISTRATORS = {"aws": ["arn:aws:iam::123456789012:role/admin"], "gcp": ["group:admins@example.com"]}
_QUEUE = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:us-east-1:123456789012:done"}
RESERVED = {"kind": "reservation", "reservations": ["cr-0123456789abcdef0"]}


def pools(cloud: str) -> list[Arguments]:
    """One pool for each thing that a pool may ask for."""
    first_zone = {"aws": "us-east-1a", "gcp": "europe-west4-a"}[cloud]
    return [
        system_pool(
            labels={"example.com/team": "platform"},
            taints=[{"key": "example.com/team", "value": "platform", "effect": "NoSchedule"}],
            zones=[first_zone],
            disk_gib=300,
        ),
        serving_pool(gpu_sharing={"mode": "time-slicing", "replicas": 4}),
        mig_pool(),
        training_pool(cloud, ladder=[RESERVED, {"kind": "spot"}, {"kind": "on-demand"}], zones=[first_zone]),
        training_pool(cloud, name="static", static=True, min=2, max=2, ladder=[RESERVED], zones=[first_zone]),
        training_pool(
            cloud,
            name="waiting",
            ladder=[{"aws": {**RESERVED, "kind": "capacity-block"}, "gcp": {"kind": "flex-start"}}[cloud]],
            zones=[first_zone],
        ),
    ]


def mig_pool(**changes: Any) -> Arguments:
    pool = {"name": "partitions", "purpose": "serving", "accelerator": "h100-80gb", "min": 0, "max": 1}
    sharing = {"mode": "mig", "profile": "1g.10gb"}
    return {**pool, "accelerators_per_machine": 8, "ladder": [{"kind": "spot"}], "gpu_sharing": sharing, **changes}


def elsewhere(how: str, component: str, cloud: str, proof: Callable[[Plan], bool]) -> Offered:
    """Offered by another component on that cloud, whose plan is looked into instead."""
    return Offered(f"{how} ({component})", lambda plan: len(plan) > 0 and proof(full(component, cloud)))


def with_pool(**pool: Any) -> Change:
    """Ask for one pool in place of the others."""
    return lambda args: {**args, "node_pools": [pool]}


def values(plan: Plan, type: str, path: str = "", name: str = "") -> list[Any]:
    """What is at `path` in the inputs of every resource of a type whose name ends in `name`; lists are gone into."""
    found: list[Any] = [r.inputs for r in plan if r.type.startswith(type) and r.name.endswith(name)]
    for key in path.split(".") if path else ():
        flat = [item for one in found for item in (one if isinstance(one, list) else [one])]
        found = [item[key] for item in flat if isinstance(item, Mapping) and item.get(key) is not None]
    return [item for one in found for item in (one if isinstance(one, list) else [one])]


def protected(plan: Plan, *types: str) -> bool:
    """Whether there are resources of each of the types, and all of them are protected."""
    return all(plan.of_type(type) for type in types) and all(r.protect for r in plan.of_type(*types))
