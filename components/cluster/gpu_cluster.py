"""GpuCluster: a Kubernetes cluster with node pools of accelerators, on EKS or GKE behind one set of arguments."""

import re
from typing import NotRequired, Optional, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import arguments
from components.cluster import pool_args
from components.cluster.build_aws import build as build_aws
from components.cluster.build_gcp import build as build_gcp
from components.cluster.serving_values import MODES as KSERVE_MODES
from components.ordering import prerequisites

DEFAULT_KUBERNETES_VERSION = "1.35"
"""Supported on both clouds and by every add-on; Karpenter 1.14 goes up to 1.36."""
DEFAULT_LOG_RETENTION_DAYS = 90

_CLUSTER_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")


class RungArgs(TypedDict):
    """One rung of a capacity ladder: a way to get machines."""

    kind: str
    """`reservation`, `capacity-block` (AWS), `flex-start` (GCP), `spot` or `on-demand`."""
    reservations: NotRequired[list[str]]
    """Ids of the capacity reservations or blocks (`cr-...`), or names of reservations on GCP."""
    floor: NotRequired[int]
    """Machines that always stand on this rung; default 0."""
    ceiling: NotRequired[int]
    """Most machines on this rung; default the pool's `max`."""


class TaintArgs(TypedDict):
    """A taint of a pool's nodes."""

    key: str
    """Such as `example.com/team`."""
    value: NotRequired[str]
    """Default empty."""
    effect: str
    """`NoSchedule`, `PreferNoSchedule` or `NoExecute`."""


class GpuSharingArgs(TypedDict):
    """How pods share the GPUs of a pool."""

    mode: str
    """`mig` or `time-slicing`."""
    profile: NotRequired[str]
    """MIG profile, such as `1g.10gb`."""
    replicas: NotRequired[int]
    """Pods to a GPU with time slicing, 2 or more."""


class NodePoolArgs(TypedDict):
    """A set of like machines that pods find by the label `aicloud.dev/pool`."""

    name: str
    """At most 24 lower-case letters, digits and dashes."""
    purpose: str
    """`system`, `serving` or `training`."""
    accelerator: NotRequired[str]
    """A key of the catalog, such as `h100-80gb`; none for a CPU pool."""
    accelerators_per_machine: NotRequired[int]
    """Default 8 with fabric, else 1; the smallest machine with at least so many is taken."""
    machine_type: NotRequired[str]
    """A machine type of the catalog, to override the choice, or for CPU pools."""
    min: int
    """Machines that always stand."""
    max: int
    """Most machines that demand may bring."""
    ladder: list[RungArgs]
    """Ways to get a machine, the first one first."""
    static: NotRequired[bool]
    """A fixed number of machines, placed close together in one zone; `min` equals `max`. Default false."""
    fabric: NotRequired[bool]
    """Attach the network between machines that training uses (EFA, GPUDirect). Default false."""
    gpu_sharing: NotRequired[GpuSharingArgs]
    """Default: a GPU belongs to one pod."""
    local_nvme_raid: NotRequired[bool]
    """Stripe the local NVMe disks as the pods' ephemeral storage. Default false."""
    zones: NotRequired[list[str]]
    """Zones of the network; default all, or the first one for a static pool. A reservation lies in one: name it."""
    labels: NotRequired[dict[str, str]]
    """More labels of the nodes."""
    taints: NotRequired[list[TaintArgs]]
    """More taints of the nodes."""
    disk_gib: NotRequired[int]
    """Root disk in GiB; default 200."""


class GpuClusterArgs(TypedDict):
    """Arguments of GpuCluster. What RegionalNetwork gives out goes in under the same names."""

    cloud: str
    """`aws` or `gcp`."""
    region: str
    """Such as `us-east-1` or `europe-west4`."""
    cluster_name: NotRequired[str]
    """Name in the cloud, at most 40 lower-case letters, digits and dashes; default the component's name."""
    kubernetes_version: NotRequired[str]
    """Minor version; default 1.35."""
    network_id: pulumi.Input[str]
    """VPC id, or the network on GCP."""
    private_subnet_ids: pulumi.Input[list[str]]
    """Subnets of nodes and control plane, in the order of `zones`; one on GCP."""
    pod_subnet_ids: pulumi.Input[list[str]]
    """AWS: subnets of pods, in the order of `zones`."""
    pod_range_name: pulumi.Input[str]
    """GCP: secondary range of pods."""
    service_range_name: pulumi.Input[str]
    """GCP: secondary range of services."""
    fabric_security_group_id: pulumi.Input[str]
    """AWS: security group of machines with EFA."""
    gpudirect_networks: pulumi.Input[list[str]]
    """GCP: networks of the additional NICs of machines with fabric."""
    gpudirect_subnetworks: pulumi.Input[list[str]]
    """GCP: their subnetworks, in the same order."""
    zones: pulumi.Input[list[str]]
    """Zones of the network."""
    node_pools: list[NodePoolArgs]
    """Node pools; the system nodes come by themselves."""
    administrators: NotRequired[list[str]]
    """ARNs of IAM principals on AWS; `user:`, `group:` or `serviceAccount:` members on GCP."""
    public_access_cidrs: NotRequired[list[str]]
    """Who may reach the API server from outside the network; default nobody."""
    log_retention_days: NotRequired[int]
    """Days to keep control-plane logs; default 90."""
    kserve: NotRequired[str]
    """KServe's operator among the add-ons: `raw` (its servers are Deployments) or `serverless` (with Knative, for
    servers that scale to zero; raw ones are served as well). Default none."""
    prometheus: NotRequired[bool]
    """A Prometheus among the add-ons, which autoscalers ask; default true. Give false where an Observability brings the
    cluster's Prometheus."""
    protect: NotRequired[bool]
    """Refuse to delete the cluster and its keys; default false."""
    tags: NotRequired[dict[str, str]]
    """Tags, or labels on GCP, of everything that bears them."""


class GpuCluster(pulumi.ComponentResource):
    """A Kubernetes cluster whose node pools climb down a capacity ladder.

    Its parts, in the order in which they exist, are those of `build_aws.build` and `build_gcp.build`:

    1. control plane, with a key, logs, private endpoint and administrators (EksControlPlane, GkeControlPlane)
    2. what nodes need to join (EKS add-ons), the system nodes, and the machines that always stand (EksNodes)
    3. the Kubernetes provider, which everything inside the cluster uses
    4. elastic pools: Karpenter's NodePools, or GKE node pools with a ComputeClass (Karpenter, GkeNodes)
    5. add-ons: storage class, metrics, Kueue, operators of serving and training, device plugins (Addons); the queues
       are TrainingQueue's

    It is taken down in the opposite order: custom resources before the operators that define them; NodePools, with all
    machines that Karpenter started, before Karpenter; releases before nodes; and the network, made by someone else and
    only referred to here, last. Load balancers never get in the way: no controller makes any, they are all Pulumi's.

    The endpoint is private unless `public_access_cidrs` says otherwise, so `pulumi up` has to run within the network's
    reach: a runner in the VPC, or a VPN.

    ValueError for arguments that don't fit, naming the pool, the argument, what it got and what it accepts.
    """

    cluster_name: pulumi.Output[str]
    """Name in the cloud."""
    endpoint: pulumi.Output[str]
    """Address of the API server."""
    kubeconfig: pulumi.Output[str]
    """Secret: a kubeconfig that gets its tokens from the cloud's own command-line tool."""
    workload_identity_pool: pulumi.Output[str]
    """`<project>.svc.id.goog` on GCP, empty on AWS."""
    node_security_group_id: pulumi.Output[str]
    """Security group of nodes and pods on AWS, empty on GCP."""

    def __init__(self, name: str, args: GpuClusterArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        arguments.check(f"GpuCluster {name!r}", args, GpuClusterArgs)
        _check(name, args)
        pools = pool_args.pools(f"GpuCluster {name!r}", args["cloud"], args["region"], args["node_pools"])
        pool_args.check_zones(f"GpuCluster {name!r}", pools, args["zones"])
        super().__init__("aicloud:index:GpuCluster", name, {**args}, opts)
        # Defaults are settled here once, so that both clouds read the same dictionary.
        settled: GpuClusterArgs = {
            **args,
            "cluster_name": args.get("cluster_name") or name,
            "kubernetes_version": args.get("kubernetes_version") or DEFAULT_KUBERNETES_VERSION,
            "log_retention_days": int(args.get("log_retention_days") or DEFAULT_LOG_RETENTION_DAYS),
            "prometheus": args.get("prometheus", True),
        }
        build = {"aws": build_aws, "gcp": build_gcp}[args["cloud"]]
        parts = build(self, name, settled, pools, after=prerequisites(opts))

        self.kubernetes: k8s.Provider = parts.kubernetes
        """Provider for what is placed in this cluster."""
        self.addons: list[pulumi.Resource] = parts.addons
        """Operators, definitions and pools: what workloads depend on."""
        self.cluster_name = parts.cluster_name
        self.endpoint = parts.endpoint
        self.kubeconfig = parts.kubeconfig
        self.workload_identity_pool = parts.workload_identity_pool
        self.node_security_group_id = parts.node_security_group_id
        self.register_outputs(
            {
                "clusterName": self.cluster_name,
                "endpoint": self.endpoint,
                "kubeconfig": self.kubeconfig,
                "workloadIdentityPool": self.workload_identity_pool,
                "nodeSecurityGroupId": self.node_security_group_id,
            }
        )


def _check(name: str, args: GpuClusterArgs) -> None:
    where = f"GpuCluster {name!r}"
    cloud = args["cloud"]
    if cloud not in ("aws", "gcp"):
        raise ValueError(f"{where}: cloud is {cloud!r}; accepted are 'aws' and 'gcp'")
    cluster_name = args.get("cluster_name") or name
    if not _CLUSTER_NAME.fullmatch(cluster_name):
        raise ValueError(
            f"{where}: cluster_name is {cluster_name!r}; accepted are at most 40 lower-case letters, digits and dashes"
        )
    version = args.get("kubernetes_version") or DEFAULT_KUBERNETES_VERSION
    if not re.fullmatch(r"1\.\d{2}", version):
        raise ValueError(f"{where}: kubernetes_version is {version!r}; accepted is a minor version such as '1.35'")
    prefixes = {"aws": ("arn:",), "gcp": ("user:", "group:", "serviceAccount:")}[cloud]
    for administrator in args.get("administrators") or []:
        if not administrator.startswith(prefixes):
            raise ValueError(
                f"{where}: administrators has {administrator!r}; on {cloud} each begins with {' or '.join(prefixes)}"
            )
    if (kserve := args.get("kserve", "")) not in ("", *KSERVE_MODES):
        raise ValueError(
            f"{where}: kserve is {kserve!r}; accepted are {' and '.join(map(repr, KSERVE_MODES))}, or none"
        )
    if "0.0.0.0/0" in (args.get("public_access_cidrs") or []):
        raise ValueError(f"{where}: public_access_cidrs has '0.0.0.0/0'; name the networks that need access")
