"""TensorFlowServing: SavedModels served by TensorFlow Serving on one cluster, from a verified local copy."""

from typing import NotRequired, Optional, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import arguments
from components.accelerators import accelerator
from components.inference import tensorflow_config as config
from components.inference.clouds import CLOUDS
from components.inference.device import device
from components.inference.machine_share import machine_share
from components.inference.own_namespace import disruption_budget, own_namespace
from components.inference.pod import Machines
from components.inference.server_arguments import DEFAULT_MONITORING, DEFAULT_PREFIX, check_admission, checked_url
from components.inference.server_start import starting
from components.inference.tensorflow_arguments import checked
from components.inference.tensorflow_pod import GRPC, REST, Server, on_cpus, tensorflow_template
from components.inference.tensorflow_scaling import METRICS, on_cpu, on_requests
from components.security.traffic import block, namespace, outbound, ports

DEFAULT_CPU, DEFAULT_MEMORY_GIB = 2.0, 4.0
"""Of a pod without accelerator."""
DEFAULT_TIMEOUT_S = 30


class SavedModelArgs(TypedDict):
    """One version of a SavedModel, as it lies in the repository under `<name>/<version>/`, with its manifest."""

    name: str
    """The model's name, as requests give it."""
    version: int
    """Its version, from 1."""
    size_gib: float
    """Size of all its files in GiB; how long a pod may take to start follows from it."""
    labels: NotRequired[list[str]]
    """Names that requests may use for the version, such as `stable` or `canary`."""


class BatchingArgs(TypedDict):
    """How requests are put together, of all models alike (tensorflow/serving, batching/README.md)."""

    max_batch_size: int
    """Most requests in a batch."""
    batch_timeout_ms: float
    """Milliseconds that the first request of a batch waits for others."""
    max_enqueued_batches: NotRequired[int]
    """Batches that wait at most; more are refused at once. Default 100."""
    num_batch_threads: NotRequired[int]
    """Batches at a time. Default the pod's cores, rounded up."""
    allowed_batch_sizes: NotRequired[list[int]]
    """Sizes to pad batches to, rising to `max_batch_size`; default any."""


class TensorFlowServingArgs(TypedDict):
    """Arguments of TensorFlowServing."""

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
    """TensorFlow Serving, such as a copy of `tensorflow/serving:2.20.0` (`-gpu` with an accelerator), with a digest or
    a tag other than `latest`."""
    fetch_image: str
    """What fetches and verifies the models: the image with `workloads.serving` in it."""
    models: list[SavedModelArgs]
    """What to serve; each pod serves all of them, and all versions of a model that are listed."""
    repository_url: pulumi.Input[str]
    """The model repository: bucket URL and `repository_prefix`, such as `s3://bucket/models`."""
    repository_prefix: NotRequired[str]
    """What follows the bucket in `repository_url`; pods may read nothing else of the bucket. Default `models`."""
    bucket: pulumi.Input[str]
    """Name of the bucket that `repository_url` points to."""
    encryption_key: NotRequired[pulumi.Input[str]]
    """AWS: ARN of the bucket's KMS key."""
    accelerator: NotRequired[str]
    """Key of the catalog, such as `l4`; an NVIDIA GPU. Default none: on the CPUs of a serving pool without."""
    node_pool: NotRequired[str]
    """Name of a node pool to stay on; default any serving pool with the accelerator, or without one."""
    gpus: NotRequired[int]
    """GPUs for each pod; default 1 with an accelerator."""
    pods_per_gpu: NotRequired[int]
    """Pods that share each GPU of the pool, by MIG or time-slicing; each then takes its part of the memory. Default
    1."""
    cpu: NotRequired[float]
    """Cores for each pod. Default 2; with an accelerator its share of 70 % of the leanest machine."""
    memory_gib: NotRequired[float]
    """Memory for each pod in GiB. Default 4; with an accelerator as for `cpu`."""
    min_replicas: int
    """Replicas that are always there, from 1."""
    max_replicas: int
    """Most replicas."""
    scale_metric: NotRequired[str]
    """`cpu` (default), by a HorizontalPodAutoscaler, or `requests`, by KEDA."""
    scale_target: NotRequired[float]
    """How much of it for each pod. Default: `cpu` 70 percent of what is requested, `requests` 50 a second."""
    batching: NotRequired[BatchingArgs]
    """Put requests together on the server; default none."""
    timeout_s: NotRequired[int]
    """Seconds that a request by REST may take, and that a pod has for its last ones; default 30."""
    client_cidrs: list[str]
    """Who may send requests: the networks of clients and load balancers, such as the region's own CIDR. Google's load
    balancers are added on GCP. Whoever may, may also tell the server to load other models of its disk
    (ReloadConfigRequest), of which it has none, and read its metrics."""
    load_bandwidth_gib_s: NotRequired[float]
    """GiB/s from the object store to local disk; default 0.25."""
    device_bandwidth_gib_s: NotRequired[float]
    """GiB/s from local disk to memory; default 0.5."""
    cluster_queue: NotRequired[pulumi.Input[str]]
    """With an accelerator: Kueue's ClusterQueue that the pods count in: TrainingQueue's `serving_cluster_queue`, where
    idle machines of the pool are lent to training. Give it from the start (see TritonInference). Default none: nothing
    is counted."""
    monitoring_namespace: NotRequired[str]
    """Namespace of the Prometheus that scrapes the pods; default `monitoring`."""
    service: NotRequired[str]
    """Name of the Service; default the component's name."""
    service_annotations: NotRequired[dict[str, str]]
    """Annotations of the Service, such as `cloud.google.com/neg`."""
    tags: NotRequired[dict[str, str]]
    """Tags of cloud resources."""


class TensorFlowServing(pulumi.ComponentResource):
    """TensorFlow Serving that starts only with SavedModels it has verified, and listens only once all are warmed up.

    Built in a namespace of its own, in this order: the identity that may read the model repository and nothing else,
    and the network policies; the Service; the ConfigMap with the server's files (models and versions, metrics,
    batching); the Deployment, whose init container copies and verifies the models; a disruption budget; the autoscaler;
    the PodMonitor.

    Takes a Kubernetes provider, and the cloud's, from `opts`. What `opts.depends_on` names (operators, CRDs) is waited
    for by every child. ValueError, naming the argument, for anything that the server, Kubernetes or the catalog would
    refuse.
    """

    url: pulumi.Output[str]
    """Where it answers inside the cluster: `http://<service>.<namespace>.svc.cluster.local:8501`."""
    service: pulumi.Output[str]
    """Name of the Service."""
    namespace: pulumi.Output[str]
    """Its namespace."""
    http_port: pulumi.Output[int]
    """Requests by REST: `/v1/models/<name>:predict`."""
    grpc_port: pulumi.Output[int]
    """Requests by gRPC."""
    metrics_port: pulumi.Output[int]
    """`/monitoring/prometheus/metrics`: the REST port."""
    health_path: pulumi.Output[str]
    """What answers 200 once every model is loaded, for a RegionalEndpoint: there is no `/v2/health/ready`."""

    def __init__(self, name: str, args: TensorFlowServingArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        arguments.check(f"TensorFlowServing {name!r}", args, TensorFlowServingArgs)
        refuse, fetched, served = checked(name, args)
        super().__init__("aicloud:index:TensorFlowServing", name, {**args}, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None)
        prefix = args.get("repository_prefix", DEFAULT_PREFIX)
        monitoring = args.get("monitoring_namespace", DEFAULT_MONITORING)
        labels = {"app.kubernetes.io/name": "tensorflow-serving", "app.kubernetes.io/instance": name}
        own = own_namespace(refuse, name, args, labels, _traffic(args, labels, monitoring), child)

        service = k8s.core.v1.Service(
            f"{name}-service",
            metadata={
                **own.placed,
                "name": args.get("service", name),
                # Pulumi would wait for pods behind the Service, which wait for it: the Deployment's wait is for both.
                "annotations": {"pulumi.com/skipAwait": "true", **args.get("service_annotations", {})},
            },
            spec={
                "type": "ClusterIP",
                "selector": labels,
                "ports": [
                    {"name": "rest", "port": REST, "target_port": "rest", "protocol": "TCP", "app_protocol": "http"},
                    {"name": "grpc", "port": GRPC, "target_port": "grpc", "protocol": "TCP", "app_protocol": "grpc"},
                ],
            },
            opts=child,
        )

        startup, deadline_s = starting(fetched, args)
        check_admission(refuse, args, deadline_s)
        gpus, pods_per_gpu, cpu, memory_gib = _resources(args)
        files = _files(args, served, cpu)
        config_map = k8s.core.v1.ConfigMap(
            f"{name}-config", metadata={**own.placed, "name": f"{name}-config"}, data=files, opts=child
        )
        server = Server(
            labels=labels,
            service_account=name,
            image=args["image"],
            fetch_image=args["fetch_image"],
            fetched=fetched,
            served=served,
            source=pulumi.Output.from_input(args["repository_url"]).apply(lambda url: checked_url(refuse, url, prefix)),
            cloud=args["cloud"],
            region=args["region"],
            placed=_placed(args, gpus, pods_per_gpu),
            gpus=gpus,
            pods_per_gpu=pods_per_gpu,
            cpu=cpu,
            memory_gib=memory_gib,
            startup=startup,
            timeout_s=int(args.get("timeout_s", DEFAULT_TIMEOUT_S)),
            config_map=f"{name}-config",
            files=files,
        )
        # Pulumi waits for the Deployment as long as Kubernetes itself does.
        patient = pulumi.CustomTimeouts(create=f"{deadline_s}s", update=f"{deadline_s}s")
        deployment = k8s.apps.v1.Deployment(
            f"{name}-deployment",
            # Kueue's webhook hands its labels on to the pods, which it then admits one by one.
            metadata={**own.placed, "name": name, "labels": {**labels, **own.counted}},
            spec={
                # No `replicas`: they are the autoscaler's.
                "selector": {"match_labels": labels},
                "template": tensorflow_template(server),
                "strategy": {"type": "RollingUpdate", "rolling_update": {"max_surge": "25%", "max_unavailable": 0}},
                "progress_deadline_seconds": deadline_s,
                "revision_history_limit": 5,
            },
            opts=pulumi.ResourceOptions.merge(
                child, pulumi.ResourceOptions(depends_on=[*own.made, service, config_map], custom_timeouts=patient)
            ),
        )
        k8s.policy.v1.PodDisruptionBudget(f"{name}-budget", **disruption_budget(name, own.placed, labels), opts=child)
        _autoscaler(name, args, own.placed, monitoring, deployment, child)
        k8s.apiextensions.CustomResource(
            f"{name}-monitor",
            api_version="monitoring.coreos.com/v1",
            kind="PodMonitor",
            metadata={**own.placed, "name": name},
            spec={
                "selector": {"matchLabels": labels},
                "podMetricsEndpoints": [{"port": "rest", "path": config.METRICS_PATH, "interval": "15s"}],
            },
            opts=child,
        )

        self.service = service.metadata.name
        self.namespace = own.namespace.metadata.name
        self.http_port = pulumi.Output.from_input(REST)
        self.grpc_port = pulumi.Output.from_input(GRPC)
        self.metrics_port = pulumi.Output.from_input(REST)
        self.health_path = pulumi.Output.from_input(f"/v1/models/{served[0].name}/versions/{served[0].versions[0]}")
        self.url = pulumi.Output.concat("http://", self.service, ".", self.namespace, f".svc.cluster.local:{REST}")
        self.register_outputs(
            {
                "url": self.url,
                "service": self.service,
                "namespace": self.namespace,
                "httpPort": self.http_port,
                "grpcPort": self.grpc_port,
                "metricsPort": self.metrics_port,
                "healthPath": self.health_path,
            }
        )


def _resources(args: TensorFlowServingArgs) -> tuple[int, int, float, float]:
    """GPUs, pods for each, cores and GiB of a pod."""
    if "accelerator" not in args:
        return 0, 1, args.get("cpu", DEFAULT_CPU), args.get("memory_gib", DEFAULT_MEMORY_GIB)
    gpus, sharers = int(args.get("gpus", 1)), int(args.get("pods_per_gpu", 1))
    cpu, memory_gib = machine_share(args["accelerator"], args["cloud"], args["region"], gpus, sharers)
    return gpus, sharers, args.get("cpu", cpu), args.get("memory_gib", memory_gib)


def _placed(args: TensorFlowServingArgs, gpus: int, pods_per_gpu: int) -> dict[str, object]:
    """The part of a pod's spec that brings it to its machines."""
    node_pool = args.get("node_pool", "")
    if not gpus:
        return on_cpus(node_pool, args["cloud"])
    found = device(args["cloud"], args["region"], args["accelerator"], gpus, sharers=pods_per_gpu)
    return Machines(found, accelerator(args["accelerator"]).kubernetes_resource, node_pool).placed()


def _files(args: TensorFlowServingArgs, served: list[config.SavedModel], cpu: float) -> dict[str, str]:
    """The files of the ConfigMap."""
    files = {
        config.MODELS: config.model_config(served, "/models"),
        config.MONITORING: config.monitoring_config(),
    }
    if (batching := args.get("batching")) is not None:
        files[config.BATCHING] = config.batching_parameters(
            int(batching["max_batch_size"]),
            batching["batch_timeout_ms"],
            int(batching.get("max_enqueued_batches", 100)),
            int(batching.get("num_batch_threads", -int(-cpu // 1))),
            [int(size) for size in batching.get("allowed_batch_sizes", [])],
        )
    return files


def _traffic(args: TensorFlowServingArgs, labels: dict[str, str], monitoring: str) -> dict[str, object]:
    """Spec of the NetworkPolicy: requests from clients, scrapes from monitoring, and out what every pod needs."""
    clients = [block(cidr) for cidr in (*args["client_cidrs"], *CLOUDS[args["cloud"]].health_check_cidrs)]
    return {
        "pod_selector": {"match_labels": labels},
        "policy_types": ["Ingress", "Egress"],
        "ingress": [
            {"from_": clients, "ports": ports(REST, GRPC)},
            {"from_": [namespace(monitoring)], "ports": ports(REST)},
        ],
        "egress": outbound(args["cloud"]),
    }


def _autoscaler(
    name: str,
    args: TensorFlowServingArgs,
    placed: dict[str, object],
    monitoring: str,
    deployment: pulumi.Resource,
    child: pulumi.ResourceOptions,
) -> None:
    metric = args.get("scale_metric", next(iter(METRICS)))
    target = args.get("scale_target", METRICS[metric].target)
    least, most = int(args["min_replicas"]), int(args["max_replicas"])
    after = pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[deployment]))
    if metric == "cpu":
        k8s.autoscaling.v2.HorizontalPodAutoscaler(
            f"{name}-autoscaler",
            metadata={**placed, "name": name},
            spec=on_cpu(name, least, most, target),
            opts=after,
        )
    else:
        k8s.apiextensions.CustomResource(
            f"{name}-autoscaler",
            api_version="keda.sh/v1alpha1",
            kind="ScaledObject",
            metadata={**placed, "name": name},
            spec=on_requests(name, least, most, target, args["namespace"], monitoring),
            opts=after,
        )
