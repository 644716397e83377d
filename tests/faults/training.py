"""Slips for which training would not start, be slow, or lose what it has learnt."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.faults.fault import Fault, State, all_of, the
from tests.faults.placement import CLAIM, JOB, LOCAL_QUEUE, NODE_POOL, insert

TRAIN_JOB = "kubernetes:trainer.kubeflow.org/v1alpha1:TrainJob"
RUNTIME = "kubernetes:trainer.kubeflow.org/v1alpha1:ClusterTrainingRuntime"
MONITOR = "kubernetes:monitoring.coreos.com/v1:PodMonitor"
RAY_JOB = "kubernetes:ray.io/v1:RayJob"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
GRANT = "gcp:storage/bucketIAMMember:BucketIAMMember"
NODE_CLASS = "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
NETWORK = "kubernetes:networking.gke.io/v1:Network"
PRIORITY = "kueue.x-k8s.io/priority-class"
INTERFACES = "networking.gke.io/interfaces"

ON_AWS, ON_GCP = "llama-8b-job", "llama-1b-job"
"""A gang of fixed size on EFA, and an elastic one on A3 Mega."""
SWEEP, RAY = "us-east-1-learning-rate-job", "europe-west4-gpt2-ray-job"


def sweep(states: list[State]) -> dict[str, Any]:
    """The spec of a search's pods."""
    return the(states, JOB, SWEEP)["inputs"]["spec"]["template"]["spec"]


def spec(states: list[State], job: str = ON_AWS) -> dict[str, Any]:
    return the(states, TRAIN_JOB, job)["inputs"]["spec"]


def runtime(states: list[State], job: str = ON_AWS) -> dict[str, Any]:
    """The Job in the runtime that a TrainJob names, with the template of its pods."""
    name = spec(states, job)["runtimeRef"]["name"]
    found = next(one for one in all_of(states, RUNTIME) if one["inputs"]["metadata"]["name"] == name)
    return found["inputs"]["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]


def patch(states: list[State], job: str = ON_AWS) -> dict[str, Any]:
    """What a TrainJob changes of its pods."""
    jobs = spec(states, job)["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    return jobs[0]["template"]["spec"]["template"]["spec"]


def containers(states: list[State], job: str = ON_AWS) -> list[dict[str, Any]]:
    """The runtime's containers of a TrainJob, and what it says itself about the one that trains."""
    pod = runtime(states, job)["template"]["spec"]
    trainer = spec(states, job)["trainer"]
    return [*pod.get("initContainers", ()), *pod["containers"], {**trainer, "resources": trainer["resourcesPerNode"]}]


def option(states: list[State], name: str, value: str, job: str = ON_AWS) -> None:
    """Another value of an option of training."""
    words = spec(states, job)["trainer"]["args"]
    words[words.index(name) + 1] = value


def variable(states: list[State], name: str, value: str, job: str = ON_AWS) -> None:
    """An environment variable of training, where the gate has it too."""
    for container in (spec(states, job)["trainer"], *containers(states, job)):
        env = container.setdefault("env", [])
        env[:] = [*(one for one in env if one["name"] != name), {"name": name, "value": value}]


def asked(states: list[State], resource: str, amount: str, job: str = ON_AWS) -> None:
    """Another amount of a resource for each pod; `0` for none."""
    for container in containers(states, job):
        for amounts in container["resources"].values():
            if resource in amounts:
                amounts[resource] = amount


# ---- slips


def runtime_misspelt(states: list[State]) -> None:
    spec(states)["runtimeRef"]["name"] += "s"


def container_misnamed(states: list[State]) -> None:
    patch(states)["containers"][0]["name"] = "trainer"


def trainer_label_lost(states: list[State]) -> None:
    name = spec(states)["runtimeRef"]["name"]
    found = next(one for one in all_of(states, RUNTIME) if one["inputs"]["metadata"]["name"] == name)
    found["inputs"]["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["metadata"]["labels"] = {}


def gang_larger_than_its_pool(states: list[State]) -> None:
    spec(states, ON_GCP)["trainer"]["numNodes"] = 9
    option(states, "--nnodes", "2:9", ON_GCP)


def compact_gang_of_elastic_machines(states: list[State]) -> None:
    spec(states)["trainer"]["numNodes"] = 4
    option(states, "--nnodes", "4")


def scratch_beyond_the_machine(states: list[State]) -> None:
    asked(states, "ephemeral-storage", "40Ti")


def more_interfaces_than_there_are(states: list[State]) -> None:
    asked(states, "vpc.amazonaws.com/efa", "33")


def efa_left_out(states: list[State]) -> None:
    asked(states, "vpc.amazonaws.com/efa", "0")


def few_interfaces(states: list[State]) -> None:
    asked(states, "vpc.amazonaws.com/efa", "4")


def networks_left_out(states: list[State]) -> None:
    del runtime(states, ON_GCP)["template"]["metadata"]["annotations"][INTERFACES]


def network_renamed(states: list[State]) -> None:
    the(states, NETWORK, "europe-west4-cluster-nodes-gpudirect-0")["inputs"]["metadata"]["name"] = "gpu-0"


def pool_without_networks(states: list[State]) -> None:
    for pool in all_of(states, NODE_POOL, "europe-west4-cluster-nodes-training-h100"):
        pool["inputs"]["networkConfig"]["additionalNodeNetworkConfigs"] = []


def environment_of_another_cloud(states: list[State]) -> None:
    variable(states, "NCCL_FASTRAK_IFNAME", "eth1,eth2,eth3,eth4")


def environment_of_another_machine(states: list[State]) -> None:
    variable(states, "NCCL_NET", "gIB", ON_GCP)


def provider_is_tcp(states: list[State]) -> None:
    variable(states, "FI_PROVIDER", "tcp")


def gate_of_another_fabric(states: list[State]) -> None:
    gate = next(one for one in containers(states) if one["name"] == "health")["args"]
    gate[gate.index("efa")] = "gpudirect-tcpxo"


def longer_than_the_pod(states: list[State]) -> None:
    variable(states, "TRAINING_GRACE_S", "600")


def pod_killed_earlier(states: list[State]) -> None:
    patch(states, ON_GCP)["terminationGracePeriodSeconds"] = 30


def spot_machines_stop_at_once(states: list[State]) -> None:
    pool = the(states, NODE_POOL, "europe-west4-cluster-nodes-training-h100-spot")
    pool["inputs"]["nodeConfig"].pop("kubeletConfig", None)
    pool["inputs"]["nodeConfig"]["labels"]["edited"] = "true"


def saved_counts_as_failed(states: list[State]) -> None:
    policy = runtime(states)["podFailurePolicy"]
    policy["rules"] = [r for r in policy["rules"] if 75 not in r.get("onExitCodes", {}).get("values", ())]


def lost_machine_fails_the_job(states: list[State]) -> None:
    exits = {"containerName": "node", "operator": "NotIn", "values": [0, 75]}
    runtime(states, ON_GCP)["podFailurePolicy"]["rules"].insert(0, {"action": "FailJob", "onExitCodes": exits})


def nothing_is_saved_elsewhere(states: list[State]) -> None:
    words = spec(states, ON_GCP)["trainer"]["args"]
    place = words.index("--checkpoint.remote")
    del words[place : place + 2]


def may_not_write_there(states: list[State]) -> None:
    option(states, "--checkpoint.remote", "s3://us-east-1-checkpoints/llama-8b")


def identity_of_another_prefix(states: list[State]) -> None:
    policy = the(states, ROLE_POLICY, "llama-8b-identity")["inputs"]
    policy["policy"] = policy["policy"].replace("checkpoints/llama-8b", "checkpoints/llama")


def identity_only_reads(states: list[State]) -> None:
    for grant in all_of(states, GRANT, "llama-1b-identity"):
        grant["inputs"]["role"] = "roles/storage.objectViewer"


def nodes_lowered(states: list[State]) -> None:
    spec(states)["trainer"]["numNodes"] = 1


def processes_of_half_the_gpus(states: list[State]) -> None:
    option(states, "--nproc-per-node", "4", ON_GCP)


def shared_memory_on_disk(states: list[State]) -> None:
    for pod in (runtime(states, ON_GCP)["template"]["spec"], patch(states, ON_GCP)):
        for volume in pod.get("volumes", ()):
            volume.get("emptyDir", {}).pop("medium", None)


def priority_misspelt(states: list[State]) -> None:
    the(states, TRAIN_JOB, ON_AWS)["inputs"]["metadata"]["labels"][PRIORITY] = "training-highest"


def queue_misspelt(states: list[State]) -> None:
    the(states, TRAIN_JOB, ON_GCP)["inputs"]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "trainings"


def queue_of_serving(states: list[State]) -> None:
    the(states, LOCAL_QUEUE, "us-east-1-queue-localqueue-training")["inputs"]["spec"]["clusterQueue"] = "serving"


def claim_misspelt_in_a_patch(states: list[State]) -> None:
    for volume in patch(states)["volumes"]:
        if "persistentVolumeClaim" in volume:
            volume["persistentVolumeClaim"]["claimName"] += "-tier"


def account_misspelt(states: list[State]) -> None:
    patch(states, ON_GCP)["serviceAccountName"] = "llama-1b"


def monitor_of_other_pods(states: list[State]) -> None:
    labels = the(states, MONITOR, "llama-8b-monitor")["inputs"]["spec"]["selector"]["matchLabels"]
    labels["app.kubernetes.io/instance"] = "llama-8b"


def monitor_of_another_port(states: list[State]) -> None:
    the(states, MONITOR, "llama-1b-monitor")["inputs"]["spec"]["podMetricsEndpoints"][0]["port"] = "prometheus"


def machines_with_an_old_driver(states: list[State]) -> None:
    group = the(states, NODE_GROUP, "us-east-1-cluster-nodes-training-h100-base")["inputs"]
    group["releaseVersion"] = "1.35.0-20250601"
    for state in all_of(states, NODE_CLASS, "us-east-1-cluster-karpenter-training-h100"):
        state["inputs"]["spec"]["amiSelectorTerms"] = [{"alias": "al2023@v20250601"}]


def journal_of_each_worker(states: list[State]) -> None:
    words = sweep(states)["containers"][0]["args"]
    words[words.index("--journal") + 1] = "/scratch/journal"


def journal_on_a_disk(states: list[State]) -> None:
    disk = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}
    insert(states, "us-east-1", CLAIM, "journal", "training", {**disk, "storageClassName": "encrypted"})
    volume = next(one for one in sweep(states)["volumes"] if one["name"] == "warm")
    volume["persistentVolumeClaim"]["claimName"] = "journal"


def ray_job_that_saves_nothing(states: list[State]) -> None:
    body = the(states, RAY_JOB, RAY)["inputs"]["spec"]
    body["entrypoint"] = body["entrypoint"].replace(' --checkpoint.remote "$CHECKPOINT_URL"', "")


def ray_workers_of_another_account(states: list[State]) -> None:
    body = the(states, RAY_JOB, RAY)["inputs"]["spec"]["rayClusterSpec"]
    body["workerGroupSpecs"][0]["template"]["spec"]["serviceAccountName"] += "-head"


def ray_workers_beyond_the_quota(states: list[State]) -> None:
    body = the(states, RAY_JOB, RAY)["inputs"]["spec"]["rayClusterSpec"]
    body["workerGroupSpecs"][0].update(replicas=200, minReplicas=200, maxReplicas=200)


def _fault(rule: str, at: str, mutate: Callable[[list[State]], None], name: str) -> Fault:
    return Fault(name, "prod", rule, at, mutate)


_runtime = partial(_fault, "training-runtime-exists", ON_AWS)
_fabric = partial(_fault, "gang-uses-the-fabric")
_nccl = partial(_fault, "nccl-matches-the-fabric")
_grace = partial(_fault, "grace-fits-the-notice")
_failure = partial(_fault, "preemption-is-no-failure")
_saved = partial(_fault, "checkpoints-outlive-the-machine")
_world = partial(_fault, "world-size-matches-the-pods")
_quota = partial(_fault, "queue-quota-fits")
_pod = partial(_fault, "pod-fits-a-pool")
_journal = partial(_fault, "sweep-journal-is-shared", SWEEP)

FAULTS: tuple[Fault, ...] = (
    _runtime(runtime_misspelt, "a job names a runtime by a wrong name"),
    _runtime(container_misnamed, "a job patches a container that its runtime calls otherwise"),
    _runtime(trainer_label_lost, "a runtime loses the label by which its trainer is known"),
    _quota(ON_GCP, gang_larger_than_its_pool, "a gang is one machine larger than its pool"),
    _quota(ON_AWS, compact_gang_of_elastic_machines, "a gang that has to lie close together is more than what stands"),
    _quota(ON_AWS, queue_of_serving, "the queue of training leads to serving's quota"),
    _pod(ON_AWS, scratch_beyond_the_machine, "a rank asks for more local disk than its machine has"),
    _pod(ON_AWS, more_interfaces_than_there_are, "a rank asks for one EFA interface too many"),
    _fabric(ON_AWS, efa_left_out, "a gang on machines with EFA does not ask for it"),
    _fabric(ON_AWS, few_interfaces, "a gang asks for four of its machines' EFA interfaces"),
    _fabric(ON_GCP, networks_left_out, "a gang on A3 Mega does not ask for the networks of its NICs"),
    _fabric(ON_GCP, pool_without_networks, "the networks of a pool's NICs are gone, and its gang asks for them"),
    _fault("device-network-exists", ON_GCP, network_renamed, "a Network is renamed, and a gang asks for the old one"),
    _nccl(ON_AWS, environment_of_another_cloud, "NCCL on EFA is given the environment of GPUDirect"),
    _nccl(ON_GCP, environment_of_another_machine, "NCCL on A3 Mega is given the environment of A3 Ultra"),
    _nccl(ON_AWS, provider_is_tcp, "libfabric is told to use TCP on machines with EFA"),
    _nccl(ON_AWS, gate_of_another_fabric, "the gate before training expects another fabric"),
    _grace(ON_AWS, longer_than_the_pod, "a run takes more time for leaving than its pod is given"),
    _grace(ON_GCP, pod_killed_earlier, "a pod is killed before its run thinks so"),
    _grace(ON_GCP, spot_machines_stop_at_once, "spot machines give their pods less time than a run takes"),
    _failure(ON_AWS, saved_counts_as_failed, "a run that was stopped and has saved counts as failed"),
    _failure(ON_GCP, lost_machine_fails_the_job, "a machine that is taken away fails the whole job"),
    _saved(ON_GCP, nothing_is_saved_elsewhere, "checkpoints on spot machines stay on the machine"),
    _saved(ON_AWS, may_not_write_there, "checkpoints go to a bucket that the job may not write"),
    _saved(ON_AWS, identity_of_another_prefix, "a job's role is for another run's checkpoints"),
    _saved(ON_GCP, identity_only_reads, "a job may only read the bucket of its checkpoints"),
    _saved(RAY, ray_job_that_saves_nothing, "a Ray job keeps its checkpoints in its pods"),
    _saved(RAY, ray_workers_of_another_account, "workers of Ray run as the head, which may write nowhere"),
    _quota(RAY, ray_workers_beyond_the_quota, "a Ray job wants more workers than its queue has quota for"),
    _world(ON_AWS, nodes_lowered, "a job has fewer pods than its launcher waits for"),
    _world(ON_GCP, processes_of_half_the_gpus, "a launcher starts four ranks on eight GPUs"),
    _fault("several-gpus-share-memory", ON_GCP, shared_memory_on_disk, "ranks of one machine have no memory to share"),
    _fault("priority-class-exists", ON_AWS, priority_misspelt, "a job has a priority that is not there"),
    _fault("queue-exists", ON_GCP, queue_misspelt, "a training job names a queue that is not there"),
    _fault("volume-claim-exists", ON_AWS, claim_misspelt_in_a_patch, "a job's patch mounts claims by wrong names"),
    _fault("service-account-exists", ON_GCP, account_misspelt, "a job's patch names another service account"),
    _fault("monitor-selects-pods", "llama-8b-monitor", monitor_of_other_pods,
           "a monitor looks for a job by a short name"),
    _fault("port-exists", "llama-1b-monitor", monitor_of_another_port, "a monitor scrapes a port that no rank has"),
    _fault("driver-fits-cuda", ON_AWS, machines_with_an_old_driver, "training machines stay on an old driver"),
    _journal(journal_of_each_worker, "each worker of a search has a journal of its own"),
    _journal(journal_on_a_disk, "the journal of a search is on a disk for one machine"),
)  # fmt: skip
