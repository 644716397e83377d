"""TieredStorage on either cloud: claims, protection, what isn't asked for, and what is refused."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pytest

from components.storage import TieredStorage
from planner.plan import UNKNOWN
from tests.components.storage_programs import NAMESPACES, arguments, least, program, whole
from tests.support import plan_of

DRIVERS = {
    "aws": {"hot": "fsx.csi.aws.com", "warm": "efs.csi.aws.com", "cold": "s3.csi.aws.com"},
    "gcp": {
        "hot": "lustre.csi.storage.gke.io",
        "warm": "filestore.csi.storage.gke.io",
        "cold": "gcsfuse.csi.storage.gke.io",
    },
}
CLOUDS = pytest.mark.parametrize("cloud", ["aws", "gcp"])


@CLOUDS
class TestClaims:
    def test_every_namespace_has_a_claim_named_after_each_tier(self, cloud: str) -> None:
        claims = whole(cloud).of_type("kubernetes:core/v1:PersistentVolumeClaim")
        found = {(claim.inputs["metadata"]["namespace"], claim.inputs["metadata"]["name"]) for claim in claims}
        assert found == {(namespace, tier) for namespace in NAMESPACES for tier in ("hot", "warm", "cold")}
        assert whole(cloud).outputs["claims"] == {"hot": "hot", "warm": "warm", "cold": "cold"}
        assert least(cloud).outputs["claims"] == {"cold": "cold"}

    def test_claim_and_volume_are_bound_to_each_other_and_no_provisioner(self, cloud: str) -> None:
        plan = whole(cloud)
        for claim in plan.of_type("kubernetes:core/v1:PersistentVolumeClaim"):
            volume = plan.one("kubernetes:core/v1:PersistentVolume", claim.name)
            spec, request = volume.inputs["spec"], claim.inputs["spec"]
            assert request["volumeName"] == volume.inputs["metadata"]["name"]
            assert spec["claimRef"]["name"] == claim.inputs["metadata"]["name"]
            assert spec["claimRef"]["namespace"] == claim.inputs["metadata"]["namespace"]
            assert spec["storageClassName"] == request["storageClassName"] == ""
            assert spec["accessModes"] == request["accessModes"] == ["ReadWriteMany"]
            assert spec["capacity"] == request["resources"]["requests"]
            assert spec["persistentVolumeReclaimPolicy"] == "Retain"

    def test_each_tier_has_its_driver_and_no_handle_is_there_twice(self, cloud: str) -> None:
        volumes = whole(cloud).of_type("kubernetes:core/v1:PersistentVolume")
        found = {(v.inputs["spec"]["claimRef"]["name"], v.inputs["spec"]["csi"]["driver"]) for v in volumes}
        assert found == set(DRIVERS[cloud].items())
        handles = [volume.inputs["spec"]["csi"]["volumeHandle"] for volume in volumes]
        assert len(set(handles)) == len(handles) == 6

    def test_a_namespace_that_comes_later_gets_a_claim_of_its_own(self, cloud: str) -> None:
        def declare() -> None:
            cluster = kubernetes.Provider("cluster", kubeconfig="{}")
            options = pulumi.ResourceOptions(providers=[cluster])
            storage = TieredStorage("data", arguments(cloud), options)
            later = kubernetes.core.v1.Namespace("later", opts=pulumi.ResourceOptions(provider=cluster))
            storage.claim("warm", "later", [later])
            with pytest.raises(ValueError, match="TieredStorage 'data': no tier 'tepid'; it has"):
                storage.claim("tepid", "later")

        plan = plan_of(declare)
        claim = plan.one("kubernetes:core/v1:PersistentVolumeClaim", "data-warm-later")
        assert (claim.inputs["metadata"]["namespace"], claim.inputs["metadata"]["name"]) == ("later", "warm")
        assert plan.one("kubernetes:core/v1:Namespace").urn in claim.dependencies
        others = plan.of_type("kubernetes:core/v1:PersistentVolumeClaim")
        volumes = {plan.one("kubernetes:core/v1:PersistentVolume", other.name).urn for other in others}
        assert len(volumes) == len(others) > 1
        points = plan.of_type("aws:efs/accessPoint:AccessPoint")
        assert [p.inputs["rootDirectory"]["path"] for p in points if p.name.endswith("-later")] == (
            ["/later"] if cloud == "aws" else []
        )

    def test_waits_for_what_makes_the_namespaces(self, cloud: str) -> None:
        def declare() -> None:
            cluster = kubernetes.Provider("cluster", kubeconfig="{}")
            namespace = kubernetes.core.v1.Namespace("training", opts=pulumi.ResourceOptions(provider=cluster))
            TieredStorage("data", arguments(cloud), pulumi.ResourceOptions(providers=[cluster], depends_on=[namespace]))

        plan = plan_of(declare)
        namespace = plan.one("kubernetes:core/v1:Namespace")
        claims = plan.of_type("kubernetes:core/v1:PersistentVolumeClaim")
        assert len(claims) == 6
        assert all(namespace.urn in claim.dependencies for claim in claims)

    def test_goes_to_the_cluster_that_the_options_name(self, cloud: str) -> None:
        plan = whole(cloud)
        cluster = plan.one("pulumi:providers:kubernetes", "cluster")
        objects = plan.of_type("kubernetes:core/v1:PersistentVolumeClaim", "kubernetes:core/v1:PersistentVolume")
        assert len(objects) == 12
        assert all(resource.provider.startswith(cluster.urn) for resource in objects)


@CLOUDS
class TestAlternatives:
    def test_without_replication_there_is_no_second_bucket(self, cloud: str) -> None:
        plan = least(cloud)
        assert plan.outputs["replica_bucket"] == ""
        kinds = set(plan.kinds)
        assert not kinds & {
            "aws:s3/bucketReplicationConfig:BucketReplicationConfig",
            "aws:iam/role:Role",
            "gcp:storage/transferJob:TransferJob",
            "gcp:projects/iAMMember:IAMMember",
        }
        assert not [resource.name for resource in plan if "replica" in resource.name]

    def test_a_tier_that_is_not_asked_for_is_not_built(self, cloud: str) -> None:
        assert not [
            r.type
            for r in least(cloud)
            if r.type.split("/")[0] in ("aws:fsx", "aws:efs", "gcp:lustre", "gcp:filestore")
        ]

    def test_where_nothing_mounts_there_are_tiers_but_no_claims(self, cloud: str) -> None:
        plan = plan_of(program(arguments(cloud, namespaces=[])))
        assert len(plan.of_type("aws:efs/fileSystem:FileSystem", "gcp:filestore/instance:Instance")) == 1
        assert not plan.of_type("kubernetes:core/v1:PersistentVolumeClaim", "kubernetes:core/v1:PersistentVolume")

    def test_a_preview_knows_the_claims_but_no_names_that_the_cloud_gives(self, cloud: str) -> None:
        plan = plan_of(program(arguments(cloud)))
        assert plan.outputs["claims"] == {"hot": "hot", "warm": "warm", "cold": "cold"}
        assert plan.outputs["encryption_key"] == UNKNOWN
        assert {resource.urn for resource in plan} == {resource.urn for resource in whole(cloud)}

    def test_everything_lies_in_the_regions_that_were_named(self, cloud: str) -> None:
        regions = {r.inputs["region"] for r in whole(cloud) if r.package == "aws" and "region" in r.inputs}
        assert regions == ({"us-east-1", "us-west-2"} if cloud == "aws" else set())
        regional = [r for r in whole(cloud) if r.package == "aws" and not r.type.startswith("aws:iam/")]
        assert all("region" in resource.inputs for resource in regional)

    def test_numbers_may_be_floats(self, cloud: str) -> None:
        args = arguments(cloud, zone_count=3.0, warm={"capacity_gib": 2048.0}, cold={"noncurrent_days": 30.0})
        args["hot"]["capacity_gib"] = float(args["hot"]["capacity_gib"])
        volumes = plan_of(program(args)).of_type("kubernetes:core/v1:PersistentVolume")
        sizes = {volume.inputs["spec"]["capacity"]["storage"] for volume in volumes}
        assert "2048Gi" in sizes
        assert not [size for size in sizes if "." in size]


STATEFUL = {
    "aws:s3/bucket:Bucket",
    "aws:kms/key:Key",
    "aws:efs/fileSystem:FileSystem",
    "aws:fsx/lustreFileSystem:LustreFileSystem",
    "gcp:storage/bucket:Bucket",
    "gcp:kms/cryptoKey:CryptoKey",
    "gcp:filestore/instance:Instance",
    "gcp:lustre/instance:Instance",
}


@CLOUDS
class TestProtection:
    def test_protects_all_that_holds_data(self, cloud: str) -> None:
        plan = plan_of(program(arguments(cloud, protect=True)))
        holders = plan.of_type(*STATEFUL)
        assert len(holders) == {"aws": 8, "gcp": 6}[cloud]
        assert all(resource.protect for resource in holders)
        for resource in holders:
            if resource.package == "gcp":
                assert resource.inputs["deletionPolicy"] == "PREVENT"
        for filestore in plan.of_type("gcp:filestore/instance:Instance"):
            assert filestore.inputs["deletionProtectionEnabled"] is True

    def test_protects_nothing_by_default(self, cloud: str) -> None:
        assert not [resource.name for resource in whole(cloud) if resource.protect]

    def test_inherits_the_protection_of_the_whole(self, cloud: str) -> None:
        plan = plan_of(program(arguments(cloud), protect=True))
        assert all(resource.protect for resource in plan.of_type(*STATEFUL))


@pytest.mark.parametrize(
    ("cloud", "changes", "message"),
    [
        ("aws", {"cloud": "azure"}, "cloud is 'azure'; accepted are 'aws' and 'gcp'"),
        ("aws", {"namespaces": ["ok", "Not_OK"]}, r"namespaces[1] is 'Not_OK'; a namespace has lower-case"),
        ("gcp", {"namespaces": ["twice", "twice"]}, "namespaces[1] is 'twice'; it is there twice"),
        ("aws", {"zone_count": 0}, "zone_count is 0; accepted are 1 to 6"),
        (
            "aws",
            {"hot": {"capacity_gib": 1000}},
            "hot.capacity_gib is 1000; accepted at 250 MB/s per TiB are 1200, ",
        ),
        (
            "gcp",
            {"hot": {"capacity_gib": 9000, "throughput_mbps_per_tib": 500}},
            "multiples of 18000 up to 1908000",
        ),
        (
            "aws",
            {"hot": {"capacity_gib": 2400, "throughput_mbps_per_tib": 200}},
            "hot.throughput_mbps_per_tib is 200; accepted are 125, 250, 500, 1000",
        ),
        ("gcp", {"warm": {"capacity_gib": 512}}, "warm.capacity_gib is 512; accepted are 1024 to 10239"),
        ("gcp", {"warm": {"capacity_gib": 11000}}, "multiples of 2560 up to 102400"),
        ("aws", {"cold": {"infrequent_after_days": 7}}, "cold.infrequent_after_days is 7; accepted are 30 and more"),
        ("aws", {"cold": {"archive_after_days": 45}}, "cold.archive_after_days is 45; accepted are 60 and more"),
        (
            "gcp",
            {"cold": {"deep_archive_after_days": 100}},
            "deep_archive_after_days is 100; accepted are 180",
        ),
        ("aws", {"cold": {"noncurrent_days": 0}}, "cold.noncurrent_days is 0; accepted are 1 and more"),
        ("aws", {"cold": {"cache_gib": 0}}, "cold.cache_gib is 0; accepted are 1 and more"),
        (
            "aws",
            {"cold": {"replicate_to": "us-east-1"}},
            "replicate_to is 'us-east-1'; accepted is another region",
        ),
    ],
)
def test_wrong_arguments_are_refused_with_place_value_and_what_is_accepted(
    cloud: str, changes: dict[str, Any], message: str
) -> None:
    args = arguments(cloud, **changes)
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the message is compared below
        TieredStorage("data", args)
    assert str(refused.value).startswith("TieredStorage 'data': ")
    assert message in str(refused.value)


@pytest.mark.parametrize("name", ["Data", "9lives", "a" * 41, "under_score"])
def test_names_that_no_bucket_could_have_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"name is .*; it names the bucket"):
        TieredStorage(name, arguments("aws"))
