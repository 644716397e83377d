"""What Kubeflow Trainer, JobSet and KubeRay make of their resources: pods, as they will be."""

from __future__ import annotations

import pytest

from planner.inventory import Inventory, Workload
from planner.inventory.training import merged
from planner.plan import UNKNOWN, Plan, Resource
from tests.planner.checks.small_clusters import cluster, job, pods, thing

STEP = "trainer.kubeflow.org/trainjob-ancestor-step"
NODE = {"name": "node", "image": "old", "args": ["x"],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"nvidia.com/gpu": "1"}}}  # fmt: skip


def replicated(name: str, *containers: dict, step: str = "", parallelism: int | None = None, **job_spec) -> dict:
    spec = {"template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": list(containers)}}, **job_spec}
    labels = {"metadata": {"labels": {STEP: step}}} if step else {}
    return {"name": name, "template": {**labels, "spec": spec | ({"parallelism": parallelism} if parallelism else {})}}


def runtime(*jobs: dict, name: str = "torchrun", kind: str = "ClusterTrainingRuntime", policy=None, **more) -> Resource:
    policy = {"numNodes": 2, "torch": {}} if policy is None else policy
    return thing(kind, name, {"mlPolicy": policy, "template": {"spec": {"replicatedJobs": list(jobs)}}}, **more)


def train_job(trainer: dict | None = None, *patches: dict, runtime="torchrun", kind=None, **more) -> Resource:
    reference = {"name": runtime} | ({"kind": kind} if kind else {})
    spec = {"runtimeRef": reference, "trainer": trainer or {}}
    spec["runtimePatches"] = [
        {"manager": "a/b", "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [one]}}}} for one in patches
    ]
    return thing("TrainJob", "gpt", spec, **more)


def patch(name: str, **pod) -> dict:
    return {"name": name, "template": {"spec": {"template": {"spec": pod}}}}


def read(*resources: Resource) -> list[Workload]:
    plan = Plan.from_json(Plan.of("test", "test", [*cluster(), *resources]).to_json())
    return list(Inventory(plan).workloads)


def test_a_runtime_by_itself_is_no_workload():
    assert read(runtime(replicated("node", NODE, step="trainer"))) == []


def test_a_job_is_its_runtime_with_what_the_job_says():
    trainer = {
        "numNodes": 4,
        "image": "new",
        "command": ["python"],
        "args": ["-m", "workloads.training"],
        "env": [{"name": "B", "value": "3"}],
        "resourcesPerNode": {"limits": {"nvidia.com/gpu": "8"}},
    }
    one = train_job(trainer, labels={"kueue.x-k8s.io/queue-name": "training"}, namespace="training")
    (workload,) = read(runtime(replicated("node", NODE, step="trainer", backoffLimit=3)), one)
    assert (workload.kind, workload.name, workload.namespace, workload.part) == ("TrainJob", "gpt", "training", "node")
    assert (workload.min_replicas, workload.max_replicas, workload.gang, workload.queue) == (4, 4, True, "training")
    (node,) = workload.spec["containers"]
    assert (node["image"], node["command"], node["args"]) == ("new", ["python"], ["-m", "workloads.training"])
    assert {e["name"]: e["value"] for e in node["env"]} == {"A": "1", "B": "3"}
    assert node["resources"] == {
        "requests": {"cpu": "1", "memory": "1Gi"},
        "limits": {"nvidia.com/gpu": "8"},
    }
    assert {"containerPort": 29500} in node["ports"]
    assert workload.job["backoffLimit"] == 3
    assert workload.labels["app"] == "node"
    assert workload.labels["jobset.sigs.k8s.io/jobset-name"] == "gpt"
    assert workload.labels["batch.kubernetes.io/job-name"] == "gpt-node-0"


def test_without_numbers_of_its_own_a_job_has_the_runtimes():
    (workload,) = read(runtime(replicated("node", NODE, step="trainer")), train_job())
    assert (workload.max_replicas, workload.spec["containers"][0]["image"]) == (2, "old")


def test_patches_are_merged_by_name():
    base = {**NODE, "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}
    there = runtime(replicated("node", base, step="trainer"))
    there.inputs["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"] |= {
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "nodeSelector": {"a": "1"},
        "tolerations": [{"key": "old"}],
    }
    mounts = [{"name": "data", "mountPath": "/data"}, {"name": "other", "mountPath": "/tmp"}]
    one = train_job(
        {"numNodes": 1},
        patch(
            "node", volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "hot"}}], serviceAccountName="a"
        ),
        patch("node", containers=[{"name": "node", "volumeMounts": mounts}], nodeSelector={"b": "2"}),
        patch("node", tolerations=[{"key": "new"}], terminationGracePeriodSeconds=60),
    )
    (workload,) = read(there, one)
    spec = workload.spec
    assert [volume["name"] for volume in spec["volumes"]] == ["tmp", "data"]
    assert spec["containers"][0]["volumeMounts"] == [{"name": "other", "mountPath": "/tmp"}, mounts[0]]
    assert spec["containers"][0]["image"] == "old"
    assert spec["nodeSelector"] == {"a": "1", "b": "2"}
    assert spec["tolerations"] == [{"key": "new"}]
    assert (spec["serviceAccountName"], spec["terminationGracePeriodSeconds"]) == ("a", 60)
    assert workload.gang is False


@pytest.mark.parametrize(("as_node", "nodes"), [(False, (1, 4)), (True, (1, 3))])
def test_a_launcher_is_one_pod_and_may_be_a_node(as_node, nodes):
    policy = {"numNodes": 1, "mpi": {"runLauncherAsNode": as_node}}
    jobs = replicated("launcher", NODE, step="trainer"), replicated("node", NODE, parallelism=7)
    trainer = {"numNodes": 4, "command": ["horovodrun"], "resourcesPerNode": {"limits": {"nvidia.com/gpu": "8"}}}
    launcher, node = read(runtime(*jobs, policy=policy), train_job(trainer))
    assert (launcher.part, node.part) == ("launcher", "node")
    assert (launcher.max_replicas, node.max_replicas) == nodes
    assert launcher.spec["containers"][0]["command"] == ["horovodrun"]
    assert "command" not in node.spec["containers"][0]
    gpus = [one.spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] for one in (launcher, node)]
    assert gpus == ["8", "8" if as_node else "1"]


def test_the_runtime_that_is_meant():
    own = runtime(replicated("node", {**NODE, "image": "own"}, step="trainer"), kind="TrainingRuntime", namespace="a")
    others = runtime(replicated("node", NODE, step="trainer"), name="mpi")
    assert read(own, train_job(namespace="a")) == []
    (workload,) = read(own, others, train_job(kind="TrainingRuntime", namespace="a"))
    assert workload.spec["containers"][0]["image"] == "own"
    assert read(own, train_job(kind="TrainingRuntime", namespace="b")) == []
    # A name that only the cloud knows is that of the runtime on which the job depends.
    unknown = train_job(runtime=UNKNOWN)
    assert read(others, unknown) == []
    depends = Resource(unknown.urn, unknown.type, inputs=unknown.inputs, provider=unknown.provider,
                       property_dependencies={"spec": (others.urn,)})  # fmt: skip
    assert [one.part for one in read(others, depends)] == ["node"]


def test_initializers_run_once_before():
    jobs = replicated("dataset-initializer", NODE, step="dataset-initializer"), replicated("node", NODE, step="trainer")
    first, node = read(runtime(*jobs), train_job({"numNodes": 3}))
    assert (first.max_replicas, node.max_replicas) == (1, 3)


def test_a_job_set_by_itself():
    jobs = [{**replicated("a", NODE, parallelism=2), "replicas": 3}, replicated("b", NODE)]
    one, two = read(thing("JobSet", "set", {"replicatedJobs": jobs}))
    assert [(w.part, w.max_replicas, w.gang) for w in (one, two)] == [("a", 6, True), ("b", 1, False)]
    assert one.labels["jobset.sigs.k8s.io/job-index"] == UNKNOWN


@pytest.mark.parametrize(
    ("autoscaled", "group", "expected"),
    [
        (False, {"replicas": 3, "minReplicas": 1, "maxReplicas": 8}, (3, 3, True)),
        (False, {"replicas": 9, "minReplicas": 1, "maxReplicas": 8}, (8, 8, True)),
        (True, {"replicas": 3, "minReplicas": 1, "maxReplicas": 8}, (1, 8, False)),
        (True, {"replicas": 2, "minReplicas": 2, "maxReplicas": 2, "numOfHosts": 4}, (8, 8, True)),
        (True, {"replicas": 2, "minReplicas": 1}, (1, 2, False)),
        (False, {"minReplicas": 0, "maxReplicas": 2}, (0, 0, False)),
    ],
)
def test_ray_clusters(autoscaled, group, expected):
    spec = {
        "enableInTreeAutoscaling": autoscaled,
        "headGroupSpec": {"template": {"spec": {"containers": [NODE]}}},
        "workerGroupSpecs": [{"groupName": "gpu", "template": {"spec": {"containers": [NODE]}}, **group}],
    }
    head, workers = read(thing("RayCluster", "search", spec, labels={"kueue.x-k8s.io/queue-name": "training"}))
    assert (head.part, head.max_replicas, head.queue) == ("head", 1, "training")
    assert (workers.min_replicas, workers.max_replicas, workers.gang) == expected
    # KubeRay puts the autoscaler beside the head.
    assert [one["name"] for one in head.spec["containers"]] == ["node", *(["autoscaler"] if autoscaled else [])]
    assert (workers.labels["ray.io/cluster"], workers.labels["ray.io/group"]) == ("search", "gpu")
    submitter = {"spec": {"containers": [NODE]}}
    of_job = read(thing("RayJob", "tune", {"rayClusterSpec": spec, "submitterPodTemplate": submitter}))
    assert [one.part for one in of_job] == ["head", "gpu", "submitter"]
    assert of_job[0].labels["ray.io/cluster"] == UNKNOWN


def test_a_job_that_may_start_with_fewer_pods_is_no_gang():
    sweep = job(pods({"cpu": "1"}), 8)
    assert [(w.min_replicas, w.max_replicas, w.gang) for w in read(sweep)] == [(8, 8, True)]
    sweep.inputs["metadata"]["annotations"] = {"kueue.x-k8s.io/job-min-parallelism": "2"}
    (workload,) = read(sweep)
    assert (workload.min_replicas, workload.max_replicas, workload.gang) == (2, 8, False)
    assert (workload.labels["app"], workload.labels["job-name"]) == ("w", "train")


def test_what_is_unknown_stays_unknown():
    assert merged({"a": UNKNOWN}, {"a": {"b": 1}}) == {"a": UNKNOWN}
    assert merged({"env": [{"name": "A"}]}, {"env": UNKNOWN}) == {"env": UNKNOWN}
    assert merged({"env": UNKNOWN}, {"env": [{"name": "A"}]}) == {"env": UNKNOWN}
    assert merged({"args": ["a"]}, {"args": ["b"]}) == {"args": ["b"]}
