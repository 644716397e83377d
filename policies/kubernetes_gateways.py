"""Proxies of gateways, which a controller makes of an EnvoyProxy: no pod of theirs is in any program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from planner.inventory.quantity import known
from planner.plan import UNKNOWN, Resource
from policies.declare import Parameters, at, resource_policy

ENVOY_PROXY = "kubernetes:gateway.envoyproxy.io/v1alpha1:EnvoyProxy"
_PROVIDER = "spec.provider.kubernetes"


def service_type(proxies: Resource) -> Any:
    """Type of the Service before proxies; Envoy Gateway's default is a load balancer."""
    return at(proxies, f"{_PROVIDER}.envoyService.type", "LoadBalancer")


@resource_policy(
    "gateway-proxies-are-bounded",
    "Proxies of a gateway say what CPU and memory they need, and are held to that memory",
    types=(ENVOY_PROXY,),
    risk="medium",
    why="https://gateway.envoyproxy.io/docs/tasks/operations/customize-envoyproxy/",
    fix="Set resources of the EnvoyProxy's container: requests of CPU and memory, and the same limit of memory. Envoy "
    "refuses requests in time only where it knows its limit.",
)
def gateway_proxies_are_bounded(proxies: Resource, _: Parameters) -> Iterator[str]:
    part = "envoyDaemonSet" if at(proxies, f"{_PROVIDER}.envoyDaemonSet") is not None else "envoyDeployment"
    resources = at(proxies, f"{_PROVIDER}.{part}.container.resources", {})
    if not isinstance(resources, Mapping):
        return
    requests, limits = (resources.get(kind, {}) for kind in ("requests", "limits"))
    if UNKNOWN in (requests, limits) or not isinstance(requests, Mapping) or not isinstance(limits, Mapping):
        return
    limit = limits.get("memory")
    request = requests.get("memory", limit)
    if requests.get("cpu", limits.get("cpu")) is None:
        yield "proxies request no CPU, of which their autoscaler reckons its percentage"
    if limit is None:
        yield "proxies have no limit of memory: with many long requests the kernel ends whichever pod it likes"
    elif UNKNOWN not in (request, limit) and known(request) != known(limit):
        yield f"proxies request {request} of memory and are limited to {limit}; expected the same"
