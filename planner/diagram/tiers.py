"""Storage of a plan by tier: file systems and buckets, what each is a second copy of, and who reads from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from planner.inventory.inventory import Inventory
from planner.inventory.references import at, items, texts
from planner.plan import UNKNOWN, Resource

HOT = {
    "aws:fsx/lustreFileSystem:LustreFileSystem": "FSx for Lustre",
    "gcp:lustre/instance:Instance": "Managed Lustre",
    "gcp:parallelstore/instance:Instance": "Parallelstore",
}
WARM = {
    "aws:efs/fileSystem:FileSystem": "EFS",
    "aws:fsx/openZfsFileSystem:OpenZfsFileSystem": "FSx for OpenZFS",
    "aws:fsx/ontapFileSystem:OntapFileSystem": "FSx for ONTAP",
    "gcp:filestore/instance:Instance": "Filestore",
}
COLD = {
    "aws:s3/bucket:Bucket": "S3",
    "aws:s3/bucketV2:BucketV2": "S3",
    "gcp:storage/bucket:Bucket": "Cloud Storage",
}
TIERS: Mapping[str, Mapping[str, str]] = {"hot": HOT, "warm": WARM, "cold": COLD}
"""Tier -> type of resource -> the cloud's name for it."""

_S3_LIFECYCLE = (
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    "aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2",
)
_S3_REPLICATION = "aws:s3/bucketReplicationConfig:BucketReplicationConfig"
_S3_LOGGING = ("aws:s3/bucketLogging:BucketLogging", "aws:s3/bucketLoggingV2:BucketLoggingV2")
_GCS_TRANSFER = "gcp:storage/transferJob:TransferJob"
_REPOSITORY = "aws:fsx/dataRepositoryAssociation:DataRepositoryAssociation"

_CLASSES = {
    "STANDARD_IA": "Infrequent",
    "ONEZONE_IA": "One Zone",
    "INTELLIGENT_TIERING": "Intelligent",
    "GLACIER_IR": "Glacier IR",
    "GLACIER": "Glacier",
    "DEEP_ARCHIVE": "Deep Archive",
    "NEARLINE": "Nearline",
    "COLDLINE": "Coldline",
    "ARCHIVE": "Archive",
}


@dataclass(frozen=True)
class Store:
    """A file system or a bucket."""

    urn: str
    name: str
    tier: str
    """hot, warm or cold."""
    region: str
    service: str
    """The cloud's name for it."""
    size: str
    """Such as `36,000 GiB`; empty where it grows by itself."""
    ages: tuple[tuple[str, str], ...]
    """What its objects become with age, such as `Glacier IR`, `after 90 days`."""
    copy_of: tuple[str, ...] = ()
    """URNs of the stores that are replicated to it."""
    fed_by: tuple[str, ...] = ()
    """URNs of the buckets that it reads its files from."""


def stores(inventory: Inventory) -> tuple[Store, ...]:
    """Every file system and bucket, except buckets that only take logs."""
    plan = inventory.plan
    logs = {
        urn for logging in plan.of_type(*_S3_LOGGING) for urn in _buckets(inventory, logging, "targetBucket")
    }  # fmt: skip
    copies: dict[str, list[str]] = {}
    for source, target in _replications(inventory):
        copies.setdefault(target, []).append(source)
    feeds: dict[str, list[str]] = {}
    for association in plan.of_type(_REPOSITORY):
        for system in inventory.references(association, "fileSystemId", *HOT):
            feeds.setdefault(system.urn, []).extend(_buckets(inventory, association, "dataRepositoryPath"))
    ages: dict[str, tuple[tuple[str, str], ...]] = {}
    for lifecycle in plan.of_type(*_S3_LIFECYCLE):
        for urn in _buckets(inventory, lifecycle, "bucket"):
            ages[urn] = tuple(_s3_ages(lifecycle))
    return tuple(
        Store(
            urn=resource.urn,
            name=resource.name,
            tier=tier,
            region=inventory.regions[resource.urn],
            service=services[resource.type],
            size=_size(resource),
            ages=ages.get(resource.urn) or tuple(_gcs_ages(resource)),
            copy_of=tuple(copies.get(resource.urn, ())),
            fed_by=tuple(feeds.get(resource.urn, ())),
        )
        for tier, services in TIERS.items()
        for resource in plan.of_type(*services)
        if resource.urn not in logs
    )


def read_by(inventory: Inventory, resource: Resource, found: Mapping[str, Store]) -> Iterator[str]:
    """URNs of the stores that a Kubernetes object's spec names, by value or by what it depends on."""
    named = dict.fromkeys(urn for urn in resource.property_dependencies.get("spec", ()) if urn in found)
    spec = " ".join(text for text in texts(resource.inputs.get("spec")))
    for urn in found:
        bucket = inventory.plan.by_urn[urn].outputs.get("bucket") or inventory.plan.by_urn[urn].outputs.get("name")
        if isinstance(bucket, str) and len(bucket) > 3 and bucket != UNKNOWN and f"://{bucket}" in spec:
            named.setdefault(urn)
    yield from named


def _buckets(inventory: Inventory, resource: Resource, path: str) -> list[str]:
    """URNs of the buckets that a property names: by name, ARN or `s3://` path."""
    found = inventory.references(resource, path, *COLD)
    value = at(resource.inputs, path)
    if not found and isinstance(value, str) and "://" in value:
        name = value.split("://", 1)[1].split("/")[0]
        found = [r for r in inventory.plan.of_type(*COLD) if name and name in (r.id, r.outputs.get("bucket"))]
    return [bucket.urn for bucket in found]


def _replications(inventory: Inventory) -> Iterator[tuple[str, str]]:
    """(source, target) of every replication between buckets of the plan."""
    for replication in inventory.plan.of_type(_S3_REPLICATION):
        sources = _buckets(inventory, replication, "bucket")
        targets = _buckets(inventory, replication, "rules")
        yield from ((source, target) for source in sources for target in targets if source != target)
    for job in inventory.plan.of_type(_GCS_TRANSFER):
        for spec, kind in (("replicationSpec", "gcsDataSource"), ("transferSpec", "gcsDataSource")):
            sources = _buckets(inventory, job, f"{spec}.{kind}.bucketName")
            targets = _buckets(inventory, job, f"{spec}.gcsDataSink.bucketName")
            yield from _pairs(sources, targets)


def _pairs(sources: list[str], targets: list[str]) -> Iterator[tuple[str, str]]:
    """Sources with targets. With unknown names both sides are all buckets that the property depends on: a job makes
    its second copy after its first, and the copy says so in its name."""
    if set(sources) == set(targets) and len(sources) == 2:
        first, second = sorted(sources, key=lambda urn: "replica" in urn.rsplit("::", 1)[-1])
        yield first, second
        return
    yield from ((source, target) for source in sources for target in targets if source != target)


def _size(resource: Resource) -> str:
    given = resource.inputs
    shares = items(given, "fileShares")
    raw: Any = next(
        (
            value
            for value in (
                given.get("storageCapacity"),
                given.get("storageCapacityGib"),
                given.get("capacityGib"),
                shares[0].get("capacityGb") if shares and isinstance(shares[0], Mapping) else None,
            )
            if value not in (None, UNKNOWN)
        ),
        None,
    )
    try:
        return f"{int(raw):,} GiB" if raw is not None else ""
    except (TypeError, ValueError):
        return ""


def _s3_ages(lifecycle: Resource) -> Iterator[tuple[str, str]]:
    for rule in items(lifecycle.inputs, "rules"):
        if isinstance(rule, Mapping) and rule.get("status") != "Disabled":
            for step in items(rule, "transitions"):
                yield from _age(at(step, "storageClass"), at(step, "days"))


def _gcs_ages(bucket: Resource) -> Iterator[tuple[str, str]]:
    for rule in items(bucket.inputs, "lifecycleRules"):
        if at(rule, "action.type") == "SetStorageClass":
            yield from _age(at(rule, "action.storageClass"), at(rule, "condition.age"))


def _age(name: Any, days: Any) -> Iterator[tuple[str, str]]:
    if isinstance(name, str) and name != UNKNOWN and isinstance(days, int | float):
        yield _CLASSES.get(name, name), f"after {int(days)} days"
