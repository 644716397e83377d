"""What goes with what: Kubernetes versions and their end, charts, drivers, CUDA and Triton. Looked up on 2026-11-22.

A row says where it is from; `remembered` was not looked up. What is newer than the table is not judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

AS_OF = date(2026, 11, 22)

Version = tuple[int, ...]


def version(text: str) -> Version:
    """`v1.14.1-rc.1` as (1, 14, 1); empty where there is no number."""
    numbers = []
    for part in text.strip().lstrip("v").split("-")[0].split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


@dataclass(frozen=True)
class Support:
    """How long a cloud supports a minor version of Kubernetes."""

    released: date
    standard_until: date
    extended_until: date | None
    """Paid, and on GKE only for clusters in the Extended channel; None where no date is known."""


_KUBERNETES = """
cloud  version  released    standard    extended
aws    1.36     2026-06-02  2027-08-02  2028-08-02
aws    1.35     2026-01-28  2027-03-27  2028-03-27
aws    1.34     2025-10-02  2026-12-02  2027-12-02
aws    1.33     2025-05-29  2026-07-29  2027-07-29
aws    1.32     2025-01-23  2026-03-23  2027-03-23
aws    1.31     2024-09-26  2025-11-26  2026-11-26
aws    1.30     2024-05-23  2025-07-23  2026-07-23
aws    1.29     2024-01-23  2025-03-23  2026-03-23
aws    1.28     2023-09-26  2024-11-26  2025-11-26
gcp    1.36     2026-06-09  2027-08-09  -
gcp    1.35     2026-02-11  2027-04-11  -
gcp    1.34     2025-09-30  2026-10-01  -
gcp    1.33     2025-06-03  2026-08-03  -
gcp    1.32     2025-02-11  2026-04-11  -
gcp    1.31     2024-10-25  2026-01-16  -
gcp    1.30     2024-07-31  2025-09-30  -
gcp    1.29     2024-01-26  2025-04-12  -
gcp    1.28     2023-12-04  2025-02-04  -
"""
"""EKS 1.29 to 1.34: https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html (awsdocs on GitHub);
1.35, 1.36, 1.28 and GKE (Regular channel): endoflife.date as of 2026-08-22, which reads
https://cloud.google.com/kubernetes-engine/docs/release-schedule. Google calls its dates estimates."""


def _kubernetes() -> dict[tuple[str, str], Support]:
    found = {}
    for line in _KUBERNETES.strip().splitlines()[1:]:
        cloud, minor, *dates = line.split()
        extended = None if dates[2] == "-" else date.fromisoformat(dates[2])
        found[cloud, minor] = Support(date.fromisoformat(dates[0]), date.fromisoformat(dates[1]), extended)
    return found


KUBERNETES = _kubernetes()
"""(cloud, minor version) -> support."""

NODES_BEHIND = {"aws": 3, "gcp": 2}
"""Minor versions by which nodes may be older than their control plane: Kubernetes' own skew policy
(https://kubernetes.io/releases/version-skew-policy/), and Google's
(https://cloud.google.com/kubernetes-engine/versioning#version_skew_policy)."""


@dataclass(frozen=True)
class Window:
    """Kubernetes versions that a chart works with, from one version of the chart on."""

    since: str
    """Version of the chart."""
    oldest: str
    newest: str
    """Empty where the chart names none."""
    source: str


_KARPENTER = "https://github.com/aws/karpenter-provider-aws, hack/docs/compatibilitymatrix_gen, 2026-08-21"
_GPU_OPERATOR = "https://github.com/NVIDIA/cloud-native-docs, gpu-operator/platform-support.rst, {}"
_KEDA = "https://keda.sh/docs/latest/operate/cluster/#kubernetes-compatibility"
_CERT_MANAGER = "https://cert-manager.io/docs/releases/#currently-supported-releases, 2026-08-22"

CHARTS: dict[str, tuple[Window, ...]] = {
    "karpenter": tuple(
        Window(since, oldest, newest, _KARPENTER)
        for since, oldest, newest in (
            ("0.21", "1.21", "1.24"),
            ("0.25", "1.21", "1.25"),
            ("0.28", "1.23", "1.27"),
            ("0.31", "1.23", "1.28"),
            ("0.34", "1.23", "1.29"),
            ("0.37", "1.23", "1.30"),
            ("1.0", "1.25", "1.30"),
            ("1.0.5", "1.25", "1.31"),
            ("1.2", "1.25", "1.32"),
            ("1.5", "1.26", "1.33"),
            ("1.6", "1.26", "1.34"),
            ("1.9", "1.26", "1.35"),
            ("1.13", "1.26", "1.36"),
        )
    ),
    "gpu-operator": tuple(
        Window(since, oldest, newest, _GPU_OPERATOR.format(day))
        for since, oldest, newest, day in (
            ("24.6", "1.22", "1.30", "2024-09-12"),
            ("24.9", "1.24", "1.31", "2024-11-05"),
            ("25.3", "1.29", "1.33", "2025-06-12"),
            ("25.10", "1.30", "1.35", "2026-02-09"),
            ("26.3", "1.32", "1.36", "2026-06-25"),
            ("26.7", "1.32", "1.36", "2026-08-21"),
        )
    ),
    "gateway-helm": (
        Window("1.9", "1.33", "1.36", "https://github.com/envoyproxy/gateway, news/releases/matrix.md at v1.9.0"),
    ),
    "kueue": (Window("0.19", "1.34", "", "https://github.com/kubernetes-sigs/kueue, README.md, 2026-07-30"),),
    "kubeflow-trainer": (
        Window("2.1", "1.31", "", "https://www.kubeflow.org/docs/components/trainer/operator-guides/installation/"),
    ),
    "kube-prometheus-stack": (
        Window("80", "1.25", "", "https://github.com/prometheus-community/helm-charts, kubeVersion of 88.5.3"),
    ),
    "cert-manager": (
        Window("1.20", "1.32", "1.35", _CERT_MANAGER),
        Window("1.21", "1.33", "1.36", _CERT_MANAGER),
    ),
    "aws-load-balancer-controller": (
        Window("1.5", "1.22", "", "https://github.com/aws/eks-charts, README of the chart, 2026-08-03"),
    ),
    "keda": tuple(
        Window(since, oldest, newest, _KEDA)
        for since, oldest, newest in (
            ("2.14", "1.27", "1.29"),
            ("2.15", "1.28", "1.30"),
            ("2.16", "1.29", "1.31"),
            ("2.17", "1.30", "1.32"),
            ("2.18", "1.31", "1.33"),
            ("2.19", "1.32", "1.34"),
            ("2.20", "1.33", "1.35"),
            ("2.21", "1.34", "1.36"),
        )
    ),
}
"""Chart -> windows, oldest first. A window without `newest` names what the chart was tested with at least."""

STRICT = frozenset({"karpenter"})
"""Charts that fail outside of their window, where the others are only untested: Karpenter refuses to start on a newer
Kubernetes than it knows (as remembered)."""


@dataclass(frozen=True)
class Api:
    """Versions of a chart whose custom resource definitions serve an API version."""

    chart: str
    since: str
    before: str = ""
    """First version that serves it no more; empty while it is served."""
    source: str = ""


_KARPENTER_V1 = "https://karpenter.sh/docs/upgrading/v1-migration/"
_KUEUE = "https://github.com/kubernetes-sigs/kueue, CHANGELOG-0.15.md, CHANGELOG-0.16.md and the CRDs of 0.19.2"
_KSERVE = "https://github.com/kserve/kserve v0.20.0, charts/kserve-crd; since when: remembered"

APIS: dict[str, Api] = {
    "karpenter.sh/v1": Api("karpenter", "1.0", "", _KARPENTER_V1),
    "karpenter.sh/v1beta1": Api("karpenter", "0.32", "1.1", _KARPENTER_V1),
    "karpenter.k8s.aws/v1": Api("karpenter", "1.0", "", _KARPENTER_V1),
    "karpenter.k8s.aws/v1beta1": Api("karpenter", "0.32", "1.1", _KARPENTER_V1),
    "kueue.x-k8s.io/v1beta2": Api("kueue", "0.15", "", _KUEUE),
    "config.kueue.x-k8s.io/v1beta2": Api("kueue", "0.15", "", _KUEUE),
    "kueue.x-k8s.io/v1beta1": Api("kueue", "0.2", "", _KUEUE),
    "kueue.x-k8s.io/v1alpha1": Api("kueue", "0.2", "0.15", "remembered"),
    "trainer.kubeflow.org/v1alpha1": Api(
        "kubeflow-trainer", "2.0", "", "https://github.com/kubeflow/trainer, CHANGELOG"
    ),
    "jobset.x-k8s.io/v1alpha2": Api("kubeflow-trainer", "2.0", "", "its chart's dependency on JobSet"),
    "ray.io/v1": Api("kuberay-operator", "1.0", "", "https://github.com/ray-project/kuberay, the chart's crds/"),
    "elbv2.k8s.aws/v1beta1": Api("aws-load-balancer-controller", "1.1", "", "remembered"),
    "monitoring.coreos.com/v1": Api("kube-prometheus-stack", "9", "", "remembered"),
    "keda.sh/v1alpha1": Api("keda", "2.0", "", "remembered"),
    "cert-manager.io/v1": Api("cert-manager", "1.0", "", "remembered"),
    "serving.kserve.io/v1beta1": Api("kserve-crd", "0.9", "", _KSERVE),
    "serving.kserve.io/v1alpha1": Api("kserve-crd", "0.9", "", _KSERVE),
    "operator.knative.dev/v1beta1": Api(
        "knative-operator", "1.3", "", "https://github.com/knative/operator, the chart's crds; since when: remembered"
    ),
}
"""apiVersion of a custom resource, or of a chart's own configuration -> who serves it."""

OPERATOR_DRIVERS: tuple[tuple[str, str], ...] = (
    ("23.9.2", "550.54.14"),
    ("24.9.2", "550.144.03"),
    ("25.3.0", "570.124.06"),
    ("25.3.4", "580.82.07"),
    ("25.10.0", "580.95.05"),
    ("26.3.0", "580.126.20"),
    ("26.7.0", "595.91.07"),
)
"""GPU Operator -> the driver that it installs if asked to and told no other: `driver.version` in the values.yaml of
each tag of https://github.com/NVIDIA/gpu-operator."""

EKS_IMAGE_DRIVERS: tuple[tuple[str, str], ...] = (
    ("20241024", "560"),
    ("20250410", "570"),
    ("20251120", "580"),
)
"""Release of an AL2023 NVIDIA image -> branch of its driver: https://github.com/awslabs/amazon-eks-ami, CHANGELOG.md.
The step from 570 to 580 went from 1.34 (20251023) to 1.29 (20251120); the later date stands for all."""

SAGEMAKER_DRIVERS: dict[str, int] = {
    "al2-ami-sagemaker-inference-gpu-2": 535,
    "al2-ami-sagemaker-inference-gpu-2-1": 535,
    "al2-ami-sagemaker-inference-gpu-3-1": 550,
    "al2023-ami-sagemaker-inference-gpu-4-1": 580,
}
"""`inferenceAmiVersion` of an endpoint -> branch of its driver; all but the first leave `cuda-compat` alone. From the
description of ProductionVariant in SageMaker's API, botocore's copy of 2026-11."""

CLOUD_RUN_DRIVERS: dict[str, int] = {"nvidia-l4": 535}
"""Accelerator of a service -> branch of the driver that Cloud Run brings, which nobody can choose.
https://cloud.google.com/run/docs/configuring/services/gpu, copies of 2025-11, read 2026-11-29."""

CUDA_DRIVERS: dict[int, tuple[int, int]] = {11: (450, 418), 12: (525, 470), 13: (580, 535)}
"""CUDA -> first driver branch that runs it, and the oldest that runs it on data centre GPUs with the `cuda-compat`
package that NVIDIA's images carry. https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html;
the second number as remembered, from the table of forward compatibility."""

TRITON_CUDA: tuple[tuple[str, str], ...] = (
    ("22.01", "11.6"),
    ("22.05", "11.7"),
    ("23.06", "12.1"),
    ("23.08", "12.2"),
    ("24.12", "12.6"),
    ("25.01", "12.8"),
    ("25.06", "12.9"),
    ("25.08", "13.0"),
    ("26.02", "13.1"),
    ("26.06", "13.3"),
    ("26.08", "13.4"),
    ("26.10", "13.4"),
)
"""Release of NVIDIA's containers -> CUDA, from the release on. "Driver Requirements" of
https://docs.nvidia.com/deeplearning/triton-inference-server/release-notes/; 24.12, 25.01 and 25.06 from
https://github.com/triton-inference-server/server, docs/introduction/compatibility.md."""
