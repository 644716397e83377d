"""KServe: services by hand, right ones of which nothing is said, and wrong ones."""

from __future__ import annotations

from typing import Any

import pytest

from planner.checks.kserve import findings
from planner.inventory import Inventory
from planner.plan import UNKNOWN, Plan, Resource
from planner.rules import Rules
from tests.planner.checks.small_clusters import cluster, thing
from tests.planner.inventory.test_kserve import SERVER, runtime, service

FORMATS = {"supportedModelFormats": [{"name": "triton", "version": "2"}], "protocolVersions": ["v2", "grpc-v2"]}
CHART = thing("Release", "kserve", chart="oci://ghcr.io/kserve/charts/kserve-resources")
KEDA = thing("Release", "keda", chart="keda")


def knative(*features: str) -> Resource:
    given = {f"kubernetes.podspec-{feature}": "enabled" for feature in features}
    return thing("KnativeServing", "knative-serving", {"config": {"features": given}}, namespace="knative-serving")


def _in_namespace(release: Resource) -> Resource:
    release.inputs["namespace"] = "a"
    return release


def said(*resources: Resource) -> list[tuple[str, str]]:
    plan = Plan.from_json(Plan.of("test", "test", [*cluster(), CHART, *resources]).to_json())
    return [(one.rule, one.message) for one in findings(Inventory(plan), Rules())]


def test_nothing_is_said_of_a_service_that_is_right() -> None:
    model = {"modelFormat": {"name": "triton", "version": "2"}, "protocolVersion": "grpc-v2"}
    assert said(runtime(**FORMATS), service(model=model)) == []


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([], "there is none"),
        ([runtime(name="tritons")], "did you mean 'tritons'?"),
        ([runtime(name="other")], "there is other"),
        ([runtime(namespace="b")], "there is none"),
        ([runtime("ClusterServingRuntime")], None),
        ([runtime(name=UNKNOWN)], None),
        ([thing("Release", "r", chart="kserve-runtime-configs")], None),
        ([_in_namespace(thing("Release", "r", chart="models"))], None),
    ],
)
def test_a_runtime_that_is_there_or_that_somebody_else_brings(resources: list[Resource], expected: str | None) -> None:
    heard = said(service(), *resources)
    assert [(rule, message.rpartition("; ")[2]) for rule, message in heard] == (
        [("serving-runtime-exists", expected)] if expected else []
    )


@pytest.mark.parametrize(
    ("spec", "model", "expected"),
    [
        (FORMATS, {"modelFormat": {"name": "onnx"}}, "is of the format onnx; its runtime triton is for triton 2"),
        (FORMATS, {"modelFormat": {"name": "triton", "version": "1"}}, "is of the format triton 1"),
        (FORMATS, {"protocolVersion": "v1"}, "speaks v1; its runtime triton speaks v2, grpc-v2"),
        ({"containers": [{**SERVER, "name": "triton"}]}, {}, "KServe serves from one called kserve-container"),
        (FORMATS, {"modelFormat": {"name": UNKNOWN}}, None),
        ({}, {"modelFormat": {"name": "onnx"}}, None),
    ],
)
def test_a_runtime_that_is_for_something_else(spec: Any, model: Any, expected: str | None) -> None:
    heard = said(runtime(**spec), service(model=model))
    assert [rule for rule, _ in heard] == (["serving-runtime-fits-the-model"] if expected else [])
    assert all(str(expected) in message for _, message in heard)


def test_a_mode_and_an_autoscaler_that_the_cluster_has() -> None:
    scaled = service()
    scaled.inputs["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] = "keda"
    assert [rule for rule, _ in said(runtime(), scaled)] == ["inference-service-can-run"]
    assert said(runtime(), scaled, KEDA) == []
    ((rule, message),) = said(runtime(nodeSelector={}, tolerations=[]), service("Knative"))
    assert rule == "inference-service-can-run"
    assert "nothing brings Knative Serving" in message
    assert said(runtime(nodeSelector={}, tolerations=[]), service("Knative"), knative()) == []


def test_what_knative_refuses() -> None:
    there = knative("nodeselector")
    hooked = {**SERVER, "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}
    hooked["ports"] = [*SERVER["ports"], {"containerPort": 8001}]
    heard = said(runtime(containers=[hooked]), service("Knative", terminationGracePeriodSeconds=60), there)
    assert {rule for rule, _ in heard} == {"knative-allows-the-pod"}
    told = " ".join(message for _, message in heard)
    for part in ("lifecycle hook", "several ports", "terminationGracePeriodSeconds", "podspec-tolerations"):
        assert part in told
    assert "podspec-nodeselector" not in told
    # As Deployments all of that is as it should be.
    assert said(runtime(containers=[hooked]), service(terminationGracePeriodSeconds=60), there) == []
