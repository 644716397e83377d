"""RayCluster: a Ray cluster on KubeRay that stays, for whoever submits jobs to it."""

from typing import NotRequired, Optional, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import arguments
from components.ordering import prerequisites
from components.training import ray_pods, runs
from components.training.workers import checked_worker

LONGEST_NAME = 40
"""KubeRay cuts longer names of pods and services (controllers/ray/utils/util.go: CheckName, 50 with `-head-svc`)."""


class RayClusterArgs(TypedDict):
    """Arguments of RayCluster."""

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
    bucket: pulumi.Input[str]
    """Name of the bucket of data and checkpoints: TieredStorage's output of that name."""
    encryption_key: NotRequired[pulumi.Input[str]]
    """AWS: ARN of the bucket's KMS key."""
    data_prefix: NotRequired[str]
    """Prefix in the bucket that workers may read, such as `datasets/books`; default none."""
    checkpoint_prefix: NotRequired[str]
    """Prefix in the bucket that workers may write; default `checkpoints/<name>`."""
    accelerator: NotRequired[str]
    """Key of the catalog, such as `l4`; default none."""
    accelerators_per_node: NotRequired[int]
    """Accelerators of each worker; default 1."""
    machine_type: NotRequired[str]
    """The pool's machine type, where it names one. Default the catalog's best."""
    min_workers: int
    """Workers that are always there, from 0."""
    max_workers: int
    """Most workers. More than `min_workers`: Ray's autoscaler adds what tasks and actors ask for, as far as the queue
    has quota, and gives back what is idle for five minutes."""
    claims: NotRequired[dict[str, str]]
    """Tier -> PersistentVolumeClaim, mounted at `/mnt/<tier>` of workers: TieredStorage's `claims`."""
    grace_s: NotRequired[int]
    """Seconds that a pod has to leave. Default 120 on AWS, 105 on GCP."""
    cpu: NotRequired[float]
    """Cores for each worker. Default its share of 70 % of the leanest machine with as many accelerators; 2 without."""
    memory_gib: NotRequired[float]
    """Memory for each worker in GiB, half of which /dev/shm may take. Default as for `cpu`; 8 without accelerators."""
    scratch_gib: NotRequired[float]
    """Local disk for each worker in GiB; default 64."""
    tags: NotRequired[dict[str, str]]
    """Tags of cloud resources."""


class RayCluster(pulumi.ComponentResource):
    """A Ray cluster that Kueue lets in as a whole, and that then stays.

    Built in this order: the workers' service account, and the head's, which has no cloud identity; the workers'
    identity, which may read the data and write its checkpoints; the network policy by which the KubeRay operator
    reaches the head; the RayCluster; the PodMonitor. Inside the namespace all pods reach each other; the dashboard
    (8265) and the client (10001) want the token that KubeRay keeps in the Secret of the cluster's name.

    A change of its pods makes all of them anew: jobs that run there are lost. A cluster for one run is RayJob's; a gang
    with a fabric is TrainingJob's. Takes the cluster's Kubernetes provider, and the cloud's, from `opts`. What
    `opts.depends_on` names (GpuCluster's `addons`, the namespace, the queue) is waited for by every child. ValueError,
    naming the argument, for anything that cannot be.
    """

    name: pulumi.Output[str]
    """Name of the RayCluster."""
    namespace: pulumi.Output[str]
    """Its namespace."""
    address: pulumi.Output[str]
    """`http://...` of the dashboard within Kubernetes, for `ray job submit`."""

    def __init__(self, name: str, args: RayClusterArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        where = f"RayCluster {name!r}"
        arguments.check(where, args, RayClusterArgs)
        runs.check(where, name, args, LONGEST_NAME)
        worker = checked_worker(where, args, name)
        size = runs.counts(where, args, "min_workers", "max_workers", 0)
        super().__init__("aicloud:index:RayCluster", name, {**args}, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=prerequisites(opts))
        labels = {"app.kubernetes.io/name": "ray", "app.kubernetes.io/instance": name}
        placed = {"name": name, "namespace": args["namespace"]}

        ready = runs.ray_foundation(name, args, labels, child)
        cluster = k8s.apiextensions.CustomResource(
            f"{name}-cluster",
            api_version=ray_pods.API_VERSION,
            kind="RayCluster",
            metadata={
                **placed,
                "labels": {**labels, **runs.queued(args)},
                "annotations": runs.elastic(size),
            },
            spec={**ray_pods.cluster_spec(worker, labels, size), "upgradeStrategy": {"type": "Recreate"}},
            # A pod that starts before its identity is bound has none until it is started again. How many workers there
            # are is the autoscaler's to say.
            opts=pulumi.ResourceOptions.merge(
                child,
                pulumi.ResourceOptions(
                    depends_on=ready,
                    ignore_changes=["spec.workerGroupSpecs[0].replicas"] if size[0] < size[1] else None,
                ),
            ),
        )
        runs.monitor(name, args, labels, ("metrics",), child)

        self.name = cluster.metadata["name"]
        self.namespace = pulumi.Output.from_input(args["namespace"])
        self.address = pulumi.Output.from_input(
            f"http://{name}-head-svc.{args['namespace']}.svc.cluster.local:{ray_pods.DASHBOARD}"
        )
        self.register_outputs({"name": self.name, "namespace": self.namespace, "address": self.address})
