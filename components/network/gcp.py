"""RegionalNetwork on GCP: a VPC network that denies by default, and one more for each NIC that GPUs talk through."""

from collections.abc import Sequence

import pulumi
import pulumi_gcp as gcp

from components.network.cidr import GCP_GPUDIRECT, GcpAddresses, gcp_addresses
from components.network.parts import NetworkParts, NetworkRequest
from components.ordering import after
from components.tags import gcp_labels

MTU = {"tcpx": 8244, "tcpxo": 8244, "rdma": 8896}
"""Bytes, as each kind's own set-up guide asks for.
https://cloud.google.com/kubernetes-engine/docs/how-to/gpu-bandwidth-gpudirect-tcpx (8244),
https://cloud.google.com/ai-hypercomputer/docs/create/gke-ai-hypercompute-custom (8896)"""

LARGEST_MTU = 8896

HEALTH_CHECKERS = ["35.191.0.0/16", "130.211.0.0/22"]
"""From where Google's load balancers ask and send. https://cloud.google.com/load-balancing/docs/firewall-rules"""

LUSTRE_PORTS = ["988", "6988"]
"""Managed Lustre's servers call its clients back. https://cloud.google.com/managed-lustre/docs/vpc"""

POD_RANGE, SERVICE_RANGE = "pods", "services"

MOST_NICS = 15
"""GPU NICs of a machine: one range of GCP_GPUDIRECT each, and one for the second gVNIC of RoCE machines."""

LONGEST_RETENTION_DAYS = 3650
"""https://cloud.google.com/logging/docs/buckets#custom-retention"""


def check_retention(days: int, where: str) -> None:
    """ValueError unless Cloud Logging offers that retention."""
    if not 1 <= days <= LONGEST_RETENTION_DAYS:
        raise ValueError(f"{where}: expected 1 to {LONGEST_RETENTION_DAYS} on GCP, got {days}")


def check_fabric(networks: int, fabric: str, zone: str, zones: Sequence[str], where: str) -> None:
    """ValueError for an unknown fabric, too many NICs, or RoCE without one of `zones`."""
    if fabric not in MTU:
        raise ValueError(f"{where}: gpudirect_fabric: expected one of {', '.join(MTU)}, got {fabric!r}")
    if not 0 <= networks <= MOST_NICS:
        raise ValueError(f"{where}: gpudirect_networks: expected 0 to {MOST_NICS}, got {networks}")
    if networks and fabric == "rdma" and zone not in zones:
        raise ValueError(
            f"{where}: gpudirect_zone: RoCE networks are zonal; expected one of {list(zones)}, got {zone!r}"
        )


def build(parent: pulumi.Resource, request: NetworkRequest) -> NetworkParts:
    """The VPC networks and everything in them, as children of `parent`."""
    return _Network(parent, request).parts


class _Network:
    """The steps of `build`, in the order in which the resources exist."""

    def __init__(self, parent: pulumi.Resource, request: NetworkRequest):
        self.request, self.name, self.region = request, request.name, request.region
        self.child = pulumi.ResourceOptions(parent=parent)
        self.ask = pulumi.InvokeOptions(parent=parent)
        self.rdma = request.gpudirect_fabric == "rdma"
        # RoCE machines have a second gVNIC, for the host's own traffic, beside the GPUs' NICs.
        nics = request.gpudirect_networks + (1 if self.rdma and request.gpudirect_networks else 0)
        addresses = gcp_addresses(request.cidr, nics)

        mtu = MTU[request.gpudirect_fabric] if nics else LARGEST_MTU
        self.network = self._vpc_network(self.name, mtu)
        subnet = self._subnet(addresses)
        nat = self._nat(subnet)
        rules = self._firewall(addresses)
        services = self._private_services(addresses)
        networks, subnetworks = self._gpudirect(addresses)

        self.parts = NetworkParts(
            # Filestore and Lustre name just the network, and fail while it has no private services access.
            network_id=after(self.network.id, [services]),
            # Without Cloud NAT a private machine can pull no image from outside Google, so it waits for that.
            private_subnet_ids=after([subnet.id], [nat, *rules]),
            public_subnet_ids=pulumi.Output.from_input([]),
            pod_subnet_ids=pulumi.Output.from_input([]),
            pod_range_name=POD_RANGE,
            service_range_name=SERVICE_RANGE,
            fabric_security_group_id=pulumi.Output.from_input(""),
            gpudirect_networks=networks,
            gpudirect_subnetworks=subnetworks,
        )

    def _vpc_network(self, name: str, mtu: int, profile: str | None = None) -> gcp.compute.Network:
        return gcp.compute.Network(
            name,
            auto_create_subnetworks=False,
            routing_mode="REGIONAL",
            mtu=mtu,
            network_profile=profile,
            opts=self.child,
        )

    def _subnet(self, addresses: GcpAddresses) -> gcp.compute.Subnetwork:
        subnet = gcp.compute.Subnetwork(
            self.name,
            region=self.region,
            network=self.network.id,
            ip_cidr_range=str(addresses.nodes),
            secondary_ip_ranges=[
                {"range_name": POD_RANGE, "ip_cidr_range": str(addresses.pods)},
                {"range_name": SERVICE_RANGE, "ip_cidr_range": str(addresses.services)},
            ],
            private_ip_google_access=True,
            log_config={
                "aggregation_interval": "INTERVAL_1_MIN",
                "flow_sampling": 0.5,
                "metadata": "INCLUDE_ALL_METADATA",
            },
            opts=self.child,
        )
        project = gcp.organizations.get_project(opts=self.ask).project_id
        # The project's own log bucket keeps everything for one time; a bucket of its own gives flow logs theirs.
        logs = gcp.logging.ProjectBucketConfig(
            f"{self.name}-flow-logs",
            project=project,
            location=self.region,
            bucket_id=f"{self.name}-flow-logs",
            retention_days=self.request.flow_log_retention_days,
            description=f"Flow logs of {self.name}",
            opts=self.child,
        )
        gcp.logging.ProjectSink(
            f"{self.name}-flow-logs",
            destination=pulumi.Output.concat("logging.googleapis.com/", logs.id),
            filter=pulumi.Output.concat(
                'log_id("compute.googleapis.com/vpc_flows") AND resource.labels.subnetwork_name="', subnet.name, '"'
            ),
            unique_writer_identity=True,
            opts=self.child,
        )
        return subnet

    def _nat(self, subnet: gcp.compute.Subnetwork) -> gcp.compute.RouterNat:
        router = gcp.compute.Router(self.name, region=self.region, network=self.network.id, opts=self.child)
        return gcp.compute.RouterNat(
            self.name,
            region=self.region,
            router=router.name,
            nat_ip_allocate_option="AUTO_ONLY",
            source_subnetwork_ip_ranges_to_nat="LIST_OF_SUBNETWORKS",
            subnetworks=[{"name": subnet.id, "source_ip_ranges_to_nats": ["ALL_IP_RANGES"]}],
            # A GPU machine that pulls a data set opens more connections at once than the 64 ports it gets otherwise.
            enable_dynamic_port_allocation=True,
            enable_endpoint_independent_mapping=False,
            min_ports_per_vm=64,
            max_ports_per_vm=32768,
            log_config={"enable": True, "filter": "ERRORS_ONLY"},
            opts=self.child,
        )

    def _firewall(self, addresses: GcpAddresses) -> list[pulumi.Resource]:
        inside = [str(addresses.nodes), str(addresses.pods)]
        return [
            # Every network denies what comes in unless a rule allows it, but silently: this one says so in the log.
            gcp.compute.Firewall(
                f"{self.name}-deny",
                network=self.network.id,
                description="Deny and log what no other rule allows",
                direction="INGRESS",
                priority=65534,
                denies=[{"protocol": "all"}],
                source_ranges=["0.0.0.0/0"],
                log_config={"metadata": "INCLUDE_ALL_METADATA"},
                opts=self.child,
            ),
            self._allow("internal", self.network, "Machines and pods of this region among themselves", inside),
            self._allow("health", self.network, "Google's load balancers and health checks", HEALTH_CHECKERS, ["tcp"]),
            gcp.compute.Firewall(
                f"{self.name}-lustre",
                network=self.network.id,
                description="Managed Lustre calls its clients back",
                direction="INGRESS",
                priority=1000,
                allows=[{"protocol": "tcp", "ports": LUSTRE_PORTS}],
                source_ranges=[str(addresses.private_services)],
                opts=self.child,
            ),
        ]

    def _allow(
        self,
        name: str,
        network: gcp.compute.Network,
        description: str,
        sources: list[str],
        protocols: Sequence[str] = ("tcp", "udp", "icmp"),
    ) -> gcp.compute.Firewall:
        return gcp.compute.Firewall(
            f"{self.name}-{name}",
            network=network.id,
            description=description,
            direction="INGRESS",
            priority=1000,
            allows=[{"protocol": protocol} for protocol in protocols],
            source_ranges=sources,
            opts=self.child,
        )

    def _private_services(self, addresses: GcpAddresses) -> gcp.servicenetworking.Connection:
        block = addresses.private_services
        reserved = gcp.compute.GlobalAddress(
            f"{self.name}-services",
            purpose="VPC_PEERING",
            address_type="INTERNAL",
            address=str(block.network_address),
            prefix_length=block.prefixlen,
            network=self.network.id,
            labels=gcp_labels(self.request.tags),
            opts=self.child,
        )
        return gcp.servicenetworking.Connection(
            f"{self.name}-services",
            network=self.network.id,
            service="servicenetworking.googleapis.com",
            reserved_peering_ranges=[reserved.name],
            # Cloud SQL lets go of the connection only days after its last instance is gone; with the network it goes
            # anyway (provider's documentation of the field).
            deletion_policy="ABANDON",
            opts=self.child,
        )

    def _gpudirect(self, addresses: GcpAddresses) -> tuple[pulumi.Output[list[str]], pulumi.Output[list[str]]]:
        """A network and subnet for each NIC, as two lists that belong together: NIC i is in network i, subnet i."""
        nics: list[tuple[gcp.compute.Network, gcp.compute.Subnetwork]] = []
        rules: list[pulumi.Resource] = []
        roce = self._roce_network() if self.rdma and addresses.gpudirect else None
        for index, block in enumerate(addresses.gpudirect):
            name = f"{self.name}-gpu-{index}"
            network = roce if roce and index else self._vpc_network(name, MTU[self.request.gpudirect_fabric])
            if network is not roce:  # RoCE networks take no firewall rules
                allowed = self._allow(f"gpu-{index}", network, f"GPU NIC {index} among machines", [str(GCP_GPUDIRECT)])
                rules.append(allowed)
            subnet = gcp.compute.Subnetwork(
                name, region=self.region, network=network.id, ip_cidr_range=str(block), opts=self.child
            )
            nics.append((network, subnet))
        return after([network.name for network, _ in nics], rules), after([subnet.name for _, subnet in nics], rules)

    def _roce_network(self) -> gcp.compute.Network:
        """https://cloud.google.com/vpc/docs/rdma-network-profiles"""
        project = gcp.organizations.get_project(opts=self.ask).project_id
        profile = f"projects/{project}/global/networkProfiles/{self.request.gpudirect_zone}-vpc-roce"
        return self._vpc_network(f"{self.name}-roce", MTU["rdma"], profile)
