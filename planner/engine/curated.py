"""The small table of what the SDKs cannot tell: what a change replaces, what excludes what, which values a cloud takes.

Sources: ForceNew and ConflictsWith of the Terraform providers that pulumi-aws and pulumi-gcp are bridged from, and
`forceNewProperties` of pulumi-kubernetes (provider/pkg/provider/diff.go). Only what is certain and common stands here.
"""

from __future__ import annotations

import fnmatch
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from planner.engine import rules
from planner.engine.limits import EXCEPT, LISTED, VALUES
from planner.engine.rules import Rule

OPEN_ENUMS = frozenset({"LoadBalancerType"})
"""Enums of the SDKs that lack a value which the API takes: the SDK's list has no `gateway`."""


# ---- replacement

_KUBERNETES_REPLACED = {
    "apps/v1:Deployment": "spec.selector",
    "apps/v1:DaemonSet": "spec.selector",
    "apps/v1:StatefulSet": "spec.podManagementPolicy spec.selector spec.serviceName spec.volumeClaimTemplates",
    "batch/v1:Job": "spec.completions spec.parallelism spec.selector spec.template",
    "core/v1:ConfigMap": "binaryData data",
    "core/v1:PersistentVolume": "spec.csi spec.hostPath spec.local spec.nfs",
    "core/v1:PersistentVolumeClaim": "spec.accessModes spec.selector spec.storageClassName spec.volumeName",
    "core/v1:Secret": "data stringData type",
    "core/v1:Service": "spec.clusterIP",
    "rbac.authorization.k8s.io/v1:ClusterRoleBinding": "roleRef",
    "rbac.authorization.k8s.io/v1:RoleBinding": "roleRef",
    "storage.k8s.io/v1:StorageClass": "parameters provisioner",
}

_AWS_REPLACED = {
    "acm/certificate:Certificate": "domainName keyAlgorithm subjectAlternativeNames validationMethod",
    "acm/certificateValidation:CertificateValidation": "certificateArn validationRecordFqdns",
    "appautoscaling/policy:Policy": "name resourceId scalableDimension serviceNamespace",
    "appautoscaling/target:Target": "resourceId scalableDimension serviceNamespace",
    "autoscaling/group:Group": "name namePrefix",
    "cloudwatch/eventRule:EventRule": "eventBusName name namePrefix",
    "cloudwatch/eventTarget:EventTarget": "eventBusName rule targetId",
    "cloudwatch/logGroup:LogGroup": "logGroupClass name namePrefix",
    "dynamodb/table:Table": "hashKey localSecondaryIndexes name rangeKey",
    "ebs/volume:Volume": "availabilityZone encrypted kmsKeyId snapshotId",
    "ec2/capacityReservation:CapacityReservation": "availabilityZone instancePlatform instanceType tenancy",
    "ec2/eip:Eip": "domain",
    "ec2/flowLog:FlowLog": "iamRoleArn logDestination logDestinationType logFormat maxAggregationInterval subnetId "
    "trafficType vpcId",
    "ec2/instance:Instance": "ami availabilityZone keyName privateIp subnetId",
    "ec2/launchTemplate:LaunchTemplate": "name namePrefix",
    "ec2/natGateway:NatGateway": "connectivityType subnetId",
    "ec2/placementGroup:PlacementGroup": "name partitionCount spreadLevel strategy",
    "ec2/route:Route": "destinationCidrBlock destinationIpv6CidrBlock destinationPrefixListId routeTableId",
    "ec2/routeTable:RouteTable": "vpcId",
    "ec2/routeTableAssociation:RouteTableAssociation": "gatewayId subnetId",
    "ec2/securityGroup:SecurityGroup": "description name namePrefix vpcId",
    "ec2/subnet:Subnet": "availabilityZone availabilityZoneId cidrBlock vpcId",
    "ec2/vpc:Vpc": "cidrBlock ipv4IpamPoolId ipv4NetmaskLength",
    "ec2/vpcEndpoint:VpcEndpoint": "serviceName vpcEndpointType vpcId",
    "ec2/vpcIpv4CidrBlockAssociation:VpcIpv4CidrBlockAssociation": "cidrBlock vpcId",
    "ecr/repository:Repository": "encryptionConfigurations name",
    "efs/accessPoint:AccessPoint": "fileSystemId posixUser rootDirectory",
    "efs/backupPolicy:BackupPolicy": "fileSystemId",
    "efs/fileSystem:FileSystem": "availabilityZoneName creationToken encrypted kmsKeyId performanceMode",
    "efs/fileSystemPolicy:FileSystemPolicy": "fileSystemId",
    "efs/mountTarget:MountTarget": "fileSystemId ipAddress subnetId",
    "eks/accessEntry:AccessEntry": "clusterName principalArn type",
    "eks/accessPolicyAssociation:AccessPolicyAssociation": "accessScope clusterName policyArn principalArn",
    "eks/addon:Addon": "addonName clusterName",
    "eks/cluster:Cluster": "bootstrapSelfManagedAddons kubernetesNetworkConfig.ipFamily "
    "kubernetesNetworkConfig.serviceIpv4Cidr name outpostConfig roleArn",
    "eks/nodeGroup:NodeGroup": "amiType capacityType clusterName diskSize instanceTypes launchTemplate.id "
    "launchTemplate.name nodeGroupName nodeGroupNamePrefix nodeRoleArn remoteAccess subnetIds",
    "eks/podIdentityAssociation:PodIdentityAssociation": "clusterName namespace serviceAccount",
    "fsx/dataRepositoryAssociation:DataRepositoryAssociation": "dataRepositoryPath fileSystemId fileSystemPath",
    "fsx/lustreFileSystem:LustreFileSystem": "backupId deploymentType driveCacheType efaEnabled exportPath "
    "fileSystemTypeVersion importPath importedFileChunkSize kmsKeyId securityGroupIds storageType subnetIds",
    "globalaccelerator/endpointGroup:EndpointGroup": "endpointGroupRegion listenerArn",
    "globalaccelerator/listener:Listener": "acceleratorArn",
    "iam/instanceProfile:InstanceProfile": "name namePrefix path",
    "iam/policy:Policy": "description name namePrefix path",
    "iam/role:Role": "name namePrefix path",
    "iam/rolePolicy:RolePolicy": "name namePrefix role",
    "iam/rolePolicyAttachment:RolePolicyAttachment": "policyArn role",
    "kms/alias:Alias": "name namePrefix",
    "kms/key:Key": "customKeyStoreId customerMasterKeySpec keyUsage multiRegion",
    "lambda/function:Function": "name packageType",
    "lb/listener:Listener": "loadBalancerArn",
    "lb/loadBalancer:LoadBalancer": "internal loadBalancerType name namePrefix",
    "lb/targetGroup:TargetGroup": "ipAddressType name namePrefix port protocol protocolVersion targetType vpcId",
    "mwaa/environment:Environment": "endpointManagement kmsKey name networkConfiguration.subnetIds",
    "rds/cluster:Cluster": "clusterIdentifier databaseName engine kmsKeyId masterUsername storageEncrypted",
    "rds/subnetGroup:SubnetGroup": "name namePrefix",
    "rds/instance:Instance": "availabilityZone dbName engine kmsKeyId storageEncrypted username",
    "route53/healthCheck:HealthCheck": "measureLatency requestInterval type",
    "route53/record:Record": "zoneId",
    "route53/zone:Zone": "delegationSetId name",
    "s3/bucket:Bucket": "bucket bucketPrefix objectLockEnabled",
    "s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": "bucket",
    "s3/bucketLogging:BucketLogging": "bucket",
    "s3/bucketOwnershipControls:BucketOwnershipControls": "bucket",
    "s3/bucketPolicy:BucketPolicy": "bucket",
    "s3/bucketPublicAccessBlock:BucketPublicAccessBlock": "bucket",
    "s3/bucketReplicationConfig:BucketReplicationConfig": "bucket",
    "s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": "bucket",
    "s3/bucketVersioning:BucketVersioning": "bucket",
    "sagemaker/endpoint:Endpoint": "name",
    "sagemaker/endpointConfiguration:EndpointConfiguration": "asyncInferenceConfig kmsKeyArn name namePrefix "
    "productionVariants",
    "sagemaker/model:Model": "containers enableNetworkIsolation executionRoleArn name primaryContainer vpcConfig",
    "sagemaker/pipeline:Pipeline": "pipelineName",
    "scheduler/schedule:Schedule": "groupName name namePrefix",
    "secretsmanager/secret:Secret": "name namePrefix",
    "sns/topic:Topic": "fifoTopic name namePrefix",
    "sqs/queue:Queue": "fifoQueue name namePrefix",
    "sqs/queuePolicy:QueuePolicy": "queueUrl",
    "vpc/securityGroupEgressRule:SecurityGroupEgressRule": "securityGroupId",
    "vpc/securityGroupIngressRule:SecurityGroupIngressRule": "securityGroupId",
    "wafv2/webAcl:WebAcl": "name namePrefix scope",
    "wafv2/webAclAssociation:WebAclAssociation": "resourceArn webAclArn",
}

_GCP_REPLACED = {
    "artifactregistry/repository:Repository": "format kmsKeyName location mode repositoryId",
    "certificatemanager/certificate:Certificate": "location managed name scope",
    "certificatemanager/certificateMap:CertificateMap": "name",
    "certificatemanager/certificateMapEntry:CertificateMapEntry": "hostname map matcher name",
    "certificatemanager/dnsAuthorization:DnsAuthorization": "domain location name type",
    "cloudrunv2/service:Service": "location name",
    "cloudrunv2/serviceIamMember:ServiceIamMember": "condition location member name role",
    "composer/environment:Environment": "config.encryptionConfig config.nodeConfig.serviceAccount name region "
    "storageConfig",
    "compute/backendService:BackendService": "name",
    "compute/firewall:Firewall": "direction name",
    "compute/globalAddress:GlobalAddress": "address addressType ipVersion name network prefixLength purpose",
    "compute/globalForwardingRule:GlobalForwardingRule": "ipAddress ipProtocol ipVersion name network portRange",
    "compute/healthCheck:HealthCheck": "name",
    "compute/instance:Instance": "bootDisk hostname name networkInterfaces reservationAffinity scratchDisks zone",
    "compute/managedSslCertificate:ManagedSslCertificate": "managed name type",
    "compute/network:Network": "autoCreateSubnetworks description internalIpv6Range name networkProfile",
    "compute/reservation:Reservation": "name specificReservationRequired zone",
    "compute/router:Router": "encryptedInterconnectRouter name network region",
    "compute/routerNat:RouterNat": "endpointTypes name region router type",
    "compute/sSLPolicy:SSLPolicy": "name",
    "compute/securityPolicy:SecurityPolicy": "name type",
    "compute/subnetwork:Subnetwork": "description name network region",
    "compute/targetHttpProxy:TargetHttpProxy": "name proxyBind",
    "compute/targetHttpsProxy:TargetHttpsProxy": "name proxyBind",
    "compute/uRLMap:URLMap": "name",
    "container/cluster:Cluster": "clusterIpv4Cidr confidentialNodes datapathProvider defaultMaxPodsPerNode description "
    "enableAutopilot enableKubernetesAlpha initialNodeCount ipAllocationPolicy location name network networkingMode "
    "subnetwork",
    "container/nodePool:NodePool": "cluster initialNodeCount location maxPodsPerNode name namePrefix "
    "nodeConfig.bootDiskKmsKey nodeConfig.flexStart nodeConfig.guestAccelerators nodeConfig.localSsdCount "
    "nodeConfig.maxRunDuration nodeConfig.oauthScopes nodeConfig.preemptible nodeConfig.reservationAffinity "
    "nodeConfig.serviceAccount nodeConfig.spot placementPolicy queuedProvisioning",
    "filestore/instance:Instance": "kmsKeyName location name networks protocol tier",
    "kms/cryptoKey:CryptoKey": "destroyScheduledDuration importOnly keyRing name purpose",
    "kms/cryptoKeyIAMMember:CryptoKeyIAMMember": "condition cryptoKeyId member role",
    "kms/keyRing:KeyRing": "location name",
    "logging/projectSink:ProjectSink": "name",
    "lustre/instance:Instance": "filesystem instanceId kmsKey location network perUnitStorageThroughput",
    "parallelstore/instance:Instance": "capacityGib instanceId location network reservedIpRange",
    "projects/iAMCustomRole:IAMCustomRole": "roleId",
    "projects/iAMMember:IAMMember": "condition member role",
    "projects/serviceIdentity:ServiceIdentity": "service",
    "serviceaccount/account:Account": "accountId",
    "servicenetworking/connection:Connection": "network service",
    "sql/database:Database": "instance name",
    "sql/databaseInstance:DatabaseInstance": "encryptionKeyName masterInstanceName name region",
    "sql/user:User": "host instance name",
    "storage/bucket:Bucket": "hierarchicalNamespace location name",
    "storage/bucketIAMMember:BucketIAMMember": "bucket condition member role",
}


_ANYWHERE = (
    *("globalaccelerator/", "iam/", "route53/"),
    *("kms/cryptoKey", "servicenetworking/", "storage/bucketIAMMember"),
)
"""What has no region (of AWS) or no project (of Google Cloud) of its own."""


def _of(package: str, table: Mapping[str, str], *always: str) -> Iterator[tuple[str, frozenset[str]]]:
    for token, properties in table.items():
        more = () if token.startswith(_ANYWHERE) else always
        yield f"{package}:{token}", frozenset((*properties.split(), *more))


REPLACE_ON_CHANGES: Mapping[str, frozenset[str]] = dict(
    (
        *_of("aws", _AWS_REPLACED, "region"),
        *_of("gcp", _GCP_REPLACED, "project"),
        *_of("kubernetes", _KUBERNETES_REPLACED, "metadata.name", "metadata.namespace"),
    )
)
"""Type -> property paths of which a change makes Pulumi replace the resource. Types that are missing are unknown."""


# ---- properties that belong together

_NAME = ("name", "namePrefix")

CONFLICTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "aws:autoscaling/group:Group": (_NAME, ("availabilityZones", "vpcZoneIdentifiers")),
    "aws:cloudwatch/eventRule:EventRule": (_NAME, ("isEnabled", "state")),
    "aws:cloudwatch/logGroup:LogGroup": (_NAME,),
    "aws:ec2/launchTemplate:LaunchTemplate": (
        _NAME,
        ("securityGroupNames", "vpcSecurityGroupIds"),
        ("defaultVersion", "updateDefaultVersion"),
    ),
    "aws:ec2/securityGroup:SecurityGroup": (_NAME,),
    "aws:ec2/subnet:Subnet": (("availabilityZone", "availabilityZoneId"),),
    "aws:eks/nodeGroup:NodeGroup": (("launchTemplate", "remoteAccess"), ("nodeGroupName", "nodeGroupNamePrefix")),
    "aws:iam/policy:Policy": (_NAME,),
    "aws:iam/role:Role": (_NAME,),
    "aws:kms/alias:Alias": (_NAME,),
    "aws:lambda/function:Function": (("code", "imageUri", "s3Bucket"),),
    "aws:lb/loadBalancer:LoadBalancer": (_NAME, ("subnetMappings", "subnets")),
    "aws:lb/targetGroup:TargetGroup": (_NAME,),
    "aws:rds/cluster:Cluster": (("clusterIdentifier", "clusterIdentifierPrefix"),),
    "aws:rds/instance:Instance": (("identifier", "identifierPrefix"), ("password", "manageMasterUserPassword")),
    "aws:route53/record:Record": (
        ("aliases", "records"),
        ("aliases", "ttl"),
        (
            "failoverRoutingPolicies",
            "geolocationRoutingPolicies",
            "geoproximityRoutingPolicy",
            "latencyRoutingPolicies",
            "multivalueAnswerRoutingPolicy",
            "weightedRoutingPolicies",
        ),
    ),
    "aws:s3/bucket:Bucket": (("bucket", "bucketPrefix"),),
    "gcp:compute/firewall:Firewall": (("allows", "denies"),),
    "gcp:compute/uRLMap:URLMap": (("defaultService", "defaultUrlRedirect"),),
    "gcp:container/cluster:Cluster": (
        ("clusterIpv4Cidr", "ipAllocationPolicy"),
        ("enableAutopilot", "removeDefaultNodePool"),
        ("enableAutopilot", "nodePools"),
    ),
    "gcp:container/nodePool:NodePool": (_NAME,),
}
"""Type -> groups of properties of which at most one may be given."""

ORDERED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    # object, then its numbers from the smallest to the largest
    "aws:autoscaling/group:Group": (("", "minSize", "desiredCapacity", "maxSize"),),
    "aws:ec2/securityGroup:SecurityGroup": (("ingress[]", "fromPort", "toPort"), ("egress[]", "fromPort", "toPort")),
    "aws:ec2/securityGroupRule:SecurityGroupRule": (("", "fromPort", "toPort"),),
    "aws:eks/nodeGroup:NodeGroup": (("scalingConfig", "minSize", "desiredSize", "maxSize"),),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": (("", "fromPort", "toPort"),),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": (("", "fromPort", "toPort"),),
    "gcp:container/nodePool:NodePool": (
        ("autoscaling", "minNodeCount", "maxNodeCount"),
        ("autoscaling", "totalMinNodeCount", "totalMaxNodeCount"),
    ),
    "kubernetes:autoscaling/v2:HorizontalPodAutoscaler": (("spec", "minReplicas", "maxReplicas"),),
}
"""Type -> numbers inside one object that may not descend."""

_NOT_PORTS = frozenset({"icmp", "icmpv6", "1", "58"})
"""Protocols whose "ports" are an ICMP type and code, in any order."""


# ---- checking


def check(token: str, inputs: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What the tables say about a resource: (property path, message, severity) each."""
    for path, prefix, rule, severity in _rules(token):
        if not prefix or prefix in inputs:
            for value, place, hidden in rules.values_at(inputs, path):
                if wrong := rule(value):
                    short = isinstance(value, str | int | float) and len(str(value)) <= 60 and "{" not in str(value)
                    message = f"{value!r}: {wrong}" if short else wrong
                    yield place, "this secret value is not accepted" if hidden else message, severity
    for group in CONFLICTS.get(token, ()):
        given = [name for name in group if inputs.get(name) not in (None, [], False)]
        if len(given) > 1:
            yield given[1], f"conflicts with {given[0]}: give one of them", "error"
    for prefix, *names in ORDERED.get(token, ()):
        for owner, place, _ in rules.values_at(inputs, rules.steps(prefix) if prefix else ()):
            if isinstance(owner, Mapping):
                yield from _descending(owner, place, names)


def _descending(owner: Mapping[str, Any], place: str, names: list[str]) -> Iterator[tuple[str, str, str]]:
    if str(owner.get("protocol") or owner.get("ipProtocol")).lower() in _NOT_PORTS:
        return
    known = [(name, owner[name]) for name in names if type(owner.get(name)) in (int, float)]
    for (smaller, low), (larger, high) in itertools.pairwise(known):
        if low > high:
            yield f"{place}.{smaller}" if place else smaller, f"{low} exceeds {larger}, which is {high}", "error"


@functools.cache
def _rules(token: str) -> tuple[tuple[tuple[str, ...], str, Rule, str], ...]:
    return tuple(
        (rules.steps(path), next(iter(rules.steps(path)), ""), rule, severity)
        for table, severity in ((VALUES, "error"), (LISTED, "warning"))
        for pattern, path, rule in table
        if fnmatch.fnmatchcase(token, pattern) and (token, path) not in EXCEPT
    )
