"""What Envoy Gateway makes of Gateways, in plans made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from planner.checks.contracts import findings
from planner.inventory import Inventory
from planner.inventory.gateways import CONTROLLER, seconds
from planner.inventory.objects import objects_in
from planner.inventory.routes import gateway_of, routed_services
from planner.plan import Plan, Resource
from planner.rules import Rules

API, ENVOY = "gateway.networking.k8s.io/v1", "gateway.envoyproxy.io/v1alpha1"
PROVIDER = "urn:pulumi:t::t::pulumi:providers:kubernetes::k::1"


def made(kind: str, name: str, /, api: str = "core/v1", namespace: str = "web", **parts: Any) -> Resource:
    inputs = {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}, **parts}
    type = f"kubernetes:{api}:{kind}"
    return Resource(f"urn:pulumi:t::t::{type}::{namespace}-{name}", type, inputs=inputs, provider=PROVIDER)


def release(mode: str | None = "GatewayNamespace") -> Resource:
    kubernetes = {"deploy": {"type": mode}} if mode else {}
    values = {"config": {"envoyGateway": {"provider": {"type": "Kubernetes", "kubernetes": kubernetes}}}}
    return Resource(
        "urn:pulumi:t::t::kubernetes:helm.sh/v3:Release::eg",
        "kubernetes:helm.sh/v3:Release",
        inputs={"chart": "oci://docker.io/envoyproxy/gateway-helm", "namespace": "envoy", "values": values},
        provider=PROVIDER,
    )


def gate(port: int = 80, **spec: Any) -> list[Resource]:
    listeners = [{"name": "http", "protocol": "HTTP", "port": port}]
    return [
        made("GatewayClass", "envoy", api=API, spec={"controllerName": CONTROLLER}),
        made("Gateway", "front", api=API, spec={"gatewayClassName": "envoy", "listeners": listeners, **spec}),
    ]


def inventory(*resources: Resource) -> Inventory:
    return Inventory(Plan.of("t", "t", resources))


def test_a_gateway_without_parameters_is_one_proxy_behind_a_load_balancer() -> None:
    found = inventory(release(), *gate(80))
    by_kind = {resource.type.rpartition(":")[2]: resource for resource in found.made}
    assert set(by_kind) == {"ServiceAccount", "Service", "Deployment"}
    service = by_kind["Service"].inputs
    assert service["metadata"]["name"] == "front"
    assert service["spec"]["type"] == "LoadBalancer"
    # Nobody listens below 1024 without a privilege.
    assert service["spec"]["ports"] == [{"name": "http-80", "port": 80, "targetPort": 10080, "protocol": "TCP"}]
    (workload,) = found.workloads
    assert (workload.namespace, workload.min_replicas, workload.max_replicas) == ("web", 1, 1)
    assert workload.spec["terminationGracePeriodSeconds"] == 360
    assert workload.urn.endswith("Gateway::web-front")


def test_parameters_say_how_proxies_are() -> None:
    parameters = {"infrastructure": {"parametersRef": {"group": ENVOY, "kind": "EnvoyProxy", "name": "some"}}}
    kubernetes = {
        "envoyDeployment": {"name": "proxies", "pod": {"labels": {"team": "web"}}},
        "envoyService": {"name": "door", "type": "ClusterIP", "annotations": {"a": "b"}},
        "envoyHpa": {"minReplicas": 3, "maxReplicas": 9},
        "envoyPDB": {"maxUnavailable": 1},
        "useListenerPortAsContainerPort": True,
    }
    spec = {"provider": {"type": "Kubernetes", "kubernetes": kubernetes}, "shutdown": {"drainTimeout": "2m"}}
    found = inventory(release(), *gate(80, **parameters), made("EnvoyProxy", "some", api=ENVOY, spec=spec))
    (workload,) = found.workloads
    assert (workload.name, workload.min_replicas, workload.max_replicas) == ("proxies", 3, 9)
    assert workload.labels["team"] == "web"
    assert workload.spec["terminationGracePeriodSeconds"] == 420
    objects = objects_in(found)
    (service,) = objects.of_kind("Service")
    assert (service.name, service.annotations) == ("door", {"a": "b"})
    assert service.spec["ports"][0]["targetPort"] == 80
    assert len(list(objects.of_kind("PodDisruptionBudget"))) == 1
    # What is in the plan is found by its URN, not what is made of it.
    assert objects.by_urn[service.resource.urn].kind == "EnvoyProxy"


@pytest.mark.parametrize(
    "resources",
    [
        [release(None), *gate()],
        gate(),
        [release(), made("Gateway", "front", api=API, spec={"gatewayClassName": "gke-l7-rilb", "listeners": []})],
    ],
    ids=["proxies elsewhere", "no controller in the plan", "class of a cloud"],
)
def test_nothing_is_said_of_what_others_make(resources: list[Resource]) -> None:
    found = inventory(*resources)
    assert found.made == ()
    assert list(findings(found, Rules())) == []


def test_routes_lead_from_a_gateway_to_what_answers() -> None:
    backends = [{"name": "new", "port": 80, "weight": 0}, {"name": "old", "port": 80}]
    copy = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "shadow", "port": 80}}}
    rules = [{"backendRefs": backends, "filters": [copy]}]
    route = made("HTTPRoute", "all", api=API, spec={"parentRefs": [{"name": "front"}], "rules": rules})
    services = [made("Service", name, spec={"ports": [{"port": 80}]}) for name in ("new", "old", "shadow")]
    objects = objects_in(inventory(release(), *gate(), route, *services))
    (door,) = [one for one in objects.of_kind("Service") if one.name == "front"]
    gateway = gateway_of(objects, door)
    assert gateway is not None
    assert [service.name for service in routed_services(objects, gateway)] == ["old"]
    assert all(gateway_of(objects, one) is None for one in objects.of_kind("Service") if one.name != "front")


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("1m30s", 90), ("1h", 3600), ("1500ms", 1), (None, 7)])
def test_durations(text: str | None, expected: int) -> None:
    assert seconds(text, 7) == expected
