"""Turns the plain arguments of node pools into checked pools, with a machine type chosen from the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.accelerators import CpuMachine, MachineType, best_machine, cpu_machine, machine_type
from components.cluster.ladder import GpuSharing, Pool, Rung, Taint

if TYPE_CHECKING:
    from components.cluster.gpu_cluster import NodePoolArgs

DEFAULT_CPU_MACHINE = {"aws": "m7i.2xlarge", "gcp": "e2-standard-8"}
DEFAULT_DISK_GIB = 200
FABRIC_ACCELERATORS = 8
"""Accelerators of the machines that clouds sell with a full fabric."""


def pools(where: str, cloud: str, region: str, arguments: Sequence[NodePoolArgs]) -> list[Pool]:
    """Check every pool. ValueError names `where`, the pool and the argument."""
    found: list[Pool] = []
    for index, one in enumerate(arguments):
        try:
            found.append(pool(cloud, region, one))
        except ValueError as error:
            raise ValueError(f"{where}: node_pools[{index}]: {error}") from None
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{where}: {names.count(name)} node pools are called {name!r}; each needs its own name")
    return found


def check_zones(where: str, found: Sequence[Pool], zones: object) -> None:
    """ValueError for a pool in a zone that the network doesn't have, where `zones` are known by now."""
    if isinstance(zones, list) and all(isinstance(zone, str) for zone in zones):
        for one in found:
            for zone in one.zones:
                if zone not in zones:
                    raise ValueError(f"{where}: node pool {one.name!r}: zones has {zone!r}; the network has {zones}")


def pool(cloud: str, region: str, arguments: NodePoolArgs) -> Pool:
    """One checked pool. Numbers may be floats: that is how they arrive through a component package."""
    sharing = arguments.get("gpu_sharing")
    return Pool(
        name=arguments["name"],
        purpose=arguments["purpose"],
        machine=machine(cloud, region, arguments),
        minimum=int(arguments["min"]),
        maximum=int(arguments["max"]),
        ladder=tuple(_rung(rung) for rung in arguments["ladder"]),
        static=bool(arguments.get("static")),
        fabric=bool(arguments.get("fabric")),
        sharing=GpuSharing(sharing["mode"], sharing.get("profile") or "", int(sharing.get("replicas") or 1))
        if sharing
        else None,
        local_nvme_raid=bool(arguments.get("local_nvme_raid")),
        zones=tuple(arguments.get("zones") or ()),
        extra_labels=dict(arguments.get("labels") or {}),
        extra_taints=tuple(Taint(t["key"], t.get("value") or "", t["effect"]) for t in arguments.get("taints") or ()),
        disk_gib=int(arguments.get("disk_gib") or DEFAULT_DISK_GIB),
    )


def machine(cloud: str, region: str, arguments: NodePoolArgs) -> MachineType | CpuMachine:
    """The machine type of a pool: the one named, else the best for its accelerator, else the usual CPU machine."""
    name, accelerator = arguments.get("machine_type"), arguments.get("accelerator")
    if not accelerator:
        return cpu_machine(cloud, name or DEFAULT_CPU_MACHINE[cloud])
    if not name:
        count = arguments.get("accelerators_per_machine") or (FABRIC_ACCELERATORS if arguments.get("fabric") else 1)
        return best_machine(accelerator, cloud, region, int(count))
    named = machine_type(cloud, name)
    if named.accelerator != accelerator:
        raise ValueError(
            f"node pool {arguments['name']!r}: machine_type is {name!r}, which has {named.accelerator}, but accelerator"
            f" is {accelerator!r}"
        )
    if region not in named.regions:
        raise ValueError(
            f"node pool {arguments['name']!r}: machine_type {name!r} is not offered in {region}; it is in"
            f" {', '.join(named.regions)}"
        )
    return named


def _rung(arguments: Mapping[str, Any]) -> Rung:
    ceiling = arguments.get("ceiling")
    return Rung(
        kind=arguments["kind"],
        reservations=tuple(arguments.get("reservations") or ()),
        floor=int(arguments.get("floor") or 0),
        ceiling=None if ceiling is None else int(ceiling),
    )
