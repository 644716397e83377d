"""What a pod may do on its machine: what Pod Security Standards call restricted, and a little more.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from planner.plan import UNKNOWN
from policies.declare import Parameters, at, each, off, on, texts
from policies.kubernetes_pods import Container, Pod, container_policy, doubtful, pod_policy

_RESTRICTED = "https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"
_BASELINE = "https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline"
_CONTEXT = "https://kubernetes.io/docs/tasks/configure-pod-container/security-context/"


def _setting(container: Container, pod: Pod, path: str) -> Any:
    """A value of the container's security context, or else of the pod's."""
    own = at(container.spec, f"securityContext.{path}")
    return at(pod.spec, f"securityContext.{path}") if own is None else own


def _windows(pod: Pod) -> bool:
    return at(pod.spec, "os.name") in ("windows", UNKNOWN)


@container_policy(
    "containers-run-as-non-root",
    "No container runs as root",
    risk="high",
    why=_RESTRICTED,
    fix="Set runAsNonRoot: true in the pod's securityContext, and runAsUser to a user that the image has.",
)
def containers_run_as_non_root(container: Container, pod: Pod, _: Parameters) -> Iterator[str]:
    if _setting(container, pod, "runAsUser") in (0, "0"):
        yield "runs as user 0; expected a user other than root"
    elif off(_setting(container, pod, "runAsNonRoot")) and not _windows(pod):
        yield "may run as root; expected runAsNonRoot: true"


@container_policy(
    "read-only-root-file-system",
    "No container can change the files of its image",
    risk="medium",
    why=_CONTEXT,
    fix="Set readOnlyRootFilesystem: true, and mount an emptyDir where the program writes, such as /tmp.",
)
def read_only_root_file_system(container: Container, pod: Pod, _: Parameters) -> Iterator[str]:
    if off(at(container.spec, "securityContext.readOnlyRootFilesystem")) and not _windows(pod):
        yield "can write into its image's file system; expected readOnlyRootFilesystem: true"


@container_policy(
    "no-privileged-containers",
    "No container has the rights of its machine",
    partial=True,
    risk="critical",
    why=_BASELINE,
    fix="Take `privileged` out. A GPU needs none: the device plugin hands it to the container.",
)
def no_privileged_containers(container: Container, _: Pod, __: Parameters) -> Iterator[str]:
    if on(at(container.spec, "securityContext.privileged")):
        yield "is privileged, which is root on the machine; expected privileged: false"


@container_policy(
    "no-privilege-escalation",
    "No process of a container can gain more rights than it started with",
    risk="high",
    why=_RESTRICTED,
    fix="Set allowPrivilegeEscalation: false in the container's securityContext; left out, it is true.",
)
def no_privilege_escalation(container: Container, pod: Pod, _: Parameters) -> Iterator[str]:
    allowed = at(container.spec, "securityContext.allowPrivilegeEscalation", True)
    if on(allowed) and not _windows(pod):
        yield "may gain rights through setuid programs; expected allowPrivilegeEscalation: false"


@container_policy(
    "capabilities-dropped",
    "Containers drop all of Linux' capabilities, and take back none that isn't allowed",
    risk="high",
    why=_RESTRICTED,
    fix='Set capabilities: {drop: ["ALL"]} in the container\'s securityContext.',
    parameters={"allowed": ["NET_BIND_SERVICE"]},
)
def capabilities_dropped(container: Container, pod: Pod, parameters: Parameters) -> Iterator[str]:
    dropped = at(container.spec, "securityContext.capabilities.drop", [])
    if not doubtful(dropped) and "ALL" not in {name.upper() for name in texts(dropped)} and not _windows(pod):
        yield f'drops {", ".join(texts(dropped)) or "no capability"}; expected drop: ["ALL"]'
    added = set(texts(container.spec, "securityContext.capabilities.add")) - set(parameters["allowed"])
    if added:
        yield f"takes the capabilities {', '.join(sorted(added))}; allowed are {', '.join(parameters['allowed'])}"


@container_policy(
    "seccomp-profile-set",
    "Containers can make only the system calls of a seccomp profile",
    risk="medium",
    why=_RESTRICTED,
    fix="Set seccompProfile: {type: RuntimeDefault} in the pod's securityContext.",
)
def seccomp_profile_set(container: Container, pod: Pod, _: Parameters) -> Iterator[str]:
    profile = _setting(container, pod, "seccompProfile.type")
    if profile not in ("RuntimeDefault", "Localhost", UNKNOWN) and not _windows(pod):
        yield f"has the seccomp profile {profile or 'Unconfined, the default'}; expected RuntimeDefault or Localhost"


@pod_policy(
    "no-host-namespaces",
    "No pod shares its machine's network, processes or memory between processes",
    risk="high",
    why=_BASELINE,
    fix="Take hostNetwork, hostPID, hostIPC and hostPort out; a Service reaches pods, and /dev/shm can be an emptyDir.",
)
def no_host_namespaces(pod: Pod, _: Parameters) -> Iterator[str]:
    shared = [name for name in ("hostNetwork", "hostPID", "hostIPC") if on(at(pod.spec, name))]
    if shared:
        yield f"has {', '.join(shared)}; expected none, for network policies and isolation end there"
    for container in pod.containers:
        ports = [port.get("hostPort") for port in each(container.spec, "ports")]
        if any(isinstance(port, int) and port for port in ports) and "hostNetwork" not in shared:
            yield f"container {container.name!r} takes a port of the machine; expected no hostPort"


@pod_policy(
    "no-host-paths",
    "No pod mounts files of its machine",
    risk="high",
    why=_BASELINE,
    fix="Mount an emptyDir (on machines with local NVMe it lies there), a claim or a ConfigMap instead of a hostPath.",
)
def no_host_paths(pod: Pod, _: Parameters) -> Iterator[str]:
    for volume in each(pod.spec, "volumes"):
        if isinstance(volume.get("hostPath"), Mapping):
            yield f"mounts {at(volume, 'hostPath.path', 'a path')} of its machine; expected no hostPath volume"
