"""What a Kubernetes API server would answer for an object that it has stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from planner.engine.schema import kubernetes_groups
from planner.engine.simulated.made import MOMENT, Made

_CLUSTER_WIDE = frozenset(
    {
        *("Namespace", "Node", "PersistentVolume", "StorageClass", "CSIDriver", "PriorityClass", "RuntimeClass"),
        *("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "APIService", "IngressClass"),
        *("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "VolumeAttributesClass", "DeviceClass"),
    }
)
"""Built-in kinds without a namespace (`kubectl api-resources --namespaced=false`)."""

_GCP_REGION = re.compile(r"^[a-z]+-[a-z]+\d+$")
_AWS_REGION = re.compile(r"^[a-z]+(-[a-z]+)+-\d+$")


def describe(made: Made) -> tuple[str, dict[str, Any]]:
    """`<namespace>/<name>`, and the object as the API server gives it back."""
    if made.token == "kubernetes:helm.sh/v3:Release":
        return _release(made)
    given = made.inputs.get("metadata")
    metadata = dict(given) if isinstance(given, Mapping) else {}
    if not isinstance(metadata.get("name"), str):
        # Pulumi's own name, or the API server's where the program asks for one.
        prefix = metadata.get("generateName")
        metadata["name"] = f"{prefix}{made.lower(5)}" if prefix else f"{made.base}-{made.hex(8)}"
    kind = str(made.inputs.get("kind") or made.kind)
    # Of a custom resource only its definition says whether it has a namespace: it keeps what the program gave.
    if kind not in _CLUSTER_WIDE and made.service in kubernetes_groups():
        metadata.setdefault("namespace", "default")
    metadata |= {"uid": made.uuid(), "resourceVersion": made.digits(6), "generation": 1, "creationTimestamp": MOMENT}
    name, namespace = metadata["name"], metadata.get("namespace")
    outputs: dict[str, Any] = {"metadata": metadata}
    if kind == "Service" and "spec" in made.inputs:
        outputs |= _service(made, name, str(namespace))
    elif kind == "Ingress":
        outputs["status"] = {"loadBalancer": {"ingress": _ingress(made, name)}}
    elif kind in ("Deployment", "StatefulSet", "ReplicaSet"):
        replicas = (made.inputs.get("spec") or {}).get("replicas", 1)
        outputs["status"] = {"replicas": replicas, "readyReplicas": replicas, "observedGeneration": 1}
    elif kind == "Pod":
        outputs["status"] = {"phase": "Running", "podIP": made.private_ip(), "hostIP": made.private_ip("host")}
    elif kind == "Secret":
        outputs["type"] = made.inputs.get("type") or "Opaque"
    elif kind in ("Namespace", "PersistentVolumeClaim"):
        outputs["status"] = {"phase": "Active" if kind == "Namespace" else "Bound"}
    return (f"{namespace}/{name}" if namespace else name), outputs


def _service(made: Made, name: str, namespace: str) -> dict[str, Any]:
    spec = dict(made.inputs.get("spec") or {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("clusterIP", f"172.20.{made.octet('net')}.{made.octet('host')}")
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    status: dict[str, Any] = {"loadBalancer": {}}
    if spec["type"] == "LoadBalancer":
        status["loadBalancer"]["ingress"] = _ingress(made, f"{namespace}-{name}")
    return {"spec": spec, "status": status}


def _ingress(made: Made, name: str) -> list[dict[str, Any]]:
    """Load balancers have a name on AWS and an address on Google Cloud; where the cloud is not known, both."""
    hostname = {"hostname": f"k8s-{name}-{made.lower(10)}-{made.digits(10)}.{made.region}.elb.{made.suffix}"}
    address = {"ip": made.public_ip()}
    if _GCP_REGION.match(made.region):
        return [address]
    return [hostname if _AWS_REGION.match(made.region) else hostname | address]


def _release(made: Made) -> tuple[str, dict[str, Any]]:
    made = made.named("name")
    namespace = made.inputs.get("namespace") or "default"
    chart = str(made.inputs.get("chart", "")).rstrip("/").rsplit("/", 1)[-1]
    status = {
        "name": made.name,
        "namespace": namespace,
        "chart": chart,
        "version": made.inputs.get("version") or "1.0.0",
        "appVersion": made.inputs.get("version") or "1.0.0",
        "revision": 1,
        "status": "deployed",
    }
    return f"{namespace}/{made.name}", {
        "name": made.name,
        "namespace": namespace,
        "status": status,
        "resourceNames": {},
    }
