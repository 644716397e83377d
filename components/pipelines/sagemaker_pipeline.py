"""SageMakerPipeline: the retraining pipeline on machines that are there while a step runs, without a cluster."""

import re
from typing import Any, NotRequired, Optional, TypedDict

import pulumi
import pulumi_aws as aws

from components import arguments
from components.inference.server_arguments import Refusal
from components.pipelines import sagemaker_definition, sagemaker_identity
from components.pipelines.database_arguments import check_prefix
from components.pipelines.sagemaker_definition import Own
from components.pipelines.sagemaker_identity import Place
from components.security import sagemaker
from components.tags import aws_tags

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_SCHEDULE = re.compile(r"rate\([1-9]\d* (minute|hour|day)s?\)|cron\(\S+( \S+){5}\)")


class SageMakerPipelineArgs(TypedDict):
    """Arguments of SageMakerPipeline."""

    cloud: str
    """`aws`; Google has nothing of the kind that takes this definition: there Airflow or the cluster runs it."""
    region: str
    """Such as `us-east-1`."""
    definition: str
    """The pipeline in JSON, as `python -m workloads.pipelines compile --target sagemaker` writes it. Role, network and
    keys of its jobs are filled in here, whatever it says of them, and the bucket where it says `s3://region-bucket/`.
    Its images are in ECR."""
    network_id: pulumi.Input[str]
    """RegionalNetwork's output: where jobs run."""
    private_subnet_ids: pulumi.Input[list[str]]
    """RegionalNetwork's output."""
    bucket: pulumi.Input[str]
    """Name of the bucket that jobs read from and write to."""
    read_prefixes: list[str]
    """What jobs may read, besides what they write."""
    write_prefixes: list[str]
    """What jobs may write, overwrite and delete: runs, and the model repository."""
    encryption_key: pulumi.Input[str]
    """ARN of the bucket's key, which volumes, outputs and the schedule are under as well."""
    schedule: NotRequired[str]
    """When it starts by itself, in UTC: `rate(7 days)` or `cron(0 3 ? * SUN *)`. Default never: somebody, or a trigger,
    starts it."""
    parameters: NotRequired[dict[str, str]]
    """Values of the pipeline's parameters on that schedule; default the definition's own."""
    parallel_steps: NotRequired[int]
    """Most steps at a time; default 4."""
    tags: NotRequired[dict[str, str]]
    """Tags."""


class SageMakerPipeline(pulumi.ComponentResource):
    """The retraining pipeline as SageMaker runs it: each step is a job on machines that come for it, and go with it.

    Built in this order: the role that the pipeline and its jobs have, which may start jobs of its own, read and write
    its prefixes, pull its images, and nothing else; a security group that opens HTTPS to the outside and nothing to the
    inside; the pipeline; where there is a schedule, EventBridge Scheduler's, with a role that may start this pipeline.

    Jobs run in the private subnets with everything they leave under the key given. They do not reach what is inside a
    cluster, such as MlflowServer: their runs are recorded in the run's own files and in the model repository.

    ValueError, naming the argument, for a definition that isn't one, and for anything else that SageMaker would refuse.
    """

    name: pulumi.Output[str]
    """Name of the pipeline."""
    arn: pulumi.Output[str]
    """Its ARN, for whoever may start it."""
    role_arn: pulumi.Output[str]
    """ARN of its role."""

    def __init__(self, name: str, args: SageMakerPipelineArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        arguments.check(f"SageMakerPipeline {name!r}", args, SageMakerPipelineArgs)
        definition, images = _check(name, args)
        super().__init__("aicloud:index:SageMakerPipeline", name, {**args}, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None)
        region, tags = args["region"], args.get("tags") or {}
        invoke = pulumi.InvokeOptions(parent=self)
        place = Place(
            partition=aws.get_partition(opts=invoke).partition,
            region=region,
            account=aws.get_caller_identity(opts=invoke).account_id,
            name=name,
            images=images,
            reads=args["read_prefixes"],
            writes=args["write_prefixes"],
        )
        role, policy = sagemaker_identity.execution_role(place, args["bucket"], args["encryption_key"], tags, child)
        group, outside = sagemaker.security_group(
            name, region, args["network_id"], "Jobs of a SageMaker pipeline", tags, child
        )
        filled = pulumi.Output.all(
            role=role.arn,
            bucket=args["bucket"],
            key=args["encryption_key"],
            subnets=args["private_subnet_ids"],
            security_group=group.id,
        ).apply(lambda known: sagemaker_definition.filled(definition, Own(**known)))
        pipeline = aws.sagemaker.Pipeline(
            name,
            region=region,
            # A fixed name: it is in whatever starts it.
            pipeline_name=name,
            pipeline_display_name=name,
            pipeline_description="Data to a registered version of a model",
            pipeline_definition=filled,
            role_arn=role.arn,
            parallelism_configuration={"max_parallel_execution_steps": int(args.get("parallel_steps", 4))},
            tags=aws_tags(tags, name),
            opts=_after(child, policy, outside),
        )
        if "schedule" in args:
            self._schedule(name, args, place, pipeline, child)

        self.name = pipeline.pipeline_name
        self.arn = pipeline.arn
        self.role_arn = role.arn
        self.register_outputs({"name": self.name, "arn": self.arn, "roleArn": self.role_arn})

    def _schedule(
        self,
        name: str,
        args: SageMakerPipelineArgs,
        place: Place,
        pipeline: aws.sagemaker.Pipeline,
        child: pulumi.ResourceOptions,
    ) -> None:
        role, policy = sagemaker_identity.starting_role(
            place, pipeline, args["encryption_key"], args.get("tags") or {}, child
        )
        given = [{"name": key, "value": value} for key, value in sorted((args.get("parameters") or {}).items())]
        target: dict[str, Any] = {
            "arn": pipeline.arn,
            "role_arn": role.arn,
            # A start that is late by hours is of more use than none.
            "retry_policy": {"maximum_event_age_in_seconds": 6 * 3600, "maximum_retry_attempts": 10},
        }
        if given:
            target["sagemaker_pipeline_parameters"] = {"pipeline_parameters": given}
        aws.scheduler.Schedule(
            name,
            region=args["region"],
            name=name,
            description=f"Starts the SageMaker pipeline {name}",
            schedule_expression=args["schedule"],
            schedule_expression_timezone="UTC",
            flexible_time_window={"mode": "FLEXIBLE", "maximum_window_in_minutes": 15},
            kms_key_arn=args["encryption_key"],
            target=target,
            opts=_after(child, policy),
        )


def _after(child: pulumi.ResourceOptions, *resources: pulumi.Resource) -> pulumi.ResourceOptions:
    return pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=list(resources)))


def _check(name: str, args: SageMakerPipelineArgs) -> tuple[dict[str, Any], list[str]]:
    """The definition, and the images in it."""
    refuse = Refusal(f"SageMakerPipeline {name!r}")
    if args["cloud"] != "aws":
        refuse("cloud", args["cloud"], "SageMaker is of aws alone; on gcp Airflow or the cluster runs the pipeline")
    if not _NAME.fullmatch(name) or len(name) > 64:
        refuse("name", name, "accepted are letters, digits and dashes, 64 at most")
    definition = sagemaker_definition.parsed(refuse, args["definition"])
    images = sorted(
        {one for step in sagemaker_definition.steps(definition) for one in sagemaker_definition.images_of(step)}
    )
    for image in images:
        if not sagemaker.IMAGE.match(image):
            refuse(
                "definition", image, "SageMaker pulls from ECR: <account>.dkr.ecr.<region>.amazonaws.com/<repository>"
            )
    for argument in ("read_prefixes", "write_prefixes"):
        for index, prefix in enumerate(args[argument]):
            check_prefix(refuse, f"{argument}[{index}]", prefix)
    if not args["write_prefixes"]:
        refuse("write_prefixes", [], "give one at least: a run is kept somewhere")
    known = {one.get("Name") for one in definition.get("Parameters", [])}
    for parameter in args.get("parameters") or {}:
        if parameter not in known:
            refuse("parameters", parameter, f"the definition has {', '.join(sorted(map(str, known))) or 'none'}")
    schedule = args.get("schedule")
    if schedule is not None and not _SCHEDULE.fullmatch(schedule):
        refuse("schedule", schedule, "accepted are 'rate(7 days)' and 'cron(0 3 ? * SUN *)', six fields")
    if "parameters" in args and schedule is None:
        refuse("parameters", args["parameters"], "they are the schedule's; give one")
    if not 1 <= args.get("parallel_steps", 4) <= 200:
        refuse("parallel_steps", args.get("parallel_steps"), "accepted is 1 to 200")
    return definition, images
