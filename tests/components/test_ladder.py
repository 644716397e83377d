"""The capacity ladder: what stands where, and what each compiler makes of it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from components.accelerators import CpuMachine, MachineType, best_machine, cpu_machine
from components.cluster import gke_pools, karpenter_pools
from components.cluster.ladder import CPU_RUNGS, GpuSharing, Pool, Rung, Taint, capacities
from components.training.flavors import flavors

H100 = {
    cloud: best_machine("h100-80gb", cloud, region, 8)
    for cloud, region in (("aws", "us-east-1"), ("gcp", "us-central1"))
}
L4 = {cloud: best_machine("l4", cloud, region, 1) for cloud, region in (("aws", "us-east-1"), ("gcp", "us-central1"))}
CPU = {"aws": cpu_machine("aws", "m7i.2xlarge"), "gcp": cpu_machine("gcp", "e2-standard-8")}


def pool_of(machine: MachineType | CpuMachine, *ladder: Rung, **more: object) -> Pool:
    fields: dict[str, object] = {"name": "p", "purpose": "serving", "minimum": 0, "maximum": 8, **more}
    return Pool(machine=machine, ladder=ladder, **fields)  # type: ignore[arg-type]


@st.composite
def pools(draw: st.DrawFn, clouds: tuple[str, ...] = ("aws", "gcp")) -> Pool:
    cloud = draw(st.sampled_from(clouds))
    machine = draw(st.sampled_from([H100[cloud], L4[cloud], CPU[cloud]]))
    offered = machine.rungs if isinstance(machine, MachineType) else CPU_RUNGS[cloud]
    kinds = draw(st.permutations(sorted(offered)))
    kinds = kinds[: draw(st.integers(1, len(kinds)))]
    maximum = draw(st.integers(1, 40))
    rungs = []
    for kind in kinds:
        ceiling = draw(st.none() | st.integers(1, 60))
        floor = 0 if kind == "flex-start" else draw(st.integers(0, min(maximum, ceiling or maximum)))
        reserved = ("cr-0a",) if kind in ("reservation", "capacity-block") else ()
        rungs.append(Rung(kind, reserved, floor, ceiling))
    try:
        return Pool(
            name=draw(st.sampled_from(["serve", "train-h100", "a"])),
            purpose=draw(st.sampled_from(["system", "serving", "training"])),
            machine=machine,
            minimum=draw(st.integers(0, maximum)),
            maximum=maximum,
            ladder=tuple(rungs),
        )
    except ValueError:
        assume(False)
        raise


# ---- what stands where


@given(pools())
def test_floors_and_minimum_always_stand(pool: Pool) -> None:
    decided = capacities(pool)
    assert sum(c.standing for c in decided) == max(pool.minimum, sum(rung.floor for rung in pool.ladder))
    assert all(c.standing >= c.rung.floor for c in decided)


@given(pools())
def test_no_rung_passes_its_ceiling_and_together_they_reach_the_maximum(pool: Pool) -> None:
    decided = capacities(pool)
    for c in decided:
        assert c.standing >= 0
        assert c.elastic >= 0
        assert c.standing + c.elastic <= (pool.maximum if c.rung.ceiling is None else min(pool.maximum, c.rung.ceiling))
    assert sum(c.standing + c.elastic for c in decided) >= pool.maximum
    assert sum(c.standing for c in decided) <= pool.maximum


@given(pools())
def test_weights_follow_the_order_of_rungs_strictly(pool: Pool) -> None:
    weights = [c.weight for c in capacities(pool)]
    assert weights == sorted(weights, reverse=True)
    assert len(set(weights)) == len(weights)
    assert all(1 <= weight <= 100 for weight in weights)  # Karpenter's limits


@given(pools())
def test_flex_start_keeps_no_machine(pool: Pool) -> None:
    assert all(c.standing == 0 for c in capacities(pool) if c.rung.kind == "flex-start")


def test_minimum_beyond_the_floors_stands_on_demand_even_when_spot_comes_first() -> None:
    spot, on_demand = capacities(pool_of(L4["aws"], Rung("spot"), Rung("on-demand", floor=1), minimum=3))
    assert (spot.standing, on_demand.standing) == (0, 3)


def test_a_static_pool_fills_its_rungs_in_order_and_never_grows() -> None:
    first, second = capacities(
        pool_of(
            H100["aws"],
            Rung("reservation", ("cr-0a",), ceiling=5),
            Rung("on-demand"),
            static=True,
            minimum=8,
            fabric=True,
        )
    )
    assert (first.standing, second.standing) == (5, 3)
    assert first.elastic == second.elastic == 0


# ---- Karpenter


@given(pools(clouds=("aws",)))
def test_training_is_never_disrupted_while_busy(pool: Pool) -> None:
    for rung in karpenter_pools.rungs(pool):
        spec = karpenter_pools.node_pool(pool, rung)
        if pool.purpose != "training":
            continue
        assert spec["template"]["spec"]["expireAfter"] == "Never"
        assert spec["disruption"]["consolidationPolicy"] == "WhenEmpty"
        budgets = {reason: b["nodes"] for b in spec["disruption"]["budgets"] for reason in b["reasons"]}
        assert budgets == {"Drifted": "0", "Underutilized": "0", "Empty": "100%"}
        assert "terminationGracePeriod" not in spec["template"]["spec"]


@given(pools(clouds=("aws",)))
def test_node_pools_have_the_shape_that_karpenter_accepts(pool: Pool) -> None:
    names = set()
    for rung in karpenter_pools.rungs(pool):
        spec = karpenter_pools.node_pool(pool, rung)
        template = spec["template"]["spec"]
        names.add(template["nodeClassRef"]["name"])
        requirements = {r["key"]: r["values"] for r in template["requirements"]}
        assert requirements["karpenter.sh/capacity-type"][0] in ("reserved", "spot", "on-demand")
        assert requirements["node.kubernetes.io/instance-type"] == [pool.machine.name]
        assert spec["limits"]["nodes"] == str(rung.elastic)
        assert all(isinstance(value, str) for value in spec["limits"].values())
        assert set(pool.labels.items()) <= set(spec["template"]["metadata"]["labels"].items())
        assert [t["key"] for t in template["taints"]] == [t.key for t in pool.taints]
        node_class = node_class_of(pool, rung)
        reserved = rung.rung.kind in ("reservation", "capacity-block")
        assert ("capacityReservationSelectorTerms" in node_class) is reserved
        assert node_class["metadataOptions"] == {"httpTokens": "required", "httpPutResponseHopLimit": 1}
        assert node_class["blockDeviceMappings"][0]["ebs"]["encrypted"] is True
    assert len(names) == len(karpenter_pools.rungs(pool))


@given(pools())
@settings(max_examples=30)
def test_compiling_twice_gives_the_same(pool: Pool) -> None:
    assert capacities(pool) == capacities(pool)
    for rung in gke_pools.rungs(pool):
        if pool.cloud == "gcp":
            assert gke_node_pool(pool, rung) == gke_node_pool(pool, rung)
        elif rung.elastic:
            assert karpenter_pools.node_pool(pool, rung) == karpenter_pools.node_pool(pool, rung)


def test_fabric_and_nvme_of_a_training_rung() -> None:
    pool = pool_of(H100["aws"], Rung("capacity-block", ("cr-0a", "cr-0b")), fabric=True, local_nvme_raid=True,
                   purpose="training")  # fmt: skip
    (rung,) = karpenter_pools.rungs(pool)
    spec = node_class_of(pool, rung)
    assert spec["capacityReservationSelectorTerms"] == [{"id": "cr-0a"}, {"id": "cr-0b"}]
    assert spec["instanceStorePolicy"] == "RAID0"
    interfaces = spec["networkInterfaces"]
    assert [i["interfaceType"] for i in interfaces].count("efa-only") == H100["aws"].fabric.interfaces == 32
    assert interfaces[0] == {"networkCardIndex": 0, "deviceIndex": 0, "interfaceType": "interface"}
    pairs = {(i["networkCardIndex"], i["deviceIndex"]) for i in interfaces}
    assert len(pairs) == len(interfaces)
    requirements = karpenter_pools.node_pool(pool, rung)["template"]["spec"]["requirements"]
    assert {
        "key": "karpenter.k8s.aws/capacity-reservation-type",
        "operator": "In",
        "values": ["capacity-block"],
    } in requirements


def test_sharing_tells_the_gpu_operator_and_multiplies_the_limit() -> None:
    shared = pool_of(L4["aws"], Rung("spot"), sharing=GpuSharing("time-slicing", replicas=4))
    (rung,) = karpenter_pools.rungs(shared)
    spec = karpenter_pools.node_pool(shared, rung)
    assert spec["limits"]["nvidia.com/gpu"] == str(8 * 4)
    assert spec["template"]["metadata"]["labels"]["nvidia.com/device-plugin.config"] == "p"
    cut = pool_of(H100["aws"], Rung("spot"), sharing=GpuSharing("mig", profile="1g.10gb"))
    assert karpenter_pools.node_labels(cut, capacities(cut)[0])["nvidia.com/mig.config"] == "all-1g.10gb"
    assert cut.devices == 8 * 7


# ---- GKE


@given(pools(clouds=("gcp",)))
def test_gke_enforces_floor_and_ceiling_and_tries_rungs_in_order(pool: Pool) -> None:
    for rung in gke_pools.rungs(pool):
        scaling = gke_node_pool(pool, rung)["autoscaling"]
        assert scaling["total_min_node_count"] == rung.standing
        assert scaling["total_max_node_count"] == rung.standing + rung.elastic
        assert len(gke_pools.name(pool, rung)) <= 40  # GKE's limit
    tried = [priority["nodepools"][0] for priority in gke_pools.compute_class(pool)["priorities"]]
    assert tried == [gke_pools.name(pool, rung) for rung in capacities(pool) if rung.standing or rung.elastic]


def test_gke_rungs_say_how_they_get_machines() -> None:
    pool = pool_of(
        H100["gcp"],
        Rung("reservation", ("res-1",)),
        Rung("flex-start"),
        Rung("spot", ceiling=2),
        Rung("on-demand"),
        purpose="training",
        local_nvme_raid=True,
    )
    configs = {rung.rung.kind: gke_node_pool(pool, rung) for rung in gke_pools.rungs(pool)}
    node = {kind: arguments["node_config"] for kind, arguments in configs.items()}
    assert node["reservation"]["reservation_affinity"]["values"] == ["res-1"]
    assert node["reservation"]["reservation_affinity"]["consume_reservation_type"] == "SPECIFIC_RESERVATION"
    assert node["flex-start"]["flex_start"] is True
    assert node["flex-start"]["max_run_duration"] == "604800s"
    assert node["spot"]["spot"] is True
    assert configs["spot"]["autoscaling"]["total_max_node_count"] == 2
    # Pods get 105 of the 120 seconds, where the cluster can give them.
    assert node["spot"]["kubelet_config"] == {
        "shutdown_grace_period_seconds": 120,
        "shutdown_grace_period_critical_pods_seconds": 15,
    }
    assert all("kubelet_config" not in node[kind] for kind in node if kind != "spot")
    spot = next(rung for rung in gke_pools.rungs(pool) if rung.rung.kind == "spot")
    assert "kubelet_config" not in gke_node_pool(pool, spot, "1.34")["node_config"]
    assert "spot" not in node["on-demand"]
    assert "flex_start" not in node["on-demand"]
    for kind, arguments in configs.items():
        assert arguments["management"]["auto_repair"] is False, kind
        assert arguments["maintenance_policies"] == [{"exclusion_until_end_of_supports": [{"enabled": True}]}]
        assert node[kind]["ephemeral_storage_local_ssd_config"] == {"local_ssd_count": 16}
        assert node[kind]["guest_accelerators"][0]["gpu_driver_installation_config"] == {
            "gpu_driver_version": "DEFAULT"
        }
    policy = gke_pools.compute_class(pool)
    assert policy["activeMigration"] == {"optimizeRulePriority": False}
    assert policy["autoscalingPolicy"]["gpuConsolidationThreshold"] == 0


def test_gke_sharing() -> None:
    shared = pool_of(L4["gcp"], Rung("spot"), sharing=GpuSharing("time-slicing", replicas=3))
    (gpu,) = gke_node_pool(shared, gke_pools.rungs(shared)[0])["node_config"]["guest_accelerators"]
    assert gpu["gpu_sharing_config"] == {"gpu_sharing_strategy": "TIME_SHARING", "max_shared_clients_per_gpu": 3}
    cut = pool_of(H100["gcp"], Rung("spot"), sharing=GpuSharing("mig", profile="1g.10gb"))
    (gpu,) = gke_node_pool(cut, gke_pools.rungs(cut)[0])["node_config"]["guest_accelerators"]
    assert gpu["gpu_partition_size"] == "1g.10gb"


# ---- what queues count


@given(st.lists(pools(clouds=("aws", "gcp")), min_size=1, max_size=3, unique_by=lambda pool: pool.name), st.booleans())
@settings(max_examples=30, suppress_health_check=[HealthCheck.filter_too_much])  # many ladders are refused
def test_quota_is_what_the_pools_hold_and_flavors_tolerate_their_taints(found: list[Pool], whole: bool) -> None:
    named = [pool.name for pool in found] if whole else []
    made = flavors(found, named)
    assert len({flavor.name for flavor in made}) == len(made)
    assert {flavor.pool.name for flavor in made} == {pool.name for pool in found if pool.accelerator}
    for pool in found:
        own = [flavor for flavor in made if flavor.pool is pool]
        if own:
            # However it is cut, never more and never less than the pool's maximum.
            assert sum(flavor.quota for flavor in own) == pool.maximum * pool.devices
            if whole or pool.static:
                rungs = [rung.kind for rung in pool.ladder]
                assert [rungs.index(flavor.rung) for flavor in own] == sorted(rungs.index(f.rung) for f in own)
        for flavor in own:
            assert 0 <= flavor.lending_limit <= flavor.quota
            assert {(t["key"], t["value"], t["effect"]) for t in flavor.spec()["tolerations"]} == {
                (t.key, t.value, t.effect) for t in pool.taints
            }


# ---- refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pool_of(L4["aws"], Rung("flex-start")), "a g6.xlarge on aws is offered by"),
        (lambda: pool_of(L4["gcp"], Rung("capacity-block", ("x",))), "offered by"),
        (lambda: pool_of(L4["aws"], Rung("preemptible")), "ladder[0].kind is 'preemptible'; accepted are"),
        (lambda: pool_of(L4["aws"]), "ladder is empty"),
        (lambda: pool_of(L4["aws"], Rung("spot"), Rung("spot")), "spot is there 2 times"),
        (lambda: pool_of(L4["aws"], Rung("reservation")), "this rung needs the reservations' ids"),
        (lambda: pool_of(L4["aws"], Rung("spot", ("cr-0a",))), "takes no reservations"),
        (lambda: pool_of(L4["aws"], Rung("spot", floor=3, ceiling=2)), "floor is 3, ceiling is 2"),
        (lambda: pool_of(L4["aws"], Rung("spot", floor=5), Rung("on-demand", floor=5)), "floors add up to 10, above"),
        (lambda: pool_of(L4["aws"], Rung("spot", ceiling=3)), "ceilings add up to 3, below max 8"),
        (lambda: pool_of(L4["aws"], Rung("spot"), minimum=9), "min is 9 and max is 8"),
        (lambda: pool_of(L4["aws"], Rung("spot"), static=True), "min and max must be equal; they are 0 and 8"),
        (lambda: pool_of(H100["gcp"], Rung("flex-start"), minimum=1), "1 of min 1 machines fit no rung"),
        (lambda: pool_of(H100["gcp"], Rung("flex-start"), static=True, minimum=8), "no floor and no static pool"),
        (lambda: pool_of(L4["gcp"], Rung("spot"), fabric=True), "fabric is on, but a g2-standard"),
        (lambda: pool_of(CPU["aws"], Rung("spot"), local_nvme_raid=True), "local_nvme_raid is on, but a m7i.2xlarge"),
        (lambda: pool_of(L4["aws"], Rung("spot"), purpose="inference"), "purpose is 'inference'; accepted are"),
        (lambda: pool_of(L4["aws"], Rung("spot"), name="Big_Pool"), "at most 24 characters"),
        (lambda: pool_of(L4["aws"], Rung("spot"), sharing=GpuSharing("mig", profile="1g.10gb")), "gpu_sharing.profile"),
        (lambda: pool_of(L4["aws"], Rung("spot"), sharing=GpuSharing("time-slicing")), "needs 2 or more"),
        (lambda: pool_of(L4["aws"], Rung("spot"), sharing=GpuSharing("mps")), "accepted are 'mig', 'time-slicing'"),
        (lambda: pool_of(CPU["aws"], Rung("spot"), sharing=GpuSharing("time-slicing", replicas=2)), "NVIDIA GPUs"),
        (lambda: pool_of(L4["aws"], Rung("spot"), extra_taints=(Taint("a", "b", "Never"),)), "effect is 'Never'"),
        (lambda: pool_of(L4["aws"], Rung("spot"), disk_gib=5), "disk_gib is 5"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(make, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="node pool") as refused:
        make()
    assert message in str(refused.value)


def node_class_of(pool: Pool, rung: karpenter_pools.Capacity) -> dict:
    return karpenter_pools.node_class(
        pool, rung, role="nodes", subnets=[{"id": "subnet-1"}], security_groups=[{"id": "sg-1"}], key="arn", tags={}
    )


def gke_node_pool(pool: Pool, rung: gke_pools.Capacity, version: str = "1.35") -> dict:
    zones = ["us-central1-a"]
    return gke_pools.node_pool(
        pool, rung, kubernetes_version=version, service_account="nodes@p.iam", key="key", zones=zones
    )
