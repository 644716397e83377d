"""The mistakes that test_mistakes.py plants, one at a time, and what the preview has to say about each."""

from __future__ import annotations

from dataclasses import dataclass

DEV, STAGING = "stacks/Pulumi.dev.yaml", "stacks/Pulumi.staging.yaml"
EKS, NETWORK = "components/cluster/eks.py", "components/network/aws.py"
TRITON, POD = "components/inference/triton_inference.py", "components/inference/pod.py"
ENDPOINT, KARPENTER = "components/routing/aws.py", "components/cluster/karpenter_pools.py"
ENVIRONMENT = "stacks/environment.py"


@dataclass(frozen=True)
class Mistake:
    """One slip of the pen: `was`, which stands in `file` exactly once, becomes `becomes`."""

    name: str
    file: str
    was: str
    becomes: str
    says: tuple[str, ...]
    """What one error must contain, all of it: the place (a key's path, or resource and property) and the reason."""
    at: str = ""
    """File of which a line is named, where that isn't the changed statement: there the resource is made."""
    on: str = ""
    """Stack that is previewed; default the one whose file is changed, else dev."""
    up: bool = False
    """Can only be seen with the outputs that a cloud would give (`--simulate-up`)."""
    unseen: str = ""
    """The preview doesn't see it yet, for this reason. It is planted all the same: once it's seen, the test says so."""

    @property
    def stack(self) -> str:
        return self.on or ("staging" if self.file == STAGING else "dev")

    @property
    def in_settings(self) -> bool:
        return self.file.endswith(".yaml")


SETTINGS = (
    Mistake("required key misspelt", DEV, "ai-cloud:owner:", "ai-cloud:ownr:", ("ai-cloud:owner",)),
    Mistake(
        "optional key misspelt",
        DEV,
        "ai-cloud:protect:",
        "ai-cloud:protekt:",
        ("ai-cloud:protekt",),
    ),
    Mistake(
        "nested key misspelt", DEV, "localNvmeRaid: true", "localNvmeRaids: true", ("nodePools[1].localNvmeRaids",)
    ),
    Mistake("block left out", DEV, "      ladder:\n        - kind: spot\n", "", ("ai-cloud:nodePools[1].ladder",)),
    Mistake("number in quotes", DEV, "min: 0", 'min: "0"', ("ai-cloud:nodePools[1].min", "'0'")),
    Mistake("version without quotes", DEV, '"1.34"', "1.30", ("ai-cloud:kubernetesVersion", "1.3")),
    Mistake("version that is none", DEV, '"1.34"', '"one"', ("ai-cloud:kubernetesVersion", "one")),
    Mistake("no prefix length", DEV, "10.16.0.0/16", "10.16.0.0", ("ai-cloud:regions[0].cidr", "10.16.0.0")),
    Mistake("CIDR that is none", DEV, "10.16.0.0/16", "10.16.0.0/64", ("ai-cloud:regions[0].cidr", "10.16.0.0/64")),
    Mistake("CIDR with host bits", DEV, "10.16.0.0/16", "10.16.7.0/16", ("ai-cloud:regions[0].cidr", "10.16.7.0/16")),
    Mistake("CIDR too small", DEV, "10.16.0.0/16", "10.16.0.0/24", ("ai-cloud:regions[0].cidr", "/24")),
    Mistake("public CIDR", DEV, "10.16.0.0/16", "8.8.0.0/16", ("ai-cloud:regions[0].cidr", "8.8.0.0/16")),
    Mistake(
        "overlapping CIDRs", STAGING, "10.33.0.0/16", "10.32.128.0/17", ("ai-cloud:regions[1].cidr", "10.32.0.0/16")
    ),
    Mistake(
        "region twice",
        STAGING,
        "- region: gcp:us-central1",
        "- region: aws:us-west-2",
        ("ai-cloud:regions[1].region", "aws:us-west-2"),
    ),
    Mistake(
        "unknown region", DEV, "- region: aws:us-east-1", "- region: aws:us-east-9", ("regions[0].region", "us-east-9")
    ),
    Mistake(
        "unknown cloud", DEV, "- region: aws:us-east-1", "- region: aw:us-east-1", ("regions[0].region", "aw:us-east-1")
    ),
    Mistake("unknown purpose", DEV, "[serving]", "[serveing]", ("ai-cloud:regions[0].purposes", "serveing")),
    Mistake("minimum above maximum", DEV, "min: 2", "min: 5", ("ai-cloud:nodePools[0].min", "5", "4")),
    Mistake(
        "unknown accelerator",
        DEV,
        "accelerator: l4\n      min",
        "accelerator: l5\n      min",
        ("ai-cloud:nodePools[1].accelerator", "l5"),
    ),
    Mistake(
        "accelerator of the other cloud",
        DEV,
        "accelerator: l4\n      min",
        "accelerator: tpu-v5e\n      min",
        ("ai-cloud:nodePools[1].accelerator", "tpu-v5e"),
    ),
    Mistake(
        "unknown machine type",
        DEV,
        "accelerator: l4\n      min",
        "accelerator: l4\n      machineType: g6.tiny\n      min",
        ("ai-cloud:nodePools[1].machineType", "g6.tiny"),
    ),
    Mistake("unknown rung", DEV, "kind: spot", "kind: spots", ("ai-cloud:nodePools[1].ladder[0].kind", "spots")),
    Mistake(
        "reservation without its id",
        DEV,
        "kind: on-demand",
        "kind: reservation",
        ("ai-cloud:nodePools[0].ladder[0].reservations",),
    ),
    Mistake(
        "floor above maximum",
        STAGING,
        "ceiling: 3\n        - kind: on-demand\n          floor: 1  # one machine",
        "ceiling: 3\n        - kind: on-demand\n          floor: 9  # one machine",
        ("ai-cloud:nodePools[1].ladder[1].floor", "9"),
    ),
    Mistake(
        "pool twice in a region", DEV, "name: serving-l4", "name: system", ("ai-cloud:nodePools[1].name", "system")
    ),
    Mistake("unknown MIG profile", DEV, "mode: time-slicing", "mode: mig", ("ai-cloud:nodePools[1].gpuSharing",)),
    Mistake(
        "one pod sharing alone", DEV, "replicas: 2", "replicas: 1", ("ai-cloud:nodePools[1].gpuSharing.replicas", "1")
    ),
    Mistake(
        "colder too soon", DEV, "archiveAfterDays: 90", "archiveAfterDays: 40", ("storage.cold.archiveAfterDays", "40")
    ),
    Mistake(
        "copy in no region",
        DEV,
        "noncurrentDays: 7",
        "noncurrentDays: 7\n      replicateTo: {aws:us-east-1: aws:us-east-1}",
        ("ai-cloud:storage.cold.replicateTo", "aws:us-east-1"),
    ),
    Mistake(
        "zone id that is none", DEV, "Z0123456789EXAMPLE", "example.com", ("frontDoor.hostedZoneId", "example.com")
    ),
    Mistake("image without tag", DEV, "serving:0.1.0", "serving", ("ai-cloud:serving.image",)),
    Mistake("administrator of no cloud", DEV, "arn:aws:iam::", "aws:iam::", ("ai-cloud:administrators[0]",)),
    Mistake("model that fits no pool", DEV, "gpus: 1", "gpus: 8", ("ai-cloud:models[0].gpus", "8")),
    Mistake(
        "more replicas than most", DEV, "minReplicas: 1", "minReplicas: 9", ("ai-cloud:models[0].minReplicas", "9")
    ),
    Mistake(
        "owner that nobody can write to", DEV, "ml-platform@example.com  # the", "ml  # the", ("ai-cloud:owner", "ml")
    ),
    Mistake("YAML that is none", DEV, "purposes: [serving]", "purposes: [serving", ("stacks/Pulumi.dev.yaml",)),
)

PROGRAM = (
    Mistake(
        "nested key misspelt",
        EKS,
        '"endpoint_private_access"',
        '"endpoint_privat_access"',
        ("aws:eks/cluster:Cluster", "vpcConfig.endpoint_privat_access", "'endpoint_private_access'"),
    ),
    Mistake(
        "required nested block left out",
        EKS,
        '{"provider": {"key_arn": self.key.arn}, "resources": ["secrets"]}',
        '{"resources": ["secrets"]}',
        ("aws:eks/cluster:Cluster", "encryptionConfig.provider"),
    ),
    Mistake(
        "string for a list, two levels down",
        EKS,
        '"public_access_cidrs": list(args.public_access_cidrs) or None',
        '"public_access_cidrs": "10.0.0.0/8"',
        ("aws:eks/cluster:Cluster", "vpcConfig.publicAccessCidrs"),
    ),
    Mistake(
        "object for a string",
        EKS,
        "policy=json.dumps(key_policy(partition, account, region, args.cluster_name))",
        "policy=key_policy(partition, account, region, args.cluster_name)",
        ("aws:kms/key:Key", "policy"),
    ),
    Mistake(
        "word for a number",
        "components/storage/s3.py",
        '{"days_after_initiation": 7}',
        '{"days_after_initiation": "a week"}',
        ("BucketLifecycleConfiguration", "abortIncompleteMultipartUpload.daysAfterInitiation"),
        at="components/storage/s3.py",
    ),
    Mistake(
        "enum value misspelt",
        EKS,
        '"authentication_mode": "API"',
        '"authentication_mode": "APIS"',
        ("aws:eks/cluster:Cluster", "accessConfig.authenticationMode", "APIS"),
    ),
    Mistake(
        "enum value misspelt in a list of blocks",
        "components/storage/s3.py",
        '"storage_class": "STANDARD_IA"',
        '"storage_class": "STANDARD_AI"',
        ("BucketLifecycleConfiguration", "storageClass", "STANDARD_AI"),
        at="components/storage/s3.py",
        unseen="the SDK says no more than `str`; planner.engine.limits could list S3's storage classes",
    ),
    Mistake(
        "resource without a region",
        EKS,
        '            upgrade_policy={"support_type": "STANDARD"},\n            zonal_shift_config={"enabled": True},\n'
        "            deletion_protection=args.protect,\n            region=region,\n",
        '            upgrade_policy={"support_type": "STANDARD"},\n            zonal_shift_config={"enabled": True},\n'
        "            deletion_protection=args.protect,\n",
        ("aws:eks/cluster:Cluster", "region"),
    ),
    Mistake(
        "same name for several resources",
        NETWORK,
        "f\"{name}-{service.replace('.', '-')}\"",
        'f"{name}-service"',
        ("aws:ec2/vpcEndpoint:VpcEndpoint", "us-east-1-network-service"),
    ),
    Mistake(
        "required argument left out",
        NETWORK,
        "route_table_id=table.id,\n            subnet_id",
        "subnet_id",
        ("route_table_id",),
    ),
    Mistake(
        "argument misspelt",
        NETWORK,
        "enable_dns_hostnames=True",
        "enable_dns_hostname=True",
        ("enable_dns_hostname",),
    ),
    Mistake(
        "port range upside down",
        NETWORK,
        "            from_port=443,\n            to_port=443,\n".replace("            ", "                "),
        "            from_port=8443,\n            to_port=443,\n".replace("            ", "                "),
        ("SecurityGroupIngressRule", "fromPort", "8443"),
    ),
    Mistake(
        "bad CIDR in the program",
        NETWORK,
        '"cidr_block": "0.0.0.0/0"',
        '"cidr_block": "0.0.0.0/33"',
        ("aws:ec2/routeTable:RouteTable", "routes[0].cidrBlock", "0.0.0.0/33"),
        unseen="planner.engine.limits knows CIDRs of subnets, rules and clusters, not those of route tables",
    ),
    Mistake(
        "zone of another region",
        NETWORK,
        "availability_zone=zone",
        'availability_zone="eu-west-1a"',
        ("aws:ec2/subnet:Subnet", "availabilityZone", "eu-west-1a"),
        unseen="nothing compares a zone with the resource's region; planner.engine.curated could",
    ),
    Mistake(
        "instance type that cannot be one",
        "components/cluster/eks_nodes.py",
        'SYSTEM_MACHINE = "m7i.xlarge"',
        'SYSTEM_MACHINE = "m7i-xlarge"',
        ("LaunchTemplate", "instanceType", "m7i-xlarge"),
        at="components/cluster/eks_nodes.py",
    ),
    Mistake(
        "attribute that a resource hasn't",
        NETWORK,
        "network_id=self.vpc.id",
        "network_id=self.vpc.vpc_id",
        ("AttributeError", "vpc_id"),
    ),
    Mistake(
        "apply on an attribute that isn't there",
        EKS,
        "lambda authority: authority.data",
        "lambda authority: authority.date",
        ("AttributeError", "date"),
        up=True,
        unseen="it is seen, but placed at the resource that waits for the output, not in the function",
    ),
    Mistake(
        "name that cannot be imported",
        NETWORK,
        "from components.tags import aws_tags",
        "from components.tags import aws_tagz as aws_tags",
        ("ImportError", "aws_tagz"),
    ),
    Mistake(
        "module that isn't there",
        ENVIRONMENT,
        "from components.routing import neg_annotation",
        "from components.rooting import neg_annotation",
        ("ModuleNotFoundError", "components.rooting"),
    ),
    Mistake(
        "syntax error",
        ENVIRONMENT,
        'TRAINING_NAMESPACE = "training"',
        'TRAINING_NAMESPACE = "training',
        ("SyntaxError",),
    ),
    Mistake(
        "exception in the program",
        ENVIRONMENT,
        'partial("{}-{}".format, region.name)',
        'partial("{}-{}".format, 1 / 0)',
        ("ZeroDivisionError",),
    ),
    Mistake(
        "component argument left out",
        ENVIRONMENT,
        '                "cidr": region.cidr,\n',
        "",
        ("cidr",),
    ),
    Mistake(
        "component argument misspelt",
        ENVIRONMENT,
        '"nat_per_zone": region.nat_per_zone',
        '"nat_per_zones": region.nat_per_zone',
        ("nat_per_zones",),
        unseen="a component's arguments are a plain dict; nothing compares its keys with the TypedDict's",
    ),
    Mistake(
        "component argument that it refuses",
        ENVIRONMENT,
        "[TRAINING_NAMESPACE] if trains else []",
        '["Training"]',
        ("TieredStorage", "namespaces[0]", "Training"),
    ),
    Mistake(
        "resource for the wrong provider",
        ENVIRONMENT,
        "providers=[self.cluster.kubernetes]",
        "providers=[]",
        ("kubernetes", "provider"),
        unseen="Pulumi would take the kubeconfig of whoever runs it; `pulumi:disable-default-providers` refuses that",
    ),
    Mistake(
        "Kubernetes field misspelt",
        TRITON,
        '"unhealthy_pod_eviction_policy"',
        '"unhealthy_pod_evicton_policy"',
        ("PodDisruptionBudget", "spec", "unhealthyPodEvictionPolicy"),
    ),
    Mistake(
        "Kubernetes field misspelt, far down",
        POD,
        '"allow_privilege_escalation"',
        '"allow_privilege_escalations"',
        ("Deployment", "spec.template.spec.containers[0].securityContext"),
        at=TRITON,
    ),
    Mistake(
        "Kubernetes value of the wrong type",
        POD,
        '"timeout_seconds": 5,\n    }',
        '"timeout_seconds": "5s",\n    }',
        ("Deployment", "timeoutSeconds"),
        at=TRITON,
    ),
    Mistake(
        "Kubernetes name that is none",
        TRITON,
        'f"{name}-budget",\n            metadata={**placed, "name": name}',
        'f"{name}-budget",\n            metadata={**placed, "name": "Budget_1"}',
        ("PodDisruptionBudget", "metadata.name", "Budget_1"),
    ),
    Mistake(
        "selector that matches no pod",
        POD,
        '"metadata": {"labels": server.labels}',
        '"metadata": {"labels": {"app": "triton"}}',
        ("Deployment", "selector"),
        at=TRITON,
    ),
    Mistake(
        "field of a custom resource misspelt",
        KARPENTER,
        '"weight": capacity.weight',
        '"wait": capacity.weight',
        ("NodePool", "spec.wait", "unknown property"),
        at="components/cluster/karpenter.py",
    ),
    Mistake(
        "value that a custom resource refuses",
        KARPENTER,
        '"consolidationPolicy": "WhenEmptyOrUnderutilized"',
        '"consolidationPolicy": "WhenUnderutilized"',
        ("NodePool", "spec.disruption.consolidationPolicy", "WhenUnderutilized"),
        at="components/cluster/karpenter.py",
    ),
    Mistake(
        "pool without its taint",
        "components/cluster/ladder.py",
        "own.append(Taint(self.resource, labels.ACCELERATOR_TAINTS[self.resource]))",
        "pass",
        ("taint", "serving-l4"),
        unseen="a rule on the plan, for planner.checks: machines with accelerators are tainted",
    ),
    Mistake(
        "provider that is none",
        ENVIRONMENT,
        "provider=self.cluster.kubernetes, parent=self.cluster",
        "provider=self.cluster, parent=self.cluster",
        ("AttributeError", "GpuCluster"),
        on="staging",
    ),
    Mistake(
        "provider of another cloud",
        ENVIRONMENT,
        "provider=self.cluster.kubernetes, parent=self.cluster",
        'provider=pulumi.ProviderResource("aws", "other", {}), parent=self.cluster',
        ("us-west-2-training", "provider"),
        on="staging",
        unseen="the SDK drops a provider of another package and takes the default one",
    ),
    Mistake(
        "nested key misspelt, on the other cloud",
        "components/storage/gcs.py",
        '"default_kms_key_name"',
        '"default_kms_keyname"',
        ("gcp:storage/bucket:Bucket", "encryption.default_kms_keyname", "default_kms_key_name"),
        on="staging",
    ),
    Mistake(
        "list for an object, on the other cloud",
        "components/storage/gcs.py",
        'versioning={"enabled": True}',
        'versioning=[{"enabled": True}]',
        ("gcp:storage/bucket:Bucket", "versioning"),
        on="staging",
    ),
    Mistake(
        "policy that is no JSON",
        EKS,
        'assume_role_policy=json.dumps(service_trust("eks.amazonaws.com"))',
        'assume_role_policy=str(service_trust("eks.amazonaws.com"))',
        ("aws:iam/role:Role", "assumeRolePolicy"),
    ),
    Mistake(
        "two that exclude each other",
        NETWORK,
        "availability_zone=zone",
        'availability_zone=zone,\n                availability_zone_id="use1-az1"',
        ("aws:ec2/subnet:Subnet", "availabilityZone", "conflicts"),
    ),
    Mistake(
        "retention that CloudWatch doesn't offer",
        EKS,
        "retention_in_days=args.log_retention_days",
        "retention_in_days=31",
        ("aws:cloudwatch/logGroup:LogGroup", "retentionInDays", "31"),
    ),
    Mistake(
        "apply on a key that isn't there",
        ENVIRONMENT,
        'self.storage.bucket_url.apply(lambda url: f"{url}/models")',
        'self.storage.claims.apply(lambda claims: claims["hotter"])',
        ("KeyError", "hotter"),
    ),
)
