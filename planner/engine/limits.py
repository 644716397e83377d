"""Which values the clouds accept, where the SDKs say no more than "a string" or "a number".

Sources: ValidateFunc of the Terraform providers that pulumi-aws and pulumi-gcp are bridged from, and the clouds' API
references. Only what is certain and common stands here; whatever is missing is left to the cloud.
"""

from __future__ import annotations

from planner.engine import rules
from planner.engine.rules import Rule, between, matches, one_of

_GCP_NAME = matches(r"[a-z]([-a-z0-9]*[a-z0-9])?", "lower-case letters, digits and hyphens after a letter", 63)
_ARN = matches(r"arn:[\w-]+:[\w-]+:[\w-]*:[\w-]*:.+", "an ARN, arn:<partition>:<service>:<region>:<account>:<resource>")
_LB_NAME = matches(r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?", "letters, digits and hyphens, no hyphen at an end", 32)
_PORT = between(-1, 65535)
_STORAGE_CLASSES = (
    *("DEEP_ARCHIVE", "EXPRESS_ONEZONE", "GLACIER", "GLACIER_IR", "INTELLIGENT_TIERING", "ONEZONE_IA", "STANDARD_IA"),
)
_RETENTION_DAYS = (
    *(0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653),
)
_GCP_MACHINE = matches(r"(.*/)?[a-z0-9]+(-[a-z0-9]+)+", "a machine type of Google Cloud, such as g2-standard-8")
_NO_SCHEDULE = one_of("NO_SCHEDULE", "NO_EXECUTE", "PREFER_NO_SCHEDULE")

VALUES: tuple[tuple[str, str, Rule], ...] = (
    # token (with wildcards), property path, rule
    ("aws:*", "tags", rules.tags),
    ("aws:*", "assumeRolePolicy", rules.policy_document),
    ("aws:ec2/vpc:Vpc", "cidrBlock", rules.vpc_cidr),
    ("aws:ec2/subnet:Subnet", "cidrBlock", rules.vpc_cidr),
    ("aws:ec2/route:Route", "destinationCidrBlock", rules.cidr),
    ("aws:ec2/routeTable:RouteTable", "routes[].cidrBlock", rules.cidr),
    ("aws:eks/nodeGroup:NodeGroup", "", rules.accelerator_taint),
    ("gcp:container/nodePool:NodePool", "nodeConfig", rules.accelerator_taint),
    ("kubernetes:karpenter.sh/v1:NodePool", "spec.template", rules.accelerator_taint),
    *(
        (f"aws:s3/{type}", path, one_of(*_STORAGE_CLASSES))
        for type, path in (
            ("bucketLifecycleConfiguration:BucketLifecycleConfiguration", "rules[].transitions[].storageClass"),
            (
                "bucketLifecycleConfiguration:BucketLifecycleConfiguration",
                "rules[].noncurrentVersionTransitions[].storageClass",
            ),
            ("bucket:Bucket", "lifecycleRules[].transitions[].storageClass"),
        )
    ),
    ("aws:ec2/securityGroup:SecurityGroup", "ingress[].cidrBlocks[]", rules.cidr),
    ("aws:ec2/securityGroup:SecurityGroup", "egress[].cidrBlocks[]", rules.cidr),
    ("aws:ec2/securityGroup:SecurityGroup", "ingress[].fromPort", _PORT),
    ("aws:ec2/securityGroup:SecurityGroup", "ingress[].toPort", _PORT),
    (
        "aws:ec2/securityGroup:SecurityGroup",
        "description",
        matches(r"[ a-zA-Z0-9._\-:/()#,@\[\]+=&;{}!$*]*", "letters, digits, space and ._-:/()#,@[]+=&;{}!$*", 255),
    ),
    ("aws:ec2/securityGroupRule:SecurityGroupRule", "cidrBlocks[]", rules.cidr),
    ("aws:ec2/securityGroupRule:SecurityGroupRule", "fromPort", _PORT),
    ("aws:ec2/securityGroupRule:SecurityGroupRule", "toPort", _PORT),
    ("aws:ec2/securityGroupRule:SecurityGroupRule", "type", one_of("ingress", "egress")),
    ("aws:vpc/securityGroup*Rule:*", "cidrIpv4", rules.cidr),
    ("aws:vpc/securityGroup*Rule:*", "fromPort", _PORT),
    ("aws:vpc/securityGroup*Rule:*", "toPort", _PORT),
    (
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        "vpcEndpointType",
        one_of("Interface", "Gateway", "GatewayLoadBalancer", "Resource", "ServiceNetwork"),
    ),
    ("aws:ec2/vpcEndpoint:VpcEndpoint", "policy", rules.policy_document),
    ("aws:ec2/instance:Instance", "instanceType", rules.EC2_INSTANCE_TYPE),
    ("aws:ec2/launchTemplate:LaunchTemplate", "instanceType", rules.EC2_INSTANCE_TYPE),
    ("aws:ec2/capacityReservation:CapacityReservation", "instanceType", rules.EC2_INSTANCE_TYPE),
    ("aws:eks/nodeGroup:NodeGroup", "instanceTypes[]", rules.EC2_INSTANCE_TYPE),
    ("aws:eks/nodeGroup:NodeGroup", "nodeRoleArn", _ARN),
    ("aws:eks/nodeGroup:NodeGroup", "capacityType", one_of("ON_DEMAND", "SPOT", "CAPACITY_BLOCK")),
    ("aws:eks/nodeGroup:NodeGroup", "taints[].effect", _NO_SCHEDULE),
    ("aws:eks/cluster:Cluster", "name", matches(r"[0-9A-Za-z][\w-]*", "letters, digits, - and _", 100)),
    ("aws:eks/cluster:Cluster", "roleArn", _ARN),
    ("aws:eks/cluster:Cluster", "version", matches(r"\d+\.\d+", "<major>.<minor>, such as 1.34")),
    ("aws:eks/cluster:Cluster", "encryptionConfig.provider.keyArn", _ARN),
    ("aws:eks/cluster:Cluster", "vpcConfig.publicAccessCidrs[]", rules.cidr),
    ("aws:eks/cluster:Cluster", "kubernetesNetworkConfig.serviceIpv4Cidr", rules.cidr),
    (
        "aws:eks/cluster:Cluster",
        "enabledClusterLogTypes[]",
        one_of("api", "audit", "authenticator", "controllerManager", "scheduler"),
    ),
    (
        "aws:eks/cluster:Cluster",
        "accessConfig.authenticationMode",
        one_of("API", "API_AND_CONFIG_MAP", "CONFIG_MAP"),
    ),
    ("aws:eks/accessEntry:AccessEntry", "principalArn", _ARN),
    ("aws:eks/podIdentityAssociation:PodIdentityAssociation", "roleArn", _ARN),
    ("aws:iam/role:Role", "name", matches(r"[\w+=,.@-]+", "letters, digits and _+=,.@-", 64)),
    ("aws:iam/policy:Policy", "name", matches(r"[\w+=,.@-]+", "letters, digits and _+=,.@-", 128)),
    ("aws:iam/policy:Policy", "policy", rules.policy_document),
    ("aws:iam/rolePolicy:RolePolicy", "policy", rules.policy_document),
    ("aws:iam/rolePolicy:RolePolicy", "role", rules.role_name),
    ("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "policyArn", _ARN),
    ("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "role", rules.role_name),
    ("aws:iam/instanceProfile:InstanceProfile", "role", rules.role_name),
    ("aws:s3/bucket:Bucket", "bucket", rules.bucket_name),
    ("aws:s3/bucketPolicy:BucketPolicy", "policy", rules.policy_document),
    (
        "aws:s3/bucketVersioning:BucketVersioning",
        "versioningConfiguration.status",
        one_of("Enabled", "Suspended", "Disabled"),
    ),
    ("aws:kms/key:Key", "policy", rules.policy_document),
    ("aws:kms/key:Key", "deletionWindowInDays", between(7, 30)),
    ("aws:kms/key:Key", "rotationPeriodInDays", between(90, 2560)),
    ("aws:kms/alias:Alias", "name", matches(r"alias/[\w/-]+", "alias/<name>", 256)),
    ("aws:sqs/queue:Queue", "policy", rules.policy_document),
    ("aws:sqs/queue:Queue", "redrivePolicy", rules.json_text),
    ("aws:sqs/queue:Queue", "messageRetentionSeconds", between(60, 1209600)),
    ("aws:sqs/queue:Queue", "visibilityTimeoutSeconds", between(0, 43200)),
    ("aws:sqs/queuePolicy:QueuePolicy", "policy", rules.policy_document),
    ("aws:sns/topicPolicy:TopicPolicy", "policy", rules.policy_document),
    ("aws:ecr/repositoryPolicy:RepositoryPolicy", "policy", rules.policy_document),
    ("aws:ecr/lifecyclePolicy:LifecyclePolicy", "policy", rules.json_text),
    ("aws:cloudwatch/logGroup:LogGroup", "retentionInDays", one_of(*_RETENTION_DAYS)),
    ("aws:cloudwatch/dashboard:Dashboard", "dashboardBody", rules.json_text),
    ("aws:cloudwatch/eventRule:EventRule", "eventPattern", rules.json_text),
    ("aws:ecs/taskDefinition:TaskDefinition", "containerDefinitions", rules.json_text),
    ("aws:lambda/function:Function", "timeout", between(1, 900)),
    ("aws:lambda/function:Function", "role", _ARN),
    ("aws:lb/loadBalancer:LoadBalancer", "name", _LB_NAME),
    ("aws:lb/targetGroup:TargetGroup", "name", _LB_NAME),
    ("aws:lb/targetGroup:TargetGroup", "port", between(1, 65535)),
    ("aws:lb/targetGroup:TargetGroup", "targetType", one_of("instance", "ip", "lambda", "alb")),
    ("aws:lb/targetGroup:TargetGroup", "healthCheck.interval", between(5, 300)),
    ("aws:lb/listener:Listener", "port", between(1, 65535)),
    ("aws:lb/listener:Listener", "certificateArn", _ARN),
    ("aws:globalaccelerator/endpointGroup:EndpointGroup", "trafficDialPercentage", between(0, 100)),
    ("aws:globalaccelerator/endpointGroup:EndpointGroup", "endpointConfigurations[].weight", between(0, 255)),
    ("aws:route53/record:Record", "weightedRoutingPolicies[].weight", between(0, 255)),
    ("aws:rds/*", "backupRetentionPeriod", between(0, 35)),
    ("aws:efs/fileSystem:FileSystem", "performanceMode", one_of("generalPurpose", "maxIO")),
    ("aws:efs/fileSystem:FileSystem", "throughputMode", one_of("bursting", "provisioned", "elastic")),
    (
        "aws:fsx/lustreFileSystem:LustreFileSystem",
        "deploymentType",
        one_of("SCRATCH_1", "SCRATCH_2", "PERSISTENT_1", "PERSISTENT_2"),
    ),
    (
        "aws:fsx/dataRepositoryAssociation:DataRepositoryAssociation",
        "dataRepositoryPath",
        matches(r"s3://.+", "s3://…"),
    ),
    ("gcp:*", "labels", rules.labels),
    ("gcp:*", "resourceLabels", rules.labels),
    ("gcp:*", "userLabels", rules.labels),
    *(
        (f"gcp:compute/{kind}", "name", _GCP_NAME)
        for kind in (
            *("address:Address", "backendService:BackendService", "firewall:Firewall", "globalAddress:GlobalAddress"),
            *("healthCheck:HealthCheck", "instance:Instance", "network:Network", "router:Router"),
            *("routerNat:RouterNat", "securityPolicy:SecurityPolicy", "subnetwork:Subnetwork", "uRLMap:URLMap"),
        )
    ),
    ("gcp:compute/firewall:Firewall", "sourceRanges[]", rules.address_or_cidr),
    ("gcp:compute/firewall:Firewall", "direction", one_of("INGRESS", "EGRESS")),
    ("gcp:compute/network:Network", "routingMode", one_of("REGIONAL", "GLOBAL")),
    ("gcp:compute/subnetwork:Subnetwork", "ipCidrRange", rules.cidr),
    ("gcp:compute/subnetwork:Subnetwork", "secondaryIpRanges[].ipCidrRange", rules.cidr),
    ("gcp:compute/instance:Instance", "machineType", _GCP_MACHINE),
    ("gcp:container/cluster:Cluster", "name", matches(r"[a-z]([-a-z0-9]*[a-z0-9])?", "a-z, digits and hyphens", 40)),
    ("gcp:container/cluster:Cluster", "nodeConfig.machineType", _GCP_MACHINE),
    ("gcp:container/cluster:Cluster", "privateClusterConfig.masterIpv4CidrBlock", rules.cidr),
    (
        "gcp:container/cluster:Cluster",
        "releaseChannel.channel",
        one_of("UNSPECIFIED", "RAPID", "REGULAR", "STABLE", "EXTENDED"),
    ),
    ("gcp:container/nodePool:NodePool", "name", matches(r"[a-z]([-a-z0-9]*[a-z0-9])?", "a-z, digits and hyphens", 40)),
    ("gcp:container/nodePool:NodePool", "nodeConfig.machineType", _GCP_MACHINE),
    ("gcp:container/nodePool:NodePool", "nodeConfig.taints[].effect", _NO_SCHEDULE),
    (
        "gcp:serviceaccount/account:Account",
        "accountId",
        matches(r"[a-z][-a-z0-9]{4,28}[a-z0-9]", "6 to 30 of a-z 0-9 -"),
    ),
    ("gcp:storage/bucket:Bucket", "name", matches(r"[a-z0-9][a-z0-9._-]+[a-z0-9]", "a-z, digits and . _ -", 222)),
    ("gcp:storage/bucket:Bucket", "publicAccessPrevention", one_of("inherited", "enforced")),
)

EXCEPT = {("gcp:monitoring/notificationChannel:NotificationChannel", "labels")}
"""Where VALUES means another property of that name: the labels of a channel are its address."""

LISTED: tuple[tuple[str, str, Rule], ...] = (
    ("aws:ec2/instance:Instance", "instanceType", rules.listed_instance_type),
    ("aws:ec2/launchTemplate:LaunchTemplate", "instanceType", rules.listed_instance_type),
    ("aws:ec2/capacityReservation:CapacityReservation", "instanceType", rules.listed_instance_type),
    ("aws:eks/nodeGroup:NodeGroup", "instanceTypes[]", rules.listed_instance_type),
)
"""As VALUES, for what is only a warning: the lists that these rules know may be behind."""
