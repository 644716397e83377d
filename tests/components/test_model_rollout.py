"""ModelRollout: the controller understands what its pod is told, may do what it does, and ends as the Job expects."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, get_args

import kubernetes_validate
import pulumi
import pulumi_kubernetes as k8s
import pytest

from components.inference import InferenceRoute, ModelRollout
from components.inference.model_rollout import FIELDS, GUARDRAILS, STRATEGIES
from components.inference.rollout_pod import ENDED
from planner.engine import PreviewFailed
from planner.inventory.objects import selects
from planner.plan import Plan, Resource
from tests.samples import ROLLOUT, samples
from tests.support import plan_of
from workloads.rollout import errors, spec
from workloads.rollout.cli import EXIT_CODES, parser
from workloads.rollout.controller import EXITS
from workloads.rollout.gateway import GatewayRoute, Service
from workloads.rollout.kubernetes import Cluster
from workloads.rollout.shadow import read_texts
from workloads.rollout.shells import Setting
from workloads.rollout.state import Phase

JOB, CONFIG = "kubernetes:batch/v1:Job", "kubernetes:core/v1:ConfigMap"
ROLE, BINDING = "kubernetes:rbac.authorization.k8s.io/v1:Role", "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
NAME = "resnet50-rollout"


def plan_for(**changes: Any) -> Plan:
    """A route of two versions, and the rollout from one to the other."""
    args = {**samples("aws")["ModelRollout"], **changes}
    routed = samples("aws")["InferenceRoute"]
    model = {**routed["models"][0], "backends": routed["backends"]}
    del model["mirror"]

    def program() -> None:
        cluster = pulumi.ResourceOptions(providers=[k8s.Provider("cluster", kubeconfig="{}")])
        route = InferenceRoute(
            "main",
            {
                **routed,
                "models": [model],
                "rollout": {"namespace": args["namespace"], "service_account": NAME},
            },
            cluster,
        )
        ModelRollout(
            NAME,
            {
                **{key: value for key, value in args.items() if value is not None},
                "route_namespace": route.namespace,
                "route": route.model_routes["resnet50"],
            },  # type: ignore[typeddict-item]
            pulumi.ResourceOptions.merge(cluster, pulumi.ResourceOptions(depends_on=[route])),
        )

    return plan_of(program, simulate_up=True)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_for()


def pod(plan: Plan) -> dict[str, Any]:
    return plan.one(JOB).inputs["spec"]["template"]["spec"]


def words(plan: Plan) -> list[str]:
    (container,) = pod(plan)["containers"]
    assert container["command"] == ["python", "-m", "workloads.rollout"]
    return container["args"]


def own(plan: Plan) -> list[Resource]:
    return plan.under(plan.one("aicloud:index:ModelRollout").urn)


def test_kubernetes_knows_every_field(plan: Plan) -> None:
    checked = 0
    for resource in own(plan):
        if resource.package == "kubernetes" and "monitoring.coreos.com" not in resource.type:
            kubernetes_validate.validate(json.loads(json.dumps(resource.inputs)), "1.34", strict=True)
            checked += 1
    assert checked == 7


def test_the_controller_understands_its_words_and_its_files(plan: Plan, tmp_path: Path) -> None:
    told = parser().parse_args(words(plan))
    assert Service.parse(told.baseline) == Service("serving-stable", "triton-stable", 8000)
    assert Service.parse(told.candidate) == Service("serving-canary", "triton-canary", 8000)
    (container,) = pod(plan)["containers"]
    assert told.metrics_port == container["ports"][0]["containerPort"]
    assert told.prometheus == "http://prometheus-stack-prometheus.monitoring.svc:9090"
    assert (told.ready_replicas, told.control) == (2, False)
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    files = plan.one(CONFIG).inputs["data"]
    assert {str(told.spec), str(told.texts)} == {f"/etc/rollout/{name}" for name in files}
    assert mounts["/etc/rollout"]["readOnly"]
    found = spec.read(files[told.spec.name], told.spec.name)
    assert str(told.journal) == f"/state/{found.name}.jsonl"
    assert "/state" in mounts
    (tmp_path / "texts").write_text(files[told.texts.name])
    assert read_texts(tmp_path / "texts") == ["The same text,", "scored by both."]


def test_it_finds_its_route_with_both_versions_in_it_and_may_change_it(plan: Plan) -> None:
    told = parser().parse_args(words(plan))
    namespace, name = told.route
    (route,) = [
        one
        for one in plan.of_type("kubernetes:gateway.networking.k8s.io/v1:HTTPRoute")
        if (one.inputs["metadata"]["namespace"], one.inputs["metadata"]["name"]) == (namespace, name)
    ]
    shell = GatewayRoute(
        Cluster("http://127.0.0.1:1"), namespace, name, *map(Service.parse, (told.baseline, told.candidate))
    )
    # What the program gives is where a rollout begins: the old version has all, and nobody else has any.
    assert shell._setting(route.inputs) == Setting(0.0, 0.0)
    account = {"kind": "ServiceAccount", "namespace": "rollouts", "name": pod(plan)["serviceAccountName"]}
    assert pod(plan)["automountServiceAccountToken"]
    allowed = {
        (role["metadata"]["namespace"], rule["resources"][0], verb, each)
        for binding in plan.of_type(BINDING)
        if account in binding.inputs["subjects"]
        for role in [one.inputs for one in plan.of_type(ROLE)]
        if role["metadata"] == binding.inputs["metadata"]
        for rule in role["rules"]
        for verb in rule["verbs"]
        for each in rule.get("resourceNames", [""])
    }
    assert {("gateway", "httproutes", verb, name) for verb in ("get", "patch")} < allowed
    lists = {entry for entry in allowed if entry[1] == "endpointslices"}
    assert lists == {(home, "endpointslices", "list", "") for home in ("serving-stable", "serving-canary")}
    assert not any(entry[1] not in ("httproutes", "endpointslices") for entry in allowed)


def test_the_job_tries_again_what_another_try_may_mend_and_nothing_else(plan: Plan) -> None:
    job = plan.one(JOB).inputs["spec"]
    evicted, ended = job["podFailurePolicy"]["rules"]
    assert (evicted["action"], evicted["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    codes = set(ended["onExitCodes"]["values"])
    assert (ended["action"], codes) == ("FailJob", set(ENDED))
    # The words that a person reads, the errors and the ends of rollouts all say the same.
    documented = {int(code) for code in re.findall(r"\b(\d+) ", EXIT_CODES)}
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.RolloutError)]
    assert {kind.exit_code for kind in kinds} | set(EXITS.values()) == documented
    good = {EXITS[Phase.PROMOTED], EXITS[Phase.PASSED]}
    # 1 is whatever nobody thought of.
    assert codes == documented - good - {errors.ShellFailed.exit_code, 1}
    assert pod(plan)["restartPolicy"] == "Never"


def test_names_are_those_of_the_controller() -> None:
    assert set(FIELDS) == {field.name for field in dataclasses.fields(spec.Spec)}
    assert {*STRATEGIES, "rolling"} == set(get_args(spec.Strategy))
    assert GUARDRAILS == spec.GUARDRAILS


def test_another_specification_is_another_job_and_the_same_is_none(plan: Plan) -> None:
    def template(plan: Plan) -> Any:
        return plan.one(JOB).inputs["spec"]["template"]

    assert template(plan_for()) == template(plan)
    longer = json.dumps({**json.loads(ROLLOUT), "deadline_s": 7200})
    assert template(plan_for(specification=longer)) != template(plan)
    assert template(plan_for(texts=["Another."])) != template(plan)


def test_without_a_specification_requests_are_handed_back() -> None:
    plan = plan_for(specification=None, texts=None)
    told = parser().parse_args(words(plan))
    assert (told.command, told.route, told.ready_replicas) == ("hand-over", ("gateway", "main-resnet50"), 2)
    assert Service.parse(told.baseline).name == "triton-stable"
    assert Service.parse(told.candidate).name == "triton-canary"
    (container,) = pod(plan)["containers"]
    # What was decided before is still there to be read; there is nothing to be told, and nothing to be counted.
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/state", "/tmp"}
    assert "ports" not in container
    assert [one.type for one in own(plan) if "PodMonitor" in one.type or one.type == CONFIG] == []
    for resource in own(plan):
        if resource.package == "kubernetes":
            kubernetes_validate.validate(json.loads(json.dumps(resource.inputs)), "1.34", strict=True)


def test_whom_it_talks_to_is_named_and_nobody_else(plan: Plan) -> None:
    policies = {one.inputs["metadata"]["name"]: one.inputs for one in own(plan) if one.type == POLICY}
    mine = policies.pop(NAME)["spec"]
    labels = plan.one(JOB).inputs["spec"]["template"]["metadata"]["labels"]
    assert selects(mine["podSelector"], labels)
    out = [port["port"] for rule in mine["egress"] for port in rule["ports"]]
    assert sorted(set(out)) == [53, 443, 8000, 9090]
    assert [rule["ports"][0]["port"] for rule in mine["ingress"]] == [9467]
    monitor = plan.one("kubernetes:monitoring.coreos.com/v1:PodMonitor", f"{NAME}-monitor").inputs["spec"]
    assert selects(monitor["selector"], labels)
    # The servers let it in: in their namespaces, to their pods, from its pods alone.
    assert {one["metadata"]["namespace"] for one in policies.values()} == {"serving-stable", "serving-canary"}
    for one in policies.values():
        (rule,) = one["spec"]["ingress"]
        (peer,) = rule["from"]
        assert selects(peer["podSelector"], labels)
        assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "rollouts"}
    without = json.loads(ROLLOUT)
    del without["guardrails"]["quality"]
    silent = plan_for(texts=None, specification=json.dumps(without))
    assert [one.name for one in own(silent) if one.type == POLICY] == [f"{NAME}-traffic"]
    assert "--texts" not in words(silent)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"image": "registry.example.com/rollout:latest"}, "image is"),
        ({"namespace": "Roll_outs"}, "namespace is 'Roll_outs'; a Kubernetes name"),
        ({"specification": "name: resnet50-4"}, "expected JSON"),
        ({"specification": "[]"}, r"specification is '\[\]'; expected an object"),
        ({"specification": '{"name": "../4"}'}, "specification.name is '../4'; its journal is called so"),
        ({"specification": '{"name": "a", "strategy": "rolling"}'}, "specification.strategy is 'rolling'"),
        ({"specification": '{"name": "a", "strategy": "canry"}'}, "is 'canry'; accepted are 'canary', 'blue-green'"),
        ({"specification": '{"name": "a", "stategy": "ab"}'}, "specification is 'stategy'; accepted are 'name', 'base"),
        ({"specification": '{"name": "a", "strategy": "ab"}'}, "guardrails is None; expected some of errors, p50_lat"),
        (
            {"specification": '{"name": "a", "strategy": "ab", "guardrails": {"p90": {}}}'},
            "guardrails is 'p90'; accepted are 'errors', 'p50_latency'",
        ),
        ({"texts": None}, r"texts is \[\]; expected some with the guardrail quality"),
        ({"texts": ["x" * 900_001]}, "accepted are up to 900000"),
        ({"specification": None}, "expected none without a specification: nothing is compared"),
        ({"ready_replicas": 0}, "ready_replicas is 0; accepted is a whole number from 1"),
        ({"candidate": samples("aws")["ModelRollout"]["baseline"]}, "expected another Service than the baseline's"),
        ({"baseline": {"namespace": "a", "service": "b"}}, "baseline.labels is None; expected with texts"),
        ({"candidate": {"namespace": "a", "service": "b", "port": 0}}, "candidate.port is 0; accepted is 1 to 65535"),
        ({"candidate": {"namespace": "a", "service": "B"}}, "candidate.service is 'B'"),
    ],
)
def test_what_could_not_work_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(PreviewFailed, match=told):
        plan_for(**changes)
