"""Helm values of Airflow: the official chart, with everything of state outside of it.

apache/airflow, chart 1.22.0 (released on 2026-06-13, for Airflow 3.2.2 unless told otherwise); the values were read in
its templates: `api-server-deployment.yaml`, `dag-processor-deployment.yaml`, `migrate-database-job.yaml` and
`pod-template-file.kubernetes-helm-yaml`. In Airflow 3 tasks ask the API server; the database is for the others alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components.cluster.charts import Chart
from components.labels import PURPOSE

CHART = Chart("airflow", "1.22.0", "https://airflow.apache.org")
API_PORT = 8080
STATSD_PORT = 9102
ACCOUNT, TASKS = "airflow", "airflow-tasks"
"""Service accounts: of Airflow's own processes, and of the tasks that they start."""
CONNECTION = "airflow-database"
"""Secret that the chart reads the database's address from; there is no password in it."""
USER = 50000
"""`airflow` in the official image."""


@dataclass(frozen=True, kw_only=True)
class Airflow:
    """What the values depend on."""

    repository: str
    tag: str
    digest: str
    version: str
    """Of Airflow in the image."""
    executor_namespace: str
    logs: pulumi.Input[str]
    """URL under which logs of tasks are kept."""
    replicas: int
    side_container: Mapping[str, Any]
    """Keeps the database's password fresh, in Kubernetes' spelling."""
    volume: Mapping[str, Any]
    mount: Mapping[str, Any]
    environment: Sequence[Mapping[str, Any]]


def values(airflow: Airflow) -> dict[str, Any]:
    """All that differs from the chart's own."""
    ready = [dict(airflow.side_container), _waiting(airflow)]
    image = {
        "repository": airflow.repository,
        **({"digest": airflow.digest} if airflow.digest else {"tag": airflow.tag}),
    }
    own: dict[str, Any] = {
        "serviceAccount": {"create": False, "name": ACCOUNT},
        "extraInitContainers": ready,
        # It comes before those above, without which it gets no password.
        "waitForMigrations": {"enabled": False},
        "extraVolumes": [dict(airflow.volume)],
        "extraVolumeMounts": [dict(airflow.mount)],
        "env": [dict(one) for one in airflow.environment],
    }
    bounded: dict[str, dict[str, Any]] = {
        name: {**own, "resources": _resources(cpu, memory)} for name, cpu, memory in _SIZES
    }
    budget = {"enabled": True, "config": {"maxUnavailable": 1}}
    bounded["scheduler"] |= {"replicas": airflow.replicas, "podDisruptionBudget": budget}
    bounded["apiServer"] |= {"replicas": airflow.replicas, "podDisruptionBudget": budget}
    bounded["triggerer"] |= {"persistence": {"enabled": False}}
    for name in ("scheduler", "dagProcessor", "triggerer"):
        bounded[name]["logGroomerSidecar"] = {"enabled": False}  # logs are in the bucket
    job = {key: value for key, value in own.items() if key not in ("waitForMigrations", "env", "extraInitContainers")}
    return {
        "airflowVersion": airflow.version,
        "images": {"airflow": image},
        "executor": "KubernetesExecutor",
        "postgresql": {"enabled": False},
        "redis": {"enabled": False},
        "data": {"metadataSecretName": CONNECTION},
        "nodeSelector": {PURPOSE: "system"},
        "securityContexts": _SECURITY,
        "rbac": {"create": True},
        # The chart makes the keys of sessions and tokens itself, anew with each release; Fernet's stays.
        **bounded,
        "migrateDatabaseJob": {
            **job,
            "extraInitContainers": [dict(airflow.side_container)],
            "env": own["env"],
            # As part of the release: hooks run once all else is ready, which waits for the tables.
            "useHelmHooks": False,
            "applyCustomEnv": False,
            "resources": _resources(0.2, 1.0),
        },
        # It would make the user admin, whose password is admin. `airflow users create` in a pod makes others.
        "createUserJob": {"enabled": False, "defaultUser": {"enabled": False}},
        "workers": {
            "serviceAccount": {"create": False, "name": TASKS},
            "resources": _resources(0.5, 2.0),
        },
        "statsd": {"enabled": True, "resources": _resources(0.1, 0.25)},
        "logs": {"persistence": {"enabled": False}},
        "dags": {"persistence": {"enabled": False}, "gitSync": {"enabled": False}},
        "config": {
            "core": {"load_examples": "False"},
            "logging": {"remote_logging": "True", "remote_base_log_folder": airflow.logs, "remote_log_conn_id": ""},
            "kubernetes_executor": {"namespace": airflow.executor_namespace, "delete_worker_pods_on_failure": "True"},
            "usage_data_collection": {"enabled": "False"},
        },
    }


_SIZES = (("scheduler", 0.5, 2.0), ("dagProcessor", 0.25, 1.0), ("apiServer", 0.5, 3.0), ("triggerer", 0.25, 1.0))
"""Process, cores and GiB: as the chart's own documentation has them for little use; not measured."""

_SECURITY = {
    "pod": {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": 0,
        "fsGroup": 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "containers": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}


def _waiting(airflow: Airflow) -> dict[str, Any]:
    """What the chart's own container does, after the one that gets the password."""
    image = f"{airflow.repository}@{airflow.digest}" if airflow.digest else f"{airflow.repository}:{airflow.tag}"
    connection = {"secretKeyRef": {"name": CONNECTION, "key": "connection"}}
    return {
        "name": "wait-for-tables",
        "image": image,
        "args": ["airflow", "db", "check-migrations", "--migration-wait-timeout=300"],
        "env": [
            {"name": "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "valueFrom": connection},
            *(dict(one) for one in airflow.environment),
        ],
        "securityContext": _SECURITY["containers"],
        "resources": _resources(0.1, 1.0),
        "volumeMounts": [dict(airflow.mount)],
    }


def _resources(cpu: float, memory_gib: float) -> dict[str, Any]:
    memory = f"{round(memory_gib * 1024)}Mi"
    return {"requests": {"cpu": f"{round(cpu * 1000)}m", "memory": memory}, "limits": {"memory": memory}}
