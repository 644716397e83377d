"""RayJob: one training run under Ray Train, on a Ray cluster of its own that goes when the run ends."""

import shlex
from typing import NotRequired, Optional, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import arguments
from components.ordering import prerequisites
from components.training import ray_pods, runs
from components.training.pod import Worker
from components.training.workers import checked_worker

LONGEST_NAME = 40
"""KubeRay calls the job's cluster `<name>-<five characters>`, and cuts names of its pods and services at 50."""
RETRIES = 2
"""Of the whole run, each with a new cluster: for a head that was lost. Ray Train restarts workers by itself. KubeRay
knows no exit codes, so what a person must mend is tried as often."""

CHECKPOINTS, DATA = "CHECKPOINT_URL", "DATA_URL"
"""Environment of the head, and so of the job's driver."""


class RayJobArgs(TypedDict):
    """Arguments of RayJob."""

    cloud: str
    """`aws` or `gcp`."""
    region: str
    """The cluster's region, such as `us-east-1`."""
    cluster_name: pulumi.Input[str]
    """GpuCluster's output of that name."""
    workload_identity_pool: pulumi.Input[str]
    """GpuCluster's output of that name; empty on AWS."""
    namespace: str
    """Kubernetes namespace, which exists."""
    queue: pulumi.Input[str]
    """TrainingQueue's output of that name."""
    priority: NotRequired[str]
    """`low`, `normal` or `high`: who waits for whom. Default `normal`."""
    image: str
    """The training image built with Ray (workloads/training/Dockerfile, EXTRAS), with a digest or a tag other than
    `latest`."""
    config: str
    """The config of workloads/training: `tiny`, `gpt2_124m`, `llama_1b` or `llama_8b`."""
    settings: NotRequired[dict[str, str]]
    """Settings of the config to override, such as `training.steps: "2000"`."""
    data_prefix: NotRequired[str]
    """Prefix of prepared tokens in the bucket, such as `datasets/books`; workers may read it, and nothing else. Default
    the sources of Python's standard library, which the image has."""
    bucket: pulumi.Input[str]
    """Name of the bucket of data and checkpoints: TieredStorage's output of that name."""
    bucket_url: pulumi.Input[str]
    """TieredStorage's output of that name."""
    encryption_key: NotRequired[pulumi.Input[str]]
    """AWS: ARN of the bucket's KMS key."""
    checkpoint_prefix: NotRequired[str]
    """Prefix of the checkpoints in the bucket, which workers may write; default `checkpoints/<name>`. A job that is
    made anew under the same prefix continues there."""
    accelerator: NotRequired[str]
    """Key of the catalog, such as `l4`; default none."""
    accelerators_per_node: NotRequired[int]
    """Accelerators, and ranks, of each worker; default 1."""
    machine_type: NotRequired[str]
    """The pool's machine type, where it names one. Default the catalog's best."""
    min_workers: int
    """Fewest machines that it trains on, from 1. The size of a batch has to be a multiple of their ranks."""
    max_workers: int
    """Most machines. More than `min_workers`: Ray's autoscaler adds them as far as the queue has quota, and Ray Train
    goes on with as many ranks as there are and as share a batch evenly."""
    claims: NotRequired[dict[str, str]]
    """Tier -> PersistentVolumeClaim, mounted at `/mnt/<tier>` of workers: TieredStorage's `claims`."""
    grace_s: NotRequired[int]
    """Seconds that a pod has to leave; the run leaves in half of them. Default 120 on AWS, 105 on GCP."""
    cpu: NotRequired[float]
    """Cores for each worker. Default its share of 70 % of the leanest machine with as many accelerators; 2 without."""
    memory_gib: NotRequired[float]
    """Memory for each worker in GiB, half of which /dev/shm may take. Default as for `cpu`; 8 without accelerators."""
    scratch_gib: NotRequired[float]
    """Local disk for each worker in GiB; default 64."""
    tags: NotRequired[dict[str, str]]
    """Tags of cloud resources."""


class RayJob(pulumi.ComponentResource):
    """A run of workloads.training.ray_train that outlives its workers, and even its cluster.

    Built in this order: the workers' service account, and the head's, which has no cloud identity; the workers'
    identity, which may read the data and write the run's checkpoints; the network policy by which the KubeRay operator
    submits the job and watches it; the RayJob, which Kueue holds until its workers have room; the PodMonitor.

    There is no health gate as TrainingRuntimes have, and no fabric: Ray places the workers itself. A worker that is
    lost, or told to go, has the others continue from the newest checkpoint in the object store. Kueue may take the
    whole cluster back; when it lets the job in again, that continues too. When the job ends, well or not, its cluster
    is deleted.

    Whatever changes in its spec makes the job anew. Takes the cluster's Kubernetes provider, and the cloud's, from
    `opts`. What `opts.depends_on` names (GpuCluster's `addons`, the namespace, the queue) is waited for by every child.
    ValueError, naming the argument, for anything that cannot be.
    """

    name: pulumi.Output[str]
    """Name of the RayJob."""
    namespace: pulumi.Output[str]
    """Its namespace."""
    checkpoint_url: pulumi.Output[str]
    """Where its checkpoints are."""

    def __init__(self, name: str, args: RayJobArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        where = f"RayJob {name!r}"
        arguments.check(where, args, RayJobArgs)
        runs.check(where, name, args, LONGEST_NAME)
        worker = checked_worker(where, args, name)
        size = runs.counts(where, args, "min_workers", "max_workers")
        super().__init__("aicloud:index:RayJob", name, {**args}, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=prerequisites(opts))
        labels = {"app.kubernetes.io/name": "ray", "app.kubernetes.io/instance": name}
        checkpoints = args.get("checkpoint_prefix") or f"checkpoints/{name}"
        checkpoint_url = pulumi.Output.concat(args["bucket_url"], "/", checkpoints)
        urls = [{"name": CHECKPOINTS, "value": checkpoint_url}]
        if args.get("data_prefix"):
            urls.append({"name": DATA, "value": pulumi.Output.concat(args["bucket_url"], "/", args["data_prefix"])})

        ready = runs.ray_foundation(name, args, labels, child)
        job = k8s.apiextensions.CustomResource(
            f"{name}-job",
            api_version=ray_pods.API_VERSION,
            kind="RayJob",
            metadata={
                "name": name,
                "namespace": args["namespace"],
                "labels": {**labels, **runs.queued(args)},
                "annotations": {
                    **runs.elastic(size),
                    # Its pods hold machines and write checkpoints: the next job of that name waits until they are gone.
                    "pulumi.com/deletionPropagationPolicy": "foreground",
                },
            },
            spec={
                "entrypoint": entrypoint(args, worker, size),
                # By HTTP from the operator, so that no pod but the head and the workers is made.
                "submissionMode": "HTTPMode",
                "shutdownAfterJobFinishes": True,
                "backoffLimit": RETRIES,
                "rayClusterSpec": ray_pods.cluster_spec(worker, labels, size, urls),
            },
            # A pod that starts before its identity is bound has none until it is started again.
            opts=pulumi.ResourceOptions.merge(
                child,
                pulumi.ResourceOptions(depends_on=ready, replace_on_changes=["spec"], delete_before_replace=True),
            ),
        )
        runs.monitor(name, args, labels, ("metrics", "training"), child)

        self.name = job.metadata["name"]
        self.namespace = pulumi.Output.from_input(args["namespace"])
        self.checkpoint_url = checkpoint_url
        self.register_outputs({"name": self.name, "namespace": self.namespace, "checkpointUrl": self.checkpoint_url})


def entrypoint(args: RayJobArgs, worker: Worker, size: tuple[int, int]) -> str:
    """What a shell on the head runs. Addresses that only the cloud knows are the head's environment."""
    ranks = [str(count * max(1, worker.accelerators)) for count in dict.fromkeys(size)]
    words = [
        *("python", "-m", "workloads.training.ray_train", "--config", args["config"], "--output", runs.OUTPUT),
        *("--workers", ":".join(ranks), *(["--gpu"] if worker.accelerator else [])),
        *("--tracking.prometheus_port", str(runs.METRICS), *runs.settings(args)),
    ]
    urls = f' --checkpoint.remote "${CHECKPOINTS}"' + (f' --data "${DATA}"' if args.get("data_prefix") else "")
    return shlex.join(words) + urls
