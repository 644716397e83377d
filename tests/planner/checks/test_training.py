"""Training: gangs by hand, right ones of which nothing is said, and wrong ones."""

from __future__ import annotations

import json

import pytest

from planner.plan import UNKNOWN, Resource
from tests.planner.checks.small_clusters import URN, job, pods, thing
from tests.planner.checks.training_jobs import (
    IGNORED,
    TRAIN,
    around,
    env,
    found,
    gke_machines,
    identity,
    machines,
    pod,
    runtime,
    said,
    train_job,
)


def told(spec, *more, cloud="aws", **of_runtime):
    """What is said of a gang of two with this pod."""
    aside = [] if cloud == "gcp" else [machines(), *([] if more else [identity()])]
    return said(around(cloud), runtime(spec, **of_runtime), train_job(), *aside, *more)


def test_nothing_is_said_of_a_gang_that_is_right():
    assert told(pod()) == []


def test_a_job_without_a_queue_on_machines_that_stay_may_end_as_it_likes():
    spec = pod()
    spec["containers"][0]["command"] = TRAIN[:-2]
    spec["containers"][0]["env"] = env({"FI_PROVIDER": "efa"})
    stay = machines(kind="ON_DEMAND")
    assert said(around(), runtime(spec, policy=None), train_job(labels=None), stay) == []


# ---- runtimes


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([runtime(pod(), namespace="")], None),
        ([], None),
        ([thing("Release", "t", chart="oci://ghcr.io/kubeflow/charts/kubeflow-trainer", values={})], "there is none"),
        ([thing("Release", "t", chart="kubeflow-trainer", values={"runtimes": {"defaultEnabled": True}})], None),
        ([thing("Release", "t", chart="kubeflow-trainer", values={"runtimes": {"a": {"enabled": True}}})], None),
        ([thing("Release", "t", chart="kubeflow-trainer", values=UNKNOWN)], None),
        ([thing("ClusterTrainingRuntime", "torch-run", {})], "did you mean 'torch-run'?"),
        ([thing("ClusterTrainingRuntime", UNKNOWN, {})], None),
    ],
)
def test_a_runtime_that_is_there_or_that_somebody_else_brings(resources, expected):
    heard = said(around(), train_job(), *resources)
    assert [(rule, message.split("; ")[-1]) for rule, _, message in heard] == (
        [("training-runtime-exists", expected)] if expected else []
    )


def _patch(name, container=None, **more):
    spec = {"containers": [{"name": container, **more}]} if container else {}
    jobs = [{"name": name, "template": {"spec": {"template": {"spec": spec}}}}]
    return [{"manager": "a/b", "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": jobs}}}}]


@pytest.mark.parametrize(
    ("patches", "expected"),
    [
        (_patch("node", "node", volumeMounts=[]), None),
        (_patch("nodes"), "patches the replicated job 'nodes'; torchrun has node"),
        (_patch("node", "trainer"), "patches the container 'trainer' of node; torchrun has gate, node there"),
        (_patch("node", "node", env=env({"A": "1"})), "patches the environment of node, which belongs into"),
        (_patch("node", "gate", env=env({"A": "1"})), None),
        (_patch("node", UNKNOWN), None),
    ],
)
def test_patches_of_what_the_runtime_has(patches, expected):
    heard = said(around(), runtime(pod()), train_job(runtimePatches=patches), machines(), identity())
    assert [rule for rule, _, _ in heard] == (["training-runtime-exists"] if expected else [])
    assert expected is None or expected in heard[0][2]


def test_a_trainer_whose_command_nobody_runs():
    without = runtime(pod())
    template = without.inputs["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]
    template["metadata"]["labels"] = {}
    job = train_job(trainer={"numNodes": 2, "command": ["python"]})
    (message,) = [one[2] for one in said(around(), without, job) if one[0] == "training-runtime-exists"]
    assert "gives command to its trainer, but no replicated job of torchrun has the label" in message


# ---- fabric


def test_a_gang_that_does_not_ask_for_the_fabric_is_slow():
    spec = pod()
    for one in (*spec["containers"], *spec["initContainers"]):
        one["resources"]["limits"].pop("vpc.amazonaws.com/efa")
        one["env"] = env({"TRAINING_GRACE_S": "120"})
    spec["initContainers"][0]["command"] = spec["initContainers"][0]["command"][:-2]
    ((rule, severity, message),) = told(spec)
    assert (rule, severity) == ("gang-uses-the-fabric", "warning")
    assert "its 2 pods run on machines with efa in h100 and do not ask for it" in message
    # One machine needs no network between machines, and where there is none nobody can ask for it.
    assert said(around(), runtime(spec), train_job(1), machines(), identity())[0][0] == "world-size-matches-the-pods"
    assert said(around(), runtime(spec), train_job(), machines(efa=0), identity()) == []


def test_a_share_of_the_interfaces():
    spec = pod()
    spec["containers"][0]["resources"]["limits"]["vpc.amazonaws.com/efa"] = "4"
    spec["initContainers"] = []
    ((rule, severity, message),) = told(spec)
    assert (rule, severity) == ("gang-uses-the-fabric", "warning")
    assert "ask for 4 of the 32 interfaces that belong to 8 accelerators" in message
    spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = "1"
    spec["containers"][0]["command"] = [word.replace("8", "1") for word in TRAIN]
    assert told(spec) == []


def gke(networks=8, variables=None, grace=15, **more):
    """A gang of two on A3 Mega."""
    spec = pod(initContainers=[], terminationGracePeriodSeconds=grace, **more)
    node = spec["containers"][0]
    variables = {"NCCL_FASTRAK_CTRL_DEV": "eth0"} if variables is None else variables
    node |= {"resources": {"limits": {"nvidia.com/gpu": "8"}}}
    node["command"] = [word.replace("s3://", "gs://") for word in TRAIN]
    node["env"] = env({"TRAINING_GRACE_S": str(grace), **variables})
    listed = [{"interfaceName": f"eth{i + 1}", "network": f"gpudirect-{i}"} for i in range(networks)]
    default = {"interfaceName": "eth0", "network": "default"}
    asked = {"networking.gke.io/interfaces": json.dumps([default, *listed])} if networks else {}
    return spec, asked


@pytest.mark.parametrize(
    ("asked", "there", "severity", "expected"),
    [
        (8, 8, None, None),
        (0, 8, "warning", "do not ask for it"),
        (0, 0, None, None),
        (8, 0, "error", "want 8 networks beside the ordinary one, and machines of h100 have 0"),
        (8, 4, "error", "want 8 networks beside the ordinary one, and machines of h100 have 4"),
        (2, 8, "warning", "ask for 2 of the 8 interfaces"),
    ],
)
def test_networks_of_gke(asked, there, severity, expected):
    variables = {} if not asked else None
    spec, annotations = gke(asked, variables)
    heard = told(spec, gke_machines(networks=there), cloud="gcp", annotations=annotations)
    assert [(rule, level) for rule, level, _ in heard] == ([("gang-uses-the-fabric", severity)] if expected else [])
    assert expected is None or expected in heard[0][2]


@pytest.mark.parametrize(
    ("cloud", "variables", "severity"),
    [
        ("aws", {"FI_PROVIDER": "efa"}, None),
        ("aws", {"NCCL_FASTRAK_IFNAME": "eth1"}, "error"),
        ("aws", {"NCCL_NET": "Socket"}, "warning"),
        ("aws", {"FI_PROVIDER": "tcp"}, "warning"),
        ("aws", {"FI_PROVIDER": UNKNOWN}, None),
        ("gcp", {"NCCL_FASTRAK_IFNAME": "eth1"}, None),
        ("gcp", {"NCCL_NET": "FasTrak"}, None),
        ("gcp", {"NCCL_NET": "gIB"}, "error"),
        ("gcp", {"NCCL_GPUDIRECTTCPX_CTRL_DEV": "eth0"}, "error"),
        ("gcp", {"FI_PROVIDER": "efa"}, "error"),
    ],
)
def test_nccl_is_told_of_the_fabric_that_is_there(cloud, variables, severity):
    if cloud == "aws":
        spec = pod(initContainers=[])
        spec["containers"][0]["env"] = env({"TRAINING_GRACE_S": "120", **variables})
        heard = told(spec)
    else:
        spec, annotations = gke(variables=variables)
        heard = told(spec, gke_machines(), cloud="gcp", annotations=annotations)
    assert [(rule, level) for rule, level, _ in heard] == ([("nccl-matches-the-fabric", severity)] if severity else [])


def test_the_gate_expects_the_fabric_that_is_there():
    spec = pod()
    spec["initContainers"][0]["command"][-1] = "gpudirect-tcpxo"
    ((rule, _, message),) = told(spec)
    assert rule == "nccl-matches-the-fabric"
    assert "the gate in gate expects gpudirect-tcpxo, and its machines have efa: it never opens" in message


# ---- endings


@pytest.mark.parametrize(
    ("pod_s", "training_s", "kind", "expected"),
    [
        (120, 120, "SPOT", []),
        (60, 120, "SPOT", ["error"]),
        (300, 300, "SPOT", ["warning"]),
        (300, 300, "ON_DEMAND", []),
        (60, 300, "SPOT", ["error", "warning"]),
        (300, 60, "SPOT", []),
        (UNKNOWN, 60, "SPOT", []),
    ],
)
def test_grace_on_aws(pod_s, training_s, kind, expected):
    spec = pod(terminationGracePeriodSeconds=pod_s)
    spec["containers"][0]["env"] = env({"TRAINING_GRACE_S": str(training_s), "FI_PROVIDER": "efa"})
    heard = said(around(), runtime(spec), train_job(), machines(kind=kind), identity())
    assert [(rule, severity) for rule, severity, _ in heard] == [("grace-fits-the-notice", one) for one in expected]


@pytest.mark.parametrize(
    ("kubelet", "grace", "fits"),
    [
        ({}, 15, True),
        ({}, 30, False),
        ({"shutdownGracePeriodSeconds": 120, "shutdownGracePeriodCriticalPodsSeconds": 20}, 100, True),
        ({"shutdownGracePeriodSeconds": 120, "shutdownGracePeriodCriticalPodsSeconds": 20}, 101, False),
        ({"shutdownGracePeriodSeconds": UNKNOWN}, 600, True),
    ],
)
def test_grace_on_gke_is_what_the_kubelet_leaves_to_pods(kubelet, grace, fits):
    spec, annotations = gke(grace=grace)
    heard = told(spec, gke_machines(kubeletConfig=kubelet), cloud="gcp", annotations=annotations)
    assert [(rule, level) for rule, level, _ in heard] == ([] if fits else [("grace-fits-the-notice", "warning")])


def rules(*given):
    return {"rules": list(given)}


DISRUPTED, SAVED, _ = IGNORED["rules"]


@pytest.mark.parametrize(
    ("policy", "subjects"),
    [
        (IGNORED, []),
        (None, ["node 75", "node disruption"]),
        (rules(DISRUPTED), ["node 75"]),
        (rules(SAVED), ["node disruption"]),
        (rules(SAVED, {**SAVED, "action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0]}}, DISRUPTED),
         ["node disruption"]),
        (rules({**SAVED, "action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [1]}}, SAVED, DISRUPTED),
         ["node 75", "node disruption"]),
        (rules(DISRUPTED, {**SAVED, "onExitCodes": {"containerName": "other", "operator": "In", "values": [75]}}),
         ["node 75"]),
        (rules(DISRUPTED, {**SAVED, "onExitCodes": {"operator": "In", "values": [75.0]}}), []),
        (UNKNOWN, []),
    ],
)  # fmt: skip
def test_preemption_is_no_failure(policy, subjects):
    heard = found(around(), runtime(pod(), policy=policy), train_job(), machines(), identity())
    assert [(one.rule, one.subject) for one in heard] == [("preemption-is-no-failure", one) for one in subjects]


# ---- checkpoints


def test_checkpoints_that_are_lost_with_the_machine():
    spec = pod()
    spec["containers"][0]["command"] = TRAIN[:-2]
    ((rule, _, message),) = told(spec)
    assert rule == "checkpoints-outlive-the-machine"
    assert "node saves to /scratch/run alone, which is lost with the machine" in message
    spec["volumes"][1] = {"name": "scratch", "persistentVolumeClaim": {"claimName": "warm"}}
    assert told(spec) == []
    spec["containers"][0]["args"] = UNKNOWN
    assert told(spec) == []


@pytest.mark.parametrize(
    ("access", "problem"),
    [
        (identity(), ""),
        (identity(account="other"), "its service account training/gpt has no identity in the cloud"),
        (identity("others"), "its role r may not write to s3://checkpoints/runs/gpt"),
        (identity("checkpoints", "runs/llama"), "its role r may not write to s3://checkpoints/runs/gpt"),
        (identity("checkpoints", "runs/", "s3:GetObject"), "its role r may not write"),
        (identity("checkpoints", "", "s3:*"), ""),
        (identity("*", "", "s3:Put*"), ""),
        ([], ""),
    ],
)
def test_who_may_write_on_aws(access, problem):
    heard = told(pod(), access, [])
    assert [rule for rule, _, _ in heard] == (["checkpoints-outlive-the-machine"] if problem else [])
    assert not problem or problem in heard[0][2]


def test_policies_that_only_the_cloud_knows_are_not_judged():
    role, policy, association = identity("others")
    policy.inputs["policy"] = UNKNOWN
    assert told(pod(), [role, policy, association]) == []
    association.inputs["namespace"] = UNKNOWN
    assert told(pod(), [role, association]) == []


def grant(role="objectUser", member="gpt", bucket="checkpoints", prefix="", type="storage/bucketIAMMember"):
    name = f"gcp:{type}:{type.split('/')[1][0].upper()}{type.split('/')[1][1:]}"
    pool = "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p.svc.id.goog/subject"
    inputs = {"bucket": bucket, "role": f"roles/storage.{role}", "member": f"{pool}/ns/training/sa/{member}"}
    if prefix:
        inputs["condition"] = {
            "expression": f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/{prefix}") || x("{prefix}")'
        }
    return Resource(URN.format(name, f"{role}{member}{bucket}"), name, inputs=inputs)


@pytest.mark.parametrize(
    ("grants", "allowed"),
    [
        ([grant()], True),
        ([grant("objectViewer")], False),
        ([grant("objectViewer"), grant("objectAdmin")], True),
        ([grant("objectCreator")], False),
        ([grant(member="other")], False),
        ([grant(bucket="data")], False),
        ([grant(prefix="runs/gpt")], True),
        ([grant(prefix="runs/llama")], False),
        ([grant(member=UNKNOWN)], True),
        ([grant(bucket="data"), grant("admin", type="projects/iAMMember")], True),
        ([], True),
    ],
)
def test_who_may_write_on_google_cloud(grants, allowed):
    spec, annotations = gke()
    heard = told(spec, gke_machines(), grants, cloud="gcp", annotations=annotations)
    assert [rule for rule, _, _ in heard] == ([] if allowed else ["checkpoints-outlive-the-machine"])


def ray_job(entrypoint, **variables):
    def group(name, account, **more):
        container = {"name": "ray", "image": "i", "env": env({"TRAINING_GRACE_S": "120", **more})}
        spec = {"serviceAccountName": account, "terminationGracePeriodSeconds": 120, "containers": [container]}
        return {"groupName": name, "replicas": 2, "minReplicas": 2, "maxReplicas": 2, "template": {"spec": spec}}

    cluster = {"headGroupSpec": group("", "head", **variables), "workerGroupSpecs": [group("workers", "gpt")]}
    body = {"entrypoint": entrypoint, "rayClusterSpec": cluster}
    return thing("RayJob", "tune", body, namespace="training", labels={"kueue.x-k8s.io/queue-name": "training"})


@pytest.mark.parametrize(
    ("remote", "prefix", "expected"),
    [
        ('--checkpoint.remote "$CHECKPOINTS"', "runs/", ""),
        ("--checkpoint.remote ${CHECKPOINTS}", "others/", "may not write to s3://checkpoints/runs/tune"),
        ('--checkpoint.remote "$ELSEWHERE"', "others/", ""),
        ("", "runs/", "saves to /scratch/run alone"),
    ],
)
def test_what_a_ray_job_runs_is_in_its_entrypoint(remote, prefix, expected):
    entrypoint = f"python -m workloads.training.ray_train --output /scratch/run --workers 2 {remote}"
    job = ray_job(entrypoint, CHECKPOINTS="s3://checkpoints/runs/tune")
    heard = said(around(), job, machines(), identity("checkpoints", prefix))
    assert [rule for rule, _, _ in heard] == (["checkpoints-outlive-the-machine"] if expected else [])
    assert expected in (heard[0][2] if heard else "")


# ---- sweeps


def sweep(journal="/mnt/warm/journal", modes=("ReadWriteMany",), workers=4):
    template = pods({"cpu": "1"}, claims=["warm"])
    command = ["python", "-m", "workloads.training.sweep", "--journal", journal, "--output", "/mnt/warm/run"]
    container = template["spec"]["containers"][0]
    container |= {"command": command, "volumeMounts": [{"name": "warm", "mountPath": "/mnt/warm"}]}
    container["volumeMounts"].append({"name": "scratch", "mountPath": "/scratch"})
    template["spec"]["volumes"].append({"name": "scratch", "emptyDir": {}})
    claim = thing("PersistentVolumeClaim", "warm", {"accessModes": list(modes)}, namespace="training")
    one = job(template, workers, namespace="training")
    one.inputs["spec"]["podFailurePolicy"] = IGNORED
    one.inputs["metadata"]["annotations"] = {"kueue.x-k8s.io/job-min-parallelism": "1"}
    return [one, claim]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ""),
        ({"modes": ["ReadWriteOnce"]}, "is on the claim warm, which is ReadWriteOnce; 4 workers"),
        ({"journal": "/scratch/journal"}, "is on scratch (emptyDir), of which each pod has its own"),
        ({"journal": "/journal"}, "is on no volume (the container's own disk)"),
        ({"journal": "/scratch/journal", "workers": 1}, ""),
        ({"modes": [UNKNOWN]}, ""),
    ],
)
def test_the_journal_of_a_sweep(given, expected):
    heard = said(around(), machines(), sweep(**given))
    assert [rule for rule, _, _ in heard] == (["sweep-journal-is-shared"] if expected else [])
    assert expected in (heard[0][2] if heard else "")
    # One fault is told by one rule.
    assert found(around(), machines(), sweep(**given), check="placement") == []


# ---- pods


def test_several_gpus_share_memory():
    spec = pod()
    spec["volumes"][0]["emptyDir"] = {}
    ((rule, _, message),) = told(spec)
    assert (rule, "container node has 8 GPUs, and no memory at /dev/shm" in message) == (
        "several-gpus-share-memory", True)  # fmt: skip
    assert told({**spec, "hostIPC": True}) == []
    spec["containers"][0]["volumeMounts"] = UNKNOWN
    assert told(spec) == []


@pytest.mark.parametrize(
    ("nodes", "processes", "expected"),
    [
        ("2", "8", []),
        ("4", "8", ["launched for 4 machines, and there are 2 pods: it waits for machines that never come"]),
        ("1", "8", ["launched for 1 machines, and there are 2 pods: it turns the others away"]),
        ("1:2", "8", []),
        ("2:8", "8", []),
        ("3:8", "8", ["launched for 3 to 8 machines"]),
        ("1:1", "8", ["launched for 1 machines"]),
        ("$(PET_NNODES)", "gpu", []),
        ("2", "4", ["node starts 4 processes and has 8 GPUs"]),
    ],
)
def test_the_world_is_as_large_as_the_pods(nodes, processes, expected):
    spec = pod()
    command = spec["containers"][0]["command"]
    command[command.index("--nnodes") + 1], command[command.index("--nproc-per-node") + 1] = nodes, processes
    heard = told(spec)
    assert [rule for rule, _, _ in heard] == ["world-size-matches-the-pods"] * len(expected)
    assert all(text in message for text, (_, _, message) in zip(expected, heard, strict=True))


def test_a_gate_of_one_machine_waits_for_nobody():
    spec = pod()
    gate = spec["initContainers"][0]["command"]
    gate[gate.index("--nnodes") + 1] = "1"
    assert told(spec) == []
    gate[gate.index("--nnodes") + 1] = "4"
    assert [rule for rule, _, _ in told(spec)] == ["world-size-matches-the-pods"]


def test_commands_inside_a_shell():
    spec = pod()
    spec["containers"][0]["command"] = ["bash", "-c", " ".join(TRAIN).replace("--nnodes 2", "--nnodes=3")]
    assert [rule for rule, _, _ in told(spec)] == ["world-size-matches-the-pods"]


@pytest.mark.parametrize(
    ("label", "pod_class", "there", "expected"),
    [
        ("training-normal", None, "training-normal", ""),
        ("training-urgent", None, "training-normal", "has the WorkloadPriorityClass 'training-urgent'; there is tr"),
        ("training-urgent", None, UNKNOWN, ""),
        (None, "system-node-critical", "training-normal", ""),
        (None, "batch", "training-normal", ""),
    ],
)
def test_priorities_that_are_there(label, pod_class, there, expected):
    surroundings = [one for one in around() if not one.type.endswith("PriorityClass")]
    labels = {"kueue.x-k8s.io/queue-name": "training"} | ({"kueue.x-k8s.io/priority-class": label} if label else {})
    spec = pod(**({"priorityClassName": pod_class} if pod_class else {}))
    classes = thing("WorkloadPriorityClass", there, value=1)
    heard = said(surroundings, classes, runtime(spec), train_job(labels=labels), machines(), identity())
    assert [rule for rule, _, _ in heard] == (["priority-class-exists"] if expected else [])
    assert expected in (heard[0][2] if heard else "")


def test_monitors_of_training_select_its_pods():
    def monitor(**labels):
        spec = {"selector": {"matchLabels": labels}, "podMetricsEndpoints": []}
        return thing("PodMonitor", "gpt", spec, namespace="training")

    right = [around(), runtime(pod()), train_job(), machines()]
    for labels in ({"app": "gpt"}, {"jobset.sigs.k8s.io/jobset-name": "gpt"}):
        assert found(*right, monitor(**labels), check="contracts") == []
    (finding,) = found(*right, monitor(app="gtp"), check="contracts")
    assert finding.rule == "monitor-selects-pods"
    # Pods of a runtime that the plan doesn't show may have any label.
    assert found(around(), train_job(), machines(), monitor(app="gtp"), check="contracts") == []


@pytest.mark.parametrize(
    ("made", "found_"),
    [([f"gpudirect-{i}" for i in range(8)], False), ([], False), (["gpu-0"], True), ([UNKNOWN], False)],
)
def test_networks_that_pods_want_are_there(made, found_):
    spec, annotations = gke()
    there = [thing("Network", name, {}) for name in made]
    heard = found(around("gcp"), gke_machines(), runtime(spec, annotations=annotations), train_job(), there,
                  check="contracts")  # fmt: skip
    assert ["device-network-exists" in one.rule for one in heard] == ([True] if found_ else [])
