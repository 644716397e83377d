"""KServe among a cluster's add-ons: only where it is asked for, in an order in which each part finds the others."""

from __future__ import annotations

import re
from functools import cache

import pytest

from components.cluster import addon_values, serving_values
from components.inference import prometheus
from planner.engine import PreviewFailed
from planner.plan import Plan
from tests.components.clusters import CLOUDS, default, depends, objects, plan_with, releases

each_cloud = pytest.mark.parametrize("cloud", CLOUDS)
CHARTS = {"cert-manager", "kserve-crd", "kserve-resources"}


@cache
def asked(cloud: str, mode: str) -> Plan:
    return plan_with(cloud, kserve=mode)


@each_cloud
def test_nothing_of_it_is_there_unless_it_is_asked_for(cloud: str) -> None:
    assert not (CHARTS | {"knative-operator"}) & releases(default(cloud)).keys()
    assert releases(asked(cloud, "raw")).keys() >= CHARTS
    assert "knative-operator" not in releases(asked(cloud, "raw"))
    assert CHARTS | {"knative-operator"} <= releases(asked(cloud, "serverless")).keys()


@each_cloud
@pytest.mark.parametrize("mode", serving_values.MODES)
def test_each_part_is_made_after_those_that_it_needs(cloud: str, mode: str) -> None:
    plan = asked(cloud, mode)
    found = releases(plan)
    pairs = [
        ("kserve-resources", "kserve-crd"),
        ("kserve-resources", "cert-manager"),
        ("cert-manager", "kube-prometheus-stack"),
        ("kserve-resources", "keda"),
    ]
    for later, earlier in pairs:
        assert depends(plan, found[later], found[earlier]), (later, earlier)
    if mode == "serverless":
        serving = objects(plan, "KnativeServing")["knative-serving"]
        assert depends(plan, serving, found["knative-operator"])
        # KServe looks once, when it starts, for what it may watch.
        assert depends(plan, found["kserve-resources"], serving)


@pytest.mark.parametrize("mode", serving_values.MODES)
def test_the_controller_has_a_second_replica_and_a_budget(mode: str) -> None:
    plan = asked("aws", mode)
    (patch,) = plan.of_type("kubernetes:apps/v1:DeploymentPatch")
    assert patch.inputs["metadata"]["name"] == "kserve-controller-manager"
    assert patch.inputs["metadata"]["namespace"] == "kserve"
    assert patch.inputs["spec"] == {"replicas": 2}
    budget = objects(plan, "PodDisruptionBudget")["kserve-controller-manager"].inputs["spec"]
    assert (budget["maxUnavailable"], budget["selector"]["matchLabels"]) == (1, serving_values.CONTROLLER_PODS)
    for resource in (patch, objects(plan, "PodDisruptionBudget")["kserve-controller-manager"]):
        assert depends(plan, resource, releases(plan)["kserve-resources"])


def test_what_answers_webhooks_is_there_twice() -> None:
    certificates = serving_values.cert_manager()
    for part in (certificates, certificates["webhook"], certificates["cainjector"]):
        assert part["replicaCount"] == 2
        assert part["podDisruptionBudget"] == {"enabled": True, "minAvailable": 1}
        assert part["resources"]["requests"]["memory"] == part["resources"]["limits"]["memory"]
    # Nothing else would remove them.
    assert certificates["crds"] == {"enabled": True, "keep": False}


def test_kserve_makes_no_way_in_and_hands_out_no_tokens() -> None:
    for mode, expected in (("raw", "Standard"), ("serverless", "Knative")):
        values = serving_values.kserve(mode)["kserve"]
        assert values["controller"]["deploymentMode"] == expected
        assert values["controller"]["gateway"]["disableIngressCreation"] is True
        assert values["controller"]["gateway"]["disableIstioVirtualHost"] is True
        assert values["security"]["autoMountServiceAccountToken"] is False


def test_knative_is_reached_from_within_and_lets_go_of_nodes() -> None:
    spec = objects(asked("gcp", "serverless"), "KnativeServing")["knative-serving"].inputs["spec"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", spec["version"])
    assert spec["ingress"]["kourier"] == {"enabled": True, "service-type": "ClusterIP"}
    assert spec["high-availability"] == {"replicas": 2}
    assert {one["minAvailable"] for one in spec["podDisruptionBudgets"]} == {"50%"}
    features = spec["config"]["features"]
    assert {key for key, value in features.items() if value == "enabled"} == set(features)
    assert "kubernetes.podspec-init-containers" in features
    assert not any("host" in key for key in features)


@each_cloud
def test_another_mode_is_refused(cloud: str) -> None:
    with pytest.raises((ValueError, PreviewFailed), match="kserve is 'knative'; accepted are 'raw' and 'serverless'"):
        plan_with(cloud, kserve="knative")


def test_scalers_ask_the_prometheus_that_is_there() -> None:
    name = addon_values.prometheus_stack("encrypted", servers=True)["fullnameOverride"]
    assert f"{name}-prometheus" == prometheus.SERVICE
    assert prometheus.address(addon_values.MONITORING_NAMESPACE) == addon_values.PROMETHEUS_URL
