"""A private, encrypted and versioned Cloud Storage bucket, and its second copy in another region."""

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_gcp as gcp

from components.storage.limits import Ages

SOFT_DELETE_DAYS = 7
"""Days in which even an object whose versions were all deleted can be restored; the least that Cloud Storage takes."""


def private_bucket(
    name: str,
    *,
    region: str,
    key: pulumi.Input[str],
    ages: Ages,
    labels: Mapping[str, str],
    protect: bool | None,
    opts: pulumi.ResourceOptions,
) -> gcp.storage.Bucket:
    """A regional bucket that can be made public by nobody and takes objects under this key only.

    Objects age by rules, not by Autoclass: so the same settings mean the same on both clouds, and a data set that one
    read a year would bring back to the dearest class stays where it is. Namespaces are flat: Cloud Storage does not
    replicate between buckets with a hierarchical one.
    """
    return gcp.storage.Bucket(
        name,
        location=region.upper(),
        storage_class="STANDARD",
        uniform_bucket_level_access=True,
        public_access_prevention="enforced",
        versioning={"enabled": True},
        soft_delete_policy={"retention_duration_seconds": SOFT_DELETE_DAYS * 24 * 3600},
        encryption={
            "default_kms_key_name": key,
            "google_managed_encryption_enforcement_config": {"restriction_mode": "FullyRestricted"},
            "customer_supplied_encryption_enforcement_config": {"restriction_mode": "FullyRestricted"},
        },
        lifecycle_rules=_ageing(ages),
        force_destroy=False,
        deletion_policy="PREVENT" if protect else "DELETE",
        labels=labels,
        opts=opts,
    )


def _ageing(ages: Ages) -> list[dict[str, Any]]:
    """Objects move to colder classes with age; what was overwritten or deleted goes in the end."""
    steps = [(ages.infrequent, "NEARLINE"), (ages.archive, "COLDLINE")]
    if ages.deep_archive is not None:
        steps.append((ages.deep_archive, "ARCHIVE"))
    return [
        *(
            {
                "action": {"type": "SetStorageClass", "storage_class": storage_class},
                "condition": {"age": days, "with_state": "LIVE"},
            }
            for days, storage_class in steps
        ),
        {
            "action": {"type": "Delete"},
            "condition": {"days_since_noncurrent_time": ages.noncurrent, "with_state": "ARCHIVED"},
        },
        # Parts of an upload that was never completed are invisible in listings, but billed.
        {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 7}},
    ]


def replicate(
    name: str,
    *,
    source: gcp.storage.Bucket,
    target: gcp.storage.Bucket,
    project: str,
    storage_agent: str,
    parent: pulumi.Resource,
) -> None:
    """Copy each new object to the bucket in the other region by Storage Transfer's cross-bucket replication.

    A dual-region bucket would be less to look after, but it is one bucket: a wrong lifecycle rule, a lost key or a
    deletion takes both copies, and regions may be paired on one continent only. Unlike S3's, this copy keeps what is
    deleted at the source, and has no promised time. https://cloud.google.com/storage-transfer/docs/cross-bucket-replication
    """
    within = pulumi.ResourceOptions(parent=parent)
    # Grants on the project are the same for every region's storage: the one that goes first must not take them along.
    shared = pulumi.ResourceOptions(parent=parent, retain_on_delete=True)
    agent = gcp.storage.get_transfer_project_service_account(opts=pulumi.InvokeOptions(parent=parent)).member
    # What reads the source may also register for its changes, and nothing else: the ready-made roles that can do
    # this may hand out access to the bucket as well.
    reader = gcp.projects.IAMCustomRole(
        f"{name}-source",
        role_id=f"{name}-source".replace("-", "_"),
        title=f"{name}: read and watch the source",
        permissions=["storage.buckets.get", "storage.buckets.update", "storage.objects.get", "storage.objects.list"],
        opts=within,
    )
    grants: list[pulumi.Resource] = [
        gcp.storage.BucketIAMMember(f"{name}-source", bucket=source.name, role=reader.name, member=agent, opts=within),
        *(
            gcp.storage.BucketIAMMember(
                f"{name}-target-{role}", bucket=target.name, role=f"roles/storage.{role}", member=agent, opts=within
            )
            for role in ("legacyBucketWriter", "objectViewer")
        ),
        gcp.projects.IAMMember(
            f"{name}-subscribe", project=project, role="roles/pubsub.editor", member=agent, opts=shared
        ),
        gcp.projects.IAMMember(
            f"{name}-notify", project=project, role="roles/pubsub.publisher", member=storage_agent, opts=shared
        ),
    ]
    gcp.storage.TransferJob(
        name,
        # No name: Storage Transfer names replication jobs itself, and refuses any other.
        description=f"Second copy of the cold tier: {name}",
        project=project,
        status="ENABLED",
        replication_spec={
            "gcs_data_source": {"bucket_name": source.name},
            "gcs_data_sink": {"bucket_name": target.name},
            "transfer_options": {
                "overwrite_when": "DIFFERENT",
                "metadata_options": {
                    "kms_key": "KMS_KEY_DESTINATION_BUCKET_DEFAULT",
                    "storage_class": "STORAGE_CLASS_DESTINATION_BUCKET_DEFAULT",
                },
            },
        },
        logging_config={"log_actions": ["COPY"], "log_action_states": ["FAILED"]},
        opts=pulumi.ResourceOptions(parent=parent, depends_on=grants),
    )
