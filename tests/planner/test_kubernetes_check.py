"""Kubernetes objects checked as an API server would: core kinds, custom resources, and the rules beyond schemas."""

from __future__ import annotations

import copy
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.engine import values
from planner.engine.kubernetes import CustomResourceDefinitions, check_core
from planner.engine.kubernetes_rules import quantity
from planner.plan import UNKNOWN

CONTAINER: dict[str, Any] = {
    "name": "triton",
    "image": "triton:1",
    "ports": [{"name": "http", "containerPort": 8000}, {"name": "grpc", "containerPort": 8001}],
    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
    "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": "http"}},
    "resources": {
        "requests": {"cpu": "500m", "memory": "2Gi", "nvidia.com/gpu": 1},
        "limits": {"memory": "2Gi", "nvidia.com/gpu": 1},
    },
}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "triton", "labels": {"app.kubernetes.io/name": "triton"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "triton"}},
        "template": {
            "metadata": {"labels": {"app": "triton", "version": "1"}},
            "spec": {"containers": [CONTAINER], "volumes": [{"name": "models", "emptyDir": {}}]},
        },
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "triton"},
    "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "grpc", "port": 81}]},
}
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "models"},
    "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Ti"}}},
}
JUNK: list[Any] = [None, True, -1, 1.5, "", "x", [], [[]], [None], {}, {"name": []}, {"a": {"b": 1}}]
POD = "spec.template.spec"
FIRST = f"{POD}.containers[0]"
PROBE = f"{FIRST}.readinessProbe"


def changed(manifest: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one part replaced; `path` is a property path without quotes."""
    manifest = copy.deepcopy(manifest)
    part: Any = manifest
    *way, last = path.replace("[", ".[").split(".")
    for step in way:
        part = part[int(step[1:-1])] if step.startswith("[") else part[step]
    part[int(last[1:-1]) if last.startswith("[") else last] = value
    return manifest


def check(manifest: dict[str, Any], version: str = "1.34") -> list[Any]:
    return check_core(f"kubernetes:{manifest['apiVersion']}:{manifest['kind']}", manifest, version)


@pytest.mark.parametrize("manifest", [DEPLOYMENT, SERVICE, CLAIM], ids=lambda m: m["kind"])
def test_a_right_object_passes(manifest: dict[str, Any]) -> None:
    assert check(manifest) == []


MISTAKES: list[tuple[dict[str, Any], str, Any, str, str]] = [
    # manifest, path, value put there, path of the problem, a part of its message
    (DEPLOYMENT, "spec.replica", 3, "spec.replica", "did you mean 'replicas'?"),
    (DEPLOYMENT, "spec.replicas", "3", "spec.replicas", "expected integer, got string"),
    (DEPLOYMENT, f"{FIRST}.imag", "x", f"{FIRST}.imag", "did you mean 'image'?"),
    (
        DEPLOYMENT,
        "spec.template",
        {"metadata": {"labels": {"app": "triton"}}, "spec": {}},
        f"{POD}.containers",
        "required",
    ),
    (DEPLOYMENT, "spec.selector.matchLabels.app", "tritn", "spec.selector.matchLabels", "pod template has 'triton'"),
    (DEPLOYMENT, "spec.selector.matchLabels.tier", "x", "spec.selector.matchLabels", "does not have it"),
    (DEPLOYMENT, "metadata.name", "Triton_1", "metadata.name", "'Triton_1'"),
    (DEPLOYMENT, "metadata.labels", {"a b": "c"}, "metadata.labels", "'a b' is no key"),
    (DEPLOYMENT, "metadata.labels", {"a": "c d"}, "metadata.labels", "'c d'"),
    (DEPLOYMENT, "metadata.annotations", {"x/y/z": "1"}, "metadata.annotations", "'x/y/z'"),
    (DEPLOYMENT, f"{POD}.restartPolicy", "Never", f"{POD}.restartPolicy", "takes Always"),
    (DEPLOYMENT, f"{POD}.volumes[0].name", "model", f"{FIRST}.volumeMounts[0].name", "did you mean 'model'?"),
    (DEPLOYMENT, f"{POD}.containers", [CONTAINER, CONTAINER], f"{POD}.containers", "'triton' is given 2 times"),
    (DEPLOYMENT, f"{FIRST}.name", "Triton", f"{FIRST}.name", "'Triton'"),
    (DEPLOYMENT, f"{FIRST}.env[1].name", "A", f"{FIRST}.env", "'A' is given 2 times"),
    (DEPLOYMENT, f"{FIRST}.ports[1].name", "http", f"{FIRST}.ports", "'http' is given 2 times"),
    (DEPLOYMENT, f"{FIRST}.ports[1].containerPort", 8000, f"{FIRST}.ports", "8000 is given 2 times"),
    (DEPLOYMENT, f"{FIRST}.ports[1].containerPort", 80010, f"{FIRST}.ports[1].containerPort", "1 to 65535"),
    (DEPLOYMENT, f"{FIRST}.ports[1].name", "grpc-inference-x", f"{FIRST}.ports[1].name", "at most 15"),
    (
        DEPLOYMENT,
        f"{FIRST}.readinessProbe.httpGet.port",
        "htpp",
        f"{FIRST}.readinessProbe.httpGet.port",
        "called 'htpp'",
    ),
    (DEPLOYMENT, PROBE, {"periodSeconds": 1}, PROBE, "has none"),
    (DEPLOYMENT, f"{FIRST}.resources.requests.memory", "3Gi", f"{FIRST}.resources.requests", "exceeds its limit, 2Gi"),
    (DEPLOYMENT, f"{FIRST}.resources.requests.memory", "2GB", f"{FIRST}.resources.requests", "'2GB' is not a quantity"),
    (DEPLOYMENT, f"{FIRST}.resources.requests.memory", "500m", f"{FIRST}.resources.requests", "fraction of a byte"),
    (DEPLOYMENT, f"{FIRST}.resources.requests", {"nvidia.com/gpu": 2}, f"{FIRST}.resources.requests", "differs from"),
    (DEPLOYMENT, f"{FIRST}.resources.limits", {"memory": "2Gi"}, f"{FIRST}.resources.limits", "needs an equal one"),
    (DEPLOYMENT, f"{FIRST}.resources.limits", {"nvidia.com/gpu": "1.5"}, f"{FIRST}.resources.limits", "whole number"),
    (SERVICE, "spec.type", "Loadbalancer", "spec.type", "did you mean 'LoadBalancer'?"),
    (SERVICE, "spec.ports[1].name", None, "spec.ports[1].name", "is required where there are several"),
    (SERVICE, "spec.ports[1].port", 80, "spec.ports", "80 is given 2 times"),
    (SERVICE, "metadata.name", "triton.v1", "metadata.name", "at most 63"),
    (CLAIM, "spec.resources", {"requests": {}}, "spec.resources.requests.storage", "is required"),
    (CLAIM, "spec.accessModes", ["RWX"], "spec.accessModes[0]", "ReadWriteMany"),
    (CLAIM, "apiVersion", "core/v1", "apiVersion", "has no PersistentVolumeClaim in core/v1"),
]


@pytest.mark.parametrize(("manifest", "at", "value", "path", "message"), MISTAKES, ids=[m[1] for m in MISTAKES])
def test_a_planted_mistake(manifest: dict[str, Any], at: str, value: Any, path: str, message: str) -> None:
    problems = check(changed(manifest, at, value))
    assert [p for p in problems if p.path == path and message in p.message], problems


@pytest.mark.parametrize(
    ("kind", "api_version", "spec", "path", "message"),
    [
        (
            "Job",
            "batch/v1",
            {"template": {"spec": {"containers": [{"name": "a"}]}}},
            f"{POD}.restartPolicy",
            "OnFailure",
        ),
        ("CronJob", "batch/v1", {"schedule": "5 * * *", "jobTemplate": {}}, "spec.schedule", "five fields"),
        (
            "PodDisruptionBudget",
            "policy/v1",
            {"minAvailable": 1, "maxUnavailable": 1},
            "spec.maxUnavailable",
            "conflicts",
        ),
        (
            "HorizontalPodAutoscaler",
            "autoscaling/v2",
            {"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "x"}, "metrics": [{"type": "Pods"}]},
            *("spec.metrics[0].pods", "is required for type Pods"),
        ),
        (
            "ScaledObject",
            "keda.sh/v1alpha1",
            {"triggers": [{"type": "prometheus", "metadata": {"serverAddress": "http://p.m.svc", "query": "up"}}]},
            *("spec.triggers[0].metadata.threshold", "is required for type prometheus"),
        ),
        (
            "ScaledObject",
            "keda.sh/v1alpha1",
            {"triggers": [{"type": "external-push", "metadata": {"scalerAddress": "s.n:9090", "target": 5}}]},
            *("spec.triggers[0].metadata.target", "5: expected a text, such as '5'"),
        ),
        (
            "ScaledObject",
            "keda.sh/v1alpha1",
            {"triggers": [{"type": "kafka", "name": "lag"}, {"type": "kafka", "name": "lag"}]},
            *("spec.triggers", "name 'lag' is given 2 times"),
        ),
        (
            "ScaledObject",
            "keda.sh/v1alpha1",
            {"minReplicaCount": 0, "triggers": [{"type": "cpu", "metadata": {"value": "70"}}]},
            *("spec.minReplicaCount", "a pod that isn't there uses no cpu"),
        ),
        (
            "ScaledObject",
            "keda.sh/v1alpha1",
            {"minReplicaCount": 120, "triggers": []},
            *("spec.minReplicaCount", "120 exceeds maxReplicaCount, which is 100"),
        ),
        (
            "ScaledObject",
            "keda.sh/v1alpha1",
            {"idleReplicaCount": 2, "minReplicaCount": 2, "triggers": []},
            *("spec.idleReplicaCount", "expected fewer than minReplicaCount, which is 2"),
        ),
    ],
)
def test_rules_of_other_kinds(kind: str, api_version: str, spec: dict[str, Any], path: str, message: str) -> None:
    problems = check({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": spec})
    assert [p for p in problems if p.path == path and message in p.message], problems


def test_the_release_of_the_cluster_decides() -> None:
    budget = {"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {"name": "x"}, "spec": {}}
    (problem,) = check(budget)
    assert "it has PodDisruptionBudget in policy/v1" in problem.message
    sidecar = changed(DEPLOYMENT, f"{POD}.initContainers", [{"name": "a", "image": "b", "restartPolicy": "Always"}])
    assert check(sidecar, "1.34") == check(sidecar, "v1.34.1-eks-1234") == check(sidecar, "1.99") == []
    (problem,) = check(sidecar, "1.26")
    assert problem.path == f"{POD}.initContainers[0].restartPolicy"


def test_other_groups_may_have_kinds_of_the_same_name() -> None:
    assert (
        check({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "spec": {"type": "x", "ports": [{}, {}]}})
        == []
    )


def test_names_of_roles_may_have_colons() -> None:
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "ops:reader"}}
    assert check(role) == []


def paths(value: Any, path: str = "") -> list[str]:
    """Every place in a manifest but the two that say what it is."""
    if isinstance(value, dict):
        inner = [(f"{path}.{key}" if path else key, item) for key, item in value.items()]
    elif isinstance(value, list):
        inner = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    else:
        inner = []
    plain = [
        (place, item) for place, item in inner if not set("/") & set(place) and place not in ("apiVersion", "kind")
    ]
    return [one for place, item in plain for one in (place, *paths(item, place))]


@pytest.mark.parametrize("manifest", [DEPLOYMENT, SERVICE, CLAIM], ids=lambda m: m["kind"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_an_unknown_or_secret_value_fits_anywhere(manifest: dict[str, Any], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(paths(manifest)))
    assert check(changed(manifest, path, UNKNOWN)) == [], path
    assert check(changed(manifest, path, values.secret("hunter2"))) == [], path


@pytest.mark.parametrize("manifest", [DEPLOYMENT, SERVICE, CLAIM], ids=lambda m: m["kind"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_stands_anywhere_is_judged_without_a_crash(manifest: dict[str, Any], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(paths(manifest)))
    junk = data.draw(
        st.sampled_from([None, True, -1, 1.5, "", "x", [], [[]], [None], {}, {"name": []}, {"a": {"b": 1}}])
    )
    for problem in check(changed(manifest, path, junk)):
        assert problem.message
        assert problem.severity in ("error", "warning")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(
            ("500m", "0.5"),
            ("2", "2"),
            ("1Ki", "1024"),
            ("1.5Gi", "1610612736"),
            ("1k", "1000"),
            ("2e3", "2000"),
            (3, "3"),
        ),
        *(
            ("1E", "1000000000000000000"),
            ("1GB", None),
            ("", None),
            ("m", None),
            (UNKNOWN, None),
            (True, None),
            ({}, None),
        ),
    ],
)
def test_quantities(text: Any, number: str | None) -> None:
    assert quantity(text) == (None if number is None else Decimal(number))


# ---- custom resources

POOL_SCHEMA = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "required": ["machines", "mode"],
            "properties": {
                "machines": {"type": "integer", "minimum": 1},
                "mode": {"type": "string", "enum": ["Spot", "OnDemand"], "default": "Spot"},
                "surge": {"x-kubernetes-int-or-string": True, "pattern": "^[0-9]+%$"},
                "values": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "template": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"x": {}}},
                "zones": {"type": "array", "uniqueItems": True, "items": {"type": "string", "maxLength": 20}},
                "note": {"type": "string", "nullable": True, "pattern": "(?P>go)"},
            },
        },
    },
}
POOL = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "pools.example.com"},
    "spec": {
        "group": "example.com",
        "names": {"kind": "Pool", "plural": "pools"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": POOL_SCHEMA}},
            {"name": "v1beta1", "served": True, "deprecated": True, "schema": {"openAPIV3Schema": POOL_SCHEMA}},
            {"name": "v1alpha1", "served": False, "schema": {"openAPIV3Schema": POOL_SCHEMA}},
        ],
    },
}


@pytest.fixture(params=["yaml", "json"])
def crds(tmp_path: Path, request: pytest.FixtureRequest) -> CustomResourceDefinitions:
    other = changed(POOL, "spec.names.kind", "Queue")
    if request.param == "json":
        (tmp_path / "pool.json").write_text(json.dumps(POOL))
        (tmp_path / "queue.json").write_text(json.dumps(other))
    else:
        namespace = {"apiVersion": "v1", "kind": "Namespace"}
        (tmp_path / "all.yaml").write_text(yaml.safe_dump_all([namespace, POOL, other]))
    (tmp_path / "README.md").write_text("not a definition")
    return CustomResourceDefinitions.from_directory(tmp_path)


def pool(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"machines": 1, **spec}}


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"machines": UNKNOWN, "mode": UNKNOWN, "zones": [UNKNOWN, UNKNOWN, "a"]},
        {"machines": values.secret("hunter2"), "labels": UNKNOWN},
        {"machines": 2.0, "surge": 3, "note": None},
        {"surge": "30%", "values": {"any": [{"thing": 1}]}, "labels": {"a.b/c": "d"}},
        {"template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "x": 1}},
    ],
)
def test_a_custom_resource_that_fits(crds: CustomResourceDefinitions, spec: dict[str, Any]) -> None:
    assert crds.check("example.com/v1", "Pool", pool(**spec)) == []


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        ({"machines": "1"}, "spec.machines", "expected integer, got string"),
        ({"machines": 0}, "spec.machines", "less than the minimum"),
        ({"machine": 1}, "spec.machine", "did you mean 'machines'?"),
        ({"machines": None}, "spec.machines", "is required"),
        ({"mode": "spot"}, "spec.mode", "did you mean 'Spot'?"),
        ({"surge": [1]}, "spec.surge", "expected integer or string, got list"),
        ({"surge": "30"}, "spec.surge", "does not match"),
        ({"labels": {"a": 1}}, "spec.labels.a", "expected string, got number"),
        ({"zones": ["a", "a"]}, "spec.zones", "non-unique"),
        ({"zones": ["a", "b" * 21]}, "spec.zones[1]", "too long"),
        ({"template": {"y": 1}}, "spec.template.y", "unknown property"),
    ],
)
def test_a_custom_resource_that_does_not(
    crds: CustomResourceDefinitions, spec: dict[str, Any], path: str, message: str
) -> None:
    problems = crds.check("example.com/v1", "Pool", pool(**spec))
    assert [p for p in problems if p.path == path and message in p.message and p.severity == "error"], problems


def test_kinds_and_versions(crds: CustomResourceDefinitions) -> None:
    def only(api_version: str, kind: str) -> tuple[str, str, str]:
        (problem,) = crds.check(api_version, kind, pool())
        return problem.path, problem.message, problem.severity

    assert only("example.com/v1beta1", "Pool") == ("apiVersion", "example.com/v1beta1 Pool is deprecated", "warning")
    assert "example.com serves v1, v1beta1" in only("example.com/v1alpha1", "Pool")[1]
    assert "did you mean 'Pool'?" in only("example.com/v1", "Pol")[1]
    assert only("example.org/v1", "Pool")[2] == "warning"
    assert crds.check("apps/v1", "Deployment", DEPLOYMENT) == []
    assert crds.check("example.com/v1", "Queue", pool()) == []


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.yaml", "kind: Pod\n", "no CustomResourceDefinition in its 1"),
        ("a.txt", "kind: CustomResourceDefinition\n", "no CustomResourceDefinition in its 0"),
    ],
)
def test_a_directory_without_definitions(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=says):
        CustomResourceDefinitions.from_directory(tmp_path)
    with pytest.raises(ValueError, match="not a directory"):
        CustomResourceDefinitions.from_directory(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: CustomResourceDefinition\nspec: {group: example.com, names: {kind: Pool\n", "not YAML"),
        ("kind: CustomResourceDefinition\nspec: {group: example.com, names: {kind: Pool}}\n", "'versions'"),
    ],
)
def test_a_broken_definition_names_its_file(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "broken.yaml").write_text(text)
    broken = CustomResourceDefinitions.from_directory(tmp_path)
    with pytest.raises(ValueError, match=rf"broken\.yaml.*{says}"):
        broken.check("example.com/v1", "Pool", pool())
