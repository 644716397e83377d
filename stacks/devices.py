"""Which pool a region serves from, and what its pods get of a GPU: settings and composition both need to know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from components.accelerators import CATALOG, MachineType
from components.inference.device import Device

if TYPE_CHECKING:
    from stacks.settings import NodePool, Region


def serving_pool(pools: Iterable[NodePool], accelerator: str | None) -> NodePool | None:
    """The pool to serve from, where there is just one with the accelerator, or without any, among those of a region."""
    found = [pool for pool in pools if pool.purpose == "serving" and pool.accelerator == accelerator]
    return found[0] if len(found) == 1 else None


def shared_by(pool: NodePool) -> int:
    """Pods to each of the pool's GPUs. ValueError for a MIG profile that the accelerator has not."""
    sharing = pool.gpu_sharing
    if sharing is None or pool.accelerator is None:
        return 1
    if sharing.mode == "mig":
        return CATALOG[pool.accelerator].mig_partitions(sharing.profile or "")
    return sharing.replicas or 1


def mig_profile(pool: NodePool) -> str:
    """What the pool's GPUs are cut into; empty where they are whole."""
    sharing = pool.gpu_sharing
    return (sharing.profile or "") if sharing is not None and sharing.mode == "mig" else ""


def device_in(pool: NodePool, region: Region) -> Device | None:
    """What pods on the pool's machines get of a GPU; None where it has none. Raises NotOffered and ValueError."""
    machine = pool.machine_in(region)
    if not isinstance(machine, MachineType):
        return None
    return Device(region.cloud, machine.accelerator, machine, mig_profile(pool), shared_by(pool))
