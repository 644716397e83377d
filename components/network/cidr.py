"""Which addresses each part of a region gets: pure functions from one CIDR to all subnets.

Two address spaces meet in a region. What other networks may want to reach (machines, load balancers, managed file
systems) lives in the region's own `cidr`. What never leaves the region (pods, Kubernetes services, GPU NICs) lives in
100.64.0.0/10, which RFC 6598 sets aside for exactly that and both clouds accept for pods. So a region's pods do not
shrink with its CIDR (a /20 would hold 24 machines' worth of pods, 100.64.0.0/16 holds hundreds), regions may all use
the same pod addresses, and nobody has to negotiate 65,536 routable addresses per region.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network

ZONES = 3
"""Zones of a region that are used."""

LARGEST, SMALLEST = 16, 20
"""Prefix lengths of a region's CIDR. /16 is the largest block that a VPC takes; below /20 a zone's private subnet would
hold fewer than 1,000 machines, endpoints and load balancer addresses.
https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html"""

PRIVATE_RANGES = tuple(IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
"""RFC 1918."""

REGION_LOCAL = IPv4Network("100.64.0.0/10")
"""RFC 6598: never routed out of a region, hence the same in all of them."""

AWS_PODS = IPv4Network("100.64.0.0/16")
"""One secondary block of a VPC; /16 is the largest that there is."""

GCP_PODS = IPv4Network("100.64.0.0/14")
"""1,024 machines: GKE gives each /24 for its 110 pods.
https://cloud.google.com/kubernetes-engine/docs/concepts/alias-ips#cluster_sizing_secondary_range_pods"""

GCP_SERVICES = IPv4Network("100.68.0.0/20")
"""4,096 Kubernetes services."""

GCP_GPUDIRECT = IPv4Network("100.69.0.0/18")
"""One /22 for each GPU NIC: 1,020 machines. The NICs of one machine may not have overlapping subnets, not even in
different networks."""

GPUDIRECT_PREFIX = 22

PODS_PER_MACHINE = 110
"""Kubernetes' own recommended limit, and what both clouds' pools here are set to.
https://kubernetes.io/docs/setup/best-practices/cluster-large/"""


@dataclass(frozen=True)
class AwsAddresses:
    """A VPC's subnets, one of each kind a zone, in the order of the zones."""

    vpc: IPv4Network
    private: tuple[IPv4Network, ...]
    """A quarter of the CIDR each: machines, interface endpoints, load balancers, file systems."""
    public: tuple[IPv4Network, ...]
    """A sixteenth each: nothing but NAT gateways."""
    pods: tuple[IPv4Network, ...]
    """A quarter of AWS_PODS each."""

    @property
    def machines(self) -> int:
        """Machines whose pods all get an address, with the VPC CNI's /28 prefixes: 8 of them for 110 pods."""
        prefixes = -(-PODS_PER_MACHINE // 16)
        usable = [subnet.num_addresses // 16 - 1 for subnet in self.pods]  # AWS keeps five addresses: one prefix gone
        return sum(count // (prefixes + 1) for count in usable)  # the CNI keeps one prefix warm


@dataclass(frozen=True)
class GcpAddresses:
    """A VPC network's ranges."""

    network: IPv4Network
    nodes: IPv4Network
    """Half of the CIDR."""
    private_services: IPv4Network
    """A quarter: Filestore and Managed Lustre, in Google's own network behind a peering."""
    pods: IPv4Network
    services: IPv4Network
    gpudirect: tuple[IPv4Network, ...]

    @property
    def machines(self) -> int:
        """Machines whose pods all get an address: GKE gives each twice its pods, rounded up to a power of two."""
        per_machine = 1 << (2 * PODS_PER_MACHINE - 1).bit_length()
        return min(self.pods.num_addresses // per_machine, self.nodes.num_addresses - 4)


def parse(cidr: str, where: str = "cidr") -> IPv4Network:
    """A region's CIDR. ValueError, naming `where`, unless it is a private IPv4 network from /16 to /20."""
    accepted = f"an RFC 1918 network from /{LARGEST} to /{SMALLEST}, such as 10.16.0.0/16"
    try:
        network = IPv4Network(cidr)
    except ValueError as error:
        raise ValueError(f"{where}: {cidr!r} is not an IPv4 network ({error}); expected {accepted}") from None
    if network.prefixlen > SMALLEST:
        raise ValueError(f"{where}: {cidr!r} is too small ({network.num_addresses} addresses); expected {accepted}")
    if network.prefixlen < LARGEST:
        raise ValueError(f"{where}: {cidr!r} is too large; expected {accepted}")
    if not any(network.subnet_of(private) for private in PRIVATE_RANGES):
        raise ValueError(f"{where}: {cidr!r} is not private; expected {accepted}")
    return network


def aws_addresses(cidr: str, where: str = "cidr") -> AwsAddresses:
    """Subnets of a VPC over three zones; a sixteenth of the CIDR stays free. ValueError as in `parse`."""
    vpc = parse(cidr, where)
    *private, rest = vpc.subnets(prefixlen_diff=2)
    return AwsAddresses(
        vpc=vpc,
        private=tuple(private),
        public=tuple(rest.subnets(prefixlen_diff=2))[:ZONES],
        pods=tuple(AWS_PODS.subnets(prefixlen_diff=2))[:ZONES],
    )


def gcp_addresses(cidr: str, gpudirect: int = 0, where: str = "cidr") -> GcpAddresses:
    """Ranges of a VPC network with `gpudirect` GPU NICs a machine; a quarter of the CIDR stays free.

    ValueError as in `parse`, and for more GPU NICs than there are ranges.
    """
    network = parse(cidr, where)
    nodes, rest = network.subnets()
    private_services, _ = rest.subnets()
    ranges = tuple(GCP_GPUDIRECT.subnets(new_prefix=GPUDIRECT_PREFIX))
    if not 0 <= gpudirect <= len(ranges):
        raise ValueError(f"gpudirect_networks: expected 0 to {len(ranges)}, got {gpudirect}")
    return GcpAddresses(network, nodes, private_services, GCP_PODS, GCP_SERVICES, ranges[:gpudirect])
