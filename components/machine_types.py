"""What can be rented: every machine type that a pool may use, with its size, fabric, regions and list price.

Sources, by the name that `price_source` cites them with:

- KARPENTER: karpenter-provider-aws, generated from AWS's pricing API for us-east-1 on 2026-07-20. The sizes, instance
  store and EFA interfaces of all AWS rows come from the same repository.
- SKYPILOT: SkyPilot's catalogs v8, read on 2026-11-22 from a copy whose own date is unknown. Its AWS file also shows in
  which regions a type has a price. Spot ratios are its spot price over its on-demand price, rounded; those of T4 and
  TPU v5e, p5e, trn2 and p6-b200 are remembered.
- GCP API: machine types by region, from the Compute Engine API on 2026-08-17 (google-cloud-pricing-cost-calculator).
- REMEMBERED: nobody looked it up; check before you rely on it.

A list price excludes disks, data transfer and, on GCP, local SSD that is not part of the machine type.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from components.regions import OFFERED

KARPENTER = "karpenter-provider-aws, zz_generated.pricing_aws.go"
SKYPILOT = "SkyPilot catalogs v8, gcp/vms.csv: machine plus accelerators"
REMEMBERED = "list price as remembered, unverified"
NO_LIST_PRICE = "no on-demand list price: sold as Capacity Blocks"

RUNGS = ("reservation", "capacity-block", "flex-start", "spot", "on-demand")
"""The ways to get a machine, those that are planned for first."""

AWS_RUNGS = frozenset({"reservation", "spot", "on-demand"})
GCP_RUNGS = frozenset({"reservation", "flex-start", "spot", "on-demand"})


@dataclass(frozen=True)
class Fabric:
    """The network between machines that training uses, apart from the ordinary one."""

    kind: str = ""
    """`efa`, `gpudirect-tcpx`, `gpudirect-tcpxo`, `gpudirect-rdma` (RoCE) or "" (none)."""
    interfaces: int = 0
    """EFA interfaces, or NICs that serve accelerators only."""
    gbps: int = 0
    """Of all these interfaces together."""

    def __bool__(self) -> bool:
        return bool(self.kind)


@dataclass(frozen=True)
class MachineType:
    """A machine with accelerators."""

    cloud: str
    name: str
    accelerator: str
    """A key of the catalog."""
    count: int
    """Accelerators in the machine; on N1 the number that we attach."""
    vcpus: int
    memory_gib: int
    local_nvme_gib: int
    fabric: Fabric
    regions: tuple[str, ...]
    on_demand_usd_per_hour: float | None
    """None where the cloud publishes no on-demand price."""
    price_region: str
    price_as_of: date
    price_source: str
    spot_ratio: float
    """Usual spot price over on-demand price, in `price_region` or near it; a rough guide, it moves daily."""
    rungs: frozenset[str]
    """Ways to get this machine, out of `RUNGS`."""
    gke_accelerator: str = ""
    """The accelerator type as GKE spells it for this machine; "" on AWS."""

    @property
    def capacity_block(self) -> bool:
        return "capacity-block" in self.rungs

    @property
    def flex_start(self) -> bool:
        return "flex-start" in self.rungs


@dataclass(frozen=True)
class CpuMachine:
    """A machine without accelerators, for system pools."""

    cloud: str
    name: str
    vcpus: int
    memory_gib: int
    on_demand_usd_per_hour: float
    price_region: str
    price_as_of: date
    price_source: str
    spot_ratio: float


_AWS_RUNGS = {
    "usual": AWS_RUNGS,
    "block": AWS_RUNGS | {"capacity-block"},
    "planned": frozenset({"reservation", "capacity-block"}),
}
"""Capacity Blocks: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-capacity-blocks.html"""

_AWS_TABLE = """
name              accelerator  n   vcpus  gib   nvme_gb  efa  gbps  regions     usd        spot  rungs
p6-b200.48xlarge  b200         8   192    2048  30400    8    3200  p6-b200     113.9328   0.4   block
p5en.48xlarge     h200         8   192    2048  30400    16   3200  p5en        63.296     0.43  block
p5e.48xlarge      h200         8   192    2048  30400    32   3200  p5e         -          0.4   planned
p5.48xlarge       h100-80gb    8   192    2048  30400    32   3200  p5          55.04      0.36  block
p5.4xlarge        h100-80gb    1   16     256   3800     1    100   p5.4xlarge  6.88       0.5   block
p4de.24xlarge     a100-80gb    8   96     1152  8000     4    400   p4de        27.44705   0.36  block
p4d.24xlarge      a100-40gb    8   96     1152  8000     4    400   p4d         21.957642  0.37  block
trn2.48xlarge     trainium2    16  192    2048  7600     16   3200  trn2        -          0.4   planned
g6e.xlarge        l40s         1   4      32    250      0    0     g6e         1.861      0.42  usual
g6e.2xlarge       l40s         1   8      64    450      0    0     g6e         2.24208    0.42  usual
g6e.4xlarge       l40s         1   16     128   600      0    0     g6e         3.00424    0.42  usual
g6e.8xlarge       l40s         1   32     256   900      1    25    g6e         4.52856    0.42  usual
g6e.16xlarge      l40s         1   64     512   1900     1    35    g6e         7.57719    0.42  usual
g6e.12xlarge      l40s         4   48     384   3800     1    100   g6e         10.49264   0.42  usual
g6e.24xlarge      l40s         4   96     768   3800     2    200   g6e         15.06559   0.42  usual
g6e.48xlarge      l40s         8   192    1536  7600     4    400   g6e         30.13118   0.42  usual
g6.xlarge         l4           1   4      16    250      0    0     g6          0.8048     0.51  usual
g6.2xlarge        l4           1   8      32    450      0    0     g6          0.9776     0.51  usual
g6.4xlarge        l4           1   16     64    600      0    0     g6          1.3232     0.51  usual
g6.8xlarge        l4           1   32     128   900      1    25    g6          2.0144     0.51  usual
g6.16xlarge       l4           1   64     256   1880     1    25    g6          3.3968     0.51  usual
g6.12xlarge       l4           4   48     192   3760     1    40    g6          4.6016     0.51  usual
g6.24xlarge       l4           4   96     384   3760     1    50    g6          6.6752     0.51  usual
g6.48xlarge       l4           8   192    768   7520     1    100   g6          13.3504    0.51  usual
g5.xlarge         a10g         1   4      16    250      0    0     g5          1.006      0.48  usual
g5.2xlarge        a10g         1   8      32    450      0    0     g5          1.212      0.48  usual
g5.4xlarge        a10g         1   16     64    600      0    0     g5          1.624      0.48  usual
g5.8xlarge        a10g         1   32     128   900      1    25    g5          2.448      0.48  usual
g5.16xlarge       a10g         1   64     256   1900     1    25    g5          4.096      0.48  usual
g5.12xlarge       a10g         4   48     192   3800     1    40    g5          5.672      0.48  usual
g5.24xlarge       a10g         4   96     384   3800     1    50    g5          8.144      0.48  usual
g5.48xlarge       a10g         8   192    768   7600     1    100   g5          16.288     0.48  usual
g4dn.xlarge       t4           1   4      16    125      0    0     g4dn        0.526      0.42  usual
g4dn.2xlarge      t4           1   8      32    225      0    0     g4dn        0.752      0.42  usual
g4dn.4xlarge      t4           1   16     64    225      0    0     g4dn        1.204      0.42  usual
g4dn.8xlarge      t4           1   32     128   900      1    50    g4dn        2.176      0.42  usual
g4dn.16xlarge     t4           1   64     256   900      1    50    g4dn        4.352      0.42  usual
g4dn.12xlarge     t4           4   48     192   900      1    50    g4dn        3.912      0.42  usual
"""
"""nvme_gb: decimal gigabytes, as EC2 counts them. gbps: of all EFA interfaces together. usd: an hour in us-east-1."""

_GCP_RUNGS = {
    "usual": GCP_RUNGS,
    "no-on-demand": GCP_RUNGS - {"on-demand"},  # as remembered
    "small-a3": frozenset({"flex-start", "spot"}),  # as remembered
}
"""Flex start: any GPU machine but A4X. https://cloud.google.com/ai-hypercomputer/docs/consumption-models"""

_GCP_FABRICS = {
    # NICs for accelerators and their bandwidth, as remembered from
    # https://cloud.google.com/compute/docs/gpus/gpu-network-bandwidth
    "-": Fabric(),
    "gpudirect-tcpx": Fabric("gpudirect-tcpx", 4, 800),
    "gpudirect-tcpxo": Fabric("gpudirect-tcpxo", 8, 1600),
    "gpudirect-rdma": Fabric("gpudirect-rdma", 8, 3200),
}

_GCP_SOURCES = {
    "skypilot": SKYPILOT,
    "l4-only": "L4 from SkyPilot catalogs v8; vCPU and memory as remembered, unverified",
    "remembered": REMEMBERED,
}

_GCP_FAMILIES = """
family    accelerator  gke                    fabric           rungs         spot  priced       source
a4        b200         nvidia-b200            gpudirect-rdma   no-on-demand  0.36  us-central1  skypilot
a3-ultra  h200         nvidia-h200-141gb      gpudirect-rdma   no-on-demand  0.47  us-central1  skypilot
a3-mega   h100-80gb    nvidia-h100-mega-80gb  gpudirect-tcpxo  usual         0.30  us-central1  skypilot
a3-high   h100-80gb    nvidia-h100-80gb       gpudirect-tcpx   usual         0.23  us-east4     skypilot
a3-small  h100-80gb    nvidia-h100-80gb       -                small-a3      0.23  us-east4     skypilot
a2-ultra  a100-80gb    nvidia-a100-80gb       -                usual         0.30  us-east5     skypilot
a2-high   a100-40gb    nvidia-tesla-a100      -                usual         0.49  us-central1  skypilot
g2        l4           nvidia-l4              -                usual         0.40  us-central1  l4-only
n1+t4     t4           nvidia-tesla-t4        -                usual         0.40  us-central1  remembered
ct5lp     tpu-v5e      tpu-v5-lite-podslice   -                usual         0.50  us-central1  remembered
ct6e      tpu-v6e      tpu-v6e-slice          -                usual         0.20  us-central1  skypilot
"""
"""priced: the region of the list price; for A3 High and A2 Ultra SkyPilot has us-central1's flex-start price instead.
For A4 it lists the accelerators alone, so the price may be too low."""

_GCP_TABLE = """
name              family    n  vcpus  gib   ssd    usd
a4-highgpu-8g     a4        8  224    3968  12000  90.216
a3-ultragpu-8g    a3-ultra  8  224    2952  12000  86.75992
a3-megagpu-8g     a3-mega   8  208    1872  6000   92.21427
a3-highgpu-1g     a3-small  1  26     234   750    10.97906
a3-highgpu-2g     a3-small  2  52     468   1500   21.95812
a3-highgpu-4g     a3-small  4  104    936   3000   43.91622
a3-highgpu-8g     a3-high   8  208    1872  6000   87.83247
a2-ultragpu-1g    a2-ultra  1  12     170   375    5.52382
a2-ultragpu-2g    a2-ultra  2  24     340   750    11.04763
a2-ultragpu-4g    a2-ultra  4  48     680   1500   22.09528
a2-ultragpu-8g    a2-ultra  8  96     1360  3000   44.19056
a2-highgpu-1g     a2-high   1  12     85    0      3.67339
a2-highgpu-2g     a2-high   2  24     170   0      7.34677
a2-highgpu-4g     a2-high   4  48     340   0      14.69355
a2-highgpu-8g     a2-high   8  96     680   0      29.3871
g2-standard-4     g2        1  4      16    0      0.70682
g2-standard-8     g2        1  8      32    0      0.85361
g2-standard-12    g2        1  12     48    0      1.00039
g2-standard-16    g2        1  16     64    0      1.14718
g2-standard-32    g2        1  32     128   0      1.73431
g2-standard-24    g2        2  24     96    0      2.00078
g2-standard-48    g2        4  48     192   0      4.00157
g2-standard-96    g2        8  96     384   0      8.00314
n1-standard-4     n1+t4     1  4      15    0      0.54
n1-standard-16    n1+t4     2  16     60    0      1.46
n1-standard-32    n1+t4     4  32     120   0      2.92
ct5lp-hightpu-1t  ct5lp     1  24     48    0      1.2
ct5lp-hightpu-4t  ct5lp     4  112    192   0      4.8
ct5lp-hightpu-8t  ct5lp     8  224    384   0      9.6
ct6e-standard-1t  ct6e      1  44     176   0      2.7
ct6e-standard-4t  ct6e      4  180    720   0      10.8
ct6e-standard-8t  ct6e      8  360    1440  0      21.6
"""
"""ssd: GiB of local SSD that belongs to the machine type (375 a disk). usd: an hour, in the region `priced`."""


def _rows(table: str) -> Iterator[dict[str, str]]:
    header, *lines = table.strip().splitlines()
    for line in lines:
        yield dict(zip(header.split(), line.split(), strict=True))


def _aws(row: dict[str, str]) -> MachineType:
    price = None if row["usd"] == "-" else float(row["usd"])
    return MachineType(
        cloud="aws",
        name=row["name"],
        accelerator=row["accelerator"],
        count=int(row["n"]),
        vcpus=int(row["vcpus"]),
        memory_gib=int(row["gib"]),
        local_nvme_gib=int(row["nvme_gb"]) * 10**9 // 2**30,
        fabric=Fabric("efa", int(row["efa"]), int(row["gbps"])) if row["efa"] != "0" else Fabric(),
        regions=OFFERED[row["regions"]],
        on_demand_usd_per_hour=price,
        price_region="us-east-1",
        price_as_of=date(2026, 7, 20),
        price_source=NO_LIST_PRICE if price is None else KARPENTER,
        spot_ratio=float(row["spot"]),
        rungs=_AWS_RUNGS[row["rungs"]],
    )


def _gcp(row: dict[str, str]) -> MachineType:
    return MachineType(
        cloud="gcp",
        name=row["name"],
        accelerator=row["accelerator"],
        count=int(row["n"]),
        vcpus=int(row["vcpus"]),
        memory_gib=int(row["gib"]),
        local_nvme_gib=int(row["ssd"]),
        fabric=_GCP_FABRICS[row["fabric"]],
        regions=OFFERED[row["family"]],
        on_demand_usd_per_hour=float(row["usd"]),
        price_region=row["priced"],
        price_as_of=date(2026, 11, 22),
        price_source=_GCP_SOURCES[row["source"]],
        spot_ratio=float(row["spot"]),
        rungs=_GCP_RUNGS[row["rungs"]],
        gke_accelerator=row["gke"],
    )


_FAMILIES = {row["family"]: row for row in _rows(_GCP_FAMILIES)}

MACHINES: tuple[MachineType, ...] = (
    *(_aws(row) for row in _rows(_AWS_TABLE)),
    *(_gcp({**_FAMILIES[row["family"]], **row}) for row in _rows(_GCP_TABLE)),
)
"""All machine types with accelerators."""

CPU_MACHINES: tuple[CpuMachine, ...] = (
    *(
        CpuMachine("aws", name, vcpus, memory, price, "us-east-1", date(2026, 7, 20), KARPENTER, spot_ratio=0.40)
        for name, vcpus, memory, price in (
            ("m7i.large", 2, 8, 0.1008),
            ("m7i.xlarge", 4, 16, 0.2016),
            ("m7i.2xlarge", 8, 32, 0.4032),
            ("m7i.4xlarge", 16, 64, 0.8064),
            ("m6i.large", 2, 8, 0.096),
            ("m6i.xlarge", 4, 16, 0.192),
            ("m6i.2xlarge", 8, 32, 0.384),
            ("m7g.xlarge", 4, 16, 0.1632),
            ("m7g.2xlarge", 8, 32, 0.3264),
        )
    ),
    *(
        CpuMachine("gcp", name, vcpus, memory, price, "us-central1", date(2026, 11, 22), source, spot_ratio=0.37)
        for name, vcpus, memory, price, source in (
            ("e2-standard-4", 4, 16, 0.13402, REMEMBERED),
            ("e2-standard-8", 8, 32, 0.26805, REMEMBERED),
            ("n2-standard-4", 4, 16, 0.19424, REMEMBERED),
            ("n2-standard-8", 8, 32, 0.38847, REMEMBERED),
            ("n4-standard-4", 4, 16, 0.1814, "half of n4-standard-8 in SkyPilot catalogs v8"),
            ("n4-standard-8", 8, 32, 0.3628, "SkyPilot catalogs v8, gcp/vms.csv"),
        )
    ),
)
"""Machine types for pools without accelerators. Offered in all regions that we use; not checked by region."""
