"""The pods of Kubeflow Pipelines' backend: the server with its database and metadata, and the two that watch runs.

Read in kubeflow/pipelines at release-2.16 (2.16.1): manifests/kustomize/base/{pipeline,metadata,installs/generic},
third-party/mysql, backend/src/apiserver/{main,client_manager,common}, backend/src/v2/{config,objectstore,driver}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.inference.pod import container_security, restricted
from components.labels import PURPOSE

VERSION = "2.16.1"
"""Of Kubeflow Pipelines; the SDK's, which compiles what runs."""
IMAGES: Mapping[str, str] = {
    **{
        part: f"ghcr.io/kubeflow/kfp-{part}:{VERSION}"
        for part in ("api-server", "persistence-agent", "scheduled-workflow-controller", "driver", "launcher")
    },
    "metadata": "gcr.io/tfx-oss-public/ml_metadata_store_server:1.14.0",
    # The manifests have 8.4, of which this is a release.
    "mysql": "docker.io/library/mysql:8.4.6",
}
"""Part -> its image, where no other is named."""

REST, GRPC, METADATA, METRICS = 8888, 8887, 8080, 9090
SERVER, METADATA_SERVICE = "ml-pipeline", "metadata-grpc-service"
"""Names that drivers, launchers and controllers look for."""
RUNNER = "pipeline-runner"
"""Account of a run's pods, unless a run names another."""
AGENT, SCHEDULES = "ml-pipeline-persistenceagent", "ml-pipeline-scheduledworkflow"
AUDIENCE = "pipelines.kubeflow.org"

_MYSQL_USER = 999
_DATA = "/var/lib/mysql"
_PING = {"exec_": {"command": ["mysqladmin", "ping", "--host=127.0.0.1", "--protocol=tcp", "--silent"]}}


def server_template(labels: Mapping[str, str], images: Mapping[str, str]) -> dict[str, Any]:
    """MySQL, which answers inside this pod alone, ML Metadata and the API server: started in that order."""
    return {
        "metadata": {"labels": dict(labels)},
        "spec": {
            **_pod(SERVER),
            "security_context": {**restricted()["security_context"], "run_as_group": 0, "fs_group": _MYSQL_USER},
            # ML Metadata's image is there for this architecture alone (remembered).
            "node_selector": {PURPOSE: "system", "kubernetes.io/arch": "amd64"},
            "termination_grace_period_seconds": 60,
            # Goes on beside the others, which start once it answers, and ends after them.
            "init_containers": [_mysql(images["mysql"])],
            "containers": [_metadata(images["metadata"]), _api_server(images)],
            "volumes": [
                {"name": "data", "persistent_volume_claim": {"claim_name": SERVER}},
                {"name": "run", "empty_dir": {"size_limit": "16Mi"}},
                {"name": "mysql-tmp", "empty_dir": {"size_limit": "1Gi"}},
                {"name": "tmp", "empty_dir": {"size_limit": "1Gi"}},
            ],
        },
    }


def watcher_template(account: str, labels: Mapping[str, str], images: Mapping[str, str]) -> dict[str, Any]:
    """What tells the server how runs go, or what starts them on their schedules, by `account`."""
    part, token, environment = {
        AGENT: (
            "persistence-agent",
            "persistenceagent-sa-token",
            {"TTL_SECONDS_AFTER_WORKFLOW_FINISH": "86400", "NUM_WORKERS": "2"},
        ),
        SCHEDULES: (
            "scheduled-workflow-controller",
            "scheduledworkflow-sa-token",
            {"METRICS_PORT": str(METRICS), "CRON_SCHEDULE_TIMEZONE": "UTC"},
        ),
    }[account]
    watcher = {
        **_container("watcher", images[part], cpu_m=50, memory_mib=512),
        "env": [_namespace_as("NAMESPACE"), *_named({**environment, "LOG_LEVEL": "info"})],
        "volume_mounts": [
            {"name": "token", "mount_path": "/var/run/secrets/kubeflow/tokens", "read_only": True},
            {"name": "tmp", "mount_path": "/tmp"},
        ],
    }
    if account == SCHEDULES:
        watcher["ports"] = [{"name": "metrics", "container_port": METRICS, "protocol": "TCP"}]
    service_token = {"path": token, "expiration_seconds": 3600, "audience": AUDIENCE}
    return {
        "metadata": {"labels": dict(labels)},
        "spec": {
            **_pod(account),
            "node_selector": {PURPOSE: "system"},
            "containers": [watcher],
            "volumes": [
                {"name": "token", "projected": {"sources": [{"service_account_token": service_token}]}},
                {"name": "tmp", "empty_dir": {"size_limit": "256Mi"}},
            ],
        },
    }


def _mysql(image: str) -> dict[str, Any]:
    security = {**container_security(), "run_as_user": _MYSQL_USER, "run_as_group": _MYSQL_USER}
    return {
        **_container("mysql", image, cpu_m=200, memory_mib=1024, disk_mib=1280),
        "restart_policy": "Always",
        "args": [
            # A directory of its own: in the volume's there is lost+found.
            f"--datadir={_DATA}/data",
            # Nobody outside this pod gets here, so root needs no password, and there is none to keep.
            "--bind-address=127.0.0.1",
            "--mysqlx=OFF",
            # ML Metadata's client knows no other way to log in.
            "--authentication-policy=mysql_native_password",
            "--mysql-native-password=ON",
            "--disable-log-bin",
        ],
        "env": [{"name": "MYSQL_ALLOW_EMPTY_PASSWORD", "value": "true"}],
        # Over TCP, on which it doesn't answer before its first set-up is done; a first start takes its time.
        "startup_probe": {**_PING, "period_seconds": 2, "timeout_seconds": 5, "failure_threshold": 150},
        "liveness_probe": {**_PING, "period_seconds": 20, "timeout_seconds": 10, "failure_threshold": 6},
        "security_context": security,
        "volume_mounts": [
            {"name": "data", "mount_path": _DATA},
            {"name": "run", "mount_path": "/var/run/mysqld"},
            {"name": "mysql-tmp", "mount_path": "/tmp"},
        ],
    }


def _metadata(image: str) -> dict[str, Any]:
    answers = {"tcp_socket": {"port": "metadata"}, "period_seconds": 10, "timeout_seconds": 2}
    return {
        **_container("metadata", image, cpu_m=50, memory_mib=512),
        "command": ["/bin/metadata_store_server"],
        "args": [
            f"--grpc_port={METADATA}",
            *("--mysql_config_host=127.0.0.1", "--mysql_config_port=3306", "--mysql_config_database=metadb"),
            *("--mysql_config_user=root", "--mysql_config_password="),
            "--enable_database_upgrade=true",
            "--grpc_channel_arguments=grpc.max_metadata_size=16384,grpc.max_receive_message_length=104857600,"
            "grpc.max_send_message_length=104857600",
        ],
        "ports": [{"name": "metadata", "container_port": METADATA, "protocol": "TCP"}],
        "readiness_probe": answers,
        "liveness_probe": {**answers, "initial_delay_seconds": 10, "failure_threshold": 6},
        "volume_mounts": [{"name": "tmp", "mount_path": "/tmp"}],
    }


def _api_server(images: Mapping[str, str]) -> dict[str, Any]:
    answers = {"http_get": {"path": "/apis/v1beta1/healthz", "port": "http"}, "timeout_seconds": 3}
    return {
        **_container("api-server", images["api-server"], cpu_m=250, memory_mib=1024),
        # The image's own command would load samples.
        "command": ["/bin/apiserver"],
        "args": ["--config=/config", "-logtostderr=true", "--logLevel=info"],
        "env": [
            _namespace_as("POD_NAMESPACE"),
            *_named(
                {
                    "DBDRIVERNAME": "mysql",
                    "DBCONFIG_MYSQLCONFIG_HOST": "127.0.0.1",
                    "DBCONFIG_MYSQLCONFIG_PORT": "3306",
                    "DBCONFIG_MYSQLCONFIG_USER": "root",
                    "DBCONFIG_MYSQLCONFIG_PASSWORD": "",
                    "DBCONFIG_MYSQLCONFIG_DBNAME": "mlpipeline",
                    "DBCONFIG_CONMAXLIFETIME": "120s",
                    # It keeps pipelines in its database. Its client of the object store, which serves logs and
                    # artifacts of runs, speaks S3 alone, so it has no bucket on either cloud: it asks once at its
                    # start, without credentials, writes a warning and goes on.
                    "OBJECTSTORECONFIG_HOST": "localhost",
                    "OBJECTSTORECONFIG_SECURE": "true",
                    "OBJECTSTORECONFIG_BUCKETNAME": "none",
                    "OBJECTSTORECONFIG_ACCESSKEY": "",
                    "OBJECTSTORECONFIG_SECRETACCESSKEY": "",
                    "AWS_EC2_METADATA_DISABLED": "true",
                    # There is no such server, but the API server doesn't start without its address.
                    "ML_PIPELINE_VISUALIZATIONSERVER_SERVICE_HOST": "localhost",
                    "ML_PIPELINE_VISUALIZATIONSERVER_SERVICE_PORT": "8888",
                    "V2_DRIVER_IMAGE": images["driver"],
                    "V2_LAUNCHER_IMAGE": images["launcher"],
                    # Launchers put their container's log under the run's root.
                    "PUBLISH_LOGS": "true",
                    "PIPELINE_LOG_LEVEL": "1",
                    "BLOCK_V1_PIPELINES": "true",
                    "CLUSTER_DOMAIN": "cluster.local",
                    "LOG_LEVEL": "info",
                }
            ),
        ],
        "ports": [
            {"name": "http", "container_port": REST, "protocol": "TCP"},
            {"name": "grpc", "container_port": GRPC, "protocol": "TCP"},
        ],
        # Until the tables are there, or are those of a newer version.
        "startup_probe": {**answers, "period_seconds": 5, "failure_threshold": 60},
        "readiness_probe": {**answers, "period_seconds": 5},
        "liveness_probe": {**answers, "period_seconds": 10, "failure_threshold": 6},
        "volume_mounts": [{"name": "tmp", "mount_path": "/tmp"}],
    }


def _pod(account: str) -> dict[str, Any]:
    # All of them ask the cluster's API for runs (their Roles).
    return {**restricted(), "service_account_name": account, "automount_service_account_token": True}


def _container(name: str, image: str, *, cpu_m: int, memory_mib: int, disk_mib: int = 1536) -> dict[str, Any]:
    bounded = {"memory": f"{memory_mib}Mi", "ephemeral-storage": f"{disk_mib}Mi"}
    return {
        "name": name,
        "image": image,
        "image_pull_policy": "IfNotPresent",
        "security_context": container_security(),
        "resources": {"requests": {"cpu": f"{cpu_m}m", **bounded}, "limits": bounded},
    }


def _namespace_as(name: str) -> dict[str, Any]:
    return {"name": name, "value_from": {"field_ref": {"field_path": "metadata.namespace"}}}


def _named(variables: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in variables.items()]
