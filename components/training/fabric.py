"""What a pod needs of its machine's fabric: devices, networks, directories, side containers, NCCL's environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.accelerators import MachineType


@dataclass(frozen=True)
class FabricNeeds:
    """Pieces of a pod, in Kubernetes' spelling."""

    resources: Mapping[str, str] = field(default_factory=dict)
    """Requests, and limits, of each container that trains."""
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Mapping[str, Any]] = ()
    volumes: Sequence[Mapping[str, Any]] = ()
    sidecars: Sequence[Mapping[str, Any]] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


NONE = FabricNeeds()


def needs(machine: MachineType) -> FabricNeeds:
    """What a pod needs that has all accelerators of a machine. ValueError for a machine without a fabric."""
    raise NotImplementedError
