"""What Envoy Gateway makes of Gateways: the proxies' Deployment, Service, account, autoscaler and disruption budget.

No plan has them, yet all that comes in goes through them. They stand here as the objects that they will be, each with
the URN of the EnvoyProxy that says how they shall be, or of the Gateway where there is none.

Source: envoyproxy/gateway v1.9.0, internal/infrastructure/kubernetes/proxy and api/v1alpha1. Only for controllers that
put proxies into the namespaces of their Gateways (`GatewayNamespace`): else their names and place are the controller's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from planner.inventory.references import at, items, mapping
from planner.plan import UNKNOWN, Resource

if TYPE_CHECKING:
    from planner.inventory.inventory import Inventory

CONTROLLER = "gateway.envoyproxy.io/gatewayclass-controller"
CHART = "gateway-helm"
RELEASE = "kubernetes:helm.sh/v3:Release"

NAME_LABEL = "gateway.envoyproxy.io/owning-gateway-name"
NAMESPACE_LABEL = "gateway.envoyproxy.io/owning-gateway-namespace"
"""Labels of everything that is made of a Gateway."""

METRICS, READINESS, SHUTDOWN = 19001, 19003, 19002
XDS = 18000
"""Port on which proxies ask the controller what to do."""
PORT_SHIFT = 10000
"""Added to a listener's port below 1024, on which nobody may listen without a privilege."""
DRAIN_TIMEOUT_S, MIN_DRAIN_S, BEYOND_DRAIN_S = 60, 10, 300
"""Seconds by default: until a proxy ends with connections open, for which it goes on at least, and which its pod has
beyond the first."""

_PROXY = {"requests": {"cpu": "100m", "memory": "512Mi"}}
_SHUTDOWN_MANAGER = {"requests": {"cpu": "10m", "memory": "32Mi"}}


def made_by_gateways(inventory: Inventory) -> Iterator[Resource]:
    """Every object that Envoy Gateway makes of the Gateways of a plan."""
    plan = inventory.plan
    of_kind: dict[str, list[Resource]] = {}
    for resource in plan:
        if resource.package == "kubernetes" and resource.type.endswith((":Gateway", ":GatewayClass", ":EnvoyProxy")):
            of_kind.setdefault(resource.type.rpartition(":")[2], []).append(resource)
    if "Gateway" not in of_kind:
        return
    namespaced = {_where(inventory, release) for release in plan.of_type(RELEASE) if in_namespaces_of_gateways(release)}
    classes = {
        (_where(inventory, one), at(one.inputs, "metadata.name"))
        for one in of_kind.get("GatewayClass", ())
        if at(one.inputs, "spec.controllerName") == CONTROLLER
    }
    for gateway in of_kind["Gateway"]:
        where = _where(inventory, gateway)
        if where in namespaced and (where, at(gateway.inputs, "spec.gatewayClassName")) in classes:
            yield from _Proxies(inventory, gateway, of_kind.get("EnvoyProxy", ())).objects()


def in_namespaces_of_gateways(release: Resource) -> bool:
    """Whether a release is one of Envoy Gateway, which puts proxies where their Gateways are."""
    mode = at(release.inputs, "values.config.envoyGateway.provider.kubernetes.deploy.type")
    return str(release.inputs.get("chart", "")).rpartition("/")[2] == CHART and mode == "GatewayNamespace"


def _where(inventory: Inventory, resource: Resource) -> str:
    """Its cluster; its provider where the cluster cannot be told."""
    return inventory.cluster_of(resource) or resource.provider


class _Proxies:
    """The objects of one Gateway."""

    def __init__(self, inventory: Inventory, gateway: Resource, settings: Iterable[Resource]) -> None:
        self.gateway, self.namespace = gateway, inventory.namespace_of(gateway)
        self.name = str(at(gateway.inputs, "metadata.name") or UNKNOWN)
        wanted = at(gateway.inputs, "spec.infrastructure.parametersRef.name")
        where = _where(inventory, gateway)
        self.settings = next(
            (
                one
                for one in settings
                if at(one.inputs, "metadata.name") == wanted
                and (_where(inventory, one), inventory.namespace_of(one)) == (where, self.namespace)
            ),
            None,
        )
        spec = mapping(self.settings.inputs, "spec") if self.settings else {}
        self.provider, self.shutdown = mapping(spec, "provider.kubernetes"), mapping(spec, "shutdown")
        self.labels = {
            "app.kubernetes.io/name": "envoy",
            "app.kubernetes.io/component": "proxy",
            "app.kubernetes.io/managed-by": "envoy-gateway",
            "gateway.networking.k8s.io/gateway-name": self.name,
            NAME_LABEL: self.name,
            NAMESPACE_LABEL: self.namespace,
        }

    def objects(self) -> Iterator[Resource]:
        """In the order in which they are made."""
        yield self._object("core/v1", "ServiceAccount", self.name, automountServiceAccountToken=False)
        yield self._service()
        daemons = "envoyDaemonSet" in self.provider
        part = "envoyDaemonSet" if daemons else "envoyDeployment"
        asked = mapping(self.provider, part)
        name = str(asked.get("name") or self.name)
        autoscaler = mapping(self.provider, "envoyHpa")
        spec: dict[str, Any] = {"selector": {"matchLabels": self.labels}, "template": self._pod(asked)}
        if not daemons and not autoscaler:
            spec["replicas"] = asked.get("replicas", 1)
        yield self._object("apps/v1", "DaemonSet" if daemons else "Deployment", name, spec=spec)
        if autoscaler:
            yield self._object(
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                str(autoscaler.get("name") or self.name),
                spec={
                    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                    **{key: autoscaler[key] for key in ("minReplicas", "maxReplicas", "metrics") if key in autoscaler},
                },
            )
        budget = mapping(self.provider, "envoyPDB")
        if limits := {key: budget[key] for key in ("minAvailable", "maxUnavailable") if key in budget}:
            yield self._object(
                "policy/v1",
                "PodDisruptionBudget",
                str(budget.get("name") or self.name),
                spec={"selector": {"matchLabels": self.labels}, **limits},
            )

    def _object(self, version: str, kind: str, name: str, **parts: Any) -> Resource:
        group = version.removeprefix("core/")
        made = self.settings or self.gateway
        metadata = {"name": name, "namespace": self.namespace, "labels": self.labels, **parts.pop("metadata", {})}
        return replace(
            made,
            type=f"kubernetes:{version}:{kind}",
            inputs={"apiVersion": group, "kind": kind, "metadata": metadata, **parts},
            outputs={},
        )

    def _service(self) -> Resource:
        asked = mapping(self.provider, "envoyService")
        annotations = asked.get("annotations")
        return self._object(
            "core/v1",
            "Service",
            str(asked.get("name") or self.name),
            metadata={"annotations": annotations} if annotations else {},
            spec={
                "type": asked.get("type", "LoadBalancer"),
                "selector": self.labels,
                "ports": [
                    {"name": _port_name(port), "port": port, "targetPort": self._listens(port), "protocol": "TCP"}
                    for port in self._ports
                ],
            },
        )

    @property
    def _ports(self) -> Sequence[int]:
        found = [at(listener, "port") for listener in items(self.gateway.inputs, "spec.listeners")]
        return list(dict.fromkeys(int(port) for port in found if isinstance(port, int | float)))

    def _listens(self, port: int) -> int:
        plain = self.provider.get("useListenerPortAsContainerPort") is True
        return port if port >= 1024 or plain else port + PORT_SHIFT

    def _pod(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        pod = mapping(asked, "pod")
        kept = ("affinity", "nodeSelector", "tolerations", "topologySpreadConstraints", "securityContext",
                "priorityClassName")  # fmt: skip
        return {
            "metadata": {"labels": {**self.labels, **mapping(pod, "labels")}},
            "spec": {
                "serviceAccountName": self.name,
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": drain_timeout_s(self.shutdown) + BEYOND_DRAIN_S,
                **{key: pod[key] for key in kept if key in pod},
                "containers": [self._envoy(mapping(asked, "container")), _shutdown_manager()],
            },
        }

    def _envoy(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        ready = {"httpGet": {"path": "/ready", "port": READINESS}}
        return {
            "name": "envoy",
            "ports": [
                {"name": "metrics", "containerPort": METRICS},
                {"name": "readiness", "containerPort": READINESS},
                # It listens there, although Envoy Gateway does not declare it.
                *({"name": _port_name(port), "containerPort": self._listens(port)} for port in self._ports),
            ],
            "resources": asked.get("resources", _PROXY),
            "startupProbe": ready,
            "readinessProbe": ready,
            "livenessProbe": ready,
        }


def _shutdown_manager() -> dict[str, Any]:
    healthy = {"httpGet": {"path": "/healthz", "port": SHUTDOWN}}
    return {
        "name": "shutdown-manager",
        "resources": _SHUTDOWN_MANAGER,
        "ports": [{"name": "shutdown", "containerPort": SHUTDOWN}],
        "startupProbe": healthy,
        "readinessProbe": healthy,
        "livenessProbe": healthy,
    }


def _port_name(port: int) -> str:
    return f"http-{port}"


def drain_timeout_s(shutdown: Mapping[str, Any]) -> int:
    """Seconds after which a proxy ends with connections open."""
    return seconds(shutdown.get("drainTimeout"), DRAIN_TIMEOUT_S)


def min_drain_s(shutdown: Mapping[str, Any]) -> int:
    """Seconds that a proxy goes on for at least."""
    return seconds(shutdown.get("minDrainDuration"), MIN_DRAIN_S)


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PIECE = re.compile(r"(\d+)(h|ms|m|s)")


def seconds(duration: Any, default: int) -> int:
    """A duration of the Gateway API, such as `1m30s`, in seconds."""
    if not isinstance(duration, str) or duration == UNKNOWN:
        return default
    return int(sum(int(number) * _UNITS[unit] for number, unit in _PIECE.findall(duration)))
