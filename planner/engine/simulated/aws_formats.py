"""Ids, ARNs and addresses of AWS resources, in each service's own format, as templates.

Formats: the Service Authorization Reference ("Resource types defined by ...") for ARNs, and for ids the import
section of each resource's page in the provider's documentation, which is what Pulumi shows as its id.
"""

from __future__ import annotations

from collections.abc import Mapping

from planner.engine.simulated import aws_facts as facts
from planner.engine.simulated.made import MOMENT


def regional(service: str, resource: str) -> str:
    return f"arn:{{partition}}:{service}:{{region}}:{{account}}:{resource}"


def everywhere(service: str, resource: str) -> str:
    """An ARN without a region: IAM, CloudFront, Global Accelerator."""
    return f"arn:{{partition}}:{service}::{{account}}:{resource}"


def _ec2(prefix: str, resource: str) -> dict[str, str]:
    return {"id": prefix + "-{hex17}", "arn": regional("ec2", resource + "/{id}")}


def _by_arn(arn: str, **more: str) -> dict[str, str]:
    return {"id": arn, "arn": arn, **more}


def _by_name(arn: str, **more: str) -> dict[str, str]:
    return {"id": "{name}", "arn": arn, **more}


_LOAD_BALANCER = _by_arn(
    regional("elasticloadbalancing", "loadbalancer/{elb_type}/{name}/{hex16}"),
    arnSuffix="{elb_type}/{name}/{hex16}",
)
_TARGET_GROUP = _by_arn(
    regional("elasticloadbalancing", "targetgroup/{name}/{hex16}"), arnSuffix="targetgroup/{name}/{hex16}"
)

FORMATS: Mapping[str, Mapping[str, str]] = {
    # network and machines
    "aws:ec2/vpc:Vpc": {
        **_ec2("vpc", "vpc"),
        "ownerId": "{account}",
        "mainRouteTableId": "rtb-{hex17}",
        "defaultRouteTableId": "rtb-{hex17}",
        "defaultSecurityGroupId": "sg-{hex17}",
        "defaultNetworkAclId": "acl-{hex17}",
        "dhcpOptionsId": "dopt-{hex17}",
        "instanceTenancy": "default",
    },
    "aws:ec2/subnet:Subnet": {**_ec2("subnet", "subnet"), "ownerId": "{account}"},
    "aws:ec2/securityGroup:SecurityGroup": {**_ec2("sg", "security-group"), "ownerId": "{account}"},
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": {**_ec2("sg", "security-group"), "ownerId": "{account}"},
    "aws:ec2/securityGroupRule:SecurityGroupRule": {"id": "sgrule-{digits10}", "securityGroupRuleId": "sgr-{hex17}"},
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _ec2("sgr", "security-group-rule"),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": _ec2("sgr", "security-group-rule"),
    "aws:ec2/internetGateway:InternetGateway": {**_ec2("igw", "internet-gateway"), "ownerId": "{account}"},
    "aws:ec2/egressOnlyInternetGateway:EgressOnlyInternetGateway": _ec2("eigw", "egress-only-internet-gateway"),
    "aws:ec2/natGateway:NatGateway": {**_ec2("nat", "natgateway"), "networkInterfaceId": "eni-{hex17}"},
    "aws:ec2/eip:Eip": {
        **_ec2("eipalloc", "elastic-ip"),
        "allocationId": "eipalloc-{hex17}",
        "publicDns": "ec2-{public_ip_dashed}.{region}.compute.{suffix}",
        "domain": "vpc",
    },
    "aws:ec2/routeTable:RouteTable": {**_ec2("rtb", "route-table"), "ownerId": "{account}"},
    "aws:ec2/defaultRouteTable:DefaultRouteTable": {**_ec2("rtb", "route-table"), "ownerId": "{account}"},
    "aws:ec2/vpcIpv4CidrBlockAssociation:VpcIpv4CidrBlockAssociation": {"id": "vpc-cidr-assoc-{hex17}"},
    "aws:ec2/route:Route": {"id": "r-{routeTableId}{digits10}", "origin": "CreateRoute", "state": "active"},
    "aws:ec2/routeTableAssociation:RouteTableAssociation": {"id": "rtbassoc-{hex17}"},
    "aws:ec2/networkAcl:NetworkAcl": {**_ec2("acl", "network-acl"), "ownerId": "{account}"},
    "aws:ec2/vpcEndpoint:VpcEndpoint": {
        **_ec2("vpce", "vpc-endpoint"),
        "prefixListId": "pl-{hex8}",
        "state": "available",
    },
    "aws:ec2/vpcPeeringConnection:VpcPeeringConnection": {**_ec2("pcx", "vpc-peering-connection")},
    "aws:ec2/flowLog:FlowLog": _ec2("fl", "vpc-flow-log"),
    "aws:ec2/managedPrefixList:ManagedPrefixList": {**_ec2("pl", "prefix-list"), "ownerId": "{account}"},
    "aws:ec2/launchTemplate:LaunchTemplate": _ec2("lt", "launch-template"),
    "aws:ec2/placementGroup:PlacementGroup": {
        "id": "{name}",
        "arn": regional("ec2", "placement-group/{name}"),
        "placementGroupId": "pg-{hex17}",
    },
    "aws:ec2/capacityReservation:CapacityReservation": {**_ec2("cr", "capacity-reservation"), "ownerId": "{account}"},
    "aws:ec2/keyPair:KeyPair": {
        "id": "{name}",
        "arn": regional("ec2", "key-pair/{name}"),
        "keyPairId": "key-{hex17}",
        "keyType": "rsa",
    },
    "aws:ec2/instance:Instance": {
        **_ec2("i", "instance"),
        "instanceState": "running",
        "primaryNetworkInterfaceId": "eni-{hex17}",
        "publicDns": "ec2-{public_ip_dashed}.{region}.compute.{suffix}",
        "privateDns": "ip-{private_ip_dashed}.{region}.compute.internal",
    },
    "aws:ec2/networkInterface:NetworkInterface": {**_ec2("eni", "network-interface"), "ownerId": "{account}"},
    "aws:ebs/volume:Volume": _ec2("vol", "volume"),
    "aws:ebs/snapshot:Snapshot": {**_ec2("snap", "snapshot"), "arn": "arn:{partition}:ec2:{region}::snapshot/{id}"},
    "aws:ec2/ami:Ami": {**_ec2("ami", "image"), "arn": "arn:{partition}:ec2:{region}::image/{id}"},
    "aws:ec2transitgateway/transitGateway:TransitGateway": {
        **_ec2("tgw", "transit-gateway"),
        "associationDefaultRouteTableId": "tgw-rtb-{hex17}",
        "propagationDefaultRouteTableId": "tgw-rtb-{hex17}",
        "ownerId": "{account}",
    },
    "aws:ec2transitgateway/vpcAttachment:VpcAttachment": _ec2("tgw-attach", "transit-gateway-attachment"),
    "aws:autoscaling/group:Group": _by_name(
        regional("autoscaling", "autoScalingGroup:{uuid}:autoScalingGroupName/{name}")
    ),
    # identity and keys
    "aws:iam/role:Role": _by_name(everywhere("iam", "role{path}{name}"), uniqueId="AROA{upper17}"),
    "aws:iam/user:User": _by_name(everywhere("iam", "user{path}{name}"), uniqueId="AIDA{upper17}"),
    "aws:iam/group:Group": _by_name(everywhere("iam", "group{path}{name}"), uniqueId="AGPA{upper17}"),
    "aws:iam/policy:Policy": _by_arn(everywhere("iam", "policy{path}{name}"), policyId="ANPA{upper17}"),
    "aws:iam/instanceProfile:InstanceProfile": _by_name(
        everywhere("iam", "instance-profile{path}{name}"), uniqueId="AIPA{upper17}"
    ),
    "aws:iam/accessKey:AccessKey": {"id": "AKIA{upper16}", "status": "Active"},
    "aws:iam/rolePolicy:RolePolicy": {"id": "{role}:{name}"},
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": {"id": "{role}/{policyArn}"},
    "aws:iam/serviceLinkedRole:ServiceLinkedRole": _by_arn(
        everywhere("iam", "role/aws-service-role/{awsServiceName}/{name}"), uniqueId="AROA{upper17}"
    ),
    "aws:kms/key:Key": {"id": "{uuid}", "arn": regional("kms", "key/{uuid}"), "keyId": "{uuid}"},
    "aws:kms/replicaKey:ReplicaKey": {"id": "mrk-{hex32}", "arn": regional("kms", "key/{id}"), "keyId": "mrk-{hex32}"},
    "aws:kms/alias:Alias": _by_name(regional("kms", "{name}")),
    "aws:secretsmanager/secret:Secret": _by_arn(regional("secretsmanager", "secret:{name}-{lower6}")),
    "aws:secretsmanager/secretVersion:SecretVersion": {
        "id": "{secretId}|{uuid}",
        "arn": "{secretId}",
        "versionId": "{uuid}",
    },
    "aws:ssm/parameter:Parameter": _by_name(regional("ssm", "parameter/{unrooted_name}")),
    "aws:acm/certificate:Certificate": _by_arn(regional("acm", "certificate/{uuid}")),
    "aws:acm/certificateValidation:CertificateValidation": {"id": "{digits10}"},
    "aws:cognito/userPool:UserPool": {
        "id": "{region}_{lower9}",
        "arn": regional("cognito-idp", "userpool/{id}"),
        "endpoint": "cognito-idp.{region}.{suffix}/{id}",
    },
    "aws:wafv2/webAcl:WebAcl": {"id": "{uuid}", "arn": regional("wafv2", "regional/webacl/{name}/{id}")},
    # storage and data
    "aws:s3/bucket:Bucket": _by_name("arn:{partition}:s3:::{name}"),
    "aws:dynamodb/table:Table": _by_name(regional("dynamodb", "table/{name}")),
    "aws:efs/fileSystem:FileSystem": {"id": "fs-{hex17}", "arn": regional("elasticfilesystem", "file-system/{id}")},
    "aws:efs/accessPoint:AccessPoint": {
        "id": "fsap-{hex17}",
        "arn": regional("elasticfilesystem", "access-point/{id}"),
    },
    "aws:efs/mountTarget:MountTarget": {
        "id": "fsmt-{hex17}",
        "dnsName": "{fileSystemId}.efs.{region}.{suffix}",
        "fileSystemArn": regional("elasticfilesystem", "file-system/{fileSystemId}"),
        "networkInterfaceId": "eni-{hex17}",
        "ownerId": "{account}",
    },
    "aws:fsx/lustreFileSystem:LustreFileSystem": {
        "id": "fs-{hex17}",
        "arn": regional("fsx", "file-system/{id}"),
        "dnsName": "fs-{hex17}.fsx.{region}.{suffix}",
        "mountName": "{lower8}",
        "ownerId": "{account}",
    },
    "aws:fsx/dataRepositoryAssociation:DataRepositoryAssociation": {
        "id": "dra-{hex17}",
        "arn": regional("fsx", "association/{fileSystemId}/{id}"),
        "associationId": "dra-{hex17}",
    },
    "aws:ecr/repository:Repository": _by_name(
        regional("ecr", "repository/{name}"),
        repositoryUrl="{account}.dkr.ecr.{region}.{suffix}/{name}",
        registryId="{account}",
    ),
    "aws:rds/instance:Instance": {
        "id": "db-{upper26}",
        "identifier": "{name}",
        "arn": regional("rds", "db:{name}"),
        "address": "{name}.{lower12}.{region}.rds.{suffix}",
        "resourceId": "db-{upper26}",
    },
    "aws:rds/cluster:Cluster": {
        "id": "{name}",
        "clusterIdentifier": "{name}",
        "arn": regional("rds", "cluster:{name}"),
        "endpoint": "{name}.cluster-{lower12}.{region}.rds.{suffix}",
        "readerEndpoint": "{name}.cluster-ro-{lower12}.{region}.rds.{suffix}",
        "clusterResourceId": "cluster-{upper26}",
    },
    "aws:rds/subnetGroup:SubnetGroup": _by_name(regional("rds", "subgrp:{name}")),
    "aws:elasticache/replicationGroup:ReplicationGroup": {
        "id": "{name}",
        "replicationGroupId": "{name}",
        "arn": regional("elasticache", "replicationgroup:{name}"),
        "primaryEndpointAddress": "{name}.{lower6}.ng.0001.{region_code}.cache.{suffix}",
        "readerEndpointAddress": "{name}-ro.{lower6}.ng.0001.{region_code}.cache.{suffix}",
        "configurationEndpointAddress": "clustercfg.{name}.{lower6}.{region_code}.cache.{suffix}",
    },
    "aws:elasticache/subnetGroup:SubnetGroup": _by_name(regional("elasticache", "subnetgroup:{name}")),
    # queues, logs, compute services
    "aws:sqs/queue:Queue": {
        "id": "https://sqs.{region}.{suffix}/{account}/{name}",
        "url": "https://sqs.{region}.{suffix}/{account}/{name}",
        "arn": regional("sqs", "{name}"),
    },
    "aws:sns/topic:Topic": _by_arn(regional("sns", "{name}"), owner="{account}"),
    "aws:kinesis/stream:Stream": _by_arn(regional("kinesis", "stream/{name}")),
    "aws:cloudwatch/logGroup:LogGroup": _by_name(regional("logs", "log-group:{name}")),
    "aws:cloudwatch/metricAlarm:MetricAlarm": _by_name(regional("cloudwatch", "alarm:{name}")),
    "aws:cloudwatch/eventRule:EventRule": _by_name(regional("events", "rule/{name}")),
    "aws:cloudwatch/eventBus:EventBus": _by_name(regional("events", "event-bus/{name}")),
    "aws:lambda/function:Function": _by_name(
        regional("lambda", "function:{name}"),
        invokeArn="arn:{partition}:apigateway:{region}:lambda:path/2015-03-31/functions/"
        "arn:{partition}:lambda:{region}:{account}:function:{name}/invocations",
        qualifiedArn=regional("lambda", "function:{name}:1"),
        version="1",
    ),
    "aws:sagemaker/model:Model": _by_name(regional("sagemaker", "model/{name}")),
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": _by_name(
        regional("sagemaker", "endpoint-config/{name}")
    ),
    "aws:sagemaker/pipeline:Pipeline": _by_name(regional("sagemaker", "pipeline/{name}")),
    "aws:mwaa/environment:Environment": {
        "id": "{name}",
        "arn": regional("airflow", "environment/{name}"),
        "webserverUrl": "{uuid}.c2.{region}.airflow.{suffix}",
        "status": "AVAILABLE",
    },
    "aws:scheduler/schedule:Schedule": {
        "id": "default/{name}",
        "arn": regional("scheduler", "schedule/default/{name}"),
    },
    "aws:sagemaker/endpoint:Endpoint": _by_name(regional("sagemaker", "endpoint/{name}")),
    "aws:appautoscaling/target:Target": {
        "id": "{resourceId}",
        "arn": regional("application-autoscaling", "scalable-target/{hex17}"),
    },
    "aws:appautoscaling/policy:Policy": _by_name(
        regional("autoscaling", "scalingPolicy:{uuid}:resource/{serviceNamespace}/{resourceId}:policyName/{name}")
    ),
    "aws:ecs/cluster:Cluster": _by_arn(regional("ecs", "cluster/{name}")),
    "aws:ecs/service:Service": _by_arn(regional("ecs", "service/{cluster_name}/{name}")),
    "aws:ecs/taskDefinition:TaskDefinition": {
        "id": "{family}",
        "arn": regional("ecs", "task-definition/{family}:1"),
        "arnWithoutRevision": regional("ecs", "task-definition/{family}"),
    },
    "aws:sfn/stateMachine:StateMachine": _by_arn(regional("states", "stateMachine:{name}")),
    "aws:msk/cluster:Cluster": _by_arn(regional("kafka", "cluster/{name}/{uuid}-1")),
    "aws:eks/cluster:Cluster": _by_name(
        regional("eks", "cluster/{name}"),
        endpoint="https://{upper32}.gr7.{region}.eks.{suffix}",
        platformVersion="eks.1",
        status="ACTIVE",
        createdAt=MOMENT,
    ),
    "aws:eks/nodeGroup:NodeGroup": {
        "id": "{clusterName}:{name}",
        "arn": regional("eks", "nodegroup/{clusterName}/{name}/{uuid}"),
        "status": "ACTIVE",
    },
    "aws:eks/addon:Addon": {
        "id": "{clusterName}:{addonName}",
        "arn": regional("eks", "addon/{clusterName}/{addonName}/{uuid}"),
    },
    "aws:eks/accessEntry:AccessEntry": {
        "id": "{clusterName}:{principalArn}",
        "accessEntryArn": regional("eks", "access-entry/{clusterName}/role/{account}/{name}/{uuid}"),
        "userName": "{principalArn}",
    },
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": {
        "id": "{clusterName},a-{lower17}",
        "associationId": "a-{lower17}",
        "associationArn": regional("eks", "podidentityassociation/{clusterName}/a-{lower17}"),
    },
    # doors
    **dict.fromkeys(("aws:lb/loadBalancer:LoadBalancer", "aws:alb/loadBalancer:LoadBalancer"), _LOAD_BALANCER),
    **dict.fromkeys(("aws:lb/targetGroup:TargetGroup", "aws:alb/targetGroup:TargetGroup"), _TARGET_GROUP),
    **dict.fromkeys(
        ("aws:lb/listener:Listener", "aws:alb/listener:Listener"),
        _by_arn("{listener_base}/{hex16}"),
    ),
    **dict.fromkeys(
        ("aws:lb/listenerRule:ListenerRule", "aws:alb/listenerRule:ListenerRule"),
        _by_arn("{rule_base}/{hex16}"),
    ),
    "aws:route53/zone:Zone": {
        "id": "Z{upper20}",
        "zoneId": "Z{upper20}",
        "arn": "arn:{partition}:route53:::hostedzone/{id}",
    },
    "aws:route53/record:Record": {"id": "{zoneId}_{name}_{type}", "fqdn": "{name}"},
    "aws:route53/healthCheck:HealthCheck": {"id": "{uuid}", "arn": "arn:{partition}:route53:::healthcheck/{uuid}"},
    "aws:globalaccelerator/accelerator:Accelerator": _by_arn(
        everywhere("globalaccelerator", "accelerator/{uuid}"),
        dnsName="{lower17}.awsglobalaccelerator.com",
        dualStackDnsName="{lower17}.dualstack.awsglobalaccelerator.com",
        hostedZoneId=facts.GLOBAL_ACCELERATOR_ZONE,
    ),
    "aws:globalaccelerator/listener:Listener": _by_arn("{acceleratorArn}/listener/{hex8}"),
    "aws:globalaccelerator/endpointGroup:EndpointGroup": _by_arn("{listenerArn}/endpoint-group/{hex8}"),
    "aws:cloudfront/distribution:Distribution": {
        "id": "E{upper13}",
        "arn": everywhere("cloudfront", "distribution/{id}"),
        "domainName": "{lower14}.cloudfront.net",
        "hostedZoneId": facts.CLOUDFRONT_ZONE,
        "etag": "E{upper13}",
        "status": "Deployed",
    },
    "aws:cloudfront/originAccessIdentity:OriginAccessIdentity": {
        "id": "E{upper13}",
        "iamArn": "arn:{partition}:iam::cloudfront:user/CloudFront Origin Access Identity {id}",
        "cloudfrontAccessIdentityPath": "origin-access-identity/cloudfront/{id}",
        "s3CanonicalUserId": "{hex64}",
    },
    "aws:cloudfront/originAccessControl:OriginAccessControl": {"id": "E{upper13}", "etag": "E{upper13}"},
    "aws:apigateway/restApi:RestApi": {
        "id": "{lower10}",
        "arn": "arn:{partition}:apigateway:{region}::/restapis/{id}",
        "executionArn": regional("execute-api", "{id}"),
        "rootResourceId": "{lower10}",
    },
    "aws:apigatewayv2/api:Api": {
        "id": "{lower10}",
        "arn": "arn:{partition}:apigateway:{region}::/apis/{id}",
        "apiEndpoint": "https://{id}.execute-api.{region}.{suffix}",
        "executionArn": regional("execute-api", "{id}"),
    },
    "aws:apigatewayv2/stage:Stage": {
        "id": "{name}",
        "arn": "arn:{partition}:apigateway:{region}::/apis/{apiId}/stages/{name}",
        "invokeUrl": "https://{apiId}.execute-api.{region}.{suffix}/{name}",
    },
    "aws:amp/workspace:Workspace": {
        "id": "ws-{uuid}",
        "arn": regional("aps", "workspace/{id}"),
        "prometheusEndpoint": "https://aps-workspaces.{region}.{suffix}/workspaces/ws-{uuid}/",
    },
}
"""Type -> output -> template (see `Made.format`). `id` is formatted first, and the others may use it."""
