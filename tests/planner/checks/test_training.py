"""Training: gangs by hand, right ones of which nothing is said, and wrong ones."""

from __future__ import annotations

import pytest

from planner.plan import UNKNOWN
from tests.planner.checks.small_clusters import thing
from tests.planner.checks.training_jobs import (
    IGNORED,
    TRAIN,
    around,
    env,
    found,
    gke,
    gke_machines,
    identity,
    machines,
    pod,
    runtime,
    said,
    told,
    train_job,
)


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
