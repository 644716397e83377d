"""RetrainingTrigger: watches a model's traffic in the lakehouse and, for a reason, runs the retraining pipeline."""

import json
import re
from typing import Any, NotRequired, Optional, TypedDict

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from components import arguments
from components.inference.server_arguments import NAME, Refusal, check_image
from components.pipelines.database_arguments import check_prefix
from components.pipelines.trigger_pods import POLICY_FILE, Watch, job_template, watch_template
from components.security import WorkloadIdentity, identity_place
from components.security.traffic import block, ports
from components.training import runs
from components.training.workers import checked_worker

LONGEST_NAME = 38
GLUE = {"type": "glue"}
_CRON = re.compile(r"\S+( \S+){4}")
_OPTION = re.compile(r"[a-z]+(-[a-z]+)*")
_OWN = ("run", "model", "repository", "mlflow", "corpus", "in-process")
"""Options of the pipeline that other arguments give."""


class RetrainingTriggerArgs(TypedDict):
    """Arguments of RetrainingTrigger."""

    cloud: str
    """`aws` or `gcp`."""
    region: str
    """The cluster's region, such as `us-east-1`."""
    cluster_name: pulumi.Input[str]
    """GpuCluster's output of that name."""
    workload_identity_pool: pulumi.Input[str]
    """GpuCluster's output of that name; empty on AWS."""
    namespace: str
    """Kubernetes namespace of training, which is there, is closed, and has the queue."""
    queue: pulumi.Input[str]
    """TrainingQueue's output: the LocalQueue that admits a run."""
    priority: NotRequired[str]
    """`low`, `normal` (default) or `high`: who waits for whom in the queue."""
    image: str
    """What watches and starts (workloads/launch/Dockerfile), with a digest or a tag other than `latest`."""
    pipeline_image: str
    """What runs the pipeline (workloads/pipelines/Dockerfile), likewise."""
    model: str
    """Name of the model: in the lakehouse, in the model repository and in the registry."""
    bucket: pulumi.Input[str]
    """Name of the region's bucket."""
    bucket_url: pulumi.Input[str]
    """`s3://<bucket>` or `gs://<bucket>`."""
    encryption_key: NotRequired[pulumi.Input[str]]
    """AWS: ARN of the bucket's key."""
    network_cidr: str
    """The network's addresses, among which is the cluster's API."""
    lake_prefix: NotRequired[str]
    """Prefix of the bucket with the request log's tables; default `lakehouse`."""
    catalog: NotRequired[dict[str, str]]
    """Properties of pyiceberg's catalog. Default on AWS Glue's; on GCP there is no default: name a REST catalog."""
    policy: NotRequired[str]
    """JSON of what counts as drift and as a loss, of cool-down and budget, as workloads.monitoring.policy has it.
    Default `{}`."""
    every_s: NotRequired[int]
    """Seconds between two looks for a window that has closed; default 300."""
    corpus_prefix: str
    """Prefix of the bucket with the texts to train on."""
    repository_prefix: NotRequired[str]
    """Prefix of the model repository; default `models`."""
    runs_prefix: NotRequired[str]
    """Prefix under which runs are kept; default `pipelines`."""
    tracking_uri: NotRequired[str]
    """MlflowServer's output: where runs are told and versions registered; default a file of each run."""
    parameters: NotRequired[dict[str, str]]
    """More of `python -m workloads.pipelines run`, without dashes, such as `precision: int8`."""
    signing_secret: NotRequired[str]
    """Name of the Secret whose `key.pem` signs versions, which a person puts there; default `model-signing`."""
    schedule: NotRequired[str]
    """Cron, in UTC, on which the pipeline runs whatever the traffic says; default never."""
    accelerator: NotRequired[str]
    """Key of the catalog, such as `l4`; default none."""
    accelerators_per_node: NotRequired[int]
    """Accelerators of a run; default 1 with an accelerator."""
    cpu: NotRequired[float]
    """Cores of a run. Default its share of a machine with the accelerator, else 2."""
    memory_gib: NotRequired[float]
    """Memory of a run in GiB; default likewise, else 8."""
    scratch_gib: NotRequired[float]
    """Local disk of a run in GiB; default 64."""
    tags: NotRequired[dict[str, str]]
    """Tags of cloud resources."""


class RetrainingTrigger(pulumi.ComponentResource):
    """The loop's closing piece: what was asked and answered decides whether a model is trained again.

    Built in this order: the pipeline's identity, which reads its corpus and writes runs and the model repository, and
    its CronJob, suspended unless there is a schedule: a template of runs, which Kueue admits like any training; the
    watcher's identity, which reads and compacts the request log; its Role, which lets it start and look at Jobs of the
    namespace; a volume for what it remembers; the watcher, one pod, and its PodMonitor. Whether it starts a run, and
    why it did not, is in its reports and its metrics. One reason starts one run, and no run starts while one is under
    way.

    Takes a Kubernetes provider, and the cloud's, from `opts`. ValueError, naming the argument, for anything that the
    workloads, Kubernetes or the catalog would refuse.
    """

    cronjob: pulumi.Output[str]
    """Name of the CronJob: `kubectl create job --from=cronjob/<name>` starts a run by hand."""
    runs_url: pulumi.Output[str]
    """Under which URL runs are kept."""
    principal: pulumi.Output[str]
    """Whom a run acts as: ARN of the role, or member of Google's IAM."""

    def __init__(self, name: str, args: RetrainingTriggerArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        where = f"RetrainingTrigger {name!r}"
        arguments.check(where, args, RetrainingTriggerArgs)
        catalog = _check(where, name, args)
        worker = checked_worker(where, {**args, "image": args["pipeline_image"]}, f"{name}-run")
        super().__init__("aicloud:index:RetrainingTrigger", name, {**args}, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None)
        placed = {"namespace": args["namespace"]}
        prefix, lake = args.get("runs_prefix", "pipelines"), args.get("lake_prefix", "lakehouse")
        repository = args.get("repository_prefix", "models")

        running = _identity(
            f"{name}-run", args, {prefix: True, repository: True, args["corpus_prefix"]: False}, {}, child
        )
        account = _account(f"{name}-run", args, child, token=False)
        self.runs_url = pulumi.Output.concat(args["bucket_url"], f"/{prefix}/{args['model']}")
        words: list[pulumi.Input[str]] = [
            *("--run", pulumi.Output.concat(self.runs_url, "/$(JOB_NAME)")),
            *("--corpus", pulumi.Output.concat(args["bucket_url"], f"/{args['corpus_prefix']}")),
            *("--repository", pulumi.Output.concat(args["bucket_url"], f"/{repository}")),
            *("--model", args["model"]),
            *(("--mlflow", args["tracking_uri"]) if "tracking_uri" in args else ()),
            *(word for key, value in sorted((args.get("parameters") or {}).items()) for word in (f"--{key}", value)),
        ]
        labels = {"app.kubernetes.io/name": "retraining", "app.kubernetes.io/instance": name}
        template = job_template(
            worker,
            {**labels, "app.kubernetes.io/component": "run"},
            runs.queued(args),
            words,
            args.get("signing_secret", "model-signing"),
        )
        cronjob = k8s.batch.v1.CronJob(
            f"{name}-cronjob",
            metadata={**placed, "name": name, "labels": labels},
            spec={
                # Without a schedule it is a template, from which the watcher, or a person, makes Jobs.
                "schedule": args.get("schedule", "0 0 1 1 *"),
                "time_zone": "Etc/UTC",
                "suspend": "schedule" not in args,
                "concurrency_policy": "Forbid",
                "starting_deadline_seconds": 6 * 3600,
                "successful_jobs_history_limit": 3,
                "failed_jobs_history_limit": 3,
                "job_template": template,
            },
            opts=_after(child, running, account),
        )
        self._watcher(
            name, args, catalog, f"{lake}/", {**labels, "app.kubernetes.io/component": "watch"}, cronjob, child
        )

        self.cronjob = cronjob.metadata.name
        self.principal = running.principal
        self.register_outputs({"cronjob": self.cronjob, "runsUrl": self.runs_url, "principal": self.principal})

    def _watcher(
        self,
        name: str,
        args: RetrainingTriggerArgs,
        catalog: dict[str, str],
        lake: str,
        labels: dict[str, str],
        cronjob: pulumi.Resource,
        child: pulumi.ResourceOptions,
    ) -> None:
        placed = {"namespace": args["namespace"], "labels": labels}
        more: dict[str, Any] = {}
        if catalog.get("type") == "glue":
            more["aws_policy_json"] = _glue(args["region"], self)
        watching = _identity(name, args, {lake.rstrip("/"): True}, more, child)
        account = _account(name, args, child, token=True)
        role = k8s.rbac.v1.Role(
            f"{name}-role",
            metadata={**placed, "name": name},
            rules=[
                {"api_groups": ["batch"], "resources": ["cronjobs"], "resource_names": [name], "verbs": ["get"]},
                {"api_groups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "list", "patch"]},
            ],
            opts=child,
        )
        binding = k8s.rbac.v1.RoleBinding(
            f"{name}-role",
            metadata={**placed, "name": name},
            role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            subjects=[{"kind": "ServiceAccount", "name": name, "namespace": args["namespace"]}],
            opts=_after(child, role),
        )
        traffic = k8s.networking.v1.NetworkPolicy(
            f"{name}-api",
            metadata={**placed, "name": f"{name}-api"},
            spec={
                "pod_selector": {"match_labels": labels},
                "policy_types": ["Egress"],
                "egress": [{"to": [block(args["network_cidr"])], "ports": ports(443)}],
            },
            opts=child,
        )
        state = k8s.core.v1.PersistentVolumeClaim(
            f"{name}-state",
            # It is bound where the pod comes to be, so nothing waits for that.
            metadata={**placed, "name": name, "annotations": {"pulumi.com/skipAwait": "true"}},
            spec={"access_modes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            opts=child,
        )
        policy = k8s.core.v1.ConfigMap(
            f"{name}-policy",
            metadata={**placed, "name": name},
            data={POLICY_FILE: args.get("policy", "{}")},
            opts=child,
        )
        k8s.apps.v1.Deployment(
            f"{name}-watcher",
            metadata={**placed, "name": name},
            spec={
                "replicas": 1,
                # Two would decide twice, and the volume is one pod's.
                "strategy": {"type": "Recreate"},
                "selector": {"match_labels": labels},
                "template": watch_template(
                    Watch(
                        name=name,
                        namespace=args["namespace"],
                        labels=labels,
                        image=args["image"],
                        model=args["model"],
                        lake=pulumi.Output.concat(args["bucket_url"], "/", lake.rstrip("/")),
                        catalog=catalog,
                        every_s=int(args.get("every_s", 300)),
                        region=args["region"] if args["cloud"] == "aws" else "",
                    )
                ),
            },
            opts=_after(child, watching, account, binding, traffic, state, policy, cronjob),
        )
        runs.monitor(name, args, labels, ("metrics",), child)


def _after(child: pulumi.ResourceOptions, *resources: pulumi.Resource) -> pulumi.ResourceOptions:
    return pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=list(resources)))


def _account(
    name: str, args: RetrainingTriggerArgs, child: pulumi.ResourceOptions, *, token: bool
) -> k8s.core.v1.ServiceAccount:
    return k8s.core.v1.ServiceAccount(
        f"{name}-account",
        metadata={"namespace": args["namespace"], "name": name},
        automount_service_account_token=token,
        opts=child,
    )


def _identity(
    name: str,
    args: RetrainingTriggerArgs,
    prefixes: dict[str, bool],
    more: dict[str, Any],
    child: pulumi.ResourceOptions,
) -> WorkloadIdentity:
    """`prefixes`: prefix -> whether it is written."""
    common: dict[str, Any] = {"bucket": args["bucket"]}
    if "encryption_key" in args:
        common["key"] = args["encryption_key"]
    return WorkloadIdentity(
        f"{name}-identity",
        {
            **identity_place(args),
            "service_account": name,
            "buckets": [
                {**common, "prefix": f"{prefix}/", **({"write": True} if write else {})}
                for prefix, write in prefixes.items()
            ],
            **more,  # type: ignore[typeddict-item]
        },
        opts=child,
    )


def _glue(region: str, parent: pulumi.Resource) -> str:
    """A policy document: the tables of the request log, in Glue's catalog."""
    invoke = pulumi.InvokeOptions(parent=parent)
    account = aws.get_caller_identity(opts=invoke).account_id
    place = f"arn:{aws.get_partition(opts=invoke).partition}:glue:{region}:{account}"
    statement = {
        "Effect": "Allow",
        "Action": [
            "glue:CreateDatabase",
            "glue:CreateTable",
            "glue:GetDatabase",
            "glue:GetTable",
            "glue:GetTables",
            "glue:UpdateTable",
        ],
        "Resource": [f"{place}:catalog", f"{place}:database/monitoring", f"{place}:table/monitoring/*"],
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _check(where: str, name: str, args: RetrainingTriggerArgs) -> dict[str, str]:
    """The catalog, once every argument but the worker's is found good."""
    refuse = Refusal(where)
    refuse.one_of("cloud", args["cloud"], ("aws", "gcp"))
    # A role of IAM is called after it, with 26 characters more.
    for argument, value, longest in (("name", name, LONGEST_NAME), ("namespace", args["namespace"], 63)):
        refuse.unless_named(argument, value, longest)
    if not NAME.fullmatch(args["model"]):
        refuse("model", args["model"], "accepted are lower-case letters, digits and dashes")
    for argument in ("image", "pipeline_image"):
        check_image(refuse, argument, args[argument])  # type: ignore[literal-required]
    refuse.one_of("priority", args.get("priority", "normal"), runs.PRIORITIES)
    given: dict[str, Any] = {**args}
    for argument in ("lake_prefix", "corpus_prefix", "repository_prefix", "runs_prefix"):
        if argument in given:
            check_prefix(refuse, argument, given[argument])
    try:
        policy = json.loads(args.get("policy", "{}"))
    except json.JSONDecodeError as error:
        refuse("policy", args.get("policy"), f"expected JSON: {error}")
    if not isinstance(policy, dict):
        refuse("policy", args.get("policy"), "expected an object")
    if not 10 <= args.get("every_s", 300) <= 86400:
        refuse("every_s", args.get("every_s"), "accepted is 10 to 86400")
    if "schedule" in args and not _CRON.fullmatch(args["schedule"]):
        refuse("schedule", args["schedule"], "expected cron, five fields, such as '0 3 * * 0'")
    for option in args.get("parameters") or {}:
        if not _OPTION.fullmatch(option) or option in _OWN:
            refuse("parameters", option, "accepted are options of the pipeline that no other argument gives")
    catalog = args.get("catalog") or ({**GLUE, "glue.region": args["region"]} if args["cloud"] == "aws" else {})
    if not {"type", "uri"} & set(catalog):
        refuse("catalog", catalog, "expected properties of a catalog, such as type and uri: gcp has none by default")
    return dict(catalog)
