"""What AWS would answer for a resource that it has made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from planner.engine.simulated import aws_facts as facts
from planner.engine.simulated.aws_formats import FORMATS, regional
from planner.engine.simulated.made import Made

_NAMED_BY = ("name", "bucket", "identifier", "clusterIdentifier", "replicationGroupId", "functionName", "domainName")
"""Inputs that carry a resource's physical name, best first."""

_OWN_NAME = {
    "aws:ec2/keyPair:KeyPair": "keyName",
    "aws:eks/nodeGroup:NodeGroup": "nodeGroupName",
    "aws:ecs/taskDefinition:TaskDefinition": "family",
    "aws:rds/cluster:Cluster": "clusterIdentifier",
    "aws:rds/instance:Instance": "identifier",
    "aws:sagemaker/pipeline:Pipeline": "pipelineName",
    "aws:elasticache/replicationGroup:ReplicationGroup": "replicationGroupId",
    "aws:s3/bucket:Bucket": "bucket",
}
"""The property that carries the physical name, where that is not `name`."""


def describe(made: Made) -> tuple[str, dict[str, Any]]:
    """The id, and the outputs that AWS adds to the inputs."""
    name_key = _OWN_NAME.get(made.token, "name")
    made = made.named(name_key, *_NAMED_BY)
    made = made.knowing(**_parts(made))
    formats = FORMATS.get(made.token) or _by_convention(made)
    made = made.knowing(id=made.format(formats["id"]))
    outputs: dict[str, Any] = {key: made.format(template) for key, template in formats.items() if key != "id"}
    outputs[name_key] = made.name
    outputs["tagsAll"] = dict(made.inputs.get("tags") or {})
    if more := _MORE.get(made.token):
        outputs |= more(made)
    return made.id, outputs


def _by_convention(made: Made) -> Mapping[str, str]:
    """Services without a row: most things are named by the program, and their ARN says service, kind and name."""
    id = "{thing}-{hex17}" if made.service in ("ec2", "vpc", "ec2transitgateway") else "{name}"
    return {"id": id, "arn": regional(made.service, "{thing}/{id}")}


def _parts(made: Made) -> dict[str, str]:
    """What templates need and what is neither an input nor made up: defaults and rearranged inputs."""
    kind = {"network": "net", "gateway": "gwy"}.get(str(made.inputs.get("loadBalancerType")), "app")
    return {
        "elb_type": kind,
        "path": str(made.inputs.get("path") or "/"),
        "unrooted_name": made.name.lstrip("/"),
        "region_code": facts.zone_id_prefix(made.region),
        "cluster_name": str(made.inputs.get("cluster") or "default").rsplit("/", 1)[-1],
        "listener_base": str(made.inputs.get("loadBalancerArn", "")).replace(":loadbalancer/", ":listener/"),
        "rule_base": str(made.inputs.get("listenerArn", "")).replace(":listener/", ":listener-rule/"),
        "public_ip_dashed": made.public_ip().replace(".", "-"),
        "private_ip_dashed": made.private_ip().replace(".", "-"),
    }


# ---- what templates cannot say


def _eks_cluster(made: Made) -> dict[str, Any]:
    network = dict(made.inputs.get("vpcConfig") or {})
    network.setdefault("clusterSecurityGroupId", f"sg-{made.hex(17, 'cluster')}")
    network.setdefault("vpcId", f"vpc-{made.hex(17, 'vpc')}")
    kubernetes_network = dict(made.inputs.get("kubernetesNetworkConfig") or {})
    kubernetes_network.setdefault("serviceIpv4Cidr", "172.20.0.0/16")
    kubernetes_network.setdefault("ipFamily", "ipv4")
    return {
        "certificateAuthority": {"data": made.certificate_authority()},
        "identities": [{"oidcs": [{"issuer": made.format("https://oidc.eks.{region}.{suffix}/id/{upper32}")}]}],
        "vpcConfig": network,
        "kubernetesNetworkConfig": kubernetes_network,
        "version": str(made.inputs.get("version") or facts.EKS_DEFAULT_VERSION),
    }


def _eks_node_group(made: Made) -> dict[str, Any]:
    group = made.format("eks-{name}-{uuid}")
    return {"resources": [{"autoscalingGroups": [{"name": group}], "remoteAccessSecurityGroupId": ""}]}


def _certificate(made: Made) -> dict[str, Any]:
    """One validation record a name; a wildcard shares the record of the name that it stands under, as in ACM."""
    domain = made.inputs.get("domainName")
    if not isinstance(domain, str):
        return {}
    names = [domain, *(n for n in made.inputs.get("subjectAlternativeNames") or [] if isinstance(n, str))]
    options = []
    for name in dict.fromkeys(names):
        bare = name.removeprefix("*.")
        options.append(
            {
                "domainName": name,
                "resourceRecordName": f"_{made.hex(32, 'name', bare)}.{bare}.",
                "resourceRecordType": "CNAME",
                "resourceRecordValue": f"_{made.hex(32, 'value', bare)}.{made.lower(10, bare)}.acm-validations.aws.",
            }
        )
    return {
        "domainName": domain,
        "subjectAlternativeNames": list(dict.fromkeys(names)),
        "domainValidationOptions": options,
        "status": "PENDING_VALIDATION",
        "keyAlgorithm": made.inputs.get("keyAlgorithm") or "RSA_2048",
    }


def _hosted_zone(made: Made) -> dict[str, Any]:
    servers = [
        f"ns-{256 * i + made.octet(tld)}.awsdns-{made.octet(tld, 'group') % 64:02d}.{tld}"
        for i, tld in enumerate(("com", "net", "org", "co.uk"))
    ]
    return {"nameServers": servers, "primaryNameServer": servers[0]}


def _accelerator(made: Made) -> dict[str, Any]:
    addresses = [made.public_ip("a"), f"198.51.100.{made.octet('b')}"]
    return {"ipSets": [{"ipFamily": "IPv4", "ipAddresses": addresses}]}


def _bucket(made: Made) -> dict[str, Any]:
    return {
        "bucketDomainName": f"{made.name}.s3.{made.suffix}",
        "bucketRegionalDomainName": f"{made.name}.s3.{made.region}.{made.suffix}",
        "bucketRegion": made.region,
        "hostedZoneId": f"Z{made.upper(13, made.region)}",
        **(_website(made) if made.inputs.get("website") else {}),
    }


def _website(made: Made) -> dict[str, Any]:
    bucket = made.inputs.get("bucket") or made.name
    domain = f"s3-website-{made.region}.{made.suffix}"
    return {"websiteDomain": domain, "websiteEndpoint": f"{bucket}.{domain}"}


def _graphql(made: Made) -> dict[str, Any]:
    hosts = {"GRAPHQL": ("https", "appsync-api"), "REALTIME": ("wss", "appsync-realtime-api")}
    label = made.lower(26)
    return {
        "uris": {
            kind: f"{scheme}://{label}.{host}.{made.region}.{made.suffix}/graphql"
            for kind, (scheme, host) in hosts.items()
        }
    }


def _database(made: Made) -> dict[str, Any]:
    port = made.inputs.get("port") or facts.database_port(str(made.inputs.get("engine")))
    address = made.format("{name}.{lower12}.{region}.rds.{suffix}")
    found = {"port": port, "endpoint": f"{address}:{port}", "status": "available"}
    if made.inputs.get("manageMasterUserPassword"):
        arn = made.format("arn:{partition}:secretsmanager:{region}:{account}:secret:rds!db-{uuid}-{lower6}")
        key = made.inputs.get("masterUserSecretKmsKeyId") or ""
        found["masterUserSecrets"] = [{"secretArn": arn, "secretStatus": "active", "kmsKeyId": key}]
    return found


def _database_cluster(made: Made) -> dict[str, Any]:
    return {"port": made.inputs.get("port") or facts.database_port(str(made.inputs.get("engine")))}


def _cache(made: Made) -> dict[str, Any]:
    return {"port": made.inputs.get("port") or 6379}


def _load_balancer(made: Made) -> dict[str, Any]:
    network = made.inputs.get("loadBalancerType") == "network"
    internal = "internal-" if made.inputs.get("internal") else ""
    where = f"elb.{made.region}" if network else f"{made.region}.elb"
    return {
        "dnsName": f"{internal}{made.name}-{made.digits(10)}.{where}.{made.suffix}",
        "zoneId": facts.load_balancer_zone(made.region, network=network),
        "vpcId": f"vpc-{made.hex(17, 'vpc')}",
    }


def _elastic_ip(made: Made) -> dict[str, Any]:
    return {"publicIp": made.public_ip(), "privateIp": made.private_ip()}


def _instance(made: Made) -> dict[str, Any]:
    public = made.public_ip() if made.inputs.get("associatePublicIpAddress", True) else ""
    return {"publicIp": public, "privateIp": made.private_ip(), "availabilityZone": made.zone}


def _access_key(made: Made) -> dict[str, Any]:
    return {"secret": made.base64(30), "sesSmtpPasswordV4": made.base64(33, "smtp")}


_MORE: Mapping[str, Callable[[Made], dict[str, Any]]] = {
    "aws:eks/cluster:Cluster": _eks_cluster,
    "aws:eks/nodeGroup:NodeGroup": _eks_node_group,
    "aws:acm/certificate:Certificate": _certificate,
    "aws:route53/zone:Zone": _hosted_zone,
    "aws:globalaccelerator/accelerator:Accelerator": _accelerator,
    "aws:s3/bucket:Bucket": _bucket,
    "aws:s3/bucketWebsiteConfiguration:BucketWebsiteConfiguration": _website,
    "aws:appsync/graphQLApi:GraphQLApi": _graphql,
    "aws:rds/instance:Instance": _database,
    "aws:rds/cluster:Cluster": _database_cluster,
    "aws:elasticache/replicationGroup:ReplicationGroup": _cache,
    "aws:lb/loadBalancer:LoadBalancer": _load_balancer,
    "aws:alb/loadBalancer:LoadBalancer": _load_balancer,
    "aws:ec2/eip:Eip": _elastic_ip,
    "aws:ec2/instance:Instance": _instance,
    "aws:iam/accessKey:AccessKey": _access_key,
}
