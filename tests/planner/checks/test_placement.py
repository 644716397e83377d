"""Placement against small clusters made by hand: each thing that keeps pods from running, and nothing that doesn't."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from planner.checks.placement import RULES, findings
from planner.finding import Finding
from planner.inventory import Inventory
from planner.plan import UNKNOWN, Plan, Resource
from planner.rules import Rules
from tests.faults.fault import Fault
from tests.faults.placement import FAULTS, job_set, local_queue, training_job

_KUEUE = "kueue.x-k8s.io/v1beta2"
GROUP = {
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet"), "apps/v1"),
    **dict.fromkeys(("Namespace", "PersistentVolume", "PersistentVolumeClaim"), "core/v1"),
    **dict.fromkeys(("LocalQueue", "ClusterQueue", "Cohort", "ResourceFlavor"), _KUEUE),
    "Job": "batch/v1",
    "JobSet": "jobset.x-k8s.io/v1alpha2",
    "StorageClass": "storage.k8s.io/v1",
    "ComputeClass": "cloud.google.com/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "Release": "helm.sh/v3",
}
CLUSTER = {"aws": "aws:eks/cluster:Cluster", "gcp": "gcp:container/cluster:Cluster"}
URN = "urn:pulumi:test::test::{}::{}"


def cluster(cloud: str = "aws", **inputs: Any) -> list[Resource]:
    """A cluster in two zones, and the provider that leads to it."""
    urn = URN.format(CLUSTER[cloud], "c")
    place = {"region": "us-east-1"} if cloud == "aws" else {"location": "us-central1"}
    provider = "pulumi:providers:kubernetes"
    found = [
        Resource(urn, CLUSTER[cloud], inputs={"name": "c", **place, **inputs}),
        Resource(URN.format(provider, "k"), provider, id="1", dependencies=(urn,)),
    ]
    for zone in ("a", "b"):
        subnet = "aws:ec2/subnet:Subnet"
        given = {"availabilityZone": f"us-east-1{zone}", "region": "us-east-1"}
        found.append(Resource(URN.format(subnet, zone), subnet, id=f"subnet-{zone}", inputs=given))
    return found


def pool(name: str = "l4", machine: str = "g6.xlarge", most: int = 2, **inputs: Any) -> Resource:
    """An EKS node group in both zones, labelled `pool=<name>`."""
    type = "aws:eks/nodeGroup:NodeGroup"
    given = {
        "clusterName": "c",
        "region": "us-east-1",
        "nodeGroupName": name,
        "instanceTypes": [machine],
        "scalingConfig": {"minSize": 1, "maxSize": most},
        "subnetIds": ["subnet-a", "subnet-b"],
        "labels": {"pool": name, "aicloud.dev/pool": name},
    }
    return Resource(URN.format(type, name), type, inputs={**given, **inputs})


def gke_pool(name: str = "l4", **config: Any) -> Resource:
    """A GKE node pool of at most three machines."""
    type = "gcp:container/nodePool:NodePool"
    inputs = {
        "cluster": "c", "location": "us-central1", "name": name, "nodeLocations": ["us-central1-a"],
        "autoscaling": {"totalMinNodeCount": 0, "totalMaxNodeCount": 3},
        "nodeConfig": {"machineType": "g2-standard-4", "labels": {"aicloud.dev/pool": name}, **config},
    }  # fmt: skip
    return Resource(URN.format(type, name), type, inputs=inputs)


def thing(
    kind: str, name: str, spec: Any = None, *, namespace: str = "", labels: Any = None, **inputs: Any
) -> Resource:
    """A Kubernetes object in the cluster."""
    type = f"kubernetes:{GROUP[kind]}:{kind}"
    metadata = {
        "name": name,
        **({"namespace": namespace} if namespace else {}),
        **({"labels": labels} if labels else {}),
    }
    body = {"kind": kind, "metadata": metadata, **({} if spec is None else {"spec": spec}), **inputs}
    provider = f"{URN.format('pulumi:providers:kubernetes', 'k')}::1"
    return Resource(URN.format(type, f"{namespace}{name}"), type, inputs=body, provider=provider)


def pods(
    requested: Mapping[str, str] | None = None, *, claims: Iterable[str] = (), annotations: Any = None, **spec: Any
):
    """A pod template."""
    container = {"name": "c", "image": "i", "resources": {"requests": dict(requested or {})}}
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
    metadata = {"labels": {"app": "w"}, "annotations": annotations or {}}
    return {"metadata": metadata, "spec": {"containers": [container], "volumes": volumes, **spec}}


def deployment(template: Mapping[str, Any], replicas: Any = 1, name: str = "web", **more: Any) -> Resource:
    return thing("Deployment", name, {"replicas": replicas, "template": template}, **more)


def job(template: Mapping[str, Any], nodes: int = 1, queue: str = "", **more: Any) -> Resource:
    labels = {"kueue.x-k8s.io/queue-name": queue} if queue else None
    return thing("Job", "train", {"parallelism": nodes, "template": template}, labels=labels, **more)


def found(*resources: Resource | list[Resource]) -> list[Finding]:
    flat = [one for given in resources for one in (given if isinstance(given, list) else [given])]
    if not any(one.type in CLUSTER.values() for one in flat):
        flat += cluster()
    # Through JSON, as every plan comes.
    plan = Plan.from_json(Plan.of("test", "test", flat).to_json())
    return list(findings(Inventory(plan), Rules()))


def said(*resources: Resource | list[Resource]) -> list[tuple[str, str]]:
    return [(one.rule, one.message) for one in found(*resources)]


# ---- the three environments


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_the_environments_are_clean(environment, up, environment_plan, simulated_plan):
    plan = (simulated_plan if up else environment_plan)(environment)
    assert [one.message for one in findings(Inventory(plan), Rules())] == []


@pytest.mark.parametrize("fault", FAULTS, ids=str)
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
    assert {rule.name for rule in RULES} == {fault.rule for fault in FAULTS}


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


# ---- volumes


def claim(name: str = "data", namespace: str = "", **spec: Any) -> Resource:
    return thing("PersistentVolumeClaim", name, {"accessModes": ["ReadWriteMany"], **spec}, namespace=namespace)


def test_claims_that_are_not_there():
    web = deployment(pods(claims=["data"]))
    assert not found(pool(), web, claim())
    assert said(pool(), web)[0] == (
        "volume-claim-exists",
        "Deployment web mounts the claim 'data', which is not in namespace default; there is none at all",
    )
    assert "did you mean 'dates'?" in said(pool(), web, claim("dates"))[0][1]
    assert "it is in other, and a pod mounts claims of its own namespace only" in said(
        pool(), web, claim(namespace="other"))[0][1]  # fmt: skip


def test_claims_of_unknown_name_or_namespace_may_be_the_one():
    web = deployment(pods(claims=["data"]))
    assert not found(pool(), web, claim(UNKNOWN))
    assert not found(pool(), web, claim(namespace=UNKNOWN))
    assert not found(pool(), deployment(pods(claims=[UNKNOWN])))


def volume(**spec: Any) -> Resource:
    return thing("PersistentVolume", "disk", {"accessModes": ["ReadWriteMany"], "capacity": {"storage": "1Ti"}, **spec})


@pytest.mark.parametrize(
    ("wanted", "there", "problem"),
    [
        ({}, {}, ""),
        ({"volumeName": "disc"}, {}, "names the volume 'disc', which is not there"),
        ({"volumeName": "disc", "storageClassName": "standard"}, {}, ""),
        ({"volumeName": UNKNOWN}, {}, ""),
        ({}, {"accessModes": ["ReadOnlyMany"]}, "wants ReadWriteMany, and its volume disk has ReadOnlyMany"),
        ({}, {"accessModes": UNKNOWN}, ""),
        ({"resources": {"requests": {"storage": "2Ti"}}}, {}, "wants more storage than its volume disk has"),
        ({"resources": {"requests": {"storage": "1Ti"}}}, {}, ""),
        (
            {},
            {"claimRef": {"namespace": "other", "name": "data"}},
            "names the volume disk, which is kept for other/data",
        ),
        ({}, {"claimRef": {"namespace": "default", "name": "data"}}, ""),
        ({}, {"claimRef": {"namespace": UNKNOWN, "name": "data"}}, ""),
    ],
)
def test_claims_that_are_never_bound(wanted, there, problem):
    heard = said(claim(**{"volumeName": "disk", "storageClassName": "", **wanted}), volume(**there))
    assert heard == ([("volume-claim-exists", f"claim default/data {problem}")] if problem else [])


def zone(value: str) -> dict[str, Any]:
    return {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [value]}


def test_a_pod_goes_where_its_volume_is():
    web, bound = deployment(pods(claims=["data"])), claim(volumeName="disk", storageClassName="")
    for name, fit in (("us-east-1b", True), ("us-east-1f", False)):
        terms = {"nodeSelectorTerms": [{"matchExpressions": [zone(name)]}]}
        heard = said(pool(), web, bound, volume(nodeAffinity={"required": terms}))
        assert (not heard) is fit
    assert "the pod needs label topology.kubernetes.io/zone=us-east-1f, it has us-east-1a, us-east-1b" in heard[0][1]


@pytest.mark.parametrize("named", [True, False])
def test_a_pod_goes_where_its_storage_class_makes_volumes(named):
    web = deployment(pods(claims=["data"]))
    wanted = claim(storageClassName="zonal") if named else claim()
    for name, fit in (("us-east-1b", True), ("us-east-1f", False)):
        made = thing("StorageClass", "zonal", allowedTopologies=[{"matchLabelExpressions": [zone(name)]}])
        made.inputs["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
        assert (not found(pool(), web, wanted, made)) is fit


@pytest.mark.parametrize(
    ("modes", "replicas", "runs"),
    [
        (["ReadWriteOnce"], 3, None),
        (["ReadWriteOnce"], 4, 3),
        (["ReadWriteOncePod"], 2, 1),
        (["ReadWriteMany"], 4, None),
    ],
)
def test_claims_for_one_machine_or_one_pod(modes, replicas, runs):
    heard = said(pool(most=9), deployment(pods({"cpu": "1"}, claims=["data"]), replicas), claim(accessModes=modes))
    assert len(heard) == (runs is not None)
    assert runs is None or f"no more than {runs} can run: its claim data is {modes[0]}" in heard[0][1]


# ---- queues


def queues(quota: Any = 2, *, resource: str = "nvidia.com/gpu", cohort: str = "", **more: Any) -> list[Resource]:
    given = {"name": resource, "nominalQuota": quota, **more}
    group = {"coveredResources": [resource], "flavors": [{"name": "l4", "resources": [given]}]}
    spec = {"namespaceSelector": {}, "resourceGroups": [group], **({"cohortName": cohort} if cohort else {})}
    flavor = {"nodeLabels": {"pool": "l4"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]}
    return [
        thing("LocalQueue", "team", {"clusterQueue": "queue"}, namespace="default"),
        thing("ClusterQueue", "queue", spec),
        thing("ResourceFlavor", "l4", flavor),
    ]


TAINT = [{"key": "gpu", "value": "yes", "effect": "NO_SCHEDULE"}]
ONE_GPU = pods({"nvidia.com/gpu": "1", "cpu": "1"})


def test_a_queue_gives_its_pods_the_labels_and_tolerations_of_its_flavor():
    assert found(pool(taints=TAINT), job(ONE_GPU))[0].rule == "pod-fits-a-pool"
    assert not found(pool(taints=TAINT), job(ONE_GPU, 2, "team"), *queues())
    elsewhere = job(pods({"nvidia.com/gpu": "1"}, nodeSelector={"pool": "other"}), 1, "team")
    assert {one.rule for one in found(pool(taints=TAINT), elsewhere, *queues())} == {
        "pod-fits-a-pool",
        "queue-quota-fits",
    }


@pytest.mark.parametrize(
    ("local", "names", "said_"),
    [
        (
            "team",
            "tame",
            "Job train names the LocalQueue 'tame', which is not in namespace default; did you mean 'team'?",
        ),
        ("x", "y", "Job train names the LocalQueue 'y', which is not in namespace default; there is x"),
    ],
)
def test_local_queues_that_are_not_there(local, names, said_):
    there = queues()
    there[0].inputs["metadata"]["name"] = local
    assert said(pool(taints=TAINT), job(ONE_GPU, 1, names), *there) == [("queue-exists", said_)]


def test_what_stands_behind_a_queue():
    local, queue, flavor = queues()
    assert [r for r, _ in said(pool(), local)] == ["queue-exists"]
    ((rule, message),) = said(pool(), local, queue)
    assert (rule, "names the ResourceFlavor 'l4', which is not in its cluster; there is none" in message) == (
        "queue-exists", True)  # fmt: skip
    assert not found(pool(), local, queue, flavor)
    local.inputs["spec"]["clusterQueue"] = UNKNOWN
    assert not found(pool(), local)
    local.inputs["spec"] = UNKNOWN
    assert not found(pool(), local, job(ONE_GPU, 1, "team"))


@pytest.mark.parametrize(
    ("selector", "admits"),
    [({}, True), (None, False), ({"matchLabels": {"team": "a"}}, True), ({"matchLabels": {"team": "b"}}, False),
     ({"matchLabels": {"kubernetes.io/metadata.name": "default"}}, True), (UNKNOWN, True)],
)  # fmt: skip
def test_a_queue_admits_the_namespaces_that_it_selects(selector, admits):
    local, queue, flavor = queues()
    queue.inputs["spec"]["namespaceSelector"] = selector
    namespace = thing("Namespace", "default", labels={"team": "a"})
    heard = said(pool(taints=TAINT), job(ONE_GPU, 1, "team"), namespace, local, queue, flavor)
    assert [rule for rule, _ in heard] == ([] if admits else ["queue-exists"])


@pytest.mark.parametrize(
    ("nodes", "quota", "fits"), [(2, 2, True), (3, 2, False), (3, "3", True), (3, UNKNOWN, True), (1, "0", False)]
)
def test_quota(nodes, quota, fits):
    heard = said(pool(taints=TAINT, most=3), job(ONE_GPU, nodes, "team"), *queues(quota))
    assert [rule for rule, _ in heard] == ([] if fits else ["queue-quota-fits"])


@pytest.mark.parametrize(
    ("own", "other", "cohort", "fits"),
    [
        ({}, {}, None, True),
        ({"borrowingLimit": "1"}, {}, None, False),
        ({"borrowingLimit": "2"}, {}, None, True),
        ({}, {"lendingLimit": "1"}, None, False),
        ({}, {"nominalQuota": "1"}, None, False),
        ({}, {"nominalQuota": "1"}, "1", True),
        ({}, {"nominalQuota": UNKNOWN}, None, True),
    ],
)
def test_borrowed_quota(own, other, cohort, fits):
    lender = {"name": "nvidia.com/gpu", "nominalQuota": "2", **other}
    group = {"coveredResources": ["nvidia.com/gpu"], "flavors": [{"name": "l4", "resources": [lender]}]}
    more = [
        thing("ClusterQueue", "lender", {"cohortName": "child", "resourceGroups": [group], "namespaceSelector": {}})
    ]
    more.append(thing("Cohort", "child", {"parentName": "all"}))
    if cohort:
        quota = {"flavors": [{"name": "l4", "resources": [{"name": "nvidia.com/gpu", "nominalQuota": cohort}]}]}
        more.append(thing("Cohort", "all", {"resourceGroups": [quota]}))
    heard = said(pool(taints=TAINT, most=4), job(ONE_GPU, 4, "team"), *queues(2, cohort="all", **own), *more)
    assert [rule for rule, _ in heard] == ([] if fits else ["queue-quota-fits"])


def test_resources_without_quota():
    template = pods({"nvidia.com/gpu": "1", "vpc.amazonaws.com/efa": "0", "google.com/tpu": "1"})
    heard = [
        message for rule, message in said(pool(taints=TAINT), job(template, 1, "team"), *queues()) if "quota" in rule
    ]
    assert heard == [
        "Job train asks for google.com/tpu, of which ClusterQueue queue has no quota (it covers nvidia.com/gpu): Kueue"
        " never admits it"
    ]


@pytest.mark.parametrize(
    ("configuration", "admitted"),
    [("resources: {excludeResourcePrefixes: [cpu]}", True), ("resources: {}", False), ("}", True), (UNKNOWN, True)],
)
def test_what_kueue_does_not_count_is_in_its_configuration(configuration, admitted):
    values = {"managerConfig": {"controllerManagerConfigYaml": configuration}}
    kueue = thing("Release", "kueue", chart="oci://registry.k8s.io/kueue/charts/kueue", values=values)
    heard = said(pool(taints=TAINT), job(ONE_GPU, 1, "team"), *queues(), kueue)
    assert (not heard) is admitted


def test_all_parts_of_a_job_need_quota_at_once():
    jobs = [{"name": name, "template": {"spec": {"parallelism": 2, "template": ONE_GPU}}} for name in ("a", "b")]
    both = thing("JobSet", "set", {"replicatedJobs": jobs}, labels={"kueue.x-k8s.io/queue-name": "team"})
    ((rule, message),) = said(pool(taints=TAINT, most=4), both, *queues(3))
    assert (rule, "needs 4 nvidia.com/gpu at once for all of its parts" in message) == ("queue-quota-fits", True)
    assert not found(pool(taints=TAINT, most=4), both, *queues(4))


def test_flavors_stand_for_machines():
    *_, queue, flavor = queues(3)
    (finding,) = found(pool(), queue, flavor)
    assert (finding.rule, finding.severity) == ("queue-quota-fits", "warning")
    assert "queues have 3 nvidia.com/gpu of flavor l4, whose machines hold 2 nvidia.com/gpu at most" in finding.message
    assert not found(pool(most=3), queue, flavor)
    assert not found(pool(machine="p9.48xlarge"), queue, flavor)
    ((_, message),) = said(pool("t4"), queue, flavor)
    assert "stands for nodes with pool=l4, which no pool in aws:us-east-1 has" in message
    flavor.inputs["spec"]["nodeLabels"] = {"pool": UNKNOWN}
    assert not found(pool("t4", most=3), queue, flavor)


# ---- time


def test_a_plan_ten_times_as_large_takes_about_ten_times_as_long(simulated_plan):
    """Counted in calls, which do not depend on the machine."""
    import sys

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
