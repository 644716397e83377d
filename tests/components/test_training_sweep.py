"""HyperparameterSweep: an indexed Job of workers on one journal, of which none is missed when it goes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import kubernetes_validate
import pulumi
import pulumi_kubernetes as k8s
import pytest

from components.training.sweep import HyperparameterSweep
from planner.plan import Plan
from tests.support import plan_of
from workloads.training import search, sweep
from workloads.training.config import NAMED
from workloads.training.preemption import PREEMPTED, UNSAVED

JOB = "kubernetes:batch/v1:Job"

AWS: dict[str, Any] = {
    "cloud": "aws",
    "region": "us-east-1",
    "cluster_name": "ai",
    "workload_identity_pool": "",
    "namespace": "training",
    "queue": "training",
    "image": "registry.example.com/training:2.13.0-1",
    "config": "gpt2_124m",
    "settings": {"training.steps": "2000"},
    "search": {"optimizer.learning_rate": "log:1e-4:1e-2", "training.batch_size": "choice:256,512"},
    "trials": 20,
    "workers": 4,
    "data_prefix": "books",
    "bucket": "ai-data",
    "bucket_url": "s3://ai-data",
    "encryption_key": "arn:aws:kms:us-east-1:123456789012:key/k",
    "claims": {"warm": "warm", "cold": "cold"},
    "accelerator": "l4",
}
GCP: dict[str, Any] = {
    **{name: value for name, value in AWS.items() if name != "encryption_key"},
    "cloud": "gcp",
    "region": "us-central1",
    "workload_identity_pool": "sim-project.svc.id.goog",
    "bucket_url": "gs://ai-data",
}


def plan_for(args: Mapping[str, Any] = AWS, **changes: Any) -> Plan:
    def program() -> None:
        provider = k8s.Provider("cluster", kubeconfig="{}")
        given: Any = {name: value for name, value in {**args, **changes}.items() if value is not None}
        made = HyperparameterSweep("find", given, pulumi.ResourceOptions(providers=[provider]))
        for output in ("name", "namespace", "result"):
            pulumi.export(output, getattr(made, output))

    return plan_of(program)


@pytest.fixture(scope="module", params=["aws", "gcp"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return plan_for({"aws": AWS, "gcp": GCP}[request.param])


def spec(plan: Plan) -> dict[str, Any]:
    return plan.one(JOB).inputs["spec"]


def container(plan: Plan) -> dict[str, Any]:
    (found,) = spec(plan)["template"]["spec"]["containers"]
    return found


def options(plan: Plan) -> dict[str, Any]:
    assert container(plan)["command"] == ["python", "-m", "workloads.training.sweep"]
    return vars(sweep.parser().parse_args(container(plan)["args"]))


def test_kubernetes_knows_every_field(plan: Plan) -> None:
    job = json.loads(json.dumps(plan.one(JOB).inputs))
    kubernetes_validate.validate(job, "1.34", strict=True)
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert dict(plan.outputs) == {"name": "find", "namespace": "training", "result": "/mnt/warm/sweeps/find/best.json"}


def test_workers_are_told_what_to_search_in_words_that_they_know(plan: Plan) -> None:
    found = options(plan)
    assert found["search"] == ["optimizer.learning_rate=log:1e-4:1e-2", "training.batch_size=choice:256,512"]
    assert [one.name for one in search.space(found["search"], NAMED["gpt2_124m"](), {})] == list(AWS["search"])
    assert (found["trials"], found["processes"], found["leave_early"]) == (20, 1, True)
    assert found["training.steps"] == 2000
    # The same for all workers, where all of them can write, and the result beside it.
    assert str(found["journal"]) == "/mnt/warm/sweeps/find/journal"
    assert str(found["output"]) == "/mnt/warm/sweeps/find"
    mounts = {mount["mountPath"]: mount for mount in container(plan)["volumeMounts"]}
    assert not mounts["/mnt/warm"].get("readOnly")


def test_kueue_lets_it_in_with_fewer_workers(plan: Plan) -> None:
    metadata = plan.one(JOB).inputs["metadata"]
    assert metadata["annotations"]["kueue.x-k8s.io/job-min-parallelism"] == "1"
    assert metadata["labels"]["kueue.x-k8s.io/queue-name"] == "training"
    assert metadata["labels"]["kueue.x-k8s.io/priority-class"] == "training-low"
    assert (spec(plan)["parallelism"], spec(plan)["completions"], spec(plan)["completionMode"]) == (4, 4, "Indexed")
    # Kueue's own field, and what it changes is not changed back.
    assert "suspend" not in spec(plan)


def test_all_workers_or_none_where_so_many_are_asked_for() -> None:
    # Kueue wants the least below the most, or no annotation.
    metadata = plan_for(min_workers=4, priority="high").one(JOB).inputs["metadata"]
    assert "kueue.x-k8s.io/job-min-parallelism" not in metadata["annotations"]
    assert metadata["labels"]["kueue.x-k8s.io/priority-class"] == "training-high"


def test_pulumi_does_not_wait_for_the_last_trial(plan: Plan) -> None:
    assert plan.one(JOB).inputs["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"


def test_a_notice_is_no_failure_and_what_a_person_must_mend_is_tried_once(plan: Plan) -> None:
    rules = spec(plan)["podFailurePolicy"]["rules"]
    assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    by_action = {rule["action"]: rule["onExitCodes"]["values"] for rule in rules[1:]}
    assert set(by_action["Ignore"]) == {PREEMPTED, UNSAVED}
    assert set(by_action["FailJob"]) == {2, 3, 6}
    assert all(rule["onExitCodes"]["containerName"] == container(plan)["name"] for rule in rules[1:])
    # A worker that is still saving must be gone before the next one reads.
    assert spec(plan)["podReplacementPolicy"] == "Failed"


def test_workers_may_read_the_data_and_write_nothing() -> None:
    text = json.dumps([r.inputs for r in plan_for() if r.package == "aws"])
    assert "ai-data/books/*" in text
    assert "s3:PutObject" not in text
    roles = [r.inputs["role"] for r in plan_for(GCP) if r.type == "gcp:storage/bucketIAMMember:BucketIAMMember"]
    assert roles == ["roles/storage.objectViewer"]


def test_several_accelerators_are_the_ranks_of_one_trial() -> None:
    found = plan_for(accelerators_per_node=4)
    assert options(found)["processes"] == 4
    assert container(found)["resources"]["limits"]["nvidia.com/gpu"] == "4"


def test_metrics_are_read(plan: Plan) -> None:
    (monitor,) = (r.inputs["spec"] for r in plan if r.type.endswith(":PodMonitor"))
    (port,) = container(plan)["ports"]
    assert [one["port"] for one in monitor["podMetricsEndpoints"]] == [port["name"]]
    assert options(plan)["tracking.prometheus_port"] == port["containerPort"]
    labels = spec(plan)["template"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cloud": "azure"}, "cloud is 'azure'"),
        ({"search": {}}, "search is {}; give at least one setting"),
        ({"search": {"learning_rate": "log:1:2"}}, "search is 'learning_rate'; accepted are names such as"),
        ({"search": {"optimizer.learning_rate": "normal:0:1"}}, "is 'normal:0:1'; accepted are log:LOW:HIGH"),
        ({"search": {"optimizer.learning_rate": "log:1e-4"}}, "is 'log:1e-4'; accepted are log:LOW:HIGH"),
        ({"search": {"training.steps": "int:1:9"}}, "search is 'training.steps'; it is in settings too"),
        ({"trials": 0}, "trials is 0; accepted is a whole number from 1"),
        ({"workers": 21}, "workers is 21; accepted is at most trials, 20"),
        ({"workers": 0}, "workers is 0; accepted is a whole number from min_workers, 1"),
        ({"min_workers": 5}, "workers is 4; accepted is a whole number from min_workers, 5"),
        ({"pruner": "mean"}, "pruner is 'mean'; accepted are 'median', 'hyperband', 'none'"),
        ({"tier": "hot"}, "tier is 'hot'; accepted are tiers with a claim: 'warm', 'cold'"),
        ({"tier": "cold"}, "tier is 'cold'; the cold tier is read only"),
        ({"config": "gpt3"}, "config is 'gpt3'"),
        ({"image": "registry.example.com/training:latest"}, "'latest' is another image tomorrow"),
        ({"settings": {"tracking.prometheus_port": "1"}}, "it is what other arguments say"),
        ({"claims": None}, "claims: is missing"),
    ],
)
def test_wrong_arguments_are_told_with_what_is_accepted(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=re.escape(said)) as error:
        plan_for(**changes)
    assert "HyperparameterSweep 'find'" in str(error.value)
