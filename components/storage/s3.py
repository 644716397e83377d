"""A private, encrypted and versioned S3 bucket that logs its requests, and its second copy in another region."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import pulumi
import pulumi_aws as aws

from components.storage.limits import Ages
from components.tags import aws_tags

LOG_DAYS = 90
"""Days that a request log is kept."""

REPLICATION_MINUTES = 15
"""Time in which S3 promises 99.9 % of new objects to be replicated (S3 Replication Time Control)."""

_ABANDONED_UPLOADS = {
    "id": "abandoned-uploads",
    "status": "Enabled",
    "filter": {"prefix": ""},
    # Parts of an upload that was never completed are invisible in listings, but billed.
    "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
}


class PrivateBucket(pulumi.ComponentResource):
    """A bucket that is private whatever is written into its objects' ACLs: encrypted, versioned, TLS 1.2 only.

    With `key` (a KMS key's ARN) objects are encrypted with that key and no other. Without it they are encrypted with
    S3's own key: log delivery writes to no other, and needs the account whose buckets it logs, `logs_of_account`.
    """

    def __init__(
        self,
        name: str,
        *,
        region: str,
        key: Optional[pulumi.Input[str]],
        lifecycle: Sequence[Mapping[str, Any]],
        logs: Optional["PrivateBucket"] = None,
        logs_of_account: Optional[pulumi.Input[str]] = None,
        tags: Mapping[str, str],
        protect: Optional[bool],
        parent: pulumi.Resource,
    ) -> None:
        super().__init__("aicloud:storage:PrivateBucket", name, {}, pulumi.ResourceOptions(parent=parent))
        within = pulumi.ResourceOptions(parent=self)

        self.bucket = aws.s3.Bucket(
            name,
            region=region,
            force_destroy=False,
            tags=aws_tags(tags, name),
            opts=pulumi.ResourceOptions(parent=self, protect=protect),
        )
        self.name, self.arn = self.bucket.bucket, self.bucket.arn
        self.versioning = aws.s3.BucketVersioning(
            name, region=region, bucket=self.name, versioning_configuration={"status": "Enabled"}, opts=within
        )
        algorithm: dict[str, pulumi.Input[str]] = {"sse_algorithm": "AES256"}
        if key is not None:
            algorithm = {"sse_algorithm": "aws:kms", "kms_master_key_id": key}
        aws.s3.BucketServerSideEncryptionConfiguration(
            name,
            region=region,
            bucket=self.name,
            rules=[
                {
                    "apply_server_side_encryption_by_default": algorithm,
                    # One data key for many objects: calls to KMS, and their cost, fall by 99 %.
                    "bucket_key_enabled": key is not None,
                    "blocked_encryption_types": ["SSE-C"],
                }
            ],
            opts=within,
        )
        aws.s3.BucketOwnershipControls(
            name, region=region, bucket=self.name, rule={"object_ownership": "BucketOwnerEnforced"}, opts=within
        )
        public_access = aws.s3.BucketPublicAccessBlock(
            name,
            region=region,
            bucket=self.name,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=within,
        )
        aws.s3.BucketPolicy(
            name,
            region=region,
            bucket=self.name,
            policy=_policy(self.arn, key, logs_of_account),
            # S3 takes one change of a bucket's access at a time.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[public_access]),
        )
        aws.s3.BucketLifecycleConfiguration(
            name,
            region=region,
            bucket=self.name,
            rules=[*lifecycle, _ABANDONED_UPLOADS],
            # Rules for old versions are refused until there are versions.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.versioning]),
        )
        if logs is not None:
            aws.s3.BucketLogging(
                name,
                region=region,
                bucket=self.name,
                target_bucket=logs.name,
                target_prefix=f"{name}/",
                target_object_key_format={"partitioned_prefix": {"partition_date_source": "EventTime"}},
                opts=within,
            )
        self.register_outputs({})


def log_bucket(
    name: str,
    region: str,
    account: pulumi.Input[str],
    tags: Mapping[str, str],
    protect: Optional[bool],
    parent: pulumi.Resource,
) -> PrivateBucket:
    """Where the buckets of a region log their requests: S3 takes only a bucket of the same region for that."""
    expiry = {
        "id": "old-logs",
        "status": "Enabled",
        "filter": {"prefix": ""},
        "expiration": {"days": LOG_DAYS},
        "noncurrent_version_expiration": {"noncurrent_days": 1},
    }
    return PrivateBucket(
        name,
        region=region,
        key=None,
        lifecycle=[expiry],
        logs_of_account=account,
        tags=tags,
        protect=protect,
        parent=parent,
    )


def ageing(ages: Ages) -> list[dict[str, Any]]:
    """Lifecycle rules: objects move to colder classes with age; what was overwritten or deleted goes in the end."""
    transitions = [
        {"days": ages.infrequent, "storage_class": "STANDARD_IA"},
        {"days": ages.archive, "storage_class": "GLACIER_IR"},
    ]
    if ages.deep_archive is not None:
        transitions.append({"days": ages.deep_archive, "storage_class": "DEEP_ARCHIVE"})
    old_versions: dict[str, Any] = {
        "id": "old-versions",
        "status": "Enabled",
        "filter": {"prefix": ""},
        "expiration": {"expired_object_delete_marker": True},
        "noncurrent_version_expiration": {"noncurrent_days": ages.noncurrent},
    }
    if ages.noncurrent >= 120:
        # GLACIER bills 90 days at least; nobody mounts old versions, so that it must be restored does no harm.
        old_versions["noncurrent_version_transitions"] = [{"noncurrent_days": 30, "storage_class": "GLACIER"}]
    return [
        {"id": "colder-with-age", "status": "Enabled", "filter": {"prefix": ""}, "transitions": transitions},
        old_versions,
    ]


def replicate(
    name: str,
    *,
    source: PrivateBucket,
    source_region: str,
    source_key: pulumi.Input[str],
    target: PrivateBucket,
    target_region: str,
    target_key: pulumi.Input[str],
    account: pulumi.Input[str],
    tags: Mapping[str, str],
    parent: pulumi.Resource,
) -> None:
    """Copy each new object, deletions included, within minutes to the bucket in the other region, under its own key.

    Objects that are older than the rule are not copied: run S3 Batch Replication once for those.
    """
    within = pulumi.ResourceOptions(parent=parent)
    role = aws.iam.Role(
        name,
        description=f"Lets S3 copy {name}",
        assume_role_policy=pulumi.Output.json_dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "s3.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                        "Condition": {
                            "StringEquals": {"aws:SourceAccount": account},
                            "ArnEquals": {"aws:SourceArn": source.arn},
                        },
                    }
                ],
            }
        ),
        tags=aws_tags(tags, name),
        opts=within,
    )
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/setting-repl-config-perm-overview.html and, for the keys,
    # .../replication-config-for-kms-objects.html: with bucket keys the encryption context is the bucket's ARN.
    permissions = aws.iam.RolePolicy(
        name,
        role=role.name,
        policy=pulumi.Output.json_dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    _allow(["s3:GetReplicationConfiguration", "s3:ListBucket"], source.arn),
                    _allow(
                        [
                            "s3:GetObjectVersionForReplication",
                            "s3:GetObjectVersionAcl",
                            "s3:GetObjectVersionTagging",
                        ],
                        pulumi.Output.concat(source.arn, "/*"),
                    ),
                    _allow(
                        ["s3:ReplicateObject", "s3:ReplicateDelete", "s3:ReplicateTags"],
                        pulumi.Output.concat(target.arn, "/*"),
                    ),
                    _allow(["kms:Decrypt"], source_key, _through_s3(source_region, source.arn)),
                    _allow(["kms:Encrypt", "kms:GenerateDataKey"], target_key, _through_s3(target_region, target.arn)),
                ],
            }
        ),
        opts=within,
    )
    aws.s3.BucketReplicationConfig(
        name,
        region=source_region,
        bucket=source.name,
        role=role.arn,
        rules=[
            {
                "id": "second-copy",
                "status": "Enabled",
                "priority": 0,
                "filter": {"prefix": ""},
                "delete_marker_replication": {"status": "Enabled"},
                "source_selection_criteria": {"sse_kms_encrypted_objects": {"status": "Enabled"}},
                "destination": {
                    "bucket": target.arn,
                    "encryption_configuration": {"replica_kms_key_id": target_key},
                    "replication_time": {"status": "Enabled", "time": {"minutes": REPLICATION_MINUTES}},
                    "metrics": {"status": "Enabled", "event_threshold": {"minutes": REPLICATION_MINUTES}},
                },
            }
        ],
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[source.versioning, target.versioning, permissions]),
    )


def _allow(
    actions: Sequence[str], resource: pulumi.Input[str], condition: Optional[Mapping[str, Any]] = None
) -> dict[str, Any]:
    statement: dict[str, Any] = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
    return {**statement, "Condition": condition} if condition else statement


def _through_s3(region: str, bucket_arn: pulumi.Input[str]) -> dict[str, Any]:
    contexts = [bucket_arn, pulumi.Output.concat(bucket_arn, "/*")]
    return {
        "StringLike": {"kms:ViaService": f"s3.{region}.amazonaws.com", "kms:EncryptionContext:aws:s3:arn": contexts}
    }


def _policy(
    arn: pulumi.Output[str], key: Optional[pulumi.Input[str]], logs_of_account: Optional[pulumi.Input[str]]
) -> pulumi.Output[str]:
    everything = [arn, pulumi.Output.concat(arn, "/*")]
    objects = pulumi.Output.concat(arn, "/*")
    refuse = {"Effect": "Deny", "Principal": "*"}
    statements: list[dict[str, Any]] = [
        {
            "Sid": "OnlyOverTls",
            **refuse,
            "Action": "s3:*",
            "Resource": everything,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
        {
            "Sid": "OnlyOverRecentTls",
            **refuse,
            "Action": "s3:*",
            "Resource": everything,
            "Condition": {"NumericLessThan": {"s3:TlsVersion": "1.2"}},
        },
    ]
    if key is not None:
        statements.append(
            {
                # Without a header the bucket's own key is used. Whoever sends one has to name that key: the comparison
                # holds for another key and for no key at all, which would mean S3's own or the account's default key.
                "Sid": "OnlyWithOwnKey",
                **refuse,
                "Action": "s3:PutObject",
                "Resource": objects,
                "Condition": {
                    "Null": {"s3:x-amz-server-side-encryption": "false"},
                    "StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": key},
                },
            }
        )
    if logs_of_account is not None:
        statements.append(
            {
                "Sid": "LogDelivery",
                "Effect": "Allow",
                "Principal": {"Service": "logging.s3.amazonaws.com"},
                "Action": "s3:PutObject",
                "Resource": objects,
                "Condition": {"StringEquals": {"aws:SourceAccount": logs_of_account}},
            }
        )
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": statements})
