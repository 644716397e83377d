"""Default quotas of both clouds, by code: what a new account may have before it has asked for more.

Sources, as looked up on 2026-11-22:

- EC2: https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html; values are of new accounts, AWS
  raises some of them with use. Trn on demand and P6: codes as in public tools that ask Service Quotas for them.
- VPC: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html, codes as in public tools.
- SageMaker: codes and names as in audits of accounts that public repositories publish (2026-08, read 2026-11-29);
  those show 0 to 4 for each type, so what is here is what an account may be left with.
- Cloud Run: ids of quotas of run.googleapis.com as in public tools that ask for them; projects are given 3 GPUs without
  zonal redundancy by default, as several public repositories found in 2026 (read 2026-11-29).
- GCP: metrics as in the enumeration of the Compute Engine API (Quota.Metric), preemptible ones as in
  https://cloud.google.com/compute/resource-usage#gpu_quota. Defaults as remembered: Google sets them by the project's
  history, so look at your own (`gcloud compute regions describe`, `gcloud compute project-info describe`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

AS_OF = date(2026, 11, 22)
"""The day on which the table was looked up."""

GLOBAL = "gcp:global"
"""Where quotas of a whole Google project count."""


@dataclass(frozen=True)
class Quota:
    """One quota of an account in a region, or of a Google project."""

    code: str
    """Code in AWS Service Quotas, or metric of Compute Engine."""
    name: str
    unit: str
    default: int
    """What an account has that never asked."""


SAGEMAKER_INSTANCES: dict[str, str] = {
    "ml.g5.xlarge": "L-1928E07B",
    "ml.g5.2xlarge": "L-9614C779",
    "ml.g5.4xlarge": "L-C1B9A48D",
    "ml.g5.12xlarge": "L-65C4BD00",
    "ml.g6.xlarge": "L-D470D954",
    "ml.g6.2xlarge": "L-98BDE811",
    "ml.g6.4xlarge": "L-DFB10FDE",
    "ml.g6.12xlarge": "L-0A29AACF",
    "ml.g6e.xlarge": "L-B0729CB4",
    "ml.g6e.2xlarge": "L-F8D7F460",
    "ml.g6e.4xlarge": "L-93531071",
    "ml.g6e.8xlarge": "L-96A28D02",
    "ml.g6e.12xlarge": "L-60313EA3",
    "ml.g6e.16xlarge": "L-2930A179",
    "ml.p4d.24xlarge": "L-09F79647",
}
"""Instance type of an endpoint -> its quota: each type has one of its own."""

RUN_L4 = "NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion"
RUN_L4_ZONAL = "NvidiaL4GpuAllocPerProjectRegion"

QUOTAS: dict[str, Quota] = {
    quota.code: quota
    for quota in (
        Quota("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", "vCPUs", 5),
        Quota("L-DB2E81BA", "Running On-Demand G and VT instances", "vCPUs", 0),
        Quota("L-417A185B", "Running On-Demand P instances", "vCPUs", 0),
        Quota("L-2C3B7624", "Running On-Demand Trn instances", "vCPUs", 0),
        Quota("L-1945791B", "Running On-Demand Inf instances", "vCPUs", 0),
        Quota("L-6E869C2A", "Running On-Demand DL instances", "vCPUs", 0),
        Quota("L-74FC7D96", "Running On-Demand F instances", "vCPUs", 0),
        Quota("L-7295265B", "Running On-Demand X instances", "vCPUs", 0),
        Quota("L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", "vCPUs", 5),
        Quota("L-3819A6DF", "All G and VT Spot Instance Requests", "vCPUs", 0),
        Quota("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests", "vCPUs", 0),
        Quota("L-C4BD4855", "All P5 Spot Instance Requests", "vCPUs", 0),
        Quota("L-6B0D517C", "All Trn Spot Instance Requests", "vCPUs", 0),
        Quota("L-B5D1601B", "All Inf Spot Instance Requests", "vCPUs", 0),
        Quota("L-85EED4F7", "All DL Spot Instance Requests", "vCPUs", 0),
        Quota("L-88CF9481", "All F Spot Instance Requests", "vCPUs", 0),
        Quota("L-E3A00192", "All X Spot Instance Requests", "vCPUs", 0),
        Quota("L-0263D0A3", "EC2-VPC Elastic IPs", "addresses", 5),
        Quota("L-F678F1CE", "VPCs per Region", "VPCs", 5),
        Quota("L-FE5A380F", "NAT gateways per Availability Zone", "gateways", 5),
        Quota("L-29B6F2EB", "Interface VPC endpoints per VPC", "endpoints", 50),
        Quota("L-6D54EA21", "Managed node groups per cluster", "groups", 30),
        *(
            Quota(code, f"{instance} for endpoint usage", "instances", 0)
            for instance, code in SAGEMAKER_INSTANCES.items()
        ),
        Quota(RUN_L4, "Cloud Run: NVIDIA L4 GPUs without zonal redundancy, per region", "GPUs", 3),
        Quota(RUN_L4_ZONAL, "Cloud Run: NVIDIA L4 GPUs with zonal redundancy, per region", "GPUs", 0),
        Quota("CPUS", "CPUs (E2, N1 and shared-core)", "vCPUs", 24),
        Quota("N2_CPUS", "N2 CPUs", "vCPUs", 8),
        Quota("N4_CPUS", "N4 CPUs", "vCPUs", 8),
        Quota("SSD_TOTAL_GB", "Persistent disk SSD (GB): pd-ssd and pd-balanced", "GB", 500),
        Quota("NETWORKS", "VPC networks", "networks", 5),
        Quota("CPUS_ALL_REGIONS", "CPUs (all regions)", "vCPUs", 32),
        Quota("GPUS_ALL_REGIONS", "GPUs (all regions)", "GPUs", 0),
        *(
            Quota(f"{market}NVIDIA_{model}_GPUS", f"{words}NVIDIA {model.replace('_', ' ')} GPUs", "GPUs", 0)
            for model in ("B200", "H200", "H100_MEGA", "H100", "A100_80GB", "A100", "L4", "T4")
            for market, words in (("", ""), ("PREEMPTIBLE_", "Preemptible "))
        ),
    )
}
"""Code -> quota."""

EC2_GROUPS: dict[str, tuple[str, str]] = {
    # first letters of a family -> on-demand, spot
    **dict.fromkeys(("g", "gr", "vt"), ("L-DB2E81BA", "L-3819A6DF")),
    "p": ("L-417A185B", "L-C4BD4855"),
    "trn": ("L-2C3B7624", "L-6B0D517C"),
    "inf": ("L-1945791B", "L-B5D1601B"),
    "dl": ("L-6E869C2A", "L-85EED4F7"),
    "f": ("L-74FC7D96", "L-88CF9481"),
    "x": ("L-7295265B", "L-E3A00192"),
    **dict.fromkeys(
        ("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"),
        ("L-1216C47A", "L-34B43A08"),
    ),
}

OLDER_P_SPOT = "L-7212CCBC"
"""P2, P3 and P4 have a spot quota of their own; newer P instances count against that of P5."""

GCP_GPUS: dict[str, str] = {
    "nvidia-b200": "B200",
    "nvidia-h200-141gb": "H200",
    "nvidia-h100-mega-80gb": "H100_MEGA",
    "nvidia-h100-80gb": "H100",
    "nvidia-a100-80gb": "A100_80GB",
    "nvidia-tesla-a100": "A100",
    "nvidia-l4": "L4",
    "nvidia-tesla-t4": "T4",
}
"""GKE's name of an accelerator -> its part of the metric's name."""

GCP_CPUS: dict[str, str] = {"e2": "CPUS", "n1": "CPUS", "n2": "N2_CPUS", "n4": "N4_CPUS"}
"""Family of a machine type -> metric of its vCPUs. GPU machines are limited by their GPUs."""
