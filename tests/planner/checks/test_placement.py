"""Placement against small clusters made by hand: each thing that keeps pods from running, and nothing that doesn't."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from planner.checks.placement import RULES, findings
from planner.inventory import Inventory
from planner.plan import UNKNOWN, Plan, Resource
from planner.rules import Rules
from tests.faults.fault import Fault
from tests.faults.placement import FAULTS, job_set, local_queue, training_job
from tests.planner.checks.small_clusters import (
    URN,
    cluster,
    deployment,
    found,
    gke_pool,
    job,
    pods,
    pool,
    queues,
    said,
    thing,
)

# ---- the three environments


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_the_environments_are_clean(environment, up, environment_plan, simulated_plan):
    plan = (simulated_plan if up else environment_plan)(environment)
    assert [one.message for one in findings(Inventory(plan), Rules())] == []


RULED = [fault for fault in FAULTS if fault.rule in {rule.name for rule in RULES}]


@pytest.mark.parametrize("fault", RULED, ids=str)
def test_planted_faults_are_found(fault, simulated_plan):
    hits = [
        one
        for one in findings(Inventory(fault.plant(simulated_plan(fault.environment))), Rules())
        if one.rule == fault.rule and (fault.at in one.urn or fault.at in one.subject)
    ]
    assert hits
    assert all(one.message and one.remediation and one.url for one in hits)


def test_jobs_as_they_should_be_are_not_found_fault_with(simulated_plan):
    def plant(states):
        local_queue(states)
        training_job(states, nodes=8, queue="training")
        job_set(states, 7, "training")

    plan = Fault("sound jobs", "prod", "", "", plant).plant(simulated_plan("prod"))
    assert list(findings(Inventory(plan), Rules())) == []


def test_every_rule_is_broken_by_a_fault():
    assert {rule.name for rule in RULES} == {fault.rule for fault in RULED}


# ---- pods and pools


def test_a_pod_that_fits_one_of_several_pools():
    assert not found(pool(), pool("cpu", "m7i.xlarge"), deployment(pods({"nvidia.com/gpu": "1"})))


def test_the_nearest_pool_and_the_one_thing_that_stops_it():
    taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}
    pools = [pool(taints=[taint]), pool("cpu", "m7i.xlarge")]
    ((rule, message),) = said(*pools, deployment(pods({"nvidia.com/gpu": "1"}, nodeSelector={"pool": "l4"})))
    assert rule == "pod-fits-a-pool"
    assert message == (
        "Deployment web: no pool in aws:us-east-1 takes it; nearest is l4: its taint nvidia.com/gpu=present:NoSchedule"
        " is not tolerated"
    )
    ((_, message),) = said(*pools, deployment(pods({"nvidia.com/gpu": "1"}, nodeSelector={"pool": "l4", "x": "y"})))
    assert message.endswith("the pod needs label x=y, it has none (and 1 more)")


@pytest.mark.parametrize(
    "spec",
    [UNKNOWN, None, [], {"containers": UNKNOWN}, {"containers": [UNKNOWN]},
     {"containers": [{}], "nodeSelector": UNKNOWN},
     {"containers": [{}], "affinity": UNKNOWN, "tolerations": UNKNOWN, "volumes": UNKNOWN,
      "topologySpreadConstraints": UNKNOWN},
     {"containers": [{"resources": UNKNOWN}], "volumes": [{"persistentVolumeClaim": UNKNOWN}],
      "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": UNKNOWN}}},
     {"containers": [{}], "nodeSelector": {"pool": UNKNOWN}, "nodeName": UNKNOWN}],
)  # fmt: skip
def test_what_is_unknown_or_odd_is_no_violation(spec):
    assert not found(pool(), deployment({"spec": spec}))
    assert not found(pool(), deployment({"spec": spec}, UNKNOWN))


@pytest.mark.parametrize("key", ["labels", "taints", "scalingConfig", "instanceTypes", "subnetIds", "launchTemplate"])
def test_pools_of_which_little_is_known_take_everything(key):
    assert not found(pool(**{key: UNKNOWN}), deployment(pods({"nvidia.com/gpu": "1"})))


@pytest.mark.parametrize(
    ("inputs", "web"),
    [
        ({"labels": UNKNOWN}, deployment(pods(nodeSelector={"pool": "l4"}))),
        ({"labels": {"pool": UNKNOWN}}, deployment(pods(nodeSelector={"pool": "l4"}))),
        ({"scalingConfig": UNKNOWN}, deployment(pods({"nvidia.com/gpu": "1"}), 9)),
        ({"scalingConfig": {"maxSize": UNKNOWN}}, deployment(pods({"nvidia.com/gpu": "1"}), 9)),
        ({"subnetIds": UNKNOWN}, deployment(pods(nodeSelector={"topology.kubernetes.io/zone": "us-east-1f"}))),
    ],
)
def test_labels_zones_and_sizes_that_only_the_cloud_knows(inputs, web):
    assert not found(pool(most=9, **inputs), web, *queues(9)[1:])


def test_nodes_of_karpenter_bear_the_labels_that_their_pool_requires():
    template = {"spec": {"requirements": [
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["g6.xlarge"]},
        {"key": "team", "operator": "In", "values": ["search"]},
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
    ]}}  # fmt: skip
    karpenter = thing("NodePool", "own", {"template": template, "limits": {"nodes": "2"}})
    assert not found(karpenter, deployment(pods(nodeSelector={"team": "search", "tier": "b"})))
    assert found(karpenter, deployment(pods(nodeSelector={"team": "ads"})))


def test_clusters_whose_machines_the_plan_does_not_tell_are_left_alone():
    huge = deployment(pods({"cpu": "999"}))
    assert not found(huge)
    assert not found(cluster(computeConfig={"enabled": True}), pool(), huge)
    assert not found(cluster("gcp", enableAutopilot=True), gke_pool(), huge)
    assert not found(pool(), deployment(pods({"cpu": "999"}, nodeName="n")))
    fargate = "aws:eks/fargateProfile:FargateProfile"
    given = {"clusterName": "c", "region": "us-east-1", "selectors": [{"namespace": "default"}]}
    assert not found(pool(), huge, Resource(URN.format(fargate, "f"), fargate, inputs=given))
    assert found(pool(), huge)


def test_a_plan_without_clusters():
    assert list(findings(Inventory(Plan.of("p", "s", [deployment(pods({"cpu": "999"}))])), Rules())) == []


def test_daemon_sets_of_the_plan_take_their_part_of_each_machine():
    daemon = thing("DaemonSet", "agent", {"template": pods({"cpu": "2"})})
    web = deployment(pods({"cpu": "3"}))
    assert not found(pool(), web)
    assert "g6.xlarge has 1.57 cpu" in said(pool(), web, daemon)[0][1]
    elsewhere = thing("DaemonSet", "agent", {"template": pods({"cpu": "2"}, nodeSelector={"pool": "other"})})
    assert [one.name for one in found(pool(), web, elsewhere)] == ["agent"]


def test_mig_partitions_are_named_as_the_device_plugin_does():
    machine = pool("h100", "p5.48xlarge", labels={"pool": "h100", "nvidia.com/mig.config": "all-1g.10gb"})
    one = deployment(pods({"nvidia.com/mig-1g.10gb": "1"}))
    assert "a partition counts as nvidia.com/gpu" in said(machine, one)[0][1]
    mixed = thing("Release", "gpu-operator", chart="gpu-operator", values={"mig": {"strategy": "mixed"}})
    assert not found(machine, one, mixed)
    assert not found(machine, deployment(pods({"nvidia.com/gpu": "7"})))


def test_a_compute_class_narrows_the_node_pools():
    chosen = "cloud.google.com/compute-class"
    config = {"labels": {chosen: "fast"}}
    web = deployment(pods(nodeSelector={chosen: "fast"}))
    there = [cluster("gcp"), gke_pool("new", **config), web]
    assert not found(there[0], *there[1:])
    wrong = thing("ComputeClass", "fast", {"priorities": [{"nodepools": ["old"]}]})
    assert "ComputeClass fast does not name node pool new (it names old)" in said(*there, wrong)[0][1]
    for priorities in ([{"nodepools": ["new"]}], [{"nodepools": [UNKNOWN]}], [{"machineFamily": "g2"}], UNKNOWN, []):
        assert not found(*there, thing("ComputeClass", "fast", {"priorities": priorities}))


# ---- how many


def test_replicas_beyond_the_largest_pool():
    one = pods({"nvidia.com/gpu": "1"})
    assert not found(pool(), deployment(one, 2))
    (finding,) = found(pool(), deployment(one, 3))
    assert (finding.rule, finding.severity) == ("replicas-fit-the-pool", "error")
    assert finding.message.endswith("never fewer than 3 replicas, and no more than 2 can run: 2 machines at most in l4")
    scaler = {"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"}}
    (finding,) = found(pool(), deployment(one), thing("HorizontalPodAutoscaler", "web", scaler))
    assert (finding.rule, finding.severity) == ("replicas-fit-the-pool", "warning")
    scaled = {"minReplicaCount": 1, "maxReplicaCount": 3, "scaleTargetRef": {"name": "web"}}
    (finding,) = found(pool(), deployment(one), thing("ScaledObject", "web", scaled))
    assert (finding.rule, finding.severity) == ("replicas-fit-the-pool", "warning")
    # KEDA's own default is a hundred.
    (finding,) = found(pool(), deployment(one), thing("ScaledObject", "web", {"scaleTargetRef": {"name": "web"}}))
    assert "up to 100 replicas" in finding.message
    assert not found(pool(), deployment(one), thing("ScaledObject", "web", {**scaled, "maxReplicaCount": 2}))
    assert not found(pool(), pool("more"), deployment(one, 3))  # two pools take it


def test_workloads_that_share_a_pool_need_room_at_the_same_time():
    one = pods({"nvidia.com/gpu": "1"})
    (finding,) = found(pool(), deployment(one, 2), deployment(one, 1, "api"))
    assert (finding.rule, finding.subject, finding.severity) == ("replicas-fit-the-pool", "l4", "error")
    assert "api, web together want up to 3 nvidia.com/gpu of it, and it has 2 nvidia.com/gpu at most" in finding.message
    assert not found(pool(), deployment(one, 1), deployment(one, 1, "api"))
    assert not found(pool(), deployment(one, 2), job(one))  # a job waits
    assert not found(pool(), pool("more"), deployment(one, 2), deployment(one, 1, "api"))


def spread(key: str = "topology.kubernetes.io/zone", **more: Any) -> dict[str, Any]:
    given = {"topologyKey": key, "maxSkew": 1, "minDomains": 3, "whenUnsatisfiable": "DoNotSchedule"}
    return {**given, "labelSelector": {"matchLabels": {"app": "w"}}, **more}


@pytest.mark.parametrize(
    ("constraint", "runs"),
    [
        (spread(), 2),
        (spread(maxSkew=2), 4),
        (spread("kubernetes.io/hostname", minDomains=9), 8),
        (spread(whenUnsatisfiable="ScheduleAnyway"), None),
        (spread(minDomains=2), None),
        (spread(minDomains=UNKNOWN), None),
        (spread(labelSelector={"matchLabels": {"app": "other"}}), None),
        (spread("rack"), None),
    ],
)
def test_spread(constraint, runs):
    heard = said(pool(most=8), deployment(pods(topologySpreadConstraints=[constraint]), 10))
    assert len(heard) == (runs is not None)
    assert runs is None or f"no more than {runs} can run: it spreads over at least" in heard[0][1]


@pytest.mark.parametrize(
    ("key", "runs"), [("kubernetes.io/hostname", 3), ("topology.kubernetes.io/zone", 2), ("rack", None)]
)
def test_replicas_that_refuse_each_other(key, runs):
    term = {"topologyKey": key, "labelSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    heard = said(pool(most=3), deployment(pods(affinity=apart), 4))
    assert len(heard) == (runs is not None)
    assert runs is None or f"no more than {runs} can run" in heard[0][1]


# ---- gangs


def test_a_gang_fits_one_pool_as_a_whole():
    one = pods({"nvidia.com/gpu": "1"})
    assert not found(pool(), job(one, 2))
    ((rule, message),) = said(pool(), pool("more", most=1), job(one, 3))
    assert rule == "gang-fits-a-pool"
    assert message == (
        "Job train: its 3 pods are of use only together, and no more than 2 can run: 2 machines at most in l4"
    )
    assert not found(pool(), pool("more", labels={"aicloud.dev/pool": "l4"}), job(one, 3))  # two rungs of a pool
    assert not found(pool(machine="p9.48xlarge"), job(one, 30))  # a machine that nobody knows


@pytest.mark.parametrize(
    ("topology", "runs"), [("kubernetes.io/hostname", 1), ("topology.kubernetes.io/zone", 2), ("rack", 2)]
)
def test_a_gang_in_one_domain(topology, runs):
    one = pods({"nvidia.com/gpu": "1"}, annotations={"kueue.x-k8s.io/podset-required-topology": topology})
    here = pool(subnetIds=["subnet-a"])
    there = pool("more", subnetIds=["subnet-b"], labels={"aicloud.dev/pool": "l4"})
    assert not found(here, there, job(one, runs))
    ((_, message),) = said(here, there, job(one, 3))
    assert f"no more than {runs} can run: all of them have to be" in message


def test_pods_that_want_to_be_together_want_one_domain():
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "w"}}}
    together = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    assert "one machine" in said(pool(), job(pods({"cpu": "3"}, affinity=together), 2))[0][1]


def test_all_parts_of_a_job_at_once():
    def parts(*counts: int) -> Resource:
        jobs = [
            {"name": f"part{i}", "template": {"spec": {"parallelism": n, "template": pods({"nvidia.com/gpu": "1"})}}}
            for i, n in enumerate(counts)
        ]
        return thing("JobSet", "set", {"replicatedJobs": jobs})

    assert not found(pool(most=4), parts(2, 2))
    ((rule, message),) = said(pool(most=4), parts(3, 2))
    assert rule == "gang-fits-a-pool"
    assert "its 2 parts together need 5 nvidia.com/gpu, and the pools that take them have 4 nvidia.com/gpu" in message
    assert [one.subject for one in found(pool(most=4), parts(5, 1))] == ["part0"]


# ---- time


def test_a_plan_ten_times_as_large_takes_about_ten_times_as_long(simulated_plan):
    """Counted in calls, which do not depend on the machine."""

    def calls(plan: Plan) -> int:
        inventory = Inventory(plan)
        inventory.workloads, inventory.clusters  # noqa: B018  their reading is not placement's
        count = 0

        def profile(_frame: Any, event: str, _argument: Any) -> None:
            nonlocal count
            count += event == "call"

        sys.setprofile(profile)
        try:
            list(findings(inventory, Rules()))
        finally:
            sys.setprofile(None)
        return count

    one = simulated_plan("prod")
    text = one.to_json()
    states = json.loads(text)["deployment"]["resources"]
    ten = []
    for copy in range(10):
        renamed = json.dumps(states).replace("urn:pulumi:prod::ai-cloud::", f"urn:pulumi:prod{copy}::ai-cloud::")
        ten += [Resource.from_state(state) for state in json.loads(renamed.replace("-cluster", f"-cluster{copy}"))]
    assert calls(Plan.of("p", "s", ten)) < 13 * calls(one)
