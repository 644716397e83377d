"""The cold start of an inference pod, stage by stage: from the moment when one more is wanted to its first answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from components.inference.startup import (
    SERVER_START_S,
    StartupProbe,
    progress_deadline_s,
    seconds_to_move,
    startup_probe,
)

NOT_MEASURED = "not measured"

NODE_S = 300.0
"""Seconds until a machine is there that the pod fits, with its driver and device plugin. GKE's own figure for a node
without GPUs is 80 to 120 (docs.cloud.google.com/kubernetes-engine/docs/how-to/capacity-provisioning, read 2026-11); the
rest is for a GPU's driver and a cloud that has to look for one. Not measured."""

DRIVER_S = 120.0
"""Of these, seconds in which the machine runs pods already, but has no GPU to give them. Not measured."""

IMAGE_S = 150.0
"""Seconds to pull and unpack Triton's image, about 16 GB, at 0.1 GiB/s. Not measured."""

DEFAULT_LOAD_GIB_S = 0.25
"""The smallest GPU machines sustain 2.5 Gbit/s (g6.xlarge: baseline, AWS EC2 network specifications, read 2026-11)."""
DEFAULT_CLAIM_GIB_S = 0.25
"""What those machines' network gives, and a Filestore of 1 TiB (260 MiB/s for each TiB, for all its readers together:
docs.cloud.google.com/filestore/docs/service-tiers-zonal, read 2026-11; that the regional tier has the same is
remembered). EFS gives a client 500 MiB/s."""
DEFAULT_DEVICE_GIB_S = 0.5
"""One local SSD, decoded on a few cores. Not measured."""

_GIB = 2**30
_MEASURED = "as measured"


@dataclass(frozen=True)
class Stage:
    """One part of a cold start."""

    name: str
    seconds: float
    source: str
    """Where the seconds come from."""
    remedy: str
    """The argument that shortens it."""


@dataclass(frozen=True)
class ColdStart:
    """What a pod's start takes, and what must be waited for at worst."""

    stages: tuple[Stage, ...]
    probe: StartupProbe
    deadline_s: int
    """Seconds in which a new pod is ready however it comes to its machine: warm machines may be used up."""

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> seconds; and `total`."""
        found = {stage.name: round(stage.seconds, 1) for stage in self.stages}
        return {**found, "total": round(self.total_s, 1)}

    @property
    def total_s(self) -> float:
        return sum(stage.seconds for stage in self.stages)


@dataclass(frozen=True)
class Help:
    """What is there before a pod is wanted, and what was measured; None where the defaults stand."""

    warm: bool = False
    """Machines stand ready, with the image."""
    pulled: bool = False
    """A DaemonSet pulls the image, on each machine from its first minute on."""
    claim: bool = False
    """Weights come from a file system of the region."""
    node_s: float | None = None
    image_s: float | None = None
    server_s: float | None = None
    load_gib_s: float | None = None
    claim_gib_s: float | None = None
    device_gib_s: float | None = None


def cold_start(models: Sequence[tuple[float, int]], given: Help) -> ColdStart:
    """The cold start of a pod with these models, (GiB of files, GPUs that share it) each.

    Files come one after the other from the store; a GPU loads its own share from the disk, all of them at once.
    """
    size = sum(gib for gib, _ in models) * _GIB
    on_each = sum(gib / gpus for gib, gpus in models) * _GIB
    node, image = _node(given), _image(given)
    weights = _weights(size, given)
    device = (given.device_gib_s or DEFAULT_DEVICE_GIB_S) * _GIB
    server_s = SERVER_START_S if given.server_s is None else given.server_s
    load = Stage(
        "load",
        seconds_to_move(on_each, device),
        f"{on_each / _GIB:.1f} GiB to each GPU at {device / _GIB:g} GiB/s, {_source(given.device_gib_s)}",
        "device_bandwidth_gib_s, as measured; gpus, over which a model is spread; fewer models in the group",
    )
    warm_up = Stage("warm-up", server_s, _source(given.server_s), "cold_start.server_s, as measured")
    probe = startup_probe(on_each, device, server_start_s=server_s)
    # Warm machines run out, and a pull is late at times: whoever waits for a pod reckons with neither.
    before = _node_s(given) + _image_s(given) + weights.seconds
    return ColdStart((node, image, weights, load, warm_up), probe, progress_deadline_s(before, probe))


def _node_s(given: Help) -> float:
    return NODE_S if given.node_s is None else given.node_s


def _image_s(given: Help) -> float:
    return IMAGE_S if given.image_s is None else given.image_s


def _node(given: Help) -> Stage:
    remedy = "warm_machines"
    if given.warm:
        return Stage("node", 0.0, "a warm machine stands ready", remedy)
    return Stage("node", _node_s(given), _source(given.node_s), remedy)


def _image(given: Help) -> Stage:
    remedy = "warm_machines, or prepull_images"
    if given.warm:
        return Stage("image", 0.0, "a warm machine has it", remedy)
    if given.pulled:
        # The DaemonSet asks for no GPU, so it pulls while the server's pod still waits for the driver.
        left = max(0.0, _image_s(given) - min(DRIVER_S, _node_s(given)))
        return Stage("image", left, f"pulled while the driver starts; {_source(given.image_s)}", "warm_machines")
    return Stage("image", _image_s(given), _source(given.image_s), remedy)


def _weights(size: float, given: Help) -> Stage:
    if given.claim:
        rate, measured, where = given.claim_gib_s or DEFAULT_CLAIM_GIB_S, given.claim_gib_s, "the claim"
        remedy = "claim_bandwidth_gib_s, as measured; fewer models in the group"
    else:
        rate, measured, where = given.load_gib_s or DEFAULT_LOAD_GIB_S, given.load_gib_s, "the object store"
        remedy = "load_bandwidth_gib_s, as measured; weights_claim; fewer models in the group"
    source = f"{size / _GIB:.1f} GiB from {where} at {rate:g} GiB/s, {_source(measured)}"
    return Stage("weights", seconds_to_move(size, rate * _GIB), source, remedy)


def _source(measured: float | None) -> str:
    return NOT_MEASURED if measured is None else _MEASURED


def beyond(found: ColdStart, objective_s: float) -> str:
    """Of a cold start beyond its objective: what takes how long, and what would shorten the longest. Else empty."""
    if found.total_s <= objective_s:
        return ""
    stages = ", ".join(f"{stage.name} {stage.seconds:.0f} s ({stage.source})" for stage in found.stages)
    longest = max(found.stages, key=lambda stage: stage.seconds)
    return (
        f"a cold start takes {found.total_s:.0f} s: {stages}. What shortens the longest, {longest.name}: "
        f"{longest.remedy}"
    )
