"""Which machines a pod may be on: the labels that nodes have, what selects them, and the taints that keep pods away.

As the scheduler decides it (https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/), but for one
thing: what a plan doesn't know never keeps a pod away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from components.accelerators import CATALOG as ACCELERATORS
from components.accelerators import CpuMachine, MachineType
from components.labels import COMPUTE_CLASS
from planner.inventory.model import CATALOG, Rung, Taint
from planner.inventory.objects import maps
from planner.inventory.references import items, mapping
from planner.plan import UNKNOWN

ZONE = "topology.kubernetes.io/zone"
HOSTNAME = "kubernetes.io/hostname"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"

Machine = MachineType | CpuMachine | str
"""A machine of the catalog, or the name of one that it doesn't have; empty where the plan doesn't tell."""

Labels = Mapping[str, str]
"""A node's labels; an empty value stands for one that nobody knows before the node is there."""

_SELF_MADE = {
    "aws": {"karpenter.sh", "karpenter.k8s.aws", "eks.amazonaws.com", "vpc.amazonaws.com", "topology.k8s.aws",
            "topology.ebs.csi.aws.com", "node.k8s.amazonaws.com", "k8s.io", "feature.node.kubernetes.io"},
    "gcp": {"cloud.google.com", "networking.gke.io", "topology.gke.io", "iam.gke.io", "addon.gke.io", "node.gke.io",
            "feature.node.kubernetes.io"},
}  # fmt: skip
"""Domains of labels that nodes have by themselves: more of them than are known here."""
_SOME_HAVE = re.compile(
    r"cloud\.google\.com/(compute-class|machine-family|gke-(nodepool|accelerator.*|spot|flex-start|preemptible|tpu-.*"
    r"|gpu-.*|max-shared-clients-per-gpu|ephemeral-storage-local-ssd|local-nvme-ssd|confidential-nodes|sandbox|queued))"
    r"|karpenter\.sh/.*|eks\.amazonaws\.com/(nodegroup|capacityType)"
    r"|karpenter\.k8s\.aws/(instance-(gpu|accelerator|local-nvme).*|capacity-reservation.*)"
)
"""Of those, the labels that say what some nodes are: where `node_labels` has none, the node has none."""


@dataclass(frozen=True)
class Reason:
    """One thing for which a machine doesn't take a pod."""

    kind: str
    """machine, class, label, taint or resource."""
    text: str
    """Follows on the name of a pool and a colon."""


@dataclass(frozen=True)
class Node:
    """A machine that a rung may bring."""

    machine: Machine
    labels: Labels
    rung: Rung

    def label(self, key: str) -> str | None:
        """Its value, None where the node doesn't have it, empty where it has one that nobody knows."""
        if key in self.labels:
            return self.labels[key]
        domain = key.partition("/")[0]
        if domain == "nvidia.com":  # from GPU feature discovery
            return "" if isinstance(self.machine, str) or _vendor(self.machine) == "nvidia" else None
        return "" if domain in _SELF_MADE.get(self.rung.cloud, ()) and not _SOME_HAVE.fullmatch(key) else None

    def has(self, key: str) -> str:
        """What to say of its label, and of the other nodes of its rung."""
        value = self.label(key)
        several = {ZONE: self.rung.zones, INSTANCE_TYPE: self.rung.machine_types}.get(key) or (value,)
        return "it has none" if value is None else f"it has {', '.join(str(one or 'some') for one in several)}"


def machines(rung: Rung) -> tuple[Machine, ...]:
    """The machines that a rung may have; one of unknown type where the plan doesn't tell."""
    return tuple(CATALOG.get((rung.cloud, name), name) for name in rung.machine_types) or ("",)


def nodes(rung: Rung) -> Iterator[Node]:
    """One node for each machine type and zone that the rung may bring."""
    for machine, zone in product(machines(rung), rung.zones or ("",)):
        yield Node(machine, node_labels(rung, machine, zone), rung)


def node_labels(rung: Rung, machine: Machine, zone: str = "") -> dict[str, str]:
    """Labels of a node: those that Kubernetes, the cloud and device discovery give, and the pool's own.

    https://kubernetes.io/docs/reference/labels-annotations-taints/, https://karpenter.sh/docs/concepts/scheduling/,
    https://cloud.google.com/kubernetes-engine/docs/concepts/node-labels; as remembered.
    """
    name = machine if isinstance(machine, str) else machine.name
    region = rung.region.partition(":")[2]
    found = {
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": _architecture(rung.cloud, name),
        HOSTNAME: "",
        INSTANCE_TYPE: name,
        "beta.kubernetes.io/instance-type": name,
        "topology.kubernetes.io/region": region,
        "failure-domain.beta.kubernetes.io/region": region,
        ZONE: zone,
        "failure-domain.beta.kubernetes.io/zone": zone,
        ("topology.gke.io/zone" if rung.cloud == "gcp" else "topology.ebs.csi.aws.com/zone"): zone,  # of the CSI driver
    }
    found |= {"eks": _eks, "karpenter": _karpenter, "gke": _gke}[rung.manager](rung, machine)
    return {**found, **rung.labels}


def _eks(rung: Rung, _: Machine) -> dict[str, str]:
    market = {"spot": "SPOT", "capacity-block": "CAPACITY_BLOCK"}.get(rung.kind, "ON_DEMAND")
    # A group without a name of its own gets one from Pulumi.
    return {"eks.amazonaws.com/nodegroup": "", "eks.amazonaws.com/capacityType": market}


def _karpenter(rung: Rung, machine: Machine) -> dict[str, str]:
    # A NodePool that may have spot machines may have others as well.
    market = {"spot": "", "on-demand": "on-demand"}.get(rung.kind, "reserved")
    found = {"karpenter.sh/nodepool": rung.name, "karpenter.sh/capacity-type": market}
    if isinstance(machine, str):
        return found
    family, _, size = machine.name.partition(".")
    found |= {"karpenter.k8s.aws/instance-family": family, "karpenter.k8s.aws/instance-size": size}
    found |= {"karpenter.k8s.aws/instance-cpu": str(machine.vcpus)}
    found |= {"karpenter.k8s.aws/instance-memory": str(machine.memory_gib * 1024)}
    if isinstance(machine, MachineType):
        vendor = _vendor(machine)
        kind = "gpu" if vendor == "nvidia" else "accelerator"
        found |= {f"karpenter.k8s.aws/instance-{kind}-count": str(machine.count)}
        found |= {f"karpenter.k8s.aws/instance-{kind}-{key}": "" for key in ("name", "memory")}
        found |= {f"karpenter.k8s.aws/instance-{kind}-manufacturer": vendor}
        if machine.local_nvme_gib:
            found |= {"karpenter.k8s.aws/instance-local-nvme": ""}
    return found


def _gke(rung: Rung, machine: Machine) -> dict[str, str]:
    prefix = "cloud.google.com"
    found = {f"{prefix}/gke-nodepool": rung.name, f"{prefix}/gke-provisioning": ""}
    name = machine if isinstance(machine, str) else machine.name
    found[f"{prefix}/machine-family"] = name.partition("-")[0]
    if rung.kind == "spot":
        found |= {f"{prefix}/gke-spot": "true", f"{prefix}/gke-provisioning": "spot"}
    if rung.kind == "flex-start":
        found |= {f"{prefix}/gke-flex-start": "true"}
    if rung.local_nvme_raid:
        found |= {f"{prefix}/gke-ephemeral-storage-local-ssd": "true"}
    if isinstance(machine, MachineType):
        kind = machine.gke_accelerator or ACCELERATORS[machine.accelerator].gke_accelerator
        if _vendor(machine) == "google":
            found |= {f"{prefix}/gke-tpu-accelerator": kind, f"{prefix}/gke-tpu-topology": ""}
        else:
            found |= {f"{prefix}/gke-accelerator": kind, f"{prefix}/gke-accelerator-count": str(machine.count)}
            found |= {f"{prefix}/gke-gpu-driver-version": ""}
        if rung.mig_profile:
            found |= {f"{prefix}/gke-gpu-partition-size": rung.mig_profile}
        if rung.gpu_replicas > 1:
            found |= {f"{prefix}/gke-max-shared-clients-per-gpu": str(rung.gpu_replicas)}
            found |= {f"{prefix}/gke-gpu-sharing-strategy": "time-sharing"}
    elif isinstance(machine, str):
        found |= {
            f"{prefix}/gke-{key}": "" for key in ("accelerator", "accelerator-count", "tpu-accelerator", "tpu-topology")
        }
    return found


def _vendor(machine: Machine) -> str:
    return ACCELERATORS[machine.accelerator].vendor if isinstance(machine, MachineType) else ""


def _architecture(cloud: str, name: str) -> str:
    """arm64 for Graviton and Axion, unknown without a name."""
    if not name:
        return ""
    arm = r"[a-z]+\d+g[a-z]*\..*|a1\..*" if cloud == "aws" else r"(t2a|c4a|n4a)-.*"
    # g5g is Graviton with a GPU; a4x and the like have Grace.
    return "arm64" if re.fullmatch(arm + r"|g5g\..*|p6e-.*|a4x-.*", name) else "amd64"


# ---- selectors


def selected(node: Node, spec: Mapping[str, Any], also: Sequence[Mapping[str, Any]] = ()) -> list[Reason]:
    """What of a pod's node selector and required node affinity, and of further node selectors, a node doesn't meet."""
    reasons = [
        Reason("label", _wanted(key, "In", [value], node.has(key)))
        for key, value in mapping(spec.get("nodeSelector")).items()
        if not _holds("In", [value], node.label(key))
    ]
    required = mapping(spec, "affinity.nodeAffinity").get("requiredDuringSchedulingIgnoredDuringExecution")
    for selector in (required, *also):
        reasons += _unmet(node, mapping(selector))
    return reasons


def _unmet(node: Node, selector: Mapping[str, Any]) -> list[Reason]:
    """Nothing where one of the terms is met, else what the nearest term lacks."""
    nearest: list[Reason] | None = None
    for term in maps(selector, "nodeSelectorTerms"):
        unmet = []
        for one in maps(term, "matchExpressions"):
            key, operator, values = str(one.get("key")), str(one.get("operator")), items(one, "values")
            if not _holds(operator, values, node.label(key)):
                unmet.append(Reason("label", _wanted(key, operator, values, node.has(key))))
        if nearest is None or len(unmet) < len(nearest):
            nearest = unmet
    return nearest or []


def _holds(operator: str, values: Sequence[Any], there: str | None) -> bool:
    if there == "" or UNKNOWN in (there, *values):
        return True
    match operator:
        case "In":
            return there in values
        case "NotIn":
            return there not in values
        case "Exists":
            return there is not None
        case "DoesNotExist":
            return there is None
        case "Gt" | "Lt":
            try:
                here, limit = int(there or ""), int(values[0])
            except (ValueError, IndexError):
                return False
            return here > limit if operator == "Gt" else here < limit
    return True


def _wanted(key: str, operator: str, values: Sequence[Any], has: str) -> str:
    listed = ", ".join(map(str, values))
    match operator:
        case "In":
            among = listed if len(values) == 1 else f"({listed})"
            return f"the pod needs label {key}={among}, {has}"
        case "NotIn":
            return f"the pod refuses label {key}={listed}, {has}"
        case "DoesNotExist":
            return f"the pod refuses label {key}, {has}"
        case "Gt" | "Lt":
            return f"the pod needs label {key} {'above' if operator == 'Gt' else 'below'} {listed}, {has}"
    return f"the pod needs label {key}, {has}"


# ---- taints


def untolerated(rung: Rung, spec: Mapping[str, Any], resources: Sequence[str] = ()) -> list[Reason]:
    """The taints of a rung's nodes that keep a pod away. `resources` are what the pod asks for, by name."""
    tolerations = [*maps(spec, "tolerations"), *admitted(rung, spec, resources)]
    return [
        Reason("taint", f"its taint {taint.key}={taint.value}:{taint.effect} is not tolerated")
        for taint in rung.taints
        if taint.key
        and taint.effect in ("NoSchedule", "NoExecute")
        and not any(tolerates(t, taint) for t in tolerations)
    ]


def admitted(rung: Rung, spec: Mapping[str, Any], resources: Sequence[str]) -> list[dict[str, str]]:
    """Tolerations that a cluster gives to pods by itself: GKE's for the accelerators and the class that a pod asks for.

    https://cloud.google.com/kubernetes-engine/docs/how-to/gpus (ExtendedResourceToleration) and
    .../concepts/about-custom-compute-classes, as remembered. EKS has neither.
    """
    if rung.manager != "gke":
        return []
    found = [{"key": name, "operator": "Exists"} for name in resources if "/" in name]
    if COMPUTE_CLASS in mapping(spec.get("nodeSelector")):
        found.append({"key": COMPUTE_CLASS, "operator": "Exists"})
    return found


def tolerates(toleration: Mapping[str, Any], taint: Taint) -> bool:
    """Whether a toleration lets a pod onto nodes with a taint.

    https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
    """
    key, operator = toleration.get("key") or "", toleration.get("operator") or "Equal"
    if toleration.get("effect") not in (None, "", taint.effect, UNKNOWN):
        return False
    if operator == "Exists":
        return key in ("", taint.key, UNKNOWN)
    return key in (taint.key, UNKNOWN) and (toleration.get("value") or "") in (taint.value, UNKNOWN)
