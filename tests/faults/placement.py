"""Slips for which pods would wait for ever: between pods and pools, claims, queues and gangs."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

from tests.faults.fault import Fault, State, all_of, remove, the

DEPLOYMENT = "kubernetes:apps/v1:Deployment"
AUTOSCALER = "kubernetes:keda.sh/v1alpha1:ScaledObject"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
KARPENTER_POOL = "kubernetes:karpenter.sh/v1:NodePool"
NODE_POOL = "gcp:container/nodePool:NodePool"
CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"
VOLUME = "kubernetes:core/v1:PersistentVolume"
JOB = "kubernetes:batch/v1:Job"
JOB_SET = "kubernetes:jobset.x-k8s.io/v1alpha2:JobSet"
LOCAL_QUEUE = "kubernetes:kueue.x-k8s.io/v1beta2:LocalQueue"
CLUSTER_QUEUE = "kubernetes:kueue.x-k8s.io/v1beta2:ClusterQueue"
FLAVOR = "kubernetes:kueue.x-k8s.io/v1beta2:ResourceFlavor"
COMPUTE_CLASS = "kubernetes:cloud.google.com/v1:ComputeClass"
CLASS_LABEL = "cloud.google.com/compute-class"


def pod(states: list[State], region: str) -> dict[str, Any]:
    """The spec of a region's inference pods."""
    return the(states, DEPLOYMENT, f"{region}-triton")["inputs"]["spec"]["template"]["spec"]


def resources(states: list[State], region: str, **amounts: str) -> None:
    """Other requests, and limits, of a region's inference server."""
    for one in pod(states, region)["containers"][0]["resources"].values():
        one.update({name.replace("_", "-"): amount for name, amount in amounts.items()})


def templates(states: list[State], region: str, pool: str) -> list[dict[str, Any]]:
    """What has `labels` and `taints` of a pool's nodes in an AWS region: node groups and Karpenter's templates."""
    groups = [group["inputs"] for group in all_of(states, NODE_GROUP, f"{region}-cluster-nodes-{pool}")]
    elastic = [
        one["inputs"]["spec"]["template"]
        for one in all_of(states, KARPENTER_POOL, f"{region}-cluster-karpenter-{pool}")
    ]
    return [*groups, *({"labels": t["metadata"]["labels"], "taints": t["spec"]["taints"]} for t in elastic)]


def insert(
    states: list[State], region: str, type: str, name: str, namespace: str, spec: dict[str, Any], queue: str = ""
) -> State:
    """A Kubernetes object, put into a region's cluster as its owner's program would; it waits in a LocalQueue."""
    near = the(states, DEPLOYMENT, f"{region}-triton")
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    if queue:
        metadata["labels"] = {"kueue.x-k8s.io/queue-name": queue}
    project = "::".join(near["urn"].split("::")[:2])
    group, kind = type.split(":")[1:]
    state: State = {
        "urn": f"{project}::{type}::{region}-{name}",
        "type": type,
        "custom": True,
        "id": f"{namespace}/{name}",
        "provider": near["provider"],
        "inputs": {"apiVersion": group.removeprefix("core/"), "kind": kind, "metadata": metadata, "spec": spec},
        "outputs": {},
    }
    states.append(state)
    return state


# ---- a training job as it should be, and what may be wrong with one

TRAINERS = {
    "nodeSelector": {"aicloud.dev/pool": "training-h100"},
    "tolerations": [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "aicloud.dev/purpose", "operator": "Equal", "value": "training", "effect": "NoSchedule"},
    ],
    "restartPolicy": "Never",
    "containers": [
        {
            "name": "trainer",
            "image": "registry.example.com/ai-cloud/training:0.1.0",
            "command": ["torchrun"],
            "resources": {
                "requests": {"cpu": "180", "memory": "1600Gi"},
                "limits": {"nvidia.com/gpu": "8", "vpc.amazonaws.com/efa": "32", "memory": "1600Gi"},
            },
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }
    ],
    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "hot"}}],
}


def training_job(states: list[State], nodes: int = 4, queue: str = "", claim: str = "hot") -> State:
    """A parallel Job of whole H100 machines in prod's us-east-1, waiting in a LocalQueue where one is named."""
    spec: dict[str, Any] = deepcopy(TRAINERS)
    spec["volumes"][0]["persistentVolumeClaim"]["claimName"] = claim
    if queue:
        # The queue's flavor brings these.
        del spec["nodeSelector"], spec["tolerations"]
    job = {"parallelism": nodes, "completions": nodes, "completionMode": "Indexed", "template": {"spec": spec}}
    return insert(states, "us-east-1", JOB, "pretraining", "training", job, queue)


def job_set(states: list[State], nodes: int, queue: str = "") -> State:
    """As `training_job`, as a JobSet with a coordinator of its own."""
    spec: dict[str, Any] = deepcopy(TRAINERS)
    coordinator: dict[str, Any] = {
        "restartPolicy": "Never",
        "containers": [{"name": "coordinator", "image": "coordinator:1"}],
    }
    jobs = [
        {
            "name": name,
            "replicas": 1,
            "template": {"spec": {"parallelism": n, "completions": n, "template": {"spec": s}}},
        }
        for name, n, s in (("coordinator", 1, coordinator), ("workers", nodes, spec))
    ]
    return insert(states, "us-east-1", JOB_SET, "finetuning", "training", {"replicatedJobs": jobs}, queue)


def local_queue(states: list[State], name: str = "training", queue: str = "training") -> State:
    """The queue of prod's us-east-1, by another name or to another ClusterQueue."""
    found = the(states, LOCAL_QUEUE, "us-east-1-queue-localqueue-training")
    found["inputs"]["metadata"]["name"], found["inputs"]["spec"]["clusterQueue"] = name, queue
    return found


# ---- slips


def label_renamed(states: list[State]) -> None:
    for template in templates(states, "eu-central-1", "serving-l4"):
        template["labels"]["aicloud.dev/pool"] = "inference-l4"


def toleration_missing(states: list[State]) -> None:
    pod(states, "ap-northeast-1")["tolerations"] = []


def taint_added(states: list[State]) -> None:
    for template in templates(states, "us-west-2", "serving-l4"):
        template["taints"].append({"key": "team", "value": "search", "effect": "NoSchedule"})


def two_gpus(states: list[State]) -> None:
    resources(states, "europe-west4", **{"nvidia.com/gpu": "2"})


def all_memory(states: list[State]) -> None:
    resources(states, "us-east-1", memory="15Gi")


def all_cores(states: list[State]) -> None:
    resources(states, "asia-southeast1", cpu="4")


def large_models(states: list[State]) -> None:
    resources(states, "europe-west4", ephemeral_storage="120Gi")


def mig_profile(states: list[State]) -> None:
    for one in pod(states, "us-east-1")["containers"][0]["resources"].values():
        one["nvidia.com/mig-1g.10gb"] = one.pop("nvidia.com/gpu")


def other_zone(states: list[State]) -> None:
    pod(states, "us-east-1")["nodeSelector"]["topology.kubernetes.io/zone"] = "us-east-1f"


def other_accelerator(states: list[State]) -> None:
    spec = pod(states, "asia-southeast1")
    term = {"key": "cloud.google.com/gke-accelerator", "operator": "In", "values": ["nvidia-tesla-t4"]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [term]}]}
    spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def arm(states: list[State]) -> None:
    pod(states, "us-west-2")["nodeSelector"]["kubernetes.io/arch"] = "arm64"


def class_names_another_pool(states: list[State]) -> None:
    pod(states, "asia-southeast1")["nodeSelector"][CLASS_LABEL] = "serving-l4"
    spec = the(states, COMPUTE_CLASS, "asia-southeast1-cluster-nodes-serving-l4")["inputs"]["spec"]
    spec["priorities"] = [{"nodepools": ["serving-l40s-spot"]}, {"nodepools": ["serving-l40s-on-demand"]}]


def pool_removed(states: list[State]) -> None:
    remove(states, NODE_POOL, "asia-southeast1-cluster-nodes-serving-l4")


def claim_misspelt(states: list[State]) -> None:
    training_job(states, claim="hot-tier")


def claim_of_another_namespace(states: list[State]) -> None:
    spec = pod(states, "us-east-1")
    spec["volumes"].append({"name": "data", "persistentVolumeClaim": {"claimName": "cold"}})


def volume_renamed(states: list[State]) -> None:
    the(states, CLAIM, "europe-west4-storage-warm-training")["inputs"]["spec"]["volumeName"] = "europe-west4-warm"


def cache_on_one_disk(states: list[State]) -> None:
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "100Gi"}},
        "storageClassName": "encrypted",
    }
    insert(states, "eu-central-1", CLAIM, "model-cache", "serving", claim)
    pod(states, "eu-central-1")["volumes"].append({"name": "c", "persistentVolumeClaim": {"claimName": "model-cache"}})


def four_zones(states: list[State]) -> None:
    zones = pod(states, "us-east-1")["topologySpreadConstraints"][0]
    zones.update(whenUnsatisfiable="DoNotSchedule", minDomains=4)


def one_to_a_zone(states: list[State]) -> None:
    deployment = the(states, DEPLOYMENT, "europe-west4-triton")["inputs"]["spec"]
    term = {"topologyKey": "topology.kubernetes.io/zone", "labelSelector": deployment["selector"]}
    apart = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    deployment["template"]["spec"]["affinity"] = {"podAntiAffinity": apart}


def many_replicas(states: list[State]) -> None:
    the(states, AUTOSCALER, "ap-northeast-1-triton")["inputs"]["spec"]["maxReplicaCount"] = 32


def many_placeholders(states: list[State]) -> None:
    the(states, DEPLOYMENT, "eu-central-1-triton-warm")["inputs"]["spec"]["replicas"] = 32


def copy_without_a_claim(states: list[State]) -> None:
    remove(states, "kubernetes:core/v1:PersistentVolumeClaim", "us-west-2-storage-warm-serving")


def pool_lowered(states: list[State]) -> None:
    for kind in ("spot", "on-demand"):
        pool = the(states, KARPENTER_POOL, f"eu-central-1-cluster-karpenter-serving-l4-{kind}")
        pool["inputs"]["spec"]["limits"] = {"nodes": "2", "nvidia.com/gpu": "2"}


def gang_of_too_many(states: list[State]) -> None:
    training_job(states, nodes=24)


def gang_on_one_machine(states: list[State]) -> None:
    template = training_job(states, nodes=4)["inputs"]["spec"]["template"]
    template["metadata"] = {"annotations": {"kueue.x-k8s.io/podset-required-topology": "kubernetes.io/hostname"}}


def job_set_of_too_many(states: list[State]) -> None:
    job_set(states, 24)


def quota_exceeded(states: list[State]) -> None:
    local_queue(states)
    training_job(states, nodes=12, queue="training")


def queue_of_another_purpose(states: list[State]) -> None:
    local_queue(states, queue="serving")
    training_job(states, nodes=4, queue="training")


def quota_removed(states: list[State]) -> None:
    local_queue(states)
    training_job(states, nodes=2, queue="training")
    the(states, CLUSTER_QUEUE, "us-east-1-queue-clusterqueue-training")["inputs"]["spec"]["resourceGroups"] = []


def local_queue_renamed(states: list[State]) -> None:
    local_queue(states, name="research")
    training_job(states, nodes=2, queue="training")


def cluster_queue_renamed(states: list[State]) -> None:
    local_queue(states, queue="trainings")


def flavor_renamed(states: list[State]) -> None:
    the(states, FLAVOR, "us-east-1-queue-resourceflavor-training-h100-ladder")["inputs"]["metadata"]["name"] = "h100"


def flavor_of_no_pool(states: list[State]) -> None:
    flavor = the(states, FLAVOR, "europe-west4-queue-resourceflavor-training-h100")
    flavor["inputs"]["spec"]["nodeLabels"] = {"aicloud.dev/pool": "training-h200"}


def _fault(rule: str, environment: str, at: str, mutate: Callable[[list[State]], None], name: str) -> Fault:
    return Fault(name, environment, rule, at, mutate)


_pod = partial(_fault, "pod-fits-a-pool")
_gang = partial(_fault, "gang-fits-a-pool")
_replicas = partial(_fault, "replicas-fit-the-pool")
_claim = partial(_fault, "volume-claim-exists")
_quota = partial(_fault, "queue-quota-fits")
_queue = partial(_fault, "queue-exists")
_flavor = partial(_fault, "flavor-matches-a-pool")

FAULTS: tuple[Fault, ...] = (
    _pod("prod", "eu-central-1-triton", label_renamed, "the label of a pool is renamed, and not its pods' selector"),
    _pod("prod", "ap-northeast-1-triton", toleration_missing, "a pod loses its toleration of GPU nodes"),
    _pod("staging", "us-west-2-triton", taint_added, "a pool gets a taint that its pods do not tolerate"),
    _pod("prod", "europe-west4-triton", two_gpus, "a pod asks for two GPUs where each machine has one"),
    _pod("prod", "us-east-1-triton", all_memory, "a pod asks for memory that the node keeps for itself"),
    _pod("prod", "asia-southeast1-triton", all_cores, "a pod asks for all cores of a machine"),
    _pod("prod", "europe-west4-triton", large_models, "a pod asks for more local disk than the boot disk leaves"),
    _pod("prod", "us-east-1-triton", mig_profile, "a pod asks for a MIG profile that no pool has"),
    _pod("dev", "us-east-1-triton", other_zone, "a pod wants a zone in which the pool is not"),
    _pod("prod", "asia-southeast1-triton", other_accelerator, "a node affinity names another accelerator"),
    _pod("staging", "us-west-2-triton", arm, "a pod wants machines with Arm processors"),
    _pod(
        "prod", "asia-southeast1-triton", class_names_another_pool, "a ComputeClass names node pools that were renamed"
    ),
    _pod("prod", "asia-southeast1-triton", pool_removed, "a pool is removed, and its pods stay"),
    _claim("prod", "hot-tier", claim_misspelt, "a job mounts a claim by a wrong name"),
    _claim("prod", "us-east-1-triton", claim_of_another_namespace, "a pod mounts a claim of another namespace"),
    _claim("prod", "europe-west4-storage-warm-training", volume_renamed, "a claim names a volume that was renamed"),
    _claim("staging", "us-west-2-triton", copy_without_a_claim, "nobody makes the claim that pods start from"),
    _replicas("prod", "eu-central-1-triton", cache_on_one_disk, "replicas share a disk that one machine can mount"),
    _replicas("prod", "us-east-1-triton", four_zones, "replicas must spread over four zones of three"),
    _replicas("prod", "europe-west4-triton", one_to_a_zone, "eight replicas refuse to share one of three zones"),
    _replicas("prod", "ap-northeast-1-triton", many_replicas, "an autoscaler may want more replicas than a pool holds"),
    _replicas("prod", "eu-central-1-triton-warm", many_placeholders, "more machines stand ready than a pool may have"),
    _replicas("prod", "eu-central-1-triton", pool_lowered, "the maximum of a pool is lowered below its replicas"),
    _gang("prod", "pretraining", gang_of_too_many, "a job wants more machines at once than the pool has at most"),
    _gang("prod", "pretraining", gang_on_one_machine, "a job of four machines has to be on one"),
    _gang("prod", "finetuning", job_set_of_too_many, "a JobSet wants more machines at once than the pool has at most"),
    _quota("prod", "pretraining", quota_exceeded, "a queued job asks for more than its queue and cohort have"),
    _quota("prod", "pretraining", queue_of_another_purpose, "a training job waits in the queue for serving"),
    _quota("prod", "pretraining", quota_removed, "a queue has no quota of what its jobs ask for"),
    _flavor("prod", "europe-west4-queue", flavor_of_no_pool, "a flavor stands for a pool that is not there"),
    _queue("prod", "pretraining", local_queue_renamed, "a local queue is renamed, and its jobs name the old one"),
    _queue(
        "prod",
        "us-east-1-queue-localqueue",
        cluster_queue_renamed,
        "a local queue names a cluster queue that is not there",
    ),
    _queue("prod", "clusterqueue-training", flavor_renamed, "a flavor is renamed, and its queue names the old one"),
)
