"""What a pod gets of a GPU: all of it, or a slice; how many pods that makes to a machine, and what joins the GPUs."""

from __future__ import annotations

from dataclasses import dataclass

from components.accelerators import CATALOG, MachineType, best_machine, machine_type, machines

PARTITION_LABELS = {
    # The GPU operator's MIG manager cuts what the label says; pools carry it (components.cluster.karpenter_pools).
    "aws": ("nvidia.com/mig.config", "all-{}"),
    # https://cloud.google.com/kubernetes-engine/docs/how-to/gpus-multi
    "gcp": ("cloud.google.com/gke-gpu-partition-size", "{}"),
}
"""Cloud -> the node label of machines whose GPUs are cut, and its value for a profile."""


@dataclass(frozen=True)
class Device:
    """A GPU as a pod sees it, and the machine that it is in."""

    cloud: str
    accelerator: str
    """Key of the catalog."""
    machine: MachineType
    mig_profile: str
    """Empty where GPUs are whole."""
    sharers: int
    """Pods to each GPU, by MIG or time-slicing."""

    @property
    def memory_gib(self) -> float:
        """GiB for one pod: of the slice, or its share. Time-slicing keeps nobody out of anybody's memory, so that each
        pod has its share is what this reckons with and nothing enforces."""
        if self.mig_profile:
            return slice_gib(self.mig_profile)
        return CATALOG[self.accelerator].memory_gib / self.sharers

    @property
    def selector(self) -> dict[str, str]:
        """Labels of the machines that have such slices; none for whole GPUs."""
        if not self.mig_profile:
            return {}
        label, value = PARTITION_LABELS[self.cloud]
        return {label: value.format(self.mig_profile)}

    @property
    def nvlink(self) -> bool:
        """Whether the machine's GPUs reach each other past the PCIe bus; other vendors' accelerators always do. Slices
        never do."""
        kind = CATALOG[self.accelerator]
        return (kind.nvlink_gb_s > 0 or kind.vendor != "nvidia") and not self.mig_profile

    def pods_to_a_machine(self, gpus: int) -> int:
        """Pods of that many GPUs which a machine takes, by its GPUs."""
        return max(1, self.machine.count * self.sharers // gpus)

    def __str__(self) -> str:
        if self.mig_profile:
            return f"a {self.mig_profile} slice of {self.accelerator}"
        return f"{self.accelerator}, shared by {self.sharers} pods" if self.sharers > 1 else self.accelerator


def slice_gib(profile: str) -> float:
    """GiB of a MIG slice, by its name: `1g.10gb` has 10."""
    return float(profile.removesuffix("gb").split("g.")[1])


def device(
    cloud: str, region: str, accelerator: str, gpus: int, machine: str = "", mig_profile: str = "", sharers: int = 1
) -> Device:
    """The device of pods that ask for `gpus`. Without the name of a `machine`, of the cheapest that has so many.

    ValueError where the catalog has no such accelerator, machine or profile.
    """
    found = machine_type(cloud, machine) if machine else best_machine(accelerator, cloud, region, gpus)
    if found.accelerator != accelerator:
        fitting = ", ".join(one.name for one in machines(accelerator, cloud, region)) or "none there"
        raise ValueError(f"a {machine} has {found.accelerator}; machines with {accelerator} are {fitting}")
    if mig_profile:
        sharers = CATALOG[accelerator].mig_partitions(mig_profile)
    return Device(cloud, accelerator, found, mig_profile, sharers)


def check_several(model: str, gpus: int, over_pcie: bool, found: Device) -> None:
    """ValueError for a model over several GPUs that these machines would serve badly, or not at all."""
    if gpus == 1:
        return
    count = found.machine.count
    if found.sharers > 1:
        raise ValueError(
            f"{model} goes over {gpus} GPUs, and the pool's are shared ({found}); GPUs that are cut or shared do not "
            "reach each other: give it a pool with whole ones"
        )
    if gpus > count or count % gpus:
        accepted = ", ".join(str(n) for n in range(1, count + 1) if count % n == 0)
        raise ValueError(
            f"{model} goes over {gpus} GPUs, and a {found.machine.name} has {count}; accepted are {accepted}: so many "
            "leave none idle, and all of them are in one machine"
        )
    if not found.nvlink and not over_pcie:
        raise ValueError(
            f"{model} goes over {gpus} GPUs, which in a {found.machine.name} ({found.accelerator}) have no NVLink: "
            "every layer of every token would wait for the PCIe bus. Take an accelerator that has it "
            f"({', '.join(key for key, one in CATALOG.items() if one.nvlink_gb_s)}), or say over_pcie"
        )
