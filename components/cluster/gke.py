"""The GKE control plane: its keys, its logs, the cluster, its system nodes, and how to reach it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_gcp as gcp

from components.accelerators import CATALOG, MachineType
from components.cluster import gke_pools, parts
from components.cluster.ladder import Pool
from components.tags import gcp_labels

SYSTEM_MACHINE = "e2-standard-4"
SYSTEM_MACHINES = 3
KEY_ROTATION = f"{90 * 24 * 3600}s"
NODE_ROLES = ("roles/container.defaultNodeServiceAccount", "roles/artifactregistry.reader")
"""What a node itself may do: write logs and metrics, and pull images. Pods have their own identity."""

MAINTENANCE = {
    "start_time": "2026-01-03T02:00:00Z",
    "end_time": "2026-01-03T10:00:00Z",
    "recurrence": "FREQ=WEEKLY;BYDAY=SA,SU",
}
"""Weekends, eight hours a day, which is more than the 48 hours in 32 days that GKE demands. The dates are the first
window of the series, not its end."""

SYSTEM_HEADROOM = 16
"""System machines that node auto-provisioning may count on beside the pools' own."""


@dataclass(frozen=True, kw_only=True)
class GkeOptions:
    """What a GKE cluster is made of; ids are Pulumi inputs, everything else decides which resources exist."""

    region: str
    cluster_name: str
    kubernetes_version: str
    network_id: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[str]]
    pod_range_name: pulumi.Input[str]
    service_range_name: pulumi.Input[str]
    zones: pulumi.Input[Sequence[str]]
    pools: Sequence[Pool]
    administrators: Sequence[str]
    public_access_cidrs: Sequence[str]
    log_retention_days: int
    protect: bool
    tags: Mapping[str, str]


class GkeControlPlane(pulumi.ComponentResource):
    """A regional GKE cluster that only the private network reaches.

    - a key, rotated every 90 days, with which GKE encrypts etcd and Compute Engine the nodes' disks
    - a log bucket with retention, and the sink that fills it with this cluster's logs
    - the nodes' service account, with as little as a node needs
    - the cluster: private nodes and endpoint, Dataplane V2, Workload Identity, shielded nodes, Binary Authorization,
      image streaming, a release channel with a weekend window, and limits for node auto-provisioning
    - the system node pool, one machine a zone, on which the operators run
    """

    cluster: gcp.container.Cluster
    key: gcp.kms.CryptoKey
    service_account: gcp.serviceaccount.Account
    system: gcp.container.NodePool
    kubeconfig: pulumi.Output[str]
    workload_identity_pool: str

    def __init__(
        self,
        name: str,
        args: GkeOptions,
        opts: pulumi.ResourceOptions | None = None,
        *,
        after: Sequence[pulumi.Resource] = (),
    ) -> None:
        super().__init__("aicloud:cluster:GkeControlPlane", name, {}, opts)
        self._name, self._args = name, args
        self._labels = gcp_labels(args.tags)
        project = gcp.organizations.get_project(opts=pulumi.InvokeOptions(parent=self))
        self._project, number = str(project.project_id), str(project.number)
        self.workload_identity_pool = f"{self._project}.svc.id.goog"
        users = self._key(number)
        logs = self._logs()
        roles = self._nodes_identity()
        self.cluster = gcp.container.Cluster(
            f"{name}-cluster",
            name=args.cluster_name,
            location=args.region,
            **self._cluster(),
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect, depends_on=[*users, logs, *roles, *after]),
        )
        self.system = gcp.container.NodePool(
            f"{name}-system",
            name="system",
            cluster=self.cluster.name,
            location=args.region,
            node_locations=args.zones,
            autoscaling={
                "total_min_node_count": SYSTEM_MACHINES,
                "total_max_node_count": 2 * SYSTEM_MACHINES,
                "location_policy": "BALANCED",
            },
            initial_node_count=1,
            node_config={**self._node_defaults(), "machine_type": SYSTEM_MACHINE, "resource_labels": self._labels},
            network_config={"enable_private_nodes": True},
            management={"auto_repair": True, "auto_upgrade": True},
            upgrade_settings={"max_surge": 1, "max_unavailable": 0},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.kubeconfig = pulumi.Output.secret(
            pulumi.Output.json_dumps(
                kubeconfig(
                    args.cluster_name,
                    self.cluster.endpoint.apply(lambda endpoint: f"https://{endpoint}"),
                    self.cluster.master_auth.apply(lambda auth: auth.cluster_ca_certificate),
                )
            )
        )
        self.register_outputs({})

    def _key(self, number: str) -> list[pulumi.Resource]:
        ring = gcp.kms.KeyRing(
            f"{self._name}-keys",
            name=self._args.cluster_name,
            location=self._args.region,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.key = gcp.kms.CryptoKey(
            f"{self._name}-key",
            name="cluster",
            key_ring=ring.id,
            purpose="ENCRYPT_DECRYPT",
            rotation_period=KEY_ROTATION,
            labels=self._labels,
            opts=pulumi.ResourceOptions(parent=self, protect=self._args.protect),
        )
        return [
            gcp.kms.CryptoKeyIAMMember(
                f"{self._name}-key-{agent}",
                crypto_key_id=self.key.id,
                role="roles/cloudkms.cryptoKeyEncrypterDecrypter",
                member=f"serviceAccount:service-{number}@{agent}.iam.gserviceaccount.com",
                opts=pulumi.ResourceOptions(parent=self),
            )
            for agent in ("container-engine-robot", "compute-system")
        ]

    def _logs(self) -> pulumi.Resource:
        bucket = gcp.logging.ProjectBucketConfig(
            f"{self._name}-logs",
            project=self._project,
            location=self._args.region,
            bucket_id=self._args.cluster_name,
            retention_days=self._args.log_retention_days,
            description=f"Logs of the cluster {self._args.cluster_name}",
            opts=pulumi.ResourceOptions(parent=self),
        )
        return gcp.logging.ProjectSink(
            f"{self._name}-logs",
            name=f"{self._args.cluster_name}-logs",
            destination=bucket.id.apply(lambda path: f"logging.googleapis.com/{path}"),
            filter=f'resource.labels.cluster_name="{self._args.cluster_name}"'
            f' AND resource.labels.location="{self._args.region}"',
            unique_writer_identity=True,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _nodes_identity(self) -> list[pulumi.Resource]:
        self.service_account = gcp.serviceaccount.Account(
            f"{self._name}-nodes",
            account_id=account_id(self._args.cluster_name),
            display_name=f"Nodes of {self._args.cluster_name}",
            opts=pulumi.ResourceOptions(parent=self),
        )
        return [
            gcp.projects.IAMMember(
                f"{self._name}-nodes-{role.rsplit('.', 1)[-1]}",
                project=self._project,
                role=role,
                member=self.service_account.email.apply(lambda email: f"serviceAccount:{email}"),
                opts=pulumi.ResourceOptions(parent=self),
            )
            for role in NODE_ROLES
        ]

    def _node_defaults(self) -> dict[str, Any]:
        return {
            "service_account": self.service_account.email,
            "oauth_scopes": ["https://www.googleapis.com/auth/cloud-platform"],
            "image_type": "COS_CONTAINERD",
            "boot_disk_kms_key": self.key.id,
            "gcfs_config": {"enabled": True},
            "shielded_instance_config": {"enable_secure_boot": True, "enable_integrity_monitoring": True},
            "workload_metadata_config": {"mode": "GKE_METADATA"},
            "metadata": {"disable-legacy-endpoints": "true"},
        }

    def _cluster(self) -> dict[str, Any]:
        args = self._args
        groups = [admin.removeprefix("group:") for admin in args.administrators if admin.startswith("group:")]
        return {
            "min_master_version": args.kubernetes_version,
            "release_channel": {"channel": "REGULAR"},
            "network": args.network_id,
            "subnetwork": pulumi.Output.from_input(args.subnet_ids).apply(lambda subnets: subnets[0]),
            "networking_mode": "VPC_NATIVE",
            "ip_allocation_policy": {
                "cluster_secondary_range_name": args.pod_range_name,
                "services_secondary_range_name": args.service_range_name,
            },
            "node_locations": args.zones,
            # The first pool cannot be described as fully as a NodePool; it is removed at once.
            "remove_default_node_pool": True,
            "initial_node_count": 1,
            "node_config": self._node_defaults(),
            "datapath_provider": "ADVANCED_DATAPATH",
            "enable_multi_networking": any(pool.fabric for pool in args.pools),
            "enable_shielded_nodes": True,
            "enable_intranode_visibility": True,
            "private_cluster_config": {
                "enable_private_nodes": True,
                "enable_private_endpoint": not args.public_access_cidrs,
                "master_global_access_config": {"enabled": False},
            },
            "master_authorized_networks_config": {
                "cidr_blocks": [{"cidr_block": cidr, "display_name": cidr} for cidr in args.public_access_cidrs],
                "gcp_public_cidrs_access_enabled": False,
            },
            "workload_identity_config": {"workload_pool": self.workload_identity_pool},
            "authenticator_groups_config": {"security_group": f"gke-security-groups@{groups[0].split('@')[-1]}"}
            if groups
            else None,
            "database_encryption": {"state": "ENCRYPTED", "key_name": self.key.id},
            "binary_authorization": {"evaluation_mode": "PROJECT_SINGLETON_POLICY_ENFORCE"},
            "security_posture_config": {"mode": "BASIC", "vulnerability_mode": "VULNERABILITY_BASIC"},
            "node_pool_defaults": {"node_config_defaults": {"gcfs_config": {"enabled": True}}},
            "cluster_autoscaling": {
                "enabled": True,
                "autoscaling_profile": "BALANCED",
                "resource_limits": autoscaling_limits(args.pools),
                "auto_provisioning_defaults": {
                    "service_account": self.service_account.email,
                    "oauth_scopes": ["https://www.googleapis.com/auth/cloud-platform"],
                    "image_type": "COS_CONTAINERD",
                    "boot_disk_kms_key": self.key.id,
                    "management": {"auto_repair": True, "auto_upgrade": True},
                    "shielded_instance_config": {"enable_secure_boot": True, "enable_integrity_monitoring": True},
                },
            },
            "addons_config": {
                "http_load_balancing": {"disabled": False},
                "horizontal_pod_autoscaling": {"disabled": False},
                "dns_cache_config": {"enabled": True},
                "gce_persistent_disk_csi_driver_config": {"enabled": True},
                "gcp_filestore_csi_driver_config": {"enabled": True},
                "gcs_fuse_csi_driver_config": {"enabled": True},
                "lustre_csi_driver_config": {"enabled": True},
            },
            # Envoy Gateway brings the Gateway API's definitions (components.cluster.gateway), newer ones; with Google's
            # own controller there, two would keep the same definitions.
            "gateway_api_config": {"channel": "CHANNEL_DISABLED"},
            "cost_management_config": {"enabled": True},
            "logging_config": {
                "enable_components": [
                    "SYSTEM_COMPONENTS",
                    "WORKLOADS",
                    "APISERVER",
                    "CONTROLLER_MANAGER",
                    "SCHEDULER",
                ]
            },
            "monitoring_config": {
                # Without DCGM: the add-ons bring an exporter that also tells of errors (components.cluster.dcgm).
                "enable_components": ["SYSTEM_COMPONENTS", "APISERVER", "SCHEDULER", "CONTROLLER_MANAGER"],
                "managed_prometheus": {"enabled": True},
            },
            "maintenance_policy": {"recurring_window": MAINTENANCE},
            "deletion_protection": args.protect,
            "resource_labels": self._labels,
        }


def account_id(cluster_name: str) -> str:
    """Id of the nodes' service account: 6 to 30 characters. https://cloud.google.com/iam/docs/service-accounts-create"""
    return f"{cluster_name[:24].rstrip('-')}-nodes"


def autoscaling_limits(pools: Sequence[Pool]) -> list[dict[str, Any]]:
    """Node auto-provisioning's limits, which hold for the whole cluster: what all rungs of all pools may grow to.

    Anything less would stop the pools themselves from growing.
    """
    vcpus, memory = SYSTEM_HEADROOM * 4, SYSTEM_HEADROOM * 16
    accelerators: dict[str, int] = {}
    for pool in pools:
        machines = sum(capacity.standing + capacity.elastic for capacity in gke_pools.rungs(pool))
        vcpus += machines * pool.machine.vcpus
        memory += machines * pool.machine.memory_gib
        if isinstance(pool.machine, MachineType):
            kind = pool.machine.gke_accelerator or CATALOG[pool.accelerator].gke_accelerator
            accelerators[kind] = accelerators.get(kind, 0) + machines * pool.machine.count
    limits = {"cpu": vcpus, "memory": memory, **dict(sorted(accelerators.items()))}
    return [{"resource_type": kind, "minimum": 0, "maximum": maximum} for kind, maximum in limits.items()]


def kubeconfig(name: str, server: pulumi.Input[str], authority: pulumi.Input[str]) -> dict[str, Any]:
    """A kubeconfig that asks Google's own plugin for tokens."""
    plugin = "gke-gcloud-auth-plugin"
    hint = f"gcloud components install {plugin}"
    return parts.kubeconfig(
        name, server, authority, {"command": plugin, "installHint": hint, "provideClusterInfo": True}
    )
