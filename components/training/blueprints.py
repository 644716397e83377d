"""What a ClusterTrainingRuntime says: the JobSet of a gang, who is told what, and what happens when a pod fails.

Trainer 2.4 lets a TrainJob change little of it: the image, command, resources and environment of the container `node`,
and of other containers the environment, mounts and security context (pkg/apis/trainer/v1alpha1/trainjob_types.go,
PodSpecPatch and ContainerPatch). So what differs between machines, such as the health gate's devices and the fabric's
side containers, and between fixed and elastic gangs, such as the failure policy, makes a runtime of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.training.fabric import TRANSPORTS
from components.training.pod import Worker, container, pod_annotations, pod_spec

API_VERSION = "trainer.kubeflow.org/v1alpha1"

NODE = "node"
"""Name of the replicated job and of its container that Trainer puts the job's command into (pkg/constants)."""
GATE = "health"
LAUNCHER = "launcher"

METRICS = 9400
"""Port of a rank's metrics; its name is `metrics`."""
RENDEZVOUS = 29400
"""Where an elastic gang meets. 29500 is Trainer's (PET_MASTER_PORT)."""
GATE_PORT = 29401
"""Where the gate meets: with a port of its own no gate of a pod that came back alone disturbs who is training."""
SSH = 2222
SSH_KEYS = "/etc/mpi-ssh"

GATHER_S = 1800
"""Until all pods of a gang have come; after it Kueue takes their machines back too (GpuCluster, waitForPodsReady)."""
GATE_TIMEOUT_S = 600

STOPPED = (75, 76)
"""workloads.training: told to stop, and left with everything saved, or too late for that. To be run again."""
MENDED_BY_A_PERSON = (2, 3, 6)
"""workloads.training: wrong arguments, data that is not there or not the same, diverged. No restart helps."""
WRONG_ARGUMENTS = 2


def fixed(worker: Worker, max_restarts: int, minimum_gbps: float) -> dict[str, Any]:
    """Spec of the runtime of a gang that runs whole or not at all: when one of it fails, all of it starts again."""
    arguments = [
        *("--nproc-per-node", str(processes(worker)), "--max-restarts", "0"),
        *("--master-port", str(GATE_PORT), "--rdzv-conf", f"timeout={GATHER_S}"),
    ]
    job = {"backoffLimit": 0, "podFailurePolicy": pod_failure_policy()}
    return {
        "mlPolicy": {
            "numNodes": 1,
            # How many the gang are, which of them it is and where the first one is, for the gate as for training.
            "torch": {"envInjection": {"targets": [{"jobName": NODE, "containerNames": [GATE]}]}},
        },
        "template": {
            "spec": {
                **_network(),
                "failurePolicy": failure_policy(max_restarts),
                "replicatedJobs": [
                    _job(NODE, job, worker, [_gate(worker, arguments, minimum_gbps, networked=True)], [_node(worker)])
                ],
            }
        },
    }


def elastic(worker: Worker, max_restarts: int) -> dict[str, Any]:
    """Spec of the runtime of a gang that goes on with fewer: a pod that is lost is replaced alone.

    Each pod's gate tries its own machine only, since those it would measure the network with are training.
    """
    arguments = ["--standalone", "--nproc-per-node", str(processes(worker)), "--max-restarts", "0"]
    job = {
        "backoffLimitPerIndex": max_restarts,
        "maxFailedIndexes": 0,
        "podFailurePolicy": pod_failure_policy(),
        # All ranks finish at the same step. Whoever was on the way back then has nobody left to join.
        "successPolicy": {"rules": [{"succeededCount": 1}]},
    }
    return {
        "mlPolicy": {"numNodes": 1, "torch": {}},
        "template": {
            "spec": {
                **_network(),
                "failurePolicy": failure_policy(0),
                "replicatedJobs": [
                    _job(NODE, job, worker, [_gate(worker, arguments, 0.0, networked=False)], [_node(worker)])
                ],
            }
        },
    }


def mpi(worker: Worker, max_restarts: int) -> dict[str, Any]:
    """Spec of the runtime for horovodrun and mpirun: a launcher that trains too, and nodes that it reaches by ssh.

    sshd runs as nobody in particular, on a port that needs no right, with the keys that Trainer makes for the job.
    """
    options = {
        "Port": str(SSH),
        "HostKey": f"{SSH_KEYS}/id_rsa",
        "AuthorizedKeysFile": f"{SSH_KEYS}/authorized_keys",
        # Kubernetes mounts secrets as directories that the group may write.
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PidFile": "none",
    }
    server = [*("-D", "-e", "-f", "/dev/null"), *(word for k, v in options.items() for word in ("-o", f"{k}={v}"))]
    listening = {"tcpSocket": {"port": SSH}, "periodSeconds": 5}
    node = {**container(worker, NODE, ["/usr/sbin/sshd"], server, ports={"ssh": SSH}), "readinessProbe": listening}
    job = {"backoffLimit": 0, "podFailurePolicy": pod_failure_policy(gate=False)}
    launcher = _job(LAUNCHER, job, worker, [], [_node(worker)])
    return {
        "mlPolicy": {
            "numNodes": 1,
            "mpi": {
                "numProcPerNode": processes(worker),
                "mpiImplementation": "OpenMPI",
                "sshAuthMountPath": SSH_KEYS,
                "runLauncherAsNode": True,
            },
        },
        "template": {
            "spec": {
                **_network(),
                "failurePolicy": failure_policy(max_restarts),
                # Nodes would wait for their launcher for ever.
                "successPolicy": {"operator": "All", "targetReplicatedJobs": [LAUNCHER]},
                "replicatedJobs": [
                    _job(NODE, {"backoffLimit": 0}, worker, [], [node], trains=False),
                    {**launcher, "dependsOn": [{"name": NODE, "status": "Ready"}]},
                ],
            }
        },
    }


def processes(worker: Worker) -> int:
    """Ranks in each pod: one for each accelerator."""
    return max(1, worker.accelerators)


def failure_policy(max_restarts: int) -> dict[str, Any]:
    """Of the JobSet: start all again so many times, once the old pods are gone, unless it would end the same way."""
    return {
        "maxRestarts": max_restarts,
        "restartStrategy": "BlockingRecreate",
        "rules": [{"name": "mendedByAPerson", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}],
    }


def pod_failure_policy(*, gate: bool = True) -> dict[str, Any]:
    """Of the Job: which ends of pods are no failures (they are replaced and not counted), and which are final."""

    def ended(action: str, name: str, codes: Sequence[int]) -> dict[str, Any]:
        return {
            "action": action,
            "onExitCodes": {"containerName": name, "operator": "In", "values": list(codes)},
        }

    return {
        "rules": [
            # Evicted, preempted, or its machine is gone.
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ended("Ignore", NODE, STOPPED),
            ended("FailJob", NODE, MENDED_BY_A_PERSON),
            *([ended("Ignore", GATE, STOPPED), ended("FailJob", GATE, [WRONG_ARGUMENTS])] if gate else []),
        ]
    }


def _network() -> dict[str, Any]:
    # A pod whose gate waits for the others is not ready, and has to be found all the same.
    return {"network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True}}


def _job(
    name: str,
    job: dict[str, Any],
    worker: Worker,
    init_containers: Sequence[dict[str, Any]],
    containers: Sequence[dict[str, Any]],
    *,
    trains: bool = True,
) -> dict[str, Any]:
    spec = pod_spec(worker, containers, init_containers)
    spec.pop("serviceAccountName")  # the job's
    annotations = pod_annotations(worker)
    metadata = {"metadata": {"annotations": annotations}} if annotations else {}
    label = {"metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}}} if trains else {}
    return {
        "name": name,
        "replicas": 1,
        "template": {
            **label,
            "spec": {"completionMode": "Indexed", **job, "template": {**metadata, "spec": spec}},
        },
    }


def _node(worker: Worker) -> dict[str, Any]:
    """What a job that says nothing else runs: the workload's own words on how to."""
    arguments = ["--standalone", "-m", "workloads.training", "--help"]
    return container(worker, NODE, LAUNCH, arguments, ports={"metrics": METRICS})


LAUNCH = ["python", "-m", "workloads.training.launch"]


def _gate(worker: Worker, launch: Sequence[str], minimum_gbps: float, *, networked: bool) -> dict[str, Any]:
    """The node health gate: one all-reduce, over the whole gang or within the machine, before training starts.

    Its ranks have the devices, the fabric and the environment that training gets after them. The table that it prints,
    with the reasons, is what the failed container's status shows.
    """
    machine = worker.machine
    expected = ["nccl" if worker.accelerator else "gloo"]
    if worker.fabric and machine is not None and networked:
        expected.append(TRANSPORTS[machine.fabric.kind])
    arguments = [
        *launch,
        *("-m", "workloads.training.health"),
        *(word for transport in expected for word in ("--expect-transport", transport)),
        *("--minimum-gbps", f"{minimum_gbps:g}", "--timeout-s", str(GATE_TIMEOUT_S)),
    ]
    return container(worker, GATE, LAUNCH, arguments)
