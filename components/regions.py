"""Which regions each cloud has, and in which of them each family of machines is offered."""

from __future__ import annotations

REGIONS: dict[str, tuple[str, ...]] = {
    cloud: tuple(regions.split())
    for cloud, regions in {
        # Commercial regions, without GovCloud and China. AWS: as remembered in November 2026.
        # GCP: Compute Engine API on 2026-08-17.
        "aws": (
            "af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2 "
            "ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 "
            "ap-southeast-7 ca-central-1 ca-west-1 eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 "
            "eu-west-1 eu-west-2 eu-west-3 il-central-1 me-central-1 me-south-1 mx-central-1 sa-east-1 us-east-1 "
            "us-east-2 us-west-1 us-west-2"
        ),
        "gcp": (
            "africa-south1 asia-east1 asia-east2 asia-northeast1 asia-northeast2 asia-northeast3 asia-south1 "
            "asia-south2 asia-southeast1 asia-southeast2 asia-southeast3 australia-southeast1 "
            "australia-southeast2 europe-central2 europe-north1 europe-north2 europe-southwest1 europe-west1 "
            "europe-west10 europe-west12 europe-west2 europe-west3 europe-west4 europe-west6 europe-west8 "
            "europe-west9 me-central1 me-central2 me-west1 northamerica-northeast1 northamerica-northeast2 "
            "northamerica-south1 southamerica-east1 southamerica-west1 us-central1 us-east1 us-east4 us-east5 "
            "us-south1 us-west1 us-west2 us-west3 us-west4"
        ),
    }.items()
}
"""Regions that each cloud has."""

OFFERED: dict[str, tuple[str, ...]] = {
    family: tuple(regions.split())
    for family, regions in {
        # AWS: where the SkyPilot catalog (v8, 2026) shows a price, unless a comment says otherwise.
        # us-east-1 has a price; the others as remembered
        "p6-b200": "us-east-1 us-east-2 us-west-2",
        "p5en": (
            "ap-northeast-1 ap-northeast-2 ap-south-1 ap-southeast-3 eu-north-1 eu-south-2 me-central-1 us-east-1 "
            "us-east-2 us-west-1 us-west-2"
        ),
        "p5e": "ap-southeast-2 ap-southeast-3 eu-north-1 eu-west-2 us-east-2 us-west-2",
        "p5": (
            "ap-northeast-1 ap-northeast-2 ap-south-1 ap-southeast-2 ap-southeast-3 ca-central-1 eu-north-1 "
            "eu-west-2 us-east-1 us-east-2 us-west-1 us-west-2"
        ),
        "p5.4xlarge": (
            "ap-northeast-1 ap-south-1 ap-southeast-2 ap-southeast-3 eu-west-2 us-east-1 us-east-2 us-west-2"
        ),
        "p4de": "ap-northeast-1 ap-southeast-1 eu-central-1 us-east-1 us-west-2",
        # ap-northeast as remembered
        "p4d": (
            "ap-northeast-1 ap-northeast-2 ap-south-1 ap-southeast-2 ca-central-1 eu-central-1 eu-north-1 "
            "eu-west-1 eu-west-2 us-east-1 us-east-2 us-west-2"
        ),
        # Capacity Blocks documentation
        "trn2": "us-east-2",
        "g6e": "ap-northeast-1 ap-northeast-2 eu-central-1 eu-north-1 eu-south-2 us-east-1 us-east-2 us-west-2",
        "g6": (
            "ap-northeast-1 ap-northeast-2 ap-south-1 ap-southeast-2 ca-central-1 eu-central-1 eu-north-1 "
            "eu-south-2 eu-west-2 eu-west-3 me-central-1 us-east-1 us-east-2 us-west-2"
        ),
        "g5": (
            "ap-northeast-1 ap-northeast-2 ap-south-1 ap-southeast-2 ap-southeast-3 ca-central-1 eu-central-1 "
            "eu-north-1 eu-west-1 eu-west-2 me-central-1 us-east-1 us-east-2 us-west-2"
        ),
        # as remembered
        "g4dn": (
            "af-south-1 ap-east-1 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-southeast-1 "
            "ap-southeast-2 ca-central-1 eu-central-1 eu-north-1 eu-south-1 eu-west-1 eu-west-2 eu-west-3 "
            "me-south-1 sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2"
        ),
        # GCP: Compute Engine API on 2026-08-17, unless a comment says otherwise.
        "a4": (
            "asia-northeast1 asia-southeast1 europe-north1 europe-west1 europe-west4 us-central1 us-east1 "
            "us-east4 us-south1 us-west2 us-west3"
        ),
        "a3-ultra": (
            "asia-south1 asia-south2 europe-west1 europe-west4 us-central1 us-east4 us-east5 us-south1 us-west1"
        ),
        "a3-mega": (
            "asia-east1 asia-northeast1 asia-southeast1 australia-southeast1 europe-north1 europe-west1 "
            "europe-west3 europe-west4 us-central1 us-east4 us-east5 us-west1 us-west4"
        ),
        "a3-small": (
            "asia-east1 asia-northeast1 asia-northeast3 asia-south1 asia-south2 asia-southeast1 "
            "australia-southeast1 australia-southeast2 europe-north1 europe-west1 europe-west3 europe-west4 "
            "europe-west9 us-central1 us-east4 us-east5 us-west1 us-west4"
        ),
        "a3-high": (
            "asia-east1 asia-northeast1 asia-northeast3 asia-south1 asia-south2 asia-southeast1 "
            "australia-southeast1 australia-southeast2 europe-north1 europe-west1 europe-west3 europe-west4 "
            "europe-west9 us-central1 us-east4 us-east5 us-west1 us-west4"
        ),
        "a2-ultra": "asia-southeast1 europe-west4 us-central1 us-east4 us-east5",
        "a2-high": (
            "asia-northeast1 asia-northeast3 asia-southeast1 europe-west4 me-west1 us-central1 us-east1 us-west1 "
            "us-west3 us-west4"
        ),
        "g2": (
            "asia-east1 asia-northeast1 asia-northeast3 asia-south1 asia-southeast1 europe-west1 europe-west2 "
            "europe-west3 europe-west4 europe-west6 me-central2 northamerica-northeast1 northamerica-northeast2 "
            "us-central1 us-east1 us-east4 us-west1 us-west4"
        ),
        # where a T4 can be attached, as remembered
        "n1+t4": (
            "asia-east1 asia-east2 asia-northeast1 asia-northeast3 asia-south1 asia-southeast1 asia-southeast2 "
            "australia-southeast1 europe-central2 europe-west1 europe-west2 europe-west3 europe-west4 me-west1 "
            "northamerica-northeast1 southamerica-east1 us-central1 us-east1 us-east4 us-west1 us-west2 us-west3 "
            "us-west4"
        ),
        "ct5lp": (
            "asia-east1 asia-northeast1 asia-southeast1 europe-north1 europe-west1 europe-west3 europe-west4 "
            "northamerica-northeast1 southamerica-west1 us-central1 us-east1 us-east4 us-east5 us-south1 us-west1 "
            "us-west4"
        ),
        "ct6e": (
            "asia-east1 asia-northeast1 asia-south1 asia-southeast1 europe-west4 southamerica-east1 "
            "southamerica-west1 us-central1 us-east1 us-east4 us-east5 us-west1"
        ),
    }.items()
}
"""Where each family of machine types is offered."""
