"""ServerlessInference on AWS: a SageMaker endpoint, with instances that a queue brings and ends, or without any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from components.inference import serverless_aws_identity as identity
from components.inference import serverless_aws_scaling as scaling
from components.inference import serverless_offers as offers
from components.inference.serverless_arguments import Endpoint
from components.inference.serverless_parts import Built, checked_url
from components.security import sagemaker
from components.security.statements import document, iam_governs, logs_may_use
from components.tags import aws_tags

if TYPE_CHECKING:
    from components.inference.serverless import ServerlessInferenceArgs

VARIANT = "serving"
PORT = 8080
COPIED = "/opt/ml/model"
"""Where SageMaker copies a model's files to."""
WORDS = "AICLOUD_SERVE"
"""The variable from which the image's `serve` takes its arguments (workloads/serving/sagemaker-serve.sh)."""
REPOSITORY = "AICLOUD_REPOSITORY"
"""The variable from which it takes the repository, where SageMaker copies nothing."""
DEFAULT_LOG_DAYS = 30


def build(
    parent: pulumi.Resource,
    name: str,
    args: ServerlessInferenceArgs,
    endpoint: Endpoint,
    child: pulumi.ResourceOptions,
) -> Built:
    """Key, logs, topic, role, model, endpoint, autoscaling, and who may call it."""
    return _SageMaker(parent, name, args, endpoint, child).build()


class _SageMaker:
    def __init__(
        self,
        parent: pulumi.Resource,
        name: str,
        args: ServerlessInferenceArgs,
        endpoint: Endpoint,
        child: pulumi.ResourceOptions,
    ) -> None:
        self.name, self.args, self.endpoint, self.child = name, args, endpoint, child
        self.region: str = args["region"]
        self.tags = args.get("tags") or {}
        self.waits = endpoint.mode == offers.ASYNCHRONOUS
        invoke = pulumi.InvokeOptions(parent=parent)
        self.account = aws.get_caller_identity(opts=invoke).account_id
        partition = aws.get_partition(opts=invoke)
        self.partition, self.suffix = partition.partition, partition.dns_suffix

    def build(self) -> Built:
        name, args = self.name, self.args
        arn = f"arn:{self.partition}:sagemaker:{self.region}:{self.account}:endpoint/{name}"
        key = self.key()
        logs = self.logs(key)
        topic = self.topic(key) if self.waits else None
        place = identity.Place(
            partition=self.partition,
            region=self.region,
            account=self.account,
            endpoint=arn,
            name=name,
            image=args["image"],
            version_prefix=self.endpoint.version_prefix,
            waits=self.waits,
            in_network=self.waits,
        )
        role, policy = identity.execution_role(place, args, logs, topic, key, self.child)
        model = self.model(role, self.after(policy))
        configuration = self.configuration(model, key, topic)
        served = aws.sagemaker.Endpoint(
            name,
            region=self.region,
            # A fixed name: it is in policies, alarms and the URL. A change of the model changes the configuration, and
            # SageMaker then puts new instances beside the old ones.
            name=name,
            endpoint_config_name=configuration.name,
            tags=aws_tags(self.tags, name),
            opts=self.after(logs, policy),
        )
        if self.waits:
            scaling.scale(name, self.region, served, VARIANT, self.endpoint, self.tags, self.child)
        grant = identity.invokers(place, args, self.child)
        runtime = f"https://runtime.sagemaker.{self.region}.{self.suffix}/endpoints/"
        bucket = pulumi.Output.from_input(args["bucket"])
        within = identity.prefixes(name)
        return Built(
            name=served.name,
            url=pulumi.Output.concat(runtime, served.name, "/async-invocations" if self.waits else "/invocations"),
            principal=role.arn,
            invoker_grant=grant,
            requests_url=pulumi.Output.concat("s3://", bucket, "/", within.requests) if self.waits else "",
            answers_url=pulumi.Output.concat("s3://", bucket, "/", within.answers) if self.waits else "",
            topic=topic.arn if topic else "",
        )

    def after(self, *resources: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions.merge(self.child, pulumi.ResourceOptions(depends_on=list(resources)))

    # ---- what is told of it

    def key(self) -> aws.kms.Key:
        """Of logs, notices and the instances' volumes; the account's IAM policies govern it, and logs may use it."""
        protect = True if self.args.get("protect") else None
        key = aws.kms.Key(
            self.name,
            region=self.region,
            description=f"Logs, notices and volumes of {self.name}",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            policy=document(
                [
                    iam_governs(self.partition, self.account),
                    logs_may_use(self.partition, self.region, self.account, log_group(self.name)),
                ]
            ),
            tags=aws_tags(self.tags, self.name),
            opts=pulumi.ResourceOptions.merge(self.child, pulumi.ResourceOptions(protect=protect)),
        )
        aws.kms.Alias(
            self.name, region=self.region, name=f"alias/{self.name}", target_key_id=key.key_id, opts=self.child
        )
        return key

    def logs(self, key: aws.kms.Key) -> aws.cloudwatch.LogGroup:
        """Made before SageMaker does, which would keep them for ever and under no key."""
        return aws.cloudwatch.LogGroup(
            self.name,
            region=self.region,
            name=log_group(self.name),
            kms_key_id=key.arn,
            retention_in_days=int(self.args.get("log_retention_days", DEFAULT_LOG_DAYS)),
            tags=aws_tags(self.tags, self.name),
            opts=self.child,
        )

    def topic(self, key: aws.kms.Key) -> aws.sns.Topic:
        return aws.sns.Topic(
            self.name,
            region=self.region,
            kms_master_key_id=key.id,
            tags=aws_tags(self.tags, self.name),
            opts=self.child,
        )

    # ---- the model

    def model(self, role: aws.iam.Role, opts: pulumi.ResourceOptions) -> aws.sagemaker.Model:
        """Image, files and words. It has no name of its own: a changed one is made before the old one goes."""
        environment: dict[str, pulumi.Input[str]] = {WORDS: self.words(), "HOME": "/tmp"}
        if not self.waits:
            environment[REPOSITORY] = self.source()
        container: dict[str, Any] = {"image": self.args["image"], "environment": environment}
        return aws.sagemaker.Model(
            self.name,
            region=self.region,
            execution_role_arn=role.arn,
            primary_container={**container, **self.files()},
            # The container needs nothing of any network: SageMaker brings model and requests, and takes answers.
            # A serverless endpoint can be neither isolated nor in a network, and fetches its model itself.
            enable_network_isolation=True if self.waits else None,
            vpc_config=self.network() if self.waits else None,
            tags=aws_tags(self.tags, self.name),
            opts=opts,
        )

    def words(self) -> str:
        """What follows `python3 -m workloads.serving`."""
        return " ".join(
            (
                f"sagemaker --model {self.endpoint.model}:{self.endpoint.version}",
                *((f"--version-directory {COPIED}",) if self.waits else ()),
                f"--directory /tmp/serve --port {PORT} --threads {self.endpoint.requests_per_instance}",
                f"--start-s {self.endpoint.start_s} --exit-timeout-s {offers.SAGEMAKER_END_S - 5}",
            )
        )

    def source(self) -> pulumi.Output[str]:
        return pulumi.Output.from_input(self.args["repository_url"]).apply(
            lambda url: checked_url(self.name, url, self.endpoint.prefix)
        )

    def files(self) -> dict[str, Any]:
        if not self.waits:
            return {}
        uri = pulumi.Output.concat(self.source(), f"/{self.endpoint.model}/{self.endpoint.version}/")
        source = {"s3_uri": uri, "s3_data_type": "S3Prefix", "compression_type": "None"}
        return {"model_data_source": {"s3_data_sources": [source]}}

    def network(self) -> dict[str, Any]:
        """The private subnets, for what SageMaker copies in and out: S3 and the image's registry, by HTTPS."""
        name = f"{self.name}-instances"
        group, _ = sagemaker.security_group(
            name, self.region, self.args["network_id"], "Instances of a SageMaker endpoint", self.tags, self.child
        )
        return {"security_group_ids": [group.id], "subnets": self.args["private_subnet_ids"]}

    # ---- the endpoint

    def configuration(
        self, model: aws.sagemaker.Model, key: aws.kms.Key, topic: aws.sns.Topic | None
    ) -> aws.sagemaker.EndpointConfiguration:
        """Immutable, hence without a name of its own, too."""
        variant: dict[str, Any] = {"variant_name": VARIANT, "model_name": model.name}
        more: dict[str, Any] = {}
        if self.waits and topic is not None:
            instance, _ = offers.sagemaker_instance(self.endpoint.accelerator, self.region, self.endpoint.gpus)
            variant |= {
                "instance_type": instance,
                # The least that SageMaker takes; autoscaling ends it when nothing waits.
                "initial_instance_count": max(1, self.endpoint.min_instances),
                "inference_ami_version": offers.SAGEMAKER_AMI,
                "model_data_download_timeout_in_seconds": self.endpoint.download_s,
                "container_startup_health_check_timeout_in_seconds": self.endpoint.start_s,
            }
            # Where an instance has NVMe, the machine encrypts that by itself, and the key is for what else it has.
            more = {"kms_key_arn": key.arn, "async_inference_config": self.waiting(topic)}
        else:
            provisioned = self.endpoint.min_instances
            variant["serverless_config"] = {
                "max_concurrency": self.endpoint.max_instances,
                "memory_size_in_mb": self.endpoint.memory_gib * 1024,
                **({"provisioned_concurrency": provisioned} if provisioned else {}),
            }
        return aws.sagemaker.EndpointConfiguration(
            self.name,
            region=self.region,
            production_variants=[variant],
            tags=aws_tags(self.tags, self.name),
            opts=self.child,
            **more,
        )

    def waiting(self, topic: aws.sns.Topic) -> dict[str, Any]:
        bucket = pulumi.Output.from_input(self.args["bucket"])
        within = identity.prefixes(self.name)
        return {
            "client_config": {"max_concurrent_invocations_per_instance": self.endpoint.requests_per_instance},
            "output_config": {
                "s3_output_path": pulumi.Output.concat("s3://", bucket, "/", within.answers),
                "s3_failure_path": pulumi.Output.concat("s3://", bucket, "/", within.failures),
                "kms_key_id": self.args.get("encryption_key"),
                "notification_config": {"success_topic": topic.arn, "error_topic": topic.arn},
            },
        }


def log_group(name: str) -> str:
    """Where SageMaker writes what the containers of an endpoint say."""
    return f"/aws/sagemaker/Endpoints/{name}"
