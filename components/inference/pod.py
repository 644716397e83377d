"""The pod of an inference server: fetch and verify the models, then serve them, as nobody in particular."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components.inference.clouds import Cloud
from components.inference.startup import StartupProbe
from components.inference.traffic import GRPC, HTTP, METRICS
from components.labels import ACCELERATOR, ACCELERATOR_TAINTS, COMPUTE_CLASS, POOL, PURPOSE

REPOSITORY = "/models"

DRAIN_S = 30
"""Seconds that a pod goes on serving after it was told to end: until every load balancer has heard of it."""
EXIT_TIMEOUT_S = 60
"""Seconds that Triton then waits for requests under way."""
GRACE_S = DRAIN_S + EXIT_TIMEOUT_S + 10

_USER = 1000
"""`triton-server` in NVIDIA's images (triton-inference-server/server, build.py asserts it)."""
_SCRATCH_GIB = 2.0
_LOGS_GIB = 1.0
_SHARED_MEMORY_GIB_PER_GPU = 1.0
_REPOSITORY_MARGIN = 1.1
_RESTRICTED_APIS = "model-repository,shared-memory,trace,logging"


@dataclass(frozen=True)
class Model:
    """One model version to serve."""

    name: str
    version: int
    size_gib: float

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


@dataclass(frozen=True)
class Server:
    """All that the pod depends on."""

    labels: dict[str, str]
    service_account: str
    image: str
    models: Sequence[Model]
    source: pulumi.Input[str]
    cloud: Cloud
    region: str
    accelerator: str
    accelerator_resource: str
    gpus: int
    node_pool: str
    """Empty: any serving pool with the accelerator."""
    cpu: float
    memory_gib: float
    startup: StartupProbe


def pod_template(server: Server) -> dict[str, Any]:
    """A Kubernetes PodTemplateSpec that the "restricted" pod security standard accepts: a GPU needs no privilege."""
    return {
        "metadata": {"labels": server.labels},
        "spec": {
            "service_account_name": server.service_account,
            # Cloud credentials come from the node's agent, and nothing in the pod asks the Kubernetes API.
            "automount_service_account_token": False,
            "enable_service_links": False,
            "termination_grace_period_seconds": GRACE_S,
            "security_context": {
                "run_as_non_root": True,
                "run_as_user": _USER,
                "run_as_group": _USER,
                "fs_group": _USER,
                "seccomp_profile": {"type": "RuntimeDefault"},
            },
            "node_selector": {
                ACCELERATOR: server.accelerator,
                PURPOSE: "serving",
                **({POOL: server.node_pool} if server.node_pool else {}),
                **({COMPUTE_CLASS: server.node_pool} if server.node_pool and server.cloud == "gcp" else {}),
            },
            "tolerations": [
                {
                    "key": server.accelerator_resource,
                    "operator": "Equal",
                    "value": ACCELERATOR_TAINTS[server.accelerator_resource],
                    "effect": "NoSchedule",
                }
            ],
            "topology_spread_constraints": [_spread(server, key) for key in _SPREAD_OVER],
            "init_containers": [_fetch(server)],
            "containers": [_triton(server)],
            "volumes": _volumes(server),
        },
    }


_SPREAD_OVER = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")


def _spread(server: Server, key: str) -> dict[str, Any]:
    return {
        "topology_key": key,
        "max_skew": 1,
        # A wish and no condition: when one zone alone has the accelerator left, a replica there beats a pending one.
        "when_unsatisfiable": "ScheduleAnyway",
        "label_selector": {"match_labels": server.labels},
        "match_label_keys": ["pod-template-hash"],
    }


def _fetch(server: Server) -> dict[str, Any]:
    """Before the server starts the models are on local disk, verified; nothing looks at the object store afterwards."""
    return {
        "name": "fetch",
        "image": server.image,
        "image_pull_policy": "IfNotPresent",
        "command": ["python3", "-m", "workloads.serving", "fetch"],
        "args": ["--source", server.source, "--destination", REPOSITORY, *_model_arguments(server)],
        "env": [{"name": server.cloud.region_variable, "value": server.region}] if server.cloud.region_variable else [],
        "security_context": _security_context(),
        # What the server will have anyway: a pod is scheduled for the larger of the two.
        "resources": _resources(server),
        "volume_mounts": [
            {"name": "models", "mount_path": REPOSITORY},
            {"name": "scratch", "mount_path": "/tmp"},
        ],
    }


def _triton(server: Server) -> dict[str, Any]:
    # One httpGet sees one model, and Triton's own readiness also counts models that were loaded by hand.
    ready = {
        "exec_": {"command": ["python3", "-m", "workloads.serving", "ready", *_model_arguments(server)]},
        "timeout_seconds": 5,
    }
    return {
        "name": "triton",
        "image": server.image,
        "image_pull_policy": "IfNotPresent",
        "command": ["tritonserver"],
        "args": [
            f"--model-repository={REPOSITORY}",
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in sorted({model.name for model in server.models})),
            "--exit-on-error=true",
            "--strict-readiness=true",
            f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
            f"--http-port={HTTP}",
            f"--grpc-port={GRPC}",
            f"--metrics-port={METRICS}",
            "--allow-metrics=true",
            # With explicit control comes an API by which a caller loads code of its own. It, and others that no client
            # needs, want a header that only those know who may read the pod.
            f"--http-restricted-api={_RESTRICTED_APIS}:aicloud-admin=$(POD_UID)",
            f"--grpc-restricted-protocol={_RESTRICTED_APIS}:aicloud-admin=$(POD_UID)",
        ],
        "env": [
            {"name": "POD_UID", "value_from": {"field_ref": {"field_path": "metadata.uid"}}},
            {"name": "HOME", "value": "/tmp"},
        ],
        "ports": [
            {"name": "http", "container_port": HTTP, "protocol": "TCP"},
            {"name": "grpc", "container_port": GRPC, "protocol": "TCP"},
            {"name": "metrics", "container_port": METRICS, "protocol": "TCP"},
        ],
        "startup_probe": {
            **ready,
            "period_seconds": server.startup.period_seconds,
            "failure_threshold": server.startup.failure_threshold,
        },
        "readiness_probe": {**ready, "period_seconds": 5, "failure_threshold": 2},
        "liveness_probe": {
            "http_get": {"path": "/v2/health/live", "port": "http"},
            "period_seconds": 10,
            "timeout_seconds": 5,
            "failure_threshold": 6,
        },
        "lifecycle": {"pre_stop": {"sleep": {"seconds": DRAIN_S}}},
        "security_context": _security_context(),
        "resources": _resources(server, gpus=server.gpus),
        "volume_mounts": [
            {"name": "models", "mount_path": REPOSITORY, "read_only": True},
            {"name": "scratch", "mount_path": "/tmp"},
            {"name": "shared-memory", "mount_path": "/dev/shm"},
        ],
    }


def _model_arguments(server: Server) -> list[str]:
    return [argument for model in server.models for argument in ("--model", str(model))]


def _security_context() -> dict[str, Any]:
    return {
        "allow_privilege_escalation": False,
        "read_only_root_filesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _repository_gib(server: Server) -> float:
    return sum(model.size_gib for model in server.models) * _REPOSITORY_MARGIN + 0.1


def _resources(server: Server, gpus: int = 0) -> dict[str, Any]:
    """Requests equal limits, but for the CPU: throttling would cost latency while cores next door are idle."""
    bounded = {
        "memory": mebibytes(server.memory_gib),
        "ephemeral-storage": mebibytes(_repository_gib(server) + _SCRATCH_GIB + _LOGS_GIB),
        **({server.accelerator_resource: str(gpus)} if gpus else {}),
    }
    return {"requests": {"cpu": f"{round(server.cpu * 1000)}m", **bounded}, "limits": bounded}


def _volumes(server: Server) -> list[dict[str, Any]]:
    """The pools mount local NVMe where the kubelet keeps its pods' directories, so an emptyDir is on it."""
    shared_memory = _SHARED_MEMORY_GIB_PER_GPU * server.gpus
    return [
        {"name": "models", "empty_dir": {"size_limit": mebibytes(_repository_gib(server))}},
        {"name": "scratch", "empty_dir": {"size_limit": mebibytes(_SCRATCH_GIB)}},
        {"name": "shared-memory", "empty_dir": {"medium": "Memory", "size_limit": mebibytes(shared_memory)}},
    ]


def mebibytes(gib: float) -> str:
    """GiB as a Kubernetes quantity, rounded up."""
    return f"{math.ceil(gib * 1024)}Mi"
