"""TieredStorage on AWS: what protects the data, how it ages, where its second copy is, how it is mounted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from planner.plan import Resource
from tests.components.storage_programs import least, whole


def policy_of(resource: Resource, key: str = "policy") -> dict[str, Any]:
    """A policy's statements by their Sid."""
    return {
        statement.get("Sid", str(i)): statement
        for i, statement in enumerate(json.loads(resource.inputs[key])["Statement"])
    }


def holds(condition: Mapping[str, Mapping[str, Any]], request: Mapping[str, str]) -> bool:
    """IAM's evaluation of a condition: negated comparisons hold where the request has no such key."""
    tests: dict[str, Callable[[str, Any], bool]] = {
        "Null": lambda key, wanted: (key not in request) == (wanted == "true"),
        "Bool": lambda key, wanted: request.get(key) == wanted,
        "StringEquals": lambda key, wanted: request.get(key) == wanted,
        "StringNotEquals": lambda key, wanted: request.get(key) != wanted,
        "NumericLessThan": lambda key, wanted: key in request and float(request[key]) < float(wanted),
    }
    return all(tests[operator](key, wanted) for operator, keys in condition.items() for key, wanted in keys.items())


class TestS3:
    BUCKETS = pytest.mark.parametrize(
        ("name", "region"),
        [
            ("data-cold", "us-east-1"),
            ("data-cold-logs", "us-east-1"),
            ("data-replica", "us-west-2"),
            ("data-replica-logs", "us-west-2"),
        ],
    )
    BOTH = pytest.mark.parametrize("name", ["data-cold", "data-replica"])
    DATA = pytest.mark.parametrize(("name", "region"), [("data-cold", "us-east-1"), ("data-replica", "us-west-2")])

    def one(self, kind: str, name: str) -> Mapping[str, Any]:
        module = kind[0].lower() + kind[1:]
        return whole("aws").one(f"aws:s3/{module}:{kind}", name).inputs

    @BUCKETS
    def test_buckets_are_private_versioned_and_never_emptied(self, name: str, region: str) -> None:
        bucket = self.one("Bucket", name)
        assert bucket["forceDestroy"] is False
        assert "bucket" not in bucket, "names are global: Pulumi adds a suffix"
        assert bucket["region"] == region
        assert bucket["tags"] == {"owner": "research", "cost-center": "R&D", "Name": name}
        assert self.one("BucketVersioning", name)["versioningConfiguration"] == {"status": "Enabled"}
        assert self.one("BucketOwnershipControls", name)["rule"] == {"objectOwnership": "BucketOwnerEnforced"}
        access = self.one("BucketPublicAccessBlock", name)
        for block in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"):
            assert access[block] is True

    @DATA
    def test_data_is_encrypted_with_the_key_of_its_region(self, name: str, region: str) -> None:
        (rule,) = self.one("BucketServerSideEncryptionConfiguration", name)["rules"]
        default = rule["applyServerSideEncryptionByDefault"]
        assert default["sseAlgorithm"] == "aws:kms"
        assert default["kmsMasterKeyId"].startswith(f"arn:aws:kms:{region}:")
        assert rule["bucketKeyEnabled"] is True
        assert rule["blockedEncryptionTypes"] == ["SSE-C"]

    @pytest.mark.parametrize("name", ["data-cold", "data-cold-logs", "data-replica", "data-replica-logs"])
    def test_policy_refuses_plain_and_old_tls(self, name: str) -> None:
        policy = policy_of(whole("aws").one("aws:s3/bucketPolicy:BucketPolicy", name))
        plain, old = policy["OnlyOverTls"], policy["OnlyOverRecentTls"]
        for statement in (plain, old):
            assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
            assert len(statement["Resource"]) == 2, "the bucket and its objects"
        assert holds(plain["Condition"], {"aws:SecureTransport": "false"})
        assert not holds(plain["Condition"], {"aws:SecureTransport": "true"})
        assert holds(old["Condition"], {"s3:TlsVersion": "1.1"})
        assert not holds(old["Condition"], {"s3:TlsVersion": "1.2"})

    @BOTH
    def test_policy_refuses_every_key_but_its_own(self, name: str) -> None:
        statement = policy_of(whole("aws").one("aws:s3/bucketPolicy:BucketPolicy", name))["OnlyWithOwnKey"]
        assert (statement["Effect"], statement["Action"]) == ("Deny", "s3:PutObject")
        (rule,) = self.one("BucketServerSideEncryptionConfiguration", name)["rules"]
        own = rule["applyServerSideEncryptionByDefault"]["kmsMasterKeyId"]
        method, key = "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"
        refused = [{method: "AES256"}, {method: "aws:kms"}, {method: "aws:kms", key: "arn:aws:kms:us-east-1:1:key/x"}]
        assert all(holds(statement["Condition"], request) for request in refused)
        assert not any(holds(statement["Condition"], request) for request in [{}, {method: "aws:kms", key: own}])

    @BOTH
    def test_objects_age(self, name: str) -> None:
        rules = {rule["id"]: rule for rule in self.one("BucketLifecycleConfiguration", name)["rules"]}
        assert all(rule["status"] == "Enabled" and rule["filter"] == {"prefix": ""} for rule in rules.values())
        assert [(step["days"], step["storageClass"]) for step in rules["colder-with-age"]["transitions"]] == [
            (30, "STANDARD_IA"),
            (90, "GLACIER_IR"),
            (365, "DEEP_ARCHIVE"),
        ]
        old = rules["old-versions"]
        assert old["noncurrentVersionExpiration"] == {"noncurrentDays": 180}
        assert old["noncurrentVersionTransitions"] == [{"noncurrentDays": 30, "storageClass": "GLACIER"}]
        assert old["expiration"] == {"expiredObjectDeleteMarker": True}
        assert rules["abandoned-uploads"]["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 7}

    def test_by_default_every_object_stays_readable(self) -> None:
        rules = least("aws").one("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "data-cold").inputs
        classes = [step["storageClass"] for rule in rules["rules"] for step in rule.get("transitions", [])]
        assert classes == ["STANDARD_IA", "GLACIER_IR"]
        assert not any("noncurrentVersionTransitions" in rule for rule in rules["rules"]), "90 days are too few for it"

    @DATA
    def test_requests_are_logged_in_the_same_region(self, name: str, region: str) -> None:
        plan = whole("aws")
        logging = self.one("BucketLogging", name)
        logs = plan.one("aws:s3/bucket:Bucket", f"{name}-logs")
        assert logging["targetBucket"] == logs.outputs["bucket"]
        assert logging["region"] == logs.inputs["region"] == region
        delivery = policy_of(plan.one("aws:s3/bucketPolicy:BucketPolicy", f"{name}-logs"))["LogDelivery"]
        assert delivery["Principal"] == {"Service": "logging.s3.amazonaws.com"}
        assert delivery["Action"] == "s3:PutObject"
        assert delivery["Condition"]["StringEquals"]["aws:SourceAccount"].isdigit()
        expiry = self.one("BucketLifecycleConfiguration", f"{name}-logs")["rules"][0]
        assert expiry["expiration"] == {"days": 90}

    def test_keys_rotate_and_can_be_brought_back(self) -> None:
        keys = {key.name: key.inputs for key in whole("aws").of_type("aws:kms/key:Key")}
        assert {name: key["region"] for name, key in keys.items()} == {"data": "us-east-1", "data-replica": "us-west-2"}
        for key in keys.values():
            assert key["enableKeyRotation"] is True
            assert key["deletionWindowInDays"] == 30

    def test_only_a_linked_lustre_gets_more_of_the_key_than_iam_grants(self) -> None:
        with_lustre = policy_of(whole("aws").one("aws:kms/key:Key", "data"))
        assert set(with_lustre) == {"IamGoverns", "LustreThroughS3", "LustreLogs"}
        condition = with_lustre["LustreThroughS3"]["Condition"]
        assert condition["StringEquals"]["kms:ViaService"] == "s3.us-east-1.amazonaws.com"
        assert condition["StringEquals"]["kms:CallerAccount"].isdigit()
        assert "AWSServiceRoleForFSxS3Access_" in condition["ArnLike"]["aws:PrincipalArn"]
        assert set(policy_of(whole("aws").one("aws:kms/key:Key", "data-replica"))) == {"IamGoverns"}
        assert set(policy_of(least("aws").one("aws:kms/key:Key", "data"))) == {"IamGoverns"}


class TestS3Replication:
    def test_copies_every_object_under_the_other_regions_key_in_time(self) -> None:
        plan = whole("aws")
        replication = plan.one("aws:s3/bucketReplicationConfig:BucketReplicationConfig")
        source = plan.one("aws:s3/bucket:Bucket", "data-cold").outputs
        target = plan.one("aws:s3/bucket:Bucket", "data-replica").outputs
        assert replication.inputs["region"] == "us-east-1"
        assert replication.inputs["bucket"] == source["bucket"]
        (rule,) = replication.inputs["rules"]
        assert (rule["status"], rule["filter"]) == ("Enabled", {"prefix": ""})
        assert rule["deleteMarkerReplication"] == {"status": "Enabled"}
        assert rule["sourceSelectionCriteria"] == {"sseKmsEncryptedObjects": {"status": "Enabled"}}
        destination = rule["destination"]
        assert destination["bucket"] == target["arn"]
        assert destination["encryptionConfiguration"]["replicaKmsKeyId"].startswith("arn:aws:kms:us-west-2:")
        assert destination["replicationTime"] == {"status": "Enabled", "time": {"minutes": 15}}
        assert destination["metrics"] == {"status": "Enabled", "eventThreshold": {"minutes": 15}}

    def test_waits_for_versioning_on_both_sides(self) -> None:
        plan = whole("aws")
        replication = plan.one("aws:s3/bucketReplicationConfig:BucketReplicationConfig")
        for name in ("data-cold", "data-replica"):
            assert plan.one("aws:s3/bucketVersioning:BucketVersioning", name).urn in replication.dependencies

    def test_role_reads_the_source_writes_the_copy_and_nothing_else(self) -> None:
        plan = whole("aws")
        source = plan.one("aws:s3/bucket:Bucket", "data-cold").outputs["arn"]
        target = plan.one("aws:s3/bucket:Bucket", "data-replica").outputs["arn"]
        (trust,) = policy_of(plan.one("aws:iam/role:Role", "data-replication"), "assumeRolePolicy").values()
        assert trust["Principal"] == {"Service": "s3.amazonaws.com"}
        assert trust["Condition"]["ArnEquals"] == {"aws:SourceArn": source}
        statements = policy_of(plan.one("aws:iam/rolePolicy:RolePolicy", "data-replication")).values()
        allowed = {(action, statement["Resource"]) for statement in statements for action in statement["Action"]}
        on_s3 = {(action, resource) for action, resource in allowed if action.startswith("s3:")}
        assert on_s3 == {
            ("s3:GetReplicationConfiguration", source),
            ("s3:ListBucket", source),
            ("s3:GetObjectVersionForReplication", f"{source}/*"),
            ("s3:GetObjectVersionAcl", f"{source}/*"),
            ("s3:GetObjectVersionTagging", f"{source}/*"),
            ("s3:ReplicateObject", f"{target}/*"),
            ("s3:ReplicateDelete", f"{target}/*"),
            ("s3:ReplicateTags", f"{target}/*"),
        }
        on_keys = {(action, resource.split(":")[3]) for action, resource in allowed - on_s3}
        assert on_keys == {
            ("kms:Decrypt", "us-east-1"),
            ("kms:Encrypt", "us-west-2"),
            ("kms:GenerateDataKey", "us-west-2"),
        }
        via = {s["Condition"]["StringLike"]["kms:ViaService"] for s in statements if "Condition" in s}
        assert via == {"s3.us-east-1.amazonaws.com", "s3.us-west-2.amazonaws.com"}


class TestEfs:
    def test_is_encrypted_elastic_backed_up_and_ages(self) -> None:
        plan = whole("aws")
        file_system = plan.one("aws:efs/fileSystem:FileSystem", "data-warm").inputs
        assert file_system["encrypted"] is True
        assert file_system["kmsKeyId"] == plan.outputs["encryption_key"]
        assert file_system["throughputMode"] == "elastic"
        assert file_system["lifecyclePolicies"] == [
            {"transitionToIa": "AFTER_30_DAYS"},
            {"transitionToArchive": "AFTER_90_DAYS"},
            {"transitionToPrimaryStorageClass": "AFTER_1_ACCESS"},
        ]
        assert plan.one("aws:efs/backupPolicy:BackupPolicy").inputs["backupPolicy"] == {"status": "ENABLED"}

    def test_is_reachable_in_each_zone_by_nfs_from_the_network_only(self) -> None:
        plan = whole("aws")
        targets = plan.of_type("aws:efs/mountTarget:MountTarget")
        assert sorted(target.inputs["subnetId"] for target in targets) == ["subnet-a", "subnet-b", "subnet-c"]
        group = plan.one("aws:ec2/securityGroup:SecurityGroup", "data-warm")
        assert {tuple(target.inputs["securityGroups"]) for target in targets} == {(group.id,)}
        (rule,) = group.inputs["ingress"]
        assert (rule["protocol"], rule["fromPort"], rule["toPort"]) == ("tcp", 2049, 2049)
        assert rule["cidrBlocks"] == ["10.20.0.0/16"]
        assert rule["self"] is False
        assert group.inputs["egress"] == []

    def test_policy_admits_own_identities_over_tls_through_access_points(self) -> None:
        policy = policy_of(whole("aws").one("aws:efs/fileSystemPolicy:FileSystemPolicy"))
        assert policy["OnlyOverTls"]["Effect"] == "Deny"
        assert holds(policy["OnlyOverTls"]["Condition"], {"aws:SecureTransport": "false"})
        admitted = policy["OwnIdentitiesThroughAccessPoints"]
        assert admitted["Action"] == ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"], "not as root"
        account = admitted["Condition"]["StringEquals"]["aws:PrincipalAccount"]
        assert account.isdigit()
        request = {
            "aws:PrincipalAccount": account,
            "elasticfilesystem:AccessedViaMountTarget": "true",
            "elasticfilesystem:AccessPointArn": "arn:aws:elasticfilesystem:us-east-1:1:access-point/fsap-1",
        }
        assert holds(admitted["Condition"], request)
        for missing in request:
            assert not holds(admitted["Condition"], {k: v for k, v in request.items() if k != missing}), missing
        assert not holds(admitted["Condition"], {**request, "aws:PrincipalAccount": "999999999999"})

    def test_each_namespace_sees_its_own_directory_as_an_ordinary_user(self) -> None:
        points = whole("aws").of_type("aws:efs/accessPoint:AccessPoint")
        assert sorted(point.inputs["rootDirectory"]["path"] for point in points) == ["/serving", "/training"]
        for point in points:
            assert point.inputs["posixUser"] == {"uid": 1000, "gid": 1000}
            made = point.inputs["rootDirectory"]["creationInfo"]
            assert made == {"ownerUid": 1000, "ownerGid": 1000, "permissions": "0770"}


class TestFsx:
    def test_is_persistent_encrypted_and_compressed(self) -> None:
        plan = whole("aws")
        lustre = plan.one("aws:fsx/lustreFileSystem:LustreFileSystem", "data-hot").inputs
        assert lustre["deploymentType"] == "PERSISTENT_2"
        assert lustre["storageType"] == "SSD"
        assert (lustre["storageCapacity"], lustre["perUnitStorageThroughput"]) == (2400, 250)
        assert lustre["dataCompressionType"] == "LZ4"
        assert lustre["metadataConfiguration"] == {"mode": "AUTOMATIC"}
        assert lustre["kmsKeyId"] == plan.outputs["encryption_key"]
        assert lustre["subnetIds"] == "subnet-a"
        logs = plan.one("aws:cloudwatch/logGroup:LogGroup", "data-hot")
        assert logs.inputs["namePrefix"].startswith("/aws/fsx/")
        assert logs.inputs["kmsKeyId"] == plan.outputs["encryption_key"]
        assert lustre["logConfiguration"]["level"] == "WARN_ERROR"

    def test_is_linked_to_the_bucket_both_ways(self) -> None:
        plan = whole("aws")
        link = plan.one("aws:fsx/dataRepositoryAssociation:DataRepositoryAssociation").inputs
        assert link["dataRepositoryPath"] == plan.outputs["bucket_url"]
        assert link["fileSystemPath"] == "/"
        assert link["batchImportMetaDataOnCreate"] is True
        events = {"events": ["NEW", "CHANGED", "DELETED"]}
        assert link["s3"] == {"autoImportPolicy": events, "autoExportPolicy": events}

    def test_opens_lustres_ports_to_the_network_and_itself(self) -> None:
        group = whole("aws").one("aws:ec2/securityGroup:SecurityGroup", "data-hot").inputs
        for rules in (group["ingress"], group["egress"]):
            assert [(rule["fromPort"], rule["toPort"]) for rule in rules] == [(988, 988), (1018, 1023)]
            assert all(rule["cidrBlocks"] == ["10.20.0.0/16"] and rule["self"] is True for rule in rules)


class TestVolumes:
    def csi(self, tier: str) -> tuple[dict[str, Any], list[str]]:
        spec = whole("aws").one("kubernetes:core/v1:PersistentVolume", f"data-{tier}-training").inputs["spec"]
        return spec["csi"], spec["mountOptions"]

    def test_fsx(self) -> None:
        csi, options = self.csi("hot")
        lustre = whole("aws").one("aws:fsx/lustreFileSystem:LustreFileSystem")
        assert csi["volumeHandle"] == f"{lustre.id}:training"
        names = {"dnsname": lustre.outputs["dnsName"], "mountname": lustre.outputs["mountName"]}
        assert csi["volumeAttributes"] == names
        assert "flock" in options

    def test_efs(self) -> None:
        csi, options = self.csi("warm")
        plan = whole("aws")
        point = plan.one("aws:efs/accessPoint:AccessPoint", "data-warm-training")
        assert csi["volumeHandle"] == f"{plan.one('aws:efs/fileSystem:FileSystem').id}::{point.id}"
        assert options == ["tls", "iam"]
        volume = plan.one("kubernetes:core/v1:PersistentVolume", "data-warm-training")
        targets = {target.urn for target in plan.of_type("aws:efs/mountTarget:MountTarget")}
        assert len(targets) == 3
        assert targets <= set(volume.dependencies)

    def test_mountpoint_for_s3(self) -> None:
        csi, options = self.csi("cold")
        assert csi["volumeAttributes"] == {
            "bucketName": whole("aws").outputs["bucket"],
            "authenticationSource": "pod",
            "cache": "emptyDir",
            "cacheEmptyDirSizeLimit": "50Gi",
        }
        assert {"region us-east-1", "uid=1000", "gid=1000", "allow-delete", "allow-overwrite"} <= set(options)
