"""What Google has on GKE's machines for GPUDirect: DaemonSets that put NCCL's plugin where pods mount it from.

After the manifests of github.com/GoogleCloudPlatform/container-engine-accelerators at 992db81 (June 2026), in
gpudirect-tcpx, gpudirect-tcpxo, gpudirect-rdma and nri_device_injector, to which Google's guides point:
https://cloud.google.com/kubernetes-engine/docs/how-to/gpu-bandwidth-gpudirect-tcpx and, for RDMA,
https://cloud.google.com/ai-hypercomputer/docs/create/gke-ai-hypercompute-custom. Other than there, they go to the pools
with that fabric alone, not to every node with such a GPU, and `ubuntu` has a tag.

They are privileged, in the host's namespaces, and in kube-system: they change the machine. None of it has run here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components import labels
from components.accelerators import MachineType
from components.cluster.ladder import Pool

NAMESPACE = "kube-system"
"""Of Google's DaemonSets; elsewhere GKE admits no `system-node-critical` pods."""

PLUGINS = {
    "gpudirect-tcpx": "us-docker.pkg.dev/gce-ai-infra/gpudirect-tcpx/nccl-plugin-gpudirecttcpx-dev:v3.1.9",
    "gpudirect-tcpxo": "us-docker.pkg.dev/gce-ai-infra/gpudirect-tcpxo/nccl-plugin-gpudirecttcpx-dev:v1.0.15",
    "gpudirect-rdma": "us-docker.pkg.dev/gce-ai-infra/gpudirect-gib/nccl-plugin-gib:v1.1.1",
}
"""Fabric -> image that holds the plugin. Its release and that of the pods' side container go together
(components.training.fabric)."""

INJECTOR = (
    "gcr.io/gke-release/nri-device-injector@sha256:6e79483d52abdc28454bf186320b10a56b0f117a10e8d65d5c74dbb821a76970"
)
"""Gives unprivileged side containers the GPUs that they name in annotations (`devices.gke.io/container.*`)."""
PAUSE = "gke.gcr.io/pause:3.8@sha256:880e63f94b145e46f1b1082bb71b85e21f16b99b180b9996407d61240ceb9830"
SHELL = "ubuntu:24.04"
"""Only to enter the machine's own namespaces: what then runs is the machine's."""

_TCPX_INSTALL = """\
set -ex
chmod 755 /scripts/container_entry.sh
/scripts/container_entry.sh install --install-nccl
mkdir -p /usr/local/nvidia/lib64
cp -r /var/lib/{name}/lib64/. /usr/local/nvidia/lib64
"""
_RDMA_INSTALL = """\
set -ex
/scripts/container_entry.sh install
cp -r /var/lib/gib/lib64/. /usr/local/home/kubernetes/bin/nvidia/lib64
cp -r /var/lib/gib/. /usr/local/home/kubernetes/bin/gib
"""
_APERTURES = """\
set -e
/sbin/iptables -I INPUT -p tcp -m tcp -j ACCEPT
modprobe import-helper
mkdir -p /dev/aperture_devices
lspci -nn -D | grep '1ae0:0084' | while read -r device rest; do
  target="/dev/aperture_devices/$device"
  mkdir -p "$target"
  umount -R "$target" || true
  mount --bind "$(readlink -f "/sys/bus/pci/devices/$device")" "$target"
done
chmod -R a+r /dev/aperture_devices/
chmod a+rw /dev/aperture_devices/*/resource*
"""


def labels_of(name: str) -> dict[str, str]:
    """Labels of a DaemonSet and of its pods."""
    return {"k8s-app": name}


def daemon_sets(pools: Sequence[Pool]) -> dict[str, dict[str, Any]]:
    """Name -> spec, in the SDK's spelling; none where no pool has GPUDirect."""
    by_fabric: dict[str, list[str]] = {}
    for pool in pools:
        if pool.fabric and isinstance(pool.machine, MachineType):
            by_fabric.setdefault(pool.machine.fabric.kind, []).append(pool.name)
    found: dict[str, dict[str, Any]] = {}
    for fabric, names in sorted(by_fabric.items()):
        short = fabric.removeprefix("gpudirect-")
        name = f"nccl-{short}-installer"
        found[name] = _daemon_set(name, names, _installer(fabric, short))
    injected = [name for fabric, names in by_fabric.items() if fabric != "gpudirect-rdma" for name in names]
    if injected:
        found["device-injector"] = _daemon_set("device-injector", injected, _injector())
    return found


def _daemon_set(name: str, pools: Sequence[str], pod: dict[str, Any]) -> dict[str, Any]:
    return {
        "selector": {"match_labels": labels_of(name)},
        "update_strategy": {"type": "RollingUpdate"},
        "template": {
            "metadata": {"labels": labels_of(name)},
            "spec": {
                "priority_class_name": "system-node-critical",
                "automount_service_account_token": False,
                "affinity": {
                    "node_affinity": {
                        "required_during_scheduling_ignored_during_execution": {
                            "node_selector_terms": [
                                {"match_expressions": [{"key": labels.POOL, "operator": "In", "values": sorted(pools)}]}
                            ]
                        }
                    }
                },
                "tolerations": [{"operator": "Exists"}],
                "host_network": True,
                "host_pid": True,
                **pod,
            },
        },
    }


def _installer(fabric: str, short: str) -> dict[str, Any]:
    rdma = fabric == "gpudirect-rdma"
    if rdma:
        mounts = {
            "library-dir-host": ("/home/kubernetes/bin/nvidia/lib64", "/usr/local/home/kubernetes/bin/nvidia/lib64"),
            "gib": ("/home/kubernetes/bin/gib", "/usr/local/home/kubernetes/bin/gib"),
        }
    else:
        mounts = {"var-lib": ("/var/lib", "/var/lib"), "library-dir-host": ("/home/kubernetes/bin", "/usr/local")}
    install = {
        "name": f"nccl-{short}-installer",
        "image": PLUGINS[fabric],
        "command": ["/bin/sh", "-c"],
        "args": [_RDMA_INSTALL if rdma else _TCPX_INSTALL.format(name=short)],
        "resources": _resources("150m", "256Mi"),
        "security_context": {"privileged": True},
        "volume_mounts": [{"name": name, "mount_path": inside} for name, (_, inside) in mounts.items()],
    }
    before = {
        "name": "pre-installation",
        "image": SHELL,
        "command": ["nsenter", "-at", "1", "--", "sh", "-c", _APERTURES],
        "resources": _resources("50m", "64Mi"),
        "security_context": {"privileged": True},
    }
    return {
        "init_containers": [before, install] if fabric == "gpudirect-tcpxo" else [install],
        "containers": [{"name": "pause", "image": PAUSE, "resources": _resources("10m", "16Mi")}],
        "volumes": [
            {"name": name, "host_path": {"path": path, "type": "DirectoryOrCreate"}}
            for name, (path, _) in mounts.items()
        ],
    }


def _injector() -> dict[str, Any]:
    directories = {"dev": "/dev", "nri": "/var/run/nri"}
    return {
        "containers": [
            {
                "name": "device-injector",
                "image": INJECTOR,
                "resources": _resources("150m", "128Mi"),
                "security_context": {"privileged": True},
                "volume_mounts": [{"name": name, "mount_path": path} for name, path in directories.items()],
            }
        ],
        "volumes": [{"name": name, "host_path": {"path": path}} for name, path in directories.items()],
    }


def _resources(cpu: str, memory: str) -> dict[str, Any]:
    """Google's requests of CPU; memory is bounded, so that none of them takes a machine with it."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}
