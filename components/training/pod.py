"""The pod of a rank of training, whoever starts it: its place, storage, devices and fabric, as nobody in particular."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi

from components.accelerators import CATALOG, MachineType, best_machine, machine_type
from components.labels import ACCELERATOR, ACCELERATOR_TAINTS
from components.storage.volumes import OWNER
from components.training.fabric import NONE, FabricNeeds, needs

SCRATCH = "/scratch"
"""Local NVMe: what a run writes, and its cache of shards."""

GRACE_VARIABLE = "TRAINING_GRACE_S"
"""What `workloads.training.preemption` reads: seconds from SIGTERM to SIGKILL."""

REGION_VARIABLES = {"aws": "AWS_REGION", "gcp": ""}
"""Environment variable that tells the object store's client its region; "" where it needs none."""

TMP_GIB = 16.0
"""Compiled kernels (torch.compile, Triton) and sockets."""
LOGS_GIB = 4.0
SHARED_MEMORY_SHARE = 0.5
"""Of the pod's memory, at most: checkpoints are copied into it before they are written, loaders hand over batches."""

_READ_ONLY_TIERS = ("cold",)
"""Through a mounted bucket nothing is written: checkpoints go to the object store by its own API."""


@dataclass(frozen=True)
class Worker:
    """One pod of training and its share of a machine.

    `accelerator` is a key of the catalog, "" for none; `accelerators` is how many; `machine_type` the machine where it
    matters (the fabric goes by it), "" for the catalog's best. `claims`: tier -> PersistentVolumeClaim, mounted at
    `/mnt/<tier>`. `cpu`, `memory_gib` and `scratch_gib` are for each container that `container` makes.
    """

    image: str
    service_account: str
    cloud: str
    region: str
    accelerator: str = ""
    accelerators: int = 0
    fabric: bool = False
    claims: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    grace_s: int = 120
    cpu: float = 1.0
    memory_gib: float = 4.0
    scratch_gib: float = 20.0
    machine_type: str = ""
    huge_pages: bool = False
    """Ask for the machine's huge pages for EFA: of static pools only, since Karpenter starts no machine for them."""

    @property
    def machine(self) -> MachineType | None:
        """The machine that it is made for; None without accelerators. Raises ValueError where there is none."""
        if not self.accelerator:
            return None
        if self.machine_type:
            return machine_type(self.cloud, self.machine_type)
        return best_machine(self.accelerator, self.cloud, self.region, self.accelerators)

    @property
    def needs(self) -> FabricNeeds:
        machine = self.machine
        if not self.fabric or machine is None:
            return NONE
        return needs(machine, self.accelerators, huge_pages=self.huge_pages)


def pod_annotations(worker: Worker) -> dict[str, str]:
    """Annotations that the pod's template needs beside its spec."""
    return {**claim_annotations(worker), **worker.needs.annotations}


def pod_spec(
    worker: Worker, containers: Sequence[Mapping[str, Any]], init_containers: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """A PodSpec in Kubernetes' spelling, around containers made by `container`.

    No pool, and of tolerations just the accelerator's own: the rest comes with the flavor that Kueue admits it to. The
    fabric's side containers start before `init_containers`, which may use it too.
    """
    return {
        "serviceAccountName": worker.service_account,
        # Cloud credentials come from the node's agent, and nothing in the pod asks the Kubernetes API.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": worker.grace_s,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": OWNER,
            "runAsGroup": OWNER,
            "fsGroup": OWNER,
            # Walking through a file system of millions of files would take longer than training.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **_placement(worker),
        "initContainers": [*worker.needs.sidecars, *init_containers],
        "containers": list(containers),
        "volumes": [*volumes(worker), *(dict(volume) for volume in worker.needs.volumes)],
    }


def container(
    worker: Worker,
    name: str,
    command: Sequence[str],
    args: Sequence[pulumi.Input[str]],
    env: Sequence[Mapping[str, Any]] = (),
    ports: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """A container with all that the worker has: devices, fabric, storage. `ports`: name -> number."""
    return {
        "name": name,
        "image": worker.image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        "args": list(args),
        "env": [*environment(worker), *env],
        **({"ports": [_port(key, number) for key, number in ports.items()]} if ports else {}),
        "resources": resources(worker),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # A failed container's last words become its status, so that one command tells why a gang ended.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(worker),
    }


def environment(worker: Worker) -> list[dict[str, Any]]:
    """Environment of every container of the worker; names that it has are not to be given again."""
    region = REGION_VARIABLES[worker.cloud]
    return [
        {"name": GRACE_VARIABLE, "value": str(worker.grace_s)},
        # In a pod the host's name is the pod's; reports and the health gate name the node.
        {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "HOME", "value": "/tmp"},
        *([{"name": region, "value": worker.region}] if region else []),
        *({"name": name, "value": value} for name, value in {**_driver(worker), **worker.needs.env}.items()),
    ]


def resources(worker: Worker) -> dict[str, Any]:
    """Requests equal limits, but for the CPU: cores next door that are idle may prepare data."""
    bounded = {
        "memory": mebibytes(worker.memory_gib),
        "ephemeral-storage": mebibytes(worker.scratch_gib + TMP_GIB + LOGS_GIB),
        **({CATALOG[worker.accelerator].kubernetes_resource: str(worker.accelerators)} if worker.accelerator else {}),
        **worker.needs.resources,
    }
    return {"requests": {"cpu": f"{round(worker.cpu * 1000)}m", **bounded}, "limits": bounded}


def mebibytes(gib: float) -> str:
    """GiB as a Kubernetes quantity, rounded up."""
    return f"{math.ceil(gib * 1024)}Mi"


def _placement(worker: Worker) -> dict[str, Any]:
    if not worker.accelerator:
        return {}
    key = CATALOG[worker.accelerator].kubernetes_resource
    taint = {"key": key, "operator": "Equal", "value": ACCELERATOR_TAINTS[key], "effect": "NoSchedule"}
    return {"nodeSelector": {ACCELERATOR: worker.accelerator}, "tolerations": [taint]}


def _driver(worker: Worker) -> dict[str, str]:
    """GKE puts the driver's libraries where only NVIDIA's own images look for them.
    https://cloud.google.com/kubernetes-engine/docs/how-to/gpus#cuda"""
    on_gke = worker.cloud == "gcp" and worker.accelerator
    return {"LD_LIBRARY_PATH": "/usr/local/nvidia/lib64"} if on_gke else {}


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def volumes(worker: Worker) -> list[dict[str, Any]]:
    """A worker's own, the fabric's aside. The pools mount local NVMe where the kubelet keeps its pods' directories, so
    an emptyDir is on it."""
    shared = mebibytes(worker.memory_gib * SHARED_MEMORY_SHARE)
    return [
        {"name": "scratch", "emptyDir": {"sizeLimit": mebibytes(worker.scratch_gib)}},
        {"name": "tmp", "emptyDir": {"sizeLimit": mebibytes(TMP_GIB)}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": shared}},
        *(
            {"name": tier, "persistentVolumeClaim": {"claimName": claim}}
            for tier, claim in sorted(worker.claims.items())
        ),
    ]


def claim_annotations(worker: Worker) -> dict[str, str]:
    """What a pod that mounts the tiers is annotated with (TieredStorage)."""
    return {"gke-gcsfuse/volumes": "true"} if worker.cloud == "gcp" and "cold" in worker.claims else {}


def claim_mounts(worker: Worker) -> list[dict[str, Any]]:
    """Where the tiers are mounted."""
    return [
        {"name": tier, "mountPath": f"/mnt/{tier}", **({"readOnly": True} if tier in _READ_ONLY_TIERS else {})}
        for tier in sorted(worker.claims)
    ]


def _mounts(worker: Worker) -> list[dict[str, Any]]:
    return [
        {"name": "scratch", "mountPath": SCRATCH},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shared-memory", "mountPath": "/dev/shm"},
        *claim_mounts(worker),
        *(dict(mount) for mount in worker.needs.mounts),
    ]
