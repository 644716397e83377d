"""TieredStorage, feature by feature and cloud by cloud."""

from __future__ import annotations

from typing import Any

from tests.components.parity import Feature, NotOffered, Offered, protected, values

S3, ENCRYPTION = "aws:s3/bucket", "aws:s3/bucketServerSideEncryptionConfiguration:"
GCS = "gcp:storage/bucket:"
LUSTRE, FSX = "gcp:lustre/instance:", "aws:fsx/lustreFileSystem:"
VOLUME = "kubernetes:core/v1:PersistentVolume"


def feature(title: str, arguments: str, aws: Any, gcp: Any, **more: Any) -> Feature:
    return Feature("TieredStorage", title, tuple(arguments.split()), aws, gcp, **more)


FEATURES = [
    feature(
        "Cold: versioned, private bucket under an own key",
        "",
        Offered(
            "S3, SSE-KMS",
            lambda p: (
                set(values(p, f"{S3}Versioning:", "versioningConfiguration.status")) == {"Enabled"}
                and set(values(p, f"{S3}PublicAccessBlock:", "restrictPublicBuckets")) == {True}
                and "aws:kms"
                in values(
                    p,
                    f"{S3}ServerSideEncryptionConfiguration:",
                    "rules.applyServerSideEncryptionByDefault.sseAlgorithm",
                )
            ),
        ),
        Offered(
            "Cloud Storage, CMEK",
            lambda p: (
                set(values(p, GCS, "versioning.enabled")) == {True}
                and set(values(p, GCS, "publicAccessPrevention")) == {"enforced"}
                and len(values(p, GCS, "encryption.defaultKmsKeyName")) == 2
            ),
        ),
    ),
    feature(
        "Cold: objects age through the classes",
        "cold.infrequent_after_days cold.archive_after_days cold.deep_archive_after_days",
        Offered(
            "Standard-IA, Glacier Instant Retrieval, Deep Archive",
            lambda p: (
                values(p, f"{S3}LifecycleConfiguration:", "rules.transitions.storageClass", name="-cold")
                == ["STANDARD_IA", "GLACIER_IR", "DEEP_ARCHIVE"]
            ),
        ),
        Offered(
            "Nearline, Coldline, Archive",
            lambda p: (
                values(p, GCS, "lifecycleRules.action.storageClass", name="-cold")
                == ["NEARLINE", "COLDLINE", "ARCHIVE"]
            ),
        ),
    ),
    feature(
        "Cold: undo for deleted objects, clean-up of abandoned uploads",
        "cold.noncurrent_days",
        Offered(
            "lifecycle rules",
            lambda p: (
                values(
                    p, f"{S3}LifecycleConfiguration:", "rules.noncurrentVersionExpiration.noncurrentDays", name="-cold"
                )
                == [45]
            ),
        ),
        Offered(
            "lifecycle rules",
            lambda p: values(p, GCS, "lifecycleRules.condition.daysSinceNoncurrentTime", name="-cold") == [45],
        ),
    ),
    feature(
        "Cold: a second copy in another region",
        "cold.replicate_to",
        Offered(
            "replication with time control",
            lambda p: values(p, f"{S3}ReplicationConfig:", "rules.destination.replicationTime.status") == ["Enabled"],
        ),
        Offered(
            "replication job of Storage Transfer",
            lambda p: len(values(p, "gcp:storage/transferJob:", "replicationSpec")) == 1,
        ),
    ),
    feature(
        "Cold: mounted, with a cache on the node",
        "cold.cache_gib",
        Offered(
            "Mountpoint for S3",
            lambda p: "80Gi" in values(p, VOLUME, "spec.csi.volumeAttributes.cacheEmptyDirSizeLimit"),
        ),
        Offered(
            "Cloud Storage FUSE",
            lambda p: f"file-cache:max-size-mb:{80 * 1024}" in values(p, VOLUME, "spec.mountOptions"),
        ),
    ),
    feature(
        "Warm: shared file system",
        "warm.capacity_gib",
        Offered("EFS, elastic", lambda p: values(p, "aws:efs/fileSystem:", "throughputMode") == ["elastic"]),
        Offered(
            "Filestore, regional",
            lambda p: (
                values(p, "gcp:filestore/instance:", "tier") == ["REGIONAL"]
                and values(p, "gcp:filestore/instance:", "fileShares.capacityGb") == [1024]
            ),
        ),
    ),
    feature(
        "Warm: a backup every night, kept for five weeks",
        "protect",
        Offered(
            "EFS automatic backups", lambda p: values(p, "aws:efs/backupPolicy:", "backupPolicy.status") == ["ENABLED"]
        ),
        Offered(
            "Backup and DR, where the storage is protected",
            lambda p: (
                values(p, "gcp:backupdisasterrecovery/backupPlanAssociation:", "resourceType")
                == ["file.googleapis.com/Instance"]
            ),
        ),
    ),
    feature(
        "Warm: a way in from each zone",
        "zone_count",
        Offered("mount targets", lambda p: len(values(p, "aws:efs/mountTarget:")) == 3),
        Offered("regional address", lambda p: values(p, "gcp:filestore/instance:", "location") == ["europe-west4"]),
    ),
    feature(
        "Hot: Lustre at a chosen throughput",
        "hot.capacity_gib hot.throughput_mbps_per_tib",
        Offered("FSx for Lustre", lambda p: values(p, FSX, "perUnitStorageThroughput") == [500]),
        Offered("Managed Lustre", lambda p: values(p, LUSTRE, "perUnitStorageThroughput") == ["500"]),
    ),
    feature(
        "Hot: any size in steps of 2,400 GiB",
        "hot.capacity_gib",
        Offered("FSx for Lustre", lambda p: values(p, FSX, "storageCapacity") == [2400]),
        NotOffered(
            "Managed Lustre has steps of 9,000 GiB and more",
            lambda args: {**args, "hot": {"capacity_gib": 2400}},
            "hot.capacity_gib is 2400",
        ),
        change=lambda args: {**args, "hot": {"capacity_gib": 2400}},
    ),
    feature(
        "Hot: shows the bucket, and writes back to it",
        "",
        Offered(
            "data repository association",
            lambda p: values(p, "aws:fsx/dataRepositoryAssociation:", "batchImportMetaDataOnCreate") == [True],
        ),
        NotOffered("Managed Lustre has no link to a bucket; copy with import and export jobs"),
    ),
    feature(
        "Hot: own key",
        "",
        Offered("KMS", lambda p: len(values(p, FSX, "kmsKeyId")) == 1),
        NotOffered("GKE cannot mount a Managed Lustre that has a key of its own"),
    ),
    feature(
        "A claim for each tier, in each namespace",
        "namespaces",
        *[
            Offered(
                "persistent volume claims",
                lambda p: (
                    set(values(p, "kubernetes:core/v1:PersistentVolumeClaim", "metadata.name"))
                    == {"hot", "warm", "cold"}
                ),
            )
        ]
        * 2,
    ),
    feature(
        "Protected data and keys",
        "protect",
        Offered(
            "Pulumi's protection",
            lambda p: protected(p, f"{S3}:Bucket", "aws:efs/fileSystem:FileSystem", "aws:kms/key:Key"),
        ),
        Offered(
            "Pulumi's protection, and the cloud's for Filestore",
            lambda p: (
                protected(p, "gcp:storage/bucket:Bucket", "gcp:filestore/instance:Instance")
                and values(p, "gcp:filestore/instance:", "deletionProtectionEnabled") == [True]
            ),
        ),
    ),
]
