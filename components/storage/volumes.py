"""How a pod reaches a tier: a static PersistentVolume for each tier and namespace, and the claim bound to it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

OWNER = 1000
"""User and group that own the files, and as which the platform's containers run."""


@dataclass(frozen=True)
class Volume:
    """One tier as a CSI driver sees it."""

    driver: str
    handle: Callable[[str], pulumi.Input[str]]
    """Namespace -> volume handle. No two volumes share one, since a node handles each handle once."""
    capacity_gib: int
    attributes: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    mount_options: Sequence[str] = ()
    ready: Sequence[pulumi.Resource] = ()
    """What must be there before a pod can mount it."""


@dataclass(frozen=True)
class Storage:
    """What a cloud builds for TieredStorage."""

    bucket: pulumi.Input[str]
    bucket_url: pulumi.Input[str]
    encryption_key: pulumi.Input[str]
    replica_bucket: pulumi.Input[str]
    volumes: Mapping[str, Volume]
    """Tier -> volume, the hottest first."""


def claim_name(tier: str) -> str:
    """Name of a tier's claim in every namespace: the tier's own name, which is all that a pod has to know."""
    return tier


def claim(parent: pulumi.Resource, name: str, tier: str, namespace: str, volume: Volume, after: Any = None) -> None:
    """A volume and the claim on it. `after`, which a component gets as `depends_on`, is what makes the namespace."""
    capacity = {"storage": f"{volume.capacity_gib}Gi"}
    persistent_volume = kubernetes.core.v1.PersistentVolume(
        f"{name}-{tier}-{namespace}",
        metadata={"name": f"{name}-{tier}-{namespace}"},
        spec={
            "access_modes": ["ReadWriteMany"],
            "capacity": capacity,
            "volume_mode": "Filesystem",
            # An empty class on both sides keeps dynamic provisioners away, and the reference keeps other claims away.
            "storage_class_name": "",
            "claim_ref": {
                "api_version": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": namespace,
                "name": claim_name(tier),
            },
            # Whoever deletes a claim, or a namespace, deletes no data.
            "persistent_volume_reclaim_policy": "Retain",
            "mount_options": list(volume.mount_options),
            "csi": {
                "driver": volume.driver,
                "volume_handle": volume.handle(namespace),
                "volume_attributes": dict(volume.attributes),
            },
        },
        opts=pulumi.ResourceOptions(parent=parent, depends_on=list(volume.ready)),
    )
    kubernetes.core.v1.PersistentVolumeClaim(
        f"{name}-{tier}-{namespace}",
        metadata={"name": claim_name(tier), "namespace": namespace},
        spec={
            "access_modes": ["ReadWriteMany"],
            "resources": {"requests": capacity},
            "storage_class_name": "",
            "volume_mode": "Filesystem",
            "volume_name": persistent_volume.metadata.name,
        },
        opts=pulumi.ResourceOptions.merge(
            pulumi.ResourceOptions(parent=parent, depends_on=[persistent_volume]),
            pulumi.ResourceOptions(depends_on=after),
        ),
    )
