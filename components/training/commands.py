"""The command lines of a training job: what starts its ranks, and what each rank is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.training.blueprints import GATHER_S, LAUNCH, METRICS, NODE, RENDEZVOUS, SSH, SSH_KEYS, processes
from components.training.pod import SCRATCH, Worker

OUTPUT = f"{SCRATCH}/run"
CACHE_SHARE = 0.5
"""Of the local disk, for shards of data; the rest is for checkpoints."""
MOST_RESTARTS = 1000
"""Of ranks, by an elastic gang's torchrun: each time a machine is lost is one. Of pods, the runtime has the limit."""

OWN_SETTINGS = ("checkpoint.remote", "tracking.prometheus_port", "data.source")
"""Settings that follow from the component's arguments."""

HOSTS = "/etc/mpi/hostfile"
"""Where Trainer tells the launcher who takes part (pkg/constants: MPIHostfileDir)."""


@dataclass(frozen=True)
class Training:
    """What a rank is told."""

    config: str
    settings: Mapping[str, str]
    checkpoints: pulumi.Input[str]
    """URL of the place in the object store."""
    data: pulumi.Input[str] = ""
    """URL of prepared tokens; "": Python's standard library."""

    def module(self, worker: Worker) -> list[pulumi.Input[str]]:
        """`-m` and all that follows."""
        settings = {"data.cache_limit_gib": f"{CACHE_SHARE * worker.scratch_gib:g}", **self.settings}
        return [
            *("-m", "workloads.training", "--config", self.config, "--output", OUTPUT),
            *(("--data", self.data) if self.data else ()),
            *("--checkpoint.remote", self.checkpoints, "--tracking.prometheus_port", str(METRICS)),
            *(word for name, value in sorted(settings.items()) for word in (f"--{name}", value)),
        ]


def torchrun(
    job: str, worker: Worker, training: Training, nodes: tuple[int, int]
) -> tuple[list[str], list[pulumi.Input[str]]]:
    """Command and arguments of each pod of a gang of `nodes`, (fewest, most).

    A gang of fixed size finds together by what Trainer tells each pod (PET_NODE_RANK, PET_MASTER_ADDR and _PORT), and
    never starts a rank again: the whole gang starts again. An elastic one meets at its first pod, and whenever one is
    lost or comes back, those that are there start their ranks anew from what is saved.
    """
    fewest, most = nodes
    ranks = ["--nproc-per-node", str(processes(worker))]
    if fewest == most:
        launch = ["--nnodes", str(most), *ranks, "--max-restarts", "0", "--rdzv-conf", f"timeout={GATHER_S}"]
    else:
        launch = [
            *("--nnodes", f"{fewest}:{most}", *ranks, "--max-restarts", str(MOST_RESTARTS)),
            *("--rdzv-backend", "c10d", "--rdzv-id", job),
            *("--rdzv-endpoint", f"{job}-{NODE}-0-0.{job}:{RENDEZVOUS}"),
            *("--rdzv-conf", f"join_timeout={GATHER_S}"),
        ]
    return LAUNCH, [*launch, *training.module(worker)]


def horovodrun(worker: Worker, training: Training, nodes: int) -> tuple[list[str], list[pulumi.Input[str]]]:
    """Command and arguments of the launcher, which reaches the nodes by ssh with the job's own keys."""
    launch = [
        *("--gloo", "-np", str(nodes * processes(worker)), "--hostfile", HOSTS),
        *("--ssh-port", str(SSH), "--ssh-identity-file", f"{SSH_KEYS}/id_rsa"),
        "python",
    ]
    return ["horovodrun"], [*launch, *training.module(worker)]
