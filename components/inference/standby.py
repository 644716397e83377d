"""What stands by before a pod is wanted: machines that placeholders hold, and images that a DaemonSet has pulled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.inference.groups import ModelGroup
from components.inference.model_group import Shared, server_of
from components.inference.pod import container_security, mebibytes, resources, restricted

PRIORITY = -10
"""Below every pod that names no class (0), and just not below what a cluster autoscaler would start no machine for
(kubernetes/autoscaler, --expendable-pods-priority-cutoff: -10, read 2026-11). Karpenter knows no such limit."""

_IDLE = ["sleep", "infinity"]
"""Of coreutils, which every image of NVIDIA's has; a pause image would be one more to pull and to trust."""
_END_S = 1
"""A first process that knows no signals is killed after it. Not 0: the API server would forget the pod at once, while
its kubelet still holds the GPU for it."""
_TINY_GIB = 1 / 32


def warm_pool(groups: Sequence[ModelGroup], machines: int, shared: Shared) -> None:
    """Placeholders that hold so many machines, each as large as a server's pod, until a server's pod takes their place.

    What takes it is the scheduler: it ends placeholders for a pod that finds no room, and starts that pod on a machine
    that runs and has the image. The placeholder then finds none, which is what the autoscaler brings the next machine
    for. They are sized after the largest pod; smaller ones find room where one of them was.
    """
    largest = max(groups, key=lambda group: (group.gpus, group.memory_gib, group.cpu))
    name = f"{shared.name}-warm"
    labels = {"app.kubernetes.io/name": "placeholder", "app.kubernetes.io/instance": name}
    priority = k8s.scheduling.v1.PriorityClass(
        f"{name}-priority",
        metadata={"name": name, "labels": labels},
        value=PRIORITY,
        preemption_policy="Never",
        description="Holds a machine until a server needs it; takes nobody else's place.",
        opts=shared.opts,
    )
    server = server_of(largest, shared)
    k8s.apps.v1.Deployment(
        f"{name}-deployment",
        metadata={
            "namespace": shared.namespace,
            "name": name,
            "labels": labels,
            # Without a machine to be had, they wait: that is no reason to fail a deployment.
            "annotations": {"pulumi.com/skipAwait": "true"},
        },
        spec={
            "replicas": machines * largest.device.pods_to_a_machine(largest.gpus),
            "selector": {"match_labels": labels},
            # All at once: for a moment nothing is held, instead of twice as much.
            "strategy": {"type": "Recreate"},
            "revision_history_limit": 1,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    **restricted(),
                    **server.machines.placed(),
                    "priority_class_name": priority.metadata.name,
                    "termination_grace_period_seconds": _END_S,
                    "containers": [
                        _container("placeholder", shared.image, _IDLE, resources(server, gpus=server.gpus)),
                    ],
                },
            },
        },
        opts=pulumi.ResourceOptions.merge(shared.opts, pulumi.ResourceOptions(depends_on=[*shared.after, priority])),
    )


def prepull(group: ModelGroup, images: Sequence[str], shared: Shared) -> None:
    """A pod on each of the machines, which asks for next to nothing, has the server's image, and has pulled others.

    A new machine runs it before it has a GPU to give (components.inference.cold_start.DRIVER_S), so the server's image
    comes while the driver starts; and an image that is named here is there before a Deployment asks for it. The kubelet
    keeps an image as long as a container has it, and the others as long as the disk has room.
    """
    name = f"{shared.name}-prepull"
    labels = {"app.kubernetes.io/name": "prepull", "app.kubernetes.io/instance": name}
    tiny = {"memory": mebibytes(_TINY_GIB), "ephemeral-storage": mebibytes(_TINY_GIB)}
    asked = {"requests": {"cpu": "1m", **tiny}, "limits": tiny}
    k8s.apps.v1.DaemonSet(
        f"{name}-daemons",
        metadata={
            "namespace": shared.namespace,
            "name": name,
            "labels": labels,
            "annotations": {"pulumi.com/skipAwait": "true"},
        },
        spec={
            "selector": {"match_labels": labels},
            # An image takes a machine's network and disk for minutes: not all machines at once.
            "update_strategy": {"type": "RollingUpdate", "rolling_update": {"max_unavailable": "25%"}},
            "revision_history_limit": 1,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    **restricted(),
                    **shared.machines(group).placed(),
                    "termination_grace_period_seconds": _END_S,
                    "init_containers": [
                        _container(f"pull-{index}", image, ["true"], asked) for index, image in enumerate(images)
                    ],
                    "containers": [_container("image", shared.image, _IDLE, asked)],
                },
            },
        },
        opts=pulumi.ResourceOptions.merge(shared.opts, pulumi.ResourceOptions(depends_on=list(shared.after))),
    )


def _container(name: str, image: str, command: list[str], asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "image_pull_policy": "IfNotPresent",
        "command": command,
        "security_context": container_security(),
        "resources": asked,
    }
