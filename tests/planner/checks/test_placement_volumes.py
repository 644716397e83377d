"""Placement, the volumes: claims that are not there, that are never bound, and that tie pods to a place."""

from __future__ import annotations

from typing import Any

import pytest

from planner.plan import UNKNOWN, Resource
from tests.planner.checks.small_clusters import deployment, found, pods, pool, said, thing


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
