"""Training, fabric: gangs ask for the network between machines that they are paid for, and NCCL is told to use it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from components.machine_types import MachineType
from planner.checks.placement.placed import Placed
from planner.checks.training.commands import TRAINING, commands, environment, named
from planner.finding import Finding, Rule
from planner.inventory import Rung, Workload
from planner.inventory.capacity import requests
from planner.inventory.interfaces import networks
from planner.inventory.objects import maps
from planner.inventory.ray import CLUSTERS

FITS = Rule(
    "gang-uses-the-fabric",
    "Pods that train together ask for the fabric of their machines, and only for one that these have",
    url="https://docs.aws.amazon.com/eks/latest/userguide/node-efa.html",
    remediation="On AWS ask for vpc.amazonaws.com/efa, on GKE for the networks of the machine's NICs "
    "(networking.gke.io/interfaces); or train on machines without a fabric, which cost less.",
)
NCCL = Rule(
    "nccl-matches-the-fabric",
    "NCCL, and the gate before training, are told of the fabric that the machines have",
    url="https://cloud.google.com/kubernetes-engine/docs/how-to/gpu-bandwidth-gpudirect-tcpx",
    remediation="Take the environment of the machine's own fabric, and no other.",
)
RULES = (FITS, NCCL)

EFA = "vpc.amazonaws.com/efa"
ACCELERATORS = ("nvidia.com/gpu", "google.com/tpu", "aws.amazon.com/neuron")

_TELLING: tuple[tuple[str, str, str], ...] = (
    (r"FI_PROVIDER", r"efa.*", "efa"),
    (r"FI_EFA_.*", r".*", "efa"),
    (r"NCCL_NET", r"(?i)aws libfabric|ofi", "efa"),
    (r"NCCL_GPUDIRECTTCPX_.*", r".*", "gpudirect-tcpx"),
    (r"NCCL_NET", r"(?i)gpudirecttcpx_.*", "gpudirect-tcpx"),
    (r"NCCL_FASTRAK_.*", r".*", "gpudirect-tcpxo"),
    (r"NCCL_NET", r"(?i)fastrak", "gpudirect-tcpxo"),
    (r"NCCL_NET", r"(?i)gib", "gpudirect-rdma"),
    (r"FI_PROVIDER", r"tcp.*|sockets|udp.*", "tcp"),
    (r"NCCL_NET", r"(?i)socket", "tcp"),
    (r"NCCL_NET_PLUGIN", r"none", "tcp"),
)
"""Variable, value -> the network that NCCL uses by it. Libfabric's man pages (fi_provider, fi_efa), NCCL's environment
variables, and the manifests under gpudirect-{tcpx,tcpxo,rdma} of GoogleCloudPlatform/container-engine-accelerators."""

_TRANSPORTS = {"efa": "efa", "ib": "gpudirect-rdma", "gpudirect-tcpx": "gpudirect-tcpx",
               "gpudirect-tcpxo": "gpudirect-tcpxo", "tcp": "tcp"}  # fmt: skip
"""What `workloads.training.health --expect-transport` calls a network -> what the catalog calls it."""


def findings(one: Placed) -> Iterator[Finding]:
    """Fabric that is asked for and not there, there and not asked for, or not used."""
    workload, rungs = one.workload, one.rungs
    devices = sum(int(amount) for name, amount in requests(workload.spec).items() if name in ACCELERATORS)
    asked = interfaces(workload)
    if not rungs or not devices or asked is None:
        return
    equipped = [rung for rung in rungs if rung.fabric_interfaces]
    if asked:
        yield from _asked(one, devices, asked, equipped)
    elif _together(workload) and len(equipped) == len(rungs):
        yield FITS.finding(
            f"{named(workload)}: its {workload.max_replicas} pods run on machines with {_fabric(equipped)} in"
            f" {_pools(equipped)} and do not ask for it: they train over TCP, at a tenth of the speed",
            one.near.resource,
            subject=workload.part,
            severity="warning",
        )
    kinds = {machine.fabric.kind for machine in _machines(equipped)}
    if asked:
        yield from _nccl(one, kinds)
    yield from _gate(one, kinds)


def interfaces(workload: Workload) -> int | None:
    """Interfaces of a fabric that a pod asks for; None where the plan doesn't tell."""
    if asked := requests(workload.spec).get(EFA):
        return int(asked)
    listed = networks(workload)
    return None if listed is None else len(listed)


def _asked(one: Placed, devices: int, asked: int, equipped: Sequence[Rung]) -> Iterator[Finding]:
    workload = one.workload
    # EFA is a resource, and that no machine has so many interfaces, `pod-fits-a-pool` tells.
    if EFA not in requests(workload.spec) and not any(rung.fabric_interfaces >= asked for rung in equipped):
        most = max((rung.fabric_interfaces for rung in one.rungs), default=0)
        yield FITS.finding(
            f"{named(workload)}: its pods want {asked} networks beside the ordinary one, and machines of"
            f" {_pools(one.rungs)} have {most}",
            one.near.resource,
            subject=workload.part,
        )
        return
    shares = [max(1, m.fabric.interfaces * devices // m.count) for m in _machines(equipped) if m.fabric]
    if shares and asked < min(shares):
        yield FITS.finding(
            f"{named(workload)}: its pods ask for {asked} of the {min(shares)} interfaces that belong to {devices}"
            f" accelerators in {_pools(equipped)}: what they train with is so much slower",
            one.near.resource,
            subject=workload.part,
            severity="warning",
        )


def _nccl(one: Placed, there: set[str]) -> Iterator[Finding]:
    workload = one.workload
    for container in (*maps(workload.spec, "initContainers"), *maps(workload.spec, "containers")):
        told = sorted(_told(environment(container)), key=lambda pair: pair[1] == "tcp")
        wrong = next(((variable, kind) for variable, kind in told if kind not in there), None)
        if wrong is not None and there:
            variable, kind = wrong
            yield NCCL.finding(
                f"{named(workload)}: {variable} of container {container.get('name')} is for {kind}, and its machines"
                f" have {', '.join(sorted(there))}",
                one.near.resource,
                subject=f"{workload.part} {container.get('name')}".strip(),
                severity="warning" if kind == "tcp" else "error",
            )


def _gate(one: Placed, there: set[str]) -> Iterator[Finding]:
    workload = one.workload
    for command in commands(workload):
        if f"{TRAINING}.health" not in command.modules():
            continue
        expected = {_TRANSPORTS[name] for name in command.options("--expect-transport") if name in _TRANSPORTS}
        if expected and not expected & (there or {"tcp"}):
            yield NCCL.finding(
                f"{named(workload)}: the gate in {command.container} expects {', '.join(sorted(expected))}, and its"
                f" machines have {', '.join(sorted(there)) or 'no fabric'}: it never opens",
                one.near.resource,
                subject=f"{workload.part} gate".strip(),
            )


def _told(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for variable, value in env.items():
        for name, pattern, kind in _TELLING:
            if re.fullmatch(name, variable) and re.fullmatch(pattern, value):
                yield f"{variable}={value}", kind


def _together(workload: Workload) -> bool:
    return workload.max_replicas > 1 and (workload.gang or workload.kind in CLUSTERS)


def _machines(rungs: Sequence[Rung]) -> list[MachineType]:
    return [machine for rung in rungs for machine in rung.machines if isinstance(machine, MachineType)]


def _fabric(rungs: Sequence[Rung]) -> str:
    kinds = dict.fromkeys(machine.fabric.kind for machine in _machines(rungs) if machine.fabric)
    return ", ".join(kinds) or "a fabric"


def _pools(rungs: Sequence[Rung]) -> str:
    return " and ".join(dict.fromkeys(rung.pool for rung in rungs))
