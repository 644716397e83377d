"""What the two clouds offer of inference without a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from planner.plan import Plan
from tests.components.parity import Feature, NotOffered, Offered, protected, values

SERVICE, MEMBER = "gcp:cloudrunv2/service:", "gcp:cloudrunv2/serviceIamMember:"
MODEL, CONFIGURATION = "aws:sagemaker/model:", "aws:sagemaker/endpointConfiguration:"
VARIANT = "productionVariants"
CPUS = ("accelerator", "network_id", "private_subnet_ids")


def feature(title: str, arguments: str, aws: Any, gcp: Any, **more: Any) -> Feature:
    return Feature("ServerlessInference", title, tuple(arguments.split()), aws, gcp, **more)


def on_cpus(args: dict[str, Any]) -> dict[str, Any]:
    """Synchronous and without a GPU, which both clouds have."""
    return {**{key: value for key, value in args.items() if key not in CPUS}, "mode": "synchronous"}


def asks(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda args: {**args, **changes}


def policies(part: str) -> Callable[[Plan], bool]:
    return lambda plan: any(part in policy for policy in values(plan, "aws:iam/rolePolicy:", "policy"))


FEATURES = [
    feature(
        "The answer on the request's own connection, from a GPU",
        "accelerator",
        NotOffered(
            "SageMaker's serverless endpoints have CPUs only",
            asks(mode="synchronous"),
            "SageMaker's serverless endpoints have no GPU",
        ),
        Offered(
            "Cloud Run with an L4",
            lambda p: values(p, SERVICE, "template.nodeSelector.accelerator") == ["nvidia-l4"],
        ),
    ),
    feature(
        "The answer on the request's own connection, from CPUs",
        "mode memory_gib",
        Offered(
            "serverless endpoint, up to 6 GiB",
            lambda p: values(p, CONFIGURATION, f"{VARIANT}.serverlessConfig.memorySizeInMb") == [5 * 1024],
        ),
        Offered(
            "Cloud Run, up to 32 GiB",
            lambda p: values(p, SERVICE, "template.containers.resources.limits.memory") == ["9Gi"],
        ),
        change=lambda args: {**on_cpus(args), "memory_gib": 5 if args["cloud"] == "aws" else 9},
    ),
    feature(
        "Requests that wait for a GPU, answers as objects",
        "mode bucket encryption_key",
        Offered(
            "asynchronous endpoint, and a topic that tells",
            lambda p: (
                values(p, CONFIGURATION, "asyncInferenceConfig.outputConfig.s3OutputPath")
                == ["s3://sim-models/serverless/sample/answers/"]
            ),
        ),
        NotOffered(
            "Cloud Run answers while the connection lasts; a queue before it, such as Cloud Tasks, is the caller's",
            asks(mode="asynchronous"),
            "a queue before it",
        ),
    ),
    feature(
        "Several GPUs to an instance",
        "gpus",
        Offered(
            "a larger instance type",
            lambda p: values(p, CONFIGURATION, f"{VARIANT}.instanceType") == ["ml.g6.12xlarge"],
        ),
        NotOffered("Cloud Run attaches one", asks(gpus=4), "accepted is 1 on Cloud Run"),
        change=asks(gpus=4),
    ),
    feature(
        "Nothing is there while nothing is asked",
        "min_instances max_instances requests_per_instance",
        Offered(
            "autoscaling by the backlog, and a step for the first instance",
            lambda p: (
                values(p, "aws:appautoscaling/target:", "minCapacity") == [0]
                and values(p, "aws:cloudwatch/metricAlarm:", "metricName") == ["HasBacklogWithoutCapacity"]
            ),
        ),
        Offered(
            "Cloud Run's own, by requests at once",
            lambda p: (
                values(p, SERVICE, "template.scaling.minInstanceCount") == [0]
                and values(p, SERVICE, "template.maxInstanceRequestConcurrency") == [8]
            ),
        ),
    ),
    feature(
        "Only a model that is verified is served",
        "model version size_gib repository_url repository_prefix load_bandwidth_gib_s device_bandwidth_gib_s",
        Offered(
            "SageMaker copies, the container compares with the manifest",
            lambda p: (
                "--version-directory /opt/ml/model"
                in str(values(p, MODEL, "primaryContainer.environment.AICLOUD_SERVE"))
            ),
        ),
        Offered(
            "the container fetches and compares",
            lambda p: "serve" in values(p, SERVICE, "template.containers.args"),
        ),
    ),
    feature(
        "The server may read its version and nothing else",
        "",
        Offered("role with one prefix", policies("sim-models/models/resnet50/3/*")),
        Offered(
            "viewer with a condition",
            lambda p: "models/resnet50/3/" in values(p, "gcp:storage/bucketIAMMember:", "condition.expression")[0],
        ),
    ),
    feature(
        "Who may send requests",
        "invokers",
        Offered(
            "IAM policy, attached to roles",
            lambda p: values(p, "aws:iam/rolePolicyAttachment:", "role") == ["app"],
        ),
        Offered("invoker of the service", lambda p: values(p, MEMBER, "member") == ["group:ml@example.com"]),
    ),
    feature(
        "Requests from anybody",
        "unauthenticated",
        NotOffered("every request is signed", asks(unauthenticated=True), "SageMaker takes signed requests only"),
        Offered("invoker `allUsers`", lambda p: "allUsers" in values(p, MEMBER, "member")),
        change=asks(unauthenticated=True),
    ),
    feature(
        "From where requests are taken",
        "ingress",
        NotOffered(
            "SageMaker's API is reached from anywhere, with a signature",
            asks(ingress="all"),
            "a VPC endpoint's policy narrows that",
        ),
        Offered("internal by default", lambda p: values(p, SERVICE, "ingress") == ["INGRESS_TRAFFIC_INTERNAL_ONLY"]),
    ),
    feature(
        "The container reaches nothing that it need not",
        "",
        Offered(
            "network isolation, private subnets",
            lambda p: values(p, MODEL, "enableNetworkIsolation") == [True] and values(p, MODEL, "vpcConfig") != [],
        ),
        Offered(
            "all through the VPC, and its firewall",
            lambda p: values(p, SERVICE, "template.vpcAccess.egress") == ["ALL_TRAFFIC"],
        ),
    ),
    feature(
        "GPUs kept ready for the loss of a zone",
        "zonal_redundancy",
        NotOffered(
            "instances are spread over the subnets' zones anyway",
            asks(zonal_redundancy=True),
            "SageMaker spreads instances",
        ),
        Offered("zonal redundancy", lambda p: values(p, SERVICE, "template.gpuZonalRedundancyDisabled") == [False]),
        change=asks(zonal_redundancy=True),
    ),
    feature(
        "How long a request may take",
        "request_timeout_s",
        NotOffered(
            "a minute, or what an asynchronous request says, up to an hour",
            asks(request_timeout_s=600),
            "request_timeout_s",
        ),
        Offered("up to an hour", lambda p: values(p, SERVICE, "template.timeout") == ["600s"]),
        change=asks(request_timeout_s=600),
    ),
    feature(
        "Cores by number",
        "cpu",
        NotOffered("the instance type has its own", asks(cpu=8), "accepted on gcp only"),
        Offered("1 to 8", lambda p: values(p, SERVICE, "template.containers.resources.limits.cpu") == ["8"]),
        change=asks(cpu=8),
    ),
    feature(
        "Logs that end",
        "log_retention_days",
        Offered(
            "log group under an own key", lambda p: values(p, "aws:cloudwatch/logGroup:", "retentionInDays") == [30]
        ),
        NotOffered("in Cloud Logging: the project's log bucket decides"),
    ),
    feature(
        "Protected",
        "protect",
        Offered("the key", lambda p: protected(p, "aws:kms/key:Key")),
        Offered("the service refuses to be deleted", lambda p: values(p, SERVICE, "deletionProtection") == [True]),
        change=asks(protect=True),
    ),
]
