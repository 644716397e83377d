"""What a change of a property does to its resource: in place, a replacement, or whatever the provider decides."""

from __future__ import annotations

from collections.abc import Iterable

from planner import urn as urns
from planner.diff.model import Property
from planner.diff.properties import covers, schema_path, steps_of
from planner.engine.curated import REPLACE_ON_CHANGES
from planner.plan import Resource

_KUBERNETES = frozenset({"apiVersion", "kind", "metadata.name", "metadata.namespace"})
"""What replaces an object of any kind (pulumi-kubernetes: provider/pkg/provider/diff.go, forceNewProperties)."""

_NEVER = ("tags", "labels", "annotations", "resourceLabels", "userLabels")
"""What no provider replaces a resource for, at the top or under `metadata`."""

_BY_PROVIDER = {
    # pulumi-kubernetes: DiffConfig replaces the provider where the kubeconfig leads to another cluster.
    "kubernetes": frozenset({"kubeconfig", "context", "cluster"}),
    "gcp": frozenset({"project"}),
    "aws": frozenset({"region"}),
}
"""Configuration of a provider of which a change may replace everything that it manages. Remembered, not certain."""

_AUTONAMED = {
    "aws:s3/bucket:Bucket": "bucket",
    "aws:eks/nodeGroup:NodeGroup": "nodeGroupName",
    "aws:rds/cluster:Cluster": "clusterIdentifier",
    "aws:rds/instance:Instance": "identifier",
    "aws:route53/record:Record": "",
    "gcp:serviceaccount/account:Account": "",
}
"""Type -> the property that Pulumi gives a random end where the program doesn't set it; `name` of all others."""

CHANGES_WITH_UPDATE = {
    "aws:ec2/launchTemplate:LaunchTemplate": ("latestVersion",),
    "aws:lambda/function:Function": ("version", "qualifiedArn", "qualifiedInvokeArn"),
    "aws:s3/bucketObject:BucketObject": ("etag", "versionId"),
    "aws:s3/bucketObjectv2:BucketObjectv2": ("etag", "versionId"),
    "gcp:secretmanager/secretVersion:SecretVersion": ("version",),
}
"""Outputs that are new after each update in place."""


def forces(resource: Resource, path: str) -> str:
    """What a change of a property does: `replace`, `may` (the provider decides) or empty (in place)."""
    if any(covers(option, path) for option in resource.replace_on_changes):
        return "replace"
    if resource.is_provider:
        top = steps_of(path)[0]
        return "may" if top in _BY_PROVIDER.get(resource.package, ()) else ""
    if not resource.custom:
        return ""
    plain = schema_path(path)
    listed = REPLACE_ON_CHANGES.get(resource.type)
    if listed is None and resource.package == "kubernetes":
        if resource.type.startswith("kubernetes:helm.sh/"):
            return "may" if plain in ("name", "namespace") else ""
        listed = _KUBERNETES
    if listed is not None:
        return "replace" if any(one_above_other(plain, entry) for entry in listed) else ""
    steps = plain.split(".")
    if steps[0] in _NEVER or (steps[0] == "metadata" and steps[1:2] and steps[1] in _NEVER):
        return ""
    return "may"


def plain_steps(path: str) -> list[str]:
    """The steps of a path, of ours or of Pulumi's, without the elements of lists."""
    return [step for step in steps_of(schema_path(path.replace('["', ".").replace('"]', ""))) if not step.isdigit()]


def one_above_other(path: str, entry: str) -> bool:
    """Whether two paths are one, or one holds the other."""
    return path == entry or path.startswith(f"{entry}.") or entry.startswith(f"{path}.")


def deletes_first(old: Resource, new: Resource) -> bool:
    """Whether a replacement deletes the old resource first: so it is told, or both would have the same given name.

    pulumi-terraform-bridge `nameRequiresDeleteBeforeReplace`; pulumi-kubernetes does so for names that it hasn't made.
    """
    if new.delete_before_replace:
        return True
    if new.package == "kubernetes":
        names = [_metadata_name(resource) for resource in (old, new)]
        return bool(names[0]) and names[0] == names[1] and not new.type.startswith("kubernetes:helm.sh/")
    if new.package not in ("aws", "gcp"):
        return False
    key = _AUTONAMED.get(new.type, "name")
    name, filled = new.inputs.get(key), old.inputs.get("__defaults")
    return isinstance(name, str) and name == old.inputs.get(key) and not (isinstance(filled, list) and key in filled)


def _metadata_name(resource: Resource) -> str:
    metadata = resource.inputs.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else ""


def reasons(properties: Iterable[Property]) -> tuple[str, ...]:
    """A sentence for each property that forces, or may force, a replacement."""
    said = []
    for one in properties:
        cause = f", which comes from {one.cause.split('::', 3)[3]}" if one.cause else ""
        if one.forces == "replace":
            said.append(f"{one.path}{cause}: cannot be changed in place")
        elif one.forces == "may":
            said.append(f"{one.path}{cause}: may need a replacement, only the provider decides")
    return tuple(dict.fromkeys(said))


def provider_change(old: Resource, new: Resource, aliased: dict[str, str]) -> str:
    """`replace`, `may` or empty: what it does that a resource has another provider (pulumi: stepGenerator).

    `aliased` are new URNs to old ones of what is the same.
    """
    if old.provider == new.provider:
        return ""
    if bool(old.provider) != bool(new.provider):
        # Of plans by hand that name no providers, there is nothing to say.
        return "replace" if old.custom != new.custom else ""
    before, after = urns.provider_urn(old.provider), urns.provider_urn(new.provider)
    both_default = all(urn.rpartition("::")[2].startswith("default") for urn in (before, after))
    return "" if both_default or aliased.get(after, after) == before else "may"
