"""The pod of an inference server: fetch and verify the models, then serve them, as nobody in particular."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components.inference.clouds import CLOUDS
from components.inference.device import Device
from components.inference.startup import StartupProbe
from components.inference.traffic import GRPC, HTTP, METRICS
from components.labels import ACCELERATOR, ACCELERATOR_TAINTS, COMPUTE_CLASS, POOL, PURPOSE

REPOSITORY = "/models"
MIRROR = "/weights"
"""Where a claim is mounted that has the repository's models."""

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
_SHARED_MEMORY_GIB_PER_RANK = 2.0
"""Where a model goes over several GPUs, a process each: NCCL's buffers and the engine's queues lie in /dev/shm. NCCL's
guide has 1 GB for a container (as remembered); twice that for each process, not measured."""
_REPOSITORY_MARGIN = 1.1
TRACED = 100
"""One request out of so many is traced, of those that come without a trace. Which are kept, the collectors decide."""
_RESTRICTED_APIS = "model-repository,shared-memory,trace,logging"


@dataclass(frozen=True)
class Model:
    """One model version to serve."""

    name: str
    version: int
    size_gib: float
    gpus: int = 1
    """GPUs that share each of its matrices."""
    device_gib: float = 0.0
    """GiB of memory that it takes on each of its GPUs."""
    group: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


@dataclass(frozen=True)
class Machines:
    """Which machines pods are for."""

    device: Device
    resource: str
    """What pods ask for of them, such as `nvidia.com/gpu`."""
    node_pool: str = ""
    """Empty: any serving pool with the accelerator."""

    def placed(self) -> dict[str, Any]:
        """The part of a pod's spec that brings it there."""
        by_pool = {POOL: self.node_pool} if self.node_pool else {}
        if self.node_pool and self.device.cloud == "gcp":
            by_pool[COMPUTE_CLASS] = self.node_pool
        return {
            "node_selector": {
                ACCELERATOR: self.device.accelerator,
                PURPOSE: "serving",
                **by_pool,
                **self.device.selector,
            },
            "tolerations": [
                {
                    "key": self.resource,
                    "operator": "Equal",
                    "value": ACCELERATOR_TAINTS[self.resource],
                    "effect": "NoSchedule",
                }
            ],
        }


@dataclass(frozen=True)
class Server:
    """All that the pod depends on."""

    labels: dict[str, str]
    service_account: str
    image: str
    models: Sequence[Model]
    source: pulumi.Input[str]
    claim: str
    """Claim that has the models; empty: they come from `source`."""
    region: str
    machines: Machines
    gpus: int
    cpu: float
    memory_gib: float
    startup: StartupProbe
    otlp_endpoint: pulumi.Input[str] = ""
    """Where it sends spans; empty: nowhere."""


def restricted() -> dict[str, Any]:
    """What the "restricted" pod security standard wants of a pod's spec, and no token for the cluster besides."""
    return {
        # Cloud credentials come from the node's agent, and nothing in the pod asks the Kubernetes API.
        "automount_service_account_token": False,
        "enable_service_links": False,
        "security_context": {
            "run_as_non_root": True,
            "run_as_user": _USER,
            "run_as_group": _USER,
            "fs_group": _USER,
            "seccomp_profile": {"type": "RuntimeDefault"},
        },
    }


def pod_template(server: Server) -> dict[str, Any]:
    """A Kubernetes PodTemplateSpec that the "restricted" pod security standard accepts: a GPU needs no privilege."""
    return {
        "metadata": {"labels": server.labels},
        "spec": {
            "service_account_name": server.service_account,
            **_restricted(server),
            "termination_grace_period_seconds": GRACE_S,
            **server.machines.placed(),
            "topology_spread_constraints": [_spread(server, key) for key in _SPREAD_OVER],
            "init_containers": [_fetch(server)],
            "containers": [_triton(server)],
            "volumes": _volumes(server),
        },
    }


def _restricted(server: Server) -> dict[str, Any]:
    found = restricted()
    if server.claim:
        # The root of the claim belongs to the pods' group already (components.storage.volumes); to go through all of
        # its files for each pod would take longer than to read them.
        found["security_context"]["fs_group_change_policy"] = "OnRootMismatch"
    return found


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
    """Before the server starts the models are on local disk, verified; nothing looks at their source afterwards."""
    source = f"file://{MIRROR}" if server.claim else server.source
    mirror = [{"name": "weights", "mount_path": MIRROR, "read_only": True}] if server.claim else []
    return {
        "name": "fetch",
        "image": server.image,
        "image_pull_policy": "IfNotPresent",
        "command": ["python3", "-m", "workloads.serving", "fetch"],
        "args": ["--source", source, "--destination", REPOSITORY, *model_arguments(server.models)],
        "env": region_environment(server.machines.device.cloud, server.region),
        "security_context": container_security(),
        # What the server will have anyway: a pod is scheduled for the larger of the two.
        "resources": resources(server),
        "volume_mounts": [
            {"name": "models", "mount_path": REPOSITORY},
            {"name": "scratch", "mount_path": "/tmp"},
            *mirror,
        ],
    }


def region_environment(cloud: str, region: str) -> list[dict[str, str]]:
    """The environment by which a client library of the cloud learns its region."""
    variable = CLOUDS[cloud].region_variable
    return [{"name": variable, "value": region}] if variable else []


def _triton(server: Server) -> dict[str, Any]:
    # One httpGet sees one model, and Triton's own readiness also counts models that were loaded by hand.
    ready = {
        "exec_": {"command": ["python3", "-m", "workloads.serving", "ready", *model_arguments(server.models)]},
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
            *_tracing(server),
        ],
        "env": [
            {"name": "POD_UID", "value_from": {"field_ref": {"field_path": "metadata.uid"}}},
            {"name": "HOME", "value": "/tmp"},
            *_told_of_tracing(server),
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
        "security_context": container_security(),
        "resources": resources(server, gpus=server.gpus),
        "volume_mounts": [
            {"name": "models", "mount_path": REPOSITORY, "read_only": True},
            {"name": "scratch", "mount_path": "/tmp"},
            {"name": "shared-memory", "mount_path": "/dev/shm"},
        ],
    }


def _told_of_tracing(server: Server) -> list[dict[str, Any]]:
    """What the Python models in the server go by (workloads.telemetry.traces)."""
    if server.otlp_endpoint == "":
        return []
    return [
        {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": server.otlp_endpoint},
        {"name": "OTEL_TRACES_SAMPLER", "value": "parentbased_traceidratio"},
        {"name": "OTEL_TRACES_SAMPLER_ARG", "value": f"{1 / TRACED:g}"},
    ]


def _tracing(server: Server) -> list[pulumi.Input[str]]:
    """As workloads.serving.tracing has it for a server that it starts (tests/components/test_inference.py compares).
    https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/trace.html"""
    if server.otlp_endpoint == "":
        return []
    return [
        "--trace-config=mode=opentelemetry",
        pulumi.Output.concat("--trace-config=opentelemetry,url=", server.otlp_endpoint, "/v1/traces"),
        f"--trace-config=opentelemetry,resource=service.name={server.labels['app.kubernetes.io/instance']}",
        "--trace-config=level=TIMESTAMPS",
        f"--trace-config=rate={TRACED}",
    ]


def model_arguments(models: Sequence[Model]) -> list[str]:
    """The models, as the serving workload's commands take them."""
    return [argument for model in models for argument in ("--model", str(model))]


def container_security() -> dict[str, Any]:
    """What the "restricted" pod security standard wants of a container, and a root file system that nothing changes."""
    return {
        "allow_privilege_escalation": False,
        "read_only_root_filesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _repository_gib(server: Server) -> float:
    return sum(model.size_gib for model in server.models) * _REPOSITORY_MARGIN + 0.1


def resources(server: Server, gpus: int = 0) -> dict[str, Any]:
    """Requests equal limits, but for the CPU: throttling would cost latency while cores next door are idle."""
    bounded = {
        "memory": mebibytes(server.memory_gib),
        "ephemeral-storage": mebibytes(_repository_gib(server) + _SCRATCH_GIB + _LOGS_GIB),
        **({server.machines.resource: str(gpus)} if gpus else {}),
    }
    return {"requests": {"cpu": f"{round(server.cpu * 1000)}m", **bounded}, "limits": bounded}


def _volumes(server: Server) -> list[dict[str, Any]]:
    """The pools mount local NVMe where the kubelet keeps its pods' directories, so an emptyDir is on it."""
    ranks = max(model.gpus for model in server.models)
    each = _SHARED_MEMORY_GIB_PER_RANK if ranks > 1 else _SHARED_MEMORY_GIB_PER_GPU
    volumes: list[dict[str, Any]] = [
        {"name": "models", "empty_dir": {"size_limit": mebibytes(_repository_gib(server))}},
        {"name": "scratch", "empty_dir": {"size_limit": mebibytes(_SCRATCH_GIB)}},
        {"name": "shared-memory", "empty_dir": {"medium": "Memory", "size_limit": mebibytes(each * server.gpus)}},
    ]
    if server.claim:
        volumes.append({"name": "weights", "persistent_volume_claim": {"claim_name": server.claim, "read_only": True}})
    return volumes


def mebibytes(gib: float) -> str:
    """GiB as a Kubernetes quantity, rounded up."""
    return f"{math.ceil(gib * 1024)}Mi"
