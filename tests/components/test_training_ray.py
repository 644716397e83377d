"""RayCluster and RayJob: a head that computes nothing, workers that Kueue lets in, and a run in words that it knows."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Mapping
from typing import Any

import kubernetes_validate
import pulumi
import pulumi_aws
import pulumi_kubernetes as k8s
import pytest

from components.cluster import charts
from components.training import ray_pods
from components.training.ray_cluster import RayCluster
from components.training.ray_job import RayJob
from planner.plan import UNKNOWN, Plan, Resource
from tests.support import ROOT, plan_of
from workloads.training import ray_stop, ray_train

KINDS: dict[str, Any] = {"RayCluster": RayCluster, "RayJob": RayJob}
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"

AWS: dict[str, Any] = {
    "cloud": "aws",
    "region": "us-east-1",
    "cluster_name": "ai",
    "workload_identity_pool": "",
    "namespace": "training",
    "queue": "training",
    "image": "registry.example.com/training:2.13.0-ray",
    "bucket": "ai-data",
    "encryption_key": "arn:aws:kms:us-east-1:123456789012:key/k",
    "accelerator": "l4",
    "accelerators_per_node": 4,
    "min_workers": 1,
    "max_workers": 3,
    "claims": {"warm": "warm", "cold": "cold"},
}
RUN = {"config": "tiny", "bucket_url": "s3://ai-data", "settings": {"training.steps": "20"}, "data_prefix": "books"}
GCP_CHANGES = {
    "cloud": "gcp",
    "region": "us-central1",
    "workload_identity_pool": "sim-project.svc.id.goog",
    "encryption_key": None,
}


def arguments(kind: str, cloud: str = "aws", **changes: Any) -> dict[str, Any]:
    args = {**AWS, **(RUN if kind == "RayJob" else {}), **(GCP_CHANGES if cloud == "gcp" else {}), **changes}
    if cloud == "gcp" and "bucket_url" in args:
        args["bucket_url"] = "gs://ai-data"
    return {name: value for name, value in args.items() if value is not None}


def plan_for(kind: str, args: Mapping[str, Any]) -> Plan:
    def program() -> None:
        provider = k8s.Provider("cluster", kubeconfig="{}")
        crds = k8s.core.v1.ConfigMap("crds", opts=pulumi.ResourceOptions(provider=provider))
        made = KINDS[kind]("run", dict(args), pulumi.ResourceOptions(providers=[provider], depends_on=[crds]))
        for output in ("name", "namespace"):
            pulumi.export(output, getattr(made, output))

    return plan_of(program)


@pytest.fixture(scope="module", params=[(kind, cloud) for kind in KINDS for cloud in ("aws", "gcp")], ids=str)
def case(request: pytest.FixtureRequest) -> tuple[str, str, Plan]:
    kind, cloud = request.param
    return kind, cloud, plan_for(kind, arguments(kind, cloud))


def object_of(plan: Plan) -> Resource:
    (found,) = (resource for resource in plan if ":ray.io/" in resource.type)
    return found


def cluster(plan: Plan) -> dict[str, Any]:
    spec = object_of(plan).inputs["spec"]
    return spec.get("rayClusterSpec", spec)


def head(plan: Plan) -> dict[str, Any]:
    return cluster(plan)["headGroupSpec"]


def workers(plan: Plan) -> dict[str, Any]:
    (group,) = cluster(plan)["workerGroupSpecs"]
    return group


def container(group: dict[str, Any]) -> dict[str, Any]:
    (found,) = group["template"]["spec"]["containers"]
    return found


# ---- both


def test_kubernetes_knows_every_field_of_the_pods(case: tuple[str, str, Plan]) -> None:
    _, _, plan = case
    for group in (head(plan), workers(plan)):
        pod = {"apiVersion": "v1", "kind": "Pod", **group["template"]}
        pod["metadata"] = {**pod["metadata"], "name": "pod"}
        kubernetes_validate.validate(json.loads(json.dumps(pod)), "1.34", strict=True)
    for resource in plan:
        if resource.type in (POLICY, "kubernetes:core/v1:ServiceAccount"):
            kubernetes_validate.validate(json.loads(json.dumps(resource.inputs)), "1.34", strict=True)


def test_pods_are_restricted_and_have_no_command_that_kuberay_would_put_before_its_own(
    case: tuple[str, str, Plan],
) -> None:
    _, _, plan = case
    for group in (head(plan), workers(plan)):
        assert group["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
        made = container(group)
        assert made["securityContext"]["readOnlyRootFilesystem"] is True
        assert made["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "command" not in made
        assert "args" not in made


def test_the_head_computes_nothing_and_may_nothing(case: tuple[str, str, Plan]) -> None:
    _, _, plan = case
    spec = head(plan)["template"]["spec"]
    assert head(plan)["rayStartParams"]["num-cpus"] == "0"
    assert not any("gpu" in name for name in container(head(plan))["resources"]["limits"])
    assert "nodeSelector" not in spec
    assert spec["serviceAccountName"] == "run-head"
    identities = [r for r in plan if r.type == "aicloud:index:WorkloadIdentity"]
    assert [one.name for one in identities] == ["run-identity"]
    assert workers(plan)["template"]["spec"]["serviceAccountName"] == "run"
    # Lost, it takes the cluster with it.
    assert head(plan)["template"]["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "true"


def test_workers_have_the_accelerators_and_a_rank_for_each(case: tuple[str, str, Plan]) -> None:
    _, _, plan = case
    group = workers(plan)
    assert container(group)["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert group["rayStartParams"]["num-cpus"] == "4"
    assert group["template"]["spec"]["nodeSelector"] == {"aicloud.dev/accelerator": "l4"}
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (1, 1, 3)
    assert {mount["mountPath"] for mount in container(group)["volumeMounts"]} >= {"/scratch", "/mnt/warm", "/dev/shm"}


def test_kueue_takes_it_into_the_queue_and_counts_what_the_autoscaler_adds(case: tuple[str, str, Plan]) -> None:
    _, _, plan = case
    metadata = object_of(plan).inputs["metadata"]
    assert metadata["labels"]["kueue.x-k8s.io/queue-name"] == "training"
    assert metadata["labels"]["kueue.x-k8s.io/priority-class"] == "training-normal"
    # Without the annotation Kueue's webhook refuses the autoscaler.
    assert cluster(plan)["enableInTreeAutoscaling"] is True
    assert metadata["annotations"]["kueue.x-k8s.io/elastic-job"] == "true"
    assert cluster(plan)["autoscalerOptions"]["securityContext"]["allowPrivilegeEscalation"] is False
    assert head(plan)["template"]["spec"]["automountServiceAccountToken"] is True


@pytest.mark.parametrize("kind", KINDS)
def test_a_fixed_size_has_no_autoscaler_and_asks_kubernetes_nothing(kind: str) -> None:
    plan = plan_for(kind, arguments(kind, min_workers=3, priority="high"))
    assert cluster(plan)["enableInTreeAutoscaling"] is False
    assert "autoscalerOptions" not in cluster(plan)
    assert "kueue.x-k8s.io/elastic-job" not in object_of(plan).inputs["metadata"].get("annotations", {})
    assert object_of(plan).inputs["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "training-high"
    assert head(plan)["template"]["spec"]["automountServiceAccountToken"] is False
    assert workers(plan)["template"]["spec"]["automountServiceAccountToken"] is False


def test_runs_are_told_before_their_pod_is(case: tuple[str, str, Plan]) -> None:
    _, _, plan = case
    group = workers(plan)
    command = container(group)["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:3] == ["python", "-m", "workloads.training.ray_stop"]
    # As long as preemption.py lets a run take, and shorter than the pod has.
    assert (
        ray_stop.parser().parse_args(command[3:]).within
        == group["template"]["spec"]["terminationGracePeriodSeconds"] / 2
    )
    assert {"name": "RAY_kill_child_processes_on_worker_exit", "value": "0"} in container(group)["env"]


def test_the_operator_reaches_the_dashboard_and_nothing_else(case: tuple[str, str, Plan]) -> None:
    _, _, plan = case
    (policy,) = (r.inputs["spec"] for r in plan.of_type(POLICY))
    labels = head(plan)["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert not policy["podSelector"]["matchLabels"].items() <= workers(plan)["template"]["metadata"]["labels"].items()
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"port": 8265, "protocol": "TCP"}]
    assert "kuberay-system" in json.dumps(rule["from"])
    assert cluster(plan)["authOptions"] == {"mode": "token"}


def test_everything_waits_for_the_definitions_and_pods_for_their_identity(case: tuple[str, str, Plan]) -> None:
    kind, cloud, plan = case
    crds = plan.one("kubernetes:core/v1:ConfigMap").urn
    made = [r for r in plan.under(plan.one(f"aicloud:index:{kind}").urn) if r.package == "kubernetes"]
    assert len(made) == 5
    assert all(crds in resource.dependencies for resource in made)
    bound = {
        "aws": "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        "gcp": "gcp:storage/bucketIAMMember:BucketIAMMember",
    }[cloud]
    assert {r.urn for r in plan.of_type(bound)} <= set(object_of(plan).dependencies)
    assert plan.of_type(bound)


def test_ports_are_those_that_kuberay_knows_and_the_monitor_reads(case: tuple[str, str, Plan]) -> None:
    kind, _, plan = case
    names = {port["name"]: port["containerPort"] for port in container(head(plan))["ports"]}
    assert names == {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "metrics": 8080}
    (monitor,) = (r for r in plan if r.type.endswith(":PodMonitor"))
    read = [one["port"] for one in monitor.inputs["spec"]["podMetricsEndpoints"]]
    assert read == (["metrics", "training"] if kind == "RayJob" else ["metrics"])
    known = {port["name"] for port in container(workers(plan))["ports"]}
    assert set(read) <= known
    labels = workers(plan)["template"]["metadata"]["labels"]
    assert monitor.inputs["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_version_of_ray_is_the_images_and_the_operators_the_one_whose_fields_these_are() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (ray,) = project["optional-dependencies"]["ray"]
    assert ray == f"ray[default,train]=={ray_pods.RAY_VERSION}"
    assert charts.KUBERAY.version == "1.7.0"
    addons = (ROOT / "components/cluster/addons.py").read_text(encoding="utf-8")
    assert f'values.kuberay(), "{ray_pods.OPERATOR_NAMESPACE}"' in addons


# ---- RayJob


def test_the_entrypoint_is_in_words_that_training_knows(case: tuple[str, str, Plan]) -> None:
    kind, cloud, plan = case
    if kind != "RayJob":
        return
    spec = object_of(plan).inputs["spec"]
    assert (spec["submissionMode"], spec["shutdownAfterJobFinishes"]) == ("HTTPMode", True)
    words = shlex.split(spec["entrypoint"])
    assert words[:3] == ["python", "-m", "workloads.training.ray_train"]
    options = vars(ray_train.parser().parse_args(words[3:]))
    # Ranks, four of each machine.
    assert options["workers"] == (4, 12)
    assert options["gpu"] is True
    assert options["training.steps"] == 20
    # A shell on the head puts the head's environment in their place.
    env = {one["name"]: one.get("value") for one in container(head(plan))["env"]}
    scheme = {"aws": "s3", "gcp": "gs"}[cloud]
    assert options["checkpoint.remote"] == "$CHECKPOINT_URL"
    assert env["CHECKPOINT_URL"] == f"{scheme}://ai-data/checkpoints/run"
    assert (options["data.source"], env["DATA_URL"]) == ("$DATA_URL", f"{scheme}://ai-data/books")


def test_an_address_that_only_the_cloud_knows_leaves_the_entrypoint_readable() -> None:
    def program() -> None:
        bucket = pulumi_aws.s3.Bucket("data", region="us-east-1")
        args = arguments("RayJob", bucket=bucket.bucket, bucket_url=pulumi.Output.concat("s3://", bucket.bucket))
        RayJob("run", args, pulumi.ResourceOptions(providers=[k8s.Provider("cluster", kubeconfig="{}")]))  # type: ignore[arg-type]

    plan = plan_of(program)
    assert UNKNOWN not in object_of(plan).inputs["spec"]["entrypoint"]
    env = {one["name"]: one.get("value") for one in container(head(plan))["env"]}
    assert UNKNOWN in env["CHECKPOINT_URL"]


def test_settings_are_not_the_shells() -> None:
    settings = {"tracking.experiment": "a; rm -rf $HOME 'b'"}
    plan = plan_for("RayJob", arguments("RayJob", settings=settings))
    words = shlex.split(object_of(plan).inputs["spec"]["entrypoint"])
    assert words[words.index("--tracking.experiment") + 1] == settings["tracking.experiment"]
    quoted = object_of(plan).inputs["spec"]["entrypoint"]
    assert re.search(r"'a; rm -rf \$HOME", quoted)


def test_workers_write_checkpoints_and_read_data_and_no_more() -> None:
    plan = plan_for("RayJob", arguments("RayJob"))
    text = json.dumps([r.inputs for r in plan if r.package == "aws"])
    assert "ai-data/checkpoints/run/*" in text
    assert "ai-data/books/*" in text
    assert "ai-data/*" not in text


def test_without_accelerators_it_trains_on_cpus() -> None:
    args = arguments("RayJob", accelerator=None, accelerators_per_node=None)
    plan = plan_for("RayJob", args)
    words = shlex.split(object_of(plan).inputs["spec"]["entrypoint"])
    options = ray_train.parser().parse_args(words[3:])
    assert (options.workers, options.gpu) == ((1, 3), False)
    assert workers(plan)["rayStartParams"]["num-cpus"] == "1"


# ---- wrong arguments


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cloud": "azure"}, "cloud is 'azure'; accepted are 'aws', 'gcp'"),
        ({"namespace": "Training"}, "namespace is 'Training'; a Kubernetes name"),
        ({"image": "registry.example.com/training"}, "image is 'registry.example.com/training'; give it a tag"),
        ({"image": "registry.example.com/training:latest"}, "'latest' is another image tomorrow"),
        ({"priority": "urgent"}, "priority is 'urgent'; accepted are 'low', 'normal', 'high'"),
        ({"accelerator": "l40"}, "accelerator is 'l40'"),
        ({"accelerators_per_node": 0}, "accelerators_per_node is 0; accepted is a whole number from 1"),
        ({"min_workers": -1}, "min_workers is -1; accepted is a whole number from"),
        ({"min_workers": 4}, "max_workers is 3; accepted is a whole number from min_workers, 4"),
        ({"max_workers": 2.5}, "expected int, got 2.5"),
        ({"data_prefix": "/books"}, "data_prefix is '/books'; accepted is a prefix"),
        ({"checkpoint_prefix": "x/"}, "checkpoint_prefix is 'x/'; accepted is a prefix"),
        ({"grace_s": 0}, "grace_s is 0; accepted is a number above 0"),
        ({"fabric": True}, "fabric: unknown argument"),
        ({"bucket": None}, "bucket: is missing"),
    ],
)
def test_wrong_arguments_are_told_with_what_is_accepted(kind: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=re.escape(said)) as error:
        plan_for(kind, {k: v for k, v in {**arguments(kind), **changes}.items() if v is not None})
    assert f"{kind} 'run'" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"min_workers": 0}, "min_workers is 0; accepted is a whole number from 1"),
        ({"config": "llama_2b"}, "config is 'llama_2b'; accepted are 'tiny'"),
        ({"settings": {"steps": "2"}}, "settings is 'steps'; accepted are names such as 'training.steps'"),
        (
            {"settings": {"checkpoint.remote": "s3://x"}},
            "settings is 'checkpoint.remote'; it is what other arguments say",
        ),
        ({"settings": {"training.steps": 2}}, "settings[training.steps] is 2; accepted is text"),
    ],
)
def test_wrong_arguments_of_a_job(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=re.escape(said)):
        plan_for("RayJob", arguments("RayJob", **changes))


def test_a_cluster_may_be_empty_until_somebody_asks_for_workers() -> None:
    plan = plan_for("RayCluster", arguments("RayCluster", min_workers=0))
    assert workers(plan)["minReplicas"] == 0
    assert cluster(plan)["upgradeStrategy"] == {"type": "Recreate"}
