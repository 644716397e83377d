"""The worker that a component's arguments describe: checked, and with its share of a machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from components import images
from components.accelerators import accelerator, best_machine, machine_type, machines
from components.cluster.gke_pools import SHUTDOWN_CRITICAL_S, SHUTDOWN_S
from components.training.pod import REGION_VARIABLES, Worker

USABLE_SHARE = 0.7
"""Of a machine's CPU and memory for each accelerator; the rest is for the kubelet, the driver and node agents."""

GRACE_S = {
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
    "aws": 120,
    # Where the cluster has Kubernetes 1.35; before it give a `grace_s` of 15.
    "gcp": SHUTDOWN_S - SHUTDOWN_CRITICAL_S,
}
"""Cloud -> seconds that a pod has when its spot machine is taken."""
DEFAULT_SCRATCH_GIB = 64.0
"""Fits the default disk of a node pool; where pools have local NVMe there is far more to be had."""
DEFAULT_CPU, DEFAULT_MEMORY_GIB = 2.0, 8.0
"""Without accelerators."""


def refuse(where: str, argument: str, value: object, accepted: str) -> None:
    """Raise the ValueError of a wrong argument."""
    raise ValueError(f"{where}: {argument} is {value!r}; {accepted}")


def checked_worker(where: str, args: Mapping[str, Any], service_account: str) -> Worker:
    """From `cloud`, `region`, `image` and, where they are given, `accelerator`, `accelerators_per_node`,
    `machine_type`, `fabric`, `huge_pages`, `claims`, `grace_s`, `cpu`, `memory_gib` and `scratch_gib`.

    `where` is how the component is called; ValueError names it, the argument, its value and what is accepted.
    """
    if args["cloud"] not in REGION_VARIABLES:
        refuse(where, "cloud", args["cloud"], f"accepted are {', '.join(map(repr, REGION_VARIABLES))}")
    if found := images.problem(args["image"]):
        refuse(where, "image", args["image"], found)
    for argument in ("grace_s", "cpu", "memory_gib", "scratch_gib"):
        number = args.get(argument, 1)
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < math.inf:
            refuse(where, argument, number, "accepted is a number above 0")
    worker = Worker(
        image=args["image"],
        service_account=service_account,
        cloud=args["cloud"],
        region=args["region"],
        accelerator=args.get("accelerator") or "",
        accelerators=_count(where, args),
        fabric=bool(args.get("fabric")),
        claims=args.get("claims") or {},
        grace_s=int(args.get("grace_s") or GRACE_S[args["cloud"]]),
        scratch_gib=float(args.get("scratch_gib") or DEFAULT_SCRATCH_GIB),
        machine_type=args.get("machine_type") or "",
        huge_pages=bool(args.get("huge_pages")),
        cpu=DEFAULT_CPU,
        memory_gib=DEFAULT_MEMORY_GIB,
    )
    _check_machine(where, worker)
    return _sized(worker, args)


def _count(where: str, args: Mapping[str, Any]) -> int:
    count = args.get("accelerators_per_node")
    if not args.get("accelerator"):
        for argument in ("accelerators_per_node", "machine_type", "fabric", "huge_pages"):
            if args.get(argument):
                refuse(where, argument, args[argument], "accepted is an `accelerator` beside it")
        return 0
    if count is not None and (isinstance(count, bool) or count != int(count) or count < 1):
        refuse(where, "accelerators_per_node", count, "accepted is a whole number from 1")
    return int(count or 1)


def _check_machine(where: str, worker: Worker) -> None:
    if not worker.accelerator:
        return
    asked = f"accelerator is {worker.accelerator!r}, accelerators_per_node {worker.accelerators}"
    try:
        resource = accelerator(worker.accelerator).kubernetes_resource
        machine = (
            machine_type(worker.cloud, worker.machine_type)
            if worker.machine_type
            else best_machine(worker.accelerator, worker.cloud, worker.region, worker.accelerators)
        )
    except ValueError as error:
        raise ValueError(f"{where}: {asked}: {error}") from None
    if resource != "nvidia.com/gpu":
        refuse(where, "accelerator", worker.accelerator, "workloads.training runs on NVIDIA GPUs, or without any")
    if machine.accelerator != worker.accelerator or machine.count < worker.accelerators:
        has = f"which has {machine.count} x {machine.accelerator}"
        refuse(where, "machine_type", machine.name, f"{has}; {asked}")
    if worker.huge_pages and not (worker.fabric and worker.cloud == "aws"):
        refuse(where, "huge_pages", True, "accepted with the fabric of AWS, EFA, only")
    try:
        _ = worker.needs
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _sized(worker: Worker, args: Mapping[str, Any]) -> Worker:
    """With cores and memory as given, else what fits any machine that may come."""
    cpu, memory = worker.cpu, worker.memory_gib
    if worker.accelerator:
        offered = (
            [machine_type(worker.cloud, worker.machine_type)]
            if worker.machine_type
            else [
                m for m in machines(worker.accelerator, worker.cloud, worker.region) if m.count >= worker.accelerators
            ]
        )
        share = USABLE_SHARE * worker.accelerators
        cpu = share * min(machine.vcpus / machine.count for machine in offered)
        memory = share * min(machine.memory_gib / machine.count for machine in offered)
    return replace(worker, cpu=float(args.get("cpu") or cpu), memory_gib=float(args.get("memory_gib") or memory))
