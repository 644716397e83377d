"""TieredStorage on GCP: Cloud Storage and Filestore under one key of Cloud KMS, and Managed Lustre."""

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_gcp as gcp

from components.storage import gcs, limits
from components.storage.volumes import OWNER, Storage, Volume
from components.tags import gcp_labels

SHARE = "share"
"""Name of Filestore's file share."""

FILESTORE = "file.googleapis.com/Instance"
"""What Backup and DR calls a Filestore instance."""

LUSTRE_NAME = "hot"
"""Name of the file system within Managed Lustre: eight letters and digits at most, one of a name on a node."""

_NOMINAL_GIB = 1024 * 1024
"""What the claim on a bucket says: Kubernetes wants a number, Cloud Storage FUSE ignores it."""


def build(parent: pulumi.Resource, name: str, args: Mapping[str, Any]) -> Storage:
    """Build what the arguments ask for."""
    return _GcpStorage(parent, name, args).build()


class _GcpStorage:
    def __init__(self, parent: pulumi.Resource, name: str, args: Mapping[str, Any]) -> None:
        self.parent, self.name, self.args = parent, name, args
        self.region: str = args["region"]
        self.labels = gcp_labels(args.get("tags") or {})
        # None, not False: where the caller protects the whole component, its children inherit that.
        self.protect = True if args.get("protect") else None
        invoke = pulumi.InvokeOptions(parent=parent)
        self.project = gcp.organizations.get_project(opts=invoke).project_id
        self.storage_agent = gcp.storage.get_project_service_account(opts=invoke).member

    def build(self) -> Storage:
        key = self.key(self.name, self.region)
        bucket, replica = self.cold(key)
        volumes: dict[str, Volume] = {}
        if "hot" in self.args:
            volumes["hot"] = self.hot(self.args["hot"])
        if "warm" in self.args:
            volumes["warm"] = self.warm(self.args["warm"], key)
        volumes["cold"] = self.mounted(bucket)
        return Storage(
            bucket=bucket.name,
            bucket_url=pulumi.Output.concat("gs://", bucket.name),
            encryption_key=key.id,
            replica_bucket=replica.name if replica else "",
            volumes=volumes,
        )

    def opts(self, **more: Any) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self.parent, **more)

    @property
    def deletion_policy(self) -> str:
        return "PREVENT" if self.protect else "DELETE"

    # ---- the key

    def key(self, name: str, region: str) -> gcp.kms.CryptoKey:
        ring = gcp.kms.KeyRing(name, location=region, opts=self.opts(protect=self.protect))
        return gcp.kms.CryptoKey(
            name,
            key_ring=ring.id,
            purpose="ENCRYPT_DECRYPT",
            rotation_period=f"{90 * 24 * 3600}s",
            # Time in which a deletion can be taken back: without the key all data is lost.
            destroy_scheduled_duration=f"{30 * 24 * 3600}s",
            deletion_policy=self.deletion_policy,
            labels=self.labels,
            opts=self.opts(protect=self.protect),
        )

    def may_use(self, name: str, key: gcp.kms.CryptoKey, member: pulumi.Input[str]) -> gcp.kms.CryptoKeyIAMMember:
        return gcp.kms.CryptoKeyIAMMember(
            name,
            crypto_key_id=key.id,
            role="roles/cloudkms.cryptoKeyEncrypterDecrypter",
            member=member,
            opts=self.opts(),
        )

    # ---- cold

    def cold(self, key: gcp.kms.CryptoKey) -> tuple[gcp.storage.Bucket, gcp.storage.Bucket | None]:
        bucket = self.bucket(f"{self.name}-cold", self.region, key)
        region = self.args["cold"].get("replicate_to")
        if not region:
            return bucket, None
        replica = self.bucket(f"{self.name}-replica", region, self.key(f"{self.name}-replica", region))
        gcs.replicate(
            f"{self.name}-replication",
            source=bucket,
            target=replica,
            project=self.project,
            storage_agent=self.storage_agent,
            parent=self.parent,
        )
        return bucket, replica

    def bucket(self, name: str, region: str, key: gcp.kms.CryptoKey) -> gcp.storage.Bucket:
        return gcs.private_bucket(
            name,
            region=region,
            key=key.id,
            ages=limits.Ages.of(self.args["cold"]),
            labels=self.labels,
            protect=self.protect,
            opts=self.opts(
                protect=self.protect,
                # Cloud Storage refuses a key that it may not use yet.
                depends_on=[self.may_use(name, key, self.storage_agent)],
            ),
        )

    def mounted(self, bucket: gcp.storage.Bucket) -> Volume:
        """The bucket through Cloud Storage FUSE, as the pod's own identity, with a cache on the node's disk."""
        cache_mib = int(self.args["cold"].get("cache_gib", limits.CACHE_GIB)) * 1024
        # https://cloud.google.com/kubernetes-engine/docs/how-to/cloud-storage-fuse-csi-driver-perf; what follows the
        # colon of a handle is dropped by the driver (ParseVolumeID).
        return Volume(
            driver="gcsfuse.csi.storage.gke.io",
            handle=lambda namespace: pulumi.Output.concat(bucket.name, ":", namespace),
            capacity_gib=_NOMINAL_GIB,
            # Without a check at mount a pod needs no permission on the bucket itself, only on its objects.
            attributes={"skipCSIBucketAccessCheck": "true"},
            mount_options=[
                "implicit-dirs",
                f"uid={OWNER}",
                f"gid={OWNER}",
                "file-mode=660",
                "dir-mode=770",
                # New objects appear within a minute; until then no file costs a request to be looked up again.
                "metadata-cache:ttl-secs:60",
                "metadata-cache:stat-cache-max-size-mb:-1",
                "metadata-cache:type-cache-max-size-mb:-1",
                "file-system:kernel-list-cache-ttl-secs:60",
                # A file is fetched whole, in parallel pieces, at its first read: weights are read to the end.
                f"file-cache:max-size-mb:{cache_mib}",
                "file-cache:cache-file-for-range-read:true",
                "file-cache:enable-parallel-downloads:true",
                "read_ahead_kb=1024",
            ],
        )

    # ---- warm

    def warm(self, args: Mapping[str, Any], key: gcp.kms.CryptoKey) -> Volume:
        name = f"{self.name}-warm"
        agent = gcp.projects.ServiceIdentity(
            name, project=self.project, service="file.googleapis.com", opts=self.opts(retain_on_delete=True)
        )
        capacity = int(args.get("capacity_gib", limits.WARM_GIB))
        instance = gcp.filestore.Instance(
            name,
            location=self.region,
            # The cheapest tier that outlives a zone and takes a key of one's own.
            tier="REGIONAL",
            protocol="NFS_V4_1",
            file_shares={
                "name": SHARE,
                "capacity_gb": capacity,
                "nfs_export_options": [
                    {
                        "ip_ranges": [self.args["network_cidr"]],
                        "access_mode": "READ_WRITE",
                        # The driver, as root on the node, hands the top directory to the pod's fsGroup.
                        "squash_mode": "NO_ROOT_SQUASH",
                    }
                ],
            },
            networks=[
                {"network": self.args["network_id"], "modes": ["MODE_IPV4"], "connect_mode": "PRIVATE_SERVICE_ACCESS"}
            ],
            kms_key_name=key.id,
            deletion_protection_enabled=bool(self.protect),
            deletion_protection_reason="Holds the warm tier's data" if self.protect else None,
            deletion_policy=self.deletion_policy,
            labels=self.labels,
            opts=self.opts(protect=self.protect, depends_on=[self.may_use(name, key, agent.member)]),
        )
        if self.protect:
            self.backups(name, instance)
        # https://github.com/kubernetes-sigs/gcp-filestore-csi-driver/blob/master/docs/kubernetes/pre-provisioned-pv.md;
        # the node plugin mounts by the attributes alone, so the handle may carry the namespace.
        return Volume(
            driver="filestore.csi.storage.gke.io",
            handle=lambda namespace: pulumi.Output.concat(
                "modeInstance/", self.region, "/", instance.name, "/", SHARE, ":", namespace
            ),
            capacity_gib=capacity,
            attributes={
                # The address is there once the instance is: until then its networks are only what was asked for.
                "ip": pulumi.Output.all(instance.id, instance.networks).apply(
                    lambda made: made[1][0]["ip_addresses"][0]
                ),
                "volume": SHARE,
                "fileProtocol": "NFS_V4_1",
            },
            mount_options=["noatime"],
        )

    def backups(self, name: str, instance: gcp.filestore.Instance) -> None:
        """A backup every night, kept for five weeks, in a vault that gives none up before a day has passed.

        Only of what is protected: a vault with backups in it cannot be destroyed. Within one project the vault needs no
        role on Filestore: https://docs.cloud.google.com/filestore/docs/gcbdr-before-you-start
        """
        vault = gcp.backupdisasterrecovery.BackupVault(
            name,
            backup_vault_id=name,
            location=self.region,
            backup_minimum_enforced_retention_duration=f"{24 * 3600}s",
            labels=self.labels,
            opts=self.opts(protect=self.protect),
        )
        plan = gcp.backupdisasterrecovery.BackupPlan(
            name,
            backup_plan_id=name,
            location=self.region,
            resource_type=FILESTORE,
            backup_vault=vault.id,
            backup_rules=[
                {
                    "rule_id": "nightly",
                    "backup_retention_days": 35,  # as EFS keeps its own
                    "standard_schedule": {
                        "recurrence_type": "DAILY",
                        "time_zone": "UTC",
                        "backup_window": {"start_hour_of_day": 0, "end_hour_of_day": 6},
                    },
                }
            ],
            opts=self.opts(),
        )
        gcp.backupdisasterrecovery.BackupPlanAssociation(
            name,
            backup_plan_association_id=name,
            location=self.region,
            resource_type=FILESTORE,
            resource=instance.id,
            backup_plan=plan.name,
            opts=self.opts(),
        )

    # ---- hot

    def hot(self, args: Mapping[str, Any]) -> Volume:
        """Managed Lustre behind the network's private services access, encrypted with Google's key.

        GKE cannot mount one that has a key of its own: https://docs.cloud.google.com/managed-lustre/docs/cmek
        """
        name = f"{self.name}-hot"
        zone = pulumi.Output.from_input(self.args["zones"])[0]
        capacity = int(args["capacity_gib"])
        instance = gcp.lustre.Instance(
            name,
            instance_id=name,
            location=zone,
            filesystem=LUSTRE_NAME,
            capacity_gib=str(capacity),
            per_unit_storage_throughput=str(
                int(args.get("throughput_mbps_per_tib", limits.LUSTRE["gcp"].default_throughput))
            ),
            network=self.args["network_id"],
            gke_support_enabled=True,
            deletion_policy=self.deletion_policy,
            labels=self.labels,
            opts=self.opts(protect=self.protect),
        )
        # https://github.com/GoogleCloudPlatform/lustre-csi-driver/blob/main/docs/preprov-guide.md
        return Volume(
            driver="lustre.csi.storage.gke.io",
            handle=lambda namespace: pulumi.Output.concat(self.project, "/", zone, "/", name, ":", namespace),
            capacity_gib=capacity,
            attributes={
                # A mount point is `<address>@tcp:/<file system>`.
                "ip": instance.mount_point.apply(lambda mount_point: mount_point.split("@")[0]),
                "filesystem": LUSTRE_NAME,
            },
            ready=[instance],
        )
