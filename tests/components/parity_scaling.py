"""How TritonInference scales, feature by feature: KEDA is the same on both clouds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from planner.plan import Plan
from tests.components.parity import Arguments, Feature, Offered, values

SCALER = "kubernetes:keda.sh/v1alpha1:ScaledObject"
RULES = "kubernetes:monitoring.coreos.com/v1:PrometheusRule"
ROUTE = "kubernetes:http.keda.sh/v1beta1:InterceptorRoute"
SERVICE = "kubernetes:core/v1:Service"
BEHAVIOR = "spec.advanced.horizontalPodAutoscalerConfig.behavior"


def feature(title: str, arguments: str, how: str, proof: Callable[[Plan], bool], **scaling: Any) -> Feature:
    """`scaling` is changed for the proof; with `scale_to_zero` there may be no replica."""

    def change(args: Arguments) -> Arguments:
        fewest = {"min_replicas": 0} if scaling.get("scale_to_zero") else {}
        return {**args, **fewest, "scaling": {**args.get("scaling", {}), **scaling}}

    offered = Offered(how, proof)
    named = tuple(arguments.split())
    return Feature("TritonInference", title, named, offered, offered, change=change if scaling else None)


def thresholds(plan: Plan) -> dict[str, str]:
    names = values(plan, SCALER, "spec.triggers.name")
    return dict(zip(names, values(plan, SCALER, "spec.triggers.metadata.threshold"), strict=False))


FORECAST: dict[str, Any] = {"model": "resnet50", "requests_per_replica_s": 100, "utilization": 0.5}

FEATURES = [
    feature(
        "Replicas follow the time that one request waits",
        "min_replicas max_replicas queue_objective_ms",
        "KEDA, by Prometheus",
        lambda p: thresholds(p)["queue"] == "20" and values(p, SCALER, "spec.maxReplicaCount") == [4],
    ),
    feature(
        "Replicas follow the requests that wait for each",
        "scaling.pending_requests scaling.polling_s",
        "KEDA, by Prometheus",
        lambda p: thresholds(p)["pending"] == "3" and values(p, SCALER, "spec.pollingInterval") == [30],
        pending_requests=3,
        polling_s=30,
    ),
    feature(
        "Replicas are there before the requests come",
        "scaling.forecasts.model scaling.forecasts.requests_per_replica_s scaling.forecasts.method"
        " scaling.forecasts.growth scaling.forecasts.utilization",
        "KEDA, by what Prometheus records",
        lambda p: (
            thresholds(p)["forecast-resnet50-day"] == "50"
            and "3 * max_over_time" in values(p, RULES, "spec.groups.rules.expr")[1]
        ),
        forecasts=[{**FORECAST, "method": "day", "growth": 3}],
    ),
    feature(
        "Replicas come and go at different speeds",
        "scaling.up.percent scaling.up.pods scaling.up.period_s scaling.up.stabilization_s scaling.down.percent"
        " scaling.down.pods scaling.down.period_s scaling.down.stabilization_s",
        "behavior of the autoscaler",
        lambda p: (
            values(p, SCALER, f"{BEHAVIOR}.scaleUp.policies.value") == [50, 1]
            and values(p, SCALER, f"{BEHAVIOR}.scaleDown.stabilizationWindowSeconds") == [60]
        ),
        up={"percent": 50, "pods": 1, "period_s": 30, "stabilization_s": 15},
        down={"percent": 20, "pods": 2, "period_s": 60, "stabilization_s": 60},
    ),
    feature(
        "No replica while nobody asks, and requests wait for the first",
        "scaling.scale_to_zero scaling.idle_s scaling.activator_requests scaling.hosts",
        "KEDA's HTTP add-on",
        lambda p: (
            values(p, SCALER, "spec.minReplicaCount") == [0]
            and values(p, SCALER, "spec.cooldownPeriod") == [7200]
            and values(p, ROUTE, "spec.rules.hosts") == ["chat.example.com"]
            and values(p, ROUTE, "spec.scalingMetric.concurrency.targetValue") == [8]
            and values(p, SERVICE, "metadata.namespace", name="activator") == ["keda-http"]
        ),
        scale_to_zero=True,
        idle_s=7200,
        hosts=["chat.example.com"],
        activator_requests=8,
    ),
]
