"""RetrainingTrigger: the workloads understand what its pods are told, and nobody may do more than the loop needs."""

from __future__ import annotations

import json
import shlex
from typing import Any

import kubernetes_validate
import pulumi
import pulumi_kubernetes as k8s
import pytest

from components.pipelines import RetrainingTrigger
from planner.engine import PreviewFailed
from planner.inventory.objects import selects
from planner.plan import Plan
from tests.samples import samples
from tests.support import plan_of
from workloads.launch.cli import parser as launch
from workloads.launch.jobs import name_of
from workloads.monitoring.cli import parser as monitoring
from workloads.monitoring.policy import WatchPolicy
from workloads.pipelines.cli import parser as pipelines

DEPLOYMENT, CRONJOB = "kubernetes:apps/v1:Deployment", "kubernetes:batch/v1:CronJob"


def plan_for(on: str = "aws", /, name: str = "retrain", **changes: Any) -> Plan:
    args = {**samples(on)["RetrainingTrigger"], **changes}

    def program() -> None:
        RetrainingTrigger(
            name,
            {key: value for key, value in args.items() if value is not None},  # type: ignore[arg-type]
            pulumi.ResourceOptions(providers=[k8s.Provider("cluster", kubeconfig="{}")]),
        )

    return plan_of(program, simulate_up=True)


@pytest.fixture(scope="module", params=["aws", "gcp"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return plan_for(request.param)


@pytest.fixture(scope="module")
def on_aws() -> Plan:
    return plan_for("aws")


def watching(plan: Plan) -> dict[str, Any]:
    return plan.one(DEPLOYMENT).inputs["spec"]["template"]["spec"]


def running(plan: Plan) -> dict[str, Any]:
    return plan.one(CRONJOB).inputs["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def test_kubernetes_knows_every_field(plan: Plan) -> None:
    checked = 0
    for resource in plan.under(plan.one("aicloud:index:RetrainingTrigger").urn):
        if resource.package == "kubernetes" and "monitoring.coreos.com" not in resource.type:
            kubernetes_validate.validate(json.loads(json.dumps(resource.inputs)), "1.34", strict=True)
            checked += 1
    assert checked == 9


def test_every_command_is_understood_by_its_workload(plan: Plan) -> None:
    watch, follow = watching(plan)["containers"]
    assert watch["command"] == ["python", "-m", "workloads.monitoring"]
    looks = monitoring().parse_args(watch["args"])
    assert looks.model == "sentiment"
    assert looks.metrics_port == watch["ports"][0]["containerPort"]
    hook = shlex.split(looks.hook)
    assert hook[:3] == ["python", "-m", "workloads.launch"]
    started = launch().parse_args(hook[3:])
    assert follow["command"] == ["python", "-m", "workloads.launch"]
    followed = launch().parse_args(follow["args"])
    ended = shlex.split(followed.then)
    assert ended[:3] == ["python", "-m", "workloads.monitoring"]
    told = monitoring().parse_args(ended[3:])
    # One remembers what the other is told.
    assert (told.state, told.policy) == (looks.state, looks.policy)
    cronjob = plan.one(CRONJOB).inputs["metadata"]
    assert {(one.cronjob, one.namespace) for one in (started, followed)} == {(cronjob["name"], cronjob["namespace"])}
    (run,) = running(plan)["containers"]
    assert run["command"] == ["python", "-m", "workloads.pipelines", "run"]
    given = pipelines().parse_args(["run", *run["args"]])
    assert given.run.endswith("/pipelines/sentiment/$(JOB_NAME)")
    assert given.champion == "registry"


def test_the_policy_is_one_that_monitoring_reads(plan: Plan) -> None:
    files = plan.one("kubernetes:core/v1:ConfigMap").inputs["data"]
    assert WatchPolicy.from_json(json.loads(files["policy.json"])).retrain.usd_a_month == 200


def test_metrics_are_where_prometheus_looks(plan: Plan) -> None:
    monitor = plan.one("kubernetes:monitoring.coreos.com/v1:PodMonitor").inputs["spec"]
    labels = plan.one(DEPLOYMENT).inputs["spec"]["template"]["metadata"]["labels"]
    assert selects(monitor["selector"], labels)
    assert [one["port"] for one in monitor["podMetricsEndpoints"]] == ["metrics"]


def test_the_watcher_starts_jobs_and_may_do_nothing_else(on_aws: Plan) -> None:
    rules = on_aws.one("kubernetes:rbac.authorization.k8s.io/v1:Role").inputs["rules"]
    assert [(rule["resources"], sorted(rule["verbs"])) for rule in rules] == [
        (["cronjobs"], ["get"]),
        (["jobs"], ["create", "get", "list", "patch"]),
    ]
    assert rules[0]["resourceNames"] == ["retrain"]
    accounts = {
        one.inputs["metadata"]["name"]: one.inputs["automountServiceAccountToken"]
        for one in on_aws.of_type("kubernetes:core/v1:ServiceAccount")
    }
    assert accounts == {"retrain": True, "retrain-run": False}
    documents = {r.name: r.inputs["policy"] for r in on_aws.of_type("aws:iam/rolePolicy:RolePolicy")}
    assert "lakehouse/*" in documents["retrain-identity-buckets"]
    assert "models/*" not in documents["retrain-identity-buckets"]
    assert "lakehouse" not in documents["retrain-run-identity-buckets"]


def test_runs_wait_in_the_queue_and_the_watcher_does_not(plan: Plan) -> None:
    template = plan.one(CRONJOB).inputs["spec"]["jobTemplate"]
    assert template["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"
    assert "kueue.x-k8s.io/queue-name" not in json.dumps(plan.one(DEPLOYMENT).inputs)
    assert plan.one(CRONJOB).inputs["spec"]["suspend"] is True
    assert plan_for(schedule="0 3 * * 0").one(CRONJOB).inputs["spec"]["suspend"] is False


def test_a_run_of_the_longest_name_still_has_names_for_its_pods() -> None:
    name = "a" * 38
    plan = plan_for(name=name)
    assert name_of(plan.one(CRONJOB).inputs["metadata"]["name"], "reason").startswith(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cloud": "azure"}, "cloud is 'azure'"),
        ({"model": "Sentiment"}, "model is 'Sentiment'; accepted are lower-case"),
        ({"pipeline_image": "pipelines"}, "pipeline_image is 'pipelines'; give it a tag"),
        ({"policy": "{"}, "policy is '{'; expected JSON"),
        ({"policy": "[]"}, r"policy is '\[\]'; expected an object"),
        ({"every_s": 1}, "every_s is 1; accepted is 10 to 86400"),
        ({"schedule": "weekly"}, "schedule is 'weekly'; expected cron"),
        ({"parameters": {"mlflow": "http://elsewhere"}}, "parameters is 'mlflow'; accepted are options"),
        ({"accelerator": "l5"}, "accelerator"),
        ({"priority": "urgent"}, "priority is 'urgent'; accepted are 'low', 'normal', 'high'"),
        ({"corpus_prefix": "/text"}, "corpus_prefix is '/text'"),
        ({"catalog": {"warehouse": "x"}}, "catalog is .*; expected properties of a catalog"),
    ],
)
def test_wrong_arguments_are_told(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PreviewFailed, match=f"RetrainingTrigger 'retrain': {message}"):
        plan_for(**change)


def test_glue_is_of_aws() -> None:
    with pytest.raises(PreviewFailed, match="gcp has none by default"):
        plan_for("gcp", catalog=None)
