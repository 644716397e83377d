"""The pods of a retraining trigger: the one that watches and starts, and the template of what it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components.inference.pod import container_security, restricted
from components.labels import PURPOSE
from components.training.pod import SCRATCH, Worker, container, pod_annotations, pod_spec

METRICS = 9466
STATE = "/state"
POLICY = "/etc/retraining"
POLICY_FILE = "policy.json"
SIGNING = "/var/run/signing"
"""Where the pipeline finds the key that versions are signed with (workloads.pipelines.runners.settings)."""
JOB = "metadata.labels['batch.kubernetes.io/job-name']"


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What the pod that watches depends on."""

    name: str
    namespace: str
    labels: dict[str, str]
    image: str
    model: str
    lake: pulumi.Input[str]
    catalog: Mapping[str, str]
    every_s: int
    region: str
    """Empty where the client of the object store needs none."""


def watch_template(watch: Watch) -> dict[str, Any]:
    """A PodTemplateSpec that the "restricted" pod security standard accepts.

    Two containers: one judges windows and starts a run; the other tells it when that has ended. Both know what they did
    from the volume alone, so a machine that is lost loses nothing.
    """
    state = f"{STATE}/{watch.model}.json"
    policy = f"{POLICY}/{POLICY_FILE}"
    properties = [word for key, value in sorted(watch.catalog.items()) for word in ("--catalog", f"{key}={value}")]
    start = f"python -m workloads.launch job --cronjob {watch.name} --namespace {watch.namespace}"
    then = f"python -m workloads.monitoring ended --state {state} --policy {policy}"
    looks: list[pulumi.Input[str]] = [
        *("watch", "--lake", watch.lake, *properties, "--model", watch.model),
        *("--policy", policy, "--state", state, "--output", f"{STATE}/reports"),
        *("--hook", start, "--every-s", str(watch.every_s), "--metrics-port", str(METRICS)),
    ]
    follows = ["follow", "--cronjob", watch.name, "--namespace", watch.namespace, "--then", then]
    return {
        "metadata": {"labels": watch.labels},
        "spec": {
            "service_account_name": watch.name,
            **restricted(),
            # It asks the cluster's API for Jobs, and nothing else (its Role).
            "automount_service_account_token": True,
            "node_selector": {PURPOSE: "system"},
            "containers": [
                {
                    **_container(watch, "watch", "workloads.monitoring", looks, cpu_m=250, memory_mib=2048),
                    "ports": [{"name": "metrics", "container_port": METRICS, "protocol": "TCP"}],
                },
                _container(watch, "follow", "workloads.launch", follows, cpu_m=20, memory_mib=256),
            ],
            "volumes": [
                {"name": "state", "persistent_volume_claim": {"claim_name": watch.name}},
                {"name": "policy", "config_map": {"name": watch.name}},
                {"name": "tmp", "empty_dir": {"size_limit": "2Gi"}},
            ],
        },
    }


def _container(
    watch: Watch, name: str, module: str, args: Sequence[pulumi.Input[str]], *, cpu_m: int, memory_mib: int
) -> dict[str, Any]:
    bounded = {"memory": f"{memory_mib}Mi", "ephemeral-storage": "3Gi"}
    return {
        "name": name,
        "image": watch.image,
        "image_pull_policy": "IfNotPresent",
        "command": ["python", "-m", module],
        "args": list(args),
        "env": [
            {"name": "HOME", "value": "/tmp"},
            *([{"name": "AWS_DEFAULT_REGION", "value": watch.region}] if watch.region else []),
        ],
        "security_context": container_security(),
        "resources": {"requests": {"cpu": f"{cpu_m}m", **bounded}, "limits": bounded},
        "volume_mounts": [
            {"name": "state", "mount_path": STATE},
            {"name": "policy", "mount_path": POLICY, "read_only": True},
            {"name": "tmp", "mount_path": "/tmp"},
        ],
    }


def job_template(
    worker: Worker,
    labels: Mapping[str, str],
    queued: Mapping[str, str],
    words: Sequence[pulumi.Input[str]],
    secret: str,
) -> dict[str, Any]:
    """A JobTemplateSpec: a run of the whole pipeline on one machine, which a second try goes on with.

    `words` are those of `python -m workloads.pipelines run`; they may use `$(JOB_NAME)`.
    """
    environment: list[dict[str, Any]] = [
        {"name": "JOB_NAME", "valueFrom": {"fieldRef": {"fieldPath": JOB}}},
        # Steps work where there is room.
        {"name": "TMPDIR", "value": SCRATCH},
        {"name": "PIPELINE_SIGNING_KEY", "value": f"{SIGNING}/key.pem"},
    ]
    run = container(worker, "pipeline", ["python", "-m", "workloads.pipelines", "run"], words, environment)
    run["volumeMounts"] = [*run["volumeMounts"], {"name": "signing", "mountPath": SIGNING, "readOnly": True}]
    spec = pod_spec(worker, [run])
    # Without it the step that signs says what is missing, and all before it is kept.
    spec["volumes"] = [*spec["volumes"], {"name": "signing", "secret": {"secretName": secret, "optional": True}}]
    return {
        "metadata": {"labels": {**labels, **queued}},
        "spec": {
            "backoffLimit": 2,
            "template": {"metadata": {"labels": dict(labels), "annotations": pod_annotations(worker)}, "spec": spec},
        },
    }
