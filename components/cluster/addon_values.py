"""Helm values of the add-ons, computed from the pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from components import labels
from components.cluster.ladder import Pool

PROMETHEUS_SERVICE = "prometheus-stack-prometheus"
QUEUE_METRIC = "triton_queue_seconds_per_request"
"""Custom metric of a pod: seconds that a request waited in Triton's queue, mean over a minute."""


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
        "dcgmExporter": {"serviceMonitor": {"enabled": True}},
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
    """Kueue: admits whole jobs, and counts accelerators only."""
    configuration = {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": ":8081"},
        "metrics": {"bindAddress": ":8443", "enableClusterQueueResources": True},
        "webhook": {"port": 9443},
        "leaderElection": {"leaderElect": True, "resourceName": "c1f6bfd2.kueue.x-k8s.io"},
        # A job whose machines never all come gives back what it holds, and waits at the end of the queue.
        "waitForPodsReady": {"timeout": "30m", "blockAdmission": False},
        "integrations": {
            "frameworks": [
                "batch/job",
                "jobset.x-k8s.io/jobset",
                "trainer.kubeflow.org/trainjob",
                "kubeflow.org/pytorchjob",
                "kubeflow.org/mpijob",
                "ray.io/rayjob",
                "ray.io/raycluster",
            ]
        },
        # Kueue admits no pod that asks for a resource without quota; these come with the accelerators.
        "resources": {
            "excludeResourcePrefixes": ["cpu", "memory", "ephemeral-storage", "hugepages-", "vpc.amazonaws.com", "rdma"]
        },
    }
    return {
        "controllerManager": {
            "replicas": 2,
            "podDisruptionBudget": {"enabled": True, "minAvailable": 1},
            "manager": {"resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}},
        },
        "managerConfig": {"controllerManagerConfigYaml": yaml.safe_dump(configuration, sort_keys=False)},
    }


def prometheus_stack(storage_class: str) -> dict[str, Any]:
    """Prometheus and its operator. Every pod monitor, service monitor and rule counts, whoever made it."""
    everything = {
        f"{kind}SelectorNilUsesHelmValues": False
        for kind in ("podMonitor", "serviceMonitor", "rule", "probe", "scrapeConfig")
    }
    claim = {
        "storageClassName": storage_class,
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "100Gi"}},
    }
    return {
        "fullnameOverride": "prometheus-stack",
        # Dashboards are code, shown by a Grafana that outlives any cluster.
        "grafana": {"enabled": False},
        # Managed control planes don't let these be scraped.
        **{kind: {"enabled": False} for kind in ("kubeEtcd", "kubeScheduler", "kubeControllerManager", "kubeProxy")},
        "prometheus": {
            "prometheusSpec": {
                **everything,
                "retention": "15d",
                "retentionSize": "90GB",
                "storageSpec": {"volumeClaimTemplate": {"spec": claim}},
                "resources": {"requests": {"cpu": "500m", "memory": "2Gi"}, "limits": {"memory": "4Gi"}},
            }
        },
    }


def prometheus_adapter() -> dict[str, Any]:
    """The custom metrics API, with one metric: what autoscaling of Triton goes by.

    Time in the queue divided by requests served, so that it doesn't grow with traffic. Where nothing was served in the
    window the quotient is 0/0; such a pod has no queue, so 0 stands in, or the autoscaler would not scale down.
    """
    requests = "sum by (<<.GroupBy>>) (rate(nv_inference_request_success{<<.LabelMatchers>>}[1m]))"
    waiting = "sum by (<<.GroupBy>>) (rate(nv_inference_queue_duration_us{<<.LabelMatchers>>}[1m]))"
    return {
        "prometheus": {"url": f"http://{PROMETHEUS_SERVICE}.monitoring.svc", "port": 9090},
        "replicas": 2,
        "podDisruptionBudget": {"enabled": True},
        "metricsRelistInterval": "30s",
        "rules": {
            "default": False,
            "custom": [
                {
                    "seriesQuery": 'nv_inference_request_success{namespace!="",pod!=""}',
                    "resources": {"overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}},
                    "name": {"as": QUEUE_METRIC},
                    "metricsQuery": f"({waiting} / 1e6) / ({requests} > 0) or ({requests} * 0)",
                }
            ],
        },
    }
