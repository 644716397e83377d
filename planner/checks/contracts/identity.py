"""Contracts of identity and configuration: namespaces, service accounts, cloud identities, config and secret keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from planner.checks.view import CHARTS, View, containers, mentions
from planner.finding import Finding, Rule
from planner.inventory import Workload
from planner.inventory.inventory import EKS_CLUSTER
from planner.inventory.objects import Object, maps
from planner.inventory.references import at, mapping, texts
from planner.plan import UNKNOWN, Resource
from planner.rules import Rules

NAMESPACE = Rule(
    "namespace-exists",
    "Every namespace that something is put into is there",
    remediation="Make the namespace in the same cluster, or name one that is there.",
)
ACCOUNT = Rule(
    "service-account-exists",
    "Every service account that a pod runs as is there",
    url="https://kubernetes.io/docs/concepts/security/service-accounts/",
    remediation="Make the service account in the pod's namespace, or name the one that is there.",
)
IDENTITY = Rule(
    "identity-matches-service-account",
    "Every cloud identity is given to a service account that is there, in that cluster and namespace",
    url="https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html",
    remediation="Write the same cluster, namespace and service account on both sides.",
    # Service accounts that add-ons and charts make, beside those that their values name.
    parameters={
        "known": [
            "kube-system/aws-node", "kube-system/ebs-csi-controller-sa", "kube-system/efs-csi-controller-sa",
            "kube-system/efs-csi-node-sa", "kube-system/fsx-csi-controller-sa", "kube-system/fsx-csi-node-sa",
            "kube-system/s3-csi-driver-sa", "amazon-cloudwatch/cloudwatch-agent", "kube-system/cluster-autoscaler",
        ]
    },
)  # fmt: skip
CONFIG = Rule(
    "config-key-exists",
    "Every config map, secret and key that a pod reads is there",
    url="https://kubernetes.io/docs/concepts/configuration/configmap/",
    remediation="Add the key, name one that is there, or mark the reference as optional.",
)
RULES = (NAMESPACE, ACCOUNT, IDENTITY, CONFIG)

ASSOCIATION = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
_MEMBER = re.compile(
    r"/workloadIdentityPools/[^/]+/subject/ns/([^/]+)/sa/([^/]+)$|\.svc\.id\.goog\[([^/]+)/([^\]]+)\]$"
)
"""A Kubernetes service account as a member of Google's IAM: by its own name, or to impersonate a Google account.
https://cloud.google.com/kubernetes-engine/docs/how-to/workload-identity"""
GOOGLE_ACCOUNT = "iam.gke.io/gcp-service-account"
_SECRET_MAKERS = ("ExternalSecret", "SealedSecret", "Certificate", "SecretProviderClass", "VaultStaticSecret")
_GIVEN = frozenset({"kube-root-ca.crt", "openshift-service-ca.crt"})
"""Config maps that are in every namespace."""


def findings(view: View, rules: Rules) -> Iterator[Finding]:
    """What a pod would wait for, or be refused."""
    yield from _namespaces(view)
    for workload in view.inventory.workloads:
        if (owner := view.objects.by_urn.get(workload.urn)) is not None and owner.namespace != UNKNOWN:
            yield from _account(view, owner, workload)
            yield from _config(view, owner, workload)
    known = set(texts(rules.parameter(IDENTITY, "known")))
    yield from _associations(view, known)
    yield from _members(view)


def _namespaces(view: View) -> Iterator[Finding]:
    for one in view.objects.all:
        if one.namespace not in ("", UNKNOWN) and not view.has_namespace(one, one.namespace):
            yield NAMESPACE.finding(f"{one.kind} {one.name} is put into the namespace {one.namespace!r}, which nothing "
                                    "makes", one.resource)  # fmt: skip
    for release in view.links.of_type(*CHARTS):
        name = view.release_namespace(release)
        stand_in = Object(release, view.objects.cluster_of(release), "Release", name, release.name)
        if not view.has_namespace(stand_in, name):
            yield NAMESPACE.finding(f"the release is put into the namespace {name!r}, which nothing makes", release)


# ---- service accounts and cloud identities


def _account(view: View, owner: Object, workload: Workload) -> Iterator[Finding]:
    name = workload.spec.get("serviceAccountName") or workload.spec.get("serviceAccount") or "default"
    if not isinstance(name, str) or name in ("default", UNKNOWN) or _has_account(view, owner, name):
        return
    if not any(mentions(release, name) for release in view.releases(owner)):
        there = sorted(account.name for account in view.objects.beside(owner, "ServiceAccount"))
        yield ACCOUNT.finding(
            f"{owner.place} runs as the service account {name!r}; its namespace has {', '.join(there) or 'none'}",
            owner.resource,
            subject=workload.part,
        )


def _has_account(view: View, near: Object, name: str, namespace: str | None = None) -> bool:
    found = view.objects.find(near, "ServiceAccount", name, namespace)
    return found is not None or view.objects.in_doubt(near, "ServiceAccount")


def _associations(view: View, known: set[str]) -> Iterator[Finding]:
    for one in view.links.of_type(ASSOCIATION):
        namespace, name = one.inputs.get("namespace"), one.inputs.get("serviceAccount")
        if not isinstance(namespace, str) or not isinstance(name, str) or UNKNOWN in (namespace, name):
            continue
        clusters = view.inventory.references(one, "clusterName", EKS_CLUSTER)
        if not clusters and isinstance(cluster := one.inputs.get("clusterName"), str) and cluster != UNKNOWN:
            if view.links.of_type(EKS_CLUSTER):
                yield IDENTITY.finding(f"the identity is for the cluster {cluster!r}, which is not in this environment",
                                       one, subject="cluster")  # fmt: skip
            continue
        if f"{namespace}/{name}" in known or not clusters or clusters[0].urn not in view.known_clusters:
            continue
        near = Object(one, clusters[0].urn, "PodIdentityAssociation", namespace, name)
        if not _has_account(view, near, name) and not any(_makes(r, name) for r in view.releases(near)):
            yield IDENTITY.finding(
                f"the identity is for the service account {namespace}/{name} of {clusters[0].name}, which nothing makes"
                f"{_nearest(view, near)}",
                one,
            )


def _makes(release: Resource, name: str) -> bool:
    """Whether a chart makes a service account of this name: the one that its values give, else one by its own name."""
    values = release.inputs.get("values")
    if values == UNKNOWN:
        return True
    given = [found for found in _account_names(values) if found]
    if given:
        return name in given or UNKNOWN in given
    return mentions(release, name) or name.startswith(str(release.inputs.get("name", "")))


def _account_names(values: Any) -> Iterator[str]:
    """Every `serviceAccount.name` and `serviceAccountName` in a chart's values."""
    if isinstance(values, dict):
        for key, value in values.items():
            if key.endswith("serviceAccount") or key.endswith("ServiceAccount"):
                yield from texts(at(value, "name"))
            elif key in ("serviceAccountName", "serviceAccount.name"):
                yield from texts(value)
            else:
                yield from _account_names(value)
    elif isinstance(values, list):
        for value in values:
            yield from _account_names(value)


def _nearest(view: View, near: Object) -> str:
    """Where an account of that name or namespace is instead, in words."""
    for account in view.objects.in_cluster(near.cluster, "ServiceAccount"):
        if account.name == near.name or account.namespace == near.namespace:
            return f"; there is {account.place}"
    return ""


def _members(view: View) -> Iterator[Finding]:
    """Google's side names no cluster: one of the project's that the plan has should have the account."""
    near = list(view.objects.of_kind("ServiceAccount"))
    clusters = {cluster.urn for cluster in view.inventory.clusters if cluster.cloud == "gcp"}
    there = {(a.namespace, a.name) for a in near if a.cluster in clusters}
    doubt = not clusters or any(UNKNOWN in place for place in there)
    releases = [release for cluster in clusters for release in view.releases_in(cluster)]
    for resource in view.plan:
        if resource.package != "gcp" or not ("member" in resource.inputs or "members" in resource.inputs):
            continue
        for member in {*texts(resource.inputs.get("member")), *texts(resource.inputs.get("members"))}:
            if (found := _MEMBER.search(member)) is None or doubt:
                continue
            namespace, name = found.group(1) or found.group(3), found.group(2) or found.group(4)
            made = any(view.release_namespace(r) in (namespace, UNKNOWN) and _makes(r, name) for r in releases)
            if (namespace, name) not in there and not made:
                yield IDENTITY.finding(
                    f"{resource.type.rpartition(':')[2]} is for the service account {namespace}/{name}, which no "
                    f"cluster of this environment has; there is {', '.join(sorted(map('/'.join, there))) or 'none'}",
                    resource, subject=f"{namespace}/{name}",
                )  # fmt: skip
    yield from _impersonated(view, near)


def _impersonated(view: View, accounts: list[Object]) -> Iterator[Finding]:
    """A Kubernetes account that acts as a Google account needs that account's leave, and the account itself."""
    members = {text for resource in view.plan if resource.package == "gcp" for text in _member_texts(resource)}
    if UNKNOWN in members:
        return
    for account in accounts:
        google = account.annotations.get(GOOGLE_ACCOUNT)
        if not isinstance(google, str) or UNKNOWN in (google, account.namespace):
            continue
        if not any(text.endswith(f".svc.id.goog[{account.namespace}/{account.name}]") for text in members):
            yield IDENTITY.finding(
                f"{account.place} acts as {google}, but no IAM member lets it",
                account.resource,
                severity="warning",
            )


def _member_texts(resource: Resource) -> Iterator[str]:
    yield from texts(resource.inputs.get("member"))
    yield from texts(resource.inputs.get("members"))


# ---- configuration


def _config(view: View, owner: Object, workload: Workload) -> Iterator[Finding]:
    seen = set()
    for kind, name, key, optional, place in _reads(workload):
        if optional is True or UNKNOWN in (name, key) or not isinstance(name, str) or (kind, name, key) in seen:
            continue
        seen.add((kind, name, key))
        there = view.objects.find(owner, kind, name)
        if there is None:
            if not _elsewhere(view, owner, kind, name):
                names = sorted(one.name for one in view.objects.beside(owner, kind))
                yield CONFIG.finding(
                    f"{place} of {owner.place} reads the {kind} {name!r}; there is {', '.join(names) or 'none'}",
                    owner.resource, subject=f"{kind} {name}",
                )  # fmt: skip
        elif key is not None:
            keys = _keys(there.resource)
            if keys is not None and key not in keys:
                yield CONFIG.finding(
                    f"{place} of {owner.place} reads key {key!r} of {kind} {name}, which has "
                    f"{', '.join(sorted(keys)) or 'none'}",
                    owner.resource, subject=f"{kind} {name} {key}",
                )  # fmt: skip


def _elsewhere(view: View, owner: Object, kind: str, name: str) -> bool:
    """Whether a config map or secret may come from somewhere that the plan doesn't show."""
    if name in _GIVEN or view.objects.in_doubt(owner, kind) or view.releases(owner):
        return True
    if not view.makes_namespace(owner):
        return True
    return kind == "Secret" and any(True for _ in view.objects.beside(owner, *_SECRET_MAKERS))


def _keys(resource: Resource) -> set[str] | None:
    """Keys of a config map or secret; None where the plan doesn't know them all."""
    found: set[str] = set()
    for property in ("data", "binaryData", "stringData"):
        value = resource.inputs.get(property)
        if value is None:
            continue
        if not isinstance(value, dict):
            return None  # unknown, or a secret as a whole
        found |= value.keys()
    return found


def _reads(workload: Workload) -> Iterator[tuple[str, Any, Any, Any, str]]:
    """(kind, name, key or None, optional, place) of every config map and secret that a pod reads."""
    for container in containers(workload, "initContainers", "ephemeralContainers"):
        place = f"container {container.get('name')}"
        for source in maps(container, "envFrom"):
            for kind, reference in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                if reference in source:
                    yield kind, at(source, f"{reference}.name"), None, at(source, f"{reference}.optional"), place
        for variable in maps(container, "env"):
            for kind, reference in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
                if one := mapping(variable, f"valueFrom.{reference}"):
                    yield kind, one.get("name"), one.get("key"), one.get("optional"), place
    for volume in maps(workload.spec, "volumes"):
        for source in (volume, *maps(volume, "projected.sources")):
            for kind, property, naming in (("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")):
                one = mapping(source, property)
                name = one.get(naming, one.get("name"))
                if name:
                    place = f"volume {volume.get('name')}"
                    for key in [item.get("key") for item in maps(one, "items")] or [None]:
                        yield kind, name, key, one.get("optional"), place
    for secret in maps(workload.spec, "imagePullSecrets"):
        yield "Secret", secret.get("name"), None, False, "imagePullSecrets"
