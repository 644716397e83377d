"""A model's next version in an environment: its servers, the rollout to them, the way back, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date
from functools import cache
from typing import Any

import pytest
import yaml

from planner.checks import check
from planner.diff.compare import compare
from planner.engine import preview
from planner.engine.project import load
from planner.plan import Plan
from stacks.settings import parse
from tests.stacks.test_settings import BASE, MODEL, changed, problems_of
from tests.support import ROOT
from workloads.rollout import spec
from workloads.rollout.cli import parser

CANARY = {
    "strategy": "canary",
    "steps": [{"percent": 5, "looks": 5}, {"percent": 50, "looks": 10}],
    "guardrails": {"errors": {"margin": 0.005, "alpha": 0.02}},
}
ROLLOUTS = {"image": "registry.example.com/ai-cloud/rollout:0.1.0@sha256:" + "0" * 64}
TODAY = date(2026, 11, 29)


def config(version: int, next_version: int) -> Iterator[tuple[str, str]]:
    """Of staging with a next version; 0: with none, but what carries one out."""
    written = yaml.safe_load((ROOT / "stacks/Pulumi.staging.yaml").read_text())["config"]
    models = written[MODEL]
    models[0]["version"] = version
    if next_version:
        models[0]["next"] = {"version": next_version, "rollout": CANARY}
    yield MODEL, json.dumps(models)
    yield "ai-cloud:serving", json.dumps({**written["ai-cloud:serving"], "rollouts": ROLLOUTS})


@cache
def staging(version: int, next_version: int) -> Plan:
    return preview(load(ROOT, "staging", dict(config(version, next_version))), simulate_up=True)


def words(plan: Plan, region: str) -> Any:
    job = plan.one("kubernetes:batch/v1:Job", f"{region}-rollout-job")
    return parser().parse_args(job.inputs["spec"]["template"]["spec"]["containers"][0]["args"])


REGIONS = [one["region"].partition(":")[2] for one in yaml.safe_load((ROOT / "stacks/Pulumi.staging.yaml").read_text())[
    "config"]["ai-cloud:regions"] if "serving" in one["purposes"]]  # fmt: skip


@pytest.mark.parametrize("region", REGIONS)
def test_a_next_version_has_servers_of_its_own_and_a_rollout_to_them(region: str) -> None:
    plan = staging(1, 2)
    told = words(plan, region)
    assert (told.command, told.route) == ("run", ("gateway", f"{region}-route-sentiment"))
    assert (told.baseline, told.candidate) == (
        f"serving/{region}-triton:8000", f"serving-next/{region}-triton-next:8000",
    )  # fmt: skip
    config = plan.one("kubernetes:core/v1:ConfigMap", f"{region}-rollout-config").inputs["data"]
    found = spec.read(config[told.spec.name], "the plan")
    assert (found.name, str(found.baseline), str(found.candidate)) == ("sentiment-2", "sentiment:1", "sentiment:2")
    for name, version in ((f"{region}-triton", 1), (f"{region}-triton-next", 2)):
        server = plan.one("kubernetes:apps/v1:Deployment", f"{name}-deployment").inputs
        assert f"sentiment:{version}" in json.dumps(server["spec"]["template"]["spec"])
        assert plan.one("kubernetes:core/v1:Service", f"{name}-service").inputs["metadata"]["name"] == name
    route = plan.one("kubernetes:gateway.networking.k8s.io/v1:HTTPRoute", f"{region}-route-sentiment-httproute")
    (rule,) = [rule for rule in route.inputs["spec"]["rules"] if rule["name"] == "weighted"]
    assert [(ref["namespace"], ref["weight"]) for ref in rule["backendRefs"]] == [
        ("serving", 100), ("serving-next", 0),
    ]  # fmt: skip


def test_nobody_else_may_change_weights_and_prometheus_answers_the_controller() -> None:
    plan = staging(1, 2)
    subjects = [
        (one["namespace"], one["name"])
        for binding in plan.of_type("kubernetes:rbac.authorization.k8s.io/v1:RoleBinding")
        for one in binding.inputs["subjects"]
        if "-rollout" in binding.inputs["metadata"]["name"]
    ]
    assert set(subjects) == {("rollouts", f"{region}-rollout") for region in REGIONS}
    for region in REGIONS:
        prometheus = [
            one.inputs["spec"]
            for one in plan.of_type("kubernetes:networking.k8s.io/v1:NetworkPolicy")
            if one.name == f"{region}-observability-prometheus"
        ]
        (policy,) = prometheus
        allowed = [peer["namespaceSelector"]["matchLabels"] for rule in policy["ingress"] for peer in rule["from"]]
        assert {"kubernetes.io/metadata.name": "rollouts"} in allowed


def test_the_environment_is_as_good_with_it_as_without(simulated_plan: Callable[[str], Plan]) -> None:
    before = {finding.identity for finding in check(simulated_plan("staging"), TODAY).findings}
    new = [one for one in check(staging(1, 2), TODAY).findings if one.identity not in before]
    # Its servers may want machines: that is told, and nothing else is wrong.
    assert {one.rule for one in new if one.severity != "info"} <= {"replicas-fit-the-pool"}, new


def test_once_the_model_has_the_version_itself_requests_are_handed_back() -> None:
    plan = staging(2, 2)
    for region in REGIONS:
        told = words(plan, region)
        assert (told.command, told.route) == ("hand-over", ("gateway", f"{region}-route-sentiment"))
        for name in (f"{region}-triton", f"{region}-triton-next"):
            server = plan.one("kubernetes:apps/v1:Deployment", f"{name}-deployment").inputs
            assert "sentiment:2" in json.dumps(server["spec"]["template"]["spec"])


def test_what_was_decided_outlives_the_rollout() -> None:
    def journals(plan: Plan) -> set[str]:
        found = plan.of_type("kubernetes:core/v1:PersistentVolumeClaim")
        return {one.urn for one in found if one.inputs["metadata"]["namespace"] == "rollouts"}

    assert len(journals(staging(1, 2))) == len(REGIONS)
    assert journals(staging(1, 2)) == journals(staging(2, 2)) == journals(staging(2, 0))
    pod = staging(1, 2).one("kubernetes:batch/v1:Job", f"{REGIONS[0]}-rollout-job").inputs["spec"]["template"]["spec"]
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "journals"


def test_servers_that_may_have_the_requests_do_not_go_unnoticed() -> None:
    without = staging(2, 0)

    def told(old: Plan, new: Plan) -> list[str]:
        return [one.name for one in compare(old, new).blocking if one.rule == "requests-are-handed-back"]

    assert sorted(told(staging(1, 2), without)) == [f"{region}-triton-next-service" for region in sorted(REGIONS)]
    as_previewed = preview(load(ROOT, "staging", dict(config(1, 2))))
    assert sorted(told(as_previewed, without)) == sorted(told(staging(1, 2), without))
    assert told(staging(2, 2), without) == []
    assert told(staging(1, 2), staging(2, 2)) == []
    assert told(without, staging(1, 2)) == []


def test_without_one_there_is_nothing_of_it(simulated_plan: Callable[[str], Plan]) -> None:
    plan = simulated_plan("staging")
    assert not plan.of_type("aicloud:index:ModelRollout")
    assert not [one.name for one in plan if "-next" in one.name]


ROUTED = (("ai-cloud:serving.route", {}), ("ai-cloud:serving.rollouts", ROLLOUTS))
NEXT = {"version": 2, "rollout": CANARY}


def test_a_next_version_is_read() -> None:
    settings = parse(changed(*ROUTED, (f"{MODEL}[0].next", NEXT)))
    model = settings.models[0]
    assert model.as_next().version == 2
    assert model.as_next().size_gib == model.size_gib
    larger = parse(changed(*ROUTED, (f"{MODEL}[0].next", {**NEXT, "sizeGib": 1.5}))).models[0]
    assert larger.as_next().size_gib == 1.5
    # Handed back: how it came there no longer matters.
    assert parse(changed(*ROUTED, (f"{MODEL}[0].next", {"version": BASE[MODEL][0]["version"]})))


@pytest.mark.parametrize(
    ("changes", "path", "says"),
    [
        ([*ROUTED[1:], (f"{MODEL}[0].next", NEXT)], f"{MODEL}[0].next", "an ai-cloud:serving.route with weightsBy"),
        (
            [("ai-cloud:serving.route", {"weightsBy": "program"}), ROUTED[1], (f"{MODEL}[0].next", NEXT)],
            f"{MODEL}[0].next",
            "with weightsBy rollout",
        ),
        ([ROUTED[0], (f"{MODEL}[0].next", NEXT)], f"{MODEL}[0].next", "or ai-cloud:serving.rollouts"),
        (
            [ROUTED[0], ("ai-cloud:serving.rollouts", {**ROLLOUTS, "namespace": "gateway"})],
            "ai-cloud:serving.rollouts.namespace",
            "another one than the servers' and the gateway's",
        ),
        ([*ROUTED, (f"{MODEL}[0].next", {"version": 2})], f"{MODEL}[0].next.rollout", "is missing; expected strategy"),
        (
            [*ROUTED, (f"{MODEL}[0].next", {"version": 2, "rollout": {**CANARY, "candidate": "m:3"}})],
            f"{MODEL}[0].next.rollout.candidate",
            "expected none: the model and its versions say it",
        ),
        (
            [*ROUTED, (f"{MODEL}[0].next", {"version": 2, "rollout": {**CANARY, "strategy": "rolling"}})],
            f"{MODEL}[0].next.rollout.strategy",
            "got 'rolling'; expected another one",
        ),
        (
            [*ROUTED, (f"{MODEL}[0].next", {"version": 2, "rollout": {**CANARY, "guardrails": {"quality": {}}}})],
            f"{MODEL}[0].next.texts",
            "is missing; expected texts that both versions score",
        ),
        (
            [
                *ROUTED,
                (MODEL, [{**BASE[MODEL][0], "next": NEXT}, {**BASE[MODEL][0], "name": "other", "next": NEXT}]),
            ],
            f"{MODEL}[1].next",
            "models[0] is rolled out already, and one is at a time",
        ),
    ],
)
def test_what_could_not_be_rolled_out_is_refused(changes: list[tuple[str, Any]], path: str, says: str) -> None:
    found = problems_of(changed(*changes))
    assert says in found[path], found
