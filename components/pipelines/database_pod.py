"""What a pod needs to log in to its database: a side container that keeps libpq's password file fresh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from components.inference.pod import container_security


def spelled(spec: Any) -> Any:
    """A part of a typed resource as Kubernetes itself spells it, for a chart's values."""
    if isinstance(spec, Mapping):
        return {_camel(key): spelled(value) for key, value in spec.items()}
    return [spelled(item) for item in spec] if isinstance(spec, list | tuple) else spec


def _camel(key: str) -> str:
    first, *rest = key.rstrip("_").split("_")
    return first + "".join(word.title() for word in rest)


DIRECTORY = "/var/run/database"
PASSFILE = f"{DIRECTORY}/pgpass"
VOLUME = {"name": "database", "empty_dir": {"medium": "Memory", "size_limit": "1Mi"}}
MOUNT = {"name": "database", "mount_path": DIRECTORY, "read_only": True}
ENVIRONMENT = ({"name": "PGPASSFILE", "value": PASSFILE},)


def side_container(
    image: str, arguments: Sequence[pulumi.Input[str]], environment: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Starts before the others, which start once there is a password, and ends after them.

    It is an init container that goes on, so that a Job with it ends when its own work does.
    https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
    """
    bounded = {"memory": "192Mi", "ephemeral-storage": "64Mi"}
    return {
        "name": "database-login",
        "image": image,
        "image_pull_policy": "IfNotPresent",
        "restart_policy": "Always",
        "command": ["python", "-m", "workloads.database", "login"],
        "args": ["--passfile", PASSFILE, *arguments],
        "env": [{"name": "HOME", "value": "/tmp"}, *environment],
        "startup_probe": {
            "exec_": {"command": ["test", "-s", PASSFILE]},
            "period_seconds": 2,
            "failure_threshold": 60,
        },
        "security_context": container_security(),
        "resources": {"requests": {"cpu": "10m", **bounded}, "limits": bounded},
        "volume_mounts": [{"name": "database", "mount_path": DIRECTORY}],
    }
