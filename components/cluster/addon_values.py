"""Helm values of the add-ons, computed from the pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from components import labels
from components.cluster import dcgm
from components.cluster.ladder import CAPACITY, Pool

PROMETHEUS = "prometheus-stack"
"""What everything of the chart kube-prometheus-stack is called after."""
MONITORING_NAMESPACE = "monitoring"
PROMETHEUS_URL = f"http://{PROMETHEUS}-prometheus.{MONITORING_NAMESPACE}.svc:9090"
"""Where the cluster's own Prometheus answers queries."""

PODS_READY_MINUTES = 60
"""Within which all pods of what Kueue admitted are ready, or it is evicted and waits again."""
RECOVERY_MINUTES = 30
"""Within which a pod that was lost later is ready again, or likewise."""


def tolerations(pools: Sequence[Pool]) -> list[dict[str, str]]:
    """What a DaemonSet needs to run on every node of every pool; charts know of the accelerators' taints at most."""
    keys = {taint.key for pool in pools for taint in pool.taints} | {"nvidia.com/gpu", labels.PURPOSE}
    return [{"key": key, "operator": "Exists"} for key in sorted(keys)]


def gpu_operator(pools: Sequence[Pool]) -> dict[str, Any]:
    """NVIDIA GPU operator on EKS: device plugin, metrics, MIG and time slicing. Driver and container toolkit are in the
    image that EKS gives to GPU nodes."""
    tolerate = tolerations(pools)
    shared = [(pool.name, pool.sharing) for pool in pools if pool.sharing]
    sliced = {name: sharing.replicas for name, sharing in shared if sharing.mode == "time-slicing"}
    values: dict[str, Any] = {
        "driver": {"enabled": False},
        "toolkit": {"enabled": False},
        # A partition counts as one nvidia.com/gpu, as it does on GKE, so a workload asks for the same on both clouds.
        "mig": {"strategy": "single"},
        "migManager": {"enabled": any(sharing.mode == "mig" for _, sharing in shared)},
        "daemonsets": {"tolerations": tolerate},
        "node-feature-discovery": {"worker": {"tolerations": tolerate}},
        "dcgmExporter": dcgm.of_gpu_operator(),
    }
    if sliced:
        configurations = {"exclusive": {"version": "v1"}}
        for name, replicas in sliced.items():
            times = {"timeSlicing": {"resources": [{"name": "nvidia.com/gpu", "replicas": replicas}]}}
            configurations[name] = {"version": "v1", "sharing": times}  # type: ignore[dict-item]
        values["devicePlugin"] = {
            "config": {
                "name": "gpu-sharing",
                "create": True,
                "default": "exclusive",
                "data": {name: yaml.safe_dump(value) for name, value in configurations.items()},
            }
        }
    return values


def efa_device_plugin(pools: Sequence[Pool]) -> dict[str, Any]:
    """EFA device plugin on the machines of pools with fabric: `vpc.amazonaws.com/efa`."""
    return {
        "tolerations": tolerations(pools),
        "supportedInstanceLabels": {
            "keys": ["node.kubernetes.io/instance-type"],
            "values": sorted({pool.machine.name for pool in pools if pool.fabric}),
        },
    }


def neuron(pools: Sequence[Pool]) -> dict[str, Any]:
    """Neuron device plugin on Trainium machines: `aws.amazon.com/neuron`."""
    machines = sorted({pool.machine.name for pool in pools if pool.resource == "aws.amazon.com/neuron"})
    return {
        "neuronInstances": machines,
        "devicePlugin": {"tolerations": tolerations(pools)},
        # Its node recovery would end machines behind Karpenter's back.
        "npd": {"enabled": False},
    }


def kueue() -> dict[str, Any]:
    """Kueue: admits whole jobs, and counts accelerators only. Fields: kueue v0.19.2, apis/config/v1beta2.

    It looks only at namespaces that are labelled `labels.QUEUED`: TrainingQueue labels those that train, and
    TritonInference its own where it is to be counted. The chart gives all of its webhooks for jobs and pods that
    selector, so whatever else runs in the cluster, system pods first of all, starts and scales without Kueue.

    When Kueue is away, in labelled namespaces: what runs, runs on. New jobs, new pods and changes of Deployments are
    refused (the webhooks' failurePolicy is Fail, as the chart has it for the frameworks below; nothing sets it
    otherwise), and their controllers try again until it is back; pods that wait behind its scheduling gate go on
    waiting. A server that is counted therefore neither scales out nor replaces a lost pod meanwhile. Hence two
    replicas on two machines, each of which answers webhooks, and a disruption budget; and a server whose namespace
    isn't labelled doesn't notice at all.
    """
    configuration = {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": ":8081"},
        "metrics": {"bindAddress": ":8443", "enableClusterQueueResources": True},
        "webhook": {"port": 9443},
        "leaderElection": {"leaderElect": True, "resourceName": "c1f6bfd2.kueue.x-k8s.io"},
        "managedJobsNamespaceSelector": {"matchLabels": {labels.QUEUED: "true"}},
        # Who names no queue runs unasked, such as a person's shell; who asks for accelerators finds them tainted.
        "manageJobsWithoutQueueName": False,
        "waitForPodsReady": {
            # Machines that never all come: the job gives back what it holds. Long enough for flex start, and for a
            # large model that a counted server loads (TritonInference checks).
            "timeout": f"{PODS_READY_MINUTES}m",
            # A pod that was lost and that nothing replaces: likewise. An elastic job trains on with fewer until then.
            "recoveryTimeout": f"{RECOVERY_MINUTES}m",
            # Gangs need not start one after the other: each has quota for all of its pods.
            "blockAdmission": False,
            # To the end of the queue, a little later each time, and as often as it takes: no backoffLimitCount, which
            # would leave a job off for good that the cloud had no machines for.
            "requeuingStrategy": {"timestamp": "Eviction", "backoffBaseSeconds": 60, "backoffMaxSeconds": 1800},
        },
        "integrations": {
            "frameworks": [
                "batch/job",
                "jobset.x-k8s.io/jobset",
                "trainer.kubeflow.org/trainjob",
                "ray.io/rayjob",
                "ray.io/raycluster",
                # Servers on machines that are lent: each pod is admitted by itself.
                "pod",
                "deployment",
            ]
        },
        "resources": {
            # Kueue admits no pod that asks for a resource without quota; these come with the accelerators.
            "excludeResourcePrefixes": [
                *("cpu", "memory", "ephemeral-storage", "hugepages-"),
                *("vpc.amazonaws.com", "networking.gke.io", "rdma"),
            ]
        },
        # Its own records of jobs that ended; the jobs themselves are their owners'.
        "objectRetentionPolicies": {"workloads": {"afterFinished": "168h"}},
    }
    spread = {
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"control-plane": "controller-manager"}},
    }
    return {
        "controllerManager": {
            "replicas": 2,
            "podDisruptionBudget": {"enabled": True, "minAvailable": 1},
            "topologySpreadConstraints": [
                {**spread, "topologyKey": key} for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
            ],
            "manager": {"resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}},
        },
        "managerConfig": {"controllerManagerConfigYaml": yaml.safe_dump(configuration, sort_keys=False)},
        # A ServiceMonitor: alerts tell of queues that are stuck.
        "enablePrometheus": True,
    }


def trainer() -> dict[str, Any]:
    """Kubeflow Trainer, with JobSet, which it makes jobs of. No runtimes: TrainingRuntimes brings the platform's own.

    Both answer webhooks: while they are away no job is made or changed, and those that run don't notice.
    """
    return {
        "manager": {
            "replicas": 2,
            "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        },
        "jobset": {
            "install": True,
            "controller": {
                "replicas": 2,
                "podDisruptionBudget": {"enabled": True, "minAvailable": 1},
                "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
            },
        },
        "runtimes": {"defaultEnabled": False},
        "dataCache": {"enabled": False},
    }


TRAINER_PODS = {"app.kubernetes.io/name": "kubeflow-trainer", "app.kubernetes.io/component": "manager"}
"""Labels of Trainer's own pods, for which its chart has no disruption budget."""


def kuberay() -> dict[str, Any]:
    """The KubeRay operator. It has no webhooks: while it is away Ray clusters run on, and nothing heals or scales them.
    Helm never upgrades the definitions that it comes with (chart's `crds/`)."""
    return {
        "replicas": 2,
        "leaderElectionEnabled": True,
        # A limit of its CPU, as the chart has it, makes it slow just when many pods change.
        "resources": {
            "requests": {"cpu": "100m", "memory": "512Mi"},
            "limits": {"cpu": "1", "memory": "512Mi"},
        },
    }


_CLUSTER_LABELS = (
    labels.POOL,
    labels.ACCELERATOR,
    labels.PURPOSE,
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    CAPACITY,
)
_POD_LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/instance", labels.TEAM, "kueue.x-k8s.io/queue-name")


def prometheus_stack(storage_class: str, *, servers: bool) -> dict[str, Any]:
    """Prometheus' operator, and what tells of machines, pods and objects. With `servers` a Prometheus as well, without
    anywhere to send alerts to; Observability brings a larger one, with all that belongs to it.
    """
    return {
        "fullnameOverride": PROMETHEUS,
        # Dashboards are Observability's.
        "grafana": {"enabled": False},
        # Managed control planes don't let these be scraped.
        **{kind: {"enabled": False} for kind in ("kubeEtcd", "kubeScheduler", "kubeControllerManager", "kubeProxy")},
        "prometheusOperator": {
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        },
        "kube-state-metrics": {
            # By these, what pods and machines cost is told by pool, model, training job and team.
            "metricLabelsAllowlist": [
                f"nodes=[{','.join(_CLUSTER_LABELS)}]",
                f"pods=[{','.join(_POD_LABELS)}]",
                f"namespaces=[{labels.TEAM}]",
            ],
        },
        "alertmanager": {"enabled": False},
        "defaultRules": {"create": servers},
        "prometheus": {"enabled": True, "prometheusSpec": prometheus_spec(storage_class)}
        if servers
        else {"enabled": False},
    }


def prometheus_spec(storage_class: str, *, retention_days: int = 15, disk_gib: int = 100) -> dict[str, Any]:
    """`prometheusSpec` of the chart: every pod monitor, service monitor and rule counts, whoever made it."""
    everything = {
        f"{kind}SelectorNilUsesHelmValues": False
        for kind in ("podMonitor", "serviceMonitor", "rule", "probe", "scrapeConfig")
    }
    claim = {
        "storageClassName": storage_class,
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": f"{disk_gib}Gi"}},
    }
    return {
        **everything,
        "retention": f"{retention_days}d",
        # The rest is for the log that is written ahead, and for blocks while they are merged.
        "retentionSize": f"{disk_gib * 9 // 10}GB",
        "storageSpec": {"volumeClaimTemplate": {"spec": claim}},
        "resources": {"requests": {"cpu": "500m", "memory": "2Gi"}, "limits": {"memory": "4Gi"}},
    }
