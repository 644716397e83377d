"""MlflowServer: MLflow's tracking and registry in a region's cluster, on a PostgreSQL and the object store."""

from typing import Any, NotRequired, Optional, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import arguments
from components.inference.own_namespace import disruption_budget
from components.inference.server_arguments import DEFAULT_MONITORING, Refusal, check_image
from components.ordering import after
from components.pipelines import mlflow_pod
from components.pipelines.database import PostgresDatabase
from components.pipelines.database_arguments import DatabaseArgs, check_database, check_prefix, request
from components.pipelines.database_parts import PORT as DATABASE_PORT
from components.pipelines.mlflow_pod import PORT, Server
from components.security import WorkloadIdentity, identity_place
from components.security.closed_namespace import closed_namespace
from components.security.traffic import block, namespace, outbound, ports

DEFAULT_PREFIX = "mlflow"


class MlflowServerArgs(TypedDict):
    """Arguments of MlflowServer."""

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
    """MLflow with `workloads.database` in it (workloads/database/mlflow.Dockerfile), with a digest or a tag other than
    `latest`. Another image brings the database's tables to its version first; back it goes by a backup alone."""
    network_id: pulumi.Input[str]
    """RegionalNetwork's output: where the database is."""
    network_cidr: str
    """The network's addresses, among which the database gets its own."""
    private_subnet_ids: pulumi.Input[list[str]]
    """RegionalNetwork's output; AWS: subnets of the database."""
    node_security_group_id: pulumi.Input[str]
    """GpuCluster's output of that name; AWS: who may connect to the database."""
    bucket: pulumi.Input[str]
    """Name of the bucket that artifacts go into. Where its objects move to a deep archive with age, so do artifacts."""
    bucket_url: pulumi.Input[str]
    """`s3://<bucket>` or `gs://<bucket>`."""
    artifact_prefix: NotRequired[str]
    """Under which prefix; the server may read and write nothing else of the bucket. Default `mlflow`."""
    encryption_key: pulumi.Input[str]
    """Key of the bucket and of the database: ARN (AWS), id of the crypto key (GCP)."""
    database: NotRequired[DatabaseArgs]
    """Size and safety of the PostgreSQL. Default small, in one zone."""
    client_namespaces: NotRequired[list[str]]
    """Namespaces of the cluster whose pods may ask. Default none but `kubectl port-forward`'s."""
    replicas: NotRequired[int]
    """Servers; default 1. With more, one may be lost or drained."""
    workers: NotRequired[int]
    """Processes of each server; default 2."""
    cpu: NotRequired[float]
    """Cores for each server; default 0.5."""
    memory_gib: NotRequired[float]
    """Memory of each server in GiB; default 1 for each worker."""
    monitoring_namespace: NotRequired[str]
    """Namespace of the Prometheus that scrapes it; default `monitoring`."""
    protect: NotRequired[bool]
    """Refuse to delete the database; default false."""
    tags: NotRequired[dict[str, str]]
    """Tags on AWS, labels on GCP."""


class MlflowServer(pulumi.ComponentResource):
    """What runs were, what they made, and which version of a model is champion: kept for the whole region.

    Built in this order: the database (PostgresDatabase); a namespace of its own, closed; the identity that may use one
    prefix of the bucket and log in to the database; a Job that makes the tables or brings them to the image's version;
    the servers, a disruption budget, and the PodMonitor.

    Artifacts go through the server, so that whoever trains needs no right to the bucket. Nobody logs in to it: there
    are no users and passwords of MLflow's own. It has no way in from outside the cluster, and inside it only the pods
    of `client_namespaces` may ask; of those, all may do everything. A person sees it by
    `kubectl port-forward`, which Kubernetes allows those whom the cluster knows.

    Takes a Kubernetes provider, and the cloud's, from `opts`. ValueError, naming the argument, for anything that the
    server, Kubernetes or the cloud would refuse.
    """

    tracking_uri: pulumi.Output[str]
    """What clients have as MLFLOW_TRACKING_URI: `http://<service>.<namespace>.svc.cluster.local:5000`."""
    service: pulumi.Output[str]
    """Name of the Service."""
    namespace: pulumi.Output[str]
    """Its namespace."""
    artifacts_url: pulumi.Output[str]
    """Where artifacts are: bucket URL and prefix."""
    database_host: pulumi.Output[str]
    """Address of the PostgreSQL."""
    principal: pulumi.Output[str]
    """Whom the servers act as: ARN of the role, or member of Google's IAM."""

    def __init__(self, name: str, args: MlflowServerArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        arguments.check(f"MlflowServer {name!r}", args, MlflowServerArgs)
        _check(name, args)
        super().__init__("aicloud:index:MlflowServer", name, {**args}, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None)
        prefix = args.get("artifact_prefix", DEFAULT_PREFIX)
        labels = {"app.kubernetes.io/name": "mlflow", "app.kubernetes.io/instance": name}

        database = PostgresDatabase(f"{name}-database", request("mlflow", args, args.get("database") or {}), child)
        space, policies = closed_namespace(name, args["namespace"], {"traffic": _traffic(args, labels)}, child)
        placed = {"namespace": space.metadata["name"], "labels": labels}
        identity = WorkloadIdentity(
            f"{name}-identity",
            {
                **identity_place(args),
                "service_account": name,
                "buckets": [
                    {"bucket": args["bucket"], "prefix": f"{prefix}/", "write": True, "key": args["encryption_key"]}
                ],
                **database.identity,  # type: ignore[typeddict-item]
            },
            opts=child,
        )
        account = k8s.core.v1.ServiceAccount(
            f"{name}-account",
            metadata={**placed, "name": name, "annotations": identity.annotations},
            automount_service_account_token=False,
            opts=child,
        )
        login = database.login(identity)
        self.artifacts_url = pulumi.Output.concat(args["bucket_url"], "/", prefix)
        workers = int(args.get("workers", 2))
        server = Server(
            name=name,
            namespace=args["namespace"],
            labels=labels,
            image=args["image"],
            login=login,
            artifacts=self.artifacts_url,
            cloud=args["cloud"],
            region=args["region"],
            cpu=args.get("cpu", 0.5),
            memory_gib=args.get("memory_gib", float(workers)),
            workers=workers,
        )
        job_name, job = mlflow_pod.migration(server)
        tables = k8s.batch.v1.Job(
            job_name,
            metadata={**placed, "name": job_name},
            spec=job,
            opts=_after(child, account, *policies, *login.made),
        )
        service = k8s.core.v1.Service(
            f"{name}-service",
            # Pulumi would wait for pods behind the Service, which wait for the tables.
            metadata={**placed, "name": name, "annotations": {"pulumi.com/skipAwait": "true"}},
            spec={
                "type": "ClusterIP",
                "selector": {**labels, **mlflow_pod.component("server")},
                "ports": [{"name": "http", "port": PORT, "target_port": "http", "protocol": "TCP"}],
            },
            opts=child,
        )
        serving = {**labels, **mlflow_pod.component("server")}
        deployment = k8s.apps.v1.Deployment(
            f"{name}-deployment",
            metadata={**placed, "name": name},
            spec={
                "replicas": int(args.get("replicas", 1)),
                "selector": {"match_labels": serving},
                "template": mlflow_pod.server_template(server),
                "strategy": {"type": "RollingUpdate", "rolling_update": {"max_surge": 1, "max_unavailable": 0}},
                "revision_history_limit": 5,
            },
            opts=_after(child, tables, service),
        )
        k8s.policy.v1.PodDisruptionBudget(f"{name}-budget", **disruption_budget(name, placed, serving), opts=child)
        k8s.apiextensions.CustomResource(
            f"{name}-monitor",
            api_version="monitoring.coreos.com/v1",
            kind="PodMonitor",
            metadata={**placed, "name": name},
            spec={
                "selector": {"matchLabels": serving},
                "podMetricsEndpoints": [{"port": "http", "path": "/metrics", "interval": "30s"}],
            },
            opts=child,
        )

        self.service = after(name, [service])
        self.namespace = after(args["namespace"], [space])
        self.tracking_uri = after(address(name, args["namespace"]), [deployment])
        self.database_host = login.host
        self.principal = identity.principal
        self.register_outputs(
            {
                "trackingUri": self.tracking_uri,
                "service": self.service,
                "namespace": self.namespace,
                "artifactsUrl": self.artifacts_url,
                "databaseHost": self.database_host,
                "principal": self.principal,
            }
        )


def address(name: str, namespace: str) -> str:
    """`tracking_uri` of the server `name`, for whoever is made before it."""
    return f"http://{name}.{namespace}.svc.cluster.local:{PORT}"


def _after(child: pulumi.ResourceOptions, *resources: pulumi.Resource) -> pulumi.ResourceOptions:
    return pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=list(resources)))


def _traffic(args: MlflowServerArgs, labels: dict[str, str]) -> dict[str, Any]:
    """Requests from clients and scrapes from monitoring; out to the database, and what every pod needs."""
    askers = [*(args.get("client_namespaces") or []), args.get("monitoring_namespace", DEFAULT_MONITORING)]
    return {
        "pod_selector": {"match_labels": labels},
        "policy_types": ["Ingress", "Egress"],
        "ingress": [{"from_": [namespace(one) for one in dict.fromkeys(askers)], "ports": ports(PORT)}],
        "egress": [
            {"to": [block(args["network_cidr"])], "ports": ports(DATABASE_PORT)},
            *outbound(args["cloud"]),
        ],
    }


def _check(name: str, args: MlflowServerArgs) -> None:
    refuse = Refusal(f"MlflowServer {name!r}")
    refuse.one_of("cloud", args["cloud"], ("aws", "gcp"))
    named = [
        ("namespace", args["namespace"]),
        ("monitoring_namespace", args.get("monitoring_namespace", DEFAULT_MONITORING)),
        *((f"client_namespaces[{index}]", one) for index, one in enumerate(args.get("client_namespaces") or [])),
    ]
    # A role of IAM is called after it, with 22 characters more.
    for argument, value, longest in (("name", name, 42), *((*one, 63) for one in named)):
        refuse.unless_named(argument, value, longest)
    check_image(refuse, "image", args["image"])
    check_prefix(refuse, "artifact_prefix", args.get("artifact_prefix", DEFAULT_PREFIX))
    refuse.numbers_above_zero(args, "replicas", "workers", "cpu", "memory_gib")
    check_database(refuse, args["network_cidr"], args.get("database") or {})
