"""TritonInference: models served by Triton on one cluster, from a verified local copy."""

from typing import NotRequired, Optional, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import arguments
from components.accelerators import accelerator, machines
from components.inference.arguments import (
    DEFAULT_MONITORING,
    DEFAULT_PREFIX,
    check_admission,
    checked_models,
    checked_queue,
    checked_url,
)
from components.inference.clouds import CLOUDS
from components.inference.pod import Server, pod_template
from components.inference.scaler import scale
from components.inference.scaling import Target, scaling_of
from components.inference.scaling_args import ScalingArgs
from components.inference.startup import progress_deadline_s, startup_probe
from components.inference.traffic import GRPC, HTTP, METRICS, server_policy
from components.labels import QUEUED
from components.security import WorkloadIdentity
from components.security.traffic import DENY_ALL
from components.training import queues

DEFAULT_QUEUE_OBJECTIVE_MS = 50.0
DEFAULT_LOAD_GIB_S = 0.25
"""The smallest GPU machines sustain 2.5 Gbit/s (g6.xlarge: baseline, AWS EC2 network specifications, read 2026-11)."""
DEFAULT_DEVICE_GIB_S = 0.5
"""One local SSD, decoded on a few cores. Not measured."""
USABLE_SHARE = 0.7
"""Of a machine's CPU and memory for each accelerator; the rest is for the kubelet, the driver and node agents."""

_GIB = 2**30


class ModelArgs(TypedDict):
    """One model version, as it lies in the repository under `<name>/<version>/`."""

    name: str
    """The model's name, as requests give it."""
    version: int
    """Its version, from 1."""
    size_gib: float
    """Size of all its files in GiB; how long a pod may take to start follows from it."""
    gpus: NotRequired[int]
    """GPUs that its instances use; default 1."""


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
    min_replicas: int
    """Replicas that are always there; from 1, or 0 with `scaling.scale_to_zero`."""
    max_replicas: int
    """Most replicas."""
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
    """GiB/s from local disk to GPU memory; default 0.5."""
    pods_per_gpu: NotRequired[int]
    """Pods that share each GPU of the pool, by MIG or time-slicing, and with it the machine; default 1."""
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
    monitoring_namespace: NotRequired[str]
    """Namespace of the Prometheus that scrapes the pods; default `monitoring`."""
    service: NotRequired[str]
    """Name of the Service; default the component's name."""
    service_annotations: NotRequired[dict[str, str]]
    """Annotations of the Service that clients send to, such as `cloud.google.com/neg`."""
    tags: NotRequired[dict[str, str]]
    """Tags of cloud resources."""


class TritonInference(pulumi.ComponentResource):
    """A Triton deployment that starts only with models it has verified, and stops only after it has drained.

    Built in a namespace of its own, in this order: the identity that may read the model repository and nothing else;
    the network policies; the Service; the LocalQueue, where a `cluster_queue` is given; the Deployment, whose init
    container copies the models to local NVMe and verifies them before Triton loads just these; a disruption budget; the
    scaler, on the time that a request waits, on what waits for each replica and, where that is asked for, on what is
    coming, with the activator before a server that may be at zero; the PodMonitor.

    Takes a Kubernetes provider, and the cloud's, from `opts`. What `opts.depends_on` names (operators, CRDs) is waited
    for by every child. ValueError, naming the argument, for anything that Kubernetes or the catalog would refuse.
    """

    service: pulumi.Output[str]
    """Name of the Service."""
    namespace: pulumi.Output[str]
    """Its namespace."""
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
        models = checked_models(name, args)
        super().__init__("aicloud:index:TritonInference", name, {**args}, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None)
        cloud = CLOUDS[args["cloud"]]
        prefix = args.get("repository_prefix", DEFAULT_PREFIX)
        source = pulumi.Output.from_input(args["repository_url"]).apply(lambda url: checked_url(name, url, prefix))
        labels = {"app.kubernetes.io/name": "triton", "app.kubernetes.io/instance": name}
        how = scaling_of(
            args.get("scaling", {}),
            least=int(args["min_replicas"]),
            most=int(args["max_replicas"]),
            queue_objective_ms=args.get("queue_objective_ms", DEFAULT_QUEUE_OBJECTIVE_MS),
        )

        size_bytes = sum(model.size_gib for model in models) * _GIB
        startup = startup_probe(size_bytes, args.get("device_bandwidth_gib_s", DEFAULT_DEVICE_GIB_S) * _GIB)
        deadline_s = progress_deadline_s(
            size_bytes, args.get("load_bandwidth_gib_s", DEFAULT_LOAD_GIB_S) * _GIB, startup
        )
        counted = "cluster_queue" in args
        if counted:
            check_admission(name, deadline_s)
        # Pulumi waits for the Deployment as long as Kubernetes itself does.
        patient = pulumi.CustomTimeouts(create=f"{deadline_s}s", update=f"{deadline_s}s")

        namespace = k8s.core.v1.Namespace(
            f"{name}-namespace",
            metadata={
                "name": args["namespace"],
                "labels": {
                    **{f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")},
                    **({QUEUED: "true"} if counted else {}),
                },
            },
            opts=child,
        )
        placed = {"namespace": namespace.metadata.name, "labels": labels}
        account = k8s.core.v1.ServiceAccount(
            f"{name}-account", metadata={**placed, "name": name}, automount_service_account_token=False, opts=child
        )
        identity = WorkloadIdentity(
            f"{name}-identity",
            {
                "cloud": args["cloud"],
                "region": args["region"],
                "cluster_name": args["cluster_name"],
                "workload_identity_pool": args["workload_identity_pool"],
                "namespace": args["namespace"],
                "service_account": name,
                "buckets": [
                    {
                        "bucket": args["bucket"],
                        "prefix": f"{prefix}/",
                        **({"key": args["encryption_key"]} if "encryption_key" in args else {}),  # type: ignore[typeddict-item]
                    }
                ],
                "tags": args.get("tags", {}),
            },
            opts=child,
        )
        monitoring = args.get("monitoring_namespace", DEFAULT_MONITORING)
        traffic = server_policy(labels, args["cloud"], args["client_cidrs"], monitoring, activated=how.to_zero)
        policies = [
            k8s.networking.v1.NetworkPolicy(
                f"{name}-{purpose}", metadata={**placed, "name": f"{name}-{purpose}"}, spec=spec, opts=child
            )
            for purpose, spec in (("deny-all", DENY_ALL), ("traffic", traffic))
        ]

        gpus = int(args["gpus"])
        cpu, memory_gib = _share(args, gpus)
        server = Server(
            labels=labels,
            service_account=name,
            image=args["image"],
            models=models,
            source=source,
            cloud=cloud,
            region=args["region"],
            accelerator=args["accelerator"],
            accelerator_resource=accelerator(args["accelerator"]).kubernetes_resource,
            gpus=gpus,
            node_pool=args.get("node_pool", ""),
            cpu=cpu,
            memory_gib=memory_gib,
            startup=startup,
        )
        service = k8s.core.v1.Service(
            f"{name}-service",
            metadata={
                **placed,
                "name": args.get("service", name),
                # Pulumi would wait for pods behind the Service, which wait for it: the Deployment's wait is for both.
                "annotations": {
                    "pulumi.com/skipAwait": "true",
                    **({} if how.to_zero else args.get("service_annotations", {})),
                },
            },
            spec={
                "type": "ClusterIP",
                "selector": labels,
                "ports": [
                    {"name": "http", "port": HTTP, "target_port": "http", "protocol": "TCP", "app_protocol": "http"},
                    {"name": "grpc", "port": GRPC, "target_port": "grpc", "protocol": "TCP", "app_protocol": "grpc"},
                ],
            },
            opts=child,
        )
        queued: list[pulumi.Resource] = []
        if counted:
            queue = pulumi.Output.from_input(args["cluster_queue"]).apply(lambda value: checked_queue(name, value))
            queued.append(
                k8s.apiextensions.CustomResource(
                    f"{name}-queue",
                    api_version=queues.API_VERSION,
                    kind="LocalQueue",
                    metadata={**placed, "name": name},
                    spec={"clusterQueue": queue},
                    opts=child,
                )
            )
        deployment = k8s.apps.v1.Deployment(
            f"{name}-deployment",
            metadata={
                **placed,
                "name": name,
                # Kueue's webhook hands both on to the pods, which it then admits one by one.
                "labels": {
                    **labels,
                    **({queues.QUEUE_LABEL: name, queues.PRIORITY_LABEL: queues.SERVING} if counted else {}),
                },
            },
            spec={
                # No `replicas`: with server-side apply a field that is left out belongs to whoever sets it, here the
                # autoscaler. Stated, even with ignore_changes, each replacement would start at that number again.
                "selector": {"match_labels": labels},
                "template": pod_template(server),
                "strategy": {"type": "RollingUpdate", "rolling_update": {"max_surge": "25%", "max_unavailable": 0}},
                "progress_deadline_seconds": deadline_s,
                "revision_history_limit": 5,
            },
            # A pod that starts before its identity is bound has none until it is started again. With its Service there
            # first, GKE makes a pod ready only once the load balancer knows it.
            opts=pulumi.ResourceOptions.merge(
                child,
                pulumi.ResourceOptions(
                    depends_on=[account, identity, service, *policies, *queued], custom_timeouts=patient
                ),
            ),
        )
        k8s.policy.v1.PodDisruptionBudget(
            f"{name}-budget",
            metadata={**placed, "name": name},
            # Not minAvailable: with one replica that would block every node upgrade for good.
            spec={
                "selector": {"match_labels": labels},
                "max_unavailable": 1,
                "unhealthy_pod_eviction_policy": "AlwaysAllow",
            },
            opts=child,
        )
        front = scale(
            name,
            Target(name, args["namespace"], tuple(sorted({model.name for model in models})), deadline_s),
            how,
            service=args.get("service", name),
            service_annotations=args.get("service_annotations", {}),
            labels=labels,
            child=child,
            deployment=deployment,
        )
        k8s.apiextensions.CustomResource(
            f"{name}-monitor",
            api_version="monitoring.coreos.com/v1",
            kind="PodMonitor",
            metadata={**placed, "name": name},
            spec={
                "selector": {"matchLabels": labels},
                "podMetricsEndpoints": [{"port": "metrics", "path": "/metrics", "interval": "15s"}],
            },
            opts=child,
        )

        self.service = service.metadata.name
        self.namespace = namespace.metadata.name
        self.http_port = pulumi.Output.from_input(HTTP)
        self.grpc_port = pulumi.Output.from_input(GRPC)
        self.metrics_port = pulumi.Output.from_input(METRICS)
        self.request_service, self.request_namespace, self.request_port = front.service, front.namespace, front.port
        self.register_outputs(
            {
                "service": self.service,
                "namespace": self.namespace,
                "httpPort": self.http_port,
                "grpcPort": self.grpc_port,
                "metricsPort": self.metrics_port,
                "requestService": self.request_service,
                "requestNamespace": self.request_namespace,
                "requestPort": self.request_port,
            }
        )


def _share(args: TritonInferenceArgs, gpus: int) -> tuple[float, float]:
    """Cores and GiB of a pod: as given, else what fits any machine that may come."""
    offered = [m for m in machines(args["accelerator"], args["cloud"], args["region"]) if m.count >= gpus]
    share = USABLE_SHARE * gpus / args.get("pods_per_gpu", 1)
    cpu = args.get("cpu", share * min(machine.vcpus / machine.count for machine in offered))
    memory = args.get("memory_gib", share * min(machine.memory_gib / machine.count for machine in offered))
    return cpu, memory
