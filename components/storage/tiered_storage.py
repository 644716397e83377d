"""TieredStorage: one region's data in a hot, a warm and a cold tier, on either cloud, mounted by the tier's name."""

from typing import Any, NotRequired, Optional, TypedDict

import pulumi

from components import arguments
from components.storage import aws, gcp, limits, volumes


class HotTierArgs(TypedDict):
    """A parallel file system that every node of the region mounts: FSx for Lustre, Managed Lustre."""

    capacity_gib: int
    """Size. AWS: 1200 or a multiple of 2400. GCP: a multiple of 9000 at 1000 MB/s per TiB, of 18000 at 500, of 36000
    at 250, of 72000 at 125."""
    throughput_mbps_per_tib: NotRequired[int]
    """MB/s for each TiB: 125, 250, 500 or 1000. Default 250 on AWS, and 1000 on GCP, where it has the smallest size."""


class WarmTierArgs(TypedDict):
    """A shared file system for code, environments and small data: EFS, Filestore."""

    capacity_gib: NotRequired[int]
    """Size; default 1024. Filestore is billed by it, in steps of 1 GiB up to 10239 and of 2560 above. EFS has no size:
    there it's just what the claim says."""


class ColdTierArgs(TypedDict):
    """The object store, and how its objects age. All but the deep archive can be read at once, and mounted."""

    infrequent_after_days: NotRequired[int]
    """Age at which objects move to STANDARD_IA or NEARLINE; default 30, which is the least that S3 takes."""
    archive_after_days: NotRequired[int]
    """Age at which they move to GLACIER_IR or COLDLINE; default 90, and at least 30 more than the above."""
    deep_archive_after_days: NotRequired[int]
    """Age at which they move to DEEP_ARCHIVE or ARCHIVE; 90 more than `archive_after_days` at least. Default never: on
    S3 an object must be restored, which takes hours, before a pod or Lustre can read it again."""
    noncurrent_days: NotRequired[int]
    """Days that an overwritten or deleted object can still be brought back; default 90."""
    replicate_to: NotRequired[str]
    """Another region of the same cloud that gets a second bucket with its own key; default none."""
    cache_gib: NotRequired[int]
    """Largest size of a node's local cache of the mounted bucket, for each volume; default 50. It lies on the node's
    ephemeral storage, which is the NVMe RAID where a pool has one."""


class TieredStorageArgs(TypedDict):
    """Arguments of TieredStorage."""

    cloud: str
    """`aws` or `gcp`."""
    region: str
    """Such as `us-east-1` or `europe-west4`."""
    network_id: pulumi.Input[str]
    """VPC id, or `projects/<project>/global/networks/<name>`: RegionalNetwork's output."""
    network_cidr: pulumi.Input[str]
    """The only addresses that may mount the file systems."""
    private_subnet_ids: pulumi.Input[list[str]]
    """AWS: one private subnet a zone, in the order of the zones. Lustre sits in the first."""
    zones: pulumi.Input[list[str]]
    """GCP: zones of the region. Managed Lustre sits in the first."""
    zone_count: NotRequired[int]
    """AWS: how many of the subnets get an EFS mount target; default 3."""
    namespaces: list[str]
    """Kubernetes namespaces that get a claim for each tier, or none where nothing mounts. What makes the namespaces
    goes into the options' `depends_on`."""
    hot: NotRequired[HotTierArgs]
    """Default none: node-local NVMe needs no claim, it's every pod's `emptyDir` on a pool with `local_nvme_raid`."""
    warm: NotRequired[WarmTierArgs]
    """Default none."""
    cold: ColdTierArgs
    """The bucket; there always is one."""
    protect: NotRequired[bool]
    """Refuse to delete whatever holds data or the keys to it; default false."""
    tags: NotRequired[dict[str, str]]
    """Tags on AWS, labels on GCP."""


class TieredStorage(pulumi.ComponentResource):
    """All data of one region, under one encryption key, from the fastest tier to the cheapest.

    - cold: a versioned, private bucket whose objects move to colder classes with age; if asked, a second bucket in
      another region. Pods mount it through Mountpoint for S3 or Cloud Storage FUSE with a cache on the node's disk, as
      their own cloud identity: WorkloadIdentity decides what a pod may read.
    - warm: EFS (elastic throughput) or Filestore (regional).
    - hot: Lustre. On AWS it shows the bucket's tree, loads an object when it's first read and writes changes back. On
      GCP data is copied in and out by import and export jobs.

    In each namespace there is a claim named after each tier, so a pod mounts `claimName: hot`, `warm` or `cold`. Files
    belong to user and group 1000. Pods that write to Lustre or Filestore set `fsGroup: 1000` and
    `fsGroupChangePolicy: OnRootMismatch`; those on GKE that mount `cold` are annotated `gke-gcsfuse/volumes: "true"`.

    The options carry the cluster's Kubernetes provider. ValueError when an argument is none that the cloud accepts.
    """

    bucket: pulumi.Output[str]
    """Name of the cold tier's bucket."""
    bucket_url: pulumi.Output[str]
    """`s3://<bucket>` or `gs://<bucket>`."""
    encryption_key: pulumi.Output[str]
    """ARN of the KMS key, or the id of the crypto key."""
    replica_bucket: pulumi.Output[str]
    """Name of the bucket in the other region; empty without replication."""
    claims: pulumi.Output[dict[str, str]]
    """Tier -> name of its PersistentVolumeClaim, the same in each namespace."""

    def __init__(self, name: str, args: TieredStorageArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        arguments.check(f"TieredStorage {name!r}", args, TieredStorageArgs)
        limits.check(name, args)
        super().__init__("aicloud:index:TieredStorage", name, {**args}, opts)
        build = {"aws": aws.build, "gcp": gcp.build}[args["cloud"]]
        storage = build(self, name, args)
        self._name, self._volumes = name, storage.volumes
        for tier in storage.volumes:
            for namespace in args["namespaces"]:
                self.claim(tier, namespace, opts.depends_on if opts else None)

        self.bucket = pulumi.Output.from_input(storage.bucket)
        self.bucket_url = pulumi.Output.from_input(storage.bucket_url)
        self.encryption_key = pulumi.Output.from_input(storage.encryption_key)
        self.replica_bucket = pulumi.Output.from_input(storage.replica_bucket)
        self.claims = pulumi.Output.from_input({tier: volumes.claim_name(tier) for tier in storage.volumes})
        self.register_outputs(
            {
                "bucket": self.bucket,
                "bucketUrl": self.bucket_url,
                "encryptionKey": self.encryption_key,
                "replicaBucket": self.replica_bucket,
                "claims": self.claims,
            }
        )

    def claim(self, tier: str, namespace: str, after: Any = None) -> None:
        """A claim on a tier in one more namespace, which whoever makes it may need the tiers for: `after` makes it.

        ValueError for a tier that there is none of.
        """
        if tier not in self._volumes:
            raise ValueError(f"TieredStorage {self._name!r}: no tier {tier!r}; it has {', '.join(self._volumes)}")
        volumes.claim(self, self._name, tier, namespace, self._volumes[tier], after=after)
