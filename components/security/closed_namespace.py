"""A namespace for one application: pods of the restricted kind, and no traffic but what its policies name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.security.traffic import DENY_ALL


def closed_namespace(
    name: str,
    namespace: str,
    policies: Mapping[str, Mapping[str, Any]],
    child: pulumi.ResourceOptions,
    *,
    level: str = "restricted",
) -> tuple[k8s.core.v1.Namespace, list[pulumi.Resource]]:
    """The namespace, and its policies for pods to depend on. `policies`: purpose -> spec, beside what denies all."""
    made = k8s.core.v1.Namespace(
        f"{name}-namespace",
        metadata={
            "name": namespace,
            "labels": {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "audit", "warn")},
        },
        opts=child,
    )
    return made, [
        k8s.networking.v1.NetworkPolicy(
            f"{name}-{purpose}",
            metadata={"namespace": made.metadata["name"], "name": f"{name}-{purpose}"},
            spec=dict(spec),
            opts=child,
        )
        for purpose, spec in {"deny-all": DENY_ALL, **policies}.items()
    ]
