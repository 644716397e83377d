"""The pods of a Ray cluster as KubeRay makes them: a head that computes nothing, and workers with the accelerators.

KubeRay's own part (v1.7.0, ray-operator/controllers/ray/common/pod.go): the command `ray start`, health probes, an
init container that waits for the head and takes over the worker's security context, and the autoscaler beside the head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from components.security.traffic import namespace, ports
from components.training.blueprints import METRICS
from components.training.pod import Worker, container, pod_annotations, pod_spec, resources

API_VERSION = "ray.io/v1"
RAY_VERSION = "2.60.0"
"""Of the image's Ray (pyproject.toml, extra `ray`). KubeRay goes by it."""

OPERATOR_NAMESPACE = "kuberay-system"
"""Where GpuCluster installs the KubeRay operator, which submits jobs to the head's dashboard and watches them there."""
DASHBOARD = 8265
HEAD_PORTS = {"gcs-server": 6379, "dashboard": DASHBOARD, "client": 10001, "metrics": 8080}
"""KubeRay's names and numbers (controllers/ray/utils/constant.go)."""
WORKER_PORTS = {"metrics": 8080, "training": METRICS}
"""Ray's own metrics, and those of the run that the worker has."""
GROUP = "workers"

HEAD_CPU, HEAD_MEMORY_GIB, HEAD_SCRATCH_GIB = 2.0, 8.0, 8.0
"""Not measured: GCS, the dashboard, the autoscaler's share and the job's driver, which imports torch."""
OBJECT_STORE_BYTES = 512 * 2**20
"""Training puts nothing there; by default it would be 30 % of the memory that checkpoints are copied into."""

_ENVIRONMENT = [
    # A run gets SIGTERM when its Ray worker is gone, and saves (workloads.training.attached); Ray would kill it.
    {"name": "RAY_kill_child_processes_on_worker_exit", "value": "0"},
    {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
]
_STAYS = {
    # Without its head the cluster is gone: no machine is given up that has it.
    "karpenter.sh/do-not-disrupt": "true",
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
}


def cluster_spec(
    worker: Worker,
    labels: Mapping[str, str],
    size: tuple[int, int],
    head_env: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Spec of a RayCluster with `size`, (fewest, most), workers; Ray's autoscaler goes between the two.

    `labels`: of all its pods. The head has the account `<worker's>-head`, without a cloud identity.
    """
    fewest, most = size
    scales = fewest < most
    head = replace(
        worker,
        service_account=f"{worker.service_account}-head",
        accelerator="",
        accelerators=0,
        fabric=False,
        huge_pages=False,
        machine_type="",
        claims={},
        cpu=HEAD_CPU,
        memory_gib=HEAD_MEMORY_GIB,
        scratch_gib=HEAD_SCRATCH_GIB,
    )
    return {
        "rayVersion": RAY_VERSION,
        "enableInTreeAutoscaling": scales,
        **({"autoscalerOptions": _autoscaler(head)} if scales else {}),
        # Whoever reaches a port without the token, which KubeRay makes, is refused.
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            "rayStartParams": {
                "dashboard-host": "0.0.0.0",
                "num-cpus": "0",
                "object-store-memory": str(OBJECT_STORE_BYTES),
            },
            "template": {
                "metadata": {
                    "labels": {**labels, "app.kubernetes.io/component": "head"},
                    "annotations": {**pod_annotations(head), **_STAYS},
                },
                # The autoscaler asks the Kubernetes API, with rights that KubeRay gives to the head's account.
                "spec": {
                    **pod_spec(head, [_container(head, "ray-head", HEAD_PORTS, head_env)]),
                    "automountServiceAccountToken": scales,
                },
            },
        },
        "workerGroupSpecs": [
            {
                "groupName": GROUP,
                "replicas": fewest,
                "minReplicas": fewest,
                "maxReplicas": most,
                # A rank for each accelerator, and no other task beside it.
                "rayStartParams": {
                    "num-cpus": str(max(1, worker.accelerators)),
                    "object-store-memory": str(OBJECT_STORE_BYTES),
                },
                "template": {
                    "metadata": {
                        "labels": {**labels, "app.kubernetes.io/component": "worker"},
                        "annotations": pod_annotations(worker),
                    },
                    "spec": pod_spec(worker, [{**_container(worker, "ray-worker", WORKER_PORTS), **_leaving(worker)}]),
                },
            }
        ],
    }


def operator_policy(labels: Mapping[str, str]) -> dict[str, Any]:
    """Spec of the NetworkPolicy by which the operator reaches the head's dashboard; it is in another namespace."""
    return {
        "pod_selector": {"match_labels": {**labels, "app.kubernetes.io/component": "head"}},
        "policy_types": ["Ingress"],
        "ingress": [{"from_": [namespace(OPERATOR_NAMESPACE)], "ports": ports(DASHBOARD)}],
    }


def _container(
    worker: Worker, name: str, numbers: Mapping[str, int], env: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    made = container(worker, name, [], [], [*_ENVIRONMENT, *env], dict(numbers))
    # KubeRay's own; a command that is there, even an empty one, is put before it.
    del made["command"], made["args"]
    return made


def _leaving(worker: Worker) -> dict[str, Any]:
    """Before the pod is told to end, its runs are: `ray start` would take them down with it, unsaved."""
    within = ["--within", f"{worker.grace_s / 2:g}"]
    return {"lifecycle": {"preStop": {"exec": {"command": ["python", "-m", "workloads.training.ray_stop", *within]}}}}


def _autoscaler(head: Worker) -> dict[str, Any]:
    small = replace(head, cpu=0.5, memory_gib=1.0, scratch_gib=1.0)
    return {
        "version": "v2",
        # A worker that has just lost its run will have the next one.
        "idleTimeoutSeconds": 300,
        "imagePullPolicy": "IfNotPresent",
        "resources": resources(small),
        "env": [{"name": "HOME", "value": "/tmp"}],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        "securityContext": container(small, "autoscaler", [], [])["securityContext"],
    }
