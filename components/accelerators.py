"""The catalog: which accelerators there are, which machines have them, and which machine to take where."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from components.machine_types import CPU_MACHINES, MACHINES, RUNGS, CpuMachine, Fabric, MachineType
from components.regions import REGIONS

__all__ = [
    "CATALOG",
    "MACHINES",
    "REGIONS",
    "RUNGS",
    "USUAL_CPU_MACHINES",
    "Accelerator",
    "CpuMachine",
    "Fabric",
    "MachineType",
    "NotOffered",
    "accelerator",
    "best_machine",
    "cpu_machine",
    "machine_type",
    "machines",
]


class NotOffered(ValueError):
    """A cloud or region doesn't offer what was asked for; the message names the nearest that it does offer."""


@dataclass(frozen=True)
class Accelerator:
    """One accelerator, as people name it, whichever cloud and machine it comes in."""

    key: str
    name: str
    vendor: str
    memory_gib: int
    """As the vendor labels it; a driver reports a little less."""
    kubernetes_resource: str
    """What a pod asks for: `nvidia.com/gpu`, `google.com/tpu` or `aws.amazon.com/neuron`."""
    gke_accelerator: str = ""
    """GKE's usual name for it, "" where GCP has none; a machine may use another (`MachineType.gke_accelerator`)."""
    mig_profiles: tuple[str, ...] = ()
    """MIG profiles, smallest first; empty where it cannot be partitioned.
    https://docs.nvidia.com/datacenter/tesla/mig-user-guide/, as remembered."""
    nvlink_gb_s: int = 0
    """GB/s between one of these GPUs and the others of its machine, both ways; 0 where that goes over PCIe. Of the form
    that clouds rent (SXM). NVIDIA's data sheets, as remembered."""

    def mig_partitions(self, profile: str) -> int:
        """How many partitions of that profile one accelerator gives: it has 7 compute and 8 memory slices."""
        if profile not in self.mig_profiles:
            accepted = ", ".join(self.mig_profiles) or "none: it cannot be partitioned"
            raise ValueError(f"{self.key} has no MIG profile {profile!r}; it has {accepted}")
        compute, memory = profile.removesuffix("gb").split("g.")
        return min(7 // int(compute), 8 // max(1, round(int(memory) * 8 / self.memory_gib)))


_NVIDIA = "nvidia.com/gpu"
_MIG_80 = ("1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb")

CATALOG: dict[str, Accelerator] = {
    entry.key: entry
    for entry in (
        Accelerator("b200", "NVIDIA B200", "nvidia", 180, _NVIDIA, "nvidia-b200",
                    ("1g.23gb", "1g.45gb", "2g.45gb", "3g.90gb", "4g.90gb", "7g.180gb"), 1800),
        Accelerator("h200", "NVIDIA H200", "nvidia", 141, _NVIDIA, "nvidia-h200-141gb",
                    ("1g.18gb", "1g.35gb", "2g.35gb", "3g.71gb", "4g.71gb", "7g.141gb"), 900),
        Accelerator("h100-80gb", "NVIDIA H100 80GB", "nvidia", 80, _NVIDIA, "nvidia-h100-80gb", _MIG_80, 900),
        Accelerator("a100-80gb", "NVIDIA A100 80GB", "nvidia", 80, _NVIDIA, "nvidia-a100-80gb", _MIG_80, 600),
        Accelerator("a100-40gb", "NVIDIA A100 40GB", "nvidia", 40, _NVIDIA, "nvidia-tesla-a100",
                    ("1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"), 600),
        Accelerator("l40s", "NVIDIA L40S", "nvidia", 48, _NVIDIA),
        Accelerator("l4", "NVIDIA L4", "nvidia", 24, _NVIDIA, "nvidia-l4"),
        Accelerator("a10g", "NVIDIA A10G", "nvidia", 24, _NVIDIA),
        Accelerator("t4", "NVIDIA T4", "nvidia", 16, _NVIDIA, "nvidia-tesla-t4"),
        Accelerator("tpu-v5e", "Google TPU v5e", "google", 16, "google.com/tpu", "tpu-v5-lite-podslice"),
        Accelerator("tpu-v6e", "Google TPU v6e (Trillium)", "google", 32, "google.com/tpu", "tpu-v6e-slice"),
        Accelerator("trainium2", "AWS Trainium2", "aws", 96, "aws.amazon.com/neuron"),
    )
}  # fmt: skip
"""Every accelerator by its key, the word that settings and pools use."""

USUAL_CPU_MACHINES = {"aws": "m7i.xlarge", "gcp": "e2-standard-4"}
"""For system pools that don't name a machine type."""


def accelerator(key: str) -> Accelerator:
    """The accelerator of that key. Raises NotOffered, with the nearest keys, where there is none."""
    return _known(key)


def machines(accelerator: str | None = None, cloud: str | None = None, region: str | None = None) -> list[MachineType]:
    """Machine types that match everything given, fewest accelerators and lowest price first."""
    found = (
        machine
        for machine in MACHINES
        if accelerator in (None, machine.accelerator)
        and cloud in (None, machine.cloud)
        and (region is None or region in machine.regions)
    )
    return sorted(found, key=_size)


def machine_type(cloud: str, name: str) -> MachineType:
    """The machine type of that name. Raises NotOffered, with the nearest names, where the catalog has none."""
    offered = {machine.name: machine for machine in machines(cloud=cloud)}
    if name not in offered:
        nearest = ", ".join(difflib.get_close_matches(name, offered, 5, 0)) or "none there"
        raise NotOffered(
            f"no machine type {name!r} on {cloud}{_did_you_mean(name, offered)}; the nearest are {nearest}"
        )
    return offered[name]


def cpu_machine(cloud: str, name: str | None = None) -> CpuMachine:
    """The machine type without accelerators of that name, without a name the cloud's usual one for system pools.

    Raises NotOffered where the catalog has none.
    """
    name = USUAL_CPU_MACHINES.get(cloud, "") if name is None else name
    offered = {machine.name: machine for machine in CPU_MACHINES if machine.cloud == cloud}
    if name not in offered:
        raise NotOffered(f"no CPU machine type {name!r} on {cloud}{_did_you_mean(name, offered)}; the catalog has"
                         f" {', '.join(offered) or 'none there'}")  # fmt: skip
    return offered[name]


def best_machine(accelerator: str, cloud: str, region: str, count: int = 1) -> MachineType:
    """The cheapest machine in that region with exactly `count` accelerators, else the smallest with more.

    Raises NotOffered naming what was asked and the nearest alternatives: other counts, other regions of the same cloud,
    and the accelerators of the region whose memory is nearest.
    """
    wanted = _known(accelerator)
    offered = machines(wanted.key, cloud, region)
    for machine in offered:
        if machine.count == count:
            return machine
    for machine in offered:
        if machine.count > count:
            return machine
    raise NotOffered(
        f"{cloud}:{region} offers no machine with {count} x {wanted.key}; {_alternatives(wanted, cloud, region)}"
    )


def _known(key: str) -> Accelerator:
    if key not in CATALOG:
        raise NotOffered(f"no accelerator {key!r}{_did_you_mean(key, CATALOG)}; the catalog has {', '.join(CATALOG)}")
    return CATALOG[key]


def _size(machine: MachineType) -> tuple[int, float, str]:
    price = machine.on_demand_usd_per_hour
    return machine.count, float("inf") if price is None else price, machine.name


def _alternatives(wanted: Accelerator, cloud: str, region: str) -> str:
    here = sorted({machine.count for machine in machines(wanted.key, cloud, region)})
    elsewhere = {place for machine in machines(wanted.key, cloud) for place in machine.regions} - {region}
    keys = {machine.accelerator for machine in machines(cloud=cloud, region=region)} - {wanted.key}
    parts = []
    if here:
        parts.append(f"a machine there has {' or '.join(map(str, here))}")
    if elsewhere:
        parts.append(f"{cloud} has it in {', '.join(_nearest_regions(elsewhere, region))}")
    if keys:
        nearest = sorted(keys, key=lambda key: (abs(CATALOG[key].memory_gib - wanted.memory_gib), key))[:3]
        parts.append(f"{region} has {', '.join(f'{key} ({CATALOG[key].memory_gib} GiB)' for key in nearest)}")
    return "; ".join(parts) or f"the catalog has nothing in {cloud}:{region}"


def _nearest_regions(regions: set[str], region: str, most: int = 5) -> list[str]:
    """Same continent first (both clouds begin a region's name with it), then by name."""
    continent = region.split("-")[0]
    nearest = sorted(regions, key=lambda other: (other.split("-")[0] != continent, other))
    return nearest[:most] + ([f"and {len(nearest) - most} more"] if len(nearest) > most else [])


def _did_you_mean(word: str, known: dict[str, Accelerator] | dict[str, MachineType] | dict[str, CpuMachine]) -> str:
    # a word that was cut short (h100) is nearer than one that differs by a letter (h200)
    close = [key for key in known if key.startswith(word)] or difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""
