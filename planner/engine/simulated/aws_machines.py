"""Simulated answers about machine images and machine types of AWS."""

from __future__ import annotations

import re
from typing import Any

from planner.engine.simulated import aws_facts as facts
from planner.engine.simulated.ask import Ask, Cannot, simulations
from planner.engine.simulated.aws_resources import describe
from planner.engine.simulated.made import MOMENT, partition

# ---- images


def _architecture(ask: Ask) -> str:
    named = [*ask.filtered("name"), ask.text("nameRegex"), ask.text("name")]
    is_arm = any(word in name for name in named for word in ("arm64", "aarch64", "graviton"))
    return (ask.filtered("architecture") or ["arm64" if is_arm else "x86_64"])[0]


def _image(ask: Ask) -> dict[str, Any]:
    made = ask.made("aws:ec2/ami:Ami")
    name = (ask.filtered("name") or [ask.text("nameRegex") or "image"])[0].replace("*", "20260101").strip("^$")
    owner = (ask.texts("owners") or ["amazon"])[0]
    id = (ask.filtered("image-id") or [made.format("ami-{hex17}")])[0]
    owner_id = {"self": ask.account, "amazon": "137112412989"}.get(owner, owner)
    return {
        "id": id,
        "imageId": id,
        "arn": f"arn:{partition(ask.region)}:ec2:{ask.region}::image/{id}",
        "architecture": _architecture(ask),
        "name": name,
        "ownerId": owner_id if owner_id.isdigit() else made.digits(12),
        "imageOwnerAlias": owner if owner.isalpha() else "",
        "rootDeviceName": "/dev/xvda",
        "rootDeviceType": "ebs",
        "rootSnapshotId": made.format("snap-{hex17}"),
        "virtualizationType": "hvm",
        "hypervisor": "xen",
        "imageType": "machine",
        "state": "available",
        "creationDate": "2026-01-01T00:00:00.000Z",
        "enaSupport": True,
        "public": owner != "self",
        "blockDeviceMappings": [
            {"deviceName": "/dev/xvda", "ebs": {"volume_size": "8"}, "noDevice": "", "virtualName": ""}
        ],
    }


def _image_ids(ask: Ask) -> dict[str, Any]:
    return {"ids": [_image(ask)["id"]]}


def _parameter(ask: Ask) -> dict[str, Any]:
    """AWS publishes the ids of its images as parameters; what other parameters hold, nobody can know."""
    name, made = ask.text("name"), ask.made()
    described = describe(ask.made("aws:ssm/parameter:Parameter"))[1]
    if not name.startswith("/aws/service/"):
        raise Cannot(f"the value of the parameter {name!r} is known only to its account")
    leaf = name.rsplit("/", 1)[-1]
    value = made.format("ami-{hex17}")
    if leaf in ("recommended", "latest") and "ami-id" not in name and "image_id" not in name and "/eks/" not in name:
        value = f'{{"image_id":"{value}","image_name":"image"}}'
    elif leaf in ("release_version", "image_version"):
        value = "1.35.0-20260101"
    elif name.startswith("/aws/service/global-infrastructure/"):
        raise Cannot(f"{name!r} is not among the parameters that are known")
    arn = f"arn:{partition(ask.region)}:ssm:{ask.region}::parameter{name}"
    more = {"value": value, "insecureValue": value, "type": "String", "version": 1}
    return {**described, "id": name, "name": name, "arn": arn, **more}


# ---- machine types

_GPUS = {
    "p6-b200": ("NVIDIA", "B200", 8, 183359),
    "p5en": ("NVIDIA", "H200", 8, 144384),
    "p5e": ("NVIDIA", "H200", 8, 144384),
    "p5": ("NVIDIA", "H100", 8, 81920),
    "p4de": ("NVIDIA", "A100", 8, 81920),
    "p4d": ("NVIDIA", "A100", 8, 40960),
    "g6e": ("NVIDIA", "L40S", 1, 45776),
    "g6": ("NVIDIA", "L4", 1, 22888),
    "g5": ("NVIDIA", "A10G", 1, 22888),
    "g4dn": ("NVIDIA", "T4", 1, 16384),
}
"""Maker, name, count on the largest (p) or the smaller (g) sizes, and MiB each, as DescribeInstanceTypes says it."""

_EFA = {"p6-b200": 8, "p5en": 16, "p5e": 32, "p5": 32, "p4de": 4, "p4d": 4}
_GIB_A_CPU = {"c": 2, "r": 8, "x": 16, "p4d": 12, "p4de": 12, "p5": 32 / 3, "p5e": 32 / 3, "p5en": 32 / 3, "g6e": 8}
_GIB_A_CPU |= {"p6-b200": 32 / 3}
_BURSTABLE_GIB = {"nano": 0.5, "micro": 1, "small": 2, "medium": 4}
"""Memory where it is not 4 GiB a vCPU: by family or its letter, and of the small burstable sizes."""

_LARGE_G = {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8, "metal": 8}


def _instance_type(ask: Ask) -> dict[str, Any]:
    """Size from the name, memory and GPUs from the tables above."""
    name = ask.text("instanceType")
    family, _, size = name.partition(".")
    multiple = re.match(r"(\d+)xlarge", size)
    vcpus = 4 * int(multiple[1]) if multiple else {"xlarge": 4, "metal": 96}.get(size, 2)
    gib = vcpus * _GIB_A_CPU.get(family, _GIB_A_CPU.get(family[:1], 4))
    if name == "p5.4xlarge":  # an eighth of the largest in all but CPUs
        gib = 256
    elif family.startswith("t"):
        gib = _BURSTABLE_GIB.get(size, gib)
    is_arm = bool(re.match(r"^[a-z]+\d+g", family)) and not family.startswith("g")
    gpus: list[dict[str, Any]] = []
    if family in _GPUS:
        maker, gpu, count, memory = _GPUS[family]
        count = 1 if name == "p5.4xlarge" else _LARGE_G.get(size, count) if family.startswith("g") else count
        gpus = [{"manufacturer": maker, "name": gpu, "count": count, "memorySize": memory}]
    is_large = multiple is not None and int(multiple[1]) >= 8
    interfaces = 1 if name == "p5.4xlarge" else _EFA.get(family, 1 if is_large else 0)
    return {
        "id": name,
        "defaultVcpus": vcpus,
        "defaultCores": vcpus // (1 if is_arm else 2) or 1,
        "defaultThreadsPerCore": 1 if is_arm else 2,
        "memorySize": round(gib * 1024),
        "supportedArchitectures": ["arm64"] if is_arm else ["x86_64"],
        "supportedUsagesClasses": ["on-demand", "spot"],
        "supportedRootDeviceTypes": ["ebs"],
        "supportedVirtualizationTypes": ["hvm"],
        "supportedPlacementStrategies": ["cluster", "partition", "spread"],
        "gpuses": gpus,
        "totalGpuMemory": sum(g["count"] * g["memorySize"] for g in gpus),
        "efaSupported": interfaces > 0,
        "efaMaximumInterfaces": interfaces,
        "maximumNetworkInterfaces": 15 if vcpus >= 64 else 8 if vcpus >= 16 else 4,
        "maximumIpv4AddressesPerInterface": 50 if vcpus >= 64 else 30 if vcpus >= 16 else 15,
        "bareMetal": "metal" in size,
        "currentGeneration": True,
        "hypervisor": "nitro",
        "burstablePerformanceSupported": family.startswith("t"),
    }


def _fitting_types(ask: Ask) -> list[str]:
    wanted = ask.filtered("instance-type") or ask.texts("preferredInstanceTypes")
    return [name for name in wanted if "*" not in name] or ["m7i.large", "m7i.xlarge", "m7i.2xlarge"]


def _instance_types(ask: Ask) -> dict[str, Any]:
    return {"id": ask.region, "instanceTypes": _fitting_types(ask)}


def _offerings(ask: Ask) -> dict[str, Any]:
    """Every type that is asked for, everywhere that it is asked for: what a region really offers is not known here."""
    kind = ask.text("locationType", default="region")
    zones = facts.zones(ask.region)
    by_kind = {"region": [ask.region], "availability-zone": list(zones), "availability-zone-id": list(zones.values())}
    places = [place for place in by_kind.get(kind, [ask.region]) if ask.passes(place, "location")]
    pairs = [(name, place) for name in _fitting_types(ask) for place in places]
    return {
        "id": ask.region,
        "instanceTypes": [name for name, _ in pairs],
        "locations": [place for _, place in pairs],
        "locationTypes": [kind for _ in pairs],
    }


def _offering(ask: Ask) -> dict[str, Any]:
    name = (ask.texts("preferredInstanceTypes") or _fitting_types(ask))[0]
    return {"id": name, "instanceType": name, "location": ask.region}


def _spot_price(ask: Ask) -> dict[str, Any]:
    return {"id": ask.region, "spotPrice": "0.100000", "spotPriceTimestamp": MOMENT}


SIMULATED = simulations(
    {
        "aws:ec2/getAmi": _image,
        "aws:ec2/getAmiIds": _image_ids,
        "aws:ssm/getParameter": _parameter,
        "aws:ec2/getInstanceType": _instance_type,
        "aws:ec2/getInstanceTypes": _instance_types,
        "aws:ec2/getInstanceTypeOfferings": _offerings,
        "aws:ec2/getInstanceTypeOffering": _offering,
        "aws:ec2/getSpotPrice": _spot_price,
    }
)
