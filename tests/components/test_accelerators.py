"""The catalog: consistent in itself, and helpful where something isn't offered."""

from __future__ import annotations

from datetime import date

import pytest

from components.accelerators import (
    CATALOG,
    MACHINES,
    REGIONS,
    RUNGS,
    USUAL_CPU_MACHINES,
    MachineType,
    NotOffered,
    accelerator,
    best_machine,
    cpu_machine,
    machine_type,
    machines,
)

KEYS = set("b200 h200 h100-80gb a100-80gb a100-40gb l40s l4 a10g t4 tpu-v5e tpu-v6e trainium2".split())  # noqa: SIM905
FABRICS = {"efa", "gpudirect-tcpx", "gpudirect-tcpxo", "gpudirect-rdma"}


def test_the_catalog_has_every_accelerator_and_each_has_a_machine() -> None:
    assert set(CATALOG) == KEYS
    assert {machine.accelerator for machine in MACHINES} == KEYS
    assert all(entry.key == key for key, entry in CATALOG.items())


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_a_row_of_the_table_makes_sense(machine: MachineType) -> None:
    assert machine.count in (1, 2, 4, 8, 16)
    assert machine.vcpus >= 4
    assert machine.memory_gib >= 2 * machine.vcpus * 0.8  # no machine has less than about 1.7 GiB a vCPU
    assert machine.regions
    assert set(machine.regions) <= set(REGIONS[machine.cloud])
    assert list(machine.regions) == sorted(machine.regions)
    assert 0 < machine.spot_ratio < 1
    assert machine.rungs
    assert machine.rungs <= set(RUNGS)
    assert bool(machine.gke_accelerator) == (machine.cloud == "gcp")


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_a_price_says_when_where_and_whence(machine: MachineType) -> None:
    assert date(2026, 1, 1) <= machine.price_as_of <= date(2026, 11, 30)
    assert machine.price_region in REGIONS[machine.cloud]
    assert len(machine.price_source) > 10
    if machine.on_demand_usd_per_hour is None:
        assert "on-demand" not in machine.rungs
        assert "no on-demand" in machine.price_source
    else:
        assert 0.3 < machine.on_demand_usd_per_hour / machine.count < 15  # an accelerator costs between a T4 and a B200
        assert machine.price_region in machine.regions


def test_machine_names_are_unique_in_a_cloud() -> None:
    names = [(machine.cloud, machine.name) for machine in MACHINES]
    assert len(names) == len(set(names))


def test_more_accelerators_of_a_kind_never_cost_less() -> None:
    for key in KEYS:
        for cloud in REGIONS:
            # ordered by count; the cheapest of each count, so that a large CPU beside one GPU doesn't matter
            cheapest: dict[int, float] = {}
            for machine in machines(key, cloud):
                cheapest.setdefault(machine.count, machine.on_demand_usd_per_hour or float("inf"))
            assert list(cheapest.values()) == sorted(cheapest.values()), (key, cloud)


def test_fabric_and_its_interfaces_come_together() -> None:
    for machine in MACHINES:
        assert bool(machine.fabric) == (machine.fabric.kind in FABRICS)
        assert bool(machine.fabric) == (machine.fabric.interfaces > 0) == (machine.fabric.gbps > 0)
        assert not machine.fabric or (machine.fabric.kind == "efa") == (machine.cloud == "aws")


@pytest.mark.parametrize(
    ("cloud", "name", "interfaces", "gbps"),
    [
        ("aws", "p5.48xlarge", 32, 3200),
        ("aws", "p5en.48xlarge", 16, 3200),
        ("aws", "p6-b200.48xlarge", 8, 3200),
        ("aws", "p4d.24xlarge", 4, 400),
        ("gcp", "a3-highgpu-8g", 4, 800),
        ("gcp", "a3-megagpu-8g", 8, 1600),
        ("gcp", "a3-ultragpu-8g", 8, 3200),
    ],
)
def test_fabrics_that_training_relies_on(cloud: str, name: str, interfaces: int, gbps: int) -> None:
    fabric = machine_type(cloud, name).fabric
    assert (fabric.interfaces, fabric.gbps) == (interfaces, gbps)


def test_capacity_blocks_are_aws_and_flex_start_is_gcp() -> None:
    assert all(machine.cloud == "aws" for machine in MACHINES if machine.capacity_block)
    assert all(machine.cloud == "gcp" for machine in MACHINES if machine.flex_start)
    assert machine_type("aws", "p5.48xlarge").capacity_block
    assert machine_type("gcp", "a3-megagpu-8g").flex_start
    assert "on-demand" not in machine_type("gcp", "a3-highgpu-1g").rungs


@pytest.mark.parametrize(
    ("key", "cloud", "region", "count", "name"),
    [
        ("l4", "aws", "us-east-1", 1, "g6.xlarge"),
        ("l4", "aws", "us-east-1", 4, "g6.12xlarge"),
        ("l4", "aws", "us-east-1", 2, "g6.12xlarge"),  # no machine with two: the smallest with more
        ("l4", "gcp", "europe-west4", 2, "g2-standard-24"),
        ("h100-80gb", "aws", "us-west-1", 1, "p5.48xlarge"),  # p5.4xlarge isn't there
        ("h100-80gb", "gcp", "us-central1", 8, "a3-highgpu-8g"),
        ("tpu-v6e", "gcp", "us-east5", 8, "ct6e-standard-8t"),
        ("trainium2", "aws", "us-east-2", 16, "trn2.48xlarge"),
    ],
)
def test_best_machine(key: str, cloud: str, region: str, count: int, name: str) -> None:
    machine = best_machine(key, cloud, region, count)
    assert machine.name == name
    assert region in machine.regions
    assert machine.count >= count


def test_best_machine_is_the_cheapest_with_exactly_that_many() -> None:
    for machine in MACHINES:
        for region in machine.regions:
            best = best_machine(machine.accelerator, machine.cloud, region, machine.count)
            assert best.count == machine.count
            if machine.on_demand_usd_per_hour is not None:
                assert best.on_demand_usd_per_hour is not None
                assert best.on_demand_usd_per_hour <= machine.on_demand_usd_per_hour


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("l40s", "aws", "eu-west-1", 1), ["1 x l40s", "aws has it in eu-central-1", "has a100-40gb (40 GiB)"]),
        (("l4", "aws", "us-east-1", 16), ["16 x l4", "a machine there has 1 or 4 or 8"]),
        (("l40s", "gcp", "us-east1", 1), ["1 x l40s", "us-east1 has a100-40gb"]),
        (("h100", "aws", "us-east-1", 8), ["did you mean 'h100-80gb'?"]),
        (("t4", "aws", "nowhere", 1), ["aws has it in"]),
    ],
)  # fmt: skip
def test_what_is_not_offered_names_the_nearest(arguments: tuple[str, str, str, int], parts: list[str]) -> None:
    with pytest.raises(NotOffered) as error:
        best_machine(*arguments)
    for part in parts:
        assert part in str(error.value)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(NotOffered, match=r"did you mean 'p5\.48xlarge'"):
        machine_type("aws", "p5.48xlrage")
    with pytest.raises(NotOffered, match=r"no machine type 'p5\.48xlarge' on gcp"):
        machine_type("gcp", "p5.48xlarge")
    with pytest.raises(NotOffered, match=r"did you mean 'm7i\.xlarge'"):
        cpu_machine("aws", "m7i.xlrage")
    with pytest.raises(NotOffered, match="no CPU machine type '' on azure"):
        cpu_machine("azure")
    assert isinstance(NotOffered(""), ValueError)


def test_system_pools_have_a_usual_machine_on_each_cloud() -> None:
    assert set(USUAL_CPU_MACHINES) == set(REGIONS)
    for cloud, name in USUAL_CPU_MACHINES.items():
        assert cpu_machine(cloud) == cpu_machine(cloud, name)
        assert cpu_machine(cloud).vcpus == 4


def test_machines_are_filtered_by_all_that_is_given() -> None:
    assert [machine.name for machine in machines("t4", "gcp")] == ["n1-standard-4", "n1-standard-16", "n1-standard-32"]
    assert {machine.cloud for machine in machines("l4", region="us-east-1")} == {"aws"}
    assert machines("trainium2", "gcp") == []


@pytest.mark.parametrize(
    ("key", "profile", "partitions"),
    [
        ("a100-40gb", "1g.5gb", 7),
        ("a100-80gb", "1g.20gb", 4),
        ("h100-80gb", "2g.20gb", 3),
        ("h100-80gb", "3g.40gb", 2),
        ("h200", "7g.141gb", 1),
        ("b200", "1g.45gb", 4),
    ],
)
def test_mig_partitions(key: str, profile: str, partitions: int) -> None:
    # https://docs.nvidia.com/datacenter/tesla/mig-user-guide/: instances of each profile
    assert accelerator(key).mig_partitions(profile) == partitions


def test_mig_is_refused_where_there_is_none() -> None:
    with pytest.raises(ValueError, match="cannot be partitioned"):
        accelerator("l4").mig_partitions("1g.10gb")
    with pytest.raises(ValueError, match=r"it has 1g\.10gb"):
        accelerator("h100-80gb").mig_partitions("1g.5gb")
