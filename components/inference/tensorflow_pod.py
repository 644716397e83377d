"""The pod of TensorFlow Serving: fetch and verify SavedModels, then serve just these, as nobody in particular.

Flags: tensorflow/serving 2.20.0, tensorflow_serving/model_servers/main.cc. It listens only once every model that it is
configured with is loaded and warmed up (server.cc: ServerCore::Create goes first), so whatever answers is ready.
`GET /v1/models/NAME/versions/VERSION` answers 200 then, and 404 for a version that it doesn't have
(get_model_status_impl.cc).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components.inference import tensorflow_config as config
from components.inference.pod import (
    DRAIN_S,
    REPOSITORY,
    Model,
    container_security,
    mebibytes,
    model_arguments,
    region_environment,
    restricted,
)
from components.inference.startup import StartupProbe
from components.labels import COMPUTE_CLASS, POOL, PURPOSE

GRPC, REST = 8500, 8501
CONTAINER = "tensorflow-serving"
_SCRATCH_GIB, _LOGS_GIB = 1.0, 1.0
_REPOSITORY_MARGIN = 1.1
_USABLE_GPU_MEMORY = 0.9
"""Of a GPU that several pods share; the rest is for their CUDA contexts."""


@dataclass(frozen=True)
class Server:
    """All that the pod depends on."""

    labels: dict[str, str]
    service_account: str
    image: str
    fetch_image: str
    fetched: Sequence[Model]
    served: Sequence[config.SavedModel]
    source: pulumi.Input[str]
    cloud: str
    region: str
    placed: Mapping[str, Any]
    """The part of the pod's spec that brings it to its machines."""
    gpus: int
    pods_per_gpu: int
    cpu: float
    memory_gib: float
    startup: StartupProbe
    timeout_s: int
    config_map: str
    files: Mapping[str, str]
    """File -> content, of the ConfigMap."""


def on_cpus(node_pool: str, cloud: str) -> dict[str, Any]:
    """Serving pools without accelerators, whose nodes have neither its label nor its taint."""
    by_pool = {POOL: node_pool} if node_pool else {}
    if node_pool and cloud == "gcp":
        by_pool[COMPUTE_CLASS] = node_pool
    return {"node_selector": {PURPOSE: "serving", **by_pool}}


def tensorflow_template(server: Server) -> dict[str, Any]:
    """A Kubernetes PodTemplateSpec that the "restricted" pod security standard accepts."""
    return {
        "metadata": {
            "labels": server.labels,
            # Files are read once, when the server starts: others want other pods.
            "annotations": {"checksum/config": _digest(server.files)},
        },
        "spec": {
            "service_account_name": server.service_account,
            **restricted(),
            "termination_grace_period_seconds": DRAIN_S + server.timeout_s + 10,
            **server.placed,
            "topology_spread_constraints": [
                {
                    "topology_key": key,
                    "max_skew": 1,
                    # A wish and no condition: a replica in a full zone beats a pending one.
                    "when_unsatisfiable": "ScheduleAnyway",
                    "label_selector": {"match_labels": server.labels},
                    "match_label_keys": ["pod-template-hash"],
                }
                for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
            ],
            "init_containers": [_fetch(server)],
            "containers": [_container(server)],
            "volumes": [
                {"name": "models", "empty_dir": {"size_limit": mebibytes(_repository_gib(server))}},
                {"name": "scratch", "empty_dir": {"size_limit": mebibytes(_SCRATCH_GIB)}},
                {"name": "config", "config_map": {"name": server.config_map}},
            ],
        },
    }


def _repository_gib(server: Server) -> float:
    return sum(model.size_gib for model in server.fetched) * _REPOSITORY_MARGIN + 0.1


def _resources(server: Server, gpus: int = 0) -> dict[str, Any]:
    """Requests equal limits, but for the CPU: throttling would cost latency while cores next door are idle."""
    bounded = {
        "memory": mebibytes(server.memory_gib),
        "ephemeral-storage": mebibytes(_repository_gib(server) + _SCRATCH_GIB + _LOGS_GIB),
        **({"nvidia.com/gpu": str(gpus)} if gpus else {}),
    }
    return {"requests": {"cpu": f"{round(server.cpu * 1000)}m", **bounded}, "limits": bounded}


def _fetch(server: Server) -> dict[str, Any]:
    """As TritonInference's: before the server starts, its models are on local disk, verified."""
    return {
        "name": "fetch",
        "image": server.fetch_image,
        "image_pull_policy": "IfNotPresent",
        "command": ["python3", "-m", "workloads.serving", "fetch"],
        "args": ["--source", server.source, "--destination", REPOSITORY, *model_arguments(server.fetched)],
        "env": region_environment(server.cloud, server.region),
        "security_context": container_security(),
        "resources": _resources(server),
        "volume_mounts": [{"name": "models", "mount_path": REPOSITORY}, {"name": "scratch", "mount_path": "/tmp"}],
    }


def _container(server: Server) -> dict[str, Any]:
    first = server.served[0]
    answers = {"http_get": {"path": f"/v1/models/{first.name}/versions/{first.versions[0]}", "port": "rest"}}
    return {
        "name": CONTAINER,
        "image": server.image,
        "image_pull_policy": "IfNotPresent",
        # Not the image's own script, which names a model of its own.
        "command": ["tensorflow_model_server"],
        "args": _arguments(server),
        "env": [{"name": "HOME", "value": "/tmp"}],
        "ports": [
            {"name": "grpc", "container_port": GRPC, "protocol": "TCP"},
            {"name": "rest", "container_port": REST, "protocol": "TCP"},
        ],
        "startup_probe": {
            **answers,
            "period_seconds": server.startup.period_seconds,
            "failure_threshold": server.startup.failure_threshold,
        },
        "readiness_probe": {**answers, "period_seconds": 5, "timeout_seconds": 3, "failure_threshold": 2},
        "liveness_probe": {**answers, "period_seconds": 10, "timeout_seconds": 5, "failure_threshold": 6},
        # It ends at once when it is told to, so it is told only after every load balancer has heard of it.
        "lifecycle": {"pre_stop": {"sleep": {"seconds": DRAIN_S}}},
        "security_context": container_security(),
        "resources": _resources(server, server.gpus),
        "volume_mounts": [
            {"name": "models", "mount_path": REPOSITORY, "read_only": True},
            {"name": "config", "mount_path": config.DIRECTORY, "read_only": True},
            {"name": "scratch", "mount_path": "/tmp"},
        ],
    }


def _arguments(server: Server) -> list[str]:
    found = [
        f"--port={GRPC}",
        f"--rest_api_port={REST}",
        f"--model_config_file={config.DIRECTORY}/{config.MODELS}",
        f"--monitoring_config_file={config.DIRECTORY}/{config.MONITORING}",
        f"--rest_api_timeout_in_ms={server.timeout_s * 1000}",
        # Once: what was fetched never changes.
        "--file_system_poll_wait_seconds=0",
        # What doesn't load at first, verified as it is, doesn't load later.
        "--max_num_load_retries=0",
        # Requests that were exported with the model are replayed before it counts as loaded.
        "--enable_model_warmup=true",
        "--enable_grpc_healthcheck_service=true",
    ]
    if config.BATCHING in server.files:
        found += ["--enable_batching=true", f"--batching_parameters_file={config.DIRECTORY}/{config.BATCHING}"]
    if any(model.labels for model in server.served):
        found.append("--allow_version_labels_for_unavailable_models=true")
    if server.gpus and server.pods_per_gpu > 1:
        # By itself each takes all of the GPU's memory, and the second finds none.
        found.append(f"--per_process_gpu_memory_fraction={_USABLE_GPU_MEMORY / server.pods_per_gpu:.3f}")
    return found


def _digest(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]
