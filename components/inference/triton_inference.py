"""TritonInference: models served by Triton on one cluster, from a verified local copy, in groups of their own."""

from dataclasses import replace
from typing import NotRequired, Optional, TypedDict

import pulumi

from components import arguments
from components.accelerators import accelerator
from components.inference import model_group, standby, weights
from components.inference.arguments import checked_groups
from components.inference.model_group import Shared, labels_of
from components.inference.own_namespace import own_namespace
from components.inference.scaling_args import ScalingArgs
from components.inference.server_arguments import (
    DEFAULT_MONITORING,
    DEFAULT_PREFIX,
    Refusal,
    check_admission,
    checked_url,
)
from components.inference.traffic import GRPC, HTTP, METRICS


class ModelArgs(TypedDict):
    """One model version, as it lies in the repository under `<name>/<version>/`."""

    name: str
    """The model's name, as requests give it."""
    version: int
    """Its version, from 1."""
    size_gib: float
    """Size of all its files in GiB; how long a pod may take to start follows from it."""
    gpus: NotRequired[int]
    """GPUs that share each of its matrices (tensor parallel), all in one machine; default 1. It is what the version was
    exported with (`python -m workloads.serving vllm --gpus`), and such a model has its pods to itself."""
    over_pcie: NotRequired[bool]
    """Accept that several GPUs reach each other over the PCIe bus, where the machines have no NVLink; default false."""
    device_memory_gib: NotRequired[float]
    """GiB of memory that it takes on each of its GPUs, 0 for a model that uses none; default 1.2 times its files,
    divided by `gpus`."""
    group: NotRequired[str]
    """Models of one group share their pods; each group has a Deployment, Service and scaler of its own, named after it.
    Default: the group of all models that name none."""


class GroupArgs(TypedDict):
    """What a group of models has otherwise than the server's own arguments say."""

    name: str
    """The group's name, as models have it."""
    gpus: NotRequired[int]
    """GPUs for each pod."""
    min_replicas: NotRequired[int]
    """Replicas that are always there; from 1, or 0 with `scaling.scale_to_zero`."""
    max_replicas: NotRequired[int]
    """Most replicas."""
    queue_objective_ms: NotRequired[float]
    """Milliseconds that a request may wait in the queue before replicas are added."""
    scaling: NotRequired[ScalingArgs]
    """What else its replicas go by; default the server's, with the forecasts of its own models."""
    cpu: NotRequired[float]
    """Cores for each pod."""
    memory_gib: NotRequired[float]
    """Memory for each pod in GiB."""
    service_annotations: NotRequired[dict[str, str]]
    """Annotations of its Service; default none."""


class ColdStartArgs(TypedDict):
    """Seconds of a cold start's stages, as measured in this region; what is absent stays an estimate."""

    node_s: NotRequired[float]
    """Until a machine is there that the pod fits, with driver and device plugin; default 300, not measured."""
    image_s: NotRequired[float]
    """To pull and unpack the image; default 150, not measured."""
    server_s: NotRequired[float]
    """Of Triton itself, and its models' warm-up; default 60, not measured."""


class TritonInferenceArgs(TypedDict):
    """Arguments of TritonInference."""

    cloud: str
    """`aws` or `gcp`."""
    region: str
    """The cluster's region, such as `us-east-1`."""
    cluster_name: pulumi.Input[str]
    """GpuCluster's output of that name."""
    workload_identity_pool: pulumi.Input[str]
    """GpuCluster's output of that name; empty on AWS."""
    namespace: str
    """Kubernetes namespace, made here and for this server alone: its default is to deny all traffic."""
    image: str
    """Triton with `workloads.serving` in it (see its Dockerfile), with a digest or a tag other than `latest`."""
    models: list[ModelArgs]
    """What to serve; each pod serves all models of its group, which must fit its GPUs' memory. Two versions of a model
    need a `version_policy` that has both."""
    groups: NotRequired[list[GroupArgs]]
    """What single groups of models have otherwise; default nothing."""
    repository_url: pulumi.Input[str]
    """The model repository: bucket URL and `repository_prefix`, such as `s3://bucket/models`."""
    repository_prefix: NotRequired[str]
    """What follows the bucket in `repository_url`; pods may read nothing else of the bucket. Default `models`."""
    bucket: pulumi.Input[str]
    """Name of the bucket that `repository_url` points to."""
    encryption_key: NotRequired[pulumi.Input[str]]
    """AWS: ARN of the bucket's KMS key."""
    accelerator: str
    """Key of the catalog, such as `l4`; an NVIDIA GPU."""
    node_pool: NotRequired[str]
    """Name of a node pool to stay on; default any serving pool with the accelerator."""
    machine_type: NotRequired[str]
    """Machine type of that pool. Default the cheapest with `gpus` GPUs; cores and memory then fit any that may come."""
    gpus: int
    """GPUs for each pod."""
    min_replicas: int
    """Replicas of each group that are always there; from 1, or 0 with `scaling.scale_to_zero`."""
    max_replicas: int
    """Most replicas of each group."""
    client_cidrs: list[str]
    """Who may send requests: the networks of clients and load balancers, such as the region's own CIDR. Google's load
    balancers are added on GCP."""
    queue_objective_ms: NotRequired[float]
    """Milliseconds that a request may wait in the queue before replicas are added; default 50."""
    scaling: NotRequired[ScalingArgs]
    """What else replicas go by, how fast they change, and whether there may be none."""
    load_bandwidth_gib_s: NotRequired[float]
    """GiB/s from the object store to local disk; default 0.25, what the smallest GPU machines sustain."""
    device_bandwidth_gib_s: NotRequired[float]
    """GiB/s from local disk to the memory of each GPU; default 0.5."""
    claim_bandwidth_gib_s: NotRequired[float]
    """GiB/s from the `weights_claim` to local disk; default 0.25."""
    pods_per_gpu: NotRequired[int]
    """Pods that share each GPU of the pool by time-slicing, and with it the machine and the GPU's memory; default 1."""
    mig_profile: NotRequired[str]
    """MIG profile that the pool's GPUs are cut into, such as `1g.10gb`: each pod has one slice, and only machines that
    are cut like that take it. Default: GPUs are whole."""
    cpu: NotRequired[float]
    """Cores for each pod. Default its share of 70 % of what the leanest machine with the accelerator has for as many
    GPUs."""
    memory_gib: NotRequired[float]
    """Memory for each pod in GiB, /dev/shm (1 GiB a GPU) included. Default as for `cpu`."""
    cluster_queue: NotRequired[pulumi.Input[str]]
    """Kueue's ClusterQueue that the pods count in: TrainingQueue's `serving_cluster_queue`, where idle machines of the
    pool are lent to training. Each pod is then admitted before it starts and takes back what was lent, and while Kueue
    is away no new pod starts (components.cluster.addon_values.kueue). Give it from the start: Kueue refuses it for a
    Deployment whose pods run. Default none: nothing is counted, nothing waits."""
    warm_machines: NotRequired[int]
    """Machines that stand ready beyond those that serve, held by placeholders that a server's pod pushes out: it then
    waits for no machine and no image. They are paid for. Not where a `cluster_queue` counts machines. Default 0."""
    prepull_images: NotRequired[list[str]]
    """Images that every machine pulls ahead of their use, such as the next one to roll out, besides `image` itself; []
    for that alone. Default: nothing is pulled ahead."""
    weights_claim: NotRequired[str]
    """A claim that many machines mount (EFS, Filestore), in the component's namespace: a Job copies the models into it
    once, and pods read them from there and not from the object store. Whoever makes it waits for the output
    `namespace`; the Job waits for the claim. Default: each pod reads the object store."""
    cold_start: NotRequired[ColdStartArgs]
    """What was measured of cold starts; default nothing."""
    cold_start_objective_s: NotRequired[float]
    """Seconds that a cold start may take by the estimate, beyond which the arguments are refused; default any."""
    monitoring_namespace: NotRequired[str]
    """Namespace of the Prometheus that scrapes the pods; default `monitoring`."""
    otlp_endpoint: NotRequired[pulumi.Input[str]]
    """Where servers send spans, over HTTP: Observability's output of that name; default nowhere."""
    service: NotRequired[str]
    """Name of the Service of models without a group, and the beginning of the others' names; default the component's
    name."""
    service_annotations: NotRequired[dict[str, str]]
    """Annotations of the Service that clients of models without a group send to, such as `cloud.google.com/neg`."""
    tags: NotRequired[dict[str, str]]
    """Tags of cloud resources."""


class TritonInference(pulumi.ComponentResource):
    """Triton deployments that start only with models they have verified, and stop only after they have drained.

    Built in a namespace of its own, in this order: the identity that may read the model repository and nothing else;
    the network policy that denies everything; the LocalQueue, where a `cluster_queue` is given; with a `weights_claim`
    the Job that fills it. Then for each group of models (components.inference.model_group) its network policy, its
    Service, its Deployment, whose init container copies the models to local NVMe and verifies them before Triton loads
    just these, a disruption budget, the scaler, on the time that a request waits, on what waits for each replica and,
    where that is asked for, on what is coming, with the activator before a server that may be at zero, and the
    PodMonitor. Last what stands by: the placeholders of `warm_machines`, and the DaemonSet that pulls images.

    What a group builds follows from its own models and arguments alone, names included: a model that is added to one
    group, or in a new one, changes no other group's Deployment.

    Takes a Kubernetes provider, and the cloud's, from `opts`. What `opts.depends_on` names (operators, CRDs) is waited
    for by every child. ValueError, naming the argument, for anything that Kubernetes or the catalog would refuse, for
    models that do not fit their pods, with a placement that does, and for a cold start beyond its objective.
    """

    service: pulumi.Output[str]
    """Name of the Service of the first group: that of models without a group, else of the first model's."""
    model_services: pulumi.Output[dict[str, str]]
    """Model -> name of the Service that answers it, as `/v2/models/<model>`."""
    cold_start_s: pulumi.Output[dict[str, dict[str, float]]]
    """Service -> stage (node, image, weights, load, warm-up, total) -> estimated seconds of a cold start."""
    namespace: pulumi.Output[str]
    """Namespace of the Services."""
    http_port: pulumi.Output[int]
    """Requests and `/v2/health/ready`."""
    grpc_port: pulumi.Output[int]
    """Requests by gRPC."""
    metrics_port: pulumi.Output[int]
    """`/metrics`, on the pods; the Service does not offer it."""
    request_service: pulumi.Output[str]
    """Name of the Service that clients send HTTP requests to: `service`, or one of the same name before the activator
    where the server may be at zero."""
    request_namespace: pulumi.Output[str]
    """Its namespace."""
    request_port: pulumi.Output[int]
    """Its port."""

    def __init__(self, name: str, args: TritonInferenceArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        arguments.check(f"TritonInference {name!r}", args, TritonInferenceArgs)
        groups = checked_groups(name, args)
        refuse = Refusal(f"TritonInference {name!r}")
        check_admission(refuse, args, max(group.cold.deadline_s for group in groups))
        super().__init__("aicloud:index:TritonInference", name, {**args}, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None)
        prefix = args.get("repository_prefix", DEFAULT_PREFIX)

        own = own_namespace(refuse, name, args, labels_of(name), None, child)
        # For whoever makes something in it that this component waits for, such as the `weights_claim`.
        namespace = self.namespace_made = own.namespace
        after = own.made
        shared = Shared(
            name=name,
            namespace=namespace.metadata.name,
            namespace_name=args["namespace"],
            image=args["image"],
            source=pulumi.Output.from_input(args["repository_url"]).apply(lambda url: checked_url(refuse, url, prefix)),
            claim=args.get("weights_claim", ""),
            region=args["region"],
            node_pool=args.get("node_pool", ""),
            accelerator_resource=accelerator(args["accelerator"]).kubernetes_resource,
            client_cidrs=args["client_cidrs"],
            monitoring_namespace=args.get("monitoring_namespace", DEFAULT_MONITORING),
            otlp_endpoint=args.get("otlp_endpoint", ""),
            queue=name if own.counted else "",
            after=after,
            opts=child,
        )
        serving = shared
        if shared.claim:
            models = [model for group in groups for model in group.models]
            serving = replace(shared, after=[*after, weights.mirror(models, args["cloud"], shared)])
        built = {group.name: model_group.build(group, serving) for group in groups}
        if warm := int(args.get("warm_machines", 0)):
            standby.warm_pool(groups, warm, shared)
        if "prepull_images" in args:
            standby.prepull(groups[0], args["prepull_images"], shared)

        service, front = built[groups[0].name]
        self.service = service.metadata.name
        # As they are given, so that a preview knows them: whoever routes by them waits for the component.
        self.model_services = pulumi.Output.from_input(
            {model.name: group.service for group in groups for model in group.models}
        )
        self.cold_start_s = pulumi.Output.from_input({group.service: group.cold.seconds for group in groups})
        self.namespace = namespace.metadata.name
        self.http_port = pulumi.Output.from_input(HTTP)
        self.grpc_port = pulumi.Output.from_input(GRPC)
        self.metrics_port = pulumi.Output.from_input(METRICS)
        self.request_service, self.request_namespace, self.request_port = front.service, front.namespace, front.port
        self.register_outputs(
            {
                "service": self.service,
                "modelServices": self.model_services,
                "coldStartS": self.cold_start_s,
                "namespace": self.namespace,
                "httpPort": self.http_port,
                "grpcPort": self.grpc_port,
                "metricsPort": self.metrics_port,
                "requestService": self.request_service,
                "requestNamespace": self.request_namespace,
                "requestPort": self.request_port,
            }
        )
