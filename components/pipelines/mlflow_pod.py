"""The pods of MLflow: the server, and the one that brings its database's tables to the server's version."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pulumi

from components.inference.pod import container_security, mebibytes, restricted
from components.labels import PURPOSE
from components.pipelines import database_pod
from components.pipelines.database import Login

PORT = 5000
HEALTH = "/health"
"""Answers without the database, and to any Host header (mlflow 3.17.2, mlflow/server/security_utils.py)."""
_SCRATCH_GIB = 4.0
"""Parts of artifacts on their way through the server, and metrics of its processes."""
_GRACE_S = 60


@dataclass(frozen=True, kw_only=True)
class Server:
    """All that the pods depend on."""

    name: str
    namespace: str
    labels: dict[str, str]
    image: str
    login: Login
    artifacts: pulumi.Input[str]
    cloud: str
    region: str
    cpu: float
    memory_gib: float
    workers: int

    @property
    def hosts(self) -> list[str]:
        """As whom the server may be asked: its Service's names, the pod itself (for who scrapes it), and a tunnel of
        `kubectl port-forward`. Anything else is refused, as what a strange page in a browser would ask."""
        within = f"{self.name}.{self.namespace}"
        names = [
            self.name,
            within,
            f"{within}.svc",
            f"{within}.svc.cluster.local",
            "$(POD_IP)",
            "localhost",
            "127.0.0.1",
        ]
        return [host for one in names for host in (one, f"{one}:{PORT}")]


def server_template(server: Server) -> dict[str, Any]:
    """A PodTemplateSpec that the "restricted" pod security standard accepts."""
    labels = {**server.labels, **component("server")}
    answers = {"http_get": {"path": HEALTH, "port": "http"}}
    container = {
        **_container(server, "mlflow"),
        "args": [
            *("server", "--host", "0.0.0.0", "--port", str(PORT), "--workers", str(server.workers)),
            *("--serve-artifacts", "--artifacts-destination", server.artifacts),
            *("--allowed-hosts", ",".join(server.hosts)),
            *("--expose-prometheus", "/tmp/metrics"),
        ],
        "ports": [{"name": "http", "container_port": PORT, "protocol": "TCP"}],
        # A first start imports for half a minute.
        "startup_probe": {**answers, "period_seconds": 5, "failure_threshold": 36},
        "readiness_probe": {**answers, "period_seconds": 5, "timeout_seconds": 3, "failure_threshold": 3},
        "liveness_probe": {**answers, "period_seconds": 10, "timeout_seconds": 5, "failure_threshold": 6},
        # Until every node has heard that requests go elsewhere.
        "lifecycle": {"pre_stop": {"sleep": {"seconds": 10}}},
    }
    spread = [
        {
            "topology_key": key,
            "max_skew": 1,
            "when_unsatisfiable": "ScheduleAnyway",
            "label_selector": {"match_labels": labels},
            "match_label_keys": ["pod-template-hash"],
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]
    return {
        "metadata": {"labels": labels},
        "spec": {
            **_pod(server),
            "termination_grace_period_seconds": _GRACE_S,
            "topology_spread_constraints": spread,
            "containers": [container],
        },
    }


def migration(server: Server) -> tuple[str, dict[str, Any]]:
    """Name and JobSpec of what makes the tables, or changes them for a newer version, before any server looks at them.

    The name goes with the image: another image is another Job.
    """
    labels = {**server.labels, **component("migration")}
    container = {**_container(server, "upgrade"), "args": ["db", "upgrade", "$(MLFLOW_BACKEND_STORE_URI)"]}
    template = {
        "metadata": {"labels": labels},
        "spec": {**_pod(server), "restart_policy": "Never", "containers": [container]},
    }
    digest = hashlib.sha256(server.image.encode()).hexdigest()[:8]
    return f"{server.name}-upgrade-{digest}", {
        "template": template,
        "backoff_limit": 3,
        "active_deadline_seconds": 1800,
    }


def component(what: str) -> dict[str, str]:
    """Label that tells the server's pods from the migration's, which answers no request."""
    return {"app.kubernetes.io/component": what}


def _pod(server: Server) -> dict[str, Any]:
    return {
        "service_account_name": server.name,
        **restricted(),
        # Beside the add-ons: neither a GPU's machine nor one that goes when nobody trains.
        "node_selector": {PURPOSE: "system"},
        "init_containers": [
            database_pod.side_container(server.image, server.login.arguments, _region(server)),
        ],
        "volumes": [
            database_pod.VOLUME,
            {"name": "tmp", "empty_dir": {"size_limit": mebibytes(_SCRATCH_GIB)}},
        ],
    }


def _container(server: Server, name: str) -> dict[str, Any]:
    bounded = {"memory": mebibytes(server.memory_gib), "ephemeral-storage": mebibytes(_SCRATCH_GIB + 1)}
    return {
        "name": name,
        "image": server.image,
        "image_pull_policy": "IfNotPresent",
        "command": ["mlflow"],
        "env": [
            {"name": "POD_IP", "value_from": {"field_ref": {"field_path": "status.podIP"}}},
            {"name": "HOME", "value": "/tmp"},
            # No secret: the password is in the file that libpq reads.
            {"name": "MLFLOW_BACKEND_STORE_URI", "value": server.login.uri()},
            # Evaluations and optimizers that the server would start itself, with code of whoever asks.
            {"name": "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "value": "false"},
            {"name": "MLFLOW_DISABLE_TELEMETRY", "value": "true"},
            # A connection that a failover or a rotated password has cut is not handed out again for long.
            {"name": "MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE", "value": "600"},
            *database_pod.ENVIRONMENT,
            *_region(server),
        ],
        "security_context": container_security(),
        "resources": {"requests": {"cpu": f"{round(server.cpu * 1000)}m", **bounded}, "limits": bounded},
        "volume_mounts": [database_pod.MOUNT, {"name": "tmp", "mount_path": "/tmp"}],
    }


def _region(server: Server) -> list[dict[str, Any]]:
    # boto3 knows this name alone.
    return [{"name": "AWS_DEFAULT_REGION", "value": server.region}] if server.cloud == "aws" else []
