"""TieredStorage on GCP: what protects the data, how it ages, where its second copy is, how it is mounted."""

from __future__ import annotations

from typing import Any

import pytest

from tests.components.storage_programs import NETWORKS, whole


class TestGcs:
    DATA = pytest.mark.parametrize(
        ("name", "region"), [("data-cold", "europe-west4"), ("data-replica", "europe-west1")]
    )

    @DATA
    def test_bucket_is_private_versioned_and_under_its_regions_key(self, name: str, region: str) -> None:
        bucket = whole("gcp").one("gcp:storage/bucket:Bucket", name).inputs
        assert bucket["location"] == region.upper()
        assert bucket["uniformBucketLevelAccess"] is True
        assert bucket["publicAccessPrevention"] == "enforced"
        assert bucket["versioning"] == {"enabled": True}
        assert bucket["softDeletePolicy"] == {"retentionDurationSeconds": 7 * 86400}
        assert bucket["forceDestroy"] is False
        assert "name" not in bucket, "names are global: Pulumi adds a suffix"
        assert bucket["labels"] == {"owner": "research", "cost-center": "r-d"}
        encryption = bucket["encryption"]
        assert f"/locations/{region}/" in encryption["defaultKmsKeyName"]
        for other in ("googleManagedEncryptionEnforcementConfig", "customerSuppliedEncryptionEnforcementConfig"):
            assert encryption[other] == {"restrictionMode": "FullyRestricted"}

    @pytest.mark.parametrize("name", ["data-cold", "data-replica"])
    def test_objects_age(self, name: str) -> None:
        rules = whole("gcp").one("gcp:storage/bucket:Bucket", name).inputs["lifecycleRules"]
        steps = [rule for rule in rules if rule["action"]["type"] == "SetStorageClass"]
        assert [(rule["condition"]["age"], rule["action"]["storageClass"]) for rule in steps] == [
            (30, "NEARLINE"),
            (90, "COLDLINE"),
            (365, "ARCHIVE"),
        ]
        assert all(rule["condition"]["withState"] == "LIVE" for rule in steps)
        (deleted,) = [rule for rule in rules if rule["action"]["type"] == "Delete"]
        assert deleted["condition"] == {"daysSinceNoncurrentTime": 180, "withState": "ARCHIVED"}
        (aborted,) = [rule for rule in rules if rule["action"]["type"] == "AbortIncompleteMultipartUpload"]
        assert aborted["condition"] == {"age": 7}

    def test_keys_rotate_and_the_services_may_use_them_first(self) -> None:
        plan = whole("gcp")
        keys = plan.of_type("gcp:kms/cryptoKey:CryptoKey")
        assert len(keys) == 2
        for key in keys:
            assert key.inputs["rotationPeriod"] == "7776000s"
            assert key.inputs["destroyScheduledDuration"] == "2592000s"
        users = [("gcp:storage/bucket:Bucket", "data-cold"), ("gcp:storage/bucket:Bucket", "data-replica")]
        for kind, name in [*users, ("gcp:filestore/instance:Instance", "data-warm")]:
            grant = plan.one("gcp:kms/cryptoKeyIAMMember:CryptoKeyIAMMember", name)
            assert grant.inputs["role"] == "roles/cloudkms.cryptoKeyEncrypterDecrypter"
            assert grant.urn in plan.one(kind, name).dependencies

    def test_new_objects_are_copied_to_a_bucket_with_its_own_key(self) -> None:
        plan = whole("gcp")
        job = plan.one("gcp:storage/transferJob:TransferJob")
        assert "name" not in job.inputs, "replication jobs are named by the service"
        assert job.inputs["status"] == "ENABLED"
        spec = job.inputs["replicationSpec"]
        assert spec["gcsDataSource"] == {"bucketName": plan.outputs["bucket"]}
        assert spec["gcsDataSink"] == {"bucketName": plan.outputs["replica_bucket"]}
        assert spec["transferOptions"]["metadataOptions"]["kmsKey"] == "KMS_KEY_DESTINATION_BUCKET_DEFAULT"
        granted = {grant.inputs["role"]: grant for grant in plan.of_type("gcp:storage/bucketIAMMember:BucketIAMMember")}
        assert all(grant.urn in job.dependencies for grant in granted.values())
        targets = {role for role, grant in granted.items() if grant.inputs["bucket"] == plan.outputs["replica_bucket"]}
        assert targets == {"roles/storage.legacyBucketWriter", "roles/storage.objectViewer"}
        reader = plan.one("gcp:projects/iAMCustomRole:IAMCustomRole")
        assert not any(p.startswith("storage.objects.d") or "Iam" in p for p in reader.inputs["permissions"])
        assert reader.inputs["roleId"].isidentifier()

    def test_grants_that_regions_share_outlive_one_of_them(self) -> None:
        grants = whole("gcp").of_type("gcp:projects/iAMMember:IAMMember")
        assert {grant.inputs["role"] for grant in grants} == {"roles/pubsub.editor", "roles/pubsub.publisher"}
        assert all(grant.retain_on_delete for grant in grants)


class TestFileSystemsOfGcp:
    def test_filestore_outlives_a_zone_and_serves_the_network_only(self) -> None:
        plan = whole("gcp")
        filestore = plan.one("gcp:filestore/instance:Instance", "data-warm").inputs
        assert (filestore["tier"], filestore["location"]) == ("REGIONAL", "europe-west4")
        assert filestore["kmsKeyName"] == plan.outputs["encryption_key"]
        assert filestore["fileShares"]["capacityGb"] == 1024
        (export,) = filestore["fileShares"]["nfsExportOptions"]
        assert export["ipRanges"] == ["10.20.0.0/16"]
        (network,) = filestore["networks"]
        assert network["network"] == NETWORKS["gcp"]
        assert network["connectMode"] == "PRIVATE_SERVICE_ACCESS"

    def test_lustre_sits_in_the_first_zone_and_lets_gke_mount_it(self) -> None:
        lustre = whole("gcp").one("gcp:lustre/instance:Instance", "data-hot").inputs
        assert lustre["location"] == "europe-west4-a"
        assert (lustre["capacityGib"], lustre["perUnitStorageThroughput"]) == ("9000", "1000")
        assert lustre["gkeSupportEnabled"] is True
        assert "kmsKey" not in lustre, "GKE cannot mount an instance with a key of its own"


class TestVolumes:
    def csi(self, tier: str) -> tuple[dict[str, Any], list[str]]:
        spec = whole("gcp").one("kubernetes:core/v1:PersistentVolume", f"data-{tier}-training").inputs["spec"]
        return spec["csi"], spec["mountOptions"]

    def test_managed_lustre(self) -> None:
        csi, _ = self.csi("hot")
        assert csi["volumeHandle"].endswith("/europe-west4-a/data-hot:training")
        assert csi["volumeHandle"].count("/") == 2
        assert set(csi["volumeAttributes"]) == {"ip", "filesystem"}
        assert len(csi["volumeAttributes"]["filesystem"]) <= 8

    def test_filestore(self) -> None:
        csi, _ = self.csi("warm")
        mode, location, instance, share = csi["volumeHandle"].split("/")
        filestore = whole("gcp").one("gcp:filestore/instance:Instance")
        assert (mode, location, instance) == ("modeInstance", "europe-west4", filestore.outputs["name"])
        assert share == "share:training"
        attributes = csi["volumeAttributes"]
        assert attributes["ip"] == filestore.outputs["networks"][0]["ipAddresses"][0]
        assert (attributes["volume"], attributes["fileProtocol"]) == ("share", filestore.inputs["protocol"])

    def test_cloud_storage_fuse_is_tuned(self) -> None:
        csi, options = self.csi("cold")
        assert csi["volumeHandle"] == f"{whole('gcp').outputs['bucket']}:training"
        assert {
            "implicit-dirs",
            "uid=1000",
            "gid=1000",
            "file-cache:max-size-mb:51200",
            "file-cache:enable-parallel-downloads:true",
            "file-cache:cache-file-for-range-read:true",
            "metadata-cache:ttl-secs:60",
            "metadata-cache:stat-cache-max-size-mb:-1",
        } <= set(options)
