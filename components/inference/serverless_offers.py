"""What the clouds offer of inference without a cluster: which GPUs, in which regions, of what size, for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from components.accelerators import MachineType, NotOffered, accelerator, machines

SYNCHRONOUS, ASYNCHRONOUS = "synchronous", "asynchronous"
MODES = (SYNCHRONOUS, ASYNCHRONOUS)


@dataclass(frozen=True)
class CloudRunGpu:
    """A GPU that Cloud Run attaches, one to an instance."""

    name: str
    """As `node_selector.accelerator` has it."""
    least_cpu: int
    least_memory_gib: int
    regions: tuple[str, ...]


CLOUD_RUN_GPUS: Mapping[str, CloudRunGpu] = {
    # https://cloud.google.com/run/docs/configuring/services/gpu, copies of 2025-11, read 2026-11-29. asia-south1 is by
    # invitation. Beside it there is the RTX PRO 6000 (20 cores and 80 GiB at least), which the catalog does not have.
    "l4": CloudRunGpu(
        "nvidia-l4",
        4,
        16,
        ("asia-south1", "asia-southeast1", "europe-west1", "europe-west4", "us-central1", "us-east4"),
    ),
}
"""Key of the catalog -> what Cloud Run has of it."""

CLOUD_RUN_CORES: tuple[tuple[int, int], ...] = ((2, 1), (4, 1), (8, 2), (16, 4), (24, 6), (32, 8))
"""(GiB at most, cores at least). https://cloud.google.com/run/docs/configuring/services/memory-limits, remembered."""

CLOUD_RUN_STARTUP_S = 240
"""Seconds that a startup probe may be patient: https://cloud.google.com/run/docs/configuring/healthchecks, read
2026-11-29."""
CLOUD_RUN_END_S = 10
"""Seconds from SIGTERM to SIGKILL: https://cloud.google.com/run/docs/container-contract, as remembered."""

SAGEMAKER_FAMILIES = ("g4dn", "g5", "g6", "g6e", "p4d", "p4de", "p5", "p5e", "p5en", "p6-b200")
"""Families with NVIDIA GPUs among the instance types of endpoints (botocore's model of the API, 2026-11)."""
SAGEMAKER_AMI = "al2023-ami-sagemaker-inference-gpu-4-1"
"""Driver 580, CUDA 13.0; by default some families come with one that CUDA 13 does not start on. As above."""
SAGEMAKER_TIMEOUT_S = 3600
"""Longest download of a model, and longest start of a container. As above."""
SAGEMAKER_END_S = 30
"""Seconds from SIGTERM to SIGKILL: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html"""

SERVERLESS_MOST_MEMORY_GIB = 6
"""https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProductionVariantServerlessConfig.html, read
2026-11-29."""
SERVERLESS_MOST_CONCURRENCY = 200
"""As above."""
SERVERLESS_DISK_GIB = 5
"""Room under /tmp, where the verified copy lies; as remembered."""
SERVERLESS_STARTUP_S = 180
"""https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints-invoke.html, read 2026-11-29: three minutes from
the start of a container until it answers /ping, one minute for an answer, 4 MB for a request."""
_SERVERLESS = (
    "us-east-1 us-east-2 us-west-1 us-west-2 af-south-1 ap-east-1 ap-south-1 ap-northeast-1 ap-northeast-2 "
    "ap-northeast-3 ap-southeast-1 ap-southeast-2 ca-central-1 eu-central-1 eu-west-1 eu-west-2 eu-west-3 "
    "eu-north-1 eu-south-1 me-south-1 sa-east-1"
)
SERVERLESS_REGIONS = tuple(_SERVERLESS.split())
"""https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html, read 2026-11-29."""

SERVER_GIB = 3.0
"""Memory of Triton itself and of its answers. Not measured."""
MARGIN = 1.1


def sagemaker_instance(key: str, region: str, gpus: int) -> tuple[str, MachineType]:
    """The cheapest instance type of an endpoint with just so many GPUs, such as `ml.g6.xlarge`, and its machine.

    Raises NotOffered, naming what there is.
    """
    accelerator(key)
    here = [m for m in machines(key, "aws", region) if m.name.split(".")[0] in SAGEMAKER_FAMILIES]
    for machine in here:
        if machine.count == gpus:
            return f"ml.{machine.name}", machine
    counts = ", ".join(sorted({str(m.count) for m in here}, key=int))
    elsewhere = sorted(
        {r for m in machines(key, "aws") if m.name.split(".")[0] in SAGEMAKER_FAMILIES for r in m.regions}
    )
    raise NotOffered(
        f"SageMaker has no instance with {gpus} x {key} in {region}; "
        + (f"there are instances with {counts}" if counts else f"it has {key} in {', '.join(elsewhere) or 'no region'}")
    )


def cloud_run_gpu(key: str, region: str) -> CloudRunGpu:
    """What Cloud Run has of an accelerator in a region. Raises NotOffered, naming what there is."""
    accelerator(key)
    found = CLOUD_RUN_GPUS.get(key)
    if found is None:
        raise NotOffered(f"Cloud Run has no {key}; it has {', '.join(CLOUD_RUN_GPUS)}")
    if region not in found.regions:
        raise NotOffered(f"Cloud Run has no {key} in {region}; it has it in {', '.join(found.regions)}")
    return found


def cloud_run_cores(memory_gib: int, least: int = 1) -> int:
    """The fewest cores that go with so much memory. ValueError for more than an instance can have."""
    for most, cores in CLOUD_RUN_CORES:
        if memory_gib <= most:
            return max(cores, least)
    raise ValueError(f"{memory_gib} GiB; an instance of Cloud Run has {CLOUD_RUN_CORES[-1][0]} GiB at most")
