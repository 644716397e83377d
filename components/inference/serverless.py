"""ServerlessInference: one model answered without a cluster, by Triton on Cloud Run or behind a SageMaker endpoint."""

from typing import NotRequired, Optional, TypedDict

import pulumi

from components import arguments
from components.inference import serverless_aws, serverless_gcp
from components.inference.serverless_arguments import checked


class ServerlessInferenceArgs(TypedDict):
    """Arguments of ServerlessInference."""

    cloud: str
    """`aws` or `gcp`."""
    region: str
    """Such as `us-central1`; on GCP with an accelerator, one in which Cloud Run has it."""
    mode: NotRequired[str]
    """`synchronous` (default): the answer comes on the request's own connection. `asynchronous`, on AWS only: requests
    wait in a queue, and requests and answers are objects in the bucket. On AWS a GPU comes with the latter alone."""
    image: str
    """Triton with `workloads.serving` in it (see its Dockerfile), with a digest or a tag other than `latest`, in ECR of
    the region (AWS) or in Artifact Registry (GCP). Synchronous on AWS: of 10 GB at most, hence without CUDA."""
    model: str
    """Name of the model, as it lies in the repository and as requests give it."""
    version: int
    """Its version, from 1."""
    size_gib: float
    """Size of all its files in GiB; memory, and how long an instance may take to start, follow from it."""
    repository_url: pulumi.Input[str]
    """The model repository: bucket URL and `repository_prefix`, such as `gs://bucket/models`."""
    repository_prefix: NotRequired[str]
    """What follows the bucket in `repository_url`. Default `models`."""
    bucket: pulumi.Input[str]
    """Name of the bucket that `repository_url` points to; asynchronous requests and answers go into it, too."""
    encryption_key: NotRequired[pulumi.Input[str]]
    """The bucket's key: ARN of the KMS key (AWS), id of the crypto key (GCP), which then also encrypts the service."""
    accelerator: NotRequired[str]
    """Key of the catalog, such as `l4`; default none. GCP: one that Cloud Run has."""
    gpus: NotRequired[int]
    """AWS: GPUs of an instance; default 1. Cloud Run attaches one."""
    cpu: NotRequired[int]
    """GCP: cores of an instance, 1 to 8. Default the fewest that go with its memory and GPU."""
    memory_gib: NotRequired[int]
    """Memory of an instance, but for asynchronous ones. Default what the model needs."""
    min_instances: NotRequired[int]
    """Instances that are always ready, and paid; default 0: the first request after a pause waits for a start."""
    max_instances: int
    """Most instances; on AWS of a synchronous endpoint most requests at once."""
    requests_per_instance: NotRequired[int]
    """Requests that an instance is given at once; default 8. A synchronous endpoint on AWS gives it one."""
    request_timeout_s: NotRequired[int]
    """GCP: seconds that a request may take, up to 3600; default 300."""
    network_id: NotRequired[pulumi.Input[str]]
    """RegionalNetwork's output. Asynchronous: the network that instances are in. GCP: all that the service sends goes
    through it; default Google's own network."""
    private_subnet_ids: NotRequired[pulumi.Input[list[str]]]
    """RegionalNetwork's output; with `network_id`. On GCP the first counts."""
    ingress: NotRequired[str]
    """GCP: from where requests are taken: `internal` (default: networks of the project), `internal-and-load-balancer`,
    or `all`. They need an identity, wherever they come from."""
    invokers: NotRequired[list[pulumi.Input[str]]]
    """Who may send requests: names or ARNs of IAM roles (AWS), IAM members such as `group:ml@example.com` (GCP).
    Default nobody but administrators."""
    unauthenticated: NotRequired[bool]
    """GCP: take requests without an identity; default false."""
    zonal_redundancy: NotRequired[bool]
    """GCP: GPUs are kept ready for the loss of a zone, at half as much again; default false."""
    load_bandwidth_gib_s: NotRequired[float]
    """GiB/s from the object store; default 0.25."""
    device_bandwidth_gib_s: NotRequired[float]
    """GiB/s from local disk or memory into the GPU; default 0.5."""
    log_retention_days: NotRequired[int]
    """AWS: days that logs are kept; default 30. On GCP the project's log bucket decides."""
    protect: NotRequired[bool]
    """Refuse to delete the service (GCP), and the key of logs and notices (AWS); default false."""
    tags: NotRequired[dict[str, str]]
    """Tags on AWS, labels on GCP."""


class ServerlessInference(pulumi.ComponentResource):
    """One version of a model, answered by Triton, on machines that are there while requests are.

    - GCP: a Cloud Run service with a GPU, under its own service account, which may read this version and nothing else
      of the bucket; closed to everything but the project's networks, and to everybody who is not an invoker.
    - AWS, asynchronous: a SageMaker endpoint with GPU instances in private subnets and no network in the container; a
      queue, requests and answers in the bucket, a topic that tells when one is done, and autoscaling between no
      instance and the most: the backlog of each instance, and a step for the first, which has no instance to count by.
    - AWS, synchronous: a serverless endpoint of SageMaker, on CPUs.

    What is verified: Triton loads only what the version's manifest lists, byte for byte. On Cloud Run and in a
    serverless endpoint the container fetches the version itself (`serve`, `sagemaker --repository`). In an asynchronous
    endpoint SageMaker has copied it, unverified, before the container starts, which then compares that copy with the
    manifest in it (`sagemaker --version-directory`). Not verified: the image, unless it is named by its digest; and the
    manifest itself, which whoever may write to the repository may write.

    ValueError, naming the argument, for anything that the cloud would refuse or never start.
    """

    name: pulumi.Output[str]
    """Name of the service (GCP) or of the endpoint (AWS)."""
    url: pulumi.Output[str]
    """Where requests are POSTed to, with an identity token (GCP) or signed (AWS)."""
    principal: pulumi.Output[str]
    """Whom the server acts as: e-mail address of the service account, or ARN of the role."""
    invoker_grant: pulumi.Output[str]
    """What lets somebody else send requests: `roles/run.invoker` on the service (GCP), or the ARN of an IAM policy to
    attach to a role (AWS)."""
    requests_url: pulumi.Output[str]
    """Asynchronous: where callers put the inputs; else empty."""
    answers_url: pulumi.Output[str]
    """Asynchronous: where the answers are then; else empty."""
    topic: pulumi.Output[str]
    """Asynchronous: ARN of the topic that tells of each answer and each failure; else empty."""

    def __init__(self, name: str, args: ServerlessInferenceArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        arguments.check(f"ServerlessInference {name!r}", args, ServerlessInferenceArgs)
        endpoint = checked(name, args)
        super().__init__("aicloud:index:ServerlessInference", name, {**args}, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None)
        build = {"aws": serverless_aws.build, "gcp": serverless_gcp.build}[args["cloud"]]
        built = build(self, name, args, endpoint, child)

        self.name = pulumi.Output.from_input(built.name)
        self.url = pulumi.Output.from_input(built.url)
        self.principal = pulumi.Output.from_input(built.principal)
        self.invoker_grant = pulumi.Output.from_input(built.invoker_grant)
        self.requests_url = pulumi.Output.from_input(built.requests_url)
        self.answers_url = pulumi.Output.from_input(built.answers_url)
        self.topic = pulumi.Output.from_input(built.topic)
        self.register_outputs(
            {
                "name": self.name,
                "url": self.url,
                "principal": self.principal,
                "invokerGrant": self.invoker_grant,
                "requestsUrl": self.requests_url,
                "answersUrl": self.answers_url,
                "topic": self.topic,
            }
        )
