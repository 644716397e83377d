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

from components.inference import tensorflow_config as config
from components.inference.pod import DRAIN_S, REPOSITORY, Server, pod_template
from components.labels import ACCELERATOR

GRPC, REST = 8500, 8501
CONTAINER = "tensorflow-serving"
_USABLE_GPU_MEMORY = 0.9
"""Of a GPU that several pods share; the rest is for their CUDA contexts."""


@dataclass(frozen=True)
class Flags:
    """What TensorFlow Serving is started with, beside its files."""

    image: str
    models: Sequence[config.SavedModel]
    files: Mapping[str, str]
    """File -> content, of the ConfigMap."""
    timeout_s: int
    gpus: int
    pods_per_gpu: int


def tensorflow_template(server: Server, flags: Flags, config_map: str) -> dict[str, Any]:
    """The template of an inference pod (identity, security, fetch, node pool) with another server in it."""
    template = pod_template(server)
    spec = template["spec"]
    (other,) = spec["containers"]
    kept = [volume for volume in spec["volumes"] if volume["name"] in ("models", "scratch")]
    on_cpu = {} if flags.gpus else _without_accelerator(spec)
    resources = other["resources"] if flags.gpus else spec["init_containers"][0]["resources"]
    return {
        "metadata": {
            **template["metadata"],
            # Files are read once, when the server starts: others want other pods.
            "annotations": {"checksum/config": _digest(flags.files)},
        },
        "spec": {
            **spec,
            **on_cpu,
            "termination_grace_period_seconds": DRAIN_S + flags.timeout_s + 10,
            "containers": [_container(server, flags, other["security_context"], resources)],
            "volumes": [*kept, {"name": "config", "config_map": {"name": config_map}}],
        },
    }


def _without_accelerator(spec: Mapping[str, Any]) -> dict[str, Any]:
    """For pools without accelerators, whose nodes have neither its label nor its taint."""
    selector = {key: value for key, value in spec["node_selector"].items() if key != ACCELERATOR}
    return {"node_selector": selector, "tolerations": []}


def _container(
    server: Server, flags: Flags, security_context: Mapping[str, Any], resources: Mapping[str, Any]
) -> dict[str, Any]:
    first = flags.models[0]
    answers = {"http_get": {"path": f"/v1/models/{first.name}/versions/{first.versions[0]}", "port": "rest"}}
    return {
        "name": CONTAINER,
        "image": flags.image,
        "image_pull_policy": "IfNotPresent",
        # Not the image's own script, which names a model of its own.
        "command": ["tensorflow_model_server"],
        "args": _arguments(flags),
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
        "security_context": dict(security_context),
        "resources": dict(resources),
        "volume_mounts": [
            {"name": "models", "mount_path": REPOSITORY, "read_only": True},
            {"name": "config", "mount_path": config.DIRECTORY, "read_only": True},
            {"name": "scratch", "mount_path": "/tmp"},
        ],
    }


def _arguments(flags: Flags) -> list[str]:
    found = [
        f"--port={GRPC}",
        f"--rest_api_port={REST}",
        f"--model_config_file={config.DIRECTORY}/{config.MODELS}",
        f"--monitoring_config_file={config.DIRECTORY}/{config.MONITORING}",
        f"--rest_api_timeout_in_ms={flags.timeout_s * 1000}",
        # Once: what was fetched never changes.
        "--file_system_poll_wait_seconds=0",
        # What doesn't load at first, verified as it is, doesn't load later.
        "--max_num_load_retries=0",
        # Requests that were exported with the model are replayed before it counts as loaded.
        "--enable_model_warmup=true",
        "--enable_grpc_healthcheck_service=true",
    ]
    if config.BATCHING in flags.files:
        found += ["--enable_batching=true", f"--batching_parameters_file={config.DIRECTORY}/{config.BATCHING}"]
    if any(model.labels for model in flags.models):
        found.append("--allow_version_labels_for_unavailable_models=true")
    if flags.gpus and flags.pods_per_gpu > 1:
        # By itself each takes all of the GPU's memory, and the second finds none.
        found.append(f"--per_process_gpu_memory_fraction={_USABLE_GPU_MEMORY / flags.pods_per_gpu:.3f}")
    return found


def _digest(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]
