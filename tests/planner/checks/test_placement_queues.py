"""Placement, Kueue: queues that lead nowhere, quota that is not enough, flavors that stand for no machine."""

from __future__ import annotations

import pytest

from planner.plan import UNKNOWN
from tests.planner.checks.small_clusters import found, job, pods, pool, queues, said, thing

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


def test_a_job_whose_labels_or_namespace_only_the_cloud_knows():
    one = job(ONE_GPU)
    one.inputs["metadata"]["labels"] = UNKNOWN
    assert not found(pool(taints=TAINT), one, *queues())
    two = job(pods({"nvidia.com/gpu": "1"}, claims=["data"]), 1, "team", namespace=UNKNOWN)
    assert not found(pool(taints=TAINT), two, *queues())


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
    flavor.inputs["spec"]["nodeLabels"] = {"pool": UNKNOWN}
    assert not found(pool("t4", most=3), queue, flavor)


TAS = "kueue.x-k8s.io/podset-{}-topology"


@pytest.mark.parametrize(
    ("annotations", "topology", "others", "fits"),
    [
        ({}, None, True, True),
        ({}, "fabric", True, False),
        ({TAS.format("preferred"): "rack"}, "fabric", True, True),
        ({TAS.format("required"): "rack"}, None, True, False),
        ({TAS.format("required"): "block"}, "fabric", True, False),
        ({TAS.format("unconstrained"): "true"}, "fabric", True, True),
        ({TAS.format("required"): UNKNOWN}, "fabric", True, True),
        ({}, UNKNOWN, True, True),
        # Where all flavors know their place in the network, every job may have them.
        ({}, "fabric", False, True),
    ],
)
def test_flavors_with_a_topology_are_for_those_who_ask(annotations, topology, others, fits):
    local, queue, flavor = queues(2)
    flavor.inputs["spec"] |= {"topologyName": topology} if topology else {}
    more = [thing("Topology", "fabric", {"levels": [{"nodeLabel": "rack"}, {"nodeLabel": "kubernetes.io/hostname"}]})]
    if others:
        # Another flavor, of which it has nothing.
        none = {"name": "nvidia.com/gpu", "nominalQuota": 0}
        queue.inputs["spec"]["resourceGroups"][0]["flavors"].append({"name": "plain", "resources": [none]})
        other = {"topologyName": None if topology else "fabric"}
        more.append(thing("ResourceFlavor", "plain", {**flavor.inputs["spec"], **other}))
    template = pods({"nvidia.com/gpu": "1"}, annotations=annotations)
    heard = said(pool(taints=TAINT), job(template, 2, "team"), local, queue, flavor, *more)
    assert [rule for rule, _ in heard] == ([] if fits else ["queue-quota-fits"])


def test_topologies_that_flavors_name():
    local, queue, flavor = queues(2)
    flavor.inputs["spec"]["topologyName"] = "racks"
    ((rule, message),) = said(pool(), local, queue, flavor, thing("Topology", "rack", {}))
    assert (rule, "names the Topology 'racks', which is not in its cluster; did you mean 'rack'?" in message) == (
        "queue-exists", True)  # fmt: skip


@pytest.mark.parametrize(("fewest", "fits"), [("2", True), ("3", False)])
def test_a_job_that_may_start_smaller_needs_quota_for_that(fewest, fits):
    sweep = job(ONE_GPU, 8, "team")
    sweep.inputs["metadata"]["annotations"] = {"kueue.x-k8s.io/job-min-parallelism": fewest}
    heard = said(pool(taints=TAINT, most=8), sweep, *queues(2))
    assert [rule for rule, _ in heard] == ([] if fits else ["queue-quota-fits"])
