"""What a pod may have of its machine's cores and memory, where nobody says: what fits any machine that may come."""

from __future__ import annotations

from components.accelerators import machines

USABLE = 0.7
"""Of a machine's CPU and memory for each accelerator; the rest is for the kubelet, the driver and node agents."""


def machine_share(accelerator: str, cloud: str, region: str, gpus: int, pods_per_gpu: int) -> tuple[float, float]:
    """Cores and GiB of a pod with so many GPUs, of which so many pods share each."""
    offered = [machine for machine in machines(accelerator, cloud, region) if machine.count >= gpus]
    share = USABLE * gpus / pods_per_gpu
    return (
        share * min(machine.vcpus / machine.count for machine in offered),
        share * min(machine.memory_gib / machine.count for machine in offered),
    )
