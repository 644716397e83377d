"""Plans of other people: nothing of aicloud in them, odd shapes, very many resources."""

from __future__ import annotations

from typing import Any

from planner.plan import UNKNOWN, Plan, Resource

URN = "urn:pulumi:{stack}::shop::{type}::{name}"


def resource(type: str, name: str, inputs: dict[str, Any] | None = None, **more: Any) -> Resource:
    """A resource by itself."""
    return Resource(
        URN.format(stack=more.pop("stack", "live"), type=type, name=name), type, inputs=inputs or {}, **more
    )


def plan(*resources: Resource, stack: str = "live") -> Plan:
    """A plan of them."""
    return Plan.of("shop", stack, resources)


def plain_eks() -> Plan:
    """A VPC, EKS with a managed node group, a database and buckets, as a person writes it without components."""
    vpc = resource("aws:ec2/vpc:Vpc", "main", {"cidrBlock": "10.0.0.0/16", "region": "eu-west-1"},
                   outputs={"id": "vpc-1"})  # fmt: skip
    subnets = [
        resource("aws:ec2/subnet:Subnet", f"private-{zone}",
                 {"vpcId": "vpc-1", "cidrBlock": f"10.0.{n}.0/24", "availabilityZone": f"eu-west-1{zone}",
                  "region": "eu-west-1"}, outputs={"id": f"subnet-{zone}"})
        for n, zone in enumerate("ab")
    ]  # fmt: skip
    cluster = resource(
        "aws:eks/cluster:Cluster", "shop",
        {"region": "eu-west-1", "version": "1.34", "vpcConfig": {"subnetIds": ["subnet-a", "subnet-b"]}},
        outputs={"name": "shop-1", "id": "shop-1"},
    )  # fmt: skip
    group = resource(
        "aws:eks/nodeGroup:NodeGroup", "workers",
        {"region": "eu-west-1", "clusterName": "shop-1", "instanceTypes": ["m7i.large"],
         "subnetIds": ["subnet-a", "subnet-b"], "scalingConfig": {"minSize": 2, "maxSize": 6, "desiredSize": 2}},
    )  # fmt: skip
    others = [
        resource("aws:s3/bucketV2:BucketV2", f"bucket-{n}", {"region": "eu-west-1"}, outputs={"bucket": f"bucket-{n}"})
        for n in range(7)
    ] + [resource("aws:rds/instance:Instance", "orders", {"region": "eu-west-1"})]
    return plan(vpc, *subnets, cluster, group, *others)


def no_cluster() -> Plan:
    """Only functions, tables and a bucket."""
    return plan(
        *(resource("aws:lambda/function:Function", f"f{n}", {"region": "us-east-2"}) for n in range(3)),
        resource("aws:dynamodb/table:Table", "orders", {"region": "us-east-2"}),
        resource("aws:s3/bucket:Bucket", "site", {"region": "us-east-2"}),
    )


def nothing() -> Plan:
    """No resource at all."""
    return plan()


def without_regions() -> Plan:
    """Resources that don't say where they are, and some that no cloud of ours has."""
    return plan(resource("random:index/randomId:RandomId", "id"), resource("docker:index/image:Image", "image"))


def unknown_everywhere() -> Plan:
    """What only the cloud knows, where a diagram looks."""
    return plan(
        resource("aws:ec2/vpc:Vpc", "main", {"cidrBlock": UNKNOWN, "region": "us-east-1"}),
        resource("aws:eks/cluster:Cluster", "c", {"version": UNKNOWN, "vpcConfig": UNKNOWN, "region": "us-east-1"}),
        resource("aws:eks/nodeGroup:NodeGroup", "n",
                 {"clusterName": UNKNOWN, "scalingConfig": UNKNOWN, "instanceTypes": UNKNOWN, "region": "us-east-1"}),
        resource("aws:s3/bucket:Bucket", "b", {"bucket": UNKNOWN, "region": "us-east-1"}),
        resource("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "b",
                 {"bucket": UNKNOWN, "rules": UNKNOWN, "region": "us-east-1"}),
        resource("aws:fsx/lustreFileSystem:LustreFileSystem", "l", {"storageCapacity": UNKNOWN, "region": "us-east-1"}),
        resource("gcp:filestore/instance:Instance", "w", {"fileShares": UNKNOWN, "location": "us-central1"}),
        resource("gcp:storage/bucket:Bucket", "g", {"lifecycleRules": [UNKNOWN, 3], "location": "US"}),
        resource("gcp:storage/transferJob:TransferJob", "t", {"replicationSpec": UNKNOWN}),
        resource("kubernetes:core/v1:PersistentVolume", "pv", {"spec": UNKNOWN}),
        resource("kubernetes:apps/v1:Deployment", "d", {"spec": UNKNOWN}),
    )  # fmt: skip


def hostile_names() -> Plan:
    """Names that XML, Mermaid or Markdown could take for something else, or that no box is wide enough for."""
    names = ['<script>alert("1")</script>', "a&b\"c'd", "```end", "日本語の名前", "x" * 300, "1. first]", "\x07bell"]
    made = [
        resource("aws:eks/cluster:Cluster", name, {"region": "us-east-1", "name": name, "version": "1.35"},
                 outputs={"name": name})
        for name in names
    ] + [
        resource("aws:eks/nodeGroup:NodeGroup", f"{name} pool",
                 {"region": "us-east-1", "clusterName": name, "nodeGroupName": name,
                  "scalingConfig": {"minSize": 1, "maxSize": 2}})
        for name in names
    ]  # fmt: skip
    long_name = "-".join(["quite"] * 20) + ".example.com"
    balancer = resource(
        "aws:lb/loadBalancer:LoadBalancer", "lb", {"region": "us-east-1"}, outputs={"dnsName": "lb.aws"}
    )
    record = resource("aws:route53/record:Record", "r", {"name": long_name, "type": "CNAME", "records": ["lb.aws"]})
    return plan(*made, balancer, record, stack='<"&>' + "stack" * 30)


def mutual_replication() -> Plan:
    """Two regions that are each other's second copy."""
    made = []
    for here, there in (("us-east-1", "us-west-2"), ("us-west-2", "us-east-1")):
        made.append(
            resource("aws:s3/bucket:Bucket", f"data-{here}", {"region": here}, outputs={"bucket": f"data-{here}"})
        )
        made.append(
            resource("aws:s3/bucketReplicationConfig:BucketReplicationConfig", f"to-{there}",
                     {"region": here, "bucket": f"data-{here}",
                      "rules": [{"destination": {"bucket": f"data-{there}"}}]})
        )  # fmt: skip
        made.append(resource("aws:lambda/function:Function", f"f-{here}", {"region": here}))
    return plan(*made)


def very_large(count: int = 10_000, regions: int = 30) -> Plan:
    """Ten thousand resources in thirty regions: clusters with dozens of pools, and plumbing."""
    made: list[Resource] = []
    for r in range(regions):
        region = f"us-test-{r}"
        made += [
            resource("aws:eks/cluster:Cluster", f"c{r}-{c}", {"region": region, "name": f"c{r}-{c}", "version": "1.35"},
                     outputs={"name": f"c{r}-{c}"})
            for c in range(6)
        ]  # fmt: skip
        made += [
            resource("aws:eks/nodeGroup:NodeGroup", f"n{r}-{n}",
                     {"region": region, "clusterName": f"c{r}-{n % 6}", "instanceTypes": ["p5.48xlarge"],
                      "scalingConfig": {"minSize": 0, "maxSize": n}})
            for n in range(60)
        ]  # fmt: skip
        made += [resource("aws:s3/bucket:Bucket", f"b{r}-{n}", {"region": region}) for n in range(40)]
    rest = count - len(made)
    made += [
        resource("aws:iam/role:Role", f"role-{n}", {"region": f"us-test-{n % regions}"}) for n in range(rest)
    ]  # fmt: skip
    return plan(*made)


PLANS = {
    maker.__name__: maker
    for maker in (plain_eks, no_cluster, nothing, without_regions, unknown_everywhere, hostile_names,
                  mutual_replication)
}  # fmt: skip
