"""Contracts: what one side changes and the other forgets is found; what charts and clouds may make is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from planner.checks.contracts import RULES, findings
from planner.inventory import Inventory
from planner.plan import UNKNOWN, Plan
from planner.rules import Rules
from tests.faults import gateways
from tests.faults.contracts import FAULTS
from tests.faults.fault import Fault, State, the

DEPLOYMENT, SERVICE = "kubernetes:apps/v1:Deployment", "kubernetes:core/v1:Service"
SCALER = "kubernetes:keda.sh/v1alpha1:ScaledObject"
HPA = next(fault for fault in FAULTS if fault.name == "autoscaler on a metric of no adapter")


def found(plan: Plan) -> list:
    return list(findings(Inventory(plan), Rules()))


def rules_of(plan: Plan, mutate: Callable[[list[State]], None]) -> set[str]:
    """Rules that a change breaks."""
    return {finding.rule for finding in found(Fault("", "", "", "", mutate).plant(plan))}


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_fault_is_found(fault, simulated_plan):
    new = [f for f in found(fault.plant(simulated_plan(fault.environment))) if f.rule == fault.rule]
    assert any(fault.at in f.urn or fault.at in f.subject for f in new)


def test_every_rule_has_a_fault():
    assert {rule.name for rule in RULES} <= {fault.rule for fault in (*FAULTS, *gateways.FAULTS)}
    assert {fault.rule for fault in FAULTS} <= {rule.name for rule in RULES}


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
@pytest.mark.parametrize("known", [True, False])
def test_nothing_is_wrong_where_nothing_is(known, environment, environment_plan, simulated_plan):
    assert found((simulated_plan if known else environment_plan)(environment)) == []


@pytest.mark.parametrize("fault", [f for f in FAULTS if f.name in (
    "label of the pods renamed", "budget for no pods", "autoscaler of nothing", "node class under another name",
    "compute class tries no pool", "identity in another namespace",
    "endpoint groups under another name", "service account that isn't there")], ids=str)  # fmt: skip
def test_the_fault_is_found_before_the_cloud_knows_anything(fault, environment_plan):
    new = [f for f in found(fault.plant(environment_plan(fault.environment))) if f.rule == fault.rule]
    assert any(fault.at in f.urn or fault.at in f.subject for f in new)


# ---- what is nobody's fault


def _selector(states: list[State]) -> Any:
    return the(states, SERVICE, "us-east-1-triton-service")["inputs"]["spec"]["selector"]


def test_an_unknown_label_matches(simulated_plan):
    def mutate(states):
        _selector(states)["app.kubernetes.io/name"] = UNKNOWN

    assert rules_of(simulated_plan("dev"), mutate) == set()


def test_a_chart_in_the_namespace_may_make_the_pods(simulated_plan):
    def mutate(states):
        _selector(states)["app.kubernetes.io/name"] = "other"
        release = next(s for s in states if s["type"].endswith(":Release"))
        states.append({**release, "urn": f"{release['urn']}-more", "inputs": {"chart": "x", "namespace": "serving"}})

    assert rules_of(simulated_plan("dev"), mutate) == set()


def test_a_service_without_a_selector_has_its_endpoints_made_by_hand(simulated_plan):
    def mutate(states):
        the(states, SERVICE, "us-east-1-triton-service")["inputs"]["spec"].pop("selector")

    assert rules_of(simulated_plan("dev"), mutate) <= {"network-policy-admits-the-service"}


def _read(states: list[State], **source: Any) -> None:
    container = the(states, DEPLOYMENT, "us-east-1-triton")["inputs"]["spec"]["template"]["spec"]["containers"][0]
    container["env"].append({"name": "X", "valueFrom": source})


@pytest.mark.parametrize(
    ("source", "broken"),
    [
        ({"configMapKeyRef": {"name": "nowhere", "key": "k"}}, True),
        ({"configMapKeyRef": {"name": "nowhere", "key": "k", "optional": True}}, False),
        ({"configMapKeyRef": {"name": UNKNOWN, "key": "k"}}, False),
        ({"configMapKeyRef": {"name": "kube-root-ca.crt", "key": "ca.crt"}}, False),
        ({"secretKeyRef": {"name": "nowhere", "key": "k"}}, True),
    ],
)
def test_references_to_configuration(source, broken, simulated_plan):
    broken_rules = rules_of(simulated_plan("dev"), lambda states: _read(states, **source))
    assert broken_rules == ({"config-key-exists"} if broken else set())


def test_an_external_secret_may_make_a_secret(simulated_plan):
    def mutate(states):
        _read(states, secretKeyRef={"name": "made-elsewhere", "key": "k"})
        service = the(states, SERVICE, "us-east-1-triton-service")
        kind = "kubernetes:external-secrets.io/v1:ExternalSecret"
        inputs = {"kind": "ExternalSecret", "metadata": {"name": "s", "namespace": "serving"}, "spec": {}}
        states.append({**service, "urn": service["urn"].replace(SERVICE, kind), "type": kind, "inputs": inputs})

    assert rules_of(simulated_plan("dev"), mutate) == set()


def test_a_policy_may_let_in_a_range_or_a_name(simulated_plan):
    def mutate(states):
        policy = the(states, "kubernetes:networking.k8s.io/v1:NetworkPolicy", "triton-traffic")["inputs"]["spec"]
        policy["ingress"] = [{"ports": [{"port": 8000, "endPort": 8001}, {"port": "metrics"}]}]

    assert rules_of(simulated_plan("dev"), mutate) == set()


def test_two_scalers_of_one_workload(simulated_plan):
    def mutate(states):
        scaler = the(states, SCALER)
        inputs = {**scaler["inputs"], "metadata": {**scaler["inputs"]["metadata"], "name": "second"}}
        states.append({**scaler, "urn": f"{scaler['urn']}-second", "inputs": inputs})

    assert rules_of(simulated_plan("dev"), mutate) == {"scale-target-exists"}


def _trigger(states: list[State], index: int) -> dict[str, Any]:
    return the(states, SCALER)["inputs"]["spec"]["triggers"][index]["metadata"]


@pytest.mark.parametrize(
    ("address", "broken"),
    [
        ("http://prometheus-stack-prometheus.monitoring:9090", False),
        ("http://prometheus-stack-prometheus.monitoring.svc.cluster.local:9090/", False),
        ("http://prometheus-operated.monitoring.svc:9090", False),
        ("https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-1", False),
        (UNKNOWN, False),
        ("http://us-east-1-triton.serving.svc:8000", False),
        ("http://us-east-1-triton.serving.svc:9090", True),
        ("http://prometheus-stack-prometheus.monitoring.svc", True),
        ("http://prometheus-stack-prometheus.monitoring.svc:9091", True),
        ("http://prometheus-server.monitoring.svc:9090", True),
        ("http://prometheus.nowhere.svc:9090", True),
    ],
)
def test_whom_a_scaler_asks(address, broken, simulated_plan):
    def mutate(states):
        _trigger(states, 0)["serverAddress"] = address

    assert rules_of(simulated_plan("dev"), mutate) == ({"scaling-source-exists"} if broken else set())


def test_another_chart_in_the_namespace_may_make_the_service(simulated_plan):
    def mutate(states):
        _trigger(states, 0)["serverAddress"] = "http://thanos-query.monitoring.svc:9090"
        release = the(states, "kubernetes:helm.sh/v3:Release", "kube-prometheus-stack")
        states.append({**release, "urn": f"{release['urn']}-more", "inputs": {**release["inputs"], "chart": "thanos"}})

    assert rules_of(simulated_plan("dev"), mutate) == set()


@pytest.mark.parametrize(
    ("query", "broken"),
    [
        ("sum(aicloud:nothing:rate5m)", True),
        ('sum(rate(requests_total{job="aicloud:nothing"}[5m]))', False),
        ("node:node_cpu_utilisation:avg1m", False),  # a chart's
        (UNKNOWN, False),
    ],
)
def test_what_a_scaler_goes_by_is_recorded(query, broken, simulated_plan):
    def mutate(states):
        _trigger(states, 0)["query"] = query

    assert rules_of(simulated_plan("dev"), mutate) == ({"scaling-metric-exists"} if broken else set())


def test_metrics_of_an_adapter_are_known_by_its_rules(simulated_plan):
    """As other people's programs have it: a HorizontalPodAutoscaler, and prometheus-adapter."""

    def plan(exported: str) -> Callable[[list[State]], None]:
        def mutate(states: list[State]) -> None:
            HPA.mutate(states)
            release = the(states, "kubernetes:helm.sh/v3:Release", "us-west-2-cluster-addons-kueue")
            values = {"rules": {"default": False, "custom": [{"name": {"as": exported}}]}}
            inputs = {**release["inputs"], "chart": "prometheus-adapter", "values": values}
            states.append({**release, "urn": f"{release['urn']}-adapter", "inputs": inputs})

        return mutate

    assert rules_of(simulated_plan("staging"), plan("triton_queue_seconds_per_request")) == set()
    assert rules_of(simulated_plan("staging"), plan("triton_queue_seconds")) == {"scaling-metric-exists"}


def test_a_plan_of_somebody_elses(simulated_plan):
    """Without clusters, components or providers, nothing can be said and nothing goes wrong."""
    plan = simulated_plan("prod")
    kubernetes = [r for r in plan if r.package == "kubernetes" and not r.is_provider]
    assert {f.rule for f in found(Plan.of("p", "s", kubernetes))} <= {"identity-matches-service-account"}
    assert found(Plan.of("p", "s", [r for r in plan if r.package == "aws"])) == []
    assert found(Plan.of("p", "s", ())) == []
