"""What a pod needs of its machine's fabric: devices, networks, directories, side containers, NCCL's environment.

Nothing of it has been run by this project's tests, which have no such machines; the health gate says on the first gang
whether it works. Sources, read in November 2026:

- EFA: https://docs.aws.amazon.com/eks/latest/userguide/node-efa.html and AWS's own notes on what to set with which
  version, github.com/aws-samples/awsome-distributed-training, 1.architectures/efa-cheatsheet.md
- GPUDirect: https://cloud.google.com/kubernetes-engine/docs/how-to/gpu-bandwidth-gpudirect-tcpx and, by machine,
  github.com/GoogleCloudPlatform/container-engine-accelerators, gpudirect-{tcpx,tcpxo,rdma}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.accelerators import MachineType

TRANSPORTS = {
    "efa": "efa",
    "gpudirect-tcpx": "gpudirect-tcpx",
    "gpudirect-tcpxo": "gpudirect-tcpxo",
    "gpudirect-rdma": "ib",
}
"""Fabric -> what the health gate calls the transport that has to carry every byte (`--expect-transport`)."""

EFA = "vpc.amazonaws.com/efa"
HUGE_PAGES_MIB = 5120
"""Machines with EFA start with 5,128 huge pages of 2 MiB; AWS's example asks for half of them (node-efa.html)."""

NETWORK = "gpudirect-{}"
"""Name of the Network of NIC i in the cluster: what components/cluster/gke_nodes.py makes."""

TCPXO_DAEMON = "us-docker.pkg.dev/gce-ai-infra/gpudirect-tcpxo/tcpgpudmarxd-dev:v1.0.21"
TCPX_DAEMON = "us-docker.pkg.dev/gce-ai-infra/gpudirect-tcpx/tcpgpudmarxd-dev:v2.0.12"
"""Of the releases whose plugins components/cluster/gpudirect.py puts on the machines: they go together."""

_LIBRARIES = "/usr/local/nvidia/lib64"
"""Where a pod sees the driver's and the plugin's libraries; on the machine /home/kubernetes/bin/nvidia/lib64."""


@dataclass(frozen=True)
class FabricNeeds:
    """Pieces of a pod, in Kubernetes' spelling."""

    resources: Mapping[str, str] = field(default_factory=dict)
    """Requests, and limits, of each container that trains."""
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Mapping[str, Any]] = ()
    volumes: Sequence[Mapping[str, Any]] = ()
    sidecars: Sequence[Mapping[str, Any]] = ()
    """Init containers that keep running (restartPolicy Always): before the gate, and no longer than training."""
    annotations: Mapping[str, str] = field(default_factory=dict)


NONE = FabricNeeds()


def needs(machine: MachineType, accelerators: int, *, huge_pages: bool = False) -> FabricNeeds:
    """What a pod needs that has so many of the machine's accelerators.

    ValueError for a machine without a fabric, and for a part of a machine whose fabric is for one pod only.
    """
    kind = machine.fabric.kind
    if not kind:
        raise ValueError(f"fabric is on, but a {machine.name} has none")
    if kind == "efa":
        return _efa(machine, accelerators, huge_pages)
    if accelerators != machine.count:
        raise ValueError(
            f"the fabric of a {machine.name} ({kind}) goes to one pod, which has all {machine.count} accelerators; "
            f"got {accelerators}"
        )
    return _GPUDIRECT[kind](machine)


EFA_LIBRARIES = "/opt/amazon/efa/lib:/opt/amazon/ofi-nccl/lib/x86_64-linux-gnu:/opt/amazon/ofi-nccl/lib"
"""Where AWS's installer puts libfabric and NCCL's plugin; which of the last two depends on its release. Not run here:
the health gate tells whether it was right."""


def pod_security(cloud: str, fabric: str) -> str:
    """The Pod Security level that a namespace needs whose pods use that fabric ("" for none).

    GPUDirect on GKE mounts the plugin's libraries, and the daemon's window on the machine's NICs, from the machine:
    hostPath volumes, which neither `restricted` nor `baseline` allows.
    https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline
    """
    return "privileged" if cloud == "gcp" and fabric.startswith("gpudirect") else "restricted"


# ---- AWS


def _efa(machine: MachineType, accelerators: int, huge_pages: bool) -> FabricNeeds:
    """A pod with a part of the machine gets that part of its interfaces, and at least one."""
    interfaces = max(1, machine.fabric.interfaces * accelerators // machine.count)
    return FabricNeeds(
        resources={
            EFA: str(interfaces),
            **({"hugepages-2Mi": f"{HUGE_PAGES_MIB}Mi"} if huge_pages else {}),
        },
        env={
            # Without EFA it fails rather than to go on over TCP.
            "FI_PROVIDER": "efa",
            # Huge pages and fork() don't go together: loaders and the process that saves checkpoints are forked. And
            # Karpenter starts no machine for a pod that asks for them (kubernetes-sigs/karpenter, issue 751).
            "FI_EFA_USE_HUGE_PAGE": str(int(huge_pages)),
            # NCCL finds its plugin by the loader's path (workloads/training/Dockerfile).
            "LD_LIBRARY_PATH": EFA_LIBRARIES,
            # The ordinary interface is for finding each other; a prefix, and only what is not the loopback.
            "NCCL_SOCKET_IFNAME": "eth0",
        },
    )


# ---- Google Cloud


def _networks(nics: int, *, first: int, at: int) -> dict[str, str]:
    """Annotations that put NIC i of the machine, from Network `first` on, into the pod as eth<at>, eth<at + 1>, ..."""
    interfaces = [
        {"interfaceName": "eth0", "network": "default"},
        *({"interfaceName": f"eth{at + i}", "network": NETWORK.format(first + i)} for i in range(nics)),
    ]
    return {
        "networking.gke.io/default-interface": "eth0",
        "networking.gke.io/interfaces": json.dumps(interfaces, separators=(",", ":")),
    }


def _devices(container: str, gpus: int, *more: str) -> dict[str, str]:
    """The annotation that gives a side container the GPUs, beside the one that they are allocated to, unprivileged."""
    paths = [*(f"/dev/nvidia{gpu}" for gpu in range(gpus)), "/dev/nvidiactl", "/dev/nvidia-uvm", *more]
    return {f"devices.gke.io/container.{container}": "".join(f"- path: {path}\n" for path in paths)}


def _host(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "hostPath": {"path": path, "type": "Directory"}}


def _daemon(name: str, image: str, command: list[str], mounts: dict[str, str], **more: Any) -> dict[str, Any]:
    """The side container that moves what NICs receive into GPU memory. It needs root, and the network's reins."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "command": command,
        "env": [{"name": "LD_LIBRARY_PATH", "value": _LIBRARIES}, *more.pop("env", ())],
        "resources": {
            "requests": {"cpu": "1000m", "memory": "2Gi", "ephemeral-storage": "1Gi"},
            "limits": {"memory": "2Gi", "ephemeral-storage": "1Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": False,
            "runAsUser": 0,
            "runAsGroup": 0,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_BIND_SERVICE"]},
        },
        "volumeMounts": [{"name": volume, "mountPath": path} for volume, path in mounts.items()],
        **more,
    }


_WINDOWS = {"libraries": _LIBRARIES, "sys": "/hostsysfs", "proc-sys": "/hostprocsysfs"}
_HOST_LIBRARIES = _host("libraries", "/home/kubernetes/bin/nvidia/lib64")
_HOST_WINDOWS = (_host("sys", "/sys"), _host("proc-sys", "/proc/sys"))
_READY = "/run/health-check"


def _tcpxo(machine: MachineType) -> FabricNeeds:
    """A3 Mega. gpudirect-tcpxo/nccl-test-latest.yaml, and README.md for the environment, release of Jan 9, 2026."""
    nics = machine.fabric.interfaces
    daemon = _daemon(
        "tcpxo-daemon",
        TCPXO_DAEMON,
        [
            "/bin/sh",
            "-c",
            "chmod 755 /fts/entrypoint_rxdm_container.sh && /fts/entrypoint_rxdm_container.sh --num_hops=2",
        ],
        _WINDOWS,
        env=[{"name": "HEALTH_CHECK_LOG_FILE", "value": _READY}],
        # Until it is ready (half a minute) nothing else starts; on a broken machine it never is (best-practice.md).
        startupProbe={
            "exec": {"command": ["cat", _READY]},
            "periodSeconds": 5,
            "timeoutSeconds": 1,
            "failureThreshold": 24,
        },
    )
    return FabricNeeds(
        env={
            "NCCL_FASTRAK_CTRL_DEV": "eth0",
            "NCCL_FASTRAK_IFNAME": ",".join(f"eth{1 + i}" for i in range(nics)),
            "NCCL_FASTRAK_LLCM_DEVICE_DIRECTORY": "/dev/aperture_devices",
            "NCCL_SOCKET_IFNAME": "eth0",
            "NCCL_CROSS_NIC": "0",
            "NCCL_PROTO": "Simple,LL128",
            "NCCL_MIN_NCHANNELS": "4",
            "NCCL_TUNER_PLUGIN": "libnccl-tuner.so",
            "NCCL_TUNER_CONFIG_PATH": f"{_LIBRARIES}/a3plus_tuner_config.textproto",
            "NCCL_SHIMNET_GUEST_CONFIG_CHECKER_CONFIG_FILE": f"{_LIBRARIES}/a3plus_guest_config.textproto",
            "NCCL_NVLSTREE_MAX_CHUNKSIZE": "131072",
            "NCCL_P2P_NET_CHUNKSIZE": "524288",
            "NCCL_P2P_PCI_CHUNKSIZE": "524288",
            "NCCL_P2P_NVL_CHUNKSIZE": "1048576",
            "NCCL_FASTRAK_NUM_FLOWS": "2",
            "NCCL_FASTRAK_USE_SNAP": "1",
            "NCCL_FASTRAK_PLUGIN_ACCEPT_TIMEOUT_MS": "600000",
            "NCCL_FASTRAK_ENABLE_CONTROL_CHANNEL": "0",
            "NCCL_BUFFSIZE": "8388608",
            "NCCL_NET_GDR_LEVEL": "PIX",
            "NCCL_FASTRAK_ENABLE_HOTPATH_LOGGING": "0",
            "NCCL_FASTRAK_USE_LLCM": "1",
            "NCCL_NVLS_ENABLE": "1",
        },
        mounts=[
            {"name": "libraries", "mountPath": _LIBRARIES, "readOnly": True},
            {"name": "aperture-devices", "mountPath": "/dev/aperture_devices"},
        ],
        volumes=[_HOST_LIBRARIES, *_HOST_WINDOWS, _host("aperture-devices", "/dev/aperture_devices")],
        sidecars=[daemon],
        annotations={
            **_devices("tcpxo-daemon", machine.count, "/dev/dmabuf_import_helper"),
            **_networks(nics, first=0, at=1),
        },
    )


def _tcpx(machine: MachineType) -> FabricNeeds:
    """A3 High. gpudirect-tcpx/nccl-test-latest.yaml, and nccl-config.yaml for the environment and which cores of an
    a3-highgpu-8g serve which NIC."""
    nics = machine.fabric.interfaces
    daemon = _daemon(
        "tcpx-daemon",
        TCPX_DAEMON,
        [
            "/tcpgpudmarxd/build/app/tcpgpudmarxd",
            *("--gpu_nic_preset", "a3vm", "--gpu_shmem_type", "fd", "--uds_path", "/run/tcpx"),
            *("--setup_param", "--verbose 128 2 0 "),
        ],
        {**_WINDOWS, "tcpx-socket": "/run/tcpx"},
    )
    return FabricNeeds(
        env={
            "NCCL_SOCKET_IFNAME": "eth0",
            "NCCL_ALGO": "Ring,Tree",
            "NCCL_PROTO": "Simple",
            "NCCL_CROSS_NIC": "0",
            "NCCL_NET_GDR_LEVEL": "PIX",
            "NCCL_P2P_PXN_LEVEL": "0",
            "NCCL_GPUDIRECTTCPX_SOCKET_IFNAME": ",".join(f"eth{1 + i}" for i in range(nics)),
            "NCCL_GPUDIRECTTCPX_CTRL_DEV": "eth0",
            "NCCL_GPUDIRECTTCPX_UNIX_CLIENT_PREFIX": "/run/tcpx",
            "NCCL_DYNAMIC_CHUNK_SIZE": "524288",
            "NCCL_P2P_NET_CHUNKSIZE": "524288",
            "NCCL_P2P_PCI_CHUNKSIZE": "524288",
            "NCCL_P2P_NVL_CHUNKSIZE": "1048576",
            "NCCL_BUFFSIZE": "4194304",
            "NCCL_NSOCKS_PERTHREAD": "4",
            "NCCL_SOCKET_NTHREADS": "1",
            "NCCL_GPUDIRECTTCPX_TX_BINDINGS": (
                "eth1:8-21,112-125;eth2:8-21,112-125;eth3:60-73,164-177;eth4:60-73,164-177"
            ),
            "NCCL_GPUDIRECTTCPX_RX_BINDINGS": (
                "eth1:22-35,126-139;eth2:22-35,126-139;eth3:74-87,178-191;eth4:74-87,178-191"
            ),
            "NCCL_GPUDIRECTTCPX_PROGRAM_FLOW_STEERING_WAIT_MICROS": "500000",
        },
        mounts=[
            {"name": "libraries", "mountPath": _LIBRARIES, "readOnly": True},
            {"name": "tcpx-socket", "mountPath": "/run/tcpx"},
        ],
        # Only this pod's containers share the socket, so unlike in Google's example it is no directory of the machine.
        volumes=[_HOST_LIBRARIES, *_HOST_WINDOWS, {"name": "tcpx-socket", "emptyDir": {"sizeLimit": "64Mi"}}],
        sidecars=[daemon],
        annotations={**_devices("tcpx-daemon", machine.count), **_networks(nics, first=0, at=1)},
    )


_GIB_TUNERS = {"a3-ultragpu-8g": "tuner_config_a3u.txtpb", "a4-highgpu-8g": "tuner_config_a4.txtpb"}


def _rdma(machine: MachineType) -> FabricNeeds:
    """A3 Ultra and A4 (RoCE, NCCL/gIB). gpudirect-rdma/nccl-test.yaml and nccl-test-a4.yaml; the environment is what
    the plugin's set_nccl_env.sh sets (https://cloud.google.com/ai-hypercomputer/docs/nccl/overview).

    Network 0 is the second gVNIC, for the host's own traffic: the GPUs' NICs follow it.
    """
    return FabricNeeds(
        env={
            "NCCL_NET": "gIB",
            "NCCL_SOCKET_IFNAME": "eth0",
            "NCCL_CROSS_NIC": "0",
            "NCCL_NET_GDR_LEVEL": "PIX",
            "NCCL_P2P_NET_CHUNKSIZE": "131072",
            "NCCL_NVLS_CHUNKSIZE": "524288",
            "NCCL_IB_GID_INDEX": "3",
            "NCCL_IB_ADAPTIVE_ROUTING": "1",
            "NCCL_IB_QPS_PER_CONNECTION": "4",
            "NCCL_IB_TC": "52",
            "NCCL_IB_FIFO_TC": "84",
            "NCCL_TUNER_CONFIG_PATH": f"/usr/local/gib/configs/{_GIB_TUNERS[machine.name]}",
        },
        mounts=[
            {"name": "libraries", "mountPath": _LIBRARIES, "readOnly": True},
            {"name": "gib", "mountPath": "/usr/local/gib", "readOnly": True},
        ],
        volumes=[_HOST_LIBRARIES, _host("gib", "/home/kubernetes/bin/gib")],
        annotations=_networks(machine.fabric.interfaces, first=1, at=2),
    )


_GPUDIRECT: Mapping[str, Callable[[MachineType], FabricNeeds]] = {
    "gpudirect-tcpxo": _tcpxo,
    "gpudirect-tcpx": _tcpx,
    "gpudirect-rdma": _rdma,
}
