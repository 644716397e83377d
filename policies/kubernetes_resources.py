"""What pods ask of their machines, and how they leave them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from planner.inventory.quantity import known
from planner.plan import UNKNOWN
from policies.declare import Parameters, at, each, texts
from policies.kubernetes_pods import Container, Pod, container_policy, doubtful, pod_policy

_REQUESTS = "https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/"


def extended(resource: str) -> bool:
    """Whether a resource is one of devices, such as `nvidia.com/gpu` or `vpc.amazonaws.com/efa`."""
    return "/" in resource and not resource.startswith("requests.") and "kubernetes.io/" not in resource


def _amounts(container: Container, kind: str) -> Mapping[str, Any] | None:
    """Requests or limits of a container; None where they are not known."""
    found = at(container.spec, f"resources.{kind}", {})
    return found if isinstance(found, Mapping) else None


def _stated(container: Container) -> bool:
    return at(container.spec, "resources") != UNKNOWN


@container_policy(
    "device-requests-equal-limits",
    "Containers ask for as many GPUs and other devices as they may use",
    partial=True,
    risk="high",
    why="https://kubernetes.io/docs/tasks/manage-gpus/scheduling-gpus/#using-device-plugins",
    fix="State the number under resources.limits; a request beside it must be the same number.",
)
def device_requests_equal_limits(container: Container, _: Pod, __: Parameters) -> Iterator[str]:
    requests, limits = _amounts(container, "requests"), _amounts(container, "limits")
    if requests is None or limits is None:
        return
    for name in sorted({*filter(extended, requests), *filter(extended, limits)}):
        request, limit = requests.get(name, limits.get(name)), limits.get(name)
        if UNKNOWN not in (request, limit) and known(request) != known(limit):
            yield f"requests {request} {name} and is limited to {limit or 'none'}; Kubernetes wants equal numbers"


@container_policy(
    "memory-requests-equal-limits",
    "Containers may use the memory that was set aside for them, and no more",
    risk="high",
    why="https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/",
    fix="Set resources.limits.memory to the same quantity as resources.requests.memory.",
)
def memory_requests_equal_limits(container: Container, pod: Pod, _: Parameters) -> Iterator[str]:
    requests, limits = _amounts(container, "requests"), _amounts(container, "limits")
    if requests is None or limits is None or not _stated(container) or at(pod.spec, "resources.limits.memory"):
        return
    limit = limits.get("memory")
    request = requests.get("memory", limit)
    if limit is None:
        yield "has no memory limit: when it grows, the kernel ends whichever pod of the machine it likes"
    elif UNKNOWN not in (request, limit) and known(request) != known(limit):
        yield f"requests {request} of memory and is limited to {limit}; expected the same"


@container_policy(
    "cpu-and-memory-requested",
    "Containers say how much CPU and memory they need, so that the scheduler can find room",
    risk="medium",
    why=_REQUESTS,
    fix="Set resources.requests.cpu and resources.requests.memory.",
)
def cpu_and_memory_requested(container: Container, pod: Pod, _: Parameters) -> Iterator[str]:
    requests, limits = _amounts(container, "requests"), _amounts(container, "limits")
    if requests is None or limits is None or not _stated(container):
        return
    missing = [
        name
        for name in ("cpu", "memory")
        if requests.get(name, limits.get(name)) is None and at(pod.spec, f"resources.requests.{name}") is None
    ]
    if missing:
        yield f"requests no {' and no '.join(missing)}"


@pod_policy(
    "accelerator-pods-tolerate",
    "Pods that ask for an accelerator tolerate the taint of its machines",
    risk="high",
    why="https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#example-use-cases",
    fix="Add a toleration with the accelerator's resource as its key, such as nvidia.com/gpu.",
)
def accelerator_pods_tolerate(pod: Pod, _: Parameters) -> Iterator[str]:
    if pod.partial or pod.queued or doubtful(at(pod.spec, "tolerations")):
        return
    tolerations = each(pod.spec, "tolerations")
    if any(toleration.get("key") in (None, "", UNKNOWN) for toleration in tolerations):
        return  # without a key it tolerates every taint
    tolerated = {str(toleration["key"]) for toleration in tolerations}
    wanted = {
        taint
        for container in pod.containers
        for name in _amounts(container, "limits") or ()
        if (taint := accelerator(name)) and taint not in tolerated
    }
    for taint in sorted(wanted):
        yield f"asks for {taint} and does not tolerate its taint; tolerated: {', '.join(sorted(tolerated)) or 'none'}"


def accelerator(resource: str) -> str:
    """Taint of the machines that offer a resource; empty where it is no accelerator. A MIG profile is a GPU's."""
    if resource.startswith("nvidia.com/mig-"):
        return "nvidia.com/gpu"
    return resource if resource in ("nvidia.com/gpu", "amd.com/gpu", "google.com/tpu", "aws.amazon.com/neuron") else ""


@pod_policy(
    "grace-period-covers-draining",
    "A pod that is told to end has time for its preStop hook and for the requests under way",
    risk="medium",
    why="https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination",
    fix="Raise terminationGracePeriodSeconds above the seconds of preStop and of the server's exit timeout together.",
    parameters={"margin_seconds": 5},
)
def grace_period_covers_draining(pod: Pod, parameters: Parameters) -> Iterator[str]:
    grace = at(pod.spec, "terminationGracePeriodSeconds", 30)
    if not isinstance(grace, int | float) or pod.fragment:
        return
    for container in pod.containers:
        hook, own = _pre_stop_seconds(container), _exit_seconds(container)
        margin = parameters["margin_seconds"] if hook or own else 0
        if hook + own + margin > grace:
            yield (
                f"container {container.name!r} drains for {hook:g} s and then ends within {own:g} s, "
                f"but is killed after {grace:g} s"
            )


def _pre_stop_seconds(container: Container) -> float:
    seconds = at(container.spec, "lifecycle.preStop.sleep.seconds", 0)
    command = " ".join(texts(container.spec, "lifecycle.preStop.exec.command"))
    slept = re.search(r"\bsleep\s+(\d+(?:\.\d+)?)", command)
    return float(slept[1]) if slept else float(seconds) if isinstance(seconds, int | float) else 0.0


_EXIT = re.compile(r"--(?:exit-timeout-secs|timeout-graceful-shutdown|graceful-timeout)(?:=(\d+))?")
"""Options of Triton, uvicorn and gunicorn: seconds that they wait for requests under way."""


def _exit_seconds(container: Container) -> float:
    arguments = [*texts(container.spec, "command"), *texts(container.spec, "args")]
    for index, argument in enumerate(arguments):
        if option := _EXIT.fullmatch(argument):
            value = option[1] or (arguments[index + 1] if index + 1 < len(arguments) else "")
            return float(value) if value.isdigit() else 0.0
    return 0.0
