"""TrainingJob: one training run on a gang of pods, from the queue to its last checkpoint."""

from collections.abc import Mapping
from typing import Any, NotRequired, Optional, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import arguments
from components.labels import ACCELERATOR
from components.ordering import after, prerequisites
from components.training import blueprints, commands, runs
from components.training.pod import Worker, claim_annotations, claim_mounts, environment, resources, volumes
from components.training.workers import checked_worker, refuse

LAUNCHERS = ("torchrun", "horovodrun")
MANAGER = "aicloud.dev/training-job"
"""Who has made the changes of the runtime; Kueue's are beside them under its own name."""
LONGEST_NAME = 63
"""Of a pod, which is also its host name."""


class TrainingJobArgs(TypedDict):
    """Arguments of TrainingJob."""

    cloud: str
    """`aws` or `gcp`."""
    region: str
    """The cluster's region, such as `us-east-1`."""
    cluster_name: pulumi.Input[str]
    """GpuCluster's output of that name."""
    workload_identity_pool: pulumi.Input[str]
    """GpuCluster's output of that name; empty on AWS."""
    namespace: str
    """Kubernetes namespace, which exists; `pod_security` says which level of Pod Security it needs."""
    queue: pulumi.Input[str]
    """TrainingQueue's output of that name."""
    priority: NotRequired[str]
    """`low`, `normal` or `high`: who waits for whom. Default `normal`."""
    otlp_endpoint: NotRequired[pulumi.Input[str]]
    """Where ranks send spans, over HTTP: Observability's output of that name; default nowhere."""
    topology: NotRequired[str]
    """Label of nodes, such as `topology.kubernetes.io/zone`, within one value of which the gang should lie. With it the
    job takes static pools with a fabric only, and without it never those (see TrainingQueue). Default none."""
    runtime: pulumi.Input[str]
    """TrainingRuntimes' output `torchrun` where `min_nodes` equals `max_nodes`, else `elastic`; `mpi` for horovodrun.
    Made for the same accelerators as the job."""
    launcher: NotRequired[str]
    """`torchrun` (default) or `horovodrun`."""
    image: str
    """The training image (workloads/training/Dockerfile), with a digest or a tag other than `latest`."""
    config: str
    """The config of workloads/training: `tiny`, `gpt2_124m`, `llama_1b` or `llama_8b`."""
    settings: NotRequired[dict[str, str]]
    """Settings of the config to override, such as `training.steps: "2000"`."""
    data_prefix: NotRequired[str]
    """Prefix of prepared tokens in the bucket, such as `datasets/books`; the job may read it, and nothing else. Default
    the sources of Python's standard library, which the image has."""
    bucket: pulumi.Input[str]
    """Name of the bucket of data and checkpoints: TieredStorage's output of that name."""
    bucket_url: pulumi.Input[str]
    """TieredStorage's output of that name."""
    encryption_key: NotRequired[pulumi.Input[str]]
    """AWS: ARN of the bucket's KMS key."""
    checkpoint_prefix: NotRequired[str]
    """Prefix of the checkpoints in the bucket, which the job may write; default `checkpoints/<name>`. A job made anew
    under the same prefix continues there."""
    accelerator: NotRequired[str]
    """Key of the catalog, such as `h100-80gb`; default none."""
    accelerators_per_node: NotRequired[int]
    """Accelerators, and ranks, of each pod; default 1."""
    machine_type: NotRequired[str]
    """The pool's machine type, where it names one. Default the catalog's best."""
    min_nodes: int
    """Fewest pods that it goes on with. The same as `max_nodes`: all or none."""
    max_nodes: int
    """Pods that it starts with."""
    fabric: NotRequired[bool]
    """Use the machines' fabric (EFA, GPUDirect), as the runtime does; default false."""
    huge_pages: NotRequired[bool]
    """As of TrainingRuntimes."""
    claims: NotRequired[dict[str, str]]
    """Tier -> PersistentVolumeClaim, mounted at `/mnt/<tier>`: TieredStorage's `claims`. The cold tier read only."""
    grace_s: NotRequired[int]
    """Seconds that a pod has to leave; the run leaves in half of them. Default 120 on AWS, 105 on GCP."""
    cpu: NotRequired[float]
    """As of TrainingRuntimes, as are these."""
    memory_gib: NotRequired[float]
    """Memory for each pod in GiB."""
    scratch_gib: NotRequired[float]
    """Local disk for each pod in GiB; default 64. Half of it caches data."""
    tags: NotRequired[dict[str, str]]
    """Tags of cloud resources."""


class TrainingJob(pulumi.ComponentResource):
    """A run of workloads/training that outlives its machines.

    Built in this order: the service account; the identity that may read the data, and write the job's own checkpoints
    and nothing else; the TrainJob, which Kueue holds until all of its machines are free; the PodMonitor.

    Before ranks start, the runtime's health gate has tried the machines. While they run, checkpoints go to local disk
    and from there to the object store. A notice makes all ranks save and leave (exit code 75), which is no failure: the
    pods are replaced, and the new ranks continue. With `min_nodes` below `max_nodes`, those that are left go on without
    waiting for the one that was lost.

    Whatever changes in its spec makes the job anew, which continues from its newest checkpoint: Trainer lets no job be
    changed. Takes the cluster's Kubernetes provider, and the cloud's, from `opts`. What `opts.depends_on` names
    (GpuCluster's `addons`, the namespace, the queue) is waited for by every child. ValueError, naming the argument, for
    anything that cannot be.
    """

    job: pulumi.Output[str]
    """Name of the TrainJob."""
    namespace: pulumi.Output[str]
    """Its namespace."""
    checkpoint_url: pulumi.Output[str]
    """Where its checkpoints are."""
    metrics_port: pulumi.Output[int]
    """Where the first rank's pod serves `/metrics`."""

    def __init__(self, name: str, args: TrainingJobArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        where = f"TrainingJob {name!r}"
        arguments.check(where, args, TrainingJobArgs)
        worker = checked_worker(where, args, name)
        fewest, most = _check(where, name, args)
        super().__init__("aicloud:index:TrainingJob", name, {**args}, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=prerequisites(opts))
        labels = {"app.kubernetes.io/name": "training", "app.kubernetes.io/instance": name}
        placed = {"name": name, "namespace": args["namespace"]}
        checkpoints = args.get("checkpoint_prefix") or f"checkpoints/{name}"
        checkpoint_url = pulumi.Output.concat(args["bucket_url"], "/", checkpoints)

        account = runs.account(name, args, labels, child)
        identity = runs.identity(name, args, checkpoints, child)
        training = commands.Training(
            args["config"],
            args.get("settings") or {},
            checkpoint_url,
            pulumi.Output.concat(args["bucket_url"], "/", args["data_prefix"]) if args.get("data_prefix") else "",
        )
        ranks = "launcher" if args.get("launcher") == "horovodrun" else blueprints.NODE
        command, words = (
            commands.torchrun(name, worker, training, (fewest, most))
            if ranks == blueprints.NODE
            else commands.horovodrun(worker, training, most)
        )
        runtime = pulumi.Output.from_input(args["runtime"]).apply(lambda found: _fitting(where, args, found))
        job = k8s.apiextensions.CustomResource(
            f"{name}-job",
            api_version=blueprints.API_VERSION,
            kind="TrainJob",
            metadata={
                **placed,
                "labels": {
                    **labels,
                    **runs.queued(args),
                },
                # Its pods hold machines and write checkpoints: the next job of that name waits until they are gone.
                "annotations": {"pulumi.com/deletionPropagationPolicy": "foreground"},
            },
            spec={
                "runtimeRef": {
                    "apiGroup": "trainer.kubeflow.org",
                    "kind": "ClusterTrainingRuntime",
                    "name": runtime,
                },
                "trainer": {
                    "image": args["image"],
                    "command": command,
                    "args": words,
                    "env": [*environment(worker), *_tracing(args)],
                    "numNodes": most,
                    "numProcPerNode": blueprints.processes(worker),
                    "resourcesPerNode": resources(worker),
                },
                "runtimePatches": [
                    {
                        "manager": MANAGER,
                        "trainingRuntimeSpec": {
                            "template": {
                                "spec": {
                                    "replicatedJobs": [
                                        _patch(part, worker, labels, args.get("topology") or "")
                                        for part in dict.fromkeys((blueprints.NODE, ranks))
                                    ]
                                }
                            }
                        },
                    }
                ],
            },
            # A pod that starts before its identity is bound has none until it is started again.
            opts=pulumi.ResourceOptions.merge(
                child,
                pulumi.ResourceOptions(
                    depends_on=[account, identity], replace_on_changes=["spec"], delete_before_replace=True
                ),
            ),
        )
        # The first rank speaks for all. In an elastic gang it may be in any pod.
        first = {"batch.kubernetes.io/job-completion-index": "0"} if fewest == most else {}
        runs.monitor(name, args, {**labels, **first}, ("metrics",), child)

        self.job = after(name, [job])
        self.namespace = pulumi.Output.from_input(args["namespace"])
        self.checkpoint_url = checkpoint_url
        self.metrics_port = pulumi.Output.from_input(blueprints.METRICS)
        self.register_outputs(
            {
                "job": self.job,
                "namespace": self.namespace,
                "checkpointUrl": self.checkpoint_url,
                "metricsPort": self.metrics_port,
            }
        )


def _tracing(args: TrainingJobArgs) -> list[dict[str, Any]]:
    endpoint = args.get("otlp_endpoint")
    return [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": endpoint}] if endpoint is not None else []


def _patch(part: str, worker: Worker, labels: Mapping[str, str], topology: str) -> dict[str, Any]:
    """What is the job's own in the runtime's pods: their account, place, volumes and time to leave."""
    annotations = {
        **claim_annotations(worker),
        **({"kueue.x-k8s.io/podset-preferred-topology": topology} if topology else {}),
    }
    own = {
        "serviceAccountName": worker.service_account,
        "terminationGracePeriodSeconds": worker.grace_s,
        **({"nodeSelector": {ACCELERATOR: worker.accelerator}} if worker.accelerator else {}),
        "volumes": volumes(worker),
    }
    if worker.claims:
        own["containers"] = [{"name": blueprints.NODE, "volumeMounts": claim_mounts(worker)}]
    metadata = {"labels": dict(labels), **({"annotations": annotations} if annotations else {})}
    return {"name": part, "template": {"spec": {"template": {"metadata": metadata, "spec": own}}}}


def _check(where: str, name: str, args: TrainingJobArgs) -> tuple[int, int]:
    """The fewest and the most nodes, once every argument but the worker's is found good."""
    runs.check(where, name, args, LONGEST_NAME)
    launcher = args.get("launcher") or "torchrun"
    if launcher not in LAUNCHERS:
        refuse(where, "launcher", launcher, f"accepted are {', '.join(map(repr, LAUNCHERS))}")
    return _nodes(where, name, args)


def _nodes(where: str, name: str, args: TrainingJobArgs) -> tuple[int, int]:
    fewest, most = args["min_nodes"], args["max_nodes"]
    if fewest != int(fewest) or fewest < 1:
        refuse(where, "min_nodes", fewest, "accepted is a whole number from 1")
    if most != int(most) or most < fewest:
        refuse(where, "max_nodes", most, f"accepted is a whole number from min_nodes, {fewest}")
    if args.get("fabric") and most == 1:
        refuse(where, "fabric", True, "it joins machines, and max_nodes is 1: leave it out, and take a runtime without")
    if args.get("launcher") == "horovodrun" and fewest != most:
        refuse(where, "min_nodes", fewest, f"horovodrun's gangs have a fixed size: accepted is max_nodes, {most}")
    part = "launcher" if args.get("launcher") == "horovodrun" else blueprints.NODE
    longest = f"{name}-{part}-0-{int(most) - 1}-abcde"
    if len(longest) > LONGEST_NAME:
        room = LONGEST_NAME - len(longest) + len(name)
        refuse(
            where, "name", name, f"pods are called {longest}, and {LONGEST_NAME} characters fit: accepted are {room}"
        )
    return int(fewest), int(most)


def _fitting(where: str, args: TrainingJobArgs, runtime: str) -> str:
    """The runtime, unless TrainingRuntimes has made it for another sort of job."""
    wanted = "torchrun" if args["min_nodes"] == args["max_nodes"] else "elastic"
    if args.get("launcher") == "horovodrun":
        wanted = "mpi"
    for kind in ("torchrun", "elastic", "mpi"):
        if runtime.endswith(f"-{kind}") and kind != wanted:
            sizes = f"{args['min_nodes']} to {args['max_nodes']} nodes"
            refuse(where, "runtime", runtime, f"for {sizes} by {args.get('launcher', 'torchrun')} take its {wanted!r}")
    if not runtime:
        refuse(where, "runtime", runtime, "it has no runtime for MPI: give TrainingRuntimes its mpi_image")
    return runtime
