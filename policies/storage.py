"""Data that is kept: who may see it, how it comes back, and what keeps it from being lost."""

from __future__ import annotations

from collections.abc import Iterator

from planner.inventory import Inventory
from planner.plan import UNKNOWN, Resource
from policies import kinds
from policies.declare import Parameters, Violation, at, each, off, on, resource_policy, stack_policy, texts
from policies.lookup import attached, managed, unclear

_BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")


@stack_policy(
    "buckets-are-not-public",
    "No bucket can be made public, by whatever policy or grant",
    risk="critical",
    why="https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html",
    fix="Switch on all four blocks (S3), or set publicAccessPrevention to enforced (Cloud Storage).",
)
def buckets_are_not_public(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    blocks = attached(inventory, "bucket", kinds.S3_BUCKET, kinds.S3_PUBLIC_ACCESS_BLOCK)
    for bucket in managed(inventory, kinds.S3_BUCKET):
        if blocks.lacks(bucket):
            yield Violation("can be made public; expected a BucketPublicAccessBlock", bucket)
        for block in blocks.to(bucket):
            if missing := [name for name in _BLOCKS if off(at(block, name))]:
                yield Violation(f"can be made public; expected {', '.join(missing)}", bucket)
    for bucket in managed(inventory, kinds.GCS_BUCKET):
        if at(bucket, "publicAccessPrevention", "inherited") == "inherited":
            yield Violation("can be made public; expected publicAccessPrevention enforced", bucket)


@stack_policy(
    "buckets-have-one-access-rule",
    "Access to a bucket is told by its policies alone, not object by object",
    risk="medium",
    why="https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html",
    fix="Set objectOwnership to BucketOwnerEnforced (S3), or uniformBucketLevelAccess (Cloud Storage).",
)
def buckets_have_one_access_rule(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    controls = attached(inventory, "bucket", kinds.S3_BUCKET, kinds.S3_OWNERSHIP)
    for bucket in managed(inventory, kinds.S3_BUCKET):
        # Without controls S3 itself enforces the owner, since April 2023.
        for control in controls.to(bucket):
            if at(control, "rule.objectOwnership") in ("BucketOwnerPreferred", "ObjectWriter"):
                yield Violation("lets objects have access rules of their own; expected BucketOwnerEnforced", bucket)
    for bucket in managed(inventory, kinds.GCS_BUCKET):
        if off(at(bucket, "uniformBucketLevelAccess")):
            yield Violation("lets objects have access rules of their own; expected uniformBucketLevelAccess", bucket)


@stack_policy(
    "buckets-keep-versions",
    "An object that is overwritten or deleted can be had back",
    risk="high",
    why="https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html",
    fix="Switch versioning on, and let a lifecycle rule remove old versions.",
)
def buckets_keep_versions(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    versioning = attached(inventory, "bucket", kinds.S3_BUCKET, kinds.S3_VERSIONING)
    for bucket in managed(inventory, kinds.S3_BUCKET):
        states = [at(one, "versioningConfiguration.status", "Disabled") for one in versioning.to(bucket)]
        if versioning.lacks(bucket) or any(state in ("Disabled", "Suspended") for state in states):
            yield Violation("keeps no versions; expected versioning Enabled", bucket)
    for bucket in managed(inventory, kinds.GCS_BUCKET):
        if at(bucket, "versioning") is None or off(at(bucket, "versioning.enabled")):
            yield Violation("keeps no versions; expected versioning.enabled", bucket)


@stack_policy(
    "buckets-have-a-lifecycle",
    "Every bucket says when its objects move to colder storage or go",
    risk="low",
    why="https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lifecycle-mgmt.html",
    fix="Add lifecycle rules: transitions, the end of old versions, and of uploads that were given up.",
)
def buckets_have_a_lifecycle(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    lifecycles = attached(inventory, "bucket", kinds.S3_BUCKET, kinds.S3_LIFECYCLE)
    for bucket in managed(inventory, kinds.S3_BUCKET):
        active = [r for one in lifecycles.to(bucket) for r in each(one, "rules") if at(r, "status") != "Disabled"]
        hidden = any(unclear(at(one, "rules", [])) for one in lifecycles.to(bucket))
        if lifecycles.certain and not active and not hidden:
            yield Violation("has no lifecycle rule", bucket)
    for bucket in managed(inventory, kinds.GCS_BUCKET):
        if at(bucket, "lifecycleRules", []) == []:
            yield Violation("has no lifecycle rule", bucket)


@stack_policy(
    "buckets-have-a-second-copy",
    "What a bucket holds is also in another region",
    level="warning",
    risk="medium",
    why="https://docs.aws.amazon.com/AmazonS3/latest/userguide/replication.html",
    fix="Set storage.cold.replicateTo for the region, or replicate the bucket by other means.",
)
def buckets_have_a_second_copy(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    settings = inventory.plan.of_type(kinds.S3_REPLICATION)
    copies = attached(inventory, "bucket", kinds.S3_BUCKET, kinds.S3_REPLICATION)
    logs = attached(inventory, "targetBucket", kinds.S3_BUCKET, kinds.S3_LOGGING)
    targets = {b.urn for one in settings for b in inventory.references(one, "rules", kinds.S3_BUCKET)}
    # A destination that only the cloud knows may be any of the buckets.
    certain = logs.certain and not any(
        unclear(at(one, "rules")) and not inventory.references(one, "rules", kinds.S3_BUCKET) for one in settings
    )
    for bucket in managed(inventory, kinds.S3_BUCKET):
        if certain and copies.lacks(bucket) and bucket.urn not in targets | logs.by_urn.keys():
            yield Violation("has no copy in another region", bucket)
    jobs = inventory.plan.of_type(kinds.TRANSFER_JOB)
    ends = [f"{spec}.{end}" for spec in ("replicationSpec", "transferSpec") for end in ("gcsDataSource", "gcsDataSink")]
    copied = {b.urn for job in jobs for end in ends for b in inventory.references(job, end, kinds.GCS_BUCKET)}
    certain = all(
        inventory.references(job, end, kinds.GCS_BUCKET) or not unclear(at(job, end, ""))
        for job in jobs
        for end in ends
    )
    for bucket in managed(inventory, kinds.GCS_BUCKET):
        # Dual and multi-regions (EU, US, ASIA, NAM4, …) are two copies by themselves.
        spread = at(bucket, "customPlacementConfig") is not None or "-" not in str(at(bucket, "location", "US"))
        if certain and bucket.urn not in copied and not spread and at(bucket, "location") != UNKNOWN:
            yield Violation("has no copy in another region", bucket)


_STATEFUL = (
    *kinds.DATA_STORES,
    kinds.KMS_KEY,
    kinds.CRYPTO_KEY,
    kinds.EKS_CLUSTER,
    kinds.GKE_CLUSTER,
    kinds.AMP_WORKSPACE,
)


@resource_policy(
    "stateful-resources-are-protected",
    "What cannot be made again is not deleted by a slip of the program",
    types=_STATEFUL,
    risk="high",
    why="https://www.pulumi.com/docs/iac/concepts/options/protect/",
    fix="Set `ai-cloud:protect: true`, or protect=True among the resource's options.",
)
def stateful_resources_are_protected(resource: Resource, _: Parameters) -> Iterator[str]:
    if not resource.protect:
        yield "may be deleted or replaced by any change; expected protect"


_CLOUD_PROTECTION = {
    kinds.EKS_CLUSTER: "deletionProtection",
    kinds.GKE_CLUSTER: "deletionProtection",
    kinds.LOAD_BALANCER: "enableDeletionProtection",
    kinds.FILESTORE: "deletionProtectionEnabled",
    kinds.RDS: "deletionProtection",
    kinds.CLOUD_SQL: "settings.deletionProtectionEnabled",
}


@resource_policy(
    "cloud-refuses-deletion",
    "The cloud refuses to delete clusters, load balancers, file systems, databases and buckets that hold something",
    types=(*_CLOUD_PROTECTION, kinds.S3_BUCKET, kinds.GCS_BUCKET),
    risk="high",
    why="https://docs.aws.amazon.com/eks/latest/userguide/deletion-protection.html",
    fix="Switch the resource's deletion protection on; leave forceDestroy off.",
)
def cloud_refuses_deletion(resource: Resource, _: Parameters) -> Iterator[str]:
    switch = _CLOUD_PROTECTION.get(resource.type)
    if switch and off(at(resource, switch, resource.type == kinds.GKE_CLUSTER)):
        yield f"can be deleted in the console by one click; expected {switch}"
    if not switch and on(at(resource, "forceDestroy")):
        yield "is deleted together with all its objects; expected forceDestroy off"


@stack_policy(
    "file-systems-have-backups",
    "Every file system has backups, or is a cache of a bucket",
    risk="high",
    why="https://docs.aws.amazon.com/efs/latest/ug/automatic-backups.html",
    fix="Add a BackupPolicy (EFS), automaticBackupRetentionDays (FSx) or a backup plan (Filestore).",
)
def file_systems_have_backups(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    policies = attached(inventory, "fileSystemId", kinds.EFS, kinds.EFS_BACKUP)
    selected = {r.urn for s in inventory.plan.of_type(kinds.BACKUP_SELECTION)
                for r in inventory.references(s, "resources", kinds.EFS, kinds.FSX_LUSTRE)}  # fmt: skip
    for efs in managed(inventory, kinds.EFS):
        switched_off = any(at(one, "backupPolicy.status") in ("DISABLED", "DISABLING") for one in policies.to(efs))
        if efs.urn not in selected and (policies.lacks(efs) or switched_off):
            yield Violation("has no backups; expected a BackupPolicy ENABLED", efs)
    repositories = attached(inventory, "fileSystemId", kinds.FSX_LUSTRE, kinds.FSX_REPOSITORY)
    for fsx in managed(inventory, kinds.FSX_LUSTRE):
        scratch = str(at(fsx, "deploymentType", "SCRATCH_1")).startswith("SCRATCH")
        cache = bool(repositories.to(fsx)) or not off(at(fsx, "importPath"))
        days = at(fsx, "automaticBackupRetentionDays", 0)
        if days == 0 and not scratch and not cache and repositories.certain and fsx.urn not in selected:
            yield Violation("has no backups and no bucket behind it; expected automaticBackupRetentionDays", fsx)
    plans = attached(inventory, "resource", kinds.FILESTORE, kinds.BACKUP_PLAN_ASSOCIATION)
    for filestore in managed(inventory, kinds.FILESTORE):
        if plans.lacks(filestore):
            yield Violation("has no backups; expected a BackupPlanAssociation", filestore)


@resource_policy(
    "buckets-have-no-public-grants",
    "No grant on a bucket is for everyone",
    types=(kinds.GCS_MEMBER, kinds.GCS_BINDING),
    risk="critical",
    why="https://cloud.google.com/storage/docs/access-control/iam-roles#allusers",
    fix="Grant to a service account, a group or a workload identity.",
)
def buckets_have_no_public_grants(grant: Resource, _: Parameters) -> Iterator[str]:
    for member in [*texts(grant, "member"), *texts(grant, "members")]:
        if member in ("allUsers", "allAuthenticatedUsers"):
            yield f"grants {at(grant, 'role', 'a role')} to {member}"
