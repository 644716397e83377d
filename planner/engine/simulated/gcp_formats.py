"""Ids of Google Cloud resources as templates, in the form in which the provider writes them.

Source: the "Import" section of each resource's page in the provider's documentation, whose first form is the id.
"""

from __future__ import annotations

from collections.abc import Mapping


def _in_project(collection: str) -> str:
    return f"projects/{{project}}/{collection}/{{name}}"


def _global(collection: str) -> str:
    return f"projects/{{project}}/global/{collection}/{{name}}"


def _regional(collection: str) -> str:
    return f"projects/{{project}}/regions/{{region}}/{collection}/{{name}}"


def _zonal(collection: str) -> str:
    return f"projects/{{project}}/zones/{{zone}}/{collection}/{{name}}"


def _in_project_globally(collection: str) -> str:
    return f"projects/{{project}}/locations/global/{collection}/{{name}}"


def _located_or_global(collection: str) -> str:
    return f"projects/{{project}}/locations/{{place_or_global}}/{collection}/{{name}}"


def _located(collection: str) -> str:
    return f"projects/{{project}}/locations/{{location}}/{collection}/{{name}}"


_GLOBAL = {
    "network:Network": "networks",
    "firewall:Firewall": "firewalls",
    "globalAddress:GlobalAddress": "addresses",
    "globalForwardingRule:GlobalForwardingRule": "forwardingRules",
    "backendService:BackendService": "backendServices",
    "backendBucket:BackendBucket": "backendBuckets",
    "healthCheck:HealthCheck": "healthChecks",
    "uRLMap:URLMap": "urlMaps",
    "targetHttpProxy:TargetHttpProxy": "targetHttpProxies",
    "targetHttpsProxy:TargetHttpsProxy": "targetHttpsProxies",
    "targetTCPProxy:TargetTCPProxy": "targetTcpProxies",
    "managedSslCertificate:ManagedSslCertificate": "sslCertificates",
    "sSLCertificate:SSLCertificate": "sslCertificates",
    "sSLPolicy:SSLPolicy": "sslPolicies",
    "securityPolicy:SecurityPolicy": "securityPolicies",
    "route:Route": "routes",
    "image:Image": "images",
    "instanceTemplate:InstanceTemplate": "instanceTemplates",
    "globalNetworkEndpointGroup:GlobalNetworkEndpointGroup": "networkEndpointGroups",
}
_REGIONAL = {
    "subnetwork:Subnetwork": "subnetworks",
    "router:Router": "routers",
    "address:Address": "addresses",
    "forwardingRule:ForwardingRule": "forwardingRules",
    "regionBackendService:RegionBackendService": "backendServices",
    "regionHealthCheck:RegionHealthCheck": "healthChecks",
    "regionUrlMap:RegionUrlMap": "urlMaps",
    "regionTargetHttpsProxy:RegionTargetHttpsProxy": "targetHttpsProxies",
    "regionNetworkEndpointGroup:RegionNetworkEndpointGroup": "networkEndpointGroups",
    "regionInstanceGroupManager:RegionInstanceGroupManager": "instanceGroupManagers",
    "resourcePolicy:ResourcePolicy": "resourcePolicies",
    "regionDisk:RegionDisk": "disks",
}
_ZONAL = {
    "instance:Instance": "instances",
    "disk:Disk": "disks",
    "networkEndpointGroup:NetworkEndpointGroup": "networkEndpointGroups",
    "instanceGroup:InstanceGroup": "instanceGroups",
    "instanceGroupManager:InstanceGroupManager": "instanceGroupManagers",
    "reservation:Reservation": "reservations",
}

COMPUTE_API = "https://www.googleapis.com/compute/v1/"
"""What stands before a Compute Engine id in its self link."""

FORMATS: Mapping[str, str] = {
    **{f"gcp:compute/{kind}": _global(collection) for kind, collection in _GLOBAL.items()},
    **{f"gcp:compute/{kind}": _regional(collection) for kind, collection in _REGIONAL.items()},
    **{f"gcp:compute/{kind}": _zonal(collection) for kind, collection in _ZONAL.items()},
    "gcp:compute/routerNat:RouterNat": "{project}/{region}/{router}/{name}",
    "gcp:container/cluster:Cluster": _located("clusters"),
    "gcp:container/nodePool:NodePool": _located("clusters/{cluster_name}/nodePools"),
    "gcp:storage/bucket:Bucket": "{name}",
    "gcp:storage/bucketObject:BucketObject": "{bucket}-{name}",
    "gcp:storage/bucketIAMMember:BucketIAMMember": "b/{bucket}/{role}/{member}",
    "gcp:storage/bucketIAMBinding:BucketIAMBinding": "b/{bucket}/{role}",
    "gcp:serviceaccount/account:Account": "projects/{project}/serviceAccounts/{email}",
    "gcp:serviceaccount/key:Key": "{serviceAccountId}/keys/{hex40}",
    "gcp:serviceaccount/iAMMember:IAMMember": "{serviceAccountId}/{role}/{member}",
    "gcp:serviceaccount/iAMBinding:IAMBinding": "{serviceAccountId}/{role}",
    "gcp:projects/iAMMember:IAMMember": "{project}/{role}/{member}",
    "gcp:projects/iAMBinding:IAMBinding": "{project}/{role}",
    "gcp:projects/iAMCustomRole:IAMCustomRole": "projects/{project}/roles/{roleId}",
    "gcp:projects/service:Service": "{project}/{service_name}",
    "gcp:projects/serviceIdentity:ServiceIdentity": "projects/{project}/services/{service_name}",
    "gcp:organizations/project:Project": "projects/{projectId}",
    "gcp:kms/keyRing:KeyRing": _located("keyRings"),
    "gcp:kms/cryptoKey:CryptoKey": "{keyRing}/cryptoKeys/{name}",
    "gcp:kms/cryptoKeyIAMMember:CryptoKeyIAMMember": "{cryptoKeyId}/{role}/{member}",
    "gcp:secretmanager/secret:Secret": "projects/{project}/secrets/{name}",
    "gcp:secretmanager/secretVersion:SecretVersion": "{secret_path}/versions/1",
    "gcp:artifactregistry/repository:Repository": _located("repositories"),
    "gcp:sql/databaseInstance:DatabaseInstance": "{name}",
    "gcp:composer/environment:Environment": "projects/{project}/locations/{region}/environments/{name}",
    "gcp:sql/database:Database": "projects/{project}/instances/{instance}/databases/{name}",
    "gcp:sql/user:User": "{name}//{instance}",
    "gcp:dns/managedZone:ManagedZone": _in_project("managedZones"),
    "gcp:dns/recordSet:RecordSet": "projects/{project}/managedZones/{managedZone}/rrsets/{name}/{type}",
    "gcp:pubsub/topic:Topic": _in_project("topics"),
    "gcp:pubsub/subscription:Subscription": _in_project("subscriptions"),
    "gcp:filestore/instance:Instance": _located("instances"),
    "gcp:lustre/instance:Instance": _located("instances"),
    "gcp:parallelstore/instance:Instance": _located("instances"),
    "gcp:redis/instance:Instance": "projects/{project}/locations/{region}/instances/{name}",
    "gcp:cloudrun/service:Service": "locations/{location}/namespaces/{project}/services/{name}",
    "gcp:cloudrunv2/service:Service": _located("services"),
    "gcp:cloudrunv2/serviceIamMember:ServiceIamMember": _located("services") + "/{role}/{member}",
    "gcp:cloudfunctionsv2/function:Function": _located("functions"),
    "gcp:bigquery/dataset:Dataset": _in_project("datasets"),
    "gcp:iam/workloadIdentityPool:WorkloadIdentityPool": _in_project_globally("workloadIdentityPools"),
    "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider": _in_project_globally(
        "workloadIdentityPools/{workloadIdentityPoolId}/providers"
    ),
    "gcp:certificatemanager/certificate:Certificate": _located_or_global("certificates"),
    "gcp:certificatemanager/certificateMap:CertificateMap": _in_project_globally("certificateMaps"),
    "gcp:certificatemanager/certificateMapEntry:CertificateMapEntry": _in_project_globally(
        "certificateMaps/{map}/certificateMapEntries"
    ),
    "gcp:certificatemanager/dnsAuthorization:DnsAuthorization": _located_or_global("dnsAuthorizations"),
    "gcp:servicenetworking/connection:Connection": "{network}:servicenetworking.googleapis.com",
    "gcp:vpcaccess/connector:Connector": "projects/{project}/locations/{region}/connectors/{name}",
}
"""Type -> template of the id (see `Made.format`)."""
