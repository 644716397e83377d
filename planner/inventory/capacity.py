"""What a machine of a rung has for pods, what a pod asks for, and so: does it fit, and how many to a machine.

Sources, read on 2026-11-22 unless said otherwise:

- EKS: nodeadm of amazon-eks-ami (nodeadm/internal/kubelet/config.go: kube-reserved, hard eviction) and
  karpenter-provider-aws (pkg/providers/instancetype/types.go: the same, and the memory a machine never sees).
- GKE: https://cloud.google.com/kubernetes-engine/docs/concepts/plan-node-sizes, whose sample node (4 CPUs, 16 GiB,
  100 GB disk) has 3920m, 13498416Ki and 47060071478 bytes left; a test holds `allocatable` to it.
- DAEMONS: remembered, and on the safe side.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from components.accelerators import CATALOG as ACCELERATORS
from components.accelerators import MachineType
from planner.inventory.model import Rung, Workload
from planner.inventory.objects import maps, selects
from planner.inventory.quantity import GIB, MIB, known, text
from planner.inventory.references import mapping
from planner.inventory.scheduling import HOSTNAME, Machine, Reason, machines, nodes, selected, untolerated

Amounts = Mapping[str, Fraction]
"""Kubernetes resource -> amount in its unit: cores, bytes, devices, pods."""

VM_OVERHEAD = {"aws": Fraction("0.075"), "gcp": Fraction("0.027")}
"""Share of a machine's memory that its kernel and hypervisor keep. AWS: what Karpenter reckons with by default
(settings.vmMemoryOverheadPercent), so it starts no smaller machine; really it is less. GCP: of GKE's sample node."""

DAEMONS: Mapping[str, Amounts] = {
    "aws": {"cpu": Fraction("0.35"), "memory": Fraction(600 * MIB), "pods": Fraction(10)},
    "gcp": {"cpu": Fraction("0.45"), "memory": Fraction(800 * MIB), "pods": Fraction(12)},
}
"""What the pods of every node ask for: network, proxy, storage and metrics agents, device plugins. Remembered."""

MODELLED = frozenset(
    {"nvidia.com/gpu", "amd.com/gpu", "google.com/tpu", "aws.amazon.com/neuron", "aws.amazon.com/neuroncore",
     "vpc.amazonaws.com/efa"}
)  # fmt: skip
"""Devices of which it is known which machines have them; of others nothing is said."""

_EVICTION = Fraction(100 * MIB)
_NEURON_CORES = 8
"""NeuronCores of a Trainium2. https://awsdocs-neuron.readthedocs-hosted.com, as remembered."""
_ACCELERATED = {
    "aws": re.compile(r"(p|g|inf|trn|dl|vt|f)\d.*"),
    "gcp": re.compile(r"(a\d|g\d|ct\d|tpu|n1).*"),
}
"""Machine families that have, or may be given, accelerators."""


class _Node(NamedTuple):
    """What of a rung decides what its machines have; as in Rung."""

    cloud: str
    max_pods: int | None
    local_nvme_raid: bool
    disk_gib: int | None
    fabric_interfaces: int
    mig_profile: str
    gpu_replicas: int


def allocatable(rung: Rung, machine: Machine, mig_strategy: str = "single") -> dict[str, Fraction]:
    """What a machine of a rung has for the pods of people, by Kubernetes resource: without what kubelet, kernel,
    eviction and the daemons of every node keep.

    A resource that is not there is one of which nothing is known. `mig_strategy` is the device plugin's: with `single`
    a MIG partition counts as one `nvidia.com/gpu`, with `mixed` as `nvidia.com/mig-<profile>`. GKE has only `single`.
    """
    node = _Node(*(getattr(rung, name) for name in _Node._fields))
    return dict(_allocatable(node, machine, mig_strategy))


@lru_cache(maxsize=4096)  # asked for each pod template and rung
def _allocatable(rung: _Node, machine: Machine, mig_strategy: str) -> dict[str, Fraction]:
    if isinstance(machine, str):
        plain = machine and rung.cloud in _ACCELERATED and not _ACCELERATED[rung.cloud].fullmatch(machine)
        return dict.fromkeys(MODELLED - {"vpc.amazonaws.com/efa"}, Fraction(0)) if plain else {}
    pods = rung.max_pods or (110 if rung.cloud == "gcp" or machine.vcpus < 30 else 250)
    memory = machine.memory_gib * GIB * (1 - VM_OVERHEAD[rung.cloud])
    reserve = _gke_memory(machine.memory_gib) if rung.cloud == "gcp" else Fraction((11 * pods + 255) * MIB)
    found = {
        "cpu": machine.vcpus - _cpu_reserve(machine.vcpus, pods if rung.cloud == "gcp" else 0),
        "memory": memory - reserve - _EVICTION,
        "pods": Fraction(pods),
    }
    found = {name: max(Fraction(0), amount - DAEMONS[rung.cloud][name]) for name, amount in found.items()}
    storage = _ephemeral_storage(rung, machine)
    if storage is not None:
        found["ephemeral-storage"] = storage
    return {**dict.fromkeys(MODELLED, Fraction(0)), **found, **_devices(rung, machine, mig_strategy)}


def _cpu_reserve(vcpus: int, gke_pods: int) -> Fraction:
    """6 % of the first core, 1 % of the next, 0.5 % of the next two, 0.25 % of the rest; the same on both clouds. GKE
    keeps 400m more for more than 110 pods."""
    kept = Fraction(0)
    for start, end, share in ((0, 1, "0.06"), (1, 2, "0.01"), (2, 4, "0.005"), (4, vcpus, "0.0025")):
        kept += max(0, min(vcpus, end) - start) * Fraction(share)
    return kept + (Fraction("0.4") if gke_pods > 110 else 0)


def _gke_memory(gib: int) -> Fraction:
    """25 % of the first 4 GiB, 20 % of the next 4, 10 % of the next 8, 6 % of the next 112, 2 % of the rest."""
    kept = Fraction(0)
    for start, end, share in ((0, 4, "0.25"), (4, 8, "0.2"), (8, 16, "0.1"), (16, 128, "0.06"), (128, gib, "0.02")):
        kept += max(0, min(gib, end) - start) * Fraction(share)
    return kept * GIB


def _ephemeral_storage(rung: _Node, machine: Machine) -> Fraction | None:
    """Disk for emptyDir volumes, logs and writable layers; None where the plan doesn't tell the disk."""
    local = machine.local_nvme_gib if rung.local_nvme_raid and isinstance(machine, MachineType) else 0
    size = local or rung.disk_gib
    if size is None:
        return None
    if rung.cloud == "aws":
        return max(Fraction(0), size * GIB * Fraction("0.9") - GIB)
    if local:
        kept = Fraction({1: 50, 2: 75}.get(local // 375, 100))
    else:
        kept = min(size * Fraction("0.5"), size * Fraction("0.35") + 6, Fraction(100))
    # A file system is 6 % smaller than its disk (the sample node).
    return max(Fraction(0), (size * Fraction("0.84") - kept) * GIB)


def _devices(rung: _Node, machine: Machine, mig_strategy: str) -> dict[str, Fraction]:
    found = {"vpc.amazonaws.com/efa": Fraction(rung.fabric_interfaces if rung.cloud == "aws" else 0)}
    if not isinstance(machine, MachineType):
        return found
    accelerator = ACCELERATORS[machine.accelerator]
    name, count = accelerator.kubernetes_resource, machine.count
    if rung.mig_profile in accelerator.mig_profiles:
        count *= accelerator.mig_partitions(rung.mig_profile)
        if mig_strategy == "mixed" and rung.cloud == "aws":
            name = f"nvidia.com/mig-{rung.mig_profile}"
    if name == "nvidia.com/gpu":
        count *= max(1, rung.gpu_replicas)
    found[name] = Fraction(count)
    if name == "aws.amazon.com/neuron":
        found["aws.amazon.com/neuroncore"] = Fraction(count * _NEURON_CORES)
    return found


def requests(spec: Mapping[str, Any]) -> dict[str, Fraction]:
    """What the scheduler reserves for a pod: the sum of its containers, or an init container's where that is more, and
    the runtime's overhead. What is unknown counts as nothing.

    https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers
    """
    sidecars: dict[str, Fraction] = {}
    most: dict[str, Fraction] = {}
    for container in maps(spec, "initContainers"):
        if container.get("restartPolicy") == "Always":
            sidecars = _sum(sidecars, _asked(container))
            most = _larger(most, sidecars)
        else:
            most = _larger(most, _sum(sidecars, _asked(container)))
    running = sidecars
    for container in maps(spec, "containers"):
        running = _sum(running, _asked(container))
    whole = {**_larger(most, running), **_asked(spec)}  # what the pod as a whole asks for is meant where it is given
    overhead = {name: amount for name, value in mapping(spec, "overhead").items() if (amount := known(value))}
    return {name: amount for name, amount in _sum(whole, overhead).items() if amount > 0}


def _asked(container: Mapping[str, Any]) -> dict[str, Fraction]:
    """A limit without a request is a request."""
    wanted = {**mapping(container, "resources.limits"), **mapping(container, "resources.requests")}
    return {name: amount for name, value in wanted.items() if (amount := known(value)) is not None}


def _sum(one: Amounts, other: Amounts) -> dict[str, Fraction]:
    return {name: one.get(name, Fraction(0)) + other.get(name, Fraction(0)) for name in {**one, **other}}


def _larger(one: Amounts, other: Amounts) -> dict[str, Fraction]:
    return {name: max(one.get(name, Fraction(0)), other.get(name, Fraction(0))) for name in {**one, **other}}


def fits(
    workload: Workload,
    rung: Rung,
    *,
    also: Sequence[Mapping[str, Any]] = (),
    taken: Amounts | None = None,
    mig_strategy: str = "single",
) -> list[Reason]:
    """Why no machine of a rung takes a pod of a workload: nothing where one does, else what the nearest machine lacks.

    `also` are further node selectors (`nodeSelectorTerms`) that must hold, such as a volume's; `taken` is what other
    pods of every node, a DaemonSet's, ask for on top of DAEMONS; `mig_strategy` as in `allocatable`.
    """
    if rung.max == 0:
        return [Reason("machine", "it has no machine even at its maximum")]
    wanted = requests(workload.spec)
    tainted = untolerated(rung, workload.spec, list(wanted))
    lacking: dict[Machine, list[Reason]] = {}
    nearest: list[Reason] | None = None
    for node in nodes(rung):
        if node.machine not in lacking:
            lacking[node.machine] = _lacking(rung, node.machine, wanted, taken or {}, mig_strategy)
        reasons = [*selected(node, workload.spec, also), *tainted, *lacking[node.machine]]
        if nearest is None or len(reasons) < len(nearest):
            nearest = reasons
        if not reasons:
            break
    return nearest or []


def _lacking(rung: Rung, machine: Machine, wanted: Amounts, taken: Amounts, mig_strategy: str) -> list[Reason]:
    there = _left(rung, machine, taken, mig_strategy)
    name = machine if isinstance(machine, str) else machine.name
    reasons = []
    for resource, amount in wanted.items():
        has = there.get(resource, Fraction(0) if resource.startswith("nvidia.com/mig-") and there else None)
        if has is None or amount <= has:
            continue
        after = "" if resource in MODELLED or "/" in resource else " for pods"
        hint = " (a partition counts as nvidia.com/gpu)" if rung.mig_profile and "/mig-" in resource else ""
        has_text = text(resource, has).partition(" ")[0] if "/" in resource else text(resource, has)
        reasons.append(
            Reason("resource", f"the pod needs {text(resource, amount)}, {name} has {has_text}{after}{hint}")
        )
    if rung.cloud == "gcp" and rung.gpu_replicas > 1 and wanted.get("nvidia.com/gpu", 0) > 1:
        reasons.append(Reason("resource", "the pod needs several GPUs, which GKE refuses where GPUs are time-shared"))
    return reasons


def _left(rung: Rung, machine: Machine, taken: Amounts, mig_strategy: str) -> dict[str, Fraction]:
    there = allocatable(rung, machine, mig_strategy)
    return {name: max(Fraction(0), amount - taken.get(name, Fraction(0))) for name, amount in there.items()}


def pods_per_machine(
    workload: Workload, rung: Rung, *, taken: Amounts | None = None, mig_strategy: str = "single"
) -> int | None:
    """How many pods of a workload the largest machine of a rung holds, if nothing else runs there: 0 where `fits` finds
    a reason, None where that cannot be told. `taken` and `mig_strategy` are as in `fits`."""
    if fits(workload, rung, taken=taken, mig_strategy=mig_strategy):
        return 0
    return room(workload, rung, taken=taken, mig_strategy=mig_strategy)


def room(workload: Workload, rung: Rung, *, taken: Amounts | None = None, mig_strategy: str = "single") -> int | None:
    """As `pods_per_machine`, of a rung that is known to take the workload."""
    if alone(workload):
        return 1
    wanted = {**requests(workload.spec), "pods": Fraction(1)}
    most = 0
    for machine in machines(rung):
        if isinstance(machine, str):
            return None
        there = _left(rung, machine, taken or {}, mig_strategy)
        most = max(most, min(there[name] // amount for name, amount in wanted.items() if name in there))
    return int(most)


def alone(workload: Workload) -> bool:
    """Whether no two pods of a workload may be on one machine: for a port of the host, or by their own wish."""
    spec = workload.spec
    ports = [port for container in maps(spec, "containers") for port in maps(container, "ports")]
    if any(port.get("hostPort") or (spec.get("hostNetwork") is True and port.get("containerPort")) for port in ports):
        return True
    return HOSTNAME in apart(workload)


def apart(workload: Workload) -> list[str]:
    """Topology keys of which a domain holds at most one pod of a workload, by its required anti-affinity to itself."""
    required = mapping(workload.spec, "affinity.podAntiAffinity").get("requiredDuringSchedulingIgnoredDuringExecution")
    return [str(t.get("topologyKey")) for t in maps({"terms": required}, "terms") if concerns(t, workload)]


def concerns(term: Mapping[str, Any], workload: Workload) -> bool:
    """Whether an affinity or spread term means the pods that bear it. Nobody can say it of unknown labels."""
    selector = term.get("labelSelector")
    here = term.get("namespaces") in (None, []) or workload.namespace in term["namespaces"]
    return isinstance(selector, Mapping) and bool(selector) and here and selects(selector, workload.labels)
