"""TrainingRuntimes: how training runs on one kind of machine, for whoever submits a TrainJob to the cluster."""

import re
from dataclasses import replace
from typing import Any, NotRequired, Optional, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import arguments, images
from components.ordering import after, prerequisites
from components.training import blueprints
from components.training.pod import Worker
from components.training.workers import checked_worker, refuse

DEFAULT_MAX_RESTARTS = 10
HEALTHY_SHARE = 0.5
"""Of the fabric's bandwidth: what an all-reduce over healthy machines passes easily, and one over TCP never."""

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?")


class TrainingRuntimesArgs(TypedDict):
    """Arguments of TrainingRuntimes."""

    cloud: str
    """`aws` or `gcp`."""
    region: str
    """The cluster's region, such as `us-east-1`."""
    image: str
    """The training image (workloads/training/Dockerfile), with a digest or a tag other than `latest`. The health gate
    runs it; what a job runs, the job says."""
    mpi_image: NotRequired[str]
    """An image with Horovod and OpenSSH's server; without it there is no runtime for MPI."""
    accelerator: NotRequired[str]
    """Key of the catalog, such as `h100-80gb`; default none, for training on CPUs."""
    accelerators_per_node: NotRequired[int]
    """Accelerators that a pod takes of a machine; default 1. With GPUDirect, all of it."""
    machine_type: NotRequired[str]
    """The pool's machine type, where it names one: the fabric goes by it. Default the catalog's best."""
    fabric: NotRequired[bool]
    """Use the machines' fabric (EFA, GPUDirect); default false."""
    huge_pages: NotRequired[bool]
    """Give EFA the machine's huge pages; for static pools only, since Karpenter starts no machine for them, and not for
    loaders that fork. Default false."""
    cpu: NotRequired[float]
    """Cores for each pod. Default its share of 70 % of the leanest machine with as many accelerators; 2 without."""
    memory_gib: NotRequired[float]
    """Memory for each pod in GiB, half of which /dev/shm may take. Default as for `cpu`; 8 without accelerators."""
    scratch_gib: NotRequired[float]
    """Local disk for each pod in GiB; default 64. More is to be had on pools with `local_nvme_raid`."""
    grace_s: NotRequired[int]
    """Seconds that a pod has to leave; default what spot machines give, 120 on AWS and 105 on GCP."""
    health_gbps: NotRequired[float]
    """All-reduce bus bandwidth in Gbit/s that a gang must show before it trains. Default half of the fabric's, 0
    without a fabric."""
    max_restarts: NotRequired[int]
    """How often a gang is started again, or in an elastic one each pod, before the job has failed; default 10. Being
    told to stop, and losing a machine, don't count."""


class TrainingRuntimes(pulumi.ComponentResource):
    """Kubeflow Trainer's ClusterTrainingRuntimes for one kind of machine: any TrainJob that names one gets its fabric,
    the health gate and the failure policy.

    - `<name>-torchrun`: a gang of fixed size. The gate is one all-reduce over all of it; any failure starts all again.
    - `<name>-elastic`: torchrun with a range of sizes. The gate is each machine's own; a lost pod alone is replaced.
    - `<name>-mpi`, where `mpi_image` is given: Horovod's launcher, which trains too, and its nodes.

    No failure: exit codes 75 and 76 of workloads.training (told to stop), and disruptions; the pod is replaced and
    nothing counted. Final at once: 2, 3 and 6, which a person must mend. Everything else starts again.

    Takes the cluster's Kubernetes provider from `opts`. What `opts.depends_on` names (GpuCluster's `addons`, which
    bring Trainer) is waited for by every child. ValueError, naming the argument, for what cannot be.
    """

    torchrun: pulumi.Output[str]
    """Name of the runtime for jobs with as many nodes at least as at most."""
    elastic: pulumi.Output[str]
    """Name of the runtime for jobs that go on with fewer nodes."""
    mpi: pulumi.Output[str]
    """Name of the runtime for Horovod; empty without `mpi_image`."""

    def __init__(self, name: str, args: TrainingRuntimesArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        where = f"TrainingRuntimes {name!r}"
        arguments.check(where, args, TrainingRuntimesArgs)
        worker, max_restarts, floor = _checked(where, name, args)
        super().__init__("aicloud:index:TrainingRuntimes", name, {**args}, opts)
        self._name = name
        self._child = pulumi.ResourceOptions(parent=self, depends_on=prerequisites(opts))

        self.torchrun = self._runtime("torchrun", "torch", blueprints.fixed(worker, max_restarts, floor))
        self.elastic = self._runtime("elastic", "torch", blueprints.elastic(worker, max_restarts))
        self.mpi = pulumi.Output.from_input("")
        if args.get("mpi_image"):
            spec = blueprints.mpi(replace(worker, image=args["mpi_image"]), max_restarts)
            self.mpi = self._runtime("mpi", "horovod", spec)
        self.register_outputs({"torchrun": self.torchrun, "elastic": self.elastic, "mpi": self.mpi})

    def _runtime(self, kind: str, framework: str, spec: dict[str, Any]) -> pulumi.Output[str]:
        made = k8s.apiextensions.CustomResource(
            f"{self._name}-{kind}",
            api_version=blueprints.API_VERSION,
            kind="ClusterTrainingRuntime",
            metadata={"name": f"{self._name}-{kind}", "labels": {"trainer.kubeflow.org/framework": framework}},
            spec=spec,
            opts=self._child,
        )
        return after(f"{self._name}-{kind}", [made])


def _checked(where: str, name: str, args: TrainingRuntimesArgs) -> tuple[Worker, int, float]:
    """The worker, restarts, and the gate's floor in Gbit/s."""
    if not _NAME.fullmatch(name):
        refuse(where, "name", name, "a runtime's name has up to 52 lower-case letters, digits and dashes")
    if args.get("mpi_image") and (problem := images.problem(args["mpi_image"])):
        refuse(where, "mpi_image", args["mpi_image"], problem)
    restarts = args.get("max_restarts", DEFAULT_MAX_RESTARTS)
    if restarts != int(restarts) or restarts < 0:
        refuse(where, "max_restarts", restarts, "accepted is a whole number from 0")
    floor = args.get("health_gbps")
    if floor is not None and not 0 <= floor < float("inf"):
        refuse(where, "health_gbps", floor, "accepted is a number from 0")
    worker = checked_worker(where, args, "")
    if floor is None:
        floor = HEALTHY_SHARE * worker.machine.fabric.gbps if worker.fabric and worker.machine else 0.0
    return worker, int(restarts), float(floor)
