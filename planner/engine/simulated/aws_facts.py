"""Facts about AWS that do not depend on an account: regions, zones, hosted zones, versions."""

from __future__ import annotations

import re

_STANDARD = ("a", "b", "c"), (1, 2, 3)

_ZONES: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "us-east-1": (tuple("abcdef"), (1, 2, 3, 4, 5, 6)),
    "us-west-1": (("a", "c"), (1, 3)),
    "us-west-2": (tuple("abcd"), (1, 2, 3, 4)),
    "ca-central-1": (("a", "b", "d"), (1, 2, 4)),
    "ap-northeast-1": (("a", "c", "d"), (1, 2, 4)),
    "ap-northeast-2": (tuple("abcd"), (1, 2, 3, 4)),
}
"""Letters and id numbers of the zones, where they are not a, b, c and 1, 2, 3. Which letter is which id differs between
accounts. https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-availability-zones.html"""

ENABLED_REGIONS = (
    *("ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1", "ap-southeast-2"),
    *("ca-central-1", "eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1"),
    *("us-east-1", "us-east-2", "us-west-1", "us-west-2"),
)
"""Regions that a new account can use without opting in."""

OPT_IN_REGIONS = (
    *("af-south-1", "ap-east-1", "ap-east-2", "ap-south-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5"),
    *("ap-southeast-6", "ap-southeast-7", "ca-west-1", "eu-central-2", "eu-south-1", "eu-south-2"),
    *("il-central-1", "me-central-1", "me-south-1", "mx-central-1"),
)

GLOBAL_ACCELERATOR_ZONE = "Z2BJ6XQ5FK7U4H"
CLOUDFRONT_ZONE = "Z2FDTNDATAQYW2"
"""Hosted zones for alias records (AWS General Reference, the services' "endpoints and quotas" pages)."""

_APPLICATION_ZONES = {
    "us-east-1": "Z35SXDOTRQ7X7K",
    "us-east-2": "Z3AADJGX6KTTL2",
    "us-west-1": "Z368ELLRRE2KJ0",
    "us-west-2": "Z1H1FL5HABSF5",
    "ca-central-1": "ZQSVJUPU6J1EY",
    "eu-central-1": "Z215JYRZR1TBD5",
    "eu-west-1": "Z32O12XQLNTSW2",
    "eu-west-2": "ZHURV8PSTC4K8",
    "eu-west-3": "Z3Q77PNBQS71R4",
    "eu-north-1": "Z23TAZ6LKFMNIO",
    "ap-northeast-1": "Z14GRHDCWA56QT",
    "ap-northeast-2": "ZWKZPGTI48KDX",
    "ap-south-1": "ZP97RAFLXTNZK",
    "ap-southeast-1": "Z1LMS91P8CMLE5",
    "ap-southeast-2": "Z1GM3OXH4ZPM65",
    "sa-east-1": "Z2P70J7HTTTPLU",
}
_NETWORK_ZONES = {
    "us-east-1": "Z26RNL4JYFTOTI",
    "us-east-2": "ZLMOA37VPKANP",
    "us-west-1": "Z24FKFUX50B4VW",
    "us-west-2": "Z18D5FSROUN65G",
    "ca-central-1": "Z2EPGBW3API2WT",
    "eu-central-1": "Z3F0SRJ5LGBH90",
    "eu-west-1": "Z2IFOLAFXWLO4F",
    "eu-west-2": "ZD4D7Y8KGAS4G",
    "eu-west-3": "Z1CMS0P5QUZ6D5",
    "eu-north-1": "Z1UDT6IFJ4EJM",
    "ap-northeast-1": "Z31USIVHYNEOWT",
    "ap-northeast-2": "ZIBE1TIR4HY56",
    "ap-south-1": "ZVDDRBQ08TROA",
    "ap-southeast-1": "ZKVM4W9LS7TM",
    "ap-southeast-2": "ZCT6FZBF4DROD",
    "sa-east-1": "ZTK26PT1VY4CU",
}
"""Hosted zones of load balancers. https://docs.aws.amazon.com/general/latest/gr/elb.html"""

LOAD_BALANCER_LOG_ACCOUNTS = {
    "us-east-1": "127311923021",
    "us-east-2": "033677994240",
    "us-west-1": "027434742980",
    "us-west-2": "797873946194",
    "ca-central-1": "985666609251",
    "eu-central-1": "054676820928",
    "eu-west-1": "156460612806",
    "eu-west-2": "652711504416",
    "eu-west-3": "009996457667",
    "eu-north-1": "897822967062",
    "ap-northeast-1": "582318560864",
    "ap-northeast-2": "600734575887",
    "ap-south-1": "718504428378",
    "ap-southeast-1": "114774131450",
    "ap-southeast-2": "783225319266",
    "sa-east-1": "507241528517",
}
"""Accounts that write load balancer access logs ("Enable access logs for your Application Load Balancer")."""

BILLING_ACCOUNT = "386209384616"
"""The account that writes billing reports, in every region."""

EKS_DEFAULT_VERSION = "1.35"
EKS_VERSIONS = ("1.36", "1.35", "1.34", "1.33", "1.32")
EKS_STANDARD_SUPPORT = ("1.36", "1.35", "1.34")
"""November 2026. https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html"""

EKS_ADDONS = {
    "vpc-cni": "v1.21.1-eksbuild.1",
    "eks-pod-identity-agent": "v1.3.10-eksbuild.1",
    "aws-ebs-csi-driver": "v1.54.0-eksbuild.1",
    "aws-efs-csi-driver": "v2.1.15-eksbuild.1",
    "aws-fsx-csi-driver": "v1.7.0-eksbuild.1",
    "aws-mountpoint-s3-csi-driver": "v2.2.2-eksbuild.1",
    "snapshot-controller": "v8.3.0-eksbuild.1",
    "metrics-server": "v0.8.0-eksbuild.1",
    "amazon-cloudwatch-observability": "v4.7.0-eksbuild.1",
}
"""Versions in the right format. Which is newest changes weekly: a preview does not depend on it."""

MANAGED_CACHE_POLICIES = {
    "Managed-CachingOptimized": "658327ea-f89d-4fab-a63d-7e88639e58f6",
    "Managed-CachingDisabled": "4135ea2d-6df8-44a3-9df3-4b5a84be39ad",
    "Managed-CachingOptimizedForUncompressedObjects": "b2884449-e4de-46a7-ac36-70bc7f1ddd6d",
    "Managed-Elemental-MediaPackage": "08627262-05a9-4f76-9ded-b50ca2e3a84f",
    "Managed-Amplify": "2e54312d-136d-493c-8eb9-b001f22f67d2",
}
MANAGED_ORIGIN_REQUEST_POLICIES = {
    "Managed-AllViewer": "216adef6-5c7f-47e4-b989-5492eafa07d3",
    "Managed-AllViewerExceptHostHeader": "b689b0a8-53d0-40ab-baf2-68738e2966ac",
    "Managed-CORS-S3Origin": "88a5eaf4-2fd4-4709-b370-b4c650ea3fcf",
    "Managed-CORS-CustomOrigin": "59781a5b-3903-41f3-afcb-af62929ccde1",
    "Managed-UserAgentRefererHeaders": "acba4595-bd28-49b8-b9fe-13317c0390fa",
}
MANAGED_RESPONSE_HEADERS_POLICIES = {
    "Managed-SimpleCORS": "60669652-455b-4ae9-85a4-c4c02393f86c",
    "Managed-CORS-With-Preflight": "5cc3b908-e619-4b99-88e5-2cf7f45965bd",
    "Managed-SecurityHeadersPolicy": "67f7725c-6f97-4210-82d7-5512b31e9d03",
    "Managed-CORS-and-SecurityHeadersPolicy": "e61eb60c-9c35-4d20-a928-2b84e02af89c",
}
"""CloudFront's managed policies have the same ids in every account (CloudFront Developer Guide, "Use managed ...")."""

_ENGINES = {
    # engine: (version, parameter group family, port)
    "postgres": ("17.6", "postgres17", 5432),
    "aurora-postgresql": ("17.5", "aurora-postgresql17", 5432),
    "mysql": ("8.4.6", "mysql8.4", 3306),
    "aurora-mysql": ("8.0.mysql_aurora.3.10.0", "aurora-mysql8.0", 3306),
    "mariadb": ("11.8.3", "mariadb11.8", 3306),
}


def database_engine(engine: str) -> tuple[str, str]:
    """A current version of an RDS engine, and its parameter group family."""
    version, family, _ = _ENGINES.get(engine, ("1.0", f"{engine}1", 0))
    return version, family


def database_port(engine: str) -> int:
    return _ENGINES.get(engine, ("", "", 5432))[2]


def zone_id_prefix(region: str) -> str:
    """`use1` for us-east-1: how zone ids and ElastiCache addresses begin."""
    *area, direction, number = region.split("-")
    compass = re.findall(r"north|south|east|west|central", direction)
    abbreviated = {"gov": "g", "iso": "i", "isob": "ib"}
    return "".join(abbreviated.get(a, a) for a in area) + "".join(word[0] for word in compass) + number


def zones(region: str) -> dict[str, str]:
    """Zone name -> zone id, in the order of names: `us-east-1a` -> `use1-az1`."""
    letters, numbers = _ZONES.get(region, _STANDARD)
    prefix = zone_id_prefix(region)
    return {f"{region}{letter}": f"{prefix}-az{number}" for letter, number in zip(letters, numbers, strict=True)}


def load_balancer_zone(region: str, *, network: bool) -> str:
    """The hosted zone of a region's load balancers; outside the table one of the right form."""
    table = _NETWORK_ZONES if network else _APPLICATION_ZONES
    return table.get(region) or "Z" + f"{zone_id_prefix(region)}{'NLB' if network else 'ALB'}000000".upper()[:13]


def addon_version(addon: str, kubernetes_version: str) -> str:
    """A version of an EKS add-on that fits a cluster's version."""
    if addon == "kube-proxy":
        return f"v{kubernetes_version}.2-eksbuild.1"
    if addon == "coredns":
        return f"v1.{13 if kubernetes_version >= '1.35' else 12}.1-eksbuild.1"
    return EKS_ADDONS.get(addon, "v1.0.0-eksbuild.1")
