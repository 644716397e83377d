"""Quotas: what an environment needs of each account's quotas, at its smallest and at its largest.

What counts against what:

- A capacity reservation counts against the on-demand quota of its family: creating it fails beyond that
  (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateCapacityReservation.html). A Capacity Block does
  not: "Instances in a Capacity Block don't count against your On-Demand Instances limits"
  (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-capacity-blocks.html).
- On GCP a reservation needs the on-demand quota of its model; spot and flex-start need the preemptible one
  (https://cloud.google.com/compute/resource-usage#gpu_quota).
- Instances of a SageMaker endpoint count against a quota of their type alone, GPUs of Cloud Run against one of Cloud
  Run; neither touches those of EC2 and Compute Engine.

What the account was granted is the environment's to say, under `rules:parameters`:

    quota-holds-minimum:
      granted:
        aws:us-east-1: {L-DB2E81BA: 96}
        gcp:global: {GPUS_ALL_REGIONS: 128}
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.machine_types import CpuMachine, MachineType
from planner.checks.quota_table import (
    AS_OF,
    EC2_GROUPS,
    GCP_CPUS,
    GCP_GPUS,
    GLOBAL,
    OLDER_P_SPOT,
    QUOTAS,
    RUN_L4,
    RUN_L4_ZONAL,
    SAGEMAKER_INSTANCES,
)
from planner.finding import Finding, Rule
from planner.inventory import Inventory
from planner.inventory.model import Rung
from planner.inventory.serverless import Serverless, serverless
from planner.plan import UNKNOWN, Resource
from planner.rules import Rules

MINIMUM = Rule(
    "quota-holds-minimum",
    "Quotas allow the machines that always run",
    url="https://docs.aws.amazon.com/servicequotas/latest/userguide/request-quota-increase.html",
    remediation="Request the increase, then write what was granted into `rules:parameters`, "
    "`quota-holds-minimum: {granted: {<region>: {<code>: <value>}}}`.",
    parameters={"granted": {}},
)
MAXIMUM = Rule(
    "quota-holds-maximum",
    "Quotas allow every pool to grow to its maximum",
    "warning",
    MINIMUM.url,
    "Request the increase or lower the maximum: the autoscaler asks for machines in vain beyond the quota. "
    "What was granted is read from `quota-holds-minimum: {granted: …}`.",
)

RULES = (MINIMUM, MAXIMUM)


@dataclass(frozen=True)
class Need:
    """What an environment needs of one quota in one region."""

    region: str
    code: str
    min: int
    max: int | None
    """None where nothing limits it."""


def findings(inventory: Inventory, rules: Rules) -> Iterator[Finding]:
    """One finding a region: which quotas are too small, by name and code, and what to request."""
    granted = _granted(rules)
    by_region: dict[str, list[Need]] = defaultdict(list)
    for need in needs(inventory):
        by_region[need.region].append(need)
    for region, own in sorted(by_region.items()):
        at = _resource(inventory, region)
        limits = granted.get(region, {})
        low = [need for need in own if need.min > _limit(need, limits)]
        high = [need for need in own if need not in low and (need.max is None or need.max > _limit(need, limits))]
        for rule, short, severities in (
            (MINIMUM, low, ("error", "warning")),
            (MAXIMUM, high, ("warning", "info")),
        ):
            # A default is only a guess at what the account has: it is told, but fails nobody.
            severity = severities[0 if any(need.code in limits for need in short) else 1]
            if short:
                lines = "; ".join(_line(need, limits) for need in short)
                yield rule.finding(f"{region}: {lines}", at, subject=region, severity=severity)


def needs(inventory: Inventory) -> list[Need]:
    """What the whole environment needs of each quota that the table knows."""
    totals = _Totals()
    for cluster in inventory.clusters:
        for rung in cluster.rungs:
            totals.machines(rung)
    totals.network(inventory)
    for service in serverless(inventory):
        totals.service(service)
    return totals.needs()


def _granted(rules: Rules) -> Mapping[str, Mapping[str, float]]:
    given = rules.parameter(MINIMUM, "granted")
    if not isinstance(given, Mapping):
        return {}
    return {
        region: {code: value for code, value in own.items() if isinstance(value, int | float)}
        for region, own in given.items()
        if isinstance(own, Mapping)
    }


def _limit(need: Need, granted: Mapping[str, float]) -> float:
    return granted.get(need.code, QUOTAS[need.code].default)


def _line(need: Need, granted: Mapping[str, float]) -> str:
    quota = QUOTAS[need.code]
    has = f"{granted[need.code]:g} granted" if need.code in granted else f"{quota.default} by default, as of {AS_OF}"
    most = "without limit" if need.max is None else f"up to {need.max}"
    wanted = f"{need.min}" if need.min == need.max else f"{need.min}, {most}," if need.min else most
    return f"{quota.name} ({need.code}): {wanted} {quota.unit} needed, {has}"


def _resource(inventory: Inventory, region: str) -> Resource | None:
    """Where a region's finding is shown: its first cluster."""
    urn = next((cluster.urn for cluster in inventory.clusters if cluster.region == region), "")
    return inventory.plan.by_urn.get(urn)


class _Totals:
    """Adds up machines and networks, quota by quota."""

    def __init__(self) -> None:
        self._min: Counter[tuple[str, str]] = Counter()
        self._max: Counter[tuple[str, str]] = Counter()
        self._unlimited: set[tuple[str, str]] = set()

    def needs(self) -> list[Need]:
        keys = sorted({*self._min, *self._max, *self._unlimited})
        return [
            Need(*key, self._min[key], None if key in self._unlimited else max(self._max[key], self._min[key]))
            for key in keys
        ]

    def machines(self, rung: Rung) -> None:
        """All machines of a rung. Types that the catalog doesn't know are told of by `machine-is-offered`."""
        amounts: dict[tuple[str, str], list[int]] = defaultdict(list)
        for machine in rung.machines:
            for key, amount in _amounts(rung, machine):
                amounts[key].append(amount)
        for key, each in amounts.items():
            # A rung of several types has its fewest vCPUs with the smallest type, if all are of that quota.
            smallest = min(each) if len(each) == len(rung.machine_types) else 0
            self._add(key, rung.min * smallest, None if rung.max is None else rung.max * max(each))

    def service(self, service: Serverless) -> None:
        """Instances of an endpoint, or GPUs of a service; how many of either, the cloud may be the one to know."""
        if service.instance_type in SAGEMAKER_INSTANCES:
            key, each = (service.region, SAGEMAKER_INSTANCES[service.instance_type]), 1
        elif service.accelerator == "nvidia-l4":
            key, each = (service.region, RUN_L4_ZONAL if service.zonal else RUN_L4), service.accelerators
        else:
            return
        self._add(key, each * (service.min or 0), each * (service.max or service.min or 0))

    def network(self, inventory: Inventory) -> None:
        """Networks, addresses and gateways, which are as many at any size."""
        plan, regions = inventory.plan, inventory.regions
        for type, code in (("aws:ec2/eip:Eip", "L-0263D0A3"), ("aws:ec2/vpc:Vpc", "L-F678F1CE")):
            for resource in plan.of_type(type):
                self._one(regions[resource.urn], code)
        for _ in plan.of_type("gcp:compute/network:Network"):
            self._one(GLOBAL, "NETWORKS")
        self._fullest(
            "L-FE5A380F",
            ((regions[nat.urn], zone) for nat in plan.of_type("aws:ec2/natGateway:NatGateway")
             for subnet in inventory.references(nat, "subnetId", "aws:ec2/subnet:Subnet")
             if isinstance(zone := subnet.inputs.get("availabilityZone"), str) and zone != UNKNOWN),
        )  # fmt: skip
        self._fullest(
            "L-29B6F2EB",
            ((regions[endpoint.urn], vpc.urn) for endpoint in plan.of_type("aws:ec2/vpcEndpoint:VpcEndpoint")
             if endpoint.inputs.get("vpcEndpointType") == "Interface"
             for vpc in inventory.references(endpoint, "vpcId", "aws:ec2/vpc:Vpc")),
        )  # fmt: skip
        self._fullest(
            "L-6D54EA21",
            ((rung.region, cluster.urn) for cluster in inventory.clusters for rung in cluster.rungs
             if rung.manager == "eks"),
        )  # fmt: skip

    def _fullest(self, code: str, places: Iterable[tuple[str, Any]]) -> None:
        """A quota that holds in each zone, network or cluster: the fullest of a region counts."""
        for (region, _), count in Counter(places).items():
            key = (region, code)
            self._min[key] = self._max[key] = max(self._min[key], count)

    def _one(self, region: str, code: str) -> None:
        self._add((region, code), 1, 1)

    def _add(self, key: tuple[str, str], fewest: int, most: int | None) -> None:
        self._min[key] += fewest
        if most is None:
            self._unlimited.add(key)
        else:
            self._max[key] += most


def _amounts(rung: Rung, machine: MachineType | CpuMachine) -> Iterator[tuple[tuple[str, str], int]]:
    """(region, code) and how much of it one machine takes."""
    if machine.cloud == "aws":
        code = _ec2_code(machine.name, rung.kind)
        if code:
            yield (rung.region, code), machine.vcpus
        return
    model = GCP_GPUS.get(machine.gke_accelerator) if isinstance(machine, MachineType) else None
    if model and isinstance(machine, MachineType):
        market = "PREEMPTIBLE_" if rung.kind in ("spot", "flex-start") else ""
        yield (rung.region, f"{market}NVIDIA_{model}_GPUS"), machine.count
        yield (GLOBAL, "GPUS_ALL_REGIONS"), machine.count
    # Spot machines take preemptible vCPUs, where a project has asked for such a quota, and these otherwise.
    if family := GCP_CPUS.get(machine.name.split("-", 1)[0]):
        yield (rung.region, family), machine.vcpus
    yield (GLOBAL, "CPUS_ALL_REGIONS"), machine.vcpus
    if rung.disk_type in ("pd-ssd", "pd-balanced") and rung.disk_gib:
        yield (rung.region, "SSD_TOTAL_GB"), rung.disk_gib


def _ec2_code(machine_type: str, kind: str) -> str:
    found = re.match(r"([a-z]+)(\d*)", machine_type)
    if found is None or kind == "capacity-block" or found[1] not in EC2_GROUPS:
        return ""
    on_demand, spot = EC2_GROUPS[found[1]]
    if kind != "spot":
        return on_demand
    return OLDER_P_SPOT if found[1] == "p" and found[2] in ("2", "3", "4") else spot
