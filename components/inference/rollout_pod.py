"""The pod that carries out a rollout, and whom it talks to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi

from components.inference import prometheus
from components.inference.pod import container_security, restricted
from components.labels import PURPOSE
from components.security.traffic import api_server, names, namespace, pods, ports

METRICS = 9467
CONFIG, STATE = "/etc/rollout", "/state"
SPECIFICATION_FILE, TEXTS_FILE = "specification.json", "texts.jsonl"
ENDED = (2, 3, 4, 5, 7, 10, 11, 12)
"""Exit codes that another try would end with again: all of `python -m workloads.rollout run --help` but 0, and 6, which
is a router, a cluster or a Prometheus that does not answer."""
TRIES = 1000
"""Kubernetes waits up to six minutes between two; a rollout's own deadline ends it before."""
LINGER_S = 2700
"""That an ended rollout's metrics stay. An alert on ends lasts 30 minutes before it fires, and one that never sees an
end takes the controller for silent (components.observability.rules.rollout)."""
DIGEST = "aicloud.dev/rollout-digest"


@dataclass(frozen=True)
class Arm:
    """The server of a version."""

    namespace: str
    service: str
    port: int
    labels: dict[str, str] = field(default_factory=dict)
    """Of its pods."""

    def __str__(self) -> str:
        """As the controller's command line takes it."""
        return f"{self.namespace}/{self.service}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Controller:
    """What the pod depends on."""

    name: str
    rollout: str
    """Its name; empty: requests are handed back."""
    labels: dict[str, str]
    image: str
    route_namespace: pulumi.Input[str]
    route: pulumi.Input[str]
    baseline: Arm
    candidate: Arm
    ready_replicas: int
    control: bool
    texts: bool
    monitoring_namespace: str
    claim: str
    """Of the volume with the journals."""
    digest: str
    """Of its files: a Job of others is another Job."""

    @property
    def journal(self) -> str:
        return f"{STATE}/{self.rollout}.jsonl" if self.rollout else ""

    @property
    def words(self) -> list[pulumi.Input[str]]:
        """Of `python -m workloads.rollout`."""
        shared: list[pulumi.Input[str]] = [
            *("--route", pulumi.Output.concat(self.route_namespace, "/", self.route)),
            *("--baseline", str(self.baseline), "--candidate", str(self.candidate)),
            *("--ready-replicas", str(self.ready_replicas)),
        ]
        if not self.rollout:
            return ["hand-over", *shared]
        return [
            *("run", "--spec", f"{CONFIG}/{SPECIFICATION_FILE}", "--journal", self.journal),
            *shared,
            *(["--control"] if self.control else []),
            *("--prometheus", prometheus.address(self.monitoring_namespace)),
            *(["--texts", f"{CONFIG}/{TEXTS_FILE}"] if self.texts else []),
            *("--metrics-port", str(METRICS), "--linger-s", str(LINGER_S)),
        ]


def job_spec(controller: Controller) -> dict[str, Any]:
    """Spec of the Job, whose pods the "restricted" pod security standard accepts: one pod, until the rollout ends."""
    metrics = {"name": "metrics", "container_port": METRICS, "protocol": "TCP"}
    config = [{"name": "config", "config_map": {"name": controller.name}}] if controller.rollout else []
    bounded = {"memory": "512Mi", "ephemeral-storage": "1Gi"}
    return {
        "backoff_limit": TRIES,
        "pod_replacement_policy": "Failed",
        "pod_failure_policy": {
            "rules": [
                # A machine that goes away is nobody's failure.
                {"action": "Ignore", "on_pod_conditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailJob",
                    "on_exit_codes": {"container_name": "rollout", "operator": "In", "values": list(ENDED)},
                },
            ]
        },
        "template": {
            "metadata": {"labels": controller.labels, "annotations": {DIGEST: controller.digest}},
            "spec": {
                "service_account_name": controller.name,
                **restricted(),
                "automount_service_account_token": True,
                # As the failure policy wants it: each try is a pod, whose words can be read afterwards.
                "restart_policy": "Never",
                "node_selector": {PURPOSE: "system"},
                "containers": [
                    {
                        "name": "rollout",
                        "image": controller.image,
                        "image_pull_policy": "IfNotPresent",
                        "command": ["python", "-m", "workloads.rollout"],
                        "args": controller.words,
                        "env": [{"name": "HOME", "value": "/tmp"}],
                        "security_context": container_security(),
                        "resources": {"requests": {"cpu": "100m", **bounded}, "limits": bounded},
                        **({"ports": [metrics]} if controller.rollout else {}),
                        "volume_mounts": [
                            {"name": "state", "mount_path": STATE},
                            *({"name": "config", "mount_path": CONFIG, "read_only": True} for _ in config),
                            {"name": "tmp", "mount_path": "/tmp"},
                        ],
                    }
                ],
                "volumes": [
                    {"name": "state", "persistent_volume_claim": {"claim_name": controller.claim}},
                    *config,
                    {"name": "tmp", "empty_dir": {"size_limit": "512Mi"}},
                ],
            },
        },
    }


def journals(name: str, namespace: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of a PersistentVolumeClaim for the journals of rollouts, one pod's at a time: a few MiB each."""
    return {
        # It is bound where the pod comes to be, so nothing waits for that.
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": dict(labels),
            "annotations": {"pulumi.com/skipAwait": "true"},
        },
        "spec": {"access_modes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def controller_policy(labels: Mapping[str, str], monitoring_namespace: str, arms: Sequence[Arm]) -> dict[str, Any]:
    """Spec of the controller's NetworkPolicy. In: scrapes. Out: names, the cluster's API, Prometheus, and the servers
    that score texts."""
    return {
        "pod_selector": {"match_labels": dict(labels)},
        "policy_types": ["Ingress", "Egress"],
        "ingress": [{"from_": [namespace(monitoring_namespace)], "ports": ports(METRICS)}],
        "egress": [
            names(),
            api_server(),
            {"to": [namespace(monitoring_namespace)], "ports": ports(prometheus.PORT)},
            *({"to": [pods(arm.namespace, arm.labels)], "ports": ports(arm.port)} for arm in arms),
        ],
    }


def arm_policy(arm: Arm, home: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Spec of a NetworkPolicy beside those that a server's pods have already: the controller may ask them."""
    return {
        "pod_selector": {"match_labels": dict(arm.labels)},
        "policy_types": ["Ingress"],
        "ingress": [{"from_": [pods(home, labels)], "ports": ports(arm.port)}],
    }
