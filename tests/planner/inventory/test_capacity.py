"""What a machine leaves for pods, what pods ask for, and which machines they may be on."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.accelerators import cpu_machine
from planner.inventory import Rung, Taint, Workload
from planner.inventory.capacity import DAEMONS, allocatable, alone, fits, pods_per_machine, requests
from planner.inventory.model import CATALOG
from planner.inventory.quantity import GIB, known, parse, text
from planner.inventory.scheduling import Node, machines, node_labels, nodes, tolerates
from planner.plan import UNKNOWN

GPU_TAINT = Taint("nvidia.com/gpu", "present", "NoSchedule")
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists"}


def rung(cloud: str = "aws", **more: Any) -> Rung:
    """A rung of L4 machines in two zones."""
    region = {"aws": "aws:us-east-1", "gcp": "gcp:us-central1"}[cloud]
    given = {
        "urn": "u", "name": "serving-l4-spot", "manager": {"aws": "karpenter", "gcp": "gke"}[cloud], "kind": "spot",
        "region": region, "cluster": "c", "pool": "serving-l4",
        "machine_types": ({"aws": "g6.xlarge", "gcp": "g2-standard-4"}[cloud],),
        "zones": ("zone-a", "zone-b"), "min": 0, "max": 4, "labels": {"pool": "serving-l4"}, "disk_gib": 200,
    }  # fmt: skip
    return Rung(**{**given, **more})


def workload(requested: dict[str, str] | None = None, labels: dict[str, str] | None = None, **spec: Any) -> Workload:
    """A Deployment of one container."""
    container = {"name": "c", "image": "i", "resources": {"requests": requested or {}}}
    return Workload("w", "Deployment", "w", "default", "c", "aws:us-east-1", labels or {"app": "w"}, {},
                    {"containers": [container], **spec})  # fmt: skip


def why(one: Workload, there: Rung, **more: Any) -> list[str]:
    return [reason.text for reason in fits(one, there, **more)]


# ---- quantities


@pytest.mark.parametrize(
    ("written", "meant"),
    [("1", 1), ("500m", Fraction(1, 2)), ("16Gi", 16 * GIB), ("1e3", 1000), ("1E", 10**18), (".5", Fraction(1, 2)),
     ("1.5k", 1500), ("100n", Fraction(1, 10**7)), (4, 4), (2.5, Fraction(5, 2)), ("1E-3", Fraction(1, 1000))],
)  # fmt: skip
def test_quantities_are_what_kubernetes_takes_them_for(written, meant):
    assert parse(written) == meant


@pytest.mark.parametrize("written", ["", "16GB", "1 Gi", "Gi", "--1", "1e9999", "1mi", UNKNOWN])
def test_what_is_no_quantity_is_refused_and_counts_as_unknown(written):
    with pytest.raises(ValueError, match="is no quantity; expected a number such as"):
        parse(written)
    assert known(written) is None


@pytest.mark.parametrize("value", [None, True, [], {}])
def test_what_is_no_text_or_number_is_unknown(value):
    assert known(value) is None


@given(st.integers(0, 10**15), st.sampled_from(["", "k", "M", "G", "Ki", "Mi", "Gi", "m", "e3"]))
def test_a_suffix_only_scales(number, suffix):
    assert parse(f"{number}{suffix}") == number * parse(f"1{suffix}")


@given(st.integers(0, 10**12))
def test_milli_and_whole_agree(number):
    assert parse(f"{number}m") * 1000 == parse(str(number))


def test_amounts_read_as_people_say_them():
    assert text("memory", Fraction(12 * GIB)) == "12 GiB memory"
    assert text("cpu", Fraction("2.8")) == "2.8 cpu"


# ---- machines


def test_gke_leaves_what_its_sample_node_has_left():
    """4 CPUs, 16 GiB, a disk of 100 GB: https://cloud.google.com/kubernetes-engine/docs/concepts/plan-node-sizes."""
    from planner.inventory.capacity import (
        DAEMONS,
    )  # what the pods of every node take comes on top of the node's reserve

    node = rung("gcp", machine_types=("e2-standard-4",), disk_gib=100)
    left = allocatable(node, cpu_machine("gcp", "e2-standard-4"))
    assert left["cpu"] + DAEMONS["gcp"]["cpu"] == Fraction("3.92")
    assert left["memory"] + DAEMONS["gcp"]["memory"] == pytest.approx(13498416 * 1024, rel=0.002)
    assert left["ephemeral-storage"] == pytest.approx(47060071478, rel=0.05)


def test_eks_keeps_what_its_image_says():
    """nodeadm: 80m of 4 cores, 11 MiB a pod and 255 MiB, 100 MiB before eviction; Karpenter: 7.5 % never seen."""
    left = allocatable(rung(max_pods=58), CATALOG["aws", "g6.xlarge"])
    assert left["cpu"] + DAEMONS["aws"]["cpu"] == Fraction("3.92")
    assert left["memory"] + DAEMONS["aws"]["memory"] == 16 * GIB * Fraction("0.925") - (11 * 58 + 255 + 100) * 2**20
    assert left["ephemeral-storage"] == 200 * GIB * Fraction("0.9") - GIB
    assert left["nvidia.com/gpu"] == 1


def test_local_disks_are_ephemeral_storage_where_they_are_striped():
    boot = allocatable(rung(), CATALOG["aws", "g6.xlarge"])["ephemeral-storage"]
    striped = allocatable(rung(local_nvme_raid=True), CATALOG["aws", "g6.xlarge"])["ephemeral-storage"]
    assert boot < striped < 250 * GIB
    h100 = CATALOG["gcp", "a3-highgpu-8g"]
    assert allocatable(rung("gcp", local_nvme_raid=True), h100)["ephemeral-storage"] < (6000 * 0.84 - 99) * GIB


def test_a_disk_that_the_plan_does_not_tell_limits_nothing():
    assert "ephemeral-storage" not in allocatable(rung(disk_gib=None), CATALOG["aws", "g6.xlarge"])
    assert not fits(workload({"ephemeral-storage": "1Ti"}), rung(disk_gib=None))


def test_gke_keeps_more_cores_for_many_pods():
    machine = CATALOG["gcp", "g2-standard-4"]
    few, many = (allocatable(rung("gcp", max_pods=n), machine)["cpu"] for n in (110, 256))
    assert few - many == Fraction("0.4")


@pytest.mark.parametrize(
    ("more", "strategy", "resource", "count"),
    [
        ({}, "single", "nvidia.com/gpu", 8),
        ({"mig_profile": "1g.10gb"}, "single", "nvidia.com/gpu", 56),
        ({"mig_profile": "1g.10gb"}, "mixed", "nvidia.com/mig-1g.10gb", 56),
        ({"gpu_replicas": 4}, "single", "nvidia.com/gpu", 32),
        ({"fabric_interfaces": 32}, "single", "vpc.amazonaws.com/efa", 32),
    ],
)
def test_devices_are_counted_as_the_device_plugin_offers_them(more, strategy, resource, count):
    left = allocatable(rung(machine_types=("p5.48xlarge",), **more), CATALOG["aws", "p5.48xlarge"], strategy)
    assert left[resource] == count


def test_tpus_and_neuron_have_names_of_their_own():
    tpu = rung("gcp", machine_types=("ct5lp-hightpu-4t",))
    assert allocatable(tpu, machines(tpu)[0])["google.com/tpu"] == 4
    assert allocatable(tpu, machines(tpu)[0])["nvidia.com/gpu"] == 0
    trainium = rung(machine_types=("trn2.48xlarge",))
    left = allocatable(trainium, machines(trainium)[0])
    assert (left["aws.amazon.com/neuron"], left["aws.amazon.com/neuroncore"]) == (16, 128)


def test_of_a_machine_outside_the_catalog_only_its_family_tells_something():
    assert allocatable(rung(), "c7i.4xlarge")["nvidia.com/gpu"] == 0
    assert allocatable(rung(), "p9.48xlarge") == {}
    assert allocatable(rung(), "") == {}
    assert pods_per_machine(workload(), rung(machine_types=("p9.48xlarge",))) is None


# ---- pods


def test_a_pod_asks_for_the_larger_of_starting_and_running():
    spec = {
        "initContainers": [
            {"name": "sidecar", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
            {"name": "fetch", "resources": {"requests": {"cpu": "4", "memory": "1Gi"}}},
        ],
        "containers": [
            {"name": "a", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "9", "memory": "2Gi"}}},
            {"name": "b", "resources": {"limits": {"nvidia.com/gpu": "1"}}},
        ],
        "overhead": {"cpu": "250m"},
    }
    assert requests(spec) == {"cpu": Fraction("5.25"), "memory": 2 * GIB, "nvidia.com/gpu": 1}


def test_what_a_pod_as_a_whole_asks_for_is_meant():
    spec = {"resources": {"requests": {"cpu": "2"}}, "containers": [{"resources": {"requests": {"cpu": "1"}}}]}
    assert requests(spec) == {"cpu": 2}


@pytest.mark.parametrize("resources", [UNKNOWN, None, {"requests": UNKNOWN}, {"requests": {"cpu": UNKNOWN}}, []])
def test_unknown_requests_count_as_nothing(resources):
    assert requests({"containers": [{"resources": resources}, UNKNOWN]}) == {}
    assert not fits(workload(containers=[{"resources": resources}]), rung())


# ---- does it fit


@pytest.mark.parametrize(
    ("requested", "said"),
    [
        ({"cpu": "3500m", "memory": "12Gi", "nvidia.com/gpu": "1"}, []),
        ({"nvidia.com/gpu": "4"}, ["the pod needs 4 nvidia.com/gpu, g6.xlarge has 1"]),
        ({"memory": "15Gi"}, ["the pod needs 15 GiB memory, g6.xlarge has 12.7 GiB memory for pods"]),
        ({"cpu": "4"}, ["the pod needs 4 cpu, g6.xlarge has 3.57 cpu for pods"]),
        ({"nvidia.com/mig-1g.10gb": "1"}, ["the pod needs 1 nvidia.com/mig-1g.10gb, g6.xlarge has 0"]),
        ({"google.com/tpu": "4"}, ["the pod needs 4 google.com/tpu, g6.xlarge has 0"]),
        ({"example.com/fpga": "1"}, []),  # nobody knows
    ],
)
def test_resources(requested, said):
    assert why(workload(requested), rung()) == said


def test_one_of_several_machine_types_is_enough():
    both = rung(machine_types=("g6.xlarge", "g6.12xlarge"))
    assert not fits(workload({"nvidia.com/gpu": "4"}), both)
    assert pods_per_machine(workload({"nvidia.com/gpu": "1"}), both) == 4


def test_daemons_of_the_plan_take_their_part():
    one = workload({"cpu": "3"})
    assert not fits(one, rung())
    assert why(one, rung(), taken={"cpu": Fraction(1)}) == ["the pod needs 3 cpu, g6.xlarge has 2.57 cpu for pods"]


def test_a_rung_without_machines_takes_nothing():
    assert why(workload(), rung(max=0)) == ["it has no machine even at its maximum"]


def test_gke_refuses_several_time_shared_gpus():
    shared = rung("gcp", gpu_replicas=4, machine_types=("g2-standard-24",))
    assert not fits(workload({"nvidia.com/gpu": "1"}), shared)
    assert "GKE refuses" in why(workload({"nvidia.com/gpu": "2"}), shared)[0]


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ({"pool": "serving-l4"}, []),
        ({"pool": "training"}, ["the pod needs label pool=training, it has serving-l4"]),
        ({"nothing": "x"}, ["the pod needs label nothing=x, it has none"]),
        ({"pool": UNKNOWN}, []),
        ({"kubernetes.io/arch": "arm64"}, ["the pod needs label kubernetes.io/arch=arm64, it has amd64"]),
        ({"node.kubernetes.io/instance-type": "g6.xlarge", "topology.kubernetes.io/region": "us-east-1"}, []),
        ({"topology.kubernetes.io/zone": "zone-b"}, []),
        ({"topology.kubernetes.io/zone": "zone-c"},
         ["the pod needs label topology.kubernetes.io/zone=zone-c, it has zone-a, zone-b"]),
        ({"karpenter.sh/capacity-type": "on-demand"}, []),  # a NodePool with spot may have both
        ({"karpenter.sh/nodepool": "other"},
         ["the pod needs label karpenter.sh/nodepool=other, it has serving-l4-spot"]),
        ({"karpenter.k8s.aws/instance-family": "g6"}, []),
        ({"karpenter.k8s.aws/instance-ebs-bandwidth": "5000"}, []),  # a label that nodes have and nobody lists here
        ({"karpenter.k8s.aws/instance-accelerator-name": "trainium"},
         ["the pod needs label karpenter.k8s.aws/instance-accelerator-name=trainium, it has none"]),
        ({"nvidia.com/gpu.product": "NVIDIA-L4"}, []),  # from feature discovery
    ],
)  # fmt: skip
def test_selectors(selector, said):
    assert why(workload(nodeSelector=selector), rung()) == said


def test_a_machine_without_gpu_has_no_label_of_gpu_discovery():
    plain = rung(machine_types=("m7i.xlarge",))
    assert why(workload(nodeSelector={"nvidia.com/gpu.product": "NVIDIA-L4"}), plain)


def test_gke_labels():
    node = next(nodes(rung("gcp", gpu_replicas=2)))
    assert node.label("cloud.google.com/gke-accelerator") == "nvidia-l4"
    assert node.label("cloud.google.com/gke-spot") == "true"
    assert node.label("cloud.google.com/gke-max-shared-clients-per-gpu") == "2"
    assert node.label("cloud.google.com/gke-flex-start") is None
    assert node.label("cloud.google.com/gke-boot-disk") == ""
    tpu = rung("gcp", machine_types=("ct5lp-hightpu-4t",), kind="flex-start")
    assert next(nodes(tpu)).label("cloud.google.com/gke-tpu-accelerator") == "tpu-v5-lite-podslice"
    assert next(nodes(tpu)).label("cloud.google.com/gke-flex-start") == "true"
    assert next(nodes(rung("gcp", machine_types=()))).label("cloud.google.com/gke-accelerator") == ""


def test_eks_labels():
    labels = node_labels(rung(manager="eks", kind="on-demand"), CATALOG["aws", "m7g.xlarge"])
    assert labels["eks.amazonaws.com/capacityType"] == "ON_DEMAND"
    assert labels["kubernetes.io/arch"] == "arm64"


@pytest.mark.parametrize(
    ("operator", "values", "fit"),
    [
        ("In", ["a", "serving-l4"], True), ("In", ["a"], False), ("In", [UNKNOWN], True),
        ("NotIn", ["serving-l4"], False), ("NotIn", ["a"], True), ("Exists", [], True), ("DoesNotExist", [], False),
        ("Gt", ["1"], False), ("Lt", [], False), ("Never", [], True),
    ],
)  # fmt: skip
def test_affinity(operator, values, fit):
    one = affine({"key": "pool", "operator": operator, "values": values})
    assert (not fits(one, rung())) is fit


@pytest.mark.parametrize(("operator", "fit"), [("Gt", [True, False, False]), ("Lt", [False, False, True])])
def test_affinity_to_numbers(operator, fit):
    found = [not fits(affine({"key": "n", "operator": operator, "values": [v]}), rung(labels={"n": "4"}))
             for v in ("3", "4", "5")]  # fmt: skip
    assert found == fit


def test_absent_labels():
    assert not fits(affine({"key": "x", "operator": "NotIn", "values": ["1"]}), rung())
    assert not fits(affine({"key": "x", "operator": "DoesNotExist"}), rung())
    assert why(affine({"key": "x", "operator": "Exists"}), rung()) == ["the pod needs label x, it has none"]


def test_one_term_of_an_affinity_is_enough_and_all_its_expressions_count():
    good, bad = {"key": "pool", "operator": "Exists"}, {"key": "x", "operator": "Exists"}
    assert not fits(affine([bad], [good]), rung())
    assert why(affine([bad, good]), rung()) == ["the pod needs label x, it has none"]


def test_zones_of_a_pod_and_of_its_volume_have_to_be_the_same():
    zone = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["zone-a"]}
    volume = {"nodeSelectorTerms": [{"matchExpressions": [{**zone, "values": ["zone-b"]}]}]}
    assert not fits(affine(zone), rung())
    assert not fits(workload(), rung(), also=[volume])
    assert why(affine(zone), rung(), also=[volume])


def affine(*terms: Any) -> Workload:
    """A workload with node affinity: each term an expression or a list of them."""
    listed = [{"matchExpressions": term if isinstance(term, list) else [term]} for term in terms]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": listed}}
    return workload(affinity={"nodeAffinity": required})


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"key": "nvidia.com/gpu", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "nvidia.com/gpu", "value": "present"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"}, True),
        ({"key": "nvidia.com/gpu", "value": "true"}, False),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "nvidia.com/gpu", "value": UNKNOWN}, True),
    ],
)
def test_tolerations(toleration, tolerated):
    assert tolerates(toleration, GPU_TAINT) is tolerated
    said = why(workload(tolerations=[toleration]), rung(taints=(GPU_TAINT,)))
    assert said == ([] if tolerated else ["its taint nvidia.com/gpu=present:NoSchedule is not tolerated"])


def test_a_preference_of_a_node_keeps_nobody_away():
    assert not fits(workload(), rung(taints=(replace(GPU_TAINT, effect="PreferNoSchedule"), Taint("", "", ""))))


def test_gke_tolerates_for_pods_that_ask_for_its_accelerators():
    one = workload({"nvidia.com/gpu": "1"})
    assert not fits(one, rung("gcp", taints=(GPU_TAINT,)))
    assert fits(one, rung("aws", taints=(GPU_TAINT,)))
    assert fits(workload(), rung("gcp", taints=(GPU_TAINT,)))
    chosen = workload(nodeSelector={"cloud.google.com/compute-class": "x"})
    own = {"cloud.google.com/compute-class": "x"}
    assert not fits(
        chosen, rung("gcp", labels=own, taints=(Taint("cloud.google.com/compute-class", "x", "NoSchedule"),))
    )


# ---- how many to a machine


def test_pods_per_machine():
    assert pods_per_machine(workload({"cpu": "1"}), rung()) == 3
    assert pods_per_machine(workload({"nvidia.com/gpu": "1"}), rung(gpu_replicas=4)) == 4
    assert pods_per_machine(workload({"nvidia.com/gpu": "2"}), rung()) == 0
    assert pods_per_machine(workload(), rung(max_pods=20)) == 10


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": [{"ports": [{"containerPort": 80, "hostPort": 80}]}]},
        {"hostNetwork": True, "containers": [{"ports": [{"containerPort": 80}]}]},
        {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "w"}}}]}}},
    ],
)  # fmt: skip
def test_some_pods_are_alone_on_their_machine(spec):
    assert alone(workload(**spec))
    assert pods_per_machine(workload(**spec), rung()) == 1


def test_who_avoids_others_may_be_with_its_own():
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "other"}}}
    assert not alone(workload(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}))


# ---- properties

_KEYS = st.sampled_from(["pool", "team", "topology.kubernetes.io/zone", "kubernetes.io/arch"])
_VALUES = st.sampled_from(["a", "b", "zone-a", "amd64"])
_TAINTS = st.lists(st.builds(Taint, _KEYS, _VALUES, st.sampled_from(["NoSchedule", "NoExecute"])), max_size=3)
_WORKLOADS = st.builds(
    lambda cpu, gpus, selector, tolerated: workload(
        {"cpu": str(cpu), "nvidia.com/gpu": str(gpus)},
        nodeSelector=selector,
        tolerations=[{"key": key, "operator": "Exists"} for key in tolerated],
    ),
    st.integers(0, 6),
    st.integers(0, 2),
    st.dictionaries(_KEYS, _VALUES, max_size=2),
    st.lists(_KEYS, max_size=3),
)
_RUNGS = st.builds(
    lambda labels, taints, most: rung(labels=labels, taints=tuple(taints), max=most),
    st.dictionaries(_KEYS, _VALUES, max_size=3),
    _TAINTS,
    st.sampled_from([0, 1, 5, None]),
)


@given(_WORKLOADS, _RUNGS)
def test_removing_a_taint_or_adding_capacity_never_turns_a_pod_away(one, there):
    if fits(one, there):
        return
    for taint in there.taints:
        assert not fits(one, replace(there, taints=tuple(t for t in there.taints if t != taint)))
    larger = {"max": None, "gpu_replicas": 4, "disk_gib": 2000, "local_nvme_raid": True, "zones": ()}
    for name, value in larger.items():
        assert not fits(one, replace(there, **{name: value}))
    assert not fits(one, replace(there, machine_types=(*there.machine_types, "g6.12xlarge")))
    assert pods_per_machine(one, replace(there, gpu_replicas=4)) >= pods_per_machine(one, there) >= 1


@given(_WORKLOADS, _RUNGS, _KEYS, _VALUES)
def test_adding_a_selector_or_a_request_never_makes_a_pod_fit(one, there, key, value):
    if not fits(one, there):
        return
    selector = {**one.spec["nodeSelector"]}
    selector.setdefault(key, value)
    assert fits(replace(one, spec={**one.spec, "nodeSelector": selector}), there)
    assert fits(one, replace(there, taints=(*there.taints, Taint(key, value, "NoSchedule"))))
    more = [*one.spec["containers"], {"name": "more", "resources": {"requests": {"memory": "1Gi"}}}]
    assert fits(replace(one, spec={**one.spec, "containers": more}), there)


@given(_WORKLOADS, _RUNGS)
def test_a_pod_fits_where_a_machine_holds_one(one, there):
    assert (pods_per_machine(one, there) == 0) is bool(fits(one, there))


def test_a_node_says_what_it_is_of():
    node = next(nodes(rung()))
    assert isinstance(node, Node)
    assert node.rung.pool == "serving-l4"
