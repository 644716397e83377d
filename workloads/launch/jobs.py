"""Runs as Jobs of a CronJob's template: one for each reason, and the news when one has ended.

As `kubectl create job --from=cronjob/NAME` makes them (kubernetes/kubectl, pkg/cmd/create/create_job.go).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from workloads.launch.kubernetes import Cluster, Conflict

MANUAL = "cronjob.kubernetes.io/instantiate"
STARTED_BY, TOLD = "aicloud.dev/started-by", "aicloud.dev/told"
BY = "trigger"
ENDS = ("Complete", "Failed")
LONGEST = 63
"""Characters of a Job's name, of which pods take five more and a dash."""


def start(api: Cluster, namespace: str, cronjob: str, reason: str) -> tuple[str, bool]:
    """Name of the Job for a reason, and whether it was started now: the same reason again starts nothing.

    Nor does any reason while a run of the CronJob is under way, whoever started it: then that one's name is returned.
    Raises LaunchError.
    """
    found = api.get(f"/apis/batch/v1/namespaces/{namespace}/cronjobs/{cronjob}")
    name = name_of(cronjob, reason)
    active = [one["name"] for one in found.get("status", {}).get("active", [])]
    active += [job["metadata"]["name"] for job in _jobs(api, namespace, cronjob) if not _end(job)]
    if active:
        return active[0], False
    template = found["spec"]["jobTemplate"]
    metadata = template.get("metadata", {})
    owner = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": cronjob,
        "uid": found["metadata"]["uid"],
        "controller": True,
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": {**metadata.get("labels", {}), STARTED_BY: BY},
            "annotations": {**metadata.get("annotations", {}), MANUAL: "manual"},
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }
    try:
        api.create(f"/apis/batch/v1/namespaces/{namespace}/jobs", job)
    except Conflict:
        return name, False
    return name, True


def name_of(cronjob: str, reason: str) -> str:
    """The same for the same reason, and as short as names of pods have to be."""
    digest = hashlib.sha256(reason.encode()).hexdigest()[:10]
    return f"{cronjob[: LONGEST - 6 - len(digest) - 1].rstrip('-')}-{digest}"


def tell(api: Cluster, namespace: str, cronjob: str, say: Callable[[str, str], None]) -> list[str]:
    """Say of each Job that a trigger started and that has ended: its name, and `Complete` or `Failed`; each once.

    It is noted afterwards, so that it is said twice rather than never. Raises LaunchError.
    """
    said = []
    for job in _jobs(api, namespace, cronjob):
        metadata, end = job["metadata"], _end(job)
        if not end or metadata.get("labels", {}).get(STARTED_BY) != BY or TOLD in metadata.get("annotations", {}):
            continue
        say(metadata["name"], end)
        path = f"/apis/batch/v1/namespaces/{namespace}/jobs/{metadata['name']}"
        api.patch(path, {"metadata": {"annotations": {TOLD: end}}})
        said.append(metadata["name"])
    return said


def _jobs(api: Cluster, namespace: str, cronjob: str) -> Iterator[dict[str, Any]]:
    for job in api.get(f"/apis/batch/v1/namespaces/{namespace}/jobs").get("items", []):
        owners = job["metadata"].get("ownerReferences", [])
        if any(owner["kind"] == "CronJob" and owner["name"] == cronjob for owner in owners):
            yield job


def _end(job: dict[str, Any]) -> str:
    """How a Job has ended; empty where it has not."""
    conditions = job.get("status", {}).get("conditions") or []
    return next((one["type"] for one in conditions if one["type"] in ENDS and one["status"] == "True"), "")
