"""Training, what is kept: checkpoints and journals, and who may write them."""

from __future__ import annotations

import pytest

from planner.plan import UNKNOWN, Resource
from tests.planner.checks.small_clusters import URN, job, pods, thing
from tests.planner.checks.training_jobs import (
    IGNORED,
    TRAIN,
    around,
    env,
    found,
    gke,
    gke_machines,
    identity,
    machines,
    pod,
    said,
    told,
)

# ---- checkpoints


def test_checkpoints_that_are_lost_with_the_machine():
    spec = pod()
    spec["containers"][0]["command"] = TRAIN[:-2]
    ((rule, _, message),) = told(spec)
    assert rule == "checkpoints-outlive-the-machine"
    assert "node saves to /scratch/run alone, which is lost with the machine" in message
    spec["volumes"][1] = {"name": "scratch", "persistentVolumeClaim": {"claimName": "warm"}}
    assert told(spec) == []
    spec["containers"][0]["args"] = UNKNOWN
    assert told(spec) == []


@pytest.mark.parametrize(
    ("access", "problem"),
    [
        (identity(), ""),
        (identity(account="other"), "its service account training/gpt has no identity in the cloud"),
        (identity("others"), "its role r may not write to s3://checkpoints/runs/gpt"),
        (identity("checkpoints", "runs/llama"), "its role r may not write to s3://checkpoints/runs/gpt"),
        (identity("checkpoints", "runs/", "s3:GetObject"), "its role r may not write"),
        (identity("checkpoints", "", "s3:*"), ""),
        (identity("*", "", "s3:Put*"), ""),
        ([], ""),
    ],
)
def test_who_may_write_on_aws(access, problem):
    heard = told(pod(), access, [])
    assert [rule for rule, _, _ in heard] == (["checkpoints-outlive-the-machine"] if problem else [])
    assert not problem or problem in heard[0][2]


def test_policies_that_only_the_cloud_knows_are_not_judged():
    role, policy, association = identity("others")
    policy.inputs["policy"] = UNKNOWN
    assert told(pod(), [role, policy, association]) == []
    association.inputs["namespace"] = UNKNOWN
    assert told(pod(), [role, association]) == []


def grant(role="objectUser", member="gpt", bucket="checkpoints", prefix="", type="storage/bucketIAMMember"):
    name = f"gcp:{type}:{type.split('/')[1][0].upper()}{type.split('/')[1][1:]}"
    pool = "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p.svc.id.goog/subject"
    inputs = {"bucket": bucket, "role": f"roles/storage.{role}", "member": f"{pool}/ns/training/sa/{member}"}
    if prefix:
        inputs["condition"] = {
            "expression": f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/{prefix}") || x("{prefix}")'
        }
    return Resource(URN.format(name, f"{role}{member}{bucket}"), name, inputs=inputs)


@pytest.mark.parametrize(
    ("grants", "allowed"),
    [
        ([grant()], True),
        ([grant("objectViewer")], False),
        ([grant("objectViewer"), grant("objectAdmin")], True),
        ([grant("objectCreator")], False),
        ([grant(member="other")], False),
        ([grant(bucket="data")], False),
        ([grant(prefix="runs/gpt")], True),
        ([grant(prefix="runs/llama")], False),
        ([grant(member=UNKNOWN)], True),
        ([grant(bucket="data"), grant("admin", type="projects/iAMMember")], True),
        ([], True),
    ],
)
def test_who_may_write_on_google_cloud(grants, allowed):
    spec, annotations = gke()
    heard = told(spec, gke_machines(), grants, cloud="gcp", annotations=annotations)
    assert [rule for rule, _, _ in heard] == ([] if allowed else ["checkpoints-outlive-the-machine"])


def ray_job(entrypoint, **variables):
    def group(name, account, **more):
        container = {"name": "ray", "image": "i", "env": env({"TRAINING_GRACE_S": "120", **more})}
        spec = {"serviceAccountName": account, "terminationGracePeriodSeconds": 120, "containers": [container]}
        return {"groupName": name, "replicas": 2, "minReplicas": 2, "maxReplicas": 2, "template": {"spec": spec}}

    cluster = {"headGroupSpec": group("", "head", **variables), "workerGroupSpecs": [group("workers", "gpt")]}
    body = {"entrypoint": entrypoint, "rayClusterSpec": cluster}
    return thing("RayJob", "tune", body, namespace="training", labels={"kueue.x-k8s.io/queue-name": "training"})


@pytest.mark.parametrize(
    ("remote", "prefix", "expected"),
    [
        ('--checkpoint.remote "$CHECKPOINTS"', "runs/", ""),
        ("--checkpoint.remote ${CHECKPOINTS}", "others/", "may not write to s3://checkpoints/runs/tune"),
        ('--checkpoint.remote "$ELSEWHERE"', "others/", ""),
        ("", "runs/", "saves to /scratch/run alone"),
    ],
)
def test_what_a_ray_job_runs_is_in_its_entrypoint(remote, prefix, expected):
    entrypoint = f"python -m workloads.training.ray_train --output /scratch/run --workers 2 {remote}"
    job = ray_job(entrypoint, CHECKPOINTS="s3://checkpoints/runs/tune")
    heard = said(around(), job, machines(), identity("checkpoints", prefix))
    assert [rule for rule, _, _ in heard] == (["checkpoints-outlive-the-machine"] if expected else [])
    assert expected in (heard[0][2] if heard else "")


# ---- sweeps


def sweep(journal="/mnt/warm/journal", modes=("ReadWriteMany",), workers=4):
    template = pods({"cpu": "1"}, claims=["warm"])
    command = ["python", "-m", "workloads.training.sweep", "--journal", journal, "--output", "/mnt/warm/run"]
    container = template["spec"]["containers"][0]
    container |= {"command": command, "volumeMounts": [{"name": "warm", "mountPath": "/mnt/warm"}]}
    container["volumeMounts"].append({"name": "scratch", "mountPath": "/scratch"})
    template["spec"]["volumes"].append({"name": "scratch", "emptyDir": {}})
    claim = thing("PersistentVolumeClaim", "warm", {"accessModes": list(modes)}, namespace="training")
    one = job(template, workers, namespace="training")
    one.inputs["spec"]["podFailurePolicy"] = IGNORED
    one.inputs["metadata"]["annotations"] = {"kueue.x-k8s.io/job-min-parallelism": "1"}
    return [one, claim]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ""),
        ({"modes": ["ReadWriteOnce"]}, "is on the claim warm, which is ReadWriteOnce; 4 workers"),
        ({"journal": "/scratch/journal"}, "is on scratch (emptyDir), of which each pod has its own"),
        ({"journal": "/journal"}, "is on no volume (the container's own disk)"),
        ({"journal": "/scratch/journal", "workers": 1}, ""),
        ({"modes": [UNKNOWN]}, ""),
    ],
)
def test_the_journal_of_a_sweep(given, expected):
    heard = said(around(), machines(), sweep(**given))
    assert [rule for rule, _, _ in heard] == (["sweep-journal-is-shared"] if expected else [])
    assert expected in (heard[0][2] if heard else "")
    # One fault is told by one rule.
    assert found(around(), machines(), sweep(**given), check="placement") == []
