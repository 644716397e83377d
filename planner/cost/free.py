"""What is known to cost nothing. A type that is neither here nor priced is listed as unpriced.

Where a type is free on its own but lets others cost, such as a launch template or a Deployment, the others are priced.
"""

from __future__ import annotations

from planner.plan import Resource

PACKAGES = frozenset({"kubernetes", "pulumi", "random", "tls", "time", "command", "std", "local", "null", "archive"})
"""All of a package but for what is priced: Kubernetes objects cost what the machines and volumes under them cost."""

PREFIXES = (
    "aws:iam/",
    "aws:ssoadmin/",
    "aws:organizations/",
    "aws:resourcegroups/",
    "aws:budgets/",  # the first two with actions; budgets without are free
    "aws:ce/",  # cost anomaly monitors
    "aws:acm/",  # public certificates
    "aws:vpc/",  # security group rules
    "aws:appautoscaling/",
    "aws:servicequotas/",
    "gcp:projects/",
    "gcp:organizations/",
    "gcp:folder/",
    "gcp:serviceaccount/",
    "gcp:servicenetworking/",
    "gcp:certificatemanager/",  # the first 100 certificates
    "gcp:billing/",
    "gcp:orgpolicy/",
    "gcp:iam/",
    "gcp:tags/",
    "gcp:binaryauthorization/",
    "gcp:gkehub/",
)

_NAMES = {
    "aws:amp": "workspaceConfiguration",
    "aws:cloudwatch": "eventRule eventTarget logMetricFilter logResourcePolicy",
    "aws:ec2": (
        "capacityReservation defaultNetworkAcl defaultRouteTable defaultSecurityGroup defaultSubnet "
        "defaultVpc defaultVpcDhcpOptions egressOnlyInternetGateway eipAssociation flowLog internetGateway "
        "internetGatewayAttachment keyPair launchConfiguration launchTemplate mainRouteTableAssociation "
        "managedPrefixList networkAcl networkAclRule networkInterface placementGroup route routeTable "
        "routeTableAssociation securityGroup securityGroupRule subnet tag volumeAttachment vpc vpcDhcpOptions "
        "vpcDhcpOptionsAssociation vpcEndpointPolicy vpcEndpointRouteTableAssociation "
        "vpcIpv4CidrBlockAssociation vpcPeeringConnection"
    ),
    "aws:efs": "accessPoint fileSystemPolicy mountTarget",
    "aws:eks": ("accessEntry accessPolicyAssociation addon identityProviderConfig podIdentityAssociation"),
    "aws:fsx": "dataRepositoryAssociation",
    "aws:globalaccelerator": "listener",
    "aws:kms": "alias grant keyPolicy",
    "aws:lb": "listener listenerCertificate listenerRule targetGroup targetGroupAttachment",
    "aws:s3": (
        "accountPublicAccessBlock bucketAcl bucketAclV2 bucketCorsConfiguration bucketLifecycleConfiguration "
        "bucketLifecycleConfigurationV2 bucketLogging bucketNotification bucketObject bucketObjectv2 "
        "bucketOwnershipControls bucketPolicy bucketPublicAccessBlock bucketServerSideEncryptionConfiguration "
        "bucketServerSideEncryptionConfigurationV2 bucketVersioning bucketVersioningV2"
    ),
    "aws:rds": "parameterGroup subnetGroup",
    "aws:sagemaker": "endpointConfiguration model",
    "aws:scheduler": "schedule scheduleGroup",  # the first 14 million starts
    "aws:secretsmanager": "secretPolicy secretVersion",
    "aws:sns": "topicPolicy",
    "aws:sqs": "queuePolicy",
    "aws:ssm": "parameter",
    "aws:wafv2": "ipSet regexPatternSet webAclAssociation webAclLoggingConfiguration",
    "gcp:compute": (
        "firewall globalAddress healthCheck instanceTemplate managedSslCertificate network "
        "networkEndpointGroup networkPeering networkPeeringRoutesConfig projectMetadata regionHealthCheck "
        "resourcePolicy route router sSLCertificate sSLPolicy targetHttpProxy targetHttpsProxy uRLMap"
    ),
    "gcp:backupdisasterrecovery": "backupPlan backupVault",
    "gcp:cloudrunv2": "serviceIamBinding serviceIamMember",
    "gcp:dns": "dnsManagedZoneIamBinding recordSet",
    "gcp:kms": "cryptoKeyIAMBinding cryptoKeyIAMMember keyRing keyRingIAMMember",
    "gcp:logging": "metric projectExclusion projectSink",
    "gcp:monitoring": "alertPolicy dashboard notificationChannel",
    "gcp:sql": "database user",
    "gcp:storage": "bucketACL bucketIAMBinding bucketIAMMember bucketIAMPolicy",
    "gcp:secretmanager": "secretIamMember",
}
"""Service -> the types in it that are free, as they are spelled in their tokens."""

TYPES = frozenset(
    f"{service}/{name}:{name[0].upper()}{name[1:]}" for service, names in _NAMES.items() for name in names.split()
)
"""Such as `aws:ec2/routeTable:RouteTable`."""


def is_free(resource: Resource) -> bool:
    """Whether a resource of this type is known to cost nothing by itself."""
    return resource.package in PACKAGES or resource.type in TYPES or resource.type.startswith(PREFIXES)
