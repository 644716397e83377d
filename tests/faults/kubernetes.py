"""What somebody could get wrong in a pod, around it, or in the machines below it."""

from __future__ import annotations

from typing import Any

from policies.kinds import EKS_NODE_GROUP, GKE_NODE_POOL
from tests.faults.fault import Fault, State, remove, the

DEPLOYMENT = "kubernetes:apps/v1:Deployment"
KARPENTER_POOL = "kubernetes:karpenter.sh/v1:NodePool"
RELEASE = "kubernetes:helm.sh/v3:Release"
SCALER = "kubernetes:keda.sh/v1alpha1:ScaledObject"


def _pod(states: list[State], name: str) -> dict[str, Any]:
    return the(states, DEPLOYMENT, name)["inputs"]["spec"]["template"]["spec"]


def _spec(states: list[State], type: str, name: str) -> dict[str, Any]:
    return the(states, type, name)["inputs"]["spec"]


def _tag(states: list[State]) -> None:
    """A new version of the server; its digest was not at hand."""
    container = _pod(states, "eu-central-1-triton")["containers"][0]
    container["image"] = container["image"].partition("@")[0].replace("0.1.0", "0.1.1")


def _sidecar(states: list[State]) -> None:
    """A proxy as its own documentation shows it."""
    _pod(states, "us-west-2-triton")["containers"].append(
        {
            "name": "proxy",
            "image": f"docker.io/envoyproxy/envoy:v1.36.2@sha256:{'0123456789abcdef' * 4}",
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "128Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }
    )


def _shared_memory(states: list[State]) -> None:
    """Shared memory ran out, so the machine's is taken."""
    volume = next(v for v in _pod(states, "europe-west4-triton")["volumes"] if v["name"] == "shared-memory")
    del volume["emptyDir"]
    volume["hostPath"] = {"path": "/dev/shm"}


def _memory(states: list[State]) -> None:
    """The server was killed for memory, so its limit goes up."""
    _pod(states, "us-east-1-triton")["containers"][0]["resources"]["limits"]["memory"] = "24Gi"


def _grace(states: list[State]) -> None:
    _pod(states, "ap-northeast-1-triton")["terminationGracePeriodSeconds"] = 60


def _least(states: list[State]) -> None:
    _spec(states, SCALER, "asia-southeast1-triton")["minReplicaCount"] = 1


def _budget(states: list[State]) -> None:
    """Two shall always be there, of the two that there are."""
    budget = _spec(states, "kubernetes:policy/v1:PodDisruptionBudget", "us-east-1-triton")
    del budget["maxUnavailable"]
    budget["minAvailable"] = 2


def _queue_metric(states: list[State]) -> None:
    """Queue time, in the unit of the dashboards, and without the part of the query that nobody understood."""
    trigger = _spec(states, SCALER, "us-central1-triton")["triggers"][0]
    trigger["metadata"]["query"] = 'sum(rate(nv_inference_queue_duration_us{namespace="serving"}[1m])) / 1e3'


def _password(states: list[State]) -> None:
    values = the(states, RELEASE, "us-east-1-cluster-addons-kube-prometheus-stack")["inputs"]["values"]
    values["grafana"] = {"enabled": True, "adminPassword": "hunter2"}


def _taint(states: list[State]) -> None:
    template = _spec(states, KARPENTER_POOL, "eu-central-1-cluster-karpenter-serving-l4-spot")["template"]
    template["spec"]["taints"][0]["effect"] = "PreferNoSchedule"


def _expiry(states: list[State]) -> None:
    """Every pool gets the patched image once a month."""
    template = _spec(states, KARPENTER_POOL, "us-east-1-cluster-karpenter-training-h100-spot")["template"]
    template["spec"]["expireAfter"] = "720h"


def _consolidation(states: list[State]) -> None:
    """Idle GPUs cost money."""
    pool = _spec(states, KARPENTER_POOL, "us-east-1-cluster-karpenter-training-h100-on-demand")
    pool["disruption"] = {"consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": "1m"}


def _upgrades(states: list[State]) -> None:
    pool = the(states, GKE_NODE_POOL, "europe-west4-cluster-nodes-training-h100-reservation")
    del pool["inputs"]["maintenancePolicies"]


def _ladder(states: list[State]) -> None:
    """Back to the reservation as soon as it has room again."""
    ladder = _spec(states, "kubernetes:cloud.google.com/v1:ComputeClass", "europe-west4-cluster-nodes-training-h100")
    ladder["activeMigration"]["optimizeRulePriority"] = True


def _floor(states: list[State]) -> None:
    """The floor becomes spot; its labels go on saying that it isn't."""
    the(states, EKS_NODE_GROUP, "ap-northeast-1-cluster-nodes-serving-l4-on-demand")["inputs"]["capacityType"] = "SPOT"


def _open_namespace(states: list[State]) -> None:
    remove(states, "kubernetes:networking.k8s.io/v1:NetworkPolicy", "us-east-1-training-deny-all")


FAULTS = (
    Fault("image without its digest", "prod", "images-by-digest", "eu-central-1-triton", _tag),
    Fault("sidecar from a public registry", "staging", "images-from-allowed-registries", "us-west-2-triton", _sidecar),
    Fault("shared memory of the machine", "prod", "no-host-paths", "europe-west4-triton", _shared_memory),
    Fault("memory limit above the request", "dev", "memory-requests-equal-limits", "us-east-1-triton", _memory),
    Fault("killed while draining", "prod", "grace-period-covers-draining", "ap-northeast-1-triton", _grace),
    Fault("one replica at night", "prod", "servers-have-replicas", "asia-southeast1-triton", _least),
    Fault("budget that lets nobody go", "prod", "disruption-budgets-let-go", "us-east-1-triton", _budget),
    Fault("queue milliseconds per second", "staging", "scalers-not-on-counters", "us-central1", _queue_metric),
    Fault("password in a chart", "dev", "no-secrets-in-chart-values", "kube-prometheus-stack", _password),
    Fault("taint that is a wish", "prod", "accelerator-nodes-tainted", "serving-l4-spot", _taint),
    Fault("training machines of a month", "prod", "training-nodes-never-expire", "training-h100-spot", _expiry),
    Fault("training consolidated", "prod", "training-nodes-not-disrupted", "training-h100-on-demand", _consolidation),
    Fault("training upgraded", "prod", "training-nodes-not-renewed-under-jobs", "h100-reservation", _upgrades),
    Fault("training moved to a better rung", "prod", "training-ladders-stay-put", "training-h100", _ladder),
    Fault("spot floor", "prod", "serving-has-an-on-demand-floor", "serving-l4", _floor),
    Fault("open training namespace", "prod", "default-deny-network-policy", "training", _open_namespace),
)
