"""How TritonInference scales: what KEDA is told, and how requests reach a server at zero."""

from __future__ import annotations

from typing import Any

import pytest

from components.cluster import keda
from components.cluster.addon_values import PROMETHEUS_URL
from components.inference import TritonInference, activator, forecast, scaling
from components.inference.forecast import Forecast
from components.inference.scaling import Scaling, Steps, Target
from planner.engine import PreviewFailed
from planner.plan import Plan, Resource
from tests.components.test_inference import AWS, DEPLOYMENT, GCP, POLICY, SCALER, plan_for

RULES = "kubernetes:monitoring.coreos.com/v1:PrometheusRule"
ROUTE = "kubernetes:http.keda.sh/v1beta1:InterceptorRoute"
SERVICE = "kubernetes:core/v1:Service"
TARGET = Target("chat", "inference", ("bert", "resnet50"), 1_000)
PLAIN = Scaling(least=2, most=8, queue_objective_ms=50)
TO_ZERO = Scaling(least=0, most=8, queue_objective_ms=50, to_zero=True)
FORECAST: dict[str, Any] = {"model": "bert", "requests_per_replica_s": 100.0}


def at_zero(args: dict[str, Any] = AWS, **changes: Any) -> Plan:
    more = {"scale_to_zero": True, **changes.pop("scaling", {})}
    return plan_for(args, min_replicas=0, scaling=more, **changes)


@pytest.fixture(scope="module")
def zero() -> Plan:
    return at_zero()


# ---- what replicas go by


def test_time_is_a_value_and_what_is_counted_is_shared() -> None:
    """Time each request waits is the same on however many replicas; what waits on all of them is divided."""
    kinds = {one["name"]: one["metricType"] for one in scaling.triggers(TARGET, PLAIN)}
    assert kinds == {"queue": "Value", "pending": "AverageValue"}


def test_every_query_asks_the_clusters_own_prometheus_about_these_pods_alone() -> None:
    forecasts = (Forecast("bert", 100), Forecast("resnet50", 50, "week"))
    for how in (PLAIN, TO_ZERO, Scaling(2, 8, 50, forecasts=forecasts)):
        for one in scaling.triggers(TARGET, how):
            if one["type"] == "prometheus":
                assert one["metadata"]["serverAddress"] == PROMETHEUS_URL
                assert 'namespace="inference"' in one["metadata"]["query"]
    # A deployment called chat-beta is another.
    assert TARGET.pods == 'namespace="inference",pod=~"chat-[a-z0-9]+-[a-z0-9]+"'


def test_without_a_result_what_runs_is_held_but_at_zero_there_is_none() -> None:
    for query in (scaling.queue_query, scaling.pending_query):
        assert "vector(0)" not in query(TARGET)
        assert query(TARGET, to_zero=True) == f"{query(TARGET)} or vector(0)"
    for one in scaling.triggers(TARGET, PLAIN):
        assert one["metadata"]["ignoreNullValues"] == "false"


def test_all_that_keda_is_told_is_text() -> None:
    how = Scaling(0, 8, 2.5, forecasts=(Forecast("bert", 100),), to_zero=True)
    for one in scaling.triggers(TARGET, how):
        assert all(isinstance(value, str) for value in one["metadata"].values())
    assert scaling.triggers(TARGET, how)[0]["metadata"]["threshold"] == "2.5"


@pytest.mark.parametrize(
    ("value", "text"), [(50.0, "50"), (2.5, "2.5"), (0.001, "0.001"), (1e-4 * 10, "0.001"), (1e6, "1000000")]
)
def test_numbers_are_written_to_the_thousandth(value: float, text: str) -> None:
    assert scaling.number(value) == text


# ---- how fast


def test_the_defaults_go_up_at_once_and_down_slowly() -> None:
    behavior = scaling.scaled_object_spec(TARGET, PLAIN)["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleUp"] == {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [
            {"type": "Percent", "value": 100, "periodSeconds": 60},
            {"type": "Pods", "value": 2, "periodSeconds": 60},
        ],
    }
    assert behavior["scaleDown"] == {
        "stabilizationWindowSeconds": 600,
        "selectPolicy": "Max",
        "policies": [
            {"type": "Percent", "value": 10, "periodSeconds": 120},
            {"type": "Pods", "value": 1, "periodSeconds": 120},
        ],
    }


def test_each_direction_is_told_by_itself_and_what_is_not_told_stays() -> None:
    args: Any = {"up": {"percent": 50}, "down": {"stabilization_s": 60.0}}
    how = scaling.scaling_of(args, least=1, most=2, queue_objective_ms=50)
    assert how.up == Steps(percent=50, pods=2, period_s=60, stabilization_s=0)
    assert how.down == Steps(percent=10, pods=1, period_s=120, stabilization_s=60)


# ---- when Prometheus is away


@pytest.mark.parametrize(("how", "replicas"), [(PLAIN, 2), (TO_ZERO, 1)])
def test_without_prometheus_replicas_are_held(how: Scaling, replicas: int) -> None:
    """Of 0 replicas KEDA makes no fallback at all: it would take the server away (scale_scaledobjects.go)."""
    fallback = scaling.scaled_object_spec(TARGET, how)["fallback"]
    assert fallback == {"failureThreshold": 3, "replicas": replicas, "behavior": "currentReplicasIfHigher"}


def test_a_server_without_its_scaler_keeps_what_it_has_but_for_nothing() -> None:
    for how in (PLAIN, TO_ZERO):
        advanced = scaling.scaled_object_spec(TARGET, how)["advanced"]
        assert advanced["restoreToOriginalReplicaCount"] is how.to_zero


# ---- what is coming


def test_a_forecast_wants_replicas_and_keeps_none_awake() -> None:
    how = Scaling(2, 8, 50, forecasts=(Forecast("bert", 100, utilization=0.5),))
    trigger = scaling.triggers(TARGET, how)[-1]
    assert (trigger["name"], trigger["metricType"]) == ("forecast-bert-level", "AverageValue")
    assert trigger["metadata"]["threshold"] == trigger["metadata"]["activationThreshold"] == "50"
    assert trigger["metadata"]["ignoreNullValues"] == "true"  # no forecast wants nothing, and fails nothing


def test_what_the_trigger_asks_for_is_what_the_rules_record() -> None:
    plan = plan_for(AWS, scaling={"forecasts": [{**FORECAST, "method": one} for one in forecast.METHODS]})
    (group,) = plan.one(RULES).inputs["spec"]["groups"]
    assert group["interval"] == "30s"
    recorded = [rule for rule in group["rules"] if rule["record"] == forecast.FORECAST]
    assert [rule["record"] for rule in group["rules"]].count(forecast.RATE) == 1
    triggers = [one for one in plan.one(SCALER).inputs["spec"]["triggers"] if one["name"].startswith("forecast")]
    assert len(recorded) == len(triggers) == len(forecast.METHODS)
    for rule, trigger in zip(recorded, triggers, strict=True):
        query = trigger["metadata"]["query"]
        assert query.startswith(f"max({forecast.FORECAST}{{")
        matchers = query[query.index("{") + 1 : query.index("}")].split(",")
        assert {key: value.strip('"') for key, _, value in (one.partition("=") for one in matchers)} == rule["labels"]
    assert plan.one(RULES).inputs["metadata"]["namespace"] == "inference"


def test_a_forecast_looks_ahead_as_long_as_a_replica_takes_to_start() -> None:
    plan = plan_for(AWS, scaling={"forecasts": [{**FORECAST, "method": "trend"}]})
    ahead = plan.one(DEPLOYMENT).inputs["spec"]["progressDeadlineSeconds"]
    expr = plan.one(RULES).inputs["spec"]["groups"][0]["rules"][1]["expr"]
    assert f", {ahead})" in expr


def test_no_forecast_no_rules() -> None:
    assert not plan_for(AWS).of_type(RULES)


# ---- at zero


def test_at_zero_the_activator_is_one_trigger_among_others(zero: Plan) -> None:
    spec = zero.one(SCALER).inputs["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 8)
    assert [one["name"] for one in spec["triggers"]] == ["queue", "pending", "activator"]
    last = spec["triggers"][-1]
    assert last["type"] == "external-push"
    assert last["metadata"]["scalerAddress"] == keda.ACTIVATOR_SCALER
    assert last["metadata"]["interceptorRoute"] == zero.one(ROUTE).inputs["metadata"]["name"]
    assert zero.one(ROUTE).inputs["metadata"]["namespace"] == zero.one(SCALER).inputs["metadata"]["namespace"]


def test_requests_find_their_server_by_its_models(zero: Plan) -> None:
    spec = zero.one(ROUTE).inputs["spec"]
    assert spec["target"] == {"service": "chat", "port": 8000}
    models, health = spec["rules"]
    assert models == {"paths": [{"value": "/v2/models/bert"}, {"value": "/v2/models/resnet50"}]}
    assert health == {"paths": [{"value": "/v2/health"}]}


def test_hosts_tell_servers_of_like_models_apart_but_health_is_asked_by_address() -> None:
    models, health = at_zero(scaling={"hosts": ["chat.example.com"]}).one(ROUTE).inputs["spec"]["rules"]
    assert models["hosts"] == ["chat.example.com"]
    assert "hosts" not in health


def test_who_asks_for_health_wakes_nobody(zero: Plan) -> None:
    (static,) = zero.one(ROUTE).inputs["spec"]["staticRoutes"]
    assert static["rules"] == [{"paths": [{"value": "/v2/health"}]}]
    assert static["responseMode"] == "WhenUnavailable"
    assert static["response"]["statusCode"] == 200


def test_requests_wait_as_long_as_a_replica_takes_and_it_is_not_taken_away_meanwhile(zero: Plan) -> None:
    start = zero.one(DEPLOYMENT).inputs["spec"]["progressDeadlineSeconds"]
    timeouts = zero.one(ROUTE).inputs["spec"]["timeouts"]
    assert int(timeouts["readiness"].removesuffix("s")) > start
    assert timeouts["request"] == "0s", "a deadline for all of it would end the waiting"
    assert zero.one(SCALER).inputs["spec"]["cooldownPeriod"] >= start
    assert start < keda.DRAIN_S, "a pod of the activator that goes lets its requests wait out"


def service(plan: Plan, name: str) -> Resource:
    return plan.one(SERVICE, name)


@pytest.mark.parametrize("args", [AWS, GCP], ids=["aws", "gcp"])
def test_clients_send_to_the_activator_which_alone_has_the_annotations(args: dict[str, Any]) -> None:
    annotations = {"cloud.google.com/neg": "{}"}
    plan = at_zero(args, service="chat-api", service_annotations=annotations)
    front, own = service(plan, "chat-activator").inputs, service(plan, "chat-service").inputs
    named = tuple(plan.outputs[f"request_{part}"] for part in ("namespace", "service", "port"))
    assert named == ("keda-http", "chat-api", 8080) == activator.destination("inference", "chat-api", to_zero=True)
    assert (front["metadata"]["namespace"], front["metadata"]["name"]) == ("keda-http", "chat-api")
    assert [port["port"] for port in front["spec"]["ports"]] == [8080]
    assert front["metadata"]["annotations"] == annotations
    assert own["metadata"]["annotations"] == {"pulumi.com/skipAwait": "true"}
    assert (plan.outputs["service"], plan.outputs["namespace"]) == ("chat-api", "inference")


def test_else_clients_send_to_the_server() -> None:
    plan = plan_for(AWS)
    assert [r.name for r in plan.of_type(SERVICE)] == ["chat-service"]
    assert not plan.of_type(ROUTE)
    named = tuple(plan.outputs[f"request_{part}"] for part in ("namespace", "service", "port"))
    assert named == ("inference", "chat", 8000) == activator.destination("inference", "chat", to_zero=False)


def test_the_activator_reaches_the_pods_by_http_alone(zero: Plan) -> None:
    def from_activator(plan: Plan) -> list[dict[str, Any]]:
        spec = plan.one(POLICY, "chat-traffic").inputs["spec"]
        peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda-http"}}}
        return [rule for rule in spec["ingress"] if peer in rule["from"]]

    (rule,) = from_activator(zero)
    assert [port["port"] for port in rule["ports"]] == [8000]
    assert from_activator(plan_for(AWS)) == []


def test_the_scaler_comes_last(zero: Plan) -> None:
    waited = zero.one(SCALER).dependencies
    assert {zero.one(DEPLOYMENT).urn, zero.one(ROUTE).urn} <= set(waited)


# ---- what is refused


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"min_replicas": 0}, "min_replicas is 0; accepted is 1 or more: without a pod nothing waits"),
        ({"scaling": {"scale_to_zero": True}}, "min_replicas is 2; accepted is 0, since scaling.scale_to_zero is True"),
        (
            {"min_replicas": 0, "max_replicas": 0, "scaling": {"scale_to_zero": True}},
            "max_replicas is 0; accepted is 1",
        ),
        ({"scaling": {"idle_s": 3600}}, "scaling.idle_s is 3600; accepted is none without scale_to_zero"),
        ({"scaling": {"hosts": ["x.example.com"]}}, "scaling.hosts is ['x.example.com']; accepted is none without"),
        (
            {"min_replicas": 0, "scaling": {"scale_to_zero": True, "hosts": ["x.example.com", "Y"]}},
            "scaling.hosts[1] is 'Y'; accepted is a host name",
        ),
        (
            {"min_replicas": 0, "scaling": {"scale_to_zero": True, "idle_s": 300}},
            "scaling.idle_s is 300; accepted is 1153 or more, in which a replica may take to start",
        ),
        ({"scaling": {"pending_requests": 0}}, "scaling.pending_requests is 0; accepted is a number above 0"),
        ({"scaling": {"polling_s": -1}}, "scaling.polling_s is -1"),
        ({"scaling": {"polling": 15}}, "scaling.polling: unknown argument; did you mean 'polling_s'?"),
        ({"scaling": {"up": {"percent": 0}}}, "scaling.up.percent is 0; accepted is 1 to 10000"),
        ({"scaling": {"down": {"period_s": 3600}}}, "scaling.down.period_s is 3600; accepted is 1 to 1800"),
        ({"scaling": {"down": {"window": 60}}}, "scaling.down.window: unknown argument"),
        ({"scaling": {"forecasts": [{"model": "bert"}]}}, "scaling.forecasts[0].requests_per_replica_s: is missing"),
        (
            {"scaling": {"forecasts": [FORECAST, {**FORECAST, "model": "gpt"}]}},
            "scaling.forecasts[1].model is 'gpt'; the server has bert, resnet50",
        ),
        ({"scaling": {"forecasts": [FORECAST, FORECAST]}}, "scaling.forecasts[1] is the level of bert, which is there"),
        (
            {"scaling": {"forecasts": [{**FORECAST, "method": "month"}]}},
            "scaling.forecasts[0].method is 'month'; accepted are 'level', 'trend', 'day', 'week'",
        ),
        (
            {"scaling": {"forecasts": [{**FORECAST, "method": "day", "growth": 0.5}]}},
            "scaling.forecasts[0].growth is 0.5; accepted is 1 or more",
        ),
        (
            {"scaling": {"forecasts": [{**FORECAST, "growth": 2}]}},
            "scaling.forecasts[0].growth is 2; accepted is none for a level",
        ),
        ({"scaling": {"forecasts": [{**FORECAST, "utilization": 1.5}]}}, "scaling.forecasts[0].utilization is 1.5"),
        (
            {"scaling": {"forecasts": [{**FORECAST, "requests_per_replica_s": 0.0}]}},
            "scaling.forecasts[0].requests_per_replica_s is 0.0; accepted is a number above 0",
        ),
    ],
)
def test_a_wrong_argument_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, PreviewFailed), match="TritonInference 'chat': ") as raised:
        plan_for(AWS, **changes)
    assert says in str(raised.value)


def test_a_name_that_pods_would_not_keep_is_refused() -> None:
    with pytest.raises(ValueError, match="accepted are up to 46 characters"):
        TritonInference("x" * 47, AWS)  # type: ignore[arg-type]
