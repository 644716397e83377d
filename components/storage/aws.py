"""TieredStorage on AWS: S3, EFS and FSx for Lustre under one KMS key."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

from components.security.statements import document, iam_governs
from components.storage import limits, s3
from components.storage.volumes import OWNER, Storage, Volume
from components.tags import aws_tags

LUSTRE_PORTS = ((988, 988), (1018, 1023))
"""https://docs.aws.amazon.com/fsx/latest/LustreGuide/limit-access-security-groups.html"""

NFS_PORT = 2049

_LOG_GROUP = "/aws/fsx/"
"""How the name of a log group that FSx writes to begins; FSx refuses any other."""

_NOMINAL_GIB = 1024 * 1024
"""What the claim on a bucket says: Kubernetes wants a number, Mountpoint ignores it."""


def build(parent: pulumi.Resource, name: str, args: Mapping[str, Any]) -> Storage:
    """Build what the arguments ask for, the bucket first: Lustre reads from it."""
    return _AwsStorage(parent, name, args).build()


class _AwsStorage:
    def __init__(self, parent: pulumi.Resource, name: str, args: Mapping[str, Any]) -> None:
        self.parent, self.name, self.args = parent, name, args
        self.region: str = args["region"]
        self.tags: Mapping[str, str] = args.get("tags") or {}
        # None, not False: where the caller protects the whole component, its children inherit that.
        self.protect = True if args.get("protect") else None
        invoke = pulumi.InvokeOptions(parent=parent)
        self.account = aws.get_caller_identity(opts=invoke).account_id
        self.partition = aws.get_partition(opts=invoke).partition

    def build(self) -> Storage:
        key = self.key(self.name, self.region, "All tiers", self.lustre_uses_key() if "hot" in self.args else ())
        bucket, replica = self.cold(key)
        volumes: dict[str, Volume] = {}
        if "hot" in self.args:
            volumes["hot"] = self.hot(self.args["hot"], key, bucket)
        if "warm" in self.args:
            volumes["warm"] = self.warm(self.args["warm"], key)
        volumes["cold"] = self.mounted(bucket)
        return Storage(
            bucket=bucket.name,
            bucket_url=pulumi.Output.concat("s3://", bucket.name),
            encryption_key=key.arn,
            replica_bucket=replica.name if replica else "",
            volumes=volumes,
        )

    def opts(self, **more: Any) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self.parent, **more)

    # ---- the key

    def key(self, name: str, region: str, what: str, statements: Sequence[Mapping[str, Any]] = ()) -> aws.kms.Key:
        """A key that the account's IAM policies govern; `statements` allow what those cannot."""
        key = aws.kms.Key(
            name,
            region=region,
            description=f"{what} of {self.name}",
            enable_key_rotation=True,
            # The longest time in which a deletion can be taken back: without the key all data is lost.
            deletion_window_in_days=30,
            policy=document([iam_governs(self.partition, self.account), *statements]),
            tags=aws_tags(self.tags, name),
            opts=self.opts(protect=self.protect),
        )
        aws.kms.Alias(name, region=region, name=f"alias/{name}", target_key_id=key.key_id, opts=self.opts())
        return key

    def lustre_uses_key(self) -> list[dict[str, Any]]:
        """Lustre reads and writes the bucket, and logs, as identities that the account's IAM policies don't reach."""
        actions = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        return [
            {
                # The role is made by FSx when the bucket is linked, so the policy cannot name it as its principal.
                # https://docs.aws.amazon.com/fsx/latest/LustreGuide/s3-server-side-encryption-support.html
                "Sid": "LustreThroughS3",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": actions,
                "Resource": "*",
                "Condition": {
                    "StringEquals": {
                        "kms:CallerAccount": self.account,
                        "kms:ViaService": f"s3.{self.region}.amazonaws.com",
                    },
                    "ArnLike": {
                        "aws:PrincipalArn": f"arn:{self.partition}:iam::{self.account}:role/aws-service-role/"
                        "s3.data-source.lustre.fsx.amazonaws.com/AWSServiceRoleForFSxS3Access_*"
                    },
                },
            },
            {
                "Sid": "LustreLogs",
                "Effect": "Allow",
                "Principal": {"Service": f"logs.{self.region}.amazonaws.com"},
                "Action": actions,
                "Resource": "*",
                "Condition": {
                    "ArnLike": {
                        "kms:EncryptionContext:aws:logs:arn": f"arn:{self.partition}:logs:{self.region}:{self.account}:"
                        f"log-group:{_LOG_GROUP}{self.name}-hot-*"
                    }
                },
            },
        ]

    # ---- cold

    def cold(self, key: aws.kms.Key) -> tuple[s3.PrivateBucket, s3.PrivateBucket | None]:
        bucket = self.bucket(f"{self.name}-cold", self.region, key)
        region = self.args["cold"].get("replicate_to")
        if not region:
            return bucket, None
        replica_key = self.key(f"{self.name}-replica", region, "Second copy of the cold tier")
        replica = self.bucket(f"{self.name}-replica", region, replica_key)
        s3.replicate(
            f"{self.name}-replication",
            source=bucket,
            source_region=self.region,
            source_key=key.arn,
            target=replica,
            target_region=region,
            target_key=replica_key.arn,
            account=self.account,
            tags=self.tags,
            parent=self.parent,
        )
        return bucket, replica

    def bucket(self, name: str, region: str, key: aws.kms.Key) -> s3.PrivateBucket:
        logs = s3.log_bucket(f"{name}-logs", region, self.account, self.tags, self.protect, self.parent)
        return s3.PrivateBucket(
            name,
            region=region,
            key=key.arn,
            lifecycle=s3.ageing(limits.Ages.of(self.args["cold"])),
            logs=logs,
            tags=self.tags,
            protect=self.protect,
            parent=self.parent,
        )

    def mounted(self, bucket: s3.PrivateBucket) -> Volume:
        """The bucket through Mountpoint for S3, as the pod's own identity, with a cache on the node's disk."""
        # https://github.com/awslabs/mountpoint-s3-csi-driver/blob/main/docs/CONFIGURATION.md (v2)
        return Volume(
            driver="s3.csi.aws.com",
            handle=lambda namespace: f"{self.name}-cold-{namespace}",
            capacity_gib=_NOMINAL_GIB,
            attributes={
                "bucketName": bucket.name,
                "authenticationSource": "pod",
                "cache": "emptyDir",
                "cacheEmptyDirSizeLimit": f"{int(self.args['cold'].get('cache_gib', limits.CACHE_GIB))}Gi",
            },
            mount_options=[
                f"region {self.region}",
                f"uid={OWNER}",
                f"gid={OWNER}",
                "allow-other",
                "allow-delete",
                "allow-overwrite",
                # New objects appear within a minute; a training run doesn't ask S3 for each file again and again.
                "metadata-ttl 60",
            ],
        )

    # ---- warm

    def warm(self, args: Mapping[str, Any], key: aws.kms.Key) -> Volume:
        name = f"{self.name}-warm"
        file_system = aws.efs.FileSystem(
            name,
            region=self.region,
            encrypted=True,
            kms_key_id=key.arn,
            performance_mode="generalPurpose",
            throughput_mode="elastic",
            lifecycle_policies=[
                {"transition_to_ia": "AFTER_30_DAYS"},
                {"transition_to_archive": "AFTER_90_DAYS"},
                {"transition_to_primary_storage_class": "AFTER_1_ACCESS"},
            ],
            tags=aws_tags(self.tags, name),
            opts=self.opts(protect=self.protect),
        )
        aws.efs.BackupPolicy(
            name,
            region=self.region,
            file_system_id=file_system.id,
            backup_policy={"status": "ENABLED"},
            opts=self.opts(),
        )
        policy = aws.efs.FileSystemPolicy(
            name,
            region=self.region,
            file_system_id=file_system.id,
            policy=self.warm_policy(file_system),
            opts=self.opts(),
        )
        group = self.group(name, "NFS from the network", [(NFS_PORT, NFS_PORT)], mutual=False)
        subnets = pulumi.Output.from_input(self.args["private_subnet_ids"])
        targets = [
            aws.efs.MountTarget(
                f"{name}-{index}",
                region=self.region,
                file_system_id=file_system.id,
                subnet_id=subnets[index],
                security_groups=[group.id],
                opts=self.opts(),
            )
            for index in range(int(self.args.get("zone_count", limits.ZONES)))
        ]

        def point(namespace: str) -> aws.efs.AccessPoint:
            return aws.efs.AccessPoint(
                f"{name}-{namespace}",
                region=self.region,
                file_system_id=file_system.id,
                posix_user={"uid": OWNER, "gid": OWNER},
                root_directory={
                    "path": f"/{namespace}",
                    "creation_info": {"owner_uid": OWNER, "owner_gid": OWNER, "permissions": "0770"},
                },
                tags=aws_tags(self.tags, f"{name}-{namespace}"),
                opts=self.opts(),
            )

        # https://github.com/kubernetes-sigs/aws-efs-csi-driver/tree/master/examples/kubernetes/access_points
        return Volume(
            driver="efs.csi.aws.com",
            handle=lambda namespace: pulumi.Output.concat(file_system.id, "::", point(namespace).id),
            capacity_gib=int(args.get("capacity_gib", limits.WARM_GIB)),
            mount_options=["tls", "iam"],
            ready=[*targets, policy],
        )

    def warm_policy(self, file_system: aws.efs.FileSystem) -> pulumi.Output[str]:
        """Only this account's identities, over TLS, through an access point: nobody gets in anonymously or as root."""
        statements = [
            {
                "Sid": "OnlyOverTls",
                "Effect": "Deny",
                "Principal": {"AWS": "*"},
                "Action": "*",
                "Resource": file_system.arn,
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
            {
                "Sid": "OwnIdentitiesThroughAccessPoints",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
                "Resource": file_system.arn,
                "Condition": {
                    # An anonymous client has no account, and so none that equals this one.
                    "StringEquals": {"aws:PrincipalAccount": self.account},
                    "Bool": {"elasticfilesystem:AccessedViaMountTarget": "true"},
                    "Null": {"elasticfilesystem:AccessPointArn": "false"},
                },
            },
        ]
        return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": statements})

    # ---- hot

    def hot(self, args: Mapping[str, Any], key: aws.kms.Key, bucket: s3.PrivateBucket) -> Volume:
        name = f"{self.name}-hot"
        logs = aws.cloudwatch.LogGroup(
            name,
            region=self.region,
            name_prefix=f"{_LOG_GROUP}{name}-",
            kms_key_id=key.arn,
            retention_in_days=30,
            tags=aws_tags(self.tags, name),
            opts=self.opts(),
        )
        group = self.group(name, "Lustre between its servers and the network", LUSTRE_PORTS, mutual=True)
        file_system = aws.fsx.LustreFileSystem(
            name,
            region=self.region,
            # A file system lives in one zone; nodes of the others reach it for the price of traffic between zones.
            subnet_ids=pulumi.Output.from_input(self.args["private_subnet_ids"])[0],
            security_group_ids=[group.id],
            deployment_type="PERSISTENT_2",
            storage_type="SSD",
            storage_capacity=int(args["capacity_gib"]),
            per_unit_storage_throughput=int(
                args.get("throughput_mbps_per_tib", limits.LUSTRE["aws"].default_throughput)
            ),
            metadata_configuration={"mode": "AUTOMATIC"},
            file_system_type_version="2.15",
            data_compression_type="LZ4",
            kms_key_id=key.arn,
            # FSx makes no backups of what is linked to a bucket: the bucket has the data, in versions.
            automatic_backup_retention_days=0,
            log_configuration={"level": "WARN_ERROR", "destination": logs.arn},
            tags=aws_tags(self.tags, name),
            opts=self.opts(protect=self.protect),
        )
        events = {"events": ["NEW", "CHANGED", "DELETED"]}
        link = aws.fsx.DataRepositoryAssociation(
            name,
            region=self.region,
            file_system_id=file_system.id,
            # The same path in the hot and in the cold tier is the same file.
            file_system_path="/",
            data_repository_path=pulumi.Output.concat("s3://", bucket.name),
            batch_import_meta_data_on_create=True,
            s3={"auto_import_policy": events, "auto_export_policy": events},
            tags=aws_tags(self.tags, name),
            opts=self.opts(),
        )
        # https://github.com/kubernetes-sigs/aws-fsx-csi-driver/tree/master/examples/kubernetes/static_provisioning;
        # the node plugin mounts by the attributes alone, so the handle may carry the namespace.
        return Volume(
            driver="fsx.csi.aws.com",
            handle=lambda namespace: pulumi.Output.concat(file_system.id, ":", namespace),
            capacity_gib=int(args["capacity_gib"]),
            attributes={"dnsname": file_system.dns_name, "mountname": file_system.mount_name},
            mount_options=["flock", "noatime"],
            ready=[link],
        )

    def group(self, name: str, what: str, ports: Sequence[tuple[int, int]], mutual: bool) -> aws.ec2.SecurityGroup:
        """Opens ports to the network's own addresses; `mutual` lets its members connect to those and to each other."""
        rules = [
            {
                "description": what,
                "protocol": "tcp",
                "from_port": first,
                "to_port": last,
                "self": mutual,
                "cidr_blocks": [self.args["network_cidr"]],
            }
            for first, last in ports
        ]
        return aws.ec2.SecurityGroup(
            name,
            region=self.region,
            vpc_id=self.args["network_id"],
            description=what,
            ingress=rules,
            egress=rules if mutual else [],
            tags=aws_tags(self.tags, name),
            opts=self.opts(),
        )
