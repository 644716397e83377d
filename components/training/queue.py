"""TrainingQueue: who gets a cluster's accelerators, and in which order; what serving leaves idle is lent."""

import re
from typing import Any, NotRequired, Optional, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import arguments, labels
from components.cluster import NodePoolArgs, pool_args
from components.cluster.ladder import Pool
from components.ordering import prerequisites
from components.training import queues
from components.training.flavors import TOPOLOGY, TOPOLOGY_LEVELS, Flavor, flavors

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class TrainingQueueArgs(TypedDict):
    """Arguments of TrainingQueue."""

    cloud: str
    """`aws` or `gcp`."""
    region: str
    """The cluster's region, such as `us-east-1`."""
    node_pools: list[NodePoolArgs]
    """Those of GpuCluster. Quotas are their maxima, and the order in which jobs try them is theirs."""
    namespaces: list[str]
    """Namespaces that jobs come from. They exist; each gets the LocalQueue `training` and is labelled as Kueue's."""
    lend_serving: NotRequired[bool]
    """Let jobs borrow what serving pools leave idle, but for machines that always stand. Default true. Then everything
    that serves from those pools has to wait in the serving queue (TritonInference, `cluster_queue`): pods that Kueue
    doesn't see use machines that it lends."""
    whole_rungs: NotRequired[list[str]]
    """Names of training pools each of whose rungs is counted by itself, so that a gang lands on one of them, whole, and
    waits for it even if the cloud has none. Static pools are in any case. Default none: the ladder goes by stock."""


class TrainingQueue(pulumi.ComponentResource):
    """The queue that training jobs wait in until all of their machines are theirs.

    Built in this order, for Kueue, which GpuCluster brings:

    1. a Topology, where static pools have a fabric: the clouds' labels from zone to host
    2. a ResourceFlavor for each pool, or for each rung of a static one: node labels and tolerations that admitted pods
       get, so a job names a queue and never a pool (components.training.flavors says why not always each rung)
    3. the Cohort and its ClusterQueues: `training` owns the training pools, `serving` the serving pools and lends them
       (components.training.queues says who gives way to whom)
    4. the WorkloadPriorityClasses `training-low`, `training-normal`, `training-high` and `serving`
    5. in each namespace the LocalQueue `training`, and the label by which Kueue looks at it

    A flavor with a Topology takes only jobs that ask for one (annotation `kueue.x-k8s.io/podset-preferred-topology` or
    its siblings, on the pod template), and such jobs take no other: it is by this that a job chooses reserved machines
    that lie together. GKE's flex start is used without ProvisioningRequest: its node pools are not made for queued
    provisioning, so machines come one by one, and a gang that does not get all in time returns its part (GpuCluster's
    Kueue, waitForPodsReady).

    Takes the cluster's Kubernetes provider from `opts`. What `opts.depends_on` names (GpuCluster's `addons`, the
    namespaces) is waited for by every child. ValueError, naming the argument, for what Kueue would refuse.
    """

    queue: pulumi.Output[str]
    """Name of the LocalQueue in each namespace."""
    cluster_queue: pulumi.Output[str]
    """Name of the ClusterQueue behind it."""
    serving_cluster_queue: pulumi.Output[str]
    """Name of the ClusterQueue that serving waits in; empty where nothing is lent."""

    def __init__(self, name: str, args: TrainingQueueArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        arguments.check(f"TrainingQueue {name!r}", args, TrainingQueueArgs)
        pools = _checked(name, args)
        super().__init__("aicloud:index:TrainingQueue", name, {**args}, opts)
        self._name = name
        self._before = prerequisites(opts)

        found = flavors(pools, args.get("whole_rungs") or [])
        own = [flavor for flavor in found if flavor.pool.purpose == "training"]
        lends = bool(args.get("lend_serving", True))
        serving = [flavor for flavor in found if flavor.pool.purpose == "serving"] if lends else []
        # A slice of a GPU is no GPU: a job that asks for one would get the slice.
        borrowed = [flavor for flavor in serving if flavor.pool.sharing is None]

        made = self._flavors(args["cloud"], [*own, *serving])
        cohort = self._object("Cohort", queues.COHORT, made, spec={})
        training = self._object(
            "ClusterQueue",
            queues.TRAINING,
            [*made, cohort],
            spec=queues.training(own, borrowed, args["namespaces"]),
        )
        if serving:
            self._object("ClusterQueue", queues.SERVING, [*made, cohort], spec=queues.serving(serving))
        priorities = [
            self._object("WorkloadPriorityClass", priority, [], value=value, description=description)
            for priority, (value, description) in queues.PRIORITIES.items()
        ]
        for namespace in args["namespaces"]:
            self._local_queue(namespace, [training, *priorities])

        self.queue = pulumi.Output.from_input(queues.TRAINING)
        self.cluster_queue = pulumi.Output.from_input(queues.TRAINING)
        self.serving_cluster_queue = pulumi.Output.from_input(queues.SERVING if serving else "")
        self.register_outputs(
            {
                "queue": self.queue,
                "clusterQueue": self.cluster_queue,
                "servingClusterQueue": self.serving_cluster_queue,
            }
        )

    def _flavors(self, cloud: str, found: list[Flavor]) -> list[pulumi.Resource]:
        topology = []
        if any(flavor.topology for flavor in found):
            levels = [{"nodeLabel": label} for label in TOPOLOGY_LEVELS[cloud]]
            topology = [self._object("Topology", TOPOLOGY, [], spec={"levels": levels})]
        return [
            *topology,
            *(self._object("ResourceFlavor", flavor.name, topology, spec=flavor.spec()) for flavor in found),
        ]

    def _local_queue(self, namespace: str, after: list[pulumi.Resource]) -> None:
        label = k8s.core.v1.NamespacePatch(
            f"{self._name}-{namespace}",
            metadata={"name": namespace, "labels": {labels.QUEUED: "true"}},
            opts=pulumi.ResourceOptions(parent=self, depends_on=self._before),
        )
        self._object(
            "LocalQueue",
            queues.TRAINING,
            [*after, label],
            namespace=namespace,
            spec={"clusterQueue": queues.TRAINING},
        )

    def _object(
        self, kind: str, name: str, after: list[Any], namespace: str = "", **content: Any
    ) -> pulumi.CustomResource:
        # Not k8s.apiextensions.CustomResource: it has room for a spec, and a priority class's value stands beside it.
        return pulumi.CustomResource(
            f"kubernetes:{queues.API_VERSION}:{kind}",
            "-".join(part for part in (self._name, kind.lower(), namespace, name) if part),
            {
                "apiVersion": queues.API_VERSION,
                "kind": kind,
                "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
                **content,
            },
            pulumi.ResourceOptions(parent=self, depends_on=[*self._before, *after]),
        )


def _checked(name: str, args: TrainingQueueArgs) -> list[Pool]:
    """The pools, once every argument is found good."""
    where = f"TrainingQueue {name!r}"
    if args["cloud"] not in TOPOLOGY_LEVELS:
        raise ValueError(f"{where}: cloud is {args['cloud']!r}; accepted are 'aws' and 'gcp'")
    if not args["namespaces"]:
        raise ValueError(f"{where}: namespaces is []; give at least one, from which jobs come")
    for index, namespace in enumerate(args["namespaces"]):
        if not _NAME.fullmatch(namespace):
            raise ValueError(
                f"{where}: namespaces[{index}] is {namespace!r}; a Kubernetes name has up to 63 lower-case letters,"
                " digits and dashes"
            )
        if namespace in args["namespaces"][:index]:
            raise ValueError(f"{where}: namespaces[{index}] is {namespace!r}, which is there already")
    pools = pool_args.pools(where, args["cloud"], args["region"], args["node_pools"])
    purposes = {pool.name: pool.purpose for pool in pools}
    for index, pool in enumerate(args.get("whole_rungs") or []):
        if purposes.get(pool) != "training":
            accepted = ", ".join(repr(key) for key, purpose in purposes.items() if purpose == "training") or "none"
            raise ValueError(
                f"{where}: whole_rungs[{index}] is {pool!r}; accepted are pools that train: {accepted}. A server starts"
                " wherever there is a machine"
            )
    try:
        queues.training(flavors(pools, args.get("whole_rungs") or []), [], args["namespaces"])
    except ValueError as error:
        raise ValueError(f"{where}: node_pools: {error}") from None
    return pools
