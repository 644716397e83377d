"""What scales one deployment of an inference server: KEDA's objects, and the way through the activator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.inference import activator, forecast, scaling
from components.inference.scaling import Scaling, Target


@dataclass(frozen=True)
class Front:
    """The Service that clients send HTTP requests to."""

    service: pulumi.Output[str]
    namespace: pulumi.Output[str]
    port: pulumi.Output[int]


def scale(
    name: str,
    target: Target,
    how: Scaling,
    *,
    service: str,
    service_annotations: Mapping[str, str],
    labels: Mapping[str, str],
    child: pulumi.ResourceOptions,
    deployment: pulumi.Resource,
) -> Front:
    """Scale a deployment: its ScaledObject and, where they are asked for, forecasts and the activator.

    `name` begins the resources' names, `service` is the Service before the pods, which has the `service_annotations`
    unless a Service before the activator has them. `child` are the options of the component's children.
    """
    placed: dict[str, Any] = {"namespace": target.namespace, "labels": dict(labels), "name": target.deployment}
    ready: list[pulumi.Resource] = [deployment]
    if how.forecasts:
        groups = forecast.rule_groups(how.forecasts, target.pods, target.namespace, target.deployment, target.start_s)
        k8s.apiextensions.CustomResource(
            f"{name}-forecast",
            api_version="monitoring.coreos.com/v1",
            kind="PrometheusRule",
            metadata=placed,
            spec={"groups": groups},
            opts=child,
        )
    namespace, called, port = activator.destination(target.namespace, service, to_zero=how.to_zero)
    front = pulumi.Output.from_input(called)
    if how.to_zero:
        route = k8s.apiextensions.CustomResource(
            f"{name}-activator",
            api_version=activator.API_VERSION,
            kind="InterceptorRoute",
            metadata=placed,
            spec=activator.route_spec(
                service, target.models, hosts=how.hosts, requests=how.activator_requests, start_s=target.start_s
            ),
            opts=child,
        )
        ready.append(route)
        before = k8s.core.v1.Service(
            f"{name}-activator",
            metadata={
                "namespace": namespace,
                "labels": dict(labels),
                "name": called,
                "annotations": dict(service_annotations),
            },
            spec=activator.service_spec(),
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[route])),
        )
        front = before.metadata.name
    k8s.apiextensions.CustomResource(
        f"{name}-scaler",
        api_version=scaling.API_VERSION,
        kind="ScaledObject",
        metadata=placed,
        spec=scaling.scaled_object_spec(target, how),
        opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=ready)),
    )
    return Front(front, pulumi.Output.from_input(namespace), pulumi.Output.from_input(port))
