"""Simulated answers about AWS services: clusters, registries, keys, certificates, doors, databases, storage."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from planner.engine.simulated import aws_facts as facts
from planner.engine.simulated.ask import Answer, Ask, existing, simulations
from planner.engine.simulated.aws_resources import describe
from planner.engine.simulated.made import MOMENT, partition
from planner.engine.simulated.other_resources import password

# ---- clusters

_eks = existing(describe, "aws:eks/cluster:Cluster", "name")


def _eks_cluster(ask: Ask) -> dict[str, Any]:
    found = _eks(ask)
    return {
        **found,
        "certificateAuthorities": [found["certificateAuthority"]],
        "accessConfigs": [{"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False}],
        "kubernetesNetworkConfigs": [found["kubernetesNetworkConfig"]],
        "roleArn": f"arn:{partition(ask.region)}:iam::{ask.account}:role/{ask.text('name')}",
        "vpcConfig": {
            **found["vpcConfig"],
            "endpointPrivateAccess": True,
            "endpointPublicAccess": False,
            "publicAccessCidrs": [],
            "securityGroupIds": [],
            "subnetIds": [ask.made(seed=ask.text("name")).format("subnet-{hex16}") + str(i) for i in range(3)],
        },
    }


def _eks_token(ask: Ask) -> dict[str, Any]:
    return {"id": ask.text("name"), "token": "k8s-aws-v1." + ask.made().base64(300).rstrip("=")}


def _eks_addon(ask: Ask) -> dict[str, Any]:
    name, version = ask.text("addonName"), ask.text("kubernetesVersion", default=facts.EKS_DEFAULT_VERSION)
    return {"id": name, "version": facts.addon_version(name, version)}


def _eks_versions(ask: Ask) -> dict[str, Any]:
    wanted = ask.texts("clusterVersionsOnlies") or facts.EKS_VERSIONS
    status = ask.text("versionStatus").lower().replace("-", "_")
    versions = []
    for version in facts.EKS_VERSIONS:
        support = "standard_support" if version in facts.EKS_STANDARD_SUPPORT else "extended_support"
        is_default = version == facts.EKS_DEFAULT_VERSION
        if version not in wanted or (status and status != support) or (ask.args.get("defaultOnly") and not is_default):
            continue
        about: dict[str, Any] = {"clusterVersion": version, "clusterType": "eks", "defaultVersion": is_default}
        ends = {"endOfStandardSupportDate": MOMENT, "endOfExtendedSupportDate": MOMENT, "releaseDate": MOMENT}
        patch = {"defaultPlatformVersion": "eks.1", "kubernetesPatchVersion": f"{version}.2"}
        versions.append({**about, **ends, **patch, "status": support, "versionStatus": support.upper()})
    return {"id": ask.region, "clusterVersions": versions}


# ---- registries


def _registry_login(ask: Ask) -> dict[str, Any]:
    registry = ask.text("registryId", default=ask.account)
    secret = ask.made(seed=registry + ask.region).base64(120)
    suffix = ask.made().suffix
    return {
        "id": ask.region,
        "authorizationToken": base64.b64encode(f"AWS:{secret}".encode()).decode(),
        "userName": "AWS",
        "password": secret,
        "proxyEndpoint": f"https://{registry}.dkr.ecr.{ask.region}.{suffix}",
        "expiresAt": MOMENT,
    }


def _registry_image(ask: Ask) -> dict[str, Any]:
    repository, registry = ask.text("repositoryName"), ask.text("registryId", default=ask.account)
    digest = ask.text("imageDigest") or "sha256:" + ask.made().hex(64)
    tag = ask.text("imageTag", default="latest")
    uri = f"{registry}.dkr.ecr.{ask.region}.{ask.made().suffix}/{repository}@{digest}"
    return {"id": digest, "imageDigest": digest, "imageTags": [tag], "imageUri": uri, "registryId": registry}


# ---- names, certificates, keys, secrets


def _zone(ask: Ask) -> dict[str, Any]:
    """By name or by id: a zone that is asked for in both ways is one zone only if the program says so."""
    name = ask.text("name").rstrip(".") or "sim.invalid"
    found = existing(describe, "aws:route53/zone:Zone", "zoneId")(ask)
    return {**found, "name": name, "zoneId": found["id"], "privateZone": bool(ask.args.get("privateZone"))}


def _certificate(ask: Ask) -> dict[str, Any]:
    arn = f"arn:{partition(ask.region)}:acm:{ask.region}:{ask.account}:certificate/{ask.made().uuid()}"
    return {"id": arn, "arn": arn, "status": "ISSUED", "certificate": "", "certificateChain": ""}


def _key(ask: Ask) -> dict[str, Any]:
    """By id, ARN or alias."""
    given = ask.text("keyId")
    made = ask.made(seed=f"key {given.rsplit(':', 1)[-1]} {ask.region}")
    id = given.rsplit("key/", 1)[-1] if "alias/" not in given else made.uuid()
    arn = given if ":key/" in given else f"arn:{partition(ask.region)}:kms:{ask.region}:{ask.account}:key/{id}"
    use = {"keyUsage": "ENCRYPT_DECRYPT", "keySpec": "SYMMETRIC_DEFAULT", "customerMasterKeySpec": "SYMMETRIC_DEFAULT"}
    state = {"enabled": True, "keyState": "Enabled", "keyManager": "AWS" if "alias/aws/" in given else "CUSTOMER"}
    return {"id": id, "arn": arn, "awsAccountId": ask.account, "origin": "AWS_KMS", **use, **state}


def _alias(ask: Ask) -> dict[str, Any]:
    name = ask.text("name")
    arn = f"arn:{partition(ask.region)}:kms:{ask.region}:{ask.account}:"
    id = ask.made(seed=f"key {name} {ask.region}").uuid()
    return {"id": arn + name, "arn": arn + name, "targetKeyId": id, "targetKeyArn": f"{arn}key/{id}"}


def _secret(ask: Ask) -> dict[str, Any]:
    name = ask.text("name") or ask.text("arn").rsplit(":", 1)[-1][:-7]
    made = ask.made(seed=f"secret {name} {ask.region}")
    arn = ask.text("arn") or made.knowing(secret=name).format(
        "arn:{partition}:secretsmanager:{region}:{account}:secret:{secret}-{lower6}"
    )
    return {"id": arn, "arn": arn, "name": name, "description": "", "kmsKeyId": "", "policy": ""}


def _random_password(ask: Ask) -> dict[str, Any]:
    args = ask.args
    made = ask.made(
        inputs={
            "length": args.get("passwordLength") or 32,
            "upper": not args.get("excludeUppercase"),
            "lower": not args.get("excludeLowercase"),
            "numeric": not args.get("excludeNumbers"),
            "special": not args.get("excludePunctuation"),
        }
    )
    excluded = str(args.get("excludeCharacters") or "")
    return {"id": ask.region, "randomPassword": password(made, without=excluded)}


# ---- doors


def _managed(policies: Mapping[str, str], kind: str) -> Answer:
    """CloudFront's managed policies by name or id, and others as if they existed."""

    def answer(ask: Ask) -> dict[str, Any]:
        names = {id: name for name, id in policies.items()}
        name = ask.text("name") or names.get(ask.text("id"), "policy")
        id = ask.text("id") or policies.get(name) or ask.made(seed=name).uuid()
        arn = f"arn:{partition(ask.region)}:cloudfront::{ask.account}:{kind}/{id}"
        return {"id": id, "name": name, "arn": arn, "etag": ask.made(seed=id).format("E{upper13}"), "comment": ""}

    return answer


def _load_balancer_zone(ask: Ask) -> dict[str, Any]:
    is_network = ask.text("loadBalancerType") == "network"
    return {"id": facts.load_balancer_zone(ask.region, network=is_network)}


def _log_account(ask: Ask) -> dict[str, Any]:
    account = facts.LOAD_BALANCER_LOG_ACCOUNTS.get(ask.region) or ask.made(seed=ask.region).digits(12)
    return {"id": account, "arn": f"arn:{partition(ask.region)}:iam::{account}:root"}


def _load_balancer(token: str) -> Answer:
    of = existing(describe, token, "arn")

    def answer(ask: Ask) -> dict[str, Any]:
        # .../loadbalancer/app/<name>/<id>
        parts = ask.text("arn").split("/")
        name = ask.text("name") or (parts[2] if len(parts) > 2 else "")
        return {**of(ask), **({"name": name} if name else {}), "loadBalancerType": "application", "internal": False}

    return answer


# ---- databases, logs, storage


def _engine_version(ask: Ask) -> dict[str, Any]:
    engine = ask.text("engine")
    version, family = facts.database_engine(engine)
    version = ask.text("version") or (ask.texts("preferredVersions") or [version])[0]
    if version.split(".")[0] != facts.database_engine(engine)[0].split(".")[0]:
        family = f"{family.rstrip('0123456789.')}{version.split('.')[0]}"
    more = {"status": "available", "supportsReadReplica": True}
    return {"id": version, "version": version, "versionActual": version, "parameterGroupFamily": family, **more}


def _orderable(ask: Ask) -> dict[str, Any]:
    engine = ask.text("engine")
    kind = ask.text("instanceClass") or (ask.texts("preferredInstanceClasses") or ["db.r7g.large"])[0]
    version = ask.text("engineVersion") or facts.database_engine(engine)[0]
    zones = list(facts.zones(ask.region))
    more = {"multiAzCapable": True, "vpc": True, "supportsStorageEncryption": True, "storageType": "gp3"}
    return {"id": kind, "instanceClass": kind, "engineVersion": version, "availabilityZones": zones, **more}


def _log_groups(ask: Ask) -> dict[str, Any]:
    return {"id": ask.region, "arns": [], "logGroupNames": []}


def _canonical_user(ask: Ask) -> dict[str, Any]:
    return {"id": ask.made(seed=ask.account).hex(64), "displayName": "simulated"}


_application_load_balancer = _load_balancer("aws:lb/loadBalancer:LoadBalancer")

SIMULATED = simulations(
    {
        "aws:eks/getCluster": _eks_cluster,
        "aws:eks/getClusterAuth": _eks_token,
        "aws:eks/getAddonVersion": _eks_addon,
        "aws:eks/getClusterVersions": _eks_versions,
        "aws:ecr/getAuthorizationToken": _registry_login,
        "aws:ecr/getCredentials": _registry_login,
        "aws:ecr/getRepository": existing(describe, "aws:ecr/repository:Repository", "name"),
        "aws:ecr/getImage": _registry_image,
        "aws:ecrpublic/getAuthorizationToken": _registry_login,
        "aws:route53/getZone": _zone,
        "aws:acm/getCertificate": _certificate,
        "aws:kms/getKey": _key,
        "aws:kms/getAlias": _alias,
        "aws:secretsmanager/getSecret": _secret,
        "aws:secretsmanager/getRandomPassword": _random_password,
        "aws:cloudfront/getCachePolicy": _managed(facts.MANAGED_CACHE_POLICIES, "cache-policy"),
        "aws:cloudfront/getOriginRequestPolicy": _managed(
            facts.MANAGED_ORIGIN_REQUEST_POLICIES, "origin-request-policy"
        ),
        "aws:cloudfront/getResponseHeadersPolicy": _managed(
            facts.MANAGED_RESPONSE_HEADERS_POLICIES, "response-headers-policy"
        ),
        "aws:cloudfront/getDistribution": existing(describe, "aws:cloudfront/distribution:Distribution", "id"),
        "aws:cloudfront/getOriginAccessIdentity": existing(
            describe, "aws:cloudfront/originAccessIdentity:OriginAccessIdentity", "id"
        ),
        "aws:cloudfront/getOriginAccessControl": existing(
            describe, "aws:cloudfront/originAccessControl:OriginAccessControl", "id"
        ),
        "aws:lb/getHostedZoneId": _load_balancer_zone,
        "aws:elb/getHostedZoneId": _load_balancer_zone,
        "aws:elb/getServiceAccount": _log_account,
        "aws:lb/getLoadBalancer": _application_load_balancer,
        "aws:alb/getLoadBalancer": _application_load_balancer,
        "aws:lb/getTargetGroup": existing(describe, "aws:lb/targetGroup:TargetGroup", "arn"),
        "aws:globalaccelerator/getAccelerator": existing(
            describe, "aws:globalaccelerator/accelerator:Accelerator", "arn"
        ),
        "aws:rds/getEngineVersion": _engine_version,
        "aws:rds/getOrderableDbInstance": _orderable,
        "aws:cloudwatch/getLogGroup": existing(describe, "aws:cloudwatch/logGroup:LogGroup", "name"),
        "aws:cloudwatch/getLogGroups": _log_groups,
        "aws:sqs/getQueue": existing(describe, "aws:sqs/queue:Queue"),
        "aws:sns/getTopic": existing(describe, "aws:sns/topic:Topic"),
        "aws:lambda/getFunction": existing(describe, "aws:lambda/function:Function", name="functionName"),
        "aws:dynamodb/getTable": existing(describe, "aws:dynamodb/table:Table", "name"),
        "aws:efs/getFileSystem": existing(describe, "aws:efs/fileSystem:FileSystem", "fileSystemId"),
        "aws:s3/getBucket": existing(describe, "aws:s3/bucket:Bucket", "bucket"),
        "aws:s3/getCanonicalUserId": _canonical_user,
    },
    secrets={
        "aws:eks/getClusterAuth": ("token",),
        "aws:ecr/getAuthorizationToken": ("authorizationToken", "password"),
        "aws:ecr/getCredentials": ("authorizationToken", "password"),
        "aws:ecrpublic/getAuthorizationToken": ("authorizationToken", "password"),
        "aws:secretsmanager/getRandomPassword": ("randomPassword",),
    },
)
