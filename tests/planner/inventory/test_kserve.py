"""What KServe makes of an InferenceService and its runtime: pods, as they will be."""

from __future__ import annotations

from typing import Any

import pytest

from planner.inventory import Inventory, Workload
from planner.plan import UNKNOWN, Plan, Resource
from tests.planner.checks.small_clusters import cluster, thing

MODE = "serving.kserve.io/deploymentMode"
SERVER = {
    "name": "kserve-container",
    "image": "triton:1",
    "args": ["--a"],
    "ports": [{"name": "http", "containerPort": 8000}],
}


def runtime(kind: str = "ServingRuntime", name: str = "triton", namespace: str = "a", **spec: Any) -> Resource:
    given = {"containers": [SERVER], "nodeSelector": {"pool": "l4"}, "tolerations": [{"key": "gpu"}]}
    given["volumes"] = [{"name": "models", "emptyDir": {}}]
    return thing(kind, name, {**given, **spec}, namespace=namespace if kind == "ServingRuntime" else "")


def service(
    mode: str = "Standard", model: dict[str, Any] | None = None, labels: Any = None, **predictor: Any
) -> Resource:
    model = {"modelFormat": {"name": "triton"}, "runtime": "triton", "args": ["--b"], **(model or {})}
    one = thing("InferenceService", "chat", {"predictor": {"model": model, **predictor}}, namespace="a", labels=labels)
    one.inputs["metadata"]["annotations"] = {MODE: mode}
    return one


def read(*resources: Resource) -> list[Workload]:
    plan = Plan.from_json(Plan.of("test", "test", [*cluster(), *resources]).to_json())
    return list(Inventory(plan).workloads)


def test_a_runtime_by_itself_is_no_workload() -> None:
    assert read(runtime(), runtime("ClusterServingRuntime", "other")) == []


def test_a_service_is_its_runtime_with_what_it_says_itself() -> None:
    one = service(
        model={"env": [{"name": "A", "value": "1"}], "resources": {"limits": {"nvidia.com/gpu": "1"}}},
        labels={"team": "x", "kueue.x-k8s.io/queue-name": "queue"},
        minReplicas=2,
        maxReplicas=5,
        serviceAccountName="chat",
        initContainers=[{"name": "fetch"}],
        tolerations=[{"key": "other"}],
        nodeSelector={"zone": "a"},
    )
    (workload,) = read(runtime(labels={"from": "runtime"}), one)
    assert (workload.kind, workload.name, workload.namespace, workload.part) == (
        "InferenceService", "chat", "a", "predictor",
    )  # fmt: skip
    assert (workload.min_replicas, workload.max_replicas, workload.gang, workload.queue) == (2, 5, False, "queue")
    (server,) = workload.spec["containers"]
    # Arguments are added, and not replaced as Kubernetes' patches would.
    assert (server["name"], server["image"], server["args"]) == ("kserve-container", "triton:1", ["--a", "--b"])
    assert server["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert not {"modelFormat", "runtime", "protocolVersion"} & server.keys()
    assert workload.spec["nodeSelector"] == {"pool": "l4", "zone": "a"}
    assert workload.spec["tolerations"] == [{"key": "other"}]
    assert workload.spec["volumes"] == [{"name": "models", "emptyDir": {}}]
    assert (workload.spec["serviceAccountName"], workload.spec["initContainers"]) == ("chat", [{"name": "fetch"}])
    assert not {"minReplicas", "model", "labels"} & workload.spec.keys()
    assert workload.labels == {
        "from": "runtime",
        "team": "x",
        "kueue.x-k8s.io/queue-name": "queue",
        "serving.kserve.io/inferenceservice": "chat",
        "component": "predictor",
        "app": "isvc.chat-predictor",
    }


@pytest.mark.parametrize(
    ("mode", "fewest", "most", "expected"),
    [
        ("Standard", None, None, (1, 1)),
        ("Standard", 0, 3, (1, 3)),
        ("RawDeployment", 4, 2, (4, 4)),
        ("Knative", 0, 3, (0, 3)),
        ("Serverless", 0, None, (0, 1)),
    ],
)
def test_how_many(mode: str, fewest: Any, most: Any, expected: tuple[int, int]) -> None:
    given = {"minReplicas": fewest, "maxReplicas": most}
    (workload,) = read(runtime(), service(mode, **{key: value for key, value in given.items() if value is not None}))
    assert (workload.min_replicas, workload.max_replicas) == expected


def test_knative_puts_a_proxy_before_the_server() -> None:
    (workload,) = read(runtime(), service("Knative", timeout=90))
    server, proxy = workload.spec["containers"]
    assert proxy["name"] == "queue-proxy"
    assert {"name": "user-port", "containerPort": 8000} in server["ports"]
    assert workload.spec["terminationGracePeriodSeconds"] == 90
    assert workload.labels["app"] == UNKNOWN


def test_the_runtime_that_is_meant() -> None:
    own = runtime(containers=[{**SERVER, "image": "own"}])
    everyones = runtime("ClusterServingRuntime", containers=[{**SERVER, "image": "everyone's"}])
    assert read(runtime(namespace="b"), service()) == []
    assert read(own, service(model={"runtime": "other"})) == []
    for there, image in (((everyones,), "everyone's"), ((everyones, own), "own")):
        (workload,) = read(*there, service())
        assert workload.spec["containers"][0]["image"] == image


def test_a_predictor_with_a_container_of_its_own_needs_no_runtime() -> None:
    spec = {
        "predictor": {"containers": [{"name": "kserve-container", "image": "own"}], "minReplicas": 2},
        "transformer": {"containers": [{"name": "kserve-container", "image": "before"}]},
    }
    first, second = read(thing("InferenceService", "chat", spec, namespace="a"))
    assert [(w.part, w.spec["containers"][0]["image"], w.min_replicas) for w in (first, second)] == [
        ("predictor", "own", 2),
        ("transformer", "before", 1),
    ]


def test_an_older_service_names_its_format_by_a_field() -> None:
    spec = {"predictor": {"triton": {"runtime": "triton", "args": ["--b"]}}}
    (workload,) = read(runtime(), thing("InferenceService", "chat", spec, namespace="a"))
    assert workload.spec["containers"][0]["args"] == ["--a", "--b"]
