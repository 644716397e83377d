"""Facts about Google Cloud that do not depend on a project: regions, zones, GKE versions."""

from __future__ import annotations

import re

_THREE = ("a", "b", "c")
_LETTERS = {
    "us-central1": ("a", "b", "c", "f"),
    "us-east1": ("b", "c", "d"),
    "europe-west1": ("b", "c", "d"),
}
"""Letters of the zones, where they are not a, b and c. https://cloud.google.com/compute/docs/regions-zones"""

REGIONS = (
    "africa-south1",
    *("asia-east1", "asia-east2", "asia-northeast1", "asia-northeast2", "asia-northeast3"),
    *("asia-south1", "asia-south2", "asia-southeast1", "asia-southeast2"),
    *("australia-southeast1", "australia-southeast2"),
    *("europe-central2", "europe-north1", "europe-north2", "europe-southwest1"),
    *("europe-west1", "europe-west2", "europe-west3", "europe-west4", "europe-west6"),
    *("europe-west8", "europe-west9", "europe-west10", "europe-west12"),
    *("me-central1", "me-central2", "me-west1"),
    *("northamerica-northeast1", "northamerica-northeast2", "northamerica-south1"),
    *("southamerica-east1", "southamerica-west1"),
    *("us-central1", "us-east1", "us-east4", "us-east5", "us-south1"),
    *("us-west1", "us-west2", "us-west3", "us-west4"),
)

GKE_CHANNELS = {
    "RAPID": "1.36.4-gke.1082000",
    "REGULAR": "1.35.7-gke.1222000",
    "STABLE": "1.35.6-gke.1250000",
    "EXTENDED": "1.35.7-gke.1222000",
    "UNSPECIFIED": "1.35.7-gke.1222000",
}
"""Default versions of the release channels, November 2026. https://cloud.google.com/kubernetes-engine/docs/release-notes"""

GKE_VERSIONS = ("1.36.4-gke.1082000", "1.35.7-gke.1222000", "1.35.6-gke.1250000", "1.34.9-gke.1655001")
"""One version of each minor that clusters can be made with, newest first."""

IMAGE_FAMILIES = {
    "debian-cloud": "debian-12",
    "ubuntu-os-cloud": "ubuntu-2404-lts-amd64",
    "cos-cloud": "cos-stable",
}

_ZONE = re.compile(r"^([a-z]+-[a-z]+\d+)-[a-z0-9]+$")


def region_of(location: str) -> str:
    """The region of a location: `us-central1` for the zone `us-central1-a`; a region is its own."""
    return match[1] if (match := _ZONE.match(location)) else location


def zones(region: str) -> list[str]:
    """Zone names of a region, in order."""
    return [f"{region}-{letter}" for letter in _LETTERS.get(region, _THREE)]
