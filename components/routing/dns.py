"""The domain's records: which cloud's entry a client is told, and when it is no longer told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

import pulumi
import pulumi_aws as aws

from components.routing.front import FrontDoorRegion
from components.tags import aws_tags

TTL = 60
"""Seconds; what Route 53 recommends at most for records with health checks."""

CHECK_INTERVAL = 10
"""Seconds between two checks from each of Route 53's checkers."""

CHECK_FAILURES = 3
"""Checks in a row that must fail."""

NEAREST_AWS_REGIONS: Mapping[str, tuple[str, ...]] = {
    "africa-south1": ("af-south-1",),
    "asia-east1": ("ap-east-2", "ap-east-1"),
    "asia-east2": ("ap-east-1", "ap-east-2"),
    "asia-northeast1": ("ap-northeast-1", "ap-northeast-3"),
    "asia-northeast2": ("ap-northeast-3", "ap-northeast-1"),
    "asia-northeast3": ("ap-northeast-2", "ap-northeast-3"),
    "asia-south1": ("ap-south-1", "ap-south-2"),
    "asia-south2": ("ap-south-1", "ap-south-2"),
    "asia-southeast1": ("ap-southeast-1", "ap-southeast-5"),
    "asia-southeast2": ("ap-southeast-3", "ap-southeast-1"),
    "australia-southeast1": ("ap-southeast-2", "ap-southeast-4"),
    "australia-southeast2": ("ap-southeast-4", "ap-southeast-2"),
    "europe-central2": ("eu-central-1", "eu-north-1"),
    "europe-north1": ("eu-north-1",),
    "europe-southwest1": ("eu-south-2", "eu-west-3"),
    "europe-west1": ("eu-west-3", "eu-central-1", "eu-west-2"),
    "europe-west2": ("eu-west-2", "eu-west-3", "eu-west-1"),
    "europe-west3": ("eu-central-1", "eu-central-2"),
    "europe-west4": ("eu-central-1", "eu-west-2", "eu-west-3"),
    "europe-west6": ("eu-central-2", "eu-central-1"),
    "europe-west8": ("eu-south-1", "eu-central-2"),
    "europe-west9": ("eu-west-3", "eu-west-2"),
    "europe-west12": ("eu-south-1", "eu-central-2"),
    "me-central1": ("me-south-1", "me-central-1"),
    "me-west1": ("il-central-1",),
    "northamerica-northeast1": ("ca-central-1", "us-east-1"),
    "northamerica-northeast2": ("ca-central-1", "us-east-2"),
    "southamerica-east1": ("sa-east-1",),
    "us-central1": ("us-east-2", "us-west-2", "us-east-1"),
    "us-east1": ("us-east-1", "us-east-2"),
    "us-east4": ("us-east-1", "us-east-2"),
    "us-east5": ("us-east-2", "us-east-1"),
    "us-south1": ("us-east-2", "us-east-1", "us-west-1"),
    "us-west1": ("us-west-2", "us-west-1"),
    "us-west2": ("us-west-1", "us-west-2"),
    "us-west3": ("us-west-1", "us-west-2"),
    "us-west4": ("us-west-1", "us-west-2"),
}
"""GCP region -> AWS regions, nearest first by distance, for Route 53 knows latencies to AWS regions only.
Places: https://cloud.google.com/compute/docs/regions-zones and
https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html (both November 2026)."""


@dataclass(frozen=True)
class Entry:
    """Where one cloud takes requests in, worldwide."""

    addresses: pulumi.Output[list[str]]
    check_name: Optional[pulumi.Output[str]]
    """Host that health checks ask, or None to ask the address under the domain's own name."""
    alias_name: Optional[pulumi.Output[str]] = None
    alias_zone: Optional[pulumi.Output[str]] = None


@dataclass(frozen=True)
class RecordPlan:
    """One record of the set: a region's share of the domain."""

    key: str
    cloud: str
    latency_region: str = ""
    """AWS region whose latency stands for this one's; empty in a weighted set."""
    weight: int = 0
    """In a weighted set."""


def latency_records(regions: Sequence[FrontDoorRegion], where: str) -> list[RecordPlan]:
    """One record for each region that isn't drained, each with an AWS region of its own.

    Route 53 takes one latency record for an AWS region, so a GCP region beside an AWS region that is also in use gets
    the next nearest. Drained regions keep theirs taken: draining must not move the others. ValueError, naming `where`,
    for a GCP region that isn't in the table or has no AWS region left.
    """
    taken = {region.region: region.key for region in regions if region.cloud == "aws"}
    for region in regions:
        if region.cloud == "aws":
            continue
        if region.region not in NEAREST_AWS_REGIONS:
            raise ValueError(
                f"{where}: regions: {region.key}: no nearest AWS region known; expected one of "
                f"{', '.join(NEAREST_AWS_REGIONS)}, or routing_policy 'weighted'"
            )
        nearest = NEAREST_AWS_REGIONS[region.region]
        free = next((candidate for candidate in nearest if candidate not in taken), None)
        if free is None:
            holders = ", ".join(f"{candidate} ({taken[candidate]})" for candidate in nearest)
            raise ValueError(
                f"{where}: regions: {region.key}: every AWS region near it already has a latency record: {holders}; "
                "use routing_policy 'weighted'"
            )
        taken[free] = region.key
    nearest_of = {key: aws_region for aws_region, key in taken.items()}
    return [
        RecordPlan(region.key, region.cloud, latency_region=nearest_of[region.key])
        for region in regions
        if not region.drained
    ]


def weighted_records(regions: Sequence[FrontDoorRegion]) -> list[RecordPlan]:
    """One record for each region that isn't drained.

    A drained region has no record rather than weight 0: when all others are unhealthy, Route 53 answers with those of
    weight 0. https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/health-checks-how-route-53-chooses-records.html
    """
    return [RecordPlan(region.key, region.cloud, weight=region.weight) for region in regions if not region.drained]


def publish(
    parent: pulumi.Resource,
    name: str,
    domain: str,
    zone: pulumi.Input[str],
    entries: Mapping[str, Entry],
    plans: Sequence[RecordPlan],
    health_path: str,
    tags: Mapping[str, str],
) -> None:
    """The records of `domain`: plain with one cloud's entry, with health checks and a set by region with two."""
    child = pulumi.ResourceOptions(parent=parent)
    if len(entries) == 1:
        (entry,) = entries.values()
        aws.route53.Record(name, zone_id=zone, name=domain, type="A", **_answer(entry), opts=child)
        return
    checks = {
        cloud: _health_check(f"{name}-{cloud}", domain, entry, health_path, tags, child)
        for cloud, entry in entries.items()
    }
    for plan in plans:
        aws.route53.Record(
            f"{name}-{plan.key.replace(':', '-')}",
            zone_id=zone,
            name=domain,
            type="A",
            set_identifier=plan.key,
            latency_routing_policies=[{"region": plan.latency_region}] if plan.latency_region else None,
            weighted_routing_policies=None if plan.latency_region else [{"weight": plan.weight}],
            health_check_id=checks[plan.cloud].id,
            **_answer(entries[plan.cloud]),
            opts=child,
        )


def _answer(entry: Entry) -> dict[str, object]:
    if entry.alias_name is None:
        return {"ttl": TTL, "records": entry.addresses}
    # The accelerator's own health is that of whole regions; the health check beside the record asks for more.
    return {"aliases": [{"name": entry.alias_name, "zone_id": entry.alias_zone, "evaluate_target_health": False}]}


def _health_check(
    name: str, domain: str, entry: Entry, path: str, tags: Mapping[str, str], opts: pulumi.ResourceOptions
) -> aws.route53.HealthCheck:
    """Asks the inference server itself, all the way through the cloud's entry.

    One for a cloud, not for a region: behind an entry each cloud moves requests between its regions by its own checks,
    which ask the same path. What DNS has to find out is whether the entry as a whole still answers.
    """
    return aws.route53.HealthCheck(
        name,
        type="HTTPS",
        fqdn=entry.check_name or domain,
        ip_address=None if entry.check_name else entry.addresses[0],
        port=443,
        enable_sni=True,
        resource_path=path,
        request_interval=CHECK_INTERVAL,
        failure_threshold=CHECK_FAILURES,
        measure_latency=True,
        tags=aws_tags(tags, name),
        opts=opts,
    )
