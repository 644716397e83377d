"""What storage costs: buckets by class, file systems by tier, volumes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from planner.cost.model import Amount, Line, Unpriced
from planner.cost.pools import first
from planner.cost.reader import Reader, by_age, number, text
from planner.inventory.references import at, items, mapping
from planner.plan import UNKNOWN, Resource

S3 = ("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2")
S3_LIFECYCLE = (
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    "aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2",
)
GCS = "gcp:storage/bucket:Bucket"
FILE_SYSTEM = "aws:efs/fileSystem:FileSystem"

Found = Iterator[Line | Unpriced]


def s3_bucket(reader: Reader, bucket: Resource) -> Found:
    """A bucket's data by storage class, and the requests that write, read and move it."""
    transitions: list[tuple[float, str]] = []
    for lifecycle in reader.referring(S3_LIFECYCLE, "bucket", S3).get(bucket.urn, ()):
        for rule in items(lifecycle.inputs, "rules"):
            if isinstance(rule, Mapping) and rule.get("status") != "Disabled":
                transitions += _transitions(items(rule, "transitions"), "days", "storageClass")
    for rule in items(bucket.inputs, "lifecycleRules"):
        if isinstance(rule, Mapping) and rule.get("enabled") is not False:
            transitions += _transitions(items(rule, "transitions"), "days", "storageClass")
    yield from _bucket(reader, bucket, "s3", transitions, "standard", thousand=1_000)


def gcs_bucket(reader: Reader, bucket: Resource) -> Found:
    """As `s3_bucket`."""
    transitions = []
    for rule in items(bucket.inputs, "lifecycleRules"):
        storage_class = text(at(rule, "action.storageClass"))
        days = number(at(rule, "condition.age"))
        if storage_class and days is not None:
            transitions.append((days, storage_class.lower()))
    start = text(bucket.inputs.get("storageClass"), "STANDARD").lower()
    yield from _bucket(reader, bucket, "gcs", transitions, start, thousand=10_000)


def _bucket(
    reader: Reader, bucket: Resource, kind: str, transitions: list[tuple[float, str]], start: str, *, thousand: int
) -> Found:
    assumed = reader.assumptions
    is_log = bucket.name.endswith(("-logs", "-log")) or "access-log" in bucket.name
    stored, key = (assumed.logBucketGib, "logBucketGib") if is_log else (assumed.coldGib, "coldGib")
    by: dict[str, Any] = {"kind": "storage", "tier": "cold", "assumption": key}
    for storage_class, share in by_age(transitions, start, assumed.dataAgeDays).items():
        service = f"{kind}-{storage_class}"
        yield from reader.line(bucket, service, stored.times(share), f"objects, {storage_class}", **by)
    objects = stored.times(1024 / assumed.objectMib)
    changed = objects.times(assumed.monthlyChange / thousand)
    reads = objects.times(assumed.readsPerObject / thousand)
    yield from reader.line(bucket, f"{kind}-write", changed, "objects written", **by)
    yield from reader.line(bucket, f"{kind}-read", reads, "objects read", **by)
    for days, storage_class in transitions:
        if days < assumed.dataAgeDays:
            service = f"{kind}-transition-{storage_class}"
            yield from reader.line(bucket, service, changed, f"objects moved to {storage_class}", **by)


def _transitions(raw: list[Any], days: str, storage_class: str) -> list[tuple[float, str]]:
    found = []
    for transition in raw:
        after, name = number(at(transition, days), 0.0), text(at(transition, storage_class))
        if after is not None and name:
            found.append((after, name.lower().replace("_", "-")))
    return found


def s3_replication(reader: Reader, resource: Resource) -> Found:
    """What is copied to another region, and the guarantee of how soon."""
    assumed = reader.assumptions
    copied = assumed.coldGib.times(assumed.monthlyChange)
    here = reader.inventory.regions.get(resource.urn, "global")
    named = resource.property_dependencies.get("rules", ())
    there = {reader.inventory.regions.get(urn) for urn in named if urn in reader.plan.by_urn
             and reader.plan.by_urn[urn].type in S3}  # fmt: skip
    by: dict[str, Any] = {"kind": "traffic", "assumption": "coldGib"}
    if there != {here}:
        to = ", ".join(sorted(place.partition(":")[2] for place in there if place)) or "not in the plan"
        yield from reader.line(resource, "between-regions", copied, f"copies to another region ({to})", **by)
    if any(at(rule, "destination.replicationTime.status") == "Enabled" for rule in items(resource.inputs, "rules")):
        service = "s3-replication-time-control"
        yield from reader.line(resource, service, copied, "copies within 15 minutes", **by)


def gcs_replication(reader: Reader, resource: Resource) -> Found:
    """A transfer job between buckets: its data crosses regions; the transfer itself is free inside Google Cloud."""
    copied = reader.assumptions.coldGib.times(reader.assumptions.monthlyChange)
    yield from reader.line(resource, "between-regions", copied, "copies to another region", kind="traffic",
                           assumption="coldGib")  # fmt: skip


def efs(reader: Reader, resource: Resource) -> Found:
    """A file system that is paid by what is in it, by class; its throughput; its backups."""
    assumed, inputs = reader.assumptions, resource.inputs
    transitions = []
    for policy in items(inputs, "lifecyclePolicies"):
        for key, storage_class in (("transitionToIa", "efs-ia"), ("transitionToArchive", "efs-archive")):
            after = text(at(policy, key)).removeprefix("AFTER_").split("_")[0]
            if after.isdigit():
                transitions.append((float(after), storage_class))
    start = "efs-one-zone" if text(inputs.get("availabilityZoneName")) else "efs-standard"
    by: dict[str, Any] = {"kind": "storage", "tier": "warm"}
    for service, share in by_age(transitions, start, assumed.warmAgeDays).items():
        what = f"files, {service.removeprefix('efs-')}"
        yield from reader.line(resource, service, assumed.warmGib.times(share), what, assumption="warmGib", **by)
    mode = inputs.get("throughputMode", "bursting")
    if mode == "elastic":
        yield from reader.line(
            resource, "efs-elastic-read", assumed.warmReadGib, "reads", assumption="warmReadGib", **by
        )
        yield from reader.line(
            resource, "efs-elastic-write", assumed.warmWriteGib, "writes", assumption="warmWriteGib", **by
        )
    elif mode == "provisioned":
        throughput = number(inputs.get("provisionedThroughputInMibps"))
        yield from reader.line(resource, "efs-provisioned-throughput", throughput, "provisioned throughput", **by)


def efs_backup(reader: Reader, resource: Resource) -> Found:
    """Daily backups of a file system hold about what it holds."""
    if at(resource.inputs, "backupPolicy.status") == "ENABLED":
        by: dict[str, Any] = {"kind": "storage", "tier": "warm", "assumption": "warmGib"}
        yield from reader.line(resource, "efs-backup", reader.assumptions.warmGib, "backups", **by)


def fsx_lustre(reader: Reader, resource: Resource) -> Found:
    """A Lustre file system: capacity at the price of its throughput, more metadata operations, backups."""
    inputs = resource.inputs
    size = number(inputs.get("storageCapacity"))
    deployment = text(inputs.get("deploymentType"), "SCRATCH_1").lower().replace("_", "-")
    throughput = number(inputs.get("perUnitStorageThroughput"), 0)
    service = f"fsx-lustre-{deployment}-{throughput or 0:.0f}"
    if deployment.startswith("scratch"):
        service = "fsx-lustre-scratch"
    by: dict[str, Any] = {"kind": "storage", "tier": "hot"}
    what = f"Lustre, {deployment}" + (f", {throughput:.0f} MB/s a TiB" if throughput else "")
    yield from reader.line(resource, service, size, what, **by)
    if at(inputs, "metadataConfiguration.mode") == "USER_PROVISIONED":
        operations = number(at(inputs, "metadataConfiguration.iops"))
        yield from reader.line(resource, "fsx-lustre-metadata-iops", operations, "metadata operations", **by)
    if number(inputs.get("automaticBackupRetentionDays"), 0):
        quantity = Amount(0, size / 2, size) if size is not None else None
        yield from reader.line(resource, "fsx-lustre-backup", quantity, "backups, half full on average", **by)


_FILESTORE = {
    "STANDARD": "basic-hdd",
    "BASIC_HDD": "basic-hdd",
    "PREMIUM": "basic-ssd",
    "BASIC_SSD": "basic-ssd",
    "HIGH_SCALE_SSD": "zonal",
    "ZONAL": "zonal",
    "REGIONAL": "regional",
    "ENTERPRISE": "enterprise",
}


def filestore(reader: Reader, resource: Resource) -> Found:
    """Capacity by service tier, used or not."""
    tier = text(resource.inputs.get("tier"))
    size = number(first(resource.inputs, "fileShares").get("capacityGb"))
    service = f"filestore-{_FILESTORE.get(tier, tier.lower() or 'of an unknown tier')}"
    what = f"Filestore, {tier.lower().replace('_', ' ')}"
    yield from reader.line(resource, service, size, what, kind="storage", tier="warm")


def gcp_lustre(reader: Reader, resource: Resource) -> Found:
    """Capacity at the price of its throughput."""
    throughput = number(resource.inputs.get("perUnitStorageThroughput"))
    size = number(resource.inputs.get("capacityGib"))
    service = f"lustre-{throughput:.0f}" if throughput else "lustre"
    what = f"Lustre, {throughput or 0:.0f} MB/s a TiB"
    yield from reader.line(resource, service, size, what, kind="storage", tier="hot")


def ebs_volume(reader: Reader, resource: Resource) -> Found:
    """A volume outside Kubernetes."""
    yield from ebs(reader, resource, resource.inputs)


def ebs(reader: Reader, resource: Resource, inputs: Mapping[str, Any], machines: Amount | None = None) -> Found:
    """An EBS volume, or one for each machine, from its block of properties."""
    each = machines or Amount.of(1.0)
    kind = text(inputs.get("volumeType") or inputs.get("type"), "gp2")
    size = number(inputs.get("volumeSize", inputs.get("size")), 8.0)
    by: dict[str, Any] = {"kind": "storage", "tier": "disk"}
    yield from reader.line(
        resource, f"ebs-{kind}", each.times(size) if size is not None else None, f"disk, {kind}", **by
    )
    operations = number(inputs.get("iops"), 0.0) or 0.0
    throughput = number(inputs.get("throughput"), 0.0) or 0.0
    if kind == "gp3" and operations > 3000:
        yield from reader.line(resource, "ebs-gp3-iops", each.times(operations - 3000), "disk operations", **by)
    if kind == "gp3" and throughput > 125:
        yield from reader.line(resource, "ebs-gp3-throughput", each.times(throughput - 125), "disk throughput", **by)
    if kind in ("io1", "io2") and operations:
        yield from reader.line(resource, "ebs-io-iops", each.times(operations), "disk operations", **by)


def gcp_disk(reader: Reader, resource: Resource) -> Found:
    """A disk outside Kubernetes."""
    kind = text(resource.inputs.get("type"), "pd-standard").rsplit("/", 1)[-1]
    size = number(resource.inputs.get("size"))
    yield from reader.line(resource, kind, size, f"disk, {kind}", kind="storage", tier="disk")


def claim(reader: Reader, resource: Resource) -> Found:
    """A volume that the cluster makes for a claim; a claim on a volume that is there already costs nothing more."""
    spec = mapping(resource.inputs, "spec")
    if not spec.get("volumeName") and spec.get("storageClassName") != "":
        yield from _volume(reader, resource, spec, 1)


def volume_claims(reader: Reader, resource: Resource) -> Found:
    """The volumes of a StatefulSet, one for each replica."""
    replicas = number(at(resource.inputs, "spec.replicas"), 1.0)
    for template in items(resource.inputs, "spec.volumeClaimTemplates"):
        yield from _volume(reader, resource, mapping(template, "spec"), replicas)


def _volume(reader: Reader, resource: Resource, spec: Mapping[str, Any], count: float | None) -> Found:
    name = text(spec.get("storageClassName"))
    cluster = reader.inventory.cluster_of(resource)
    classes = [
        found
        for found in reader.plan.of_type("kubernetes:storage.k8s.io/v1:StorageClass")
        if reader.inventory.cluster_of(found) == cluster
        and (at(found.inputs, "metadata.name") == name if name else _is_default(found))
    ]
    provisioner = text(classes[0].inputs.get("provisioner")) if classes else ""
    kind = text(at(classes[0].inputs, "parameters.type")) if classes else ""
    if provisioner == "ebs.csi.aws.com" or (not classes and name in ("gp2", "gp3")):
        service = f"ebs-{kind or name or 'gp3'}" if kind or not classes else "ebs-gp3"
    elif provisioner == "pd.csi.storage.gke.io":
        service = kind or "pd-standard"
    else:
        yield reader.unpriced(resource, f"no price for a volume of the storage class {name or '(default)'}")
        return
    size = gib(at(spec, "resources.requests.storage"))
    quantity = size * count if size is not None and count is not None else None
    yield from reader.line(resource, service, quantity, "volume claimed in the cluster", kind="storage", tier="disk")


def _is_default(storage_class: Resource) -> bool:
    annotations = mapping(storage_class.inputs, "metadata.annotations")
    return annotations.get("storageclass.kubernetes.io/is-default-class") == "true"


_UNITS = {"Ki": 2**-20, "Mi": 2**-10, "Gi": 1.0, "Ti": 2.0**10, "Pi": 2.0**20,
          "k": 1e3 / 2**30, "M": 1e6 / 2**30, "G": 1e9 / 2**30, "T": 1e12 / 2**30, "P": 1e15 / 2**30}  # fmt: skip


def gib(quantity: Any) -> float | None:
    """A Kubernetes quantity of storage, such as `100Gi`, in GiB; None where it is none."""
    written = str(quantity)
    if quantity is None or UNKNOWN in written:
        return None
    for unit, factor in _UNITS.items():
        if written.endswith(unit):
            value = number(written.removesuffix(unit))
            return value * factor if value is not None else None
    value = number(written)
    return value / 2**30 if value is not None else None


def gcp_backup(reader: Reader, resource: Resource) -> Found:
    """What a backup plan keeps of a resource: of a file system about what it holds."""
    kind = text(resource.inputs.get("resourceType"))
    if kind != "file.googleapis.com/Instance":
        yield reader.unpriced(resource, f"no price for backups of {kind or 'an unknown kind of resource'}")
        return
    by: dict[str, Any] = {"kind": "storage", "tier": "warm", "assumption": "warmGib"}
    yield from reader.line(resource, "filestore-backup", reader.assumptions.warmGib, "backups", **by)


HANDLERS = {
    **dict.fromkeys(S3, s3_bucket),
    GCS: gcs_bucket,
    "aws:s3/bucketReplicationConfig:BucketReplicationConfig": s3_replication,
    "gcp:storage/transferJob:TransferJob": gcs_replication,
    FILE_SYSTEM: efs,
    "aws:efs/backupPolicy:BackupPolicy": efs_backup,
    "aws:fsx/lustreFileSystem:LustreFileSystem": fsx_lustre,
    "gcp:filestore/instance:Instance": filestore,
    "gcp:lustre/instance:Instance": gcp_lustre,
    "gcp:backupdisasterrecovery/backupPlanAssociation:BackupPlanAssociation": gcp_backup,
    "aws:ebs/volume:Volume": ebs_volume,
    "gcp:compute/disk:Disk": gcp_disk,
    "kubernetes:core/v1:PersistentVolumeClaim": claim,
    "kubernetes:apps/v1:StatefulSet": volume_claims,
}
