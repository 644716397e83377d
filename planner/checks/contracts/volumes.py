"""Contracts of volumes: claims, volumes, storage classes and the file systems behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from planner.checks.view import View, mentions
from planner.finding import Finding, Rule
from planner.inventory.objects import Object
from planner.inventory.references import at, mapping, texts
from planner.plan import UNKNOWN
from planner.rules import Rules

VOLUME = Rule(
    "volume-matches-its-claim",
    "A volume and the claim that it is for name each other, and agree on class, access and size",
    url="https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding",
    remediation="Write the same names, storage class and access modes on both sides.",
)
FILE_SYSTEM = Rule(
    "volume-has-a-file-system",
    "Every volume is of a file system, access point or bucket of this environment, in its own region",
    remediation="Use the id of a file system in the cluster's region.",
)
STORAGE_CLASS = Rule(
    "storage-class-exists",
    "Every storage class that a claim names is there",
    url="https://kubernetes.io/docs/concepts/storage/storage-classes/",
    remediation="Name a storage class of the cluster.",
    # Classes that clusters have by themselves.
    parameters={"known": ["standard", "standard-rwo", "premium-rwo", "standard-rwx", "premium-rwx", "gp2", "default"]},
)
RULES = (VOLUME, FILE_SYSTEM, STORAGE_CLASS)

EFS, ACCESS_POINT = "aws:efs/fileSystem:FileSystem", "aws:efs/accessPoint:AccessPoint"
FSX, BUCKET, GCS_BUCKET = (
    "aws:fsx/lustreFileSystem:LustreFileSystem",
    "aws:s3/bucket:Bucket",
    "gcp:storage/bucket:Bucket",
)
_HANDLES: Mapping[str, tuple[str, ...]] = {
    "efs.csi.aws.com": (EFS, ACCESS_POINT),
    "fsx.csi.aws.com": (FSX,),
    "gcsfuse.csi.storage.gke.io": (GCS_BUCKET,),
}
"""Driver -> resources whose ids its volume handles consist of (drivers' READMEs, November 2026)."""


def findings(view: View, rules: Rules) -> Iterator[Finding]:
    """What would never mount."""
    known = set(texts(rules.parameter(STORAGE_CLASS, "known")))
    for claim in view.objects.of_kind("PersistentVolumeClaim"):
        yield from _claim(view, claim, known)
    for volume in view.objects.of_kind("PersistentVolume"):
        yield from _volume(view, volume)


def _claim(view: View, claim: Object, known: set[str]) -> Iterator[Finding]:
    wanted, storage_class = claim.spec.get("volumeName"), claim.spec.get("storageClassName")
    if isinstance(wanted, str) and wanted not in ("", UNKNOWN) and not view.objects.in_doubt(claim, "PersistentVolume"):
        volume = view.objects.find(claim, "PersistentVolume", wanted)
        if volume is None:
            yield VOLUME.finding(f"{claim.place} is for the volume {wanted!r}, which is not there", claim.resource)
        else:
            yield from _agree(claim, volume)
    elif isinstance(storage_class, str) and storage_class not in ("", UNKNOWN, *known):
        classes = [one.name for one in view.objects.in_cluster(claim.cluster, "StorageClass")]
        releases = view.releases_in(claim.cluster)
        if classes and UNKNOWN not in classes and storage_class not in classes and not any(
            mentions(release, storage_class) for release in releases
        ):  # fmt: skip
            yield STORAGE_CLASS.finding(
                f"{claim.place} is of the storage class {storage_class!r}; there is {', '.join(sorted(classes))}",
                claim.resource,
            )


def _agree(claim: Object, volume: Object) -> Iterator[Finding]:
    reference = mapping(volume.spec, "claimRef")
    bound = reference.get("namespace"), reference.get("name")
    if reference and UNKNOWN not in (*bound, claim.namespace) and bound != (claim.namespace, claim.name):
        yield VOLUME.finding(
            f"{claim.place} names the volume {volume.name}, which is reserved for {bound[0]}/{bound[1]}",
            claim.resource, subject="claim",
        )  # fmt: skip
    one, other = claim.spec.get("storageClassName"), volume.spec.get("storageClassName")
    if UNKNOWN not in (one, other) and (one is None or one != (other or "")):
        # No class at all means the cluster's default class, and that is not the volume's.
        yield VOLUME.finding(
            f"{claim.place} is of storage class {one!r}, its volume {volume.name} of {other or ''!r}",
            claim.resource, subject="class",
        )  # fmt: skip
    modes, offered = (list(texts(one.spec.get("accessModes"))) for one in (claim, volume))
    if UNKNOWN not in (*modes, *offered) and offered and not set(modes) <= set(offered):
        yield VOLUME.finding(
            f"{claim.place} wants {', '.join(modes)}, its volume {volume.name} offers {', '.join(offered)}",
            claim.resource, subject="access",
        )  # fmt: skip


def _volume(view: View, volume: Object) -> Iterator[Finding]:
    reference = mapping(volume.spec, "claimRef")
    namespace, name = reference.get("namespace"), reference.get("name")
    if isinstance(name, str) and isinstance(namespace, str) and UNKNOWN not in (namespace, name):
        claims = list(view.objects.in_cluster(volume.cluster, "PersistentVolumeClaim"))
        found = view.objects.find(volume, "PersistentVolumeClaim", name, namespace)
        if found is None and claims and not view.objects.in_doubt(volume, "PersistentVolumeClaim"):
            yield VOLUME.finding(
                f"volume {volume.name} is reserved for the claim {namespace}/{name}, which is not there",
                volume.resource, subject="claim",
            )  # fmt: skip
    driver, handle = at(volume.spec, "csi.driver"), at(volume.spec, "csi.volumeHandle")
    types = _HANDLES.get(str(driver), ())
    parts = [part for part in str(handle).split(":") if part] if isinstance(handle, str) else []
    bucket = at(volume.spec, "csi.volumeAttributes.bucketName")
    if driver == "s3.csi.aws.com" and isinstance(bucket, str):
        types, parts = (BUCKET,), [bucket]
    if not types or not parts or any(UNKNOWN in part for part in parts) or not view.links.of_type(*types):
        return
    home = view.inventory.regions.get(volume.resource.urn, "global")
    for part in parts if driver == "efs.csi.aws.com" else parts[:1]:
        found_at = view.links.find(volume.resource, "spec", part, *types)
        regions = {view.inventory.regions.get(one.urn, "global") for one in found_at}
        if not found_at and all(one.id for one in view.links.of_type(*types)):
            yield FILE_SYSTEM.finding(
                f"volume {volume.name} is of {part!r}, which is not in this environment",
                volume.resource,
                subject=str(driver),
                severity="warning",
            )
        elif found_at and home not in regions and "global" not in (home, *regions):
            yield FILE_SYSTEM.finding(
                f"volume {volume.name} in {home} is of {part!r} in {', '.join(sorted(regions))}",
                volume.resource,
                subject=str(driver),
            )
