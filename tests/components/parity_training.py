"""Runtimes, jobs, Ray and searches, feature by feature and cloud by cloud."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from planner.plan import Plan
from tests.components.parity import Arguments, Change, Feature, NotOffered, Offered, values

RUNTIME = "kubernetes:trainer.kubeflow.org/v1alpha1:ClusterTrainingRuntime"
KINDS = {
    "TrainingJob": "kubernetes:trainer.kubeflow.org/v1alpha1:TrainJob",
    "RayCluster": "kubernetes:ray.io/v1:RayCluster",
    "RayJob": "kubernetes:ray.io/v1:RayJob",
    "HyperparameterSweep": "kubernetes:batch/v1:Job",
}
MACHINE = "accelerator accelerators_per_node machine_type"
SIZE = "cpu memory_gib scratch_gib grace_s"
PODS = "spec.template.spec.replicatedJobs.template.spec.template"
ROLE, BOUND = "aws:iam/rolePolicy:", "gcp:storage/bucketIAMMember:"
KEY = "arn:aws:kms:us-east-1:123456789012:key/data"


def both(
    component: str, title: str, arguments: str, how: str, proof: Callable[[Plan], bool], change: Change | None = None
) -> Feature:
    """What is Kubernetes' and the same on both clouds."""
    offered = Offered(how, proof)
    return Feature(component, title, tuple(arguments.split()), offered, offered, change=change)


def given(**more: Any) -> Change:
    return lambda args: {**args, **more}


def said(plan: Plan, component: str, *words: str) -> bool:
    """Whether all of the words are in what the component runs, whoever starts it."""
    found = [json.dumps(inputs) for inputs in values(plan, KINDS[component])]
    return bool(found) and all(word in text for text in found for word in words)


def environment(plan: Plan, type: str) -> Iterator[tuple[str, Any]]:
    """Name and value of whatever environment is anywhere in the resources of a type."""

    def walk(value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            yield from ((one["name"], one.get("value")) for one in value.get("env", ()))
            for item in value.values():
                yield from walk(item)
        elif isinstance(value, list):
            for item in value:
                yield from walk(item)

    yield from walk(values(plan, type))


def allowed(plan: Plan, word: str) -> bool:
    """Whether the identity's policy on either cloud has a word in it."""
    told = [*values(plan, ROLE, "policy"), *map(str, values(plan, BOUND, "condition.expression"))]
    return any(word in one for one in told)


def asked(component: str) -> Callable[[Plan], bool]:
    """Whether pods ask for what `SIZED` gives."""
    return lambda plan: said(plan, component, '"3000m"', '"12288Mi"', '"45"', f'"{(40 + 16 + 4) * 1024}Mi"')


SIZED: dict[str, Any] = {"cpu": 3, "memory_gib": 12, "scratch_gib": 40, "grace_s": 45}


def common(component: str) -> list[Feature]:
    """What every run has."""
    features = [
        both(
            component,
            "Waits in a queue until all of its machines are free",
            "queue priority",
            "Kueue's labels",
            lambda p: said(p, component, '"kueue.x-k8s.io/queue-name": "training"', '"training-high"'),
            given(priority="high"),
        ),
        both(
            component,
            "Accelerators of one kind of machine",
            MACHINE,
            "the catalog's label, and the device plugin's resource",
            lambda p: said(p, component, '"aicloud.dev/accelerator"', '"nvidia.com/gpu"'),
        ),
        both(
            component, "Cores, memory, local disk, time to leave", SIZE, "of each pod", asked(component), given(**SIZED)
        ),
        both(
            component,
            "File systems",
            "claims",
            "mounted under /mnt",
            lambda p: said(p, component, '"/mnt/hot"', '"/mnt/warm"'),
        ),
        Feature(
            component,
            "Reads its data and nothing else",
            ("bucket", "data_prefix"),
            Offered("policy of the role, by prefix", lambda p: allowed(p, "datasets/books/")),
            Offered("condition on the binding, by prefix", lambda p: allowed(p, "datasets/books/")),
        ),
        Feature(
            component,
            "The bucket's own key",
            ("encryption_key",),
            Offered("decrypt and encrypt in the role's policy", lambda p: allowed(p, KEY)),
            NotOffered("Cloud Storage itself uses the key"),
            change=given(encryption_key=KEY),
        ),
    ]
    if component != "RayCluster":
        features.append(
            both(
                component,
                "A named config, and settings on top",
                "config settings" + (" bucket_url" if component == "HyperparameterSweep" else ""),
                "the workload's own command line",
                lambda p: said(p, component, "workloads.training", "--config", "tiny", "--training.steps"),
            )
        )
    return features


def checkpoints(component: str) -> Feature:
    return Feature(
        component,
        "Checkpoints outlive it, under a prefix that is its own",
        ("checkpoint_prefix", *(() if component == "RayCluster" else ("bucket_url",))),
        Offered("in S3; it may write there only", lambda p: allowed(p, "kept/here/")),
        Offered("in Cloud Storage; it may write there only", lambda p: allowed(p, "kept/here/")),
        change=given(checkpoint_prefix="kept/here"),
    )


def workers(component: str) -> Feature:
    return both(
        component,
        "From so many to so many workers",
        "min_workers max_workers",
        "Ray's autoscaler, as far as the queue has quota",
        lambda p: said(p, component, '"minReplicas": 1', '"maxReplicas": 4', '"enableInTreeAutoscaling": true'),
    )


def on_cpus(args: Arguments) -> Arguments:
    without = ("accelerator", "accelerators_per_node", "machine_type", "fabric")
    return {key: value for key, value in args.items() if key not in without}


FEATURES = [
    both(
        "TrainingRuntimes",
        "A gang of fixed size and an elastic one, after a health gate",
        MACHINE,
        "ClusterTrainingRuntimes of Kubeflow Trainer, with the gate as an init container",
        lambda p: values(p, RUNTIME, f"{PODS}.spec.initContainers.name").count("health") == 2,
    ),
    both(
        "TrainingRuntimes",
        "Horovod",
        "mpi_image",
        "a runtime by MPI, started over ssh",
        lambda p: values(p, RUNTIME, "spec.mlPolicy.mpi.mpiImplementation") == ["OpenMPI"],
        lambda args: {**on_cpus(args), "mpi_image": "registry.example.com/ai-cloud/horovod:0.1.0"},
    ),
    Feature(
        "TrainingRuntimes",
        "The machines' fabric",
        ("fabric",),
        Offered("EFA interfaces; no other way", lambda p: ("FI_PROVIDER", "efa") in environment(p, RUNTIME)),
        Offered(
            "GPUDirect's networks and side container",
            lambda p: "tcpxo-daemon" in values(p, RUNTIME, f"{PODS}.spec.initContainers.name"),
        ),
    ),
    Feature(
        "TrainingRuntimes",
        "Huge pages for the fabric",
        ("huge_pages",),
        Offered("of 2 MiB", lambda p: any("hugepages-2Mi" in one for one in _limits(p))),
        NotOffered("GPUDirect has no use for them", given(huge_pages=True), "accepted with the fabric of AWS"),
        change=given(huge_pages=True),
    ),
    both(
        "TrainingRuntimes",
        "What machines must show before they train",
        "health_gbps",
        "bus bandwidth of an all-reduce",
        lambda p: "321" in values(p, RUNTIME, f"{PODS}.spec.initContainers.args"),
        given(health_gbps=321),
    ),
    both(
        "TrainingRuntimes",
        "How often a gang starts again",
        "max_restarts",
        "the JobSet's failure policy",
        lambda p: 7 in values(p, RUNTIME, "spec.template.spec.failurePolicy.maxRestarts"),
        given(max_restarts=7),
    ),
    both(
        "TrainingRuntimes",
        "Cores, memory, local disk, time to leave",
        SIZE,
        "of each pod",
        lambda p: (
            45 in values(p, RUNTIME, f"{PODS}.spec.terminationGracePeriodSeconds")
            and any(one.get("memory") == "12288Mi" for one in _limits(p))
        ),
        given(**SIZED),
    ),
    *common("TrainingJob"),
    checkpoints("TrainingJob"),
    both(
        "TrainingJob",
        "Goes on with fewer machines",
        "min_nodes max_nodes",
        "torchrun's range of sizes",
        lambda p: said(p, "TrainingJob", '"2:4"', '"numNodes": 4'),
    ),
    both(
        "TrainingJob",
        "Started by torchrun or horovodrun",
        "runtime launcher",
        "a runtime of TrainingRuntimes",
        lambda p: said(p, "TrainingJob", '"horovodrun"', '"name": "sample-mpi"'),
        lambda args: {**on_cpus(args), "launcher": "horovodrun", "runtime": "sample-mpi", "min_nodes": 4},
    ),
    both(
        "TrainingJob",
        "Machines that lie close together",
        "topology",
        "Kueue's topology-aware scheduling",
        lambda p: said(p, "TrainingJob", '"kueue.x-k8s.io/podset-preferred-topology": "kubernetes.io/hostname"'),
        given(topology="kubernetes.io/hostname"),
    ),
    Feature(
        "TrainingJob",
        "The machines' fabric",
        ("fabric",),
        Offered("EFA interfaces", lambda p: said(p, "TrainingJob", '"vpc.amazonaws.com/efa": "32"')),
        Offered("GPUDirect's libraries", lambda p: said(p, "TrainingJob", "NCCL_FASTRAK")),
    ),
    Feature(
        "TrainingJob",
        "Huge pages for the fabric",
        ("huge_pages",),
        Offered("of 2 MiB", lambda p: said(p, "TrainingJob", "hugepages-2Mi")),
        NotOffered("GPUDirect has no use for them", given(huge_pages=True), "accepted with the fabric of AWS"),
        change=given(huge_pages=True),
    ),
    *common("RayCluster"),
    checkpoints("RayCluster"),
    workers("RayCluster"),
    *common("RayJob"),
    checkpoints("RayJob"),
    workers("RayJob"),
    *common("HyperparameterSweep"),
    both(
        "HyperparameterSweep",
        "What is searched, how often, and who is stopped early",
        "search trials pruner",
        "Optuna, over a journal that all workers share",
        lambda p: said(p, "HyperparameterSweep", "optimizer.learning_rate=log:1e-4:1e-2", '"8"', '"hyperband"'),
        given(pruner="hyperband"),
    ),
    both(
        "HyperparameterSweep",
        "Starts with fewer workers where there is no room for all",
        "workers min_workers",
        "an indexed Job with Kueue's partial admission",
        lambda p: said(p, "HyperparameterSweep", '"parallelism": 4', '"kueue.x-k8s.io/job-min-parallelism": "2"'),
        given(min_workers=2),
    ),
    both(
        "HyperparameterSweep",
        "Where the journal and the result are",
        "tier",
        "a file system's claim",
        lambda p: said(p, "HyperparameterSweep", "/mnt/hot/sweeps/sample"),
        given(tier="hot"),
    ),
]


def _limits(plan: Plan) -> list[Any]:
    return values(plan, RUNTIME, f"{PODS}.spec.containers.resources.limits")
