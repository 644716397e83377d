"""Simulated answers about Google Cloud: projects, places, networks, clusters, keys, registries and IAM policies."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

from planner.engine.simulated import gcp_facts as facts
from planner.engine.simulated.ask import Answer, Ask, Cannot, Refused, existing, simulations
from planner.engine.simulated.gcp_formats import COMPUTE_API
from planner.engine.simulated.gcp_resources import describe, project_number
from planner.engine.simulated.made import MOMENT

# ---- projects and identities


def _project(ask: Ask) -> dict[str, Any]:
    project = ask.text("projectId", default=ask.project)
    return {
        "id": f"projects/{project}",
        "projectId": project,
        "name": project,
        "number": project_number(project),
        "orgId": "",
        "folderId": "",
        "billingAccount": "",
        "autoCreateNetwork": False,
    }


def _projects(ask: Ask) -> dict[str, Any]:
    """The project that a filter asks for by name or id; without one, the project that the provider works in."""
    wanted = re.search(r"(?:name|id|projectId)[:=]([\w-]+)", ask.text("filter"))
    project = wanted[1] if wanted else ask.project
    found = {"projectId": project, "name": project, "number": project_number(project), "lifecycleState": "ACTIVE"}
    return {"id": ask.text("filter"), "projects": [{**found, "createTime": MOMENT, "labels": {}, "parent": {}}]}


def _client_config(ask: Ask) -> dict[str, Any]:
    region = facts.region_of(ask.region)
    zone = ask.config.get("zone") or (ask.region if region != ask.region else f"{region}-a")
    token = "ya29." + ask.made(seed=ask.project).base64(120).rstrip("=")
    place = f'projects/"{ask.project}"/regions/"{region}"/zones/"{zone}"'
    return {"id": place, "project": ask.project, "region": region, "zone": zone, "accessToken": token}


def _organization(ask: Ask) -> dict[str, Any]:
    id = ask.text("organization").rsplit("/", 1)[-1] or ask.made(seed=ask.text("domain")).digits(12)
    about = {"directoryCustomerId": ask.made(seed=id).format("C{lower8}"), "lifecycleState": "ACTIVE"}
    domain = ask.text("domain", default="sim.invalid")
    return {"id": f"organizations/{id}", "name": f"organizations/{id}", "orgId": id, "domain": domain, **about}


def _active_folder(ask: Ask) -> dict[str, Any]:
    id = f"folders/{ask.made().digits(12)}"
    return {"id": id, "name": id}


def _billing_account(ask: Ask) -> dict[str, Any]:
    given = ask.text("billingAccount") or "-".join(ask.made().upper(6, str(i)) for i in range(3))
    id = given.removeprefix("billingAccounts/")
    return {"id": id, "name": f"billingAccounts/{id}", "displayName": "simulated", "open": True}


def _service_agent(email: str, **renamed: str) -> Answer:
    """An account that Google makes in each project."""

    def answer(ask: Ask) -> dict[str, Any]:
        made = email.format(project=ask.project, number=project_number(ask.project))
        member = f"serviceAccount:{made}"
        about = {"email": made, "emailAddress": made, "uniqueId": "1" + ask.made(seed=made).digits(20)}
        return {
            "id": f"projects/{ask.project}/serviceAccounts/{made}",
            "name": f"projects/{ask.project}/serviceAccounts/{made}",
            "member": member,
            "displayName": renamed.get("displayName", ""),
            **about,
        }

    return answer


def _service_account(ask: Ask) -> dict[str, Any]:
    """By account id, by email or by full name."""
    given = ask.text("accountId").rsplit("/", 1)[-1]
    email = given if "@" in given else f"{given}@{ask.project}.iam.gserviceaccount.com"
    project = email.split("@")[1].split(".")[0]
    name = f"projects/{project}/serviceAccounts/{email}"
    unique = "1" + ask.made(seed=email).digits(20)
    return {"id": name, "name": name, "email": email, "member": f"serviceAccount:{email}", "uniqueId": unique}


def _access_token(ask: Ask) -> dict[str, Any]:
    account = ask.text("targetServiceAccount")
    token = "ya29.c." + ask.made(seed=account).base64(120).rstrip("=")
    return {"id": f"projects/-/serviceAccounts/{account}", "accessToken": token}


# ---- IAM policies


def _iam_policy(ask: Ask) -> dict[str, Any]:
    """The policy document, with bindings of the same role and condition joined, and everything sorted.

    As the provider's `google_iam_policy` data source does it (hashicorp/terraform-provider-google,
    services/resourcemanager/data_source_google_iam_policy.go).
    """
    joined: dict[tuple[str, ...], dict[str, Any]] = {}
    for given in ask.args.get("bindings") or []:
        if gone := [member for member in given.get("members") or [] if member.startswith("deleted:")]:
            raise Refused(f"the binding of {given.get('role')!r} names a deleted principal: {gone[0]!r}")
        condition = given.get("condition") or {}
        parts = tuple(str(condition.get(key) or "") for key in ("expression", "title", "description"))
        binding = joined.setdefault((given["role"], *parts), {"members": set(), "role": given["role"]})
        binding["members"] |= set(given.get("members") or [])
        if condition:
            binding["condition"] = {key: condition[key] for key in sorted(condition) if condition[key]}
    policy: dict[str, Any] = {}
    if audits := [_audit(given) for given in ask.args.get("auditConfigs") or []]:
        policy["auditConfigs"] = sorted(audits, key=lambda audit: audit["service"])
    if joined:
        # Within a role the binding without a condition comes first: its key is the smallest.
        bindings = [joined[key] for key in sorted(joined)]
        policy["bindings"] = [
            dict(sorted({**binding, "members": sorted(binding["members"])}.items())) for binding in bindings
        ]
    text = json.dumps(policy, separators=(",", ":"), ensure_ascii=False)
    text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return {"id": str(zlib.crc32(text.encode())), "policyData": text}


def _audit(given: Mapping[str, Any]) -> dict[str, Any]:
    logs = [
        {key: log[key] for key in ("exemptedMembers", "logType") if log.get(key)}
        for log in given.get("auditLogConfigs") or []
    ]
    return {"auditLogConfigs": sorted(logs, key=lambda log: log["logType"]), "service": given["service"]}


# ---- places


def _zones(ask: Ask) -> dict[str, Any]:
    region = facts.region_of(ask.text("region", default=ask.region))
    names = facts.zones(region) if ask.text("status", default="UP") == "UP" else []
    return {"id": f"projects/{ask.project}/regions/{region}", "names": names, "project": ask.project}


def _regions(ask: Ask) -> dict[str, Any]:
    names = sorted(facts.REGIONS) if ask.text("status", default="UP") == "UP" else []
    return {"id": f"projects/{ask.project}", "names": names, "project": ask.project}


def _image(ask: Ask) -> dict[str, Any]:
    project = ask.text("project", default="debian-cloud")
    family = ask.text("family") or facts.IMAGE_FAMILIES.get(project, "")
    name = ask.text("name") or f"{family or 'image'}-v20260101"
    id = f"projects/{project}/global/images/{name}"
    about = {"imageId": ask.made(seed=id).digits(19), "diskSizeGb": 10, "status": "READY", "creationTimestamp": MOMENT}
    return {"id": id, "name": name, "family": family, "project": project, "selfLink": COMPUTE_API + id, **about}


def _network(ask: Ask) -> dict[str, Any]:
    found = existing(describe, "gcp:compute/network:Network")(ask)
    return {**found, "gatewayIpv4": "", "description": "", "subnetworksSelfLinks": []}


def _subnetwork(ask: Ask) -> dict[str, Any]:
    """By name, or by its self link."""
    link = ask.text("selfLink").partition("projects/")[2].split("/")
    if len(link) == 5:
        ask = Ask(ask.token, {"name": link[4], "region": link[2], "project": link[0]}, link[2], ask.account, link[0])
    found = existing(describe, "gcp:compute/subnetwork:Subnetwork")(ask)
    network = f"{COMPUTE_API}projects/{ask.project}/global/networks/default"
    more = {"region": facts.region_of(ask.region), "privateIpGoogleAccess": True, "stackType": "IPV4_ONLY"}
    return {**found, "network": network, "secondaryIpRanges": [], "subnetworkId": int(ask.made().digits(15)), **more}


def _machine_types(ask: Ask) -> dict[str, Any]:
    """Those that the filter names; which others a zone has is not known here."""
    names = re.findall(r"name\s*(?:=|:|eq)\s*[\"']?([a-z0-9-]+)", ask.text("filter"))
    if not names:
        raise Cannot(f"which machine types {ask.text('zone', default=ask.region)} has is not known without a name")
    kinds = []
    for name in names:
        cpus = int(match[1]) if (match := re.search(r"-(\d+)(?:g|t)?$", name)) else 2
        memory = cpus * {"highmem": 8, "highcpu": 1}.get(name.split("-")[1], 4) * 1024
        link = f"{COMPUTE_API}projects/{ask.project}/zones/{ask.text('zone')}/machineTypes/{name}"
        kinds.append({"name": name, "guestCpus": cpus, "memoryMb": memory, "selfLink": link, "accelerators": []})
    return {"id": f"projects/{ask.project}/zones/{ask.text('zone')}/machineTypes", "machineTypes": kinds}


# ---- services


def _engine_versions(ask: Ask) -> dict[str, Any]:
    prefix = ask.text("versionPrefix")
    versions = [version for version in facts.GKE_VERSIONS if version.startswith(prefix)]
    if not versions:
        raise Refused(f"GKE has no version that begins with {prefix!r}; it has {', '.join(facts.GKE_VERSIONS)}")
    default = facts.GKE_CHANNELS["UNSPECIFIED"]
    channels = {name: version for name, version in facts.GKE_CHANNELS.items() if name != "UNSPECIFIED"}
    return {
        "id": MOMENT,
        "defaultClusterVersion": default if default in versions else versions[0],
        "latestMasterVersion": versions[0],
        "latestNodeVersion": versions[0],
        "validMasterVersions": versions,
        "validNodeVersions": versions,
        "releaseChannelDefaultVersion": channels,
        "releaseChannelLatestVersion": channels,
        "releaseChannelUpgradeTargetVersion": channels,
    }


def _cluster(ask: Ask) -> dict[str, Any]:
    found = existing(describe, "gcp:container/cluster:Cluster")(ask)
    pool = f"{ask.project}.svc.id.goog"
    network = f"projects/{ask.project}/global/networks/default"
    return {
        **found,
        "masterAuths": [{**found["masterAuth"], "clientCertificateConfigs": []}],
        "privateClusterConfigs": [],
        "workloadIdentityConfigs": [{"workloadPool": pool}],
        "network": network,
        "nodeVersion": found["masterVersion"],
    }


def _crypto_key(ask: Ask) -> dict[str, Any]:
    found = existing(describe, "gcp:kms/cryptoKey:CryptoKey")(ask)
    version = {"name": f"{found['id']}/cryptoKeyVersions/1", "state": "ENABLED"}
    return {**found, "primaries": [version], "purpose": "ENCRYPT_DECRYPT"}


def _secret_version(ask: Ask) -> dict[str, Any]:
    raise Cannot(f"what the secret {ask.text('secret')!r} holds is known only to its project")


def _record_set(ask: Ask) -> dict[str, Any]:
    raise Cannot(f"which records {ask.text('name')!r} has is known only to its zone")


def _repository(ask: Ask) -> dict[str, Any]:
    found = existing(describe, "gcp:artifactregistry/repository:Repository")(ask)
    return {**found, "format": "DOCKER", "mode": "STANDARD_REPOSITORY"}


def _container_registry(ask: Ask) -> dict[str, Any]:
    host = f"{ask.text('region')}.gcr.io".removeprefix(".")
    url = f"{host}/{ask.project.replace(':', '/')}"
    image = f"{url}/{ask.text('name')}"
    if digest := ask.text("digest"):
        image += f"@{digest}"
    elif tag := ask.text("tag"):
        image += f":{tag}"
    return {"id": url, "repositoryUrl": url, "imageUrl": image, "project": ask.project}


SIMULATED = simulations(
    {
        "gcp:organizations/getProject": _project,
        "gcp:projects/getProject": _projects,
        "gcp:organizations/getClientConfig": _client_config,
        "gcp:organizations/getOrganization": _organization,
        "gcp:organizations/getActiveFolder": _active_folder,
        "gcp:organizations/getBillingAccount": _billing_account,
        "gcp:organizations/getIAMPolicy": _iam_policy,
        "gcp:compute/getZones": _zones,
        "gcp:compute/getRegions": _regions,
        "gcp:compute/getImage": _image,
        "gcp:compute/getNetwork": _network,
        "gcp:compute/getSubnetwork": _subnetwork,
        "gcp:compute/getAddress": existing(describe, "gcp:compute/address:Address"),
        "gcp:compute/getGlobalAddress": existing(describe, "gcp:compute/globalAddress:GlobalAddress"),
        "gcp:compute/getMachineTypes": _machine_types,
        "gcp:compute/getDefaultServiceAccount": _service_agent(
            "{number}-compute@developer.gserviceaccount.com", displayName="Compute Engine default service account"
        ),
        "gcp:appengine/getDefaultServiceAccount": _service_agent(
            "{project}@appspot.gserviceaccount.com", displayName="App Engine default service account"
        ),
        "gcp:storage/getProjectServiceAccount": _service_agent(
            "service-{number}@gs-project-accounts.iam.gserviceaccount.com"
        ),
        "gcp:storage/getTransferProjectServiceAccount": _service_agent(
            "project-{number}@storage-transfer-service.iam.gserviceaccount.com"
        ),
        "gcp:bigquery/getDefaultServiceAccount": _service_agent(
            "bq-{number}@bigquery-encryption.iam.gserviceaccount.com"
        ),
        "gcp:container/getEngineVersions": _engine_versions,
        "gcp:container/getCluster": _cluster,
        "gcp:container/getRegistryImage": _container_registry,
        "gcp:container/getRegistryRepository": _container_registry,
        "gcp:storage/getBucket": existing(describe, "gcp:storage/bucket:Bucket"),
        "gcp:serviceaccount/getAccount": _service_account,
        "gcp:serviceaccount/getAccountAccessToken": _access_token,
        "gcp:dns/getManagedZone": existing(describe, "gcp:dns/managedZone:ManagedZone"),
        "gcp:dns/getRecordSet": _record_set,
        "gcp:kms/getKMSKeyRing": existing(describe, "gcp:kms/keyRing:KeyRing"),
        "gcp:kms/getKMSCryptoKey": _crypto_key,
        "gcp:secretmanager/getSecret": existing(describe, "gcp:secretmanager/secret:Secret"),
        "gcp:secretmanager/getSecretVersion": _secret_version,
        "gcp:artifactregistry/getRepository": _repository,
        "gcp:filestore/getInstance": existing(describe, "gcp:filestore/instance:Instance"),
        "gcp:pubsub/getTopic": existing(describe, "gcp:pubsub/topic:Topic"),
        "gcp:sql/getDatabaseInstance": existing(describe, "gcp:sql/databaseInstance:DatabaseInstance"),
    },
    secrets={
        "gcp:organizations/getClientConfig": ("accessToken",),
        "gcp:serviceaccount/getAccountAccessToken": ("accessToken",),
    },
)
