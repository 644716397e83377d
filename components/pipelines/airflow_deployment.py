"""AirflowDeployment: Airflow in a region's cluster, or the cloud's own, to run pipelines as DAGs."""

from typing import Any, NotRequired, Optional, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import arguments, images
from components.cluster import charts
from components.inference.server_arguments import DEFAULT_MONITORING, NAME, Refusal, check_image
from components.ordering import after
from components.pipelines import airflow_aws, airflow_gcp, airflow_values, database_pod
from components.pipelines.airflow_parts import Managed
from components.pipelines.airflow_values import ACCOUNT, API_PORT, STATSD_PORT, TASKS, Airflow
from components.pipelines.database import PostgresDatabase
from components.pipelines.database_arguments import DatabaseArgs, check_database, check_prefix, request
from components.pipelines.database_parts import PORT as DATABASE_PORT
from components.pipelines.mlflow_pod import PORT as TRACKING_PORT
from components.security import WorkloadIdentity, identity_place
from components.security.closed_namespace import closed_namespace
from components.security.traffic import block, namespace, outbound, ports

DEFAULT_PREFIX = "airflow"
DEFAULT_VERSION = "3.3.2"
_ONLY_MANAGED = ("size", "max_workers", "zonal_redundancy")
_ONLY_OWN = ("namespace", "image", "database", "replicas", "tracking_namespace", "monitoring_namespace")


class AirflowDeploymentArgs(TypedDict):
    """Arguments of AirflowDeployment."""

    cloud: str
    """`aws` or `gcp`."""
    region: str
    """The cluster's region, such as `us-east-1`."""
    managed: NotRequired[bool]
    """The cloud's own instead of one in the cluster: MWAA, Cloud Composer 3. Default false."""
    cluster_name: pulumi.Input[str]
    """GpuCluster's output of that name."""
    workload_identity_pool: pulumi.Input[str]
    """GpuCluster's output of that name; empty on AWS."""
    namespace: NotRequired[str]
    """In the cluster, where it is needed: Kubernetes namespace, made here and for this alone."""
    image: NotRequired[str]
    """In the cluster, where it is needed: Airflow with its DAGs, `workloads.pipelines` and `workloads.database` in it
    (workloads/database/airflow.Dockerfile), with a digest or a tag other than `latest`."""
    airflow_version: NotRequired[str]
    """Version of Airflow: in the image, default 3.3.2; of the managed one, default 3.0.6 (MWAA), 3.1.8 (Composer)."""
    network_id: pulumi.Input[str]
    """RegionalNetwork's output."""
    network_cidr: str
    """The network's addresses: of the database and of the cluster's API; of who may see the managed one's page."""
    private_subnet_ids: pulumi.Input[list[str]]
    """RegionalNetwork's output."""
    node_security_group_id: pulumi.Input[str]
    """GpuCluster's output of that name; AWS: who may connect to the database."""
    bucket: pulumi.Input[str]
    """Name of the region's bucket."""
    bucket_url: pulumi.Input[str]
    """`s3://<bucket>` or `gs://<bucket>`."""
    prefix: NotRequired[str]
    """Prefix of the bucket for logs, and on AWS for the managed one's DAGs; default `airflow`."""
    read_prefixes: NotRequired[list[str]]
    """What tasks may read of the bucket, besides what they write; default nothing."""
    write_prefixes: NotRequired[list[str]]
    """What tasks may write, overwrite and delete; default nothing."""
    encryption_key: pulumi.Input[str]
    """Key of the bucket, the database and Composer: ARN (AWS), id of the crypto key (GCP)."""
    database: NotRequired[DatabaseArgs]
    """In the cluster: size and safety of the PostgreSQL. Default small, in one zone."""
    replicas: NotRequired[int]
    """In the cluster: schedulers, and API servers; default 1 of each."""
    tracking_namespace: NotRequired[str]
    """In the cluster: namespace of the MlflowServer that tasks tell of their runs. Default none."""
    monitoring_namespace: NotRequired[str]
    """In the cluster: namespace of the Prometheus that scrapes it; default `monitoring`."""
    size: NotRequired[str]
    """Managed: `small` (default), `medium` or `large`."""
    max_workers: NotRequired[int]
    """Managed: most workers, 1 to 25; default 5, of which one is always there."""
    zonal_redundancy: NotRequired[bool]
    """Managed, on GCP: survives the loss of a zone; MWAA always does. Default false."""
    protect: NotRequired[bool]
    """Refuse to delete the database, or the managed one's key; default false."""
    tags: NotRequired[dict[str, str]]
    """Tags on AWS, labels on GCP."""


class AirflowDeployment(pulumi.ComponentResource):
    """Airflow 3, which starts each task of a DAG as a pod of its own, or on the cloud's own workers.

    In the cluster, in this order: the database (PostgresDatabase); a namespace, closed but for its own pods, the
    cluster's API, the database and, where it is named, MlflowServer; an identity of Airflow's own processes, which log
    in and keep logs, and another of tasks, which use their prefixes and know no database; the official chart with
    KubernetesExecutor; the PodMonitor of its StatsD exporter. DAGs are in the image: what runs is what was built.
    There is no user at first; `airflow users create` in an API server's pod makes one. A person sees it by
    `kubectl port-forward`.

    Managed: MWAA in private subnets, its page in the network alone, its key, its logs, and its role; or Cloud Composer
    3, private, under an account of its own and the region's key. DAGs are objects in the bucket (`dags_url`), and tasks
    run with Airflow's own identity.

    Takes a Kubernetes provider, and the cloud's, from `opts`. ValueError, naming the argument, for anything that
    Airflow, Kubernetes or the cloud would refuse.
    """

    url: pulumi.Output[str]
    """Where its API and its page are: inside the cluster, or inside the network."""
    dags_url: pulumi.Output[str]
    """Managed: where DAGs are put; else empty."""
    principal: pulumi.Output[str]
    """Whom tasks act as: ARN of the role, or member of Google's IAM."""

    def __init__(self, name: str, args: AirflowDeploymentArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        arguments.check(f"AirflowDeployment {name!r}", args, AirflowDeploymentArgs)
        _check(name, args)
        super().__init__("aicloud:index:AirflowDeployment", name, {**args}, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None)
        prefix = args.get("prefix", DEFAULT_PREFIX)
        if args.get("managed"):
            build = {"aws": airflow_aws.build, "gcp": airflow_gcp.build}[args["cloud"]]
            built = build(self, name, args, prefix, child)
        else:
            built = self._in_cluster(name, args, prefix, child)
        self.url, self.dags_url, self.principal = built.url, built.dags_url, built.principal
        self.register_outputs({"url": self.url, "dagsUrl": self.dags_url, "principal": self.principal})

    def _in_cluster(
        self, name: str, args: AirflowDeploymentArgs, prefix: str, child: pulumi.ResourceOptions
    ) -> Managed:
        database = PostgresDatabase(f"{name}-database", request("airflow", args, args.get("database") or {}), child)
        space, policies = closed_namespace(
            name, args["namespace"], {"traffic": _traffic(args)}, child, level="baseline"
        )
        placed = {"namespace": space.metadata["name"]}
        logs = {"bucket": args["bucket"], "prefix": f"{prefix}/logs/", "write": True, "key": args["encryption_key"]}
        own = self._identity(name, args, ACCOUNT, [logs], database.identity, child)
        tasks = self._identity(name, args, TASKS, [logs, *_prefixes(args)], {}, child)
        accounts = [
            k8s.core.v1.ServiceAccount(
                f"{name}-{account}",
                metadata={**placed, "name": account, "annotations": identity.annotations},
                opts=child,
            )
            for account, identity in ((ACCOUNT, own), (TASKS, tasks))
        ]
        login = database.login(own)
        connection = k8s.core.v1.Secret(
            f"{name}-connection",
            metadata={**placed, "name": airflow_values.CONNECTION},
            string_data={"connection": login.uri("postgresql+psycopg2")},
            opts=child,
        )
        repository, tag, digest = images.parts(args["image"])
        region = [{"name": "AWS_DEFAULT_REGION", "value": args["region"]}] if args["cloud"] == "aws" else []
        side = database_pod.side_container(args["image"], login.arguments, region)
        values = airflow_values.values(
            Airflow(
                repository=repository,
                tag=tag,
                digest=digest,
                version=args.get("airflow_version", DEFAULT_VERSION),
                executor_namespace=args["namespace"],
                logs=pulumi.Output.concat(args["bucket_url"], f"/{prefix}/logs"),
                replicas=int(args.get("replicas", 1)),
                side_container=database_pod.spelled(side),
                volume=database_pod.spelled(database_pod.VOLUME),
                mount=database_pod.spelled(database_pod.MOUNT),
                environment=[*database_pod.ENVIRONMENT, *region],
            )
        )
        release = charts.release(
            f"{name}-chart",
            airflow_values.CHART,
            values,
            self,
            namespace=space.metadata["name"],
            after=[*accounts, connection, tasks, *policies, *login.made, *_list(child.depends_on)],
        )
        k8s.apiextensions.CustomResource(
            f"{name}-monitor",
            api_version="monitoring.coreos.com/v1",
            kind="PodMonitor",
            metadata={**placed, "name": name},
            spec={
                "selector": {"matchLabels": {"tier": "airflow", "component": "statsd"}},
                "podMetricsEndpoints": [{"port": "statsd-scrape", "path": "/metrics", "interval": "30s"}],
            },
            opts=child,
        )
        return Managed(
            url=after(address(args["namespace"]), [release]),
            dags_url=pulumi.Output.from_input(""),
            principal=tasks.principal,
        )

    def _identity(
        self,
        name: str,
        args: AirflowDeploymentArgs,
        account: str,
        buckets: list[Any],
        more: Any,
        child: pulumi.ResourceOptions,
    ) -> WorkloadIdentity:
        return WorkloadIdentity(
            f"{name}-{account.removeprefix('airflow-')}-identity",
            {
                **identity_place(args),
                "service_account": account,
                "buckets": buckets,
                **more,
            },
            opts=child,
        )


def address(in_namespace: str) -> str:
    """Where the API is that the chart's release makes in a namespace."""
    return f"http://{airflow_values.CHART.chart}-api-server.{in_namespace}.svc.cluster.local:{API_PORT}"


def _prefixes(args: AirflowDeploymentArgs) -> list[dict[str, Any]]:
    common = {"bucket": args["bucket"], "key": args["encryption_key"]}
    return [
        *({**common, "prefix": f"{one}/"} for one in args.get("read_prefixes") or []),
        *({**common, "prefix": f"{one}/", "write": True} for one in args.get("write_prefixes") or []),
    ]


def _traffic(args: AirflowDeploymentArgs) -> dict[str, Any]:
    """Its own pods among themselves, scrapes, and out to the cluster's API, the database and the tracking server."""
    themselves: dict[str, Any] = {"pod_selector": {}}
    tracking = args.get("tracking_namespace")
    return {
        "pod_selector": {},
        "policy_types": ["Ingress", "Egress"],
        "ingress": [
            {"from_": [themselves]},
            {"from_": [namespace(args.get("monitoring_namespace", DEFAULT_MONITORING))], "ports": ports(STATSD_PORT)},
        ],
        "egress": [
            {"to": [themselves]},
            {"to": [block(args["network_cidr"])], "ports": ports(443, DATABASE_PORT)},
            *([{"to": [namespace(tracking)], "ports": ports(TRACKING_PORT)}] if tracking else []),
            *outbound(args["cloud"]),
        ],
    }


def _list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _check(name: str, args: AirflowDeploymentArgs) -> None:
    refuse = Refusal(f"AirflowDeployment {name!r}")
    refuse.one_of("cloud", args["cloud"], ("aws", "gcp"))
    if not NAME.fullmatch(name) or len(name) > 34:  # a role of IAM is called after it
        refuse("name", name, "accepted are up to 34 lower-case letters, digits and dashes")
    check_prefix(refuse, "prefix", args.get("prefix", DEFAULT_PREFIX))
    given: dict[str, Any] = {**args}
    for argument in ("read_prefixes", "write_prefixes"):
        for index, one in enumerate(given.get(argument) or []):
            check_prefix(refuse, f"{argument}[{index}]", one)
    check_database(refuse, args["network_cidr"], args.get("database") or {})
    managed = bool(args.get("managed"))
    for argument in _ONLY_OWN if managed else _ONLY_MANAGED:
        if argument in given:
            where = (
                "one in the cluster has it; managed is True" if managed else "the managed one has it; managed is not"
            )
            refuse(argument, given[argument], where)
    if managed:
        refuse.one_of("size", args.get("size", "small"), airflow_aws.CLASSES)
        if not 1 <= args.get("max_workers", 5) <= 25:
            refuse("max_workers", args.get("max_workers"), "accepted is 1 to 25")
        if args["cloud"] == "aws" and "zonal_redundancy" in args:
            refuse("zonal_redundancy", args["zonal_redundancy"], "MWAA is in two zones anyway")
        return
    for argument in ("namespace", "image"):
        if given.get(argument) is None:
            refuse(argument, None, "Airflow in the cluster needs one")
    for argument in ("namespace", "tracking_namespace", "monitoring_namespace"):
        refuse.unless_named(argument, given.get(argument, "airflow"))
    check_image(refuse, "image", args["image"])
    refuse.numbers_above_zero(args, "replicas")
