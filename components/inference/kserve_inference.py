"""KServeInference: an InferenceService with Triton as its runtime, as Deployments or scaling to zero on Knative."""

from typing import NotRequired, Optional, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import arguments
from components.accelerators import accelerator
from components.inference.device import device
from components.inference.kserve_arguments import checked
from components.inference.kserve_pod import FORMAT, FORMAT_VERSION, Split, monitor_endpoints, split
from components.inference.kserve_scaling import METRICS as SCALE_METRICS
from components.inference.kserve_scaling import scaling
from components.inference.kserve_traffic import kserve_policy
from components.inference.machine_share import machine_share
from components.inference.own_namespace import disruption_budget, own_namespace
from components.inference.pod import Machines, Server, pod_template
from components.inference.server_arguments import DEFAULT_MONITORING, DEFAULT_PREFIX, check_admission, checked_url
from components.inference.server_start import starting
from components.inference.traffic import GRPC, HTTP, METRICS

DEFAULT_TIMEOUT_S = 60


class KServeModelArgs(TypedDict):
    """One model version, as it lies in the repository under `<name>/<version>/`."""

    name: str
    """The model's name, as requests give it."""
    version: int
    """Its version, from 1."""
    size_gib: float
    """Size of all its files in GiB; how long a pod may take to start follows from it."""


class KServeInferenceArgs(TypedDict):
    """Arguments of KServeInference."""

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
    mode: NotRequired[str]
    """`raw` (a Deployment, default) or `serverless` (a Knative Service, which may go to zero); for the second the
    GpuCluster needs `kserve: serverless`. KServe refuses to change it: give another name as well."""
    image: str
    """Triton with `workloads.serving` in it (see its Dockerfile), with a digest or a tag that stays. Serverless
    ones want the digest: Knative looks up what a tag means, as far as it may read the registry."""
    models: list[KServeModelArgs]
    """What to serve; each pod serves all of them. Two versions of a model need a `version_policy` that has both."""
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
    gpus: int
    """GPUs for each pod."""
    pods_per_gpu: NotRequired[int]
    """Pods that share each GPU of the pool, by MIG or time-slicing, and with it the machine; default 1."""
    cpu: NotRequired[float]
    """Cores for each pod. Default its share of 70 % of what the leanest machine with the accelerator has."""
    memory_gib: NotRequired[float]
    """Memory for each pod in GiB, /dev/shm (1 GiB a GPU) included. Default as for `cpu`."""
    min_replicas: int
    """Fewest pods; raw from 1, serverless from 0."""
    max_replicas: int
    """Most pods."""
    scale_metric: NotRequired[str]
    """raw: `cpu` (default) or `memory`, by a HorizontalPodAutoscaler, or `queue`, by KEDA;
    serverless: `concurrency` (default) or `rps`."""
    scale_target: NotRequired[float]
    """How much of it for each pod. Default: `cpu` 70 and `memory` 80 percent of what is requested, `queue` 50
    milliseconds that a request waits, `concurrency` 8 requests at once, `rps` 50 requests a second."""
    protocol: NotRequired[str]
    """serverless: `v2` (HTTP, default) or `grpc-v2`, for Knative passes on one of them. A raw server answers both."""
    canary_traffic_percent: NotRequired[int]
    """serverless: percent of the requests that the newest revision gets; the others go to the one that got all before.
    Default: all to the newest, once it is ready."""
    timeout_s: NotRequired[int]
    """Seconds that a request may take; default 60. Serverless pods have as long to end."""
    client_cidrs: list[str]
    """Who may send requests to raw servers: the networks of clients and load balancers, such as the region's own CIDR.
    Google's load balancers are added on GCP. Serverless ones are asked through Knative's gateway alone."""
    load_bandwidth_gib_s: NotRequired[float]
    """GiB/s from the object store to local disk; default 0.25, what the smallest GPU machines sustain."""
    device_bandwidth_gib_s: NotRequired[float]
    """GiB/s from local disk to GPU memory; default 0.5."""
    cluster_queue: NotRequired[pulumi.Input[str]]
    """raw: Kueue's ClusterQueue that the pods count in: TrainingQueue's `serving_cluster_queue`, where idle machines
    of the pool are lent to training. Give it from the start (see TritonInference). Default none: nothing is counted."""
    monitoring_namespace: NotRequired[str]
    """Namespace of the Prometheus that scrapes the pods; default `monitoring`."""
    service: NotRequired[str]
    """raw: name of the Service; default the component's name."""
    service_annotations: NotRequired[dict[str, str]]
    """raw: annotations of the Service, such as `cloud.google.com/neg`."""
    tags: NotRequired[dict[str, str]]
    """Tags of cloud resources."""


class KServeInference(pulumi.ComponentResource):
    """Models behind KServe's API, which start only once they are verified.

    Built in a namespace of its own, in this order: the identity that may read the model repository and nothing else,
    and the network policies; the Service, in mode `raw`; the ServingRuntime, which says how Triton runs here; the
    InferenceService, which says which models it serves and how it scales; a disruption budget; the PodMonitor. KServe
    then makes the Deployment (or Knative Service) `<name>-predictor`, its own Service of that name, and the autoscaler.

    The models are no `storageUri`, which KServe would download without verifying it: an init container of the
    predictor copies and verifies them, as TritonInference's does, and Triton loads just these.

    Nothing outside of the cluster's network reaches it by itself: KServe makes no way in. A RegionalEndpoint or an
    InferenceRoute points at `service` and `http_port`, as at TritonInference's.

    Takes a Kubernetes provider, and the cloud's, from `opts`. What `opts.depends_on` names (the GpuCluster's add-ons,
    with `kserve`) is waited for by every child. ValueError, naming the argument, for anything that KServe, Knative,
    Kubernetes or the catalog would refuse.
    """

    url: pulumi.Output[str]
    """Where it answers inside the cluster: `http://<service>.<namespace>.svc.cluster.local`, with the port."""
    service: pulumi.Output[str]
    """Name of the Service; serverless: of the one that leads to Knative's gateway, or to the pods."""
    namespace: pulumi.Output[str]
    """Its namespace."""
    http_port: pulumi.Output[int]
    """Requests and `/v2/health/ready`; 0 for a serverless server that answers by gRPC."""
    grpc_port: pulumi.Output[int]
    """Requests by gRPC; 0 for a serverless server that answers by HTTP."""
    metrics_port: pulumi.Output[int]
    """`/metrics`, on the pods; the Service does not offer it."""

    def __init__(self, name: str, args: KServeInferenceArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        arguments.check(f"KServeInference {name!r}", args, KServeInferenceArgs)
        refuse, models = checked(name, args)
        super().__init__("aicloud:index:KServeInference", name, {**args}, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None)
        serverless = args.get("mode", "raw") == "serverless"
        prefix = args.get("repository_prefix", DEFAULT_PREFIX)
        monitoring = args.get("monitoring_namespace", DEFAULT_MONITORING)
        labels = {"app.kubernetes.io/name": "triton", "app.kubernetes.io/instance": name}

        traffic = kserve_policy(
            labels,
            serverless=serverless,
            cloud=args["cloud"],
            client_cidrs=args["client_cidrs"],
            monitoring_namespace=monitoring,
        )
        own = own_namespace(refuse, name, args, labels, traffic, child)
        service = None if serverless else _service(name, args, own.placed, labels, child)

        startup, deadline_s = starting(models, args)
        check_admission(refuse, args, deadline_s)
        gpus, sharers = int(args["gpus"]), int(args.get("pods_per_gpu", 1))
        cpu, memory_gib = machine_share(args["accelerator"], args["cloud"], args["region"], gpus, sharers)
        server = Server(
            labels=labels,
            service_account=name,
            image=args["image"],
            models=models,
            source=pulumi.Output.from_input(args["repository_url"]).apply(lambda url: checked_url(refuse, url, prefix)),
            claim="",
            region=args["region"],
            machines=Machines(
                device(args["cloud"], args["region"], args["accelerator"], gpus, sharers=sharers),
                accelerator(args["accelerator"]).kubernetes_resource,
                args.get("node_pool", ""),
            ),
            gpus=gpus,
            cpu=args.get("cpu", cpu),
            memory_gib=args.get("memory_gib", memory_gib),
            startup=startup,
        )
        pod = split(
            pod_template(server),
            serverless=serverless,
            protocol=args.get("protocol", "v2"),
            timeout_s=int(args.get("timeout_s", DEFAULT_TIMEOUT_S)),
        )
        runtime = k8s.apiextensions.CustomResource(
            f"{name}-runtime",
            api_version="serving.kserve.io/v1alpha1",
            kind="ServingRuntime",
            metadata={**own.placed, "name": name},
            spec=pod.runtime,
            opts=child,
        )
        # Pulumi waits for it as long as it may take until a machine, the models and the server are there.
        patient = pulumi.CustomTimeouts(create=f"{deadline_s}s", update=f"{deadline_s}s")
        autoscaler, predictor = _predictor(name, args, pod, labels, monitoring)
        k8s.apiextensions.CustomResource(
            f"{name}-service",
            api_version="serving.kserve.io/v1beta1",
            kind="InferenceService",
            metadata={
                **own.placed,
                "name": name,
                "labels": {**labels, **_VISIBILITY[serverless], **own.counted},
                "annotations": {
                    "pulumi.com/waitFor": "condition=Ready",
                    "serving.kserve.io/deploymentMode": "Knative" if serverless else "Standard",
                    **({"serving.kserve.io/autoscalerClass": autoscaler} if autoscaler else {}),
                    **({"serving.knative.dev/progress-deadline": f"{deadline_s}s"} if serverless else {}),
                },
            },
            spec={"predictor": predictor},
            opts=pulumi.ResourceOptions.merge(
                child,
                pulumi.ResourceOptions(
                    depends_on=[runtime, *own.made, *([service] if service else [])], custom_timeouts=patient
                ),
            ),
        )
        k8s.policy.v1.PodDisruptionBudget(f"{name}-budget", **disruption_budget(name, own.placed, labels), opts=child)
        k8s.apiextensions.CustomResource(
            f"{name}-monitor",
            api_version="monitoring.coreos.com/v1",
            kind="PodMonitor",
            metadata={**own.placed, "name": name},
            spec={"selector": {"matchLabels": labels}, "podMetricsEndpoints": monitor_endpoints(serverless)},
            opts=child,
        )

        by_grpc = serverless and args.get("protocol") == "grpc-v2"
        http_port, grpc_port = (0 if by_grpc else 80, 80 if by_grpc else 0) if serverless else (HTTP, GRPC)
        self.namespace = own.namespace.metadata.name
        self.service = service.metadata.name if service else self.namespace.apply(lambda _: f"{name}-predictor")
        self.http_port = pulumi.Output.from_input(http_port)
        self.grpc_port = pulumi.Output.from_input(grpc_port)
        self.metrics_port = pulumi.Output.from_input(METRICS)
        self.url = pulumi.Output.concat(
            "http://", self.service, ".", self.namespace, ".svc.cluster.local", "" if serverless else f":{HTTP}"
        )
        self.register_outputs(
            {
                "url": self.url,
                "service": self.service,
                "namespace": self.namespace,
                "httpPort": self.http_port,
                "grpcPort": self.grpc_port,
                "metricsPort": self.metrics_port,
            }
        )


_VISIBILITY = {
    False: {"networking.kserve.io/visibility": "cluster-local"},
    # KServe hands the second on to the Knative Service, which has no name outside of the cluster then.
    True: {"networking.kserve.io/visibility": "cluster-local", "networking.knative.dev/visibility": "cluster-local"},
}


def _predictor(
    name: str, args: KServeInferenceArgs, pod: Split, labels: dict[str, str], monitoring: str
) -> tuple[str, dict[str, object]]:
    """The class of the autoscaler, and what the InferenceService says of its servers."""
    mode = args.get("mode", "raw")
    metric = args.get("scale_metric", next(iter(SCALE_METRICS[mode])))
    autoscaler, limits = scaling(
        mode,
        metric,
        args.get("scale_target", SCALE_METRICS[mode][metric].target),
        int(args["min_replicas"]),
        int(args["max_replicas"]),
        args["namespace"],
        monitoring,
    )
    canary = args.get("canary_traffic_percent")
    predictor: dict[str, object] = {
        **pod.predictor,
        **limits,
        **({"canaryTrafficPercent": int(canary)} if canary is not None else {}),
        "timeout": int(args.get("timeout_s", DEFAULT_TIMEOUT_S)),
        "labels": labels,
        "model": {
            "modelFormat": {"name": FORMAT, "version": FORMAT_VERSION},
            "runtime": name,
            "protocolVersion": args.get("protocol", "v2"),
            "args": pod.model_args,
        },
    }
    return autoscaler, predictor


def _service(
    name: str,
    args: KServeInferenceArgs,
    placed: dict[str, object],
    labels: dict[str, str],
    child: pulumi.ResourceOptions,
) -> k8s.core.v1.Service:
    """The Service that clients and load balancers use. KServe's own changes ports (80 for 8000) and offers metrics."""
    return k8s.core.v1.Service(
        f"{name}-endpoint",
        metadata={
            **placed,
            "name": args.get("service", name),
            # Pulumi would wait for pods behind the Service, which wait for it: the InferenceService's wait is for both.
            "annotations": {"pulumi.com/skipAwait": "true", **args.get("service_annotations", {})},
        },
        spec={
            "type": "ClusterIP",
            "selector": labels,
            "ports": [
                {"name": "http", "port": HTTP, "target_port": HTTP, "protocol": "TCP", "app_protocol": "http"},
                {"name": "grpc", "port": GRPC, "target_port": GRPC, "protocol": "TCP", "app_protocol": "grpc"},
            ],
        },
        opts=child,
    )
