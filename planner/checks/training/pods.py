"""Training, pods: memory that processes share, as many ranks as there are pods, priorities that are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from planner.checks.training.commands import TRAINING, Command, commands, named
from planner.checks.view import View, mentions
from planner.finding import Finding, Rule
from planner.inventory import Workload
from planner.inventory.objects import Object, maps
from planner.inventory.quantity import known
from planner.inventory.ray import CLUSTERS
from planner.inventory.references import mapping
from planner.inventory.workloads import PRIORITY
from planner.plan import UNKNOWN

SHARED_MEMORY = Rule(
    "several-gpus-share-memory",
    "A container with several GPUs has memory at /dev/shm, beyond the 64 MiB that containers have by themselves",
    url="https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html#shared-memory",
    remediation="Mount an emptyDir with `medium: Memory` at /dev/shm: NCCL and data loaders pass memory through it.",
)
WORLD = Rule(
    "world-size-matches-the-pods",
    "Launchers wait for as many machines as there are pods, and start as many processes as there are GPUs",
    url="https://docs.pytorch.org/docs/stable/elastic/run.html",
    remediation="Write the same number in `--nnodes` as in `numNodes` (or the Job's parallelism), and as many "
    "processes as the container has GPUs.",
)
PRIORITIES = Rule(
    "priority-class-exists",
    "Every priority class that a job or a pod names is there",
    url="https://kueue.sigs.k8s.io/docs/concepts/workload_priority_class/",
    remediation="Name a WorkloadPriorityClass of the cluster by the label, a PriorityClass in a pod.",
)
RULES = (SHARED_MEMORY, WORLD, PRIORITIES)

SHM = "/dev/shm"
GPU = "nvidia.com/gpu"
_BUILT_IN = "system-"
"""system-cluster-critical and system-node-critical are in every cluster."""


def findings(view: View, workload: Workload, near: Object) -> Iterator[Finding]:
    """What would not start, or wait for pods that never come."""
    yield from _shared_memory(workload, near)
    if workload.gang or workload.kind == "TrainJob":
        yield from _world(workload, near)
    yield from _priorities(view, workload, near)


# ---- shared memory


def _shared_memory(workload: Workload, near: Object) -> Iterator[Finding]:
    spec = workload.spec
    # KubeRay gives it to its pods by itself, as large as the container's memory.
    if workload.kind in CLUSTERS or spec.get("hostIPC") is True or spec.get("volumes") == UNKNOWN:
        return
    in_memory = {v.get("name") for v in maps(spec, "volumes") if mapping(v, "emptyDir").get("medium") == "Memory"}
    for container in maps(spec, "containers"):
        gpus = known(mapping(container, "resources.limits").get(GPU)) or 0
        mounts = maps(container, "volumeMounts")
        if gpus < 2 or container.get("volumeMounts") == UNKNOWN:
            continue
        if not any(str(m.get("mountPath")).rstrip("/") == SHM and m.get("name") in in_memory for m in mounts):
            yield SHARED_MEMORY.finding(
                f"{named(workload)}: container {container.get('name')} has {gpus} GPUs, and no memory at {SHM} but the"
                " 64 MiB of every container",
                near.resource,
                subject=f"{workload.part} {container.get('name')}".strip(),
            )


# ---- how many


def _world(workload: Workload, near: Object) -> Iterator[Finding]:
    containers = {str(c.get("name")): c for key in ("initContainers", "containers") for c in maps(workload.spec, key)}
    for command in commands(workload):
        if not _launches(command):
            continue
        subject = f"{workload.part} {command.container}".strip()
        nodes = _range(command.option("--nnodes"))
        # A gate of one machine asks for nobody else.
        if nodes and not (command.initial and nodes == (1, 1)):
            fewest, most = nodes
            pods = workload.max_replicas
            if fewest > pods or most < pods:
                why = "waits for machines that never come" if fewest > pods else "turns the others away"
                yield WORLD.finding(
                    f"{named(workload)}: {command.container} is launched for {_span(nodes)} machines, and there are"
                    f" {pods} pods: it {why}",
                    near.resource,
                    subject=f"{subject} machines",
                )
        processes = _range(command.option("--nproc-per-node", "--nproc_per_node"))
        gpus = _gpus(containers.get(command.container, {}))
        if processes and gpus and processes[0] != gpus:
            yield WORLD.finding(
                f"{named(workload)}: {command.container} starts {processes[0]} processes and has {gpus} GPUs",
                near.resource,
                subject=f"{subject} processes",
            )


def _launches(command: Command) -> bool:
    launchers = (f"{TRAINING}.launch", "torch.distributed.run", "torch.distributed.launch")
    return command.words[:1] == ("torchrun",) or any(name in launchers for name in command.modules()[:1])


def _range(text: str | None) -> tuple[int, int] | None:
    """`4` or `2:8`; None for what is no number, such as `gpu` or a variable."""
    fewest, _, most = (text or "").partition(":")
    return (int(fewest), int(most or fewest)) if fewest.isdigit() and (not most or most.isdigit()) else None


def _span(nodes: tuple[int, int]) -> str:
    return str(nodes[0]) if nodes[0] == nodes[1] else f"{nodes[0]} to {nodes[1]}"


def _gpus(container: Mapping[str, Any]) -> int:
    return int(known(mapping(container, "resources.limits").get(GPU)) or 0)


# ---- priorities


def _priorities(view: View, workload: Workload, near: Object) -> Iterator[Finding]:
    label, pod = near.labels.get(PRIORITY), workload.spec.get("priorityClassName")
    for name, kind in ((label, "WorkloadPriorityClass"), (pod, "PriorityClass")):
        if not isinstance(name, str) or not name or name == UNKNOWN or name.startswith(_BUILT_IN):
            continue
        there = sorted(one.name for one in view.objects.in_cluster(near.cluster, kind))
        if name in there or UNKNOWN in there or any(mentions(r, name) for r in view.releases_in(near.cluster)):
            continue
        # Where a plan makes none, another project may; a queue of this plan has its priorities beside it.
        if there or (kind == "WorkloadPriorityClass" and view.objects.find(near, "LocalQueue", workload.queue)):
            yield PRIORITIES.finding(
                f"{workload.kind} {workload.name} has the {kind} {name!r}; there is {', '.join(there) or 'none'}",
                near.resource,
                subject=name,
            )
