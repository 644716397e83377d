"""HyperparameterSweep: a search for the best settings, by workers that share a journal."""

import re
from typing import Any, NotRequired, Optional, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import arguments
from components.ordering import prerequisites
from components.training import runs
from components.training.blueprints import MENDED_BY_A_PERSON, STOPPED
from components.training.pod import container, pod_annotations, pod_spec
from components.training.workers import checked_worker, refuse

LONGEST_NAME = 48
"""Pods are called `<name>-<index>-<five characters>`."""
CONTAINER = "sweep"
DEFAULT_TIER = "warm"
DEFAULT_RETRIES = 6
"""Of each worker, when it fails for no notice; trials have their own count."""
PRUNERS = ("median", "hyperband", "none")

_SPACE = re.compile(r"(log|uniform|int):[^:\s]+:[^:\s]+|choice:[^\s]+")
_SETTING = re.compile(r"[a-z]+\.[a-z0-9_]+")


class HyperparameterSweepArgs(TypedDict):
    """Arguments of HyperparameterSweep."""

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
    """`low`, `normal` or `high`: who waits for whom. Default `low`: a sweep loses nothing by waiting."""
    image: str
    """The training image built with Optuna (workloads/training/Dockerfile, EXTRAS), with a digest or a tag other than
    `latest`."""
    config: str
    """The config of workloads/training: `tiny`, `gpt2_124m`, `llama_1b` or `llama_8b`."""
    settings: NotRequired[dict[str, str]]
    """Settings of the config that all trials have, such as `training.steps: "2000"`."""
    search: dict[str, str]
    """Setting -> where to look: `log:1e-4:1e-2`, `uniform:0:0.3`, `int:2:8` or `choice:64,128`."""
    trials: int
    """Runs in all. A larger number, later, adds to those that were made."""
    workers: int
    """Runs at a time, at most."""
    min_workers: NotRequired[int]
    """Runs at a time with which it starts where the queue has no room for all; default 1."""
    pruner: NotRequired[str]
    """Which trials are stopped early: `median` (default), `hyperband` or `none`."""
    data_prefix: NotRequired[str]
    """Prefix of prepared tokens in the bucket, such as `datasets/books`; workers may read it, and nothing else. Default
    the sources of Python's standard library, which the image has."""
    bucket: pulumi.Input[str]
    """Name of the bucket of data: TieredStorage's output of that name."""
    bucket_url: pulumi.Input[str]
    """TieredStorage's output of that name."""
    encryption_key: NotRequired[pulumi.Input[str]]
    """AWS: ARN of the bucket's KMS key."""
    claims: dict[str, str]
    """Tier -> PersistentVolumeClaim, mounted at `/mnt/<tier>`: TieredStorage's `claims`."""
    tier: NotRequired[str]
    """The tier that has the journal, the trials and the result, under `sweeps/<name>`; default `warm`."""
    accelerator: NotRequired[str]
    """Key of the catalog, such as `l4`; default none."""
    accelerators_per_node: NotRequired[int]
    """Accelerators, and ranks, of each run; default 1."""
    machine_type: NotRequired[str]
    """The pool's machine type, where it names one. Default the catalog's best."""
    grace_s: NotRequired[int]
    """Seconds that a pod has to leave; a run leaves in half of them. Default 120 on AWS, 105 on GCP."""
    cpu: NotRequired[float]
    """Cores for each worker. Default its share of 70 % of the leanest machine with as many accelerators; 2 without."""
    memory_gib: NotRequired[float]
    """Memory for each worker in GiB, half of which /dev/shm may take. Default as for `cpu`; 8 without accelerators."""
    scratch_gib: NotRequired[float]
    """Local disk for each worker in GiB; default 64."""
    tags: NotRequired[dict[str, str]]
    """Tags of cloud resources."""


class HyperparameterSweep(pulumi.ComponentResource):
    """Workers of workloads.training.sweep: as many as the queue has room for, and none of them missed when it goes.

    Built in this order: the service account; the identity that may read the data; the indexed Job, which Kueue lets in
    with fewer workers where there is no room for all; the PodMonitor.

    Each worker runs one trial at a time. The journal of all of them, and the trials' checkpoints, are on a shared tier:
    a trial whose worker was told to go, or vanished, is continued by another. Neither counts as a failure of the Job.
    The result is `sweeps/<name>/best.json` on that tier.

    Whatever changes in its spec makes the Job anew, which continues the sweep as long as config, settings and search
    are the same. Takes the cluster's Kubernetes provider, and the cloud's, from `opts`. What `opts.depends_on` names
    (GpuCluster's `addons`, the namespace, the queue, the storage) is waited for by every child. ValueError, naming the
    argument, for anything that cannot be.
    """

    name: pulumi.Output[str]
    """Name of the Job."""
    namespace: pulumi.Output[str]
    """Its namespace."""
    result: pulumi.Output[str]
    """Path of the result where the tier is mounted."""

    def __init__(self, name: str, args: HyperparameterSweepArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        where = f"HyperparameterSweep {name!r}"
        arguments.check(where, args, HyperparameterSweepArgs)
        # Low, unlike a run that somebody waits for.
        args = {**args, "priority": args.get("priority") or "low"}
        runs.check(where, name, args, LONGEST_NAME)
        worker = checked_worker(where, args, name)
        fewest, most = _checked(where, args)
        super().__init__("aicloud:index:HyperparameterSweep", name, {**args}, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=prerequisites(opts))
        labels = {"app.kubernetes.io/name": "sweep", "app.kubernetes.io/instance": name}
        place = f"/mnt/{args.get('tier') or DEFAULT_TIER}/sweeps/{name}"
        data = pulumi.Output.concat(args["bucket_url"], "/", args["data_prefix"]) if args.get("data_prefix") else ""

        account = runs.account(name, args, labels, child)
        identity = runs.identity(name, args, "", child)
        words: list[pulumi.Input[str]] = [
            *("--config", args["config"], "--output", place, "--journal", f"{place}/journal"),
            *("--trials", str(int(args["trials"])), "--pruner", args.get("pruner") or PRUNERS[0]),
            *("--processes", str(max(1, worker.accelerators)), "--leave-early"),
            *(word for setting, space in sorted(args["search"].items()) for word in ("--search", f"{setting}={space}")),
            *(("--data", data) if data else ()),
            *("--tracking.prometheus_port", str(runs.METRICS), *runs.settings(args)),
        ]
        command = ["python", "-m", "workloads.training.sweep"]
        job = k8s.batch.v1.Job(
            f"{name}-job",
            metadata={
                "name": name,
                "namespace": args["namespace"],
                "labels": {**labels, **runs.queued(args)},
                "annotations": {
                    # Pulumi would wait until the last trial is done.
                    "pulumi.com/skipAwait": "true",
                    "pulumi.com/deletionPropagationPolicy": "foreground",
                    **({"kueue.x-k8s.io/job-min-parallelism": str(fewest)} if fewest < most else {}),
                },
            },
            spec={
                "parallelism": most,
                # A worker that comes late finds nothing left to begin, and ends well.
                "completions": most,
                "completion_mode": "Indexed",
                "backoff_limit_per_index": DEFAULT_RETRIES,
                "pod_failure_policy": {"rules": _ends()},
                # Not while the old one may still be saving.
                "pod_replacement_policy": "Failed",
                "template": {
                    "metadata": {"labels": labels, "annotations": pod_annotations(worker)},
                    "spec": pod_spec(
                        worker, [container(worker, CONTAINER, command, words, ports={"metrics": runs.METRICS})]
                    ),
                },
            },
            # A pod that starts before its identity is bound has none until it is started again. Kueue says how many
            # workers there is room for.
            opts=pulumi.ResourceOptions.merge(
                child,
                pulumi.ResourceOptions(
                    depends_on=[account, identity],
                    ignore_changes=["spec.parallelism"],
                    replace_on_changes=["spec"],
                    delete_before_replace=True,
                ),
            ),
        )
        runs.monitor(name, args, labels, ("metrics",), child)

        self.name = job.metadata.name
        self.namespace = pulumi.Output.from_input(args["namespace"])
        self.result = pulumi.Output.from_input(f"{place}/best.json")
        self.register_outputs({"name": self.name, "namespace": self.namespace, "result": self.result})


def _ends() -> list[dict[str, Any]]:
    """Rules of the podFailurePolicy: which ends of a worker are no failures, and which no other worker would avoid."""

    def ended(action: str, codes: tuple[int, ...]) -> dict[str, Any]:
        return {
            "action": action,
            "on_exit_codes": {"container_name": CONTAINER, "operator": "In", "values": list(codes)},
        }

    return [
        {"action": "Ignore", "on_pod_conditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ended("Ignore", STOPPED),
        ended("FailJob", MENDED_BY_A_PERSON),
    ]


def _checked(where: str, args: HyperparameterSweepArgs) -> tuple[int, int]:
    """The fewest and the most workers, once the search is found good."""
    if not args["search"]:
        refuse(where, "search", {}, "give at least one setting, such as optimizer.learning_rate: log:1e-4:1e-2")
    for setting, space in args["search"].items():
        if not _SETTING.fullmatch(setting):
            refuse(where, "search", setting, "accepted are names such as 'optimizer.learning_rate'")
        if setting in (args.get("settings") or {}):
            refuse(where, "search", setting, "it is in settings too; accepted is one or the other")
        if not isinstance(space, str) or not _SPACE.fullmatch(space):
            accepted = "log:LOW:HIGH, uniform:LOW:HIGH, int:LOW:HIGH and choice:A,B"
            refuse(where, f"search[{setting}]", space, f"accepted are {accepted}")
    if args["trials"] != int(args["trials"]) or args["trials"] < 1:
        refuse(where, "trials", args["trials"], "accepted is a whole number from 1")
    fewest, most = runs.counts(where, {"min_workers": 1, **args}, "min_workers", "workers")
    if most > args["trials"]:
        refuse(where, "workers", most, f"accepted is at most trials, {args['trials']}: each runs one at a time")
    if (args.get("pruner") or PRUNERS[0]) not in PRUNERS:
        refuse(where, "pruner", args.get("pruner"), f"accepted are {', '.join(map(repr, PRUNERS))}")
    tier = args.get("tier") or DEFAULT_TIER
    if tier not in args["claims"]:
        refuse(
            where, "tier", tier, f"accepted are tiers with a claim: {', '.join(map(repr, args['claims'])) or 'none'}"
        )
    if tier == "cold":
        refuse(where, "tier", tier, "the cold tier is read only; accepted is one that workers can write")
    return fewest, most
