"""The Helm charts that clusters run, pinned, and the one way in which they are installed.

Versions as found on 2026-11-22, in each chart's Chart.yaml or release tag: aws/karpenter-provider-aws v1.14.1 (its
compatibility matrix: Kubernetes 1.30 to 1.36), kubernetes-sigs/kueue v0.19.2, aws/eks-charts,
prometheus-community/helm-charts, NVIDIA/gpu-operator v26.7.0, aws-neuron/neuron-helm-charts 1.10.0,
ray-project/kuberay v1.7.0; kubeflow/trainer v2.4.0 (its releases, November 2026; the values were read at v2.3.0, which
brings JobSet 0.12.0). Kueue 0.19 is built against Trainer 2.2 and KubeRay 1.6 and asks for Trainer 2.0 or later.
On 2026-11-29: kserve/kserve v0.20.0 and, in its kserve-deps.env, the Knative operator that it is tested with (and a
cert-manager that is out of support: cert-manager/cert-manager v1.21.1 instead).
kedacore/charts: KEDA 2.21.1 (released on 2026-11-16; the values were read at 2.20.2) and its HTTP add-on 0.16.0
(released on 2026-09-16; the values were read a month before), both found on 2026-11-29.
envoyproxy/gateway v1.9.2 (named by others, October 2026; the values were read at v1.9.0, with Gateway API 1.6.1).
argoproj/argo-helm's argo-workflows 0.45.27 is Argo Workflows 3.7.3, which is what the manifests of Kubeflow Pipelines
2.16.1 have; values and templates were read at that version.
Of observability, in Chart.yaml of August 2026 (OpenCost: April, DCGM exporter: May), the values at the same versions:
open-telemetry/opentelemetry-helm-charts, grafana-community/helm-charts, opencost/opencost-helm-chart,
NVIDIA/dcgm-exporter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

TIMEOUT_SECONDS = 900
"""The first nodes pull every image of an operator through one NAT gateway; Helm's five minutes are too short."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart and its exact version. `repository` is empty for OCI charts, whose `chart` is the whole address."""

    chart: str
    version: str
    repository: str = ""


EKS_CHARTS = "https://aws.github.io/eks-charts"
PROMETHEUS_CHARTS = "https://prometheus-community.github.io/helm-charts"
KEDA_CHARTS = "https://kedacore.github.io/charts"

KARPENTER_CRDS = Chart("oci://public.ecr.aws/karpenter/karpenter-crd", "1.14.1")
KARPENTER = Chart("oci://public.ecr.aws/karpenter/karpenter", "1.14.1")
LOAD_BALANCER_CONTROLLER = Chart("aws-load-balancer-controller", "3.5.0", EKS_CHARTS)
EFA_DEVICE_PLUGIN = Chart("aws-efa-k8s-device-plugin", "v0.5.30", EKS_CHARTS)
NEURON = Chart("oci://public.ecr.aws/neuron/neuron-helm-chart", "1.10.0")
GPU_OPERATOR = Chart("gpu-operator", "v26.7.0", "https://helm.ngc.nvidia.com/nvidia")
KUEUE = Chart("oci://registry.k8s.io/kueue/charts/kueue", "0.19.2")
TRAINER = Chart("oci://ghcr.io/kubeflow/charts/kubeflow-trainer", "2.4.0")
KUBERAY = Chart("kuberay-operator", "1.7.0", "https://ray-project.github.io/kuberay-helm")
ENVOY_GATEWAY = Chart("oci://docker.io/envoyproxy/gateway-helm", "v1.9.2")
PROMETHEUS_STACK = Chart("kube-prometheus-stack", "88.5.3", PROMETHEUS_CHARTS)
CERT_MANAGER = Chart("oci://quay.io/jetstack/charts/cert-manager", "v1.21.1")
KSERVE_CRDS = Chart("oci://ghcr.io/kserve/charts/kserve-crd", "v0.20.0")
KSERVE = Chart("oci://ghcr.io/kserve/charts/kserve-resources", "v0.20.0")
KNATIVE_OPERATOR = Chart("knative-operator", "v1.21.1", "https://knative.github.io/operator")
OPENTELEMETRY_COLLECTOR = Chart(
    "opentelemetry-collector", "0.170.0", "https://open-telemetry.github.io/opentelemetry-helm-charts"
)
GRAFANA = Chart("grafana", "12.11.1", "https://grafana-community.github.io/helm-charts")
OPENCOST = Chart("opencost", "2.5.17", "https://opencost.github.io/opencost-helm-chart")
DCGM_EXPORTER = Chart("dcgm-exporter", "4.8.2", "https://nvidia.github.io/dcgm-exporter/helm-charts")
KEDA = Chart("keda", "2.21.1", KEDA_CHARTS)
ARGO_WORKFLOWS = Chart("argo-workflows", "0.45.27", "https://argoproj.github.io/argo-helm")
KEDA_HTTP = Chart("keda-add-ons-http", "0.16.0", KEDA_CHARTS)


def release(
    name: str,
    chart: Chart,
    values: Mapping[str, Any],
    parent: pulumi.Resource,
    *,
    namespace: pulumi.Input[str],
    called: str = "",
    after: Sequence[pulumi.Resource] = (),
    skip_crds: bool = False,
    provider: k8s.Provider | None = None,
) -> k8s.helm.v3.Release:
    """Install a pinned chart: all of it or nothing, in a namespace that exists, and ready before others go on.

    `called` is the release's own name, where a chart is installed more than once in a namespace. `provider` where the
    parent doesn't hand one down.
    """
    return k8s.helm.v3.Release(
        name,
        name=called or chart.chart.rsplit("/", 1)[-1],
        chart=chart.chart,
        version=chart.version,
        repository_opts={"repo": chart.repository} if chart.repository else None,
        namespace=namespace,
        values=dict(values),
        skip_crds=skip_crds,
        atomic=True,
        cleanup_on_fail=True,
        timeout=TIMEOUT_SECONDS,
        max_history=5,
        opts=pulumi.ResourceOptions(parent=parent, provider=provider, depends_on=list(after)),
    )
