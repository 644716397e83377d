"""A copy of the models in a file system of the region, so that not each of its pods reads the object store.

The "restricted" pod security standard has no hostPath, so pods cannot share a directory of their machine; a claim they
can. It is a file system that many mount (EFS, Filestore), and no disk: a disk that many machines read has to be cloned
for each version. One Job fills it, before the Deployments that read it change; pods copy from there to their local disk
and verify again, so that a server's own reads do not depend on the file system, and nothing starts of what is broken.

What it saves are reads of the object store: of one that is far, is paid by the request, or throttles. It is not faster
by itself (components.inference.cold_start.DEFAULT_CLAIM_GIB_S), and EFS takes money for what is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.inference.model_group import Shared
from components.inference.pod import (
    MIRROR,
    Model,
    container_security,
    mebibytes,
    model_arguments,
    region_environment,
    restricted,
)
from components.labels import PURPOSE
from components.security.traffic import DENY_ALL, outbound

_MEMORY_GIB, _SCRATCH_GIB, _LOGS_GIB = 1.0, 0.5, 0.5
"""Parts under way are 16 of 16 MiB (workloads.serving.fetch)."""
_TRIES = 6


def mirror(models: Sequence[Model], cloud: str, shared: Shared) -> pulumi.Resource:
    """The Job that has each model version in the claim, verified; what is there already it does not read again.

    Its name follows from the models and the image: other models are another Job, and the old one goes.
    """
    name = f"{shared.name}-weights"
    labels = {"app.kubernetes.io/name": "weights", "app.kubernetes.io/instance": name}
    placed: dict[str, Any] = {"namespace": shared.namespace, "labels": labels}
    traffic = k8s.networking.v1.NetworkPolicy(
        f"{name}-traffic",
        metadata={**placed, "name": f"{name}-traffic"},
        # The node mounts the file system; the pod itself talks to the object store alone.
        spec={**DENY_ALL, "pod_selector": {"match_labels": labels}, "egress": outbound(cloud)},
        opts=shared.opts,
    )
    words = model_arguments(sorted(models, key=str))
    digest = hashlib.sha256("\n".join([shared.image, *words]).encode()).hexdigest()[:10]
    security = restricted()
    security["security_context"]["fs_group_change_policy"] = "OnRootMismatch"
    memory = {"memory": mebibytes(_MEMORY_GIB), "ephemeral-storage": mebibytes(_SCRATCH_GIB + _LOGS_GIB)}
    return k8s.batch.v1.Job(
        f"{name}-job",
        metadata={**placed, "name": f"{name}-{digest}"},
        spec={
            "backoff_limit": _TRIES,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    **security,
                    "service_account_name": shared.name,
                    # Bytes from one place to another: no machine with a GPU for that.
                    "node_selector": {PURPOSE: "system"},
                    "restart_policy": "OnFailure",
                    "containers": [
                        {
                            "name": "mirror",
                            "image": shared.image,
                            "image_pull_policy": "IfNotPresent",
                            "command": ["python3", "-m", "workloads.serving", "mirror"],
                            "args": ["--source", shared.source, "--destination", MIRROR, *words],
                            "env": region_environment(cloud, shared.region),
                            "security_context": container_security(),
                            "resources": {"requests": {"cpu": "1", **memory}, "limits": memory},
                            "volume_mounts": [
                                {"name": "weights", "mount_path": MIRROR},
                                {"name": "scratch", "mount_path": "/tmp"},
                            ],
                        }
                    ],
                    "volumes": [
                        {"name": "weights", "persistent_volume_claim": {"claim_name": shared.claim}},
                        {"name": "scratch", "empty_dir": {"size_limit": mebibytes(_SCRATCH_GIB)}},
                    ],
                },
            },
        },
        opts=pulumi.ResourceOptions.merge(
            shared.opts,
            pulumi.ResourceOptions(
                depends_on=[*shared.after, traffic],
                custom_timeouts=pulumi.CustomTimeouts(create="1h", update="1h"),
            ),
        ),
    )
