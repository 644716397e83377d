"""Helm values of the operators that KServe needs, and what Knative Serving is told.

Read on 2026-11-29 in kserve/kserve v0.20.0 (charts/, pkg/controller), cert-manager/cert-manager v1.21.1, and
knative/operator and knative/serving (August 2026).
"""

from __future__ import annotations

from typing import Any

MODES = ("raw", "serverless")
"""How KServe runs what it serves: as Deployments, or as Knative Services, which scale to zero."""

KSERVE_NAMESPACE = "kserve"
KNATIVE_NAMESPACE = "knative-serving"
KNATIVE_VERSION = "1.21.1"
"""The Knative Serving that KServe 0.20 is tested with; its operator brings the manifests along."""
GATEWAY_NAMESPACE = KNATIVE_NAMESPACE
"""Where Knative's operator puts Kourier, the gateway."""

CONTROLLER = "kserve-controller-manager"
CONTROLLER_PODS = {"control-plane": CONTROLLER}
"""Labels of KServe's own pods, for which its chart has neither a second replica nor a disruption budget."""


def _spread(labels: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]


def cert_manager() -> dict[str, Any]:
    """cert-manager, for the certificate of KServe's webhooks.

    While it is away nothing happens until a certificate is due: KServe's lasts 90 days and is renewed in its last 30.
    Its own webhook looks at new Certificates and Issuers only. Its definitions go with the release, since nothing else
    would remove them.
    """

    def part(name: str, memory: str) -> dict[str, Any]:
        labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": "cert-manager"}
        return {
            "podDisruptionBudget": {"enabled": True, "minAvailable": 1},
            "resources": {"requests": {"cpu": "50m", "memory": memory}, "limits": {"memory": memory}},
            "topologySpreadConstraints": _spread(labels),
        }

    return {
        "crds": {"enabled": True, "keep": False},
        "replicaCount": 2,
        **part("cert-manager", "256Mi"),
        "webhook": {"replicaCount": 2, **part("webhook", "128Mi")},
        "cainjector": {"replicaCount": 2, **part("cainjector", "512Mi")},
        "prometheus": {"podmonitor": {"enabled": True}},
    }


def kserve(mode: str) -> dict[str, Any]:
    """KServe's controller and webhooks. No runtimes: KServeInference brings its own into its own namespace.

    When it is away, servers that run, run on. No pod of an InferenceService starts until it is back: its webhook looks
    at each pod with their label, and its failurePolicy is Fail. So none scales out or replaces a lost pod meanwhile,
    and no InferenceService or ServingRuntime is made, changed or deleted (a finalizer waits for it). Other pods,
    TritonInference's first of all, don't notice. Hence two replicas on two machines, each of which answers webhooks,
    and a disruption budget; the chart has neither, so ServingOperators adds them.
    """
    controller: dict[str, Any] = {
        "deploymentMode": "Standard" if mode == "raw" else "Knative",
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}},
        "topologySpreadConstraints": _spread(CONTROLLER_PODS),
        "gateway": {
            # No way in from outside: what lets requests in is the front door's, and points at the Service itself.
            "domain": "svc.cluster.local",
            "disableIngressCreation": True,
            # Kourier routes to Knative Services; there is no Istio.
            "disableIstioVirtualHost": True,
        },
    }
    return {
        "kserve": {
            "controller": controller,
            # Pods of models ask the Kubernetes API nothing.
            "security": {"autoMountServiceAccountToken": False},
            # Model images that are run beside the server: models come verified from the bucket instead.
            "storage": {"enableModelcar": False},
        }
    }


def knative_operator() -> dict[str, Any]:
    """The operator that installs Knative Serving and keeps it as KnativeServing says.

    While it is away, what it installed runs on; only changes of KnativeServing wait, and its deletion. It is a single
    pod (its chart has no count); nothing that serves asks it.
    """
    resources = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}}
    return {"knative_operator": {part: {"resources": resources} for part in ("knative_operator", "operator_webhook")}}


KNATIVE_FEATURES = (
    "podspec-init-containers",  # models are fetched and verified before the server starts
    "podspec-securitycontext",  # as nobody in particular, with a group of its own for the volumes
    "podspec-nodeselector",
    "podspec-tolerations",
    "podspec-topologyspreadconstraints",
    "podspec-fieldref",  # the key of Triton's restricted protocols is the pod's UID
)
"""What Knative forbids in a pod unless told otherwise, and a server of models needs (config-features)."""

KNATIVE_BUDGETS = ("activator-pdb", "webhook-pdb", "3scale-kourier-gateway-pdb")
"""Disruption budgets that Knative and Kourier bring."""
KNATIVE_UNBUDGETED = ("autoscaler", "controller")
"""Deployments of Knative's that come without, by their label `app`."""

_KNATIVE_WORKLOADS = {
    "controller": ("100m", "256Mi"),
    "activator": ("300m", "256Mi"),
    "autoscaler": ("100m", "256Mi"),
    "webhook": ("100m", "256Mi"),
    "net-kourier-controller": ("100m", "256Mi"),
    "3scale-kourier-gateway": ("200m", "256Mi"),
}
"""Deployment -> requested CPU, and memory as both request and limit."""
_CONTAINERS = {"net-kourier-controller": "controller", "3scale-kourier-gateway": "kourier-gateway"}


def knative_serving(progress_deadline_s: int) -> dict[str, Any]:
    """Spec of the KnativeServing: the serving part of Knative with Kourier as its gateway, inside the cluster only.

    Its activator stands in for servers at zero and holds their requests meanwhile, so it is on the path of every
    request to them, as the gateway is: two of each, one of which may go at a time. When both activators are away, a
    server at zero stays there; one with pods goes on. When the autoscaler is away, each keeps the pods that it has.
    """
    return {
        "version": KNATIVE_VERSION,
        "high-availability": {"replicas": 2},
        # They ask for 80 %, which of two is both: no node of theirs could ever be drained.
        "podDisruptionBudgets": [{"name": name, "minAvailable": "50%"} for name in KNATIVE_BUDGETS],
        # Its Service is a load balancer on the internet unless told otherwise.
        "ingress": {"kourier": {"enabled": True, "service-type": "ClusterIP"}},
        "config": {
            "network": {"ingress-class": "kourier.ingress.networking.knative.dev"},
            "features": {
                # Its own container beside each server then meets the restricted pod security standard.
                "secure-pod-defaults": "enabled",
                **{f"kubernetes.{feature}": "enabled" for feature in KNATIVE_FEATURES},
            },
            "deployment": {
                # A new machine, its driver, the image and the models take longer than Knative's ten minutes.
                "progress-deadline": f"{progress_deadline_s}s",
            },
            "autoscaler": {
                "enable-scale-to-zero": "true",
                # What starts in minutes is not ended after half of one.
                "scale-to-zero-pod-retention-period": "10m",
                "allow-zero-initial-scale": "true",
            },
        },
        "workloads": [
            {
                "name": name,
                "resources": [
                    {
                        "container": _CONTAINERS.get(name, name),
                        "requests": {"cpu": cpu, "memory": memory},
                        "limits": {"memory": memory},
                    }
                ],
            }
            for name, (cpu, memory) in _KNATIVE_WORKLOADS.items()
        ],
    }
