"""What Google Cloud would answer for a resource that it has made."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from planner.engine.simulated import gcp_facts as facts
from planner.engine.simulated.gcp_formats import COMPUTE_API, FORMATS
from planner.engine.simulated.made import GCP_REGION, Made, digest

_NAMED_BY = {
    "gcp:secretmanager/secret:Secret": "secretId",
    "gcp:artifactregistry/repository:Repository": "repositoryId",
    "gcp:bigquery/dataset:Dataset": "datasetId",
    "gcp:serviceaccount/account:Account": "accountId",
    "gcp:iam/workloadIdentityPool:WorkloadIdentityPool": "workloadIdentityPoolId",
    "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider": "workloadIdentityPoolProviderId",
    "gcp:lustre/instance:Instance": "instanceId",
    "gcp:parallelstore/instance:Instance": "instanceId",
    "gcp:organizations/project:Project": "projectId",
    "gcp:projects/service:Service": "service",
    "gcp:projects/serviceIdentity:ServiceIdentity": "service",
}
"""The input that carries the physical name, where that is not `name`."""


def project_number(project: str) -> str:
    """The number of a project: twelve digits, the same wherever the project is spoken of."""
    return str(int.from_bytes(digest("project", project)[:8]) + 10**18)[:12]


def describe(made: Made) -> tuple[str, dict[str, Any]]:
    """The id, and the outputs that Google Cloud adds to the inputs."""
    made = _placed(made)
    key = _NAMED_BY.get(made.token, "name")
    made = made.named(key)
    made = made.knowing(**_parts(made))
    template = FORMATS.get(made.token) or _by_convention(made)
    made = made.knowing(id=made.format(template))
    outputs: dict[str, Any] = {"project": made.project, key: made.name}
    if made.token.startswith("gcp:compute/"):
        outputs["selfLink"] = COMPUTE_API + made.id
    for labels in ("effectiveLabels", "pulumiLabels"):
        outputs[labels] = dict(made.inputs.get("labels") or made.inputs.get("resourceLabels") or {})
    if more := _MORE.get(made.token):
        outputs |= more(made)
    return made.id, outputs


def _placed(made: Made) -> Made:
    """`made.region` may have come from a zone."""
    region = facts.region_of(made.region) or GCP_REGION
    zone = made.region if region != made.region else f"{region}-a"
    parts = {"zone": str(made.inputs.get("zone") or zone), "location": str(made.inputs.get("location") or made.region)}
    return replace(made, region=str(made.inputs.get("region") or region)).knowing(**parts)


def _parts(made: Made) -> dict[str, str]:
    email = f"{made.name}@{made.project}.iam.gserviceaccount.com"
    return {
        "email": email,
        "place_or_global": str(made.inputs.get("location") or "global"),
        "cluster_name": str(made.inputs.get("cluster", "")).rsplit("/", 1)[-1],
        "secret_path": str(made.inputs.get("secret", f"projects/{made.project}/secrets/{made.name}")),
        "service_name": made.name,
        "number": project_number(made.project),
    }


def _by_convention(made: Made) -> str:
    """Services without a row: a collection named after the kind, where the resource says that it is."""
    collection = re.sub(r"y$", "ie", made.kind[0].lower() + made.kind[1:]) + "s"
    place = "locations/{location}/" if made.inputs.get("location") or made.inputs.get("region") else ""
    return f"projects/{{project}}/{place}{collection}/{{name}}"


# ---- what the id does not say


def _cluster(made: Made) -> dict[str, Any]:
    zonal = facts.region_of(made.parts["location"]) != made.parts["location"]
    place = "zones" if zonal else "locations"
    channel = (made.inputs.get("releaseChannel") or {}).get("channel", "REGULAR")
    version = made.inputs.get("minMasterVersion") or facts.GKE_CHANNELS.get(channel, facts.GKE_CHANNELS["REGULAR"])
    private = dict(made.inputs.get("privateClusterConfig") or {})
    private.setdefault("privateEndpoint", "172.16.0.2")
    private.setdefault("publicEndpoint", made.public_ip())
    return {
        "endpoint": private["privateEndpoint"] if private.get("enablePrivateEndpoint") else made.public_ip(),
        "selfLink": made.format(
            f"https://container.googleapis.com/v1/projects/{{project}}/{place}/{{location}}/clusters/{{name}}"
        ),
        "location": made.parts["location"],
        "masterAuth": {"clusterCaCertificate": made.certificate_authority(), "clientCertificate": "", "clientKey": ""},
        "masterVersion": version,
        "privateClusterConfig": private,
        "nodeLocations": made.inputs.get("nodeLocations") or facts.zones(facts.region_of(made.parts["location"])),
        "clusterIpv4Cidr": made.inputs.get("clusterIpv4Cidr") or "10.4.0.0/14",
        "servicesIpv4Cidr": "10.8.0.0/20",
    }


def _node_pool(made: Made) -> dict[str, Any]:
    groups = [
        made.format(
            f"{COMPUTE_API}projects/{{project}}/zones/{zone}/instanceGroupManagers/gke-{{cluster_name}}-{{name}}-grp"
        )
        for zone in made.inputs.get("nodeLocations") or facts.zones(made.region)
    ]
    urls = {"instanceGroupUrls": groups, "managedInstanceGroupUrls": groups}
    return {**urls, "version": made.inputs.get("version") or facts.GKE_CHANNELS["REGULAR"]}


def _service_account(made: Made) -> dict[str, Any]:
    email = made.parts["email"]
    unique = "1" + made.digits(20)
    return {"email": email, "member": f"serviceAccount:{email}", "name": made.id, "uniqueId": unique}


_SERVICE_AGENTS = {
    "container.googleapis.com": "container-engine-robot",
    "compute.googleapis.com": "compute-system",
    "file.googleapis.com": "cloud-filer",
    "cloudbuild.googleapis.com": "gcp-sa-cloudbuild",
    "run.googleapis.com": "serverless-robot-prod",
}
"""Domains of service agents whose service does not name them. https://cloud.google.com/iam/docs/service-agents"""


def _service_identity(made: Made) -> dict[str, Any]:
    service = str(made.inputs.get("service", ""))
    agent = _SERVICE_AGENTS.get(service) or f"gcp-sa-{service.split('.')[0]}"
    email = f"service-{made.parts['number']}@{agent}.iam.gserviceaccount.com"
    return {"email": email, "member": f"serviceAccount:{email}"}


def _service_account_key(made: Made) -> dict[str, Any]:
    return {"name": made.id, "privateKey": made.base64(200), "publicKey": made.base64(120, "public")}


def _bucket(made: Made) -> dict[str, Any]:
    location = str(made.inputs.get("location") or "US").upper()
    return {
        "url": f"gs://{made.name}",
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{made.name}",
        "location": location,
        "storageClass": made.inputs.get("storageClass") or "STANDARD",
        "projectNumber": int(made.parts["number"]),
    }


def _bucket_object(made: Made) -> dict[str, Any]:
    bucket = made.inputs.get("bucket")
    link = f"https://www.googleapis.com/storage/v1/b/{bucket}/o/{made.name}"
    return {"selfLink": link, "outputName": made.name, "mediaLink": f"{link}?alt=media", "crc32c": made.base64(4)}


def _address(made: Made) -> dict[str, Any]:
    internal = made.inputs.get("addressType") == "INTERNAL"
    return {"address": made.inputs.get("address") or (made.private_ip() if internal else made.public_ip())}


def _forwarding_rule(made: Made) -> dict[str, Any]:
    internal = str(made.inputs.get("loadBalancingScheme", "")).startswith("INTERNAL")
    return {"ipAddress": made.inputs.get("ipAddress") or (made.private_ip() if internal else made.public_ip())}


def _subnetwork(made: Made) -> dict[str, Any]:
    cidr = str(made.inputs.get("ipCidrRange") or "10.0.0.0/20")
    return {"ipCidrRange": cidr, "gatewayAddress": re.sub(r"\d+/\d+$", "1", cidr)}


def _network(made: Made) -> dict[str, Any]:
    return {"networkId": made.digits(18), "numericId": made.digits(18)}


def _instance(made: Made) -> dict[str, Any]:
    interfaces = []
    for i, given in enumerate(made.inputs.get("networkInterfaces") or [{}]):
        interface = {"networkIp": made.private_ip(str(i)), "name": f"nic{i}", **given}
        if interface.get("accessConfigs"):
            interface["accessConfigs"] = [{"natIp": made.public_ip(str(i)), **a} for a in interface["accessConfigs"]]
        interfaces.append(interface)
    return {"networkInterfaces": interfaces, "instanceId": made.digits(19), "currentStatus": "RUNNING"}


def _composer(made: Made) -> dict[str, Any]:
    place = f"{made.lower(32)}-dot-{made.region}"
    bucket = f"{made.region}-{made.name}-{made.hex(8)}-bucket"
    return {
        "config": {
            **(made.inputs.get("config") or {}),
            "airflowUri": f"https://{place}.composer.googleusercontent.com",
            "dagGcsPrefix": f"gs://{bucket}/dags",
        }
    }


def _database(made: Made) -> dict[str, Any]:
    public, private = made.public_ip(), made.private_ip()
    agent = f"p{made.parts['number']}-{made.lower(6)}@gcp-sa-cloud-sql.iam.gserviceaccount.com"
    addresses = [{"ipAddress": public, "type": "PRIMARY"}, {"ipAddress": private, "type": "PRIVATE"}]
    return {
        "connectionName": f"{made.project}:{made.region}:{made.name}",
        "selfLink": f"https://sqladmin.googleapis.com/sql/v1beta4/projects/{made.project}/instances/{made.name}",
        "publicIpAddress": public,
        "privateIpAddress": private,
        "firstIpAddress": public,
        "ipAddresses": addresses,
        "serviceAccountEmailAddress": agent,
        "serverCaCerts": [{"cert": made.pem("CERTIFICATE"), "commonName": "Google Cloud SQL Server CA"}],
    }


def _managed_zone(made: Made) -> dict[str, Any]:
    letter = "abcde"[made.octet() % 5]
    return {
        "nameServers": [f"ns-cloud-{letter}{i}.googledomains.com." for i in range(1, 5)],
        "managedZoneId": made.digits(19),
    }


def _repository(made: Made) -> dict[str, Any]:
    location = made.parts["location"]
    host = f"{location}-{str(made.inputs.get('format', 'DOCKER')).lower()}.pkg.dev"
    return {"name": made.name, "registryUri": f"{host}/{made.project}/{made.name}", "location": location}


def _file_store(made: Made) -> dict[str, Any]:
    networks = made.inputs.get("networks") or [{}]
    given = [{"ipAddresses": [made.private_ip()], "reservedIpRange": "10.0.0.0/29", **n} for n in networks]
    return {"networks": given}


def _lustre(made: Made) -> dict[str, Any]:
    return {"mountPoint": f"{made.private_ip()}@tcp:/{made.inputs.get('filesystem', 'lustre')}", "name": made.id}


def _parallel_store(made: Made) -> dict[str, Any]:
    return {"accessPoints": [made.private_ip(str(i)) for i in range(3)], "name": made.id}


def _redis(made: Made) -> dict[str, Any]:
    return {"host": made.private_ip(), "port": 6379, "currentLocationId": made.parts["zone"]}


def _run(made: Made) -> dict[str, Any]:
    url = f"https://{made.name}-{made.lower(10)}-{made.hex(2)}.a.run.app"
    return {"uri": url, "urls": [url], "statuses": [{"url": url, "latestReadyRevisionName": f"{made.name}-00001-abc"}]}


def _project(made: Made) -> dict[str, Any]:
    return {"number": project_number(made.name)}


def _secret(made: Made) -> dict[str, Any]:
    return {"name": made.format("projects/{number}/secrets/{name}")}


def _named_by_id(made: Made) -> dict[str, Any]:
    return {"name": made.id}


def _pool(made: Made) -> dict[str, Any]:
    name = made.id.replace(f"projects/{made.project}/", f"projects/{made.parts['number']}/")
    return {"name": name, "state": "ACTIVE"}


def _dns_authorization(made: Made) -> dict[str, Any]:
    domain = made.inputs.get("domain") or "sim.invalid"
    data = f"{made.uuid()}.{made.octet() % 20}.authorize.certificatemanager.goog."
    return {"dnsResourceRecords": [{"name": f"_acme-challenge.{domain}.", "type": "CNAME", "data": data}]}


_MORE: Mapping[str, Callable[[Made], dict[str, Any]]] = {
    "gcp:container/cluster:Cluster": _cluster,
    "gcp:container/nodePool:NodePool": _node_pool,
    "gcp:serviceaccount/account:Account": _service_account,
    "gcp:projects/serviceIdentity:ServiceIdentity": _service_identity,
    "gcp:serviceaccount/key:Key": _service_account_key,
    "gcp:storage/bucket:Bucket": _bucket,
    "gcp:storage/bucketObject:BucketObject": _bucket_object,
    "gcp:compute/address:Address": _address,
    "gcp:compute/globalAddress:GlobalAddress": _address,
    "gcp:compute/forwardingRule:ForwardingRule": _forwarding_rule,
    "gcp:compute/globalForwardingRule:GlobalForwardingRule": _forwarding_rule,
    "gcp:compute/subnetwork:Subnetwork": _subnetwork,
    "gcp:compute/network:Network": _network,
    "gcp:compute/instance:Instance": _instance,
    "gcp:sql/databaseInstance:DatabaseInstance": _database,
    "gcp:composer/environment:Environment": _composer,
    "gcp:dns/managedZone:ManagedZone": _managed_zone,
    "gcp:artifactregistry/repository:Repository": _repository,
    "gcp:filestore/instance:Instance": _file_store,
    "gcp:lustre/instance:Instance": _lustre,
    "gcp:parallelstore/instance:Instance": _parallel_store,
    "gcp:redis/instance:Instance": _redis,
    "gcp:cloudrun/service:Service": _run,
    "gcp:cloudrunv2/service:Service": _run,
    "gcp:organizations/project:Project": _project,
    "gcp:secretmanager/secret:Secret": _secret,
    "gcp:secretmanager/secretVersion:SecretVersion": _named_by_id,
    "gcp:iam/workloadIdentityPool:WorkloadIdentityPool": _pool,
    "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider": _pool,
    "gcp:projects/iAMCustomRole:IAMCustomRole": _named_by_id,
    "gcp:certificatemanager/dnsAuthorization:DnsAuthorization": _dns_authorization,
}
