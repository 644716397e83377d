"""KubeflowPipelines: the backend of Kubeflow Pipelines in a region's cluster, whose runs are Argo workflows."""

from typing import Any, NotRequired, Optional, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import arguments
from components.cluster import charts
from components.inference.own_namespace import disruption_budget
from components.inference.server_arguments import DEFAULT_MONITORING, Refusal, check_image
from components.ordering import after
from components.pipelines import kubeflow_engine, kubeflow_pods, kubeflow_rights
from components.pipelines.database_arguments import check_prefix
from components.pipelines.kubeflow_engine import CONTROLLER
from components.pipelines.kubeflow_pods import AGENT, GRPC, METADATA, METADATA_SERVICE, METRICS, REST, RUNNER, SCHEDULES
from components.pipelines.kubeflow_pods import SERVER as SERVER_NAME
from components.pipelines.mlflow_pod import PORT as TRACKING_PORT
from components.security import WorkloadIdentity, identity_place
from components.security.closed_namespace import closed_namespace
from components.security.traffic import api_server, names, namespace, outbound, ports

DEFAULT_PREFIX = "kubeflow"
LONGEST_NAME = 34
_COMPONENT = "app.kubernetes.io/component"
_LABELS = {"app.kubernetes.io/part-of": "kubeflow-pipelines"}


class KubeflowPipelinesArgs(TypedDict):
    """Arguments of KubeflowPipelines."""

    cloud: str
    """`aws` or `gcp`."""
    region: str
    """The cluster's region, such as `us-east-1`."""
    cluster_name: pulumi.Input[str]
    """GpuCluster's output of that name."""
    workload_identity_pool: pulumi.Input[str]
    """GpuCluster's output of that name; empty on AWS."""
    namespace: str
    """Kubernetes namespace, made here and for this alone, runs included. One to a cluster, whose kinds it brings."""
    images: NotRequired[dict[str, str]]
    """Part -> image, with a digest or a tag other than `latest`: of `api-server`, `persistence-agent`,
    `scheduled-workflow-controller`, `driver`, `launcher`, `metadata` and `mysql`. Default the projects' own."""
    bucket: pulumi.Input[str]
    """Name of the region's bucket."""
    bucket_url: pulumi.Input[str]
    """`s3://<bucket>` or `gs://<bucket>`."""
    prefix: NotRequired[str]
    """Prefix of the bucket for what runs make, and for their logs; default `kubeflow`."""
    read_prefixes: NotRequired[list[str]]
    """What runs may read of the bucket, besides what they write; default nothing."""
    write_prefixes: NotRequired[list[str]]
    """What runs may write, overwrite and delete, besides their own prefix; default nothing."""
    encryption_key: pulumi.Input[str]
    """Key of the bucket: ARN (AWS), id of the crypto key (GCP)."""
    storage_gib: NotRequired[int]
    """Volume of the database, from 5 to 1000 GiB; default 20."""
    client_namespaces: NotRequired[list[str]]
    """Namespaces of the cluster whose pods may ask the API. Default none but `kubectl port-forward`'s."""
    tracking_namespace: NotRequired[str]
    """Namespace of the MlflowServer that runs tell of themselves. Default none."""
    monitoring_namespace: NotRequired[str]
    """Namespace of the Prometheus that scrapes it; default `monitoring`."""
    protect: NotRequired[bool]
    """Refuse to delete the database's volume; default false."""
    tags: NotRequired[dict[str, str]]
    """Tags on AWS, labels on GCP."""


class KubeflowPipelines(pulumi.ComponentResource):
    """Kubeflow Pipelines 2.16: what `kfp.Client(host=...)` talks to, and what runs what it is given.

    Built in this order: a namespace, closed; the identity of runs (`pipeline-runner`), which use their prefixes of the
    bucket and no secret of the cluster; Argo Workflows' controller by its chart, for this namespace alone, with the
    kinds Workflow and ScheduledWorkflow; the server, one pod with a volume: the API server, ML Metadata, which 2.16
    still needs, and their MySQL; the persistence agent and the controller of schedules; a disruption budget, and
    PodMonitors.

    MySQL is in the pod and answers no address but 127.0.0.1. It is no PostgreSQL of the cloud's because the API server
    of 2.16 speaks MySQL's dialect whatever it is told, and to PostgreSQL without TLS; it is none of the clouds' MySQLs
    because neither it nor ML Metadata takes a password that turns. So there is no password at all, and one server:
    while it moves to another machine nothing starts, and a step that begins just then may fail; where every server must
    have a second one, the rule `servers-have-replicas` says so. Its volume is not backed up: what must last is in the
    bucket and in MlflowServer, not in the list of runs.

    Steps' results are cached by drivers; pipelines of version 1, which need a cache server, are refused. Left out, and
    not needed by runs: the pages (UI, Viewer, visualizations), many tenants, and logs and artifacts through the API,
    which speaks S3 alone: they lie under `pipeline_root`. Nobody logs in: pods of `client_namespaces`, and of runs, may
    do everything. Pods of runs are of the baseline kind, for pipelines choose their images. The server's machine has to
    be x86-64.

    Takes a Kubernetes provider, and the cloud's, from `opts`. ValueError, naming the argument, for anything that the
    backend, Kubernetes or the cloud would refuse.
    """

    namespace: pulumi.Output[str]
    """Its namespace."""
    endpoint: pulumi.Output[str]
    """`host` of `kfp.Client`: `http://ml-pipeline.<namespace>.svc.cluster.local:8888`."""
    pipeline_root: pulumi.Output[str]
    """Under which URL runs keep what they make; on AWS it names the region, which launchers are not told otherwise."""
    service_account: pulumi.Output[str]
    """Account of runs: `pipeline-runner`."""
    principal: pulumi.Output[str]
    """Whom runs act as: ARN of the role, or member of Google's IAM."""

    def __init__(self, name: str, args: KubeflowPipelinesArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        arguments.check(f"KubeflowPipelines {name!r}", args, KubeflowPipelinesArgs)
        _check(name, args)
        super().__init__("aicloud:index:KubeflowPipelines", name, {**args}, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None)
        # Pods of runs are as pipelines make them: many an image knows no user but root.
        space, policies = closed_namespace(name, args["namespace"], _traffic(args), child, level="baseline")
        placed = {"namespace": space.metadata["name"], "labels": dict(_LABELS)}
        identity = WorkloadIdentity(
            f"{name}-identity",
            {
                **identity_place(args),
                "service_account": RUNNER,
                "buckets": _prefixes(args),  # type: ignore[typeddict-item]
            },
            opts=child,
        )
        root = pulumi.Output.concat(args["bucket_url"], f"/{args.get('prefix', DEFAULT_PREFIX)}")
        if args["cloud"] == "aws":
            root = pulumi.Output.concat(root, f"?region={args['region']}")
        images = {**kubeflow_pods.IMAGES, **(args.get("images") or {})}
        rights = [
            one for account in kubeflow_rights.RULES for one in _account(name, account, placed, args, identity, child)
        ]
        settings = [
            k8s.core.v1.ConfigMap(f"{name}-{config}", metadata={**placed, "name": config}, data=data, opts=child)
            for config, data in (
                (kubeflow_rights.LAUNCHER, {"defaultPipelineRoot": root}),
                (
                    "metadata-grpc-configmap",
                    {
                        "METADATA_GRPC_SERVICE_HOST": METADATA_SERVICE,
                        "METADATA_GRPC_SERVICE_PORT": str(METADATA),
                    },
                ),
            )
        ]
        engine = charts.release(
            f"{name}-argo",
            charts.ARGO_WORKFLOWS,
            kubeflow_engine.values(),
            self,
            namespace=space.metadata["name"],
            after=[*policies, *_list(child.depends_on)],
        )
        ready = [*policies, *rights, *settings, engine, identity]
        server = self._server(name, args, images, placed, ready, child)
        watchers = [
            k8s.apps.v1.Deployment(
                f"{name}-{account}",
                metadata={**placed, "name": account},
                spec={
                    "replicas": 1,
                    # Two would do everything twice.
                    "strategy": {"type": "Recreate"},
                    "selector": {"match_labels": _labels(account)},
                    "template": kubeflow_pods.watcher_template(account, {**_LABELS, **_labels(account)}, images),
                },
                opts=_after(child, *ready, server),
            )
            for account in (AGENT, SCHEDULES)
        ]
        for component, port in ((SERVER_NAME, "http"), (SCHEDULES, "metrics"), (CONTROLLER, "metrics")):
            _monitor(name, component, port, placed, child)

        made: list[pulumi.Resource] = [server, *watchers]
        self.namespace = after(args["namespace"], [space])
        self.endpoint = after(address(args["namespace"]), made)
        self.pipeline_root = root
        self.service_account = after(RUNNER, made)
        self.principal = identity.principal
        self.register_outputs(
            {
                "namespace": self.namespace,
                "endpoint": self.endpoint,
                "pipelineRoot": self.pipeline_root,
                "serviceAccount": self.service_account,
                "principal": self.principal,
            }
        )

    def _server(
        self,
        name: str,
        args: KubeflowPipelinesArgs,
        images: dict[str, str],
        placed: dict[str, Any],
        ready: list[pulumi.Resource],
        child: pulumi.ResourceOptions,
    ) -> pulumi.Resource:
        labels = _labels(SERVER_NAME)
        volume = k8s.core.v1.PersistentVolumeClaim(
            f"{name}-data",
            # It is bound where the pod comes to be, so nothing waits for that.
            metadata={**placed, "name": SERVER_NAME, "annotations": {"pulumi.com/skipAwait": "true"}},
            spec={
                "access_modes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": f"{args.get('storage_gib', 20)}Gi"}},
            },
            opts=pulumi.ResourceOptions.merge(
                child, pulumi.ResourceOptions(protect=True if args.get("protect") else None)
            ),
        )
        services = [
            k8s.core.v1.Service(
                f"{name}-{service}",
                # Pulumi would wait for the pod behind it, which waits for much else.
                metadata={**placed, "name": service, "annotations": {"pulumi.com/skipAwait": "true"}},
                spec={
                    "type": "ClusterIP",
                    "selector": labels,
                    "ports": [
                        {"name": port, "port": number, "target_port": port, "protocol": "TCP"}
                        for port, number in answers.items()
                    ],
                },
                opts=child,
            )
            for service, answers in (
                (SERVER_NAME, {"http": REST, "grpc": GRPC}),
                (METADATA_SERVICE, {"metadata": METADATA}),
            )
        ]
        k8s.policy.v1.PodDisruptionBudget(
            f"{name}-budget", **disruption_budget(SERVER_NAME, placed, labels), opts=child
        )
        return k8s.apps.v1.Deployment(
            f"{name}-server",
            metadata={**placed, "name": SERVER_NAME},
            spec={
                "replicas": 1,
                # The volume is one pod's.
                "strategy": {"type": "Recreate"},
                "selector": {"match_labels": labels},
                "template": kubeflow_pods.server_template({**_LABELS, **labels}, images),
                "revision_history_limit": 5,
            },
            opts=_after(child, *ready, volume, *services),
        )


def address(in_namespace: str) -> str:
    """`endpoint` of the backend in a namespace, for whoever is made before it."""
    return f"http://{SERVER_NAME}.{in_namespace}.svc.cluster.local:{REST}"


def _labels(component: str) -> dict[str, str]:
    return {_COMPONENT: component}


def _account(
    name: str,
    account: str,
    placed: dict[str, Any],
    args: KubeflowPipelinesArgs,
    runner: WorkloadIdentity,
    child: pulumi.ResourceOptions,
) -> list[pulumi.Resource]:
    """A service account, what it may do, and that it may."""
    annotations = {"annotations": runner.annotations} if account == RUNNER else {}
    made = k8s.core.v1.ServiceAccount(
        f"{name}-{account}-account", metadata={**placed, "name": account, **annotations}, opts=child
    )
    role = k8s.rbac.v1.Role(
        f"{name}-{account}-role",
        metadata={**placed, "name": account},
        rules=kubeflow_rights.RULES[account],
        opts=child,
    )
    binding = k8s.rbac.v1.RoleBinding(
        f"{name}-{account}-role",
        metadata={**placed, "name": account},
        role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
        subjects=[{"kind": "ServiceAccount", "name": account, "namespace": args["namespace"]}],
        opts=_after(child, role, made),
    )
    return [made, binding]


def _monitor(
    name: str, component: str, port: str, placed: dict[str, Any], child: pulumi.ResourceOptions
) -> pulumi.Resource:
    return k8s.apiextensions.CustomResource(
        f"{name}-{component}-monitor",
        api_version="monitoring.coreos.com/v1",
        kind="PodMonitor",
        metadata={**placed, "name": component},
        spec={
            "selector": {"matchLabels": _labels(component)},
            "podMetricsEndpoints": [{"port": port, "path": "/metrics", "interval": "30s"}],
        },
        opts=child,
    )


def _prefixes(args: KubeflowPipelinesArgs) -> list[dict[str, Any]]:
    common = {"bucket": args["bucket"], "key": args["encryption_key"]}
    writes = [args.get("prefix", DEFAULT_PREFIX), *(args.get("write_prefixes") or [])]
    return [
        *({**common, "prefix": f"{one}/"} for one in args.get("read_prefixes") or []),
        *({**common, "prefix": f"{one}/", "write": True} for one in writes),
    ]


def _traffic(args: KubeflowPipelinesArgs) -> dict[str, Any]:
    """To the server from its own namespace, clients and monitoring; from the controllers to it and the cluster's API;
    from runs there too, to the bucket and to the tracking server."""
    both = ["Ingress", "Egress"]
    server = {"pod_selector": {"match_labels": _labels(SERVER_NAME)}}
    watchers = {"key": _COMPONENT, "operator": "In", "values": [AGENT, SCHEDULES, CONTROLLER]}
    runs = {"key": "workflows.argoproj.io/workflow", "operator": "Exists"}  # Argo's own label of their pods
    scraped = namespace(args.get("monitoring_namespace", DEFAULT_MONITORING))
    clients = [namespace(one) for one in args.get("client_namespaces") or []]
    tracking = args.get("tracking_namespace")
    asks = {"to": [server], "ports": ports(REST, GRPC, METADATA)}
    return {
        "server": {
            **server,
            "policy_types": both,
            "ingress": [
                {"from_": [{"pod_selector": {}}], "ports": ports(REST, GRPC, METADATA)},
                {"from_": [*clients, scraped], "ports": ports(REST)},
            ],
            "egress": [names(), api_server()],
        },
        "controllers": {
            "pod_selector": {"match_expressions": [watchers]},
            "policy_types": both,
            "ingress": [{"from_": [scraped], "ports": ports(METRICS)}],
            "egress": [names(), api_server(), asks],
        },
        "runs": {
            "pod_selector": {"match_expressions": [runs]},
            "policy_types": ["Egress"],
            "egress": [
                *outbound(args["cloud"]),
                api_server(),
                asks,
                *([{"to": [namespace(tracking)], "ports": ports(TRACKING_PORT)}] if tracking else []),
            ],
        },
    }


def _after(child: pulumi.ResourceOptions, *resources: pulumi.Resource) -> pulumi.ResourceOptions:
    return pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=list(resources)))


def _list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _check(name: str, args: KubeflowPipelinesArgs) -> None:
    refuse = Refusal(f"KubeflowPipelines {name!r}")
    refuse.one_of("cloud", args["cloud"], ("aws", "gcp"))
    given: dict[str, Any] = {**args}
    named = [
        *((one, given[one]) for one in ("namespace", "tracking_namespace", "monitoring_namespace") if one in given),
        *((f"client_namespaces[{index}]", one) for index, one in enumerate(given.get("client_namespaces") or [])),
    ]
    # A role of IAM is called after it.
    for argument, value, longest in (("name", name, LONGEST_NAME), *((*one, 63) for one in named)):
        refuse.unless_named(argument, value, longest)
    for part, image in (args.get("images") or {}).items():
        refuse.one_of("images", part, kubeflow_pods.IMAGES)
        check_image(refuse, f"images.{part}", image)
    check_prefix(refuse, "prefix", args.get("prefix", DEFAULT_PREFIX))
    for argument in ("read_prefixes", "write_prefixes"):
        for index, one in enumerate(given.get(argument) or []):
            check_prefix(refuse, f"{argument}[{index}]", one)
    if not 5 <= args.get("storage_gib", 20) <= 1000:
        refuse("storage_gib", args.get("storage_gib"), "accepted is 5 to 1000")
