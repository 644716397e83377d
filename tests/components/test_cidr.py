"""The address plan of a region: what every choice of CIDR must keep true."""

from ipaddress import IPv4Network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.network import cidr

PARENTS = st.sampled_from(cidr.PRIVATE_RANGES)


@st.composite
def region_cidrs(draw: st.DrawFn) -> str:
    parent = draw(PARENTS)
    prefix = draw(st.integers(max(cidr.LARGEST, parent.prefixlen), cidr.SMALLEST))
    index = draw(st.integers(0, 2 ** (prefix - parent.prefixlen) - 1))
    return f"{parent.network_address + index * 2 ** (32 - prefix)}/{prefix}"


def disjoint(networks: list[IPv4Network]) -> bool:
    return not any(a.overlaps(b) for a, b in combinations(networks, 2))


@given(region_cidrs())
def test_aws_subnets_are_disjoint_inside_and_in_every_zone(block: str) -> None:
    plan = cidr.aws_addresses(block)
    assert disjoint([*plan.private, *plan.public, *plan.pods])
    assert all(subnet.subnet_of(plan.vpc) for subnet in (*plan.private, *plan.public))
    assert all(subnet.subnet_of(cidr.AWS_PODS) for subnet in plan.pods)
    assert len(plan.private) == len(plan.public) == len(plan.pods) == cidr.ZONES
    assert plan == cidr.aws_addresses(block)


@given(region_cidrs())
def test_aws_subnet_sizes_are_ones_that_a_vpc_takes(block: str) -> None:
    plan = cidr.aws_addresses(block)
    assert all(16 <= subnet.prefixlen <= 28 for subnet in (*plan.private, *plan.public, *plan.pods))
    assert min(subnet.num_addresses for subnet in plan.private) >= 1024


@given(region_cidrs(), st.integers(0, 16))
def test_gcp_ranges_are_disjoint_inside_and_one_for_each_nic(block: str, nics: int) -> None:
    plan = cidr.gcp_addresses(block, nics)
    assert disjoint([plan.nodes, plan.private_services, plan.pods, plan.services, *plan.gpudirect])
    assert plan.nodes.subnet_of(plan.network)
    assert plan.private_services.subnet_of(plan.network)
    assert all(r.subnet_of(cidr.REGION_LOCAL) for r in (plan.pods, plan.services, *plan.gpudirect))
    assert len(plan.gpudirect) == nics
    assert plan == cidr.gcp_addresses(block, nics)


@given(region_cidrs())
def test_pods_of_hundreds_of_machines_fit_however_small_the_cidr(block: str) -> None:
    assert cidr.aws_addresses(block).machines >= 380
    assert cidr.gcp_addresses(block).machines == 1024


@given(st.integers(cidr.SMALLEST + 1, 32))
def test_too_small_is_said_with_what_is_accepted(prefix: int) -> None:
    block = f"10.0.0.0/{prefix}"
    for plan in (cidr.aws_addresses, cidr.gcp_addresses):
        with pytest.raises(ValueError, match=r"net: '10\.0\.0\.0/\d+' is too small .* from /16 to /20"):
            plan(block, where="net")


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ("10.0.0.0/8", "too large"),
        ("10.0.0.1/16", "host bits"),
        ("10.0.0.0", "too small"),
        ("10.0.0.0/33", "not an IPv4 network"),
        ("fd00::/16", "not an IPv4 network"),
        ("8.8.0.0/16", "not private"),
        ("100.64.0.0/16", "not private"),
        ("", "not an IPv4 network"),
    ],
)
def test_wrong_blocks_are_named(block: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        cidr.parse(block)


@pytest.mark.parametrize("nics", [-1, 17])
def test_more_nics_than_ranges_are_refused(nics: int) -> None:
    with pytest.raises(ValueError, match="gpudirect_networks: expected 0 to 16"):
        cidr.gcp_addresses("10.0.0.0/16", nics)
