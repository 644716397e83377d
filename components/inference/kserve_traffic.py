"""Who may talk to the pods of an InferenceService: clients themselves, or only Knative on their behalf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.cluster.serving_values import KNATIVE_NAMESPACE
from components.inference import kserve_pod
from components.inference.traffic import METRICS, server_policy
from components.security.traffic import namespace, outbound, ports


def kserve_policy(
    selector: Mapping[str, str],
    *,
    serverless: bool,
    cloud: str,
    client_cidrs: Sequence[str],
    monitoring_namespace: str,
) -> dict[str, Any]:
    """Spec of the NetworkPolicy. A serverless server is reached through Knative's gateway and activator alone, which
    hand requests to the proxy in the pod; its autoscaler reads that proxy as well."""
    if not serverless:
        return server_policy(selector, cloud, client_cidrs, monitoring_namespace)
    asks = (kserve_pod.KNATIVE_HTTP, kserve_pod.KNATIVE_H2C, kserve_pod.KNATIVE_AUTOSCALER)
    return {
        "pod_selector": {"match_labels": dict(selector)},
        "policy_types": ["Ingress", "Egress"],
        "ingress": [
            {"from_": [namespace(KNATIVE_NAMESPACE)], "ports": ports(*asks)},
            {"from_": [namespace(monitoring_namespace)], "ports": ports(METRICS, kserve_pod.KNATIVE_METRICS)},
        ],
        "egress": outbound(cloud),
    }
